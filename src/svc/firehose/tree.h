// SPDX-License-Identifier: Apache-2.0
// Small JSON documents that are put together and changed: configurations of destinations. What is
// added lives in the arena; nothing is ever freed on its own.
#pragma once
#include "codec/json.h"

struct shape;

JsonValue *tree_map(struct arena *a);

// The member, or NULL: not there, or `map` is NULL or no map.
JsonValue *tree_find(const JsonValue *map, Str key);
const JsonValue *tree_at(const JsonValue *map,
                         const char *path);   // "S3DestinationDescription/Prefix"
Str tree_text(const JsonValue *map, Str key); // absent unless it is a text
int64_t tree_integer(const JsonValue *map, Str key, int64_t otherwise);
double tree_real(const JsonValue *map, Str key, double otherwise);
bool tree_is_true(const JsonValue *map, Str key);

// Sets a member, in its place or at the end; the value is copied flat.
void tree_set(struct arena *a, JsonValue *map, Str key, const JsonValue *value);
void tree_set_text(struct arena *a, JsonValue *map, Str key, Str text);
void tree_set_integer(struct arena *a, JsonValue *map, Str key, int64_t value);
void tree_set_bool(struct arena *a, JsonValue *map, Str key, bool value);
void tree_drop(JsonValue *map, Str key);
void tree_rename(JsonValue *map, Str from, Str to);

// A map that was parsed or made by hand; absent: no memory, or larger than a row may be.
void tree_write(struct event_writer *w, const JsonValue *v);
Err tree_json(struct arena *a, const JsonValue *v, Str *ret);

// A struct of the API as a tree, and back. What the shape does not have is left out.
Err tree_of_struct(struct arena *a, const struct shape *shape, const void *from, JsonValue **ret);
Err tree_to_struct(struct arena *a, const struct shape *shape, const JsonValue *v, void *into);

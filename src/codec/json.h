// SPDX-License-Identifier: Apache-2.0
// JSON (RFC 8259), strict: UTF-8, no trailing commas, no duplicate handling (the caller sees every
// key). Lone surrogates in escapes are refused.
#pragma once
#include "codec/event.h"

void json_reader_init(struct event_reader *r, struct arena *a, Str input);
void json_writer_init(struct event_writer *w, struct buf *out); // compact

// A small tree for documents that have no shape.
typedef enum JsonKind {
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_LIST,
    JSON_MAP
} JsonKind;
typedef struct JsonValue {
    JsonKind kind;
    Str key;                 // in a map
    Str text;                // of a string; the digits of a number
    int64_t integer;         // of a number that is one, or a bool
    double real;             // of any number
    struct JsonValue *items; // of a list or map, in order
    size_t n;
} JsonValue;
// Text borrows from the input, which must live as long as the tree. ERR_INVALID, ERR_LIMIT: as the
// reader gives them.
Err json_parse(struct arena *a, Str input, JsonValue **ret);
const JsonValue *json_find(const JsonValue *map,
                           Str key);          // the first such; NULL if absent or not a map
Str json_text(const JsonValue *map, Str key); // absent unless a string is there

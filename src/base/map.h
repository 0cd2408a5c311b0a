// SPDX-License-Identifier: Apache-2.0
// A hash map from byte strings to pointers. Keys are copied; values are borrowed. Iteration is in
// no order. Not thread safe: its owner holds a lock. Hashing is keyed by a per-process secret, so
// that clients cannot choose colliding names.
#pragma once
#include "base/str.h"

struct map;

struct map *map_open(void);
void map_close(struct map *m); // frees keys, not values; NULL is fine
AUTO_CLOSE(map)

void *map_get(const struct map *m, Str key);        // NULL if absent
void *map_put(struct map *m, Str key, void *value); // returns the value it replaced, or NULL
void *map_take(struct map *m, Str key);             // removes; returns the value, or NULL
size_t map_count(const struct map *m);

// for (size_t at = 0; map_next(m, &at, &key, &value);) ...; the map may not change meanwhile.
bool map_next(const struct map *m, size_t *at, Str *ret_key, void **ret_value);

// The secret of the process's maps. Called once at start, before the first map; 0 is fine in tests.
void map_seed(uint64_t secret);
uint64_t map_hash(Str key);

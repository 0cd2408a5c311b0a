// SPDX-License-Identifier: Apache-2.0
// Open addressing with linear probing and backward-shift deletion: no tombstones, so a table that
// sees endless create and delete never degrades.
#include "base/map.h"

#include <stdlib.h>
#include <string.h>

enum { MAP_SLOTS_FIRST = 16 };

struct slot {
    char *key; // owned; NULL: the slot is free
    size_t key_bytes;
    uint64_t hash;
    void *value;
};

struct map {
    struct slot *slots;
    size_t slot_count; // a power of two
    size_t used;
};

static uint64_t secret = 0x9e3779b97f4a7c15u;

void map_seed(uint64_t value)
{
    secret = value ^ 0x9e3779b97f4a7c15u;
}

static uint64_t mix(uint64_t x, uint64_t y)
{
    __uint128_t product = (__uint128_t)x * y;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t map_hash(Str key)
{
    uint64_t hash = secret ^ key.n, word;
    size_t at = 0;
    for (; key.n - at >= sizeof word; at += sizeof word) {
        memcpy(&word, key.p + at, sizeof word);
        hash = mix(hash ^ word ^ 0xe7037ed1a0b428dbu, secret | 1);
    }
    if (at < key.n) {
        word = 0;
        memcpy(&word, key.p + at, key.n - at);
        hash = mix(hash ^ word ^ 0xe7037ed1a0b428dbu, secret | 1);
    }
    return mix(hash ^ 0x8ebc6af09c88c6e3u, 0x589965cc75374cc3u);
}

struct map *map_open(void)
{
    struct map *m = xalloc(sizeof *m);
    m->slot_count = MAP_SLOTS_FIRST;
    m->slots = xalloc(m->slot_count * sizeof *m->slots);
    return m;
}

void map_close(struct map *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->slot_count; i++)
        free(m->slots[i].key);
    free(m->slots);
    free(m);
}

// The slot of the key, or the free slot where it belongs.
static struct slot *slot_of(const struct map *m, Str key, uint64_t hash)
{
    size_t at = hash & (m->slot_count - 1);
    for (;; at = (at + 1) & (m->slot_count - 1)) {
        struct slot *s = &m->slots[at];
        if (s->key == NULL || (s->hash == hash && str_eq(str_from(s->key, s->key_bytes), key)))
            return s;
    }
}

static void grow(struct map *m)
{
    struct map bigger = { .slot_count = m->slot_count * 2, .used = m->used };
    bigger.slots = xalloc(mul_checked(bigger.slot_count, sizeof *bigger.slots));
    for (size_t i = 0; i < m->slot_count; i++) {
        struct slot *s = &m->slots[i];
        if (s->key != NULL)
            *slot_of(&bigger, str_from(s->key, s->key_bytes), s->hash) = *s;
    }
    free(m->slots);
    *m = bigger;
}

void *map_get(const struct map *m, Str key)
{
    struct slot *s = slot_of(m, key, map_hash(key));
    return s->key != NULL ? s->value : NULL;
}

void *map_put(struct map *m, Str key, void *value)
{
    CHECK(value != NULL);
    if (m->used + 1 > m->slot_count / 4 * 3)
        grow(m);
    uint64_t hash = map_hash(key);
    struct slot *s = slot_of(m, key, hash);
    if (s->key != NULL) {
        void *old = s->value;
        s->value = value;
        return old;
    }
    char *copy = xalloc(key.n);
    if (key.n > 0)
        memcpy(copy, key.p, key.n);
    *s = (struct slot){ .key = copy, .key_bytes = key.n, .hash = hash, .value = value };
    m->used++;
    return NULL;
}

void *map_take(struct map *m, Str key)
{
    struct slot *s = slot_of(m, key, map_hash(key));
    if (s->key == NULL)
        return NULL;
    void *value = s->value;
    free(s->key);
    size_t mask = m->slot_count - 1;
    size_t hole = (size_t)(s - m->slots);
    for (size_t at = (hole + 1) & mask; m->slots[at].key != NULL; at = (at + 1) & mask) {
        size_t home = m->slots[at].hash & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) { // it may move back into the hole
            m->slots[hole] = m->slots[at];
            hole = at;
        }
    }
    m->slots[hole] = (struct slot){ 0 };
    m->used--;
    return value;
}

size_t map_count(const struct map *m)
{
    return m->used;
}

bool map_next(const struct map *m, size_t *at, Str *ret_key, void **ret_value)
{
    for (; *at < m->slot_count; (*at)++) {
        struct slot *s = &m->slots[*at];
        if (s->key == NULL)
            continue;
        *ret_key = str_from(s->key, s->key_bytes);
        *ret_value = s->value;
        (*at)++;
        return true;
    }
    return false;
}

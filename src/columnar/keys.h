// SPDX-License-Identifier: Apache-2.0
// Which field of a struct a member of a JSON object is for. Producers write the members of their
// objects in the same order again and again, so the order of the last objects is kept as a guess,
// with the bytes of the keys as they are written: to confirm it costs two comparisons of words.
#pragma once
#include "columnar/type.h"

enum {
    KEY_UNWANTED = -1,        // no field is for it
    KEY_GUESS_BYTES_MAX = 62, // of a key that is remembered
};

struct key_guess {
    uint64_t words[2], masks[2]; // of the first 16 bytes of the key with its closing quote
    char rest[KEY_GUESS_BYTES_MAX + 2 - 16];
    uint8_t n; // bytes with the quote
    int32_t field;
};

struct keys {
    struct map *fields;        // what a key is called once it is normal: to its number, from 1
    struct key_guess *guesses; // in the order of their coming
    size_t n, max;
    uint64_t misses;
};

// The keys of a struct type. ERR_INVALID: two fields want the same member.
Err keys_open(const struct type *t, const ColumnarDeserializer *d, ColumnarProblem *problem,
              struct keys **ret);
void keys_close(struct keys *k); // NULL is fine
AUTO_CLOSE(keys)

// The slow way: the field for a key whose text, without escapes, is `key`.
int32_t keys_find(const struct keys *k, const ColumnarDeserializer *d, struct arena *tmp, Str key);
// Remembers that at a place of the order the key came that is written as `raw`; false: it does not.
bool keys_learn(struct keys *k, size_t place, Str raw, int32_t field);

static inline uint64_t keys_load(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

// Whether the key at p, behind its opening quote, is the guessed one. Behind p there are
// KEY_GUESS_BYTES_MAX + 2 bytes to read.
static inline bool key_fits(const struct key_guess *g, const char *p)
{
    uint64_t differs = ((keys_load(p) ^ g->words[0]) & g->masks[0]) |
                       ((keys_load(p + 8) ^ g->words[1]) & g->masks[1]);
    return differs == 0 && (g->n <= 16 || memcmp(p + 16, g->rest, g->n - 16u) == 0);
}

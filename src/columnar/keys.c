// SPDX-License-Identifier: Apache-2.0
#include "columnar/keys.h"
#include "base/map.h"

#include <stdlib.h>

enum {
    GUESSES_SPARE = 16, // beyond twice the fields: for members that no column wants
    LESSONS = 4,        // for each guess; afterwards one of LESSONS_RARELY
    LESSONS_RARELY = 64,
};

// What a key is compared as.
static Str normal(const ColumnarDeserializer *d, struct arena *a, Str key)
{
    char *out = arena_alloc(a, key.n + 1, 1);
    for (size_t i = 0; i < key.n; i++) {
        char c = key.p[i];
        if (c >= 'A' && c <= 'Z' && !(d->serde == COLUMNAR_OPENX && d->case_sensitive))
            c = (char)(c + ('a' - 'A'));
        if (c == '.' && d->serde == COLUMNAR_OPENX && d->dots_to_underscores)
            c = '_';
        out[i] = c;
    }
    return str_from(out, key.n);
}

// The key that a field takes.
static Str wanted(const ColumnarDeserializer *d, Str field)
{
    for (size_t i = 0; d->serde == COLUMNAR_OPENX && i < d->mapping_count; i++)
        if (str_eq_nocase(d->mappings[i].column, field))
            return d->mappings[i].key;
    return field;
}

Err keys_open(const struct type *t, const ColumnarDeserializer *d, ColumnarProblem *problem,
              struct keys **ret)
{
    AUTO(keys) k = xalloc(sizeof *k);
    AUTO(arena) tmp = arena_open();
    k->fields = map_open();
    for (size_t i = 0; i < t->child_count; i++) {
        Str key = normal(d, tmp, wanted(d, t->children[i].name));
        if (map_put(k->fields, key, (void *)(uintptr_t)(i + 1)) != NULL)
            return problem_set(problem, COLUMNAR_OPTION, "two columns want the JSON key '%.*s'",
                               FMT(str_head(key, 100)));
    }
    k->max = 2 * t->child_count + GUESSES_SPARE;
    k->guesses = xalloc(mul_checked(k->max, sizeof *k->guesses));
    *ret = k;
    k = NULL;
    return OK;
}

void keys_close(struct keys *k)
{
    if (k == NULL)
        return;
    map_close(k->fields);
    free(k->guesses);
    free(k);
}

int32_t keys_find(const struct keys *k, const ColumnarDeserializer *d, struct arena *tmp, Str key)
{
    void *number = map_get(k->fields, normal(d, tmp, key));
    return number != NULL ? (int32_t)(uintptr_t)number - 1 : KEY_UNWANTED;
}

bool keys_learn(struct keys *k, size_t place, Str raw, int32_t field)
{
    if (raw.n > KEY_GUESS_BYTES_MAX || place >= k->max)
        return false;
    // Objects that follow no order at all shall not pay for it with every key.
    if (k->misses++ >= LESSONS * k->max && k->misses % LESSONS_RARELY != 0)
        return false;
    struct key_guess g = { .n = (uint8_t)(raw.n + 1), .field = field };
    char bytes[KEY_GUESS_BYTES_MAX + 2] = { 0 };
    unsigned char mask[16] = { 0 };
    memcpy(bytes, raw.p, raw.n);
    bytes[raw.n] = '"';
    memset(mask, 0xff, MIN((size_t)g.n, sizeof mask));
    memcpy(g.words, bytes, sizeof g.words);
    memcpy(g.masks, mask, sizeof g.masks);
    memcpy(g.rest, bytes + 16, sizeof g.rest);

    // It is put in between, as members are left out more often than they change places. Once the
    // guesses are many, they are of several kinds of objects: those from here on are begun anew.
    if (k->n == k->max)
        k->n = place;
    memmove(k->guesses + place + 1, k->guesses + place, (k->n - place) * sizeof g);
    k->guesses[place] = g;
    k->n++;
    return true;
}

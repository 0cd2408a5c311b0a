// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/tag_set.h"

#include <stdlib.h>

static Str own(Str s)
{
    char *p = xalloc(s.n + 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return str_from(p, s.n);
}

static void disown(Str s)
{
    free((void *)(uintptr_t)s.p);
}

// The place of the key, or where it belongs.
static size_t place_of(const TagSet *t, Str key, bool *ret_found)
{
    size_t at = 0;
    while (at < t->n && str_cmp(t->at[at].key, key) < 0)
        at++;
    *ret_found = at < t->n && str_eq(t->at[at].key, key);
    return at;
}

void tag_set_put(TagSet *t, Str key, Str value)
{
    bool found;
    size_t at = place_of(t, key, &found);
    if (found) {
        disown(t->at[at].value);
        t->at[at].value = own(value);
        return;
    }
    t->at = xrealloc(t->at, mul_checked(t->n + 1, sizeof *t->at));
    memmove(&t->at[at + 1], &t->at[at], (t->n - at) * sizeof *t->at);
    t->at[at] = (TagPair){ .key = own(key), .value = own(value) };
    t->n++;
}

void tag_set_drop(TagSet *t, Str key)
{
    bool found;
    size_t at = place_of(t, key, &found);
    if (!found)
        return;
    disown(t->at[at].key);
    disown(t->at[at].value);
    t->n--;
    memmove(&t->at[at], &t->at[at + 1], (t->n - at) * sizeof *t->at);
}

Str tag_set_find(const TagSet *t, Str key)
{
    bool found;
    size_t at = place_of(t, key, &found);
    return found ? t->at[at].value : (Str){ 0 };
}

void tag_set_copy(TagSet *to, const TagSet *from)
{
    for (size_t i = 0; i < from->n; i++)
        tag_set_put(to, from->at[i].key, from->at[i].value);
}

void tag_set_done(TagSet *t)
{
    for (size_t i = 0; i < t->n; i++) {
        disown(t->at[i].key);
        disown(t->at[i].value);
    }
    free(t->at);
    *t = (TagSet){ 0 };
}

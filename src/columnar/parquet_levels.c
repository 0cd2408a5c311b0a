// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "columnar/parquet_priv.h"

enum { GROUP = 8 }; // numbers that are packed together

// ---- Dremel's levels, one type after the other from the top

static bool levels_room(struct levels *l, size_t more)
{
    if (l->cap - l->n >= more)
        return true;
    size_t cap = MAX(MAX(l->cap * 2, l->n + more), (size_t)256);
    uint8_t *def = memory_try_resize(l->def, cap);
    if (def != NULL)
        l->def = def;
    uint8_t *rep = memory_try_resize(l->rep, cap);
    if (rep != NULL)
        l->rep = rep;
    if (def == NULL || rep == NULL)
        return false;
    l->cap = cap;
    return true;
}

static inline void put_level(struct levels *l, size_t def, size_t rep)
{
    l->def[l->n] = (uint8_t)def;
    l->rep[l->n++] = (uint8_t)rep;
}

// What the slots of the parent become below c: a slot where the parent is there (its level is
// `full`) takes an entry of c; a list of n elements makes n slots of it.
static bool step(const struct column *c, const struct levels *in, size_t full, size_t rep_level,
                 bool required, struct levels *out)
{
    bool list = c->type->kind == TYPE_LIST || c->type->kind == TYPE_MAP;
    size_t entry = 0, value = 0;
    out->n = 0;
    if (!levels_room(out, in->n + (list ? c->elements : 0)))
        return false;
    for (size_t i = 0; i < in->n; i++) {
        if (in->def[i] < full) {
            put_level(out, in->def[i], in->rep[i]);
        } else if (!c->present[entry++]) {
            put_level(out, full, in->rep[i]);
        } else {
            size_t there = full + !required, length = list ? c->lengths[value++] : 0;
            put_level(out, there + (length > 0), in->rep[i]);
            for (size_t k = 1; k < length; k++)
                put_level(out, there + 1, rep_level + 1);
        }
    }
    CHECK(entry == c->n);
    return true;
}

static Err walk(struct parquet *p, const struct column *c, size_t depth, size_t full,
                size_t rep_level, bool required, struct leaf **leaf)
{
    const struct levels *in = &p->levels[depth];
    struct levels *out = &p->levels[depth + 1];
    if (!step(c, in, full, rep_level, required, out))
        return fail(ERR_MEMORY, "no memory for the levels of a page");
    TypeKind k = c->type->kind;
    if (!type_is_nested(k)) {
        size_t rows = p->levels[0].n;
        struct leaf *l = (*leaf)++;
        return leaf_add(p, l, c, out->def, l->rep_max > 0 ? out->rep : NULL, out->n, rows);
    }
    bool list = k != TYPE_STRUCT;
    for (size_t i = 0; i < c->type->child_count; i++)
        TRY(walk(p, &c->children[i], depth + 1, full + !required + list, rep_level + list,
                 k == TYPE_MAP && i == 0, leaf));
    return OK;
}

Err levels_add(struct parquet *p, const struct column *c, struct leaf **leaf)
{
    if (!type_is_nested(c->type->kind))
        return leaf_add(p, (*leaf)++, c, c->dense < c->n ? c->present : NULL, NULL, c->n, c->n);
    struct levels *top = &p->levels[0];
    top->n = 0;
    if (!levels_room(top, c->n))
        return fail(ERR_MEMORY, "no memory for the levels of a page");
    for (size_t i = 0; i < c->n; i++)
        put_level(top, 0, 0);
    return walk(p, c, 0, 0, 0, false, leaf);
}

// ---- The hybrid of run lengths and packed bits

static void put_varint(struct buf *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_add_byte(out, (char)(v | 0x80));
    buf_add_byte(out, (char)v);
}

void hybrid_run(struct buf *out, uint32_t value, size_t n, unsigned width)
{
    put_varint(out, (uint64_t)n << 1);
    for (unsigned bits = 0; bits < width; bits += 8)
        buf_add_byte(out, (char)(value >> bits));
}

static inline uint32_t number_at(const void *p, size_t i, bool words)
{
    return words ? ((const uint32_t *)p)[i] : ((const uint8_t *)p)[i];
}

// Numbers from..to, as whole groups: behind the last one zeros.
static inline void hybrid_packed(struct buf *out, const void *p, size_t from, size_t to,
                                 unsigned width, bool words)
{
    size_t groups = (to - from + GROUP - 1) / GROUP;
    if (groups == 0)
        return;
    put_varint(out, (uint64_t)groups << 1 | 1);
    if (!buf_reserve(out, groups * width))
        return;
    uint64_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < groups * GROUP; i++) {
        bits |= (uint64_t)(from + i < to ? number_at(p, from + i, words) : 0) << have;
        for (have += width; have >= 8; have -= 8, bits >>= 8)
            out->p[out->n++] = (char)bits;
    }
}

// All of the numbers, or those that make whole groups; says how many.
static inline size_t hybrid(struct buf *out, const void *p, size_t n, unsigned width, bool words,
                            bool all)
{
    size_t from = 0; // of numbers that no run holds
    for (size_t i = 0; i < n;) {
        uint32_t value = number_at(p, i, words);
        size_t end = i + 1;
        while (end < n && number_at(p, end, words) == value)
            end++;
        // What stands before a run ends with a whole group, and takes what it lacks from the run.
        size_t start = i + (GROUP - (i - from) % GROUP) % GROUP;
        if (end >= start + GROUP) {
            hybrid_packed(out, p, from, start, width, words);
            hybrid_run(out, value, end - start, width);
            from = end;
        }
        i = end;
    }
    size_t to = all ? n : n - (n - from) % GROUP;
    hybrid_packed(out, p, from, to, width, words);
    return to;
}

void hybrid_bytes(struct buf *out, const uint8_t *p, size_t n, unsigned width)
{
    hybrid(out, p, n, width, false, true);
}

size_t hybrid_bytes_begin(struct buf *out, const uint8_t *p, size_t n, unsigned width)
{
    return hybrid(out, p, n, width, false, false);
}

void hybrid_words(struct buf *out, const uint32_t *p, size_t n, unsigned width)
{
    hybrid(out, p, n, width, true, true);
}

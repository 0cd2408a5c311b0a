// SPDX-License-Identifier: Apache-2.0
#include "columnar/range.h"

#include <endian.h>

static void ints_add(struct range *r, const int64_t *p, size_t n)
{
    int64_t least = r->any ? r->ints[0] : p[0], greatest = r->any ? r->ints[1] : p[0];
    for (size_t i = 0; i < n; i++) {
        least = p[i] < least ? p[i] : least;
        greatest = p[i] > greatest ? p[i] : greatest;
    }
    r->ints[0] = least;
    r->ints[1] = greatest;
}

static void reals_add(struct range *r, const double *p, size_t n)
{
    double least = r->any ? r->reals[0] : p[0], greatest = r->any ? r->reals[1] : p[0];
    for (size_t i = 0; i < n; i++) {
        least = p[i] < least ? p[i] : least;
        greatest = p[i] > greatest ? p[i] : greatest;
    }
    r->reals[0] = least;
    r->reals[1] = greatest;
}

static void decimals_add(struct range *r, const Decimal *p, size_t n)
{
    Decimal least = r->any ? r->decimals[0] : p[0], greatest = r->any ? r->decimals[1] : p[0];
    for (size_t i = 0; i < n; i++) {
        least = p[i] < least ? p[i] : least;
        greatest = p[i] > greatest ? p[i] : greatest;
    }
    r->decimals[0] = least;
    r->decimals[1] = greatest;
}

static void moments_add(struct range *r, const Moment *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int64_t ms = p[i].seconds * 1000 + p[i].ns / 1000000;
        ints_add(r, &ms, 1);
        r->any = true;
    }
}

static inline uint64_t first_bytes(const char *p, size_t n)
{
    uint64_t word; // behind text there is slack to read
    memcpy(&word, p, sizeof word);
    word = be64toh(word);
    return n >= 8 ? word : n == 0 ? 0 : word & UINT64_MAX << (64 - 8 * n);
}

static void text_set(struct range *r, int side, const char *p, size_t n, uint64_t first)
{
    if (n > RANGE_TEXT_BYTES) {
        r->off = true;
        return;
    }
    r->first[side] = first;
    r->n[side] = (uint8_t)n;
    memcpy(r->text[side], p, n);
}

static void text_add(struct range *r, const char *p, size_t n, uint64_t first)
{
    if (!r->any || first < r->first[0] ||
        (first == r->first[0] && str_cmp(str_from(p, n), str_from(r->text[0], r->n[0])) < 0))
        text_set(r, 0, p, n, first);
    if (!r->any || first > r->first[1] ||
        (first == r->first[1] && str_cmp(str_from(p, n), str_from(r->text[1], r->n[1])) > 0))
        text_set(r, 1, p, n, first);
    r->any = true;
}

void range_add(struct range *r, const struct column *c)
{
    if (c->dense == 0 || r->off)
        return;
    switch (c->type->kind) {
    case TYPE_FLOAT:
    case TYPE_DOUBLE:
        reals_add(r, c->reals, c->dense);
        break;
    case TYPE_DECIMAL:
        decimals_add(r, c->decimals, c->dense);
        break;
    case TYPE_TIMESTAMP:
        moments_add(r, c->moments, c->dense);
        break;
    case TYPE_STRING:
    case TYPE_VARCHAR:
    case TYPE_CHAR:
    case TYPE_BINARY: {
        const char *p = c->bytes;
        for (size_t i = 0; i < c->dense && !r->off; p += c->lengths[i++])
            text_add(r, p, c->lengths[i], first_bytes(p, c->lengths[i]));
        break;
    }
    default:
        ints_add(r, c->ints, c->dense);
    }
    r->any = true;
}

void range_join(struct range *r, const struct range *more, const struct type *t)
{
    r->off |= more->off;
    if (r->off || !more->any)
        return;
    if (!r->any) {
        *r = *more;
        return;
    }
    if (t->kind == TYPE_FLOAT || t->kind == TYPE_DOUBLE)
        reals_add(r, more->reals, 2);
    else if (t->kind == TYPE_DECIMAL)
        decimals_add(r, more->decimals, 2);
    else if (!type_is_text(t->kind))
        ints_add(r, more->ints, 2);
    for (int side = 0; type_is_text(t->kind) && side < 2; side++)
        text_add(r, more->text[side], more->n[side], more->first[side]);
}

// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/block.h"
#include "codec/crc.h"
#include "codec/little.h"

#include <string.h>

enum {
    BLOCK_VERSION = 1,
    CRC_BYTES = 4,
    POINT_BYTES = 5 + 4 * 8,
    BIN_BYTES = 16,
    FLAG_BLURRED = 1,
    FLAG_SINGLE = 2, // one bin: of min, and all of the count
};

// The order is for ever: rows hold the numbers.
static const Str units[UNITS] = {
    S_INIT("None"),
    S_INIT("Seconds"),
    S_INIT("Microseconds"),
    S_INIT("Milliseconds"),
    S_INIT("Bytes"),
    S_INIT("Kilobytes"),
    S_INIT("Megabytes"),
    S_INIT("Gigabytes"),
    S_INIT("Terabytes"),
    S_INIT("Bits"),
    S_INIT("Kilobits"),
    S_INIT("Megabits"),
    S_INIT("Gigabits"),
    S_INIT("Terabits"),
    S_INIT("Percent"),
    S_INIT("Count"),
    S_INIT("Bytes/Second"),
    S_INIT("Kilobytes/Second"),
    S_INIT("Megabytes/Second"),
    S_INIT("Gigabytes/Second"),
    S_INIT("Terabytes/Second"),
    S_INIT("Bits/Second"),
    S_INIT("Kilobits/Second"),
    S_INIT("Megabits/Second"),
    S_INIT("Gigabits/Second"),
    S_INIT("Terabits/Second"),
    S_INIT("Count/Second"),
};

unsigned unit_of(Str name)
{
    unsigned i = 0;
    while (i < UNITS && !str_eq(units[i], name))
        i++;
    return i;
}

Str unit_name(unsigned unit)
{
    CHECK(unit < UNITS);
    return units[unit];
}

void block_add(struct arena *a, Block *b, unsigned slot, unsigned unit, const StatSet *set)
{
    size_t at = b->n;
    while (at > 0 &&
           (b->at[at - 1].slot > slot || (b->at[at - 1].slot == slot && b->at[at - 1].unit > unit)))
        at--;
    if (at > 0 && b->at[at - 1].slot == slot && b->at[at - 1].unit == unit) {
        statset_merge(a, &b->at[at - 1].set, set);
        return;
    }
    if (b->n == b->cap) {
        size_t cap = MAX(b->cap * 2, (size_t)8);
        BlockPoint *wider = arena_new(a, BlockPoint, cap);
        if (b->n > 0)
            memcpy(wider, b->at, b->n * sizeof *wider);
        b->at = wider;
        b->cap = cap;
    }
    memmove(&b->at[at + 1], &b->at[at], (b->n - at) * sizeof *b->at);
    b->at[at] = (BlockPoint){ .slot = slot, .unit = unit };
    statset_merge(a, &b->at[at].set, set);
    b->n++;
}

// ---- Writing

static void add_real(struct buf *out, double value)
{
    uint64_t bits;
    uint8_t bytes[sizeof bits];
    memcpy(&bits, &value, sizeof bits);
    put64(bytes, bits);
    buf_add(out, str_from(bytes, sizeof bytes));
}

static bool is_single(const StatSet *s)
{
    return s->bin_count == 1 && s->bins[0].value == s->min && s->bins[0].count == s->count &&
           !s->blurred;
}

static void add_point(struct buf *out, const BlockPoint *p)
{
    const StatSet *s = &p->set;
    size_t bins = is_single(s) ? 0 : s->bin_count;
    unsigned flags = (s->blurred ? FLAG_BLURRED : 0) | (is_single(s) ? FLAG_SINGLE : 0);
    uint8_t head[] = { (uint8_t)p->slot, (uint8_t)p->unit, (uint8_t)flags, 0, 0 };
    put16(head + 3, (uint16_t)bins);
    buf_add(out, str_from(head, sizeof head));
    add_real(out, s->count);
    add_real(out, s->sum);
    add_real(out, s->min);
    add_real(out, s->max);
    for (size_t i = 0; i < bins; i++) {
        add_real(out, s->bins[i].value);
        add_real(out, s->bins[i].count);
    }
}

void block_write(struct buf *out, const Block *b)
{
    size_t start = out->n;
    buf_add_byte(out, BLOCK_VERSION);
    for (size_t i = 0; i < b->n; i++)
        add_point(out, &b->at[i]);
    if (buf_err(out).kind != ERR_NONE)
        return; // the caller sees it, too
    uint8_t crc[CRC_BYTES];
    put32(crc, crc32c(0, out->p + start, out->n - start));
    buf_add(out, str_from(crc, sizeof crc));
}

// ---- Reading

static double real_at(const uint8_t *p)
{
    uint64_t bits = get64(p);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// Takes one point off the rest of a row.
static Err read_point(struct arena *a, Str *rest, BlockPoint *ret)
{
    const uint8_t *p = (const uint8_t *)rest->p;
    if (rest->n < POINT_BYTES)
        return fail(ERR_CORRUPT, "a block of points ends inside of one");
    BlockPoint point = { .slot = p[0], .unit = p[1] };
    unsigned flags = p[2];
    size_t bins = get16(p + 3);
    if (point.slot >= BLOCK_SLOTS || point.unit >= UNITS || bins > STATSET_BINS_MAX ||
        rest->n - POINT_BYTES < bins * BIN_BYTES)
        return fail(ERR_CORRUPT, "a point of a block is out of range");
    StatSet *s = &point.set;
    *s = (StatSet){ .count = real_at(p + 5),
                    .sum = real_at(p + 13),
                    .min = real_at(p + 21),
                    .max = real_at(p + 29),
                    .bin_count = bins,
                    .blurred = (flags & FLAG_BLURRED) != 0 };
    if (bins > 0 || (flags & FLAG_SINGLE) != 0)
        s->bins = arena_new(a, StatBin, MAX(bins, (size_t)1));
    for (size_t i = 0; i < bins; i++) {
        const uint8_t *bin = p + POINT_BYTES + i * BIN_BYTES;
        s->bins[i] = (StatBin){ real_at(bin), real_at(bin + 8) };
    }
    if ((flags & FLAG_SINGLE) != 0) {
        s->bins[0] = (StatBin){ s->min, s->count };
        s->bin_count = 1;
    }
    *rest = str_skip(*rest, POINT_BYTES + bins * BIN_BYTES);
    *ret = point;
    return OK;
}

Err block_read(struct arena *a, Str row, Block *ret)
{
    Block b = { 0 };
    if (row.n < 1 + CRC_BYTES)
        return fail(ERR_CORRUPT, "a block of points is too short");
    size_t n = row.n - CRC_BYTES;
    if (crc32c(0, row.p, n) != get32((const uint8_t *)row.p + n))
        return fail(ERR_CORRUPT, "a block of points has a wrong checksum");
    if ((unsigned char)row.p[0] != BLOCK_VERSION)
        return fail(ERR_FORMAT, "a block of points was written by a newer program");
    Str rest = str_skip(str_head(row, n), 1);
    b.cap = rest.n / POINT_BYTES;
    b.at = arena_new(a, BlockPoint, MAX(b.cap, (size_t)1));
    while (rest.n > 0) {
        TRY(read_point(a, &rest, &b.at[b.n]));
        b.n++;
    }
    *ret = b;
    return OK;
}

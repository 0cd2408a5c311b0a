// SPDX-License-Identifier: Apache-2.0
// The run lengths of ORC. Each encoder looks at what is pending as a whole.
#include "columnar/orc_priv.h"
#include "columnar/proto.h"

enum {
    RUN_MIN = 3, // values that a run has, in every encoding
    V1_RUN_MAX = 130,
    V1_LITERALS_MAX = 128,
    V2_REPEAT_MIN = 3,
    V2_REPEAT_MAX = 10,
    V2_RUN_WORTH = 8, // equal values for which others are divided
    VARINT_BYTES_MAX = 10,
    PACKED_BYTES_MAX = ORC_RUN_MAX * 8 + 2 * VARINT_BYTES_MAX + 4,
};

// A short output on the stack; what is written never exceeds it.
struct piece {
    uint8_t p[PACKED_BYTES_MAX];
    size_t n;
};

static void put_byte(struct piece *o, unsigned b)
{
    CHECK(o->n < sizeof o->p);
    o->p[o->n++] = (uint8_t)b;
}

static void put_varint(struct piece *o, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        put_byte(o, (unsigned)(v & 0x7f) | 0x80);
    put_byte(o, (unsigned)v);
}

static void put_value(struct piece *o, int64_t v, bool is_signed)
{
    put_varint(o, is_signed ? proto_zigzag(v) : (uint64_t)v);
}

static void send(struct orc_stream *to, struct piece *o)
{
    orc_stream_add(to, str_from(o->p, o->n));
    o->n = 0;
}

// ---- Bytes

static void bytes_literals(struct orc_stream *to, const uint8_t *p, size_t n)
{
    while (n > 0) {
        size_t some = MIN(n, (size_t)V1_LITERALS_MAX);
        uint8_t head = (uint8_t)(0 - some);
        orc_stream_add(to, str_from(&head, 1));
        orc_stream_add(to, str_from(p, some));
        p += some;
        n -= some;
    }
}

void orc_bytes_flush(struct orc_bytes *e)
{
    const uint8_t *p = e->pending;
    size_t literal = 0;
    for (size_t i = 0; i < e->n;) {
        size_t end = i + 1;
        while (end < e->n && p[end] == p[i] && end - i < V1_RUN_MAX)
            end++;
        if (end - i >= RUN_MIN) {
            bytes_literals(e->to, p + literal, i - literal);
            uint8_t run[] = { (uint8_t)(end - i - RUN_MIN), p[i] };
            orc_stream_add(e->to, str_from(run, sizeof run));
            literal = end;
        }
        i = end;
    }
    bytes_literals(e->to, p + literal, e->n - literal);
    e->n = 0;
}

void orc_bits_end(struct orc_bits *e)
{
    while (e->used > 0)
        orc_bits_add(e, false);
    orc_bytes_flush(&e->bytes);
}

void orc_bits_position(struct orc_bits *e, struct orc_position *p)
{
    orc_bytes_flush(&e->bytes);
    orc_stream_position(e->bytes.to, p);
    p->at[p->n++] = 0; // bytes of a run before it
    p->at[p->n++] = e->used;
}

// ---- Integers, version 1

static void v1_literals(struct orc_ints *e, size_t from, size_t to)
{
    struct piece o = { .n = 0 };
    while (from < to) {
        size_t some = MIN(to - from, (size_t)V1_LITERALS_MAX);
        put_byte(&o, (unsigned)(0 - some) & 0xff);
        for (size_t i = 0; i < some; i++)
            put_value(&o, e->pending[from++], e->is_signed);
        send(e->to, &o);
    }
}

static void v1_flush(struct orc_ints *e)
{
    struct piece o = { .n = 0 };
    const int64_t *p = e->pending;
    size_t literal = 0;
    for (size_t i = 0; i < e->n;) {
        int64_t delta = 0, more;
        size_t end = i + 1;
        if (end < e->n && !__builtin_sub_overflow(p[end], p[i], &delta) && delta >= -128 &&
            delta <= 127)
            while (end < e->n && end - i < V1_RUN_MAX &&
                   !__builtin_sub_overflow(p[end], p[end - 1], &more) && more == delta)
                end++;
        if (end - i < RUN_MIN) {
            i++;
            continue;
        }
        v1_literals(e, literal, i);
        put_byte(&o, (unsigned)(end - i - RUN_MIN));
        put_byte(&o, (unsigned)delta & 0xff);
        put_value(&o, p[i], e->is_signed);
        send(e->to, &o);
        literal = i = end;
    }
    v1_literals(e, literal, e->n);
}

// ---- Integers, version 2

static unsigned bits_of(uint64_t v)
{
    return v == 0 ? 0 : 64 - (unsigned)__builtin_clzll(v);
}

// The next width that there is, and its code.
static unsigned width_for(unsigned bits, unsigned *ret_code)
{
    static const uint8_t wide[] = { 26, 28, 30, 32, 40, 48, 56, 64 };
    if (bits <= 24) {
        *ret_code = bits == 0 ? 0 : bits - 1;
        return MAX(bits, 1u);
    }
    unsigned i = 0;
    while (wide[i] < bits)
        i++;
    *ret_code = 24 + i;
    return wide[i];
}

struct bit_packer {
    struct piece *o;
    unsigned have;
    uint64_t bits;
};

// The highest bit first.
static void pack_bits(struct bit_packer *k, uint64_t v, unsigned width)
{
    while (width > 0) {
        unsigned take = MIN(width, 8 - k->have);
        uint64_t part = v >> (width - take) & ((1u << take) - 1);
        k->bits = k->bits << take | part;
        k->have += take;
        width -= take;
        if (k->have == 8) {
            put_byte(k->o, (unsigned)k->bits & 0xff);
            k->have = 0;
            k->bits = 0;
        }
    }
}

static void pack_end(struct bit_packer *k)
{
    if (k->have > 0)
        pack_bits(k, 0, 8 - k->have);
}

static void put_head(struct piece *o, unsigned kind, unsigned code, size_t n)
{
    put_byte(o, kind << 6 | code << 1 | (unsigned)((n - 1) >> 8));
    put_byte(o, (unsigned)(n - 1) & 0xff);
}

static uint64_t as_unsigned(const struct orc_ints *e, int64_t v)
{
    return e->is_signed ? proto_zigzag(v) : (uint64_t)v;
}

static void v2_repeat(struct orc_ints *e, int64_t value, size_t n)
{
    struct piece o = { .n = 0 };
    uint64_t v = as_unsigned(e, value);
    if (n <= V2_REPEAT_MAX) {
        unsigned bytes = MAX((bits_of(v) + 7) / 8, 1u);
        put_byte(&o, (bytes - 1) << 3 | (unsigned)(n - V2_REPEAT_MIN));
        for (unsigned i = bytes; i-- > 0;)
            put_byte(&o, (unsigned)(v >> (8 * i)) & 0xff);
    } else {
        put_head(&o, 3, 0, n); // a delta of zero
        put_value(&o, value, e->is_signed);
        put_byte(&o, 0);
    }
    send(e->to, &o);
}

static void v2_direct(struct orc_ints *e, const int64_t *p, size_t n, unsigned bits)
{
    struct piece o = { .n = 0 };
    struct bit_packer k = { .o = &o };
    unsigned code, width = width_for(bits, &code);
    put_head(&o, 1, code, n);
    for (size_t i = 0; i < n; i++)
        pack_bits(&k, as_unsigned(e, p[i]), width);
    pack_end(&k);
    send(e->to, &o);
}

// How values grow: all differences have the sign of the first, which is not zero.
struct growth {
    bool fits, fixed;
    int64_t first;
    uint64_t greatest; // of the differences behind the first
};

static struct growth growth_of(const int64_t *p, size_t n)
{
    struct growth g = { .fixed = true };
    if (n < RUN_MIN || __builtin_sub_overflow(p[1], p[0], &g.first) || g.first == 0)
        return g;
    for (size_t i = 2; i < n; i++) {
        int64_t d;
        if (__builtin_sub_overflow(p[i], p[i - 1], &d) || (g.first < 0 ? d > 0 : d < 0))
            return g;
        g.fixed &= d == g.first;
        g.greatest = MAX(g.greatest, d < 0 ? 0 - (uint64_t)d : (uint64_t)d);
    }
    g.fits = true;
    return g;
}

static void v2_delta(struct orc_ints *e, const int64_t *p, size_t n, const struct growth *g)
{
    struct piece o = { .n = 0 };
    struct bit_packer k = { .o = &o };
    unsigned code = 0, width = 0;
    if (!g->fixed)
        width = width_for(MAX(bits_of(g->greatest), 2u), &code); // the code of one bit means none
    put_head(&o, 3, code, n);
    put_value(&o, p[0], e->is_signed);
    put_varint(&o, proto_zigzag(g->first));
    for (size_t i = 2; i < n && width > 0; i++) {
        int64_t d = p[i] - p[i - 1];
        pack_bits(&k, d < 0 ? 0 - (uint64_t)d : (uint64_t)d, width);
    }
    pack_end(&k);
    send(e->to, &o);
}

static void v2_segment(struct orc_ints *e, const int64_t *p, size_t n)
{
    uint64_t all = 0;
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        all |= as_unsigned(e, p[i]);
    struct growth g = growth_of(p, n);
    if (g.fits && (g.fixed || bits_of(g.greatest) < bits_of(all)))
        v2_delta(e, p, n, &g);
    else
        v2_direct(e, p, n, bits_of(all));
}

static void v2_flush(struct orc_ints *e)
{
    const int64_t *p = e->pending;
    size_t start = 0;
    for (size_t i = 0; i < e->n;) {
        size_t end = i + 1;
        while (end < e->n && p[end] == p[i])
            end++;
        bool whole = i == start && end == e->n && end - i >= V2_REPEAT_MIN;
        if (end - i >= V2_RUN_WORTH || whole) {
            v2_segment(e, p + start, i - start);
            v2_repeat(e, p[i], end - i);
            start = end;
        }
        i = end;
    }
    v2_segment(e, p + start, e->n - start);
}

void orc_ints_flush(struct orc_ints *e)
{
    if (e->v1)
        v1_flush(e);
    else
        v2_flush(e);
    e->n = 0;
}

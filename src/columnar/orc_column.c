// SPDX-License-Identifier: Apache-2.0
// A column of a stripe: its streams, the statistics and positions of its strides.
#include "columnar/orc_priv.h"
#include "columnar/proto.h"

#include <stdlib.h>

enum {
    EPOCH_2015 = 1420070400, // seconds, from which ORC counts
    NS_SEEN = 999999,        // more nanoseconds than these make readers round seconds down
    DICTIONARY_BYTES_MAX = 16 << 20,
};

// ---- Opening

static bool is_listed(const ColumnarOrc *o, const struct type *t)
{
    if (t->parent == NULL || t->parent->parent != NULL)
        return false;
    for (size_t i = 0; i < o->bloom_column_count; i++)
        if (str_eq_nocase(o->bloom_columns[i], t->name))
            return true;
    return false;
}

static OrcEncoding plain_encoding(const struct orc_column *c)
{
    switch (c->type->kind) {
    case TYPE_BOOLEAN:
    case TYPE_TINYINT:
    case TYPE_FLOAT:
    case TYPE_DOUBLE:
    case TYPE_STRUCT:
        return ORC_DIRECT;
    default:
        return c->v1 ? ORC_DIRECT : ORC_DIRECT_V2;
    }
}

Err orc_column_init(struct orc_column *c, const struct type *t, const ColumnarOrc *o,
                    struct pack *pack)
{
    bool text = type_is_text(t->kind) && t->kind != TYPE_BINARY;
    bool whole = t->kind <= TYPE_BIGINT || t->kind == TYPE_DATE || t->kind == TYPE_TIMESTAMP;
    *c = (struct orc_column){ .type = t,
                              .v1 = o->v0_11,
                              .threshold = text ? o->dictionary_threshold : 0,
                              .present = { .pack = pack },
                              .data = { .pack = pack },
                              .second = { .pack = pack },
                              .dictionary_data = { .pack = pack } };
    c->present_bits.bytes.to = &c->present;
    c->bits.bytes.to = &c->data;
    c->bytes.to = &c->data;
    c->ints = (struct orc_ints){ .to = &c->data, .is_signed = whole, .v1 = o->v0_11 };
    c->second_ints =
        (struct orc_ints){ .to = &c->second, .is_signed = t->kind == TYPE_DECIMAL, .v1 = o->v0_11 };
    c->collects = c->threshold > 0;
    c->encoding = plain_encoding(c);
    if (c->threshold > 0)
        dictionary_init(&c->dictionary, 0);
    if (is_listed(o, t) && orc_bloom_takes(t->kind))
        TRY(orc_bloom_open(o->row_index_stride, o->bloom_fpp, &c->bloom));
    c->children = xalloc(mul_checked(t->child_count, sizeof *c->children));
    for (size_t i = 0; i < t->child_count; i++)
        TRY(orc_column_init(&c->children[i], &t->children[i], o, pack));
    return OK;
}

void orc_column_done(struct orc_column *c)
{
    for (size_t i = 0; c->children != NULL && i < c->type->child_count; i++)
        orc_column_done(&c->children[i]);
    free(c->children);
    orc_stream_done(&c->present);
    orc_stream_done(&c->data);
    orc_stream_done(&c->second);
    orc_stream_done(&c->dictionary_data);
    dictionary_done(&c->dictionary);
    orc_bloom_close(c->bloom);
    struct buf *bufs[] = { &c->numbers,     &c->ends,       &c->positions,  &c->late_positions,
                           &c->stats_bytes, &c->stats_ends, &c->bloom_index };
    for (size_t i = 0; i < COUNT_OF(bufs); i++)
        buf_done(bufs[i]);
}

void orc_column_rewind(struct orc_column *c)
{
    c->entry = c->dense = c->text = c->element = 0;
    for (size_t i = 0; i < c->type->child_count; i++)
        orc_column_rewind(&c->children[i]);
}

// ---- Positions of strides

static void ints_position(struct orc_ints *e, struct orc_position *p)
{
    orc_ints_flush(e);
    orc_stream_position(e->to, p);
    p->at[p->n++] = 0; // values of a run before it
}

static void data_position(struct orc_column *c)
{
    struct orc_position p = { .n = 0 };
    switch (c->type->kind) {
    case TYPE_BOOLEAN:
        orc_bits_position(&c->bits, &p);
        break;
    case TYPE_TINYINT:
        orc_bytes_flush(&c->bytes);
        orc_stream_position(&c->data, &p);
        p.at[p.n++] = 0;
        break;
    case TYPE_FLOAT:
    case TYPE_DOUBLE:
        orc_stream_position(&c->data, &p);
        break;
    case TYPE_STRING:
    case TYPE_VARCHAR:
    case TYPE_CHAR:
    case TYPE_BINARY:
        if (c->encoding == ORC_DICTIONARY || c->encoding == ORC_DICTIONARY_V2) {
            ints_position(&c->ints, &p);
            break;
        }
        orc_stream_position(&c->data, &p);
        ints_position(&c->second_ints, &p);
        break;
    case TYPE_DECIMAL:
        orc_stream_position(&c->data, &p);
        ints_position(&c->second_ints, &p);
        break;
    case TYPE_TIMESTAMP:
        ints_position(&c->ints, &p);
        ints_position(&c->second_ints, &p);
        break;
    case TYPE_LIST:
    case TYPE_MAP:
        ints_position(&c->second_ints, &p);
        break;
    case TYPE_STRUCT:
        break;
    default:
        ints_position(&c->ints, &p);
    }
    buf_add(&c->late_positions, str_from(p.at, p.n * sizeof *p.at));
}

void orc_column_begin_stride(struct orc_column *c)
{
    struct orc_position p = { .n = 0 };
    if (c->type->parent != NULL)
        orc_bits_position(&c->present_bits, &p);
    c->present_positions = p.n;
    buf_add(&c->positions, str_from(p.at, p.n * sizeof *p.at));
    if (!c->collects)
        data_position(c);
    c->stride_count++;
    for (size_t i = 0; i < c->type->child_count; i++)
        orc_column_begin_stride(&c->children[i]);
}

// ---- Values

static void add_decimal(struct orc_column *c, Decimal v)
{
    unsigned __int128 u = v < 0 ? ~((unsigned __int128)v << 1) : (unsigned __int128)v << 1;
    char bytes[20];
    size_t n = 0;
    for (; u >= 0x80; u >>= 7)
        bytes[n++] = (char)((uint8_t)u | 0x80);
    bytes[n++] = (char)u;
    orc_stream_add(&c->data, str_from(bytes, n));
    orc_ints_add(&c->second_ints, c->type->scale);
}

// Nanoseconds without the zeros at their end, and how many these were, less one.
static int64_t short_ns(int64_t ns)
{
    unsigned zeros = 1;
    if (ns % 100 != 0 || ns == 0)
        return ns << 3;
    for (ns /= 100; ns % 10 == 0 && zeros < 7; zeros++)
        ns /= 10;
    return ns << 3 | zeros;
}

// Before 1970, readers take a second away if they see nanoseconds: they expect seconds that were
// rounded to zero, as Java's writer has them.
static void add_moment(struct orc_column *c, Moment m)
{
    int64_t seconds = m.seconds + (m.seconds < 0 && m.ns > NS_SEEN);
    orc_ints_add(&c->ints, seconds - EPOCH_2015);
    orc_ints_add(&c->second_ints, short_ns(m.ns));
}

static Err add_numbers(struct orc_column *c, const struct column *v)
{
    const char *p = v->bytes;
    for (size_t i = 0; i < v->dense; p += v->lengths[i++]) {
        uint32_t number;
        TRY(dictionary_add(&c->dictionary, str_from(p, v->lengths[i]), &number));
        buf_add(&c->numbers, str_from(&number, sizeof number));
    }
    return buf_err(&c->numbers);
}

static Err add_texts(struct orc_column *c, const struct column *v)
{
    if (c->collects)
        return add_numbers(c, v);
    if (v->bytes_n > 0)
        orc_stream_add(&c->data, str_from(v->bytes, v->bytes_n));
    for (size_t i = 0; i < v->dense; i++)
        orc_ints_add(&c->second_ints, v->lengths[i]);
    return OK;
}

static void add_reals(struct orc_column *c, const struct column *v)
{
    if (c->type->kind == TYPE_DOUBLE && v->dense > 0)
        orc_stream_add(&c->data, str_from(v->reals, v->dense * sizeof *v->reals));
    for (size_t i = 0; i < v->dense && c->type->kind == TYPE_FLOAT; i++) {
        float x = (float)v->reals[i];
        orc_stream_add(&c->data, str_from(&x, sizeof x));
    }
}

static Err add_values(struct orc_column *c, const struct column *v)
{
    size_t n = v->dense;
    switch (c->type->kind) {
    case TYPE_BOOLEAN:
        for (size_t i = 0; i < n; i++) {
            orc_bits_add(&c->bits, v->ints[i] != 0);
            c->stride.trues += v->ints[i] != 0;
        }
        break;
    case TYPE_TINYINT:
        for (size_t i = 0; i < n; i++)
            orc_bytes_add(&c->bytes, (uint8_t)v->ints[i]);
        break;
    case TYPE_FLOAT:
    case TYPE_DOUBLE:
        add_reals(c, v);
        break;
    case TYPE_DECIMAL:
        for (size_t i = 0; i < n; i++)
            add_decimal(c, v->decimals[i]);
        break;
    case TYPE_TIMESTAMP:
        for (size_t i = 0; i < n; i++)
            add_moment(c, v->moments[i]);
        break;
    case TYPE_LIST:
    case TYPE_MAP:
        for (size_t i = 0; i < n; i++)
            orc_ints_add(&c->second_ints, v->lengths[i]);
        break;
    case TYPE_STRUCT:
        break;
    case TYPE_STRING:
    case TYPE_VARCHAR:
    case TYPE_CHAR:
    case TYPE_BINARY:
        return add_texts(c, v);
    default:
        for (size_t i = 0; i < n; i++)
            orc_ints_add(&c->ints, v->ints[i]);
    }
    return OK;
}

// The next n entries of a batch, as a column of their own.
static struct column view(struct orc_column *c, const struct column *from, size_t n)
{
    struct column v = *from;
    TypeKind k = c->type->kind;
    v.n = n;
    v.present += c->entry;
    v.dense = v.elements = v.bytes_n = 0;
    for (size_t i = 0; i < n; i++)
        v.dense += v.present[i];
    if (type_is_text(k) || k == TYPE_LIST || k == TYPE_MAP) {
        uint64_t sum = 0;
        v.lengths += c->dense;
        for (size_t i = 0; i < v.dense; i++)
            sum += v.lengths[i];
        v.bytes_n = type_is_text(k) ? sum : 0;
        v.elements = sum - v.bytes_n;
        v.bytes = v.bytes != NULL ? v.bytes + c->text : NULL;
    } else if (k == TYPE_DECIMAL) {
        v.decimals += c->dense;
    } else if (k == TYPE_TIMESTAMP) {
        v.moments += c->dense;
    } else if (k != TYPE_STRUCT) {
        v.ints += c->dense; // of the same size as reals
    }
    c->entry += n;
    c->dense += v.dense;
    c->text += v.bytes_n;
    c->element += v.elements;
    return v;
}

static void add_sums(struct orc_stats *s, const struct column *v)
{
    TypeKind k = v->type->kind;
    if (type_is_text(k))
        s->sum_is_off |= __builtin_add_overflow(s->sum, (int64_t)v->bytes_n, &s->sum);
    for (size_t i = 0; i < v->dense && k <= TYPE_BIGINT; i++)
        s->sum_is_off |= __builtin_add_overflow(s->sum, v->ints[i], &s->sum);
    for (size_t i = 0; i < v->dense && (k == TYPE_FLOAT || k == TYPE_DOUBLE); i++)
        s->real_sum += v->reals[i];
}

Err orc_column_add(struct orc_column *c, const struct column *from, size_t n)
{
    struct column v = { 0 };
    if (n > 0)
        v = view(c, from, n);
    v.type = c->type;
    if (c->type->parent != NULL)
        for (size_t i = 0; i < n; i++)
            orc_bits_add(&c->present_bits, v.present[i]);
    c->stride.count += v.dense;
    c->stride.has_null |= v.dense < n;
    TRY(add_values(c, &v));
    add_sums(&c->stride, &v);
    if (!type_is_nested(c->type->kind))
        range_add(&c->stride.range, &v);
    if (c->bloom != NULL)
        orc_bloom_add(c->bloom, &v);
    size_t inner = c->type->kind == TYPE_STRUCT ? v.dense : v.elements;
    for (size_t i = 0; i < c->type->child_count; i++)
        TRY(orc_column_add(&c->children[i], &from->children[i], inner));
    return OK;
}

// ---- Dictionaries

static void emit_number(struct orc_column *c, uint32_t number)
{
    if (c->encoding == ORC_DICTIONARY || c->encoding == ORC_DICTIONARY_V2) {
        orc_ints_add(&c->ints, number);
        return;
    }
    Str s = dictionary_text(&c->dictionary, number);
    orc_stream_add(&c->data, s);
    orc_ints_add(&c->second_ints, (int64_t)s.n);
}

// What was collected becomes streams: numbers and a dictionary, or the texts themselves.
static void emit_collected(struct orc_column *c, bool with_dictionary)
{
    c->collects = false;
    if (with_dictionary) {
        c->encoding = c->v1 ? ORC_DICTIONARY : ORC_DICTIONARY_V2;
        for (size_t i = 0; i < c->dictionary.n; i++) {
            Str s = dictionary_text(&c->dictionary, i);
            orc_stream_add(&c->dictionary_data, s);
            orc_ints_add(&c->second_ints, (int64_t)s.n);
        }
    }
    size_t at = 0;
    for (size_t stride = 0; stride < c->ends.n / sizeof(size_t); stride++) {
        size_t end;
        memcpy(&end, c->ends.p + stride * sizeof end, sizeof end);
        data_position(c);
        for (; at < end; at += sizeof(uint32_t)) {
            uint32_t number;
            memcpy(&number, c->numbers.p + at, sizeof number);
            emit_number(c, number);
        }
    }
    if (!with_dictionary)
        dictionary_clear(&c->dictionary);
    buf_done(&c->numbers);
    buf_clear(&c->ends);
}

static bool is_worth(const struct orc_column *c)
{
    size_t values = c->numbers.n / sizeof(uint32_t);
    return (double)c->dictionary.n <= c->threshold * (double)values;
}

// ---- Strides and stripes

static void stats_join(struct orc_stats *s, const struct orc_stats *more, const struct type *t)
{
    s->count += more->count;
    s->trues += more->trues;
    s->has_null |= more->has_null;
    s->sum_is_off |= more->sum_is_off || __builtin_add_overflow(s->sum, more->sum, &s->sum);
    s->real_sum += more->real_sum;
    range_join(&s->range, &more->range, t);
}

Err orc_column_end_stride(struct orc_column *c)
{
    orc_stats_put(&c->stride, c->type, &c->stats_bytes);
    buf_add(&c->stats_ends, str_from(&c->stats_bytes.n, sizeof c->stats_bytes.n));
    stats_join(&c->stripe, &c->stride, c->type);
    c->stride = (struct orc_stats){ 0 };
    if (c->bloom != NULL)
        orc_bloom_put(c->bloom, &c->bloom_index);
    if (c->collects) {
        buf_add(&c->ends, str_from(&c->numbers.n, sizeof c->numbers.n));
        TRY(buf_err(&c->ends));
        // What does not repeat itself within a stride is not held until the stripe's end.
        if (!is_worth(c) || c->dictionary.bytes.n > DICTIONARY_BYTES_MAX)
            emit_collected(c, false);
    }
    for (size_t i = 0; i < c->type->child_count; i++)
        TRY(orc_column_end_stride(&c->children[i]));
    return OK;
}

Err orc_column_end_stripe(struct orc_column *c)
{
    if (c->collects)
        emit_collected(c, is_worth(c));
    orc_bits_end(&c->present_bits);
    orc_bits_end(&c->bits);
    orc_bytes_flush(&c->bytes);
    orc_ints_flush(&c->ints);
    orc_ints_flush(&c->second_ints);
    orc_stream_end(&c->present);
    orc_stream_end(&c->data);
    orc_stream_end(&c->second);
    orc_stream_end(&c->dictionary_data);
    stats_join(&c->file, &c->stripe, c->type);
    for (size_t i = 0; i < c->type->child_count; i++)
        TRY(orc_column_end_stripe(&c->children[i]));
    return OK;
}

void orc_column_clear(struct orc_column *c)
{
    struct buf *bufs[] = { &c->positions, &c->late_positions, &c->stats_bytes, &c->stats_ends,
                           &c->bloom_index };
    for (size_t i = 0; i < COUNT_OF(bufs); i++)
        buf_clear(bufs[i]);
    orc_stream_clear(&c->present);
    orc_stream_clear(&c->data);
    orc_stream_clear(&c->second);
    orc_stream_clear(&c->dictionary_data);
    if (c->threshold > 0)
        dictionary_clear(&c->dictionary);
    c->collects = c->threshold > 0;
    c->encoding = plain_encoding(c);
    c->stripe = (struct orc_stats){ 0 };
    c->stride_count = 0;
    for (size_t i = 0; i < c->type->child_count; i++)
        orc_column_clear(&c->children[i]);
}

// Packed numbers of one stride, from those of all strides; the first `skipped` are left out.
static void put_positions(struct buf *out, const struct buf *all, size_t stride, size_t strides,
                          size_t skipped)
{
    size_t n = all->n / sizeof(uint64_t) / strides;
    for (size_t i = skipped; i < n; i++) {
        uint64_t at;
        memcpy(&at, all->p + (stride * n + i) * sizeof at, sizeof at);
        proto_varint(out, at);
    }
}

void orc_column_index(const struct orc_column *c, struct buf *b)
{
    AUTO_BUF(positions);
    AUTO_BUF(entry);
    size_t start = 0;
    for (size_t i = 0; i < c->stride_count; i++) {
        size_t end;
        memcpy(&end, c->stats_ends.p + i * sizeof end, sizeof end);
        buf_clear(&positions);
        buf_clear(&entry);
        put_positions(&positions, &c->positions, i, c->stride_count,
                      c->stripe.has_null ? 0 : c->present_positions);
        put_positions(&positions, &c->late_positions, i, c->stride_count, 0);
        if (positions.n > 0)
            proto_bytes(&entry, 1, buf_str(&positions));
        proto_bytes(&entry, 2, str_from(c->stats_bytes.p + start, end - start));
        proto_bytes(b, 1, buf_str(&entry));
        start = end;
    }
}

size_t orc_column_held(const struct orc_column *c)
{
    size_t sum = orc_stream_held(&c->present) + orc_stream_held(&c->data) +
                 orc_stream_held(&c->second) + c->numbers.n / 2 + c->dictionary.bytes.n;
    for (size_t i = 0; i < c->type->child_count; i++)
        sum += orc_column_held(&c->children[i]);
    return sum;
}

size_t orc_column_bytes(const struct orc_column *c)
{
    const struct orc_stream *streams[] = { &c->present, &c->data, &c->second, &c->dictionary_data };
    size_t sum = sizeof *c + c->numbers.cap + c->ends.cap + c->positions.cap +
                 c->late_positions.cap + c->stats_bytes.cap + c->stats_ends.cap +
                 c->bloom_index.cap + dictionary_bytes(&c->dictionary);
    for (size_t i = 0; i < COUNT_OF(streams); i++)
        sum += streams[i]->out.cap + streams[i]->raw.cap;
    if (c->bloom != NULL)
        sum += sizeof *c->bloom + c->bloom->words * sizeof *c->bloom->bits;
    for (size_t i = 0; i < c->type->child_count; i++)
        sum += orc_column_bytes(&c->children[i]);
    return sum;
}

Err orc_column_err(const struct orc_column *c)
{
    const struct orc_stream *streams[] = { &c->present, &c->data, &c->second, &c->dictionary_data };
    const struct buf *bufs[] = { &c->numbers,        &c->ends,        &c->positions,
                                 &c->late_positions, &c->stats_bytes, &c->stats_ends,
                                 &c->bloom_index };
    for (size_t i = 0; i < COUNT_OF(streams); i++)
        TRY(orc_stream_err(streams[i]));
    for (size_t i = 0; i < COUNT_OF(bufs); i++)
        TRY(buf_err(bufs[i]));
    for (size_t i = 0; i < c->type->child_count; i++)
        TRY(orc_column_err(&c->children[i]));
    return OK;
}

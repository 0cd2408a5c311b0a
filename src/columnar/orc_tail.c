// SPDX-License-Identifier: Apache-2.0
// Statistics, and what stands at the end of an ORC file.
#include "columnar/orc_priv.h"
#include "columnar/proto.h"

enum {
    HEADER_BYTES = 3,
    WRITER_VERSION = 6, // statistics of timestamps are in UTC (ORC-135)
    CALENDAR_PROLEPTIC = 2,
    DECIMAL_CHARS_MAX = 48,
};

// ---- Statistics

// Digits from the last to the first, then turned around.
static Str decimal_text(Decimal v, unsigned scale, char *room)
{
    size_t n = 0;
    unsigned __int128 u = v < 0 ? 0 - (unsigned __int128)v : (unsigned __int128)v;
    for (unsigned i = 0; u > 0 || i <= scale; i++, u /= 10) {
        if (i == scale && scale > 0)
            room[n++] = '.';
        room[n++] = (char)('0' + (unsigned)(u % 10));
    }
    if (v < 0)
        room[n++] = '-';
    for (size_t i = 0; i < n / 2; i++) {
        char c = room[i];
        room[i] = room[n - 1 - i];
        room[n - 1 - i] = c;
    }
    return str_from(room, n);
}

static void put_range(const struct range *r, const struct type *t, struct buf *b)
{
    char room[DECIMAL_CHARS_MAX];
    for (unsigned side = 0; side < 2; side++) {
        switch (t->kind) {
        case TYPE_FLOAT:
        case TYPE_DOUBLE:
            proto_double(b, side + 1, r->reals[side]);
            break;
        case TYPE_DECIMAL:
            proto_bytes(b, side + 1, decimal_text(r->decimals[side], t->scale, room));
            break;
        case TYPE_STRING:
        case TYPE_VARCHAR:
        case TYPE_CHAR:
            proto_bytes(b, side + 1, str_from(r->text[side], r->n[side]));
            break;
        default:
            proto_sint(b, side + 1, r->ints[side]);
        }
    }
    // Once more, as those that are sure to be in UTC.
    for (unsigned side = 0; side < 2 && t->kind == TYPE_TIMESTAMP; side++)
        proto_sint(b, side + 3, r->ints[side]);
}

void orc_stats_put(const struct orc_stats *s, const struct type *t, struct buf *b)
{
    static const uint8_t fields[] = {
        [TYPE_TINYINT] = 2, [TYPE_SMALLINT] = 2, [TYPE_INT] = 2,    [TYPE_BIGINT] = 2,
        [TYPE_FLOAT] = 3,   [TYPE_DOUBLE] = 3,   [TYPE_STRING] = 4, [TYPE_VARCHAR] = 4,
        [TYPE_CHAR] = 4,    [TYPE_DECIMAL] = 6,  [TYPE_DATE] = 7,   [TYPE_TIMESTAMP] = 9,
        [TYPE_STRUCT] = 0,
    };
    enum { FIELD_BOOLEAN = 5 };
    AUTO_BUF(range);
    proto_uint(b, 1, s->count);
    if (t->kind == TYPE_BOOLEAN) {
        AUTO_BUF(trues);
        proto_varint(&trues, s->trues);
        proto_bytes(&range, 1, buf_str(&trues));
        proto_bytes(b, FIELD_BOOLEAN, buf_str(&range));
    } else if (fields[t->kind] != 0 && s->range.any && !s->range.off) {
        put_range(&s->range, t, &range);
        if (t->kind == TYPE_FLOAT || t->kind == TYPE_DOUBLE)
            proto_double(&range, 3, s->real_sum);
        else if (!s->sum_is_off && (t->kind <= TYPE_BIGINT || type_is_text(t->kind)))
            proto_sint(&range, 3, s->sum);
        proto_bytes(b, fields[t->kind], buf_str(&range));
    }
    proto_uint(b, 10, s->has_null);
}

void orc_stripe_stats(struct orc *f, struct buf *b)
{
    AUTO_BUF(one);
    for (size_t i = 0; i < f->schema->type_count; i++) {
        buf_clear(&one);
        orc_stats_put(&f->all[i]->stripe, f->all[i]->type, &one);
        proto_bytes(b, 1, buf_str(&one));
    }
}

// ---- Footer

static void put_type(const struct type *t, struct buf *b)
{
    static const uint8_t kinds[] = {
        [TYPE_BOOLEAN] = 0, [TYPE_TINYINT] = 1,   [TYPE_SMALLINT] = 2, [TYPE_INT] = 3,
        [TYPE_BIGINT] = 4,  [TYPE_FLOAT] = 5,     [TYPE_DOUBLE] = 6,   [TYPE_STRING] = 7,
        [TYPE_BINARY] = 8,  [TYPE_TIMESTAMP] = 9, [TYPE_LIST] = 10,    [TYPE_MAP] = 11,
        [TYPE_STRUCT] = 12, [TYPE_DECIMAL] = 14,  [TYPE_DATE] = 15,    [TYPE_VARCHAR] = 16,
        [TYPE_CHAR] = 17,
    };
    AUTO_BUF(inner);
    proto_uint(b, 1, kinds[t->kind]);
    for (size_t i = 0; i < t->child_count; i++)
        proto_varint(&inner, t->children[i].number);
    if (t->child_count > 0)
        proto_bytes(b, 2, buf_str(&inner));
    for (size_t i = 0; i < t->child_count && t->kind == TYPE_STRUCT; i++)
        proto_bytes(b, 3, t->children[i].name);
    if (t->chars_max > 0)
        proto_uint(b, 4, t->chars_max);
    if (t->kind == TYPE_DECIMAL) {
        proto_uint(b, 5, t->precision);
        proto_uint(b, 6, t->scale);
    }
}

static void put_footer(const struct orc *f, uint64_t content, struct buf *b)
{
    AUTO_BUF(one);
    proto_uint(b, 1, HEADER_BYTES);
    proto_uint(b, 2, content);
    for (const struct orc_stripe *s = f->stripes; s != NULL; s = s->next) {
        const uint64_t fields[] = { s->offset, s->index_bytes, s->data_bytes, s->footer_bytes,
                                    s->rows };
        buf_clear(&one);
        for (unsigned i = 0; i < COUNT_OF(fields); i++)
            proto_uint(&one, i + 1, fields[i]);
        proto_bytes(b, 3, buf_str(&one));
    }
    for (size_t i = 0; i < f->schema->type_count; i++) {
        buf_clear(&one);
        put_type(f->all[i]->type, &one);
        proto_bytes(b, 4, buf_str(&one));
    }
    proto_uint(b, 6, f->rows);
    for (size_t i = 0; i < f->schema->type_count; i++) {
        buf_clear(&one);
        orc_stats_put(&f->all[i]->file, f->all[i]->type, &one);
        proto_bytes(b, 7, buf_str(&one));
    }
    proto_uint(b, 8, f->o.row_index_stride);
    proto_uint(b, 11, CALENDAR_PROLEPTIC); // also before 1582
}

static void put_postscript(const struct orc *f, uint64_t footer_bytes, uint64_t metadata_bytes,
                           struct buf *b)
{
    static const uint8_t codes[] = {
        [COLUMNAR_UNCOMPRESSED] = 0, [COLUMNAR_GZIP] = 1, [COLUMNAR_SNAPPY] = 2
    };
    proto_uint(b, 1, footer_bytes);
    proto_uint(b, 2, codes[f->o.compression]);
    if (f->pack != NULL)
        proto_uint(b, 3, ORC_CHUNK_BYTES);
    proto_bytes(b, 4, f->o.v0_11 ? S("\0\13") : S("\0\14"));
    proto_uint(b, 5, metadata_bytes);
    proto_uint(b, 6, WRITER_VERSION);
    proto_bytes(b, 8000, S("ORC"));
}

// Writes a message as a stream has it; says how many bytes it became.
static Err put_message(struct orc *f, const struct buf *message, uint64_t *ret_bytes)
{
    struct orc_stream s = { .pack = f->pack };
    TRY(buf_err(message));
    orc_stream_add(&s, buf_str(message));
    orc_stream_end(&s);
    Err e = orc_stream_err(&s);
    *ret_bytes = s.out.n;
    if (e.kind == ERR_NONE)
        e = out_add(f->out, buf_str(&s.out));
    orc_stream_done(&s);
    return e;
}

Err orc_tail(struct orc *f)
{
    AUTO_BUF(metadata);
    AUTO_BUF(footer);
    AUTO_BUF(postscript);
    uint64_t content = f->out->written, metadata_bytes, footer_bytes;
    for (const struct orc_stripe *s = f->stripes; s != NULL; s = s->next)
        proto_bytes(&metadata, 1, s->stats);
    TRY(put_message(f, &metadata, &metadata_bytes));
    put_footer(f, content, &footer);
    TRY(put_message(f, &footer, &footer_bytes));
    put_postscript(f, footer_bytes, metadata_bytes, &postscript);
    buf_add_byte(&postscript, (char)postscript.n);
    TRY(buf_err(&postscript));
    return out_add(f->out, buf_str(&postscript));
}

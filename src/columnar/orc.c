// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "columnar/orc_priv.h"
#include "columnar/proto.h"

#include <stdlib.h>

static void number_columns(struct orc *f, struct orc_column *c)
{
    f->all[c->type->number] = c;
    for (size_t i = 0; i < c->type->child_count; i++)
        number_columns(f, &c->children[i]);
}

static Err check_blooms(const ColumnarOrc *o, const struct columnar_schema *s,
                        ColumnarProblem *problem)
{
    for (size_t i = 0; i < o->bloom_column_count; i++) {
        size_t k = 0;
        while (k < s->root.child_count &&
               !str_eq_nocase(s->root.children[k].name, o->bloom_columns[i]))
            k++;
        if (k == s->root.child_count)
            return problem_set(problem, COLUMNAR_OPTION,
                               "there is no column '%.*s' for a bloom filter",
                               FMT(str_head(o->bloom_columns[i], 100)));
    }
    return OK;
}

Err orc_open(const ColumnarOrc *o, const struct columnar_schema *s, struct out *out,
             ColumnarProblem *problem, struct orc **ret)
{
    TRY(check_blooms(o, s, problem));
    AUTO(orc) f = xalloc(sizeof *f);
    f->o = *o;
    f->schema = s;
    f->out = out;
    f->root.type = &s->root;
    f->notes = arena_open();
    f->stripes_end = &f->stripes;
    f->all = xalloc(mul_checked(s->type_count, sizeof(struct orc_column *)));
    if (o->compression != COLUMNAR_UNCOMPRESSED)
        TRY(pack_open(o->compression == COLUMNAR_SNAPPY ? PACK_SNAPPY : PACK_DEFLATE, &f->pack));
    TRY(orc_column_init(&f->root, &s->root, o, f->pack));
    number_columns(f, &f->root);
    f->o.bloom_columns = NULL; // they are the caller's
    TRY(out_add(out, S("ORC")));
    *ret = f;
    f = NULL;
    return OK;
}

void orc_close(struct orc *f)
{
    if (f == NULL)
        return;
    orc_column_done(&f->root);
    pack_close(f->pack);
    arena_close(f->notes);
    free(f->all);
    free(f);
}

// ---- Stripes

// What a stripe consists of beside its data.
struct stripe_parts {
    struct orc_stream index; // all row indexes and bloom filters
    struct orc_stream footer;
    struct buf footer_message, one;
    uint64_t data_bytes;
};

static void list_stream(struct stripe_parts *s, OrcStreamKind kind, uint32_t column, uint64_t bytes)
{
    buf_clear(&s->one);
    proto_uint(&s->one, 1, (uint64_t)kind);
    proto_uint(&s->one, 2, column);
    proto_uint(&s->one, 3, bytes);
    proto_bytes(&s->footer_message, 1, buf_str(&s->one));
}

static void add_index(struct stripe_parts *s, OrcStreamKind kind, const struct orc_column *c,
                      Str message)
{
    size_t before = s->index.out.n;
    orc_stream_add(&s->index, message);
    orc_stream_end(&s->index);
    list_stream(s, kind, c->type->number, s->index.out.n - before);
}

// The data streams of a column, in their order. Absent: it has no such stream.
static size_t data_streams(const struct orc_column *c, const struct orc_stream **streams,
                           OrcStreamKind *kinds)
{
    TypeKind k = c->type->kind;
    bool dictionary = c->encoding == ORC_DICTIONARY || c->encoding == ORC_DICTIONARY_V2;
    bool lengths = type_is_text(k) || k == TYPE_LIST || k == TYPE_MAP;
    size_t n = 0;
    if (c->stripe.has_null) {
        kinds[n] = ORC_PRESENT;
        streams[n++] = &c->present;
    }
    if (!type_is_nested(k)) {
        kinds[n] = ORC_DATA;
        streams[n++] = &c->data;
    }
    if (lengths || k == TYPE_TIMESTAMP || k == TYPE_DECIMAL) {
        kinds[n] = lengths ? ORC_LENGTH : ORC_SECONDARY;
        streams[n++] = &c->second;
    }
    if (dictionary) {
        kinds[n] = ORC_DICTIONARY_DATA;
        streams[n++] = &c->dictionary_data;
    }
    return n;
}

enum { DATA_STREAMS_MAX = 4 };

static void put_encoding(struct stripe_parts *s, const struct orc_column *c)
{
    bool dictionary = c->encoding == ORC_DICTIONARY || c->encoding == ORC_DICTIONARY_V2;
    buf_clear(&s->one);
    proto_uint(&s->one, 1, (uint64_t)c->encoding);
    if (dictionary)
        proto_uint(&s->one, 2, c->dictionary.n);
    if (c->bloom != NULL)
        proto_uint(&s->one, 3, 1); // text is hashed as UTF-8
    proto_bytes(&s->footer_message, 2, buf_str(&s->one));
}

static Err make_parts(struct orc *f, struct stripe_parts *s)
{
    AUTO_BUF(message);
    const struct orc_stream *streams[DATA_STREAMS_MAX];
    OrcStreamKind kinds[DATA_STREAMS_MAX];
    for (size_t i = 0; i < f->schema->type_count; i++) {
        const struct orc_column *c = f->all[i];
        buf_clear(&message);
        orc_column_index(c, &message);
        TRY(buf_err(&message));
        add_index(s, ORC_ROW_INDEX, c, buf_str(&message));
        if (c->bloom != NULL)
            add_index(s, ORC_BLOOM_FILTER_UTF8, c, buf_str(&c->bloom_index));
    }
    for (size_t i = 0; i < f->schema->type_count; i++) {
        size_t n = data_streams(f->all[i], streams, kinds);
        for (size_t k = 0; k < n; k++) {
            list_stream(s, kinds[k], (uint32_t)i, streams[k]->out.n);
            s->data_bytes += streams[k]->out.n;
        }
    }
    for (size_t i = 0; i < f->schema->type_count; i++)
        put_encoding(s, f->all[i]);
    proto_bytes(&s->footer_message, 3, S("UTC"));
    TRY(buf_err(&s->one));
    TRY(buf_err(&s->footer_message));
    orc_stream_add(&s->footer, buf_str(&s->footer_message));
    orc_stream_end(&s->footer);
    TRY(orc_stream_err(&s->index));
    return orc_stream_err(&s->footer);
}

// A stripe that would cross the end of a block begins behind it, if what is left of the block is
// little.
static Err pad(struct orc *f, uint64_t stripe_bytes)
{
    uint64_t left = f->o.block_bytes - f->out->written % f->o.block_bytes;
    double tolerated = f->o.padding_tolerance * (double)f->o.stripe_bytes;
    bool pads = f->o.padding && stripe_bytes > left && (double)left < tolerated;
    return pads ? out_zeros(f->out, left) : OK;
}

static Err note_stripe(struct orc *f, const struct stripe_parts *s)
{
    AUTO_BUF(stats);
    struct orc_stripe *note = arena_try_new(f->notes, struct orc_stripe, 1);
    if (note == NULL)
        return fail(ERR_MEMORY, "no memory for a stripe");
    orc_stripe_stats(f, &stats);
    TRY(buf_err(&stats));
    *note = (struct orc_stripe){ .offset = f->out->written,
                                 .index_bytes = s->index.out.n,
                                 .data_bytes = s->data_bytes,
                                 .footer_bytes = s->footer.out.n,
                                 .rows = f->stripe_rows };
    TRY(str_dup_try(f->notes, buf_str(&stats), &note->stats));
    *f->stripes_end = note;
    f->stripes_end = &note->next;
    f->stripe_count++;
    return OK;
}

static Err write_parts(struct orc *f, struct stripe_parts *s)
{
    const struct orc_stream *streams[DATA_STREAMS_MAX];
    OrcStreamKind kinds[DATA_STREAMS_MAX];
    TRY(make_parts(f, s));
    TRY(pad(f, s->index.out.n + s->data_bytes + s->footer.out.n));
    TRY(note_stripe(f, s));
    TRY(out_add(f->out, buf_str(&s->index.out)));
    for (size_t i = 0; i < f->schema->type_count; i++) {
        size_t n = data_streams(f->all[i], streams, kinds);
        for (size_t k = 0; k < n; k++)
            TRY(out_add(f->out, buf_str(&streams[k]->out)));
    }
    return out_add(f->out, buf_str(&s->footer.out));
}

static Err end_stride(struct orc *f)
{
    f->stride_rows = 0;
    return orc_column_end_stride(&f->root);
}

static Err write_stripe(struct orc *f)
{
    if (f->stripe_rows == 0)
        return OK;
    if (f->stride_rows > 0)
        TRY(end_stride(f));
    TRY(orc_column_end_stripe(&f->root));
    TRY(orc_column_err(&f->root));
    struct stripe_parts s = { .index.pack = f->pack, .footer.pack = f->pack };
    Err e = write_parts(f, &s);
    orc_stream_done(&s.index);
    orc_stream_done(&s.footer);
    buf_done(&s.footer_message);
    buf_done(&s.one);
    TRY(e);
    orc_column_clear(&f->root);
    f->stripe_rows = 0;
    return OK;
}

Err orc_add(struct orc *f, const struct column *root)
{
    orc_column_rewind(&f->root);
    for (size_t left = root->n; left > 0;) {
        size_t n = (size_t)MIN((uint64_t)left, f->o.row_index_stride - f->stride_rows);
        if (f->stride_rows == 0)
            orc_column_begin_stride(&f->root);
        TRY(orc_column_add(&f->root, root, n));
        left -= n;
        f->rows += n;
        f->stripe_rows += n;
        f->stride_rows += n;
        if (f->stride_rows == f->o.row_index_stride)
            TRY(end_stride(f));
    }
    TRY(orc_column_err(&f->root));
    return orc_column_held(&f->root) >= f->o.stripe_bytes ? write_stripe(f) : OK;
}

Err orc_finish(struct orc *f)
{
    TRY(write_stripe(f));
    return orc_tail(f);
}

size_t orc_bytes(const struct orc *f)
{
    return sizeof *f + orc_column_bytes(&f->root) + arena_bytes(f->notes) +
           (f->pack != NULL ? pack_bytes(f->pack) : 0);
}

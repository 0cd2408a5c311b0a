// SPDX-License-Identifier: Apache-2.0
// What stands at the end of a Parquet file: indexes of pages, and the metadata.
#include "codec/little.h"
#include "columnar/parquet_priv.h"
#include "columnar/thrift.h"

enum {
    VERSION = 1,
    REQUIRED = 0,
    OPTIONAL = 1,
    REPEATED = 2,
    CONVERTED_UTF8 = 0,
    CONVERTED_MAP = 1,
    CONVERTED_LIST = 3,
    CONVERTED_DECIMAL = 5,
    CONVERTED_DATE = 6,
    CONVERTED_INT8 = 15,
    CONVERTED_INT16 = 16,
    LOGICAL_STRING = 1,
    LOGICAL_MAP = 2,
    LOGICAL_LIST = 3,
    LOGICAL_DECIMAL = 5,
    LOGICAL_DATE = 6,
    LOGICAL_INTEGER = 10,
};

// Readers parse it: "name version a.b.c (build x)".
#define CREATED_BY "headrace version 0.1.0 (build 1)"

// ---- The schema

static void put_node(struct thrift *t, Str name, int repetition, size_t children)
{
    thrift_item_struct(t);
    thrift_i32(t, 3, repetition);
    thrift_text(t, 4, name);
    if (children > 0)
        thrift_i32(t, 5, (int32_t)children);
}

static void put_plain_logical(struct thrift *t, int converted, int logical)
{
    thrift_i32(t, 6, converted);
    thrift_struct(t, 10);
    thrift_nothing(t, logical);
    thrift_end(t);
}

static void put_integer(struct thrift *t, int converted, int8_t bits)
{
    thrift_i32(t, 6, converted);
    thrift_struct(t, 10);
    thrift_struct(t, LOGICAL_INTEGER);
    thrift_i8(t, 1, bits);
    thrift_bool(t, 2, true);
    thrift_end(t);
    thrift_end(t);
}

static void put_decimal(struct thrift *t, const struct type *type)
{
    thrift_i32(t, 6, CONVERTED_DECIMAL);
    thrift_i32(t, 7, (int32_t)type->scale);
    thrift_i32(t, 8, (int32_t)type->precision);
    thrift_struct(t, 10);
    thrift_struct(t, LOGICAL_DECIMAL);
    thrift_i32(t, 1, (int32_t)type->scale);
    thrift_i32(t, 2, (int32_t)type->precision);
    thrift_end(t);
    thrift_end(t);
}

static void put_leaf(struct thrift *t, const struct leaf *l, int repetition)
{
    thrift_item_struct(t);
    thrift_i32(t, 1, (int32_t)l->physical);
    if (l->physical == PARQUET_FIXED)
        thrift_i32(t, 2, (int32_t)l->fixed_bytes);
    thrift_i32(t, 3, repetition);
    thrift_text(t, 4, l->type->name);
    switch (l->type->kind) {
    case TYPE_STRING:
    case TYPE_VARCHAR:
    case TYPE_CHAR:
        put_plain_logical(t, CONVERTED_UTF8, LOGICAL_STRING);
        break;
    case TYPE_TINYINT:
        put_integer(t, CONVERTED_INT8, 8);
        break;
    case TYPE_SMALLINT:
        put_integer(t, CONVERTED_INT16, 16);
        break;
    case TYPE_DECIMAL:
        put_decimal(t, l->type);
        break;
    case TYPE_DATE:
        put_plain_logical(t, CONVERTED_DATE, LOGICAL_DATE);
        break;
    default:
        break;
    }
    thrift_end(t);
}

static void put_type(struct thrift *t, const struct type *type, int repetition,
                     const struct leaf **leaf)
{
    if (!type_is_nested(type->kind)) {
        put_leaf(t, (*leaf)++, repetition);
        return;
    }
    bool list = type->kind == TYPE_LIST, map = type->kind == TYPE_MAP;
    put_node(t, type->name, repetition, list || map ? 1 : type->child_count);
    if (list)
        put_plain_logical(t, CONVERTED_LIST, LOGICAL_LIST);
    else if (map)
        put_plain_logical(t, CONVERTED_MAP, LOGICAL_MAP);
    thrift_end(t);
    if (list || map) {
        put_node(t, list ? S("list") : S("key_value"), REPEATED, type->child_count);
        thrift_end(t);
    }
    for (size_t i = 0; i < type->child_count; i++)
        put_type(t, &type->children[i], map && i == 0 ? REQUIRED : OPTIONAL, leaf);
}

// How many elements put_type makes.
static size_t element_count(const struct type *type)
{
    size_t n = 1 + (type->kind == TYPE_LIST || type->kind == TYPE_MAP);
    for (size_t i = 0; i < type->child_count; i++)
        n += element_count(&type->children[i]);
    return n;
}

static void put_schema(struct thrift *t, const struct parquet *p)
{
    const struct type *root = &p->schema->root;
    const struct leaf *leaf = p->leaves;
    thrift_list(t, 2, THRIFT_STRUCT, element_count(root));
    thrift_item_struct(t);
    thrift_text(t, 4, root->name);
    thrift_i32(t, 5, (int32_t)root->child_count);
    thrift_end(t);
    for (size_t i = 0; i < root->child_count; i++)
        put_type(t, &root->children[i], OPTIONAL, &leaf);
}

// ---- Chunks

static void put_path(struct thrift *t, int field, const struct type *type)
{
    Str parts[PATH_MAX_PARTS];
    size_t n = 0;
    for (; type->parent != NULL; type = type->parent) {
        TypeKind above = type->parent->kind;
        parts[n] = type->name;
        n++;
        if (above != TYPE_LIST && above != TYPE_MAP)
            continue;
        parts[n] = above == TYPE_LIST ? S("list") : S("key_value");
        n++;
    }
    thrift_list(t, field, THRIFT_BINARY, n);
    while (n > 0)
        thrift_item_text(t, parts[--n]);
}

static void put_encodings(struct thrift *t, const struct parquet *p, const struct chunk *c)
{
    int dictionary = p->o.v2 ? PARQUET_RLE_DICTIONARY : PARQUET_PLAIN_DICTIONARY;
    bool plain = c->plain || (c->dictionary && p->o.v2);
    thrift_list(t, 2, THRIFT_I32, 1u + plain + c->dictionary);
    thrift_item_int(t, PARQUET_RLE);
    if (plain)
        thrift_item_int(t, PARQUET_PLAIN);
    if (c->dictionary)
        thrift_item_int(t, dictionary);
}

static void put_statistics(struct thrift *t, const struct chunk *c)
{
    thrift_struct(t, 12);
    thrift_i64(t, 3, (int64_t)c->nulls);
    if (c->least.p != NULL && c->greatest.p != NULL) {
        thrift_text(t, 5, c->greatest);
        thrift_text(t, 6, c->least);
    }
    thrift_end(t);
}

static void put_chunk(struct thrift *t, const struct parquet *p, const struct leaf *l,
                      const struct chunk *c)
{
    static const int codecs[] = {
        [COLUMNAR_UNCOMPRESSED] = 0, [COLUMNAR_SNAPPY] = 1, [COLUMNAR_GZIP] = 2
    };
    thrift_item_struct(t);
    thrift_i64(t, 2, (int64_t)c->at);
    thrift_struct(t, 3);
    thrift_i32(t, 1, (int32_t)l->physical);
    put_encodings(t, p, c);
    put_path(t, 3, l->type);
    thrift_i32(t, 4, codecs[p->o.compression]);
    thrift_i64(t, 5, (int64_t)c->values);
    thrift_i64(t, 6, (int64_t)c->raw_bytes);
    thrift_i64(t, 7, (int64_t)c->bytes);
    thrift_i64(t, 9, (int64_t)(c->at + c->dictionary_bytes));
    if (c->dictionary_bytes > 0)
        thrift_i64(t, 11, (int64_t)c->at);
    put_statistics(t, c);
    thrift_end(t);
    thrift_i64(t, 4, (int64_t)c->index_at[1]);
    thrift_i32(t, 5, (int32_t)c->index_bytes[1]);
    if (c->index_bytes[0] > 0) {
        thrift_i64(t, 6, (int64_t)c->index_at[0]);
        thrift_i32(t, 7, (int32_t)c->index_bytes[0]);
    }
    thrift_end(t);
}

static void put_groups(struct thrift *t, const struct parquet *p)
{
    int16_t ordinal = 0;
    thrift_list(t, 4, THRIFT_STRUCT, p->group_count);
    for (const struct group *g = p->groups; g != NULL; g = g->next) {
        thrift_item_struct(t);
        thrift_list(t, 1, THRIFT_STRUCT, p->leaf_count);
        for (size_t i = 0; i < p->leaf_count; i++)
            put_chunk(t, p, &p->leaves[i], &g->chunks[i]);
        thrift_i64(t, 2, (int64_t)g->raw_bytes);
        thrift_i64(t, 3, (int64_t)g->rows);
        thrift_i64(t, 5, (int64_t)g->at);
        thrift_i64(t, 6, (int64_t)g->bytes);
        thrift_i16(t, 7, ordinal++);
        thrift_end(t);
    }
}

// ---- Indexes of pages

static bool has_ranges(const struct chunk *c)
{
    bool any = true;
    for (size_t i = 0; i < c->note_count && any; i++)
        any =
            c->notes[i].all_null || (c->notes[i].least.p != NULL && c->notes[i].greatest.p != NULL);
    return any;
}

static void put_column_index(struct buf *out, const struct chunk *c)
{
    struct thrift t = thrift_begin(out);
    thrift_list(&t, 1, THRIFT_TRUE, c->note_count);
    for (size_t i = 0; i < c->note_count; i++)
        thrift_item_bool(&t, c->notes[i].all_null);
    thrift_list(&t, 2, THRIFT_BINARY, c->note_count);
    for (size_t i = 0; i < c->note_count; i++)
        thrift_item_text(&t, c->notes[i].least);
    thrift_list(&t, 3, THRIFT_BINARY, c->note_count);
    for (size_t i = 0; i < c->note_count; i++)
        thrift_item_text(&t, c->notes[i].greatest);
    thrift_i32(&t, 4, 0); // in no order
    thrift_list(&t, 5, THRIFT_I64, c->note_count);
    for (size_t i = 0; i < c->note_count; i++)
        thrift_item_int(&t, (int64_t)c->notes[i].nulls);
    thrift_end(&t);
}

static void put_offset_index(struct buf *out, const struct chunk *c)
{
    struct thrift t = thrift_begin(out);
    thrift_list(&t, 1, THRIFT_STRUCT, c->note_count);
    for (size_t i = 0; i < c->note_count; i++) {
        const struct page_note *n = &c->notes[i];
        thrift_item_struct(&t);
        thrift_i64(&t, 1, (int64_t)(c->at + c->dictionary_bytes + n->offset));
        thrift_i32(&t, 2, (int32_t)n->bytes);
        thrift_i64(&t, 3, (int64_t)n->first_row);
        thrift_end(&t);
    }
    thrift_end(&t);
}

// Writes the indexes of one kind, of all chunks, and notes where they are.
static Err write_indexes(struct parquet *p, int kind)
{
    AUTO_BUF(b);
    for (struct group *g = p->groups; g != NULL; g = g->next)
        for (size_t i = 0; i < p->leaf_count; i++) {
            struct chunk *c = &g->chunks[i];
            buf_clear(&b);
            if (kind == 0 && !has_ranges(c))
                continue;
            if (kind == 0)
                put_column_index(&b, c);
            else
                put_offset_index(&b, c);
            TRY(buf_err(&b));
            c->index_at[kind] = p->out->written;
            c->index_bytes[kind] = (uint32_t)b.n;
            TRY(out_add(p->out, buf_str(&b)));
        }
    return OK;
}

Err parquet_footer(struct parquet *p)
{
    TRY(write_indexes(p, 0));
    TRY(write_indexes(p, 1));
    AUTO_BUF(b);
    struct thrift t = thrift_begin(&b);
    thrift_i32(&t, 1, p->o.v2 ? VERSION + 1 : VERSION);
    put_schema(&t, p);
    thrift_i64(&t, 3, (int64_t)p->rows);
    put_groups(&t, p);
    thrift_text(&t, 6, S(CREATED_BY));
    thrift_list(&t, 7, THRIFT_STRUCT, p->leaf_count);
    for (size_t i = 0; i < p->leaf_count; i++) {
        thrift_item_struct(&t);
        thrift_nothing(&t, 1); // the order of the type
        thrift_end(&t);
    }
    thrift_end(&t);
    uint8_t end[8] = "    PAR1";
    put32(end, (uint32_t)b.n);
    buf_add(&b, str_from(end, sizeof end));
    TRY(buf_err(&b));
    return out_add(p->out, buf_str(&b));
}

// SPDX-License-Identifier: Apache-2.0
// The footer of a Parquet file, read for its count of rows. What it does not ask for is skipped by
// the rules of Thrift's compact protocol, and so read as far as it can be wrong.
#include "codec/little.h"
#include "columnar/columnar.h"
#include "columnar/thrift.h"

enum {
    TAIL_BYTES = 8, // the footer's length, PAR1
    FOOTER_BYTES_MAX = 256 << 20,
    FIELD_ROWS = 3,       // of FileMetaData and of RowGroup
    FIELD_ROW_GROUPS = 4, // of FileMetaData
    THRIFT_DOUBLE = 7,    // these three are not written here
    THRIFT_SET = 10,
    THRIFT_MAP = 11,
};

struct cursor {
    const uint8_t *p, *end;
    bool broken;
};

static uint8_t byte(struct cursor *c)
{
    if (c->p == c->end) {
        c->broken = true;
        return 0;
    }
    return *c->p++;
}

static uint64_t varint(struct cursor *c)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t b = byte(c);
        if (shift == 63 && b > 1)
            break;
        value |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return value;
    }
    c->broken = true;
    return 0;
}

static int64_t zigzag(struct cursor *c)
{
    uint64_t v = varint(c);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static void skip_bytes(struct cursor *c, uint64_t n)
{
    if (n > (uint64_t)(c->end - c->p))
        c->broken = true;
    else
        c->p += n;
}

struct field {
    int number;
    unsigned type; // 0: the struct has ended
};

static struct field next_field(struct cursor *c, struct field last)
{
    uint8_t head = byte(c);
    struct field f = { .type = head & 15 };
    if (head == 0 || c->broken)
        return (struct field){ 0 };
    int64_t number = head >> 4 != 0 ? last.number + (head >> 4) : zigzag(c);
    if (f.type == 0 || number <= last.number || number > INT16_MAX)
        c->broken = true;
    f.number = (int)number;
    return c->broken ? (struct field){ 0 } : f;
}

// The head of a list: how many items, of which type. Each item has a byte at least.
static uint64_t list_head(struct cursor *c, unsigned *ret_type)
{
    uint8_t head = byte(c);
    uint64_t n = head >> 4 == 15 ? varint(c) : head >> 4;
    *ret_type = head & 15;
    if (n > (uint64_t)(c->end - c->p))
        c->broken = true;
    return c->broken ? 0 : n;
}

static void skip(struct cursor *c, unsigned type, bool item, unsigned depth);

static void skip_list(struct cursor *c, unsigned depth)
{
    unsigned type;
    for (uint64_t n = list_head(c, &type); n > 0 && !c->broken; n--)
        skip(c, type, true, depth);
}

static void skip_map(struct cursor *c, unsigned depth)
{
    uint64_t n = varint(c);
    uint8_t types = n > 0 ? byte(c) : 0;
    for (; n > 0 && !c->broken; n--) {
        skip(c, types >> 4, true, depth);
        skip(c, types & 15, true, depth);
    }
}

static void skip_struct(struct cursor *c, unsigned depth)
{
    struct field f = { 0 };
    while ((f = next_field(c, f)).type != 0)
        skip(c, f.type, false, depth);
}

// A value. A bool has no byte of its own as a field, and one as an item.
static void skip(struct cursor *c, unsigned type, bool item, unsigned depth)
{
    if (depth == 0)
        c->broken = true;
    if (c->broken)
        return;
    switch (type) {
    case THRIFT_TRUE:
    case THRIFT_FALSE:
        skip_bytes(c, item);
        break;
    case THRIFT_I8:
        skip_bytes(c, 1);
        break;
    case THRIFT_I16:
    case THRIFT_I32:
    case THRIFT_I64:
        varint(c);
        break;
    case THRIFT_DOUBLE:
        skip_bytes(c, 8);
        break;
    case THRIFT_BINARY:
        skip_bytes(c, varint(c));
        break;
    case THRIFT_LIST:
    case THRIFT_SET:
        skip_list(c, depth - 1);
        break;
    case THRIFT_MAP:
        skip_map(c, depth - 1);
        break;
    case THRIFT_STRUCT:
        skip_struct(c, depth - 1);
        break;
    default:
        c->broken = true;
    }
}

// The rows of a struct, in the field that both kinds have them in; `groups` also those of its row
// groups, added up.
static int64_t rows_of(struct cursor *c, int64_t *groups)
{
    int64_t rows = -1;
    struct field f = { 0 };
    while ((f = next_field(c, f)).type != 0) {
        if (f.number == FIELD_ROWS && f.type == THRIFT_I64) {
            rows = zigzag(c);
        } else if (groups != NULL && f.number == FIELD_ROW_GROUPS && f.type == THRIFT_LIST) {
            unsigned type;
            *groups = 0;
            for (uint64_t n = list_head(c, &type); n > 0 && !c->broken; n--) {
                int64_t more = type == THRIFT_STRUCT ? rows_of(c, NULL) : -1;
                if (more < 0 || __builtin_add_overflow(*groups, more, groups))
                    c->broken = true;
            }
        } else
            skip(c, f.type, false, THRIFT_DEPTH_MAX);
    }
    return rows;
}

Err columnar_parquet_rows(Str tail, uint64_t *ret_rows, size_t *ret_tail_bytes)
{
    if (tail.n < TAIL_BYTES) {
        *ret_tail_bytes = TAIL_BYTES;
        return fail(ERR_LIMIT, "more of the end of a Parquet file is needed");
    }
    const uint8_t *end = (const uint8_t *)tail.p + tail.n - TAIL_BYTES;
    size_t n = get32(end);
    if (!str_ends(tail, S("PAR1")) || n == 0 || n > FOOTER_BYTES_MAX)
        return fail(ERR_INVALID, "it is no Parquet file");
    if (tail.n - TAIL_BYTES < n) {
        *ret_tail_bytes = n + TAIL_BYTES;
        return fail(ERR_LIMIT, "more of the end of a Parquet file is needed");
    }
    struct cursor c = { .p = end - n, .end = end };
    int64_t groups = -1, rows = rows_of(&c, &groups);
    if (c.broken || c.p != c.end || rows < 0 || groups != rows)
        return fail(ERR_INVALID, "the footer of a Parquet file is damaged");
    *ret_rows = (uint64_t)rows;
    return OK;
}

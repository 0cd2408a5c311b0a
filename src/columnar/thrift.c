// SPDX-License-Identifier: Apache-2.0
#include "columnar/thrift.h"

static void put_varint(struct buf *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_add_byte(out, (char)(v | 0x80));
    buf_add_byte(out, (char)v);
}

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

static void put_field(struct thrift *t, int field, ThriftType type)
{
    int delta = field - t->last[t->depth];
    t->last[t->depth] = field;
    CHECK(delta > 0 && delta < 16);
    buf_add_byte(t->out, (char)(delta << 4 | (int)type));
}

void thrift_end(struct thrift *t)
{
    buf_add_byte(t->out, 0);
    if (t->depth > 0)
        t->depth--;
}

static void open_struct(struct thrift *t)
{
    CHECK(t->depth + 1 < THRIFT_DEPTH_MAX);
    t->last[++t->depth] = 0;
}

void thrift_bool(struct thrift *t, int field, bool value)
{
    put_field(t, field, value ? THRIFT_TRUE : THRIFT_FALSE);
}

void thrift_i8(struct thrift *t, int field, int8_t value)
{
    put_field(t, field, THRIFT_I8);
    buf_add_byte(t->out, (char)value);
}

void thrift_i16(struct thrift *t, int field, int16_t value)
{
    put_field(t, field, THRIFT_I16);
    put_varint(t->out, zigzag(value));
}

void thrift_i32(struct thrift *t, int field, int32_t value)
{
    put_field(t, field, THRIFT_I32);
    put_varint(t->out, zigzag(value));
}

void thrift_i64(struct thrift *t, int field, int64_t value)
{
    put_field(t, field, THRIFT_I64);
    put_varint(t->out, zigzag(value));
}

void thrift_text(struct thrift *t, int field, Str value)
{
    put_field(t, field, THRIFT_BINARY);
    thrift_item_text(t, value);
}

void thrift_struct(struct thrift *t, int field)
{
    put_field(t, field, THRIFT_STRUCT);
    open_struct(t);
}

void thrift_nothing(struct thrift *t, int field)
{
    thrift_struct(t, field);
    thrift_end(t);
}

void thrift_list(struct thrift *t, int field, ThriftType items, size_t n)
{
    put_field(t, field, THRIFT_LIST);
    buf_add_byte(t->out, (char)(MIN(n, (size_t)15) << 4 | (size_t)items));
    if (n >= 15)
        put_varint(t->out, n);
}

void thrift_item_struct(struct thrift *t)
{
    open_struct(t);
}

void thrift_item_bool(struct thrift *t, bool value)
{
    buf_add_byte(t->out, value ? THRIFT_TRUE : THRIFT_FALSE);
}

void thrift_item_int(struct thrift *t, int64_t value)
{
    put_varint(t->out, zigzag(value));
}

void thrift_item_text(struct thrift *t, Str value)
{
    put_varint(t->out, value.n);
    buf_add(t->out, value);
}

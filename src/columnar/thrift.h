// SPDX-License-Identifier: Apache-2.0
// Thrift's compact protocol, as far as the metadata of Parquet needs it: structs of fields in the
// order of their numbers.
#pragma once
#include "base/buf.h"

enum { THRIFT_DEPTH_MAX = 16 };

typedef enum ThriftType {
    THRIFT_TRUE = 1,
    THRIFT_FALSE = 2,
    THRIFT_I8 = 3,
    THRIFT_I16 = 4,
    THRIFT_I32 = 5,
    THRIFT_I64 = 6,
    THRIFT_BINARY = 8,
    THRIFT_LIST = 9,
    THRIFT_STRUCT = 12,
} ThriftType;

struct thrift {
    struct buf *out;
    unsigned depth;
    int last[THRIFT_DEPTH_MAX]; // number of the last field of each open struct
};

// The outermost struct is open from the beginning; thrift_end ends it, too.
static inline struct thrift thrift_begin(struct buf *out)
{
    return (struct thrift){ .out = out };
}
void thrift_end(struct thrift *t);

void thrift_bool(struct thrift *t, int field, bool value);
void thrift_i8(struct thrift *t, int field, int8_t value);
void thrift_i16(struct thrift *t, int field, int16_t value);
void thrift_i32(struct thrift *t, int field, int32_t value);
void thrift_i64(struct thrift *t, int field, int64_t value);
void thrift_text(struct thrift *t, int field, Str value);
void thrift_struct(struct thrift *t, int field);  // begins one, as a field
void thrift_nothing(struct thrift *t, int field); // one without fields

// A list: its items follow.
void thrift_list(struct thrift *t, int field, ThriftType items, size_t n);
void thrift_item_struct(struct thrift *t); // begins one
void thrift_item_bool(struct thrift *t, bool value);
void thrift_item_int(struct thrift *t, int64_t value); // i32 and i64
void thrift_item_text(struct thrift *t, Str value);

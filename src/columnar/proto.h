// SPDX-License-Identifier: Apache-2.0
// Protocol Buffers, as far as the metadata of ORC needs them. A message inside another is written
// to a buffer of its own first, as its length stands before it.
#pragma once
#include "base/buf.h"

static inline void proto_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_add_byte(b, (char)(v | 0x80));
    buf_add_byte(b, (char)v);
}

static inline uint64_t proto_zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

static inline void proto_uint(struct buf *b, unsigned field, uint64_t v)
{
    proto_varint(b, field << 3);
    proto_varint(b, v);
}

static inline void proto_sint(struct buf *b, unsigned field, int64_t v)
{
    proto_uint(b, field, proto_zigzag(v));
}

static inline void proto_double(struct buf *b, unsigned field, double v)
{
    proto_varint(b, field << 3 | 1);
    buf_add(b, str_from(&v, sizeof v));
}

static inline void proto_bytes(struct buf *b, unsigned field, Str s) // text and messages, too
{
    proto_varint(b, field << 3 | 2);
    proto_varint(b, s.n);
    buf_add(b, s);
}

// SPDX-License-Identifier: Apache-2.0
// A batch: some rows, by column, before they are encoded. It is the shape that ORC has on disk:
//
//     an entry per value of the parent that is there (of the root: per row), null or not;
//     the values that are not null, dense; of lists and maps their lengths
//
// A row that turns out to be bad halfway is taken back by truncating every column to the entries
// that its parent accounts for, so nothing is noted when a row begins.
#pragma once
#include "columnar/type.h"

typedef __int128 Decimal; // the unscaled value

typedef struct Moment {
    int64_t seconds; // since 1970, rounded down
    int32_t ns;      // 0..999999999
} Moment;

enum { COLUMN_SLACK_BYTES = 64 }; // that may be read and written behind the bytes of text

struct column {
    const struct type *type;
    size_t n, cap;           // entries
    size_t dense, dense_cap; // of them that are not null
    uint8_t *present;        // 1 or 0 for each entry
    union {                  // dense values
        void *values;
        int64_t *ints;     // boolean to bigint; date: days since 1970
        double *reals;     // float, double
        Decimal *decimals; // at the scale of the type
        Moment *moments;   // timestamp
        uint32_t *lengths; // text: bytes; list, map: elements. A struct has none
    };
    char *bytes; // text: one after another
    size_t bytes_n, bytes_cap;
    size_t elements; // list, map: the sum of lengths
    struct column *children;
};

// Columns for a type and all below it.
void column_init(struct column *c, const struct type *t);
void column_done(struct column *c);
void column_clear(struct column *c);                    // keeps the memory
void column_shrink(struct column *c, size_t bytes_max); // gives up buffers that are larger

void column_truncate(struct column *c, size_t n); // to n entries at most
size_t column_bytes(const struct column *c);      // of memory held, with children
size_t column_filled(const struct column *c);     // of memory that holds something

// ERR_MEMORY is told by false: then nothing has changed.
bool column_grow_entries(struct column *c);
bool column_grow_values(struct column *c);
bool column_grow_bytes(struct column *c, size_t more);

static inline bool column_null(struct column *c)
{
    if (c->n == c->cap && !column_grow_entries(c))
        return false;
    c->present[c->n++] = 0;
    return true;
}

// Makes room for an entry and its value, which the caller then writes at [dense] and tells of with
// column_added.
static inline bool column_room(struct column *c)
{
    return (c->n < c->cap || column_grow_entries(c)) &&
           (c->dense < c->dense_cap || column_grow_values(c));
}

static inline void column_added(struct column *c)
{
    c->present[c->n++] = 1;
    c->dense++;
}

// Room for so many bytes of text, and the slack behind them.
static inline bool column_room_bytes(struct column *c, size_t more)
{
    return c->bytes_cap - c->bytes_n >= more + COLUMN_SLACK_BYTES || column_grow_bytes(c, more);
}

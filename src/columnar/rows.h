// SPDX-License-Identifier: Apache-2.0
// From the bytes of JSON straight into columns, in one pass: no tree, no events, no copies of text
// but the one into its column.
#pragma once
#include "base/buf.h"
#include "columnar/column.h"
#include "columnar/keys.h"
#include "columnar/moment.h"

struct rows {
    struct column root; // its entries are the rows
    ColumnarDeserializer from;
    struct moment_format **formats; // from.timestamp_format_count of them
    struct keys **keys;             // by the number of a type; NULL where there is no struct
    uint32_t type_count;
    struct arena *tmp; // of the record that is read

    // The record: a copy, so that a few zero bytes follow it and no look-ahead needs a check.
    char *text;
    size_t text_cap;
    const char *p, *end;
    uint64_t cells; // nulls that stand for members which are not there
    struct buf scratch;
    ColumnarProblem *problem;
    Err err;
};

Err rows_init(struct rows *r, const struct columnar_schema *s, const ColumnarDeserializer *from,
              ColumnarProblem *problem);
void rows_done(struct rows *r); // also what rows_init left half done

// Appends the objects of a record, or nothing. ERR_INVALID: the record is at fault. ERR_MEMORY.
Err rows_read(struct rows *r, Str record, uint64_t *ret_rows, ColumnarProblem *problem);

// Forgets the rows, which are encoded; gives up buffers that one large record made large.
void rows_clear(struct rows *r);
size_t rows_bytes(const struct rows *r); // of memory held

// SPDX-License-Identifier: Apache-2.0
// A small text file that says what it is and whether it is whole, one thing a line:
//
//     headrace-data         what it is
//     format 1              what was written
//     reader 1              the least format number whose programs understand it
//     version 0.1.0         name and value, as many as there are
//     crc32c 9f8e7d6c       of all bytes before this line, which is the last
#pragma once
#include "base/buf.h"

// In this order; marker_add any number of times. Values hold no line end.
void marker_begin(struct buf *b, Str what, unsigned format, unsigned reader);
void marker_add(struct buf *b, Str name, Str value);
void marker_end(struct buf *b);

typedef struct Marker {
    uint64_t format, reader;
    Str lines; // borrowed: the names and values
} Marker;

// ERR_CORRUPT: not a marker of this kind, or damaged. ERR_FORMAT: only programs that know more than
// `known` understand it; *ret is filled then too.
Err marker_read(Str content, Str what, uint64_t known, Marker *ret);
Str marker_value(const Marker *m, Str name); // absent if there is none

// SPDX-License-Identifier: Apache-2.0
// Apache ORC (orc.apache.org/specification), versions 0.11 and 0.12, written forwards:
//
//     ORC
//     stripe      of each column: row index and bloom filter, then its data streams; a footer that
//                 lists them
//     ...
//     Metadata    statistics of stripes
//     Footer      types, stripes, statistics
//     PostScript  how long these two are, compression, version; its own length in one byte
//
// Streams are encoded and compressed as they fill, in chunks of ORC_CHUNK_BYTES, and kept until
// their stripe is full. Times are in UTC, and each stripe says so.
#pragma once
#include "columnar/column.h"
#include "columnar/out.h"

struct orc;

// ERR_INVALID: a bloom filter for a column that the schema has not.
Err orc_open(const ColumnarOrc *o, const struct columnar_schema *s, struct out *out,
             ColumnarProblem *problem, struct orc **ret);
void orc_close(struct orc *f); // NULL is fine
AUTO_CLOSE(orc)

// Appends the rows of a batch. After an error the file is lost.
Err orc_add(struct orc *f, const struct column *root);
Err orc_finish(struct orc *f);

size_t orc_bytes(const struct orc *f); // of memory held

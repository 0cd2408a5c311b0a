// SPDX-License-Identifier: Apache-2.0
// Apache Parquet (github.com/apache/parquet-format), written forwards:
//
//     PAR1
//     row group   of each leaf of the schema a column chunk: [dictionary page] data page...
//     ...
//     column indexes, offset indexes: of each page least and greatest value, place and first row
//     FileMetaData, its length (4 bytes), PAR1
//
// Pages are compressed as they fill, and kept until their row group is full, because its chunks
// stand one after the other. Timestamps are INT96, as Hive writes them, and with it Firehose: it is
// what every reader of tables of Athena understands. Decimals are fixed byte arrays, as Hive's.
// Lists and maps are three levels: a (LIST) > list > element; a (MAP) > key_value > key, value.
#pragma once
#include "columnar/column.h"
#include "columnar/out.h"

struct parquet;

Err parquet_open(const ColumnarParquet *o, const struct columnar_schema *s, struct out *out,
                 struct parquet **ret);
void parquet_close(struct parquet *p); // NULL is fine
AUTO_CLOSE(parquet)

// Appends the rows of a batch. After an error the file is lost.
Err parquet_add(struct parquet *p, const struct column *root);
Err parquet_finish(struct parquet *p);

size_t parquet_bytes(const struct parquet *p); // of memory held

// SPDX-License-Identifier: Apache-2.0
// Rows in JSON become a columnar file: Apache Parquet or Apache ORC, as Firehose converts records
// with a table of Glue. The room knows bytes and memory, nothing of catalogs, streams or buckets.
//
//     schema    columns with Hive's types: "bigint", "array<struct<a:int,b:decimal(10,2)>>"
//     writer    JSON objects go in one after another, a file comes out through a sink in order
//
//     AUTO(columnar_schema) s = NULL;
//     AUTO(columnar_writer) w = NULL;
//     TRY(columnar_schema_parse(columns, n, &problem, &s));
//     ColumnarOptions o = columnar_defaults(COLUMNAR_PARQUET);
//     TRY(columnar_writer_open(&o, s, (ColumnarSink){ append, object }, &problem, &w));
//     for (each record)
//         if (columnar_writer_json(w, record, NULL, &problem).kind == ERR_INVALID)
//             set_aside(record, &problem); // and go on: the writer is as it was before it
//     TRY(columnar_writer_finish(w));
//
// Memory does not grow with the file: a writer holds one row group or stripe in its encoded and
// compressed form, and one page or chunk of each column (columnar_writer_bytes).
#pragma once
#include "base/str.h"

enum {
    COLUMNAR_COLUMNS_MAX = 5000,  // with the fields of structs: far above what Glue's pages show
    COLUMNAR_DEPTH_MAX = 32,      // types inside each other
    COLUMNAR_JSON_DEPTH_MAX = 64, // of what no column wants
    COLUMNAR_TYPE_BYTES_MAX = 131072,     // Glue's limit of a type
    COLUMNAR_DECIMAL_DIGITS_MAX = 38,     // Hive's
    COLUMNAR_VARCHAR_CHARS_MAX = 65535,   // Hive's
    COLUMNAR_CHAR_CHARS_MAX = 255,        // Hive's
    COLUMNAR_RECORD_BYTES_MAX = 64 << 20, // far above what any service here takes
    COLUMNAR_FORMATS_MAX = 32,            // formats of timestamps
    COLUMNAR_PROBLEM_BYTES = 512,
};

// ---- What is wrong, for people

typedef enum ColumnarProblemKind {
    COLUMNAR_SCHEMA,    // a column or its type
    COLUMNAR_OPTION,    // an option
    COLUMNAR_MALFORMED, // a record is not JSON, or not an object, or not UTF-8
    COLUMNAR_MISMATCH,  // a value does not fit its column
} ColumnarProblemKind;

// Written when a function returns ERR_INVALID, and only then. NULL may be passed.
typedef struct ColumnarProblem {
    ColumnarProblemKind kind;
    char text[COLUMNAR_PROBLEM_BYTES]; // terminated; names the column, the reason and the place
} ColumnarProblem;

// ---- The schema

typedef struct ColumnarColumn {
    Str name; // kept as it is written; one that differs only in case is a duplicate
    Str type; // of Hive: boolean tinyint smallint int bigint float double decimal[(p[,s])] string
              // varchar(n) char(n) binary timestamp date array<T> map<K,V> struct<name:T,...>
} ColumnarColumn;

struct columnar_schema;

// ERR_INVALID: a type that Hive does not know or we cannot write (uniontype, set<>, upper case, as
// in Hive), a name that is missing or given twice, a limit above.
Err columnar_schema_parse(const ColumnarColumn *columns, size_t n, ColumnarProblem *problem,
                          struct columnar_schema **ret);
// A schema never changes; any thread may use it. It must outlive its writers.
void columnar_schema_close(struct columnar_schema *s); // NULL is fine
AUTO_CLOSE(columnar_schema)
size_t columnar_schema_count(const struct columnar_schema *s); // top-level columns

// ---- Options; the names are Firehose's

typedef enum ColumnarFormat { COLUMNAR_PARQUET, COLUMNAR_ORC } ColumnarFormat;

typedef enum ColumnarCompression {
    COLUMNAR_UNCOMPRESSED, // ORC: NONE
    COLUMNAR_GZIP,         // ORC: ZLIB
    COLUMNAR_SNAPPY,
} ColumnarCompression;

// Who reads the JSON. What both do alike: names of columns match keys without case, members that no
// column wants are skipped, columns without a member and nulls are null, and of a member that comes
// twice the last one counts. What neither does here, although Hive would: lose a part of a value
// silently. A number that its column cannot hold is ERR_INVALID (README: where AWS is not on
// record).
typedef enum ColumnarSerde {
    // Strings for numbers and booleans, numbers for strings, nested JSON for strings (as its text).
    // Timestamps: 2017-02-07T15:13:01.39256Z, 2017-2-7 15:13:01[.39256] (up to nine digits), epoch
    // seconds with up to nine digits behind the point, epoch milliseconds (a whole number of at
    // least
    // thirteen characters, as the SerDe has it).
    COLUMNAR_OPENX,
    // Refuses a string for a number and nested JSON for a string. Timestamps by timestamp_formats,
    // else as java.sql.Timestamp.valueOf reads them: 2017-2-7 15:13:01[.39256].
    COLUMNAR_HIVE,
} ColumnarSerde;

typedef struct ColumnarMapping {
    Str column, key; // ColumnToJsonKeyMappings: the column takes the member `key`, not its own name
} ColumnarMapping;

typedef struct ColumnarDeserializer {
    ColumnarSerde serde;
    bool case_sensitive;      // OpenX: CaseInsensitive is false
    bool dots_to_underscores; // OpenX: ConvertDotsInJsonKeysToUnderscores
    const ColumnarMapping *mappings;
    size_t mapping_count;
    const Str *timestamp_formats; // Hive: patterns of Joda, or "millis"; tried in this order
    size_t timestamp_format_count;
} ColumnarDeserializer;

typedef struct ColumnarParquet {
    ColumnarCompression compression;
    uint64_t block_bytes;       // BlockSizeBytes: of a row group, at most COLUMNAR_BLOCK_BYTES_MAX
    uint64_t page_bytes;        // PageSizeBytes: of a column's page before compression
    bool dictionary;            // EnableDictionaryCompression: of all but booleans
    uint64_t padding_bytes_max; // MaxPaddingBytes: between row groups
    bool v2;                    // WriterVersion V2: data pages of version 2
} ColumnarParquet;

typedef struct ColumnarOrc {
    ColumnarCompression compression;
    uint64_t stripe_bytes; // StripeSizeBytes, at most COLUMNAR_BLOCK_BYTES_MAX
    uint64_t block_bytes;  // BlockSizeBytes: what stripes shall not cross, with `padding`
    uint32_t row_index_stride;
    bool padding;             // EnablePadding
    double padding_tolerance; // PaddingTolerance: of a stripe, 0..1
    const Str *bloom_columns; // BloomFilterColumns
    size_t bloom_column_count;
    double bloom_fpp;            // BloomFilterFalsePositiveProbability, 0..1
    double dictionary_threshold; // DictionaryKeyThreshold: distinct of all values; 0: no dictionary
    bool v0_11;                  // FormatVersion V0_11
} ColumnarOrc;

#define COLUMNAR_BLOCK_BYTES_MAX (UINT64_C(512) << 20) // what is larger is taken as this

typedef struct ColumnarOptions {
    ColumnarFormat format;
    ColumnarDeserializer from;
    ColumnarParquet parquet; // of the two the one that `format` says
    ColumnarOrc orc;
} ColumnarOptions;

// What Firehose takes for what is not said: OpenX; Snappy, 256 MiB blocks, 1 MiB pages; Snappy,
// 64 MiB stripes, 10,000 rows.
ColumnarOptions columnar_defaults(ColumnarFormat format);

// ---- The writer

typedef struct ColumnarSink {
    Err (*write)(void *context, Str bytes); // takes all of it, or fails; called in order
    void *context;
} ColumnarSink;

struct columnar_writer; // one thread at a time

// Options and what they point to are copied. ERR_INVALID: a format of timestamps that is none, a
// column of mappings or bloom filters that the schema has not, a size of zero.
Err columnar_writer_open(const ColumnarOptions *o, const struct columnar_schema *s,
                         ColumnarSink sink, ColumnarProblem *problem, struct columnar_writer **ret);
void columnar_writer_close(
    struct columnar_writer *w); // what was not finished is lost; NULL is fine
AUTO_CLOSE(columnar_writer)

// Appends a row for each JSON object of a record, which may be several, with blanks between them or
// without: all of them, or none. ret_rows may be NULL.
// ERR_INVALID: the record is at fault, and the writer is as it was before it. Any other error ends
// the file: the writer gives it back from then on (ERR_MEMORY; what the sink returned).
Err columnar_writer_json(struct columnar_writer *w, Str record, uint64_t *ret_rows,
                         ColumnarProblem *problem);

// Writes what is left, and the footer. Once; a file without rows is a file, too.
Err columnar_writer_finish(struct columnar_writer *w);

uint64_t columnar_writer_rows(const struct columnar_writer *w);
uint64_t columnar_writer_written(const struct columnar_writer *w); // bytes the sink was given
size_t columnar_writer_bytes(const struct columnar_writer *w);     // of memory held

// ---- Reading back

// How many rows a Parquet file has, from its last bytes, or all of it. ERR_LIMIT: *ret_tail_bytes
// of them are needed, which may be more than the file has: then it is none. ERR_INVALID: it is no
// Parquet file, or its footer is damaged: every field is read, and row groups must add up.
Err columnar_parquet_rows(Str tail, uint64_t *ret_rows, size_t *ret_tail_bytes);

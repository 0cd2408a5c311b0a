// SPDX-License-Identifier: Apache-2.0
// What Redshift's COPY does with files, for a PostgreSQL that has no COPY from S3: options are
// understood, files become rows of PostgreSQL's text format (COPY ... FROM STDIN).
#pragma once
#include "base/buf.h"

typedef enum CopyFormat { COPY_DELIMITED, COPY_CSV, COPY_JSON } CopyFormat;
typedef enum CopyTime { COPY_TIME_TEXT, COPY_TIME_SECONDS, COPY_TIME_MS } CopyTime;

typedef struct CopyOptions {
    CopyFormat format;
    char delimiter, quote;
    Str null_as;
    bool escape, remove_quotes, gzip;
    bool empty_as_null, blanks_as_null, trim_blanks, fill_record, ignore_blank_lines, ignore_case;
    uint64_t header_lines;
    CopyTime time;
} CopyOptions;

// "JSON 'auto' GZIP TRUNCATECOLUMNS". Options that say nothing about the content (COMPUPDATE,
// STATUPDATE, REGION, MAXERROR, ...) are passed over. ERR_INVALID: one that is not known, not
// supported, or malformed; the text names it.
Err copy_options_parse(struct arena *a, Str text, CopyOptions *ret, Str *ret_text);

typedef struct CopyColumn {
    Str name;
    bool is_text; // an empty field stays an empty text; of other types it is NULL
    bool is_time;
} CopyColumn;

struct copy_rows; // one file
enum { COPY_ROW_BYTES_MAX = 16 << 20 };

// The options and columns must outlive it.
void copy_rows_open(const CopyOptions *o, const CopyColumn *columns, size_t n,
                    struct copy_rows **ret);
void copy_rows_close(struct copy_rows *c); // NULL is fine
AUTO_CLOSE(copy_rows)
// Adds the rows that are complete now. `end`: nothing follows. ERR_INVALID: a row that cannot be
// loaded, or a damaged file; the text lives as long as the rows.
Err copy_rows_feed(struct copy_rows *c, Str bytes, bool end, struct buf *out, Str *ret_text);

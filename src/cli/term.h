// SPDX-License-Identifier: Apache-2.0
// What the terminal can do, and tables for people and for scripts.
#pragma once
#include "base/buf.h"

bool term_is_terminal(int fd); // and not TERM=dumb
bool term_colour(int fd);      // a terminal without NO_COLOR, or CLICOLOR_FORCE
unsigned term_columns(int fd); // 80 if unknown

// On a terminal, unless `sure`: says that `name` and what belongs to it will be removed, and
// whether the name was typed again.
bool term_confirms(Str name, const char *with, bool sure);

// The text in a colour of the sixteen ("32" is green), or as it is.
Str term_paint(struct arena *a, bool colour, const char *code, Str text);
Str term_bytes(struct arena *a, uint64_t bytes); // "1.5 MiB"
Str term_count(struct arena *a, uint64_t count); // "12,345"

typedef enum TableStyle {
    TABLE_HUMAN, // aligned, with a heading
    TABLE_TABS,  // tab-separated, without
    TABLE_JSON,  // one object on each line
} TableStyle;
TableStyle table_style(bool json); // what standard output calls for

typedef struct Column {
    Str name;    // "shards"; in capitals it is the heading
    bool number; // aligned to the right, unquoted in JSON
} Column;

enum { TABLE_COLUMNS_MAX = 12 };

struct table {
    struct arena *a;
    const Column *columns;
    size_t column_count;
    TableStyle style;
    Str *cells; // of a human table, until its end
    size_t cell_count, cell_max;
};

struct table table_begin(struct arena *a, TableStyle style, const Column *columns, size_t n);
void table_row(struct table *t, const Str *cells); // as many as columns; borrowed until the end
void table_end(struct table *t);

void add_json_text(struct buf *b, Str s); // quoted; bytes that are not UTF-8 become U+FFFD

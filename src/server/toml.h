// SPDX-License-Identifier: Apache-2.0
// The part of TOML 1.0 that a configuration file needs: tables, dotted and quoted keys, basic and
// literal strings on one line, integers, floats, booleans and lists of strings.
//
// What TOML has beyond that (dates, inline tables, arrays of tables, strings over several lines) is
// refused by its name, and so are a key or a table given twice, control bytes and bytes that are
// not UTF-8. Nothing is guessed.
#pragma once
#include "base/str.h"

enum { TOML_BYTES_MAX = 1 << 20, TOML_KEYS_MAX = 1000, TOML_LIST_MAX = 256 };

typedef enum TomlKind { TOML_TEXT, TOML_INTEGER, TOML_REAL, TOML_BOOL, TOML_LIST } TomlKind;

typedef struct TomlValue {
    Str key;       // with the names of its tables: "journal.file_size"
    unsigned line; // from 1
    TomlKind kind;
    Str text;        // of a string; the digits of a number without '_'; "true" or "false"
    int64_t integer; // of an integer, or 0 and 1 of a boolean
    double real;     // of a float
    Str *items;      // of a list
    size_t item_count;
} TomlValue;

typedef struct TomlDoc {
    TomlValue *at; // in the order of the file
    size_t n;
} TomlDoc;

// Where and why a file was refused.
typedef struct TomlFault {
    unsigned line;
    Str reason;
} TomlFault;

// ERR_INVALID or ERR_LIMIT, with ret_fault set. Text borrows from `input` or lives in `a`.
Err toml_parse(struct arena *a, Str input, TomlDoc *ret, TomlFault *ret_fault);

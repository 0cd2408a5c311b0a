// SPDX-License-Identifier: Apache-2.0
// The schema as a tree. Its root is a struct of the columns; nodes are numbered before their
// children, as ORC numbers columns: the root is 0.
#pragma once
#include "columnar/columnar.h"

typedef enum TypeKind {
    TYPE_BOOLEAN,
    TYPE_TINYINT,
    TYPE_SMALLINT,
    TYPE_INT,
    TYPE_BIGINT,
    TYPE_FLOAT,
    TYPE_DOUBLE,
    TYPE_DECIMAL,
    TYPE_STRING,
    TYPE_VARCHAR,
    TYPE_CHAR,
    TYPE_BINARY,
    TYPE_TIMESTAMP,
    TYPE_DATE,
    TYPE_LIST,   // one child
    TYPE_MAP,    // two: key, value
    TYPE_STRUCT, // its fields
} TypeKind;

struct type {
    TypeKind kind;
    unsigned chars_max;        // varchar, char
    unsigned precision, scale; // decimal
    uint32_t number;           // in the order of the tree
    Str name;                  // of a column or field; else what Parquet calls it
    const struct type *parent; // NULL: the root
    struct type *children;
    size_t child_count;
};

struct columnar_schema {
    struct arena *arena; // holds all of it
    struct type root;
    uint32_t type_count; // with the root
};

// Text is what their values are: string, varchar, char, binary.
static inline bool type_is_text(TypeKind k)
{
    return k >= TYPE_STRING && k <= TYPE_BINARY;
}

static inline bool type_is_nested(TypeKind k)
{
    return k >= TYPE_LIST;
}

// Writes a problem, and gives the error for it. `problem` may be NULL.
Err problem_set(ColumnarProblem *problem, ColumnarProblemKind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// "a.b.element" of a type, for messages; in `a`.
Str type_path(struct arena *a, const struct type *t);

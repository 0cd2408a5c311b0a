// SPDX-License-Identifier: Apache-2.0
// The expressions of GetPartitions: conditions on partition keys.
//
//     any      := all ( OR all )*
//     all      := one ( AND one )*
//     one      := NOT one | ( any ) | key test | literal operator key
//     test     := operator literal | [NOT] LIKE 'text' | [NOT] IN ( literal, ... )
//               | [NOT] BETWEEN literal AND literal | IS [NOT] NULL
//     operator := = <> != < <= > >=
//     literal  := 'text' | "text" | number, in any number of brackets; a quote in text is doubled
//
// Keys are compared as their type says: whole numbers and decimals by value, dates and times by
// time, texts by their bytes.
#pragma once
#include "base/str.h"

typedef struct FilterKey {
    Str name, type; // of the table's partition keys, in order
} FilterKey;

enum {
    FILTER_DEPTH_MAX = 64, // of brackets
    FILTER_BYTES_MAX = 2048,
};

struct filter;

// In the arena, as what it borrows: the expression and the keys. ERR_INVALID: the text is what the
// caller is told (InvalidInputException).
Err filter_parse(struct arena *a, Str expression, const FilterKey *keys, size_t key_count,
                 struct filter **ret, Str *ret_text);

// Whether a partition with these values, one for each key, is meant. ERR_INVALID: a value is not
// what its key's type says; the text tells (InvalidStateException). `tmp` is scratch, for the text
// as well. Adds what it costs to *steps: about a nanosecond each.
Err filter_matches(const struct filter *f, struct arena *tmp, const Str *values, bool *ret,
                   uint64_t *steps, Str *ret_text);

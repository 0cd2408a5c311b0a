// SPDX-License-Identifier: Apache-2.0
// Numbers as JSON writes them, and what columns make of them: exactly, or not at all. Only float
// and double round, as they must, and decimals to their scale, half up, as Hive does.
#pragma once
#include "columnar/column.h"

struct number {
    Str text; // as it is written; behind it stands a byte that no number has
    uint64_t digits;
    int32_t exponent; // the value is digits * 10^exponent, if `exact`
    bool negative;
    bool exact; // else there are more digits than `digits` holds
};

// Reads the number at p, whose text ends with a byte that no number has. NULL: there is none.
const char *number_scan(const char *p, struct number *ret);

// false: it is not whole, or does not fit.
bool number_whole(const struct number *x, int64_t *ret);
// false: it is beyond the range.
bool number_real(const struct number *x, double *ret);
// false: it has more digits before the point than the type.
bool number_decimal(const struct number *x, unsigned precision, unsigned scale, Decimal *ret);

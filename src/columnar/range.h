// SPDX-License-Identifier: Apache-2.0
// Least and greatest values, which both formats keep beside their data.
#pragma once
#include "columnar/column.h"

enum { RANGE_TEXT_BYTES = 64 }; // of text; with a longer one there is no range

// Least and greatest value so far.
struct range {
    bool any; // there is one
    bool off; // there will be none: text that is too long
    union {
        int64_t ints[2];
        double reals[2];
        Decimal decimals[2];
        struct {
            uint64_t first[2]; // eight bytes, so that they compare as a number
            uint8_t n[2];
            char text[2][RANGE_TEXT_BYTES];
        };
    };
};

void range_add(struct range *r, const struct column *c); // of timestamps the milliseconds
void range_join(struct range *r, const struct range *more, const struct type *t);

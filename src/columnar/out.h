// SPDX-License-Identifier: Apache-2.0
// Where a file goes, and how far it is.
#pragma once
#include "columnar/columnar.h"

struct out {
    ColumnarSink sink;
    uint64_t written;
};

static inline Err out_add(struct out *o, Str bytes)
{
    if (bytes.n == 0)
        return OK;
    TRY(o->sink.write(o->sink.context, bytes));
    o->written += bytes.n;
    return OK;
}

Err out_zeros(struct out *o, uint64_t n); // padding

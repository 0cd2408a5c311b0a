// SPDX-License-Identifier: Apache-2.0
#include "columnar/parquet_priv.h"

#include <endian.h>

Str range_text(struct arena *a, const struct range *r, const struct leaf *l, bool greatest)
{
    if (!r->any || r->off)
        return (Str){ 0 };
    char bytes[sizeof(Decimal)];
    switch (l->physical) {
    case PARQUET_BOOLEAN:
        bytes[0] = (char)r->ints[greatest];
        return str_dup(a, str_from(bytes, 1));
    case PARQUET_INT32: {
        uint32_t v = htole32((uint32_t)r->ints[greatest]);
        return str_dup(a, str_from(&v, sizeof v));
    }
    case PARQUET_INT64: {
        uint64_t v = htole64((uint64_t)r->ints[greatest]);
        return str_dup(a, str_from(&v, sizeof v));
    }
    // A zero has two signs, and the range shall hold both.
    case PARQUET_FLOAT: {
        float v = (float)r->reals[greatest];
        v = v == 0 ? (greatest ? 0.0f : -0.0f) : v;
        return str_dup(a, str_from(&v, sizeof v));
    }
    case PARQUET_DOUBLE: {
        double v = r->reals[greatest];
        v = v == 0 ? (greatest ? 0.0 : -0.0) : v;
        return str_dup(a, str_from(&v, sizeof v));
    }
    case PARQUET_FIXED: {
        Decimal v = r->decimals[greatest];
        for (unsigned i = l->fixed_bytes; i-- > 0; v >>= 8)
            bytes[i] = (char)v;
        return str_dup(a, str_from(bytes, l->fixed_bytes));
    }
    default:
        return str_dup(a, str_from(r->text[greatest], r->n[greatest]));
    }
}

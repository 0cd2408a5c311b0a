// SPDX-License-Identifier: Apache-2.0
// The end of a file that may be Parquet. What is asked for is never less than what there was.
#include "columnar/columnar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t rows;
    size_t needed = 0;
    Err e = columnar_parquet_rows(str_from(data, size), &rows, &needed);
    CHECK(e.kind == ERR_NONE || e.kind == ERR_INVALID || (e.kind == ERR_LIMIT && needed > size));
    return 0;
}

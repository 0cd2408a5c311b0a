// SPDX-License-Identifier: Apache-2.0
// Any text as an expression of GetPartitions: it is refused with a reason, or it means a partition
// or not, at a cost that is bounded.
#include "svc/glue/filter.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const FilterKey keys[] = {
        { S_INIT("city"), S_INIT("string") },         { S_INIT("n"), S_INIT("int") },
        { S_INIT("price"), S_INIT("decimal(10,2)") }, { S_INIT("day"), S_INIT("date") },
        { S_INIT("at"), S_INIT("timestamp") },
    };
    static const Str values[] = { S_INIT("Zurich"), S_INIT("10"), S_INIT("-1.50"),
                                  S_INIT("2024-02-29"), S_INIT("2024-02-29 10:00:00.5") };
    AUTO(arena) a = arena_open();
    struct filter *f = NULL;
    Str text = { 0 };
    uint64_t steps = 0;
    bool means = false;
    if (size > FILTER_BYTES_MAX)
        return 0;
    Err e = filter_parse(a, str_from(data, size), keys, COUNT_OF(keys), &f, &text);
    CHECK(e.kind == ERR_NONE || (e.kind == ERR_INVALID && text.n > 0));
    if (e.kind != ERR_NONE)
        return 0;
    e = filter_matches(f, a, values, &means, &steps, &text);
    CHECK(e.kind == ERR_NONE && steps < 1000000);
    return 0;
}

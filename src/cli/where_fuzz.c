// SPDX-License-Identifier: Apache-2.0
// The first line is a condition, the rest a record's data: whatever both are, the condition is
// refused with a place inside of it, or decides the same twice.
#include "cli/where.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) a = arena_open();
    AUTO(arena) tmp = arena_open();
    Str condition, document;
    struct where *w = NULL;
    WhereFault fault = { 0 };
    (void)str_cut(str_from(data, size), '\n', &condition, &document);
    Err e = where_parse(a, condition, &w, &fault);
    if (e.kind != ERR_NONE) {
        CHECK(fault.reason.n > 0 && fault.at <= condition.n);
        return 0;
    }
    const WhereRecord r = {
        .key = condition, .data = document, .shard = (uint32_t)size, .arrival_ns = (int64_t)size
    };
    bool first = where_matches(w, tmp, &r);
    arena_reset(tmp);
    CHECK(where_matches(w, tmp, &r) == first);
    return 0;
}

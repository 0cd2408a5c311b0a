// SPDX-License-Identifier: Apache-2.0
// Any text as a prefix: it is refused with a reason, or it can be evaluated for any instant, always
// within its limits. The first bytes choose the place, the zone and the instant.
#include "base/arena.h"
#include "delivery/prefix.h"
#include "os/io.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const Str zones[] = { S_INIT("UTC"), S_INIT("Europe/Berlin"), S_INIT("America/St_Johns"),
                                 S_INIT("Pacific/Apia") };
    static const DeliveryPair key = { S_INIT("k"), S_INIT("value") };
    enum { HEAD_BYTES = 8 };
    AUTO(arena) a = arena_open();
    AUTO(prefix) p = NULL;
    uint32_t at_s;
    Str problem = { 0 }, got;
    if (size < HEAD_BYTES)
        return 0;
    memcpy(&at_s, data, sizeof at_s);
    PrefixPlace place = data[4] % 2 == 0 ? PREFIX_DATA : PREFIX_ERRORS;
    Str text = str_from(data + HEAD_BYTES, size - HEAD_BYTES);
    Err e = prefix_open(place, text, (Str){ 0 }, zones[data[5] % COUNT_OF(zones)], &p, a, &problem);
    if (e.kind != ERR_NONE) {
        CHECK(e.kind == ERR_INVALID && problem.n > 0);
        return 0;
    }
    const DeliveryRecord r = {
        .query_keys = &key, .query_key_count = 1, .lambda_keys = &key, .lambda_key_count = 1
    };
    const DeliveryConfig config = { .name = S("s"), .version = 1 };
    const PrefixValues v = { .oldest_ms = (int64_t)at_s * 1000 + data[6],
                             .error_type = "processing-failed",
                             .record = &r,
                             .io = io_real() };
    e = prefix_evaluate(p, a, &v, &got);
    CHECK(e.kind == ERR_NONE || e.kind == ERR_INVALID || e.kind == ERR_LIMIT);
    if (e.kind == ERR_NONE)
        CHECK(str_utf8_count(got) <= 512);
    err_ignore(prefix_object_key(p, a, &v, &config, S(".gz"), &got));
    return 0;
}

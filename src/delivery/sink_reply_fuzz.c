// SPDX-License-Identifier: Apache-2.0
// Any bytes as the reply of a destination: each reader takes them or refuses them, and what it
// gives lies within them or the arena.
#include "delivery/sink_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch(Str s)
{
    volatile unsigned sum = 0;
    for (size_t i = 0; i < s.n; i++)
        sum += (unsigned char)s.p[i];
}

static bool is_expected(Err e)
{
    return e.kind == ERR_NONE || e.kind == ERR_INVALID || e.kind == ERR_LIMIT ||
           e.kind == ERR_MEMORY;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { ITEMS = 4 };
    AUTO(arena) a = arena_open();
    Str body = str_from(data, size);
    EndpointReply endpoint = { 0 };
    HecReply hec = { 0 };
    bool indexed;
    BulkItem items[ITEMS] = { 0 };
    Err e = endpoint_reply_read(a, body, &endpoint);
    CHECK(is_expected(e));
    touch(endpoint.request_id);
    touch(endpoint.error_message);
    e = hec_reply_read(a, body, &hec);
    CHECK(is_expected(e) && hec.code >= -1 && hec.ack_id >= -1 && hec.event >= -1);
    touch(hec.text);
    e = hec_ack_read(a, body, 7, &indexed);
    CHECK(is_expected(e));
    for (size_t n = 0; n <= ITEMS; n++) {
        e = bulk_reply_read(a, body, items, n);
        CHECK(is_expected(e));
        for (size_t i = 0; e.kind == ERR_NONE && i < n; i++) {
            CHECK(items[i].status > 0 && items[i].status < 1000);
            touch(items[i].error);
        }
    }
    return 0;
}

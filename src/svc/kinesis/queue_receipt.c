// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/queue_receipt.h"

#include <string.h>

// What the token carries.
struct receipt_payload {
    uint64_t queue, shard, position;
    uint32_t delivery, dead;
};

Str receipt_seal(struct call *c, const Receipt *r, int64_t now_ms)
{
    struct kinesis *k = c->state;
    struct receipt_payload payload = { r->queue, r->shard, r->position, r->delivery, r->dead };
    return token_seal(&k->sealer, c->arena, TOKEN_RECEIPT, kinesis_realm_name(c), now_ms,
                      str_from(&payload, sizeof payload));
}

Err receipt_open(struct call *c, Str handle, Receipt *ret)
{
    struct kinesis *k = c->state;
    struct receipt_payload payload;
    int64_t issued_ms;
    Str bytes;
    TRY(token_open(&k->sealer, c->arena, TOKEN_RECEIPT, kinesis_realm_name(c), handle, &issued_ms,
                   &bytes));
    CHECK(bytes.n == sizeof payload); // sealed here
    memcpy(&payload, bytes.p, sizeof payload);
    *ret = (Receipt){ .queue = payload.queue,
                      .shard = payload.shard,
                      .position = payload.position,
                      .delivery = payload.delivery,
                      .dead = payload.dead != 0 };
    return OK;
}

Str receipt_record_id(struct arena *a, const Receipt *r)
{
    return str_fmt(a, "%016llx%016llx", (unsigned long long)r->shard,
                   (unsigned long long)r->position);
}

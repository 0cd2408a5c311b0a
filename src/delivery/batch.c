// SPDX-License-Identifier: Apache-2.0
#include "delivery/batch.h"

#include "base/arena.h"

static void push(struct arena *a, DeliveryRecord **at, size_t *n, size_t *cap,
                 const DeliveryRecord *r)
{
    if (*n == *cap) {
        size_t grown = MAX(*cap * 2, (size_t)64);
        DeliveryRecord *copy = arena_new(a, DeliveryRecord, grown);
        for (size_t i = 0; i < *n; i++)
            copy[i] = (*at)[i];
        *at = copy;
        *cap = grown;
    }
    (*at)[(*n)++] = *r;
}

void batch_add(DeliveryBatch *b, const DeliveryRecord *r)
{
    push(b->arena, &b->at, &b->n, &b->cap, r);
    b->bytes += r->data.n;
}

void batch_take(DeliveryBatch *b, DeliveryRecord *take_at, size_t n)
{
    if (b->at != NULL) {
        for (size_t i = 0; i < n; i++)
            batch_add(b, &take_at[i]);
        return;
    }
    b->at = take_at;
    b->n = b->cap = n;
    for (size_t i = 0; i < n; i++)
        b->bytes += take_at[i].data.n;
}

void batch_fail(DeliveryBatch *b, const DeliveryRecord *r, const char *type, Str code, Str message,
                int64_t attempts, int64_t now_ms)
{
    DeliveryRecord failed = *r;
    failed.fault.type = type;
    failed.fault.code = code;
    failed.fault.message = message;
    failed.fault.attempts = attempts;
    failed.fault.ended_ms = now_ms;
    push(b->arena, &b->failed, &b->failed_n, &b->failed_cap, &failed);
}

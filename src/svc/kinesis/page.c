// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/page.h"
#include "base/time.h"

Err page_open(struct call *c, TokenKind kind, Str token, Str *ret_payload)
{
    struct kinesis *k = c->state;
    int64_t issued_ms;
    if (token_open(&k->sealer, c->arena, kind, kinesis_realm_name(c), token, &issued_ms,
                   ret_payload)
            .kind != ERR_NONE)
        return call_fail(c, &kinesis_InvalidArgumentException, "Invalid NextToken.");
    if (c->now_ns / NS_PER_MS - issued_ms > TOKEN_LIFE_MS)
        return call_fail(c, &kinesis_ExpiredNextTokenException,
                         "NextToken expired. The token was created at time %.*s while right now it "
                         "is %.*s which is further in the future than the tolerated delay of %d "
                         "milliseconds.",
                         FMT(time_java(c->arena, issued_ms * NS_PER_MS)),
                         FMT(time_java(c->arena, c->now_ns)), TOKEN_LIFE_MS);
    return OK;
}

Str page_seal(struct call *c, TokenKind kind, Str payload)
{
    struct kinesis *k = c->state;
    return token_seal(&k->sealer, c->arena, kind, kinesis_realm_name(c), c->now_ns / NS_PER_MS,
                      payload);
}

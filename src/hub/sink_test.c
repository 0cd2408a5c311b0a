// SPDX-License-Identifier: Apache-2.0
#include "hub/sink.h"
#include "base/test.h"
#include "hub/hub.h"

static HubInvokeFault next_fault;
static Str last_payload;

static Err answer(void *self, struct arena *a, const HubActor *as, Str arn, Str payload,
                  int64_t timeout_ns, HubInvokeAnswer *ret)
{
    (void)self, (void)a, (void)as, (void)arn, (void)timeout_ns;
    last_payload = payload;
    *ret = (HubInvokeAnswer){ .fault = next_fault, .text = S("t"), .reply = S("") };
    return OK;
}

static bool is_known(void *self, Str arn)
{
    (void)self;
    return str_ends(arn, S(":f"));
}

TEST(an_arn_finds_who_takes_what_is_sent_to_it)
{
    EXPECT(hub_sink_find(S("arn:aws:lambda:us-east-1:000000000000:function:f")) != NULL);
    EXPECT(hub_sink_find(S("arn:aws:sqs:us-east-1:000000000000:q")) == NULL);
    EXPECT(hub_sink_find(S("x:aws:lambda:us-east-1:000000000000:function:f")) == NULL);
    EXPECT(hub_sink_find(S("lambda")) == NULL && hub_sink_find(S("")) == NULL);
    EXPECT(hub_sink_find(S("arn:aws:lambda")) == NULL);
}

TEST(what_a_function_says_decides_whether_a_message_is_tried_again)
{
    static const struct {
        HubInvokeFault fault;
        HubSinkFault is;
    } cases[] = {
        { HUB_INVOKE_GOOD, HUB_SINK_GOOD },        { HUB_INVOKE_THROTTLED, HUB_SINK_AWAY },
        { HUB_INVOKE_UNREACHABLE, HUB_SINK_AWAY }, { HUB_INVOKE_FAILED, HUB_SINK_FAILED },
        { HUB_INVOKE_NOT_FOUND, HUB_SINK_NEVER },  { HUB_INVOKE_DENIED, HUB_SINK_NEVER },
        { HUB_INVOKE_TOO_LARGE, HUB_SINK_NEVER }
    };
    Str arn = S("arn:aws:lambda:us-east-1:000000000000:function:f");
    const struct hub_sink *s = hub_sink_find(arn);
    struct hub_invoke invoke = { .call = answer, .known = is_known };
    struct hub hub = { .invoke = &invoke }, none = { 0 };
    HubActor as = { .account = S("000000000000") };
    HubSinkAnswer got;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        next_fault = cases[i].fault;
        EXPECT_OK(s->send(&hub, a, &as, arn, S("m"), 1, &got));
        EXPECT(got.fault == cases[i].is);
        EXPECT_STR(S("m"), last_payload);
    }
    EXPECT(s->known(&hub, arn) && !s->known(&hub, S("arn:aws:lambda:x:y:function:g")));
    EXPECT(!s->known(&none, arn));
    EXPECT_OK(s->send(&none, a, &as, arn, S("m"), 1, &got));
    EXPECT(got.fault == HUB_SINK_AWAY);
}

// SPDX-License-Identifier: Apache-2.0
#include "hub/sink.h"
#include "hub/hub.h"

// ---- Functions

static bool function_known(const struct hub *hub, Str arn)
{
    const struct hub_invoke *i = hub->invoke;
    return i != NULL && (i->known == NULL || i->known(i->self, arn));
}

static HubSinkFault fault_of(HubInvokeFault fault)
{
    switch (fault) {
    case HUB_INVOKE_GOOD:
        return HUB_SINK_GOOD;
    case HUB_INVOKE_THROTTLED:
    case HUB_INVOKE_UNREACHABLE:
        return HUB_SINK_AWAY;
    case HUB_INVOKE_FAILED:
        return HUB_SINK_FAILED;
    default:
        return HUB_SINK_NEVER;
    }
}

static Err function_send(const struct hub *hub, struct arena *a, const HubActor *as, Str arn,
                         Str message, int64_t timeout_ns, HubSinkAnswer *ret)
{
    const struct hub_invoke *i = hub->invoke;
    HubInvokeAnswer answer = { .fault = HUB_INVOKE_UNREACHABLE, .text = S("no functions here") };
    if (i != NULL)
        TRY(i->call(i->self, a, as, arn, message, timeout_ns, &answer));
    *ret = (HubSinkAnswer){ .fault = fault_of(answer.fault), .text = answer.text };
    return OK;
}

// ---- All of them

static const struct hub_sink sinks[] = {
    { S_INIT("lambda"), false, function_known, function_send },
};

// "arn:aws:lambda:region:account:function:name"
const struct hub_sink *hub_sink_find(Str arn)
{
    Str part, rest = arn;
    for (size_t i = 0; i < 3; i++)
        if (!str_cut(rest, ':', &part, &rest))
            return NULL;
    for (size_t i = 0; str_starts(arn, S("arn:")) && i < COUNT_OF(sinks); i++)
        if (str_eq(sinks[i].service, part))
            return &sinks[i];
    return NULL;
}

// SPDX-License-Identifier: Apache-2.0
// Running a function and waiting for what it says. Who can: the service that has functions, or an
// HTTP endpoint that the configuration puts in a function's place.
#pragma once
#include "hub/source.h"

enum { HUB_INVOKE_BYTES_MAX = 6 << 20 }; // of a request and of a reply (Lambda quotas)

typedef enum HubInvokeFault {
    HUB_INVOKE_GOOD,
    HUB_INVOKE_NOT_FOUND, // no such function
    HUB_INVOKE_DENIED,
    HUB_INVOKE_NO_ROLE, // the role is not there, or does not trust who works as it
    HUB_INVOKE_THROTTLED,
    HUB_INVOKE_UNREACHABLE, // network, timeout: may be tried again
    HUB_INVOKE_TOO_LARGE,   // request or reply
    HUB_INVOKE_FAILED,      // the function itself says so; `reply` is its error
} HubInvokeFault;

typedef struct HubInvokeAnswer {
    HubInvokeFault fault;
    Str reply, text;
} HubInvokeAnswer;

struct hub_invoke {
    void *self;
    // Blocks for at most timeout_ns. The Err is one of memory alone.
    Err (*call)(void *self, struct arena *a, const HubActor *as, Str function_arn, Str payload,
                int64_t timeout_ns, HubInvokeAnswer *ret);
    // Whether there is such a function. NULL: nobody knows before it is called.
    bool (*known)(void *self, Str function_arn);
};

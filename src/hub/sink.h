// SPDX-License-Identifier: Apache-2.0
// Where services send messages of their own (S3's event notifications): the ARN of a destination
// finds who takes them. A further kind of destination is one more line in sink.c.
#pragma once
#include "hub/source.h"

struct hub;

typedef enum HubSinkFault {
    HUB_SINK_GOOD,   // taken
    HUB_SINK_AWAY,   // not now: network, throttling
    HUB_SINK_FAILED, // whoever took it has failed with it: a few tries more
    HUB_SINK_NEVER,  // not there, not permitted, too large
} HubSinkFault;

typedef struct HubSinkAnswer {
    HubSinkFault fault;
    Str text;
} HubSinkAnswer;

struct hub_sink {
    Str service; // of the ARN: "lambda"
    bool test;   // whether a message of a test is sent to it when it is named as a destination
    // Whether somebody takes what is sent to this ARN.
    bool (*known)(const struct hub *hub, Str arn);
    // Blocks for at most timeout_ns. The Err is one of memory alone.
    Err (*send)(const struct hub *hub, struct arena *a, const HubActor *as, Str arn, Str message,
                int64_t timeout_ns, HubSinkAnswer *ret);
};

const struct hub_sink *hub_sink_find(Str arn); // NULL: no such destination is served

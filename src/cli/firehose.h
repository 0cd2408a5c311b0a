// SPDX-License-Identifier: Apache-2.0
// What the commands for delivery streams share.
#pragma once
#include "cli/remote.h"

Str firehose_body(struct arena *a, Str name); // {"DeliveryStreamName":"..."}

// DescribeDeliveryStream's description.
ExitCode firehose_describe(const struct invocation *in, struct client *c, Str name,
                           const JsonValue **ret);
// Polls until it is ACTIVE. EXIT_TIMEOUT after FIREHOSE_WAIT_S; EXIT_FAILED: it could not be made.
enum { FIREHOSE_WAIT_S = 60 };
ExitCode firehose_wait_active(const struct invocation *in, struct client *c, Str name);

typedef struct FirehoseEnds {
    Str source; // "direct" or the name of a stream
    Str kind;   // "s3", "http", ...
    Str place;  // "s3://bucket/prefix", a URL
} FirehoseEnds;
FirehoseEnds firehose_ends(struct arena *a, const JsonValue *description);

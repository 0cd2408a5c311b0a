// SPDX-License-Identifier: Apache-2.0
// The lease table of an application of the Kinesis Client Library (2 and 3): where it is in each
// shard. It lies in DynamoDB, in a table of the application's name.
#pragma once
#include "cli/command.h"

// One lease that has a checkpoint: a shard, and a sequence number, TRIM_HORIZON, LATEST,
// AT_TIMESTAMP or SHARD_END.
typedef void LeaseTake(void *self, Str shard, Str checkpoint);

// Tells of every lease of the stream in the table at the endpoint (a URL), with the key and the
// region of the command. Leases of other streams that the table may have are passed over. Errors
// have been printed when the code is not EXIT_GOOD.
ExitCode stream_leases(const struct invocation *in, Str endpoint, Str table, Str stream,
                       LeaseTake *take, void *self);

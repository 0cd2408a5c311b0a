// SPDX-License-Identifier: Apache-2.0
// The role that delivery streams made from the command line use when no other is named.
#pragma once
#include "cli/remote.h"

// Its ARN. The role `headrace-delivery` is made if the account does not have it: Firehose may take
// it, and what it permits is reading streams and tables, writing objects, running functions and
// using keys, all of the account's.
ExitCode delivery_role(const struct invocation *in, struct client *c, Str *ret_arn);

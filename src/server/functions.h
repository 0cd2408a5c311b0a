// SPDX-License-Identifier: Apache-2.0
// Functions that run elsewhere: the configuration puts an HTTP endpoint in a function's place, and
// other services call it through hub/invoke.h. What is sent is what Lambda's own API takes, so that
// a container with the AWS Lambda runtime interface emulator can be one, unchanged:
//
//     POST PATH          the payload; PATH of the URL, else /2015-03-31/functions/NAME/invocations
//     200                the function's reply; with X-Amz-Function-Error its error
//     429, 404, 403, 413 throttled, no such function, denied, too large
//     5xx                to be tried again
#pragma once
#include "hub/invoke.h"

struct functions;
struct hub;
struct io;

typedef struct FunctionsConfig {
    struct io *io;
    const struct hub *hub; // whom to ask whether a role may invoke a function; looked at by calls
    bool dev;              // nobody is asked
    // "NAME=URL": a function's name, "NAME:QUALIFIER" or an ARN, with a qualifier or for all.
    const Str *endpoints;
    size_t n;
} FunctionsConfig;

// ERR_INVALID: an endpoint is malformed; ret_problem, in `a`, says which and why.
Err functions_open(const FunctionsConfig *config, struct arena *a, struct functions **ret,
                   Str *ret_problem);
// Calls that wait for a function end now, and all later ones (HUB_INVOKE_UNREACHABLE).
void functions_stop(struct functions *f);
void functions_close(struct functions *f); // no call is running any more; NULL is fine
AUTO_CLOSE(functions)
const struct hub_invoke *functions_offer(const struct functions *f);

// SPDX-License-Identifier: Apache-2.0
// What services ask of the one that keeps secrets (svc/secretsmanager): the credentials that a
// destination was given by the ARN of a secret.
#pragma once
#include "hub/source.h"

typedef enum HubSecretFault {
    HUB_SECRET_GOOD,
    HUB_SECRET_NOT_FOUND, // no such secret, or it has no value
    HUB_SECRET_DENIED,    // the role may not read it, or may not use its key
    HUB_SECRET_KEY,       // its key cannot be used
    HUB_SECRET_STATE,     // it is marked for deletion
} HubSecretFault;

typedef struct HubSecretAnswer {
    HubSecretFault fault;
    Str text; // what the keeper says about the fault
} HubSecretAnswer;

struct hub_secrets {
    void *self;
    // The value of the version that is AWSCURRENT now, in the arena; whoever asked wipes it. One
    // read of the store, always fresh: nobody needs to keep it. May block. The Err is one of the
    // disk's or of memory.
    Err (*get)(void *self, struct arena *a, const HubActor *as, Str secret_arn, Str *ret_value,
               HubSecretAnswer *ret);
};

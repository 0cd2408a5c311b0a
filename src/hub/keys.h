// SPDX-License-Identifier: Apache-2.0
// What services ask of the key service: data keys, to encrypt what they keep. A data key is known
// in plain only while it is used; what is kept is its wrapped form, which says itself which key it
// was wrapped with.
//
// Each question is asked for a call, whose caller must be allowed to use the key.
#pragma once
#include "base/str.h"

struct call; // aws/call.h

enum {
    HUB_KEY_BYTES = 32, // of a data key: AES-256
    HUB_KEY_WRAPPED_BYTES_MAX = 256,
};

// Why a key cannot be used; the services have errors of their own for each.
typedef enum HubKeyFault {
    HUB_KEY_GOOD,
    HUB_KEY_NOT_FOUND,
    HUB_KEY_DISABLED,
    HUB_KEY_PENDING_DELETION,
    HUB_KEY_DENIED,
    HUB_KEY_DAMAGED, // the wrapped form is not one of that key's
} HubKeyFault;

typedef struct HubKeyAnswer {
    HubKeyFault fault;
    Str text; // what the key service says about the fault; in the call's arena
} HubKeyAnswer;

struct hub_keys {
    void *self;
    // The ARN of a key by its id, ARN, alias or alias's ARN. A key that AWS manages is made when it
    // is asked for first: may block. The Err is one of the disk's.
    Err (*find)(void *self, struct call *c, Str name, Str *ret_arn, HubKeyAnswer *ret);
    // The key that AWS manages for a service ("secretsmanager"), made when it is asked for first:
    // may block.
    Err (*own)(void *self, struct call *c, Str service, Str *ret_arn, HubKeyAnswer *ret);
    // Whether the caller may use the key now, for "kms:Decrypt" or another action. Memory only.
    void (*check)(void *self, struct call *c, Str arn, Str action, HubKeyAnswer *ret);
    // A new data key. `context` is bound to it: unwrapping needs the same. Memory only. The wrapped
    // form is in the call's arena.
    void (*make)(void *self, struct call *c, Str arn, Str context,
                 unsigned char ret_plain[HUB_KEY_BYTES], Str *ret_wrapped, HubKeyAnswer *ret);
    void (*unwrap)(void *self, struct call *c, Str arn, Str context, Str wrapped,
                   unsigned char ret_plain[HUB_KEY_BYTES], HubKeyAnswer *ret);
};

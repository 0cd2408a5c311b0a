// SPDX-License-Identifier: Apache-2.0
// Who decides about calls. The front asks before it runs an operation, and services ask about what
// an operation does besides (a put into an encrypted stream uses a key).
#pragma once
#include "access/policy.h"

struct call; // aws/call.h

// What a call is about, as its service says. Everything is borrowed but `policy`.
typedef struct AccessTarget {
    Str action;            // "kinesis:PutRecord"
    Str resource;          // its ARN, or "*"
    Str account;           // whose it is
    struct policy *policy; // of the resource; a reference for whoever asked, or NULL
    bool policy_decides;   // as AccessPolicies.resource_decides
    bool binds_root;       // as AccessPolicies.resource_binds_root
    bool granted;          // as AccessPolicies.granted
    bool for_everybody;    // nobody needs a permission for it
    const AccessValue *context;
    size_t context_count;
} AccessTarget;

struct access_guard {
    void *self;
    // Whether the caller may. Touches memory only; from any thread that works on the call. False:
    // the text, in the call's arena, is what AWS says.
    bool (*may)(void *self, struct call *c, const AccessTarget *t, Str *ret_text);
    // The newest refusals and what decided them, for operators: a JSON document.
    Str (*recent)(void *self, struct arena *a);
};

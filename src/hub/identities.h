// SPDX-License-Identifier: Apache-2.0
// What the token service asks of the room that knows identities (svc/iam): who a caller is, which
// roles there are, and keys that expire.
#pragma once
#include "access/policy.h"
#include "hub/source.h"

struct call; // aws/call.h

// A tag that a session was given: aws:PrincipalTag/key, before the role's own of that key.
typedef struct HubTag {
    Str key, value;
    bool transitive; // a session that is made in this one has it too
} HubTag;

typedef struct HubRole {
    Str id, name, account;
    int64_t session_s_max;
    struct policy *trust; // a reference for whoever asked
    const HubTag *tags;
    size_t tag_count;
} HubRole;

typedef enum HubSessionFault {
    HUB_SESSION_GOOD,
    HUB_SESSION_NO_ROLE,
    HUB_SESSION_TOO_LONG,   // longer than the role allows
    HUB_SESSION_BAD_POLICY, // the text says why
    HUB_SESSION_BIG_POLICY,
    HUB_SESSION_BAD_TAGS, // the text says why
    HUB_SESSION_CROWDED,  // too many keys are held
    HUB_SESSION_NESTED,   // it is asked for with a session's key
    HUB_SESSION_GONE,     // the key that it was asked for with was deleted meanwhile
} HubSessionFault;

typedef struct HubSessionWant {
    Str role_arn; // absent: for the caller itself
    Str session_name;
    int64_t seconds;
    const Str *policies; // documents that narrow it
    size_t policy_count;
    const Str *policy_arns;
    size_t policy_arn_count;
    const HubTag *tags; // beside those that are handed down
    size_t tag_count;
    Str source_identity; // absent: the one of the session it is made in
    Str federated;       // of the caller, but with this name and no more than the policies allow
    bool mfa;            // the caller has just shown a code; not for roles
} HubSessionWant;

// What a session that is made in the caller's has without asking.
typedef struct HubInherited {
    bool tags;           // transitive ones
    Str source_identity; // absent: none
} HubInherited;

typedef struct HubSession {
    Str access_key, secret, token;
    int64_t expires_ms;
    Str arn, id;         // of a role's session
    Str source_identity; // absent: none
    HubSessionFault fault;
    Str text;
} HubSession;

struct hub_identities {
    void *self;
    Str (*user_id)(void *self, struct call *c); // AIDA..., AROA...:session, or a root's account
    bool (*role)(void *self, struct arena *a, Str arn, HubRole *ret); // memory only
    // A key that is good for so long, on disk when this returns. Everything is in the call's arena.
    Err (*session)(void *self, struct call *c, const HubSessionWant *want, HubSession *ret);
    HubInherited (*inherited)(void *self, struct call *c); // memory only
    // Whether the role of `as` is there and its trust policy lets the service act as it, for what
    // it works for. Memory only.
    bool (*lends)(void *self, const HubActor *as);
    // Whether it is a good code of an MFA device of the caller now. `use`: it is not any more when
    // this returns, and that is on disk.
    Err (*mfa)(void *self, struct call *c, Str serial, Str code, bool use, bool *ret);
    bool (*account_of_key)(void *self, struct arena *a, Str access_key, Str *ret);
};

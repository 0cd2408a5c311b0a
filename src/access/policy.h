// SPDX-License-Identifier: Apache-2.0
// IAM policies: documents that say who may do what to which resource, and how several of them
// together decide. No service and no store is known here.
//
// A document is read once and then asked again and again; it is never changed, and counted. What is
// understood of the language (IAM user guide, "Policy reference"):
//
//     Version   2012-10-17, or 2008-10-17, which has no variables
//     Statement Sid, Effect, Principal | NotPrincipal, Action | NotAction, Resource | NotResource,
//               Condition
//     patterns  '*' and '?'; in ARNs each of the first five parts for itself
//     variables ${aws:username}, ${key, 'otherwise'}, ${*} ${?} ${$}
//     operators String*, Numeric*, Date*, Bool, BinaryEquals, IpAddress, Arn*, Null; ...IfExists;
//               ForAllValues: and ForAnyValue:
//
// The order of the decision is AWS's ("Policy evaluation logic"): an explicit deny in any policy,
// else what allows, each kind of policy for itself; between two accounts both must allow.
#pragma once
#include "base/str.h"

enum {
    POLICY_BYTES_MAX = 131072, // the largest that any service takes (KMS key policies)
    POLICY_NAME_BYTES_MAX = 2048,
};

typedef enum PolicyKind {
    POLICY_IDENTITY, // of users, groups and roles; boundaries and session policies, too
    POLICY_RESOURCE, // of a resource: says who
    POLICY_TRUST,    // of a role: says who may assume it, and names no resource
} PolicyKind;

struct policy;

// Reads a document. `name` is how decisions call it: an ARN or what holds it. ERR_INVALID: it is
// none, and the error's text says why. ERR_LIMIT: it is too large or nested too deeply.
Err policy_open(PolicyKind kind, Str name, Str document, struct policy **ret);
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p); // NULL is fine; from any thread
static inline void policy_close(struct policy *p)
{
    policy_unref(p);
}
AUTO_CLOSE(policy)

Str policy_name(const struct policy *p);
uint64_t policy_serial(const struct policy *p); // never given twice in a process, from 1
Str policy_document(const struct policy *p);    // as it was given
size_t policy_statement_count(const struct policy *p);
Str policy_sid(const struct policy *p, size_t statement); // absent: it has none

// ---- The question

typedef struct AccessValue {
    Str name; // of the context key: "aws:SourceIp", in any case
    const Str *values;
    size_t n;
} AccessValue;

typedef struct AccessRequest {
    Str action;    // "kinesis:PutRecord"
    Str resource;  // its ARN, or "*" for operations that are about none
    Str principal; // who asks: the ARN of a user, a role's session or an account's root
    Str role;      // of a role's session the ARN of the role; else absent
    Str service;   // an AWS service that asks for itself: "kinesis.amazonaws.com"; else absent
    Str principal_account, resource_account; // twelve digits
    const AccessValue *context;
    size_t context_count;
} AccessRequest;

// The policies that there are about it. All borrowed.
typedef struct AccessPolicies {
    struct policy *const *identity;
    size_t identity_count;
    struct policy *boundary;       // NULL: none
    struct policy *const *session; // of a session made with policies; none: as if it had no such
    size_t session_count;
    struct policy *resource; // NULL: none
    // The resource's policy must allow or hand over to the account (keys of KMS).
    bool resource_decides;
    // A deny of the resource's policy counts for the root of its owner, too (buckets of S3).
    bool resource_binds_root;
    bool granted; // something that is no policy allows it: only a deny refuses (ACLs of S3)
} AccessPolicies;

// ---- The answer

typedef enum AccessReason {
    ACCESS_ALLOWED,
    ACCESS_DENIED_BY_STATEMENT, // an explicit deny
    ACCESS_NOT_ALLOWED,         // nothing of that kind of policy allows it
} AccessReason;

typedef enum AccessSource {
    ACCESS_BY_IDENTITY,
    ACCESS_BY_RESOURCE,
    ACCESS_BY_BOUNDARY,
    ACCESS_BY_SESSION,
    ACCESS_BY_ROOT, // an account's root in its own account: no policy was asked
} AccessSource;

typedef struct AccessDecision {
    AccessReason reason;
    AccessSource source;   // which kind of policy has decided
    struct policy *policy; // whose statement it was; NULL: none. Borrowed
    size_t statement;      // its number from 0
    bool conditional;      // a condition was looked at: it holds for this request alone
} AccessDecision;

void access_decide(const AccessRequest *r, const AccessPolicies *p, AccessDecision *ret);

// The sentence with which AWS refuses: "User: ... is not authorized to perform: ... on resource:
// ... because no identity-based policy allows the ... action".
Str access_denied_text(struct arena *a, const AccessRequest *r, const AccessDecision *d);
// Which statement it was, for logs and operators: "statement 2 (NoWrites) of arn:...".
Str access_statement_text(struct arena *a, const AccessDecision *d);

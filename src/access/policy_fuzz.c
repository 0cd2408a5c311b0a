// SPDX-License-Identifier: Apache-2.0
// Whatever is accepted as a document can be asked, and says the same when it is read again.
#include "access/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static AccessDecision decide(struct policy *p, PolicyKind kind, Str resource)
{
    static const Str user = S_INIT("bob"), address = S_INIT("203.0.113.9");
    const AccessValue context[] = {
        { S("aws:username"), &user, 1 },
        { S("aws:SourceIp"), &address, 1 },
    };
    AccessRequest r = { .action = S("kinesis:PutRecord"),
                        .resource = resource,
                        .principal = S("arn:aws:iam::111122223333:user/bob"),
                        .principal_account = S("111122223333"),
                        .resource_account = S("111122223333"),
                        .context = context,
                        .context_count = COUNT_OF(context) };
    AccessPolicies all = { 0 };
    if (kind == POLICY_IDENTITY) {
        all.identity = &p;
        all.identity_count = 1;
    } else {
        all.resource = p;
    }
    AccessDecision d;
    access_decide(&r, &all, &d);
    return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) a = arena_open();
    Str document = str_from(data, size);
    for (int kind = POLICY_IDENTITY; kind <= POLICY_TRUST; kind++) {
        AUTO(policy) p = NULL;
        AUTO(policy) again = NULL;
        if (policy_open((PolicyKind)kind, S("arn:x"), document, &p).kind != ERR_NONE)
            continue;
        Str arn = S("arn:aws:kinesis:us-east-1:111122223333:stream/clicks");
        AccessDecision d = decide(p, (PolicyKind)kind, arn);
        CHECK(d.policy == NULL || d.statement < policy_statement_count(p));
        CHECK(access_statement_text(a, &d).n > 0);
        CHECK(policy_open((PolicyKind)kind, S("arn:x"), policy_document(p), &again).kind ==
              ERR_NONE);
        AccessDecision same = decide(again, (PolicyKind)kind, arn);
        CHECK(d.reason == same.reason && d.source == same.source && d.statement == same.statement);
    }
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Policies that AWS manages: the few that are about what is served here. They are in memory only,
// of the account "aws", and nobody can change them.
#include "svc/iam/iam.h"

#define ALLOW(actions)                                                                            \
    S_INIT("{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":" actions \
           ",\"Resource\":\"*\"}]}")

static const struct {
    Str name, document;
} managed[] = {
    { S_INIT("AdministratorAccess"), ALLOW("\"*\"") },
    { S_INIT("AmazonKinesisFullAccess"), ALLOW("\"kinesis:*\"") },
    { S_INIT("AmazonKinesisReadOnlyAccess"),
      ALLOW("[\"kinesis:Get*\",\"kinesis:List*\",\"kinesis:Describe*\"]") },
    { S_INIT("CloudWatchFullAccess"), ALLOW("\"cloudwatch:*\"") },
    { S_INIT("CloudWatchReadOnlyAccess"),
      ALLOW("[\"cloudwatch:Describe*\",\"cloudwatch:Get*\",\"cloudwatch:List*\"]") },
    { S_INIT("IAMFullAccess"), ALLOW("\"iam:*\"") },
    { S_INIT("IAMReadOnlyAccess"), ALLOW("[\"iam:Get*\",\"iam:List*\"]") },
    { S_INIT("ReadOnlyAccess"),
      ALLOW("[\"kinesis:Get*\",\"kinesis:List*\",\"kinesis:Describe*\",\"kms:List*\","
            "\"kms:Describe*\",\"kms:Get*\",\"iam:Get*\",\"iam:List*\",\"cloudwatch:Describe*\","
            "\"cloudwatch:Get*\",\"cloudwatch:List*\"]") },
};

Err iam_load_managed(struct iam *s)
{
    for (size_t i = 0; i < COUNT_OF(managed); i++) {
        AUTO(entity) e = entity_new(s->env.io, ENTITY_POLICY, S("aws"), S("/"), managed[i].name, 0);
        struct policy *p;
        TRY(policy_open(POLICY_IDENTITY, e->arn, managed[i].document, &p));
        entity_put_policy(e, S("v1"), p, 0);
        e->version_default = S("v1");
        e->version_last = 1;
        iam_keep(s, entity_ref(e));
    }
    return OK;
}

// SPDX-License-Identifier: Apache-2.0
// Whether a caller may give a role to a service (IAM user guide, "Granting a user permissions to
// pass a role to an AWS service").
#pragma once
#include "hub/hub.h"
#include "hub/service.h"

// `service`: "firehose.amazonaws.com". The ARN has been held against its pattern. False: the text,
// in the call's arena, is what AWS says.
static inline bool hub_may_pass_role(const struct service_env *env, struct call *c, Str role_arn,
                                     Str service, Str *ret_text)
{
    const struct access_guard *guard = env->hub != NULL ? env->hub->access : NULL;
    const AccessValue to = { S_INIT("iam:PassedToService"), &service, 1 };
    Str rest = role_arn, account = { 0 };
    for (size_t i = 0; i < 5; i++)
        CHECK(str_cut(rest, ':', &account, &rest));
    AccessTarget t = { .action = S("iam:PassRole"),
                       .resource = role_arn,
                       .account = account,
                       .context = &to,
                       .context_count = 1 };
    *ret_text = S("");
    return guard == NULL || env->dev || guard->may(guard->self, c, &t, ret_text);
}

// Whether the role is there and trusts the service, as it does when something that uses it is made.
// In the profile dev nobody is asked.
static inline bool hub_may_assume_role(const struct service_env *env, const HubActor *as)
{
    const struct hub_identities *identities = env->hub != NULL ? env->hub->identities : NULL;
    return identities == NULL || env->dev || identities->lends(identities->self, as);
}

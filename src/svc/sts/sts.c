// SPDX-License-Identifier: Apache-2.0
// The token service: who a caller is, and keys that expire. It keeps nothing: identities and keys
// are those of svc/iam, asked through the hub.
#include "base/time.h"
#include "gen/sts_api.h"
#include "hub/hub.h"
#include "hub/service.h"

#include <stdlib.h>

struct sts {
    struct service_env env;
};

static const struct hub_identities *identities(const struct call *c)
{
    const struct sts *s = c->state;
    return s->env.hub != NULL ? s->env.hub->identities : NULL;
}

static Err no_identities(void)
{
    return fail(ERR_NOT_FOUND, "there is no service that knows identities");
}

Err sts_GetCallerIdentity(struct call *c, const struct sts_GetCallerIdentity_in *in,
                          struct sts_GetCallerIdentity_out *out)
{
    const struct hub_identities *who = identities(c);
    (void)in;
    out->user_id = who != NULL ? who->user_id(who->self, c) : c->caller;
    out->account = c->caller;
    out->arn = c->principal;
    return OK;
}

Err sts_GetAccessKeyInfo(struct call *c, const struct sts_GetAccessKeyInfo_in *in,
                         struct sts_GetAccessKeyInfo_out *out)
{
    const struct hub_identities *who = identities(c);
    if (who == NULL)
        return no_identities();
    if (!who->account_of_key(who->self, c->arena, in->access_key_id, &out->account))
        return call_fail(c, &sts_ValidationError, "Access Key %.*s is not valid.",
                         FMT(in->access_key_id));
    return OK;
}

static const struct sts_Credentials *credentials(struct arena *a, const HubSession *made)
{
    sts_Credentials *k = arena_new(a, sts_Credentials, 1);
    k->access_key_id = made->access_key;
    k->secret_access_key = made->secret;
    k->session_token = made->token;
    k->expiration = made->expires_ms / 1000 * NS_PER_S;
    return k;
}

static Err session_refused(struct call *c, Str role_arn, const HubSession *made)
{
    switch (made->fault) {
    case HUB_SESSION_GOOD:
        return OK;
    case HUB_SESSION_NO_ROLE:
        return call_fail(
            c, &sts_AccessDenied,
            "User: %.*s is not authorized to perform: sts:AssumeRole on resource: %.*s",
            FMT(c->principal), FMT(role_arn));
    case HUB_SESSION_TOO_LONG:
        return call_fail(c, &sts_ValidationError, "%.*s", FMT(made->text));
    case HUB_SESSION_BAD_POLICY:
        return call_fail(c, &sts_MalformedPolicyDocument, "%.*s", FMT(made->text));
    case HUB_SESSION_BIG_POLICY:
        return call_fail(c, &sts_PackedPolicyTooLarge, "%.*s", FMT(made->text));
    case HUB_SESSION_CROWDED:
        break;
    }
    return call_fail(c, &aws_ThrottlingException, "%.*s", FMT(made->text));
}

Err sts_AssumeRole(struct call *c, const struct sts_AssumeRole_in *in,
                   struct sts_AssumeRole_out *out)
{
    const struct hub_identities *who = identities(c);
    HubSession made;
    if (who == NULL)
        return no_identities();
    Str *arns = arena_new(c->arena, Str, in->policy_arns.n);
    for (size_t i = 0; i < in->policy_arns.n; i++)
        arns[i] = in->policy_arns.at[i].arn;
    HubSessionWant want = { .role_arn = in->role_arn,
                            .session_name = in->role_session_name,
                            .seconds = in->duration_seconds,
                            .policies = &in->policy,
                            .policy_count = in->policy.p != NULL,
                            .policy_arns = arns,
                            .policy_arn_count = in->policy_arns.n };
    TRY(who->session(who->self, c, &want, &made));
    TRY(session_refused(c, in->role_arn, &made));
    sts_AssumedRoleUser *user = arena_new(c->arena, sts_AssumedRoleUser, 1);
    user->assumed_role_id = made.id;
    user->arn = made.arn;
    out->credentials = credentials(c->arena, &made);
    out->assumed_role_user = user;
    out->source_identity = in->source_identity;
    return OK;
}

Err sts_GetSessionToken(struct call *c, const struct sts_GetSessionToken_in *in,
                        struct sts_GetSessionToken_out *out)
{
    const struct hub_identities *who = identities(c);
    HubSession made;
    if (who == NULL)
        return no_identities();
    HubSessionWant want = { .seconds = in->duration_seconds };
    TRY(who->session(who->self, c, &want, &made));
    TRY(session_refused(c, S(""), &made));
    out->credentials = credentials(c->arena, &made);
    return OK;
}

// ---- What calls are about

static Str account_of_call(struct call *c, const void *in)
{
    Str rest, part = { 0 };
    if (!str_eq(c->op->name, S("AssumeRole")))
        return c->account;
    rest = ((const struct sts_AssumeRole_in *)in)->role_arn;
    for (size_t i = 0; i < 5; i++)
        if (!str_cut(rest, ':', &part, &rest))
            return c->account;
    return part;
}

// Who may assume a role is said by the role: its trust policy. The rest everybody may.
static void target_of_call(struct call *c, const void *in, AccessTarget *ret)
{
    const struct hub_identities *who = identities(c);
    const struct sts_AssumeRole_in *assume = in;
    if (!str_eq(c->op->name, S("AssumeRole"))) {
        ret->for_everybody = true;
        return;
    }
    HubRole role = { 0 };
    ret->resource = assume->role_arn;
    ret->policy_decides = true;
    if (who != NULL && who->role(who->self, c->arena, assume->role_arn, &role))
        ret->policy = role.trust;
    AccessValue *values = arena_new(c->arena, AccessValue, 2);
    Str *texts = arena_new(c->arena, Str, 2);
    texts[0] = assume->role_session_name;
    values[ret->context_count++] = (AccessValue){ S("sts:RoleSessionName"), &texts[0], 1 };
    if (assume->external_id.p != NULL) {
        texts[1] = assume->external_id;
        values[ret->context_count++] = (AccessValue){ S("sts:ExternalId"), &texts[1], 1 };
    }
    ret->context = values;
}

static const struct call_targets sts_targets = { .account = account_of_call,
                                                 .target = target_of_call };

// ---- Opening

static Err sts_open(const struct service_env *env, void **ret_state)
{
    struct sts *s = xalloc(sizeof *s);
    s->env = *env;
    *ret_state = s;
    return OK;
}

static void sts_close(void *state)
{
    free(state);
}

extern const struct service sts_service;
const struct service sts_service = {
    .api = &sts_api, .targets = &sts_targets, .open = sts_open, .close = sts_close
};

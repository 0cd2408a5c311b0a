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
    case HUB_SESSION_BAD_TAGS:
        return call_fail(c, &sts_InvalidParameterValue, "%.*s", FMT(made->text));
    case HUB_SESSION_NESTED:
        return call_fail(c, &sts_AccessDenied, "%.*s", FMT(made->text));
    case HUB_SESSION_GONE:
        return call_fail(c, &aws_UnrecognizedClientException, "%.*s", FMT(made->text));
    case HUB_SESSION_CROWDED:
        break;
    }
    return call_fail(c, &aws_ThrottlingException, "%.*s", FMT(made->text));
}

// ---- Codes of MFA devices

// Both or neither; a code counts once. Texts on record of AWS.
static Err take_code(struct call *c, Str serial, Str code, bool *ret)
{
    const struct hub_identities *who = identities(c);
    bool good = false;
    *ret = false;
    if (serial.p == NULL && code.p == NULL)
        return OK;
    if (serial.p == NULL || code.p == NULL)
        return call_fail(c, &sts_AccessDenied,
                         "MultiFactorAuthentication failed, must provide both MFA serial number "
                         "and one time pass code.");
    TRY(who->mfa(who->self, c, serial, code, true, &good));
    if (!good)
        return call_fail(c, &sts_AccessDenied,
                         "MultiFactorAuthentication failed with invalid MFA one time pass code. ");
    *ret = true;
    return OK;
}

// Whether a role's trust policy sees that a code was shown; that it is used comes later.
static bool shows_code(struct call *c, const struct sts_AssumeRole_in *in)
{
    const struct hub_identities *who = identities(c);
    bool good = false;
    if (who == NULL || in->serial_number.p == NULL || in->token_code.p == NULL)
        return false;
    Err e = who->mfa(who->self, c, in->serial_number, in->token_code, false, &good);
    return e.kind == ERR_NONE && good;
}

// ---- Assuming a role

// What a call of AssumeRole is about, for one action of it: who may is said by the role, in its
// trust policy.
static void role_target(struct call *c, const struct sts_AssumeRole_in *in, AccessTarget *ret)
{
    const struct hub_identities *who = identities(c);
    HubRole role = { 0 };
    ret->resource = in->role_arn;
    ret->policy_decides = true;
    if (who != NULL && who->role(who->self, c->arena, in->role_arn, &role))
        ret->policy = role.trust;
    const struct {
        Str name, value;
    } texts[] = { { S_INIT("sts:RoleSessionName"), in->role_session_name },
                  { S_INIT("sts:ExternalId"), in->external_id },
                  { S_INIT("sts:SourceIdentity"), in->source_identity } };
    AccessValue *values = arena_new(c->arena, AccessValue, COUNT_OF(texts) + 3 + role.tag_count);
    size_t n = 0;
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (texts[i].value.p != NULL) {
            Str *one = arena_new(c->arena, Str, 1);
            *one = texts[i].value;
            values[n] = (AccessValue){ texts[i].name, one, 1 };
            n++;
        }
    for (size_t i = 0; i < role.tag_count; i++, n++)
        values[n] = (AccessValue){ str_cat(c->arena, S("aws:ResourceTag/"), role.tags[i].key),
                                   &role.tags[i].value, 1 };
    if (in->transitive_tag_keys.n > 0) {
        values[n] = (AccessValue){ S("sts:TransitiveTagKeys"), in->transitive_tag_keys.at,
                                   in->transitive_tag_keys.n };
        n++;
    }
    if (shows_code(c, in)) {
        static const Str yes = S_INIT("true"), now = S_INIT("0");
        values[n] = (AccessValue){ S("aws:MultiFactorAuthPresent"), &yes, 1 };
        values[n + 1] = (AccessValue){ S("aws:MultiFactorAuthAge"), &now, 1 };
        n += 2;
    }
    ret->context = values;
    ret->context_count = n;
}

// Tags and a source identity need permissions of their own, beside sts:AssumeRole, about which the
// front has asked.
static Err require(struct call *c, const struct sts_AssumeRole_in *in, Str action)
{
    const struct sts *s = c->state;
    const struct access_guard *guard = s->env.hub != NULL ? s->env.hub->access : NULL;
    AccessTarget t = { .action = action, .account = c->account };
    Str text = S("");
    if (guard == NULL || s->env.dev)
        return OK;
    role_target(c, in, &t);
    call_add_tags(c, in, &t);
    bool may = guard->may(guard->self, c, &t, &text);
    policy_unref(t.policy);
    return may ? OK : call_fail(c, &sts_AccessDenied, "%.*s", FMT(text));
}

static Err check_parts(struct call *c, const struct sts_AssumeRole_in *in)
{
    const struct hub_identities *who = identities(c);
    HubInherited from = who->inherited(who->self, c);
    if (in->tags.n > 0 || from.tags)
        TRY(require(c, in, S("sts:TagSession")));
    if (in->source_identity.p == NULL && from.source_identity.p == NULL)
        return OK;
    TRY(require(c, in, S("sts:SetSourceIdentity")));
    bool changes = in->source_identity.p != NULL && from.source_identity.p != NULL &&
                   !str_eq(in->source_identity, from.source_identity);
    return !changes ? OK
                    : call_fail(c, &sts_AccessDenied,
                                "User: %.*s is not authorized to perform: sts:SetSourceIdentity on "
                                "resource: %.*s",
                                FMT(c->principal), FMT(in->role_arn));
}

static bool has_key(const sts_tagKeyListType *keys, Str key)
{
    for (size_t i = 0; i < keys->n; i++)
        if (str_eq_nocase(keys->at[i], key))
            return true;
    return false;
}

static bool has_tag(const sts_tagListType *tags, Str key)
{
    for (size_t i = 0; i < tags->n; i++)
        if (str_eq_nocase(tags->at[i].key, key))
            return true;
    return false;
}

static Err read_tags(struct call *c, const struct sts_AssumeRole_in *in, HubTag **ret)
{
    HubTag *tags = arena_new(c->arena, HubTag, in->tags.n);
    for (size_t i = 0; i < in->tags.n; i++)
        tags[i] = (HubTag){ .key = in->tags.at[i].key,
                            .value = in->tags.at[i].value,
                            .transitive = has_key(&in->transitive_tag_keys, in->tags.at[i].key) };
    for (size_t i = 0; i < in->transitive_tag_keys.n; i++)
        if (!has_tag(&in->tags, in->transitive_tag_keys.at[i]))
            return call_fail(c, &sts_InvalidParameterValue,
                             "The specified transitive tag key must be included in the requested "
                             "tags.");
    *ret = tags;
    return OK;
}

Err sts_AssumeRole(struct call *c, const struct sts_AssumeRole_in *in,
                   struct sts_AssumeRole_out *out)
{
    const struct hub_identities *who = identities(c);
    HubSession made;
    HubTag *tags;
    if (who == NULL)
        return no_identities();
    bool mfa; // for the trust policy: a role's session knows nothing of it, as in AWS
    TRY(check_parts(c, in));
    TRY(read_tags(c, in, &tags));
    TRY(take_code(c, in->serial_number, in->token_code, &mfa));
    Str *arns = arena_new(c->arena, Str, in->policy_arns.n);
    for (size_t i = 0; i < in->policy_arns.n; i++)
        arns[i] = in->policy_arns.at[i].arn;
    HubSessionWant want = { .role_arn = in->role_arn,
                            .session_name = in->role_session_name,
                            .seconds = in->duration_seconds,
                            .policies = &in->policy,
                            .policy_count = in->policy.p != NULL,
                            .policy_arns = arns,
                            .policy_arn_count = in->policy_arns.n,
                            .tags = tags,
                            .tag_count = in->tags.n,
                            .source_identity = in->source_identity };
    TRY(who->session(who->self, c, &want, &made));
    TRY(session_refused(c, in->role_arn, &made));
    sts_AssumedRoleUser *user = arena_new(c->arena, sts_AssumedRoleUser, 1);
    user->assumed_role_id = made.id;
    user->arn = made.arn;
    out->credentials = credentials(c->arena, &made);
    out->assumed_role_user = user;
    out->source_identity = made.source_identity;
    return OK;
}

// Refusals carry an encoded message only in services that are not served here (README.md): whatever
// is given is none of ours.
Err sts_DecodeAuthorizationMessage(struct call *c,
                                   const struct sts_DecodeAuthorizationMessage_in *in,
                                   struct sts_DecodeAuthorizationMessage_out *out)
{
    (void)in;
    (void)out;
    return call_fail(c, &sts_InvalidAuthorizationMessageException, "Message is not valid");
}

Err sts_GetSessionToken(struct call *c, const struct sts_GetSessionToken_in *in,
                        struct sts_GetSessionToken_out *out)
{
    const struct hub_identities *who = identities(c);
    HubSession made;
    if (who == NULL)
        return no_identities();
    HubSessionWant want = { .seconds = in->duration_seconds };
    TRY(take_code(c, in->serial_number, in->token_code, &want.mfa));
    TRY(who->session(who->self, c, &want, &made));
    TRY(session_refused(c, S(""), &made));
    out->credentials = credentials(c->arena, &made);
    return OK;
}

Err sts_GetFederationToken(struct call *c, const struct sts_GetFederationToken_in *in,
                           struct sts_GetFederationToken_out *out)
{
    const struct hub_identities *who = identities(c);
    HubSession made;
    if (who == NULL)
        return no_identities();
    HubTag *tags = arena_new(c->arena, HubTag, in->tags.n);
    for (size_t i = 0; i < in->tags.n; i++)
        tags[i] = (HubTag){ .key = in->tags.at[i].key, .value = in->tags.at[i].value };
    Str *arns = arena_new(c->arena, Str, in->policy_arns.n);
    for (size_t i = 0; i < in->policy_arns.n; i++)
        arns[i] = in->policy_arns.at[i].arn;
    HubSessionWant want = { .federated = in->name,
                            .seconds = in->duration_seconds,
                            .policies = &in->policy,
                            .policy_count = in->policy.p != NULL,
                            .policy_arns = arns,
                            .policy_arn_count = in->policy_arns.n,
                            .tags = tags,
                            .tag_count = in->tags.n };
    TRY(who->session(who->self, c, &want, &made));
    TRY(session_refused(c, S(""), &made));
    sts_FederatedUser *user = arena_new(c->arena, sts_FederatedUser, 1);
    user->federated_user_id = made.id;
    user->arn = made.arn;
    out->credentials = credentials(c->arena, &made);
    out->federated_user = user;
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

// Who may assume a role is said by the role, decoding needs a permission, the rest everybody may.
static void target_of_call(struct call *c, const void *in, AccessTarget *ret)
{
    if (str_eq(c->op->name, S("AssumeRole")))
        role_target(c, in, ret);
    else if (str_eq(c->op->name, S("GetFederationToken")))
        ret->resource = str_fmt(c->arena, "arn:aws:sts::%.*s:federated-user/%.*s", FMT(c->account),
                                FMT(((const struct sts_GetFederationToken_in *)in)->name));
    else
        ret->for_everybody = !str_eq(c->op->name, S("DecodeAuthorizationMessage"));
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

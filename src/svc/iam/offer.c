// SPDX-License-Identifier: Apache-2.0
// What the token service is offered (hub/identities.h), and what the front is told about calls.
#include "codec/hash.h"
#include "svc/iam/iam.h"

enum {
    SESSION_KEY_CHARS = 16,
    SESSION_SECRET_CHARS = 40,
    SESSION_TOKEN_CHARS = 128,
    SESSION_POLICIES_MAX = 10,
    SESSION_POLICY_BYTES_MAX = 2048, // of one document (STS quotas)
    SESSIONS_MAX = 50000,            // so that users' keys always find a place
};
#define SESSION_KEY_PREFIX S("HRSK")

static Str user_id(void *self, struct call *c)
{
    AUTO(signer) k = iam_signer(self, c->access_key);
    if (k == NULL || k->name.n == 0)
        return c->caller;
    AUTO(entity) e = iam_look(self, k->kind, k->account, k->name);
    if (e == NULL)
        return c->caller;
    return k->kind == ENTITY_ROLE ? str_fmt(c->arena, "%.*s:%.*s", FMT(e->id), FMT(k->session_name))
                                  : str_dup(c->arena, e->id);
}

static bool role(void *self, struct arena *a, Str arn, HubRole *ret)
{
    AUTO(entity) e = iam_look_arn(self, ENTITY_ROLE, arn);
    if (e == NULL)
        return false;
    *ret = (HubRole){ .id = str_dup(a, e->id),
                      .name = str_dup(a, e->name),
                      .account = str_dup(a, e->account),
                      .session_s_max = e->session_s_max,
                      .trust = policy_ref(e->trust) };
    return true;
}

// ---- Sessions

static void refuse(HubSession *ret, HubSessionFault fault, Str text)
{
    ret->fault = fault;
    ret->text = text;
}

// The documents that narrow the session, into the signer; false: it has been refused.
static bool add_policies(struct iam *s, struct call *c, const HubSessionWant *want,
                         struct signer *k, HubSession *ret)
{
    size_t n = want->policy_count + want->policy_arn_count;
    if (n > SESSION_POLICIES_MAX) {
        refuse(ret, HUB_SESSION_BIG_POLICY, S("Too many session policies."));
        return false;
    }
    k->session = arena_new(k->arena, struct policy *, n);
    for (size_t i = 0; i < want->policy_count; i++) {
        if (want->policies[i].n > SESSION_POLICY_BYTES_MAX) {
            refuse(ret, HUB_SESSION_BIG_POLICY,
                   S("Packed size of session tags and policies is "
                     "larger than the allowed limit."));
            return false;
        }
        Err e = policy_open(POLICY_IDENTITY, S("the session's policy"), want->policies[i],
                            &k->session[k->session_count]);
        if (e.kind != ERR_NONE) {
            refuse(ret, HUB_SESSION_BAD_POLICY, str_of(e.text));
            return false;
        }
        k->session_count++;
    }
    for (size_t i = 0; i < want->policy_arn_count; i++) {
        AUTO(entity) policy = iam_look_arn(s, ENTITY_POLICY, want->policy_arns[i]);
        if (policy == NULL) {
            refuse(ret, HUB_SESSION_BAD_POLICY,
                   str_fmt(c->arena, "Policy %.*s does not exist.", FMT(want->policy_arns[i])));
            return false;
        }
        k->session[k->session_count++] = policy_ref(entity_default_version(policy));
    }
    return true;
}

static void name_role(struct arena *a, struct call *c, struct signer *k, const struct entity *e,
                      Str session_name, HubSession *ret)
{
    k->account = str_dup(a, e->account);
    k->kind = ENTITY_ROLE;
    k->name = str_dup(a, e->name);
    k->entity_id = str_dup(a, e->id);
    k->session_name = str_dup(a, session_name);
    k->principal = str_fmt(a, "arn:aws:sts::%.*s:assumed-role/%.*s/%.*s", FMT(e->account),
                           FMT(e->name), FMT(session_name));
    ret->arn = str_dup(c->arena, k->principal);
    ret->id = str_fmt(c->arena, "%.*s:%.*s", FMT(e->id), FMT(session_name));
}

// The caller itself, with its own policies, also those that narrow the session it asks in.
static void name_caller(struct arena *a, struct call *c, struct signer *k, const struct signer *own)
{
    k->account = str_dup(a, c->caller);
    k->principal = str_dup(a, c->principal);
    k->kind = own != NULL ? own->kind : ENTITY_USER;
    k->name = own != NULL ? str_dup(a, own->name) : S("");
    k->entity_id = own != NULL ? str_dup(a, own->entity_id) : S("");
    k->session_name = own != NULL ? str_dup(a, own->session_name) : S("");
    if (own == NULL)
        return;
    k->session = arena_new(a, struct policy *, own->session_count);
    for (; k->session_count < own->session_count; k->session_count++)
        k->session[k->session_count] = policy_ref(own->session[k->session_count]);
}

static Err session_locked(struct iam *s, struct call *c, const HubSessionWant *want,
                          HubSession *ret)
{
    AUTO(signer) k = signer_new();
    struct arena *a = k->arena;
    TRY(iam_sweep(s, iam_now_ms(c)));
    if (map_count(s->signers) >= SESSIONS_MAX) { // only changed by the holder of `changing`
        refuse(ret, HUB_SESSION_CROWDED, S("Too many sessions."));
        return OK;
    }
    if (want->role_arn.p != NULL) {
        AUTO(entity) e = iam_look_arn(s, ENTITY_ROLE, want->role_arn);
        if (e == NULL) {
            refuse(ret, HUB_SESSION_NO_ROLE, S(""));
            return OK;
        }
        if (want->seconds > e->session_s_max) {
            refuse(ret, HUB_SESSION_TOO_LONG,
                   S("The requested DurationSeconds exceeds the "
                     "MaxSessionDuration set for this role."));
            return OK;
        }
        name_role(a, c, k, e, want->session_name, ret);
        if (!add_policies(s, c, want, k, ret))
            return OK;
    } else {
        AUTO(signer) own = iam_signer(s, c->access_key);
        name_caller(a, c, k, own);
    }
    k->access_key = random_id(s->env.io, a, SESSION_KEY_PREFIX, SESSION_KEY_CHARS);
    k->secret = random_secret(s->env.io, a, SESSION_SECRET_CHARS);
    k->token = random_secret(s->env.io, a, SESSION_TOKEN_CHARS);
    k->created_ms = iam_now_ms(c);
    k->expires_ms = k->created_ms + want->seconds * 1000;
    TRY(iam_put_signer(s, signer_ref(k)));
    ret->access_key = str_dup(c->arena, k->access_key);
    ret->secret = str_dup(c->arena, k->secret);
    ret->token = str_dup(c->arena, k->token);
    ret->expires_ms = k->expires_ms;
    return OK;
}

static Err session(void *self, struct call *c, const HubSessionWant *want, HubSession *ret)
{
    struct iam *s = self;
    *ret = (HubSession){ 0 };
    iam_begin(s);
    Err e = session_locked(s, c, want, ret);
    iam_end(s);
    return e;
}

static bool account_of_key(void *self, struct arena *a, Str access_key, Str *ret)
{
    struct iam *s = self;
    Key key;
    if (s->env.keys == NULL || keyring_find(s->env.keys, a, access_key, &key).kind != ERR_NONE)
        return false;
    *ret = key.account;
    return true;
}

void iam_offer_init(struct iam *s)
{
    s->offer = (struct hub_identities){ .self = s,
                                        .user_id = user_id,
                                        .role = role,
                                        .session = session,
                                        .account_of_key = account_of_key };
}

// ---- What calls are about

static Str member_text(const struct call *c, const void *in, Str name)
{
    const struct shape *shape = c->op->input;
    for (size_t i = 0; i < shape->member_count; i++)
        if (str_eq(shape->members[i].name, name))
            return *(const Str *)((const char *)in + shape->members[i].offset);
    return (Str){ 0 };
}

static Str account_of_call(struct call *c, const void *in)
{
    (void)in; // an account's identities are its own
    return c->account;
}

// The ARN of what is there, or of what would be made: without a path it has none.
static Str arn_of(struct call *c, EntityKind kind, Str name)
{
    AUTO(entity) e = iam_look(c->state, kind, c->account, name);
    return e != NULL ? str_dup(c->arena, e->arn)
                     : str_fmt(c->arena, "arn:aws:iam::%.*s:%s/%.*s", FMT(c->account),
                               entity_word(kind), FMT(name));
}

static void target_of_call(struct call *c, const void *in, AccessTarget *ret)
{
    static const struct {
        Str member;
        EntityKind kind;
    } members[] = { { S_INIT("GroupName"), ENTITY_GROUP }, // of AddUserToGroup the group
                    { S_INIT("UserName"), ENTITY_USER },
                    { S_INIT("RoleName"), ENTITY_ROLE } };
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        Str name = member_text(c, in, members[i].member);
        if (name.p == NULL)
            continue;
        ret->resource = arn_of(c, members[i].kind, name);
        return;
    }
    Str arn = member_text(c, in, S("PolicyArn")), made = member_text(c, in, S("PolicyName"));
    if (arn.p != NULL)
        ret->resource = arn;
    else if (made.p != NULL)
        ret->resource = arn_of(c, ENTITY_POLICY, made);
    else if (str_starts(c->op->name, S("List")))
        ret->resource = S("*");
    else if (str_search(c->principal, S(":user/")) < c->principal.n)
        ret->resource = c->principal; // GetUser and the like without a name: the caller
}

const struct call_targets iam_targets = { .account = account_of_call, .target = target_of_call };

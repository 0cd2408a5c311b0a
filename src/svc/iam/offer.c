// SPDX-License-Identifier: Apache-2.0
// What the token service is offered (hub/identities.h), and what the front is told about calls.
#include "codec/hash.h"
#include "svc/iam/mfa.h"

enum {
    SESSION_KEY_CHARS = 16,
    SESSION_SECRET_CHARS = 40,
    SESSION_TOKEN_CHARS = 128,
    SESSION_POLICIES_MAX = 10,
    SESSION_POLICY_BYTES_MAX = 2048, // of one document (STS quotas)
    SESSION_TAGS_MAX = 50,           // with those that are handed down (STS quotas)
    SESSIONS_MAX = 50000,            // so that users' keys always find a place
};
#define SESSION_KEY_PREFIX S("HRSK")

static Str user_id(void *self, struct call *c)
{
    AUTO(signer) k = iam_signer(self, c->access_key);
    if (k != NULL && k->federated.p != NULL)
        return str_cat3(c->arena, c->caller, S(":"), k->federated);
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
                      .trust = policy_ref(e->trust),
                      .tag_count = e->tag_count };
    HubTag *tags = arena_new(a, HubTag, e->tag_count);
    for (size_t i = 0; i < e->tag_count; i++)
        tags[i] = (HubTag){ str_dup(a, e->tags[i].key), str_dup(a, e->tags[i].value), false };
    ret->tags = tags;
    return true;
}

// The external id is the account, as Firehose gives it ("Controlling access": the trust policy).
bool iam_role_trusts(const struct entity *role, Str service, Str account, Str source_arn)
{
    const AccessValue context[] = { { S_INIT("sts:ExternalId"), &account, 1 },
                                    { S_INIT("aws:SourceAccount"), &account, 1 },
                                    { S_INIT("aws:SourceArn"), &source_arn, 1 } };
    AccessRequest r = { .action = S("sts:AssumeRole"),
                        .resource = S("*"),
                        .principal = service,
                        .service = service,
                        .principal_account = role->account,
                        .resource_account = role->account,
                        .context = context,
                        .context_count = COUNT_OF(context) - (source_arn.n == 0) };
    AccessPolicies p = { .resource = role->trust, .resource_decides = true };
    AccessDecision d;
    access_decide(&r, &p, &d);
    return d.reason == ACCESS_ALLOWED;
}

static bool lends(void *self, const HubActor *as)
{
    AUTO(entity) e = iam_look_arn(self, ENTITY_ROLE, as->role_arn);
    return e != NULL && iam_role_trusts(e, as->service, as->account, as->source_arn);
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

static void copy_tags(struct signer *k, const struct signer *own)
{
    k->tags = arena_new(k->arena, HubTag, own->tag_count);
    for (; k->tag_count < own->tag_count; k->tag_count++) {
        const HubTag *t = &own->tags[k->tag_count];
        k->tags[k->tag_count] =
            (HubTag){ str_dup(k->arena, t->key), str_dup(k->arena, t->value), t->transitive };
    }
    if (own->source_identity.p != NULL)
        k->source_identity = str_dup(k->arena, own->source_identity);
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
    copy_tags(k, own);
}

static const HubTag *find_tag(const HubTag *tags, size_t n, Str key)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq_nocase(tags[i].key, key))
            return &tags[i];
    return NULL;
}

// Those that were asked for and those that the caller's session hands down; false: it has been
// refused. Texts on record of AWS.
static bool add_tags(const struct signer *own, const HubSessionWant *want, struct signer *k,
                     HubSession *ret)
{
    size_t handed = own != NULL ? own->tag_count : 0;
    k->tags = arena_new(k->arena, HubTag, want->tag_count + handed);
    for (size_t i = 0; i < want->tag_count; i++) {
        const HubTag *t = &want->tags[i];
        const HubTag *before = find_tag(own != NULL ? own->tags : NULL, handed, t->key);
        if (find_tag(k->tags, k->tag_count, t->key) != NULL) {
            refuse(ret, HUB_SESSION_BAD_TAGS,
                   S("Duplicate tag keys found. Please note that Tag keys are case insensitive."));
            return false;
        }
        if (before != NULL && before->transitive) {
            refuse(ret, HUB_SESSION_BAD_TAGS,
                   S("One of the specified transitive tag keys can't be set because it conflicts "
                     "with a transitive tag key from the calling session."));
            return false;
        }
        k->tags[k->tag_count++] = (HubTag){ .key = str_dup(k->arena, t->key),
                                            .value = str_dup(k->arena, t->value),
                                            .transitive = t->transitive };
    }
    for (size_t i = 0; i < handed; i++)
        if (own->tags[i].transitive)
            k->tags[k->tag_count++] = (HubTag){ .key = str_dup(k->arena, own->tags[i].key),
                                                .value = str_dup(k->arena, own->tags[i].value),
                                                .transitive = true };
    if (k->tag_count > SESSION_TAGS_MAX) {
        refuse(ret, HUB_SESSION_BIG_POLICY,
               S("Packed size of session tags and policies is larger than the allowed limit."));
        return false;
    }
    return true;
}

static HubInherited inherited(void *self, struct call *c)
{
    AUTO(signer) own = iam_signer(self, c->access_key);
    HubInherited h = { 0 };
    if (own == NULL)
        return h;
    for (size_t i = 0; i < own->tag_count; i++)
        h.tags |= own->tags[i].transitive;
    if (own->source_identity.p != NULL)
        h.source_identity = str_dup(c->arena, own->source_identity);
    return h;
}

// What the session is of: the role, as it was asked for. False: it has been refused.
static bool assume(struct iam *s, struct call *c, const HubSessionWant *want,
                   const struct signer *own, struct signer *k, HubSession *ret)
{
    AUTO(entity) e = iam_look_arn(s, ENTITY_ROLE, want->role_arn);
    if (e == NULL) {
        refuse(ret, HUB_SESSION_NO_ROLE, S(""));
        return false;
    }
    if (want->seconds > e->session_s_max) {
        refuse(ret, HUB_SESSION_TOO_LONG,
               S("The requested DurationSeconds exceeds the MaxSessionDuration set for this "
                 "role."));
        return false;
    }
    name_role(k->arena, c, k, e, want->session_name, ret);
    Str source = want->source_identity;
    if (source.p == NULL && own != NULL)
        source = own->source_identity;
    if (source.p != NULL) {
        k->source_identity = str_dup(k->arena, source);
        ret->source_identity = str_dup(c->arena, source);
    }
    return add_tags(own, want, k, ret) && add_policies(s, c, want, k, ret);
}

// The caller under another name, who may do what the caller may and the session's policies allow:
// without any, nothing. False: it has been refused.
static bool federate(struct iam *s, struct call *c, const HubSessionWant *want,
                     const struct signer *own, struct signer *k, HubSession *ret)
{
    static const Str nothing = S_INIT("{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":"
                                      "\"Allow\",\"Action\":\"none:None\",\"Resource\":\"*\"}}");
    HubSessionWant narrowed = *want;
    if (own != NULL && own->token.p != NULL) {
        refuse(ret, HUB_SESSION_NESTED,
               S("Cannot call GetFederationToken with session credentials"));
        return false;
    }
    name_caller(k->arena, c, k, own);
    k->federated = str_dup(k->arena, want->federated);
    k->principal = str_fmt(k->arena, "arn:aws:sts::%.*s:federated-user/%.*s", FMT(c->caller),
                           FMT(want->federated));
    ret->id = str_fmt(c->arena, "%.*s:%.*s", FMT(c->caller), FMT(want->federated));
    if (want->policy_count + want->policy_arn_count == 0) {
        narrowed.policies = &nothing;
        narrowed.policy_count = 1;
    }
    return add_tags(NULL, want, k, ret) && add_policies(s, c, &narrowed, k, ret);
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
    AUTO(signer) own = iam_signer(s, c->access_key);
    if (own == NULL &&
        !str_ends(c->principal, S(":root"))) { // nobody is the root for want of a key
        refuse(ret, HUB_SESSION_GONE, S("The security token included in the request is invalid."));
        return OK;
    }
    if (want->federated.p != NULL && !federate(s, c, want, own, k, ret))
        return OK;
    if (want->federated.p != NULL)
        ret->arn = str_dup(c->arena, k->principal);
    else if (want->role_arn.p == NULL)
        name_caller(a, c, k, own);
    else if (!assume(s, c, want, own, k, ret))
        return OK;
    k->access_key = random_id(s->env.io, a, SESSION_KEY_PREFIX, SESSION_KEY_CHARS);
    k->secret = random_secret(s->env.io, a, SESSION_SECRET_CHARS);
    k->token = random_secret(s->env.io, a, SESSION_TOKEN_CHARS);
    k->created_ms = iam_now_ms(c);
    k->mfa_ms = want->mfa ? k->created_ms : 0;
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

static Err mfa(void *self, struct call *c, Str serial, Str code, bool use, bool *ret)
{
    return iam_check_mfa(self, c, serial, code, use, ret);
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
                                        .inherited = inherited,
                                        .mfa = mfa,
                                        .lends = lends,
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

// aws:ResourceTag/KEY and iam:ResourceTag/KEY.
static void add_resource_tags(struct call *c, const struct entity *e, AccessTarget *ret)
{
    static const Str prefixes[] = { S_INIT("aws:ResourceTag/"), S_INIT("iam:ResourceTag/") };
    size_t n = COUNT_OF(prefixes) * e->tag_count;
    AccessValue *values = arena_new(c->arena, AccessValue, n);
    Str *texts = arena_new(c->arena, Str, e->tag_count);
    for (size_t i = 0; i < e->tag_count; i++) {
        texts[i] = str_dup(c->arena, e->tags[i].value);
        for (size_t k = 0; k < COUNT_OF(prefixes); k++)
            values[ret->context_count++] = (AccessValue){
                .name = str_cat(c->arena, prefixes[k], e->tags[i].key), .values = &texts[i], .n = 1
            };
    }
    ret->context = values;
}

// What is there, or would be made: without a path its ARN has none.
static void name_target(struct call *c, EntityKind kind, Str name, AccessTarget *ret)
{
    AUTO(entity) e = iam_look(c->state, kind, c->account, name);
    ret->resource = e != NULL ? str_dup(c->arena, e->arn)
                              : str_fmt(c->arena, "arn:aws:iam::%.*s:%s/%.*s", FMT(c->account),
                                        entity_word(kind), FMT(name));
    if (e != NULL)
        add_resource_tags(c, e, ret);
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
        name_target(c, members[i].kind, name, ret);
        return;
    }
    Str serial = member_text(c, in, S("SerialNumber")),
        device = member_text(c, in, S("VirtualMFADeviceName"));
    if (device.p != NULL)
        serial = str_fmt(c->arena, "arn:aws:iam::%.*s:mfa/%.*s", FMT(c->account), FMT(device));
    if (serial.p != NULL) {
        ret->resource = serial;
        return;
    }
    Str arn = member_text(c, in, S("PolicyArn")), made = member_text(c, in, S("PolicyName"));
    if (arn.p != NULL)
        ret->resource = arn;
    else if (made.p != NULL)
        name_target(c, ENTITY_POLICY, made, ret);
    else if (str_starts(c->op->name, S("List")))
        ret->resource = S("*");
    else if (str_search(c->principal, S(":user/")) < c->principal.n)
        ret->resource = c->principal; // GetUser and the like without a name: the caller
}

const struct call_targets iam_targets = { .account = account_of_call, .target = target_of_call };

// SPDX-License-Identifier: Apache-2.0
// What other services are offered (hub/secrets.h), and what the front is told about calls.
#include "codec/hash.h"
#include "svc/secretsmanager/secretsmanager.h"

enum { REQUEST_ID_BYTES = 8 };

// ---- Values for services

static const struct api_op *op_named(Str name)
{
    for (size_t i = 0; i < secretsmanager_api.op_count; i++)
        if (str_eq(secretsmanager_api.ops[i].name, name))
            return &secretsmanager_api.ops[i];
    CHECK(false);
}

// Account and region in an ARN; absent: it is none.
static Str part_of(Str arn, size_t which)
{
    Str part = { 0 };
    for (size_t i = 0; i <= which; i++)
        if (!str_cut(arn, ':', &part, &arn))
            return S("");
    return part;
}

// What an operation finds in a call, for work that nobody has called for. Account and region are
// the secret's.
static struct call *call_for(struct secrets *s, struct arena *a, const HubActor *as, Str arn)
{
    struct call *c = arena_new(a, struct call, 1);
    unsigned char id[REQUEST_ID_BYTES];
    s->env.io->random(s->env.io, id, sizeof id);
    *c = (struct call){ .state = s,
                        .arena = a,
                        .op = op_named(S("GetSecretValue")),
                        .account = part_of(arn, 4),
                        .region = part_of(arn, 3),
                        .caller = as->account,
                        .access_key = S(""),
                        .role = as->role_arn,
                        .service = as->service,
                        .source_arn = as->source_arn,
                        .request_id = hex_str(a, id, sizeof id),
                        .now_ns = s->env.io->wall_ns(s->env.io) };
    c->principal = hub_actor_principal(a, as);
    return c;
}

static HubSecretAnswer answered(const struct call *c)
{
    static const struct {
        const struct api_error *error;
        HubSecretFault fault;
    } known[] = { { &secretsmanager_ResourceNotFoundException, HUB_SECRET_NOT_FOUND },
                  { &secretsmanager_InvalidRequestException, HUB_SECRET_STATE },
                  { &secretsmanager_DecryptionFailure, HUB_SECRET_KEY } };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (known[i].error == c->error)
            return (HubSecretAnswer){ known[i].fault, c->error_text };
    return (HubSecretAnswer){ HUB_SECRET_DENIED, c->error_text };
}

static bool may_read(struct secrets *s, struct call *c, struct secret *x, Str *ret_text)
{
    const struct access_guard *guard = s->env.hub->access;
    if (guard == NULL || s->env.dev)
        return true;
    AccessTarget t = { .action = S("secretsmanager:GetSecretValue"),
                       .resource = x->d.arn,
                       .account = x->account,
                       .policy = x->policy };
    return guard->may(guard->self, c, &t, ret_text);
}

static Err offer_get(void *self, struct arena *a, const HubActor *as, Str secret_arn,
                     Str *ret_value, HubSecretAnswer *ret)
{
    struct secrets *s = self;
    struct call *c = call_for(s, a, as, secret_arn);
    struct secretsmanager_GetSecretValue_out out = { 0 };
    AUTO(secret) x = NULL;
    *ret = (HubSecretAnswer){ 0 };
    Err e = secrets_find(c, secret_arn, &x);
    Str text = S("");
    if (e.kind == ERR_NONE && !may_read(s, c, x, &text))
        e = call_fail(c, &aws_AccessDeniedException, "%.*s", FMT(text));
    if (e.kind == ERR_NONE)
        e = secrets_value(c, x, (Str){ 0 }, (Str){ 0 }, &out);
    if (e.kind == ERR_FAULT) {
        *ret = answered(c);
        return OK;
    }
    TRY(e);
    *ret_value = out.secret_string.p != NULL ? out.secret_string : out.secret_binary;
    return OK;
}

void secrets_offer_init(struct secrets *s)
{
    s->offer = (struct hub_secrets){ .self = s, .get = offer_get };
}

// ---- What calls are about

static const void *member_at(const struct call *c, const void *in, Str name)
{
    const struct shape *shape = c->op->input;
    for (size_t i = 0; i < shape->member_count; i++)
        if (str_eq(shape->members[i].name, name))
            return (const char *)in + shape->members[i].offset;
    return NULL;
}

static Str text_at(const struct call *c, const void *in, Str name)
{
    const void *at = member_at(c, in, name);
    return at != NULL ? *(const Str *)at : (Str){ 0 };
}

static Str account_of_call(struct call *c, const void *in)
{
    Str id = text_at(c, in, S("SecretId"));
    Str account = str_starts(id, S("arn:")) ? part_of(id, 4) : S("");
    return account.n > 0 ? account : c->account;
}

struct keys {
    AccessValue *at;
    size_t n;
};

static void add_key(struct call *c, struct keys *k, Str name, Str value)
{
    Str *one = arena_new(c->arena, Str, 1);
    *one = value;
    k->at[k->n] = (AccessValue){ .name = name, .values = one, .n = 1 };
    k->n++;
}

// Condition keys of the service, of what the input says; aws:ResourceTag/KEY and
// secretsmanager:ResourceTag/tag-key of what there is.
static void add_context(struct call *c, const void *in, const struct secret *x, AccessTarget *ret)
{
    static const struct {
        Str member, key;
    } members[] = { { S_INIT("Name"), S_INIT("secretsmanager:Name") },
                    { S_INIT("Description"), S_INIT("secretsmanager:Description") },
                    { S_INIT("KmsKeyId"), S_INIT("secretsmanager:KmsKeyId") },
                    { S_INIT("VersionId"), S_INIT("secretsmanager:VersionId") },
                    { S_INIT("VersionStage"), S_INIT("secretsmanager:VersionStage") } };
    size_t tags = x != NULL ? x->d.tags.n : 0;
    struct keys k = { .at = arena_new(c->arena, AccessValue, COUNT_OF(members) + 1 + 2 * tags) };
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        Str given = text_at(c, in, members[i].member);
        if (given.p != NULL)
            add_key(c, &k, members[i].key, given);
    }
    if (x != NULL)
        add_key(c, &k, S("secretsmanager:SecretId"), str_dup(c->arena, x->d.arn));
    for (size_t i = 0; i < tags; i++) {
        Str key = x->d.tags.at[i].key, value = str_dup(c->arena, x->d.tags.at[i].value);
        add_key(c, &k, str_cat(c->arena, S("aws:ResourceTag/"), key), value);
        add_key(c, &k, str_cat(c->arena, S("secretsmanager:ResourceTag/"), key), value);
    }
    ret->context = k.at;
    ret->context_count = k.n;
}

static void target_of_call(struct call *c, const void *in, AccessTarget *ret)
{
    Str id = text_at(c, in, S("SecretId")), made = text_at(c, in, S("Name"));
    if (id.p == NULL && made.p == NULL)
        return;
    AUTO(secret)
    x = secrets_look(c->state, c->arena, ret->account, c->region, id.p != NULL ? id : made,
                     secrets_now_ms(c));
    if (x != NULL && x->policy != NULL)
        ret->policy = policy_ref(x->policy);
    add_context(c, in, x, ret);
    if (x != NULL)
        ret->resource = str_dup(c->arena, x->d.arn);
    else if (str_starts(id, S("arn:")))
        ret->resource = id;
    else // what it would be: each of the random characters stands for itself in patterns
        ret->resource = str_fmt(c->arena, "arn:aws:secretsmanager:%.*s:%.*s:secret:%.*s-??????",
                                FMT(c->region), FMT(ret->account), FMT(id.p != NULL ? id : made));
}

const struct call_targets secrets_targets = { .account = account_of_call,
                                              .target = target_of_call };

// SPDX-License-Identifier: Apache-2.0
// What other services are offered (hub/keys.h), and what the front is told about calls.
#include "svc/kms/kms.h"

// A question comes in a call of another service: its state is not ours, so the call is lent one.
static HubKeyAnswer answer(HubKeyFault fault, Str text)
{
    return (HubKeyAnswer){ .fault = fault, .text = text };
}

static HubKeyAnswer look(struct kms *s, struct call *c, Str arn, struct key **ret)
{
    Str part[5], rest = arn;
    for (size_t i = 0; i < COUNT_OF(part); i++)
        if (!str_cut(rest, ':', &part[i], &rest))
            return answer(HUB_KEY_NOT_FOUND,
                          str_fmt(c->arena, "Key '%.*s' does not exist", FMT(arn)));
    AUTO(key) k = NULL;
    if (kms_look(s, part[4], part[3], arn, kms_now_ms(c), c->arena, &k).kind != ERR_NONE)
        return answer(HUB_KEY_NOT_FOUND, str_fmt(c->arena, "Key '%.*s' does not exist", FMT(arn)));
    if (k->deletion_ms > 0)
        return answer(HUB_KEY_PENDING_DELETION,
                      str_fmt(c->arena, "%.*s is pending deletion.", FMT(k->arn)));
    if (!k->enabled)
        return answer(HUB_KEY_DISABLED, str_fmt(c->arena, "%.*s is disabled.", FMT(k->arn)));
    *ret = key_ref(k);
    return answer(HUB_KEY_GOOD, S(""));
}

// aws:ResourceTag/KEY, for whoever asks about the key.
static void add_tags(struct arena *a, const struct key *k, AccessTarget *t)
{
    AccessValue *values = arena_new(a, AccessValue, k->tag_count);
    Str *texts = arena_new(a, Str, k->tag_count);
    for (size_t i = 0; i < k->tag_count; i++) {
        texts[i] = str_dup(a, k->tags[i].value);
        values[i] = (AccessValue){ .name = str_cat(a, S("aws:ResourceTag/"), k->tags[i].key),
                                   .values = &texts[i],
                                   .n = 1 };
    }
    t->context = values;
    t->context_count = k->tag_count;
}

// AWS's own keys may be used by all of the account's identities through the service.
static HubKeyAnswer permit(struct kms *s, struct call *c, const struct key *k, Str action)
{
    const struct access_guard *guard = s->env.hub->access;
    Str text = S("");
    if (guard == NULL || s->env.dev || k->managed)
        return answer(HUB_KEY_GOOD, text);
    AccessTarget t = { .action = action,
                       .resource = k->arn,
                       .account = k->account,
                       .policy = k->policy,
                       .policy_decides = true };
    add_tags(c->arena, k, &t);
    bool may = guard->may(guard->self, c, &t, &text);
    return may ? answer(HUB_KEY_GOOD, S("")) : answer(HUB_KEY_DENIED, text);
}

// `e` is how the key was looked for, in a call that was lent.
static Err told(struct kms *s, struct call *c, const struct call *lent, Err e, struct key *k,
                Str *ret_arn, HubKeyAnswer *ret)
{
    if (e.kind == ERR_FAULT) {
        *ret = answer(HUB_KEY_NOT_FOUND, lent->error_text);
        return OK;
    }
    TRY(e);
    *ret_arn = str_dup(c->arena, k->arn);
    AUTO(key) again = NULL;
    *ret = look(s, c, *ret_arn, &again);
    return OK;
}

static Err offer_find(void *self, struct call *c, Str name, Str *ret_arn, HubKeyAnswer *ret)
{
    struct call lent = *c;
    AUTO(key) k = NULL;
    lent.state = self;
    Err e = kms_find_or_make(&lent, name, &k);
    return told(self, c, &lent, e, k, ret_arn, ret);
}

static Err offer_own(void *self, struct call *c, Str service, Str *ret_arn, HubKeyAnswer *ret)
{
    struct call lent = *c;
    AUTO(key) k = NULL;
    lent.state = self;
    Err e = kms_own(&lent, str_cat(c->arena, ALIAS_AWS_PREFIX, service), &k);
    return told(self, c, &lent, e, k, ret_arn, ret);
}

static void offer_check(void *self, struct call *c, Str arn, Str action, HubKeyAnswer *ret)
{
    AUTO(key) k = NULL;
    *ret = look(self, c, arn, &k);
    if (ret->fault == HUB_KEY_GOOD)
        *ret = permit(self, c, k, action);
}

static void offer_make(void *self, struct call *c, Str arn, Str context,
                       unsigned char ret_plain[HUB_KEY_BYTES], Str *ret_wrapped, HubKeyAnswer *ret)
{
    struct kms *s = self;
    AUTO(key) k = NULL;
    *ret = look(s, c, arn, &k);
    if (ret->fault == HUB_KEY_GOOD)
        *ret = permit(s, c, k, S("kms:GenerateDataKey"));
    if (ret->fault != HUB_KEY_GOOD)
        return;
    s->env.io->random(s->env.io, ret_plain, HUB_KEY_BYTES);
    *ret_wrapped = key_encrypt(s->env.io, k, c->arena, context, str_from(ret_plain, HUB_KEY_BYTES));
    CHECK(ret_wrapped->n <= HUB_KEY_WRAPPED_BYTES_MAX);
}

static void offer_unwrap(void *self, struct call *c, Str arn, Str context, Str wrapped,
                         unsigned char ret_plain[HUB_KEY_BYTES], HubKeyAnswer *ret)
{
    struct kms *s = self;
    AUTO(key) k = NULL;
    Str plain, material, id;
    *ret = look(s, c, arn, &k);
    if (ret->fault == HUB_KEY_GOOD)
        *ret = permit(s, c, k, S("kms:Decrypt"));
    if (ret->fault != HUB_KEY_GOOD)
        return;
    bool good = key_of_blob(c->arena, wrapped, &id).kind == ERR_NONE && str_eq(id, k->id) &&
                key_decrypt(k, c->arena, context, wrapped, &plain, &material).kind == ERR_NONE &&
                plain.n == HUB_KEY_BYTES;
    if (good)
        memcpy(ret_plain, plain.p, HUB_KEY_BYTES);
    else
        *ret = answer(HUB_KEY_DAMAGED, S("The wrapped data key is damaged."));
}

void kms_offer_init(struct kms *s)
{
    s->offer = (struct hub_keys){ .self = s,
                                  .find = offer_find,
                                  .own = offer_own,
                                  .check = offer_check,
                                  .make = offer_make,
                                  .unwrap = offer_unwrap };
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

// How the input names a key. Of ReEncrypt the destination; its operation asks about both.
static Str key_named(const struct call *c, const void *in)
{
    static const Str members[] = { S_INIT("KeyId"), S_INIT("TargetKeyId"),
                                   S_INIT("DestinationKeyId") };
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        Str name = member_text(c, in, members[i]);
        if (name.p != NULL)
            return name;
    }
    return member_text(c, in, S("AliasName"));
}

static struct key *key_meant(struct call *c, const void *in, Str account, Str name)
{
    struct kms *s = c->state;
    struct key *k = NULL;
    Str blob = member_text(c, in, S("CiphertextBlob")), id;
    if (name.p != NULL) {
        err_ignore(kms_look(s, account, c->region, name, kms_now_ms(c), c->arena, &k));
        return k;
    }
    if (blob.p == NULL || key_of_blob(c->arena, blob, &id).kind != ERR_NONE)
        return NULL;
    return kms_look_id(s, id, kms_now_ms(c));
}

static Str account_of_call(struct call *c, const void *in)
{
    Str name = key_named(c, in), part = { 0 };
    if (str_starts(name, S("arn:"))) {
        for (size_t i = 0; i < 5; i++)
            if (!str_cut(name, ':', &part, &name))
                return c->account;
        return part;
    }
    if (name.p != NULL || member_text(c, in, S("CiphertextBlob")).p == NULL)
        return c->account;
    AUTO(key) k = key_meant(c, in, c->account, name); // a ciphertext says whose key it needs
    return k != NULL ? str_dup(c->arena, k->account) : c->account;
}

static void target_of_call(struct call *c, const void *in, AccessTarget *ret)
{
    Str name = key_named(c, in);
    AUTO(key) k = key_meant(c, in, ret->account, name);
    if (str_eq(c->op->name, S("ReEncrypt")))
        ret->action = S("kms:ReEncryptTo");
    if (k != NULL) {
        ret->resource = str_dup(c->arena, k->arn);
        ret->policy = policy_ref(k->policy);
        ret->policy_decides = true;
        add_tags(c->arena, k, ret);
    } else if (name.p != NULL) {
        ret->resource = str_starts(name, S("arn:"))
                            ? name
                            : str_fmt(c->arena, "arn:aws:kms:%.*s:%.*s:%s%.*s", FMT(c->region),
                                      FMT(ret->account),
                                      str_starts(name, ALIAS_PREFIX) ? "" : "key/", FMT(name));
    }
}

const struct call_targets kms_targets = { .account = account_of_call, .target = target_of_call };

// SPDX-License-Identifier: Apache-2.0
// StartStreamEncryption and StopStreamEncryption (developer guide, "Data protection"). Only what is
// put afterwards is concerned: what is stored stays as it is, and both can be read.
#include "hub/hub.h"
#include "svc/kinesis/crypt.h"

typedef struct NewKey {
    Str given, arn; // absent: none
    int64_t now_ms;
} NewKey;

static void set_key(struct stream *copy, const void *arg)
{
    const NewKey *n = arg;
    CHECK(stream_take_turn(n->arn.p != NULL ? &copy->starts : &copy->stops, n->now_ms));
    stream_set_key(copy, n->given, n->arn);
}

static Err change_locked(struct call *c, struct stream *s, const NewKey *new)
{
    Turns turns = new->arn.p != NULL ? s->starts : s->stops;
    TRY(kinesis_require_active(c, s));
    if (!stream_take_turn(&turns, new->now_ms))
        return call_fail(c, &kinesis_LimitExceededException,
                         "The server-side encryption of stream %.*s under account %.*s was %s %d "
                         "times in the last 24 hours, which is the limit.",
                         FMT(s->name), FMT(s->account), new->arn.p != NULL ? "started" : "stopped",
                         STREAM_TURNS_MAX);
    return kinesis_update(c->state, s, set_key, new);
}

static Err change(struct call *c, struct stream *s, const NewKey *new)
{
    TRY(kinesis_change_begin(c, s->name));
    Err e = change_locked(c, s, new);
    kinesis_change_end(c->state);
    return e;
}

static Err check_type(struct call *c, Str type)
{
    if (str_eq(type, kinesis_EncryptionType_KMS))
        return OK;
    return call_fail(c, &kinesis_InvalidArgumentException,
                     "The EncryptionType %.*s is not valid. The only valid value is KMS.",
                     FMT(type));
}

Err kinesis_StartStreamEncryption(struct call *c, const struct kinesis_StartStreamEncryption_in *in)
{
    struct kinesis *k = c->state;
    const struct hub_keys *keys = k->env.hub != NULL ? k->env.hub->keys : NULL;
    HubKeyAnswer answer = { 0 };
    NewKey new = { .given = in->key_id, .now_ms = c->now_ns / 1000000 };
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    TRY(check_type(c, in->encryption_type));
    if (keys == NULL)
        return fail(ERR_NOT_FOUND, "there is no key service");
    TRY(keys->find(keys->self, c, in->key_id, &new.arn, &answer));
    if (answer.fault == HUB_KEY_GOOD) // whoever begins must have access to the key
        keys->check(keys->self, c, new.arn, S("kms:DescribeKey"), &answer);
    TRY(crypt_refused(c, &answer));
    return change(c, s, &new);
}

Err kinesis_StopStreamEncryption(struct call *c, const struct kinesis_StopStreamEncryption_in *in)
{
    NewKey new = { .now_ms = c->now_ns / 1000000 };
    AUTO(stream) s = NULL;
    TRY(kinesis_find(c, STREAM_REF(in), &s));
    TRY(check_type(c, in->encryption_type));
    return change(c, s, &new);
}

// SPDX-License-Identifier: Apache-2.0
// What a call is about, for the question whether it is permitted: the delivery stream that its
// input names, or "*". Condition keys: aws:ResourceTag/KEY. And which roles a caller may give to
// the service.
#include "hub/pass_role.h"
#include "svc/firehose/firehose.h"
#include "svc/firehose/tree.h"

static Str stream_named(const struct call *c, const void *in)
{
    const struct shape *shape = c->op->input;
    for (size_t i = 0; i < shape->member_count; i++)
        if (str_eq(shape->members[i].name, S("DeliveryStreamName")))
            return *(const Str *)((const char *)in + shape->members[i].offset);
    return (Str){ 0 };
}

static Str arn_of_stream(const struct call *c, Str name)
{
    return str_fmt(c->arena, "arn:aws:firehose:%.*s:%.*s:deliverystream/%.*s", FMT(c->region),
                   FMT(c->account), FMT(name));
}

static Str account_of_call(struct call *c, const void *in)
{
    (void)in; // a name is one of the caller's own
    return c->account;
}

static void add_tags(struct call *c, Str name, AccessTarget *ret)
{
    AUTO_VIEW(v);
    HoseName n = { c->account, c->region, name };
    if (!firehose_look(c->state, c->arena, &n, &v))
        return;
    AccessValue *values = arena_new(c->arena, AccessValue, v.f->tag_count);
    Str *texts = arena_new(c->arena, Str, v.f->tag_count);
    for (size_t i = 0; i < v.f->tag_count; i++) {
        Str value = v.f->tags[i].value;
        texts[i] = value.p != NULL ? str_dup(c->arena, value) : S("");
        values[i] =
            (AccessValue){ .name = str_cat(c->arena, S("aws:ResourceTag/"), v.f->tags[i].key),
                           .values = &texts[i],
                           .n = 1 };
    }
    ret->context = values;
    ret->context_count = v.f->tag_count;
}

static void target_of_call(struct call *c, const void *in, AccessTarget *ret)
{
    Str name = stream_named(c, in);
    if (name.p == NULL)
        return;
    ret->resource = arn_of_stream(c, name);
    add_tags(c, name, ret);
}

const struct call_targets firehose_targets = { .account = account_of_call,
                                               .target = target_of_call };

// ---- Roles (IAM user guide, "iam:PassRole")

Err firehose_check_role(struct call *c, Str stream, Str role_arn)
{
    struct firehose *f = c->state;
    Str text;
    if (!hub_may_pass_role(&f->env, c, role_arn, S("firehose.amazonaws.com"), &text))
        return call_fail(c, &aws_AccessDeniedException, "%.*s", FMT(text));
    const HubActor as = { .account = c->account,
                          .region = c->region,
                          .role_arn = role_arn,
                          .service = S("firehose.amazonaws.com"),
                          .source_arn = arn_of_stream(c, stream) };
    if (hub_may_assume_role(&f->env, &as))
        return OK;
    return call_fail(c, &firehose_InvalidArgumentException,
                     "Firehose is unable to assume role %.*s. Please check the role provided.",
                     FMT(role_arn));
}

static bool is_arn(Str s)
{
    Str part;
    size_t colons = 0;
    while (str_cut(s, ':', &part, &s))
        colons++;
    return colons >= 5;
}

// Recursion ends at the depth of the API's shapes.
Err firehose_check_roles(struct call *c, Str stream, const JsonValue *v)
{
    bool is_parameter = str_eq(tree_text(v, S("ParameterName")), S("RoleArn"));
    if (v->kind == JSON_STRING && str_eq(v->key, S("RoleARN")) && is_arn(v->text))
        TRY(firehose_check_role(c, stream, v->text));
    if (is_parameter && is_arn(tree_text(v, S("ParameterValue"))))
        TRY(firehose_check_role(c, stream, tree_text(v, S("ParameterValue"))));
    for (size_t i = 0; (v->kind == JSON_MAP || v->kind == JSON_LIST) && i < v->n; i++)
        TRY(firehose_check_roles(c, stream, &v->items[i]));
    return OK;
}

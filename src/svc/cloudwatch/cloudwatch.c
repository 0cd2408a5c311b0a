// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/cloudwatch.h"
#include "codec/base64.h"
#include "hub/hub.h"
#include "svc/cloudwatch/alarm.h"
#include "svc/cloudwatch/sender.h"
#include "svc/cloudwatch/ticker.h"

#include <stdlib.h>

// ---- What operations share

bool cloudwatch_is_plain(Str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return true;
}

Err cloudwatch_dimensions(struct call *c, const cloudwatch_Dimensions *in, Str what,
                          const Dimension **ret, size_t *ret_n)
{
    Dimension *dims = arena_new(c->arena, Dimension, MAX(in->n, (size_t)1));
    for (size_t i = 0; i < in->n; i++) {
        dims[i] = (Dimension){ in->at[i].name, in->at[i].value };
        if (!cloudwatch_is_plain(dims[i].name) || !cloudwatch_is_plain(dims[i].value))
            return call_fail(c, &cloudwatch_InvalidParameterValueException,
                             "The parameter %.*sDimensions.member.%zu must not contain control "
                             "characters.",
                             FMT(what), i + 1);
    }
    dimensions_sort(dims, in->n);
    for (size_t i = 1; i < in->n; i++)
        if (str_eq(dims[i - 1].name, dims[i].name))
            return call_fail(c, &cloudwatch_InvalidParameterValueException,
                             "The parameter %.*sDimensions must not name a dimension twice.",
                             FMT(what));
    *ret = dims;
    *ret_n = in->n;
    return OK;
}

SeriesName cloudwatch_name(const struct call *c, Str name_space, Str name, const Dimension *dims,
                           size_t dim_count)
{
    return (SeriesName){ .account = c->account,
                         .region = c->region,
                         .name_space = name_space,
                         .name = name,
                         .dims = dims,
                         .dim_count = dim_count };
}

Str cloudwatch_token(struct arena *a, Str place)
{
    size_t n = base64_encoded_bytes(place.n);
    char *text = arena_alloc(a, MAX(n, (size_t)1), 1);
    base64_encode(text, place.p, place.n);
    return str_from(text, n);
}

Err cloudwatch_token_open(struct call *c, Str token, Str *ret_place)
{
    char *place = arena_try(c->arena, base64_decoded_max(token.n), 1);
    if (place == NULL)
        return fail(ERR_MEMORY, "no memory for a page token");
    Base64Result r = base64_decode(place, token.p, token.n);
    if (r.fault != BASE64_GOOD || r.n == 0 || r.n > KV_KEY_BYTES_MAX / 2)
        return call_fail(c, &cloudwatch_InvalidNextToken, "The service could not parse the token.");
    *ret_place = str_from(place, r.n);
    return OK;
}

// ---- What calls are about

static Str own_account(struct call *c, const void *in)
{
    (void)in;
    return c->account;
}

// The first alarm that an input names: its first member, by itself, in a list, or as an ARN.
static Str alarm_named(struct call *c, const void *in)
{
    const struct member *m = c->op->input->members;
    const void *value = (const char *)in + m->offset;
    if (str_eq(m->name, S("AlarmName")))
        return *(const Str *)value;
    if (!str_eq(m->name, S("AlarmNames")))
        return (Str){ 0 };
    const cloudwatch_AlarmNames *names = value;
    return names->n > 0 ? names->at[0] : (Str){ 0 };
}

Err cloudwatch_permit_alarms(struct call *c, const cloudwatch_AlarmNames *names)
{
    const struct cloudwatch *cw = c->state;
    const struct access_guard *guard = cw->env.hub != NULL ? cw->env.hub->access : NULL;
    if (guard == NULL || cw->env.dev)
        return OK;
    for (size_t i = 1; i < names->n; i++) {
        Str text = S("");
        AccessTarget t = { .action = str_cat(c->arena, S("cloudwatch:"), c->op->name),
                           .resource =
                               alarm_arn(c->arena, (Realm){ c->account, c->region }, names->at[i]),
                           .account = c->account };
        if (!guard->may(guard->self, c, &t, &text))
            return call_fail(c, &aws_AccessDeniedException, "%.*s", FMT(text));
    }
    return OK;
}

// Policies say "cloudwatch" where signatures say "monitoring". Operations on alarms are about them,
// all others about everything, as in AWS (service authorization reference, Amazon CloudWatch).
static void target_of_call(struct call *c, const void *in, AccessTarget *ret)
{
    const struct member *m = c->op->input->members;
    Str name = alarm_named(c, in);
    ret->action = str_cat(c->arena, S("cloudwatch:"), c->op->name);
    if (name.p != NULL)
        ret->resource = alarm_arn(c->arena, (Realm){ c->account, c->region }, name);
    else if (str_eq(m->name, S("ResourceARN")))
        ret->resource = *(const Str *)((const char *)in + m->offset);
}

static const struct call_targets cloudwatch_targets = { .account = own_account,
                                                        .target = target_of_call };

// ---- The service

static void cloudwatch_stop(void *state)
{
    struct cloudwatch *cw = state;
    sender_stop(cw->sender);
}

static void cloudwatch_close(void *state)
{
    struct cloudwatch *cw = state;
    if (cw == NULL)
        return;
    sender_close(cw->sender);
    ticker_close(cw->ticker);
    free(cw);
}

Err cloudwatch_load(struct cloudwatch *cw)
{
    TRY(series_open(cw->env.kv, &cw->store));
    TRY(kv_table_open(cw->env.kv, S("cloudwatch.alarms"), &cw->alarms));
    TRY(kv_table_open(cw->env.kv, S("cloudwatch.composites"), &cw->composites));
    TRY(kv_table_open(cw->env.kv, S("cloudwatch.tags"), &cw->tags));
    TRY(kv_table_open(cw->env.kv, S("cloudwatch.actions"), &cw->actions));
    atomic_store(&cw->has_composites, true); // until a round has found none
    return kv_table_open(cw->env.kv, S("cloudwatch.history"), &cw->history);
}

static Err cloudwatch_open(const struct service_env *env, void **ret_state)
{
    struct cloudwatch *cw = xalloc(sizeof *cw);
    cw->env = *env;
    Err e = cloudwatch_load(cw);
    if (e.kind != ERR_NONE) {
        free(cw);
        return e;
    }
    ticker_open(cw, &cw->ticker);
    ticker_start(cw->ticker);
    sender_open(cw, &cw->sender);
    sender_start(cw->sender);
    *ret_state = cw;
    return OK;
}

extern const struct service cloudwatch_service;
const struct service cloudwatch_service = {
    .api = &cloudwatch_api,
    .targets = &cloudwatch_targets,
    .open = cloudwatch_open,
    .stop = cloudwatch_stop,
    .close = cloudwatch_close,
};

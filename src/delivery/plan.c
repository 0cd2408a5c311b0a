// SPDX-License-Identifier: Apache-2.0
// A config, read and compiled for one of the lanes.
#include "delivery/delivery_priv.h"

#include <stdlib.h>

enum { MIB = 1 << 20 };

struct shared_config *config_ref(struct shared_config *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

void config_unref(struct shared_config *c)
{
    if (c == NULL || atomic_fetch_sub(&c->refs, 1) > 1)
        return;
    arena_close(c->is.arena);
    free(c);
}

// How far the buffer may grow (API reference: the ranges of SizeInMBs).
static int64_t size_max(DeliveryKind kind, bool is_backup)
{
    static const int64_t most[] = { [DELIVER_S3] = 128,
                                    [DELIVER_REDSHIFT] = 128,
                                    [DELIVER_SEARCH] = 100,
                                    [DELIVER_SPLUNK] = 5,
                                    [DELIVER_HTTP] = 64 };
    return MIB * (is_backup ? 128 : most[kind]);
}

static void choose_places(struct plan *p, bool is_backup)
{
    const DeliveryConfig *c = &p->config->is;
    bool objects = c->kind == DELIVER_S3 || c->kind == DELIVER_REDSHIFT;
    p->place = is_backup ? &c->backup : objects ? &c->s3 : NULL;
    p->errors = c->errors.bucket.p != NULL ? &c->errors : objects ? &c->s3 : &c->backup;
    if (c->errors.bucket.p != NULL)
        p->errors = &c->errors;
    const DeliveryBucket *hints = is_backup ? &c->backup : NULL;
    p->size_bytes = hints != NULL ? hints->size_bytes : c->size_bytes;
    int64_t interval_ns = hints != NULL ? hints->interval_ns : c->interval_ns;
    p->is_soon = interval_ns <= 0;
    p->interval_ms = p->is_soon ? SOON_MS : interval_ns / 1000000;
    p->size_bytes = MAX(p->size_bytes, (int64_t)1);
    p->size_max = MAX(size_max(c->kind, is_backup), p->size_bytes);
}

static Err open_prefixes(struct plan *p, struct arena *a, Str *ret_text)
{
    const DeliveryBucket *to = p->place, *errors = p->errors;
    if (to != NULL)
        TRY(prefix_open(PREFIX_DATA, to->prefix, (Str){ 0 }, to->time_zone, &p->data_prefix, a,
                        ret_text));
    if (errors->bucket.p != NULL)
        TRY(prefix_open(PREFIX_ERRORS, errors->error_prefix, errors->prefix, errors->time_zone,
                        &p->error_prefix, a, ret_text));
    return OK;
}

static const struct sink_ops *ops_of(DeliveryKind kind)
{
    switch (kind) {
    case DELIVER_HTTP:
        return &sink_http;
    case DELIVER_SPLUNK:
        return &sink_splunk;
    case DELIVER_SEARCH:
        return &sink_search;
    case DELIVER_REDSHIFT:
        return &sink_redshift;
    default:
        return NULL;
    }
}

static Err open_steps(struct plan *p, struct delivery_env *env, struct arena *a, Str *ret_text)
{
    const DeliveryConfig *c = &p->config->is;
    const struct sink_ops *instead = ((const struct deliveries *)env)->test_ops;
    p->ops = instead != NULL ? instead : ops_of(c->kind);
    if (c->conversion.enabled)
        TRY(convert_check(c, a, ret_text));
    if (p->ops != NULL)
        TRY(p->ops->open(env, c, &p->sink, a, ret_text));
    if (c->step_count > 0 || c->direct_shard == 0) // a stream's records may be aggregates
        TRY(processing_open(env, c, &p->processing, ret_text));
    for (size_t i = 0; i < c->step_count; i++)
        if (c->steps[i].kind == STEP_LAMBDA)
            p->lambda = &c->steps[i];
    if (p->lambda != NULL) // as much as can be under way
        p->piece_bytes =
            MAX(p->piece_bytes, processing_calls_at_once(c) * processing_call_bytes(p->lambda));
    return OK;
}

Err plan_check(struct plan *p, struct arena *a, Str *ret_text)
{
    const DeliveryConfig *c = &p->config->is;
    size_t keys = SIZE_MAX, by_query = 0, by_lambda = 0;
    if (p->processing == NULL)
        return OK;
    TRY(processing_check(p->processing, a, ret_text));
    if (!c->partitioned || p->data_prefix == NULL)
        return OK;
    TRY(processing_query_keys(p->processing, a, &keys));
    prefix_keys(p->data_prefix, &by_query, &by_lambda);
    if (keys == SIZE_MAX || keys == by_query)
        return OK;
    *ret_text = str_fmt(a,
                        "S3 Prefix must use as many keys of the partitionKeyFromQuery namespace as "
                        "MetadataExtractionQuery gives: it uses %zu, the query gives %zu.",
                        by_query, keys);
    return fail(ERR_INVALID, "a prefix that does not use the keys of the query");
}

Err plan_open(struct delivery_env *env, struct shared_config *config, bool is_backup,
              struct plan **ret, struct arena *a, Str *ret_text)
{
    AUTO(plan) p = xalloc(sizeof *p);
    *ret_text = S("");
    p->config = config_ref(config);
    p->piece_bytes = PIECE_BYTES;
    choose_places(p, is_backup);
    TRY(open_prefixes(p, a, ret_text));
    if (!is_backup)
        TRY(open_steps(p, env, a, ret_text));
    *ret = p;
    p = NULL;
    return OK;
}

void plan_close(struct plan *p)
{
    if (p == NULL)
        return;
    prefix_close(p->data_prefix);
    prefix_close(p->error_prefix);
    processing_close(p->processing);
    if (p->sink != NULL)
        p->ops->close(p->sink);
    config_unref(p->config);
    free(p);
}

// SPDX-License-Identifier: Apache-2.0
// MetadataExtraction: a query gives the keys that partitionKeyFromQuery names.
#include "base/time.h"
#include "codec/json.h"
#include "delivery/process_priv.h"
#include "os/io.h"

static const char error_type[] = "metadata-extraction-failed";
#define ERROR_CODE S("DynamicPartitioning.MetadataExtractionFailed")

// A value as part of a key: texts as they are, numbers and truth values as they are written.
// Absent: it is none.
static Str key_text(const JsonValue *v)
{
    switch (v->kind) {
    case JSON_STRING:
    case JSON_NUMBER:
        return v->text;
    case JSON_BOOL:
        return v->integer != 0 ? S("true") : S("false");
    default:
        return (Str){ 0 };
    }
}

// The keys of what a query gave; a text: why there are none.
static Str read_keys(struct arena *a, Str json, DeliveryRecord *r)
{
    JsonValue *v = NULL;
    if (json_parse(a, json, &v).kind != ERR_NONE || v->kind != JSON_MAP)
        return S("The query of partition keys must give an object");
    if (v->n > DELIVERY_KEYS_MAX)
        return S("The query of partition keys gives too many keys");
    DeliveryPair *keys = arena_new(a, DeliveryPair, v->n);
    for (size_t i = 0; i < v->n; i++) {
        Str value = key_text(&v->items[i]);
        if (value.n == 0)
            return S("partitionKeys values must not be null or empty");
        keys[i] = (DeliveryPair){ .name = v->items[i].key, .value = value };
    }
    r->query_keys = keys;
    r->query_key_count = (uint32_t)v->n;
    return (Str){ 0 };
}

static Str reason(struct arena *a, const JqItem *item, DeliveryRecord *r)
{
    if (item->fault == JQ_NOT_JSON)
        return S("Non JSON record provided");
    return item->fault == JQ_GOOD ? read_keys(a, item->text, r) : item->text;
}

static bool stops(const void *self)
{
    const struct delivery_env *env = self;
    return env->stopping != NULL && env->stopping(env);
}

Err process_metadata(struct processing *p, DeliveryBatch *b)
{
    struct arena *a = b->arena;
    Before before = process_begin(b);
    JqItem *items = arena_try_new(a, JqItem, before.n + 1);
    if (items == NULL)
        return fail(ERR_MEMORY, "no memory for partition keys");
    for (size_t i = 0; i < before.n; i++)
        items[i].record = before.at[i].data;
    int64_t began_ns = p->env->io->mono_ns(p->env->io);
    TRY(jq_query_run(p->query, a, items, before.n, stops, p->env));
    if (p->meters != NULL)
        meter_add(&p->meters->jq_ms, (p->env->io->mono_ns(p->env->io) - began_ns) / NS_PER_MS);
    for (size_t i = 0; i < before.n; i++) {
        DeliveryRecord r = before.at[i];
        Str why = reason(a, &items[i], &r);
        if (why.p == NULL)
            batch_add(b, &r);
        else
            batch_fail(b, &before.at[i], error_type, ERROR_CODE, why, 1, process_now_ms(p));
    }
    return OK;
}

Err processing_query_keys(struct processing *p, struct arena *a, size_t *ret_n)
{
    Str query = p->query != NULL ? str_trim(p->steps[STEP_METADATA]->query) : S("");
    JqItem item = { .record = S("{}") };
    JsonValue *v = NULL;
    *ret_n = SIZE_MAX;
    if (!str_starts(query, S("{")) || !str_ends(query, S("}")))
        return OK;
    TRY(jq_query_run(p->query, a, &item, 1, stops, p->env));
    if (item.fault == JQ_GOOD && json_parse(a, item.text, &v).kind == ERR_NONE &&
        v->kind == JSON_MAP)
        *ret_n = v->n;
    return OK;
}

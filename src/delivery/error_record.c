// SPDX-License-Identifier: Apache-2.0
// What is written of a record that could not be delivered: a line of JSON (Firehose developer
// guide: "Data transformation", "HTTP endpoint delivery", "Record format conversion", and "Failed
// documents"). The members differ by what has failed.
#include "codec/json.h"
#include "delivery/delivery_priv.h"

static void put_text(struct event_writer *w, Str name, Str value)
{
    w->ops->key(w, name);
    w->ops->text(w, value.p != NULL && str_utf8_count(value) != SIZE_MAX ? value : S(""));
}

static void put_number(struct event_writer *w, Str name, int64_t value)
{
    w->ops->key(w, name);
    w->ops->integer(w, value);
}

static bool is_type(const DeliveryRecord *r, Str type)
{
    return str_eq(str_of(r->fault.type), type);
}

// The function that the records went through, if one did.
static Str lambda_of(const DeliveryConfig *c)
{
    for (size_t i = 0; i < c->step_count; i++)
        if (c->steps[i].kind == STEP_LAMBDA)
            return c->steps[i].lambda_arn;
    return (Str){ 0 };
}

// A stream's record has its sequence number; of others it is the place in the log.
static Str number_of(struct lane *l, struct arena *a, const DeliveryRecord *r)
{
    const DeliveryConfig *c = &l->plan->config->is;
    const struct hub_source *source = l->v->d->env.hub != NULL ? l->v->d->env.hub->kinesis : NULL;
    if (c->direct_shard == 0 && source != NULL && r->shard < l->cursor_n)
        return source->number(source->self, a, c->source_arn, l->cursors[r->shard]->shard,
                              r->position, r->arrival_ms);
    return str_fmt(a, "%llu", (unsigned long long)r->position);
}

static void put_conversion(struct event_writer *w, struct lane *l, struct arena *a,
                           const DeliveryRecord *r)
{
    const DeliveryConfig *c = &l->plan->config->is;
    const DeliveryConversion *t = &c->conversion;
    Str catalog = t->catalog_id.p != NULL ? t->catalog_id : c->account;
    Str region = t->region.p != NULL ? t->region : c->region;
    put_text(w, S("sequenceNumber"), number_of(l, a, r));
    put_number(w, S("subSequenceNumber"), r->sub);
    w->ops->key(w, S("dataCatalogTable"));
    w->ops->map(w);
    put_text(w, S("catalogId"), catalog);
    put_text(w, S("databaseName"), t->database);
    put_text(w, S("tableName"), t->table);
    put_text(w, S("region"), region);
    put_text(w, S("versionId"), t->version.p != NULL ? t->version : S("LATEST"));
    put_text(w, S("catalogArn"),
             str_fmt(a, "arn:aws:glue:%.*s:%.*s:catalog", FMT(region), FMT(catalog)));
    w->ops->map_end(w);
}

static void put_document(struct event_writer *w, const DeliveryConfig *c, const DeliveryRecord *r)
{
    bool serverless = c->search.serverless;
    put_text(w, serverless ? S("osDocumentId") : S("esDocumentId"), r->fault.document_id);
    put_text(w, serverless ? S("osIndexName") : S("esIndexName"), r->fault.index);
    if (!serverless)
        put_text(w, S("esTypeName"), c->search.type);
}

static void put_own(struct event_writer *w, struct lane *l, struct arena *a,
                    const DeliveryRecord *r)
{
    const DeliveryConfig *c = &l->plan->config->is;
    Str lambda = lambda_of(c);
    if (is_type(r, S("format-conversion-failed"))) {
        put_conversion(w, l, a, r);
    } else if (is_type(r, S("http-endpoint-failed"))) {
        put_number(w, S("subsequenceNumber"), r->sub);
        put_text(w, S("dataId"), str_fmt(a, "%.*s.%u", FMT(number_of(l, a, r)), r->sub));
    } else if (is_type(r, S("splunk-failed"))) {
        put_text(w, S("EventId"), str_fmt(a, "%.*s.%u", FMT(number_of(l, a, r)), r->sub));
    } else if (c->kind == DELIVER_SEARCH && r->fault.index.p != NULL) {
        put_document(w, c, r);
    } else if (is_type(r, S("processing-failed")) && lambda.p != NULL) {
        // So objects of these days have it; the developer guide and older ones write lambdaArn.
        put_text(w, S("lambdaARN"), lambda);
    }
}

void error_record_write(struct buf *b, struct lane *l, struct arena *tmp, const DeliveryRecord *r)
{
    struct event_writer w;
    bool conversion = is_type(r, S("format-conversion-failed"));
    json_writer_init(&w, b);
    w.ops->map(&w);
    put_number(&w, S("attemptsMade"), MAX(r->fault.attempts, (int64_t)1));
    put_number(&w, S("arrivalTimestamp"), r->arrival_ms);
    put_text(&w, conversion ? S("lastErrorCode") : S("errorCode"), r->fault.code);
    put_text(&w, conversion ? S("lastErrorMessage") : S("errorMessage"), r->fault.message);
    put_number(&w, S("attemptEndingTimestamp"), r->fault.ended_ms);
    w.ops->key(&w, S("rawData"));
    w.ops->bytes(&w, r->raw.p != NULL ? r->raw : r->data);
    put_own(&w, l, tmp, r);
    w.ops->map_end(&w);
    buf_add_byte(b, '\n');
}

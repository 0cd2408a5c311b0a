// SPDX-License-Identifier: Apache-2.0
// DescribeDeliveryStream, ListDeliveryStreams.
#include "base/time.h"
#include "svc/firehose/destination.h"
#include "svc/firehose/encryption.h"

static const struct shape *member_shape(const struct shape *s, Str name)
{
    for (size_t i = 0; i < s->member_count; i++)
        if (str_eq(s->members[i].name, name))
            return s->members[i].shape;
    CHECK(false); // the contract has this member
}

// The shape of DestinationDescription.
static const struct shape *description_shape(void)
{
    const struct shape *out = NULL;
    for (size_t i = 0; i < firehose_api.op_count; i++)
        if (str_eq(firehose_api.ops[i].name, S("DescribeDeliveryStream")))
            out = firehose_api.ops[i].output;
    CHECK(out != NULL);
    return member_shape(member_shape(out, S("DeliveryStreamDescription")), S("Destinations"))
        ->member;
}

// A stream to S3 is described twice, as a plain and as an extended destination.
static Err describe_destination(struct call *c, const HoseFields *x,
                                firehose_DestinationDescription *ret)
{
    static const Str plain = S_INIT("S3DestinationDescription");
    JsonValue *all = tree_map(c->arena);
    Destination d;
    TRY(destination_read(c->arena, x->destination, x->secrets, &d));
    if (d.kind == DESTINATION_SPLUNK && tree_find(d.secrets, S("HECToken")) != NULL)
        tree_set_text(c->arena, d.map, S("HECToken"), tree_text(d.secrets, S("HECToken")));
    tree_set_text(c->arena, all, S("DestinationId"), S(DESTINATION_ID));
    tree_set(c->arena, all, destination_member(d.kind), d.map);
    if (d.kind == DESTINATION_S3)
        tree_set(c->arena, all, plain, d.map);
    return tree_to_struct(c->arena, description_shape(), all, ret);
}

static const firehose_SourceDescription *describe_source(struct call *c, const HoseFields *x)
{
    firehose_SourceDescription *s = arena_new(c->arena, firehose_SourceDescription, 1);
    if (x->source_arn.p == NULL && x->hint_mibps == 0)
        return NULL;
    if (x->source_arn.p == NULL) {
        firehose_DirectPutSourceDescription *d =
            arena_new(c->arena, firehose_DirectPutSourceDescription, 1);
        d->has_throughput_hint_in_mbs = true;
        d->throughput_hint_in_mbs = (int32_t)x->hint_mibps;
        s->direct_put_source_description = d;
        return s;
    }
    firehose_KinesisStreamSourceDescription *k =
        arena_new(c->arena, firehose_KinesisStreamSourceDescription, 1);
    k->kinesis_stream_arn = str_dup(c->arena, x->source_arn);
    k->role_arn = str_dup(c->arena, x->source_role);
    k->has_delivery_start_timestamp = true;
    k->delivery_start_timestamp = x->created_ms * NS_PER_MS;
    s->kinesis_stream_source_description = k;
    return s;
}

static Err describe(struct call *c, const HoseView *v, bool with_destination,
                    firehose_DeliveryStreamDescription *d)
{
    const HoseFields *x = v->f;
    int64_t now_ms = c->now_ns / NS_PER_MS;
    d->delivery_stream_name = str_dup(c->arena, v->hose->name);
    d->delivery_stream_arn = str_dup(c->arena, v->hose->arn);
    d->delivery_stream_status = hose_status_name(hose_status(x, now_ms));
    d->delivery_stream_encryption_configuration = encryption_description(c->arena, x, now_ms);
    d->delivery_stream_type = x->source_arn.p != NULL
                                  ? firehose_DeliveryStreamType_KinesisStreamAsSource
                                  : firehose_DeliveryStreamType_DirectPut;
    d->version_id = str_fmt(c->arena, "%llu", (unsigned long long)x->version);
    d->has_create_timestamp = true;
    d->create_timestamp = x->created_ms * NS_PER_MS;
    d->has_last_update_timestamp = x->updated_ms > 0;
    d->last_update_timestamp = x->updated_ms * NS_PER_MS;
    d->source = describe_source(c, x);
    d->destinations.set = true;
    d->destinations.at = arena_new(c->arena, firehose_DestinationDescription, 1);
    if (!with_destination)
        return OK;
    d->destinations.n = 1;
    return describe_destination(c, x, &d->destinations.at[0]);
}

Err firehose_DescribeDeliveryStream(struct call *c,
                                    const struct firehose_DescribeDeliveryStream_in *in,
                                    struct firehose_DescribeDeliveryStream_out *out)
{
    AUTO_VIEW(v);
    TRY(hose_limit_call(c));
    TRY(firehose_find(c, in->delivery_stream_name, &v));
    firehose_DeliveryStreamDescription *d =
        arena_new(c->arena, firehose_DeliveryStreamDescription, 1);
    bool from_first = in->exclusive_start_destination_id.p == NULL ||
                      str_cmp(in->exclusive_start_destination_id, S(DESTINATION_ID)) < 0;
    TRY(describe(c, &v, from_first, d));
    out->delivery_stream_description = d;
    wide_meter_add(&v.hose->meters.describe_latency, firehose_took_ns(c) / NS_PER_MS);
    return OK;
}

static bool is_of_type(const struct hose *h, Str type)
{
    bool from_stream = h->state->f.source_arn.p != NULL;
    return type.p == NULL ||
           str_eq(type, from_stream ? firehose_DeliveryStreamType_KinesisStreamAsSource
                                    : firehose_DeliveryStreamType_DirectPut);
}

Err firehose_ListDeliveryStreams(struct call *c, const struct firehose_ListDeliveryStreams_in *in,
                                 struct firehose_ListDeliveryStreams_out *out)
{
    struct firehose *f = c->state;
    firehose_DeliveryStreamNameList list = { .set = true };
    size_t first, n, max = (size_t)in->limit;
    Str after = in->exclusive_start_delivery_stream_name;
    TRY(hose_limit_call(c));
    pthread_rwlock_rdlock(&f->lock);
    firehose_realm(f, c->account, c->region, &first, &n);
    list.at = arena_new(c->arena, Str, MIN(n, max));
    for (size_t i = first; i < first + n && !out->has_more_delivery_streams; i++) {
        const struct hose *h = f->sorted[i];
        if (!is_of_type(h, in->delivery_stream_type) ||
            (after.p != NULL && str_cmp(h->name, after) <= 0))
            continue;
        out->has_more_delivery_streams = list.n == max;
        if (list.n < max)
            list.at[list.n++] = str_dup(c->arena, h->name);
    }
    pthread_rwlock_unlock(&f->lock);
    out->delivery_stream_names = list;
    hose_lists_count(&f->lists, c->account, c->region, firehose_took_ns(c) / NS_PER_MS);
    return OK;
}

// SPDX-License-Identifier: Apache-2.0
// CreateDeliveryStream, DeleteDeliveryStream. Texts that are on record of AWS are AWS's; the others
// are in their manner.
#include "base/time.h"
#include "hub/hub.h"
#include "svc/firehose/config.h"
#include "svc/firehose/destination.h"
#include "svc/firehose/encryption.h"
#include "svc/firehose/tags.h"

static Err invalid(struct call *c, const char *text)
{
    return call_fail(c, &firehose_InvalidArgumentException, "%s", text);
}

// ---- Source

// Whether the source is there and may be read with the role.
static Err check_stream(struct call *c, Str stream_arn, Str arn, Str role_arn)
{
    struct firehose *f = c->state;
    const struct hub_source *source = f->env.hub != NULL ? f->env.hub->kinesis : NULL;
    HubSourceStream stream = { 0 };
    HubActor as = { .account = c->account,
                    .region = c->region,
                    .role_arn = role_arn,
                    .service = S("firehose.amazonaws.com"),
                    .source_arn = stream_arn };
    if (source == NULL)
        return invalid(c, "KinesisStreamAsSource is not supported by this server.");
    TRY(source->look(source->self, c->arena, &as, arn, &stream));
    if (stream.fault == HUB_SOURCE_GOOD)
        return OK;
    if (stream.fault == HUB_SOURCE_DENIED)
        return call_fail(c, &firehose_InvalidArgumentException,
                         "Role %.*s is not authorized to perform: kinesis:DescribeStream on "
                         "resource %.*s.",
                         FMT(role_arn), FMT(arn));
    return call_fail(c, &firehose_InvalidArgumentException,
                     "Kinesis stream %.*s is not usable: %.*s", FMT(arn), FMT(stream.text));
}

static Err check_source(struct call *c, const struct firehose_CreateDeliveryStream_in *in,
                        const struct hose *h, HoseFields *ret)
{
    const firehose_KinesisStreamSourceConfiguration *stream =
        in->kinesis_stream_source_configuration;
    Str type = in->delivery_stream_type.p != NULL ? in->delivery_stream_type
                                                  : firehose_DeliveryStreamType_DirectPut;
    bool direct = str_eq(type, firehose_DeliveryStreamType_DirectPut);
    if (str_eq(type, firehose_DeliveryStreamType_MSKAsSource) ||
        in->msk_source_configuration != NULL)
        return invalid(c, "MSKAsSource is not supported by this server.");
    if (str_eq(type, firehose_DeliveryStreamType_DatabaseAsSource) ||
        in->database_source_configuration != NULL)
        return invalid(c, "DatabaseAsSource is not supported by this server.");
    if (direct && stream != NULL)
        return invalid(c, "KinesisStreamSourceConfiguration is only applicable for "
                          "KinesisStreamAsSource stream type.");
    if (!direct && stream == NULL)
        return invalid(c, "KinesisStreamSourceConfiguration must be specified for "
                          "KinesisStreamAsSource stream type.");
    if (!direct && in->direct_put_source_configuration != NULL)
        return invalid(c, "DirectPutSourceConfiguration is only applicable for DirectPut stream "
                          "type.");
    if (!direct && in->delivery_stream_encryption_configuration_input != NULL)
        return invalid(c, "Server-side encryption is only applicable for DirectPut stream type.");
    if (in->direct_put_source_configuration != NULL)
        ret->hint_mibps = in->direct_put_source_configuration->throughput_hint_in_mbs;
    if (direct)
        return OK;
    ret->source_arn = stream->kinesis_stream_arn;
    ret->source_role = stream->role_arn;
    TRY(firehose_check_role(c, in->delivery_stream_name, ret->source_role));
    return check_stream(c, h->arn, ret->source_arn, ret->source_role);
}

// ---- Making

static Err check_quota(struct call *c)
{
    struct firehose *f = c->state;
    size_t first, n;
    AUTO_BUF(names);
    if (f->env.limits <= 0)
        return OK;
    pthread_rwlock_rdlock(&f->lock);
    firehose_realm(f, c->account, c->region, &first, &n);
    for (size_t i = 0; i < MIN(n, (size_t)HOSE_NAMES_SHOWN); i++)
        buf_addf(&names, "%s%.*s", i > 0 ? ", " : "", FMT(f->sorted[first + i]->name));
    pthread_rwlock_unlock(&f->lock);
    if (n < HOSES_MAX)
        return OK;
    return call_fail(c, &firehose_LimitExceededException,
                     "You have already consumed your firehose quota of %d hoses. Firehose names: "
                     "[%.*s]",
                     HOSES_MAX, FMT(buf_str(&names)));
}

static Err check_new(struct call *c, const struct firehose_CreateDeliveryStream_in *in,
                     struct hose *h, HoseFields *ret)
{
    struct firehose *f = c->state;
    Destination d;
    TRY(destination_of_input(c, in, S("Configuration"), &d));
    TRY(destination_check_given(c, &d));
    destination_fill(c->arena, &d);
    TRY(destination_check(c, &d, NULL));
    TRY(check_source(c, in, h, ret));
    TRY(firehose_check_roles(c, in->delivery_stream_name, d.map));
    TRY(hose_tags_of_input(c, in->delivery_stream_name, in->tags, ret));
    TRY(encryption_of_input(c, in->delivery_stream_encryption_configuration_input, ret));
    TRY(destination_write(c->arena, &d, &ret->destination, &ret->secrets));
    ret->created_ms = c->now_ns / NS_PER_MS;
    ret->version = 1;
    if (f->env.change_ns > 0)
        ret->active_ms = (c->now_ns + f->env.change_ns) / NS_PER_MS;
    return hose_config_check(c, h, ret);
}

static Err create_locked(struct call *c, const struct firehose_CreateDeliveryStream_in *in,
                         Str *ret_arn)
{
    struct firehose *f = c->state;
    HoseFields fields = { 0 };
    AUTO_VIEW(there);
    HoseName name = { c->account, c->region, in->delivery_stream_name };
    if (firehose_look(f, c->arena, &name, &there))
        return call_fail(c, &firehose_ResourceInUseException,
                         "Firehose %.*s under accountId %.*s already exists",
                         FMT(in->delivery_stream_name), FMT(c->account));
    TRY(check_quota(c));
    AUTO(hose) h = hose_new(c->account, c->region, in->delivery_stream_name, 0);
    TRY(check_new(c, in, h, &fields));
    TRY(firehose_commit_new(f, h, &fields));
    *ret_arn = str_dup(c->arena, h->arn);
    Err e = firehose_begin(f, h); // before the first put
    firehose_insert(f, hose_ref(h));
    return e; // its row is there: it begins with the next start, if not now
}

Err firehose_CreateDeliveryStream(struct call *c, const struct firehose_CreateDeliveryStream_in *in,
                                  struct firehose_CreateDeliveryStream_out *out)
{
    TRY(hose_limit_call(c));
    TRY(firehose_change_begin(c));
    Err e = create_locked(c, in, &out->delivery_stream_arn);
    firehose_change_end(c->state);
    return e;
}

// ---- Deleting

static Err delete_locked(struct call *c, HoseView *v)
{
    struct firehose *f = c->state;
    firehose_renew(f, v);
    if (v->hose->gone)
        return firehose_not_found(c, v->hose->name);
    HoseStatus status = hose_status(v->f, c->now_ns / NS_PER_MS);
    if (status == HOSE_CREATING)
        return call_fail(c, &firehose_ResourceInUseException,
                         "Firehose %.*s under account %.*s is in status CREATING and cannot be "
                         "deleted.",
                         FMT(v->hose->name), FMT(c->account));
    if (status == HOSE_DELETING)
        return OK;
    HoseFields fields = *v->f;
    fields.deleting = true;
    fields.due_ms = (c->now_ns + f->env.change_ns) / NS_PER_MS;
    TRY(firehose_change(f, v->hose, &fields));
    firehose_forget_at(f, fields.due_ms);
    if (f->env.change_ns <= 0 && f->env.pool != NULL) // without a pool there are no chores
        firehose_wait_forgotten(f, v->hose);
    return OK;
}

Err firehose_DeleteDeliveryStream(struct call *c, const struct firehose_DeleteDeliveryStream_in *in,
                                  struct firehose_DeleteDeliveryStream_out *out)
{
    (void)out;
    AUTO_VIEW(v);
    TRY(hose_limit_call(c));
    TRY(firehose_find(c, in->delivery_stream_name, &v));
    TRY(firehose_change_begin(c));
    Err e = delete_locked(c, &v);
    firehose_change_end(c->state);
    return e;
}

// SPDX-License-Identifier: Apache-2.0
// Channels: CreateChannel, DescribeChannel, ListChannels, UpdateChannel, DeleteChannel (API
// reference of the model of 2026). A channel delivers a stream to an S3 bucket or a table. Nobody
// here takes what a channel delivers, svc/s3 included, so for this room no destination exists and
// no channel ever comes to be: all that a request says is checked, the stream, the role and the key
// are looked for, and then CreateChannel says that its destination is not there.
//
// Nothing of it is on record of AWS: texts and their order are in the manner of queues.
#include "hub/hub.h"
#include "svc/kinesis/crypt.h"
#include "svc/kinesis/kinesis.h"
#include "svc/kinesis/page.h"
#include "svc/kinesis/tags.h"

static Err invalid(struct call *c, const char *text)
{
    return call_fail(c, &kinesis_ValidationException, "%s", text);
}

static Err not_found(struct call *c, Str arn)
{
    return call_fail(c, &kinesis_ResourceNotFoundException,
                     "Channel %.*s under account %.*s not found.", FMT(arn), FMT(c->account));
}

// ---- What a new channel is to be

static Err check_format(struct call *c, const kinesis_RecordConfiguration *r, bool to_tables)
{
    Str format = r->record_format_type;
    bool is_schema = str_eq(format, kinesis_RecordFormatType_GSR_JSON);
    if (is_schema && !to_tables)
        return invalid(c, "RecordFormatType GSR_JSON is only for channels with "
                          "S3TablesDestinationConfiguration.");
    if (str_eq(format, kinesis_RecordFormatType_BYTE_ARRAY) && to_tables)
        return invalid(c, "RecordFormatType BYTE_ARRAY is only for channels with "
                          "S3DestinationConfiguration.");
    if (is_schema != (r->gsr_schema_arn.p != NULL))
        return invalid(c, "GSRSchemaARN must be specified with RecordFormatType GSR_JSON, and with "
                          "no other.");
    return OK;
}

static Err check_request(struct call *c, const struct kinesis_CreateChannel_in *in)
{
    bool to_tables = in->s3_tables_destination_configuration != NULL;
    if (in->stream_configuration_list.n != 1)
        return invalid(c, "StreamConfigurationList must contain exactly one entry.");
    if (to_tables == (in->s3_destination_configuration != NULL))
        return invalid(c, "Exactly one of S3DestinationConfiguration and "
                          "S3TablesDestinationConfiguration must be specified.");
    if (to_tables && in->s3_tables_destination_configuration->s3_tables_configuration_list.n != 1)
        return invalid(c, "S3TablesConfigurationList must contain exactly one entry.");
    TRY(check_format(c, in->stream_configuration_list.at[0].record_configuration, to_tables));
    return tags_check(c, in->tags);
}

static Err check_stream(struct call *c, Str arn)
{
    AUTO(stream) s = NULL;
    struct kinesis *k = c->state;
    TRY(kinesis_find(c, (StreamRef){ .arn = arn }, &s));
    pthread_rwlock_rdlock(&k->lock);
    bool gone = s->status == STREAM_GONE, on_demand = s->on_demand;
    Err e = gone ? OK : kinesis_require_active(c, s);
    pthread_rwlock_unlock(&k->lock);
    if (gone)
        return kinesis_not_found(c, s->name);
    TRY(e);
    return on_demand ? OK
                     : call_fail(c, &kinesis_ValidationException,
                                 "Request is invalid. Stream %.*s under account %.*s is not in "
                                 "On-Demand mode.",
                                 FMT(s->name), FMT(c->account));
}

// Whether the caller may give the role to the service (IAM user guide, "iam:PassRole").
static Err check_role(struct call *c, Str role_arn)
{
    struct kinesis *k = c->state;
    const struct access_guard *guard = k->env.hub != NULL ? k->env.hub->access : NULL;
    const Str service = S("kinesis.amazonaws.com");
    const AccessValue to = { S_INIT("iam:PassedToService"), &service, 1 };
    Str text = S(""), rest = role_arn, part = { 0 };
    for (size_t i = 0; i < 5; i++)
        CHECK(str_cut(rest, ':', &part, &rest)); // the model's pattern says so
    AccessTarget t = { .action = S("iam:PassRole"),
                       .resource = role_arn,
                       .account = part,
                       .context = &to,
                       .context_count = 1 };
    if (guard == NULL || k->env.dev || guard->may(guard->self, c, &t, &text))
        return OK;
    return call_fail(c, &kinesis_AccessDeniedException, "%.*s", FMT(text));
}

static Err check_key(struct call *c, const kinesis_ChannelEncryptionConfiguration *in)
{
    struct kinesis *k = c->state;
    const struct hub_keys *keys = k->env.hub != NULL ? k->env.hub->keys : NULL;
    HubKeyAnswer answer = { 0 };
    Str arn;
    if (in == NULL)
        return OK;
    if (keys == NULL)
        return fail(ERR_NOT_FOUND, "there is no key service");
    TRY(keys->find(keys->self, c, in->key_id, &arn, &answer));
    return answer.fault == HUB_KEY_GOOD ? OK : crypt_refused(c, &answer);
}

// Where it would be delivered to.
static Str destination_of(struct call *c, const struct kinesis_CreateChannel_in *in)
{
    const kinesis_S3TablesConfiguration *table;
    if (in->s3_destination_configuration != NULL)
        return in->s3_destination_configuration->storage_configuration->bucket_arn;
    table = &in->s3_tables_destination_configuration->s3_tables_configuration_list.at[0];
    return str_fmt(c->arena, "%.*s/%.*s/%.*s", FMT(table->table_bucket_arn), FMT(table->namespace),
                   FMT(table->table_name));
}

Err kinesis_CreateChannel(struct call *c, const struct kinesis_CreateChannel_in *in,
                          struct kinesis_CreateChannel_out *out)
{
    (void)out;
    TRY(check_request(c, in));
    TRY(check_stream(c, in->stream_configuration_list.at[0].stream_arn));
    TRY(check_role(c, in->service_execution_role_arn));
    TRY(check_key(c, in->encryption_configuration));
    Str destination = destination_of(c, in);
    return call_fail(c, &kinesis_ResourceNotFoundException,
                     "The destination %.*s of channel %.*s does not exist.", FMT(destination),
                     FMT(in->channel_name));
}

// ---- The others: there is none

Err kinesis_DescribeChannel(struct call *c, const struct kinesis_DescribeChannel_in *in,
                            struct kinesis_DescribeChannel_out *out)
{
    (void)out;
    TRY(kinesis_admit(c, (Str){ 0 }));
    return not_found(c, in->channel_arn);
}

Err kinesis_DeleteChannel(struct call *c, const struct kinesis_DeleteChannel_in *in)
{
    TRY(kinesis_admit(c, (Str){ 0 }));
    return not_found(c, in->channel_arn);
}

Err kinesis_UpdateChannel(struct call *c, const struct kinesis_UpdateChannel_in *in,
                          struct kinesis_UpdateChannel_out *out)
{
    (void)out;
    TRY(kinesis_admit(c, (Str){ 0 }));
    if (in->s3_destination_configuration != NULL && in->s3_tables_destination_configuration != NULL)
        return invalid(c, "At most one of S3DestinationConfiguration and "
                          "S3TablesDestinationConfiguration may be specified.");
    if (in->s3_destination_configuration == NULL &&
        in->s3_tables_destination_configuration == NULL && in->logging_configuration == NULL)
        return invalid(c, "At least one of S3DestinationConfiguration, "
                          "S3TablesDestinationConfiguration and LoggingConfiguration must be "
                          "specified.");
    return not_found(c, in->channel_arn);
}

Err kinesis_ListChannels(struct call *c, const struct kinesis_ListChannels_in *in,
                         struct kinesis_ListChannels_out *out)
{
    Str after;
    TRY(kinesis_admit(c, (Str){ 0 }));
    if (in->next_token.p != NULL)
        TRY(page_open(c, TOKEN_CHANNELS, in->next_token, &after));
    out->channel_summaries.set = true;
    return OK;
}

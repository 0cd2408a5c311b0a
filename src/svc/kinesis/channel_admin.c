// SPDX-License-Identifier: Apache-2.0
// CreateChannel, DescribeChannel, ListChannels, UpdateChannel, DeleteChannel (API reference of the
// model of 2026). A channel delivers a stream to an S3 bucket: what src/delivery does for Firehose,
// by another front door. Tables of S3 need a catalog of Iceberg, which is not here: for channels
// none of them exists.
//
// Nothing of it is on record of AWS but that a default template and dead letters are told, and how
// the refusal of a bucket begins (the tests and the retries of Terraform's provider,
// aws_kinesis_channel): other texts and their order are in the manner of queues.
#include "base/time.h"
#include "hub/pass_role.h"
#include "svc/kinesis/channels.h"
#include "svc/kinesis/crypt.h"
#include "svc/kinesis/page.h"
#include "svc/kinesis/tags.h"

// What is told, and done, where no template was given.
#define DEFAULT_TEMPLATE S("!{timestamp:yyyy/MM/dd/HH/}")

enum { LIST_CHANNELS_MAX = 100 };

static int64_t now_ms(const struct call *c)
{
    return c->now_ns / NS_PER_MS;
}

static Err invalid(struct call *c, const char *text)
{
    return call_fail(c, &kinesis_ValidationException, "%s", text);
}

// ---- What a new channel is to be

// The documentation of RecordFormatType and GSRSchemaARN; a bucket's records are held against no
// schema.
static Err check_format(struct call *c, const kinesis_RecordConfiguration *r, bool to_tables)
{
    Str format = r->record_format_type;
    bool has_schema = r->gsr_schema_arn.p != NULL;
    bool is_json = str_eq(format, kinesis_RecordFormatType_JSON) ||
                   str_eq(format, kinesis_RecordFormatType_GSR_JSON);
    if (str_eq(format, kinesis_RecordFormatType_GSR_JSON) && !to_tables)
        return invalid(c, "RecordFormatType GSR_JSON is only for channels with "
                          "S3TablesDestinationConfiguration.");
    if (!is_json && to_tables)
        return invalid(c, "RecordFormatType STRING and BYTE_ARRAY are only for channels with "
                          "S3DestinationConfiguration.");
    if (to_tables != has_schema)
        return invalid(c, "GSRSchemaARN must be specified for channels with "
                          "S3TablesDestinationConfiguration, and for no others.");
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
    TRY(tags_check(c, in->tags));
    if (in->tags.n > CHANNEL_TAGS_MAX)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "Failed to add tags to channel %.*s under account %.*s because a given "
                         "channel cannot have more than %d tags associated with it.",
                         FMT(in->channel_name), FMT(c->account), CHANNEL_TAGS_MAX);
    return OK;
}

static Err check_stream(struct call *c, struct stream *s)
{
    struct kinesis *k = c->state;
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

static Err check_role(struct call *c, Str role_arn)
{
    struct kinesis *k = c->state;
    Str text;
    if (hub_may_pass_role(&k->env, c, role_arn, S("kinesis.amazonaws.com"), &text))
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
    if (answer.fault == HUB_KEY_GOOD)
        keys->check(keys->self, c, arn, S("kms:DescribeKey"), &answer);
    return crypt_refused(c, &answer);
}

// ---- Its destination

static Err no_destination(struct call *c, Str destination, Str channel)
{
    return call_fail(c, &kinesis_ResourceNotFoundException,
                     "The destination %.*s of channel %.*s does not exist.", FMT(destination),
                     FMT(channel));
}

static Err check_bucket(struct call *c, const struct channel *ch, ChannelText bucket,
                        ChannelText owner)
{
    struct kinesis *k = c->state;
    const struct hub_objects *objects = k->env.hub != NULL ? k->env.hub->objects : NULL;
    Str arn = ch->texts[bucket];
    HubObjectWant want = { .as = { .account = c->account,
                                   .region = c->region,
                                   .role_arn = ch->texts[CHANNEL_ROLE],
                                   .service = S("kinesis.amazonaws.com") },
                           .bucket = channel_bucket_name(arn),
                           .expected_owner = ch->texts[owner] };
    HubObjectAnswer answer = { 0 };
    if (objects == NULL)
        return no_destination(c, arn, ch->texts[CHANNEL_NAME]);
    TRY(objects->look(objects->self, c->arena, &want, &answer));
    if (answer.fault == HUB_OBJECT_GOOD)
        return OK;
    if (answer.fault == HUB_OBJECT_NO_BUCKET)
        return no_destination(c, arn, ch->texts[CHANNEL_NAME]);
    return call_fail(c, &kinesis_ValidationException,
                     "Unable to access the S3 bucket %.*s with the service execution role %.*s: "
                     "%.*s",
                     FMT(arn), FMT(ch->texts[CHANNEL_ROLE]), FMT(answer.text));
}

static Err check_tables(struct call *c, const struct kinesis_CreateChannel_in *in)
{
    if (in->s3_tables_destination_configuration == NULL)
        return OK;
    const kinesis_S3TablesConfiguration *table =
        &in->s3_tables_destination_configuration->s3_tables_configuration_list.at[0];
    return no_destination(c,
                          str_fmt(c->arena, "%.*s/%.*s/%.*s", FMT(table->table_bucket_arn),
                                  FMT(table->namespace), FMT(table->table_name)),
                          in->channel_name);
}

// ---- Describing

static Str status_name(ChannelStatus status)
{
    return status == CHANNEL_CREATING   ? kinesis_ChannelStatus_CREATING
           : status == CHANNEL_UPDATING ? kinesis_ChannelStatus_UPDATING
                                        : kinesis_ChannelStatus_ACTIVE;
}

static kinesis_ChannelStreamDescriptionList describe_stream(struct arena *a,
                                                            const struct channel *ch)
{
    kinesis_ChannelStreamDescriptionList list = { .set = true, .n = 1 };
    kinesis_RecordConfiguration *record = arena_new(a, kinesis_RecordConfiguration, 1);
    record->record_format_type = ch->texts[CHANNEL_FORMAT];
    list.at = arena_new(a, kinesis_ChannelStreamDescription, 1);
    list.at[0] = (kinesis_ChannelStreamDescription){
        .stream_arn = ch->stream->arn,
        .stream_creation_timestamp = ch->stream->created_ms / 1000 * NS_PER_S,
        .record_configuration = record,
    };
    return list;
}

static const kinesis_S3DestinationDescription *describe_destination(struct arena *a,
                                                                    const struct channel *ch)
{
    kinesis_S3DestinationDescription *d = arena_new(a, kinesis_S3DestinationDescription, 1);
    kinesis_DeadLetterQueueS3Configuration *dead =
        arena_new(a, kinesis_DeadLetterQueueS3Configuration, 1);
    kinesis_S3StorageConfiguration *storage = arena_new(a, kinesis_S3StorageConfiguration, 1);
    *dead = (kinesis_DeadLetterQueueS3Configuration){
        .bucket_arn = ch->texts[CHANNEL_DEAD_BUCKET],
        .expected_bucket_owner = ch->texts[CHANNEL_DEAD_OWNER],
        .error_output_prefix = ch->texts[CHANNEL_DEAD_PREFIX],
    };
    *storage = (kinesis_S3StorageConfiguration){
        .bucket_arn = ch->texts[CHANNEL_BUCKET],
        .expected_bucket_owner = ch->texts[CHANNEL_OWNER],
        .output_key_template =
            ch->texts[CHANNEL_TEMPLATE].p != NULL ? ch->texts[CHANNEL_TEMPLATE] : DEFAULT_TEMPLATE,
        .storage_class = ch->texts[CHANNEL_CLASS],
        .compression_type = ch->texts[CHANNEL_COMPRESSION],
    };
    d->data_freshness_in_seconds = (int32_t)ch->freshness_s;
    d->dead_letter_queue_s3_configuration = dead;
    d->storage_configuration = storage;
    return d;
}

static const kinesis_ChannelLoggingConfiguration *describe_logs(struct arena *a,
                                                                const struct channel *ch)
{
    kinesis_ChannelLoggingConfiguration *l = arena_new(a, kinesis_ChannelLoggingConfiguration, 1);
    kinesis_CloudWatchLogs *logs = arena_new(a, kinesis_CloudWatchLogs, 1);
    *logs = (kinesis_CloudWatchLogs){ .enabled = ch->logs,
                                      .log_group_name = ch->texts[CHANNEL_LOG_GROUP],
                                      .log_stream_name = ch->texts[CHANNEL_LOG_STREAM] };
    l->cloud_watch_logs = logs;
    return l;
}

static Str id_of(const struct channel *ch)
{
    return str_skip(ch->arn, str_find(ch->arn, '/') + 1);
}

// In the arena, whatever becomes of the channel.
static const kinesis_ChannelDescription *describe(struct call *c, const struct channel *from,
                                                  ChannelStatus status)
{
    struct arena *a = c->arena;
    struct channel *ch = arena_new(a, struct channel, 1);
    kinesis_ChannelDescription *d = arena_new(a, kinesis_ChannelDescription, 1);
    *ch = *from;
    ch->arn = str_dup(a, from->arn);
    for (int i = 0; i < CHANNEL_TEXTS; i++)
        if (from->texts[i].p != NULL)
            ch->texts[i] = str_dup(a, from->texts[i]);
    *d = (kinesis_ChannelDescription){
        .channel_name = ch->texts[CHANNEL_NAME],
        .channel_arn = ch->arn,
        .channel_id = id_of(ch),
        .channel_status = status_name(status),
        .channel_creation_timestamp = ch->created_ms * NS_PER_MS,
        .service_execution_role_arn = ch->texts[CHANNEL_ROLE],
        .stream_configuration_list = describe_stream(a, ch),
        .s3_destination_configuration = describe_destination(a, ch),
        .logging_configuration = describe_logs(a, ch),
    };
    d->stream_configuration_list.at[0].stream_arn = str_dup(a, from->stream->arn);
    if (ch->texts[CHANNEL_KEY].p != NULL) {
        kinesis_ChannelEncryptionConfiguration *e =
            arena_new(a, kinesis_ChannelEncryptionConfiguration, 1);
        e->encryption_type = kinesis_ChannelEncryptionType_KMS;
        e->key_id = ch->texts[CHANNEL_KEY];
        d->encryption_configuration = e;
    }
    return d;
}

Err kinesis_DescribeChannel(struct call *c, const struct kinesis_DescribeChannel_in *in,
                            struct kinesis_DescribeChannel_out *out)
{
    AUTO(channel) ch = NULL;
    TRY(kinesis_admit(c, (Str){ 0 }));
    TRY(channels_find(c, in->channel_arn, &ch));
    out->channel_description = describe(c, ch, channel_status(ch, now_ms(c)));
    return OK;
}

// ---- Creating

static void set_logs(struct channel *ch, bool enabled, Str group, Str stream)
{
    Str name = ch->texts[CHANNEL_NAME];
    ch->logs = enabled;
    if (group.p == NULL)
        group = str_fmt(ch->arena, "/aws/kinesis/%.*s/%.*s", FMT(name), FMT(id_of(ch)));
    channel_set_text(ch, CHANNEL_LOG_GROUP, group);
    channel_set_text(ch, CHANNEL_LOG_STREAM, stream.p != NULL ? stream : S("DestinationDelivery"));
}

static Err check_freshness(struct call *c, int32_t seconds)
{
    if (seconds >= 0 && seconds <= CHANNEL_FRESHNESS_S_MAX)
        return OK;
    return call_fail(c, &kinesis_ValidationException,
                     "DataFreshnessInSeconds must be between 0 and %d.", CHANNEL_FRESHNESS_S_MAX);
}

static Err take_destination(struct call *c, const kinesis_S3DestinationConfiguration *in,
                            struct channel *ch)
{
    const kinesis_S3StorageConfiguration *storage = in->storage_configuration;
    const kinesis_DeadLetterQueueS3Configuration *dead = in->dead_letter_queue_s3_configuration;
    ch->freshness_s = CHANNEL_FRESHNESS_S;
    if (in->has_data_freshness_in_seconds) {
        TRY(check_freshness(c, in->data_freshness_in_seconds));
        ch->freshness_s = in->data_freshness_in_seconds;
    }
    channel_set_text(ch, CHANNEL_BUCKET, storage->bucket_arn);
    channel_set_text(ch, CHANNEL_OWNER, storage->expected_bucket_owner);
    channel_set_text(ch, CHANNEL_TEMPLATE, storage->output_key_template);
    channel_set_text(ch, CHANNEL_CLASS,
                     storage->storage_class.p != NULL ? storage->storage_class
                                                      : kinesis_S3StorageClass_STANDARD);
    channel_set_text(ch, CHANNEL_COMPRESSION, storage->compression_type);
    channel_set_text(ch, CHANNEL_DEAD_BUCKET,
                     dead != NULL ? dead->bucket_arn : storage->bucket_arn);
    channel_set_text(ch, CHANNEL_DEAD_OWNER,
                     dead != NULL ? dead->expected_bucket_owner : storage->expected_bucket_owner);
    channel_set_text(ch, CHANNEL_DEAD_PREFIX,
                     dead != NULL && dead->error_output_prefix.p != NULL ? dead->error_output_prefix
                                                                         : S("errors/"));
    return OK;
}

static Err make(struct call *c, const struct kinesis_CreateChannel_in *in, struct stream *s,
                struct channel **ret)
{
    struct kinesis *k = c->state;
    AUTO(channel) ch = channel_new(c->account, c->region, kinesis_new_id(k, c->arena));
    channel_set_text(ch, CHANNEL_NAME, in->channel_name);
    channel_set_text(ch, CHANNEL_STREAM, s->name);
    channel_set_text(ch, CHANNEL_ROLE, in->service_execution_role_arn);
    channel_set_text(ch, CHANNEL_FORMAT,
                     in->stream_configuration_list.at[0].record_configuration->record_format_type);
    TRY(take_destination(c, in->s3_destination_configuration, ch));
    if (in->encryption_configuration != NULL)
        channel_set_text(ch, CHANNEL_KEY, in->encryption_configuration->key_id);
    const kinesis_CloudWatchLogs *logs =
        in->logging_configuration != NULL ? in->logging_configuration->cloud_watch_logs : NULL;
    set_logs(ch, logs != NULL && logs->enabled, logs != NULL ? logs->log_group_name : (Str){ 0 },
             logs != NULL ? logs->log_stream_name : (Str){ 0 });
    for (size_t i = 0; i < in->tags.n; i++)
        tag_set_put(&ch->tags, in->tags.at[i].key, in->tags.at[i].value);
    ch->stream = stream_ref(s);
    ch->created_ms = now_ms(c);
    ch->active_ms = now_ms(c) + k->env.change_ns / NS_PER_MS;
    *ret = ch;
    ch = NULL; // handed over
    return OK;
}

static Err check_name(struct call *c, Str name)
{
    size_t n, same = 0;
    struct channel **all = channels_all(c->state, c->arena, c->account, c->region, &n);
    for (size_t i = 0; i < n; i++) {
        same += str_eq(all[i]->texts[CHANNEL_NAME], name);
        channel_close(all[i]);
    }
    if (same == 0)
        return OK;
    return call_fail(c, &kinesis_ResourceInUseException,
                     "Channel %.*s under account %.*s already exists.", FMT(name), FMT(c->account));
}

static Err create_locked(struct call *c, const struct kinesis_CreateChannel_in *in,
                         struct stream *s, struct channel **ret)
{
    TRY(check_name(c, in->channel_name));
    TRY(check_stream(c, s));
    TRY(check_role(c, in->service_execution_role_arn));
    TRY(check_key(c, in->encryption_configuration));
    TRY(check_tables(c, in));
    AUTO(channel) ch = NULL;
    TRY(make(c, in, s, &ch));
    TRY(check_bucket(c, ch, CHANNEL_BUCKET, CHANNEL_OWNER));
    TRY(check_bucket(c, ch, CHANNEL_DEAD_BUCKET, CHANNEL_DEAD_OWNER));
    TRY(channels_check(c, ch));
    TRY(channels_add(c, ch));
    *ret = ch;
    ch = NULL; // handed over
    return OK;
}

Err kinesis_CreateChannel(struct call *c, const struct kinesis_CreateChannel_in *in,
                          struct kinesis_CreateChannel_out *out)
{
    AUTO(stream) s = NULL;
    AUTO(channel) ch = NULL;
    TRY(check_request(c, in));
    Str arn = in->stream_configuration_list.at[0].stream_arn;
    TRY(kinesis_find(c, (StreamRef){ .arn = arn }, &s));
    TRY(kinesis_change_begin(c, s->name));
    Err e = create_locked(c, in, s, &ch);
    kinesis_change_end(c->state);
    TRY(e);
    // Told as CREATING, however short that is: clients wait for ACTIVE.
    out->channel_description = describe(c, ch, CHANNEL_CREATING);
    return OK;
}

// ---- Updating and deleting

static Err update_locked(struct call *c, const struct kinesis_UpdateChannel_in *in,
                         const kinesis_ChannelDescription **ret)
{
    struct kinesis *k = c->state;
    AUTO(channel) ch = NULL;
    TRY(channels_find(c, in->channel_arn, &ch));
    ChannelStatus status = channel_status(ch, now_ms(c));
    if (status != CHANNEL_ACTIVE)
        return call_fail(c, &kinesis_ResourceInUseException,
                         "Channel %.*s under account %.*s not ACTIVE, instead in state %.*s",
                         FMT(ch->texts[CHANNEL_NAME]), FMT(c->account), FMT(status_name(status)));
    if (in->s3_tables_destination_configuration != NULL)
        return invalid(c, "S3TablesDestinationConfiguration may be specified only for channels "
                          "that deliver to tables.");
    if (in->s3_destination_configuration != NULL) {
        int32_t seconds = in->s3_destination_configuration->data_freshness_in_seconds;
        TRY(check_freshness(c, seconds));
        ch->freshness_s = seconds;
    }
    const kinesis_CloudWatchLogsUpdateInput *logs =
        in->logging_configuration != NULL ? in->logging_configuration->cloud_watch_logs : NULL;
    if (logs != NULL)
        set_logs(ch, logs->enabled, logs->log_group_name, logs->log_stream_name);
    ch->updated_ms = now_ms(c) + k->env.change_ns / NS_PER_MS;
    *ret = describe(c, ch, CHANNEL_UPDATING);
    struct channel *changed = ch;
    ch = NULL; // handed over
    return channels_replace(c, changed);
}

Err kinesis_UpdateChannel(struct call *c, const struct kinesis_UpdateChannel_in *in,
                          struct kinesis_UpdateChannel_out *out)
{
    TRY(kinesis_admit(c, (Str){ 0 }));
    if (in->s3_destination_configuration != NULL && in->s3_tables_destination_configuration != NULL)
        return invalid(c, "At most one of S3DestinationConfiguration and "
                          "S3TablesDestinationConfiguration may be specified.");
    if (in->s3_destination_configuration == NULL &&
        in->s3_tables_destination_configuration == NULL && in->logging_configuration == NULL)
        return invalid(c, "At least one of S3DestinationConfiguration, "
                          "S3TablesDestinationConfiguration and LoggingConfiguration must be "
                          "specified.");
    TRY(kinesis_change_begin(c, in->channel_arn));
    Err e = update_locked(c, in, &out->channel_description);
    kinesis_change_end(c->state);
    return e;
}

Err kinesis_DeleteChannel(struct call *c, const struct kinesis_DeleteChannel_in *in)
{
    TRY(kinesis_admit(c, (Str){ 0 }));
    TRY(kinesis_change_begin(c, in->channel_arn));
    Err e = channels_remove(c, in->channel_arn);
    kinesis_change_end(c->state);
    return e;
}

// ---- Listing

static bool is_listed(const struct channel *ch, const kinesis_StreamFilterList *filter)
{
    bool any = !filter->set;
    for (size_t i = 0; i < filter->n && !any; i++) {
        const kinesis_StreamFilter *f = &filter->at[i];
        any = str_eq(f->stream_arn, ch->stream->arn) &&
              (!f->has_stream_creation_timestamp ||
               f->stream_creation_timestamp / NS_PER_S == ch->stream->created_ms / 1000);
    }
    return any;
}

static kinesis_ChannelSummary summarize(struct arena *a, const struct channel *ch, int64_t at_ms)
{
    kinesis_ChannelStreamIdentifierList streams = { .set = true, .n = 1 };
    Str arn = str_dup(a, ch->arn);
    streams.at = arena_new(a, kinesis_ChannelStreamIdentifier, 1);
    streams.at[0].stream_arn = str_dup(a, ch->stream->arn);
    streams.at[0].stream_creation_timestamp = ch->stream->created_ms / 1000 * NS_PER_S;
    return (kinesis_ChannelSummary){
        .channel_name = str_dup(a, ch->texts[CHANNEL_NAME]),
        .channel_arn = arn,
        .channel_id = str_skip(arn, str_find(arn, '/') + 1),
        .channel_status = status_name(channel_status(ch, at_ms)),
        .channel_creation_timestamp = ch->created_ms * NS_PER_MS,
        .channel_destination_type = kinesis_ChannelDestinationType_S3,
        .streams = streams,
    };
}

Err kinesis_ListChannels(struct call *c, const struct kinesis_ListChannels_in *in,
                         struct kinesis_ListChannels_out *out)
{
    Str after = S("");
    size_t n, max = MIN((size_t)in->max_results, (size_t)LIST_CHANNELS_MAX);
    bool more = false;
    TRY(kinesis_admit(c, (Str){ 0 }));
    if (in->next_token.p != NULL)
        TRY(page_open(c, TOKEN_CHANNELS, in->next_token, &after));
    struct channel **all = channels_all(c->state, c->arena, c->account, c->region, &n);
    kinesis_ChannelSummaryList list = { .set = true };
    list.at = arena_new(c->arena, kinesis_ChannelSummary, max);
    for (size_t i = 0; i < n; i++) {
        bool wanted = !more && str_cmp(all[i]->texts[CHANNEL_NAME], after) > 0 &&
                      is_listed(all[i], &in->stream_filter);
        if (wanted && list.n == max)
            more = true;
        else if (wanted)
            list.at[list.n++] = summarize(c->arena, all[i], now_ms(c));
        channel_close(all[i]);
    }
    out->channel_summaries = list;
    if (more)
        out->next_token = page_seal(c, TOKEN_CHANNELS, list.at[list.n - 1].channel_name);
    return OK;
}

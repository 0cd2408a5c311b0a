// SPDX-License-Identifier: Apache-2.0
#include "svc/firehose/config.h"
#include "base/time.h"
#include "codec/base64.h"
#include "svc/firehose/crypt.h"
#include "svc/firehose/destination.h"

#define MIB (INT64_C(1) << 20)

// ---- Parts

static int64_t hint_ns(const JsonValue *map)
{
    return tree_integer(tree_find(map, S("BufferingHints")), S("IntervalInSeconds"), 300) *
           NS_PER_S;
}

static int64_t hint_bytes(const JsonValue *map)
{
    return tree_integer(tree_find(map, S("BufferingHints")), S("SizeInMBs"), 5) * MIB;
}

static DeliveryCompression compression_of(Str word)
{
    static const struct {
        Str word;
        DeliveryCompression is;
    } all[] = {
        { S_INIT("GZIP"), DELIVERY_GZIP },
        { S_INIT("ZIP"), DELIVERY_ZIP },
        { S_INIT("Snappy"), DELIVERY_SNAPPY },
        { S_INIT("HADOOP_SNAPPY"), DELIVERY_HADOOP_SNAPPY },
    };
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (str_eq(word, all[i].word))
            return all[i].is;
    return DELIVERY_PLAIN;
}

static Str empty_is_absent(Str s)
{
    return s.n > 0 ? s : (Str){ 0 };
}

static DeliveryBucket place_of(const JsonValue *place)
{
    Str arn = tree_text(place, S("BucketARN")), bucket = arn, rest = arn;
    while (str_cut(rest, ':', &bucket, &rest))
        bucket = rest;
    return (DeliveryBucket){
        .bucket = bucket,
        .role_arn = tree_text(place, S("RoleARN")),
        .prefix = empty_is_absent(tree_text(place, S("Prefix"))),
        .error_prefix = empty_is_absent(tree_text(place, S("ErrorOutputPrefix"))),
        .time_zone = empty_is_absent(tree_text(place, S("CustomTimeZone"))),
        .extension = empty_is_absent(tree_text(place, S("FileExtension"))),
        .kms_key = tree_text(tree_at(place, "EncryptionConfiguration/KMSEncryptionConfig"),
                             S("AWSKMSKeyARN")),
        .compression = compression_of(tree_text(place, S("CompressionFormat"))),
        .size_bytes = hint_bytes(place),
        .interval_ns = hint_ns(place),
    };
}

static const DeliveryPair *pairs_of(struct arena *a, const JsonValue *list, Str name, Str value,
                                    size_t *ret_n)
{
    size_t n = list != NULL ? list->n : 0;
    DeliveryPair *pairs = arena_new(a, DeliveryPair, n);
    for (size_t i = 0; i < n; i++)
        pairs[i] =
            (DeliveryPair){ tree_text(&list->items[i], name), tree_text(&list->items[i], value) };
    *ret_n = n;
    return pairs;
}

static const Str *texts_of(struct arena *a, const JsonValue *list, size_t *ret_n)
{
    size_t n = list != NULL ? list->n : 0;
    Str *texts = arena_new(a, Str, n);
    for (size_t i = 0; i < n; i++)
        texts[i] = list->items[i].text;
    *ret_n = n;
    return texts;
}

// ---- Processors

static Str parameter(const JsonValue *processor, Str name)
{
    const JsonValue *list = tree_find(processor, S("Parameters"));
    for (size_t i = 0; list != NULL && i < list->n; i++)
        if (str_eq(tree_text(&list->items[i], S("ParameterName")), name))
            return tree_text(&list->items[i], S("ParameterValue"));
    return (Str){ 0 };
}

static double parameter_number(const JsonValue *processor, Str name, double otherwise)
{
    double value = otherwise;
    Str text = parameter(processor, name);
    return text.p == NULL || str_double(text, &value).kind != ERR_NONE ? otherwise : value;
}

// The newline comes as itself or as a backslash and an n.
static Str newline_of(Str given)
{
    if (given.p == NULL || str_eq(given, S("\\n")))
        return S("\n");
    return given;
}

static Str from_base64(struct arena *a, Str text)
{
    char *bytes = arena_alloc(a, base64_decoded_max(text.n), 1);
    Base64Result r = base64_decode(bytes, text.p, text.n);
    return r.fault == BASE64_GOOD && text.n > 0 ? str_from(bytes, r.n) : text;
}

static Str delimiter_of(struct arena *a, const JsonValue *processor)
{
    return from_base64(a, newline_of(parameter(processor, S("Delimiter"))));
}

static DeliveryStep step_of(struct arena *a, const JsonValue *p, DestinationKind kind)
{
    Str type = tree_text(p, S("Type"));
    if (str_eq(type, S("Decompression")))
        return (DeliveryStep){ .kind = STEP_DECOMPRESS };
    if (str_eq(type, S("CloudWatchLogProcessing")))
        return (DeliveryStep){ .kind = STEP_CLOUDWATCH };
    if (str_eq(type, S("MetadataExtraction")))
        return (DeliveryStep){ .kind = STEP_METADATA,
                               .query = parameter(p, S("MetadataExtractionQuery")) };
    if (str_eq(type, S("AppendDelimiterToRecord")))
        return (DeliveryStep){ .kind = STEP_DELIMIT,
                               .delimiter = newline_of(parameter(p, S("Delimiter"))) };
    if (str_eq(type, S("RecordDeAggregation"))) {
        bool delimited = str_eq(parameter(p, S("SubRecordType")), S("DELIMITED"));
        return (DeliveryStep){ .kind = STEP_DEAGGREGATE,
                               .by_delimiter = delimited,
                               .delimiter = delimited ? delimiter_of(a, p) : S("") };
    }
    double mib = kind == DESTINATION_SPLUNK ? 0.25 : 1;
    return (DeliveryStep){
        .kind = STEP_LAMBDA,
        .lambda_arn = parameter(p, S("LambdaArn")),
        .role_arn = parameter(p, S("RoleArn")),
        .retries = (int64_t)parameter_number(p, S("NumberOfRetries"), 3),
        .size_bytes = (int64_t)(parameter_number(p, S("BufferSizeInMBs"), mib) * (double)MIB),
        .interval_ns =
            (int64_t)(parameter_number(p, S("BufferIntervalInSeconds"), 60) * (double)NS_PER_S),
    };
}

// In the order in which Firehose does them, however they are listed.
static void add_steps(DeliveryConfig *config, const Destination *d)
{
    static const DeliveryStepKind order[] = { STEP_DECOMPRESS, STEP_CLOUDWATCH, STEP_DEAGGREGATE,
                                              STEP_LAMBDA,     STEP_METADATA,   STEP_DELIMIT };
    const JsonValue *list = tree_at(d->map, "ProcessingConfiguration/Processors");
    if (!destination_processes(d->map) || list == NULL)
        return;
    DeliveryStep *steps = arena_new(config->arena, DeliveryStep, list->n);
    for (size_t k = 0; k < COUNT_OF(order); k++)
        for (size_t i = 0; i < list->n; i++) {
            DeliveryStep s = step_of(config->arena, &list->items[i], d->kind);
            if (s.kind == order[k])
                steps[config->step_count++] = s;
        }
    config->steps = steps;
}

// ---- Conversion

static void add_parquet(DeliveryConversion *c, const JsonValue *p)
{
    Str codec = tree_text(p, S("Compression"));
    c->codec = codec.p != NULL ? codec : S("SNAPPY");
    c->block_bytes = tree_integer(p, S("BlockSizeBytes"), 0);
    c->page_bytes = tree_integer(p, S("PageSizeBytes"), 0);
    c->padding_max = tree_integer(p, S("MaxPaddingBytes"), 0);
    c->dictionary = tree_is_true(p, S("EnableDictionaryCompression"));
    c->v2 = str_eq(tree_text(p, S("WriterVersion")), S("V2"));
}

static void add_orc(DeliveryConversion *c, struct arena *a, const JsonValue *o)
{
    Str codec = tree_text(o, S("Compression"));
    c->orc = true;
    c->codec = codec.p != NULL ? codec : S("SNAPPY");
    c->block_bytes = tree_integer(o, S("BlockSizeBytes"), 0);
    c->stripe_bytes = tree_integer(o, S("StripeSizeBytes"), 0);
    c->row_stride = tree_integer(o, S("RowIndexStride"), 0);
    c->padding = tree_is_true(o, S("EnablePadding"));
    c->padding_tolerance = tree_real(o, S("PaddingTolerance"), 0.05);
    c->bloom_columns = texts_of(a, tree_find(o, S("BloomFilterColumns")), &c->bloom_count);
    c->bloom_rate = tree_real(o, S("BloomFilterFalsePositiveProbability"), 0.05);
    c->dictionary_threshold = tree_real(o, S("DictionaryKeyThreshold"), 0);
    c->v0_11 = str_eq(tree_text(o, S("FormatVersion")), S("V0_11"));
}

static void add_input(DeliveryConversion *c, struct arena *a, const JsonValue *input)
{
    const JsonValue *hive = tree_at(input, "Deserializer/HiveJsonSerDe");
    const JsonValue *openx = tree_at(input, "Deserializer/OpenXJsonSerDe");
    const JsonValue *columns = tree_find(openx, S("ColumnToJsonKeyMappings"));
    c->hive = hive != NULL;
    c->time_formats = texts_of(a, tree_find(hive, S("TimestampFormats")), &c->time_format_count);
    c->case_insensitive =
        tree_find(openx, S("CaseInsensitive")) == NULL || tree_is_true(openx, S("CaseInsensitive"));
    c->dots_to_underscores = tree_is_true(openx, S("ConvertDotsInJsonKeysToUnderscores"));
    c->column_count = columns != NULL ? columns->n : 0;
    DeliveryPair *pairs = arena_new(a, DeliveryPair, c->column_count);
    for (size_t i = 0; i < c->column_count; i++)
        pairs[i] = (DeliveryPair){ columns->items[i].key, columns->items[i].text };
    c->columns = pairs;
}

static void add_conversion(DeliveryConfig *config, const JsonValue *map)
{
    const JsonValue *v = tree_find(map, S("DataFormatConversionConfiguration"));
    const JsonValue *schema = tree_find(v, S("SchemaConfiguration"));
    const JsonValue *orc = tree_at(v, "OutputFormatConfiguration/Serializer/OrcSerDe");
    DeliveryConversion *c = &config->conversion;
    if (!destination_converts(map))
        return;
    Str version = tree_text(schema, S("VersionId")), catalog = tree_text(schema, S("CatalogId")),
        region = tree_text(schema, S("Region"));
    c->enabled = true;
    c->role_arn = tree_text(schema, S("RoleARN"));
    c->catalog_id = catalog.p != NULL ? catalog : config->account;
    c->region = region.p != NULL ? region : config->region;
    c->database = tree_text(schema, S("DatabaseName"));
    c->table = tree_text(schema, S("TableName"));
    c->version = str_eq(version, S("LATEST")) ? (Str){ 0 } : version;
    add_input(c, config->arena, tree_find(v, S("InputFormatConfiguration")));
    if (orc != NULL)
        add_orc(c, config->arena, orc);
    else
        add_parquet(c, tree_at(v, "OutputFormatConfiguration/Serializer/ParquetSerDe"));
}

// ---- Destinations

// An endpoint with the user and password that it was given with.
static Str with_user(struct arena *a, Str url, Str user)
{
    size_t at = str_search(url, S("://"));
    if (user.n == 0 || at == url.n)
        return url;
    return str_fmt(a, "%.*s%.*s@%.*s", FMT(str_head(url, at + 3)), FMT(user),
                   FMT(str_skip(url, at + 3)));
}

static void add_search(const struct firehose *f, DeliveryConfig *config, const Destination *d)
{
    static const Str periods[] = {
        [ROTATE_NEVER] = S_INIT("NoRotation"), [ROTATE_HOUR] = S_INIT("OneHour"),
        [ROTATE_DAY] = S_INIT("OneDay"),       [ROTATE_WEEK] = S_INIT("OneWeek"),
        [ROTATE_MONTH] = S_INIT("OneMonth"),
    };
    DeliverySearch *s = &config->search;
    Str url = tree_text(d->map, S("ClusterEndpoint")), arn = tree_text(d->map, S("DomainARN")),
        period = tree_text(d->map, S("IndexRotationPeriod"));
    config->kind = DELIVER_SEARCH;
    s->serverless = d->kind == DESTINATION_SERVERLESS;
    s->url =
        with_user(config->arena, s->serverless ? tree_text(d->map, S("CollectionEndpoint")) : url,
                  tree_text(d->secrets, S("User")));
    if (arn.p != NULL)
        s->url = str_dup(config->arena, destination_domain(&f->env, arn));
    s->index = tree_text(d->map, S("IndexName"));
    s->type = empty_is_absent(tree_text(d->map, S("TypeName")));
    for (size_t i = 0; i < COUNT_OF(periods); i++)
        if (str_eq(period, periods[i]))
            s->rotation = (typeof(s->rotation))i;
    s->own_ids = s->serverless || str_eq(tree_text(tree_find(d->map, S("DocumentIdOptions")),
                                                   S("DefaultDocumentIdFormat")),
                                         S("NO_DOCUMENT_ID"));
}

static void add_splunk(DeliveryConfig *config, const Destination *d)
{
    config->kind = DELIVER_SPLUNK;
    config->splunk = (DeliverySplunk){
        .url = with_user(config->arena, tree_text(d->map, S("HECEndpoint")),
                         tree_text(d->secrets, S("User"))),
        .token = tree_text(d->secrets, S("HECToken")),
        .event = str_eq(tree_text(d->map, S("HECEndpointType")), S("Event")),
        .ack_timeout_ns =
            tree_integer(d->map, S("HECAcknowledgmentTimeoutInSeconds"), 180) * NS_PER_S,
    };
}

static void add_http(DeliveryConfig *config, const Destination *d)
{
    const JsonValue *endpoint = tree_find(d->map, S("EndpointConfiguration"));
    const JsonValue *request = tree_find(d->map, S("RequestConfiguration"));
    DeliveryHttp *h = &config->http;
    config->kind = DELIVER_HTTP;
    h->url =
        with_user(config->arena, tree_text(endpoint, S("Url")), tree_text(d->secrets, S("User")));
    h->name = tree_text(endpoint, S("Name"));
    h->access_key = empty_is_absent(tree_text(d->secrets, S("AccessKey")));
    h->gzip = str_eq(tree_text(request, S("ContentEncoding")), S("GZIP"));
    h->attributes = pairs_of(config->arena, tree_find(request, S("CommonAttributes")),
                             S("AttributeName"), S("AttributeValue"), &h->attribute_count);
}

static void add_redshift(DeliveryConfig *config, const Destination *d)
{
    const JsonValue *copy = tree_find(d->map, S("CopyCommand"));
    config->kind = DELIVER_REDSHIFT;
    config->redshift = (DeliveryRedshift){
        .jdbc_url = tree_text(d->map, S("ClusterJDBCURL")),
        .user = tree_text(d->map, S("Username")),
        .role_arn = tree_text(d->map, S("RoleARN")),
        .password = tree_text(d->secrets, S("Password")),
        .table = tree_text(copy, S("DataTableName")),
        .columns = empty_is_absent(tree_text(copy, S("DataTableColumns"))),
        .options = empty_is_absent(tree_text(copy, S("CopyOptions"))),
    };
}

// Where records go that the destination does not get, and those that are kept beside.
static void add_places(DeliveryConfig *config, const Destination *d)
{
    Str mode = tree_text(d->map, S("S3BackupMode"));
    const JsonValue *inner = tree_find(d->map, S("S3DestinationDescription"));
    const JsonValue *backup = tree_find(d->map, S("S3BackupDescription"));
    config->backup_all = str_eq(mode, S("Enabled")) || str_starts(mode, S("All"));
    if (d->kind == DESTINATION_S3 || d->kind == DESTINATION_REDSHIFT) {
        const JsonValue *place = d->kind == DESTINATION_S3 ? d->map : inner;
        config->s3 = place_of(place);
        config->size_bytes = config->s3.size_bytes;
        config->interval_ns = config->s3.interval_ns;
        if (backup != NULL)
            config->backup = place_of(backup);
        return;
    }
    config->backup = place_of(inner);
    config->size_bytes = hint_bytes(d->map);
    config->interval_ns = hint_ns(d->map);
}

// Where the credentials are, if they are in a secret, and who reads it.
static void add_secret(DeliveryConfig *config, const JsonValue *map)
{
    const JsonValue *v = tree_find(map, S("SecretsManagerConfiguration"));
    if (!destination_has_secret(map))
        return;
    Str role = tree_text(v, S("RoleARN"));
    config->secret_arn = tree_text(v, S("SecretARN"));
    config->secret_role_arn = role.p != NULL ? role : tree_text(map, S("RoleARN"));
}

static void add_destination(const struct firehose *f, DeliveryConfig *config, const Destination *d)
{
    add_secret(config, d->map);
    config->retry_ns =
        tree_integer(tree_find(d->map, S("RetryOptions")), S("DurationInSeconds"), 300) * NS_PER_S;
    config->partitioned = destination_partitions(d->map);
    if (config->partitioned)
        config->retry_ns =
            tree_integer(tree_at(d->map, "DynamicPartitioningConfiguration/RetryOptions"),
                         S("DurationInSeconds"), 300) *
            NS_PER_S;
    add_places(config, d);
    add_steps(config, d);
    add_conversion(config, d->map);
    if (d->kind == DESTINATION_S3)
        config->kind = DELIVER_S3;
    else if (d->kind == DESTINATION_REDSHIFT)
        add_redshift(config, d);
    else if (d->kind == DESTINATION_SPLUNK)
        add_splunk(config, d);
    else if (d->kind == DESTINATION_HTTP)
        add_http(config, d);
    else
        add_search(f, config, d);
}

Err hose_config_make(struct firehose *f, struct hose *h, const HoseFields *fields,
                     DeliveryConfig **ret)
{
    AUTO(arena) a = arena_open();
    DeliveryConfig *config = arena_new(a, DeliveryConfig, 1);
    Destination d;
    // The texts of a tree borrow from what was parsed.
    TRY(destination_read(a, str_dup(a, fields->destination),
                         fields->secrets.n > 0 ? str_dup(a, fields->secrets) : S(""), &d));
    *config = (DeliveryConfig){
        .arena = a,
        .account = str_dup(a, h->account),
        .region = str_dup(a, h->region),
        .name = str_dup(a, h->name),
        .arn = str_dup(a, h->arn),
        .service = S("firehose.amazonaws.com"),
        .id = h->id,
        .version = fields->version,
        .start_ms = fields->created_ms,
    };
    if (fields->source_arn.p != NULL) {
        config->source_arn = str_dup(a, fields->source_arn);
        config->source_role_arn = str_dup(a, fields->source_role);
    } else {
        config->direct_shard = h->id;
        config->unseal = hose_crypt_unseal;
        config->unseal_self = hose_crypt_reader(f, h, a);
    }
    add_destination(f, config, &d);
    *ret = config;
    a = NULL; // goes with the config
    return OK;
}

Err hose_config_check(struct call *c, struct hose *h, const HoseFields *fields)
{
    struct firehose *f = c->state;
    DeliveryConfig *config;
    Str text = S("");
    TRY(hose_config_make(f, h, fields, &config));
    Err e = delivery_check(f->deliveries, config, c->arena, &text);
    arena_close(config->arena);
    if (e.kind != ERR_INVALID)
        return e;
    return call_fail(c, &firehose_InvalidArgumentException, "%.*s", FMT(text));
}

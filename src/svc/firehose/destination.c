// SPDX-License-Identifier: Apache-2.0
#include "hub/service.h"
#include "svc/firehose/destination.h"

// Names of members begin with `name`; metrics have `metric`.
static const struct {
    Str name;
    const char *metric;
} kinds[DESTINATION_KINDS] = {
    [DESTINATION_S3] = { S_INIT("ExtendedS3Destination"), "S3" },
    [DESTINATION_REDSHIFT] = { S_INIT("RedshiftDestination"), "Redshift" },
    [DESTINATION_ELASTICSEARCH] = { S_INIT("ElasticsearchDestination"), "Elasticsearch" },
    [DESTINATION_OPENSEARCH] = { S_INIT("AmazonopensearchserviceDestination"),
                                 "AmazonOpenSearchService" },
    [DESTINATION_SERVERLESS] = { S_INIT("AmazonOpenSearchServerlessDestination"),
                                 "AmazonOpenSearchServerless" },
    [DESTINATION_SPLUNK] = { S_INIT("SplunkDestination"), "Splunk" },
    [DESTINATION_HTTP] = { S_INIT("HttpEndpointDestination"), "HttpEndpoint" },
    [DESTINATION_SNOWFLAKE] = { S_INIT("SnowflakeDestination"), "Snowflake" },
    [DESTINATION_ICEBERG] = { S_INIT("IcebergDestination"), "Iceberg" },
};

Str destination_member(DestinationKind kind)
{
    static const Str members[DESTINATION_KINDS] = {
        S_INIT("ExtendedS3DestinationDescription"),
        S_INIT("RedshiftDestinationDescription"),
        S_INIT("ElasticsearchDestinationDescription"),
        S_INIT("AmazonopensearchserviceDestinationDescription"),
        S_INIT("AmazonOpenSearchServerlessDestinationDescription"),
        S_INIT("SplunkDestinationDescription"),
        S_INIT("HttpEndpointDestinationDescription"),
        S_INIT("SnowflakeDestinationDescription"),
        S_INIT("IcebergDestinationDescription"),
    };
    return members[kind];
}

const char *destination_metric(DestinationKind kind)
{
    return kinds[kind].metric;
}

// ---- From a request

static bool kind_of_member(Str member, Str suffix, DestinationKind *ret)
{
    if (!str_ends(member, suffix))
        return false;
    Str name = str_head(member, member.n - suffix.n);
    if (str_eq(name, S("S3Destination"))) {
        *ret = DESTINATION_S3;
        return true;
    }
    for (size_t i = 0; i < DESTINATION_KINDS; i++)
        if (str_eq(name, kinds[i].name)) {
            *ret = (DestinationKind)i;
            return true;
        }
    return false;
}

// Configurations and updates call the parts of a destination in their own ways.
static void rename_parts(JsonValue *map)
{
    tree_rename(map, S("S3Configuration"), S("S3DestinationDescription"));
    tree_rename(map, S("S3Update"), S("S3DestinationDescription"));
    tree_rename(map, S("S3BackupConfiguration"), S("S3BackupDescription"));
    tree_rename(map, S("S3BackupUpdate"), S("S3BackupDescription"));
    tree_rename(map, S("VpcConfiguration"), S("VpcConfigurationDescription"));
}

static void take_secret(struct arena *a, Destination *d, JsonValue *map, Str key)
{
    Str secret = tree_text(map, key);
    if (secret.p != NULL)
        tree_set_text(a, d->secrets, key, secret);
    tree_drop(map, key);
}

// Of "https://user:password@host" the part before the at. An endpoint without one forgets the one
// that there was: it was for another host.
static void take_user(struct arena *a, Destination *d, JsonValue *map, Str key)
{
    Str url = tree_text(map, key), mark = S("://"), user, host;
    size_t at = url.p != NULL ? str_search(url, mark) : url.n;
    if (url.p == NULL)
        return;
    Str scheme = str_head(url, MIN(at + mark.n, url.n)), rest = str_skip(url, scheme.n);
    Str authority = str_head(rest, str_find(rest, '/'));
    if (!str_cut(authority, '@', &user, &host)) {
        tree_set_text(a, d->secrets, S("User"), S(""));
        return;
    }
    tree_set_text(a, d->secrets, S("User"), user);
    tree_set_text(a, map, key, str_cat(a, scheme, str_skip(rest, user.n + 1)));
}

static void take_secrets(struct arena *a, Destination *d)
{
    JsonValue *endpoint = tree_find(d->map, S("EndpointConfiguration"));
    take_secret(a, d, d->map, S("HECToken"));
    take_secret(a, d, d->map, S("Password"));
    take_user(a, d, d->map, S("ClusterEndpoint"));
    take_user(a, d, d->map, S("CollectionEndpoint"));
    take_user(a, d, d->map, S("HECEndpoint"));
    if (endpoint == NULL)
        return;
    take_user(a, d, endpoint, S("Url"));
    take_secret(a, d, endpoint, S("AccessKey"));
}

static Err not_served(struct call *c, DestinationKind kind)
{
    return call_fail(c, &firehose_InvalidArgumentException,
                     "%.*sConfiguration is not supported by this server.", FMT(kinds[kind].name));
}

Err destination_of_input(struct call *c, const void *in, Str suffix, Destination *ret)
{
    const struct shape *shape = c->op->input;
    const struct member *found = NULL;
    size_t n = 0;
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        DestinationKind kind;
        if (m->shape->kind != SHAPE_STRUCT || !kind_of_member(m->name, suffix, &kind) ||
            *(const void *const *)((const char *)in + m->offset) == NULL)
            continue;
        found = m;
        ret->kind = kind;
        n++;
    }
    if (n != 1)
        return call_fail(c, &firehose_InvalidArgumentException,
                         "Exactly one destination configuration is supported for a Firehose");
    if (ret->kind == DESTINATION_SNOWFLAKE || ret->kind == DESTINATION_ICEBERG)
        return not_served(c, ret->kind);
    TRY(tree_of_struct(c->arena, found->shape,
                       *(const void *const *)((const char *)in + found->offset), &ret->map));
    ret->secrets = tree_map(c->arena);
    rename_parts(ret->map);
    take_secrets(c->arena, ret);
    return OK;
}

// ---- As it is kept

Err destination_read(struct arena *a, Str description, Str secrets, Destination *ret)
{
    JsonValue *v;
    TRY(json_parse(a, description, &v));
    ret->secrets = tree_map(a);
    if (secrets.n > 0)
        TRY(json_parse(a, secrets, &ret->secrets));
    for (size_t i = 0; i < DESTINATION_KINDS; i++)
        if (v->n == 1 && str_eq(v->items[0].key, destination_member((DestinationKind)i))) {
            ret->kind = (DestinationKind)i;
            ret->map = &v->items[0];
            return OK;
        }
    return fail(ERR_CORRUPT, "a delivery stream has no destination that is known");
}

Err destination_write(struct arena *a, const Destination *d, Str *ret_description, Str *ret_secrets)
{
    JsonValue *v = tree_map(a);
    tree_set(a, v, destination_member(d->kind), d->map);
    *ret_secrets = (Str){ 0 };
    if (d->secrets->n > 0)
        TRY(tree_json(a, d->secrets, ret_secrets));
    return tree_json(a, v, ret_description);
}

// ---- Updates

static bool is_place(Str key)
{
    return str_eq(key, S("S3DestinationDescription")) || str_eq(key, S("S3BackupDescription"));
}

// Places in S3 are updates of their own; everything else is replaced as it stands.
static void merge_map(struct arena *a, JsonValue *old, const JsonValue *update)
{
    for (size_t i = 0; i < update->n; i++) {
        const JsonValue *given = &update->items[i];
        JsonValue *there = tree_find(old, given->key);
        if (there != NULL && is_place(given->key))
            merge_map(a, there, given);
        else
            tree_set(a, old, given->key, given);
    }
}

void destination_merge(struct arena *a, Destination *old, const Destination *update)
{
    CHECK(old->kind == update->kind);
    if (tree_text(update->map, S("DomainARN")).p != NULL) { // only one of them says where it is
        tree_drop(old->map, S("ClusterEndpoint"));
        tree_drop(old->secrets, S("User"));
    }
    if (tree_text(update->map, S("ClusterEndpoint")).p != NULL)
        tree_drop(old->map, S("DomainARN"));
    merge_map(a, old->map, update->map);
    merge_map(a, old->secrets, update->secrets);
}

// ---- Questions

bool destination_converts(const JsonValue *map)
{
    const JsonValue *v = tree_find(map, S("DataFormatConversionConfiguration"));
    return v != NULL && (tree_find(v, S("Enabled")) == NULL || tree_is_true(v, S("Enabled")));
}

bool destination_partitions(const JsonValue *map)
{
    return tree_is_true(tree_find(map, S("DynamicPartitioningConfiguration")), S("Enabled"));
}

bool destination_processes(const JsonValue *map)
{
    return tree_is_true(tree_find(map, S("ProcessingConfiguration")), S("Enabled"));
}

bool destination_has_secret(const JsonValue *map)
{
    return tree_is_true(tree_find(map, S("SecretsManagerConfiguration")), S("Enabled"));
}

// ---- Defaults (API reference, of each member)

static void default_text(struct arena *a, JsonValue *map, Str key, Str value)
{
    if (tree_find(map, key) == NULL)
        tree_set_text(a, map, key, value);
}

// A map that is there afterwards; good until its own map is changed again.
static JsonValue *need_map(struct arena *a, JsonValue *map, Str key)
{
    if (tree_find(map, key) == NULL)
        tree_set(a, map, key, tree_map(a));
    return tree_find(map, key);
}

static void default_integer(struct arena *a, JsonValue *map, Str key, int64_t value)
{
    if (tree_find(map, key) == NULL)
        tree_set_integer(a, map, key, value);
}

static void fill_hints(struct arena *a, JsonValue *map, int64_t seconds, int64_t mib)
{
    JsonValue *hints = need_map(a, map, S("BufferingHints"));
    default_integer(a, hints, S("SizeInMBs"), mib);
    default_integer(a, hints, S("IntervalInSeconds"), seconds);
}

static void fill_retry(struct arena *a, JsonValue *map, int64_t seconds)
{
    JsonValue *retry = need_map(a, map, S("RetryOptions"));
    default_integer(a, retry, S("DurationInSeconds"), seconds);
}

static void fill_logging(struct arena *a, JsonValue *map)
{
    JsonValue *logging = need_map(a, map, S("CloudWatchLoggingOptions"));
    if (tree_find(logging, S("Enabled")) == NULL)
        tree_set_bool(a, logging, S("Enabled"), false);
}

static void fill_place(struct arena *a, JsonValue *place, int64_t mib)
{
    fill_hints(a, place, 300, mib);
    default_text(a, place, S("CompressionFormat"), S("UNCOMPRESSED"));
    JsonValue *encryption = need_map(a, place, S("EncryptionConfiguration"));
    if (encryption->n == 0)
        tree_set_text(a, encryption, S("NoEncryptionConfig"), S("NoEncryption"));
    fill_logging(a, place);
}

static void fill_s3(struct arena *a, JsonValue *map)
{
    bool converts = destination_converts(map), partitions = destination_partitions(map);
    fill_place(a, map, converts || partitions ? 128 : 5);
    default_text(a, map, S("S3BackupMode"), S("Disabled"));
    if (partitions)
        fill_retry(a, need_map(a, map, S("DynamicPartitioningConfiguration")), 300);
}

static void fill_search(struct arena *a, Destination *d)
{
    JsonValue *map = d->map;
    fill_hints(a, map, 300, 5);
    fill_retry(a, map, 300);
    default_text(a, map, S("S3BackupMode"), S("FailedDocumentsOnly"));
    if (d->kind == DESTINATION_SERVERLESS)
        return;
    default_text(a, map, S("IndexRotationPeriod"), S("OneDay"));
    default_text(a, need_map(a, map, S("DocumentIdOptions")), S("DefaultDocumentIdFormat"),
                 S("FIREHOSE_DEFAULT"));
}

static void fill_http(struct arena *a, JsonValue *map)
{
    fill_hints(a, map, 300, 5);
    fill_retry(a, map, 300);
    default_text(a, map, S("S3BackupMode"), S("FailedDataOnly"));
    JsonValue *request = need_map(a, map, S("RequestConfiguration"));
    default_text(a, request, S("ContentEncoding"), S("NONE"));
    if (tree_find(request, S("CommonAttributes")) == NULL)
        tree_set(a, request, S("CommonAttributes"), &(JsonValue){ .kind = JSON_LIST });
}

static void fill_splunk(struct arena *a, JsonValue *map)
{
    fill_hints(a, map, 60, 5);
    fill_retry(a, map, 300);
    default_integer(a, map, S("HECAcknowledgmentTimeoutInSeconds"), 180);
    default_text(a, map, S("S3BackupMode"), S("FailedEventsOnly"));
}

// There is no network of AWS's here: the address is the machine's own.
static void fill_vpc(struct arena *a, JsonValue *map)
{
    JsonValue *vpc = tree_find(map, S("VpcConfigurationDescription"));
    if (vpc != NULL)
        default_text(a, vpc, S("VpcId"), S("vpc-00000000000000000"));
}

// Credentials that were given before a secret took their place.
static void forget_credentials(Destination *d)
{
    tree_drop(d->map, S("Username"));
    tree_drop(d->secrets, S("Password"));
    tree_drop(d->secrets, S("HECToken"));
    tree_drop(d->secrets, S("AccessKey"));
}

void destination_fill(struct arena *a, Destination *d)
{
    JsonValue *map = d->map;
    if (destination_has_secret(map))
        forget_credentials(d);
    if (d->kind == DESTINATION_S3)
        fill_s3(a, map);
    else if (d->kind == DESTINATION_REDSHIFT) {
        fill_retry(a, map, 3600);
        default_text(a, map, S("S3BackupMode"), S("Disabled"));
    } else if (d->kind == DESTINATION_SPLUNK)
        fill_splunk(a, map);
    else if (d->kind == DESTINATION_HTTP)
        fill_http(a, map);
    else
        fill_search(a, d);
    if (d->kind != DESTINATION_S3) {
        fill_logging(a, map);
        fill_vpc(a, map);
        fill_place(a, need_map(a, map, S("S3DestinationDescription")), 5);
    }
    JsonValue *backup = tree_find(map, S("S3BackupDescription"));
    if (backup != NULL)
        fill_place(a, backup, 5);
}

// ---- Domains

Str destination_domain(const struct service_env *env, Str arn)
{
    static const Str mark = S_INIT(":domain/");
    size_t at = str_search(arn, mark);
    Str name = at < arn.n ? str_skip(arn, at + mark.n) : (Str){ 0 }, key, url;
    for (size_t i = 0; i < env->domain_count; i++)
        if (str_cut(env->domains[i], '=', &key, &url) && (str_eq(key, name) || str_eq(key, arn)))
            return url;
    return S("");
}

Err destination_check_domains(const struct service_env *env)
{
    for (size_t i = 0; i < env->domain_count; i++) {
        Str key, url = S("");
        bool good = str_cut(env->domains[i], '=', &key, &url) && key.n > 0 &&
                    (str_starts(url, S("http://")) || str_starts(url, S("https://")));
        if (!good)
            return fail(ERR_INVALID, "destinations.domains: each is NAME=URL");
    }
    return OK;
}

// SPDX-License-Identifier: Apache-2.0
// Whether the parts of a destination go together (developer guide and API reference, of each
// member). What the shapes say is checked before, prefixes and queries are checked by the
// deliveries (delivery_check). Texts that are on record of AWS are AWS's, with their misspellings:
// those of buffers for conversion and partitioning, of partition keys without a processor, of no
// processor and of two functions, of prefixes that Redshift cannot have, of a backup that is to
// end.
#include "svc/firehose/destination.h"

#include "base/str.h"

static Err invalid(struct call *c, const char *text)
{
    return call_fail(c, &firehose_InvalidArgumentException, "%s", text);
}

// ---- As it was given

static Err check_hints(struct call *c, const JsonValue *map)
{
    const JsonValue *hints = tree_find(map, S("BufferingHints"));
    if (hints == NULL || hints->n == 0 || hints->n == 2)
        return OK;
    return invalid(c, "BufferingHints must have both SizeInMBs and IntervalInSeconds, or neither.");
}

// Each of them "is required if CloudWatch logging is enabled" (CloudWatchLoggingOptions).
static Err check_logging(struct call *c, const JsonValue *map)
{
    const JsonValue *logging = tree_find(map, S("CloudWatchLoggingOptions"));
    if (!tree_is_true(logging, S("Enabled")) || (tree_text(logging, S("LogGroupName")).n > 0 &&
                                                 tree_text(logging, S("LogStreamName")).n > 0))
        return OK;
    return invalid(c, "LogGroupName and LogStreamName must be specified when CloudWatch logging is "
                      "enabled.");
}

// A request gives credentials or says where they are.
static Err check_one_place(struct call *c, const Destination *d)
{
    static const Str names[] = { S_INIT("HECToken"), S_INIT("Password"), S_INIT("AccessKey") };
    if (!destination_has_secret(d->map))
        return OK;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (tree_text(d->secrets, names[i]).n > 0)
            return call_fail(c, &firehose_InvalidArgumentException,
                             "%.*s must not be specified when SecretsManagerConfiguration is "
                             "enabled.",
                             FMT(names[i]));
    return OK;
}

Err destination_check_given(struct call *c, const Destination *d)
{
    const JsonValue *parts[] = { d->map, tree_find(d->map, S("S3DestinationDescription")),
                                 tree_find(d->map, S("S3BackupDescription")) };
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        TRY(check_hints(c, parts[i]));
        TRY(check_logging(c, parts[i]));
    }
    return check_one_place(c, d);
}

// ---- Processors

static Str parameter(const JsonValue *processor, const char *name)
{
    const JsonValue *list = tree_find(processor, S("Parameters"));
    for (size_t i = 0; list != NULL && i < list->n; i++)
        if (str_eq(tree_text(&list->items[i], S("ParameterName")), str_of(name)))
            return tree_text(&list->items[i], S("ParameterValue"));
    return (Str){ 0 };
}

// What a processor may be told: the parameters it must have, the one value of some of them.
static const struct {
    const char *type, *allowed; // names between spaces
    const char *needed[2];
    const char *fixed, *value; // a parameter with one value only
} processors[] = {
    { "Decompression",
      " CompressionFormat ",
      { "CompressionFormat" },
      "CompressionFormat",
      "GZIP" },
    { "CloudWatchLogProcessing",
      " DataMessageExtraction ",
      { "DataMessageExtraction" },
      "DataMessageExtraction",
      "true" },
    { "RecordDeAggregation", " SubRecordType Delimiter ", { "SubRecordType" }, NULL, NULL },
    { "Lambda",
      " LambdaArn NumberOfRetries RoleArn BufferSizeInMBs BufferIntervalInSeconds ",
      { "LambdaArn" },
      NULL,
      NULL },
    { "MetadataExtraction",
      " MetadataExtractionQuery JsonParsingEngine ",
      { "MetadataExtractionQuery", "JsonParsingEngine" },
      "JsonParsingEngine",
      "JQ-1.6" },
    { "AppendDelimiterToRecord", " Delimiter ", { NULL }, NULL, NULL },
};

static Err check_parameters(struct call *c, const JsonValue *p, size_t kind)
{
    const JsonValue *list = tree_find(p, S("Parameters"));
    Str type = tree_text(p, S("Type"));
    for (size_t i = 0; list != NULL && i < list->n; i++) {
        Str name = tree_text(&list->items[i], S("ParameterName"));
        Str allowed = str_of(processors[kind].allowed);
        if (str_search(allowed, str_cat3(c->arena, S(" "), name, S(" "))) == allowed.n)
            return call_fail(c, &firehose_InvalidArgumentException,
                             "Parameter %.*s is not valid for processor %.*s.", FMT(name),
                             FMT(type));
    }
    for (size_t i = 0; i < COUNT_OF(processors[kind].needed); i++) {
        const char *name = processors[kind].needed[i];
        if (name != NULL && parameter(p, name).p == NULL)
            return call_fail(c, &firehose_InvalidArgumentException,
                             "Processor %.*s must have the parameter %s.", FMT(type), name);
    }
    const char *fixed = processors[kind].fixed;
    if (fixed != NULL && !str_eq_nocase(parameter(p, fixed), str_of(processors[kind].value)))
        return call_fail(c, &firehose_InvalidArgumentException,
                         "Parameter %s of processor %.*s must be %s.", fixed, FMT(type),
                         processors[kind].value);
    return OK;
}

static Err check_number(struct call *c, const JsonValue *p, const char *name, double min,
                        double max)
{
    Str text = parameter(p, name);
    double value;
    if (text.p == NULL ||
        (str_double(text, &value).kind == ERR_NONE && value >= min && value <= max))
        return OK;
    return call_fail(c, &firehose_InvalidArgumentException,
                     "Parameter %s of processor Lambda must be a number from %g to %g.", name, min,
                     max);
}

static Err check_values(struct call *c, const JsonValue *p)
{
    Str type = tree_text(p, S("Type")), sub = parameter(p, "SubRecordType");
    if (str_eq(type, S("Lambda"))) {
        TRY(check_number(c, p, "NumberOfRetries", 0, 300));
        TRY(check_number(c, p, "BufferSizeInMBs", 0.2, 3));
        TRY(check_number(c, p, "BufferIntervalInSeconds", 0, 900));
    }
    if (!str_eq(type, S("RecordDeAggregation")))
        return OK;
    bool delimited = str_eq(sub, S("DELIMITED"));
    if (!delimited && !str_eq(sub, S("JSON")))
        return invalid(c, "Parameter SubRecordType of processor RecordDeAggregation must be JSON "
                          "or DELIMITED.");
    if (delimited && parameter(p, "Delimiter").p == NULL)
        return invalid(c, "Processor RecordDeAggregation must have the parameter Delimiter when "
                          "SubRecordType is DELIMITED.");
    return OK;
}

static const JsonValue *processor_of(const JsonValue *map, Str type)
{
    const JsonValue *list = tree_at(map, "ProcessingConfiguration/Processors");
    for (size_t i = 0; list != NULL && i < list->n; i++)
        if (str_eq(tree_text(&list->items[i], S("Type")), type))
            return &list->items[i];
    return NULL;
}

static Err not_one_processor(struct call *c)
{
    return invalid(c, "Exactly 1 Processor needs to be supplied when processing is enabled");
}

static Err check_processors(struct call *c, const JsonValue *map)
{
    const JsonValue *list = tree_at(map, "ProcessingConfiguration/Processors");
    if (!destination_processes(map))
        return OK;
    if (list == NULL || list->n == 0)
        return not_one_processor(c);
    for (size_t i = 0; i < list->n; i++) {
        const JsonValue *p = &list->items[i];
        Str type = tree_text(p, S("Type"));
        if (processor_of(map, type) != p)
            return str_eq(type, S("Lambda"))
                       ? not_one_processor(c)
                       : call_fail(c, &firehose_InvalidArgumentException,
                                   "There can be only one processor of type %.*s.", FMT(type));
        for (size_t k = 0; k < COUNT_OF(processors); k++)
            if (str_eq(type, str_of(processors[k].type)))
                TRY(check_parameters(c, p, k));
        TRY(check_values(c, p));
    }
    if (processor_of(map, S("CloudWatchLogProcessing")) != NULL &&
        processor_of(map, S("Decompression")) == NULL)
        return invalid(c, "Processor CloudWatchLogProcessing needs processor Decompression.");
    return OK;
}

// ---- S3

static bool has_namespace(const JsonValue *map, const char *name)
{
    Str prefix = tree_text(map, S("Prefix")), sought = str_of(name);
    return prefix.p != NULL && str_search(prefix, sought) < prefix.n;
}

static Err check_partitions(struct call *c, const JsonValue *map)
{
    bool by_query = has_namespace(map, "!{partitionKeyFromQuery:");
    bool by_lambda = has_namespace(map, "!{partitionKeyFromLambda:");
    bool processes = destination_processes(map);
    if (!destination_partitions(map))
        return by_query || by_lambda
                   ? invalid(c, "Dynamic Partitioning Namespaces can only be part of a prefix "
                                "expression when Dynamic Partitioning is enabled.")
                   : OK;
    if (tree_integer(tree_find(map, S("BufferingHints")), S("SizeInMBs"), 0) < 64)
        return invalid(c, "BufferingHints.SizeInMBs must be at least 64 when Dynamic Partitioning "
                          "is enabled.");
    if (tree_integer(tree_find(map, S("BufferingHints")), S("IntervalInSeconds"), 300) == 0)
        return invalid(c,
                       "BufferingHints.IntervalInSeconds must not be 0 when Dynamic Partitioning "
                       "is enabled.");
    if (by_query && !(processes && processor_of(map, S("MetadataExtraction")) != NULL))
        return invalid(c, "MetadataExtraction processor should be present when S3 Prefix has "
                          "partitionKeyFromQuery namespace.");
    if (by_lambda && !(processes && processor_of(map, S("Lambda")) != NULL))
        return invalid(c, "Lambda processor should be present when S3 Prefix has "
                          "partitionKeyFromLambda namespace.");
    if (!by_query && !by_lambda)
        return invalid(c, "S3 Prefix should contain Dynamic Partitioning namespaces when Dynamic "
                          "Partitioning is enabled");
    return OK;
}

static Err check_conversion(struct call *c, const JsonValue *map)
{
    const JsonValue *v = tree_find(map, S("DataFormatConversionConfiguration"));
    const JsonValue *schema = tree_find(v, S("SchemaConfiguration"));
    const JsonValue *input = tree_at(v, "InputFormatConfiguration/Deserializer");
    const JsonValue *output = tree_at(v, "OutputFormatConfiguration/Serializer");
    if (!destination_converts(map))
        return OK;
    if (schema == NULL || input == NULL || output == NULL)
        return invalid(c, "SchemaConfiguration, InputFormatConfiguration and "
                          "OutputFormatConfiguration must be specified when data format conversion "
                          "is enabled.");
    if (input->n != 1)
        return invalid(c, "Exactly one deserializer must be specified.");
    if (output->n != 1)
        return invalid(c, "Exactly one serializer must be specified.");
    if (tree_text(schema, S("RoleARN")).p == NULL ||
        tree_text(schema, S("DatabaseName")).p == NULL ||
        tree_text(schema, S("TableName")).p == NULL)
        return invalid(c, "SchemaConfiguration must have RoleARN, DatabaseName and TableName when "
                          "data format conversion is enabled.");
    if (!str_eq(tree_text(map, S("CompressionFormat")), S("UNCOMPRESSED")))
        return invalid(c, "CompressionFormat must be UNCOMPRESSED when data format conversion is "
                          "enabled.");
    if (tree_integer(tree_find(map, S("BufferingHints")), S("SizeInMBs"), 0) < 64)
        return invalid(c, "BufferingHints.SizeInMBs must be at least 64 when data format "
                          "conversion is enabled.");
    return OK;
}

static Err check_backup(struct call *c, const JsonValue *map)
{
    const JsonValue *backup = tree_find(map, S("S3BackupDescription"));
    if (!str_eq(tree_text(map, S("S3BackupMode")), S("Enabled")))
        return OK;
    if (backup == NULL)
        return invalid(c, "S3BackupConfiguration must be specified when S3BackupMode is Enabled.");
    if (tree_text(backup, S("BucketARN")).p == NULL || tree_text(backup, S("RoleARN")).p == NULL)
        return invalid(c, "S3BackupConfiguration must have RoleARN and BucketARN.");
    return OK;
}

// How AWS begins what it says of prefixes.
#define PREFIX_RULE "Ths supplied prefix(es) do not satisfy the following constraint: "

static Err check_error_prefix(struct call *c, const JsonValue *place)
{
    if (!has_namespace(place, "!{") || tree_text(place, S("ErrorOutputPrefix")).n > 0)
        return OK;
    return invalid(c, PREFIX_RULE "ErrorOutputPrefix cannot be null or empty when Prefix contains "
                                  "expressions");
}

static Err check_s3(struct call *c, const JsonValue *map)
{
    TRY(check_partitions(c, map));
    TRY(check_error_prefix(c, map));
    TRY(check_conversion(c, map));
    return check_backup(c, map);
}

// ---- Others

static Err check_redshift(struct call *c, const Destination *d)
{
    const JsonValue *place = tree_find(d->map, S("S3DestinationDescription"));
    Str format = tree_text(place, S("CompressionFormat"));
    if (has_namespace(place, "!{") || tree_text(place, S("ErrorOutputPrefix")).n > 0)
        return invalid(c, PREFIX_RULE "Prefix Expressions or ErrorOutputPrefix is currently not "
                                      "supported for this destination");
    if (!destination_has_secret(d->map) && (tree_text(d->map, S("Username")).p == NULL ||
                                            tree_text(d->secrets, S("Password")).p == NULL))
        return invalid(c, "Username and Password must be specified.");
    if (!str_eq(format, S("UNCOMPRESSED")) && !str_eq(format, S("GZIP")))
        return call_fail(c, &firehose_InvalidArgumentException,
                         "CompressionFormat %.*s is not supported for Amazon Redshift. Use "
                         "UNCOMPRESSED or GZIP.",
                         FMT(format));
    return check_backup(c, d->map);
}

// There are no domains here: the configuration says where those are whose ARN may be given.
static Err check_search(struct call *c, const Destination *d)
{
    TRY(check_error_prefix(c, tree_find(d->map, S("S3DestinationDescription"))));
    if (d->kind == DESTINATION_SERVERLESS)
        return tree_text(d->map, S("CollectionEndpoint")).p != NULL
                   ? OK
                   : invalid(c, "CollectionEndpoint must be specified.");
    bool by_arn = tree_text(d->map, S("DomainARN")).p != NULL;
    bool by_url = tree_text(d->map, S("ClusterEndpoint")).p != NULL;
    if (by_arn && by_url)
        return invalid(c, "Only one of ClusterEndpoint and DomainARN may be specified.");
    const struct firehose *f = c->state;
    Str arn = tree_text(d->map, S("DomainARN"));
    if (by_arn && destination_domain(&f->env, arn).n == 0)
        return call_fail(
            c, &firehose_InvalidArgumentException,
            "Domain %.*s is not among the domains that this server's configuration names: "
            "specify ClusterEndpoint.",
            FMT(arn));
    return by_url || by_arn ? OK : invalid(c, "ClusterEndpoint must be specified.");
}

static Err check_splunk(struct call *c, const Destination *d)
{
    TRY(check_error_prefix(c, tree_find(d->map, S("S3DestinationDescription"))));
    if (!destination_has_secret(d->map) && tree_text(d->secrets, S("HECToken")).n == 0)
        return invalid(c, "HECToken must be specified.");
    return tree_text(d->map, S("HECEndpoint")).n > 0 ? OK
                                                     : invalid(c, "HECEndpoint must be specified.");
}

static Err check_secret(struct call *c, const Destination *d)
{
    const JsonValue *v = tree_find(d->map, S("SecretsManagerConfiguration"));
    Str arn = tree_text(v, S("SecretARN")), part = { 0 }, rest = arn;
    if (!destination_has_secret(d->map))
        return OK;
    if (arn.p == NULL)
        return invalid(c, "SecretARN must be specified when SecretsManagerConfiguration is "
                          "enabled.");
    for (size_t i = 0; i < 4; i++)
        CHECK(str_cut(rest, ':', &part, &rest)); // the pattern has it
    if (!str_eq(part, c->region))
        return invalid(c, "The secret must be in the region of the delivery stream.");
    if (tree_text(v, S("RoleARN")).p == NULL && tree_text(d->map, S("RoleARN")).p == NULL)
        return invalid(c, "SecretsManagerConfiguration must have RoleARN when the destination has "
                          "none.");
    return OK;
}

static Err check_inner(struct call *c, const Destination *d)
{
    const JsonValue *inner = tree_find(d->map, S("S3DestinationDescription"));
    const JsonValue *place = d->kind == DESTINATION_S3 ? d->map : inner;
    if (tree_text(place, S("BucketARN")).p != NULL && tree_text(place, S("RoleARN")).p != NULL)
        return OK;
    return invalid(c, "The S3 configuration must have RoleARN and BucketARN.");
}

// ---- What an update may not turn off

static Err check_switches(struct call *c, const Destination *d, const Destination *before)
{
    Str was = tree_text(before->map, S("S3BackupMode")), is = tree_text(d->map, S("S3BackupMode"));
    bool partitioned = destination_partitions(before->map);
    if (d->kind != before->kind)
        return OK;
    // Of S3 and Redshift "Enabled", of Splunk "AllEvents". Updates of search engines have no mode,
    // of HTTP endpoints no rule is on record.
    if (!str_eq(was, is) && (str_eq(was, S("Enabled")) || str_eq(was, S("AllEvents"))))
        return invalid(c, "Disabling S3 backup is not currently supported.");
    if (partitioned != destination_partitions(d->map))
        return invalid(c, partitioned ? "Dynamic Partitioning cannot be disabled."
                                      : "Dynamic Partitioning can only be enabled when a delivery "
                                        "stream is created.");
    return OK;
}

Err destination_check(struct call *c, const Destination *d, const Destination *before)
{
    TRY(check_inner(c, d));
    TRY(check_processors(c, d->map));
    TRY(check_secret(c, d));
    if (before != NULL)
        TRY(check_switches(c, d, before));
    switch (d->kind) {
    case DESTINATION_S3:
        return check_s3(c, d->map);
    case DESTINATION_REDSHIFT:
        return check_redshift(c, d);
    case DESTINATION_SPLUNK:
        return check_splunk(c, d);
    case DESTINATION_ELASTICSEARCH:
    case DESTINATION_OPENSEARCH:
    case DESTINATION_SERVERLESS:
        return check_search(c, d);
    default:
        return check_error_prefix(c, tree_find(d->map, S("S3DestinationDescription")));
    }
}

// SPDX-License-Identifier: Apache-2.0
// Documents of destinations: defaults, updates, and what a delivery is told of them.
#include "svc/firehose/destination.h"
#include "base/test.h"
#include "base/time.h"
#include "svc/firehose/config.h"

#define PLACE "\"RoleARN\":\"arn:aws:iam::000000000000:role/r\",\"BucketARN\":\"arn:aws:s3:::b\""

static Destination read(struct arena *a, const char *description, const char *secrets)
{
    Destination d;
    EXPECT_OK(destination_read(a, str_of(description), str_of(secrets), &d));
    return d;
}

static Str text_at(const Destination *d, const char *path)
{
    const JsonValue *v = tree_at(d->map, path);
    return v != NULL ? v->text : S("(nothing)");
}

TEST(a_place_has_the_defaults_of_the_api)
{
    Destination d = read(a, "{\"ExtendedS3DestinationDescription\":{" PLACE "}}", "");
    destination_fill(a, &d);
    EXPECT_STR(S("300"), text_at(&d, "BufferingHints/IntervalInSeconds"));
    EXPECT_STR(S("5"), text_at(&d, "BufferingHints/SizeInMBs"));
    EXPECT_STR(S("UNCOMPRESSED"), text_at(&d, "CompressionFormat"));
    EXPECT_STR(S("NoEncryption"), text_at(&d, "EncryptionConfiguration/NoEncryptionConfig"));
    EXPECT_STR(S("Disabled"), text_at(&d, "S3BackupMode"));
    EXPECT(!tree_is_true(tree_at(d.map, "CloudWatchLoggingOptions"), S("Enabled")));
}

TEST(conversion_and_partitions_have_a_larger_buffer)
{
    Destination d = read(
        a, "{\"ExtendedS3DestinationDescription\":{\"DataFormatConversionConfiguration\":{}}}", "");
    destination_fill(a, &d);
    EXPECT_STR(S("128"), text_at(&d, "BufferingHints/SizeInMBs"));
    d = read(a,
             "{\"ExtendedS3DestinationDescription\":{\"DynamicPartitioningConfiguration\":"
             "{\"Enabled\":true}}}",
             "");
    destination_fill(a, &d);
    EXPECT_STR(S("128"), text_at(&d, "BufferingHints/SizeInMBs"));
    EXPECT_STR(S("300"), text_at(&d, "DynamicPartitioningConfiguration/RetryOptions/"
                                     "DurationInSeconds"));
    d = read(a,
             "{\"ExtendedS3DestinationDescription\":{\"DataFormatConversionConfiguration\":"
             "{\"Enabled\":false}}}",
             "");
    destination_fill(a, &d);
    EXPECT_STR(S("5"), text_at(&d, "BufferingHints/SizeInMBs"));
}

TEST(other_destinations_have_defaults_of_their_own)
{
    Destination d = read(a, "{\"SplunkDestinationDescription\":{}}", "");
    destination_fill(a, &d);
    EXPECT_STR(S("60"), text_at(&d, "BufferingHints/IntervalInSeconds"));
    EXPECT_STR(S("180"), text_at(&d, "HECAcknowledgmentTimeoutInSeconds"));
    EXPECT_STR(S("FailedEventsOnly"), text_at(&d, "S3BackupMode"));
    EXPECT_STR(S("5"), text_at(&d, "S3DestinationDescription/BufferingHints/SizeInMBs"));
    d = read(a, "{\"RedshiftDestinationDescription\":{\"S3BackupDescription\":{}}}", "");
    destination_fill(a, &d);
    EXPECT_STR(S("3600"), text_at(&d, "RetryOptions/DurationInSeconds"));
    EXPECT_STR(S("UNCOMPRESSED"), text_at(&d, "S3BackupDescription/CompressionFormat"));
    d = read(a, "{\"AmazonopensearchserviceDestinationDescription\":{}}", "");
    destination_fill(a, &d);
    EXPECT_STR(S("OneDay"), text_at(&d, "IndexRotationPeriod"));
    EXPECT_STR(S("FIREHOSE_DEFAULT"), text_at(&d, "DocumentIdOptions/DefaultDocumentIdFormat"));
    d = read(a, "{\"HttpEndpointDestinationDescription\":{}}", "");
    destination_fill(a, &d);
    EXPECT_STR(S("NONE"), text_at(&d, "RequestConfiguration/ContentEncoding"));
    EXPECT_STR(S("FailedDataOnly"), text_at(&d, "S3BackupMode"));
}

TEST(an_update_replaces_what_it_gives_and_keeps_the_rest)
{
    Destination d = read(a,
                         "{\"HttpEndpointDestinationDescription\":{"
                         "\"EndpointConfiguration\":{\"Url\":\"https://a\",\"Name\":\"n\"},"
                         "\"BufferingHints\":{\"SizeInMBs\":2,\"IntervalInSeconds\":9},"
                         "\"S3DestinationDescription\":{" PLACE ",\"Prefix\":\"p/\"}}}",
                         "{\"AccessKey\":\"k\"}");
    Destination update = read(a,
                              "{\"HttpEndpointDestinationDescription\":{"
                              "\"EndpointConfiguration\":{\"Url\":\"https://b\"},"
                              "\"S3DestinationDescription\":{\"Prefix\":\"q/\"}}}",
                              "");
    destination_merge(a, &d, &update);
    EXPECT_STR(S("https://b"), text_at(&d, "EndpointConfiguration/Url"));
    EXPECT_STR(S("(nothing)"), text_at(&d, "EndpointConfiguration/Name"));
    EXPECT_STR(S("2"), text_at(&d, "BufferingHints/SizeInMBs"));
    EXPECT_STR(S("q/"), text_at(&d, "S3DestinationDescription/Prefix"));
    EXPECT_STR(S("arn:aws:s3:::b"), text_at(&d, "S3DestinationDescription/BucketARN"));
    EXPECT_STR(S("k"), tree_text(d.secrets, S("AccessKey")));
    update = read(a, "{\"HttpEndpointDestinationDescription\":{}}", "{\"AccessKey\":\"other\"}");
    destination_merge(a, &d, &update);
    EXPECT_STR(S("other"), tree_text(d.secrets, S("AccessKey")));
}

#define SEARCH "{\"AmazonopensearchserviceDestinationDescription\":{"

TEST(a_search_engine_is_where_the_last_update_says)
{
    Destination d = read(a, SEARCH "\"ClusterEndpoint\":\"https://a\",\"IndexName\":\"i\"}}",
                         "{\"User\":\"u:p\"}");
    Destination update =
        read(a, SEARCH "\"DomainARN\":\"arn:aws:es:us-east-1:1:domain/logs\"}}", "");
    destination_merge(a, &d, &update);
    EXPECT_STR(S("(nothing)"), text_at(&d, "ClusterEndpoint"));
    EXPECT_STR(S("arn:aws:es:us-east-1:1:domain/logs"), text_at(&d, "DomainARN"));
    EXPECT(tree_text(d.secrets, S("User")).p == NULL);
    update = read(a, SEARCH "\"ClusterEndpoint\":\"https://b\"}}", "{\"User\":\"\"}");
    destination_merge(a, &d, &update);
    EXPECT_STR(S("(nothing)"), text_at(&d, "DomainARN"));
    EXPECT_STR(S("https://b"), text_at(&d, "ClusterEndpoint"));
}

TEST(domains_are_where_the_configuration_says)
{
    const Str domains[] = { S_INIT("logs=https://u:p@h:9200/?a=b"),
                            S_INIT("arn:aws:es:eu-west-1:1:domain/other=http://o") };
    struct service_env env = { .domains = domains, .domain_count = COUNT_OF(domains) };
    EXPECT_OK(destination_check_domains(&env));
    EXPECT_STR(S("https://u:p@h:9200/?a=b"),
               destination_domain(&env, S("arn:aws:es:us-east-1:1:domain/logs")));
    EXPECT_STR(S("http://o"), destination_domain(&env, S("arn:aws:es:eu-west-1:1:domain/other")));
    EXPECT_STR(S(""), destination_domain(&env, S("arn:aws:es:us-east-1:1:domain/other")));
    const Str bad[] = { S_INIT("logs"), S_INIT("=https://h"), S_INIT("logs=ftp://h") };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        env = (struct service_env){ .domains = &bad[i], .domain_count = 1 };
        EXPECT_ERR(ERR_INVALID, destination_check_domains(&env));
    }
}

TEST(what_is_kept_is_read_again)
{
    Str description, secrets;
    Destination d = read(a, "{\"SplunkDestinationDescription\":{\"HECEndpoint\":\"https://h\"}}",
                         "{\"HECToken\":\"t\"}");
    EXPECT_OK(destination_write(a, &d, &description, &secrets));
    EXPECT_STR(S("{\"SplunkDestinationDescription\":{\"HECEndpoint\":\"https://h\"}}"),
               description);
    EXPECT_STR(S("{\"HECToken\":\"t\"}"), secrets);
    EXPECT_ERR(ERR_CORRUPT, destination_read(a, S("{\"Other\":{}}"), S(""), &d));
}

// ---- What a delivery is told

static DeliveryConfig *config_of(const char *destination, const char *secrets)
{
    DeliveryConfig *config;
    struct firehose f = { 0 };
    AUTO(hose) h = hose_new(S("000000000000"), S("us-east-1"), S("s"), 9);
    HoseFields fields = { .version = 3,
                          .created_ms = 5,
                          .destination = str_of(destination),
                          .secrets = str_of(secrets) };
    EXPECT_OK(hose_config_make(&f, h, &fields, &config));
    return config;
}

TEST(a_config_of_s3_has_the_bucket_and_the_steps_in_their_order)
{
    DeliveryConfig *c = config_of(
        "{\"ExtendedS3DestinationDescription\":{" PLACE ",\"Prefix\":\"p/\",\"ErrorOutputPrefix\":"
        "\"\",\"CompressionFormat\":\"GZIP\",\"BufferingHints\":{\"SizeInMBs\":64,"
        "\"IntervalInSeconds\":0},\"EncryptionConfiguration\":{\"KMSEncryptionConfig\":"
        "{\"AWSKMSKeyARN\":\"arn:k\"}},\"CustomTimeZone\":\"Europe/Berlin\",\"FileExtension\":"
        "\".json\",\"S3BackupMode\":\"Enabled\",\"S3BackupDescription\":{\"RoleARN\":\"r\","
        "\"BucketARN\":\"arn:aws:s3:::backup\"},\"DynamicPartitioningConfiguration\":{\"Enabled\":"
        "true,\"RetryOptions\":{\"DurationInSeconds\":10}},\"ProcessingConfiguration\":{"
        "\"Enabled\":"
        "true,\"Processors\":[{\"Type\":\"AppendDelimiterToRecord\",\"Parameters\":["
        "{\"ParameterName\":\"Delimiter\",\"ParameterValue\":\"\\\\n\"}]},{\"Type\":"
        "\"MetadataExtraction\",\"Parameters\":[{\"ParameterName\":\"MetadataExtractionQuery\","
        "\"ParameterValue\":\"{k:.k}\"}]},{\"Type\":\"RecordDeAggregation\",\"Parameters\":["
        "{\"ParameterName\":\"SubRecordType\",\"ParameterValue\":\"DELIMITED\"},"
        "{\"ParameterName\":\"Delimiter\",\"ParameterValue\":\"IyM=\"}]},{\"Type\":\"Lambda\","
        "\"Parameters\":[{\"ParameterName\":\"LambdaArn\",\"ParameterValue\":\"arn:l\"},"
        "{\"ParameterName\":\"BufferSizeInMBs\",\"ParameterValue\":\"0.5\"}]}]}}}",
        "");
    EXPECT_INT(DELIVER_S3, c->kind);
    EXPECT_STR(S("b"), c->s3.bucket);
    EXPECT_STR(S("p/"), c->s3.prefix);
    EXPECT(c->s3.error_prefix.p == NULL);
    EXPECT_INT(DELIVERY_GZIP, c->s3.compression);
    EXPECT_STR(S("arn:k"), c->s3.kms_key);
    EXPECT_STR(S("Europe/Berlin"), c->s3.time_zone);
    EXPECT_INT(64 << 20, c->size_bytes);
    EXPECT_INT(0, c->interval_ns);
    EXPECT(c->backup_all && c->partitioned && !c->conversion.enabled);
    EXPECT_STR(S("backup"), c->backup.bucket);
    EXPECT_INT(4, c->step_count);
    EXPECT_INT(STEP_DEAGGREGATE, c->steps[0].kind);
    EXPECT_STR(S("##"), c->steps[0].delimiter);
    EXPECT_INT(STEP_LAMBDA, c->steps[1].kind);
    EXPECT_INT(1 << 19, c->steps[1].size_bytes);
    EXPECT_INT(3, c->steps[1].retries);
    EXPECT_INT(STEP_METADATA, c->steps[2].kind);
    EXPECT_STR(S("\n"), c->steps[3].delimiter);
    EXPECT_INT(9, c->direct_shard);
    EXPECT_INT(3, c->version);
    arena_close(c->arena);
}

TEST(a_config_of_conversion_names_table_and_codec)
{
    DeliveryConfig *c = config_of(
        "{\"ExtendedS3DestinationDescription\":{" PLACE ",\"DataFormatConversionConfiguration\":{"
        "\"SchemaConfiguration\":{\"RoleARN\":\"r\",\"DatabaseName\":\"d\",\"TableName\":\"t\","
        "\"VersionId\":\"LATEST\"},\"InputFormatConfiguration\":{\"Deserializer\":"
        "{\"OpenXJsonSerDe\":{\"CaseInsensitive\":false,\"ColumnToJsonKeyMappings\":{\"a\":\"b\"}}}"
        "},\"OutputFormatConfiguration\":{\"Serializer\":{\"OrcSerDe\":{\"Compression\":\"ZLIB\","
        "\"PaddingTolerance\":0.25,\"BloomFilterColumns\":[\"x\"]}}}}}}",
        "");
    const DeliveryConversion *v = &c->conversion;
    EXPECT(v->enabled && v->orc && !v->hive && !v->case_insensitive);
    EXPECT_STR(S("d"), v->database);
    EXPECT(v->version.p == NULL);
    EXPECT_STR(S("000000000000"), v->catalog_id);
    EXPECT_STR(S("us-east-1"), v->region);
    EXPECT_STR(S("ZLIB"), v->codec);
    EXPECT(v->padding_tolerance == 0.25 && v->bloom_rate == 0.05);
    EXPECT_INT(1, v->bloom_count);
    EXPECT_STR(S("x"), v->bloom_columns[0]);
    EXPECT_STR(S("b"), v->columns[0].value);
    arena_close(c->arena);
}

TEST(configs_of_endpoints_have_their_secrets)
{
    DeliveryConfig *c = config_of(
        "{\"HttpEndpointDestinationDescription\":{\"EndpointConfiguration\":{\"Url\":\"http://h\","
        "\"Name\":\"n\"},\"RequestConfiguration\":{\"ContentEncoding\":\"GZIP\","
        "\"CommonAttributes\":[{\"AttributeName\":\"a\",\"AttributeValue\":\"v\"}]},"
        "\"BufferingHints\":{\"SizeInMBs\":1,\"IntervalInSeconds\":2},\"RetryOptions\":"
        "{\"DurationInSeconds\":7},\"S3BackupMode\":\"AllData\",\"S3DestinationDescription\":"
        "{" PLACE "}}}",
        "{\"AccessKey\":\"k\"}");
    EXPECT_INT(DELIVER_HTTP, c->kind);
    EXPECT_STR(S("k"), c->http.access_key);
    EXPECT(c->http.gzip && c->backup_all);
    EXPECT_STR(S("v"), c->http.attributes[0].value);
    EXPECT_INT(2 * NS_PER_S, c->interval_ns);
    EXPECT_INT(7 * NS_PER_S, c->retry_ns);
    EXPECT_STR(S("b"), c->backup.bucket);
    EXPECT(c->s3.bucket.p == NULL);
    arena_close(c->arena);
    c = config_of("{\"SplunkDestinationDescription\":{\"HECEndpoint\":\"https://h\","
                  "\"HECEndpointType\":\"Event\",\"S3DestinationDescription\":{" PLACE "}}}",
                  "{\"HECToken\":\"t\"}");
    EXPECT(c->splunk.event && !c->backup_all);
    EXPECT_STR(S("t"), c->splunk.token);
    arena_close(c->arena);
    c = config_of("{\"ElasticsearchDestinationDescription\":{\"ClusterEndpoint\":\"https://h\","
                  "\"IndexName\":\"i\",\"IndexRotationPeriod\":\"OneWeek\","
                  "\"S3DestinationDescription\":{" PLACE "}}}",
                  "{\"User\":\"u:p\"}");
    EXPECT_STR(S("https://u:p@h"), c->search.url);
    EXPECT_INT(ROTATE_WEEK, c->search.rotation);
    EXPECT_STR(S("i"), c->search.index);
    EXPECT(!c->search.own_ids && !c->search.serverless);
    arena_close(c->arena);
}

// SPDX-License-Identifier: Apache-2.0
// What a delivery is to do: the source, what happens to records on the way, where they go and what
// is done with those that cannot go there. Made by a front door (svc/firehose, channels of
// svc/kinesis) from its own shapes; never changed, replaced as a whole. Everything lives in the
// arena of the config.
#pragma once
#include "hub/source.h"

struct LogEntry; // store/log.h

enum {
    DELIVERY_KEYS_MAX = 50,        // partition keys of a stream
    DELIVERY_PARTITIONS_MAX = 500, // live ones
};

typedef enum DeliveryCompression {
    DELIVERY_PLAIN,
    DELIVERY_GZIP,
    DELIVERY_ZIP,
    DELIVERY_SNAPPY,
    DELIVERY_HADOOP_SNAPPY,
    DELIVERY_ZSTD, // of channels
} DeliveryCompression;

// A place in S3: of the destination itself, of the backup, and of what has failed.
typedef struct DeliveryBucket {
    Str bucket; // absent: there is no such place
    Str role_arn;
    Str prefix, error_prefix; // expressions; absent: the defaults
    Str time_zone;            // an IANA name; absent: UTC
    Str extension;            // ".json"; absent: the default of what is written
    Str kms_key;
    Str owner;         // the account that the bucket must belong to; absent: any
    Str storage_class; // absent: STANDARD
    DeliveryCompression compression;
    int64_t size_bytes, interval_ns; // buffering hints of this place
} DeliveryBucket;

typedef enum DeliveryStepKind {
    STEP_DECOMPRESS,  // GZIP of CloudWatch Logs
    STEP_CLOUDWATCH,  // only the messages of it
    STEP_DEAGGREGATE, // sub_type, delimiter
    STEP_LAMBDA,
    STEP_METADATA, // query
    STEP_DELIMIT,  // delimiter
    STEP_JSON,     // what is no JSON document fails
} DeliveryStepKind;

typedef struct DeliveryStep {
    DeliveryStepKind kind;
    bool by_delimiter; // STEP_DEAGGREGATE: DELIMITED, else JSON
    Str delimiter;     // the bytes themselves
    Str query;         // jq
    Str lambda_arn, role_arn;
    int64_t retries;                 // of the function
    int64_t size_bytes, interval_ns; // of the function's batches
} DeliveryStep;

typedef struct DeliveryPair {
    Str name, value;
} DeliveryPair;

// JSON rows to columnar files.
typedef struct DeliveryConversion {
    bool enabled;
    Str role_arn, catalog_id, region, database, table, version; // absent version: the latest
    bool hive; // HiveJsonSerDe, else OpenXJsonSerDe
    const Str *time_formats;
    size_t time_format_count;
    bool case_insensitive, dots_to_underscores;
    const DeliveryPair *columns; // column to JSON key
    size_t column_count;
    bool orc;  // else Parquet
    Str codec; // the API's word: "SNAPPY", "GZIP", "ZLIB", "NONE", "UNCOMPRESSED"
    int64_t block_bytes, page_bytes, padding_max; // 0: the default
    bool dictionary, v2;
    int64_t stripe_bytes, row_stride; // of ORC
    bool padding, v0_11;
    double padding_tolerance, bloom_rate, dictionary_threshold;
    const Str *bloom_columns;
    size_t bloom_count;
} DeliveryConversion;

typedef enum DeliveryKind {
    DELIVER_S3,
    DELIVER_REDSHIFT,
    DELIVER_SEARCH, // OpenSearch, Elasticsearch, serverless
    DELIVER_SPLUNK,
    DELIVER_HTTP,
} DeliveryKind;

typedef struct DeliverySearch {
    Str url, index, type;
    enum { ROTATE_NEVER, ROTATE_HOUR, ROTATE_DAY, ROTATE_WEEK, ROTATE_MONTH } rotation;
    bool own_ids;    // NO_DOCUMENT_ID: the cluster gives them
    bool serverless; // error records name osDocumentId, osIndexName
} DeliverySearch;

typedef struct DeliverySplunk {
    Str url, token;
    bool event; // the endpoint for events, else for raw bytes
    int64_t ack_timeout_ns;
} DeliverySplunk;

typedef struct DeliveryHttp {
    Str url, name, access_key; // absent key: none
    bool gzip;
    const DeliveryPair *attributes;
    size_t attribute_count;
} DeliveryHttp;

typedef struct DeliveryRedshift {
    Str jdbc_url, user, password;
    Str role_arn; // of COPY; absent: that of the bucket
    Str table, columns, options;
} DeliveryRedshift;

typedef struct DeliveryConfig {
    struct arena *arena; // of everything here
    Str account, region;
    Str name, arn;    // of the delivery stream or channel: in names of objects, in requests
    Str service;      // "firehose.amazonaws.com": whom roles must trust
    uint64_t id;      // never given twice (kv_next_id): positions are kept by it
    uint64_t version; // in names of objects

    // The source: a shard of the log that the front door writes to; or a stream of another service.
    uint64_t direct_shard; // 0: the stream
    // Opens records of the direct shard that the front door has sealed, in place; called for each
    // piece that was read, where it may block. NULL: none is. An error: their key cannot be used
    // now, and they are tried again later.
    void *unseal_self;
    Err (*unseal)(void *self, struct arena *a, struct LogEntry *at, size_t n);
    Str source_arn, source_role_arn;
    int64_t start_ms; // where a delivery begins that has no position yet: records from then on

    const DeliveryStep *steps; // in the order in which they are done
    size_t step_count;
    bool partitioned; // dynamic partitioning
    DeliveryConversion conversion;

    DeliveryKind kind;
    int64_t size_bytes, interval_ns; // buffering hints of the destination
    int64_t retry_ns;      // how long it is tried; S3 is tried as long as there are records
    DeliveryBucket s3;     // DELIVER_S3: the destination; REDSHIFT: of the objects that are copied
    DeliveryBucket backup; // where source records (backup_all) or failed ones go
    bool backup_all;
    DeliveryBucket errors; // where failed records go if it is set; else below s3 or backup
    // Credentials of the destination that are kept in a secret (hub/secrets.h), in JSON. Absent:
    // they stand below.
    Str secret_arn, secret_role_arn;
    union {
        DeliverySearch search;
        DeliverySplunk splunk;
        DeliveryHttp http;
        DeliveryRedshift redshift;
    };
} DeliveryConfig;

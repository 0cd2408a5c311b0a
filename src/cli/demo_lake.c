// SPDX-License-Identifier: Apache-2.0
#include "cli/demo_lake.h"
#include "base/map.h"
#include "base/time.h"
#include "cli/delivery_role.h"
#include "cli/term.h"
#include "columnar/columnar.h"
#include "os/io.h"

#include <stdlib.h>

enum { TAIL_BYTES = 64 << 10, KEY_BYTES_MAX = 1024 };
#define BUCKET S("lake")
#define DELIVERY S("clicks-to-lake")
#define LOOK_NS (100 * NS_PER_MS)
#define QUIET_NS (60 * NS_PER_S) // without a new object, until the rest counts as not delivered
#define WAIT_NS (180 * NS_PER_S)

struct demo_lake {
    const struct invocation *in;
    struct client *c;
    struct arena *a;  // keys
    struct map *seen; // keys of objects that are counted
    DemoLake now;
};

static ExitCode call(struct demo_lake *l, struct arena *a, const ClientService *service,
                     Str operation, Str body, ClientReply *ret)
{
    Err e = client_call(l->c, a, service, operation, body, ret);
    if (e.kind != ERR_NONE)
        return remote_unreachable(l->in, e);
    return ret->error.p != NULL ? remote_complain(ret) : EXIT_GOOD;
}

// ---- Making it

static ExitCode make_table(struct demo_lake *l)
{
    ClientReply reply;
    ExitCode code = call(l, l->a, &client_glue, S("CreateDatabase"),
                         S("{\"DatabaseInput\":{\"Name\":\"web\"}}"), &reply);
    if (code != EXIT_GOOD)
        return code;
    return call(l, l->a, &client_glue, S("CreateTable"),
                S("{\"DatabaseName\":\"web\",\"TableInput\":{\"Name\":\"clicks\","
                  "\"TableType\":\"EXTERNAL_TABLE\",\"PartitionKeys\":["
                  "{\"Name\":\"day\",\"Type\":\"date\"},{\"Name\":\"hour\",\"Type\":\"int\"}],"
                  "\"StorageDescriptor\":{\"Location\":\"s3://lake/clicks/\",\"Columns\":["
                  "{\"Name\":\"producer\",\"Type\":\"int\"},"
                  "{\"Name\":\"number\",\"Type\":\"bigint\"},"
                  "{\"Name\":\"sent_ns\",\"Type\":\"bigint\"},"
                  "{\"Name\":\"user\",\"Type\":\"string\"},"
                  "{\"Name\":\"page\",\"Type\":\"string\"},"
                  "{\"Name\":\"pad\",\"Type\":\"string\"}],\"InputFormat\":"
                  "\"org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat\","
                  "\"OutputFormat\":"
                  "\"org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat\","
                  "\"SerdeInfo\":{\"SerializationLibrary\":"
                  "\"org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe\"}}}}"),
                &reply);
}

static Str delivery_request(struct arena *a, Str stream_arn, Str role)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"DeliveryStreamName\":\"clicks-to-lake\",\"DeliveryStreamType\":"
                  "\"KinesisStreamAsSource\",\"KinesisStreamSourceConfiguration\":"
                  "{\"KinesisStreamARN\":"));
    add_json_text(&b, stream_arn);
    buf_add(&b, S(",\"RoleARN\":"));
    add_json_text(&b, role);
    buf_add(&b, S("},\"ExtendedS3DestinationConfiguration\":{\"BucketARN\":\"arn:aws:s3:::lake\","
                  "\"Prefix\":\"clicks/day=!{timestamp:yyyy-MM-dd}/hour=!{timestamp:HH}/\","
                  "\"ErrorOutputPrefix\":\"errors/!{firehose:error-output-type}/\","
                  "\"BufferingHints\":{\"SizeInMBs\":64,\"IntervalInSeconds\":5},"
                  "\"DataFormatConversionConfiguration\":{\"Enabled\":true,"
                  "\"InputFormatConfiguration\":{\"Deserializer\":{\"OpenXJsonSerDe\":{}}},"
                  "\"OutputFormatConfiguration\":{\"Serializer\":{\"ParquetSerDe\":{}}},"
                  "\"SchemaConfiguration\":{\"DatabaseName\":\"web\",\"TableName\":\"clicks\","
                  "\"Region\":\"us-east-1\",\"RoleARN\":"));
    add_json_text(&b, role);
    buf_add(&b, S("}},\"RoleARN\":"));
    add_json_text(&b, role);
    buf_add(&b, S("}}"));
    return str_dup(a, buf_str(&b));
}

static ExitCode wait_active(struct demo_lake *l)
{
    struct io *io = io_real();
    int64_t deadline = io->mono_ns(io) + WAIT_NS;
    while (io->mono_ns(io) < deadline) {
        ClientReply reply;
        JsonValue *v = NULL;
        ExitCode code = call(l, l->a, &client_firehose, S("DescribeDeliveryStream"),
                             S("{\"DeliveryStreamName\":\"clicks-to-lake\"}"), &reply);
        if (code != EXIT_GOOD)
            return code;
        if (json_parse(l->a, reply.body, &v).kind != ERR_NONE)
            return complain(EXIT_FAILED, "the server's answer is not JSON");
        Str status =
            json_text(json_find(v, S("DeliveryStreamDescription")), S("DeliveryStreamStatus"));
        if (str_eq(status, S("ACTIVE")))
            return EXIT_GOOD;
        io->sleep_ns(io, LOOK_NS);
    }
    return complain(EXIT_TIMEOUT, "the delivery stream did not become active");
}

static ExitCode make(struct demo_lake *l, Str stream_arn)
{
    ClientReply reply;
    S3OutReply made;
    Str role;
    ExitCode code = delivery_role(l->in, l->c, &role);
    if (code == EXIT_GOOD)
        code = blob_call(l->in, l->c, &(S3OutCall){ .method = S("PUT"), .bucket = BUCKET }, &made);
    if (code == EXIT_GOOD)
        code = make_table(l);
    if (code == EXIT_GOOD)
        code = call(l, l->a, &client_firehose, S("CreateDeliveryStream"),
                    delivery_request(l->a, stream_arn, role), &reply);
    return code == EXIT_GOOD ? wait_active(l) : code;
}

ExitCode demo_lake_open(const struct invocation *in, struct client *c, Str stream_arn,
                        struct demo_lake **ret)
{
    struct demo_lake *l = xalloc(sizeof *l);
    l->in = in;
    l->c = c;
    l->a = arena_open();
    l->seen = map_open();
    ExitCode code = make(l, stream_arn);
    if (code != EXIT_GOOD) {
        demo_lake_close(l);
        return code;
    }
    *ret = l;
    return EXIT_GOOD;
}

void demo_lake_close(struct demo_lake *l)
{
    if (l == NULL)
        return;
    map_close(l->seen);
    arena_close(l->a);
    free(l);
}

// ---- Looking

// The rows that the footer of an object tells of.
static ExitCode count_rows(struct invocation *in, struct client *c, Str key, uint64_t *ret)
{
    size_t tail = TAIL_BYTES, needed = 0;
    for (int tries = 0; tries < 2; tries++, tail = needed) {
        const HttpHeader range = { S("range"), str_fmt(in->a, "bytes=-%zu", tail) };
        const S3OutCall get = {
            .method = S("GET"), .bucket = BUCKET, .key = key, .headers = &range, .header_count = 1
        };
        S3OutReply reply;
        ExitCode code = blob_call(in, c, &get, &reply);
        if (code != EXIT_GOOD)
            return code;
        Err e = columnar_parquet_rows(reply.http.body, ret, &needed);
        if (e.kind == ERR_NONE)
            return EXIT_GOOD;
        if (e.kind != ERR_LIMIT)
            break;
    }
    return complain(EXIT_FAILED, "s3://lake/%.*s is no Parquet file", FMT(key));
}

static ExitCode take_entry(struct demo_lake *l, struct invocation *in, const BlobEntry *entry)
{
    uint64_t rows = 0, bytes = 0;
    if (map_get(l->seen, entry->key) != NULL)
        return EXIT_GOOD;
    ExitCode code = count_rows(in, l->c, entry->key, &rows);
    if (code != EXIT_GOOD)
        return code;
    err_ignore(str_u64(entry->bytes, &bytes)); // only shown
    l->now.newest = str_dup(l->a, entry->key);
    map_put(l->seen, l->now.newest, l);
    l->now.objects++;
    l->now.rows += rows;
    l->now.bytes += bytes;
    return EXIT_GOOD;
}

ExitCode demo_lake_look(struct demo_lake *l, DemoLake *ret)
{
    AUTO(arena) a = arena_open();
    struct invocation in = *l->in;
    const BlobPlace place = { .bucket = BUCKET, .key = S("clicks/") };
    BlobEntry *entries;
    size_t n;
    Str token = { 0 };
    ExitCode code;
    in.a = a;
    do {
        code = blob_entries(&in, l->c, &place, true, &token, &entries, &n);
        for (size_t i = 0; i < n && code == EXIT_GOOD; i++)
            code = take_entry(l, &in, &entries[i]);
    } while (code == EXIT_GOOD && token.n > 0);
    *ret = l->now;
    return code;
}

ExitCode demo_lake_drain(struct demo_lake *l, uint64_t records, DemoLake *ret)
{
    struct io *io = io_real();
    ClientReply reply;
    int64_t quiet_since = io->mono_ns(io);
    uint64_t last = UINT64_MAX;
    for (;;) {
        AUTO(arena) a = arena_open();
        Err e =
            client_ask(l->c, a, S("firehose/flush"), S("{\"stream\":\"clicks-to-lake\"}"), &reply);
        if (e.kind != ERR_NONE)
            return remote_unreachable(l->in, e);
        if (reply.status != 200)
            return remote_refused(&reply);
        ExitCode code = demo_lake_look(l, ret);
        if (code != EXIT_GOOD || ret->rows >= records)
            return code;
        if (ret->rows != last)
            quiet_since = io->mono_ns(io);
        last = ret->rows;
        if (io->mono_ns(io) - quiet_since > QUIET_NS)
            return EXIT_GOOD;
        io->sleep_ns(io, LOOK_NS);
    }
}

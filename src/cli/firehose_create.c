// SPDX-License-Identifier: Apache-2.0
// The usual delivery streams by flags, every other by the document that CreateDeliveryStream takes.
#include "base/time.h"
#include "cli/blob.h"
#include "cli/commands.h"
#include "cli/delivery_role.h"
#include "cli/firehose.h"
#include "cli/term.h"
#include "os/io.h"

enum { CONFIG_BYTES_MAX = 1 << 20, SIZE_MIB_MAX = 128, INTERVAL_S_MAX = 900 };
enum { SIZE_MIB_PLAIN = 5, SIZE_MIB_CONVERTED = 64, INTERVAL_S = 60 };

static const Flag flags[] = {
    { S_INIT("to"), 0, S_INIT("PLACE"), S_INIT("s3://BUCKET[/PREFIX], or the URL of an endpoint") },
    { S_INIT("from"), 0, S_INIT("STREAM"), S_INIT("Reads a stream; else it is put to directly") },
    { S_INIT("table"), 0, S_INIT("DB.TABLE"),
      S_INIT("JSON becomes Parquet with the columns of this table of Glue") },
    { S_INIT("orc"), 0, S_INIT(""), S_INIT("ORC in place of Parquet") },
    { S_INIT("gzip"), 0, S_INIT(""), S_INIT("Compress objects and requests") },
    { S_INIT("size"), 0, S_INIT("MIB"), S_INIT("Deliver when so much waits; 5, converted 64") },
    { S_INIT("interval"), 0, S_INIT("SECONDS"), S_INIT("Or after this long; 60") },
    { S_INIT("errors"), 0, S_INIT("PLACE"),
      S_INIT("Where failed records go: a prefix, for an endpoint s3://BUCKET[/PREFIX]") },
    { S_INIT("access-key"), 0, S_INIT("KEY"), S_INIT("What an endpoint wants to see") },
    { S_INIT("role"), 0, S_INIT("ARN"), S_INIT("Else headrace-delivery, made if it is not there") },
    { S_INIT("request"), 0, S_INIT("FILE"),
      S_INIT("The whole request of CreateDeliveryStream as JSON, in place of the flags above") },
    { S_INIT("no-wait"), 0, S_INIT(""), S_INIT("Do not wait until it is active") },
};

struct wish {
    struct invocation *in;
    struct client *c;
    Str role;
    uint64_t size, interval;
};

static void add_member(struct buf *b, const char *name, Str value)
{
    buf_addf(b, ",\"%s\":", name);
    add_json_text(b, value);
}

static void add_hints(struct buf *b, const struct wish *w)
{
    buf_addf(b, ",\"BufferingHints\":{\"SizeInMBs\":%llu,\"IntervalInSeconds\":%llu}",
             (unsigned long long)w->size, (unsigned long long)w->interval);
}

static void add_bucket(struct buf *b, const struct wish *w, const BlobPlace *place)
{
    buf_add(b, S("{\"RoleARN\":"));
    add_json_text(b, w->role);
    add_member(b, "BucketARN", str_cat(w->in->a, S("arn:aws:s3:::"), place->bucket));
    if (place->key.n > 0)
        add_member(b, "Prefix", place->key);
}

static ExitCode add_conversion(struct buf *b, const struct wish *w, Str table)
{
    Str database, name;
    if (!str_cut(table, '.', &database, &name) || name.n == 0)
        return complain(EXIT_USAGE, "--table must be DATABASE.TABLE");
    buf_add(b, S(",\"DataFormatConversionConfiguration\":{\"Enabled\":true,"
                 "\"InputFormatConfiguration\":{\"Deserializer\":{\"OpenXJsonSerDe\":{}}},"
                 "\"OutputFormatConfiguration\":{\"Serializer\":{"));
    buf_add(b, flag_given(w->in, S("orc")) ? S("\"OrcSerDe\":{}") : S("\"ParquetSerDe\":{}"));
    buf_add(b, S("}},\"SchemaConfiguration\":{\"RoleARN\":"));
    add_json_text(b, w->role);
    add_member(b, "DatabaseName", database);
    add_member(b, "TableName", name);
    buf_add(b, S("}}"));
    return EXIT_GOOD;
}

static ExitCode add_s3(struct buf *b, const struct wish *w, Str to)
{
    BlobPlace place;
    Str table = flag_text(w->in, S("table")), errors = flag_text(w->in, S("errors"));
    ExitCode code = blob_place(to, false, &place);
    if (code != EXIT_GOOD)
        return code;
    buf_add(b, S(",\"ExtendedS3DestinationConfiguration\":"));
    add_bucket(b, w, &place);
    if (errors.p != NULL)
        add_member(b, "ErrorOutputPrefix", errors);
    add_hints(b, w);
    if (flag_given(w->in, S("gzip")) && table.p == NULL)
        add_member(b, "CompressionFormat", S("GZIP"));
    if (table.p != NULL)
        code = add_conversion(b, w, table);
    buf_add(b, S("}"));
    return code;
}

static ExitCode add_endpoint(struct buf *b, const struct wish *w, Str url)
{
    BlobPlace place;
    Str key = flag_text(w->in, S("access-key")), errors = flag_text(w->in, S("errors"));
    if (errors.p == NULL)
        return complain(EXIT_USAGE, "an endpoint needs --errors s3://BUCKET, for what it refuses");
    ExitCode code = blob_place(errors, false, &place);
    if (code != EXIT_GOOD)
        return code;
    buf_add(b, S(",\"HttpEndpointDestinationConfiguration\":{\"EndpointConfiguration\":{\"Url\":"));
    add_json_text(b, url);
    if (key.p != NULL)
        add_member(b, "AccessKey", key);
    buf_add(b, S("}"));
    add_hints(b, w);
    if (flag_given(w->in, S("gzip")))
        buf_add(b, S(",\"RequestConfiguration\":{\"ContentEncoding\":\"GZIP\"}"));
    add_member(b, "RoleARN", w->role);
    buf_add(b, S(",\"S3Configuration\":"));
    add_bucket(b, w, &place);
    buf_add(b, S("}}"));
    return EXIT_GOOD;
}

// The stream's ARN: the only question that is Kinesis' own.
static ExitCode add_source(struct buf *b, const struct wish *w, Str stream)
{
    ClientReply reply = { 0 };
    JsonValue *v = NULL;
    struct arena *a = w->in->a;
    Err e = client_call(w->c, a, &client_kinesis, S("DescribeStreamSummary"),
                        stream_body(a, stream), &reply);
    if (e.kind != ERR_NONE)
        return remote_unreachable(w->in, e);
    if (reply.error.p != NULL)
        return remote_complain(&reply);
    if (json_parse(a, reply.body, &v).kind != ERR_NONE)
        return complain(EXIT_FAILED, "the server's answer is not JSON");
    Str arn = json_text(json_find(v, S("StreamDescriptionSummary")), S("StreamARN"));
    buf_add(b, S(",\"DeliveryStreamType\":\"KinesisStreamAsSource\","
                 "\"KinesisStreamSourceConfiguration\":{\"KinesisStreamARN\":"));
    add_json_text(b, arn);
    add_member(b, "RoleARN", w->role);
    buf_add(b, S("}"));
    return EXIT_GOOD;
}

static ExitCode read_numbers(struct wish *w)
{
    bool converted = flag_text(w->in, S("table")).p != NULL;
    uint64_t size = converted ? SIZE_MIB_CONVERTED : SIZE_MIB_PLAIN;
    ExitCode code = flag_number(w->in, S("size"), 1, SIZE_MIB_MAX, size, &w->size);
    if (code == EXIT_GOOD)
        code = flag_number(w->in, S("interval"), 0, INTERVAL_S_MAX, INTERVAL_S, &w->interval);
    return code;
}

static ExitCode write_request(struct buf *b, struct wish *w)
{
    Str to = flag_text(w->in, S("to")), from = flag_text(w->in, S("from"));
    if (to.p == NULL)
        return complain(EXIT_USAGE, "say where to: --to s3://BUCKET, --to URL, or --request FILE");
    bool is_url = str_starts(to, S("https://")) || str_starts(to, S("http://"));
    if (!is_url && !str_starts(to, S("s3://")) && str_search(to, S("://")) < to.n)
        return complain(EXIT_USAGE, "--to must be s3://BUCKET[/PREFIX] or a URL of http or https");
    ExitCode code = read_numbers(w);
    w->role = flag_text(w->in, S("role"));
    if (code == EXIT_GOOD && w->role.p == NULL)
        code = delivery_role(w->in, w->c, &w->role);
    if (code != EXIT_GOOD)
        return code;
    buf_add(b, S("{\"DeliveryStreamName\":"));
    add_json_text(b, w->in->args[0]);
    if (from.p != NULL)
        code = add_source(b, w, from);
    if (code == EXIT_GOOD)
        code = is_url ? add_endpoint(b, w, to) : add_s3(b, w, to);
    buf_add(b, S("}"));
    return code;
}

// The file's, of the same delivery stream.
static ExitCode read_request(struct buf *b, const struct invocation *in, Str path)
{
    Str content;
    JsonValue *v = NULL;
    Err e = io_read_file(io_real(), in->a, path, CONFIG_BYTES_MAX, &content);
    if (e.kind != ERR_NONE)
        return complain_unread(path, e);
    if (json_parse(in->a, content, &v).kind != ERR_NONE || v->kind != JSON_MAP)
        return complain(EXIT_USAGE, "%.*s is not a JSON object", FMT(path));
    Str name = json_text(v, S("DeliveryStreamName"));
    if (!str_eq(name, in->args[0]))
        return complain(EXIT_USAGE, "DeliveryStreamName in %.*s is \"%.*s\", not \"%.*s\"",
                        FMT(path), FMT(name), FMT(in->args[0]));
    buf_add(b, content);
    return EXIT_GOOD;
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    AUTO_BUF(b);
    const JsonValue *reply = NULL;
    struct wish w = { .in = in };
    Str path = flag_text(in, S("request"));
    ExitCode code = remote_open(in, &c);
    w.c = c;
    if (code != EXIT_GOOD)
        return code;
    code = path.p != NULL ? read_request(&b, in, path) : write_request(&b, &w);
    if (code == EXIT_GOOD)
        code = remote_call(in, c, S("CreateDeliveryStream"), buf_str(&b), &reply);
    if (code == EXIT_GOOD && !flag_given(in, S("no-wait")))
        code = firehose_wait_active(in, c, in->args[0]);
    return code;
}

const struct command command_firehose_create = {
    .name = S_INIT("firehose create"),
    .summary = S_INIT("Create a delivery stream"),
    .usage = S_INIT("NAME --to PLACE [--from STREAM] [--table DB.TABLE] | NAME --request FILE"),
    .details = S_INIT("A prefix may have expressions, as !{timestamp:yyyy/MM/dd/HH}; then --errors "
                      "must say where to.\nDeliveryStreamName in a file must be NAME."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace firehose create logs --to s3://lake/logs/ --gzip"),
                    S_INIT("what is put becomes compressed objects") },
                  { S_INIT("headrace firehose create lake --from clicks --to s3://lake/clicks/ "
                           "--table web.clicks"),
                    S_INIT("a stream becomes Parquet") } },
    .see_also = S_INIT("firehose send, firehose show, blob mb"),
    .run = run,
};

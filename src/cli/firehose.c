// SPDX-License-Identifier: Apache-2.0
#include "cli/firehose.h"
#include "base/time.h"
#include "cli/term.h"
#include "os/io.h"

#define POLL_NS (50 * NS_PER_MS)

Str firehose_body(struct arena *a, Str name)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"DeliveryStreamName\":"));
    add_json_text(&b, name);
    buf_add(&b, S("}"));
    return str_dup(a, buf_str(&b));
}

ExitCode firehose_describe(const struct invocation *in, struct client *c, Str name,
                           const JsonValue **ret)
{
    const JsonValue *reply = NULL;
    ExitCode code =
        remote_call(in, c, S("DescribeDeliveryStream"), firehose_body(in->a, name), &reply);
    if (code != EXIT_GOOD)
        return code;
    *ret = json_find(reply, S("DeliveryStreamDescription"));
    return *ret != NULL ? EXIT_GOOD : complain(EXIT_FAILED, "the server describes nothing");
}

ExitCode firehose_wait_active(const struct invocation *in, struct client *c, Str name)
{
    struct io *io = io_real();
    int64_t deadline = io->mono_ns(io) + FIREHOSE_WAIT_S * NS_PER_S;
    while (io->mono_ns(io) < deadline) {
        const JsonValue *d = NULL;
        ExitCode code = firehose_describe(in, c, name, &d);
        if (code != EXIT_GOOD)
            return code;
        Str status = json_text(d, S("DeliveryStreamStatus"));
        if (str_eq(status, S("ACTIVE")))
            return EXIT_GOOD;
        if (str_eq(status, S("CREATING_FAILED")))
            return complain(EXIT_FAILED, "delivery stream %.*s could not be made: %.*s", FMT(name),
                            FMT(json_text(json_find(d, S("FailureDescription")), S("Details"))));
        io->sleep_ns(io, POLL_NS);
    }
    return complain(EXIT_TIMEOUT, "delivery stream %.*s did not become active", FMT(name));
}

// "arn:aws:s3:::bucket", "arn:aws:kinesis:us-east-1:000000000000:stream/clicks".
static Str last_of(Str arn, char separator)
{
    Str head, rest;
    while (str_cut(arn, separator, &head, &rest))
        arn = rest;
    return arn;
}

static Str bucket_place(struct arena *a, const JsonValue *s3)
{
    Str prefix = json_text(s3, S("Prefix"));
    return str_fmt(a, "s3://%.*s/%.*s", FMT(last_of(json_text(s3, S("BucketARN")), ':')),
                   FMT(prefix));
}

FirehoseEnds firehose_ends(struct arena *a, const JsonValue *description)
{
    static const struct {
        Str member, kind, url, inside; // where the URL is, and in which member
    } kinds[] = {
        { S_INIT("RedshiftDestinationDescription"), S_INIT("redshift"), S_INIT("ClusterJDBCURL"),
          S_INIT("") },
        { S_INIT("ElasticsearchDestinationDescription"), S_INIT("elasticsearch"),
          S_INIT("ClusterEndpoint"), S_INIT("") },
        { S_INIT("AmazonopensearchserviceDestinationDescription"), S_INIT("opensearch"),
          S_INIT("ClusterEndpoint"), S_INIT("") },
        { S_INIT("AmazonOpenSearchServerlessDestinationDescription"), S_INIT("opensearch"),
          S_INIT("CollectionEndpoint"), S_INIT("") },
        { S_INIT("SplunkDestinationDescription"), S_INIT("splunk"), S_INIT("HECEndpoint"),
          S_INIT("") },
        { S_INIT("HttpEndpointDestinationDescription"), S_INIT("http"), S_INIT("Url"),
          S_INIT("EndpointConfiguration") },
    };
    FirehoseEnds ends = { .source = S("direct"), .kind = S(""), .place = S("") };
    const JsonValue *source = json_find(description, S("Source"));
    const JsonValue *stream =
        source != NULL ? json_find(source, S("KinesisStreamSourceDescription")) : NULL;
    if (stream != NULL)
        ends.source = last_of(json_text(stream, S("KinesisStreamARN")), '/');
    const JsonValue *list = json_find(description, S("Destinations"));
    if (list == NULL || list->kind != JSON_LIST || list->n == 0)
        return ends;
    const JsonValue *destination = &list->items[0], *d;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        if ((d = json_find(destination, kinds[i].member)) == NULL)
            continue;
        if (kinds[i].inside.n > 0)
            d = json_find(d, kinds[i].inside);
        ends.kind = kinds[i].kind;
        ends.place = d != NULL ? json_text(d, kinds[i].url) : S("");
        return ends;
    }
    d = json_find(destination, S("ExtendedS3DestinationDescription"));
    if (d == NULL)
        d = json_find(destination, S("S3DestinationDescription"));
    if (d != NULL) {
        ends.kind = S("s3");
        ends.place = bucket_place(a, d);
    }
    return ends;
}

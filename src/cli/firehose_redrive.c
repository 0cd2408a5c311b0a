// SPDX-License-Identifier: Apache-2.0
// What a delivery stream could not deliver lies in objects below its error prefix: a JSON document
// on each line, with the record as it came in `rawData`. These are put again.
#include "cli/blob.h"
#include "cli/commands.h"
#include "cli/firehose.h"
#include "cli/put_batch.h"
#include "codec/base64.h"
#include "codec/gzip.h"

#include <stdio.h>

enum { OBJECT_BYTES_MAX = 512 << 20 };

static const Flag flags[] = {
    { S_INIT("remove"), 0, S_INIT(""), S_INIT("Remove each object when all of it is put again") },
    { S_INIT("dry-run"), 0, S_INIT(""), S_INIT("Only count") },
};

struct redrive {
    struct invocation *in;
    struct client *c;
    struct put_batch *batch;
    Str bucket;
    uint64_t objects, records, skipped;
};

static ExitCode read_object(const struct redrive *r, struct invocation *in, Str key,
                            struct buf *into)
{
    for (;;) {
        const HttpHeader range = { S("range"), str_fmt(in->a, "bytes=%zu-%zu", into->n,
                                                       into->n + BLOB_PART_BYTES - 1) };
        const S3OutCall call = { .method = S("GET"),
                                 .bucket = r->bucket,
                                 .key = key,
                                 .headers = &range,
                                 .header_count = 1 };
        S3OutReply reply;
        Err e = client_s3(r->c, in->a, &call, &reply);
        if (e.kind != ERR_NONE)
            return remote_unreachable(in, e);
        if (reply.status == 416) // it ended with the range before, or is empty
            return EXIT_GOOD;
        if (reply.code.p != NULL)
            return remote_complain(&(ClientReply){
                .status = reply.status, .error = reply.code, .message = reply.message });
        buf_add(into, reply.http.body);
        if (reply.http.body.n < BLOB_PART_BYTES)
            return EXIT_GOOD;
        if (into->n > OBJECT_BYTES_MAX)
            return complain(EXIT_FAILED, "%.*s is larger than error objects are", FMT(key));
    }
}

// The record of a line; false: it is none.
static bool raw_data(struct arena *a, Str line, Str *ret)
{
    JsonValue *v = NULL;
    if (json_parse(a, line, &v).kind != ERR_NONE)
        return false;
    Str text = json_text(v, S("rawData"));
    if (text.p == NULL)
        return false;
    char *bytes = arena_alloc(a, base64_decoded_max(text.n), 1);
    Base64Result result = base64_decode(bytes, text.p, text.n);
    *ret = str_from(bytes, result.n);
    return result.fault == BASE64_GOOD;
}

static ExitCode put_line(struct redrive *r, struct arena *a, Str line)
{
    Str data;
    if (!raw_data(a, line, &data)) {
        r->skipped++;
        return EXIT_GOOD;
    }
    r->records++;
    if (flag_given(r->in, S("dry-run")))
        return EXIT_GOOD;
    ExitCode code = EXIT_GOOD;
    if (!put_batch_has_room(r->batch, data.n))
        code = put_batch_flush(r->batch);
    if (code == EXIT_GOOD)
        put_batch_add(r->batch, &(PutEntry){ .data = data });
    return code;
}

static ExitCode put_object(struct redrive *r, Str key)
{
    AUTO(arena) a = arena_open();
    struct invocation in = *r->in;
    in.a = a;
    AUTO_BUF(content);
    ExitCode code = read_object(r, &in, key, &content);
    Str rest = buf_str(&content), line;
    uint64_t skipped = r->skipped;
    if (code == EXIT_GOOD && str_starts(rest, S("\x1f\x8b")) &&
        gzip_unpack(a, rest, OBJECT_BYTES_MAX, &rest).kind != ERR_NONE)
        code = complain(EXIT_FAILED, "%.*s is no sound gzip file", FMT(key));
    while (code == EXIT_GOOD && rest.n > 0) {
        (void)str_cut(rest, '\n', &line, &rest); // the last one may have no end
        if (line.n > 0)
            code = put_line(r, a, line);
    }
    if (code == EXIT_GOOD && r->batch != NULL)
        code = put_batch_flush(r->batch);
    r->objects++;
    if (code != EXIT_GOOD || !flag_given(r->in, S("remove")) || flag_given(r->in, S("dry-run")) ||
        r->skipped > skipped)
        return code;
    S3OutReply reply;
    return blob_call(
        &in, r->c, &(S3OutCall){ .method = S("DELETE"), .bucket = r->bucket, .key = key }, &reply);
}

static ExitCode put_all(struct redrive *r, const BlobPlace *place)
{
    BlobEntry *entries;
    size_t n;
    Str token = { 0 };
    ExitCode code;
    do {
        code = blob_entries(r->in, r->c, place, true, &token, &entries, &n);
        for (size_t i = 0; i < n && code == EXIT_GOOD; i++)
            code = put_object(r, entries[i].key);
    } while (code == EXIT_GOOD && token.n > 0);
    return code;
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    BlobPlace place;
    ExitCode code = blob_place(in->args[1], false, &place);
    if (code == EXIT_GOOD)
        code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    AUTO(put_batch) batch = put_batch_open(in, c, in->args[0]);
    struct redrive r = { .in = in, .c = c, .batch = batch, .bucket = place.bucket };
    code = put_all(&r, &place);
    if (code == EXIT_GOOD || r.objects > 0)
        printf("%llu records of %llu objects%s\n", (unsigned long long)r.records,
               (unsigned long long)r.objects,
               flag_given(in, S("dry-run")) ? " would be put again" : " were put again");
    if (r.skipped > 0 && code == EXIT_GOOD)
        code = complain(EXIT_FAILED, "%llu lines are no failed records, and were left alone",
                        (unsigned long long)r.skipped);
    return code;
}

const struct command command_firehose_redrive = {
    .name = S_INIT("firehose redrive"),
    .summary = S_INIT("Put again what a delivery stream could not deliver"),
    .usage = S_INIT("NAME PLACE [--remove] [--dry-run]"),
    .details = S_INIT("The place is an error prefix: s3://BUCKET/PREFIX. With --remove it may be "
                      "run again after it\nended early; else what was put is put once more."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 2,
    .args_max = 2,
    .examples = { { S_INIT("headrace firehose redrive logs s3://lake/errors/ --dry-run"),
                    S_INIT("how much failed") },
                  { S_INIT("headrace firehose redrive logs s3://lake/errors/ --remove"),
                    S_INIT("again, and tidied up") } },
    .see_also = S_INIT("firehose show, blob ls"),
    .run = run,
};

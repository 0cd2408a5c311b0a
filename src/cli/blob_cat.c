// SPDX-License-Identifier: Apache-2.0
// An object goes to standard output in ranges of one version: it is never in memory as a whole, and
// never a mixture.
#include "cli/blob.h"
#include "cli/commands.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static ExitCode print(Str s)
{
    while (s.n > 0) {
        ssize_t n = write(STDOUT_FILENO, s.p, s.n);
        if (n < 0 && errno != EINTR)
            return complain(EXIT_FAILED, "standard output cannot be written: %s",
                            strerrordesc_np(errno));
        s = str_skip(s, n > 0 ? (size_t)n : 0);
    }
    return EXIT_GOOD;
}

static ExitCode print_object(struct invocation *in, struct client *c, const BlobPlace *place)
{
    uint64_t bytes = 0;
    S3OutReply head;
    ExitCode code = blob_call(
        in, c, &(S3OutCall){ .method = S("HEAD"), .bucket = place->bucket, .key = place->key },
        &head);
    if (code != EXIT_GOOD)
        return code;
    if (str_u64(s3_out_header(&head, S("content-length")), &bytes).kind != ERR_NONE)
        return complain(EXIT_FAILED, "the server does not say how long the object is");
    Str etag = s3_out_header(&head, S("etag"));
    for (uint64_t at = 0; at < bytes && code == EXIT_GOOD; at += BLOB_PART_BYTES) {
        AUTO(arena) a = arena_open();
        uint64_t last = MIN(at + BLOB_PART_BYTES, bytes) - 1;
        struct invocation piece = *in;
        piece.a = a; // dies with the piece
        const HttpHeader headers[] = {
            { S("range"),
              str_fmt(a, "bytes=%llu-%llu", (unsigned long long)at, (unsigned long long)last) },
            { S("if-match"), etag },
        };
        S3OutReply reply;
        code = blob_call(&piece, c,
                         &(S3OutCall){ .method = S("GET"),
                                       .bucket = place->bucket,
                                       .key = place->key,
                                       .headers = headers,
                                       .header_count = COUNT_OF(headers) },
                         &reply);
        if (code == EXIT_GOOD)
            code = print(reply.http.body);
    }
    return code;
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    ExitCode code = remote_open(in, &c);
    for (size_t i = 0; i < in->arg_count && code == EXIT_GOOD; i++) {
        BlobPlace place;
        code = blob_place(in->args[i], true, &place);
        if (code == EXIT_GOOD)
            code = print_object(in, c, &place);
    }
    return code;
}

const struct command command_blob_cat = {
    .name = S_INIT("blob cat"),
    .summary = S_INIT("Print objects"),
    .usage = S_INIT("BUCKET/KEY..."),
    .remote = true,
    .args_min = 1,
    .args_max = 1000,
    .examples = { { S_INIT("headrace blob cat lake/notes.txt"), S_INIT("one object") },
                  { S_INIT("headrace blob cat s3://lake/part.gz | zcat"),
                    S_INIT("what is compressed comes compressed") } },
    .see_also = S_INIT("blob ls, blob put"),
    .run = run,
};

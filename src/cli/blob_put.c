// SPDX-License-Identifier: Apache-2.0
// A file or standard input becomes an object: in one request, or in parts as they are read. An
// upload that does not come to its end is given up, so that nothing is left of it.
#include "cli/blob.h"
#include "cli/commands.h"
#include "codec/xml.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const Flag flags[] = {
    { S_INIT("type"), 0, S_INIT("TYPE"), S_INIT("Its Content-Type") },
};

// Fills the buffer unless the input ends.
static ExitCode read_part(int fd, char *p, size_t *ret_n)
{
    *ret_n = 0;
    while (*ret_n < BLOB_PART_BYTES) {
        ssize_t n = read(fd, p + *ret_n, BLOB_PART_BYTES - *ret_n);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            return complain(EXIT_FAILED, "it cannot be read: %s", strerrordesc_np(errno));
        *ret_n += n > 0 ? (size_t)n : 0;
    }
    return EXIT_GOOD;
}

struct upload {
    struct invocation *in;
    struct client *c;
    BlobPlace place;
    Str id;
    struct buf parts; // the document that completes it
    unsigned number;
};

static S3OutCall call_of(const struct upload *u, Str method, Str query, Str body)
{
    return (S3OutCall){ .method = method,
                        .bucket = u->place.bucket,
                        .key = u->place.key,
                        .query = query,
                        .body = body };
}

static ExitCode begin(struct upload *u, const HttpHeader *type, size_t n)
{
    S3OutReply reply;
    struct xml_node *root = NULL;
    S3OutCall call = call_of(u, S("POST"), S("uploads="), S(""));
    call.headers = type;
    call.header_count = n;
    ExitCode code = blob_call(u->in, u->c, &call, &reply);
    if (code != EXIT_GOOD)
        return code;
    if (xml_parse(u->in->a, reply.http.body, &root).kind == ERR_NONE)
        for (const struct xml_node *x = root->first; x != NULL; x = x->next)
            if (str_eq(x->name, S("UploadId")))
                u->id = x->text;
    return u->id.n > 0 ? EXIT_GOOD : complain(EXIT_FAILED, "the server names no upload");
}

static ExitCode put_part(struct upload *u, Str bytes)
{
    AUTO(arena) a = arena_open();
    struct invocation part = *u->in;
    part.a = a;
    S3OutReply reply;
    Str query =
        str_fmt(a, "partNumber=%u&uploadId=%.*s", ++u->number, FMT(s3_out_encoded(a, u->id)));
    S3OutCall call = call_of(u, S("PUT"), query, bytes);
    ExitCode code = blob_call(&part, u->c, &call, &reply);
    if (code == EXIT_GOOD)
        buf_addf(&u->parts, "<Part><PartNumber>%u</PartNumber><ETag>%.*s</ETag></Part>", u->number,
                 FMT(s3_out_header(&reply, S("etag"))));
    return code;
}

static ExitCode complete(struct upload *u)
{
    S3OutReply reply;
    Str query = str_cat(u->in->a, S("uploadId="), s3_out_encoded(u->in->a, u->id));
    buf_add(&u->parts, S("</CompleteMultipartUpload>"));
    S3OutCall call = call_of(u, S("POST"), query, buf_str(&u->parts));
    return blob_call(u->in, u->c, &call, &reply);
}

static void give_up(struct upload *u)
{
    S3OutReply reply;
    Str query = str_cat(u->in->a, S("uploadId="), s3_out_encoded(u->in->a, u->id));
    S3OutCall call = call_of(u, S("DELETE"), query, S(""));
    err_ignore(client_s3(u->c, u->in->a, &call, &reply)); // what went wrong before is told
}

static ExitCode put_parts(struct upload *u, int fd, char *p, size_t n)
{
    ExitCode code = EXIT_GOOD;
    buf_add(&u->parts, S("<CompleteMultipartUpload>"));
    while (n > 0 && code == EXIT_GOOD) {
        code = put_part(u, str_from(p, n));
        if (code == EXIT_GOOD)
            code = read_part(fd, p, &n);
    }
    if (code == EXIT_GOOD)
        code = complete(u);
    if (code != EXIT_GOOD)
        give_up(u);
    return code;
}

static ExitCode put(struct invocation *in, struct client *c, const BlobPlace *place, int fd)
{
    size_t n;
    char *p = arena_alloc(in->a, BLOB_PART_BYTES, 1);
    const HttpHeader type = { S("content-type"), flag_text(in, S("type")) };
    size_t headers = type.value.p != NULL;
    struct upload u = { .in = in, .c = c, .place = *place };
    ExitCode code = read_part(fd, p, &n);
    if (code != EXIT_GOOD)
        return code;
    if (n < BLOB_PART_BYTES) {
        S3OutReply reply;
        S3OutCall call = call_of(&u, S("PUT"), (Str){ 0 }, str_from(p, n));
        call.headers = &type;
        call.header_count = headers;
        return blob_call(in, c, &call, &reply);
    }
    code = begin(&u, &type, headers);
    if (code == EXIT_GOOD)
        code = put_parts(&u, fd, p, n);
    buf_done(&u.parts);
    return code;
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    BlobPlace place;
    int fd = STDIN_FILENO;
    ExitCode code = blob_place(in->args[0], true, &place);
    if (code == EXIT_GOOD)
        code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    if (in->arg_count > 1) {
        fd = open(str_c(in->a, in->args[1]), O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return complain(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_FAILED,
                            "%.*s cannot be read: %s", FMT(in->args[1]), strerrordesc_np(errno));
    }
    code = put(in, c, &place, fd);
    if (fd != STDIN_FILENO)
        close(fd);
    return code;
}

const struct command command_blob_put = {
    .name = S_INIT("blob put"),
    .summary = S_INIT("Store a file, or standard input, as an object"),
    .usage = S_INIT("BUCKET/KEY [FILE] [--type TYPE]"),
    .details = S_INIT("Of any size, in parts of 16 MiB. The object appears whole, or not at all."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 2,
    .examples = { { S_INIT("headrace blob put lake/notes.txt notes.txt"), S_INIT("a file") },
                  { S_INIT("tar c logs | headrace blob put lake/logs.tar"),
                    S_INIT("whatever comes") } },
    .see_also = S_INIT("blob mb, blob ls"),
    .run = run,
};

// SPDX-License-Identifier: Apache-2.0
#include "cli/blob.h"
#include "cli/commands.h"

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    ClientConfig config;
    BlobPlace place;
    S3OutReply reply;
    ExitCode code = blob_place(in->args[0], false, &place);
    if (code == EXIT_GOOD && place.key.p != NULL)
        code = complain(EXIT_USAGE, "a bucket's name has no slash");
    if (code == EXIT_GOOD)
        code = remote_config(in, &config);
    if (code == EXIT_GOOD)
        code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    Str body = S(""); // us-east-1 must not be named
    if (!str_eq(config.region, S("us-east-1")))
        body = str_cat3(in->a, S("<CreateBucketConfiguration><LocationConstraint>"), config.region,
                        S("</LocationConstraint></CreateBucketConfiguration>"));
    return blob_call(
        in, c, &(S3OutCall){ .method = S("PUT"), .bucket = place.bucket, .body = body }, &reply);
}

const struct command command_blob_mb = {
    .name = S_INIT("blob mb"),
    .summary = S_INIT("Make a bucket"),
    .usage = S_INIT("BUCKET"),
    .remote = true,
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace blob mb lake"), S_INIT("a bucket in the region") },
                  { S_INIT("headrace blob mb lake --region eu-west-1"), S_INIT("in another") } },
    .see_also = S_INIT("blob put, blob rm"),
    .run = run,
};

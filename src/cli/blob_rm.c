// SPDX-License-Identifier: Apache-2.0
#include "cli/blob.h"
#include "cli/commands.h"
#include "cli/term.h"

static const Flag flags[] = {
    { S_INIT("recursive"), 'r', S_INIT(""), S_INIT("All objects whose keys begin so") },
    { S_INIT("yes"), 'y', S_INIT(""), S_INIT("Do not ask on a terminal") },
};

static ExitCode remove_one(struct invocation *in, struct client *c, Str bucket, Str key)
{
    S3OutReply reply;
    return blob_call(in, c, &(S3OutCall){ .method = S("DELETE"), .bucket = bucket, .key = key },
                     &reply);
}

static ExitCode remove_all(struct invocation *in, struct client *c, const BlobPlace *place)
{
    BlobEntry *entries;
    size_t n;
    Str token = { 0 };
    ExitCode code;
    do {
        code = blob_entries(in, c, place, true, &token, &entries, &n);
        for (size_t i = 0; i < n && code == EXIT_GOOD; i++)
            code = remove_one(in, c, place->bucket, entries[i].key);
    } while (code == EXIT_GOOD && token.n > 0);
    return code;
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    ExitCode code = remote_open(in, &c);
    for (size_t i = 0; i < in->arg_count && code == EXIT_GOOD; i++) {
        BlobPlace place;
        code = blob_place(in->args[i], false, &place);
        if (code != EXIT_GOOD)
            break;
        if (!flag_given(in, S("recursive")))
            code = remove_one(in, c, place.bucket, place.key);
        else if (term_confirms(in->args[i], "and all objects that begin so",
                               flag_given(in, S("yes"))))
            code = remove_all(in, c, &place);
        else
            code = complain(EXIT_FAILED, "nothing was removed");
    }
    return code;
}

const struct command command_blob_rm = {
    .name = S_INIT("blob rm"),
    .summary = S_INIT("Remove objects, or an empty bucket"),
    .usage = S_INIT("BUCKET[/KEY]... [--recursive] [--yes]"),
    .details =
        S_INIT("Without a key the bucket itself is removed, if it is empty. In a bucket with "
               "versions an object\nis hidden by a delete marker."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 1000,
    .examples = { { S_INIT("headrace blob rm lake/notes.txt"), S_INIT("one object") },
                  { S_INIT(
                        "headrace blob rm lake/2026/ --recursive --yes && headrace blob rm lake"),
                    S_INIT("objects, then the bucket") } },
    .see_also = S_INIT("blob ls"),
    .run = run,
};

// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"
#include "cli/stream.h"
#include "cli/term.h"

static const Flag flags[] = {
    { S_INIT("no-wait"), 0, S_INIT(""), S_INIT("Do not wait until the shard is there") },
};

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    ExitCode code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    AUTO_BUF(b);
    buf_add(&b, S("{\"StreamName\":"));
    add_json_text(&b, in->args[0]);
    buf_add(&b, S(",\"ShardToMerge\":"));
    add_json_text(&b, in->args[1]);
    buf_add(&b, S(",\"AdjacentShardToMerge\":"));
    add_json_text(&b, in->args[2]);
    buf_add(&b, S("}"));
    const JsonValue *reply = NULL;
    code = remote_call(in, c, S("MergeShards"), buf_str(&b), &reply);
    if (code == EXIT_GOOD && !flag_given(in, S("no-wait")))
        code = stream_wait_active(in, c, in->args[0]);
    return code;
}

const struct command command_stream_merge = {
    .name = S_INIT("stream merge"),
    .summary = S_INIT("Merge a shard with the one whose hash keys follow"),
    .usage = S_INIT("STREAM SHARD NEXT_SHARD"),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 3,
    .args_max = 3,
    .examples = { { S_INIT("headrace stream merge clicks 1 2"), S_INIT("shards 1 and 2") },
                  { S_INIT("headrace stream merge clicks 1 2 --no-wait"),
                    S_INIT("does not wait for it") } },
    .see_also = S_INIT("stream show, stream split, stream scale"),
    .run = run,
};

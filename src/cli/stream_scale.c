// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"
#include "cli/stream.h"
#include "cli/term.h"

enum { SCALE_MAX = 10000 };

static const Flag flags[] = {
    { S_INIT("no-wait"), 0, S_INIT(""), S_INIT("Do not wait until the shards are there") },
};

static ExitCode run(struct invocation *in)
{
    uint64_t count;
    if (str_u64(in->args[1], &count).kind != ERR_NONE || count < 1 || count > SCALE_MAX)
        return complain(EXIT_USAGE, "the number of shards is 1 to %d, not '%.*s'", SCALE_MAX,
                        FMT(in->args[1]));
    AUTO(client) c = NULL;
    ExitCode code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    AUTO_BUF(b);
    buf_add(&b, S("{\"StreamName\":"));
    add_json_text(&b, in->args[0]);
    buf_addf(&b, ",\"ScalingType\":\"UNIFORM_SCALING\",\"TargetShardCount\":%llu}",
             (unsigned long long)count);
    const JsonValue *reply = NULL;
    code = remote_call(in, c, S("UpdateShardCount"), buf_str(&b), &reply);
    if (code == EXIT_GOOD && !flag_given(in, S("no-wait")))
        code = stream_wait_active(in, c, in->args[0]);
    return code;
}

const struct command command_stream_scale = {
    .name = S_INIT("stream scale"),
    .summary = S_INIT("Give a stream another number of shards, evenly"),
    .usage = S_INIT("STREAM COUNT"),
    .details = S_INIT("At most twice as many as it has, at least half as many, ten times in 24 "
                      "hours, unless\nthe server has no limits."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 2,
    .args_max = 2,
    .examples = { { S_INIT("headrace stream scale clicks 4"), S_INIT("four shards") },
                  { S_INIT("headrace stream scale clicks 2 --no-wait"),
                    S_INIT("does not wait for it") } },
    .see_also = S_INIT("stream show, stream split, stream merge"),
    .run = run,
};

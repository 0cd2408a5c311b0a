// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"
#include "cli/commands.h"
#include "cli/remote.h"
#include "cli/stream.h"
#include "cli/term.h"

#include <stdio.h>

enum { SHARDS_MAX = 10000 };

static const Flag flags[] = {
    { S_INIT("shards"), 0, S_INIT("COUNT"), S_INIT("How many shards; 1") },
    { S_INIT("no-wait"), 0, S_INIT(""), S_INIT("Do not wait until records can be put") },
};

static ExitCode run(struct invocation *in)
{
    uint64_t shards;
    ExitCode code = flag_number(in, S("shards"), 1, SHARDS_MAX, 1, &shards);
    if (code != EXIT_GOOD)
        return code;
    AUTO(client) c = NULL;
    code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    AUTO_BUF(b);
    buf_add(&b, S("{\"StreamName\":"));
    add_json_text(&b, in->args[0]);
    buf_addf(&b, ",\"ShardCount\":%llu}", (unsigned long long)shards);
    const JsonValue *reply = NULL;
    code = remote_call(in, c, S("CreateStream"), buf_str(&b), &reply);
    if (code == EXIT_GOOD && !flag_given(in, S("no-wait")))
        code = stream_wait_active(in, c, in->args[0]);
    return code;
}

const struct command command_stream_create = {
    .name = S_INIT("stream create"),
    .summary = S_INIT("Create a stream"),
    .usage = S_INIT("STREAM [--shards COUNT]"),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace stream create clicks"), S_INIT("a stream with one shard") },
                  { S_INIT("headrace stream create clicks --shards 3"),
                    S_INIT("room for 3,000 records or 3 MiB a second") } },
    .see_also = S_INIT("stream show, stream put, stream rm"),
    .run = run,
};

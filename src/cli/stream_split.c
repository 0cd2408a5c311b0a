// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"
#include "cli/stream.h"
#include "cli/term.h"
#include "svc/kinesis/hashkey.h"

static const Flag flags[] = {
    { S_INIT("at"), 0, S_INIT("HASH_KEY"), S_INIT("Where the second part begins; the middle") },
    { S_INIT("no-wait"), 0, S_INIT(""), S_INIT("Do not wait until the shards are there") },
};

// "2" is "shardId-000000000002", as the server reads it.
static bool is_shard(Str id, Str given)
{
    Str head, digits;
    uint64_t x, y;
    if (!str_cut(given, '-', &head, &digits))
        digits = given;
    bool is_number = str_u64(digits, &x).kind == ERR_NONE && str_cut(id, '-', &head, &digits) &&
                     str_u64(digits, &y).kind == ERR_NONE;
    return is_number && x == y;
}

static ExitCode middle_of(struct invocation *in, struct client *c, Str *ret)
{
    ShardInfo *shards = NULL;
    size_t n = 0;
    HashKey first, last;
    ExitCode code = stream_shards(in, c, in->args[0], &shards, &n);
    if (code != EXIT_GOOD)
        return code;
    for (size_t i = 0; i < n; i++) {
        if (!is_shard(shards[i].id, in->args[1]))
            continue;
        if (hash_key_parse(shards[i].first_hash, &first).kind != ERR_NONE ||
            hash_key_parse(shards[i].last_hash, &last).kind != ERR_NONE)
            return complain(EXIT_FAILED, "the reply to ListShards has no hash keys");
        *ret = hash_key_str(in->a, first + (last - first) / 2 + 1);
        return EXIT_GOOD;
    }
    return complain(EXIT_FAILED, "stream %.*s has no shard %.*s", FMT(in->args[0]),
                    FMT(in->args[1]));
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    Str key = flag_text(in, S("at"));
    ExitCode code = remote_open(in, &c);
    if (code == EXIT_GOOD && key.p == NULL)
        code = middle_of(in, c, &key);
    if (code != EXIT_GOOD)
        return code;
    AUTO_BUF(b);
    buf_add(&b, S("{\"StreamName\":"));
    add_json_text(&b, in->args[0]);
    buf_add(&b, S(",\"ShardToSplit\":"));
    add_json_text(&b, in->args[1]);
    buf_add(&b, S(",\"NewStartingHashKey\":"));
    add_json_text(&b, key);
    buf_add(&b, S("}"));
    const JsonValue *reply = NULL;
    code = remote_call(in, c, S("SplitShard"), buf_str(&b), &reply);
    if (code == EXIT_GOOD && !flag_given(in, S("no-wait")))
        code = stream_wait_active(in, c, in->args[0]);
    return code;
}

const struct command command_stream_split = {
    .name = S_INIT("stream split"),
    .summary = S_INIT("Split a shard in two"),
    .usage = S_INIT("STREAM SHARD [--at HASH_KEY]"),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 2,
    .args_max = 2,
    .examples = { { S_INIT("headrace stream split clicks 0"), S_INIT("in the middle") },
                  { S_INIT("headrace stream split clicks 0 --at 1000"),
                    S_INIT("hash keys from 1000 on go to the second one") } },
    .see_also = S_INIT("stream show, stream merge, stream scale"),
    .run = run,
};

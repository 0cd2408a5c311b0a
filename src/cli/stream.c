// SPDX-License-Identifier: Apache-2.0
#include "cli/stream.h"
#include "base/time.h"
#include "cli/term.h"
#include "os/io.h"

#define POLL_NS (50 * NS_PER_MS)

ExitCode stream_wait_active(const struct invocation *in, struct client *c, Str stream)
{
    struct io *io = io_real();
    Str body = stream_body(in->a, stream);
    int64_t deadline = io->mono_ns(io) + STREAM_WAIT_S * NS_PER_S;
    while (io->mono_ns(io) < deadline) {
        const JsonValue *reply = NULL;
        ExitCode code = remote_call(in, c, S("DescribeStreamSummary"), body, &reply);
        if (code != EXIT_GOOD)
            return code;
        const JsonValue *summary = json_find(reply, S("StreamDescriptionSummary"));
        if (summary != NULL && str_eq(json_text(summary, S("StreamStatus")), S("ACTIVE")))
            return EXIT_GOOD;
        io->sleep_ns(io, POLL_NS);
    }
    return complain(EXIT_TIMEOUT, "stream %.*s did not become active", FMT(stream));
}

static ShardInfo shard_info(const JsonValue *v)
{
    const JsonValue *hash = json_find(v, S("HashKeyRange"));
    const JsonValue *sequence = json_find(v, S("SequenceNumberRange"));
    return (ShardInfo){
        .id = json_text(v, S("ShardId")),
        .first_hash = json_text(hash, S("StartingHashKey")),
        .last_hash = json_text(hash, S("EndingHashKey")),
        .first_sequence = json_text(sequence, S("StartingSequenceNumber")),
        .last_sequence = json_text(sequence, S("EndingSequenceNumber")),
        .parent = json_text(v, S("ParentShardId")),
    };
}

ExitCode stream_shards(const struct invocation *in, struct client *c, Str stream, ShardInfo **ret,
                       size_t *ret_n)
{
    ShardInfo *shards = arena_new(in->a, ShardInfo, STREAM_SHARDS_MAX);
    size_t n = 0;
    Str body = stream_body(in->a, stream);
    for (;;) {
        const JsonValue *page = NULL;
        ExitCode code = remote_call(in, c, S("ListShards"), body, &page);
        if (code != EXIT_GOOD)
            return code;
        const JsonValue *list = json_find(page, S("Shards"));
        for (size_t i = 0; list != NULL && i < list->n; i++) {
            if (n == STREAM_SHARDS_MAX)
                return complain(EXIT_FAILED, "the stream has too many shards");
            shards[n++] = shard_info(&list->items[i]);
        }
        Str token = json_text(page, S("NextToken"));
        if (token.n == 0)
            break;
        AUTO_BUF(b);
        buf_add(&b, S("{\"NextToken\":"));
        add_json_text(&b, token);
        buf_add(&b, S("}"));
        body = str_dup(in->a, buf_str(&b));
    }
    *ret = shards;
    *ret_n = n;
    return EXIT_GOOD;
}

ExitCode where_of_flag(const struct invocation *in, const struct where **ret)
{
    Str text = flag_text(in, S("where"));
    struct where *w = NULL;
    WhereFault fault = { 0 };
    *ret = NULL;
    if (text.p == NULL)
        return EXIT_GOOD;
    if (where_parse(in->a, text, &w, &fault).kind != ERR_NONE)
        return complain(EXIT_USAGE, "--where: %.*s\n  %.*s\n  %*s^", FMT(fault.reason), FMT(text),
                        (int)fault.at, "");
    *ret = w;
    return EXIT_GOOD;
}

uint32_t where_shard(Str shard_id)
{
    uint64_t n = 0;
    Str digits = str_starts(shard_id, S("shardId-")) ? str_skip(shard_id, 8) : shard_id;
    return str_u64(digits, &n).kind == ERR_NONE ? (uint32_t)n : 0;
}

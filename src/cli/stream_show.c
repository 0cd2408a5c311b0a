// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"
#include "cli/commands.h"
#include "cli/stream.h"
#include "cli/term.h"

#include <stdio.h>

static const Flag flags[] = {
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print the shards as JSON, one on each line") },
};
static const Column columns[] = {
    { S_INIT("shard"), false },         { S_INIT("state"), false },
    { S_INIT("first_hash_key"), true }, { S_INIT("last_hash_key"), true },
    { S_INIT("parent"), false },
};

static void print_summary(struct arena *a, const JsonValue *s)
{
    const JsonValue *created = json_find(s, S("StreamCreationTimestamp"));
    const JsonValue *mode = json_find(s, S("StreamModeDetails"));
    Str retention = json_number_text(s, S("RetentionPeriodHours"));
    Str open = json_number_text(s, S("OpenShardCount")), arn = json_text(s, S("StreamARN"));
    Str status = json_text(s, S("StreamStatus")), name = json_text(s, S("StreamName"));
    Str mode_name = json_text(mode, S("StreamMode"));
    Str when = created != NULL && created->kind == JSON_NUMBER
                   ? time_iso_ms(a, (int64_t)(created->real * 1e3) * NS_PER_MS)
                   : S("");
    printf("%.*s  %.*s  %.*s\n%.*s\ncreated %.*s, retention %.*s hours, %.*s open shards\n\n",
           FMT(name), FMT(status), FMT(mode_name), FMT(arn), FMT(when), FMT(retention), FMT(open));
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    ExitCode code = remote_open(in, &c);
    const JsonValue *reply = NULL;
    ShardInfo *shards = NULL;
    size_t n = 0;
    if (code == EXIT_GOOD)
        code =
            remote_call(in, c, S("DescribeStreamSummary"), stream_body(in->a, in->args[0]), &reply);
    if (code == EXIT_GOOD)
        code = stream_shards(in, c, in->args[0], &shards, &n);
    if (code != EXIT_GOOD)
        return code;
    TableStyle style = table_style(flag_given(in, S("json")));
    if (style == TABLE_HUMAN)
        print_summary(in->a, json_find(reply, S("StreamDescriptionSummary")));
    struct table t = table_begin(in->a, style, columns, COUNT_OF(columns));
    for (size_t i = 0; i < n; i++) {
        const ShardInfo *s = &shards[i];
        const Str cells[] = { s->id, s->last_sequence.n > 0 ? S("closed") : S("open"),
                              s->first_hash, s->last_hash, s->parent };
        table_row(&t, cells);
    }
    table_end(&t);
    return EXIT_GOOD;
}

const struct command command_stream_show = {
    .name = S_INIT("stream show"),
    .summary = S_INIT("Show a stream and its shards"),
    .usage = S_INIT("STREAM [--json]"),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace stream show clicks"), S_INIT("its state and each shard") },
                  { S_INIT("headrace stream show clicks --json"),
                    S_INIT("the shards, one JSON object on each line") } },
    .see_also = S_INIT("stream ls, stream tail"),
    .run = run,
};

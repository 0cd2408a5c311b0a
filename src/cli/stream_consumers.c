// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"
#include "cli/commands.h"
#include "cli/remote.h"
#include "cli/term.h"

enum { PAGES_MAX = 100000 }; // a server that always says "more" does not hold us for ever

static const Flag flags[] = {
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print one JSON object on each line") },
};
static const Column columns[] = {
    { S_INIT("name"), false },
    { S_INIT("status"), false },
    { S_INIT("created"), false },
    { S_INIT("arn"), false },
};

static Str body_after(struct arena *a, Str stream_arn, Str token)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"StreamARN\":"));
    add_json_text(&b, stream_arn);
    if (token.n > 0) {
        buf_add(&b, S(",\"NextToken\":"));
        add_json_text(&b, token);
    }
    buf_add(&b, S("}"));
    return str_dup(a, buf_str(&b));
}

static void print_page(struct arena *a, struct table *t, const JsonValue *page)
{
    const JsonValue *consumers = json_find(page, S("Consumers"));
    for (size_t i = 0; consumers != NULL && i < consumers->n; i++) {
        const JsonValue *x = &consumers->items[i];
        const JsonValue *created = json_find(x, S("ConsumerCreationTimestamp"));
        Str when = created != NULL && created->kind == JSON_NUMBER
                       ? time_iso_ms(a, (int64_t)(created->real * 1e3) * NS_PER_MS)
                       : S("");
        const Str cells[] = { json_text(x, S("ConsumerName")), json_text(x, S("ConsumerStatus")),
                              when, json_text(x, S("ConsumerARN")) };
        table_row(t, cells);
    }
}

static ExitCode print_all(struct invocation *in, struct client *c, Str stream_arn)
{
    struct table t =
        table_begin(in->a, table_style(flag_given(in, S("json"))), columns, COUNT_OF(columns));
    Str token = S("");
    ExitCode code = EXIT_GOOD;
    for (int page_number = 0; code == EXIT_GOOD && page_number < PAGES_MAX; page_number++) {
        const JsonValue *page = NULL;
        code = remote_call(in, c, S("ListStreamConsumers"), body_after(in->a, stream_arn, token),
                           &page);
        if (code != EXIT_GOOD)
            break;
        print_page(in->a, &t, page);
        token = json_text(page, S("NextToken"));
        if (token.n == 0)
            break;
    }
    if (code == EXIT_GOOD)
        table_end(&t);
    return code;
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    const JsonValue *reply = NULL;
    ExitCode code = remote_open(in, &c);
    if (code == EXIT_GOOD)
        code =
            remote_call(in, c, S("DescribeStreamSummary"), stream_body(in->a, in->args[0]), &reply);
    if (code != EXIT_GOOD)
        return code;
    const JsonValue *summary = json_find(reply, S("StreamDescriptionSummary"));
    return print_all(in, c, json_text(summary, S("StreamARN")));
}

const struct command command_stream_consumers = {
    .name = S_INIT("stream consumers"),
    .summary = S_INIT("List the consumers registered for a stream"),
    .usage = S_INIT("STREAM [--json]"),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace stream consumers clicks"),
                    S_INIT("name, state and ARN of each") },
                  { S_INIT("headrace stream consumers clicks --json"),
                    S_INIT("one JSON object on each line") } },
    .see_also = S_INIT("stream show, stream rm"),
    .run = run,
};

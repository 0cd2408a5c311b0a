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
    { S_INIT("mode"), false },
    { S_INIT("created"), false },
};

static Str body_after(struct arena *a, Str token)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"Limit\":100"));
    if (token.n > 0) {
        buf_add(&b, S(",\"NextToken\":"));
        add_json_text(&b, token);
    }
    buf_add(&b, S("}"));
    return str_dup(a, buf_str(&b));
}

static void print_page(struct arena *a, struct table *t, const JsonValue *page)
{
    const JsonValue *summaries = json_find(page, S("StreamSummaries"));
    for (size_t i = 0; summaries != NULL && i < summaries->n; i++) {
        const JsonValue *s = &summaries->items[i];
        const JsonValue *mode = json_find(s, S("StreamModeDetails"));
        const JsonValue *created = json_find(s, S("StreamCreationTimestamp"));
        Str when = created != NULL && created->kind == JSON_NUMBER
                       ? time_iso_ms(a, (int64_t)(created->real * 1e3) * NS_PER_MS)
                       : S("");
        const Str cells[] = { json_text(s, S("StreamName")), json_text(s, S("StreamStatus")),
                              mode != NULL ? json_text(mode, S("StreamMode")) : S(""), when };
        table_row(t, cells);
    }
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    ExitCode code = remote_open(in, &c);
    struct table t =
        table_begin(in->a, table_style(flag_given(in, S("json"))), columns, COUNT_OF(columns));
    Str token = S("");
    for (int page_number = 0; code == EXIT_GOOD && page_number < PAGES_MAX; page_number++) {
        const JsonValue *page = NULL;
        code = remote_call(in, c, S("ListStreams"), body_after(in->a, token), &page);
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

const struct command command_stream_ls = {
    .name = S_INIT("stream ls"),
    .summary = S_INIT("List the streams"),
    .usage = S_INIT("[--json]"),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .examples = { { S_INIT("headrace stream ls"), S_INIT("a table on a terminal, tabs on a pipe") },
                  { S_INIT("headrace stream ls | cut -f1"), S_INIT("only the names") } },
    .see_also = S_INIT("stream show, stream create"),
    .run = run,
};

// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"
#include "cli/commands.h"
#include "cli/firehose.h"
#include "cli/term.h"

#include <stdio.h>

static const Flag flags[] = {
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print what it is doing as one JSON object") },
};
static const Column columns[] = {
    { S_INIT("delivered"), false }, { S_INIT("records"), true }, { S_INIT("bytes"), true },
    { S_INIT("written"), true },    { S_INIT("ms"), true },      { S_INIT("to"), false },
};

static int64_t number(const JsonValue *map, Str key)
{
    const JsonValue *v = json_find(map, key);
    return v != NULL && v->kind == JSON_NUMBER ? v->integer : 0;
}

static Str when(struct arena *a, int64_t ms)
{
    return ms != 0 ? time_iso_ms(a, ms * NS_PER_MS) : S("-");
}

static void print_summary(struct arena *a, const JsonValue *d, const JsonValue *state)
{
    FirehoseEnds ends = firehose_ends(a, d);
    Str name = json_text(d, S("DeliveryStreamName")), arn = json_text(d, S("DeliveryStreamARN"));
    Str status = json_text(d, S("DeliveryStreamStatus")), version = json_text(d, S("VersionId"));
    printf("%.*s  %.*s  version %.*s\n%.*s\n%.*s -> %.*s %.*s\n", FMT(name), FMT(status),
           FMT(version), FMT(arn), FMT(ends.source), FMT(ends.kind), FMT(ends.place));
    printf("waiting: %.*s records, %.*s of a buffer of %.*s; oldest %.*s, due %.*s\n",
           FMT(term_count(a, (uint64_t)number(state, S("backlog_records")))),
           FMT(term_bytes(a, (uint64_t)number(state, S("backlog_bytes")))),
           FMT(term_bytes(a, (uint64_t)number(state, S("buffer_bytes")))),
           FMT(when(a, number(state, S("oldest_ms")))), FMT(when(a, number(state, S("due_ms")))));
    Str code = json_text(state, S("last_code")), text = json_text(state, S("last_error"));
    if (code.n > 0)
        printf("last error: %.*s %.*s: %.*s%s\n", FMT(when(a, number(state, S("last_error_ms")))),
               FMT(code), FMT(text),
               number(state, S("attempts")) > 0 ? "; it is being tried again" : "");
    printf("\n");
}

static void print_deliveries(struct arena *a, TableStyle style, const JsonValue *list)
{
    struct table t = table_begin(a, style, columns, COUNT_OF(columns));
    for (size_t i = 0; list != NULL && list->kind == JSON_LIST && i < list->n; i++) {
        const JsonValue *n = &list->items[i];
        table_row(&t, (Str[]){ when(a, number(n, S("at_ms"))), json_number_text(n, S("records")),
                               json_number_text(n, S("bytes")), json_number_text(n, S("written")),
                               json_number_text(n, S("took_ms")), json_text(n, S("place")) });
    }
    table_end(&t);
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    const JsonValue *d = NULL, *state = NULL;
    Str text;
    ExitCode code = remote_open(in, &c);
    if (code == EXIT_GOOD)
        code = firehose_describe(in, c, in->args[0], &d);
    if (code == EXIT_GOOD)
        code = remote_ask(in, S("firehose/state"), stream_page_body(in->a, in->args[0]), &state,
                          &text);
    if (code != EXIT_GOOD)
        return code;
    TableStyle style = table_style(false);
    if (flag_given(in, S("json"))) {
        printf("%.*s\n", FMT(text));
        return EXIT_GOOD;
    }
    if (style == TABLE_HUMAN)
        print_summary(in->a, d, state);
    print_deliveries(in->a, style, json_find(state, S("deliveries")));
    return EXIT_GOOD;
}

const struct command command_firehose_show = {
    .name = S_INIT("firehose show"),
    .summary = S_INIT("Show a delivery stream: what waits, and its last deliveries"),
    .usage = S_INIT("NAME [--json]"),
    .details = S_INIT("Of a server of headrace, with the root's key."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 1,
    .examples = { { S_INIT("headrace firehose show clicks-to-lake"),
                    S_INIT("its buffer, errors and deliveries") },
                  { S_INIT("headrace firehose show clicks-to-lake --json"),
                    S_INIT("the same for scripts") } },
    .see_also = S_INIT("firehose ls, firehose flush"),
    .run = run,
};

// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"
#include "cli/firehose.h"
#include "cli/term.h"

static const Flag flags[] = {
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print one JSON object on each line") },
};
static const Column columns[] = {
    { S_INIT("name"), false }, { S_INIT("status"), false }, { S_INIT("source"), false },
    { S_INIT("kind"), false }, { S_INIT("to"), false },
};

static Str body_after(struct arena *a, Str last)
{
    AUTO_BUF(b);
    buf_add(&b, S("{\"Limit\":100"));
    if (last.n > 0) {
        buf_add(&b, S(",\"ExclusiveStartDeliveryStreamName\":"));
        add_json_text(&b, last);
    }
    buf_add(&b, S("}"));
    return str_dup(a, buf_str(&b));
}

static ExitCode add_row(struct invocation *in, struct client *c, struct table *t, Str name)
{
    const JsonValue *d = NULL;
    ExitCode code = firehose_describe(in, c, name, &d);
    if (code != EXIT_GOOD)
        return code;
    FirehoseEnds ends = firehose_ends(in->a, d);
    table_row(t, (Str[]){ name, json_text(d, S("DeliveryStreamStatus")), ends.source, ends.kind,
                          ends.place });
    return EXIT_GOOD;
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    ExitCode code = remote_open(in, &c);
    struct table t =
        table_begin(in->a, table_style(flag_given(in, S("json"))), columns, COUNT_OF(columns));
    Str last = S("");
    for (bool more = true; code == EXIT_GOOD && more;) {
        const JsonValue *page = NULL;
        code = remote_call(in, c, S("ListDeliveryStreams"), body_after(in->a, last), &page);
        if (code != EXIT_GOOD)
            break;
        const JsonValue *names = json_find(page, S("DeliveryStreamNames"));
        const JsonValue *follow = json_find(page, S("HasMoreDeliveryStreams"));
        size_t n = names != NULL && names->kind == JSON_LIST ? names->n : 0;
        more = n > 0 && follow != NULL && follow->kind == JSON_BOOL && follow->integer != 0;
        for (size_t i = 0; i < n && code == EXIT_GOOD; i++) {
            last = names->items[i].text;
            code = add_row(in, c, &t, last);
        }
    }
    if (code == EXIT_GOOD)
        table_end(&t);
    return code;
}

const struct command command_firehose_ls = {
    .name = S_INIT("firehose ls"),
    .summary = S_INIT("List the delivery streams, where from and where to"),
    .usage = S_INIT("[--json]"),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .examples = { { S_INIT("headrace firehose ls"),
                    S_INIT("a table on a terminal, tabs on a pipe") },
                  { S_INIT("headrace firehose ls | cut -f1"), S_INIT("only the names") } },
    .see_also = S_INIT("firehose show, firehose create"),
    .run = run,
};

// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"
#include "cli/store_side.h"

#include <stdio.h>

static const Flag flags[] = {
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print one JSON object on each line") },
    { S_INIT("count"), 'n', S_INIT("COUNT"), S_INIT("So many of the newest; 10") },
};

static void line(const char *name, Str text)
{
    printf("  %-11s %.*s\n", name, FMT(text));
}

static void print_one(struct invocation *in, const JsonValue *r)
{
    if (flag_given(in, S("json"))) {
        AUTO_BUF(b);
        struct event_writer w;
        json_writer_init(&w, &b);
        w.ops->map(&w);
        for (size_t i = 0; i < r->n; i++) {
            w.ops->key(&w, r->items[i].key);
            w.ops->text(&w, r->items[i].text);
        }
        w.ops->map_end(&w);
        printf("%.*s\n", FMT(buf_str(&b)));
        return;
    }
    printf("%.*s  %.*s\n", FMT(json_text(r, S("time"))), FMT(json_text(r, S("text"))));
    line("decided by", json_text(r, S("decided_by")));
    line("principal", json_text(r, S("principal")));
    line("action", json_text(r, S("action")));
    line("resource", json_text(r, S("resource")));
    line("request id", json_text(r, S("request_id")));
}

static ExitCode run_explain(struct invocation *in)
{
    const JsonValue *answer = NULL;
    Str text, id = in->arg_count > 0 ? in->args[0] : (Str){ 0 };
    uint64_t count = 10, shown = 0;
    ExitCode code = flag_number(in, S("count"), 1, 1000, count, &count);
    if (code == EXIT_GOOD)
        code = remote_ask(in, S("access"), S("{}"), &answer, &text);
    if (code != EXIT_GOOD)
        return code;
    const JsonValue *refusals = json_find(answer, S("refusals"));
    for (size_t i = 0; refusals != NULL && i < refusals->n && shown < count; i++) {
        const JsonValue *r = &refusals->items[i];
        if (id.p != NULL && !str_eq(json_text(r, S("request_id")), id))
            continue;
        print_one(in, r);
        shown++;
    }
    if (id.p != NULL && shown == 0)
        return complain(EXIT_NOT_FOUND, "no refusal of the request %.*s is remembered", FMT(id));
    return EXIT_GOOD;
}

const struct command command_access_explain = {
    .name = S_INIT("access explain"),
    .summary = S_INIT("Show which calls were denied, and which statement decided"),
    .usage = S_INIT("[REQUEST-ID] [--count COUNT] [--json]"),
    .details =
        S_INIT("The server remembers the newest 256 refusals until it ends; its log has all. "
               "Only the root key may ask. The request id is in the client's error, too."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_max = 1,
    .examples = { { S_INIT("headrace access explain"), S_INIT("the newest refusals") },
                  { S_INIT("headrace access explain 6c1d7f2e-0f0a-4d2b-9f61-1f0e5c3d9a77"),
                    S_INIT("of one request") } },
    .see_also = S_INIT("serve"),
    .run = run_explain,
};

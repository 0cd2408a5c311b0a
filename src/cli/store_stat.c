// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"
#include "cli/store_side.h"
#include "cli/term.h"
#include "server/store_stat.h"

#include <stdio.h>

static const Flag flags[] = {
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print one JSON object") },
    STORE_ZONES_FLAG,
};

static void print_problem(void *self, Str file, uint64_t offset, Err e)
{
    (void)self;
    fprintf(stderr, "headrace: %.*s at %llu: %s\n", FMT(file), (unsigned long long)offset, e.text);
}

static ExitCode ask_directory(struct invocation *in, const StoreSide *side, Str *ret)
{
    AUTO_BUF(b);
    AUTO(inspect) i = NULL;
    InspectConfig config = { .io = io_real(),
                             .dir = str_cat(in->a, side->content_dir, S("/journal")),
                             .problem = print_problem };
    StoreStat s;
    Err e = inspect_open(&config, &i);
    if (e.kind == ERR_NONE)
        e = store_stat_offline(io_real(), side->content_dir, i, &s);
    if (e.kind != ERR_NONE)
        return complain(exit_code_of(e), "%.*s: %s", FMT(config.dir), e.text);
    store_stat_write(&b, &s);
    *ret = str_dup(in->a, buf_str(&b));
    return EXIT_GOOD;
}

// ---- For people

static uint64_t number(const JsonValue *map, Str key)
{
    const JsonValue *v = json_find(map, key);
    return v != NULL && v->kind == JSON_NUMBER && v->integer > 0 ? (uint64_t)v->integer : 0;
}

static void line(const char *name, Str text)
{
    printf("%-18s %.*s\n", name, FMT(text));
}

static void print_class(struct arena *a, const char *name, const JsonValue *c)
{
    uint64_t bytes = number(c, S("bytes")), raw = number(c, S("raw_bytes"));
    Str stored = term_bytes(a, bytes), records = term_count(a, number(c, S("records")));
    line(name, str_fmt(a, "%llu files, %.*s (%.2f of what was put), %.*s records",
                       (unsigned long long)number(c, S("files")), FMT(stored),
                       raw > 0 ? (double)bytes / (double)raw : 1.0, FMT(records)));
}

static Str or_none(Str time)
{
    return time.n > 0 ? time : S("none");
}

static void print_memory(struct arena *a, const JsonValue *v)
{
    const JsonValue *m = json_find(v, S("memory")), *since = json_find(v, S("since_start"));
    if (m == NULL)
        return;
    Str index = term_bytes(a, number(m, S("index_bytes")));
    Str tail = term_bytes(a, number(m, S("tail_cache_bytes")));
    Str read = term_bytes(a, number(m, S("read_cache_bytes")));
    line("memory", str_fmt(a, "index %.*s, tail cache %.*s, read cache %.*s", FMT(index), FMT(tail),
                           FMT(read)));
    Str records = term_count(a, number(since, S("records")));
    Str blocks = term_count(a, number(since, S("blocks")));
    line("since the start",
         str_fmt(
             a, "%.*s records in %.*s blocks; %llu containers written, %llu merged, %llu expired",
             FMT(records), FMT(blocks), (unsigned long long)number(since, S("containers_written")),
             (unsigned long long)number(since, S("containers_merged")),
             (unsigned long long)number(since, S("containers_expired"))));
    static const char *const states[] = { "full", "behind", "failed" };
    for (size_t i = 0; i < COUNT_OF(states); i++) {
        const JsonValue *state = json_find(v, str_of(states[i]));
        if (state != NULL && state->kind == JSON_BOOL && state->integer != 0)
            line("state", str_of(states[i]));
    }
}

static void print(struct arena *a, const JsonValue *v)
{
    const JsonValue *journal = json_find(v, S("journal")), *kv = json_find(v, S("kv"));
    const JsonValue *containers = json_find(v, S("containers"));
    Str bytes = term_bytes(a, number(journal, S("bytes")));
    Str unsealed = term_bytes(a, number(journal, S("unsealed_bytes")));
    line("data directory", json_text(v, S("data_dir")));
    line("as seen by", str_eq(json_text(v, S("from")), S("server")) ? S("its server")
                                                                    : S("reading the directory"));
    line("shards", term_count(a, number(v, S("shards"))));
    line("oldest arrival", or_none(json_text(v, S("oldest_arrival"))));
    line("newest arrival", or_none(json_text(v, S("newest_arrival"))));
    line("journal",
         str_fmt(a, "%llu files, %.*s; %.*s of them not sealed",
                 (unsigned long long)number(journal, S("files")), FMT(bytes), FMT(unsealed)));
    print_class(a, "kept for a day", json_find(containers, S("day")));
    print_class(a, "for a week", json_find(containers, S("week")));
    print_class(a, "for longer", json_find(containers, S("year")));
    Str kv_bytes = term_bytes(a, number(kv, S("bytes")));
    Str kv_log = term_bytes(a, number(kv, S("log_bytes")));
    line("kv", str_fmt(a, "%.*s, %.*s of log", FMT(kv_bytes), FMT(kv_log)));
    print_memory(a, v);
}

static ExitCode run(struct invocation *in)
{
    StoreSide side;
    const JsonValue *v = NULL;
    Str text = S("");
    ExitCode code = store_side(in, &side);
    if (code == EXIT_GOOD)
        code =
            side.is_online ? store_ask_stat(in, &side, &v, &text) : ask_directory(in, &side, &text);
    if (code != EXIT_GOOD)
        return code;
    if (flag_given(in, S("json"))) {
        printf("%.*s\n", FMT(text));
        return EXIT_GOOD;
    }
    JsonValue *parsed = NULL;
    if (json_parse(in->a, text, &parsed).kind != ERR_NONE)
        return complain(EXIT_FAILED, "the answer is not JSON");
    print(in->a, parsed);
    return EXIT_GOOD;
}

const struct command command_store_stat = {
    .name = S_INIT("store stat"),
    .summary = S_INIT("Show what a store holds: files, records, sizes, ages"),
    .usage = S_INIT("[--data-dir DIR] [--json]"),
    .details = S_INIT("A running server is asked, with its root key; the directory of a stopped "
                      "one, or a copy,\nis read, and nothing in it is changed. Damage is told."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .examples = { { S_INIT("headrace store stat --data-dir ./data"), S_INIT("for people") },
                  { S_INIT("headrace store stat --json"), S_INIT("for scripts") } },
    .see_also = S_INIT("store check, store dump, backup create"),
    .run = run,
};

// SPDX-License-Identifier: Apache-2.0
#include "cli/backup.h"
#include "cli/commands.h"
#include "cli/store_side.h"
#include "cli/term.h"
#include "server/serve.h"

#include <stdio.h>

static const Flag flags[] = {
    { S_INIT("to"), 0, S_INIT("DIR"), S_INIT("The directory that keeps the backups") },
    { S_INIT("with-credentials"), 0, S_INIT(""),
      S_INIT("Also the file with the root key, if it was made in the data directory") },
    STORE_ZONES_FLAG,
};

struct offline {
    struct invocation *in;
    Str to;
};

static void print_made(struct arena *a, Str id, uint64_t records, uint64_t bytes,
                       uint64_t new_objects, uint64_t new_bytes)
{
    Str all = term_bytes(a, bytes), stored = term_bytes(a, new_bytes);
    printf("%.*s\t%llu records, %.*s; %llu new objects, %.*s\n", FMT(id),
           (unsigned long long)records, FMT(all), (unsigned long long)new_objects, FMT(stored));
}

// ---- Through the server

static uint64_t number(const JsonValue *map, Str key)
{
    const JsonValue *v = json_find(map, key);
    return v != NULL && v->kind == JSON_NUMBER && v->integer > 0 ? (uint64_t)v->integer : 0;
}

static ExitCode create_online(struct invocation *in, const StoreSide *side, Str to)
{
    AUTO_BUF(body);
    const JsonValue *v = NULL;
    Str text;
    ExitCode code = store_ask_stat(in, side, &v, &text);
    if (code != EXIT_GOOD)
        return code;
    buf_add(&body, S("{\"to\":"));
    add_json_text(&body, to);
    buf_addf(&body, ",\"with_credentials\":%s}",
             flag_given(in, S("with-credentials")) ? "true" : "false");
    code = remote_ask(in, S("backup"), buf_str(&body), &v, &text);
    if (code == EXIT_GOOD)
        code = store_wait_job(in, v, &v);
    if (code == EXIT_GOOD)
        print_made(in->a, json_text(v, S("id")), number(v, S("records")),
                   number(v, S("file_bytes")), number(v, S("new_objects")),
                   number(v, S("new_bytes")));
    return code;
}

// ---- On the directory of a stopped server

static ExitCode create_here(void *self, const OfflineStore *store)
{
    struct offline *o = self;
    struct backup_show show;
    BackupWatch watch = backup_show(o->in->a, &show);
    AUTO(backup_target) t = backup_place(o->in->a, o->to);
    BackupSource source = {
        .io = store->io,
        .data_dir = store->data_dir,
        .log = store->log,
        .kv = store->kv,
        .version = HEADRACE_VERSION_STR,
        .with_credentials = flag_given(o->in, S("with-credentials")),
    };
    BackupOutcome out;
    Err e = backup_create(&source, t, &watch, o->in->a, &out);
    backup_show_end(&show);
    if (e.kind != ERR_NONE)
        return backup_complain(e, o->to, "no backup was made in");
    print_made(o->in->a, out.backup.id, out.backup.records, out.backup.bytes, out.new_objects,
               out.new_bytes);
    return EXIT_GOOD;
}

static ExitCode run(struct invocation *in)
{
    StoreSide side;
    Str to = flag_text(in, S("to"));
    if (to.n == 0)
        return complain(EXIT_USAGE, "give --to DIR");
    ExitCode code = store_side(in, &side);
    if (code != EXIT_GOOD)
        return code;
    to = absolute_path(in->a, to);
    if (side.is_online)
        return create_online(in, &side, to);
    ServeConfig config = { .settings = side.settings, .version = HEADRACE_VERSION_STR };
    struct offline o = { .in = in, .to = to };
    return serve_offline(&config, create_here, &o);
}

const struct command command_backup_create = {
    .name = S_INIT("backup create"),
    .summary = S_INIT("Make a consistent backup, also while the server works"),
    .usage = S_INIT("--to DIR [--data-dir DIR]"),
    .details = S_INIT(
        "Everything acknowledged before it began is in it. A running server writes it itself, "
        "with\n"
        "its own rights; the directory must be one that it may write to. What has the same "
        "content\n"
        "as before is not stored again. The backup counts when its id is printed; a run that was\n"
        "interrupted leaves nothing but files that the next one removes."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .examples = { { S_INIT("headrace backup create --to /backup/headrace"),
                    S_INIT("of the running server") },
                  { S_INIT("headrace backup create --to /backup/headrace --data-dir ./data"),
                    S_INIT("of this directory") } },
    .see_also = S_INIT("backup verify, backup restore, backup prune"),
    .run = run,
};

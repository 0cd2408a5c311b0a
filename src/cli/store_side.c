// SPDX-License-Identifier: Apache-2.0
#include "cli/store_side.h"

#include "base/time.h"
#include "cli/term.h"
#include "os/io.h"
#include "server/data_dir.h"
#include "server/zone_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_NS (200 * NS_PER_MS)

Str absolute_path(struct arena *a, Str path)
{
    char *real = realpath(str_c(a, path), NULL);
    if (real != NULL) {
        Str found = str_dup(a, str_of(real));
        free(real);
        return found;
    }
    char *here = getcwd(NULL, 0);
    Str whole =
        str_starts(path, S("/")) || here == NULL ? path : str_cat3(a, str_of(here), S("/"), path);
    whole = str_dup(a, whole);
    free(here);
    return whole;
}

// Whether a process holds the directory's lock. Where there is no lock there is no server.
static bool is_held(struct arena *a, Str data_dir)
{
    struct io *io = io_real();
    struct io_file *f = NULL;
    if (io->open(io, str_cat(a, data_dir, S("/lock")), IO_WRITE, &f).kind != ERR_NONE)
        return false;
    bool held = io->lock(f).kind == ERR_BUSY;
    io->close(f);
    return held;
}

// Where the holder of the directory says that it listens, unless the user has said where.
static void take_address(struct invocation *in, Str data_dir)
{
    Str url = data_dir_address(io_real(), in->a, data_dir);
    if (url.n == 0 || environment_text(in, S("AWS_ENDPOINT_URL")).n > 0 ||
        environment_text(in, S("AWS_ENDPOINT_URL_KINESIS")).n > 0)
        return;
    SettingFlag *flags = arena_new(in->a, SettingFlag, in->flag_count + 1);
    if (in->flag_count > 0)
        memcpy(flags, in->flags, in->flag_count * sizeof *flags);
    flags[in->flag_count++] = (SettingFlag){ .name = S("endpoint"), .value = url };
    in->flags = flags;
}

ExitCode store_side(struct invocation *in, StoreSide *ret)
{
    StoreSide side = { .settings = arena_new(in->a, Settings, 1) };
    ExitCode code = invocation_settings(in, side.settings);
    if (code != EXIT_GOOD)
        return code;
    side.data_dir = settings_text(side.settings, S("data_dir"));
    side.is_online = side.any_server = flag_text(in, S("endpoint")).n > 0;
    Str marker = data_file_find(io_real(), in->a, side.settings, S("FORMAT"));
    if (!side.is_online && marker.p == NULL) // opening it would make it
        return complain(EXIT_NOT_FOUND, "there is no data directory at %.*s", FMT(side.data_dir));
    side.content_dir = marker.p != NULL ? str_head(marker, marker.n - sizeof "/FORMAT" + 1) : S("");
    if (!side.is_online && is_held(in->a, side.data_dir)) {
        side.is_online = true;
        take_address(in, side.data_dir);
    }
    *ret = side;
    return EXIT_GOOD;
}

// ---- The server's pages

ExitCode store_ask_stat(const struct invocation *in, const StoreSide *side, const JsonValue **ret,
                        Str *ret_text)
{
    ExitCode code = remote_ask(in, S("stat"), S("{}"), ret, ret_text);
    if (code != EXIT_GOOD || side->any_server)
        return code;
    Str theirs = absolute_path(in->a, json_text(*ret, S("data_dir")));
    Str ours = absolute_path(in->a, side->data_dir);
    if (!str_eq(theirs, ours))
        return complain(EXIT_FAILED,
                        "a server holds %.*s, but the one that answers has %.*s; give its "
                        "--endpoint",
                        FMT(ours), FMT(theirs));
    return EXIT_GOOD;
}

static void show_progress(struct arena *a, const JsonValue *job)
{
    const JsonValue *bytes = json_find(job, S("bytes")), *all = json_find(job, S("all_bytes"));
    uint64_t done = bytes != NULL ? (uint64_t)bytes->integer : 0;
    Str text = term_bytes(a, done);
    Str of = all != NULL && all->integer > 0
                 ? str_cat(a, S(" of "), term_bytes(a, (uint64_t)all->integer))
                 : S("");
    fprintf(stderr, "\r%.*s%.*s   ", FMT(text), FMT(of));
}

ExitCode store_wait_job(const struct invocation *in, const JsonValue *job, const JsonValue **ret)
{
    struct io *io = io_real();
    bool shows = term_is_terminal(STDERR_FILENO);
    Str text;
    while (str_eq(json_text(job, S("state")), S("running"))) {
        io->sleep_ns(io, POLL_NS);
        ExitCode code = remote_ask(in, S("job"), S("{}"), &job, &text);
        if (code != EXIT_GOOD)
            return code;
        if (shows)
            show_progress(in->a, job);
    }
    if (shows)
        fputs("\r\033[K", stderr);
    *ret = job;
    if (str_eq(json_text(job, S("state")), S("done")))
        return EXIT_GOOD;
    const JsonValue *problems = json_find(job, S("problems"));
    for (size_t i = 0; problems != NULL && i < problems->n; i++)
        fprintf(stderr, "headrace: %.*s\n", FMT(problems->items[i].text));
    static const struct {
        Str kind;
        ExitCode code;
    } codes[] = { { S_INIT("corrupt"), EXIT_CORRUPT }, { S_INIT("format"), EXIT_FORMAT },
                  { S_INIT("full"), EXIT_DISK },       { S_INIT("io"), EXIT_DISK },
                  { S_INIT("busy"), EXIT_LOCKED },     { S_INIT("invalid"), EXIT_USAGE } };
    ExitCode code = EXIT_FAILED;
    for (size_t i = 0; i < COUNT_OF(codes); i++)
        if (str_eq(codes[i].kind, json_text(job, S("kind"))))
            code = codes[i].code;
    if (code == EXIT_LOCKED)
        return complain(code, "another backup or restore works in %.*s",
                        FMT(json_text(job, S("to"))));
    return complain(code, "it failed in the server: %.*s", FMT(json_text(job, S("error"))));
}

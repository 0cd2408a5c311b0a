// SPDX-License-Identifier: Apache-2.0
#include "base/time.h"
#include "cli/commands.h"
#include "cli/store_side.h"
#include "cli/term.h"
#include "os/io.h"
#include "server/data_dir.h"
#include "server/zone_set.h"
#include "store/kv.h"
#include "store/log.h"

#include <stdio.h>

static const Flag flags[] = { STORE_ZONES_FLAG };

static ExitCode check_journal(struct invocation *in, Str path)
{
    LogConfig config = { .io = io_real(), .dir = str_cat(in->a, path, S("/journal")) };
    LogCheck found;
    Err e = log_check(&config, &found);
    if (e.kind != ERR_NONE)
        return complain(exit_code_of(e), "the journal in %.*s is not sound: %s", FMT(config.dir),
                        e.text);
    Str newest = found.newest_arrival_ms > 0
                     ? time_iso_ms(in->a, found.newest_arrival_ms * NS_PER_MS)
                     : S("never");
    printf("ok\tjournal\t%llu files of %llu bytes together; %llu blocks, %llu records of %llu "
           "shards; newest %.*s; %llu bytes torn at the end\n",
           (unsigned long long)found.files, (unsigned long long)found.disk_bytes,
           (unsigned long long)found.blocks, (unsigned long long)found.records,
           (unsigned long long)found.shards, FMT(newest), (unsigned long long)found.torn_bytes);
    printf("ok\tcontainers\t%llu files of %llu bytes together; %llu records\n",
           (unsigned long long)found.containers, (unsigned long long)found.container_bytes,
           (unsigned long long)found.sealed_records);
    return EXIT_GOOD;
}

// A copy in memory is checked, so that the file's log stays as a crash has left it.
static ExitCode check_kv(struct invocation *in, Str path)
{
    Str file = str_cat(in->a, path, S("/headrace.db"));
    AUTO(kv) db = NULL;
    Err e = kv_open_copy(io_real(), file, &db);
    if (e.kind == ERR_LIMIT) // too large for that
        e = kv_open(io_real(), file, &db);
    if (e.kind != ERR_NONE)
        return complain(exit_code_of(e), "%.*s is not sound: %s", FMT(file), e.text);
    printf("ok\tkv\t%.*s\n", FMT(file));
    return EXIT_GOOD;
}

// A zone is held by its own lock; the server takes that of the data directory too.
static ExitCode take_zone(struct invocation *in, Str path, struct io_file **ret)
{
    struct io *io = io_real();
    Err e = io->open(io, str_cat(in->a, path, S("/zone.lock")), IO_WRITE | IO_CREATE, ret);
    if (e.kind == ERR_NONE)
        e = io->lock(*ret);
    if (e.kind == ERR_BUSY)
        return complain(EXIT_LOCKED, "the zone %.*s is in use", FMT(path));
    return e.kind == ERR_NONE ? EXIT_GOOD
                              : complain(exit_code_of(e), "%.*s: %s", FMT(path), e.text);
}

static ExitCode check_content(struct invocation *in, Str path)
{
    ExitCode code = check_journal(in, path);
    ExitCode other = check_kv(in, path); // both are told
    return code != EXIT_GOOD ? code : other;
}

static ExitCode check_place(struct invocation *in, Str path, bool is_zone)
{
    Str marker, problem = S("");
    Err e = io_read_file(io_real(), in->a, str_cat(in->a, path, S("/FORMAT")), 4096, &marker);
    if (e.kind == ERR_NOT_FOUND) // opening it would make it
        return complain(EXIT_NOT_FOUND, "there is no data directory at %.*s", FMT(path));
    if (is_zone) {
        struct io_file *lock = NULL;
        ExitCode code = take_zone(in, path, &lock);
        if (code == EXIT_GOOD)
            code = check_content(in, path);
        io_real()->close(lock);
        return code;
    }
    AUTO(data_dir) d = NULL;
    e = data_dir_open(io_real(), in->a, path, HEADRACE_VERSION_STR, &d, &problem);
    if (e.kind != ERR_NONE)
        return complain(exit_code_of(e), "%.*s", FMT(problem));
    return check_content(in, path);
}

static ExitCode check_directory(struct invocation *in, const StoreSide *side)
{
    ExitCode code = EXIT_GOOD;
    size_t n = 0;
    const Str *places = data_places(side->settings, &n);
    for (size_t i = 0; i < n; i++) {
        ExitCode other = check_place(in, places[i], n > 1);
        code = code != EXIT_GOOD ? code : other; // all are told
    }
    return code;
}

// A server verifies its containers beside its work; what is in the journal it has read when it
// started, and reads with checksums.
static ExitCode check_server(struct invocation *in, const StoreSide *side)
{
    const JsonValue *v = NULL;
    Str text;
    ExitCode code = store_ask_stat(in, side, &v, &text);
    if (code == EXIT_GOOD)
        code = remote_ask(in, S("check"), S("{}"), &v, &text);
    if (code == EXIT_GOOD)
        code = store_wait_job(in, v, &v);
    if (code != EXIT_GOOD)
        return code;
    Str records = json_number_text(v, S("records")), bytes = json_number_text(v, S("bytes"));
    printf("ok\tcontainers\t%.*s records in %.*s bytes, by the running server\n", FMT(records),
           FMT(bytes));
    return EXIT_GOOD;
}

static ExitCode run(struct invocation *in)
{
    StoreSide side;
    ExitCode code = store_side(in, &side);
    if (code != EXIT_GOOD)
        return code;
    return side.is_online ? check_server(in, &side) : check_directory(in, &side);
}

const struct command command_store_check = {
    .name = S_INIT("store check"),
    .summary = S_INIT("Read all that a server keeps, and verify every checksum"),
    .usage = S_INIT("[--data-dir DIR]"),
    .details = S_INIT("Nothing is changed. Status 12: something is damaged, and the message says "
                      "where. A running\nserver is asked to verify its containers; it does so "
                      "beside its work, at low priority."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .examples = { { S_INIT("headrace store check --data-dir ./data"),
                    S_INIT("before an upgrade, or after a bad night") },
                  { S_INIT("headrace store check"), S_INIT("of the usual directory") } },
    .see_also = S_INIT("store stat, backup verify, doctor, help exit-codes"),
    .run = run,
};

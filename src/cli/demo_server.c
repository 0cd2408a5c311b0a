// SPDX-License-Identifier: Apache-2.0
#include "cli/demo_server.h"
#include "base/buf.h"
#include "base/time.h"
#include "codec/hash.h"
#include "os/child.h"
#include "os/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOG_TAIL_BYTES = 2000, LOG_BYTES_MAX = 64 << 20, ARGUMENTS_OWN_MAX = 8 };
#define START_LIMIT_NS (60 * NS_PER_S)
#define STOP_LIMIT_NS (60 * NS_PER_S)

struct demo_server {
    struct arena *a;
    struct child *child;
    int input;  // the child ends when this is closed
    int output; // what it prints
    Str log_path;
    Str url;
    Str access_key, secret_key;
};

static Str random_text(struct arena *a, size_t bytes)
{
    unsigned char *p = arena_new(a, unsigned char, bytes);
    io_real()->random(io_real(), p, bytes);
    return hex_str(a, p, bytes);
}

static Str own_program(struct arena *a)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    return n > 0 ? str_dup(a, str_from(path, (size_t)n)) : S("headrace");
}

// Our environment without what would configure the server, and with the key.
static const char *const *child_environment(const struct invocation *in, struct demo_server *s)
{
    size_t n = 0, kept = 0;
    while (in->environment[n] != NULL)
        n++;
    const char **env = arena_new(s->a, const char *, n + 3);
    for (size_t i = 0; i < n; i++) {
        Str line = str_of(in->environment[i]);
        if (!str_starts(line, S("HEADRACE_")) && !str_starts(line, S("NOTIFY_SOCKET=")))
            env[kept++] = in->environment[i];
    }
    env[kept++] = str_c(s->a, str_cat(s->a, S("HEADRACE_ACCESS_KEY_ID="), s->access_key));
    env[kept++] = str_c(s->a, str_cat(s->a, S("HEADRACE_SECRET_ACCESS_KEY="), s->secret_key));
    env[kept] = NULL;
    return env;
}

static const char *const *child_arguments(const struct invocation *in, struct demo_server *s,
                                          Str data_dir, Str listen)
{
    const char **argv = arena_new(s->a, const char *, ARGUMENTS_OWN_MAX + in->flag_count);
    listen = listen.n > 0 ? listen : S("127.0.0.1:0"); // a free port
    argv[0] = str_c(s->a, own_program(s->a));
    argv[1] = "serve";
    argv[2] = "--attached";
    argv[3] = str_c(s->a, str_cat(s->a, S("--data-dir="), data_dir));
    argv[4] = str_c(s->a, str_cat(s->a, S("--listen="), listen));
    size_t n = 5;
    for (size_t i = 0; i < in->flag_count; i++) {
        Str name = in->flags[i].name, value = in->flags[i].value;
        bool ours = str_eq(name, S("data-dir")) || str_eq(name, S("listen"));
        if (!ours && setting_of_flag(name) != NULL)
            argv[n++] = str_c(s->a, str_fmt(s->a, "--%.*s=%.*s", FMT(name), FMT(value)));
    }
    argv[n] = NULL;
    return argv;
}

static Err spawn_server(const struct invocation *in, struct demo_server *s, Str data_dir,
                        Str listen)
{
    int input[2], output[2];
    if (pipe2(input, O_CLOEXEC) != 0)
        return fail_os(errno, "no pipe for the server");
    s->input = input[1];
    if (pipe2(output, O_CLOEXEC) != 0) {
        close(input[0]);
        return fail_os(errno, "no pipe for the server");
    }
    s->output = output[0];
    // A descriptor for the child to write to, not a file of ours: so it is not opened through
    // struct io.
    int log = open(str_c(s->a, s->log_path), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ChildConfig config = { .argv = child_arguments(in, s, data_dir, listen),
                           .envp = child_environment(in, s),
                           .stdin_fd = input[0],
                           .stdout_fd = output[1],
                           .stderr_fd = log };
    Err e = log >= 0 ? child_start(&config, &s->child) : fail_os(errno, "no log for the server");
    close(input[0]);
    close(output[1]);
    if (log >= 0)
        close(log);
    return e;
}

// Takes the lines that have come; true when the server has said that it is ready.
static bool take_lines(struct demo_server *s, struct buf *pending)
{
    bool ready = false;
    Str line, rest;
    while (str_cut(buf_str(pending), '\n', &line, &rest)) {
        static const Str listening = S_INIT("Listening on ");
        if (str_starts(line, listening) && s->url.n == 0)
            s->url = str_dup(s->a, str_skip(line, listening.n));
        ready |= str_eq(line, S("Ready."));
        buf_drop(pending, line.n + 1);
    }
    return ready;
}

static ExitCode did_not_start(struct demo_server *s)
{
    ChildEnd end = { .code = EXIT_FAILED };
    Err e = child_wait(s->child, NS_PER_S, &end);
    Str log = S("");
    err_ignore(io_read_file(io_real(), s->a, s->log_path, LOG_BYTES_MAX, &log)); // only shown
    log = str_trim(str_skip(log, log.n - MIN(log.n, LOG_TAIL_BYTES)));
    ExitCode code =
        e.kind == ERR_NONE && !end.signalled && end.code != 0 ? (ExitCode)end.code : EXIT_FAILED;
    return complain(code, "the server did not start:\n%.*s", FMT(log));
}

static ExitCode wait_ready(struct demo_server *s)
{
    struct io *io = io_real();
    AUTO_BUF(pending);
    int64_t deadline = io->mono_ns(io) + START_LIMIT_NS;
    for (;;) {
        int64_t left_ms = (deadline - io->mono_ns(io)) / NS_PER_MS;
        struct pollfd p = { .fd = s->output, .events = POLLIN };
        if (left_ms <= 0 || poll(&p, 1, (int)left_ms) == 0)
            return complain(EXIT_TIMEOUT, "the server did not become ready; see %.*s",
                            FMT(s->log_path));
        CHECK(buf_reserve(&pending, 4096));
        ssize_t n = read(s->output, pending.p + pending.n, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return did_not_start(s);
        pending.n += (size_t)n;
        if (take_lines(s, &pending))
            return EXIT_GOOD;
    }
}

ExitCode demo_server_start(const struct invocation *in, Str data_dir, Str listen,
                           struct demo_server **ret)
{
    struct arena *a = arena_open();
    struct demo_server *s = arena_new(a, struct demo_server, 1);
    *s = (struct demo_server){ .a = a, .input = -1, .output = -1 };
    s->log_path = str_cat(a, data_dir, S("/server.log"));
    s->access_key = str_cat(a, S("DEMO"), random_text(a, 8));
    s->secret_key = random_text(a, 20);
    Err e = spawn_server(in, s, data_dir, listen);
    ExitCode code = e.kind == ERR_NONE
                        ? wait_ready(s)
                        : complain(EXIT_FAILED, "the server cannot be started: %s", e.text);
    if (code != EXIT_GOOD)
        demo_server_close(s);
    else
        *ret = s;
    return code;
}

Str demo_server_url(const struct demo_server *s)
{
    return s->url;
}

Str demo_server_access_key(const struct demo_server *s)
{
    return s->access_key;
}

Str demo_server_secret_key(const struct demo_server *s)
{
    return s->secret_key;
}

bool demo_server_runs(struct demo_server *s)
{
    struct pollfd p = { .fd = child_pidfd(s->child), .events = POLLIN };
    return poll(&p, 1, 0) == 0;
}

ExitCode demo_server_stop(struct demo_server *s)
{
    close(s->input);
    s->input = -1;
    ChildEnd end = { 0 };
    Err e = child_wait(s->child, STOP_LIMIT_NS, &end);
    if (e.kind != ERR_NONE)
        return complain(EXIT_TIMEOUT, "the server does not end; see %.*s", FMT(s->log_path));
    if (end.signalled || end.code != 0)
        return complain(EXIT_FAILED, "the server ended with %s %d; see %.*s",
                        end.signalled ? "signal" : "status", end.code, FMT(s->log_path));
    return EXIT_GOOD;
}

void demo_server_close(struct demo_server *s)
{
    if (s == NULL)
        return;
    if (s->input >= 0)
        close(s->input);
    child_close(s->child);
    if (s->output >= 0)
        close(s->output);
    arena_close(s->a);
}

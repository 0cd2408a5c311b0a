// SPDX-License-Identifier: Apache-2.0
#include "os/child.h"

#include "base/time.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct child {
    pid_t pid;
    int pidfd;
    bool ended; // waited for; `end` says how
    ChildEnd end;
};

enum { STANDARD_FDS = 3 };

// Copies of the three descriptors above the standard ones, so that putting one in its place cannot
// overwrite another that is still to be moved. -1 stays -1.
static Err copy_fds(const ChildConfig *config, int fds[STANDARD_FDS])
{
    const int given[STANDARD_FDS] = { config->stdin_fd, config->stdout_fd, config->stderr_fd };
    for (int i = 0; i < STANDARD_FDS; i++) {
        if (given[i] < 0)
            continue;
        fds[i] = fcntl(given[i], F_DUPFD_CLOEXEC, STANDARD_FDS);
        if (fds[i] < 0)
            return fail_os(errno, "duplicate a child's descriptor");
    }
    return OK;
}

static Err set_actions(posix_spawn_file_actions_t *actions, const int fds[STANDARD_FDS],
                       const char *dir)
{
    int error = 0;
    for (int i = 0; i < STANDARD_FDS && error == 0; i++)
        error = fds[i] >= 0 ? posix_spawn_file_actions_adddup2(actions, fds[i], i)
                            : posix_spawn_file_actions_addopen(actions, i, "/dev/null", O_RDWR, 0);
    if (error == 0)
        error = posix_spawn_file_actions_addclosefrom_np(actions, STANDARD_FDS);
    if (error == 0 && dir != NULL)
        error = posix_spawn_file_actions_addchdir_np(actions, dir);
    return error == 0 ? OK : fail_os(error, "prepare a child's descriptors");
}

// Nothing of our signal handling is the child's: no signal is blocked or ignored there.
static Err set_signals(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int error = posix_spawnattr_setsigmask(attributes, &none);
    if (error == 0)
        error = posix_spawnattr_setsigdefault(attributes, &all);
    if (error == 0)
        error =
            posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return error == 0 ? OK : fail_os(error, "prepare a child's signals");
}

static Err spawn(const ChildConfig *config, const int fds[STANDARD_FDS], const char *dir,
                 pid_t *ret)
{
    static const char *const nothing[] = { NULL };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    CHECK(posix_spawn_file_actions_init(&actions) == 0); // both only fill their argument
    CHECK(posix_spawnattr_init(&attributes) == 0);
    Err e = set_actions(&actions, fds, dir);
    if (e.kind == ERR_NONE)
        e = set_signals(&attributes);
    if (e.kind == ERR_NONE) {
        const char *const *envp = config->envp != NULL ? config->envp : nothing;
        // exec takes the strings as writable and does not write to them.
        int error =
            posix_spawnp(ret, config->argv[0], &actions, &attributes,
                         (char *const *)(uintptr_t)config->argv, (char *const *)(uintptr_t)envp);
        if (error != 0)
            e = fail_os(error, "start a program");
    }
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return e;
}

Err child_start(const ChildConfig *config, struct child **ret)
{
    CHECK(config->argv != NULL && config->argv[0] != NULL);
    AUTO(arena) tmp = arena_open();
    const char *dir = config->dir.p != NULL ? str_c(tmp, config->dir) : NULL;

    pid_t pid = -1;
    int fds[STANDARD_FDS] = { -1, -1, -1 };
    Err e = copy_fds(config, fds);
    if (e.kind == ERR_NONE)
        e = spawn(config, fds, dir, &pid);
    for (int i = 0; i < STANDARD_FDS; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    TRY(e);

    // The number cannot have been given to another process: it is not reaped before we wait for it.
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        e = fail_os(errno, "pidfd_open");
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return e;
    }
    struct child *c = xalloc(sizeof *c);
    *c = (struct child){ .pid = pid, .pidfd = pidfd };
    *ret = c;
    return OK;
}

int child_pid(const struct child *c)
{
    return c->pid;
}

int child_pidfd(const struct child *c)
{
    return c->pidfd;
}

Err child_signal(struct child *c, int signal_number)
{
    if (c->ended)
        return fail(ERR_CLOSED, "the child has ended");
    if (pidfd_send_signal(c->pidfd, signal_number, NULL, 0) != 0)
        return fail_os(errno, "signal a child");
    return OK;
}

static int64_t now_ns(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

// Until the child has ended or the time has passed.
static Err await_end(const struct child *c, int64_t timeout_ns)
{
    int64_t start_ns = now_ns();
    struct pollfd p = { .fd = c->pidfd, .events = POLLIN };
    while (true) {
        int64_t left_ns = MAX(timeout_ns - (now_ns() - start_ns), 0);
        struct timespec t = { .tv_sec = left_ns / NS_PER_S, .tv_nsec = left_ns % NS_PER_S };
        int n = ppoll(&p, 1, timeout_ns < 0 ? NULL : &t, NULL);
        if (n > 0)
            return OK;
        if (n == 0)
            return fail(ERR_TIMEOUT, "the child still runs");
        if (errno != EINTR)
            return fail_os(errno, "wait for a child");
    }
}

Err child_wait(struct child *c, int64_t timeout_ns, ChildEnd *ret)
{
    if (!c->ended) {
        TRY(await_end(c, timeout_ns));
        siginfo_t info = { 0 };
        int r;
        do
            r = waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED);
        while (r != 0 && errno == EINTR);
        if (r != 0)
            return fail_os(errno, "wait for a child");
        c->ended = true;
        c->end = (ChildEnd){ .signalled = info.si_code != CLD_EXITED, .code = info.si_status };
    }
    *ret = c->end;
    return OK;
}

void child_close(struct child *c)
{
    if (c == NULL)
        return;
    if (!c->ended) {
        ChildEnd end;
        err_ignore(child_signal(c, SIGKILL)); // fails only if it has ended by itself
        err_ignore(child_wait(c, -1, &end));
    }
    close(c->pidfd);
    free(c);
}

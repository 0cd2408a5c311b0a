// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "os/child.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

// Runs a shell line with its output in a pipe and returns what it wrote.
static Str output_of(struct arena *a, ChildConfig config, ChildEnd *ret_end)
{
    int ends[2];
    EXPECT(pipe2(ends, O_CLOEXEC) == 0);
    config.stdout_fd = ends[1];
    AUTO(child) c = NULL;
    EXPECT_OK(child_start(&config, &c));
    close(ends[1]);
    char text[4096];
    size_t n = 0;
    ssize_t r;
    while (n < sizeof text && (r = read(ends[0], text + n, sizeof text - n)) > 0)
        n += (size_t)r;
    close(ends[0]);
    EXPECT_OK(child_wait(c, -1, ret_end));
    return str_dup(a, str_from(text, n));
}

static ChildConfig shell(const char *const *argv)
{
    return (ChildConfig){ .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 };
}

TEST(a_child_gets_exactly_the_given_environment)
{
    const char *const argv[] = { "env", NULL };
    const char *const envp[] = { "A=1", "B=two words", NULL };
    ChildConfig config = { .argv = argv, .envp = envp, .stdin_fd = -1, .stderr_fd = -1 };
    ChildEnd end = { 0 };
    EXPECT_STR(S("A=1\nB=two words\n"), output_of(a, config, &end));
    config.envp = NULL;
    EXPECT_STR(S(""), output_of(a, config, &end));
    EXPECT(!end.signalled && end.code == 0);
}

TEST(a_child_gets_no_other_descriptors)
{
    int leak = open("/dev/null", O_RDONLY); // without O_CLOEXEC
    EXPECT(leak >= 3);
    const char *const argv[] = {
        "sh", "-c",
        "i=0; while [ $i -lt 20 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i+1)); done", NULL
    };
    ChildEnd end = { 0 };
    EXPECT_STR(S("0\n1\n2\n"), output_of(a, shell(argv), &end));
    close(leak);
}

TEST(a_child_runs_in_the_given_directory)
{
    Str dir = test_dir(a);
    const char *const argv[] = { "sh", "-c", "pwd", NULL };
    ChildConfig config = shell(argv);
    config.dir = dir;
    ChildEnd end = { 0 };
    EXPECT_STR(str_cat(a, dir, S("\n")), output_of(a, config, &end));
}

TEST(a_child_reads_its_standard_input)
{
    int ends[2];
    EXPECT(pipe2(ends, O_CLOEXEC) == 0);
    EXPECT(write(ends[1], "hello", 5) == 5);
    close(ends[1]);
    const char *const argv[] = { "cat", NULL };
    ChildConfig config = { .argv = argv, .stdin_fd = ends[0], .stderr_fd = -1 };
    ChildEnd end = { 0 };
    EXPECT_STR(S("hello"), output_of(a, config, &end));
    close(ends[0]);
}

TEST(an_absent_program_is_not_found)
{
    const char *const argv[] = { "no-such-program-anywhere", NULL };
    ChildConfig config = shell(argv);
    struct child *c = NULL;
    EXPECT_ERR(ERR_NOT_FOUND, child_start(&config, &c));
    EXPECT(c == NULL);
    const char *const denied[] = { "/etc/passwd", NULL };
    config.argv = denied;
    EXPECT_ERR(ERR_DENIED, child_start(&config, &c));
}

TEST(the_exit_status_and_the_signal_are_told_apart)
{
    const char *const exits[] = { "sh", "-c", "exit 7", NULL };
    ChildEnd end = { 0 };
    output_of(a, shell(exits), &end);
    EXPECT(!end.signalled && end.code == 7);
    const char *const dies[] = { "sh", "-c", "kill -USR1 $$", NULL };
    output_of(a, shell(dies), &end);
    EXPECT(end.signalled && end.code == SIGUSR1);
}

TEST(a_running_child_times_out_can_be_signalled_and_ends_once)
{
    const char *const argv[] = { "sleep", "1000", NULL };
    ChildConfig config = { .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 };
    AUTO(child) c = NULL;
    EXPECT_OK(child_start(&config, &c));
    EXPECT(child_pid(c) > 0 && child_pidfd(c) > 2);
    ChildEnd end = { 0 };
    EXPECT_ERR(ERR_TIMEOUT, child_wait(c, 0, &end));
    EXPECT_ERR(ERR_TIMEOUT, child_wait(c, NS_PER_MS, &end));
    EXPECT_OK(child_signal(c, SIGTERM));
    EXPECT_OK(child_wait(c, -1, &end));
    EXPECT(end.signalled && end.code == SIGTERM);
    EXPECT_ERR(ERR_CLOSED, child_signal(c, SIGTERM));
    end = (ChildEnd){ 0 };
    EXPECT_OK(child_wait(c, 0, &end)); // the answer is remembered
    EXPECT(end.signalled && end.code == SIGTERM);
}

TEST(closing_kills_and_reaps_a_running_child)
{
    const char *const argv[] = { "sleep", "1000", NULL };
    ChildConfig config = { .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 };
    struct child *c = NULL;
    EXPECT_OK(child_start(&config, &c));
    pid_t pid = child_pid(c);
    child_close(c);
    EXPECT(kill(pid, 0) != 0);
}

TEST(a_child_has_no_blocked_or_ignored_signals)
{
    sigset_t block, before;
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    EXPECT(pthread_sigmask(SIG_BLOCK, &block, &before) == 0);
    void (*old)(int) = signal(SIGPIPE, SIG_IGN);
    // Of the ignored ones only the 31 classic signals: libc keeps 32 and 33 for itself.
    const char *const argv[] = {
        "sh", "-c", "grep SigBlk /proc/self/status; grep SigIgn /proc/self/status | tail -c 9", NULL
    };
    ChildEnd end = { 0 };
    Str got = output_of(a, shell(argv), &end);
    signal(SIGPIPE, old);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    EXPECT_STR(S("SigBlk:\t0000000000000000\n80000000\n"), got);
}

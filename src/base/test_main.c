// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"

#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const struct test *const __start_tests[];
extern const struct test *const __stop_tests[];

static jmp_buf failed;
static pthread_t runner; // the thread whose stack `failed` names
static const struct test *running;
static char directory[64];
static char ran[128]; // " [avx2, scalar]", or nothing

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("# %s:%d: ", file, line);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    if (!pthread_equal(pthread_self(), runner)) {
        // A double that a pool or a loop called: its thread cannot jump onto the test's stack.
        printf("# on a thread that is not the test's\nnot ok - %s\n", running->name);
        abort();
    }
    longjmp(failed, 1);
}

void test_expect_ok(const char *file, int line, const char *what, Err e)
{
    if (e.kind != ERR_NONE)
        test_fail(file, line, "%s: %s: %s (errno %d)", what, err_kind_name(e.kind), e.text, e.os);
}

void test_expect_err(const char *file, int line, const char *what, ErrKind want, Err e)
{
    if (e.kind != want)
        test_fail(file, line, "%s: expected error %s, got %s: %s", what, err_kind_name(want),
                  err_kind_name(e.kind), e.text != NULL ? e.text : "");
}

void test_expect_str(const char *file, int line, const char *what, Str want, Str got)
{
    if (!str_eq(want, got))
        test_fail(file, line, "%s:\n#   expected \"%.*s\"\n#   got      \"%.*s\"", what, FMT(want),
                  FMT(got));
}

void test_expect_int(const char *file, int line, const char *what, int64_t want, int64_t got)
{
    if (want != got)
        test_fail(file, line, "%s: expected %lld, got %lld", what, (long long)want, (long long)got);
}

void test_ran(const char *what)
{
    size_t n = strlen(ran);
    int more = n == 0 ? snprintf(ran, sizeof ran, " [%s]", what)
                      : snprintf(ran + n - 1, sizeof ran - n + 1, ", %s]", what);
    CHECK(more > 0 && n + (size_t)more < sizeof ran);
}

Str test_dir(struct arena *a)
{
    if (directory[0] == 0) {
        const char *base = getenv("TMPDIR");
        int n = snprintf(directory, sizeof directory, "%s/headrace-test-XXXXXX",
                         base != NULL && strlen(base) < 40 ? base : "/tmp");
        CHECK(n > 0 && (size_t)n < sizeof directory);
        CHECK(mkdtemp(directory) != NULL);
    }
    return str_dup(a, str_of(directory));
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static bool run_one(const struct test *t)
{
    struct arena *a = arena_open();
    volatile bool passed = false;
    directory[0] = 0;
    running = t;
    ran[0] = 0;
    if (setjmp(failed) == 0) {
        t->run(a);
        passed = true;
    }
    if (passed && directory[0] != 0)
        nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    arena_close(a);
    return passed;
}

static bool is_wanted(const struct test *t, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(t->name, argv[i]) != NULL)
            return true;
    return argc < 2;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    runner = pthread_self();
    int number = 0, failures = 0;
    for (const struct test *const *t = __start_tests; t < __stop_tests; t++) {
        if (!is_wanted(*t, argc, argv))
            continue;
        bool passed = run_one(*t);
        failures += !passed;
        printf("%s %d - %s%s\n", passed ? "ok" : "not ok", ++number, (*t)->name, ran);
    }
    printf("1..%d\n", number);
    return failures > 0;
}

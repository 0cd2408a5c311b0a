// SPDX-License-Identifier: Apache-2.0
// The test harness. TEST(name) { ... } registers itself; inside, `a` is an arena that dies with the
// test. The name is the promise that is tested. The program prints TAP and runs the tests whose
// names contain one of its arguments, or all of them.
#pragma once
#include "base/buf.h"

struct test {
    const char *name;
    const char *file;
    void (*run)(struct arena *a);
};

#define TEST(test_name)                                                                           \
    static void test_##test_name(struct arena *a);                                                \
    static const struct test test_entry_##test_name = { #test_name, __FILE__, test_##test_name }; \
    __attribute__((used, retain,                                                                  \
                   section("tests"))) static const struct test *const test_pointer_##test_name =  \
        &test_entry_##test_name;                                                                  \
    static void test_##test_name(__attribute__((unused)) struct arena *a)

// A failed expectation is printed and ends the test; its owner's cleanups do not run.
_Noreturn void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void test_expect_ok(const char *file, int line, const char *what, Err e);
void test_expect_err(const char *file, int line, const char *what, ErrKind want, Err e);
void test_expect_str(const char *file, int line, const char *what, Str want, Str got);
void test_expect_int(const char *file, int line, const char *what, int64_t want, int64_t got);

#define EXPECT(condition)                                             \
    do {                                                              \
        if (!(condition))                                             \
            test_fail(__FILE__, __LINE__, "expected %s", #condition); \
    } while (0)
#define EXPECT_OK(expression) test_expect_ok(__FILE__, __LINE__, #expression, (expression))
#define EXPECT_ERR(kind, expression) \
    test_expect_err(__FILE__, __LINE__, #expression, (kind), (expression))
#define EXPECT_STR(want, got) test_expect_str(__FILE__, __LINE__, #got, (want), (got))
#define EXPECT_INT(want, got) \
    test_expect_int(__FILE__, __LINE__, #got, (int64_t)(want), (int64_t)(got))

// The name that the test is reported with gets `what` behind it, in brackets: which of several
// forms ran, where that depends on the machine.
void test_ran(const char *what);

// A directory of its own for this test, removed when the test has passed.
Str test_dir(struct arena *a);

// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "codec/crc.h"
#include "server/credentials.h"
#include "server/data_dir.h"
#include "server/exit_code.h"

#include <sys/stat.h>

static Str problem_text;

static Err opened(struct arena *a, Str path, struct data_dir **ret)
{
    problem_text = S("");
    return data_dir_open(io_real(), a, path, S("1.2.3"), ret, &problem_text);
}

static bool mentions(Str part)
{
    return str_search(problem_text, part) < problem_text.n;
}

static void write_marker(struct arena *a, Str dir, Str lines)
{
    Str content = str_fmt(a, "%.*scrc32c %08x\n", FMT(lines), crc32c(0, lines.p, lines.n));
    EXPECT_OK(io_write_file(io_real(), a, str_cat(a, dir, S("/FORMAT")), content));
}

TEST(a_new_directory_is_private_and_marked_and_opens_again)
{
    Str dir = str_cat(a, test_dir(a), S("/deep/er"));
    struct data_dir *d = NULL;
    EXPECT_OK(opened(a, str_cat(a, dir, S("//")), &d));
    EXPECT(data_dir_is_new(d));
    data_dir_close(d);
    struct stat st;
    EXPECT(stat(str_c(a, dir), &st) == 0 && (st.st_mode & 0777) == 0700);
    EXPECT_OK(opened(a, dir, &d));
    EXPECT(!data_dir_is_new(d));
    data_dir_close(d);
}

TEST(a_directory_in_use_is_refused_with_the_process_that_holds_it)
{
    Str dir = test_dir(a);
    AUTO(data_dir) first = NULL;
    struct data_dir *second = NULL;
    EXPECT_OK(opened(a, dir, &first));
    EXPECT_ERR(ERR_BUSY, opened(a, dir, &second));
    EXPECT(mentions(S(" is in use by pid ")));
    EXPECT(second == NULL);
}

TEST(a_newer_format_is_refused_by_name)
{
    Str dir = test_dir(a);
    write_marker(a, dir, S("headrace-data\nformat 7\nreader 6\nversion 9.4\nzones 3\n"));
    struct data_dir *d = NULL;
    EXPECT_ERR(ERR_FORMAT, opened(a, dir, &d));
    EXPECT(mentions(S("was written by headrace 9.4 (format 7); this is headrace 1.2.3 (format 1). "
                      "Use headrace >= 9.4")));
}

TEST(a_newer_format_that_this_program_may_read_is_opened)
{
    Str dir = test_dir(a);
    write_marker(a, dir, S("headrace-data\nformat 2\nreader 1\nversion 9.4\nfeature x\n"));
    struct data_dir *d = NULL;
    EXPECT_OK(opened(a, dir, &d));
    data_dir_close(d);
}

TEST(a_damaged_or_missing_marker_is_corruption_and_changes_nothing)
{
    Str dir = test_dir(a), path = str_cat(a, dir, S("/FORMAT"));
    static const Str damaged[] = {
        S_INIT(""),
        S_INIT("headrace-data\nformat 1\nreader 1\nversion 1\n"),
        S_INIT("headrace-data\nformat 1\nreader 1\nversion 1\ncrc32c 00000000\n"),
        S_INIT("something else\n"),
    };
    struct data_dir *d = NULL;
    for (size_t i = 0; i < COUNT_OF(damaged); i++) {
        EXPECT_OK(io_write_file(io_real(), a, path, damaged[i]));
        EXPECT_ERR(ERR_CORRUPT, opened(a, dir, &d));
        Str after = S("");
        EXPECT_OK(io_read_file(io_real(), a, path, 1000, &after));
        EXPECT_STR(damaged[i], after);
    }
    EXPECT_OK(io_real()->unlink(io_real(), path));
    EXPECT_OK(io_real()->mkdir(io_real(), str_cat(a, dir, S("/journal"))));
    EXPECT_ERR(ERR_CORRUPT, opened(a, dir, &d));
    EXPECT(mentions(S("its FORMAT file is missing")));
}

TEST(a_path_that_is_no_directory_is_refused)
{
    Str file = str_cat(a, test_dir(a), S("/file"));
    EXPECT_OK(io_write_file(io_real(), a, file, S("x")));
    struct data_dir *d = NULL;
    Err e = opened(a, file, &d);
    EXPECT(e.kind != ERR_NONE && problem_text.n > 0);
    EXPECT_ERR(ERR_INVALID, opened(a, S(""), &d));
}

TEST(made_credentials_are_private_read_back_and_differ)
{
    Str dir = test_dir(a);
    Credentials made = { 0 }, again = { 0 }, back = { 0 };
    EXPECT_ERR(ERR_NOT_FOUND, credentials_read(io_real(), a, dir, &back));
    EXPECT_ERR(ERR_NOT_FOUND, credentials_read(io_real(), a, S(""), &back));
    EXPECT_OK(credentials_make(io_real(), a, dir, &made));
    EXPECT_OK(credentials_read(io_real(), a, dir, &back));
    EXPECT_STR(made.access_key, back.access_key);
    EXPECT_STR(made.secret_key, back.secret_key);
    EXPECT(made.access_key.n == 20 && made.secret_key.n == 40);
    struct stat st;
    EXPECT(stat(str_c(a, str_cat(a, dir, S("/credentials"))), &st) == 0);
    EXPECT_INT(0600, st.st_mode & 0777);
    EXPECT_OK(credentials_make(io_real(), a, dir, &again));
    EXPECT(!str_eq(made.secret_key, again.secret_key));
}

TEST(half_a_key_or_one_that_breaks_a_scope_is_refused)
{
    Credentials c = { 0 };
    EXPECT_ERR(ERR_NOT_FOUND, credentials_given((Str){ 0 }, S(""), &c));
    EXPECT_ERR(ERR_INVALID, credentials_given(S("id"), S(""), &c));
    EXPECT_ERR(ERR_INVALID, credentials_given(S("a/b"), S("secret"), &c));
    EXPECT_ERR(ERR_INVALID, credentials_given(S("id"), S("with blank"), &c));
    EXPECT_OK(credentials_given(S("id"), S("se/cret+"), &c));
}

TEST(a_credentials_file_without_a_key_is_refused)
{
    Str dir = test_dir(a);
    Credentials c = { 0 };
    EXPECT_OK(io_write_file(io_real(), a, str_cat(a, dir, S("/credentials")),
                            S("[default]\naws_access_key_id = x\n")));
    EXPECT_ERR(ERR_INVALID, credentials_read(io_real(), a, dir, &c));
}

TEST(every_failure_at_start_has_its_exit_code)
{
    EXPECT_INT(EXIT_LOCKED, exit_code_of(fail(ERR_BUSY, "x")));
    EXPECT_INT(EXIT_CORRUPT, exit_code_of(fail(ERR_CORRUPT, "x")));
    EXPECT_INT(EXIT_FORMAT, exit_code_of(fail(ERR_FORMAT, "x")));
    EXPECT_INT(EXIT_DISK, exit_code_of(fail(ERR_IO, "x")));
    EXPECT_INT(EXIT_DISK, exit_code_of(fail(ERR_FULL, "x")));
    EXPECT_INT(EXIT_FAILED, exit_code_of(fail(ERR_DENIED, "x")));
    for (size_t i = 1; i < exit_meaning_count; i++)
        EXPECT(exit_meanings[i - 1].code < exit_meanings[i].code);
}

TEST(sections_of_the_credentials_that_name_an_account_are_its_root_keys)
{
    Str dir = test_dir(a), path = str_cat(a, dir, S("/credentials"));
    AccountKey *keys = NULL;
    size_t n = 9;
    Credentials c;
    EXPECT_OK(credentials_accounts(io_real(), a, dir, &keys, &n));
    EXPECT_INT(0, n);
    EXPECT_OK(io_write_file(io_real(), a, path,
                            S("[111122223333]\naws_access_key_id=ONE\naws_secret_access_key=s1\n"
                              "[default]\naws_access_key_id = ROOT\naws_secret_access_key = s0\n\n"
                              "# more\n[work]\naws_access_key_id=W\n[444455556666]\n"
                              "aws_access_key_id=TWO\naws_secret_access_key=s2")));
    EXPECT_OK(credentials_read(io_real(), a, dir, &c));
    EXPECT_STR(S("ROOT"), c.access_key);
    EXPECT_STR(S("s0"), c.secret_key);
    EXPECT_OK(credentials_accounts(io_real(), a, dir, &keys, &n));
    EXPECT_INT(2, n);
    EXPECT_STR(S("111122223333"), keys[0].account);
    EXPECT_STR(S("ONE"), keys[0].key.access_key);
    EXPECT_STR(S("444455556666"), keys[1].account);
    EXPECT_STR(S("s2"), keys[1].key.secret_key);
    EXPECT_OK(io_write_file(io_real(), a, path, S("[111122223333]\naws_access_key_id=ONE\n")));
    EXPECT_ERR(ERR_INVALID, credentials_accounts(io_real(), a, dir, &keys, &n));
    EXPECT_ERR(ERR_INVALID, credentials_read(io_real(), a, dir, &c));
}

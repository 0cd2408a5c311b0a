// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "cli/demo_view.h"
#include "cli/term.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const Column columns[] = { { S_INIT("name"), false }, { S_INIT("shard_count"), true } };

// What a table prints, caught in a file.
static Str printed(struct arena *a, TableStyle style)
{
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    FILE *f = tmpfile();
    EXPECT(saved >= 0 && f != NULL && dup2(fileno(f), STDOUT_FILENO) >= 0);
    struct table t = table_begin(a, style, columns, COUNT_OF(columns));
    table_row(&t, (const Str[]){ S("clicks"), S("3") });
    table_row(&t, (const Str[]){ S("a\tb\033\"\xc3\xa4"), S("12") });
    table_end(&t);
    fflush(stdout);
    EXPECT(dup2(saved, STDOUT_FILENO) >= 0);
    close(saved);
    rewind(f);
    char *text = arena_new(a, char, 1000);
    size_t n = fread(text, 1, 1000, f);
    fclose(f);
    return str_from(text, n);
}

TEST(tables_are_aligned_for_people_and_tabbed_for_scripts)
{
    EXPECT_STR(S("NAME    SHARD COUNT\nclicks            3\na b \"\xc3\xa4           12\n"),
               printed(a, TABLE_HUMAN));
    EXPECT_STR(S("clicks\t3\na b \"\xc3\xa4\t12\n"), printed(a, TABLE_TABS));
    EXPECT_STR(S("{\"name\":\"clicks\",\"shard_count\":3}\n"
                 "{\"name\":\"a\\u0009b\\u001b\\\"\xc3\xa4\",\"shard_count\":12}\n"),
               printed(a, TABLE_JSON));
}

TEST(colour_needs_a_terminal_and_consent)
{
    EXPECT(setenv("NO_COLOR", "1", 1) == 0);
    EXPECT(!term_colour(STDOUT_FILENO));
    EXPECT(unsetenv("NO_COLOR") == 0 && setenv("CLICOLOR_FORCE", "1", 1) == 0);
    EXPECT(term_colour(STDOUT_FILENO));
    EXPECT(unsetenv("CLICOLOR_FORCE") == 0);
    EXPECT_STR(S("x"), term_paint(a, false, "31", S("x")));
    EXPECT_STR(S("\033[31mx\033[0m"), term_paint(a, true, "31", S("x")));
}

TEST(numbers_are_written_for_people)
{
    EXPECT_STR(S("999"), term_count(a, 999));
    EXPECT_STR(S("1,234,567"), term_count(a, 1234567));
    EXPECT_STR(S("512 B"), term_bytes(a, 512));
    EXPECT_STR(S("1.5 MiB"), term_bytes(a, 3 << 19));
}

TEST(the_demo_shows_rates_and_each_shard_s_share_of_its_limit)
{
    DemoView v = { .title = S("t"), .shard_count = 2, .record_bytes = 1032, .columns = 80 };
    DemoMoment before = { .elapsed_ns = 1000000000, .totals = { .put = 100, .got = 90 } };
    DemoMoment now = { .elapsed_ns = 3000000000,
                       .totals = { .put = 2100, .got = 1090, .throttled = 4 },
                       .shard_put = { 1000, 500 },
                       .p50_ns = 110000000,
                       .p99_ns = 210500000,
                       .disk_bytes = 4096 };
    AUTO_BUF(b);
    demo_view_plain(&b, &v, &before, &now);
    EXPECT_STR(S("t=3 in=1000 out=500 throttled=4 p50_ms=110.0 p99_ms=210.5 disk_bytes=4096 "
                 "shard0=50% shard1=25%\n"),
               buf_str(&b));
    buf_clear(&b);
    unsigned lines = demo_view_screen(&b, a, &v, &before, &now), seen = 0;
    for (size_t i = 0; i < b.n; i++)
        seen += b.p[i] == '\n';
    EXPECT_INT(lines, seen);
}

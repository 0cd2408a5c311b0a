// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "codec/marker.h"
#include "server/clock.h"

TEST(a_moved_clock_stays_moved_after_a_restart)
{
    ClockConfig config = { .io = io_real(), .data_path = test_dir(a), .may_advance = true };
    struct clock *c;
    EXPECT_OK(clock_open(&config, &c));
    EXPECT_INT(0, clock_offset_ns(c));
    EXPECT_OK(clock_advance(c, 3600 * NS_PER_S));
    EXPECT_OK(clock_advance(c, 60 * NS_PER_S));
    clock_close(c);

    config.may_advance = false; // another profile keeps it, and cannot move it
    EXPECT_OK(clock_open(&config, &c));
    EXPECT_INT(3660 * NS_PER_S, clock_offset_ns(c));
    EXPECT_ERR(ERR_DENIED, clock_advance(c, 1));
    clock_close(c);
}

TEST(a_clock_moves_forward_only_and_not_without_end)
{
    ClockConfig config = { .io = io_real(), .data_path = test_dir(a), .may_advance = true };
    AUTO(clock) c = NULL;
    EXPECT_OK(clock_open(&config, &c));
    EXPECT_ERR(ERR_INVALID, clock_advance(c, -1));
    EXPECT_ERR(ERR_LIMIT, clock_advance(c, INT64_MAX));
    EXPECT_INT(0, clock_offset_ns(c));
}

// A marker with its checksum, as any program would write it.
static Str clock_file(struct arena *a, unsigned format, unsigned reader)
{
    AUTO_BUF(b);
    marker_begin(&b, S("headrace-clock"), format, reader);
    marker_add(&b, S("offset_ns"), S("60000000000"));
    marker_end(&b);
    return str_dup(a, buf_str(&b));
}

TEST(the_first_format_of_the_clock_is_read_and_a_newer_one_is_refused_by_name)
{
    ClockConfig config = { .io = io_real(), .data_path = test_dir(a), .may_advance = true };
    Str path = str_cat(a, config.data_path, S("/clock")), left;
    struct clock *c;
    EXPECT_OK(io_write_file(io_real(), a, path, S("headrace-clock 1 60000000000\n")));
    EXPECT_OK(clock_open(&config, &c));
    EXPECT_INT(60 * NS_PER_S, clock_offset_ns(c));
    clock_close(c);
    EXPECT_OK(io_write_file(io_real(), a, path, clock_file(a, 9, 2)));
    EXPECT_OK(clock_open(&config, &c)); // newer, and says that we understand it
    EXPECT_INT(60 * NS_PER_S, clock_offset_ns(c));
    clock_close(c);
    Str newer = clock_file(a, 9, 3);
    EXPECT_OK(io_write_file(io_real(), a, path, newer));
    EXPECT_ERR(ERR_FORMAT, clock_open(&config, &c));
    EXPECT_OK(io_read_file(io_real(), a, path, 1000, &left));
    EXPECT_STR(newer, left);
}

TEST(a_damaged_file_of_the_clock_is_refused)
{
    static const char *const wrong[] = { "", "headrace-clock 1 x", "headrace-clock 1 -5",
                                         "something" };
    ClockConfig config = { .io = io_real(), .data_path = test_dir(a), .may_advance = true };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct clock *c;
        Str path = str_cat(a, config.data_path, S("/clock"));
        EXPECT_OK(io_write_file(io_real(), a, path, str_of(wrong[i])));
        EXPECT_ERR(ERR_CORRUPT, clock_open(&config, &c));
    }
}

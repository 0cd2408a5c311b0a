// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "os/io_clock.h"

TEST(a_moved_clock_moves_both_clocks_and_nothing_else)
{
    AUTO(io_clock) c = NULL;
    io_clock_open(io_real(), NS_PER_S, &c);
    struct io *io = io_clock_io(c), *base = io_real();
    int64_t wall = base->wall_ns(base), mono = base->mono_ns(base);
    EXPECT_OK(io_clock_advance(c, 25 * 3600 * NS_PER_S));
    EXPECT(io->wall_ns(io) >= wall + 25 * 3600 * NS_PER_S);
    EXPECT(io->mono_ns(io) >= mono + 25 * 3600 * NS_PER_S + NS_PER_S);
    EXPECT(base->wall_ns(base) < wall + 3600 * NS_PER_S);
    EXPECT_INT(25 * 3600 * NS_PER_S + NS_PER_S, io_clock_offset(c));

    Str path = str_fmt(a, "%.*s/file", FMT(test_dir(a))), back;
    EXPECT_OK(io_write_file(io, a, path, S("content")));
    EXPECT_OK(io_read_file(io, a, path, 100, &back));
    EXPECT_STR(S("content"), back);
}

TEST(a_clock_is_not_moved_out_of_its_range)
{
    AUTO(io_clock) c = NULL;
    io_clock_open(io_real(), 0, &c);
    EXPECT_OK(io_clock_advance(c, IO_CLOCK_OFFSET_MAX));
    EXPECT_ERR(ERR_LIMIT, io_clock_advance(c, 1));
    EXPECT_INT(IO_CLOCK_OFFSET_MAX, io_clock_offset(c));
}

// SPDX-License-Identifier: Apache-2.0
#include "server/memory_limit.h"
#include "base/test.h"
#include "os/io.h"
#include "os/io_mem.h"

// A file and the directories above it.
static void put_file(struct io *io, struct arena *a, Str path, Str content)
{
    for (size_t i = 1; i < path.n; i++)
        if (path.p[i] == '/')
            EXPECT_OK(io->mkdir(io, str_head(path, i)));
    EXPECT_OK(io_write_file(io, a, path, content));
}

TEST(the_least_limit_of_a_group_and_those_above_it_counts)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    EXPECT(memory_limit_of_groups(io) == UINT64_MAX);
    put_file(io, a, S("/proc/self/cgroup"), S("0::/system.slice/headrace.service\n"));
    EXPECT(memory_limit_of_groups(io) == UINT64_MAX);
    put_file(io, a, S("/sys/fs/cgroup/system.slice/headrace.service/memory.max"), S("max\n"));
    EXPECT(memory_limit_of_groups(io) == UINT64_MAX);
    put_file(io, a, S("/sys/fs/cgroup/system.slice/memory.max"), S("1000000000\n"));
    EXPECT(memory_limit_of_groups(io) == 1000000000);
    put_file(io, a, S("/sys/fs/cgroup/system.slice/headrace.service/memory.max"), S("2000\n"));
    EXPECT(memory_limit_of_groups(io) == 2000);
}

TEST(groups_of_the_first_version_and_of_other_namespaces_are_found)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    put_file(io, a, S("/proc/self/cgroup"),
             S("9:name=systemd:/\n4:cpu,memory:/docker/abc\n0::/\n"));
    put_file(io, a, S("/sys/fs/cgroup/memory/memory.limit_in_bytes"), S("536870912\n"));
    EXPECT(memory_limit_of_groups(io) == 536870912);
}

TEST(this_process_may_have_some_memory)
{
    uint64_t limit = memory_limit(io_real());
    EXPECT(limit > 1 << 20 && limit < UINT64_MAX);
}

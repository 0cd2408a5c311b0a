// SPDX-License-Identifier: Apache-2.0
#include "server/memory_limit.h"
#include "os/io.h"

#include <sys/resource.h>
#include <unistd.h>

enum { GROUPS_BYTES_MAX = 65536, NUMBER_BYTES_MAX = 64 };

// "max" in version 2 and an absent file are no limit.
static uint64_t limit_in(struct io *io, struct arena *tmp, Str path)
{
    Str text = S("");
    uint64_t bytes = 0;
    Err e = io_read_file(io, tmp, path, NUMBER_BYTES_MAX, &text);
    if (e.kind != ERR_NONE || str_u64(str_trim(text), &bytes).kind != ERR_NONE)
        return UINT64_MAX;
    return bytes;
}

// The least limit of a group and all above it. Inside a container the path may be that of another
// namespace; then the root is the container's own group.
static uint64_t limit_up(struct io *io, struct arena *tmp, Str mount, Str group, Str file)
{
    uint64_t least = UINT64_MAX;
    for (;;) {
        while (str_ends(group, S("/")))
            group = str_head(group, group.n - 1);
        Str path = str_cat3(tmp, str_cat(tmp, mount, group), S("/"), file);
        uint64_t limit = limit_in(io, tmp, path);
        least = MIN(least, limit);
        if (group.n == 0)
            return least;
        while (group.n > 0 && !str_ends(group, S("/")))
            group = str_head(group, group.n - 1);
    }
}

static bool is_listed(Str controllers, Str name)
{
    for (Str one; controllers.n > 0;) {
        (void)str_cut(controllers, ',', &one, &controllers);
        if (str_eq(one, name))
            return true;
    }
    return false;
}

uint64_t memory_limit_of_groups(struct io *io)
{
    AUTO(arena) tmp = arena_open();
    Str rest = S(""), line, number, controllers, group;
    uint64_t least = UINT64_MAX;
    // Without the file there are no groups.
    err_ignore(io_read_file(io, tmp, S("/proc/self/cgroup"), GROUPS_BYTES_MAX, &rest));
    while (rest.n > 0) { // "0::/system.slice/x" and "4:memory,pids:/x"
        (void)str_cut(rest, '\n', &line, &rest);
        if (!str_cut(line, ':', &number, &line) || !str_cut(line, ':', &controllers, &group))
            continue;
        uint64_t limit = UINT64_MAX;
        if (controllers.n == 0)
            limit = limit_up(io, tmp, S("/sys/fs/cgroup"), group, S("memory.max"));
        else if (is_listed(controllers, S("memory")))
            limit =
                limit_up(io, tmp, S("/sys/fs/cgroup/memory"), group, S("memory.limit_in_bytes"));
        least = MIN(least, limit);
    }
    return least;
}

static uint64_t own_limit(__rlimit_resource_t which)
{
    struct rlimit r;
    return getrlimit(which, &r) == 0 && r.rlim_cur != RLIM_INFINITY ? r.rlim_cur : UINT64_MAX;
}

uint64_t memory_limit(struct io *io)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t machine = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX;
    uint64_t own = MIN(own_limit(RLIMIT_AS), own_limit(RLIMIT_DATA));
    uint64_t groups = memory_limit_of_groups(io);
    return MIN(MIN(machine, own), groups);
}

// SPDX-License-Identifier: Apache-2.0
#include "server/port_owner.h"
#include "os/io.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LINE_BYTES_MAX = 512,
    LINK_BYTES_MAX = 64,
    STATE_LISTEN = 0x0a,
    TABLE_BYTES_MAX = 64 << 20, // 150 bytes a socket
};

// The inode of the socket that listens on the port, from a table of the kernel; 0: none.
static unsigned long listening_inode(Str table, uint16_t port)
{
    AUTO(arena) tmp = arena_open();
    Str rest = { 0 }, text;
    unsigned long found = 0;
    if (io_read_file(io_real(), tmp, table, TABLE_BYTES_MAX, &rest).kind != ERR_NONE)
        return 0;
    while (found == 0 && str_cut(rest, '\n', &text, &rest)) {
        char line[LINE_BYTES_MAX];
        text = str_head(text, sizeof line - 1);
        memcpy(line, text.p, text.n);
        line[text.n] = '\0';
        unsigned local_port = 0, state = 0;
        unsigned long inode = 0;
        // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
        int n = sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*u %lu",
                       &local_port, &state, &inode);
        if (n == 3 && local_port == port && state == STATE_LISTEN)
            found = inode;
    }
    return found;
}

// Whether a process holds the socket open.
static bool holds(struct arena *tmp, Str pid, Str link_wanted)
{
    ArenaMark mark = arena_mark(tmp);
    Str dir = str_fmt(tmp, "/proc/%.*s/fd", FMT(pid));
    DIR *d = opendir(str_c(tmp, dir));
    bool found = false;
    for (struct dirent *e; d != NULL && !found && (e = readdir(d)) != NULL;) {
        char link[LINK_BYTES_MAX];
        ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof link);
        found = n > 0 && str_eq(str_from(link, (size_t)n), link_wanted);
    }
    if (d != NULL)
        closedir(d);
    arena_rewind(tmp, mark);
    return found;
}

Str process_name(struct arena *a, Str pid)
{
    Str name = S("");
    // Without that file there is no such process, or it is not ours to see.
    err_ignore(
        io_read_file(io_real(), a, str_fmt(a, "/proc/%.*s/comm", FMT(pid)), LINE_BYTES_MAX, &name));
    return str_trim(name);
}

Str port_owner(struct arena *a, uint16_t port)
{
    unsigned long inode = listening_inode(S("/proc/net/tcp"), port);
    if (inode == 0)
        inode = listening_inode(S("/proc/net/tcp6"), port);
    if (inode == 0)
        return (Str){ 0 };
    Str wanted = str_fmt(a, "socket:[%lu]", inode);
    Str owner = { 0 };
    DIR *proc = opendir("/proc");
    for (struct dirent *e; proc != NULL && owner.p == NULL && (e = readdir(proc)) != NULL;) {
        Str pid = str_of(e->d_name);
        if (pid.p[0] < '1' || pid.p[0] > '9' || !holds(a, pid, wanted))
            continue;
        Str name = process_name(a, pid);
        owner = str_fmt(a, "pid %.*s (%.*s)", FMT(pid), FMT(name));
    }
    if (proc != NULL)
        closedir(proc);
    return owner;
}

// Everything before the last colon.
static Str host_of(Str address)
{
    size_t n = address.n;
    while (n > 0 && address.p[n - 1] != ':')
        n--;
    return str_head(address, n > 0 ? n - 1 : 0);
}

Err address_port(Str address, uint16_t *ret)
{
    Str host = host_of(address);
    if (address.n <= host.n || address.p[host.n] != ':')
        return fail(ERR_INVALID, "an address is HOST:PORT");
    uint64_t port;
    TRY(str_u64(str_skip(address, host.n + 1), &port));
    if (port > UINT16_MAX)
        return fail(ERR_INVALID, "a port is at most 65535");
    *ret = (uint16_t)port;
    return OK;
}

bool address_is_loopback(Str address)
{
    Str host = host_of(address), digits = host;
    if (str_eq(host, S("[::1]")) || str_eq(host, S("localhost")))
        return true;
    // 127.0.0.0/8, as numbers only: a name that begins so may be anybody's.
    for (size_t i = 0; i < digits.n; i++)
        if (digits.p[i] != '.' && (digits.p[i] < '0' || digits.p[i] > '9'))
            return false;
    return str_starts(host, S("127."));
}

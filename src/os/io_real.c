// SPDX-License-Identifier: Apache-2.0
#include "os/io_priv.h"
#include "os/io_socket_priv.h"

#include "base/time.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { IO_CHUNK_BYTES = 1 << 30 }; // of one system call; Linux takes no more than 2 GiB

static atomic_bool uring_allowed = true;
static atomic_bool dsync_missing; // pwritev2 said that it does not know RWF_DSYNC

// A path as the kernel wants it.
struct path {
    char c[PATH_MAX];
};

static Err path_set(struct path *ret, Str s)
{
    if (s.n == 0 || memchr(s.p, 0, s.n) != NULL)
        return fail(ERR_INVALID, "empty path or zero byte in it");
    if (s.n >= sizeof ret->c)
        return fail(ERR_LIMIT, "path is too long");
    memcpy(ret->c, s.p, s.n);
    ret->c[s.n] = 0;
    return OK;
}

// ---- Files

static Err real_open(struct io *io, Str path, unsigned flags, struct io_file **ret)
{
    (void)io;
    struct path p;
    TRY(path_set(&p, path));
    int how = O_CLOEXEC;
    how |= (flags & IO_WRITE) != 0 ? O_RDWR : O_RDONLY;
    how |= (flags & IO_CREATE) != 0 ? O_CREAT : 0;
    how |= (flags & IO_EXCL) != 0 ? O_EXCL : 0;
    how |= (flags & IO_TRUNC) != 0 ? O_TRUNC : 0;
    how |= (flags & IO_DIRECT) != 0 ? O_DIRECT : 0;

    int fd;
    do
        fd = open(p.c, how, 0600);
    while (fd < 0 && errno == EINTR);
    if (fd < 0 && errno == EINVAL)
        return (Err){ .kind = ERR_INVALID, .os = EINVAL, .text = "open: no direct I/O here" };
    if (fd < 0)
        return fail_os(errno, "open");
    struct io_file *f = xalloc(sizeof *f);
    *f = (struct io_file){ .fd = fd, .direct = (flags & IO_DIRECT) != 0 };
    *ret = f;
    return OK;
}

static void real_close(struct io_file *f)
{
    if (f == NULL)
        return;
    // What had to reach the device was synced; close() could only repeat an error told before.
    close(f->fd);
    free(f);
}

// As much as one call takes: pwrite, or pwritev2 that returns when the bytes are on the device.
static ssize_t write_some(struct io_file *f, const char *p, size_t n, uint64_t at, bool dsync)
{
    if (!dsync)
        return pwrite(f->fd, p, n, (off_t)at);
    struct iovec part = { .iov_base = (void *)(uintptr_t)p, .iov_len = n };
    return pwritev2(f->fd, &part, 1, (off_t)at, RWF_DSYNC);
}

Err real_write(struct io_file *f, const void *p, size_t n, uint64_t at, bool durable)
{
    bool sync_after = durable && atomic_load_explicit(&dsync_missing, memory_order_relaxed);
    size_t done = 0;
    while (done < n) {
        size_t chunk = MIN(n - done, (size_t)IO_CHUNK_BYTES);
        ssize_t r = write_some(f, (const char *)p + done, chunk, at + done, durable && !sync_after);
        if (r > 0) {
            done += (size_t)r;
        } else if (r == 0) {
            return fail(ERR_IO, "write: the device takes no bytes");
        } else if (durable && !sync_after && (errno == EOPNOTSUPP || errno == ENOSYS)) {
            atomic_store_explicit(&dsync_missing, true, memory_order_relaxed);
            sync_after = true;
        } else if (errno != EINTR) {
            return fail_os(errno, "write");
        }
    }
    if (sync_after && fdatasync(f->fd) != 0)
        return fail_os(errno, "fdatasync");
    return OK;
}

static Err real_read(struct io_file *f, void *p, size_t n, uint64_t at, size_t *ret_n)
{
    size_t done = 0;
    while (done < n) {
        size_t chunk = MIN(n - done, (size_t)IO_CHUNK_BYTES);
        ssize_t r = pread(f->fd, (char *)p + done, chunk, (off_t)(at + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return fail_os(errno, "read");
        done += (size_t)r;
        // Direct reads could not go on from an odd offset: only the end of the file is one.
        if (r == 0 || (f->direct && (size_t)r % IO_ALIGN_BYTES != 0))
            break;
    }
    *ret_n = done;
    return OK;
}

static Err real_read_copy(struct io_file *f, unsigned copy, void *p, size_t n, uint64_t at,
                          size_t *ret_n)
{
    return copy == 0 ? real_read(f, p, n, at, ret_n) : fail(ERR_INVALID, "no such copy");
}

static int real_descriptor(struct io_file *f)
{
    return f->fd;
}

static Err real_sync(struct io_file *f)
{
    return fdatasync(f->fd) == 0 ? OK : fail_os(errno, "fdatasync");
}

static Err real_size(struct io_file *f, uint64_t *ret_bytes)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return fail_os(errno, "fstat");
    *ret_bytes = (uint64_t)st.st_size;
    return OK;
}

static Err real_truncate(struct io_file *f, uint64_t bytes)
{
    return ftruncate(f->fd, (off_t)bytes) == 0 ? OK : fail_os(errno, "ftruncate");
}

static Err real_allocate(struct io_file *f, uint64_t bytes)
{
    int error;
    do
        error = bytes > 0 ? posix_fallocate(f->fd, 0, (off_t)bytes) : 0;
    while (error == EINTR);
    return error == 0 ? OK : fail_os(error, "fallocate");
}

// Locks of the open file, not of the process: they survive close() of other descriptors for the
// same file, and two opens in one process exclude each other too.
static Err real_lock(struct io_file *f)
{
    struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    if (fcntl(f->fd, F_OFD_SETLK, &all) == 0)
        return OK;
    if (errno == EAGAIN || errno == EACCES)
        return (Err){ .kind = ERR_BUSY, .os = errno, .text = "lock: held by another" };
    return fail_os(errno, "lock");
}

// ---- Names

static Err real_rename(struct io *io, Str from, Str to)
{
    (void)io;
    struct path p, q;
    TRY(path_set(&p, from));
    TRY(path_set(&q, to));
    return rename(p.c, q.c) == 0 ? OK : fail_os(errno, "rename");
}

static Err real_unlink(struct io *io, Str path)
{
    (void)io;
    struct path p;
    TRY(path_set(&p, path));
    return unlink(p.c) == 0 ? OK : fail_os(errno, "unlink");
}

static Err real_mkdir(struct io *io, Str path)
{
    (void)io;
    struct path p;
    TRY(path_set(&p, path));
    if (mkdir(p.c, 0700) == 0)
        return OK;
    int error = errno;
    struct stat st;
    if (error == EEXIST && stat(p.c, &st) == 0 && S_ISDIR(st.st_mode))
        return OK;
    return fail_os(error, "mkdir");
}

static Err real_sync_dir(struct io *io, Str path)
{
    (void)io;
    struct path p;
    TRY(path_set(&p, path));
    int fd = open(p.c, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail_os(errno, "open directory");
    Err e = fsync(fd) == 0 ? OK : fail_os(errno, "fsync directory");
    close(fd);
    return e;
}

static int compare_names(const void *x, const void *y)
{
    return str_cmp(((const IoName *)x)->name, ((const IoName *)y)->name);
}

static bool is_dot(const char *name)
{
    return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

// Adds the entries of an open directory to *names, which the caller frees.
static Err list_entries(DIR *d, struct arena *a, IoName **names, size_t *ret_n)
{
    size_t n = 0, room = 0;
    while (true) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (entry == NULL && errno != 0)
            return fail_os(errno, "readdir");
        if (entry == NULL)
            break;
        struct stat st;
        if (is_dot(entry->d_name))
            continue;
        if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno == ENOENT)
                continue; // unlinked while we were reading
            return fail_os(errno, "stat");
        }
        if (n == room) {
            room = room == 0 ? 32 : mul_checked(room, 2);
            *names = xrealloc(*names, mul_checked(room, sizeof **names));
        }
        (*names)[n++] = (IoName){
            .name = str_dup(a, str_of(entry->d_name)),
            .is_dir = S_ISDIR(st.st_mode),
            .bytes = (uint64_t)st.st_size,
        };
    }
    *ret_n = n;
    return OK;
}

static Err real_list(struct io *io, struct arena *a, Str path, IoName **ret, size_t *ret_n)
{
    (void)io;
    struct path p;
    TRY(path_set(&p, path));
    DIR *d = opendir(p.c);
    if (d == NULL)
        return fail_os(errno, "opendir");
    IoName *names = NULL;
    size_t n = 0;
    Err e = list_entries(d, a, &names, &n);
    closedir(d);
    if (e.kind == ERR_NONE) {
        if (n > 0)
            qsort(names, n, sizeof *names, compare_names);
        *ret = arena_new(a, IoName, n);
        if (n > 0)
            memcpy(*ret, names, n * sizeof *names);
        *ret_n = n;
    }
    free(names);
    return e;
}

static Err real_space(struct io *io, Str path, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes)
{
    (void)io;
    struct path p;
    TRY(path_set(&p, path));
    struct statvfs st;
    if (statvfs(p.c, &st) != 0)
        return fail_os(errno, "statvfs");
    *ret_free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    *ret_total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
    return OK;
}

// ---- Time and randomness

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    CHECK(clock_gettime(clock, &t) == 0);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int64_t real_wall_ns(struct io *io)
{
    (void)io;
    return clock_ns(CLOCK_REALTIME);
}

static int64_t real_mono_ns(struct io *io)
{
    (void)io;
    return clock_ns(CLOCK_MONOTONIC);
}

static void real_random(struct io *io, void *p, size_t n)
{
    (void)io;
    for (size_t done = 0; done < n;) {
        ssize_t r = getrandom((char *)p + done, n - done, 0);
        CHECK(r > 0 || errno == EINTR); // without randomness no secret could be made
        if (r > 0)
            done += (size_t)r;
    }
}

static void real_sleep_ns(struct io *io, int64_t ns)
{
    (void)io;
    if (ns <= 0)
        return;
    struct timespec t = { .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S) };
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR) {
    }
}

// ---- The queue: io_uring or threads

static Err real_queue_open(struct io *io, unsigned depth, struct io_queue **ret)
{
    (void)io;
    if (depth == 0 || depth > QUEUE_DEPTH_MAX)
        return fail(ERR_INVALID, "queue depth");
    if (atomic_load(&uring_allowed)) {
        Err e = queue_uring_open(depth, ret);
        if (e.kind != ERR_DENIED)
            return e;
    }
    return queue_threads_open(depth, ret);
}

static void real_queue_close(struct io_queue *q)
{
    if (q != NULL)
        q->kind->close(q);
}

static Err real_queue_submit(struct io_queue *q, struct io_write *w)
{
    return q->kind->submit(q, w);
}

static Err real_queue_wait(struct io_queue *q, struct io_write **ret)
{
    return q->kind->wait(q, ret);
}

static const char *real_queue_kind(const struct io_queue *q)
{
    return q->kind->name;
}

void real_allow_dsync(bool allow)
{
    atomic_store(&dsync_missing, !allow);
}

void io_allow_uring(bool allow)
{
    atomic_store(&uring_allowed, allow);
}

struct io *io_real(void)
{
    static struct io real = {
        .open = real_open,
        .close = real_close,
        .write = real_write,
        .read = real_read,
        .copies = io_one_copy,
        .read_copy = real_read_copy,
        .mend = io_no_mend,
        .descriptor = real_descriptor,
        .sync = real_sync,
        .size = real_size,
        .truncate = real_truncate,
        .allocate = real_allocate,
        .lock = real_lock,
        .rename = real_rename,
        .unlink = real_unlink,
        .mkdir = real_mkdir,
        .sync_dir = real_sync_dir,
        .list = real_list,
        .space = real_space,
        .wall_ns = real_wall_ns,
        .mono_ns = real_mono_ns,
        .random = real_random,
        .sleep_ns = real_sleep_ns,
        .queue_open = real_queue_open,
        .queue_close = real_queue_close,
        .queue_submit = real_queue_submit,
        .queue_wait = real_queue_wait,
        .queue_kind = real_queue_kind,
        .receive = real_receive,
        .send = real_send,
        .send_file = real_send_file,
        .accept = real_accept,
        .connect = real_connect,
    };
    return &real;
}

// SPDX-License-Identifier: Apache-2.0
// The file system as the kernel sees it: each operation asks the rules, does its work on the disk
// and answers. Nothing is cached above us (direct I/O, no timeouts), so that every read and write
// of the program under test comes here as it was made, and O_DIRECT works.
//
// A durable write (RWF_DSYNC, O_DSYNC) comes as one write with O_DSYNC among its flags; no fsync
// follows it.
#define FUSE_USE_VERSION 312
#include "mount.h"

#include "base/arena.h"
#include "base/time.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PATH_BYTES_MAX = 512, REPLY_BYTES_MAX = 1 << 20 };

static struct mount *mount_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static struct node *node_of(struct mount *m, fuse_ino_t number)
{
    struct node *n = disk_node(m->disk, number);
    CHECK(n != NULL); // the kernel only knows numbers that it was told
    return n;
}

// ---- What every operation begins and ends with.

bool mount_cut(struct mount *m, DiskCut cut)
{
    if (m->disk->off)
        return false;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    m->cut_ns = t.tv_sec * NS_PER_S + t.tv_nsec;
    int error = disk_cut(m->disk, cut);
    if (error != 0) { // a result that nobody may judge
        fprintf(stderr, "lossyfs: the cut could not be made: %s\n", strerrordesc_np(error));
        abort();
    }
    return true;
}

static void sleep_ns(int64_t ns)
{
    struct timespec t = { .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };
    while (nanosleep(&t, &t) != 0) {
    }
}

// Asks the rules about an operation on a node, or on an entry of it. Returns 0 or the errno that it
// ends with. With the lock held, which is let go during a delay.
static int meet(struct mount *m, unsigned op, const struct node *n, const char *name, Verdict *ret)
{
    *ret = (Verdict){ 0 };
    if (m->disk->off)
        return EIO;
    char path[PATH_BYTES_MAX];
    node_path(n, path, sizeof path);
    size_t used = strlen(path);
    if (name != NULL)
        snprintf(path + used, sizeof path - used, "/%s", name);
    *ret = rules_meet(&m->rules, op, path);
    if (ret->delay_ns > 0) {
        pthread_mutex_unlock(&m->lock);
        sleep_ns(ret->delay_ns);
        pthread_mutex_lock(&m->lock);
    }
    return m->disk->off ? EIO : ret->error;
}

// Takes the lock and finds the node.
static int enter(struct mount *m, unsigned op, fuse_ino_t number, const char *name, Verdict *ret,
                 struct node **ret_node)
{
    pthread_mutex_lock(&m->lock);
    *ret_node = node_of(m, number);
    return meet(m, op, *ret_node, name, ret);
}

// The power goes after what the operation has done and before its answer.
static int leave(struct mount *m, const Verdict *v, int error)
{
    if (v->cuts && mount_cut(m, v->cut))
        error = EIO;
    pthread_mutex_unlock(&m->lock);
    return error;
}

// An operation that no rule speaks of.
static int enter_freely(struct mount *m)
{
    pthread_mutex_lock(&m->lock);
    return m->disk->off ? EIO : 0;
}

// ---- Names and attributes.

static struct stat attributes(const struct node *n)
{
    return (struct stat){
        .st_ino = n->number,
        .st_mode = n->mode,
        .st_nlink = n->gone     ? 0
                    : n->is_dir ? 2
                                : 1,
        .st_uid = getuid(),
        .st_gid = getgid(),
        .st_size = (off_t)n->bytes,
        .st_blksize = PAGE_BYTES,
        .st_blocks = (blkcnt_t)((n->bytes + 511) / 512),
        .st_atim = n->changed,
        .st_mtim = n->changed,
        .st_ctim = n->changed,
    };
}

static struct fuse_entry_param entry_of(const struct node *n)
{
    return (struct fuse_entry_param){ .ino = n->number, .attr = attributes(n) };
}

static void op_init(void *self, struct fuse_conn_info *connection)
{
    (void)self;
    // Without an open the kernel would keep listings; with attributes in them, those.
    connection->want &= ~(unsigned)(FUSE_CAP_READDIRPLUS | FUSE_CAP_NO_OPENDIR_SUPPORT);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct mount *m = mount_of(req);
    struct fuse_entry_param entry = { 0 };
    int error = enter_freely(m);
    const struct node *n = node_find(node_of(m, parent), name);
    if (error == 0 && n == NULL)
        error = ENOENT;
    if (error == 0)
        entry = entry_of(n);
    pthread_mutex_unlock(&m->lock);
    error != 0 ? fuse_reply_err(req, error) : fuse_reply_entry(req, &entry);
}

static void op_getattr(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *file)
{
    (void)file;
    struct mount *m = mount_of(req);
    int error = enter_freely(m);
    struct stat st = attributes(node_of(m, number));
    pthread_mutex_unlock(&m->lock);
    error != 0 ? fuse_reply_err(req, error) : fuse_reply_attr(req, &st, 0);
}

static void op_setattr(fuse_req_t req, fuse_ino_t number, struct stat *set, int what,
                       struct fuse_file_info *file)
{
    (void)file;
    struct mount *m = mount_of(req);
    Verdict v = { 0 };
    bool truncates = (what & FUSE_SET_ATTR_SIZE) != 0;
    pthread_mutex_lock(&m->lock);
    struct node *n = node_of(m, number);
    int error = m->disk->off ? EIO : 0;
    if (truncates)
        error = meet(m, OP_TRUNCATE, n, NULL, &v);
    if (error == 0 && truncates)
        node_resize(n, (uint64_t)set->st_size);
    if (error == 0 && (what & FUSE_SET_ATTR_MODE) != 0)
        n->mode = (n->mode & (mode_t)S_IFMT) | (set->st_mode & 07777);
    struct stat st = attributes(n);
    error = leave(m, &v, error);
    error != 0 ? fuse_reply_err(req, error) : fuse_reply_attr(req, &st, 0);
}

static void open_directly(struct fuse_file_info *file)
{
    file->direct_io = 1;
    file->keep_cache = 0;
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *file)
{
    struct mount *m = mount_of(req);
    Verdict v;
    struct node *dir, *n = NULL;
    struct fuse_entry_param entry = { 0 };
    int error = enter(m, OP_CREATE, parent, name, &v, &dir);
    if (error == 0)
        error = disk_create(m->disk, dir, name, S_IFREG | (mode & 07777), &n);
    if (error == 0) {
        n->opens++;
        entry = entry_of(n);
    }
    error = leave(m, &v, error);
    open_directly(file);
    error != 0 ? fuse_reply_err(req, error) : fuse_reply_create(req, &entry, file);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct mount *m = mount_of(req);
    Verdict v;
    struct node *dir, *n = NULL;
    struct fuse_entry_param entry = { 0 };
    int error = enter(m, OP_MKDIR, parent, name, &v, &dir);
    if (error == 0)
        error = disk_create(m->disk, dir, name, S_IFDIR | (mode & 07777), &n);
    if (error == 0)
        entry = entry_of(n);
    error = leave(m, &v, error);
    error != 0 ? fuse_reply_err(req, error) : fuse_reply_entry(req, &entry);
}

static void remove_entry(fuse_req_t req, fuse_ino_t parent, const char *name, bool is_dir)
{
    struct mount *m = mount_of(req);
    Verdict v;
    struct node *dir;
    int error = enter(m, OP_REMOVE, parent, name, &v, &dir);
    if (error == 0)
        error = disk_remove(m->disk, dir, name, is_dir);
    fuse_reply_err(req, leave(m, &v, error));
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_entry(req, parent, name, false);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_entry(req, parent, name, true);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
                      const char *to_name, unsigned flags)
{
    struct mount *m = mount_of(req);
    Verdict v;
    struct node *dir;
    int error = enter(m, OP_RENAME, parent, name, &v, &dir);
    if (error == 0 && flags != 0)
        error = EINVAL; // RENAME_EXCHANGE and the like
    if (error == 0)
        error = disk_rename(m->disk, dir, name, node_of(m, to_parent), to_name);
    fuse_reply_err(req, leave(m, &v, error));
}

// The entry behind an offset. Offsets are 1 and 2 for the two that every directory has, then two
// more than the number of the node: they stay right whatever happens to the entries before.
static const struct node *entry_behind(const struct node *dir, uint64_t at, const char **ret_name)
{
    if (at < 2) {
        *ret_name = at == 0 ? "." : "..";
        return at == 0 || dir->parent == NULL ? dir : dir->parent;
    }
    const struct node *next = NULL;
    for (const struct node *n = dir->first; n != NULL; n = n->next)
        if (n->number + 2 > at && (next == NULL || n->number < next->number))
            next = n;
    *ret_name = next != NULL ? next->name : NULL;
    return next;
}

static size_t list_entries(fuse_req_t req, const struct node *dir, uint64_t at, char *to,
                           size_t size)
{
    size_t used = 0;
    while (true) {
        const char *name;
        const struct node *n = entry_behind(dir, at, &name);
        if (n == NULL)
            return used;
        at = at < 2 ? at + 1 : n->number + 2;
        struct stat st = attributes(n);
        size_t more = fuse_add_direntry(req, to + used, size - used, name, &st, (off_t)at);
        if (more > size - used)
            return used;
        used += more;
    }
}

static void op_readdir(fuse_req_t req, fuse_ino_t number, size_t size, off_t at,
                       struct fuse_file_info *file)
{
    (void)file;
    struct mount *m = mount_of(req);
    size = MIN(size, (size_t)REPLY_BYTES_MAX);
    char *entries = xalloc(size);
    int error = enter_freely(m);
    size = list_entries(req, node_of(m, number), (uint64_t)at, entries, size);
    pthread_mutex_unlock(&m->lock);
    error != 0 ? fuse_reply_err(req, error) : fuse_reply_buf(req, entries, size);
    free(entries);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t number, int data_only,
                        struct fuse_file_info *file)
{
    (void)data_only, (void)file;
    struct mount *m = mount_of(req);
    Verdict v;
    struct node *dir;
    int error = enter(m, OP_FSYNCDIR, number, NULL, &v, &dir);
    if (error == 0 && !v.lies && !v.cuts)
        error = disk_sync_names(m->disk, dir);
    fuse_reply_err(req, leave(m, &v, error));
}

static void op_statfs(fuse_req_t req, fuse_ino_t number)
{
    (void)number;
    struct mount *m = mount_of(req);
    struct statvfs st = { 0 };
    int error = enter_freely(m);
    if (error == 0 && fstatvfs(m->disk->fd, &st) != 0)
        error = errno;
    pthread_mutex_unlock(&m->lock);
    error != 0 ? fuse_reply_err(req, error) : fuse_reply_statfs(req, &st);
}

// ---- Content.

static void op_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *file)
{
    struct mount *m = mount_of(req);
    Verdict v;
    struct node *n;
    int error = enter(m, OP_OPEN, number, NULL, &v, &n);
    n->opens += error == 0;
    error = leave(m, &v, error);
    open_directly(file);
    error != 0 ? fuse_reply_err(req, error) : fuse_reply_open(req, file);
}

static void op_release(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *file)
{
    (void)file;
    struct mount *m = mount_of(req);
    pthread_mutex_lock(&m->lock);
    struct node *n = node_of(m, number);
    CHECK(n->opens > 0);
    n->opens--;
    node_closed(n);
    pthread_mutex_unlock(&m->lock);
    fuse_reply_err(req, 0);
}

static void op_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t at,
                    struct fuse_file_info *file)
{
    (void)file;
    struct mount *m = mount_of(req);
    Verdict v;
    struct node *n;
    char *bytes = xalloc(MIN(size, (size_t)REPLY_BYTES_MAX));
    size_t there = 0;
    int error = enter(m, OP_READ, number, NULL, &v, &n);
    if (error == 0)
        error = node_read(n, bytes, MIN(size, (size_t)REPLY_BYTES_MAX), (uint64_t)at, &there);
    error = leave(m, &v, error);
    error != 0 ? fuse_reply_err(req, error) : fuse_reply_buf(req, bytes, there);
    free(bytes);
}

// A write that fails in the middle: which of its pages have come is anybody's guess.
static void write_some(struct node *n, const char *p, size_t size, uint64_t at)
{
    uint64_t random = at ^ size;
    for (size_t done = 0; done < size;) {
        size_t chunk = MIN(size - done, PAGE_BYTES - (size_t)((at + done) % PAGE_BYTES));
        if (random_next(&random) % 2 == 0)
            node_write(n, p + done, chunk, at + done);
        done += chunk;
    }
}

// The second half of a durable write, with the lock held.
static int sync_write(struct mount *m, struct node *n, uint64_t at, size_t size)
{
    Verdict v;
    int error = meet(m, OP_DSYNC, n, NULL, &v);
    if (v.cuts && mount_cut(m, v.cut))
        return EIO;
    if (error != 0 && v.forgets)
        node_lose(n, at, size);
    if (error == 0 && !v.lies)
        error = node_sync_range(n, at, size);
    return error;
}

static void op_write(fuse_req_t req, fuse_ino_t number, const char *bytes, size_t size, off_t at,
                     struct fuse_file_info *file)
{
    struct mount *m = mount_of(req);
    Verdict v;
    struct node *n;
    int error = enter(m, OP_WRITE, number, NULL, &v, &n);
    if (error == 0)
        node_write(n, bytes, size, (uint64_t)at);
    else if (v.tears && !m->disk->off)
        write_some(n, bytes, size, (uint64_t)at);
    if (error == 0 && !v.cuts && (file->flags & O_DSYNC) != 0)
        error = sync_write(m, n, (uint64_t)at, size);
    error = leave(m, &v, error);
    error != 0 ? fuse_reply_err(req, error) : fuse_reply_write(req, size);
}

static void op_fsync(fuse_req_t req, fuse_ino_t number, int data_only, struct fuse_file_info *file)
{
    (void)data_only, (void)file;
    struct mount *m = mount_of(req);
    Verdict v;
    struct node *n;
    int error = enter(m, OP_FSYNC, number, NULL, &v, &n);
    if (error != 0 && v.forgets && !m->disk->off)
        node_lose(n, 0, UINT64_MAX);
    if (error == 0 && !v.lies && !v.cuts)
        error = node_sync(n);
    fuse_reply_err(req, leave(m, &v, error));
}

static void op_fallocate(fuse_req_t req, fuse_ino_t number, int mode, off_t at, off_t size,
                         struct fuse_file_info *file)
{
    (void)file;
    struct mount *m = mount_of(req);
    Verdict v;
    struct node *n;
    int error = enter(m, OP_ALLOCATE, number, NULL, &v, &n);
    if (error == 0 && mode != 0)
        error = EOPNOTSUPP; // holes and the like
    if (error == 0 && (uint64_t)at + (uint64_t)size > n->bytes)
        node_resize(n, (uint64_t)at + (uint64_t)size);
    fuse_reply_err(req, leave(m, &v, error));
}

const struct fuse_lowlevel_ops mount_ops = {
    .init = op_init,
    .lookup = op_lookup,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .create = op_create,
    .mkdir = op_mkdir,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .rename = op_rename,
    .readdir = op_readdir,
    .fsyncdir = op_fsyncdir,
    .statfs = op_statfs,
    .open = op_open,
    .release = op_release,
    .read = op_read,
    .write = op_write,
    .fsync = op_fsync,
    .fallocate = op_fallocate,
};

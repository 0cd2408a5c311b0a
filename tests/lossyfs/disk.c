// SPDX-License-Identifier: Apache-2.0
// Names: the tree as it is now, and the changes of it that are not durable.
#include "disk.h"

#include "base/arena.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *copy(const char *name)
{
    size_t n = strlen(name) + 1;
    return memcpy(xalloc(n), name, n);
}

static struct node *node_new(struct disk *d, struct node *parent, const char *name, mode_t mode)
{
    struct node *n = xalloc(sizeof *n);
    *n = (struct node){
        .number = d->node_count + 1,
        .parent = parent,
        .name = copy(name),
        .is_dir = S_ISDIR(mode),
        .mode = mode,
        .fd = -1,
    };
    clock_gettime(CLOCK_REALTIME, &n->changed);
    d->nodes = xrealloc(d->nodes, mul_checked(d->node_count + 1, sizeof(struct node *)));
    d->nodes[d->node_count++] = n;
    return n;
}

static void enter(struct node *dir, struct node *n)
{
    n->parent = dir;
    n->next = dir->first;
    dir->first = n;
    clock_gettime(CLOCK_REALTIME, &dir->changed);
}

static void leave(struct node *n)
{
    struct node **at = &n->parent->first;
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    n->next = NULL;
    clock_gettime(CLOCK_REALTIME, &n->parent->changed);
}

// ---- What is there at the beginning.

static int load_dir(struct disk *d, struct node *dir);

static int load_entry(struct disk *d, struct node *dir, const char *name)
{
    struct stat st;
    if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return EINVAL; // nothing that came from here
    struct node *n = node_new(d, dir, name, st.st_mode);
    enter(dir, n);
    n->changed = st.st_mtim;
    n->fd = openat(dir->fd, name, (n->is_dir ? O_RDONLY | O_DIRECTORY : O_RDWR) | O_CLOEXEC);
    if (n->fd < 0)
        return errno;
    if (n->is_dir)
        return load_dir(d, n);
    n->bytes = n->disk_bytes = n->kept_bytes = (uint64_t)st.st_size;
    return 0;
}

static int load_dir(struct disk *d, struct node *dir)
{
    int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    if (entries == NULL)
        return errno;
    int error = 0;
    for (const struct dirent *e; error == 0 && (e = readdir(entries)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            error = load_entry(d, dir, e->d_name);
    closedir(entries);
    return error;
}

static int nameless(struct disk *d)
{
    return openat(d->fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

static void disk_free(struct disk *d)
{
    for (size_t i = 0; i < d->node_count; i++)
        node_free(d->nodes[i]);
    for (size_t i = 0; i < d->change_count; i++) {
        free(d->changes[i].name);
        free(d->changes[i].to_name);
    }
    free(d->nodes);
    free(d->changes);
    if (d->fd >= 0)
        close(d->fd);
    free(d);
}

int disk_open(const char *backing, struct disk **ret)
{
    struct disk *d = xalloc(sizeof *d);
    d->fd = open(backing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = d->fd < 0 ? errno : 0;
    int probe = error == 0 ? nameless(d) : -1;
    if (error == 0 && probe < 0)
        error = errno;
    if (probe >= 0)
        close(probe);
    if (error == 0) {
        struct node *root = node_new(d, NULL, "", S_IFDIR | 0700);
        root->fd = fcntl(d->fd, F_DUPFD_CLOEXEC, 0);
        error = root->fd < 0 ? errno : load_dir(d, root);
    }
    if (error != 0) {
        fprintf(stderr, "lossyfs: %s cannot be used: %s\n", backing, strerrordesc_np(error));
        disk_free(d);
        return error;
    }
    *ret = d;
    return 0;
}

// ---- Changes.

static void note(struct disk *d, struct change c)
{
    d->changes = xrealloc(d->changes, mul_checked(d->change_count + 1, sizeof *d->changes));
    d->changes[d->change_count++] = c;
    c.node->waits_for++;
}

static int make_dir(const struct change *c)
{
    if (mkdirat(c->dir->fd, c->name, 0700) != 0)
        return errno;
    c->node->fd = openat(c->dir->fd, c->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return c->node->fd < 0 ? errno : 0;
}

static int apply(const struct change *c)
{
    char path[64];
    int r = 0;
    switch (c->kind) {
    case CHANGE_CREATE:
        snprintf(path, sizeof path, "/proc/self/fd/%d", c->node->fd);
        r = linkat(AT_FDCWD, path, c->dir->fd, c->name, AT_SYMLINK_FOLLOW);
        break;
    case CHANGE_MKDIR:
        return make_dir(c);
    case CHANGE_RENAME:
        r = renameat(c->dir->fd, c->name, c->to_dir->fd, c->to_name);
        break;
    case CHANGE_REMOVE:
        r = unlinkat(c->dir->fd, c->name, c->node->is_dir ? AT_REMOVEDIR : 0);
        break;
    }
    return r == 0 ? 0 : errno;
}

// The first so many changes become durable.
static int apply_first(struct disk *d, size_t count)
{
    size_t done = 0;
    int error = 0;
    for (; done < count && error == 0; done += error == 0) {
        struct change *c = &d->changes[done];
        error = apply(c);
        if (error != 0)
            break;
        free(c->name);
        free(c->to_name);
        c->node->waits_for--;
        node_closed(c->node);
    }
    if (done > 0)
        memmove(d->changes, d->changes + done, (d->change_count - done) * sizeof *d->changes);
    d->change_count -= done;
    return error;
}

int disk_sync_names(struct disk *d, const struct node *dir)
{
    size_t count = 0;
    for (size_t i = 0; i < d->change_count; i++)
        if (d->changes[i].dir == dir || d->changes[i].to_dir == dir)
            count = i + 1;
    return apply_first(d, count);
}

int disk_create(struct disk *d, struct node *dir, const char *name, mode_t mode, struct node **ret)
{
    if (node_find(dir, name) != NULL)
        return EEXIST;
    int fd = S_ISDIR(mode) ? -1 : nameless(d);
    if (fd < 0 && !S_ISDIR(mode))
        return errno;
    struct node *n = node_new(d, dir, name, mode);
    n->fd = fd;
    enter(dir, n);
    note(d, (struct change){ .kind = n->is_dir ? CHANGE_MKDIR : CHANGE_CREATE,
                             .node = n,
                             .dir = dir,
                             .name = copy(name) });
    *ret = n;
    return 0;
}

static void take_name(struct node *n)
{
    leave(n);
    n->gone = true;
}

int disk_remove(struct disk *d, struct node *dir, const char *name, bool is_dir)
{
    struct node *n = node_find(dir, name);
    if (n == NULL)
        return ENOENT;
    if (n->is_dir != is_dir)
        return is_dir ? ENOTDIR : EISDIR;
    if (n->first != NULL)
        return ENOTEMPTY;
    take_name(n);
    note(d, (struct change){ .kind = CHANGE_REMOVE, .node = n, .dir = dir, .name = copy(name) });
    return 0;
}

static bool is_below(const struct node *n, const struct node *top)
{
    while (n != NULL && n != top)
        n = n->parent;
    return n == top;
}

int disk_rename(struct disk *d, struct node *dir, const char *name, struct node *to_dir,
                const char *to_name)
{
    struct node *n = node_find(dir, name), *old = node_find(to_dir, to_name);
    if (n == NULL)
        return ENOENT;
    if (n == old)
        return 0;
    if (n->is_dir && is_below(to_dir, n))
        return EINVAL;
    if (old != NULL && old->is_dir != n->is_dir)
        return old->is_dir ? EISDIR : ENOTDIR;
    if (old != NULL && old->first != NULL)
        return ENOTEMPTY;
    if (old != NULL)
        take_name(old);
    leave(n);
    free(n->name);
    n->name = copy(to_name);
    enter(to_dir, n);
    note(d, (struct change){ .kind = CHANGE_RENAME,
                             .node = n,
                             .dir = dir,
                             .to_dir = to_dir,
                             .name = copy(name),
                             .to_name = copy(to_name) });
    if (old != NULL)
        node_closed(old);
    return 0;
}

// ---- The end.

static int sync_all(struct disk *d)
{
    int error = apply_first(d, d->change_count);
    for (size_t i = 0; i < d->node_count && error == 0; i++)
        if (!d->nodes[i]->is_dir && d->nodes[i]->fd >= 0)
            error = node_sync(d->nodes[i]);
    return error;
}

int disk_close(struct disk *d)
{
    if (d == NULL)
        return 0;
    int error = d->off ? 0 : sync_all(d);
    disk_free(d);
    return error;
}

int disk_cut(struct disk *d, DiskCut cut)
{
    CHECK(!d->off);
    d->off = true;
    uint64_t random = cut.seed, choice = random_next(&random) % 3;
    size_t names = (size_t)(random_next(&random) % (d->change_count + 1));
    if (cut.keep == KEEP_NONE || (cut.keep == KEEP_SOME && choice == 0))
        names = 0;
    if (cut.keep == KEEP_ALL || (cut.keep == KEEP_SOME && choice == 1))
        names = d->change_count;
    int error = apply_first(d, names);
    for (size_t i = 0; i < d->node_count && error == 0; i++)
        if (!d->nodes[i]->is_dir && d->nodes[i]->fd >= 0)
            error = node_cut(d->nodes[i], &cut, &random);
    return error;
}

// ---- Looking around.

struct node *disk_root(struct disk *d)
{
    return d->nodes[0];
}

struct node *disk_node(struct disk *d, uint64_t number)
{
    return number >= 1 && number <= d->node_count ? d->nodes[number - 1] : NULL;
}

uint64_t disk_dirty_bytes(const struct disk *d)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < d->node_count; i++)
        for (uint64_t k = d->nodes[i]->dirty_from; k < d->nodes[i]->dirty_to; k++)
            if (d->nodes[i]->pages[k].bytes != NULL && !d->nodes[i]->pages[k].lost)
                bytes += PAGE_BYTES;
    return bytes;
}

struct node *node_find(struct node *dir, const char *name)
{
    struct node *n = dir->first;
    while (n != NULL && strcmp(n->name, name) != 0)
        n = n->next;
    return n;
}

void node_path(const struct node *n, char *ret, size_t room)
{
    CHECK(room > 0);
    ret[0] = 0;
    if (n->parent == NULL)
        return;
    node_path(n->parent, ret, room);
    size_t used = strlen(ret);
    snprintf(ret + used, room - used, "/%s", n->name);
}

// SPDX-License-Identifier: Apache-2.0
// A disk that knows what a power cut would leave of it, kept in a directory of a real one.
//
// BACKING, that directory, holds exactly what is durable, under its durable names. What was written
// and not synced is kept in memory, page by page, and changes of names wait in a list. A file whose
// name is not durable yet has its durable bytes in a file of BACKING without a name (O_TMPFILE).
//
//     bytes    durable after a sync of the file, or of the range that a durable write covers
//     names    durable after a sync of their directory: with them all earlier changes of names
//     a cut    keeps of the rest what a seed chooses: of each file any subset of its sectors, with
//              their newest content, and any size between the old and the new one; of the names the
//              first so many changes, in their order, as a journalling file system keeps them
//     no cut   an orderly end writes everything
//
// Modes and times are not modelled; there are no links. Functions return 0 or an errno. Not thread
// safe: ops.c holds one lock.
#pragma once
#include "base/err.h"

#include <sys/stat.h>
#include <time.h>

enum { PAGE_BYTES = 4096 };

// Part of a file that differs from BACKING.
struct page {
    unsigned char *bytes; // PAGE_BYTES; NULL: as in BACKING
    bool lost;            // a sync has failed over it: readers see it, no sync writes it any more
};

// A file or directory as it is now. Never freed before its disk: numbers are not used again.
struct node {
    uint64_t number;
    struct node *parent; // its directory, also after it has lost its name; NULL: the root
    char *name;
    bool is_dir, gone; // gone: it has no name any more
    mode_t mode;
    struct timespec changed;
    int fd;           // in BACKING; -1: a directory that is not durable, or a file that is given up
    size_t opens;     // by the kernel
    size_t waits_for; // changes of names that are not durable
    // Of a directory.
    struct node *first, *next; // its entries; next: in its own directory
    // Of a file.
    uint64_t bytes;      // size now
    uint64_t disk_bytes; // size in BACKING
    uint64_t kept_bytes; // so much of what is in BACKING is still content: less after truncation
    struct page *pages;  // page_count of them; behind them everything is as in BACKING
    uint64_t page_count;
    uint64_t dirty_from, dirty_to; // pages outside of it are not dirty
};

enum change_kind { CHANGE_CREATE, CHANGE_MKDIR, CHANGE_RENAME, CHANGE_REMOVE };

struct change {
    enum change_kind kind;
    struct node *node, *dir, *to_dir;
    char *name, *to_name;
};

struct disk {
    int fd; // of BACKING
    bool off;
    struct node **nodes; // by number - 1
    size_t node_count;
    struct change *changes; // of names, oldest first; the first of them is the next to be durable
    size_t change_count;
};

typedef enum Keep {
    KEEP_SOME, // what the seed chooses
    KEEP_NONE, // only what is durable
    KEEP_ALL,
} Keep;

typedef struct DiskCut {
    uint64_t seed;
    unsigned sector_bytes; // what the device writes as a whole: 512..PAGE_BYTES, a power of two
    Keep keep;
} DiskCut;

// On what BACKING holds; the error is told on standard error.
int disk_open(const char *backing, struct disk **ret);
// Writes everything, unless the power is off. NULL is fine.
int disk_close(struct disk *d);

// BACKING becomes what a power cut leaves; from now on the disk is off and only to be closed.
int disk_cut(struct disk *d, DiskCut cut);

struct node *disk_root(struct disk *d);
struct node *disk_node(struct disk *d, uint64_t number); // NULL: there is none
uint64_t disk_dirty_bytes(const struct disk *d);

struct node *node_find(struct node *dir, const char *name); // NULL: no such entry
// Its path below the mount, "/a/b", or as much as fits.
void node_path(const struct node *n, char *ret, size_t room);

// EEXIST if the name is taken.
int disk_create(struct disk *d, struct node *dir, const char *name, mode_t mode, struct node **ret);
int disk_remove(struct disk *d, struct node *dir, const char *name, bool is_dir);
int disk_rename(struct disk *d, struct node *dir, const char *name, struct node *to_dir,
                const char *to_name);
int disk_sync_names(struct disk *d, const struct node *dir);

int node_read(struct node *f, void *p, size_t n, uint64_t at, size_t *ret_n);
void node_write(struct node *f, const void *p, size_t n, uint64_t at);
void node_resize(struct node *f, uint64_t bytes);
int node_sync(struct node *f);
int node_sync_range(struct node *f, uint64_t at, uint64_t n);
void node_lose(struct node *f, uint64_t at, uint64_t n); // what is dirty there becomes lost
int node_cut(struct node *f, const DiskCut *cut, uint64_t *random);
void node_closed(struct node *f); // gives up what nobody can reach any more
void node_free(struct node *f);

// The next number of a seeded row (splitmix64).
uint64_t random_next(uint64_t *state);

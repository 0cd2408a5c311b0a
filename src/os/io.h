// SPDX-License-Identifier: Apache-2.0
// Everything that is not computation: files, sockets, time and randomness, behind one table of
// functions. The real one is io_real(); tests and the simulator pass their own (io_fault.h), so
// that a full disk, a torn write, a lost flush, a broken connection or a clock that steps can be
// had at will.
//
// Paths are absolute or relative to the working directory. No function retries a failed sync.
#pragma once
#include "base/str.h"

struct io_file; // an open file; which table opened it is known inside
struct io_queue;
struct sockaddr;
struct sockaddr_storage;

enum {
    IO_READ = 0,        // open for reading only
    IO_WRITE = 1 << 0,  // for reading and writing
    IO_CREATE = 1 << 1, // make it if absent (0600)
    IO_EXCL = 1 << 2,   // with IO_CREATE: ERR_EXISTS if present
    IO_TRUNC = 1 << 3,  // cut to zero bytes
    IO_DIRECT = 1 << 4, // O_DIRECT: ERR_INVALID where the filesystem has none
};
enum { IO_ALIGN_BYTES = 4096 }; // of memory, offsets and lengths of direct I/O

typedef struct IoPart {
    void *p; // not changed by writes and sends
    size_t n;
} IoPart;

// Bytes of an open file.
typedef struct IoSpan {
    int file; // its descriptor
    uint64_t at;
    size_t n; // at least one
} IoSpan;

// One asynchronous durable write (see io_queue below).
struct io_write {
    struct io_file *file;
    IoPart part;
    uint64_t at;
    Err result;  // set when io_queue_wait has returned it
    void *owner; // the caller's own
};

typedef struct IoName {
    Str name;
    bool is_dir;
    uint64_t bytes;
} IoName;

struct io {
    void *self;
    Err (*open)(struct io *io, Str path, unsigned flags, struct io_file **ret);
    void (*close)(struct io_file *f); // NULL is fine
    // All of the bytes or an error. `durable`: on the device when it returns (RWF_DSYNC).
    Err (*write)(struct io_file *f, const void *p, size_t n, uint64_t at, bool durable);
    // As many bytes as there are, up to n; fewer only at the end of the file.
    Err (*read)(struct io_file *f, void *p, size_t n, uint64_t at, size_t *ret_n);
    // A table may keep every file several times (store/zones). `copies`: how often, at least once;
    // plain tables say 1. `read` takes any copy that answers, `read_copy` that one: ERR_INVALID if
    // there is none of this number, ERR_IO if it is out of reach. `mend` makes all copies hold
    // these bytes, durably, whatever way the file is open and without a need of alignment; they are
    // a good copy's, checked by the caller, and are part of nothing that is being written.
    // ERR_INVALID: there is one copy only.
    unsigned (*copies)(struct io_file *f);
    Err (*read_copy)(struct io_file *f, unsigned copy, void *p, size_t n, uint64_t at,
                     size_t *ret_n);
    Err (*mend)(struct io_file *f, const void *p, size_t n, uint64_t at);
    // The file's descriptor, good until it is closed, for send_file; -1: there is none, as where a
    // table keeps several copies or changes what is read.
    int (*descriptor)(struct io_file *f);
    Err (*sync)(struct io_file *f); // data and what is needed to read it back (fdatasync)
    Err (*size)(struct io_file *f, uint64_t *ret_bytes);
    Err (*truncate)(struct io_file *f, uint64_t bytes);
    Err (*allocate)(struct io_file *f, uint64_t bytes); // space for that many: ERR_FULL otherwise
    Err (*lock)(struct io_file *f); // exclusive, until closed: ERR_BUSY if held by another process
    Err (*rename)(struct io *io, Str from, Str to);
    Err (*unlink)(struct io *io, Str path);
    Err (*mkdir)(struct io *io, Str path); // 0700; OK if it exists as a directory
    Err (*sync_dir)(struct io *io, Str path);
    Err (*list)(struct io *io, struct arena *a, Str path, IoName **ret, size_t *ret_n); // by name
    Err (*space)(struct io *io, Str path, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes);
    int64_t (*wall_ns)(struct io *io); // since 1970; may step
    int64_t (*mono_ns)(struct io *io); // never goes back
    void (*random)(struct io *io, void *p,
                   size_t n); // cryptographic; ends the program if it cannot
    void (*sleep_ns)(struct io *io, int64_t ns);

    // A queue of durable writes: io_uring where the kernel allows it, else threads that call
    // pwritev2(RWF_DSYNC). Completions come in any order. `depth` writes at most are under way;
    // one more is ERR_LIMIT. Threads may submit while another waits. After an error of submit the
    // queue keeps nothing of the write. An empty queue makes wait block until one is submitted.
    Err (*queue_open)(struct io *io, unsigned depth, struct io_queue **ret);
    void (*queue_close)(struct io_queue *q); // waits for writes under way; NULL is fine
    Err (*queue_submit)(struct io_queue *q, struct io_write *w);
    Err (*queue_wait)(struct io_queue *q, struct io_write **ret); // blocks until one has ended
    const char *(*queue_kind)(const struct io_queue *q);          // "io_uring" or "pwritev2"

    // Sockets, by their descriptors, which must not block; waiting is the loop's. Making, setting
    // up and closing them is their owners': it moves no bytes. Nothing here raises SIGPIPE.
    // ERR_BUSY: not now. ERR_CLOSED: the peer has broken off. ERR_LIMIT: no descriptor or memory of
    // the kernel is free. ERR_IO: anything else.
    //
    // Some bytes, at most n > 0. *ret_n == 0: the peer has ended its side in good order. With
    // `peek` they stay to be received again.
    Err (*receive)(struct io *io, int fd, void *p, size_t n, bool peek, size_t *ret_n);
    // The first so many bytes of all parts (IO_SEND_PARTS_MAX at most), in one call: at least one.
    Err (*send)(struct io *io, int fd, const IoPart *parts, size_t count, size_t *ret_n);
    // The same, and behind the parts (there may be none) bytes of a file, which the kernel takes
    // from where it keeps them. ERR_IO: the file has not as many. The one call that may raise
    // SIGPIPE: who uses it ignores that.
    Err (*send_file)(struct io *io, int fd, const IoPart *parts, size_t count, IoSpan span,
                     size_t *ret_n);
    // A connection that came to a listening socket: its descriptor does not block and is closed in
    // children. ret_from may be NULL. ERR_CLOSED: the client has gone already.
    Err (*accept)(struct io *io, int fd, struct sockaddr_storage *ret_from, int *ret_fd);
    // ERR_BUSY: under way; writable when it is decided, SO_ERROR tells. ERR_CLOSED: refused.
    Err (*connect)(struct io *io, int fd, const struct sockaddr *to, size_t to_bytes);
};

enum { IO_SEND_PARTS_MAX = 64 };

struct io *io_real(void); // the operating system; one for the process, always the same

// Whether io_real() may use io_uring (default true); called at start, before any queue.
void io_allow_uring(bool allow);

// A whole small file, at most max_bytes (ERR_LIMIT). Also one whose size the kernel does not know
// before it is read, as in /proc.
Err io_read_file(struct io *io, struct arena *a, Str path, size_t max_bytes, Str *ret);

// What the tables have that keep every file once.
unsigned io_one_copy(struct io_file *f);
Err io_no_mend(struct io_file *f, const void *p, size_t n, uint64_t at);
int io_no_descriptor(struct io_file *f); // what tables have that are no operating system

// Replaces a file as one step: written aside, synced, renamed, directory synced.
Err io_write_file(struct io *io, struct arena *tmp, Str path, Str content);

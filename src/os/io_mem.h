// SPDX-License-Identifier: Apache-2.0
// A disk in memory that knows what would survive a power cut, behind the io table.
//
//     AUTO(io_mem) disk = io_mem_open(seed);
//     ... run on io_mem_io(disk), preferably through io_fault.h, which cuts the power ...
//     AUTO(io_mem) later = io_mem_crash(disk, (IoMemCrash){ .seed = seed });
//     ... recover on io_mem_io(later): what was promised must be there ...
//
// The model: bytes are durable after a durable write of them or a sync of their file, names after
// sync_dir of their directory. Of the rest a crash keeps a seeded choice: any subset of sectors
// (old or newest content), any size between the old and the new one, and the first so many of the
// changes to names, in their order, as journalling filesystems keep it. Files occupy their size;
// directories cannot be renamed. Paths that do not begin with / begin at the root.
//
// Thread safe. Everything is repeatable for one thread and one seed.
#pragma once
#include "os/io.h"

struct io_mem;

struct io_mem *io_mem_open(uint64_t seed);
void io_mem_close(struct io_mem *m); // NULL is fine; its files and queues must be closed
AUTO_CLOSE(io_mem)

struct io *io_mem_io(struct io_mem *m); // lives as long as the disk

typedef struct IoMemCrash {
    uint64_t seed;
    enum {
        IO_KEEP_SOME, // a power cut
        IO_KEEP_NONE, // a power cut at its worst: only what is durable
        IO_KEEP_ALL,  // the program was killed: the system has written everything
    } keep;
    unsigned sector_bytes; // what the device writes as a whole: 512..4096, a power of two; 0: 4096
} IoMemCrash;

// What the disk holds after the crash, as a new disk. The old one stays as it is.
struct io_mem *io_mem_crash(struct io_mem *m, IoMemCrash crash);

// The device's size, at first without bound. What does not fit gets ERR_FULL.
void io_mem_set_capacity(struct io_mem *m, uint64_t bytes);

// After `skip` more syncs of files one fails, as Linux fails it: what it should have made durable
// counts as clean from then on, and later syncs succeed without it. Only writing it again helps.
// Reading gives it, as from the page cache; reading with IO_DIRECT gives what the device holds.
void io_mem_break_sync(struct io_mem *m, uint64_t skip);
bool io_mem_sync_is_broken(struct io_mem *m); // whether it has happened

// Time is the machine's until it is set; from then on it stands still, but for sleep_ns, which
// moves it and returns at once, and for these.
void io_mem_set_clock(struct io_mem *m, int64_t wall_ns, int64_t mono_ns);
void io_mem_advance(struct io_mem *m, int64_t ns);      // both clocks
void io_mem_step_wall(struct io_mem *m, int64_t by_ns); // as when an administrator sets it

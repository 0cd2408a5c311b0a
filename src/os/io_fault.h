// SPDX-License-Identifier: Apache-2.0
// Makes chosen operations of an io table fail: a full disk, a broken device, a power cut, a network
// that delivers in pieces and breaks off.
//
//     AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), seed);
//     io_fault_add(faults, (IoFault){ .ops = IO_OP_CHANGE, .skip = n, .power_off = true });
//     ... run on io_fault_io(faults); then io_mem_crash(disk, ...) is what a restart finds ...
//
// The loop that proves a durable operation: for n = 0, 1, 2, ... fail the n-th operation, until
// the run passes without io_fault_hits. Thread safe; calls below are made without a lock held.
#pragma once
#include "os/io.h"

struct io_fault;

// What can be made to fail. Writes of a queue are IO_OP_WRITE, counted when they are carried out.
enum {
    IO_OP_OPEN = 1 << 0,
    IO_OP_WRITE = 1 << 1,
    IO_OP_READ = 1 << 2,
    IO_OP_SYNC = 1 << 3,
    IO_OP_SIZE = 1 << 4,
    IO_OP_TRUNCATE = 1 << 5,
    IO_OP_ALLOCATE = 1 << 6,
    IO_OP_LOCK = 1 << 7,
    IO_OP_RENAME = 1 << 8,
    IO_OP_UNLINK = 1 << 9,
    IO_OP_MKDIR = 1 << 10,
    IO_OP_SYNC_DIR = 1 << 11,
    IO_OP_LIST = 1 << 12,
    IO_OP_SPACE = 1 << 13,
    IO_OP_ANY = (1 << 14) - 1,
    // What changes the disk or makes a change durable: where a power cut makes a difference.
    IO_OP_CHANGE = IO_OP_OPEN | IO_OP_WRITE | IO_OP_SYNC | IO_OP_TRUNCATE | IO_OP_ALLOCATE |
                   IO_OP_RENAME | IO_OP_UNLINK | IO_OP_MKDIR | IO_OP_SYNC_DIR,
};

typedef struct IoFault {
    unsigned ops;   // which operations count; 0: IO_OP_ANY
    Str path_part;  // only on paths that contain it; absent: on all. Kept: a literal, mostly.
    uint64_t skip;  // operations that count and pass before the first failure
    uint64_t times; // failures, after which it is spent; 0: one, UINT64_MAX: for ever
    Err err;        // what they return; OK: ERR_IO "injected"
    enum {
        IO_TEAR_NOTHING, // a failing write has written nothing
        IO_TEAR_PREFIX,  // the first so many sectors of 4 KiB, not synced
        IO_TEAR_SECTORS, // any subset of the sectors, not synced
    } tear;
    bool power_off; // from the failure on everything fails; a queue's waiting writes are torn too
    bool lies;      // no failure: writes, syncs and sync_dirs succeed and nothing becomes durable
} IoFault;

enum { IO_FAULTS_MAX = 8 }; // plans at once

struct io_fault *io_fault_open(struct io *below, uint64_t seed);
void io_fault_close(struct io_fault *f); // NULL is fine; its files and queues must be closed
AUTO_CLOSE(io_fault)

struct io *io_fault_io(struct io_fault *f); // lives as long as f

void io_fault_add(struct io_fault *f, IoFault plan);       // beside those that are there
void io_fault_clear(struct io_fault *f);                   // no plans, power on, no budget
uint64_t io_fault_hits(struct io_fault *f);                // failures since open
uint64_t io_fault_count(struct io_fault *f, unsigned ops); // operations of these kinds since open

// Cuts the power now.
void io_fault_power_off(struct io_fault *f);

// Writes may carry so many more bytes; what exceeds them gets ERR_FULL. UINT64_MAX: no bound.
void io_fault_set_budget(struct io_fault *f, uint64_t bytes);

// What the network does from now on. It is seeded and begins harmless.
typedef struct IoNetFault {
    size_t piece_bytes_max; // a receive or send moves 1..so many bytes at random; 0: no bound
    unsigned busy_percent;  // of receives and sends say ERR_BUSY though they need not; below 100
    bool resets;            // connections accepted or made from now on break off after ...
    uint64_t reset_after;   // ... so many bytes in both directions; then ERR_CLOSED for ever
    unsigned accept_limits; // so many accepts find no descriptor: ERR_LIMIT, EMFILE
} IoNetFault;
void io_fault_net(struct io_fault *f, IoNetFault how); // replaces what was said before
// Bytes that the last accepted or made connection has moved: where reset_after can strike.
uint64_t io_fault_net_bytes(struct io_fault *f);
uint64_t io_fault_net_hits(struct io_fault *f); // pieces, refusals and resets since open

// Moves the wall clock, as when an administrator sets it.
void io_fault_step_wall(struct io_fault *f, int64_t by_ns);

// Flips the bits of `mask` in one stored byte, durably: what a bad device does in silence.
Err io_flip(struct io *io, Str path, uint64_t at, unsigned char mask);

// SPDX-License-Identifier: Apache-2.0
// What the tests of zones share: a set of three on disks in memory.
#pragma once
#include "base/test.h"
#include "base/time.h"
#include "os/io_fault.h"
#include "os/io_mem.h"
#include "store/zones/zones.h"

enum { ZONES = 3, FILE_BYTES = (2 << 20) + 12345, WAIT_SECONDS_MAX = 60 };

// Three disks, each with its own faults, and a set of zones on them.
struct trio {
    struct io_mem *disks[ZONES];
    struct io_fault *faults[ZONES];
    struct zones *set;
    struct io *io;
    ZonesConfig config;
    Str problem;
};

extern const Str trio_dirs[ZONES];

void trio_init(struct trio *r);
Err trio_open(struct trio *r, struct arena *a);
void trio_close(struct trio *r);
void trio_done(struct trio *r);
struct io *trio_disk_io(const struct trio *r, unsigned i);
unsigned trio_state_of(struct trio *r, unsigned i);
ErrKind trio_cause_of(struct trio *r, unsigned i);
// Waits as long as it takes, and for a test that has failed not for ever.
void trio_wait_state(struct trio *r, unsigned i, unsigned state);
void trio_repair(struct trio *r, unsigned i);
Str trio_content(struct arena *a, size_t n, unsigned seed);
void trio_write_new(struct io *io, struct arena *a, const char *path, Str bytes);
Str trio_read_in(struct io *io, struct arena *a, Str path);
Str trio_in_zone(const struct trio *r, struct arena *a, unsigned i, const char *rel);
// All zones hold the same names with the same bytes.
void trio_expect_same_dir(const struct trio *r, struct arena *a, unsigned i, Str rel);
void trio_expect_same(const struct trio *r, struct arena *a);
void trio_fill(struct trio *r, struct arena *a);
// What a power cut leaves of all disks; the set must be closed.
void trio_crash(struct trio *r, uint64_t seed);
// An empty disk in place of this one.
void trio_replace_disk(struct trio *r, unsigned i);

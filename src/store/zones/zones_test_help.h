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
struct rig {
    struct io_mem *disks[ZONES];
    struct io_fault *faults[ZONES];
    struct zones *set;
    struct io *io;
    ZonesConfig config;
    Str problem;
};

extern const Str rig_dirs[ZONES];

void rig_init(struct rig *r);
Err rig_open(struct rig *r, struct arena *a);
void rig_close(struct rig *r);
void rig_done(struct rig *r);
struct io *rig_disk_io(const struct rig *r, unsigned i);
unsigned rig_state_of(struct rig *r, unsigned i);
ErrKind rig_cause_of(struct rig *r, unsigned i);
// Waits as long as it takes, and for a test that has failed not for ever.
void rig_wait_state(struct rig *r, unsigned i, unsigned state);
void rig_repair(struct rig *r, unsigned i);
Str rig_content(struct arena *a, size_t n, unsigned seed);
void rig_write_new(struct io *io, struct arena *a, const char *path, Str bytes);
Str rig_read_in(struct io *io, struct arena *a, Str path);
Str rig_in_zone(const struct rig *r, struct arena *a, unsigned i, const char *rel);
// All zones hold the same names with the same bytes.
void rig_expect_same_dir(const struct rig *r, struct arena *a, unsigned i, Str rel);
void rig_expect_same(const struct rig *r, struct arena *a);
void rig_fill(struct rig *r, struct arena *a);
// What a power cut leaves of all disks; the set must be closed.
void rig_crash(struct rig *r, uint64_t seed);
// An empty disk in place of this one.
void rig_replace_disk(struct rig *r, unsigned i);

// SPDX-License-Identifier: Apache-2.0
// The device of the simulator, as an io table: every operation takes (virtual) time, writes that
// are under way together end in any order, and the power can go at any change.
//
//     engine > sim_disk (turns, time, power) > io_fault (errors, lies) > io_mem (what is durable)
//
// When the power goes, which several disks may share, of each write under way any subset of its
// sectors is on the disk. From then on everything fails. Clocks, randomness and order come from
// sim_sched.h.
#pragma once
#include "os/io_fault.h"
#include "os/io_mem.h"

struct sim_disk;

typedef enum SimSpeed { SIM_QUICK, SIM_USUAL, SIM_SLOW, SIM_STALLING } SimSpeed;

// Errors that are planted in the simulated world on purpose, to show that they are found.
typedef enum SimPlant {
    PLANT_NONE,
    PLANT_SKIP_SYNC,     // syncs of files do nothing
    PLANT_SKIP_SYNC_DIR, // syncs of directories do nothing
    PLANT_SKIP_DURABLE,  // durable writes are ordinary ones
    PLANT_EARLY,         // writes are reported as ended when they have been handed over
    PLANT_IGNORE_CRC,    // of blocks and extents
    PLANT_REUSE_NUMBER,  // after a start, block numbers go on too early
    PLANT_RETRY_SYNC,    // a failed sync is tried again, and that it then succeeds is believed
    PLANT_FORGET_ENDS,   // checkpoints do not say which shards have ended
    PLANT_EARLY_RECYCLE, // journal files are used again before the checkpoint is durable
    PLANT_RAW_CONTAINER, // checkpoints list containers that are not synced
    PLANT_CONTAINER_CRC, // of chunks, ignored
    PLANT_EARLY_EXPIRY,  // containers go when their first records are over, not their last
    PLANT_MERGE_LOSS,    // merging forgets the records of a shard
    // Of zones: all worlds have them then.
    PLANT_ZONE_EARLY,  // a write is acknowledged before all members have it
    PLANT_ZONE_STALE,  // which list of members is the newest is not asked
    PLANT_ZONE_FORGET, // that a zone has left is not written down
    PLANT_COUNT,
    PLANT_ZONES_FIRST = PLANT_ZONE_EARLY,
} SimPlant;

extern SimPlant sim_plant;
const char *sim_plant_name(SimPlant plant);

// What the disks of one machine have in common.
enum { SIM_DISKS_MAX = 3 };
struct sim_power {
    bool is_off, cuts;
    uint64_t cut_after; // changes, of all disks
    struct sim_disk *disks[SIM_DISKS_MAX];
    size_t n;
};
void sim_power_cut_after(struct sim_power *p, uint64_t changes); // it goes with the next one
void sim_power_off(struct sim_power *p);

// The disk is borrowed, and so is the power.
struct sim_disk *sim_disk_open(struct io_mem *below, uint64_t seed, SimSpeed speed,
                               struct sim_power *power);
void sim_disk_close(struct sim_disk *d); // NULL is fine; its files and queues must be closed
AUTO_CLOSE(sim_disk)

struct io *sim_disk_io(struct sim_disk *d);
bool sim_disk_is_off(const struct io *io); // whether the power of this disk has gone
struct io_fault *sim_disk_faults(struct sim_disk *d);

void sim_disk_set_speed(struct sim_disk *d, SimSpeed speed);
void sim_disk_die(struct sim_disk *d, bool is_dead);      // every operation fails meanwhile
void sim_disk_hang(struct sim_disk *d, int64_t until_ns); // none ends before
// When it is asked from then on how much space it has, its capacity is without bound again.
void sim_disk_full_until(struct sim_disk *d, int64_t until_ns);
void sim_disk_mirrored(struct sim_disk *d); // who uses it may write on after a failure: to repair

// The calling task's syncs do nothing and its durable writes are ordinary ones, until it is told
// otherwise.
void sim_disk_be_lazy(bool is_lazy);

// From now on every operation is printed.
void sim_disk_loud(bool is_loud);

// SPDX-License-Identifier: Apache-2.0
// Zones: the same files in several directories, behind one io table.
//
// Every zone is a directory, best on a disk of its own. What is written below the root of the table
// is written to all zones that are members before the call returns; what is read comes from one of
// them. A zone that fails, is full while others are not, or lags is fenced: the shorter list of
// members is durable in all that remain before anything that relies on it is reported as done. A
// fenced zone is tried every few seconds, and when it works again it is copied to beside the load
// and becomes a member. At start the zones are compared and made the same. README.md tells the
// rules, docs/design/007-zones-mirror-files.md the reasons.
//
//     DIR/zone.hrz     which set the zone belongs to and who its members are (zones_record.c)
//     DIR/zone.lock    held while the set is open
//     DIR/...          the files
#pragma once
#include "os/io.h"

enum { ZONES_MAX = 5 };

struct zones;

typedef struct ZonesConfig {
    struct io *io;                 // clocks, randomness, sockets, and the files of every zone ...
    struct io *zone_io[ZONES_MAX]; // ... that has no table of its own here
    Str root;                      // what paths begin with; it need not exist
    Str dirs[ZONES_MAX];           // made if absent; their parents must exist
    size_t count;                  // 2..ZONES_MAX
    unsigned least;                // members there must always be; 0: more than half
    int64_t lag_ns;                // how long one may take after enough have done it; 0: 2 s
    int64_t probe_ns;              // how often a fenced one is tried; 0: 5 s
    // Opens also when too few zones answer to be sure that the newest is among them. What only the
    // missing ones hold is given up.
    bool start_anyway;
    // Whether the content of one zone is whole; the highest score is the newest. Called before the
    // set is open, and only when zones differ. NULL: the first member is right.
    Err (*verify)(void *self, struct io *io, Str dir, uint64_t *ret_score);
    void *verify_self;
} ZonesConfig;

// Opens a set, makes its members the same, and rebuilds others until there are enough members; the
// rest is rebuilt beside the load. Directories that are all empty become a new set; one that holds
// data beside empty ones becomes the source of a new set. Blocks. ERR_BUSY: another process has a
// zone. ERR_INVALID: the directories do not belong together. ERR_IO: too few answer. ERR_CORRUPT:
// none is whole. `ret_problem` then is a full sentence in `a`. Nothing is removed from a directory
// that is not known to belong to the set.
Err zones_open(const ZonesConfig *config, struct arena *a, struct zones **ret, Str *ret_problem);
void zones_close(struct zones *s); // its files and queues must be closed; NULL is fine
AUTO_CLOSE(zones)

// Files below the root are in the zones; any other path is ERR_INVALID. The rest is config.io's.
// Lives as long as the set. A queue's writes are done by threads, of which each zone has its own.
struct io *zones_io(struct zones *s);

typedef struct ZoneStatus {
    Str dir; // lives as long as the set
    enum { ZONE_MEMBER, ZONE_JOINING, ZONE_FENCED } state;
    Err cause;             // of a fenced zone, or OK
    int64_t since_ns;      // wall clock
    uint64_t copied_bytes; // written to it to repair it, since the set was opened
} ZoneStatus;

const char *zone_state_name(unsigned state); // "member", "joining", "fenced"
// Of all zones in the order of the configuration; returns their count. Never blocks on a disk.
size_t zones_status(struct zones *s, ZoneStatus ret[ZONES_MAX]);
bool zones_enough(struct zones *s); // whether there are `least` members: writes can be stored

// Where a file below the root lies in the first member: for what must have a path of the system.
Str zones_real_path(struct zones *s, struct arena *a, Str path);

// Tries the fenced zones now instead of in a while.
void zones_probe(struct zones *s);

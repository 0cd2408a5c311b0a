// SPDX-License-Identifier: Apache-2.0
// The soak's load generator and checker. It lives through the kills of the server.
//
// A lane is one shard as it is written here: by one connection, one request at a time, so that the
// numbers 0, 1, 2, ... in its records must be found in the shard in that order. What was not
// acknowledged when the server went is a gap: the records of one request, of which each is in the
// shard or none. That, and the number reached at each step of the server's clock, is all that must
// be remembered, however much is stored: bytes and keys of a record follow from its number.
//
// Writers take their turns from one schedule that does not wait for answers; a latency is counted
// from the time at which the schedule wanted the request to be sent.
#pragma once
#include "call.h"
#include "json.h"
#include "schedule.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    STREAMS_MAX = 16,
    STEPS_MAX = 4096, // of the clock that are remembered; older ones count as the start
    KEY_BYTES = 16,
    SEQUENCE_BYTES_MAX = 64,
    ITERATOR_BYTES_MAX = 1024,
    RECORD_HEAD_BYTES = 24,
    RECORD_BODY_BYTES_MAX = 900000,
    PAGE_BYTES_MAX = 32 << 20, // a reply of GetRecords
};

enum lane_use {
    USE_HOT,    // batches, and consumers that keep up
    USE_SPARSE, // now and then a record
    USE_IDLE,   // nothing
};

struct stream {
    char name[129];
    unsigned first, shards; // its lanes
    int64_t retention_ms;
    unsigned weight; // of its requests among all
    enum lane_use use;
};

// Records [from, to) of one request that was not acknowledged.
struct gap {
    uint64_t from, to;
    bool refused; // with an error that promises that they are not stored
};

struct cursor {
    uint64_t expect; // the number that comes next
    char after[SEQUENCE_BYTES_MAX];
    char iterator[ITERATOR_BYTES_MAX];
};

struct lane {
    pthread_mutex_t lock; // of what follows, but the cursor
    uint64_t next;        // number of the next record
    uint64_t settled;     // all below are acknowledged or in a gap
    struct gap *gaps;     // ascending
    size_t gap_count, gap_room;

    unsigned number, stream, shard;
    char key[KEY_BYTES + 1]; // a partition key of its shard
    struct cursor tail;      // of the consumer that keeps up; its thread's alone
};

enum plant { PLANT_NONE, PLANT_SKIP, PLANT_TWICE, PLANT_CHANGE };

struct soak {
    const char *port;
    unsigned connections;
    struct stream streams[STREAMS_MAX];
    unsigned stream_count;
    struct lane *lanes;
    unsigned lane_count;

    // Steps of the clock: `next` of all lanes when it had come to `ms`.
    pthread_mutex_t steps_lock;
    uint64_t step_count;
    int64_t step_ms[STEPS_MAX];
    uint32_t *step_next[STEPS_MAX];
    // The server's clock is ahead of ours by at least the first and at most the second.
    _Atomic int64_t ahead_ms, ahead_most_ms;

    uint64_t seed;
    struct schedule schedule;

    _Atomic bool verify; // a whole reading is wanted
    _Atomic int plant;   // a mistake for the next record, to see that it is found
    _Atomic uint64_t sweeps;
};

extern struct soak soak;

// ---- Counts of one window (soak.c)

struct counts {
    uint64_t requests, records, bytes; // acknowledged; bytes of data and keys
    uint64_t refused, broken, errors, shed;
    uint64_t tail_records, tail_bytes, sweep_records, sweep_bytes;
    uint64_t expired; // iterators
};

void count_request(uint64_t latency_us, uint64_t records, uint64_t bytes);
#define COUNT(member, n)                    \
    do {                                    \
        pthread_mutex_lock(&counts_lock);   \
        counts.member += (n);               \
        pthread_mutex_unlock(&counts_lock); \
    } while (0)
extern pthread_mutex_t counts_lock;
extern struct counts counts;

// A promise was broken: said on standard output, once for each.
void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
void trouble(const char *format, ...) __attribute__((format(printf, 1, 2))); // an error reply
int64_t wall_ms(void);

// ---- Lanes (soak_lane.c)

void lanes_open(void);
// Record `number` of the lane: its data in base64, its size, what a reader must find.
size_t lane_record_text(const struct lane *lane, uint64_t number, size_t body_bytes, char *ret);
// Reads the number out of data in base64 and compares the whole with what it must be.
bool lane_record_check(const struct lane *lane, const char *text, size_t n, uint64_t *ret_number);
void lane_settle(struct lane *lane, uint64_t from, uint64_t to, bool acknowledged, bool refused);
// Below it records may be past their retention, if the clock may have come to `now_ms`.
uint64_t lane_must_have(const struct lane *lane, int64_t now_ms);
// Whether a reader may miss the records [from, to). Says what it must not.
bool lane_may_miss(struct lane *lane, uint64_t from, uint64_t to, uint64_t must_have);
bool lane_is_refused(struct lane *lane, uint64_t number);
void step_taken(void);

// ---- Threads

void *writer_run(void *number);       // soak_put.c
void *tail_reader_run(void *number);  // soak_read.c: follows the hot lanes
void *sweep_reader_run(void *unused); // reads every lane from its beginning, again and again
enum { TAIL_READERS = 2 };

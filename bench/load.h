// SPDX-License-Identifier: Apache-2.0
// The load generator: clients that send batch after batch to one peer and measure each until its
// acknowledgement, as fast as they are answered or by a schedule (schedule.h).
//
// A peer is what is measured: Headrace, or a system that is compared with it. Each client builds
// its batches once, before the clock runs, so that the generator costs little of the machine.
#pragma once
#include "latency.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BATCHES_LEAST = 2, // different batches that a client sends in turn, as memory allows
    BATCHES_MOST = 64,
    BATCHES_BYTES = 4 << 20,
};

struct options {
    const char *peer;
    const char *port;
    const char *stream; // stream, key or table
    unsigned streams;   // more than one: STREAM-0, STREAM-1, ...; client i sends to i % streams
    unsigned accounts;  // as many AWS accounts take turns in the same way; 0: that of the key
    unsigned shards;    // or partitions
    unsigned clients, loops; // loops: clients are served by so many event loops; 0: threads
    unsigned inflight;       // requests at once on an HTTP/2 connection; 0: HTTP/1.1, one at a time
    unsigned seconds, records; // of a batch
    unsigned record_bytes;
    unsigned rate;    // batches a second of all clients; 0: as fast as they are answered
    unsigned batches; // of all clients, then they end; 0: as many as the time allows
    unsigned tls;     // 1: yes
    unsigned follow;  // 1: a consumer stays at the newest record instead of beginning again
};

struct client {
    const struct options *options;
    unsigned number;
    int fd;
    void *state; // the peer's own
    uint64_t batches, records, bytes, refused, failures;
    struct latencies latencies;
};

enum outcome {
    SENT_OK,      // acknowledged
    SENT_REFUSED, // answered with an error that asks to come again later
    SENT_BROKEN,  // anything else; it was said on standard error
};

struct peer {
    const char *name;
    bool reads; // and counts records and bytes itself
    // Connects and prepares its batches. False: it said why on standard error.
    bool (*open)(struct client *c);
    // Sends one batch and waits until it is acknowledged. `turn` counts up from 0.
    enum outcome (*send)(struct client *c, uint64_t turn);
    void (*close)(struct client *c);
};

extern const struct peer kinesis_peer, redis_peer, postgres_peer, kafka_peer, read_peer, queue_peer,
    push_peer, push_raw_peer, object_get_peer, object_put_peer;

// How many different batches of that size a client has.
unsigned batches_of(size_t batch_bytes);

// ---- net.c

int connect_quietly(const char *port); // a TCP connection to 127.0.0.1, or -1 with errno set
int connect_to(const char *port);      // the same, and says on standard error why not
bool write_all(int fd, const void *p, size_t n);
bool write_both(int fd, const void *p, size_t n, const void *q,
                size_t m); // in one call if it can be
// Reads until at least `want` bytes are in `buffer`; false at the end or an error.
bool read_until(int fd, char *buffer, size_t capacity, size_t *filled, size_t want);
// Printable bytes that do not repeat from record to record; the same for the same seed.
void fill_text(char *p, size_t n, uint64_t *seed);
uint64_t seed_of(unsigned client);
void *must_alloc(size_t n);
uint64_t now_us(void); // monotonic

// ---- The other programs in this one

// The disk by itself: writes one after the other, each durable before the next (probe.c), and
// reads.
int probe_writes(const char *folder, size_t bytes, unsigned seconds);
int probe_reads(const char *path, size_t bytes, unsigned seconds);
// The server that does nothing but what cannot be saved (floor.c); it runs until it is killed.
int run_floor(const char *port, const char *path, const char *what);
// Clients on event loops: signed puts over many connections (many.c). False: it said why.
bool run_many(const struct options *o, struct client *clients, double *ret_seconds);
// Consumers that are pushed, with writers beside them if they follow (push.c).
bool run_push(const struct options *o, struct client *clients, double *ret_seconds);
bool run_push_raw(const struct options *o, struct client *clients, double *ret_seconds);
bool run_h2(const struct options *o, struct client *clients, double *ret_seconds); // h2.c

// SPDX-License-Identifier: Apache-2.0
// The load generator: a number of blocking clients, each on a thread and a connection of its own,
// that send batch after batch to one peer and measure each from its first byte to its
// acknowledgement.
//
// A peer is what is measured: Headrace, or a system that promises the same durability. Each client
// builds its batches once, before the clock runs, so that the generator costs little of the
// machine.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BATCHES = 8, // different batches that a client sends in turn
    PORT_TEXT_BYTES = 8,
};

struct options {
    const char *peer;
    const char *port;
    const char *stream; // stream, key or table
    unsigned clients, seconds, records, record_bytes;
};

struct client {
    const struct options *options;
    unsigned number;
    int fd;
    void *state; // the peer's own
    uint64_t batches, failures;
    uint32_t *latency_us; // one for each batch
    size_t latency_count;
};

struct peer {
    const char *name;
    // Connects and prepares its batches. False: it said why on standard error.
    bool (*open)(struct client *c);
    // Sends one batch and waits until it is acknowledged. False: refused or broken.
    bool (*send)(struct client *c, unsigned batch);
    void (*close)(struct client *c);
};

extern const struct peer kinesis_peer, redis_peer, postgres_peer;

int connect_quietly(const char *port); // a TCP connection to 127.0.0.1, or -1 with errno set
int connect_to(const char *port);      // the same, and says on standard error why not
bool write_all(int fd, const void *p, size_t n);
// Reads until at least `want` bytes are in `buffer`; false at the end or an error.
bool read_until(int fd, char *buffer, size_t capacity, size_t *filled, size_t want);
// Printable bytes that do not repeat from record to record; the same for the same seed.
void fill_text(char *p, size_t n, uint64_t *seed);
void *must_alloc(size_t n);

// Writes of `bytes` at the speed of the disk, one after another: what every peer is up against.
int probe_disk(const char *folder, size_t bytes, unsigned seconds);
void print_latencies(uint32_t *us, size_t n);
uint64_t now_us(void); // monotonic

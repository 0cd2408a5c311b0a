// SPDX-License-Identifier: Apache-2.0
// Records on their way into a stream, by PutRecords, or into a delivery stream, by PutRecordBatch,
// which knows no keys. What the server throttled or failed is sent
// again, so that each record is stored before a batch is done.
#pragma once
#include "cli/remote.h"

enum {
    PUT_RECORDS_MAX = 500,           // both
    PUT_BYTES_MAX = 4 << 20,         // PutRecordBatch; below PutRecords' 5 MiB, so that keys fit
    PUT_RECORD_BYTES_MAX = 10 << 20, // AWS's largest
    DELIVERY_RECORD_BYTES_MAX = 1000 << 10,
};

typedef struct PutEntry {
    Str key, data;
    Str hash_key; // empty: the key decides
} PutEntry;

struct put_batch {
    const struct invocation *in;
    struct client *client;
    Str stream;
    const struct put_kind *kind; // what the client's command is about
    struct arena *a;             // its records; reset when they are stored
    PutEntry at[PUT_RECORDS_MAX];
    size_t n, bytes;
    uint64_t stored, stored_bytes; // of keys and data
    uint64_t again;                // records that were sent once more
    uint64_t overtaken;            // records stored before an older one of their key
};

struct put_batch *put_batch_open(const struct invocation *in, struct client *c, Str stream);
void put_batch_close(struct put_batch *b); // what is in it is lost; NULL is fine
AUTO_CLOSE(put_batch)

// Whether a further record of so many bytes still goes in.
bool put_batch_has_room(const struct put_batch *b, size_t bytes);
size_t put_batch_record_max(const struct put_batch *b); // bytes
// Copies the record. It has room. An absent key: one at random.
void put_batch_add(struct put_batch *b, const PutEntry *entry);
// Puts them all. Complains: EXIT_THROTTLED after PUT_TRIES_MAX times without any progress.
enum { PUT_TRIES_MAX = 60 };
ExitCode put_batch_flush(struct put_batch *b);

// SPDX-License-Identifier: Apache-2.0
// A destination that is reached over the network. The engine decides when what is delivered, how
// long it is tried, and what becomes of what fails; a sink makes one attempt and says what came of
// it.
#pragma once
#include "delivery/batch.h"

#include <stdatomic.h>

typedef enum SinkResult {
    SINK_DELIVERED, // all but the records that have a fault of their own
    SINK_RETRY,     // nothing, or not all: what is `pending` is tried again
    SINK_REFUSED,   // never will be: all that is pending goes to the error prefix
} SinkResult;

typedef struct SinkObject {
    Str bucket, key;
    uint64_t bytes;
} SinkObject;

// What one attempt is about. The engine keeps it over attempts.
typedef struct SinkAttempt {
    struct arena *arena; // of this attempt
    DeliveryBatch *batch;
    bool *pending; // by record: still to be delivered; a sink clears what it has delivered
    size_t pending_count;
    Str request_id;            // a UUID, the same over attempts
    int64_t attempt;           // from 1
    int64_t began_ms;          // the first attempt, by the server's clock: the same over attempts
    const atomic_bool *is_cut; // set: the delivery is removed, the attempt is to end; NULL: never
    const SinkObject *objects; // of sinks that want objects: written before
    size_t object_count;
    // Set by the sink.
    Str code, message; // "HttpEndpoint.DestinationException", of the attempt; in the arena
    int64_t ack_ms;    // how long an acknowledgement took; 0: none
    size_t bytes_sent;
} SinkAttempt;

struct sink;

struct sink_ops {
    const char *error_type;        // "http-endpoint-failed"
    const char *metric;            // "HttpEndpoint": DeliveryTo<X>.Bytes ...
    bool wants_objects;            // it is given objects in S3 instead of records (Redshift)
    size_t records_max, bytes_max; // of one attempt; 0: no limit
    // ERR_INVALID: the text says why a front door refuses it. Nothing is connected yet.
    Err (*open)(struct delivery_env *env, const DeliveryConfig *config, struct sink **ret,
                struct arena *a, Str *ret_text);
    void (*close)(struct sink *s);
    // Blocks for minutes at most, and not long once the environment stops or the attempt is cut. A
    // record that the destination refuses for good gets its fault and is no longer pending.
    SinkResult (*deliver)(struct sink *s, SinkAttempt *a);
    // How long to wait after so many attempts.
    int64_t (*pause_ns)(struct sink *s, int64_t attempts);
    // What is pending is given up: what the sink itself leaves of it (Redshift's manifests). NULL:
    // nothing. An error: to be called again.
    Err (*give_up)(struct sink *s, SinkAttempt *a);
};

struct sink {
    const struct sink_ops *ops; // first member of every sink
};

extern const struct sink_ops sink_http, sink_splunk, sink_search, sink_redshift;

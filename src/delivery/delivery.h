// SPDX-License-Identifier: Apache-2.0
// Deliveries: records of a source go to a destination, in batches by size or time, whichever comes
// first, at least once. The buffer of a delivery is the log: what is not delivered yet is read
// again after a crash, from the positions that were committed with the last delivery.
//
//     log > unit > processors > [conversion] > object or request > positions committed
//
// Any number of deliveries, of several front doors, share two pools; one that waits for its buffer
// to fill, or to try again, costs no thread.
#pragma once
#include "delivery/config.h"
#include "hub/metrics.h"

struct deliveries; // of one front door
struct delivery;
struct service_env;

// `name`: of the table of positions and in log lines.
Err deliveries_open(const struct service_env *env, Str name, struct deliveries **ret);
// No work of its own runs after this; those that run are finished or left for the next start.
void deliveries_stop(struct deliveries *d);
void deliveries_close(struct deliveries *d); // NULL is fine
AUTO_CLOSE(deliveries)

// Whether a config can be delivered: prefixes, queries, formats, zones. ERR_INVALID: the text says
// why, for the front door's error.
Err delivery_check(struct deliveries *d, const DeliveryConfig *config, struct arena *a,
                   Str *ret_text);

// Begins, or goes on where the positions of config->id are. The direct shard is declared to the
// log, and nothing is put into it before this returns. Takes the config's arena. Nothing is read
// and no other service is asked before loops[0] runs: services may add while they are opened.
Err delivery_add(struct deliveries *d, const DeliveryConfig *config, struct delivery **ret);
// From the next batch on. Takes the arena.
void delivery_change(struct delivery *v, const DeliveryConfig *config);
// Ends it: nothing of it runs when this returns (it waits for what does, with no lock and no
// transaction of the caller's held). Its positions stay.
void delivery_remove(struct delivery *v);
// In this transaction the positions of the config with this id go, also of one that was never
// added.
struct kv_txn;
Err deliveries_forget(struct deliveries *d, struct kv_txn *tx, uint64_t id);

// So many bytes of data have been stored in the direct shard: after the log has said so. From any
// thread, cheap.
void delivery_arrived(struct delivery *v, size_t records, size_t bytes);
// Delivers what there is, whatever the hints say.
void delivery_flush(struct delivery *v);

// ---- What it is doing, for operators and metrics

typedef struct DeliveryObjectNote {
    int64_t at_ms;
    Str place; // "s3://bucket/key", a URL
    uint64_t records, bytes, written;
    int64_t took_ms;
} DeliveryObjectNote;

typedef struct DeliveryState {
    uint64_t backlog_records, backlog_bytes; // not delivered yet
    int64_t oldest_ms;                       // arrival of the oldest of them; 0: none
    int64_t size_bytes;                      // the buffer's present size: raised when behind
    int64_t due_ms;                          // when it is delivered at the latest; 0: nothing waits
    int64_t attempts;                        // at what is being tried; 0: nothing is
    Str last_code, last_error;               // absent: none
    int64_t last_error_ms;
    const DeliveryObjectNote *notes; // the last ones, newest first
    size_t note_count;
} DeliveryState;
void delivery_state(struct delivery *v, struct arena *a, DeliveryState *ret);

// What it has counted, of the metrics of the developer guide ("Monitoring with CloudWatch"), for
// the front door's metric source.
struct delivery_meters {
    struct meter source_bytes, source_records;       // DataReadFromKinesisStream
    struct meter source_throttled, look_throttled;   // nothing is: zeroes, one for each reading
    struct meter bytes, records, success, freshness; // DeliveryTo<X>
    struct meter attempted_bytes, attempted_records; // of requests, also those made again
    struct meter object_bytes, object_records, object_success, object_freshness; // before COPY
    struct meter objects;     // DeliveryToS3.ObjectCount
    struct meter ack_latency; // Splunk
    struct meter backup_bytes, backup_records, backup_success, backup_freshness; // BackupToS3
    struct meter process_ok, process_ms;                 // ExecuteProcessing
    struct meter processed_records, processed_bytes;     // SucceedProcessing
    struct meter converted_records, converted_bytes;     // SucceedConversion
    struct meter unconverted_records, unconverted_bytes; // FailedConversion
    struct meter partitions, partitions_exceeded, jq_ms;
    struct meter partition_rate;           // bytes/s of each object
    struct meter lost_records, lost_bytes; // retention took them: not a metric of AWS
    struct meter behind_ms;                // KinesisMillisBehindLatest
};
struct delivery_meters *delivery_meters(struct delivery *v);

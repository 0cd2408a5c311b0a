// SPDX-License-Identifier: Apache-2.0
// Kinesis Data Streams. What the files of the room share: the table of streams, how one is found
// for a call, and how its row is changed.
//
// Two locks. `changing` is held by an operation that changes a stream, from its checks to its
// commit, so that changes happen one after the other; `lock` guards what is in memory and is never
// held over I/O. Order: changing before lock before the lock of a shard's limits.
#pragma once
#include "base/map.h"
#include "gen/kinesis_api.h"
#include "hub/service.h"
#include "hub/source.h"
#include "hub/chores.h"
#include "hub/commits.h"
#include "svc/kinesis/rate.h"
#include "svc/kinesis/stream.h"
#include "svc/kinesis/token.h"

#include <stdatomic.h>

// Operations that may change streams or wait for their turn to. More are refused, as AWS refuses
// more than five a second: waiting they would hold every worker, and with them every read.
enum { CHANGERS_MAX = 8 };

struct kinesis {
    struct service_env env;
    struct kv_table *rows;          // kinesis.streams
    struct kv_table *meta;          // kinesis.meta: the secret of tokens
    struct kv_table *keys;          // kinesis.keys: data keys (crypt.h)
    struct kv_table *policy_rows;   // kinesis.policies: of resources (policies.c)
    struct kv_table *consumer_rows; // kinesis.consumers
    int64_t status_delay_ms;        // how long consumers stay CREATING and DELETING
    struct fanout *fanout;          // what is pushed to consumers (subscribe.c)
    struct sealer sealer;
    struct rates rates;
    struct metric_source metrics;
    struct commits *commits;     // of puts, a turn's together
    struct chores chores;        // what streams do when their time has come
    struct queues *queues;       // on the streams (queues.c)
    struct channels *channels;   // from the streams (channels.c)
    pthread_mutex_t changing;    // by kinesis_change_begin and _end
    atomic_int changers;         // that hold it or wait for it
    pthread_mutex_t making_keys; // taken before everything else; for data keys alone
    pthread_rwlock_t lock;
    struct map *by_key;     // account/region/name -> struct stream, each with a reference
    struct stream **sorted; // by account, region, name
    size_t count;
    struct map *policies;       // ARN -> struct policy, each with a reference
    struct op_members *members; // beside kinesis_api.ops (targets.c)
    struct hub_source offer;    // offer.c
};

// How a client names a stream. Absent members were not given.
typedef struct StreamRef {
    Str name, arn, id;
} StreamRef;
#define STREAM_REF(in) \
    ((StreamRef){ .name = (in)->stream_name, .arn = (in)->stream_arn, .id = (in)->stream_id })

// A reference to the stream; ResourceNotFoundException, or InvalidArgumentException when it is not
// named or named twice differently. The stream may have any status.
Err kinesis_find(struct call *c, StreamRef ref, struct stream **ret);
Err kinesis_find_arn(struct call *c, Str resource_arn, struct stream **ret);
// The name in it, for texts: the stream need not exist. Absent: it has none.
Str kinesis_name_given(StreamRef ref);

// Waits for the turn to change streams: `changing` is held when it returns OK, until _end.
// LimitExceededException: too many wait already.
Err kinesis_change_begin(struct call *c, Str stream_name);
void kinesis_change_end(struct kinesis *k);
// What ARNs of queues and channels end with: 24 letters and digits at random, in the arena.
Str kinesis_new_id(struct kinesis *k, struct arena *a);

// ResourceInUseException unless ACTIVE. Call it with `changing` held.
Err kinesis_require_active(struct call *c, const struct stream *s);

// The stream's name in arn:partition:kinesis:region:account:stream/name, if region and account are
// the call's; absent otherwise.
Str kinesis_name_in_arn(const struct call *c, Str arn);

Err kinesis_not_found(struct call *c, Str stream_name);

// Edits a copy of the stream, commits its row, then makes the edit visible. `changing` is held.
// An edit touches what stream_take_fields takes, and no shards.
typedef void StreamEdit(struct stream *copy, const void *arg);
Err kinesis_change(struct kinesis *k, struct stream *s, StreamEdit *edit, const void *arg);

// The same for what makes a stream UPDATING on AWS: it is that as long as the server was told that
// such changes take (`change_time`). The edit itself is in force at once. Of an ACTIVE stream.
Err kinesis_update(struct kinesis *k, struct stream *s, StreamEdit *edit, const void *arg);

// Begins a change of the stream's shards, which is made visible when it is due: at once, or while
// the stream is UPDATING for as long as changes take. It is sure to happen when this returns OK.
// `edit` (NULL: none) goes into the same commit. `changing` is held.
Err kinesis_reshard(struct kinesis *k, struct stream *s, const StreamChange *change,
                    StreamEdit *edit, const void *arg);

// Does what is due on a stream, if anything: a change of its shards, its end. `changing` is held.
Err kinesis_finish(struct kinesis *k, struct stream *s);

// When something that is under way now takes effect; the task of the chores.
int64_t kinesis_due_ms(const struct kinesis *k);
int64_t kinesis_run_chores(void *k);

// LimitExceededException if the account would have more open shards than it may.
Err kinesis_check_shards(struct call *c, size_t more);
Err kinesis_check_on_demand(struct call *c); // or one more stream in on-demand mode

// InvalidArgumentException unless the account may ask for that warm throughput, or for any.
Err kinesis_check_warm(struct call *c, int32_t mibps);
Err kinesis_require_commitment(struct call *c);        // blocks
Err kinesis_has_commitment(struct call *c, bool *ret); // blocks

// Puts a new stream into memory, or takes one out.
void kinesis_insert(struct kinesis *k, struct stream *take_s);
void kinesis_remove(struct kinesis *k, struct stream *s);

// The streams of the call's account and region are sorted[first .. first + n). `lock` is held.
void kinesis_realm(const struct kinesis *k, const struct call *c, size_t *ret_first, size_t *ret_n);

// "account/region": what a token of the caller is sealed for.
Str kinesis_realm_name(const struct call *c);

// Forgets a stream whose row says DELETING: its records, then its row. Blocks.
Err kinesis_forget(struct kinesis *k, struct stream *s);

// Declares every shard of the stream to the log, with the stream's retention.
Err kinesis_declare(struct kinesis *k, const struct stream *s);
// Ends shards in the log, whose records so far all lie below the ends that come back. Blocks.
Err kinesis_end_shards(struct kinesis *k, const uint64_t *ids, size_t n, LogPlace *ret_ends);
// After the first declaration: ends in the log what is closed in the row, if a crash came between.
Err kinesis_end_closed(struct kinesis *k, const struct stream *s);

// Records for other services (offer.c).
void kinesis_offer_init(struct kinesis *k);

// What the calls are about (targets.c).
extern const struct call_targets kinesis_targets;
struct op_members *kinesis_members_open(void); // free with free()

// The stream and region that an iterator was made for; absent: it is none of the call's account.
Str kinesis_iterator_stream(struct call *c, Str iterator);

// Resource policies (policies.c). `kinesis_policy`: a reference, or NULL.
Err kinesis_load_policies(struct kinesis *k);
struct policy *kinesis_policy(struct kinesis *k, Str arn);
void kinesis_policies_close(struct kinesis *k);
// Takes the policies of a stream and its consumers out of the store, in the caller's transaction,
// and, when that is committed, out of memory.
Err kinesis_del_policies(struct kinesis *k, struct kv_txn *tx, Str stream_arn);
void kinesis_drop_policies(struct kinesis *k, Str stream_arn);
// The same of one resource alone: a consumer.
Err kinesis_del_policy(struct kinesis *k, struct kv_txn *tx, Str arn);
void kinesis_drop_policy(struct kinesis *k, Str arn);

// Since the call came.
static inline int64_t kinesis_took_ns(const struct call *c)
{
    const struct kinesis *k = c->state;
    int64_t took_ns = k->env.io->wall_ns(k->env.io) - c->now_ns;
    return took_ns > 0 ? took_ns : 0;
}

// The names of metrics of shards, as bits say (meters.h). Never absent.
kinesis_MetricsNameList kinesis_shard_metrics(struct arena *a, unsigned bits);
// What CloudWatch's minute asks for; self is the `metrics` of a struct kinesis.
void kinesis_tell_metrics(struct metric_source *self, struct metric_sink *sink);

static inline int64_t kinesis_mono_ns(const struct kinesis *k)
{
    return k->env.io->mono_ns(k->env.io);
}

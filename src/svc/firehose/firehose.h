// SPDX-License-Identifier: Apache-2.0
// Amazon Data Firehose: the front door of deliveries (src/delivery). What the files of the room
// share: the table of delivery streams, how one is found for a call, and how its row is changed.
//
// Two locks. `changing` is held by an operation that changes a stream, from its checks to its
// commit, so that changes happen one after the other; `lock` guards what is in memory and is never
// held over I/O. Order: changing before lock before a stream's limit_lock.
#pragma once
#include "aws/call.h"
#include "base/map.h"
#include "delivery/delivery.h"
#include "gen/firehose_api.h"
#include "hub/chores.h"
#include "hub/commits.h"
#include "hub/service.h"
#include "svc/firehose/hose.h"

#include <stdatomic.h>

enum {
    CHANGERS_MAX = 8,          // operations that change streams or wait for their turn to
    HOSES_MAX = 5000,          // of an account in a region (API reference, CreateDeliveryStream)
    HOSES_WITH_KEYS_MAX = 500, // of them with keys of customers
    HOSE_NAMES_SHOWN = 10,
};
#define DESTINATION_ID "destinationId-000000000001" // a stream has one destination

struct firehose {
    struct service_env env;
    struct kv_table *rows; // firehose.streams
    struct kv_table *keys; // firehose.keys: data keys (crypt.h)
    struct deliveries *deliveries;
    unsigned char master[GCM_KEY_BYTES];
    bool has_master;       // under `changing`
    uint64_t id_secret[2]; // of record ids
    struct call_rates *call_rates;
    struct metric_source metrics;
    struct hose_lists lists;     // of calls that are of no stream
    struct commits *commits;     // of puts, a turn's together
    struct chores chores;        // the ends of streams that are being deleted
    pthread_mutex_t changing;    // by firehose_change_begin and _end
    pthread_cond_t forgotten;    // beside `changing`: a stream has gone, or not gone
    atomic_int changers;         // that hold it or wait for it
    pthread_mutex_t making_keys; // taken before everything else; for data keys alone
    pthread_rwlock_t lock;
    struct map *by_key;   // account/region/name -> struct hose, each with a reference
    struct hose **sorted; // by account, region, name
    size_t count;
};

// A stream and how it is now, with a reference to each. ResourceNotFoundException.
typedef struct HoseView {
    struct hose *hose;
    struct hose_state *state;
    const HoseFields *f; // of the state
} HoseView;
void hose_view_done(HoseView *v);
#define AUTO_VIEW(name) __attribute__((cleanup(hose_view_done))) HoseView name = { 0 }
Err firehose_find(struct call *c, Str name, HoseView *ret);
// Without a call; false: there is none.
typedef struct HoseName {
    Str account, region, name;
} HoseName;
bool firehose_look(struct firehose *f, struct arena *tmp, const HoseName *n, HoseView *ret);
// The present state of a stream that may have changed since, when `changing` is held.
void firehose_renew(struct firehose *f, HoseView *v);

Err firehose_not_found(struct call *c, Str name);

// Waits for the turn to change streams: `changing` is held when it returns OK, until _end.
// ThrottlingException: too many wait already.
Err firehose_change_begin(struct call *c);
void firehose_change_end(struct firehose *f);

// Commits the row with these fields, then puts them in place. `changing` is held.
Err firehose_change(struct firehose *f, struct hose *h, const HoseFields *fields);
// The row of a stream that is not in the table yet; `id` is new and becomes the stream's.
Err firehose_commit_new(struct firehose *f, struct hose *h, const HoseFields *fields);

// The streams of the account and region are sorted[first .. first + n). `lock` is held.
void firehose_realm(const struct firehose *f, Str account, Str region, size_t *ret_first,
                    size_t *ret_n);

// Puts a new stream into memory.
void firehose_insert(struct firehose *f, struct hose *take_h);

// Declares the stream's shard to the log and begins its delivery, as its state says.
Err firehose_begin(struct firehose *f, struct hose *h);
// The delivery goes on as the new state says.
Err firehose_reconfigure(struct firehose *f, struct hose *h);

// Ends a stream whose row says that it is being deleted: its delivery, its records, its row.
// Blocks, as long as an attempt at a destination takes; `changing` is not held. OK also if somebody
// else is at it.
Err firehose_forget(struct firehose *f, struct hose *h);
// The chores do it at that time.
void firehose_forget_at(struct firehose *f, int64_t due_ms);
// Waits for them for a few seconds. `changing` is held, and given to others meanwhile.
void firehose_wait_forgotten(struct firehose *f, struct hose *h);

static inline int64_t firehose_now_ms(const struct firehose *f)
{
    return f->env.io->wall_ns(f->env.io) / 1000000;
}

// Since the call came.
static inline int64_t firehose_took_ns(const struct call *c)
{
    const struct firehose *f = c->state;
    int64_t took_ns = f->env.io->wall_ns(f->env.io) - c->now_ns;
    return took_ns > 0 ? took_ns : 0;
}

// What the calls are about (targets.c).
extern const struct call_targets firehose_targets;
// AccessDeniedException unless the caller may give the role, or every one in the JSON, to the
// service; InvalidArgumentException unless the service may then assume it for the stream.
Err firehose_check_role(struct call *c, Str stream, Str role_arn);
Err firehose_check_roles(struct call *c, Str stream, const JsonValue *v);

void firehose_tell_metrics(struct metric_source *self, struct metric_sink *sink);

enum { FIREHOSE_PAGES = 2 };
extern const struct operator_page firehose_pages[FIREHOSE_PAGES]; // operate.c

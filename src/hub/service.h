// SPDX-License-Identifier: Apache-2.0
// What a service is to the server, and what the server is to a service. The list of services is
// made from src/svc/meson.build: each room there exports `const struct service <name>_service`.
#pragma once
#include "codec/json.h"

struct alarm_target;
struct api_service;
struct call;
struct call_elsewhere;
struct call_targets; // aws/call.h
struct hub;
struct keyring;
struct io;
struct kv;
struct log;
struct loop;
struct metric_hub;
struct pool;
struct RemoteBucket;

// What a service may use. Lives as long as the service.
struct service_env {
    struct io *io;
    struct kv *kv;
    struct log *log;
    struct pool *pool;   // for work that blocks
    struct loop **loops; // for timers; services may arm theirs on loops[0], from its own thread
    size_t loop_count;
    bool dev;                   // the profile dev
    double limits;              // shard limits: 1 as AWS has them, 2 twice as much, 0 off
    size_t shards_max;          // open shards of an account in a region; 0: as many as AWS allows
    size_t alarms_max;          // of an account in a region; 0: as many as AWS allows
    int64_t change_ns;          // how long making, changing and deleting takes; 0: no time
    struct hub *hub;            // what other services offer: looked at by calls, filled by open
    struct keyring *keys;       // who may sign; NULL where nobody calls (tools)
    Str data_dir;               // for files that are none of the stores'
    struct metric_hub *metrics; // where services tell theirs (hub/metrics.h); may be NULL
    // Of destinations of deliveries: no private addresses and no plain HTTP; any certificate will
    // do; who vouches for them (a file; absent: the system).
    bool public_destinations, unverified_destinations;
    Str destinations_ca;
    Str destinations_keys;  // a file: what requests to AWS's search domains are signed with
    bool destinations_sign; // those to all search domains
    Str destinations_gzip;  // "auto", "fast" or "small"; absent: auto
    const Str *domains;     // search domains by name or ARN: "NAME=URL"
    size_t domain_count;
    size_t destinations_bytes;          // memory of their batches; 0: half of that of requests
    struct alarm_target **targets;      // the first who does what alarms want; may be NULL
    int64_t restore_ns;                 // how long restoring an archived object takes
    const struct RemoteBucket *remotes; // buckets at other S3 endpoints (hub/remote_bucket.h)
    size_t remote_count;
};

// What an operator asks of a service beside AWS's API: a page of server/admin.h, for the root key
// alone.
struct operator_call {
    struct arena *arena; // of the request
    Str account, region, principal, access_key;
    int64_t now_ns;
    const JsonValue *body; // a map
};

struct operator_page {
    Str name; // below /_headrace/admin/
    // On the worker pool. JSON in `ret`; or an error, with a sentence for whoever asks in
    // ret_problem, if there is one: ERR_INVALID, ERR_NOT_FOUND; ERR_MEMORY and ERR_BUSY: not now.
    Err (*answer)(void *state, const struct operator_call *c, struct buf *ret, Str *ret_problem);
};

struct service {
    const struct api_service *api;
    const struct call_targets *targets; // what its calls are about; NULL: of the caller's account
    const struct operator_page *pages;  // NULL: none
    size_t page_count;
    // Its calls that block are short and many: they have a pool of their own, at normal priority,
    // so that they neither wait behind long work nor give way to it.
    bool prompt;
    // Whether a call of an operation that blocks will not: it then runs on the reactor. May leave
    // something in c->user, which the operation, that runs at once, takes. NULL: all block.
    bool (*is_quick)(struct call *c, const void *in);
    // Who runs a call of an operation that blocks, if not its own function (aws/call.h); NULL: it
    // does. What is returned lives as long as the service.
    const struct call_elsewhere *(*elsewhere)(struct call *c, const void *in);
    // Recovers its state from kv and declares its shards to the log; the log is made ready after
    // all services are open.
    Err (*open)(const struct service_env *env, void **ret_state);
    // A copy of the whole store begins, or has ended: meanwhile no file outside of kv and log goes
    // that rows have named. NULL: there are none.
    void (*hold)(void *state, bool on);
    // No more calls begin, those that run may go on: no work of its own on the pool or the log
    // after this returns. NULL: it does none.
    void (*stop)(void *state);
    void (*close)(void *state); // no call is running any more; NULL is fine
};

// SPDX-License-Identifier: Apache-2.0
// A server on loops of its own, for this room's tests, and the plainest of clients. Expectations
// are stated on the test's thread only.
#pragma once
#include "base/metric.h"
#include "base/test.h"
#include "http/server.h"
#include "os/io.h"

#include <pthread.h>
#include <stdatomic.h>

enum { RIG_LOOPS = 2, HELD_MAX = 64 };

// What the handler below was given and has not answered.
struct desk {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct http_exchange *held[HELD_MAX];
    size_t held_count;
    size_t requests;           // all that were handed up
    unsigned broken[HELD_MAX]; // statuses of refused requests
    size_t broken_count;
    size_t body_bytes_max; // the answer to body_max
    size_t digests;        // requests that came with the digest of their body, each compared
    bool declines_sha256;  // the answer to wants_sha256, negated
};

// Its request handler answers by path: /hold waits for the test (desk_wait), /stream answers with
// three pieces, /big with as many bytes as the query says, /broken-header with a header that holds
// a line end; anything else with "METHOD path query [body]".
struct http_handler desk_handler(struct desk *d);
// The n-th request that was held (from 0), once it has arrived.
struct http_exchange *desk_wait(struct desk *d, size_t n);
unsigned desk_wait_broken(struct desk *d, size_t n);
size_t desk_requests(struct desk *d);
size_t desk_digests(struct desk *d);

struct rig {
    struct desk desk;
    HttpConfig config; // filled by rig_init, may be changed before rig_start
    bool stands_still; // the time of the loops, but for rig_pass; set before rig_start
    struct io clock;
    _Atomic int64_t passed_ns;
    struct loop *loops[RIG_LOOPS];
    pthread_t threads[RIG_LOOPS];
    struct http_server *server;
    uint16_t port;
};

void rig_init(struct rig *r); // with desk_handler, and deadlines of half an hour
void rig_start(struct rig *r);
void rig_stop(struct rig *r); // drains
// So much time passes where it stands still. When it returns the loops have seen it: deadlines that
// are over have been told. Not while a handler holds its loop: then add to passed_ns.
void rig_pass(struct rig *r, int64_t ns);

int dial(const struct rig *r);
void connect_to(const struct rig *r, int fd);
void say(int fd, Str bytes);
Str hear(struct arena *a, int fd, size_t n);            // exactly n bytes
Str hear_head(struct arena *a, int fd);                 // to the empty line
Str hear_rest(struct arena *a, int fd);                 // until the server closes; closes fd
Str hear_reply(struct arena *a, int fd, Str *ret_head); // by its Content-Length: the body
void wait_until(bool (*is)(void *), void *of);          // checked every millisecond
int64_t metric_now(Str name, Str labels, MetricKind kind);

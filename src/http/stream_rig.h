// SPDX-License-Identifier: Apache-2.0
// A server whose handler takes bodies as they come and replies from sources, for this room's tests.
#pragma once
#include "http/test_rig.h"

enum { ENDS_MAX = 64 };

// By path: /take counts the body and answers "BYTES SUM TRAILERS"; /fail does so until it has
// query-many bytes and then has had enough; /refuse answers 403 without the body; /later holds the
// exchange for the test; /whole does not stream; /source sends query-many bytes; /cut breaks off
// in the middle of them; /file and /shorter do so from a file, but for some pieces, and the file of
// the latter ends too early.
struct stream_rig {
    struct rig r;
    struct pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool shut; // takes wait
    size_t takes, taken_bytes, largest;
    ErrKind ends[ENDS_MAX];
    size_t end_count;
    struct http_exchange *held;
    size_t read_bytes, closes; // of sources
    size_t placed_bytes;       // sent from a file, likewise
};

void stream_rig_init(struct stream_rig *s);
void stream_rig_start(struct stream_rig *s);
void stream_rig_stop(struct stream_rig *s);
void stream_shut(struct stream_rig *s, bool shut);
size_t stream_count(struct stream_rig *s, const size_t *which); // one of its numbers, now
ErrKind stream_wait_end(struct stream_rig *s, size_t n);        // of the n-th, from 0
struct http_exchange *stream_wait_held(struct stream_rig *s);
void stream_wait_closes(struct stream_rig *s, size_t n);
void stream_take(struct stream_rig *s, struct http_exchange *x); // what /take does

Str stream_bytes(struct arena *a, size_t n);                        // what is sent both ways
Str stream_answer(struct arena *a, size_t n, const char *trailers); // what /take answers to them

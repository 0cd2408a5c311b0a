// SPDX-License-Identifier: Apache-2.0
// A server on loops of its own, for this room's tests, and the plainest of clients. Expectations
// are stated on the test's thread only.
#pragma once
#include "base/test.h"
#include "http/server.h"

#include <pthread.h>

enum { RIG_LOOPS = 2 };

struct rig {
    HttpConfig config; // filled by rig_init, may be changed before rig_start
    struct loop *loops[RIG_LOOPS];
    pthread_t threads[RIG_LOOPS];
    struct http_server *server;
    uint16_t port;
};

void rig_init(struct rig *r, struct http_handler handler);
void rig_start(struct rig *r);
void rig_stop(struct rig *r); // drains

int dial(const struct rig *r);
void say(int fd, Str bytes);
Str hear(struct arena *a, int fd, size_t n); // exactly n bytes
Str hear_head(struct arena *a, int fd);      // to the empty line
Str hear_rest(struct arena *a, int fd);      // until the server closes

// SPDX-License-Identifier: Apache-2.0
// Readers of what is pushed, for the server and for what it is measured beside (push_raw.c).
#pragma once
#include "call.h"

#include <pthread.h>
#include <stdatomic.h>

enum { PUSH_TAIL_BYTES = 64 }; // kept between two reads, so that a stamp is never seen in halves

struct subscription {
    struct client *client;
    struct caller caller;
    char tail[PUSH_TAIL_BYTES];
    size_t tail_n;
};

struct readers { // one thread
    int epoll;
    char *buffer;
    const atomic_bool *stop;
    pthread_t thread;
};

bool push_start(struct readers *readers, unsigned n, const atomic_bool *stop);
bool push_add(struct readers *r, struct subscription *s); // connected; read from now on
// Until every client has as many records as `batches` says, or the time is over.
void push_wait(const struct options *o, const struct client *clients);
void push_stop(struct readers *readers, unsigned n); // `stop` is set

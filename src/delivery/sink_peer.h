// SPDX-License-Identifier: Apache-2.0
// A server of HTTP/1.1 for tests of destinations: every request is answered by a function of the
// test, on the peer's thread.
#pragma once
#include "base/test.h"
#include "delivery/sink.h"
#include "delivery/env.h"
#include "http/server.h"

#include <pthread.h>

enum { PEER_CONNECTIONS = 8, PEER_FAULT_BYTES = 256 };

typedef struct PeerRequest {
    Str method, target;
    const HttpHeader *headers; // names in lower case
    size_t header_count;
    Str body;
    size_t number; // from 0
} PeerRequest;

// All bytes of the reply; empty: the connection is cut instead; absent: it is kept silent.
typedef Str (*peer_answer)(void *of, struct arena *a, const PeerRequest *q);

struct peer {
    peer_answer answer;
    void *of;
    int listener, wake[2];
    uint16_t port;
    pthread_t thread;
    size_t requests;              // so far
    char fault[PEER_FAULT_BYTES]; // the first thing in a request that the protocol forbids
};

void peer_start(struct peer *p, peer_answer answer, void *of);
void peer_stop(struct peer *p); // fails the test if a request was wrong
Str peer_header(const PeerRequest *q, Str lower_name);
Str peer_reply(struct arena *a, unsigned status, Str type, Str body);
// Notes what is wrong; for the first one. Returns a reply with status 400.
Str peer_refuse(struct peer *p, struct arena *a, const char *what);

// The environment of a sink under test: plain HTTP, and sleeping is instant.
struct delivery_env peer_env(void);

// An attempt at records whose data these are, one after another, at positions from 100 on.
void peer_attempt(struct arena *a, const Str *data, size_t n, SinkAttempt *ret);

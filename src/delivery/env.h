// SPDX-License-Identifier: Apache-2.0
// What the parts of a delivery may use.
#pragma once
#include "base/str.h"

struct io;
struct kv;
struct log;
struct hub;
struct pool;

// What GZIP and ZIP may cost (delivery/deflate.h). Auto: much while there is time for it.
typedef enum DeliveryEffort { EFFORT_AUTO, EFFORT_FAST, EFFORT_SMALL } DeliveryEffort;

struct delivery_env {
    struct io *io;
    struct kv *kv;
    struct log *log;
    struct hub *hub;
    struct pool *compute; // a thread per core, nice: reads, compresses, writes objects
    struct pool *network; // many threads that wait for others
    bool plain_http;      // http:// and private addresses may be destinations (a setting)
    bool verify;          // certificates of https destinations
    Str ca_file;          // who vouches for them; absent: the system
    Str sign_keys;    // a file with the keys of AWS that requests to its domains are signed with
    bool sign_always; // whatever the host is
    DeliveryEffort effort;
    bool (*stopping)(const struct delivery_env *env);
    // Waits that long by the server's clock; false: the server stops.
    bool (*sleep)(const struct delivery_env *env, int64_t ns);
};

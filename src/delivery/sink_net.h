// SPDX-License-Identifier: Apache-2.0
// What destinations over HTTP share: where they are, connections that are kept, how long one waits
// after a failure.
#pragma once
#include "delivery/env.h"
#include "delivery/sink.h"
#include "http/client.h"

typedef struct SinkUrl {
    Str base;           // "https://host:port"
    Str target;         // path and query as they were given; "/" at least
    Str user, password; // decoded; absent: none
} SinkUrl;

// ERR_INVALID: the text says what is wrong. http:// only where the environment allows it.
Err sink_url_parse(const struct delivery_env *env, struct arena *a, Str url, SinkUrl *ret,
                   Str *ret_text);
// What stands in the target before its query, without the slash at its end, and the query.
void sink_url_split(Str target, Str *ret_path, Str *ret_query);

typedef enum SinkNet {
    NET_GOOD,
    NET_CONNECT, // nobody there, or not in time
    NET_TLS,
    NET_TIMEOUT, // connected, but no reply in time
    NET_RESET,   // connected, and broken off
    NET_LARGE,   // a reply beyond the limit
    NET_GARBLED, // no HTTP
} SinkNet;

// Connections to one server. From any thread.
struct sink_net;
typedef struct SinkNetLimits {
    int64_t connect_ns, total_ns; // of connecting, and of a whole call
    size_t reply_max;             // bytes
} SinkNetLimits;
Err sink_net_open(const struct delivery_env *env, Str base, const SinkNetLimits *limits,
                  struct sink_net **ret);
void sink_net_close(struct sink_net *n); // NULL is fine
AUTO_CLOSE(sink_net)

// A POST and its reply, which lives in the attempt's arena. *ret_text: what went wrong. When the
// attempt is to end the call does, too (NET_RESET).
SinkNet sink_net_call(struct sink_net *n, const SinkAttempt *at, Str target,
                      const HttpHeader *headers, size_t count, Str body, HttpReply *ret,
                      Str *ret_text);
// Waits by the server's clock; false: the attempt is to end.
bool sink_sleep(const struct delivery_env *env, const SinkAttempt *at, int64_t ns);
bool sink_is_over(const struct delivery_env *env, const atomic_bool *is_cut);

Str sink_header(const HttpReply *r, Str lower_name); // absent if there is none
// "application/json" of "Application/JSON; charset=utf-8", in lower case.
Str sink_media_type(struct arena *a, const HttpReply *r);

// 1 s, 2 s, 4 s, ... up to 120 s, each 15 % more or less (Firehose developer guide, "HTTP endpoint
// delivery request and response specifications", whose formula has the larger where the smaller is
// meant).
int64_t sink_back_off_ns(const struct delivery_env *env, int64_t attempts);

Str sink_uuid(const struct delivery_env *env, struct arena *a); // of version 4
Str sink_basic_auth(struct arena *a, Str user, Str password);   // "Basic dTpw"
// The text's beginning, at most so many bytes, cut between characters.
Str sink_excerpt(Str text, size_t max);

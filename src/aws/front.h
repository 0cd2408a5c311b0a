// SPDX-License-Identifier: Apache-2.0
// The front: turns an HTTP request into a call of an operation, and its result into a reply.
//
// It answers in AWS's order: method, body, content type, syntax, operation, signature, types,
// constraints, permission; only then does the operation run, on the reactor or, if it is marked
// `blocking`, on the pool. The target names service and operation, or the path does (Smithy's RPC),
// or a form (Query), whose service the credential scope names. Paths below /_ and those that were
// registered are pages of the server itself.
#pragma once
#include "aws/call.h"
#include "aws/keyring.h"
#include "http/server.h"

struct front;
struct io;

enum {
    FRONT_SERVICES_MAX = 256,
    FRONT_PAGES_MAX = 64,
    FRONT_BODY_BYTES_MAX = 7 << 20, // of requests whose operation is unknown
    FRONT_UNPACKED_MAX = 16,        // times its largest body is what a compressed one may hold
};

typedef struct FrontService {
    const struct api_service *api;
    void *state;                        // what the service's open function returned
    const struct call_targets *targets; // NULL: its calls are about "*" of the caller's account
    struct pool *pool;                  // for its operations that block; NULL: the front's
    bool (*is_quick)(struct call *c, const void *in); // hub/service.h; NULL: no call is
    const struct call_elsewhere *(*elsewhere)(struct call *c, const void *in); // NULL: nowhere
} FrontService;

// Everything is borrowed and outlives the front; strings and tables are copied.
typedef struct FrontConfig {
    struct io *io;
    struct io *clock; // the time that operations see; NULL: io. Signatures are held against io.
    struct keyring *keys;
    const FrontService *services;
    size_t service_count;
    struct pool *pool;     // for operations that block
    bool local_pages_only; // refuse calls from web pages that this machine does not serve
    // Who decides whether a call is permitted; NULL: everything is, in the caller's own account.
    const struct access_guard *guard;
} FrontConfig;

// ERR_INVALID: a service's table is wrong (two services with one target, a pattern that does not
// compile). ERR_LIMIT: too many services.
Err front_open(const FrontConfig *config, struct front **ret);
void front_close(struct front *f); // no call is running any more; NULL is fine
AUTO_CLOSE(front)

struct http_handler front_handler(struct front *f);

// A page of the server's own: GET and HEAD of this path, or of every path below it if it ends in
// '/'. `serve` replies, on the reactor's thread, without blocking. Before the server listens.
Err front_add_page(struct front *f, Str path, void (*serve)(void *self, struct http_exchange *x),
                   void *self);

// The same, with POST as well. A form that changes something guards itself against other sites.
Err front_add_form(struct front *f, Str path, void (*serve)(void *self, struct http_exchange *x),
                   void *self);

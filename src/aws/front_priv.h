// SPDX-License-Identifier: Apache-2.0
// The parts of the front: front.c decides, run.c runs, reply.c answers.
#pragma once
#include "aws/bind.h"
#include "aws/front.h"
#include "aws/sigv4.h"
#include "base/metric.h"

#include <stdatomic.h>

// One operation's series.
struct op_metrics {
    struct metric *good, *refused, *failed; // by status: 2xx, 4xx, 5xx
    struct metric *seconds;
    struct metric *scanned, *bound; // by how the request was read; NULL: the operation has one way
};

struct front_service {
    const struct api_service *api;
    void *state;
    const struct call_targets *targets;
    struct pool *pool; // for operations that block
    bool (*is_quick)(struct call *c, const void *in);
    const struct call_elsewhere *(*elsewhere)(struct call *c, const void *in);
    const struct protocol *json; // what its own content type is; NULL: it speaks no JSON
    size_t body_bytes_max;       // of any of its operations
    bool gzip;                   // one of them may come compressed
    struct op_metrics *metrics;  // beside api->ops
};

struct front_page {
    Str path;
    bool takes_post;
    void (*serve)(void *self, struct http_exchange *x);
    void *self;
};

struct front {
    struct io *io, *clock;
    struct keyring *keys;
    struct sigv4 *verifier;
    struct pool *pool;
    bool local_pages_only;
    const struct access_guard *guard;
    struct arena *arena; // tables and copies; dies with the front
    struct front_service *services;
    size_t service_count;
    bool speaks_query, speaks_rest; // a service does
    struct front_page pages[FRONT_PAGES_MAX];
    size_t page_count;
    struct metric *refused_for_memory;
    uint64_t id_seed; // of request ids, which must differ, not be secret
    _Atomic uint64_t id_count;
};

// One request on its way, in the exchange's arena. Gone once the reply is given.
struct front_call {
    struct call call; // first, so that one is the other
    struct front *front;
    struct http_exchange *x;
    const struct front_service *service; // NULL: the request names none
    const struct protocol *protocol;     // of the reply
    Str body;                            // the document: the body, unpacked, or a query string
    void *in, *out;
    const struct call_elsewhere *elsewhere; // who runs it; NULL: the operation
    Str id_2;                               // of the reply
    ArenaMark before_run; // what the operation allocates goes when its output is written
    struct task task;
    Err result;
    atomic_int parts; // of a call that waits: its return and its call_done
    bool streams;     // its reply is a stream of messages, and has begun
};

// ---- route.c
typedef enum RouteKind { ROUTE_TARGET, ROUTE_RPC, ROUTE_QUERY, ROUTE_REST } RouteKind;
typedef struct Route {
    RouteKind kind;
    const struct front_service *service; // NULL: none, or in a form: not known yet
    const struct api_op *op;             // NULL: none, or in a form: not known yet
    const struct protocol *protocol;     // NULL: none in this content type
    bool complete;                       // the target has both its parts
    bool broken, unserved;               // of REST: no URI; a query that stands for nothing here
} Route;
Route route_find(const struct front *f, const struct http_exchange *x); // by the head alone
// What a form's action and version name; the version may be absent.
void route_form(const struct front *f, Route *route, Str action, Str version);
size_t route_body_max(const struct front *f, const struct http_exchange *x);
const struct front_service *route_service(const struct front *f, Str target); // NULL: none
Str content_type_of(const struct http_exchange *x);                           // without parameters

// ---- front_rest.c
// Whether it is a request of REST.
bool rest_route(const struct front *f, const struct http_exchange *x, Route *ret);
// Whether it is signed for a service of REST, whatever its path.
bool rest_is_signed(const struct front *f, const struct http_exchange *x);
void rest_take(struct front_call *f, const Route *route);
// Whether the body of a request is taken as it comes.
bool rest_wants_stream(const struct front *f, const struct http_exchange *x);
// The body to whom the operation has named; the operation's result, or ERR_WAIT.
Err rest_take_body(struct front_call *f);
void rest_reply_output(struct front_call *f);

// ---- permit.c
// Whether the call, decoded and valid, is permitted; if not, it has been answered.
bool front_permits(struct front_call *f);

// The service itself has failed: the operation's own error for that, or that of all.
const struct api_error *front_failure(const struct api_op *op); // NULL: it has none
void front_failed(struct front_call *f);

// ---- run.c
struct pool *front_pool(const struct front_call *f); // where the call may block
void front_run(struct front_call *f);                // the input is decoded and valid

// ---- event_stream.c
extern const struct call_stream front_stream;
void stream_finish(struct front_call *f, Err e); // ends the exchange

// ---- reply.c
enum { HEADERS_MAX = 8 };
struct reply_headers {
    HttpHeader at[HEADERS_MAX];
    size_t n;
};
struct reply_headers reply_usual_headers(struct front_call *f, Str content_type);
// The same headers and those that the operation has recorded.
HttpHeader *reply_own_headers(struct front_call *f, HttpHeader *at, size_t *n);
void reply_release(struct front_call *f); // what the call holds beside its arena
void reply_account_for(struct front_call *f, unsigned status, Str type); // before the reply

// Each of these ends the exchange, but reply_stream, which begins a stream.
void reply_stream(struct front_call *f);
void reply_ids(struct front_call *f); // gives the call its request id
void reply_output(struct front_call *f);
Str reply_text(struct arena *a, Str text); // as UTF-8, whatever it quotes
void reply_error(struct front_call *f, unsigned status, Str type, Str message);
void reply_fault(struct front_call *f, const struct api_error *error, Str message); // of a model
void reply_type_error(struct front_call *f, Str message); // absent message: malformed
void reply_no_memory(struct front_call *f);               // the client may come again
void reply_xml(struct front_call *f, unsigned status, Str body);
// The envelope in which AWS answers plain application/json.
void reply_envelope(struct front_call *f, unsigned status, Str type);
void reply_preflight(struct front_call *f);

// SPDX-License-Identifier: Apache-2.0
// Which call a request is, and every reason for which it is none. The order of the checks is AWS's
// and can be seen by clients.
#include "aws/front_priv.h"
#include "aws/query.h"
#include "base/memory.h"
#include "codec/gzip.h"
#include "os/io.h"

#include <stdlib.h>
#include <string.h>

static const struct front_page *page_find(const struct front *f, Str path)
{
    if (path.n <= 1) // the path of nearly all calls
        return NULL;
    for (size_t i = 0; i < f->page_count; i++) {
        Str page = f->pages[i].path;
        if (str_eq(page, path) || (str_ends(page, S("/")) && str_starts(path, page)))
            return &f->pages[i];
    }
    return NULL;
}

// ---- The checks

// A request whose content type is neither of the two that are served.
static void refuse_content_type(struct front_call *f, Str content_type, bool target_complete)
{
    if (str_eq_nocase(content_type, S("application/json"))) {
        struct protocol_reader r;
        protocol_json_1_1.reader_init(&r, f->x->arena, f->x->body);
        Err e = bind_skip(&r);
        if (e.kind == ERR_MEMORY)
            reply_envelope(f, aws_ServiceUnavailable.status, aws_ServiceUnavailable.name);
        else if (e.kind == ERR_NONE)
            reply_envelope(f, 404, S("UnknownOperationException"));
        else
            reply_envelope(f, 400, aws_SerializationException.name);
    } else if (target_complete) {
        reply_xml(f, 404, S("<UnknownOperationException/>\n"));
    } else {
        reply_xml(f, 403,
                  S("<AccessDeniedException>\n  <Message>Unable to determine service/operation "
                    "name to be authorized</Message>\n</AccessDeniedException>\n"));
    }
}

static bool believe(struct front_call *f)
{
    struct front *front = f->front;
    Caller caller = { 0 };
    AuthFault fault = { 0 };
    Sigv4Want want = { .service = f->service->api->signing,
                       .now_ns = front->io->wall_ns(front->io) };
    Err e = sigv4_verify(front->verifier, f->x, &want, &caller, &fault);
    if (e.kind == ERR_MEMORY) {
        reply_no_memory(f);
        return false;
    }
    if (e.kind != ERR_NONE) {
        reply_error(f, 400, fault.type, fault.message);
        return false;
    }
    f->call.account = f->call.caller = caller.account;
    f->call.access_key = caller.access_key;
    f->call.region = caller.region;
    f->call.principal = caller.principal;
    return true;
}

static const struct op_metrics *metrics_of(const struct front_call *f)
{
    return &f->service->metrics[f->call.op - f->service->api->ops];
}

// Tries the short way: true if the input is complete and valid, false if nothing has happened.
static bool scan(struct front_call *f)
{
    const struct api_op *op = f->call.op;
    struct arena *a = f->x->arena;
    if (!op->scan || f->protocol->scan == NULL)
        return false;
    ArenaMark before = arena_mark(a);
    bool good = f->protocol->scan(op->input, a, f->body, f->in);
    if (!good) {
        arena_rewind(a, before);
        memset(f->in, 0, op->input->struct_bytes);
    }
    metric_add(good ? metrics_of(f)->scanned : metrics_of(f)->bound, 1);
    return good;
}

static void refuse_operation(struct front_call *f, Str text)
{
    struct protocol_reader r;
    f->protocol->reader_init(&r, f->x->arena, f->body);
    Err e = bind_skip(&r);
    if (e.kind == ERR_MEMORY)
        reply_no_memory(f);
    else if (e.kind != ERR_NONE)
        reply_type_error(f, (Str){ 0 });
    else
        reply_error(f, f->protocol == &protocol_rpc_cbor ? 404 : 400,
                    S("UnknownOperationException"), text);
}

// The document is read before the signature is checked, because a malformed one is reported first.
static void take_call(struct front_call *f)
{
    const struct api_op *op = f->call.op;
    struct arena *a = f->x->arena;
    struct protocol_reader r;
    Str type_fault = { 0 };

    if (op == NULL) {
        refuse_operation(f, (Str){ 0 });
        return;
    }
    f->in = arena_alloc(a, op->input->struct_bytes, _Alignof(max_align_t));
    if (scan(f)) {
        if (believe(f) && front_permits(f))
            front_run(f);
        return;
    }
    f->protocol->reader_init(&r, a, f->body);
    Err e = bind_decode(&r, op->input, a, f->in, &type_fault);
    if (e.kind == ERR_MEMORY) {
        reply_no_memory(f);
        return;
    }
    if (e.kind != ERR_NONE) {
        reply_type_error(f, (Str){ 0 });
        return;
    }
    if (!believe(f))
        return;
    if (type_fault.p != NULL) {
        reply_type_error(f, type_fault);
        return;
    }
    Str broken = bind_validate(op->input, f->in, a);
    if (broken.p != NULL) {
        reply_error(f, aws_ValidationException.status, aws_ValidationException.name, broken);
        return;
    }
    if (front_permits(f))
        front_run(f);
}

static void take_route(struct front_call *f, const Route *route)
{
    f->service = route->service;
    f->protocol = route->protocol;
    f->call.op = route->op;
    f->call.state = route->service != NULL ? route->service->state : NULL;
}

// What the client compressed, if it may. False: it has been answered.
static bool unpack(struct front_call *f, size_t bytes_max)
{
    if (f->body.n == 0 || !str_eq_nocase(http_header(f->x, S("content-encoding")), S("gzip")))
        return true;
    Err e = gzip_unpack(f->x->arena, f->body, bytes_max * FRONT_UNPACKED_MAX, &f->body);
    if (e.kind == ERR_MEMORY)
        reply_no_memory(f);
    else if (e.kind != ERR_NONE)
        reply_type_error(f, (Str){ 0 });
    return e.kind == ERR_NONE;
}

static void take_packed(struct front_call *f)
{
    const struct api_op *op = f->call.op;
    if (op == NULL || !op->gzip || unpack(f, op->body_bytes_max))
        take_call(f);
}

static void take_post(struct front_call *f, const Route *route)
{
    const struct http_exchange *x = f->x;
    if (x->body.n == 0) {
        if (f->protocol == NULL)
            f->protocol = &protocol_cbor_1_1;
        reply_error(f, 400,
                    f->call.op != NULL ? aws_SerializationException.name
                                       : S("UnknownOperationException"),
                    (Str){ 0 });
        return;
    }
    if (f->protocol == NULL) {
        refuse_content_type(f, content_type_of(x), route->complete);
        return;
    }
    take_packed(f);
}

// The action stands in the form, so that the operation is known only now.
static void take_form(struct front_call *f, Route *route)
{
    struct arena *a = f->x->arena;
    if (str_eq(f->x->method, S("GET")))
        f->body = f->x->query;
    else if (route->service != NULL && route->service->gzip &&
             !unpack(f, route->service->body_bytes_max))
        return;
    Str action = query_field(a, f->body, S("Action"));
    Str version = query_field(a, f->body, S("Version"));
    route_form(f->front, route, action, version);
    take_route(f, route);
    if (action.n == 0)
        reply_error(f, 400, S("MissingAction"), S("The request is missing an action."));
    else if (f->call.op == NULL)
        refuse_operation(f,
                         str_fmt(a, "Could not find operation %.*s for version %.*s", FMT(action),
                                 FMT(version.p != NULL ? version : S("NO_VERSION"))));
    else if (f->x->body.n > f->call.op->body_bytes_max)
        reply_xml(f, 413, S(""));
    else
        take_call(f);
}

static void serve_page(struct front *f, struct http_exchange *x, const struct front_page *page)
{
    static const HttpHeader plain[] = { { S_INIT("Content-Type"), S_INIT("text/plain") },
                                        { S_INIT("Allow"), S_INIT("GET, HEAD") } };
    static const HttpHeader form[] = { { S_INIT("Content-Type"), S_INIT("text/plain") },
                                       { S_INIT("Allow"), S_INIT("GET, HEAD, POST") } };
    (void)f;
    if (page == NULL)
        http_reply(x, 404, plain, 1, S("not found\n"));
    else if (!str_eq(x->method, S("GET")) && !str_eq(x->method, S("HEAD")) &&
             !(page->takes_post && str_eq(x->method, S("POST"))))
        http_reply(x, 405, page->takes_post ? form : plain, 2, S("not this method\n"));
    else
        page->serve(page->self, x);
}

// Whether a browser says that the page it calls for is another machine's. The name by which such a
// page reaches us says nothing: names can be made to point here after the page was loaded.
static bool is_foreign_page(const struct http_exchange *x)
{
    Str origin = http_header(x, S("origin")), host;
    size_t at = str_search(origin, S("://"));
    if (origin.p == NULL)
        return false;
    host = str_skip(origin, MIN(at + 3, origin.n)); // of "null" nothing is left
    size_t address = str_starts(host, S("[")) ? MIN(str_find(host, ']') + 1, host.n) : 0;
    host = str_head(host, address + str_find(str_skip(host, address), ':'));
    return !str_eq(host, S("localhost")) && !str_ends(host, S(".localhost")) &&
           !str_eq(host, S("127.0.0.1")) && !str_eq(host, S("[::1]"));
}

static struct front_call *call_begin(struct front *front, struct http_exchange *x)
{
    struct front_call *f = arena_new(x->arena, struct front_call, 1);
    f->front = front;
    f->x = x;
    f->body = x->body;
    f->call.arena = x->arena;
    f->call.loop = x->loop;
    f->call.exchange = x;
    f->call.now_ns = front->clock->wall_ns(front->clock);
    reply_ids(f);
    memory_tell();
    return f;
}

// Nothing of it is read but its headers: they say what the client asks for and understands.
static void refuse_for_memory(struct front_call *f, const Route *route)
{
    take_route(f, route);
    if (f->protocol == NULL)
        f->protocol = &protocol_json_1_1;
    reply_no_memory(f);
}

static void take_request(void *self, struct http_exchange *x)
{
    struct front *front = self;
    const struct front_page *page = page_find(front, x->path);
    if (front->local_pages_only && is_foreign_page(x)) {
        http_reply(x, 403, NULL, 0, S(""));
        return;
    }
    if ((page != NULL && !rest_is_signed(front, x)) || str_starts(x->path, S("/_"))) {
        serve_page(front, x, page);
        return;
    }
    struct front_call *f = call_begin(front, x);
    Route route = route_find(front, x);
    bool post = str_eq(x->method, S("POST"));
    if (memory_is_short()) { // what is under way is to end first
        refuse_for_memory(f, &route);
        return;
    }
    if (post || route.kind == ROUTE_QUERY || route.kind == ROUTE_REST)
        take_route(f, &route);
    if (route.kind == ROUTE_REST)
        rest_take(f, &route);
    else if (str_eq(x->method, S("OPTIONS")) && http_header(x, S("origin")).p != NULL)
        reply_preflight(f);
    else if (route.kind == ROUTE_QUERY)
        take_form(f, &route);
    else if (!post)
        refuse_content_type(f, (Str){ 0 }, false);
    else if (route.kind == ROUTE_RPC)
        take_packed(f);
    else
        take_post(f, &route);
}

static size_t body_max(void *self, const struct http_exchange *x)
{
    return route_body_max(self, x);
}

static bool wants_sha256(void *self, const struct http_exchange *x)
{
    const struct front *front = self;
    if (!str_eq(x->method, S("POST")) || str_starts(x->path, S("/_")) ||
        page_find(front, x->path) != NULL)
        return false;
    Route route = route_find(front, x);
    return route.protocol != NULL && route.service != NULL && route.kind != ROUTE_REST &&
           (route.op != NULL || route.kind == ROUTE_QUERY) &&
           sigv4_hashes_payload(front->verifier, x);
}

static bool wants_stream(void *self, const struct http_exchange *x)
{
    return rest_wants_stream(self, x);
}

// What never became a request. AWS sends its 413 chunked and empty.
static void broken(void *self, struct http_exchange *x, unsigned status)
{
    if (status == aws_ServiceUnavailable.status) {
        Route route = route_find(self, x);
        refuse_for_memory(call_begin(self, x), &route);
        return;
    }
    http_stream_start(x, status, NULL, 0);
    http_stream_end(x);
}

// ---- Opening

static struct metric *scan_metric(struct arena *tmp, Str service, Str op, const char *result)
{
    return metric_get(
        METRIC_COUNTER, S("headrace_scan_total"),
        S("Requests of operations with a short way past the binder, by the way taken."),
        str_fmt(tmp, "service=\"%.*s\",op=\"%.*s\",result=\"%s\"", FMT(service), FMT(op), result));
}

static struct op_metrics op_metrics_for(struct arena *tmp, Str service, const struct api_op *known)
{
    Str op = known->name;
    static const char *const codes[] = { "2xx", "4xx", "5xx" };
    struct op_metrics m = { 0 };
    struct metric **const by_code[] = { &m.good, &m.refused, &m.failed };
    for (size_t i = 0; i < COUNT_OF(codes); i++)
        *by_code[i] = metric_get(METRIC_COUNTER, S("headrace_requests_total"),
                                 S("Requests by operation and kind of status."),
                                 str_fmt(tmp, "service=\"%.*s\",op=\"%.*s\",code=\"%s\"",
                                         FMT(service), FMT(op), codes[i]));
    m.seconds = metric_get(METRIC_HISTOGRAM, S("headrace_request_seconds"),
                           S("From the last byte of a request to its reply."),
                           str_fmt(tmp, "service=\"%.*s\",op=\"%.*s\"", FMT(service), FMT(op)));
    if (known->scan) {
        m.scanned = scan_metric(tmp, service, op, "fast");
        m.bound = scan_metric(tmp, service, op, "full");
    }
    return m;
}

static Err add_service(struct front *f, const FrontService *s)
{
    const struct api_service *api = s->api;
    if (route_service(f, api->target) != NULL)
        return fail(ERR_INVALID, "two services have the same target");
    TRY(api_prepare(api));
    struct front_service *added = &f->services[f->service_count];
    *added = (struct front_service){
        .api = api,
        .state = s->state,
        .targets = s->targets,
        .pool = s->pool != NULL ? s->pool : f->pool,
        .is_quick = s->is_quick,
        .elsewhere = s->elsewhere,
        .json = (api->protocols & API_JSON_1_0) != 0   ? &protocol_json_1_0
                : (api->protocols & API_JSON_1_1) != 0 ? &protocol_json_1_1
                                                       : NULL,
        .metrics = arena_new(f->arena, struct op_metrics, api->op_count),
    };
    for (size_t i = 0; i < api->op_count; i++) {
        CHECK(i == 0 || str_cmp(api->ops[i - 1].name, api->ops[i].name) < 0);
        added->metrics[i] = op_metrics_for(f->arena, api->name, &api->ops[i]);
        added->body_bytes_max = MAX(added->body_bytes_max, api->ops[i].body_bytes_max);
        added->gzip = added->gzip || api->ops[i].gzip;
    }
    f->speaks_query = f->speaks_query || (api->protocols & API_QUERY) != 0;
    f->speaks_rest = f->speaks_rest || (api->protocols & API_REST_XML) != 0;
    f->service_count++;
    return OK;
}

Err front_open(const FrontConfig *config, struct front **ret)
{
    if (config->service_count > FRONT_SERVICES_MAX)
        return fail(ERR_LIMIT, "too many services");
    AUTO(front) f = xalloc(sizeof *f);
    f->arena = arena_open();
    f->io = config->io;
    f->clock = config->clock != NULL ? config->clock : config->io;
    f->keys = config->keys;
    f->pool = config->pool;
    f->local_pages_only = config->local_pages_only;
    f->guard = config->guard;
    f->refused_for_memory =
        metric_get(METRIC_COUNTER, S("headrace_memory_refused_total"),
                   S("Requests refused with 503 because there was no memory for them."), S(""));
    f->io->random(f->io, &f->id_seed, sizeof f->id_seed);
    sigv4_open(f->keys, &f->verifier);
    f->services = arena_new(f->arena, struct front_service, MAX(config->service_count, 1u));
    for (size_t i = 0; i < config->service_count; i++)
        TRY(add_service(f, &config->services[i]));
    *ret = f;
    f = NULL; // the caller's now
    return OK;
}

void front_close(struct front *f)
{
    if (f == NULL)
        return;
    sigv4_close(f->verifier);
    arena_close(f->arena);
    free(f);
}

struct http_handler front_handler(struct front *f)
{
    return (struct http_handler){ .self = f,
                                  .body_max = body_max,
                                  .wants_sha256 = wants_sha256,
                                  .wants_stream = wants_stream,
                                  .request = take_request,
                                  .broken = broken };
}

static Err add_page(struct front *f, const struct front_page *page)
{
    CHECK(page->path.n > 1);
    if (f->page_count == FRONT_PAGES_MAX)
        return fail(ERR_LIMIT, "too many pages");
    struct front_page *added = &f->pages[f->page_count++];
    *added = *page;
    added->path = str_dup(f->arena, page->path);
    return OK;
}

Err front_add_page(struct front *f, Str path, void (*serve)(void *self, struct http_exchange *x),
                   void *self)
{
    return add_page(f, &(struct front_page){ .path = path, .serve = serve, .self = self });
}

Err front_add_form(struct front *f, Str path, void (*serve)(void *self, struct http_exchange *x),
                   void *self)
{
    return add_page(
        f, &(struct front_page){ .path = path, .takes_post = true, .serve = serve, .self = self });
}

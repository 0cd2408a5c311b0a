// SPDX-License-Identifier: Apache-2.0
// REST requests, in S3's order: who asks, what for, the body against what is said of it, its
// syntax, permission. Its sender is known before anything of a body is read.
#include "aws/bind_priv.h"
#include "aws/body.h"
#include "aws/front_priv.h"
#include "aws/rest.h"
#include "aws/sigv2.h"
#include "base/logline.h"
#include "base/time.h"
#include "os/io.h"

#include <stdlib.h>

enum {
    REST_WHOLE_BYTES = 256 << 10, // bodies up to here are taken and given at once
    REST_SHARED_BYTES = 16 << 10, // payloads in memory are not copied from here on
};

// ---- Whether a request is one

static const struct front_service *rest_service(const struct front *f, Str signing)
{
    for (size_t i = 0; i < f->service_count; i++) {
        const struct api_service *api = f->services[i].api;
        if ((api->protocols & API_REST_XML) != 0 &&
            (signing.p == NULL || str_eq(api->signing, signing)))
            return &f->services[i];
    }
    return NULL;
}

static Str host_of(const struct http_exchange *x)
{
    Str host = http_header(x, S("host"));
    return host.p != NULL ? host : http_header(x, S(":authority"));
}

// Without any signature a request is for whoever takes such: what is like nothing else.
static bool may_be_unsigned(const struct http_exchange *x)
{
    if (rest_host_is_s3(host_of(x)))
        return true;
    if (str_eq(x->path, S("/")) || str_starts(x->path, S("/_")))
        return false;
    if (!str_eq(x->method, S("POST")))
        return true;
    return str_starts(content_type_of(x), S("multipart/form-data")) || x->query.n > 0;
}

bool rest_is_signed(const struct front *f, const struct http_exchange *x)
{
    Str scope = f->speaks_rest ? sigv4_scope_service(x) : (Str){ 0 };
    return scope.n > 0 && rest_service(f, scope) != NULL;
}

bool rest_route(const struct front *f, const struct http_exchange *x, Route *ret)
{
    if (!f->speaks_rest)
        return false;
    Str scope = sigv4_scope_service(x);
    const struct front_service *service = NULL;
    if (scope.n > 0)
        service = rest_service(f, scope);
    else if (sigv2_is(x) || (http_header(x, S("authorization")).p == NULL && may_be_unsigned(x)))
        service = rest_service(f, (Str){ 0 });
    if (service == NULL)
        return false;
    *ret = (Route){ .kind = ROUTE_REST, .service = service, .protocol = &protocol_rest_xml };
    RestRequest r;
    ret->broken = rest_request(x->arena, x, &r).kind != ERR_NONE;
    if (!ret->broken)
        rest_match(service->api, &r);
    ret->op = r.op;
    ret->unserved = r.unserved;
    return true;
}

// ---- Who asks

static void refuse_signature(struct front_call *f, const AuthFault *fault)
{
    struct call *c = &f->call;
    bool presigned = http_header(f->x, S("authorization")).p == NULL;
    const struct api_error *error =
        presigned ? &rest_AuthorizationQueryParametersError : &rest_AuthorizationHeaderMalformed;
    Str text = fault->message;
    switch (fault->why) {
    case AUTH_KEY:
        error = &rest_InvalidAccessKeyId;
        text = S("The AWS Access Key Id you provided does not exist in our records.");
        call_detail(c, S("AWSAccessKeyId"), fault->access_key);
        break;
    case AUTH_TOKEN:
        error = &rest_InvalidToken;
        text = S("The provided token is malformed or otherwise invalid.");
        break;
    case AUTH_TOKEN_OLD:
        error = &rest_ExpiredToken;
        text = S("The provided token has expired.");
        break;
    case AUTH_SKEW:
        error = &rest_RequestTimeTooSkewed;
        text = S("The difference between the request time and the current time is too large.");
        call_detail(c, S("ServerTime"), time_iso_ms(c->arena, c->now_ns));
        call_detail(c, S("MaxAllowedSkewMilliseconds"), S("900000"));
        break;
    case AUTH_EXPIRED:
        error = &rest_AccessDenied;
        text = S("Request has expired");
        call_detail(c, S("Expires"), time_iso_ms(c->arena, fault->expired_ns));
        call_detail(c, S("ServerTime"), time_iso_ms(c->arena, c->now_ns));
        break;
    case AUTH_NOT_SIGNED:
        error = &rest_AccessDenied;
        if (fault->headers.p != NULL)
            call_detail(c, S("HeadersNotSigned"), fault->headers);
        break;
    case AUTH_NO_HASH:
        error = &rest_InvalidRequest;
        break;
    case AUTH_BAD_HASH:
        error = &rest_InvalidArgument;
        break;
    case AUTH_MISMATCH:
        error = &rest_SignatureDoesNotMatch;
        text = S(REST_MISMATCH_TEXT);
        call_detail(c, S("AWSAccessKeyId"), fault->access_key);
        call_detail(c, S("StringToSign"), fault->string_to_sign);
        call_detail(c, S("SignatureProvided"), fault->provided);
        if (fault->canonical.p != NULL)
            call_detail(c, S("CanonicalRequest"), fault->canonical);
        break;
    default:
        break;
    }
    reply_fault(f, error, text);
}

// Whoever does not sign is nobody, whom only resources themselves can let in; in the profile dev,
// which believes everybody, the root of the first account.
static void take_nobody(struct front_call *f, Sigv4Payload *payload)
{
    struct call *c = &f->call;
    bool everybody = f->front->guard == NULL;
    c->account = c->caller = everybody ? S("000000000000") : S("");
    c->principal = everybody ? S("arn:aws:iam::000000000000:root") : S("");
    c->access_key = S("");
    c->region = S("us-east-1");
    *payload = (Sigv4Payload){ 0 };
    Str stated = http_header(f->x, S("x-amz-content-sha256"));
    if (stated.p != NULL && !sigv4_payload_named(stated, payload))
        *payload = (Sigv4Payload){ 0 };
    payload->verified = payload->kind == PAYLOAD_HASH;
}

static bool believe(struct front_call *f, Sigv4Payload *payload)
{
    struct front *front = f->front;
    Caller caller = { 0 };
    AuthFault fault = { 0 };
    // Browsers ask about a signed link before they use it: its signature is not of that request.
    if (str_eq(f->x->method, S("OPTIONS"))) {
        take_nobody(f, payload);
        return true;
    }
    Sigv4Want want = { .service = f->service->api->signing,
                       .now_ns = front->io->wall_ns(front->io),
                       .declared = true };
    Err e = sigv2_is(f->x) ? sigv2_verify(front->keys, f->x, rest_host_bucket(host_of(f->x)),
                                          want.now_ns, &caller, &fault)
                           : sigv4_verify(front->verifier, f->x, &want, &caller, &fault);
    if (e.kind == ERR_MEMORY) {
        reply_no_memory(f);
        return false;
    }
    if (e.kind != ERR_NONE && fault.why == AUTH_MISSING) {
        take_nobody(f, payload);
        return true;
    }
    if (e.kind != ERR_NONE) {
        refuse_signature(f, &fault);
        return false;
    }
    f->call.account = f->call.caller = caller.account;
    f->call.access_key = caller.access_key;
    f->call.region = caller.region;
    f->call.principal = caller.principal;
    *payload = caller.payload;
    return true;
}

// ---- The body

// Gathers a body that is a document.
struct gatherer {
    struct call_sink sink;
    struct buf body;
};

static Err gather(struct call *c, struct call_sink *s, Str piece)
{
    struct gatherer *g = (struct gatherer *)s;
    (void)c;
    buf_add(&g->body, piece);
    return buf_err(&g->body);
}

// False: it has been answered.
static bool failed(struct front_call *f, Err e)
{
    if (e.kind == ERR_NONE)
        return false;
    if (e.kind == ERR_FAULT && f->call.error != NULL)
        reply_fault(f, f->call.error, f->call.error_text);
    else if (e.kind == ERR_MEMORY)
        reply_no_memory(f);
    else
        reply_fault(f, &rest_InternalError,
                    S("We encountered an internal error. Please try again."));
    return true;
}

static Err take_document(struct front_call *f, Str *ret)
{
    struct gatherer g = { .sink = { .take = gather } };
    buf_init_request(&g.body, f->call.op->body_bytes_max);
    Err e = body_push(&f->call, f->x->body, &g.sink);
    if (e.kind == ERR_NONE)
        e = body_end(&f->call);
    if (e.kind == ERR_NONE)
        e = str_dup_try(f->x->arena, buf_str(&g.body), ret);
    buf_done(&g.body);
    return e;
}

// A body that comes in pieces, on threads of the pool, after the operation has returned.
struct pump {
    struct http_sink sink;
    struct front_call *f;
};

static Err pump_take(struct http_sink *s, Str piece)
{
    struct front_call *f = ((struct pump *)s)->f;
    return body_push(&f->call, piece, f->call.sink);
}

// What http says of a body that did not come to its end.
static Err broken_off(struct call *c, Err e)
{
    switch (e.kind) {
    case ERR_TIMEOUT:
        return call_fail(c, &rest_RequestTimeout,
                         "Your socket connection to the server was not read from or written to "
                         "within the timeout period. Idle connections will be closed.");
    case ERR_CLOSED:
    case ERR_INVALID:
        return call_fail(c, &rest_IncompleteBody, "The request body terminated unexpectedly");
    case ERR_LIMIT:
        return call_fail(c, &rest_EntityTooLarge,
                         "Your proposed upload exceeds the maximum allowed size");
    default:
        return e;
    }
}

static void pump_end(struct http_sink *s, Err e)
{
    struct front_call *f = ((struct pump *)s)->f;
    struct call *c = &f->call;
    if (e.kind == ERR_NONE)
        e = body_end(c);
    else if (e.kind != ERR_FAULT)
        e = broken_off(c, e);
    call_done(c, c->sink->end(c, c->sink, e));
}

Err rest_take_body(struct front_call *f)
{
    struct call *c = &f->call;
    if (f->x->streams) {
        struct pump *p = arena_new(f->x->arena, struct pump, 1);
        *p = (struct pump){ .sink = { .take = pump_take, .end = pump_end }, .f = f };
        http_body_pump(f->x, front_pool(f), &p->sink);
        return call_wait(c);
    }
    Err e = body_push(c, f->x->body, c->sink);
    if (e.kind == ERR_NONE)
        e = body_end(c);
    return c->sink->end(c, c->sink, e);
}

bool rest_wants_stream(const struct front *f, const struct http_exchange *x)
{
    Route route;
    uint64_t bytes;
    Str length = http_header(x, S("content-length"));
    bool waits = str_eq_nocase(http_header(x, S("expect")), S("100-continue"));
    if (!waits && length.p != NULL && str_u64(length, &bytes).kind == ERR_NONE &&
        bytes <= REST_WHOLE_BYTES)
        return false; // as quick, and one turn less; who waits to hear whether to send it hears it
                      // first
    if (!rest_route(f, x, &route))
        return false;
    return route.op != NULL ? route.op->streams : waits;
}

// ---- The input

static void refuse_value(struct front_call *f, const RestRequest *r, const struct member *m)
{
    struct call *c = &f->call;
    if (r->fault_place == PLACE_DOCUMENT || r->fault_place == PLACE_PAYLOAD ||
        r->fault_place == PLACE_ATTRIBUTE) {
        reply_fault(f, &rest_MalformedXML, S(REST_MALFORMED_TEXT));
        return;
    }
    call_detail(c, S("ArgumentName"), r->fault_name);
    call_detail(c, S("ArgumentValue"), r->fault_value);
    bool number = m != NULL && (m->shape->kind == SHAPE_INT || m->shape->kind == SHAPE_LONG);
    if (number)
        reply_fault(f, &rest_InvalidArgument,
                    str_fmt(c->arena, "Provided %.*s not an integer or within integer range",
                            FMT(r->fault_name)));
    else
        reply_fault(f, &rest_InvalidArgument, S("Invalid argument"));
}

static const struct member *member_called(const struct shape *shape, Str called)
{
    for (size_t i = 0; i < shape->member_count; i++)
        if (str_eq(shape->members[i].called, called))
            return &shape->members[i];
    return NULL;
}

// Whether something that is required is not there, and is part of the body.
static bool lacks_body(const struct shape *shape, const void *in)
{
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        if (m->required && m->place == PLACE_PAYLOAD && !bind_given(in, m))
            return true;
    }
    return false;
}

static bool decode(struct front_call *f, RestRequest *r)
{
    const struct shape *input = f->call.op->input;
    struct protocol_reader reader;
    Str type_fault = { 0 };
    rest_reader(&reader, r);
    Err e = bind_decode(&reader, input, f->x->arena, f->in, &type_fault);
    if (e.kind == ERR_MEMORY) {
        reply_no_memory(f);
        return false;
    }
    if (e.kind != ERR_NONE || type_fault.p != NULL) {
        reply_fault(f, &rest_MalformedXML, S(REST_MALFORMED_TEXT));
        return false;
    }
    if (r->fault) {
        refuse_value(f, r, member_called(input, r->fault_name));
        return false;
    }
    if (lacks_body(input, f->in)) {
        reply_fault(f, &rest_MissingRequestBodyError, S("Request Body is empty"));
        return false;
    }
    Str broken = bind_validate(input, f->in, f->x->arena);
    if (broken.p == NULL)
        return true;
    bool document = r->body.n > 0 && !f->call.op->streams;
    reply_fault(f, document ? &rest_MalformedXML : &rest_InvalidArgument,
                document ? S(REST_MALFORMED_TEXT) : broken);
    return false;
}

// ---- The request

static void refuse_operation(struct front_call *f, const Route *route)
{
    if (route->broken)
        reply_fault(f, &rest_InvalidURI, S("Couldn't parse the specified URI."));
    else if (route->unserved)
        reply_fault(f, &rest_NotImplemented,
                    S("A header or query you provided implies functionality that is not "
                      "implemented"));
    else {
        call_detail(&f->call, S("Method"), f->x->method);
        reply_fault(f, &rest_MethodNotAllowed,
                    S("The specified method is not allowed against this resource."));
    }
}

void rest_take(struct front_call *f, const Route *route)
{
    Sigv4Payload payload;
    RestRequest r;
    struct call *c = &f->call;
    if (!believe(f, &payload))
        return;
    if (c->op == NULL) {
        refuse_operation(f, route);
        return;
    }
    f->in = arena_alloc(f->x->arena, c->op->input->struct_bytes, _Alignof(max_align_t));
    if (failed(f, rest_request(f->x->arena, f->x, &r)))
        return;
    r.op = c->op;
    r.body = S("");
    Err e = body_open(c, f->x, &payload);
    explicit_bzero(&payload.key, sizeof payload.key);
    if (failed(f, e) || (!c->op->streams && failed(f, take_document(f, &r.body))))
        return;
    f->body = r.body;
    if (decode(f, &r) && front_permits(f))
        front_run(f);
}

// ---- The reply

// A small payload that comes from elsewhere.
static Err read_source(struct call_source *s, struct buf *body)
{
    for (uint64_t left = s->bytes; left > 0;) {
        size_t got = 0;
        if (!buf_reserve(body, (size_t)left))
            return buf_err(body);
        TRY(s->read(s, body->p + body->n, (size_t)left, &got));
        if (got == 0)
            return fail(ERR_CORRUPT, "a payload is shorter than it should be");
        body->n += got;
        left -= got;
    }
    return OK;
}

// A large one, as the client takes it; the source may outlive the call.
struct outflow {
    struct http_source source;
    struct call_source *from;
};

static Err outflow_read(struct http_source *s, char *p, size_t n, size_t *ret_n)
{
    struct call_source *from = ((struct outflow *)s)->from;
    return from->read(from, p, n, ret_n);
}

static void outflow_place(struct http_source *s, size_t n, IoSpan *ret_span)
{
    struct call_source *from = ((struct outflow *)s)->from;
    from->place(from, n, ret_span);
}

static void outflow_close(struct http_source *s)
{
    struct call_source *from = ((struct outflow *)s)->from;
    from->close(from);
    free(s);
}

static void source_release(void *owner)
{
    struct call_source *from = owner;
    from->close(from);
}

static void send(struct front_call *f, unsigned status, const RestReply *reply, struct buf *body)
{
    struct call_source *from = f->call.source;
    reply_account_for(f, status, S(""));
    if (from != NULL && from->memory.n >= REST_SHARED_BYTES) {
        f->call.source = NULL; // http's from here on
        reply_release(f);
        http_reply_share(f->x, status, reply->headers, reply->header_count, from->memory,
                         source_release, from);
        return;
    }
    bool whole = from == NULL || from->bytes <= REST_WHOLE_BYTES;
    Err e = from != NULL && whole ? read_source(from, body) : OK;
    if (e.kind != ERR_NONE) {
        LOG(LOG_ERROR, "an object could not be read", F_ERR(e),
            F_STR("request_id", f->call.request_id));
        reply_fault(f, &rest_InternalError,
                    S("We encountered an internal error. Please try again."));
        return;
    }
    struct pool *pool = front_pool(f);
    if (!whole)
        f->call.source = NULL; // http's from here on
    reply_release(f);
    if (whole) {
        http_reply_take(f->x, status, reply->headers, reply->header_count, body);
        return;
    }
    struct outflow *o = xalloc(sizeof *o);
    *o = (struct outflow){ .source = { .read = outflow_read,
                                       .place = from->place != NULL ? outflow_place : NULL,
                                       .close = outflow_close },
                           .from = from };
    http_reply_source(f->x, pool, status, reply->headers, reply->header_count, from->bytes,
                      &o->source);
}

void rest_reply_output(struct front_call *f)
{
    const struct call *c = &f->call;
    struct arena *a = f->x->arena;
    struct reply_headers usual;
    AUTO_BUF(body);
    RestReply reply = { 0 };
    reply.headers = arena_new(a, HttpHeader, rest_header_max(c->op, f->out) + HEADERS_MAX);
    rest_write_reply(f->service->api, c->op, f->out, a, &reply, &body);
    if (buf_err(&body).kind != ERR_NONE) {
        reply_no_memory(f);
        return;
    }
    usual = reply_usual_headers(f, reply.content_type);
    for (size_t i = 0; i < usual.n; i++)
        reply.headers[reply.header_count++] = usual.at[i];
    reply.headers = reply_own_headers(f, reply.headers, &reply.header_count);
    send(f, c->status != 0 ? c->status : c->op->status, &reply, &body);
}

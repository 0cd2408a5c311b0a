// SPDX-License-Identifier: Apache-2.0
#include "server/functions.h"
#include "aws/call.h"
#include "base/logline.h"
#include "base/time.h"
#include "codec/json.h"
#include "http/client.h"
#include "hub/hub.h"
#include "os/io.h"

#include <stdatomic.h>
#include <stdlib.h>

enum {
    CONNECT_SECONDS_MAX = 10,
    ERROR_BYTES_MAX = 256 << 10, // of a reply that is looked at for being an error
    TEXT_SHOWN_MAX = 512,
};

typedef struct Endpoint {
    Str name;         // as it was configured
    Str base, target; // "http://host:port", "/path"; absent target: Lambda's own path
} Endpoint;

struct functions {
    FunctionsConfig config;
    struct arena *arena;
    Endpoint *endpoints;
    atomic_bool stopped;
    struct hub_invoke offer;
};

// ---- The configuration

static Err parse_endpoint(struct functions *f, Str given, Endpoint *ret, Str *ret_why)
{
    struct arena *a = f->arena;
    Str url, scheme = S("https://");
    *ret_why = S("it must be NAME=URL");
    if (!str_cut(given, '=', &ret->name, &url) || ret->name.n == 0 || url.n == 0)
        return fail(ERR_INVALID, "a function's endpoint is malformed");
    if (str_starts(url, S("http://")))
        scheme = S("http://");
    else if (!str_starts(url, scheme)) {
        *ret_why = S("the URL must begin with http:// or https://");
        return fail(ERR_INVALID, "a function's endpoint is malformed");
    }
    Str rest = str_skip(url, scheme.n);
    size_t path = str_find(rest, '/');
    ret->name = str_dup(a, ret->name);
    ret->base = str_cat(a, scheme, str_head(rest, path));
    if (rest.n - path > 1)
        ret->target = str_dup(a, str_skip(rest, path));
    HttpClientConfig probe = { .url = ret->base, .timeout_ns = NS_PER_S, .io = f->config.io };
    AUTO(http_client) c = NULL;
    Err e = http_client_open(&probe, &c); // connects with its first call
    if (e.kind == ERR_INVALID)
        *ret_why = str_of(e.text);
    return e;
}

static Err invoke(void *self, struct arena *a, const HubActor *as, Str arn, Str payload,
                  int64_t timeout_ns, HubInvokeAnswer *ret);

static bool is_known(void *self, Str arn);

Err functions_open(const FunctionsConfig *config, struct arena *a, struct functions **ret,
                   Str *ret_problem)
{
    AUTO(functions) f = xalloc(sizeof *f);
    f->config = *config;
    f->arena = arena_open();
    f->endpoints = arena_new(f->arena, Endpoint, config->n);
    f->offer = (struct hub_invoke){ .self = f, .call = invoke, .known = is_known };
    for (size_t i = 0; i < config->n; i++) {
        Str why = { 0 };
        Err e = parse_endpoint(f, config->endpoints[i], &f->endpoints[i], &why);
        if (e.kind != ERR_NONE) {
            *ret_problem = str_fmt(a, "functions.endpoints: \"%.*s\": %.*s",
                                   FMT(config->endpoints[i]), FMT(why));
            return e;
        }
    }
    *ret = f;
    f = NULL; // handed over
    return OK;
}

void functions_stop(struct functions *f)
{
    if (f != NULL)
        atomic_store(&f->stopped, true);
}

void functions_close(struct functions *f)
{
    if (f == NULL)
        return;
    arena_close(f->arena);
    free(f);
}

const struct hub_invoke *functions_offer(const struct functions *f)
{
    return &f->offer;
}

// ---- Which endpoint

// arn:aws:lambda:region:account:function:NAME[:QUALIFIER]; anything else is a name.
static void take_apart(Str arn, Str *ret_name, Str *ret_qualified, Str *ret_unqualified)
{
    Str rest = arn, part;
    *ret_unqualified = *ret_qualified = *ret_name = arn;
    if (str_starts(arn, S("arn:")))
        for (size_t i = 0; i < 6; i++)
            if (!str_cut(rest, ':', &part, &rest))
                return;
    *ret_qualified = rest;
    *ret_name = str_head(rest, str_find(rest, ':'));
    *ret_unqualified = str_head(arn, arn.n - (rest.n - ret_name->n));
}

// The one that says most of what is asked for.
static const Endpoint *find(const struct functions *f, Str arn, Str *ret_name)
{
    Str qualified, unqualified;
    take_apart(arn, ret_name, &qualified, &unqualified);
    const Str wanted[] = { arn, unqualified, qualified, *ret_name };
    for (size_t k = 0; k < COUNT_OF(wanted); k++)
        for (size_t i = 0; i < f->config.n; i++)
            if (str_eq(f->endpoints[i].name, wanted[k]))
                return &f->endpoints[i];
    return NULL;
}

static bool is_known(void *self, Str arn)
{
    Str name;
    return find(self, arn, &name) != NULL;
}

// ---- Who may

static bool may_invoke(const struct functions *f, struct arena *a, const HubActor *as, Str arn,
                       Str *ret_text)
{
    const struct access_guard *guard = f->config.hub != NULL ? f->config.hub->access : NULL;
    if (guard == NULL || f->config.dev)
        return true;
    static const struct api_op op = { .name = S_INIT("Invoke") };
    struct call *c = arena_new(a, struct call, 1);
    *c = (struct call){ .arena = a,
                        .op = &op,
                        .account = as->account,
                        .caller = as->account,
                        .region = as->region,
                        .access_key = S(""),
                        .role = as->role_arn,
                        .service = as->service,
                        .source_arn = as->source_arn,
                        .request_id = S(""),
                        .principal = hub_actor_principal(a, as),
                        .now_ns = f->config.io->wall_ns(f->config.io) };
    AccessTarget t = { .action = S("lambda:InvokeFunction"),
                       .resource = arn,
                       .account = as->account };
    return guard->may(guard->self, c, &t, ret_text);
}

static bool is_lent(const struct functions *f, const HubActor *as)
{
    const struct hub_identities *identities = f->config.hub->identities;
    return as->role_arn.n == 0 || identities == NULL || identities->lends(identities->self, as);
}

// ---- Calling

static bool is_stopped(void *of)
{
    const struct functions *f = of;
    return atomic_load(&f->stopped);
}

static bool has_function_error(const HttpReply *r)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (str_eq(r->headers[i].name, S("x-amz-function-error")))
            return true;
    return false;
}

// The runtime interface emulator answers a function's error with 200, and with nothing but it.
static bool is_error_document(Str body)
{
    AUTO(arena) tmp = arena_open();
    JsonValue *v = NULL;
    if (body.n > ERROR_BYTES_MAX || json_parse(tmp, body, &v).kind != ERR_NONE)
        return false;
    return json_text(v, S("errorMessage")).p != NULL && json_text(v, S("errorType")).p != NULL;
}

static HubInvokeFault fault_of(const HttpReply *r)
{
    if (r->status >= 200 && r->status < 300)
        return has_function_error(r) || is_error_document(r->body) ? HUB_INVOKE_FAILED
                                                                   : HUB_INVOKE_GOOD;
    switch (r->status) {
    case 401:
    case 403:
        return HUB_INVOKE_DENIED;
    case 404:
        return HUB_INVOKE_NOT_FOUND;
    case 413:
        return HUB_INVOKE_TOO_LARGE;
    case 429:
        return HUB_INVOKE_THROTTLED;
    default:
        return r->status >= 500 ? HUB_INVOKE_UNREACHABLE : HUB_INVOKE_FAILED;
    }
}

static Err post(struct functions *f, struct arena *a, const Endpoint *at, Str name, Str payload,
                int64_t timeout_ns, HubInvokeAnswer *ret)
{
    HttpHeader headers[] = { { S("Content-Type"), S("application/json") } };
    HttpClientConfig config = { .url = at->base,
                                .verify = true,
                                .timeout_ns = timeout_ns,
                                .connect_ns = MIN(timeout_ns, CONNECT_SECONDS_MAX * NS_PER_S),
                                .total_ns = timeout_ns,
                                .reply_max = HUB_INVOKE_BYTES_MAX,
                                .is_over = is_stopped,
                                .of = f,
                                .io = f->config.io };
    Str target = at->target.p != NULL
                     ? at->target
                     : str_fmt(a, "/2015-03-31/functions/%.*s/invocations", FMT(name));
    AUTO(http_client) c = NULL;
    HttpReply reply = { 0 };
    TRY(http_client_open(&config, &c));
    Err e = http_client_call(c, a, S("POST"), target, headers, COUNT_OF(headers), payload, &reply);
    if (e.kind == ERR_MEMORY)
        return e;
    if (e.kind != ERR_NONE) {
        ret->fault = e.kind == ERR_LIMIT ? HUB_INVOKE_TOO_LARGE : HUB_INVOKE_UNREACHABLE;
        ret->text = str_of(e.text);
        return OK;
    }
    ret->fault = fault_of(&reply);
    ret->reply = reply.body;
    if (ret->fault != HUB_INVOKE_GOOD)
        ret->text = str_fmt(a, "The function's endpoint answered with status %u: %.*s",
                            reply.status, FMT(str_head(reply.body, TEXT_SHOWN_MAX)));
    return OK;
}

static Err invoke(void *self, struct arena *a, const HubActor *as, Str arn, Str payload,
                  int64_t timeout_ns, HubInvokeAnswer *ret)
{
    struct functions *f = self;
    Str name;
    *ret = (HubInvokeAnswer){ .reply = S(""), .text = S("") };
    if (!may_invoke(f, a, as, arn, &ret->text)) {
        ret->fault = is_lent(f, as) ? HUB_INVOKE_DENIED : HUB_INVOKE_NO_ROLE;
        return OK;
    }
    const Endpoint *at = find(f, arn, &name);
    if (at == NULL) {
        ret->fault = HUB_INVOKE_NOT_FOUND;
        ret->text = str_fmt(a, "Function not found: %.*s", FMT(arn));
        return OK;
    }
    if (payload.n > HUB_INVOKE_BYTES_MAX) {
        ret->fault = HUB_INVOKE_TOO_LARGE;
        return OK;
    }
    return post(f, a, at, name, payload, timeout_ns, ret);
}

// SPDX-License-Identifier: Apache-2.0
// Which service, operation and protocol a request is for, as far as its head tells: a target and a
// content type; a path and a header (Smithy's RPC); a form, whose action is read with its body.
#include "aws/front_priv.h"
#include "aws/query.h"

#include <stdlib.h>

// "Kinesis_20131202.PutRecord": both parts are there.
static bool target_parts(Str target, Str *ret_service, Str *ret_op)
{
    return str_cut(target, '.', ret_service, ret_op) && ret_service->n > 0 && ret_op->n > 0;
}

const struct front_service *route_service(const struct front *f, Str target)
{
    for (size_t i = 0; i < f->service_count; i++)
        if (target.n > 0 && str_eq(f->services[i].api->target, target))
            return &f->services[i];
    return NULL;
}

// The service that the credential scope names, among those that speak one of these protocols.
static const struct front_service *service_of_scope(const struct front *f, Str scope,
                                                    unsigned protocols)
{
    for (size_t i = 0; i < f->service_count && scope.n > 0; i++) {
        const struct api_service *api = f->services[i].api;
        if ((api->protocols & protocols) != 0 && str_eq(api->signing, scope))
            return &f->services[i];
    }
    return NULL;
}

static int compare_op(const void *name, const void *op)
{
    return str_cmp(*(const Str *)name, ((const struct api_op *)op)->name);
}

static const struct api_op *op_find(const struct front_service *service, Str name)
{
    const struct api_service *api = service->api;
    if (api->op_count == 0)
        return NULL;
    return bsearch(&name, api->ops, api->op_count, sizeof *api->ops, compare_op);
}

Str content_type_of(const struct http_exchange *x)
{
    Str content_type, parameters;
    str_cut(http_header(x, S("content-type")), ';', &content_type, &parameters);
    return str_trim(content_type);
}

static const struct protocol *protocol_find(const struct front_service *service, Str type)
{
    const struct protocol *json = service != NULL ? service->json : &protocol_json_1_1;
    if (json == NULL)
        return NULL;
    if (str_eq_nocase(type, json->content_type))
        return json;
    if (str_eq_nocase(type, protocol_cbor_1_1.content_type))
        return &protocol_cbor_1_1;
    return NULL;
}

// ---- The three ways to name an operation

// Takes the part behind the last slash off the path.
static Str last_part(Str *path)
{
    size_t at = path->n;
    while (at > 0 && path->p[at - 1] != '/')
        at--;
    Str part = str_skip(*path, at);
    *path = str_head(*path, at > 0 ? at - 1 : 0);
    return part;
}

// Anything, then /service/NAME/operation/OP.
static Route rpc_route(const struct front *f, const struct http_exchange *x)
{
    Route route = { .kind = ROUTE_RPC, .protocol = &protocol_rpc_cbor };
    Str path = x->path, op = last_part(&path), operation = last_part(&path);
    Str name = last_part(&path), service = last_part(&path);
    if (!str_eq(operation, S("operation")) || !str_eq(service, S("service")))
        return route;
    const struct front_service *found = route_service(f, name);
    if (found == NULL || (found->api->protocols & API_RPC_CBOR) == 0)
        return route;
    route.service = found;
    route.op = op_find(found, op);
    return route;
}

static bool is_form(const struct http_exchange *x)
{
    if (str_eq(x->method, S("GET")))
        return str_starts(x->query, S("Action=")) ||
               str_search(x->query, S("&Action=")) < x->query.n;
    return str_eq(x->method, S("POST")) &&
           str_eq_nocase(content_type_of(x), protocol_query.content_type);
}

// Whether it is one of Query: the form is for a service that speaks it, or for whoever it may be.
static bool query_route(const struct front *f, const struct http_exchange *x, Route *ret)
{
    if (!is_form(x))
        return false;
    Str scope = sigv4_scope_service(x);
    *ret = (Route){ .kind = ROUTE_QUERY,
                    .protocol = &protocol_query,
                    .service = service_of_scope(f, scope, API_QUERY) };
    return ret->service != NULL || (scope.n == 0 && f->speaks_query);
}

static Route target_route(const struct front *f, const struct http_exchange *x, Str target)
{
    Route route = { .kind = ROUTE_TARGET };
    Str service, op;
    route.complete = target_parts(target, &service, &op);
    if (route.complete)
        route.service = route_service(f, service);
    else // a request without a target is for the service that its credential scope names
        route.service = service_of_scope(f, sigv4_scope_service(x), API_JSON_1_0 | API_JSON_1_1);
    if (route.complete && route.service != NULL)
        route.op = op_find(route.service, op);
    route.protocol = protocol_find(route.service, content_type_of(x));
    return route;
}

Route route_find(const struct front *f, const struct http_exchange *x)
{
    Route route;
    Str target = http_header(x, S("x-amz-target"));
    if (target.p != NULL) // most requests have one
        return target_route(f, x, target);
    if (str_eq(http_header(x, S("smithy-protocol")), protocol_rpc_cbor.smithy))
        return rpc_route(f, x);
    if (query_route(f, x, &route) || rest_route(f, x, &route))
        return route;
    return target_route(f, x, target);
}

void route_form(const struct front *f, Route *route, Str action, Str version)
{
    const struct front_service *signed_for = route->service;
    for (size_t i = 0; i < f->service_count && route->op == NULL; i++) {
        const struct api_service *api = f->services[i].api;
        bool may_be = (api->protocols & API_QUERY) != 0 &&
                      (signed_for == NULL || str_eq(api->signing, signed_for->api->signing)) &&
                      (version.p == NULL || str_eq(api->version, version));
        if (!may_be)
            continue;
        route->service = &f->services[i];
        route->op = op_find(route->service, action);
        if (route->op != NULL && route->op->events != NULL)
            route->op = NULL; // Query knows no streams of events
    }
}

size_t route_body_max(const struct front *f, const struct http_exchange *x)
{
    Route route = route_find(f, x);
    if (route.op != NULL)
        return route.op->body_bytes_max;
    if (route.kind == ROUTE_QUERY && route.service != NULL)
        return route.service->body_bytes_max;
    return FRONT_BODY_BYTES_MAX;
}

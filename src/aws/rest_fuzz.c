// SPDX-License-Identifier: Apache-2.0
// A REST request - "METHOD path?query", headers, an empty line, a body - is routed, read and
// decoded; what is read has a reply that is well-formed XML.
#include "aws/bind.h"
#include "aws/rest.h"
#include "aws/rest_probe_api.h"
#include "codec/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

Str http_header(const struct http_exchange *x, Str name)
{
    for (size_t i = 0; i < x->header_count; i++)
        if (str_eq(x->headers[i].name, name))
            return x->headers[i].value;
    return (Str){ 0 };
}

// The operations are never run here.
#define NEVER(op, ...)                                                                        \
    Err rest_probe_##op(struct call *c, const struct rest_probe_##op##_in *in, ##__VA_ARGS__) \
    {                                                                                         \
        (void)c;                                                                              \
        (void)in;                                                                             \
        return OK;                                                                            \
    }
#define NEVER_OUT(op)                                                          \
    Err rest_probe_##op(struct call *c, const struct rest_probe_##op##_in *in, \
                        struct rest_probe_##op##_out *out)                     \
    {                                                                          \
        (void)c;                                                               \
        (void)in;                                                              \
        (void)out;                                                             \
        return OK;                                                             \
    }
NEVER_OUT(CopyThing)
NEVER(DropThing)
NEVER_OUT(GetThing)
NEVER_OUT(ListShelves)
NEVER_OUT(ListThings)
NEVER_OUT(PutOrder)
NEVER(PutPart)
NEVER_OUT(PutThing)

static void check_order(struct arena *a, const struct rest_probe_PutOrder_in *in,
                        const struct api_op *op)
{
    struct rest_probe_PutOrder_out out = { .order = in->order };
    struct xml_node *root = NULL;
    HttpHeader headers[8];
    RestReply reply = { .headers = headers };
    AUTO_BUF(body);
    CHECK(rest_header_max(op, &out) <= COUNT_OF(headers));
    rest_write_reply(&rest_probe_api, op, &out, a, &reply, &body);
    CHECK(in->order == NULL || xml_parse(a, buf_str(&body), &root).kind == ERR_NONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { INPUT_BYTES_MAX = 8192, HEADERS_MAX = 16 };
    AUTO(arena) a = arena_open();
    HttpHeader headers[HEADERS_MAX];
    struct http_exchange x = { .headers = headers, .arena = a };
    Str rest = str_from(data, MIN(size, (size_t)INPUT_BYTES_MAX)), line, target, name, value;
    str_cut(rest, '\n', &line, &rest);
    str_cut(line, ' ', &x.method, &target);
    if (!str_cut(target, '?', &x.path, &x.query))
        x.query = (Str){ 0 };
    while (x.header_count < HEADERS_MAX && str_cut(rest, '\n', &line, &rest) && line.n > 0) {
        str_cut(line, ':', &name, &value);
        headers[x.header_count++] = (HttpHeader){ str_lower(a, name), str_trim(value) };
    }
    x.body = rest;
    RestRequest r;
    if (rest_request(a, &x, &r).kind != ERR_NONE)
        return 0;
    rest_match(&rest_probe_api, &r);
    if (r.op == NULL)
        return 0;
    struct protocol_reader reader;
    Str fault = { 0 };
    void *in = arena_alloc(a, r.op->input->struct_bytes, _Alignof(max_align_t));
    rest_reader(&reader, &r);
    Err e = bind_decode(&reader, r.op->input, a, in, &fault);
    CHECK(fault.p == NULL); // the reader gives what is wanted, or says what was not
    if (e.kind != ERR_NONE || r.fault || bind_validate(r.op->input, in, a).p != NULL)
        return 0;
    if (str_eq(r.op->name, S("PutOrder")))
        check_order(a, in, r.op);
    return 0;
}

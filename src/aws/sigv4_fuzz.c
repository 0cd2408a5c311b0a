// SPDX-License-Identifier: Apache-2.0
// Any request: its first line is "METHOD path?query", then "name: value" lines, an empty line and
// the body. Only what is signed with the ring's key may be believed, and that is not in the corpus.
#include "aws/sigv4.h"
#include "base/time.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADERS_MAX = 32 };

Str http_header(const struct http_exchange *x, Str name)
{
    for (size_t i = 0; i < x->header_count; i++)
        if (str_eq(x->headers[i].name, name))
            return x->headers[i].value;
    return (Str){ 0 };
}

static void parse(struct http_exchange *x, HttpHeader *headers, Str rest)
{
    Str line, target;
    str_cut(rest, '\n', &line, &rest);
    str_cut(line, ' ', &x->method, &target);
    if (!str_cut(target, '?', &x->path, &x->query))
        x->query = (Str){ 0 };
    x->headers = headers;
    while (str_cut(rest, '\n', &line, &rest) && line.n > 0 && x->header_count < HEADERS_MAX) {
        HttpHeader *h = &headers[x->header_count++];
        str_cut(line, ':', &h->name, &h->value);
        h->value = str_trim(h->value);
    }
    x->body = rest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) a = arena_open();
    AUTO(keyring) keys = NULL;
    AUTO(sigv4) verifier = NULL;
    HttpHeader headers[HEADERS_MAX];
    struct http_exchange x = { .arena = a };
    Caller caller = { 0 };
    AuthFault fault = { 0 };
    Key key = { .access_key = S("AKIDEXAMPLE"),
                .secret = S("not the one of the corpus"),
                .account = S("111122223333"),
                .principal = S("p") };
    Sigv4Want want = { .service = S("kinesis") };
    keyring_open(false, &keys);
    CHECK(keyring_add(keys, &key).kind == ERR_NONE);
    CHECK(time_parse_basic(S("20150830T123600Z"), &want.now_ns).kind == ERR_NONE);
    sigv4_open(keys, &verifier);
    parse(&x, headers, str_from(data, size));
    CHECK(sigv4_verify(verifier, &x, &want, &caller, &fault).kind == ERR_DENIED);
    CHECK(fault.type.n > 0 && fault.message.n > 0);
    return 0;
}

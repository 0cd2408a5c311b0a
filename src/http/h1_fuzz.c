// SPDX-License-Identifier: Apache-2.0
// Feeds bytes to the HTTP/1.1 grammar: a head, then chunks and trailers, then a reply. What is
// accepted lies within the input; what a prefix is told, the whole is not told otherwise.
#include "http/h1_parse.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADERS = 16 };
static const H1Limits limits = { .header_bytes_max = 2048, .header_count_max = HEADERS };

static void check_within(Str part, Str whole)
{
    if (part.p == NULL || part.n == 0 || str_eq(part, S("/"))) // "/" may be ours
        return;
    CHECK(part.p >= whole.p && part.n <= whole.n && part.p + part.n <= whole.p + whole.n);
}

static size_t check_head(Str in)
{
    HttpHeader headers[HEADERS], again[HEADERS];
    H1Head h, prefix;
    H1Result r = h1_parse_head(in, &limits, headers, &h);
    for (size_t n = 0; n < in.n; n += 1 + n / 16) {
        H1Result p = h1_parse_head(str_head(in, n), &limits, again, &prefix);
        CHECK(p == H1_MORE || p == r);
        CHECK(p != H1_BAD || prefix.status == h.status);
        CHECK(p != H1_DONE || prefix.bytes == h.bytes);
    }
    if (r == H1_BAD)
        CHECK(h.status == 400 || h.status == 414 || h.status == 431);
    if (r != H1_DONE)
        return 0;
    CHECK(h.bytes <= in.n && h.bytes <= limits.header_bytes_max && h.header_count <= HEADERS);
    CHECK(!(h.chunked && h.has_length) && h.method.n > 0 && h.path.n > 0);
    check_within(h.method, in);
    check_within(h.path, in);
    check_within(h.query, in);
    check_within(h.authority, in);
    for (size_t i = 0; i < h.header_count; i++) {
        check_within(headers[i].name, in);
        check_within(headers[i].value, in);
        CHECK(str_find(headers[i].value, '\n') == headers[i].value.n);
    }
    return h.bytes;
}

static void check_chunks(Str in)
{
    for (;;) {
        size_t used = 0, extension = 0;
        uint64_t bytes = 0;
        if (h1_parse_chunk(in, &used, &bytes, &extension) != H1_DONE)
            return;
        CHECK(used >= 3 && used <= in.n && extension < used);
        in = str_skip(in, used);
        if (bytes == 0)
            break;
        if (bytes > in.n || !str_starts(str_skip(in, (size_t)bytes), S("\r\n")))
            return;
        in = str_skip(in, (size_t)bytes + 2);
    }
    for (bool last = false; !last;) {
        size_t used = 0;
        if (h1_parse_trailer(in, &used, &last) != H1_DONE)
            return;
        CHECK(used >= 2 && used <= in.n && last == (used == 2));
        in = str_skip(in, used);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Str in = str_from(data, size);
    HttpHeader headers[HEADERS];
    H1Head h;
    check_chunks(str_skip(in, check_head(in)));
    if (h1_parse_reply_head(in, &limits, headers, &h) == H1_DONE)
        CHECK(h.bytes <= in.n && h.status <= 999);
    return 0;
}

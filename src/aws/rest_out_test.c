// SPDX-License-Identifier: Apache-2.0
// The outward side against the inward one: what the one writes the other reads.
#include "aws/rest_out.h"
#include "aws/bind.h"
#include "aws/chunked.h"
#include "aws/chunked_out.h"
#include "aws/rest_probe_api.h"
#include "base/test.h"

static const struct api_op *op_called(Str name)
{
    size_t i = 0;
    while (!str_eq(rest_probe_api.ops[i].name, name))
        i++;
    return &rest_probe_api.ops[i];
}

// The request as its server sees it.
static void receive(struct arena *a, const RestOut *q, RestRequest *ret)
{
    struct http_exchange *x = arena_new(a, struct http_exchange, 1);
    x->arena = a;
    x->method = q->method;
    x->path = q->path;
    x->query = q->query;
    x->headers = q->headers;
    x->header_count = q->header_count;
    EXPECT_OK(rest_request(a, x, ret));
    rest_match(&rest_probe_api, ret);
    ret->body = q->body.p != NULL ? q->body : S("");
}

TEST(a_request_that_is_written_is_read_as_the_same_input)
{
    RestOut q;
    RestRequest r;
    struct protocol_reader reader;
    Str fault = { 0 };
    Str words[] = { S("a b"), S("c&d=e") };
    rest_probe_Notes_entry notes[] = { { S("color"), S("red") } };
    struct rest_probe_GetThing_in in = { .shelf = S("sh"), .key = S("a/b c+d?\xc3\xa9") },
                                  back = { 0 };
    in.max = -7;
    in.has_max = true;
    in.since = INT64_C(1700000000) * 1000000000;
    in.has_since = true;
    in.words.at = words;
    in.words.n = 0; // a list of a query is written as one value: none here
    in.wanted.at = words;
    in.wanted.n = 1;
    in.wanted.set = true;
    in.notes.at = notes;
    in.notes.n = 1;
    in.notes.set = true;
    EXPECT_OK(rest_out_request(&rest_probe_api, op_called(S("GetThing")), &in, a, &q));
    EXPECT_STR(S("/sh/a/b%20c%2Bd%3F%C3%A9"), q.path);
    EXPECT_STR(S("max=-7"), q.query);
    receive(a, &q, &r);
    EXPECT(r.op == op_called(S("GetThing")));
    rest_reader(&reader, &r);
    EXPECT_OK(bind_decode(&reader, r.op->input, a, &back, &fault));
    EXPECT_STR(in.key, back.key);
    EXPECT(back.has_max && back.max == -7 && back.has_since && back.since == in.since);
    EXPECT(back.wanted.n == 1 && str_eq(back.wanted.at[0], S("a b")));
    EXPECT(back.notes.n == 1 && str_eq(back.notes.at[0].key, S("color")));
}

TEST(a_document_goes_out_and_comes_back)
{
    RestOut q;
    RestRequest r;
    struct protocol_reader reader;
    Str fault = { 0 };
    rest_probe_Item item = { .name = S("<&>"), .count = 3, .has_count = true };
    rest_probe_Order order = { .items = { .at = &item, .n = 1, .set = true } };
    struct rest_probe_PutOrder_in in = { .shelf = S("sh"), .order = &order }, back = { 0 };
    struct rest_probe_PutOrder_out out = { 0 };
    EXPECT_OK(rest_out_request(&rest_probe_api, op_called(S("PutOrder")), &in, a, &q));
    EXPECT_STR(S("order"), q.query);
    receive(a, &q, &r);
    EXPECT(r.op == op_called(S("PutOrder")));
    rest_reader(&reader, &r);
    EXPECT_OK(bind_decode(&reader, r.op->input, a, &back, &fault));
    EXPECT_STR(S("<&>"), back.order->items.at[0].name);
    EXPECT_OK(rest_out_reply(r.op, NULL, 0, q.body, a, &out));
    EXPECT(out.order != NULL && out.order->items.n == 1 && out.order->items.at[0].count == 3);
    EXPECT_ERR(ERR_INVALID, rest_out_reply(r.op, NULL, 0, S("<html>"), a, &out));
}

TEST(a_reply_fills_the_output_and_an_error_is_taken_apart)
{
    RestOutError e;
    struct rest_probe_GetThing_out out = { 0 };
    HttpHeader headers[] = { { S("x-name"), S("n") },
                             { S("x-note-a"), S("b") },
                             { S("x-size"), S("12") },
                             { S("x-good"), S("what?") } };
    EXPECT_OK(
        rest_out_reply(op_called(S("GetThing")), headers, COUNT_OF(headers), S("bytes"), a, &out));
    EXPECT_STR(S("n"), out.name);
    EXPECT(out.has_size && out.size == 12 && out.notes.n == 1 && !out.has_good);
    EXPECT(out.body.p == NULL);
    EXPECT(rest_out_error(S("<Error><Code>NoThing</Code><Message>m</Message></Error>"), a, &e));
    EXPECT_STR(S("NoThing"), e.code);
    EXPECT_STR(S("m"), e.message);
    EXPECT(!rest_out_error(S("<html>no</html>"), a, &e) && !rest_out_error(S("no"), a, &e));
    EXPECT(!rest_out_error(S(""), a, &e) && e.code.n == 0 && e.all == NULL);
}

// What chunked_out writes, through the filter that checks it.
static Err round_trip(struct arena *a, Str body, Str trailer, Str value, bool damage,
                      struct buf *out)
{
    Sigv4Sign sign = { .access_key = S("AK"),
                       .secret = S("secret"),
                       .region = S("r"),
                       .service = S("s3"),
                       .method = S("PUT"),
                       .path = S("/b/k"),
                       .payload = S("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
                       .now_ns = 1 };
    Sigv4Headers made = { 0 };
    struct chunked_out k;
    struct chunked in;
    AUTO_BUF(wire);
    EXPECT_OK(sigv4_sign(&sign, a, &made));
    chunked_out_init(&k, &made.payload);
    for (Str rest = body; rest.n > 0;) {
        Str piece = str_head(rest, CHUNK_OUT_BYTES);
        chunked_out_add(&k, piece, &wire);
        rest = str_skip(rest, piece.n);
    }
    chunked_out_end(&k, trailer, value, &wire);
    EXPECT_INT(chunked_out_bytes(body.n, trailer, value.n), wire.n);
    if (damage)
        wire.p[wire.n / 2] ^= 1;
    made.payload.kind = trailer.p != NULL ? PAYLOAD_CHUNKS_SIGNED_TRAILER : PAYLOAD_CHUNKS_SIGNED;
    made.payload.verified = true;
    chunked_init(&in, a, &made.payload);
    for (Str rest = buf_str(&wire); rest.n > 0;) {
        size_t taken;
        Str piece;
        TRY(chunked_next(&in, rest, &taken, &piece));
        buf_add(out, piece);
        rest = str_skip(rest, taken);
    }
    if (trailer.p != NULL)
        EXPECT_STR(value, chunked_trailer(&in, trailer));
    return chunked_is_done(&in) ? OK : fail(ERR_INVALID, "it has not ended");
}

TEST(chunks_that_are_written_are_those_that_are_read_and_a_flipped_bit_is_found)
{
    static const size_t sizes[] = {
        0, 1, CHUNK_OUT_BYTES - 1, CHUNK_OUT_BYTES, CHUNK_OUT_BYTES + 1, 3 * CHUNK_OUT_BYTES
    };
    char *bytes = arena_alloc(a, 3 * CHUNK_OUT_BYTES, 1);
    memset(bytes, 'x', 3 * CHUNK_OUT_BYTES);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        Str body = str_from(bytes, sizes[i]);
        AUTO_BUF(plain);
        AUTO_BUF(with);
        AUTO_BUF(damaged);
        EXPECT_OK(round_trip(a, body, (Str){ 0 }, S(""), false, &plain));
        EXPECT_STR(body, buf_str(&plain));
        EXPECT_OK(round_trip(a, body, S("x-amz-checksum-crc32"), S("AAAAAA=="), false, &with));
        EXPECT_STR(body, buf_str(&with));
        if (body.n > 0)
            EXPECT(round_trip(a, body, (Str){ 0 }, S(""), true, &damaged).kind != ERR_NONE);
    }
}

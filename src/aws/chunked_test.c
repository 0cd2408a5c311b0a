// SPDX-License-Identifier: Apache-2.0
#include "aws/chunked.h"
#include "aws/sigv4_priv.h"
#include "base/test.h"

// The example of AWS's documentation ("Transferring payload in multiple chunks"): 66,560 bytes of
// the letter a in chunks of 64 KiB.
enum { FIRST = 65536, SECOND = 1024 };

static Sigv4Payload documented(PayloadKind kind)
{
    Sigv4Payload p = { .kind = kind, .verified = true };
    Scope scope = { S("20130524"), S("us-east-1"), S("s3") };
    unsigned char key[SHA256_BYTES];
    sigv4_signing_key(S("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), &scope, key);
    hmac_prepare(str_from(key, sizeof key), &p.key);
    p.scope = S("20130524/us-east-1/s3/aws4_request");
    memcpy(p.time, "20130524T000000Z", sizeof p.time);
    memcpy(p.signature, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
           sizeof p.signature);
    return p;
}

static void add_letters(struct buf *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_add_byte(b, 'a');
}

static void documented_body(struct buf *b)
{
    buf_add(b, S("10000;chunk-signature="
                 "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n"));
    add_letters(b, FIRST);
    buf_add(b, S("\r\n400;chunk-signature="
                 "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n"));
    add_letters(b, SECOND);
    buf_add(b, S("\r\n0;chunk-signature="
                 "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"));
}

// What comes out of a body that arrives in pieces of this size; the error that ends it.
static Err run(struct arena *a, const Sigv4Payload *p, Str body, size_t piece, struct buf *out,
               struct chunked *k)
{
    chunked_init(k, a, p);
    while (body.n > 0) {
        Str in = str_head(body, piece), made;
        size_t taken;
        TRY(chunked_next(k, in, &taken, &made));
        buf_add(out, made);
        body = str_skip(body, taken);
    }
    return chunked_is_done(k) ? OK : fail(ERR_CLOSED, "the body ends early");
}

TEST(the_documented_example_is_taken_however_it_is_cut)
{
    static const size_t pieces[] = { 1, 7, 1000, 65536, 1 << 20 };
    Sigv4Payload p = documented(PAYLOAD_CHUNKS_SIGNED);
    AUTO_BUF(body);
    documented_body(&body);
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        struct chunked k;
        AUTO_BUF(out);
        EXPECT_OK(run(a, &p, buf_str(&body), pieces[i], &out, &k));
        EXPECT_INT(FIRST + SECOND, out.n);
    }
}

TEST(a_changed_byte_is_seen)
{
    Sigv4Payload p = documented(PAYLOAD_CHUNKS_SIGNED);
    AUTO_BUF(body);
    documented_body(&body);
    static const size_t places[] = { 100, 50000, FIRST + 300, FIRST + SECOND + 200 };
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        struct chunked k;
        AUTO_BUF(out);
        char before = body.p[places[i]];
        body.p[places[i]] = 'b';
        Err e = run(a, &p, buf_str(&body), 4096, &out, &k);
        EXPECT(e.kind == ERR_DENIED || before == 'b');
        body.p[places[i]] = before;
    }
}

TEST(an_early_end_is_no_end)
{
    Sigv4Payload p = documented(PAYLOAD_CHUNKS_SIGNED);
    AUTO_BUF(body);
    documented_body(&body);
    for (size_t cut = 1; cut < body.n; cut += 997) {
        struct chunked k;
        AUTO_BUF(out);
        EXPECT_ERR(ERR_CLOSED, run(a, &p, str_head(buf_str(&body), cut), 4096, &out, &k));
    }
}

TEST(trailers_without_signatures_are_found)
{
    Sigv4Payload p = { .kind = PAYLOAD_CHUNKS_UNSIGNED_TRAILER };
    static const Str body = S_INIT("5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n"
                                   "X-Amz-Checksum-Crc32: DUoRhQ==\r\n\r\n");
    for (size_t piece = 1; piece < body.n; piece++) {
        struct chunked k;
        AUTO_BUF(out);
        EXPECT_OK(run(a, &p, body, piece, &out, &k));
        EXPECT_STR(S("hello world"), buf_str(&out));
        EXPECT_STR(S("DUoRhQ=="), chunked_trailer(&k, S("x-amz-checksum-crc32")));
        EXPECT(chunked_trailer(&k, S("x-amz-checksum-sha1")).p == NULL);
    }
}

// The documented example with a trailer: its signature covers what stands above it.
TEST(signed_trailers_are_held_against_their_signature)
{
    Sigv4Payload p = documented(PAYLOAD_CHUNKS_SIGNED_TRAILER);
    memcpy(p.signature, "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
           sizeof p.signature);
    AUTO_BUF(body);
    buf_add(&body, S("10000;chunk-signature="
                     "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n"));
    add_letters(&body, FIRST);
    buf_add(&body, S("\r\n400;chunk-signature="
                     "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n"));
    add_letters(&body, SECOND);
    buf_add(&body, S("\r\n0;chunk-signature="
                     "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
                     "x-amz-checksum-crc32c:sOO8/Q==\r\n"
                     "x-amz-trailer-signature:"
                     "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"));
    struct chunked k;
    AUTO_BUF(out);
    EXPECT_OK(run(a, &p, buf_str(&body), 1000, &out, &k));
    EXPECT_STR(S("sOO8/Q=="), chunked_trailer(&k, S("x-amz-checksum-crc32c")));
    size_t at = str_search(buf_str(&body), S("sOO8"));
    body.p[at] = 't';
    EXPECT_ERR(ERR_DENIED, run(a, &p, buf_str(&body), 1000, &out, &k));
}

TEST(what_is_not_the_encoding_is_refused)
{
    static const char *const wrong[] = {
        "x\r\n",
        "\r\n",
        "5\nhello",
        "5\r\nhelloo\r\n",
        "-1\r\n",
        "1000000000000000\r\n",
        "0\r\nno value\r\n\r\n",
        "0\r\n\r\nmore",
        "5\r\nhello\r\n0\r\n\r\n0\r\n\r\n",
    };
    Sigv4Payload p = { .kind = PAYLOAD_CHUNKS_UNSIGNED_TRAILER };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct chunked k;
        AUTO_BUF(out);
        Err e = run(a, &p, str_of(wrong[i]), 3, &out, &k);
        if (e.kind != ERR_INVALID)
            test_fail(__FILE__, __LINE__, "taken: %s", wrong[i]);
    }
    p.kind = PAYLOAD_CHUNKS_SIGNED;
    struct chunked k;
    AUTO_BUF(out);
    EXPECT_ERR(ERR_INVALID, run(a, &p, S("5\r\nhello\r\n0\r\n\r\n"), 100, &out, &k));
}

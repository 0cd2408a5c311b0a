// SPDX-License-Identifier: Apache-2.0
// REST requests from their head to their reply; http's part is played here, as in front_test.c.
#include "aws/rest.h"
#include "aws/bind.h"
#include "aws/body.h"
#include "aws/front.h"
#include "aws/rest_probe_api.h"
#include "aws/sigv2.h"
#include "base/test.h"
#include "base/time.h"
#include "os/io.h"

#include <pthread.h>

// ---- What http does

typedef struct Reply {
    unsigned status, count;
    Str headers; // "name: value\n" each
    Str body;
} Reply;

struct play {
    struct http_exchange x;
    HttpHeader headers[24];
    Reply reply;
    struct arena *kept;
};

// Replies come from here or from the pool.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t replied = PTHREAD_COND_INITIALIZER;

void http_reply(struct http_exchange *x, unsigned status, const HttpHeader *headers, size_t n,
                Str body)
{
    struct play *p = x->user;
    AUTO_BUF(all);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n; i++)
        buf_addf(&all, "%.*s: %.*s\n", FMT(headers[i].name), FMT(headers[i].value));
    p->reply = (Reply){ .status = status,
                        .count = p->reply.count + 1,
                        .headers = str_dup(p->kept, buf_str(&all)),
                        .body = str_dup(p->kept, body) };
    pthread_cond_signal(&replied);
    pthread_mutex_unlock(&lock);
}

// ---- The service

static struct seen {
    struct rest_probe_GetThing_in get;
    Str put;
    bool ended, good;
    Str key;
} seen;

Err rest_probe_ListShelves(struct call *c, const struct rest_probe_ListShelves_in *in,
                           struct rest_probe_ListShelves_out *out)
{
    (void)in;
    out->owner = c->principal;
    return OK;
}

Err rest_probe_ListThings(struct call *c, const struct rest_probe_ListThings_in *in,
                          struct rest_probe_ListThings_out *out)
{
    (void)in;
    out->more = out->has_more = true;
    out->things.at = arena_new(c->arena, rest_probe_Item, 2);
    out->things.n = 2;
    out->things.set = true;
    out->things.at[0] = (rest_probe_Item){ .name = S("a<b"), .count = 1, .has_count = true };
    out->things.at[1] = (rest_probe_Item){ .name = S("c"), .at = 1500 * NS_PER_MS, .has_at = true };
    out->boxes.at = arena_new(c->arena, Str, 1);
    out->boxes.at[0] = S("x");
    out->boxes.n = 1;
    out->boxes.set = true;
    return OK;
}

Err rest_probe_GetThing(struct call *c, const struct rest_probe_GetThing_in *in,
                        struct rest_probe_GetThing_out *out)
{
    seen.get = *in;
    seen.key = in->key;
    if (str_eq(in->key, S("none"))) {
        call_detail(c, S("Key"), in->key);
        call_header(c, S("x-more"), S("said"));
        return call_fail(c, &rest_probe_NoThing, "There is no %.*s.", FMT(in->key));
    }
    out->body = S("bytes");
    out->name = in->key;
    out->when = out->at = 1500 * NS_PER_MS;
    out->has_when = out->has_at = out->has_good = out->has_size = true;
    out->size = 5;
    out->notes = in->notes;
    if (in->has_max)
        c->status = 206;
    return OK;
}

Err rest_probe_DropThing(struct call *c, const struct rest_probe_DropThing_in *in)
{
    (void)c;
    (void)in;
    return OK;
}

Err rest_probe_CopyThing(struct call *c, const struct rest_probe_CopyThing_in *in,
                         struct rest_probe_CopyThing_out *out)
{
    (void)c;
    out->from = in->from;
    return OK;
}

Err rest_probe_PutPart(struct call *c, const struct rest_probe_PutPart_in *in)
{
    (void)c;
    (void)in;
    return OK;
}

Err rest_probe_PutOrder(struct call *c, const struct rest_probe_PutOrder_in *in,
                        struct rest_probe_PutOrder_out *out)
{
    (void)c;
    out->order = in->order;
    return OK;
}

struct putting {
    struct call_sink sink;
    struct buf all;
    struct rest_probe_PutThing_out *out;
};

static Err put_take(struct call *c, struct call_sink *s, Str piece)
{
    (void)c;
    buf_add(&((struct putting *)s)->all, piece);
    return OK;
}

static Err put_end(struct call *c, struct call_sink *s, Err e)
{
    struct putting *p = (struct putting *)s;
    seen.ended = true;
    seen.good = e.kind == ERR_NONE;
    seen.put = str_dup(((struct play *)c->exchange->user)->kept, buf_str(&p->all));
    p->out->size = (int64_t)p->all.n;
    p->out->has_size = true;
    buf_done(&p->all);
    return e;
}

Err rest_probe_PutThing(struct call *c, const struct rest_probe_PutThing_in *in,
                        struct rest_probe_PutThing_out *out)
{
    struct putting *p = arena_new(c->arena, struct putting, 1);
    (void)in;
    p->sink = (struct call_sink){ .take = put_take, .end = put_end };
    p->out = out;
    return call_take_body(c, &p->sink);
}

// ---- Routes

static Str routed(struct arena *a, const char *method, const char *path, const char *query,
                  const char *host, const char *header)
{
    HttpHeader headers[] = { { S("host"), str_of(host) }, { str_of(header), S("v") } };
    struct http_exchange x = { .method = str_of(method),
                               .path = str_of(path),
                               .query = str_of(query),
                               .headers = headers,
                               .header_count = header != NULL ? 2 : 1 };
    RestRequest r;
    if (rest_request(a, &x, &r).kind != ERR_NONE)
        return S("broken");
    rest_match(&rest_probe_api, &r);
    return r.unserved ? S("unserved") : r.op != NULL ? r.op->name : S("none");
}

TEST(method_path_query_and_headers_name_the_operation)
{
    static const struct {
        const char *op, *method, *path, *query, *host, *header;
    } cases[] = {
        { "ListShelves", "GET", "/", NULL, "h", NULL },
        { "ListThings", "GET", "/s", "list-type=2", "h", NULL },
        { "ListThings", "GET", "/s/", "max=3&list-type=2", "h", NULL },
        { "none", "GET", "/s", NULL, "h", NULL },
        { "none", "GET", "/s", "list-type=1", "h", NULL },
        { "GetThing", "GET", "/s/k", NULL, "h", NULL },
        { "GetThing", "GET", "/s/k/l//m", NULL, "h", NULL },
        { "GetThing", "GET", "/s//", NULL, "h", NULL },
        { "PutThing", "PUT", "/s/k", NULL, "h", NULL },
        { "CopyThing", "PUT", "/s/k", NULL, "h", "x-copy-from" },
        { "PutPart", "PUT", "/s/k", "part=1", "h", NULL },
        { "PutOrder", "PUT", "/s", "order", "h", NULL },
        { "PutOrder", "PUT", "/s", "order=", "h", NULL },
        { "none", "POST", "/s/k", NULL, "h", NULL },
        { "unserved", "GET", "/s/k", "metrics", "h", NULL },
        { "unserved", "DELETE", "/s/k", "order", "h", NULL },
        { "unserved", "DELETE", "/s/k", "order=1&x=y", "h", NULL },
        { "unserved", "PUT", "/s/k", "order", "h", NULL },
        { "unserved", "PUT", "/s/k", "part=1&order", "h", NULL },
        { "unserved", "POST", "/s", "order", "h", NULL },
        { "DropThing", "DELETE", "/s/k", "Order", "h", NULL },
        { "DropThing", "DELETE", "/s/k", "list-type=2", "h", NULL },
        { "GetThing", "GET", "/k", NULL, "s.s3.example.org:4566", NULL },
        { "GetThing", "GET", "/k", NULL, "a.b.s3-eu-west-1.example.org", NULL },
        { "ListThings", "GET", "/", "list-type=2", "s.localhost:4566", NULL },
        { "ListShelves", "GET", "/", NULL, "s3.localhost:4566", NULL },
        { "ListShelves", "GET", "/", NULL, "s3.eu-west-1.example.org", NULL },
        { "broken", "GET", "/s/%zz", NULL, "h", NULL },
        { "broken", "GET", "/s/%ff", NULL, "h", NULL },
        { "broken", "GET", "/s/k", "a=%f", "h", NULL },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Str got = routed(a, cases[i].method, cases[i].path, cases[i].query, cases[i].host,
                         cases[i].header);
        if (!str_eq(got, str_of(cases[i].op)))
            test_fail(__FILE__, __LINE__, "%s %s?%s at %s: %.*s", cases[i].method, cases[i].path,
                      cases[i].query, cases[i].host, FMT(got));
    }
}

TEST(hosts_name_buckets)
{
    static const struct {
        const char *host, *bucket;
    } cases[] = {
        { "127.0.0.1:4566", NULL },      { "[::1]:4566", NULL },
        { "localhost:4566", NULL },      { "s3.amazonaws.com", NULL },
        { "b.s3.amazonaws.com", "b" },   { "b.c.s3.us-west-2.amazonaws.com", "b.c" },
        { "s3.s3.amazonaws.com", "s3" }, { "b.s3.localhost.localstack.cloud:4566", "b" },
        { "b.localhost", "b" },          { "example.org", NULL },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        EXPECT_STR(str_of(cases[i].bucket), rest_host_bucket(str_of(cases[i].host)));
    EXPECT(rest_host_is_s3(S("s3.localhost")) && rest_host_is_s3(S("b.s3.x")));
    EXPECT(!rest_host_is_s3(S("127.0.0.1:1")) && !rest_host_is_s3(S("kinesis.localhost.x")));
}

// ---- The front

struct stage {
    struct keyring *keys;
    struct front *front;
    struct pool *pool;
    struct loop *loop;
    struct http_handler handler;
    FrontService service;
};

static void stage_open(struct stage *s, bool dev, const struct access_guard *guard)
{
    *s = (struct stage){ .service = { .api = &rest_probe_api, .state = s } };
    seen = (struct seen){ 0 };
    keyring_open(dev, &s->keys);
    EXPECT_OK(pool_open(1, 4, "shelf", &s->pool));
    EXPECT_OK(loop_open(&s->loop));
    FrontConfig config = { .io = io_real(),
                           .keys = s->keys,
                           .services = &s->service,
                           .service_count = 1,
                           .guard = guard,
                           .pool = s->pool };
    EXPECT_OK(front_open(&config, &s->front));
    s->handler = front_handler(s->front);
}

static void stage_close(struct stage *s)
{
    pool_close(s->pool);
    front_close(s->front);
    loop_close(s->loop);
    keyring_close(s->keys);
}

// Headers are "name: value" lines; the signature of the profile dev is added unless `sign` is
// false.
static Reply ask(struct stage *s, struct arena *a, bool sign, const char *method, const char *path,
                 const char *query, const char *headers, Str body)
{
    struct play p = { .kept = a };
    static const HttpHeader first[] = {
        { S_INIT("host"), S_INIT("127.0.0.1:4566") },
        { S_INIT("x-amz-date"), S_INIT("20250101T000000Z") },
        { S_INIT("authorization"),
          S_INIT("AWS4-HMAC-SHA256 Credential=123456789012/20250101/eu-west-1/shelf/"
                 "aws4_request, SignedHeaders=host;x-amz-date, Signature=00") },
    };
    size_t n = COUNT_OF(first) - !sign;
    memcpy(p.headers, first, n * sizeof *first);
    for (Str rest = str_of(headers), line, name, value; rest.n > 0;) {
        str_cut(rest, '\n', &line, &rest);
        str_cut(line, ':', &name, &value);
        p.headers[n++] = (HttpHeader){ name, str_trim(value) };
    }
    p.x = (struct http_exchange){ .method = str_of(method),
                                  .path = str_of(path),
                                  .query = str_of(query),
                                  .headers = p.headers,
                                  .header_count = n,
                                  .body = body,
                                  .arena = arena_open(),
                                  .loop = s->loop,
                                  .peer = S("127.0.0.1:1"),
                                  .user = &p };
    s->handler.request(s->handler.self, &p.x);
    pthread_mutex_lock(&lock);
    while (p.reply.count == 0)
        pthread_cond_wait(&replied, &lock);
    pthread_mutex_unlock(&lock);
    EXPECT_INT(1, p.reply.count);
    arena_close(p.x.arena);
    return p.reply;
}

#define HAS(text, part) EXPECT(str_search((text), S(part)) < (text).n)

TEST(members_come_from_path_query_and_headers)
{
    struct stage s;
    stage_open(&s, true, NULL);
    Reply r = ask(&s, a, true, "GET", "/s%20t/k%2Fl+m%20n", "max=7&color=RED&word=a+b&word=%63",
                  "if-modified-since: Thu, 01 Jan 1970 00:00:10 GMT\nx-wanted: p, q ,\n"
                  "x-note-one: 1\nx-note-two: 2",
                  S(""));
    EXPECT_INT(206, r.status);
    EXPECT_STR(S("bytes"), r.body);
    HAS(r.headers, "x-name: k/l+m n\n");
    HAS(r.headers, "x-when: Thu, 01 Jan 1970 00:00:01 GMT\n");
    HAS(r.headers, "x-at: 1970-01-01T00:00:01.500Z\n");
    HAS(r.headers, "x-good: false\n");
    HAS(r.headers, "x-size: 5\n");
    HAS(r.headers, "x-note-one: 1\nx-note-two: 2\n");
    HAS(r.headers, "x-amz-request-id: ");
    EXPECT_INT(7, seen.get.max);
    EXPECT_INT(10 * NS_PER_S, seen.get.since);
    EXPECT_INT(2, seen.get.wanted.n);
    EXPECT_INT(2, seen.get.words.n);
    stage_close(&s);
}

TEST(replies_are_documents_with_their_root)
{
    struct stage s;
    stage_open(&s, true, NULL);
    Reply r = ask(&s, a, true, "GET", "/s", "list-type=2", "", S(""));
    EXPECT_STR(S("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                 "<Things xmlns=\"http://shelf.example/\"><More>true</More>"
                 "<Thing><Name>a&lt;b</Name><Count>1</Count></Thing>"
                 "<Thing><Name>c</Name><At>1970-01-01T00:00:01.500Z</At></Thing>"
                 "<Boxes><Box>x</Box></Boxes></Things>"),
               r.body);
    HAS(r.headers, "Content-Type: application/xml\n");
    r = ask(&s, a, true, "DELETE", "/s/k", NULL, "", S(""));
    EXPECT_INT(204, r.status);
    EXPECT_INT(0, r.body.n);
    r = ask(&s, a, true, "PUT", "/s/k", NULL, "x-copy-from: there", S(""));
    EXPECT_STR(S("there"), r.body);
    stage_close(&s);
}

TEST(documents_are_read_whatever_the_order_of_their_elements)
{
    struct stage s;
    stage_open(&s, true, NULL);
    Reply r = ask(&s, a, true, "PUT", "/s", "order", "",
                  S("<Order xmlns='u' xmlns:x='v' x:type='fast'><Item><Name>1</Name></Item>"
                    "<Color>GREEN</Color><Other/><Boxes><Box>p</Box><Box/></Boxes>"
                    "<Item><Count> 3 </Count><Name>2</Name><Good>TRUE</Good>"
                    "<At>2024-01-02T03:04:05Z</At></Item></Order>"));
    EXPECT_INT(200, r.status);
    HAS(r.body, "<Item><Name>1</Name></Item><Item><Name>2</Name><Count>3</Count>"
                "<At>2024-01-02T03:04:05.000Z</At><Good>true</Good></Item>"
                "<Boxes><Box>p</Box><Box></Box></Boxes><Color>GREEN</Color></Order>");
    stage_close(&s);
}

TEST(what_is_wrong_with_a_request_is_said_as_s3_says_it)
{
    static const struct {
        const char *method, *path, *query, *headers, *body;
        unsigned status;
        const char *code;
    } cases[] = {
        { "GET", "/s/none", NULL, "", "", 404, "NoThing" },
        { "GET", "/s/k", "max=x", "", "", 400, "InvalidArgument" },
        { "GET", "/s/k", "color=BLUE", "", "", 400, "InvalidArgument" },
        { "GET", "/s/k", NULL, "if-modified-since: soon", "", 400, "InvalidArgument" },
        { "GET", "/s/k", "metrics", "", "", 501, "NotImplemented" },
        { "PATCH", "/s/k", NULL, "", "", 405, "MethodNotAllowed" },
        { "GET", "/s/%ff", NULL, "", "", 400, "InvalidURI" },
        { "PUT", "/s", "order", "", "", 400, "MissingRequestBodyError" },
        { "PUT", "/s", "order", "", "<Order>", 400, "MalformedXML" },
        { "PUT", "/s", "order", "", "<Other/>", 400, "MalformedXML" },
        { "PUT", "/s", "order", "", "<Order><Item/></Order>", 400, "MalformedXML" },
        { "PUT", "/s", "order", "", "<Order><Color>B</Color></Order>", 400, "MalformedXML" },
        { "PUT", "/s", "order", "", "<Order><Item><Name>n</Name><Count>1.5</Count></Item></Order>",
          400, "MalformedXML" },
        { "PUT", "/s", "order", "content-md5: x", "<Order/>", 400, "InvalidDigest" },
        { "PUT", "/s", "order", "content-md5: AAAAAAAAAAAAAAAAAAAAAA==", "<Order/>", 400,
          "BadDigest" },
        { "PUT", "/s/k", NULL, "x-amz-checksum-crc32: AAAAAA==", "hello", 400, "BadDigest" },
        { "PUT", "/s/k", NULL, "x-amz-checksum-crc32: AAAA", "hello", 400, "InvalidRequest" },
        { "PUT", "/s/k", NULL, "x-amz-checksum-crc99: AAAA", "hello", 400, "InvalidRequest" },
        { "PUT", "/s/k", NULL, "x-amz-checksum-crc32: AAAAAA==\nx-amz-checksum-crc32c: AAAAAA==",
          "hello", 400, "InvalidRequest" },
        { "PUT", "/s/k", NULL, "x-amz-sdk-checksum-algorithm: CRC32", "hello", 400,
          "InvalidRequest" },
        { "PUT", "/s/k", NULL, "content-length: 9", "hello", 400, "IncompleteBody" },
        { "PUT", "/s/k", NULL, "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER", "", 411,
          "MissingContentLength" },
        { "PUT", "/s/k", NULL, "x-amz-content-sha256: nonsense", "", 400, "InvalidArgument" },
    };
    struct stage s;
    stage_open(&s, true, NULL);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Reply r = ask(&s, a, true, cases[i].method, cases[i].path, cases[i].query, cases[i].headers,
                      str_of(cases[i].body));
        Str code = str_fmt(a, "<Error><Code>%s</Code>", cases[i].code);
        if (r.status != cases[i].status || str_search(r.body, code) == r.body.n)
            test_fail(__FILE__, __LINE__, "case %zu: %u %.*s", i, r.status, FMT(r.body));
    }
    Reply r = ask(&s, a, true, "GET", "/s/none", NULL, "", S(""));
    HAS(r.body, "<Message>There is no none.</Message><Key>none</Key><RequestId>");
    HAS(r.headers, "x-more: said\n");
    stage_close(&s);
}

TEST(bodies_come_in_their_encodings_and_are_ended_once)
{
    struct stage s;
    stage_open(&s, true, NULL);
    Reply r =
        ask(&s, a, true, "PUT", "/s/k", NULL, "x-amz-checksum-crc32: DUoRhQ==", S("hello world"));
    EXPECT_INT(200, r.status);
    EXPECT_STR(S("hello world"), seen.put);
    HAS(r.headers, "x-size: 11\n");

    seen = (struct seen){ 0 };
    static const char chunked[] = "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\n"
                                  "x-amz-decoded-content-length: 11\n"
                                  "x-amz-trailer: x-amz-checksum-crc32";
    r = ask(&s, a, true, "PUT", "/s/k", NULL, chunked,
            S("5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"));
    EXPECT_INT(200, r.status);
    EXPECT_STR(S("hello world"), seen.put);
    EXPECT(seen.ended && seen.good);

    static const struct {
        Str body;
        const char *code;
    } wrong[] = {
        { S_INIT("5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhA==\r\n\r\n"),
          "BadDigest" },
        { S_INIT("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), "MalformedTrailerError" },
        { S_INIT("5\r\nhello\r\n"), "IncompleteBody" },
        { S_INIT("B\r\nhello world\r\n1\r\n!\r\n0\r\n\r\n"), "IncompleteBody" },
        { S_INIT("zz\r\n"), "IncompleteBody" },
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        seen = (struct seen){ 0 };
        r = ask(&s, a, true, "PUT", "/s/k", NULL, chunked, wrong[i].body);
        Str code = str_fmt(a, "<Code>%s</Code>", wrong[i].code);
        EXPECT_INT(400, r.status);
        if (str_search(r.body, code) == r.body.n)
            test_fail(__FILE__, __LINE__, "case %zu: %.*s", i, FMT(r.body));
        EXPECT(seen.ended && !seen.good);
    }
    stage_close(&s);
}

// ---- Who asks

static bool lets_nobody(void *self, struct call *c, const AccessTarget *t, Str *ret_text)
{
    *(Str *)self = str_dup(((struct play *)c->exchange->user)->kept, t->action);
    *ret_text = S("no");
    return c->access_key.n > 0;
}

TEST(nobody_is_asked_about_like_anybody)
{
    struct stage s;
    Str asked = { 0 };
    struct access_guard guard = { .self = &asked, .may = lets_nobody };
    stage_open(&s, true, &guard);
    Reply r = ask(&s, a, false, "GET", "/s/k", NULL, "", S(""));
    EXPECT_INT(403, r.status);
    HAS(r.body, "<Code>AccessDenied</Code><Message>no</Message>");
    EXPECT_STR(S("shelf:GetThing"), asked);
    stage_close(&s);
}

static void sign(struct arena *a, Str secret, int64_t now_ns, Str payload, Str more_headers,
                 Str *ret)
{
    HttpHeader headers[2] = { { S("host"), S("127.0.0.1:4566") },
                              { S("x-amz-content-sha256"), payload } };
    Sigv4Headers made;
    Sigv4Sign want = { .access_key = S("AKIDEXAMPLE"),
                       .secret = secret,
                       .region = S("eu-west-1"),
                       .service = S("s3"),
                       .method = S("GET"),
                       .path = S("/s/k"),
                       .headers = headers,
                       .header_count = 2,
                       .body = S(""),
                       .now_ns = now_ns };
    EXPECT_OK(sigv4_sign(&want, a, &made));
    *ret = str_fmt(a, "x-amz-content-sha256: %.*s\nauthorization: %.*s\n%.*s", FMT(payload),
                   FMT(made.at[1].value), FMT(more_headers));
}

TEST(refusals_of_signatures_have_the_names_of_s3)
{
    struct keyring *keys;
    struct sigv4 *v;
    keyring_open(false, &keys);
    sigv4_open(keys, &v);
    Key key = { .access_key = S("AKIDEXAMPLE"),
                .secret = S("secret"),
                .account = S("123456789012") };
    EXPECT_OK(keyring_add(keys, &key));
    int64_t now = INT64_C(1735689600) * NS_PER_S; // 2025-01-01
    static const struct {
        const char *secret, *payload, *more;
        int64_t age_s;
        AuthWhy why;
        bool good;
    } cases[] = {
        { "secret", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "", 0, 0,
          true },
        { "other", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "", 0,
          AUTH_MISMATCH, false },
        { "secret", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "", 899, 0,
          true },
        { "secret", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "", 901,
          AUTH_SKEW, false },
        { "secret", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
          "x-amz-acl: public-read", 0, AUTH_NOT_SIGNED, false },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        // sigv4_sign hashes the body itself, which is empty: what is declared is the same.
        HttpHeader headers[8];
        size_t n = 0;
        Str text;
        Caller caller;
        AuthFault fault;
        int64_t signed_ns = now - cases[i].age_s * NS_PER_S;
        sign(a, str_of(cases[i].secret), signed_ns, str_of(cases[i].payload), str_of(cases[i].more),
             &text);
        headers[0] = (HttpHeader){ S("host"), S("127.0.0.1:4566") };
        headers[1] = (HttpHeader){ S("x-amz-date"), time_basic(a, signed_ns) };
        n = 2;
        for (Str rest = text, line, name, value; rest.n > 0;) {
            str_cut(rest, '\n', &line, &rest);
            if (str_cut(line, ':', &name, &value))
                headers[n++] = (HttpHeader){ name, str_trim(value) };
        }
        struct http_exchange x = {
            .method = S("GET"), .path = S("/s/k"), .headers = headers, .header_count = n, .arena = a
        };
        Sigv4Want want = { .service = S("s3"), .now_ns = now, .declared = true };
        Err e = sigv4_verify(v, &x, &want, &caller, &fault);
        if ((e.kind == ERR_NONE) != cases[i].good || (!cases[i].good && fault.why != cases[i].why))
            test_fail(__FILE__, __LINE__, "case %zu: %s, %d", i, e.text, (int)fault.why);
        if (cases[i].good)
            EXPECT(caller.payload.kind == PAYLOAD_HASH && caller.payload.verified);
    }
    sigv4_close(v);
    keyring_close(keys);
}

// The examples of AWS's documentation ("Signing and authenticating REST requests").
TEST(documented_requests_of_version_2_are_believed)
{
    struct keyring *keys;
    keyring_open(false, &keys);
    Key key = { .access_key = S("AKIAIOSFODNN7EXAMPLE"),
                .secret = S("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
                .account = S("123456789012") };
    EXPECT_OK(keyring_add(keys, &key));
    HttpHeader get[] = { { S("host"), S("awsexamplebucket1.us-west-1.s3.amazonaws.com") },
                         { S("date"), S("Tue, 27 Mar 2007 19:36:42 +0000") },
                         { S("authorization"), S("AWS AKIAIOSFODNN7EXAMPLE:"
                                                 "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=") } };
    struct http_exchange x = { .method = S("GET"),
                               .path = S("/photos/puppy.jpg"),
                               .headers = get,
                               .header_count = COUNT_OF(get),
                               .arena = a };
    Caller caller;
    AuthFault fault;
    int64_t then = INT64_C(1175024202) * NS_PER_S;
    EXPECT(sigv2_is(&x));
    // The date is signed as it was sent; read it must be as HTTP has dates.
    get[1].value = S("Tue, 27 Mar 2007 19:36:42 GMT");
    EXPECT_ERR(ERR_DENIED, sigv2_verify(keys, &x, S("awsexamplebucket1"), then, &caller, &fault));
    EXPECT_INT(AUTH_MISMATCH, fault.why);
    HAS(fault.string_to_sign, "GET\n\n\nTue, 27 Mar 2007 19:36:42 GMT\n"
                              "/awsexamplebucket1/photos/puppy.jpg");

    struct http_exchange presigned = {
        .method = S("GET"),
        .path = S("/photos/puppy.jpg"),
        .query = S("AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D"
                   "&Expires=1175139620"),
        .headers = get,
        .header_count = 1,
        .arena = a
    };
    EXPECT(sigv2_is(&presigned));
    EXPECT_OK(sigv2_verify(keys, &presigned, S("johnsmith"), then, &caller, &fault));
    EXPECT_ERR(ERR_DENIED, sigv2_verify(keys, &presigned, S("johnsmith"),
                                        INT64_C(1175139621) * NS_PER_S, &caller, &fault));
    EXPECT_INT(AUTH_EXPIRED, fault.why);
    keyring_close(keys);
}

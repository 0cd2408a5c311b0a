// SPDX-License-Identifier: Apache-2.0
// The front with exchanges of its own: the functions of http that it calls are played here.
#include "aws/front.h"
#include "aws/probe_api.h"
#include "aws/probe_ops.h"
#include "aws/sigv4.h"
#include "base/memory.h"
#include "base/metric.h"
#include "base/test.h"
#include "codec/json.h"
#include "os/io.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

// ---- What http does, as far as the front can see

typedef struct Reply {
    unsigned status;
    HttpHeader headers[16];
    size_t header_count;
    Str body;
    unsigned count; // replies given: must be one
} Reply;

struct play {
    struct http_exchange x;
    HttpHeader headers[16];
    Reply reply;
    struct arena *kept; // of the test: the reply outlives the exchange
    struct loop *loop;
    bool gone; // the client has
    bool full; // of replies that nobody takes
};

bool http_replies_full(const struct http_exchange *x)
{
    return ((const struct play *)x->user)->full;
}

bool http_stream_gone(const struct http_exchange *x)
{
    return ((const struct play *)x->user)->gone;
}

void http_reply(struct http_exchange *x, unsigned status, const HttpHeader *headers, size_t n,
                Str body)
{
    struct play *p = x->user;
    p->reply.status = status;
    p->reply.count++;
    for (size_t i = 0; i < n; i++)
        p->reply.headers[i] =
            (HttpHeader){ str_dup(p->kept, headers[i].name), str_dup(p->kept, headers[i].value) };
    p->reply.header_count = n;
    p->reply.body = str_dup(p->kept, body);
    if (p->loop != NULL)
        loop_stop(p->loop);
}

// ---- The stage

static const HttpHeader dev_headers[] = {
    { S_INIT("host"), S_INIT("127.0.0.1:4566") },
    { S_INIT("x-amz-date"), S_INIT("20250101T000000Z") },
    { S_INIT("authorization"),
      S_INIT("AWS4-HMAC-SHA256 "
             "Credential=123456789012/20250101/eu-west-1/probe/aws4_request, "
             "SignedHeaders=host;x-amz-date, Signature=00") },
};

struct stage {
    struct keyring *keys;
    struct front *front;
    struct pool *pool;
    struct loop *loop;
    struct http_handler handler;
    FrontService service;
};

static void stage_open_as(struct stage *s, bool local_pages_only)
{
    *s = (struct stage){ .service = { .api = &probe_api, .state = s } };
    probe_seen = (struct probe_seen){ 0 };
    keyring_open(true, &s->keys);
    EXPECT_OK(pool_open(1, 4, "probe", &s->pool));
    EXPECT_OK(loop_open(&s->loop));
    FrontConfig config = { .io = io_real(),
                           .keys = s->keys,
                           .services = &s->service,
                           .service_count = 1,
                           .pool = s->pool,
                           .local_pages_only = local_pages_only };
    EXPECT_OK(front_open(&config, &s->front));
    s->handler = front_handler(s->front);
}

static void stage_open(struct stage *s)
{
    stage_open_as(s, false);
}

static void stage_close(struct stage *s)
{
    pool_close(s->pool);
    front_close(s->front);
    loop_close(s->loop);
    keyring_close(s->keys);
}

static void add_header(struct play *p, Str name, Str value)
{
    p->headers[p->x.header_count++] = (HttpHeader){ name, value };
}

static struct play *play_new(struct stage *s, struct arena *a, const char *op, const char *type,
                             const char *body)
{
    struct play *p = arena_new(a, struct play, 1);
    p->kept = a;
    p->x = (struct http_exchange){ .method = S("POST"),
                                   .path = S("/"),
                                   .headers = p->headers,
                                   .body = str_of(body),
                                   .http_version = 11,
                                   .peer = S("127.0.0.1:1"),
                                   .arena = a,
                                   .loop = s->loop,
                                   .user = p };
    if (op != NULL)
        add_header(p, S("x-amz-target"), str_fmt(a, "Probe_20250101.%s", op));
    if (type != NULL)
        add_header(p, S("content-type"), str_of(type));
    return p;
}

static void add_dev(struct play *p)
{
    for (size_t i = 0; i < COUNT_OF(dev_headers); i++)
        add_header(p, dev_headers[i].name, dev_headers[i].value);
}

static void perform(struct stage *s, struct play *p)
{
    s->handler.request(s->handler.self, &p->x);
}

#define JSON "application/x-amz-json-1.1"
#define CBOR "application/x-amz-cbor-1.1"

static Reply ask(struct stage *s, struct arena *a, const char *op, const char *type,
                 const char *body)
{
    struct play *p = play_new(s, a, op, type, body);
    add_dev(p);
    perform(s, p);
    EXPECT_INT(1, p->reply.count);
    return p->reply;
}

static Str header_of(const Reply *r, Str name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (str_eq(r->headers[i].name, name))
            return r->headers[i].value;
    return (Str){ 0 };
}

static void expect_reply(unsigned status, Str body, const Reply *r)
{
    EXPECT_INT(status, r->status);
    EXPECT_STR(body, r->body);
}

// ---- Memory

static size_t budget_taken(void)
{
    MemoryStats m;
    memory_stats(&m);
    return m.requests_bytes;
}

// A document whose text must be unescaped, whose list grows, and whose reply is as long.
static const char *large_document(struct arena *a)
{
    enum { TEXT_BYTES = 200000, ITEMS = 5000 };
    AUTO_BUF(b);
    buf_add(&b, S("{\"Name\":\"abc\",\"Data\":\"aGk=\",\"Free\":\"\\n"));
    EXPECT(buf_reserve(&b, TEXT_BYTES));
    memset(b.p + b.n, 'f', TEXT_BYTES);
    b.n += TEXT_BYTES;
    buf_add(&b, S("\",\"Many\":[{\"Id\":\"a\"}"));
    for (int i = 1; i < ITEMS; i++)
        buf_add(&b, S(",{\"Id\":\"b\"}"));
    buf_add(&b, S("]}"));
    return str_c(a, buf_str(&b));
}

static Reply ask_with_arena_of_its_own(struct stage *s, struct arena *a, const char *body)
{
    AUTO(arena) own = arena_open_request();
    EXPECT(own != NULL);
    struct play *p = play_new(s, a, "Put", JSON, body);
    p->x.arena = own;
    add_dev(p);
    perform(s, p);
    EXPECT_INT(1, p->reply.count);
    return p->reply;
}

TEST(whichever_allocation_fails_a_call_is_refused_to_be_tried_again_and_the_next_succeeds)
{
    struct stage s;
    stage_open(&s);
    const char *body = large_document(a);
    Reply r = ask_with_arena_of_its_own(&s, a, body);
    EXPECT_INT(200, r.status);
    size_t whole = r.body.n;
    EXPECT(whole > 200000);
    bool hit = true;
    uint64_t refused = 0;
    for (uint64_t after = 2; hit; after++) { // the first two are for the arena
        memory_fault_set(MEMORY_REQUEST, after, UINT64_MAX);
        r = ask_with_arena_of_its_own(&s, a, body);
        hit = memory_fault_seen(MEMORY_REQUEST) > after;
        memory_fault_set(MEMORY_REQUEST, 0, 0);
        if (r.status != 200) {
            expect_reply(503,
                         S("{\"__type\":\"ServiceUnavailable\",\"message\":\"The service is "
                           "unavailable. Please try again.\"}"),
                         &r);
            EXPECT_STR(S(JSON), header_of(&r, S("Content-Type")));
            refused++;
        }
        EXPECT(hit || r.status == 200);
        EXPECT_INT(0, budget_taken());
        r = ask_with_arena_of_its_own(&s, a, body);
        EXPECT(r.status == 200 && r.body.n == whole);
    }
    EXPECT(refused > 3);
    stage_close(&s);
}

TEST(a_call_that_does_not_fit_into_the_budget_is_refused_by_decision)
{
    struct stage s;
    stage_open(&s);
    const char *body = large_document(a);
    size_t max = MEMORY_REQUESTS_BYTES_MIN;
    EXPECT_OK(memory_setup(max, 0));
    EXPECT(memory_take(max - max / 8, max));
    Reply r = ask_with_arena_of_its_own(&s, a, body);
    EXPECT_INT(503, r.status);
    r = ask_with_arena_of_its_own(&s, a, "{\"Name\":\"abc\"}"); // a small one finds room
    EXPECT_INT(200, r.status);
    memory_give(max - max / 8);
    r = ask_with_arena_of_its_own(&s, a, body);
    EXPECT_INT(200, r.status);
    EXPECT_INT(0, budget_taken());
    EXPECT_OK(memory_setup(0, 0));
    stage_close(&s);
}

TEST(a_request_whose_body_found_no_memory_is_refused_in_its_own_encoding)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Put", CBOR, "");
    s.handler.broken(s.handler.self, &p->x, 503);
    EXPECT_INT(503, p->reply.status);
    EXPECT_STR(S(CBOR), header_of(&p->reply, S("Content-Type")));
    EXPECT(str_search(p->reply.body, S("ServiceUnavailable")) < p->reply.body.n);
    p = play_new(&s, a, "Put", JSON, "");
    s.handler.broken(s.handler.self, &p->x, 413);
    expect_reply(413, S(""), &p->reply);
    stage_close(&s);
}

// ---- Good calls

TEST(a_call_is_answered_in_the_encoding_it_came_in)
{
    struct stage s;
    stage_open(&s);
    Reply r = ask(&s, a, "Put", JSON, "{\"Name\":\"abc\",\"Data\":\"aGk=\"}");
    expect_reply(200, S("{\"Name\":\"abc\",\"Data\":\"aGk=\",\"Must\":0,\"Found\":[]}"), &r);
    EXPECT_STR(S(JSON), header_of(&r, S("Content-Type")));
    r = ask(&s, a, "Put", CBOR,
            "\xa2\x64Name\x63"
            "abc\x64"
            "Data\x42hi");
    EXPECT_INT(200, r.status);
    EXPECT_STR(S(CBOR), header_of(&r, S("Content-Type")));
    EXPECT(str_search(r.body, S("Data\x42hi")) < r.body.n);
    r = ask(&s, a, "Put", "application/x-amz-json-1.1; charset=utf-8 ", "{\"Name\":\"a\"}");
    EXPECT_INT(200, r.status);
    stage_close(&s);
}

static int64_t scans(struct arena *a, const char *result)
{
    Str labels = str_fmt(a, "service=\"probe\",op=\"Batch\",result=\"%s\"", result);
    return metric_value(metric_get(METRIC_COUNTER, S("headrace_scan_total"), S(""), labels));
}

TEST(the_short_way_and_the_binder_answer_alike_and_are_counted)
{
    struct stage s;
    stage_open(&s);
    int64_t fast = scans(a, "fast"), full = scans(a, "full");
    Str good = S("{\"Entries\":[{\"Name\":\"a\",\"Data\":\"aGk=\"}],\"Mode\":\"GREEN\"}");
    Reply r = ask(&s, a, "Batch", JSON, "{\"Entries\":[{\"Name\":\"a\",\"Data\":\"aGk=\"}]}");
    expect_reply(200, good, &r);
    EXPECT(scans(a, "fast") == fast + 1 && scans(a, "full") == full);
    // Half of it is read when the escape comes: nothing of that half is left.
    r = ask(&s, a, "Batch", JSON, "{\"Entries\":[{\"Data\":\"aGk=\",\"Name\":\"\\u0061\"}]}");
    expect_reply(200, good, &r);
    r = ask(&s, a, "Batch", JSON, "{\"Name\":\"abc\",\"Entries\":[]}");
    expect_reply(400,
                 S("{\"__type\":\"ValidationException\",\"message\":\"1 validation error detected: "
                   "Value '[]' at 'entries' failed to satisfy constraint: Member must have length "
                   "greater than or equal to 1\"}"),
                 &r);
    r = ask(&s, a, "Batch", JSON, "{\"Entries\":[{\"Name\":\"A\",\"Data\":\"aGk=\"}]}");
    expect_reply(400,
                 S("{\"__type\":\"ValidationException\",\"message\":\"1 validation error detected: "
                   "Value 'A' at 'entries.1.member.name' failed to satisfy constraint: Member must "
                   "satisfy regular expression pattern: [a-z]+\"}"),
                 &r);
    r = ask(&s, a, "Batch", JSON, "{\"Entries\":[{\"Name\":\"a\",\"Data\":\"aGk=\"}]}}");
    expect_reply(400, S("{\"__type\":\"SerializationException\"}"), &r);
    EXPECT(scans(a, "fast") == fast + 1 && scans(a, "full") == full + 4);
    stage_close(&s);
}

TEST(the_call_knows_who_asks_and_where)
{
    struct stage s;
    stage_open(&s);
    Reply r = ask(&s, a, "Put", JSON, "{\"Name\":\"abc\"}");
    EXPECT_INT(200, r.status);
    EXPECT_STR(S("123456789012"), probe_seen.account);
    EXPECT_STR(S("eu-west-1"), probe_seen.region);
    EXPECT_STR(S("arn:aws:iam::123456789012:root"), probe_seen.principal);
    EXPECT(probe_seen.state == &s);
    stage_close(&s);
}

TEST(an_operation_without_output_answers_with_no_body)
{
    struct stage s;
    stage_open(&s);
    Reply r = ask(&s, a, "Drop", JSON, "{\"Name\":\"abc\"}");
    expect_reply(200, S(""), &r);
    r = ask(&s, a, "Nothing", JSON, "{}");
    expect_reply(200, S("{}"), &r);
    stage_close(&s);
}

TEST(replies_carry_ids_that_differ)
{
    struct stage s;
    stage_open(&s);
    Reply x = ask(&s, a, "Drop", JSON, "{\"Name\":\"abc\"}");
    Reply y = ask(&s, a, "Drop", JSON, "{\"Name\":\"abc\"}");
    Str id = header_of(&x, S("x-amzn-RequestId"));
    EXPECT_INT(36, id.n);
    EXPECT(id.p[8] == '-' && id.p[13] == '-' && id.p[14] == '4' && id.p[18] == '-');
    EXPECT(strchr("89ab", id.p[19]) != NULL);
    EXPECT(!str_eq(id, header_of(&y, S("x-amzn-RequestId"))));
    EXPECT_INT(96, header_of(&x, S("x-amz-id-2")).n); // base64 of 72 bytes
    stage_close(&s);
}

TEST(blocking_operations_run_on_the_pool)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Slow", JSON, "{\"Name\":\"abc\"}");
    p->loop = s.loop;
    add_dev(p);
    perform(&s, p);
    loop_run(s.loop);
    expect_reply(200, S("{\"Name\":\"abc\"}"), &p->reply);
    stage_close(&s);
}

TEST(an_operation_may_go_on_on_the_pool)
{
    struct stage s;
    stage_open(&s);
    for (int gone = 0; gone < 2; gone++) {
        struct play *p = play_new(&s, a, "Handed", JSON, "{\"Name\":\"abc\"}");
        p->loop = s.loop;
        p->gone = gone != 0;
        add_dev(p);
        perform(&s, p);
        loop_run(s.loop);
        if (gone)
            EXPECT_INT(400, p->reply.status);
        else
            expect_reply(200, S("{\"Name\":\"pool\"}"), &p->reply);
        EXPECT_INT(1, p->reply.count);
    }
    stage_close(&s);
}

TEST(a_call_whose_client_has_gone_before_its_turn_is_not_run)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Slow", JSON, "{\"Name\":\"abc\"}");
    p->loop = s.loop;
    p->gone = true;
    add_dev(p);
    perform(&s, p);
    loop_run(s.loop);
    EXPECT_INT(400, p->reply.status); // ends the exchange; nobody sees it
    EXPECT_INT(1, p->reply.count);
    stage_close(&s);
}

TEST(while_clients_do_not_take_their_replies_no_call_that_may_answer_with_much_is_run)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Slow", JSON, "{\"Name\":\"abc\"}");
    p->loop = s.loop;
    p->full = true;
    add_dev(p);
    perform(&s, p);
    loop_run(s.loop);
    expect_reply(400, S("{\"__type\":\"ThrottlingException\",\"message\":\"Rate exceeded\"}"),
                 &p->reply);
    stage_close(&s);
}

// Keeps a worker: says that it runs, then waits for a byte.
struct holder {
    struct task task;
    int started, leave;
};

static void hold_worker(struct task *t)
{
    struct holder *h = (struct holder *)t;
    char byte = 0;
    CHECK(write(h->started, "x", 1) == 1);
    CHECK(read(h->leave, &byte, 1) == 1);
}

TEST(a_full_pool_throttles)
{
    enum { ROOM = 4 }; // of the stage's pool, beside its one worker
    struct stage s;
    int started[2], leave[2];
    char byte = 0;
    struct holder holders[1 + ROOM];
    stage_open(&s);
    EXPECT(pipe(started) == 0 && pipe(leave) == 0);
    for (size_t i = 0; i < COUNT_OF(holders); i++) {
        holders[i] = (struct holder){ { .run = hold_worker }, started[1], leave[0] };
        EXPECT_OK(pool_submit(s.pool, &holders[i].task));
        if (i == 0)
            EXPECT(read(started[0], &byte, 1) == 1); // the worker has it: the queue is empty
    }
    Str refused = S("{\"__type\":\"ThrottlingException\",\"message\":\"Rate exceeded\"}");
    Reply r = ask(&s, a, "Slow", JSON, "{\"Name\":\"abc\"}");
    expect_reply(400, refused, &r);
    r = ask(&s, a, "Handed", JSON, "{\"Name\":\"abc\"}");
    expect_reply(400, refused, &r);
    for (size_t i = 0; i < COUNT_OF(holders); i++)
        EXPECT(write(leave[1], "x", 1) == 1);
    stage_close(&s);
    for (size_t i = 0; i < 2; i++) {
        close(started[i]);
        close(leave[i]);
    }
}

static void *end_later(void *call)
{
    call_done(call, OK);
    return NULL;
}

TEST(a_waiting_call_is_answered_when_it_is_done)
{
    struct stage s;
    stage_open(&s);
    for (int early = 0; early < 2; early++) {
        probe_seen.early = early != 0;
        struct play *p = play_new(&s, a, "Later", JSON, "{\"Name\":\"abc\"}");
        pthread_t thread;
        p->loop = s.loop;
        add_dev(p);
        perform(&s, p);
        EXPECT_INT(0, p->reply.count);
        if (!early)
            EXPECT(pthread_create(&thread, NULL, end_later, probe_seen.waiting) == 0);
        loop_run(s.loop);
        if (!early)
            EXPECT(pthread_join(thread, NULL) == 0);
        expect_reply(200, S("{\"Name\":\"abc\"}"), &p->reply);
        EXPECT_INT(1, p->reply.count);
    }
    stage_close(&s);
}

struct ending {
    struct task task;
    struct play *p;
    unsigned replies; // as soon as the call is done
};

static void end_on_loop(struct task *t)
{
    struct ending *e = (struct ending *)t;
    call_done(probe_seen.waiting, OK);
    e->replies = e->p->reply.count;
}

TEST(a_call_that_is_done_on_its_own_loop_is_answered_at_once)
{
    struct stage s;
    stage_open(&s);
    probe_seen.early = false;
    struct play *p = play_new(&s, a, "Later", JSON, "{\"Name\":\"abc\"}");
    struct ending e = { .task.run = end_on_loop, .p = p };
    p->loop = s.loop;
    add_dev(p);
    perform(&s, p);
    loop_post(s.loop, &e.task);
    loop_run(s.loop);
    EXPECT_INT(1, e.replies);
    expect_reply(200, S("{\"Name\":\"abc\"}"), &p->reply);
    stage_close(&s);
}

TEST(a_waiting_call_can_fail)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Later", JSON, "{\"Name\":\"abc\"}");
    p->loop = s.loop;
    add_dev(p);
    perform(&s, p);
    call_done(probe_seen.waiting, call_fail(probe_seen.waiting, &probe_Taken, "gone"));
    loop_run(s.loop);
    expect_reply(409, S("{\"__type\":\"Taken\",\"message\":\"gone\"}"), &p->reply);
    stage_close(&s);
}

TEST(an_operation_whose_model_has_an_internal_error_fails_with_that)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Later", JSON, "{\"Name\":\"abc\"}");
    p->loop = s.loop;
    add_dev(p);
    perform(&s, p);
    call_done(probe_seen.waiting, fail(ERR_IO, "the disk"));
    loop_run(s.loop);
    expect_reply(500, S("{\"__type\":\"InternalFault\"}"), &p->reply);
    stage_close(&s);
}

// ---- The order of the checks

TEST(errors_of_the_model_and_of_our_own_differ)
{
    struct stage s;
    stage_open(&s);
    Reply r = ask(&s, a, "Fail", JSON, "{\"How\":\"taken\"}");
    expect_reply(409, S("{\"__type\":\"Taken\",\"message\":\"it is taken\"}"), &r);
    r = ask(&s, a, "Fail", JSON, "{}");
    expect_reply(500, S("{\"__type\":\"InternalFailure\"}"), &r);
    stage_close(&s);
}

TEST(other_methods_are_forbidden)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Put", JSON, "{}");
    p->x.method = S("PUT");
    perform(&s, p);
    expect_reply(403,
                 S("<AccessDeniedException>\n  <Message>Unable to determine service/operation name "
                   "to be authorized</Message>\n</AccessDeniedException>\n"),
                 &p->reply);
    stage_close(&s);
}

TEST(preflights_are_answered_with_what_they_ask_for)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, NULL, NULL, "");
    p->x.method = S("OPTIONS");
    add_header(p, S("origin"), S("http://here"));
    add_header(p, S("access-control-request-headers"), S("x-one,x-two"));
    add_header(p, S("access-control-request-method"), S("POST"));
    perform(&s, p);
    expect_reply(200, S(""), &p->reply);
    EXPECT_STR(S("*"), header_of(&p->reply, S("Access-Control-Allow-Origin")));
    EXPECT_STR(S("172800"), header_of(&p->reply, S("Access-Control-Max-Age")));
    EXPECT_STR(S("x-one,x-two"), header_of(&p->reply, S("Access-Control-Allow-Headers")));
    EXPECT_STR(S("POST"), header_of(&p->reply, S("Access-Control-Allow-Methods")));
    EXPECT(header_of(&p->reply, S("x-amz-id-2")).p == NULL);
    EXPECT(header_of(&p->reply, S("Content-Type")).p == NULL);
    stage_close(&s);
}

TEST(requests_with_an_origin_expose_the_headers)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Drop", JSON, "{\"Name\":\"a\"}");
    add_header(p, S("origin"), S("http://here"));
    add_dev(p);
    perform(&s, p);
    EXPECT_INT(200, p->reply.status);
    EXPECT_STR(S("*"), header_of(&p->reply, S("Access-Control-Allow-Origin")));
    EXPECT_STR(S("x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,"
                 "x-amzn-ErrorMessage,Date"),
               header_of(&p->reply, S("Access-Control-Expose-Headers")));
    stage_close(&s);
}

TEST(pages_of_other_machines_may_not_call_where_everybody_may)
{
    static const struct {
        const char *origin;
        unsigned status;
    } cases[] = { { "https://evil.example", 403 },
                  { "http://localhost.evil.example", 403 },
                  { "http://evil.example:4566", 403 },
                  { "http://[::1].evil.example", 403 },
                  { "http://127.0.0.1.evil.example", 403 },
                  { "null", 403 },
                  { "", 403 },
                  { "http://localhost", 200 },
                  { "http://localhost:3000", 200 },
                  { "https://app.localhost:3000", 200 },
                  { "http://127.0.0.1:8080", 200 },
                  { "http://[::1]:8080", 200 } };
    struct stage s;
    stage_open_as(&s, true);
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        for (int preflight = 0; preflight < 2; preflight++) {
            struct play *p = play_new(&s, a, "Drop", JSON, "{\"Name\":\"a\"}");
            p->x.method = preflight ? S("OPTIONS") : S("POST");
            add_header(p, S("origin"), str_of(cases[i].origin));
            add_dev(p);
            perform(&s, p);
            EXPECT_INT(cases[i].status, p->reply.status);
            bool allowed = header_of(&p->reply, S("Access-Control-Allow-Origin")).p != NULL;
            EXPECT(allowed == (cases[i].status == 200));
        }
    EXPECT_INT(200, ask(&s, a, "Drop", JSON, "{\"Name\":\"a\"}").status); // no page at all
    stage_close(&s);
}

TEST(no_body_is_cbor_unless_json_was_asked_for)
{
    struct stage s;
    stage_open(&s);
    Reply r = ask(&s, a, "Put", JSON, "");
    expect_reply(400, S("{\"__type\":\"SerializationException\"}"), &r);
    r = ask(&s, a, "Move", JSON, "");
    expect_reply(400, S("{\"__type\":\"UnknownOperationException\"}"), &r);
    r = ask(&s, a, NULL, "text/plain", "");
    EXPECT_INT(400, r.status);
    EXPECT_STR(S(CBOR), header_of(&r, S("Content-Type")));
    EXPECT(str_search(r.body, S("UnknownOperationException")) < r.body.n);
    stage_close(&s);
}

TEST(unknown_content_types_get_xml)
{
    struct stage s;
    stage_open(&s);
    Reply r = ask(&s, a, "Put", "text/plain", "{}");
    expect_reply(404, S("<UnknownOperationException/>\n"), &r);
    EXPECT(header_of(&r, S("Content-Type")).p == NULL);
    r = ask(&s, a, NULL, "text/plain", "{}");
    EXPECT_INT(403, r.status);
    r = ask(&s, a, "Put", "application/x-amz-json-1.0", "{}");
    EXPECT_INT(404, r.status);
    stage_close(&s);
}

TEST(plain_json_is_half_understood)
{
    struct stage s;
    stage_open(&s);
    Reply r = ask(&s, a, "Put", "application/json", "{");
    expect_reply(400,
                 S("{\"Output\":{\"__type\":\"com.amazon.coral.service#SerializationException\"},"
                   "\"Version\":\"1.0\"}"),
                 &r);
    r = ask(&s, a, "Put", "application/json", "{}");
    expect_reply(
        404,
        S("{\"Output\":{\"__type\":\"com.amazon.coral.service#UnknownOperationException\"},"
          "\"Version\":\"1.0\"}"),
        &r);
    stage_close(&s);
}

TEST(syntax_comes_before_the_operation_and_that_before_the_signature)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Move", JSON, "{");
    perform(&s, p);
    expect_reply(400, S("{\"__type\":\"SerializationException\"}"), &p->reply);
    p = play_new(&s, a, "Move", JSON, "{}");
    perform(&s, p);
    expect_reply(400, S("{\"__type\":\"UnknownOperationException\"}"), &p->reply);
    p = play_new(&s, a, "Put", JSON, "{\"Name\":1");
    perform(&s, p);
    expect_reply(400, S("{\"__type\":\"SerializationException\"}"), &p->reply);
    p = play_new(&s, a, "Put", JSON, "{\"Name\":1}");
    perform(&s, p);
    expect_reply(400,
                 S("{\"__type\":\"MissingAuthenticationTokenException\","
                   "\"message\":\"Missing Authentication Token\"}"),
                 &p->reply);
    stage_close(&s);
}

TEST(types_come_before_constraints)
{
    struct stage s;
    stage_open(&s);
    Reply r = ask(&s, a, "Put", JSON, "{\"Small\":\"x\"}");
    expect_reply(
        400,
        S("{\"__type\":\"SerializationException\",\"Message\":\"class java.lang.String can "
          "not be converted to an Integer\"}"),
        &r);
    r = ask(&s, a, "Put", JSON, "{}");
    expect_reply(400,
                 S("{\"__type\":\"ValidationException\",\"message\":\"1 validation error detected: "
                   "Value null at 'name' failed to satisfy constraint: Member must not be null\"}"),
                 &r);
    stage_close(&s);
}

TEST(a_target_of_another_service_or_none_is_an_unknown_operation)
{
    struct stage s;
    stage_open(&s);
    const Str targets[] = { S("Probe_20250101"), S("Probe_20250101."), S(".Put"),
                            S("Other_20250101.Put"), S("Probe_20250101.put") };
    for (size_t i = 0; i < COUNT_OF(targets); i++) {
        struct play *p = play_new(&s, a, NULL, JSON, "{}");
        add_header(p, S("x-amz-target"), targets[i]);
        add_dev(p);
        perform(&s, p);
        expect_reply(400, S("{\"__type\":\"UnknownOperationException\"}"), &p->reply);
    }
    stage_close(&s);
}

TEST(without_a_target_the_scope_names_the_service)
{
    struct api_service other = probe_api;
    other.target = S("Other_20250101");
    other.signing = S("other");
    other.protocols = API_JSON_1_0;
    FrontService both[] = { { .api = &probe_api }, { .api = &other } };
    struct stage s;
    stage_open(&s);
    front_close(s.front);
    FrontConfig config = { .io = io_real(), .keys = s.keys, .services = both, .service_count = 2 };
    EXPECT_OK(front_open(&config, &s.front));
    s.handler = front_handler(s.front);

    static const struct {
        const char *authorization, *query, *body;
        unsigned status;
    } cases[] = {
        { "AWS4-HMAC-SHA256 Credential=a/20250101/r/other/aws4_request, Signature=0", NULL,
          "{\"__type\":\"UnknownOperationException\"}", 400 },
        { NULL, "X-Amz-Credential=a%2F20250101%2Fr%2Fother%2Faws4_request",
          "{\"__type\":\"UnknownOperationException\"}", 400 },
        // The probe does not speak this protocol, and nobody is called "none".
        { "AWS4-HMAC-SHA256 Credential=a/20250101/r/probe/aws4_request", NULL, "<Access", 403 },
        { "AWS4-HMAC-SHA256 Credential=a/20250101/r/none/aws4_request", NULL, "<Access", 403 },
        { "AWS4-HMAC-SHA256 Credential=a/20250101", NULL, "<Access", 403 },
        { "Credential=", NULL, "<Access", 403 },
        { "x", NULL, "<Access", 403 },
        { NULL, NULL, "<Access", 403 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct play *p = play_new(&s, a, NULL, "application/x-amz-json-1.0", "{}");
        p->x.query = str_of(cases[i].query);
        if (cases[i].authorization != NULL)
            add_header(p, S("authorization"), str_of(cases[i].authorization));
        perform(&s, p);
        EXPECT_INT(cases[i].status, p->reply.status);
        EXPECT(str_starts(p->reply.body, str_of(cases[i].body)));
    }
    stage_close(&s);
}

TEST(the_body_maximum_is_the_operations)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Fail", JSON, "");
    EXPECT_INT(1024, s.handler.body_max(s.handler.self, &p->x));
    p = play_new(&s, a, "Move", JSON, "");
    EXPECT_INT(FRONT_BODY_BYTES_MAX, s.handler.body_max(s.handler.self, &p->x));
    p = play_new(&s, a, NULL, JSON, "");
    s.handler.broken(s.handler.self, &p->x, 413);
    expect_reply(413, S(""), &p->reply);
    stage_close(&s);
}

TEST(a_body_is_hashed_as_it_arrives_only_for_a_known_operation_and_a_key_that_is_verified)
{
    struct stage s;
    stage_open(&s);
    Key key = { .access_key = S("AKIDEXAMPLE"), .secret = S("s"), .account = S("123456789012") };
    EXPECT_OK(keyring_add(s.keys, &key));
    const Str credential = S("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20250101/r/probe/"
                             "aws4_request, SignedHeaders=host, Signature=00");
    const struct {
        const char *op, *type, *method, *path;
        Str authorization;
        bool wanted;
    } cases[] = {
        { "Put", JSON, "POST", "/", credential, true },
        { "Put", CBOR, "POST", "/", credential, true },
        { "Put", JSON, "POST", "/", dev_headers[2].value, false }, // taken without verification
        { "Put", JSON, "POST", "/", S("AWS4-HMAC-SHA256 Credential="), false },
        { "Put", JSON, "POST", "/", S(""), false },
        { "Put", "text/plain", "POST", "/", credential, false },
        { "Put", JSON, "PUT", "/", credential, false },
        { "Move", JSON, "POST", "/", credential, false }, // no such operation
        { NULL, JSON, "POST", "/", credential, false },
        { "Put", JSON, "POST", "/_page", credential, false },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct play *p = play_new(&s, a, cases[i].op, cases[i].type, "");
        p->x.method = str_of(cases[i].method);
        p->x.path = str_of(cases[i].path);
        add_header(p, S("authorization"), cases[i].authorization);
        EXPECT_INT(cases[i].wanted, s.handler.wants_sha256(s.handler.self, &p->x));
    }
    stage_close(&s);
}

TEST(the_scope_must_name_the_service)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Drop", JSON, "{\"Name\":\"a\"}");
    add_header(p, S("x-amz-date"), S("20250101T000000Z"));
    add_header(p, S("authorization"),
               S("AWS4-HMAC-SHA256 Credential=test/20250101/us-east-1/kinesis/aws4_request, "
                 "SignedHeaders=host, Signature=00"));
    perform(&s, p);
    expect_reply(400,
                 S("{\"__type\":\"InvalidSignatureException\",\"message\":\"Credential should be "
                   "scoped to correct service: 'probe'. \"}"),
                 &p->reply);
    stage_close(&s);
}

TEST(bytes_that_are_no_text_do_not_break_the_reply)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Drop", JSON, "{\"Name\":\"a\"}");
    add_header(p, S("x-amz-date"), S("20250101T000000Z"));
    add_header(p, S("authorization"), S("\xff\"\xc3"));
    perform(&s, p);
    EXPECT(str_ends(p->reply.body, S("Authorization=?\\\"?\"}")));
    stage_close(&s);
}

// ---- Pages

static void serve_hello(void *self, struct http_exchange *x)
{
    http_reply(x, 200, NULL, 0, str_of(self));
}

static Reply get(struct stage *s, struct arena *a, Str method, Str path)
{
    struct play *p = play_new(s, a, NULL, NULL, "");
    p->x.method = method;
    p->x.path = path;
    perform(s, p);
    EXPECT_INT(1, p->reply.count);
    return p->reply;
}

TEST(pages_of_the_server_need_no_signature)
{
    static char hello[] = "hello", tree[] = "tree";
    struct stage s;
    stage_open(&s);
    EXPECT_OK(front_add_page(s.front, S("/_headrace/health"), serve_hello, hello));
    EXPECT_OK(front_add_page(s.front, S("/health"), serve_hello, hello));
    EXPECT_OK(front_add_page(s.front, S("/_headrace/console/"), serve_hello, tree));
    Reply r = get(&s, a, S("GET"), S("/_headrace/health"));
    expect_reply(200, S("hello"), &r);
    r = get(&s, a, S("HEAD"), S("/health"));
    expect_reply(200, S("hello"), &r);
    r = get(&s, a, S("GET"), S("/_headrace/console/app.js"));
    expect_reply(200, S("tree"), &r);
    r = get(&s, a, S("POST"), S("/health"));
    EXPECT_INT(405, r.status);
    r = get(&s, a, S("GET"), S("/_headrace/other"));
    EXPECT_INT(404, r.status);
    r = get(&s, a, S("GET"), S("/elsewhere"));
    EXPECT_INT(403, r.status);
    stage_close(&s);
}

TEST(two_services_cannot_share_a_target)
{
    struct keyring *keys;
    keyring_open(true, &keys);
    FrontService twice[] = { { .api = &probe_api }, { .api = &probe_api } };
    FrontConfig config = { .io = io_real(), .keys = keys, .services = twice, .service_count = 2 };
    struct front *f = NULL;
    EXPECT_ERR(ERR_INVALID, front_open(&config, &f));
    EXPECT(f == NULL);
    keyring_close(keys);
}

// ---- Permission

struct guard_seen {
    unsigned asked;
    bool allows;
    Str action, resource, account, caller, call_account;
};

static bool play_may(void *self, struct call *c, const AccessTarget *t, Str *ret_text)
{
    struct guard_seen *seen = self;
    seen->asked++;
    seen->action = str_dup(c->arena, t->action);
    seen->resource = t->resource;
    seen->account = t->account;
    seen->caller = c->caller;
    seen->call_account = c->account;
    *ret_text = S("no");
    return seen->allows;
}

// Whose the resource is stands in the member Free, if it is there.
static Str play_account(struct call *c, const void *in)
{
    const struct probe_Put_in *put = in;
    bool names_one = str_eq(c->op->name, S("Put")) && put->free.p != NULL;
    return names_one ? put->free : c->account;
}

static void play_target(struct call *c, const void *in, AccessTarget *ret)
{
    if (str_eq(c->op->name, S("Put")))
        ret->resource = str_cat(c->arena, S("arn:"), ((const struct probe_Put_in *)in)->name);
    else
        ret->for_everybody = str_eq(c->op->name, S("Nothing"));
}

// What is called "bound" has a policy that may refuse the root.
static bool play_binds_root(struct call *c, const void *in)
{
    return str_eq(c->op->name, S("Put")) &&
           str_eq(((const struct probe_Put_in *)in)->name, S("bound"));
}

static const struct call_targets play_targets = { .account = play_account,
                                                  .target = play_target,
                                                  .binds_root = play_binds_root };

static void stage_open_guarded(struct stage *s, struct access_guard *guard)
{
    *s = (struct stage){ .service = { .api = &probe_api, .state = s, .targets = &play_targets } };
    probe_seen = (struct probe_seen){ 0 };
    keyring_open(true, &s->keys);
    EXPECT_OK(keyring_add(s->keys, &(Key){ .access_key = S("BOB"),
                                           .secret = S(""),
                                           .account = S("111122223333"),
                                           .principal = S("arn:aws:iam::111122223333:user/bob"),
                                           .unverified = true }));
    EXPECT_OK(pool_open(1, 4, "probe", &s->pool));
    EXPECT_OK(loop_open(&s->loop));
    FrontConfig config = { .io = io_real(),
                           .keys = s->keys,
                           .services = &s->service,
                           .service_count = 1,
                           .pool = s->pool,
                           .guard = guard };
    EXPECT_OK(front_open(&config, &s->front));
    s->handler = front_handler(s->front);
}

static Reply ask_as(struct stage *s, struct arena *a, const char *key, const char *op,
                    const char *body)
{
    struct play *p = play_new(s, a, op, JSON, body);
    add_header(p, S("host"), S("127.0.0.1:4566"));
    add_header(p, S("authorization"),
               str_fmt(a,
                       "AWS4-HMAC-SHA256 Credential=%s/20250101/eu-west-1/probe/aws4_request, "
                       "SignedHeaders=host;x-amz-date, Signature=00",
                       key));
    add_header(p, S("x-amz-date"), S("20250101T000000Z"));
    perform(s, p);
    EXPECT_INT(1, p->reply.count);
    return p->reply;
}

TEST(a_call_that_is_not_permitted_is_refused_and_does_not_run)
{
    struct guard_seen seen = { 0 };
    struct access_guard guard = { .self = &seen, .may = play_may };
    struct stage s;
    stage_open_guarded(&s, &guard);
    Reply r = ask_as(&s, a, "BOB", "Put", "{\"Name\":\"abc\"}");
    EXPECT_INT(400, r.status);
    EXPECT_STR(S("{\"__type\":\"AccessDeniedException\",\"message\":\"no\"}"), r.body);
    EXPECT(probe_seen.state == NULL); // it did not run
    EXPECT_STR(S("probe:Put"), seen.action);
    EXPECT_STR(S("arn:abc"), seen.resource);
    EXPECT_STR(S("111122223333"), seen.account);
    seen.allows = true;
    EXPECT_INT(200, ask_as(&s, a, "BOB", "Put", "{\"Name\":\"abc\"}").status);
    EXPECT_INT(200, ask_as(&s, a, "BOB", "Drop", "{\"Name\":\"abc\"}").status);
    EXPECT_STR(S("*"), seen.resource);
    stage_close(&s);
}

TEST(the_root_is_asked_about_only_in_other_accounts_and_works_there_if_it_may)
{
    struct guard_seen seen = { 0 };
    struct access_guard guard = { .self = &seen, .may = play_may };
    struct stage s;
    stage_open_guarded(&s, &guard);
    EXPECT_INT(200, ask_as(&s, a, "123456789012", "Put", "{\"Name\":\"abc\"}").status);
    EXPECT_INT(0, seen.asked);
    EXPECT_INT(400,
               ask_as(&s, a, "123456789012", "Put", "{\"Name\":\"abc\",\"Free\":\"444455556666\"}")
                   .status);
    EXPECT_INT(1, seen.asked);
    seen.allows = true;
    EXPECT_INT(200,
               ask_as(&s, a, "123456789012", "Put", "{\"Name\":\"abc\",\"Free\":\"444455556666\"}")
                   .status);
    seen.allows = false;
    EXPECT_INT(400, ask_as(&s, a, "123456789012", "Put", "{\"Name\":\"bound\"}").status);
    EXPECT_INT(3, seen.asked);
    seen.allows = true;
    EXPECT_INT(200,
               ask_as(&s, a, "123456789012", "Put", "{\"Name\":\"abc\",\"Free\":\"444455556666\"}")
                   .status);
    EXPECT_STR(S("123456789012"), seen.caller);
    EXPECT_STR(S("444455556666"), seen.call_account);
    EXPECT_STR(S("444455556666"), probe_seen.account);
    stage_close(&s);
}

TEST(what_everybody_may_is_asked_of_nobody_and_input_is_checked_before)
{
    struct guard_seen seen = { 0 };
    struct access_guard guard = { .self = &seen, .may = play_may };
    struct stage s;
    stage_open_guarded(&s, &guard);
    EXPECT_INT(200, ask_as(&s, a, "BOB", "Nothing", "{}").status);
    EXPECT_INT(0, seen.asked);
    Reply r = ask_as(&s, a, "BOB", "Put", "{\"Name\":\"\"}");
    EXPECT(str_search(r.body, S("ValidationException")) < r.body.n);
    EXPECT_INT(0, seen.asked);
    stage_close(&s);
}

// ---- Query and Smithy's RPC

#define FORM "application/x-www-form-urlencoded; charset=utf-8"
#define QUERY_ERROR(type, code, message)                                               \
    "<ErrorResponse xmlns=\"http://probe.example/doc/2025-01-01/\"><Error><Type>" type \
    "</Type><Code>" code "</Code>" message "</Error><RequestId>"

static Reply ask_form(struct stage *s, struct arena *a, const char *form)
{
    return ask(s, a, NULL, FORM, form);
}

static void expect_query_error(unsigned status, const char *begin, const Reply *r)
{
    EXPECT_INT(status, r->status);
    EXPECT_STR(str_of(begin), str_head(r->body, strlen(begin)));
    EXPECT_STR(S("text/xml"), header_of(r, S("Content-Type")));
}

TEST(a_form_is_answered_in_xml)
{
    struct stage s;
    stage_open(&s);
    Reply r = ask_form(&s, a, "Action=Put&Version=2025-01-01&Name=abc&Data=aGk%3D");
    EXPECT_INT(200, r.status);
    EXPECT_STR(S("text/xml"), header_of(&r, S("Content-Type")));
    Str id = header_of(&r, S("x-amzn-RequestId"));
    EXPECT_STR(str_fmt(a,
                       "<PutResponse xmlns=\"http://probe.example/doc/2025-01-01/\"><PutResult>"
                       "<Name>abc</Name><Data>aGk=</Data><Must>0</Must><Found></Found></PutResult>"
                       "<ResponseMetadata><RequestId>%.*s</RequestId></ResponseMetadata>"
                       "</PutResponse>",
                       FMT(id)),
               r.body);
    EXPECT_STR(S("123456789012"), probe_seen.account);
    r = ask_form(&s, a, "Action=Drop&Version=2025-01-01&Name=abc");
    EXPECT(r.status == 200 && str_starts(r.body, S("<DropResponse xmlns=")));
    stage_close(&s);
}

TEST(a_form_may_be_the_query_string_of_a_get)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, NULL, NULL, "");
    p->x.method = S("GET");
    p->x.query = S("Action=Drop&Version=2025-01-01&Name=abc");
    add_dev(p);
    perform(&s, p);
    EXPECT(p->reply.status == 200 && str_starts(p->reply.body, S("<DropResponse xmlns=")));
    p = play_new(&s, a, NULL, NULL, ""); // without an action it is what every other GET is
    p->x.method = S("GET");
    p->x.query = S("Name=abc");
    add_dev(p);
    perform(&s, p);
    EXPECT_INT(403, p->reply.status);
    stage_close(&s);
}

TEST(errors_of_query_have_codes_and_statuses_of_their_own)
{
    struct stage s;
    stage_open(&s);
    Reply r = ask_form(&s, a, "Action=Fail&Version=2025-01-01&How=taken");
    expect_query_error(409, QUERY_ERROR("Sender", "AlreadyTaken", "<Message>it is taken</Message>"),
                       &r);
    r = ask_form(&s, a, "Action=Fail&Version=2025-01-01&How=x");
    expect_query_error(500, QUERY_ERROR("Receiver", "InternalFailure", ""), &r);
    r = ask_form(&s, a, "Action=Drop&Version=2025-01-01");
    expect_query_error(400,
                       QUERY_ERROR("Sender", "ValidationError",
                                   "<Message>1 validation error detected: Value null at 'name' "
                                   "failed to satisfy constraint: Member must not be "
                                   "null</Message>"),
                       &r);
    r = ask_form(&s, a, "Action=Nope&Version=2025-01-01");
    expect_query_error(400,
                       QUERY_ERROR("Sender", "InvalidAction",
                                   "<Message>Could not find operation Nope for version "
                                   "2025-01-01</Message>"),
                       &r);
    r = ask_form(&s, a, "Action=Watch&Version=2025-01-01&Ticks=1"); // its reply is a stream
    expect_query_error(400,
                       QUERY_ERROR("Sender", "InvalidAction",
                                   "<Message>Could not find operation Watch for version "
                                   "2025-01-01</Message>"),
                       &r);
    r = ask_form(&s, a, "Action=Drop&Version=1999-01-01&Name=abc");
    expect_query_error(400,
                       QUERY_ERROR("Sender", "InvalidAction",
                                   "<Message>Could not find operation Drop for version "
                                   "1999-01-01</Message>"),
                       &r);
    r = ask_form(&s, a, "Version=2025-01-01");
    expect_query_error(400,
                       QUERY_ERROR("Sender", "MissingAction",
                                   "<Message>The request is missing an action.</Message>"),
                       &r);
    r = ask_form(&s, a, "Action=Drop&Version=2025-01-01&Name=%zz");
    expect_query_error(400, QUERY_ERROR("Sender", "MalformedInput", ""), &r);
    r = ask_form(&s, a, "Action=Put&Version=2025-01-01&Name=abc&Small=x");
    expect_query_error(400,
                       QUERY_ERROR("Sender", "MalformedInput",
                                   "<Message>class java.lang.String can not be converted to an "
                                   "Integer</Message>"),
                       &r);
    stage_close(&s);
}

TEST(a_form_that_is_not_signed_is_refused_with_the_code_of_query)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, NULL, FORM, "Action=Drop&Version=2025-01-01&Name=abc");
    perform(&s, p);
    expect_query_error(403,
                       QUERY_ERROR("Sender", "MissingAuthenticationToken",
                                   "<Message>Missing Authentication Token</Message>"),
                       &p->reply);
    stage_close(&s);
}

TEST(a_form_for_a_service_that_speaks_no_query_is_refused_as_before)
{
    struct api_service other = probe_api;
    other.protocols = API_JSON_1_1;
    FrontService one = { .api = &other };
    struct stage s;
    stage_open(&s);
    front_close(s.front);
    FrontConfig config = { .io = io_real(), .keys = s.keys, .services = &one, .service_count = 1 };
    EXPECT_OK(front_open(&config, &s.front));
    s.handler = front_handler(s.front);
    Reply r = ask_form(&s, a, "Action=Drop&Version=2025-01-01&Name=abc");
    EXPECT_INT(403, r.status);
    EXPECT(str_starts(r.body, S("<AccessDeniedException>")));
    stage_close(&s);
}

static struct play *play_rpc(struct stage *s, struct arena *a, const char *path, Str body)
{
    struct play *p = play_new(s, a, NULL, "application/cbor", "");
    p->x.path = str_of(path);
    p->x.body = body;
    add_header(p, S("smithy-protocol"), S("rpc-v2-cbor"));
    add_dev(p);
    return p;
}

static Reply ask_rpc(struct stage *s, struct arena *a, const char *path, Str body)
{
    struct play *p = play_rpc(s, a, path, body);
    perform(s, p);
    EXPECT_INT(1, p->reply.count);
    EXPECT_STR(S("rpc-v2-cbor"), header_of(&p->reply, S("smithy-protocol")));
    EXPECT_STR(S("application/cbor"), header_of(&p->reply, S("Content-Type")));
    return p->reply;
}

TEST(an_operation_is_named_by_the_path)
{
    struct stage s;
    stage_open(&s);
    Str body = S("\xa1\x66Moment\xc1\xfb\x41\xd9\xb1\x1c\xfa\xa4\x49\xba"); // seconds, as a double
    Reply r = ask_rpc(&s, a, "/service/Probe_20250101/operation/Echo", body);
    EXPECT_INT(200, r.status);
    EXPECT(str_starts(r.body, S("\xbf\x66Moment\xc1\xfb")));
    body = S("\xa1\x66Moment\xc1\x1a\x66\xc4\x73\xea");
    r = ask_rpc(&s, a, "/any/prefix/service/Probe_20250101/operation/Echo", body);
    EXPECT_STR(S("\xbf\x66Moment\xc1\x1a\x66\xc4\x73\xea\xff"), r.body);
    r = ask_rpc(&s, a, "/service/Probe_20250101/operation/Nothing", S(""));
    expect_reply(200, S("\xbf\xff"), &r);
    stage_close(&s);
}

TEST(what_the_path_does_not_name_is_unknown)
{
    static const char *const paths[] = { "/service/Probe_20250101/operation/Nope",
                                         "/service/Other/operation/Drop",
                                         "/",
                                         "",
                                         "/operation/Drop",
                                         "/service//operation/" };
    struct stage s;
    stage_open(&s);
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        Reply r = ask_rpc(&s, a, paths[i], S("\xa0"));
        EXPECT_INT(404, r.status);
        EXPECT(str_search(r.body, S("UnknownOperationException")) < r.body.n);
    }
    stage_close(&s);
}

TEST(clients_that_knew_query_are_told_its_codes)
{
    struct stage s;
    stage_open(&s);
    Reply r = ask_rpc(&s, a, "/service/Probe_20250101/operation/Fail", S("\xa1\x63How\x65taken"));
    EXPECT_INT(409, r.status);
    EXPECT(str_search(r.body, S("\x66__type\x65Taken")) < r.body.n);
    EXPECT_STR(S("AlreadyTaken;Sender"), header_of(&r, S("x-amzn-query-error")));
    r = ask(&s, a, "Fail", JSON, "{\"How\":\"taken\"}");
    EXPECT_STR(S("AlreadyTaken;Sender"), header_of(&r, S("x-amzn-query-error")));
    r = ask(&s, a, "Fail", JSON, "{\"How\":\"x\"}");
    EXPECT_STR(S("InternalFailure;Receiver"), header_of(&r, S("x-amzn-query-error")));
    stage_close(&s);
}

// gzip of {"Flat":["a"]}, and of a form for the same.
#define GZIP_JSON                                                                          \
    "\037\213\010\000\000\000\000\000\002\003\253\126\162\313\111\054\121\262\212\126\112" \
    "\124\212\255\005\000\276\323\316\102\016\000\000\000"
#define GZIP_FORM                                                                          \
    "\037\213\010\000\000\000\000\000\002\003\163\114\056\311\314\317\263\165\115\316\310" \
    "\127\013\113\055\052\006\161\214\014\214\114\165\015\014\201\110\315\055\047\261\104" \
    "\317\320\066\021\000\327\156\366\135\047\000\000\000"

TEST(a_compressed_body_is_read_where_the_operation_permits_it)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Echo", JSON, "");
    p->x.body = S(GZIP_JSON);
    add_header(p, S("content-encoding"), S("gzip"));
    add_dev(p);
    perform(&s, p);
    expect_reply(200, S("{\"Flat\":[\"a\"]}"), &p->reply);

    p = play_new(&s, a, NULL, FORM, "");
    p->x.body = S(GZIP_FORM);
    add_header(p, S("content-encoding"), S("gzip"));
    add_dev(p);
    perform(&s, p);
    EXPECT_INT(200, p->reply.status);
    EXPECT(str_search(p->reply.body, S("<EchoResult><Flat>a</Flat></EchoResult>")) <
           p->reply.body.n);

    p = play_new(&s, a, "Put", JSON, "{\"Name\":\"abc\"}"); // it is not read there
    add_header(p, S("content-encoding"), S("gzip"));
    add_dev(p);
    perform(&s, p);
    EXPECT_INT(200, p->reply.status);

    p = play_new(&s, a, "Echo", JSON, "{\"Flat\":[\"a\"]}");
    add_header(p, S("content-encoding"), S("gzip"));
    add_dev(p);
    perform(&s, p);
    expect_reply(400, S("{\"__type\":\"SerializationException\"}"), &p->reply);
    stage_close(&s);
}

TEST(the_largest_body_is_known_from_the_head)
{
    struct stage s;
    stage_open(&s);
    struct play *p = play_new(&s, a, "Echo", JSON, "");
    EXPECT_INT(1024, s.handler.body_max(s.handler.self, &p->x));
    p = play_rpc(&s, a, "/service/Probe_20250101/operation/Echo", S(""));
    EXPECT_INT(1024, s.handler.body_max(s.handler.self, &p->x));
    p = play_new(&s, a, NULL, FORM, "");
    add_dev(p);
    EXPECT_INT(7 << 20, s.handler.body_max(s.handler.self, &p->x)); // its largest operation's
    p->x.body = str_cat(a, S("Action=Echo&Each="), str_fmt(a, "%01024d", 0));
    perform(&s, p);
    EXPECT_INT(413, p->reply.status);
    stage_close(&s);
}

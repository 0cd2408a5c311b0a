// SPDX-License-Identifier: Apache-2.0
// Digests of bodies that arrive side by side. The rig's handler compares each with its body.
#include "codec/hash.h"
#include "http/server_priv.h"
#include "http/test_rig.h"
#include "os/loop.h"

#include <string.h>
#include <unistd.h>

enum { BODIES = 5, BODY_BYTES_MAX = 300000, LARGE = 400000 };

static Str noise(struct arena *a, size_t n)
{
    char *p = arena_alloc(a, n, 1);
    uint32_t state = 2463534242;
    for (size_t i = 0; i < n; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        p[i] = (char)(1 + state % 255); // the rig answers with text: no zero bytes
    }
    return str_from(p, n);
}

static void say_head(struct arena *a, int fd, size_t n)
{
    say(fd, str_fmt(a, "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", n));
}

// ---- The rules, on bodies without connections

struct stage {
    struct http_server server;
    struct http_loop loop;
    struct exchange bodies[BODIES];
    Str whole[BODIES];
    uint64_t random;
};

static bool wants(void *self, const struct http_exchange *x)
{
    (void)self;
    (void)x;
    return true;
}

static struct stage *stage_new(struct arena *a)
{
    struct stage *s = arena_new(a, struct stage, 1);
    s->server.handler.wants_sha256 = wants;
    s->server.metrics.hashed_alone =
        metric_get(METRIC_COUNTER, S("test_hashed_total"), S("Bytes."), S("beside=\"none\""));
    s->server.metrics.hashed_paired =
        metric_get(METRIC_COUNTER, S("test_hashed_total"), S("Bytes."), S("beside=\"another\""));
    s->loop.server = &s->server;
    s->random = 88172645463325252;
    for (size_t i = 0; i < BODIES; i++) {
        s->bodies[i].on = &s->loop;
        s->bodies[i].x.arena = a;
    }
    return s;
}

static int64_t paired(const struct stage *s)
{
    return metric_value(s->server.metrics.hashed_paired);
}

static int64_t alone(const struct stage *s)
{
    return metric_value(s->server.metrics.hashed_alone);
}

static void begin(struct stage *s, size_t i, Str whole)
{
    struct exchange *e = &s->bodies[i];
    s->whole[i] = whole;
    e->x.body_sha256 = NULL;
    e->body = (struct body){ .p = (char *)(uintptr_t)whole.p };
    body_hash_begin(e, whole.n);
}

static void arrive(struct stage *s, size_t i, size_t n)
{
    s->bodies[i].body.n += MIN(n, s->whole[i].n - s->bodies[i].body.n);
    body_hash_arrived(&s->bodies[i]);
}

static void end(struct stage *s, size_t i)
{
    unsigned char digest[SHA256_BYTES];
    struct exchange *e = &s->bodies[i];
    arrive(s, i, s->whole[i].n);
    body_hash_end(e);
    sha256(s->whole[i].p, s->whole[i].n, digest);
    EXPECT(e->x.body_sha256 != NULL && memcmp(e->x.body_sha256, digest, sizeof digest) == 0);
    e->body = (struct body){ 0 };
}

TEST(two_bodies_are_hashed_side_by_side_and_one_alone_as_it_arrives)
{
    struct stage *s = stage_new(a);
    int64_t alone_before = alone(s), paired_before = paired(s);
    Str bytes = noise(a, LARGE);
    begin(s, 0, bytes);
    arrive(s, 0, 100000);
    EXPECT_INT(100000, alone(s) - alone_before); // there is nobody to wait for
    begin(s, 1, bytes);
    arrive(s, 0, 100000);
    EXPECT_INT(100000, alone(s) - alone_before); // now there is
    arrive(s, 1, 60000);
    EXPECT_INT(120000, paired(s) - paired_before);
    end(s, 0); // takes what the other has, and waits no longer
    EXPECT_INT(120000, paired(s) - paired_before);
    EXPECT_INT(340000, alone(s) - alone_before);
    end(s, 1);
    EXPECT_INT(0, s->loop.hashing);
    EXPECT(s->loop.waits_for_hash == NULL);
}

TEST(small_bodies_and_those_nobody_asks_for_have_no_digest)
{
    struct stage *s = stage_new(a);
    Str bytes = noise(a, LARGE);
    begin(s, 0, str_head(bytes, 1000));
    EXPECT(s->bodies[0].body.hash == NULL);
    s->server.handler.wants_sha256 = NULL;
    begin(s, 0, bytes);
    arrive(s, 0, LARGE);
    body_hash_end(&s->bodies[0]);
    EXPECT(s->bodies[0].x.body_sha256 == NULL && s->loop.hashing == 0);
}

static uint64_t next(struct stage *s)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return s->random;
}

static void one_step(struct stage *s, Str bytes)
{
    uint64_t random = next(s);
    size_t i = random % BODIES, n = (random >> 8) % 40000;
    struct body *b = &s->bodies[i].body;
    if (b->hash == NULL)
        begin(s, i, str_head(str_skip(bytes, n % 64), 16384 + (random >> 24) % BODY_BYTES_MAX));
    else if ((random >> 48) % 50 == 0)
        body_hash_drop(&s->loop, b); // refused, or its client has gone
    else if (b->n + n >= s->whole[i].n)
        end(s, i);
    else
        arrive(s, i, n);
}

TEST(whatever_the_order_of_pieces_ends_and_losses_each_digest_is_its_bodys)
{
    enum { STEPS = 4000 };
    struct stage *s = stage_new(a);
    Str bytes = noise(a, BODY_BYTES_MAX + 20000);
    int64_t before = paired(s);
    for (int step = 0; step < STEPS; step++) {
        one_step(s, bytes);
        size_t hashing = 0;
        for (size_t i = 0; i < BODIES; i++)
            hashing += s->bodies[i].body.hash != NULL;
        EXPECT_INT(hashing, s->loop.hashing);
        EXPECT(s->loop.waits_for_hash == NULL || s->loop.waits_for_hash->hash != NULL);
    }
    EXPECT(paired(s) > before);
}

// ---- Bodies that are hashed when they are complete, on the loops of one server

struct board {
    struct stage *at[2]; // one loop and its bodies each; the server is that of the first
    struct conn conn;    // of all: closed, so that no work on it is begun
    size_t requests;     // handed to the handler
};

static void count_request(void *self, struct http_exchange *x)
{
    struct board *b = self;
    EXPECT(x->body_sha256 != NULL);
    b->requests++;
}

static bool wants_all(void *self, const struct http_exchange *x)
{
    (void)self;
    (void)x;
    return true;
}

static struct board *board_new(struct arena *a)
{
    struct board *b = arena_new(a, struct board, 1);
    b->conn.closed = true;
    for (int i = 0; i < 2; i++) {
        struct stage *s = b->at[i] = stage_new(a);
        s->loop.server = &b->at[0]->server;
        s->loop.op_last = &s->loop.op_first;
        s->loop.dirty_last = &s->loop.dirty_first;
        s->loop.op_task.run = op_run;
        s->loop.hash_task.run = body_hash_waited;
        EXPECT_OK(loop_open(&s->loop.loop));
        for (size_t k = 0; k < BODIES; k++)
            s->bodies[k].c = &b->conn;
    }
    struct http_server *server = &b->at[0]->server;
    server->limits.hash_whole_bytes_max = BODY_BYTES_MAX;
    server->handler =
        (struct http_handler){ .self = b, .wants_sha256 = wants_all, .request = count_request };
    return b;
}

// Runs what the loop has been given to do, until there is nothing left.
static void run(struct stage *s)
{
    loop_stop(s->loop.loop);
    loop_run(s->loop.loop);
}

static void board_end(struct board *b)
{
    struct http_server *server = &b->at[0]->server;
    EXPECT(server->board == NULL && server->pending_hashes == 0);
    for (int i = 0; i < 2; i++) {
        EXPECT_INT(0, b->at[i]->loop.hashing);
        loop_close(b->at[i]->loop.loop);
    }
}

static void arrive_whole(struct stage *s, size_t i, Str whole)
{
    begin(s, i, whole);
    arrive(s, i, whole.n);
}

// Whether the digest was made at once.
static bool complete(struct stage *s, size_t i)
{
    bool ret = body_hash_end(&s->bodies[i]);
    EXPECT(ret == (s->bodies[i].x.body_sha256 != NULL));
    return ret;
}

static void expect_digest(struct stage *s, size_t i)
{
    unsigned char digest[SHA256_BYTES];
    sha256(s->whole[i].p, s->whole[i].n, digest);
    const unsigned char *got = s->bodies[i].x.body_sha256;
    EXPECT(got != NULL && memcmp(got, digest, sizeof digest) == 0);
}

TEST(a_complete_body_waits_for_one_of_another_loop)
{
    struct board *b = board_new(a);
    int64_t alone_before = alone(b->at[0]), paired_before = paired(b->at[0]);
    Str bytes = noise(a, BODY_BYTES_MAX);
    arrive_whole(b->at[0], 0, bytes);
    EXPECT_INT(BODY_BYTES_MAX, alone(b->at[0]) - alone_before); // it was the only one
    EXPECT(complete(b->at[0], 0));
    expect_digest(b->at[0], 0);
    begin(b->at[0], 1, str_head(bytes, 200000)); // the first is not answered: there are several
    arrive(b->at[0], 1, 200000);
    EXPECT(!complete(b->at[0], 1));
    arrive_whole(b->at[1], 0, str_skip(bytes, 100000));
    EXPECT(complete(b->at[1], 0));
    EXPECT_INT(400000, paired(b->at[0]) - paired_before);
    EXPECT_INT(0, b->requests);
    run(b->at[0]);
    EXPECT_INT(1, b->requests);
    expect_digest(b->at[0], 1);
    expect_digest(b->at[1], 0);
    board_end(b);
}

TEST(what_waits_in_vain_is_hashed_alone)
{
    struct board *b = board_new(a);
    Str bytes = noise(a, BODY_BYTES_MAX);
    begin(b->at[1], 0, bytes); // arrives slowly
    arrive_whole(b->at[0], 0, str_skip(bytes, 7));
    EXPECT(!complete(b->at[0], 0));
    EXPECT_INT(1, b->at[0]->server.pending_hashes);
    run(b->at[0]);
    EXPECT_INT(1, b->requests);
    expect_digest(b->at[0], 0);
    arrive(b->at[1], 0, bytes.n);
    EXPECT(!complete(b->at[1], 0)); // the other is not answered yet
    run(b->at[1]);
    EXPECT_INT(2, b->requests);
    expect_digest(b->at[1], 0);
    board_end(b);
}

TEST(the_rest_of_a_longer_body_waits_again)
{
    struct board *b = board_new(a);
    int64_t paired_before = paired(b->at[0]);
    Str bytes = noise(a, BODY_BYTES_MAX);
    arrive_whole(b->at[0], 0, str_head(bytes, 100000));
    arrive_whole(b->at[1], 0, bytes);
    arrive_whole(b->at[0], 1, str_head(bytes, 200000));
    int64_t paired_early = paired(b->at[0]) - paired_before;
    EXPECT(!complete(b->at[1], 0));
    EXPECT(complete(b->at[0], 1)); // beside the first of the longer one
    run(b->at[1]);
    expect_digest(b->at[1], 0);
    EXPECT_INT(400000, paired(b->at[0]) - paired_before - paired_early);
    EXPECT_INT(1, b->requests);
    EXPECT(complete(b->at[0], 0)); // was hashed as it came, when it was alone
    board_end(b);
}

// ---- With connections

static void expect_digests(struct arena *a, size_t loops, size_t whole_bytes_max)
{
    enum { CLIENTS = 4, ROUNDS = 3, PIECE = 50000 };
    struct rig r;
    rig_init(&r);
    r.config.loop_count = loops;
    r.config.limits.hash_whole_bytes_max = whole_bytes_max;
    rig_start(&r);
    int fd[CLIENTS];
    Str bytes = noise(a, LARGE + CLIENTS), head;
    for (int i = 0; i < CLIENTS; i++)
        fd[i] = dial(&r);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CLIENTS; i++)
            say_head(a, fd[i], LARGE);
        for (size_t at = 0; at < LARGE; at += PIECE)
            for (size_t i = 0; i < CLIENTS; i++)
                say(fd[i], str_head(str_skip(bytes, i + at), PIECE));
        for (int i = 0; i < CLIENTS; i++)
            EXPECT_INT(LARGE + 11, hear_reply(a, fd[i], &head).n);
    }
    EXPECT_INT(CLIENTS * ROUNDS, desk_digests(&r.desk));
    for (int i = 0; i < CLIENTS; i++)
        close(fd[i]);
    rig_stop(&r);
}

TEST(bodies_on_several_connections_come_with_their_digests)
{
    for (size_t loops = 1; loops <= RIG_LOOPS; loops++) {
        expect_digests(a, loops, 0);
        expect_digests(a, loops, LARGE);
    }
}

static bool saw_the_client_leave(void *of)
{
    (void)of;
    return metric_now(S("headrace_http_connections"), S("protocol=\"h1\""), METRIC_GAUGE) == 1;
}

TEST(a_body_that_waits_is_forgotten_with_its_client)
{
    struct rig r;
    rig_init(&r);
    r.config.loop_count = 1;
    rig_start(&r);
    Str bytes = noise(a, LARGE);
    int stays = dial(&r), leaves = dial(&r);
    say_head(a, stays, LARGE);
    say(stays, str_head(bytes, 100000));
    say_head(a, leaves, LARGE);
    say(leaves, str_head(bytes, 200000));
    say(stays, str_head(str_skip(bytes, 100000), 30000));
    close(leaves);
    wait_until(saw_the_client_leave, NULL);
    say(stays, str_skip(bytes, 130000));
    EXPECT_INT(LARGE + 11, hear_reply(a, stays, NULL).n);
    EXPECT_INT(1, desk_digests(&r.desk));
    close(stays);
    rig_stop(&r);
}

TEST(requests_sent_ahead_are_answered_in_order_with_large_and_small_bodies)
{
    struct rig r;
    rig_init(&r);
    r.config.loop_count = 1;
    rig_start(&r);
    Str bytes = noise(a, LARGE), large = str_fmt(a, "PUT /x - [%.*s]", FMT(str_head(bytes, 9)));
    int fd = dial(&r), other = dial(&r);
    say_head(a, other, LARGE); // somebody to be hashed beside
    say(other, str_head(bytes, 100000));
    say_head(a, fd, LARGE);
    say(fd, bytes);
    say_head(a, fd, 2);
    say(fd, S("ab"));
    Str reply = hear_reply(a, fd, NULL);
    EXPECT_INT(LARGE + 11, reply.n);
    EXPECT(memcmp(reply.p, large.p, 19) == 0);
    EXPECT_STR(S("PUT /x - [ab]"), hear_reply(a, fd, NULL));
    say(other, str_skip(bytes, 100000));
    EXPECT_INT(LARGE + 11, hear_reply(a, other, NULL).n);
    EXPECT_INT(2, desk_digests(&r.desk));
    close(fd);
    close(other);
    rig_stop(&r);
}

TEST(a_handler_that_wants_no_digests_gets_none)
{
    struct rig r;
    rig_init(&r);
    r.desk.declines_sha256 = true;
    rig_start(&r);
    int fd = dial(&r);
    say_head(a, fd, LARGE);
    say(fd, noise(a, LARGE));
    EXPECT_INT(LARGE + 11, hear_reply(a, fd, NULL).n);
    EXPECT_INT(0, desk_digests(&r.desk));
    close(fd);
    rig_stop(&r);
}

TEST(a_request_whose_client_left_while_it_waited_is_forgotten)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    Str bytes = noise(a, LARGE);
    enum { CLIENTS = 4, ROUNDS = 8 };
    for (int round = 0; round < ROUNDS; round++) {
        int fd[CLIENTS];
        for (int i = 0; i < CLIENTS; i++) {
            fd[i] = dial(&r);
            say_head(a, fd[i], LARGE);
            say(fd[i], str_head(bytes, LARGE - 1));
        }
        for (int i = 0; i < CLIENTS; i++)
            say(fd[i], str_skip(bytes, LARGE - 1));
        for (int i = 0; i < CLIENTS; i++) {
            if (i % 2 == 1)
                EXPECT_INT(LARGE + 11, hear_reply(a, fd[i], NULL).n);
            close(fd[i]);
        }
    }
    EXPECT(desk_digests(&r.desk) >= CLIENTS / 2 * ROUNDS);
    rig_stop(&r); // waits for those that are under way
}

// SPDX-License-Identifier: Apache-2.0
// Destinations that answer this and that, by a sink of the test's own.
#include "base/test.h"
#include "codec/json.h"
#include "delivery/test_world.h"

#include <stdatomic.h>
#include <stdlib.h>

static struct test_world world;

// What the sink does, and what it saw.
static struct play {
    SinkResult next[16]; // of the attempts to come
    size_t next_n, at;
    bool refuse_bad; // records that begin with "bad" get a fault of their own
    size_t attempts, give_ups;
    unsigned fail_give_up;
    char ids[16][37];
    struct buf got; // what was delivered
    size_t largest; // records of an attempt
} play;

static Err play_open(struct delivery_env *env, const DeliveryConfig *config, struct sink **ret,
                     struct arena *a, Str *ret_text);

static void play_close(struct sink *s)
{
    free(s);
}

static SinkResult play_deliver(struct sink *s, SinkAttempt *a)
{
    SinkResult result = play.at < play.next_n ? play.next[play.at++] : SINK_DELIVERED;
    (void)s;
    if (play.attempts < COUNT_OF(play.ids))
        memcpy(play.ids[play.attempts], a->request_id.p, MIN(a->request_id.n, (size_t)36));
    play.attempts++;
    size_t pending = 0;
    for (size_t i = 0; i < a->batch->n; i++)
        pending += a->pending[i];
    EXPECT_INT(pending, a->pending_count);
    play.largest = MAX(play.largest, pending);
    a->code = str_fmt(a->arena, "Play.Code%zu", play.attempts);
    a->message = str_fmt(a->arena, "attempt %lld", (long long)a->attempt);
    for (size_t i = 0; i < a->batch->n && a->objects == NULL; i++) {
        DeliveryRecord *r = &a->batch->at[i];
        if (!a->pending[i])
            continue;
        if (play.refuse_bad && str_starts(r->data, S("bad"))) {
            r->fault = (DeliveryFault){ .type = "play-failed",
                                        .code = str_fmt(a->arena, "400"),
                                        .message = str_fmt(a->arena, "it is bad") };
            a->pending[i] = false;
        } else if (result == SINK_DELIVERED) {
            buf_add(&play.got, r->data);
        }
    }
    for (size_t i = 0; i < a->object_count && result == SINK_DELIVERED; i++)
        buf_addf(&play.got, "[%.*s]", FMT(a->objects[i].bucket));
    return result;
}

static int64_t play_pause(struct sink *s, int64_t attempts)
{
    (void)s;
    return attempts * 1000000000;
}

static Err play_give_up(struct sink *s, SinkAttempt *a)
{
    (void)s;
    (void)a;
    play.give_ups++;
    if (play.fail_give_up == 0)
        return OK;
    play.fail_give_up--;
    return fail(ERR_IO, "injected");
}

static struct sink_ops play_ops = { .error_type = "play-failed",
                                    .metric = "Play",
                                    .open = play_open,
                                    .close = play_close,
                                    .deliver = play_deliver,
                                    .pause_ns = play_pause };

static Err play_open(struct delivery_env *env, const DeliveryConfig *config, struct sink **ret,
                     struct arena *a, Str *ret_text)
{
    (void)env;
    (void)config;
    (void)a;
    (void)ret_text;
    struct sink *s = xalloc(sizeof *s);
    s->ops = &play_ops;
    *ret = s;
    return OK;
}

static struct delivery *begin(struct test_world *w, int64_t retry_s)
{
    buf_done(&play.got);
    memset(&play, 0, sizeof play);
    play_ops.records_max = 0;
    play_ops.wants_objects = false;
    play_ops.give_up = NULL;
    world_open(w);
    w->deliveries->test_ops = &play_ops;
    DeliveryConfig c = world_config(w, 7);
    c.kind = DELIVER_HTTP;
    c.http.url = S("http://example.com/in");
    c.retry_ns = retry_s * 1000000000;
    c.backup = c.s3;
    c.s3 = (DeliveryBucket){ 0 };
    return world_add(w, &c);
}

// ---- Many slow destinations

enum { MANY = 100, ROOM_TEST_BYTES = 2 << 20, EACH_BYTES = 200 << 10 };

static struct {
    atomic_size_t most, at_once, most_at_once, sent;
    int64_t until_ns; // as long as the first waits for another one
} seen;

static void raise_to(atomic_size_t *most, size_t n)
{
    size_t before = atomic_load(most);
    while (n > before && !atomic_compare_exchange_weak(most, &before, n))
        continue;
}

static SinkResult slow_deliver(struct sink *s, SinkAttempt *at)
{
    struct deliveries *d = world.deliveries;
    (void)s;
    raise_to(&seen.most_at_once, atomic_fetch_add(&seen.at_once, 1) + 1);
    do // the first of all is there until another one comes
        io_real()->sleep_ns(io_real(), 5000000);
    while (atomic_load(&seen.most_at_once) < 2 && io_real()->mono_ns(io_real()) < seen.until_ns);
    pthread_mutex_lock(&d->lock);
    raise_to(&seen.most, d->held_bytes + d->reserved_bytes);
    pthread_mutex_unlock(&d->lock);
    atomic_fetch_add(&seen.sent, at->batch->n);
    atomic_fetch_sub(&seen.at_once, 1);
    return SINK_DELIVERED;
}

static void plan_results(const SinkResult *results, size_t n)
{
    memcpy(play.next, results, n * sizeof *results);
    play.next_n = n;
}

static void end(struct test_world *w, struct delivery *v)
{
    delivery_remove(v);
    world_close(w);
    buf_done(&play.got);
}

TEST(a_batch_goes_to_the_destination_and_is_not_sent_again)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, 300);
    world_put_one(w, v, S("one,"));
    world_put_one(w, v, S("two,"));
    world_advance(w, 60000);
    EXPECT_STR(S("one,two,"), buf_str(&play.got));
    world_advance(w, 600000);
    EXPECT_INT(1, play.attempts);
    EXPECT_INT(0, w->object_n);
    delivery_remove(v);
    world_restart(w);
    w->deliveries->test_ops = &play_ops;
    DeliveryConfig c = world_config(w, 7);
    v = world_add(w, &c);
    world_advance(w, 60000);
    EXPECT_INT(1, play.attempts);
    end(w, v);
}

TEST(a_failed_attempt_is_repeated_with_the_same_id_after_the_sinks_pause)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, 300);
    plan_results((SinkResult[]){ SINK_RETRY, SINK_RETRY }, 2);
    world_put_one(w, v, S("one,"));
    world_advance(w, 60000);
    EXPECT_INT(1, play.attempts);
    DeliveryState state;
    delivery_state(v, a, &state);
    EXPECT_STR(S("Play.Code1"), state.last_code);
    EXPECT_STR(S("attempt 1"), state.last_error);
    EXPECT_INT(1, state.backlog_records);
    world_put_one(w, v, S("later,"));
    world_advance(w, 999);
    EXPECT_INT(1, play.attempts);
    world_advance(w, 1);
    EXPECT_INT(2, play.attempts);
    world_advance(w, 1999);
    EXPECT_INT(2, play.attempts);
    world_advance(w, 1);
    EXPECT_INT(3, play.attempts);
    EXPECT_STR(S("one,"), buf_str(&play.got)); // what came later is another batch
    EXPECT(memcmp(play.ids[0], play.ids[1], 36) == 0 && memcmp(play.ids[0], play.ids[2], 36) == 0);
    world_advance(w, 60000);
    EXPECT_STR(S("one,later,"), buf_str(&play.got));
    EXPECT(memcmp(play.ids[0], play.ids[3], 36) != 0);
    end(w, v);
}

// The record of what failed, as it lies in the bucket.
static JsonValue *failed_line(struct test_world *w, struct arena *a, size_t n)
{
    Str all = world_content(w, a, S("play-failed/2018/08/27/10/clicks-1-")), line = { 0 };
    JsonValue *v;
    for (size_t i = 0; i <= n; i++)
        EXPECT(str_cut(all, '\n', &line, &all));
    EXPECT_OK(json_parse(a, line, &v));
    return v;
}

TEST(when_its_time_is_over_a_batch_goes_to_the_bucket)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, 3);
    plan_results((SinkResult[]){ SINK_RETRY, SINK_RETRY, SINK_RETRY, SINK_RETRY }, 4);
    world_put_one(w, v, S("one"));
    world_put_one(w, v, S("two"));
    world_advance(w, 60000); // at 0, 1, and 3 s
    world_advance(w, 1000);
    EXPECT_INT(0, w->object_n);
    world_advance(w, 2000);
    EXPECT_INT(3, play.attempts);
    EXPECT_INT(1, w->object_n);
    JsonValue *first = failed_line(w, a, 0);
    EXPECT_INT(3, json_find(first, S("attemptsMade"))->integer);
    EXPECT_INT(WORLD_MS, json_find(first, S("arrivalTimestamp"))->integer);
    EXPECT_STR(S("Play.Code3"), json_text(first, S("errorCode")));
    EXPECT_STR(S("attempt 3"), json_text(first, S("errorMessage")));
    EXPECT_INT(WORLD_MS + 63000, json_find(first, S("attemptEndingTimestamp"))->integer);
    EXPECT_STR(S("b25l"), json_text(first, S("rawData")));
    EXPECT_STR(S("dHdv"), json_text(failed_line(w, a, 1), S("rawData")));
    world_advance(w, 600000);
    EXPECT_INT(3, play.attempts);
    EXPECT_INT(0, play.got.n);
    end(w, v);
}

TEST(without_a_retry_the_first_failure_is_the_last)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, 0);
    plan_results((SinkResult[]){ SINK_RETRY }, 1);
    world_put_one(w, v, S("one"));
    world_advance(w, 60000);
    EXPECT_INT(1, play.attempts);
    EXPECT_INT(1, w->object_n);
    end(w, v);
}

TEST(what_is_refused_is_not_tried_again)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, 300);
    plan_results((SinkResult[]){ SINK_REFUSED }, 1);
    world_put_one(w, v, S("one"));
    world_advance(w, 60000);
    EXPECT_INT(1, play.attempts);
    EXPECT_STR(S("Play.Code1"), json_text(failed_line(w, a, 0), S("errorCode")));
    world_put_one(w, v, S("two,"));
    world_advance(w, 60000);
    EXPECT_STR(S("two,"), buf_str(&play.got));
    end(w, v);
}

TEST(single_records_that_are_refused_do_not_hold_up_the_others)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, 300);
    play.refuse_bad = true;
    plan_results((SinkResult[]){ SINK_RETRY }, 1);
    world_put(w, v, (Str[]){ S("one,"), S("bad1"), S("two,"), S("bad2") }, 4);
    world_advance(w, 60000);
    world_advance(w, 1000);
    EXPECT_STR(S("one,two,"), buf_str(&play.got));
    JsonValue *first = failed_line(w, a, 0);
    EXPECT_STR(S("400"), json_text(first, S("errorCode")));
    EXPECT_STR(S("it is bad"), json_text(first, S("errorMessage")));
    EXPECT_STR(S("YmFkMg=="), json_text(failed_line(w, a, 1), S("rawData")));
    end(w, v);
}

// The destination has the batch; only what is said of failed records is written again.
TEST(a_bucket_that_fails_does_not_make_a_batch_be_sent_twice)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, 300);
    play.refuse_bad = true;
    w->no_bucket = true;
    world_put(w, v, (Str[]){ S("one,"), S("bad1") }, 2);
    world_advance(w, 60000);
    EXPECT_INT(1, play.attempts);
    EXPECT_STR(S("one,"), buf_str(&play.got));
    DeliveryState state;
    delivery_state(v, a, &state);
    EXPECT_STR(S("S3.NoSuchBucket"), state.last_code);
    world_advance(w, 10000);
    w->no_bucket = false;
    world_advance(w, 120000);
    EXPECT_INT(1, play.attempts);
    EXPECT_INT(1, w->object_n);
    EXPECT_STR(S("YmFkMQ=="), json_text(failed_line(w, a, 0), S("rawData")));
    end(w, v);
}

TEST(a_destination_gets_no_more_at_once_than_it_takes)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, 300);
    play_ops.records_max = 2;
    plan_results((SinkResult[]){ SINK_DELIVERED, SINK_RETRY, SINK_REFUSED, SINK_DELIVERED }, 4);
    world_put(w, v, (Str[]){ S("1,"), S("2,"), S("3,"), S("4,"), S("5,") }, 5);
    world_advance(w, 60000);
    world_advance(w, 1000);
    EXPECT_STR(S("1,2,5,"), buf_str(&play.got));
    EXPECT_INT(2, play.largest);
    EXPECT_INT(4, play.attempts);
    EXPECT_STR(S("Myw="), json_text(failed_line(w, a, 0), S("rawData")));
    EXPECT_STR(S("NCw="), json_text(failed_line(w, a, 1), S("rawData")));
    EXPECT(memcmp(play.ids[1], play.ids[2], 36) == 0 && memcmp(play.ids[0], play.ids[1], 36) != 0);
    end(w, v);
}

TEST(a_batch_that_is_not_kept_is_read_again_as_it_was)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, 300);
    plan_results((SinkResult[]){ SINK_RETRY, SINK_RETRY }, 2);
    world_put(w, v, (Str[]){ S("1,"), S("2,") }, 2);
    w->deliveries->held_bytes = (size_t)1 << 40; // others hold much
    world_advance(w, 60000);
    EXPECT_INT(1, play.attempts);
    DeliveryState state;
    delivery_state(v, a, &state);
    EXPECT_INT(2, state.backlog_records);
    world_put_one(w, v, S("3,"));
    world_advance(w, 1000);
    world_advance(w, 2000);
    EXPECT_INT(3, play.attempts);
    EXPECT_STR(S("1,2,"), buf_str(&play.got));
    EXPECT(memcmp(play.ids[0], play.ids[2], 36) == 0);
    world_advance(w, 60000);
    EXPECT_STR(S("1,2,3,"), buf_str(&play.got));
    delivery_state(v, a, &state);
    EXPECT_INT(0, state.backlog_records);
    EXPECT_INT((int64_t)1 << 40, w->deliveries->held_bytes);
    end(w, v);
}

TEST(a_restart_in_the_middle_begins_the_batch_anew)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, 300);
    plan_results((SinkResult[]){ SINK_RETRY }, 1);
    world_put_one(w, v, S("one,"));
    world_advance(w, 60000);
    delivery_remove(v);
    world_restart(w);
    w->deliveries->test_ops = &play_ops;
    DeliveryConfig c = world_config(w, 7);
    c.kind = DELIVER_HTTP;
    v = world_add(w, &c);
    world_run(w);
    EXPECT_STR(S("one,"), buf_str(&play.got)); // its interval is over
    end(w, v);
}

TEST(objects_are_written_once_and_their_copying_is_repeated)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, 300);
    play_ops.wants_objects = true;
    play_ops.give_up = play_give_up;
    DeliveryConfig c = world_config(w, 7);
    c.kind = DELIVER_REDSHIFT;
    c.retry_ns = INT64_C(5000000000);
    delivery_change(v, &c);
    plan_results((SinkResult[]){ SINK_RETRY, SINK_DELIVERED }, 2);
    world_put_one(w, v, S("one\n"));
    world_advance(w, 60000);
    EXPECT_INT(1, w->object_n);
    EXPECT_INT(0, play.got.n);
    world_advance(w, 1000);
    EXPECT_INT(1, w->object_n);
    EXPECT_STR(S("[logs]"), buf_str(&play.got));
    EXPECT_STR(S("one\n"), world_content(w, a, S("2018/")));
    // And one that is given up, for which the sink leaves something of its own, tried twice.
    plan_results((SinkResult[]){ SINK_REFUSED }, 1);
    play.at = 0;
    play.fail_give_up = 1;
    world_put_one(w, v, S("two\n"));
    world_advance(w, 60000);
    EXPECT_INT(1, play.give_ups);
    world_advance(w, 2000);
    EXPECT_INT(2, play.give_ups);
    EXPECT_INT(3, play.attempts);
    EXPECT_INT(2, w->object_n);
    world_advance(w, 600000);
    EXPECT_INT(3, play.attempts);
    end(w, v);
}

TEST(a_hundred_slow_destinations_cost_no_more_memory_than_there_is_room)
{
    struct test_world *w = &world;
    struct delivery *all[MANY];
    char *wide = arena_alloc(a, EACH_BYTES, 1);
    memset(wide, 'x', EACH_BYTES);
    seen.until_ns = io_real()->mono_ns(io_real()) + INT64_C(60000000000);
    world_open(w);
    play_ops.deliver = slow_deliver;
    w->deliveries->test_ops = &play_ops;
    w->deliveries->room_bytes = ROOM_TEST_BYTES;
    for (size_t i = 0; i < MANY; i++) {
        DeliveryConfig c = world_config(w, 7 + i);
        c.kind = DELIVER_HTTP;
        c.http.url = S("http://example.com/in");
        c.backup = c.s3;
        c.s3 = (DeliveryBucket){ 0 };
        all[i] = world_add(w, &c);
        world_put_one(w, all[i], str_from(wide, EACH_BYTES));
        delivery_flush(all[i]);
    }
    for (int turn = 0; turn < 1000 && atomic_load(&seen.sent) < MANY; turn++)
        world_advance(w, ROOM_MS);
    EXPECT_INT(MANY, atomic_load(&seen.sent));
    EXPECT(atomic_load(&seen.most) <= ROOM_TEST_BYTES);
    EXPECT(atomic_load(&seen.most_at_once) > 1);
    EXPECT(w->deliveries->held_bytes == 0 && w->deliveries->reserved_bytes == 0);
    for (size_t i = 0; i < MANY; i++)
        delivery_remove(all[i]);
    play_ops.deliver = play_deliver;
    world_close(w);
}

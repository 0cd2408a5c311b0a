// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "codec/gzip.h"
#include "delivery/test_world.h"

static struct test_world world;

// Numbered lines of so many bytes each.
static Str *lines(struct arena *a, size_t first, size_t n, size_t bytes)
{
    Str *at = arena_new(a, Str, n);
    for (size_t i = 0; i < n; i++) {
        char *p = arena_alloc(a, bytes, 1);
        Str head = str_fmt(a, "%06zu ", first + i);
        memset(p, 'x', bytes);
        memcpy(p, head.p, MIN(head.n, bytes));
        p[bytes - 1] = '\n';
        at[i] = str_from(p, bytes);
    }
    return at;
}

static Str joined(struct arena *a, const Str *at, size_t n)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < n; i++)
        buf_add(&b, at[i]);
    return str_dup(a, buf_str(&b));
}

TEST(records_are_one_object_after_the_interval)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    struct delivery *v = world_add(w, &c);
    world_run(w);
    world_put_one(w, v, S("one\n"));
    world_advance(w, 30000);
    world_put_one(w, v, S("two\n"));
    world_advance(w, 29999);
    EXPECT_INT(0, world_count(w, S("")));
    world_advance(w, 1);
    EXPECT_INT(1, world_count(w, S("2018/08/27/10/clicks-1-2018-08-27-10-31-10-")));
    EXPECT_STR(S("one\ntwo\n"), world_content(w, a, S("")));
    world_advance(w, 600000);
    EXPECT_INT(1, world_count(w, S("")));
    DeliveryState state;
    delivery_state(v, a, &state);
    EXPECT_INT(0, state.backlog_records);
    EXPECT_INT(0, state.backlog_bytes);
    EXPECT_INT(0, state.due_ms);
    EXPECT_INT(1, state.note_count);
    EXPECT_INT(8, state.notes[0].bytes);
    EXPECT(str_starts(state.notes[0].place, S("s3://logs/2018/08/27/10/clicks-1-")));
    delivery_remove(v);
    world_close(w);
}

TEST(a_full_buffer_does_not_wait)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    struct delivery *v = world_add(w, &c);
    Str *at = lines(a, 0, 2500, 1000);
    world_run(w);
    world_put(w, v, at, 2500);
    world_run(w);
    Str got = world_content(w, a, S(""));
    EXPECT_INT(2, world_count(w, S("")));
    for (size_t i = 0; i < 2; i++) { // a record is never split
        EXPECT(w->objects[i].bytes.n < (1 << 20) + 1000);
        EXPECT(w->objects[i].bytes.n >= 1 << 20);
    }
    EXPECT(str_starts(joined(a, at, 2500), got));
    world_advance(w, 60000);
    EXPECT(str_eq(joined(a, at, 2500), world_content(w, a, S(""))));
    delivery_remove(v);
    world_close(w);
}

TEST(objects_are_compressed)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    c.s3.compression = DELIVERY_GZIP;
    struct delivery *v = world_add(w, &c);
    Str *at = lines(a, 0, 500, 1000), got;
    world_put(w, v, at, 500);
    delivery_flush(v);
    world_run(w);
    EXPECT_INT(1, w->object_n);
    EXPECT(str_ends(str_of(w->objects[0].key), S(".gz")));
    EXPECT_OK(gzip_unpack(a, buf_str(&w->objects[0].bytes), 1 << 20, &got));
    EXPECT(str_eq(joined(a, at, 500), got));
    delivery_remove(v);
    world_close(w);
}

// Bytes that a match finder has work with: which of them was at work is seen by the size.
static Str *numbers(struct arena *a, size_t n)
{
    Str *at = arena_new(a, Str, n);
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        at[i] = str_fmt(a, "{\"user\":%u,\"page\":\"/orders/%u\",\"took\":%u}\n", x >> 20,
                        x >> 10 & 0x3ff, x & 0x3ff);
    }
    return at;
}

// How large the object of these records becomes.
static size_t packed_bytes(struct test_world *w, struct delivery *v, struct arena *a,
                           const Str *records, size_t n)
{
    Str got;
    size_t before = w->object_n;
    world_put(w, v, records, n);
    world_run(w); // it is counted
    delivery_flush(v);
    world_run(w);
    EXPECT_INT(before + 1, w->object_n);
    const struct buf *object = &w->objects[before].bytes;
    EXPECT_OK(gzip_unpack(a, buf_str(object), 16 << 20, &got));
    EXPECT(str_eq(joined(a, records, n), got));
    return object->n;
}

// Others that are to be run.
static void set_others(struct test_world *w, size_t n, bool more)
{
    pthread_mutex_lock(&w->deliveries->lock);
    w->deliveries->computing += more ? n : -n;
    pthread_mutex_unlock(&w->deliveries->lock);
}

TEST(objects_are_small_while_there_is_time)
{
    struct test_world *w = &world;
    enum { RECORDS = 10000 };
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    c.s3.compression = DELIVERY_GZIP;
    struct delivery *v = world_add(w, &c);
    struct deliveries *d = w->deliveries;
    Str *at = numbers(a, RECORDS);
    d->env.effort = EFFORT_FAST;
    size_t fast = packed_bytes(w, v, a, at, RECORDS);
    d->env.effort = EFFORT_SMALL;
    size_t small = packed_bytes(w, v, a, at, RECORDS), others = d->processors;
    EXPECT(small < fast);
    d->env.effort = EFFORT_AUTO;
    EXPECT_INT(small, packed_bytes(w, v, a, at, RECORDS));
    set_others(w, others, true); // one more than there are processors
    EXPECT_INT(fast, packed_bytes(w, v, a, at, RECORDS));
    d->env.effort = EFFORT_SMALL;
    EXPECT_INT(small, packed_bytes(w, v, a, at, RECORDS));
    d->env.effort = EFFORT_AUTO;
    EXPECT_INT(fast, packed_bytes(w, v, a, at, RECORDS));
    set_others(w, others, false);
    EXPECT_INT(fast, packed_bytes(w, v, a, at, RECORDS)); // there were many a moment ago
    world_advance(w, 1000);
    EXPECT_INT(small, packed_bytes(w, v, a, at, RECORDS));
    delivery_remove(v);
    world_close(w);
}

// The first object leaves more behind than the next one takes; the last ones do not.
TEST(a_delivery_that_is_behind_hurries)
{
    struct test_world *w = &world;
    enum { RECORDS = 100000 }; // 4 MB and some, in buffers of 1 MiB
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    c.s3.compression = DELIVERY_GZIP;
    struct delivery *v = world_add(w, &c);
    Str *at = numbers(a, RECORDS), got;
    world_run(w);
    world_put(w, v, at, RECORDS);
    world_run(w);
    size_t n = w->object_n, first = w->objects[0].bytes.n;
    EXPECT(n >= 4);
    world_advance(w, 60000);
    EXPECT(w->objects[n - 1].bytes.n < first * 99 / 100); // as many records, or a few more
    EXPECT(w->objects[n - 1].bytes.n > first / 2);
    EXPECT_OK(gzip_unpack(a, buf_str(&w->objects[n - 1].bytes), 16 << 20, &got));
    EXPECT(got.n >= 1 << 20);
    delivery_remove(v);
    world_close(w);
}

// Long before its interval is over, and not again and again in between.
TEST(a_flush_that_fails_is_tried_again_as_a_flush)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    struct delivery *v = world_add(w, &c);
    DeliveryState state;
    world_put_one(w, v, S("one\n"));
    w->no_bucket = true;
    delivery_flush(v);
    for (int64_t attempts = 1; attempts < 4; attempts++) { // 1 s later, and 2
        world_run(w);
        delivery_state(v, a, &state);
        EXPECT_INT(attempts, state.attempts);
        EXPECT(state.due_ms > w->now_ms);
        world_advance(w, 500);
        delivery_state(v, a, &state);
        EXPECT_INT(attempts, state.attempts);
        world_advance(w, 1000 * attempts);
    }
    w->no_bucket = false;
    world_advance(w, 10000);
    EXPECT_STR(S("one\n"), world_content(w, a, S("")));
    delivery_state(v, a, &state);
    EXPECT_INT(0, state.attempts);
    EXPECT_INT(0, state.due_ms);
    delivery_remove(v);
    world_close(w);
}

TEST(what_waits_is_delivered_after_a_crash_and_what_was_is_not_again)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    struct delivery *v = world_add(w, &c);
    world_put_one(w, v, S("one\n"));
    world_advance(w, 60000);
    world_put_one(w, v, S("two\n"));
    world_put_one(w, v, S("three\n"));
    world_run(w);
    delivery_remove(v);
    world_restart(w);
    c = world_config(w, 7);
    v = world_add(w, &c);
    world_run(w);
    DeliveryState state;
    delivery_state(v, a, &state);
    EXPECT_INT(2, state.backlog_records);
    EXPECT_INT(10, state.backlog_bytes);
    EXPECT_INT(w->now_ms, state.oldest_ms);
    world_put_one(w, v, S("four\n"));
    world_advance(w, 60000);
    EXPECT_STR(S("one\ntwo\nthree\nfour\n"), world_content(w, a, S("")));
    EXPECT_INT(2, w->object_n);
    delivery_remove(v);
    world_close(w);
}

// Every step that may fail does once; nothing is lost, and there is no more than was put.
TEST(what_fails_is_tried_again_with_pauses)
{
    struct test_world *w = &world;
    for (int where = 0; where < 4; where++) {
        world_open(w);
        DeliveryConfig c = world_config(w, 7);
        struct delivery *v = world_add(w, &c);
        world_put_one(w, v, S("one\n"));
        w->fail_begin = where == 0;
        w->fail_write = where == 1;
        w->fail_finish = where == 2 ? 2 : 0;
        w->no_bucket = where == 3;
        world_advance(w, 60000);
        EXPECT_INT(0, w->object_n);
        DeliveryState state;
        delivery_state(v, a, &state);
        EXPECT_INT(1, state.attempts);
        EXPECT_INT(1, state.backlog_records);
        EXPECT_INT(w->now_ms + 1000, state.due_ms);
        EXPECT_STR(where == 3 ? S("S3.NoSuchBucket") : S("InternalError"), state.last_code);
        world_advance(w, 999);
        w->no_bucket = false;
        world_put_one(w, v, S("two\n"));
        world_run(w);
        EXPECT_INT(0, w->object_n);
        world_advance(w, 1);
        if (where == 2) { // the second pause is twice as long
            EXPECT_INT(0, w->object_n);
            world_advance(w, 1999);
            EXPECT_INT(0, w->object_n);
            world_advance(w, 1);
        }
        EXPECT_STR(S("one\ntwo\n"), world_content(w, a, S("")));
        delivery_state(v, a, &state);
        EXPECT_INT(0, state.attempts);
        EXPECT(state.last_code.p == NULL);
        EXPECT_INT(0, state.backlog_records);
        delivery_remove(v);
        world_close(w);
    }
}

TEST(a_changed_config_counts_from_the_next_object_on)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    struct delivery *v = world_add(w, &c);
    world_put_one(w, v, S("one\n"));
    world_advance(w, 60000);
    c = world_config(w, 7);
    c.version = 2;
    c.s3.prefix = S("other/");
    c.interval_ns = INT64_C(5000000000);
    delivery_change(v, &c);
    world_put_one(w, v, S("two\n"));
    world_advance(w, 5000);
    EXPECT_STR(S("two\n"), world_content(w, a, S("other/2018/08/27/10/clicks-2-")));
    delivery_remove(v);
    world_close(w);
}

static uint64_t first_of(struct test_world *w, uint64_t shard)
{
    LogSpan span;
    EXPECT_OK(log_span(w->log, shard, &span));
    return span.first;
}

TEST(what_is_delivered_is_passed_in_the_log_when_the_backup_has_it_too)
{
    struct test_world *w = &world;
    LogSpan span;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    c.backup_all = true;
    c.backup = (DeliveryBucket){ .bucket = S("logs"),
                                 .prefix = S("backup/"),
                                 .size_bytes = 1 << 20,
                                 .interval_ns = 120000000000 };
    struct delivery *v = world_add(w, &c);
    world_put_one(w, v, S("one\n"));
    uint64_t first = first_of(w, c.direct_shard);
    world_advance(w, 60000);
    EXPECT(first_of(w, c.direct_shard) == first); // the backup waits
    world_advance(w, 60000);
    EXPECT_OK(log_span(w->log, c.direct_shard, &span));
    EXPECT(span.first > first && span.first == span.next);
    world_put_one(w, v, S("two\n")); // it is found again
    EXPECT(first_of(w, c.direct_shard) >= span.next);
    world_advance(w, 120000);
    EXPECT_STR(S("one\ntwo\n"), world_content(w, a, S("backup/")));
    delivery_remove(v);
    world_close(w);
}

TEST(all_source_records_are_backed_up_by_a_lane_of_its_own)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    c.s3.prefix = S("main/");
    c.backup_all = true;
    c.backup = (DeliveryBucket){ .bucket = S("logs"),
                                 .prefix = S("backup/"),
                                 .size_bytes = 1 << 20,
                                 .interval_ns = 120000000000 };
    struct delivery *v = world_add(w, &c);
    world_put_one(w, v, S("one\n"));
    world_advance(w, 60000);
    EXPECT_STR(S("one\n"), world_content(w, a, S("main/")));
    EXPECT_STR(S(""), world_content(w, a, S("backup/")));
    world_put_one(w, v, S("two\n"));
    world_advance(w, 60000);
    EXPECT_STR(S("one\ntwo\n"), world_content(w, a, S("main/")));
    EXPECT_STR(S("one\ntwo\n"), world_content(w, a, S("backup/")));
    delivery_remove(v);
    world_close(w);
}

TEST(a_backup_that_is_switched_on_later_begins_then)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    c.s3.prefix = S("main/");
    struct delivery *v = world_add(w, &c);
    world_put_one(w, v, S("one\n"));
    world_run(w);
    c = world_config(w, 7);
    c.s3.prefix = S("main/");
    c.backup_all = true;
    c.backup = (DeliveryBucket){
        .bucket = S("logs"), .prefix = S("backup/"), .size_bytes = 1 << 20, .interval_ns = 1000
    };
    delivery_change(v, &c);
    world_run(w);
    world_put_one(w, v, S("two\n"));
    world_advance(w, 60000);
    EXPECT_STR(S("one\ntwo\n"), world_content(w, a, S("main/")));
    EXPECT_STR(S("two\n"), world_content(w, a, S("backup/")));
    delivery_remove(v);
    world_close(w);
}

TEST(positions_go_with_the_front_doors_row)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    struct delivery *v = world_add(w, &c);
    struct kv_table *rows;
    size_t n = 0;
    world_put_one(w, v, S("one\n"));
    world_advance(w, 60000);
    delivery_remove(v);
    EXPECT_OK(kv_table_open(w->kv, S("test.positions"), &rows));
    {
        AUTO(kv_txn) tx = kv_write(rows);
        EXPECT_OK(kv_count(tx, S(""), &n));
        EXPECT_INT(1, n);
        EXPECT_OK(deliveries_forget(w->deliveries, tx, 7));
        EXPECT_OK(deliveries_forget(w->deliveries, tx, 8)); // never was
        EXPECT_OK(kv_count(tx, S(""), &n));
        EXPECT_INT(0, n);
        EXPECT_OK(kv_commit(tx));
    }
    world_close(w);
}

// A day's retention passes while the bucket is away.
TEST(what_nobody_could_take_for_a_day_is_lost_and_no_more)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    struct delivery *v = world_add(w, &c);
    world_put_one(w, v, S("lost\n"));
    w->no_bucket = true;
    world_advance(w, 23 * 3600000);
    world_put_one(w, v, S("kept\n"));
    DeliveryState state;
    delivery_state(v, a, &state);
    EXPECT_INT(2, state.backlog_records);
    EXPECT_INT(WORLD_MS, state.oldest_ms);
    world_advance(w, 2 * 3600000);
    log_expire(w->log);
    w->no_bucket = false;
    world_advance(w, 120000);
    EXPECT_STR(S("kept\n"), world_content(w, a, S("")));
    delivery_state(v, a, &state);
    EXPECT_INT(0, state.backlog_records);
    EXPECT_INT(0, state.backlog_bytes);
    delivery_remove(v);
    world_close(w);
}

// The log keeps what is delivered no longer than need be.
TEST(what_is_delivered_is_hidden_from_the_log)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    struct delivery *v = world_add(w, &c);
    LogSpan before, after;
    world_put_one(w, v, S("one\n"));
    world_advance(w, 1000);
    world_put_one(w, v, S("two\n"));
    EXPECT_OK(log_span(w->log, 7, &before));
    world_advance(w, 60000);
    EXPECT_OK(log_span(w->log, 7, &after));
    EXPECT(after.first > before.first); // the newest stays: others may have come in its millisecond
    EXPECT_STR(S("one\ntwo\n"), world_content(w, a, S("")));
    delivery_remove(v);
    world_close(w);
}

TEST(a_delivery_that_is_behind_gets_a_larger_buffer_and_loses_it_again)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    struct delivery *v = world_add(w, &c);
    DeliveryState state;
    world_run(w);
    w->no_bucket = true;
    Str *at = lines(a, 0, 1000, 10000);
    world_put(w, v, at, 1000);
    world_run(w);
    v->main.took_ms = 0;
    w->no_bucket = false;
    v->main.slow_ms = 30000; // as if each batch took so long: two of them in an interval
    world_advance(w, 120000);
    EXPECT(str_eq(joined(a, at, 1000), world_content(w, a, S(""))));
    EXPECT(w->object_n < 10);
    delivery_state(v, a, &state);
    EXPECT(state.size_bytes > 1 << 20);
    v->main.slow_ms = 0;
    for (int i = 0; i < 3; i++) {
        world_put_one(w, v, S("x"));
        world_advance(w, 60000);
    }
    delivery_state(v, a, &state);
    EXPECT_INT(1 << 20, state.size_bytes);
    delivery_remove(v);
    world_close(w);
}

TEST(five_thousand_deliveries_that_wait_are_a_heap_of_times)
{
    struct test_world *w = &world;
    world_open(w);
    enum { N = 5000 };
    struct delivery **all = arena_new(a, struct delivery *, N);
    for (size_t i = 0; i < N; i++) {
        DeliveryConfig c = world_config(w, 100 + i);
        c.s3.prefix = str_fmt(c.arena, "%04zu/", i);
        all[i] = world_add(w, &c);
    }
    world_run(w);
    EXPECT_INT(0, w->deliveries->heap_n);
    for (size_t i = 0; i < N; i += 10)
        world_put_one(w, all[i], S("x"));
    EXPECT_INT(N / 10, w->deliveries->heap_n);
    world_advance(w, 60000);
    EXPECT_INT(N / 10, w->object_n);
    EXPECT_INT(1, world_count(w, S("0470/")));
    for (size_t i = 0; i < N; i++)
        delivery_remove(all[i]);
    world_close(w);
}

TEST(with_an_interval_of_0_the_first_after_a_rest_goes_at_once)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    c.interval_ns = 0;
    struct delivery *v = world_add(w, &c);
    world_put_one(w, v, S("one\n"));
    world_advance(w, 49);
    EXPECT_STR(S(""), world_content(w, a, S("")));
    world_advance(w, 1);
    EXPECT_STR(S("one\n"), world_content(w, a, S("")));
    world_put_one(w, v, S("two\n")); // the next one gathers until a second is over
    world_advance(w, 900);
    world_put_one(w, v, S("three\n"));
    world_advance(w, 99);
    EXPECT_STR(S("one\n"), world_content(w, a, S("")));
    world_advance(w, 1);
    EXPECT_STR(S("one\ntwo\nthree\n"), world_content(w, a, S("")));
    world_advance(w, 5000);
    world_put_one(w, v, S("four\n"));
    world_advance(w, 50);
    EXPECT_STR(S("one\ntwo\nthree\nfour\n"), world_content(w, a, S("")));
    delivery_remove(v);
    world_close(w);
}

TEST(a_clock_that_is_set_back_delays_nothing)
{
    struct test_world *w = &world;
    world_open(w);
    DeliveryConfig c = world_config(w, 7);
    struct delivery *v = world_add(w, &c);
    int64_t ahead_ns = (w->now_ms - WORLD_MS + 1000) * NS_PER_MS;
    world_run(w);
    world_put_one(w, v, S("one"));
    world_run(w);
    io_mem_set_clock(w->disk, (w->now_ms - 3600000) * NS_PER_MS, ahead_ns + 30 * NS_PER_S);
    world_put_one(w, v, S("two"));
    deliveries_start_due(w->deliveries);
    deliveries_wait(w->deliveries);
    EXPECT_INT(0, w->object_n);
    io_mem_set_clock(w->disk, (w->now_ms - 3570000) * NS_PER_MS, ahead_ns + 60 * NS_PER_S);
    deliveries_start_due(w->deliveries);
    deliveries_wait(w->deliveries);
    EXPECT_STR(S("onetwo"), world_content(w, a, S("")));
    delivery_remove(v);
    world_close(w);
}

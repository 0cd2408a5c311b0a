// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/queue_test_help.h"
#include "base/memory.h"
#include "base/time.h"

#include <sched.h>
#include <string.h>
#include <time.h>

enum { WAIT_S = 60 };

#define NO_ERROR ((Str){ 0 })

static const Str invalid = S_INIT("InvalidArgumentException");
static const Str not_found = S_INIT("ResourceNotFoundException");

// ---- In memory

TEST(what_is_taken_first_has_been_visible_longest)
{
    AUTO(queue) q = queue_new(S("0"), S("r"), S("n"), S("id"));
    enum { N = 300 };
    for (uint64_t i = 0; i < N; i++) {
        struct flight *f = queue_add(q, 1 + i % 3, 1000 + i);
        f->visible_ms = (int64_t)(i * 7919 % N);
        queue_place(q, f);
    }
    for (uint64_t i = 0; i < N; i += 3) { // move some, remove some
        struct flight *f = queue_find(q, 1 + i % 3, 1000 + i);
        f->visible_ms += 50;
        queue_place(q, f);
        if (i % 2 == 0)
            queue_remove(q, f);
    }
    int64_t last = -1;
    size_t n = 0;
    for (struct flight *f; (f = queue_take(q, false, N / 2)) != NULL; n++) {
        EXPECT(f->visible_ms >= last && f->visible_ms <= N / 2 && f->delivery == 1);
        last = f->visible_ms;
        queue_remove(q, f);
    }
    EXPECT(n > 0 && q->live.n + n == map_count(q->flights) + n && q->live.n > 0);
    EXPECT(queue_take(q, true, INT64_MAX) == NULL);
}

TEST(rows_of_queues_give_back_what_was_written)
{
    AUTO(queue) q = queue_new(S("000000000000"), S("us-east-1"), S("work"), S("abc"));
    AUTO(queue) back = NULL;
    AUTO_BUF(row);
    q->id = UINT64_MAX - 1;
    q->created_ms = 1700000000123;
    q->start = QUEUE_AT_TIMESTAMP;
    q->start_ms = 5;
    q->begins_ms = 6;
    q->active_ms = 7;
    q->updated_ms = 8;
    q->gone_ms = 9;
    q->visibility_s = 43200;
    q->receives_max = 0;
    tag_set_put(&q->tags, S("team"), S("a \"quoted\" one"));
    queue_row_write(&row, q, S("clicks"));
    Str key = queue_row_key(a, q), stream;
    EXPECT_STR(S("000000000000/us-east-1/abc"), key);
    EXPECT_OK(queue_row_read(a, key, buf_str(&row), &stream, &back));
    EXPECT_STR(S("clicks"), stream);
    EXPECT_STR(q->arn, back->arn);
    EXPECT_STR(S("arn:aws:kinesis:us-east-1:000000000000:queue/abc"), back->arn);
    EXPECT_STR(S("work"), back->name);
    EXPECT(back->id == q->id && back->created_ms == q->created_ms && back->start == q->start);
    EXPECT(back->start_ms == 5 && back->begins_ms == 6 && back->active_ms == 7);
    EXPECT(back->updated_ms == 8 && back->gone_ms == 9);
    EXPECT(back->visibility_s == 43200 && back->receives_max == 0);
    EXPECT_STR(S("a \"quoted\" one"), tag_set_find(&back->tags, S("team")));

    struct queue *none;
    EXPECT_ERR(ERR_CORRUPT, queue_row_read(a, S("no-slashes"), buf_str(&row), &stream, &none));
    EXPECT_ERR(ERR_CORRUPT, queue_row_read(a, key, S("{}"), &stream, &none));
    EXPECT_ERR(ERR_CORRUPT, queue_row_read(a, key, S("[]"), &stream, &none));
    EXPECT_ERR(ERR_FORMAT, queue_row_read(a, key, S("{\"version\":2}"), &stream, &none));
}

TEST(rows_of_what_is_in_flight_give_back_what_was_written)
{
    AUTO(queue) q = queue_new(S("0"), S("r"), S("n"), S("id"));
    struct flight f = { .shard = UINT64_C(1) << 63,
                        .position = (UINT64_C(1) << 62) + 1,
                        .visible_ms = 1700000000123,
                        .first_ms = 1700000000001,
                        .received = 3,
                        .delivery = 5,
                        .dead = true };
    uint8_t key[FLIGHT_KEY_BYTES], row[FLIGHT_ROW_BYTES];
    flight_key(key, 7, f.shard, f.position);
    flight_row(row, &f);
    Str rest = str_from(key + 8, FLIGHT_KEY_BYTES - 8);
    EXPECT_OK(flight_row_read(q, rest, str_from(row, sizeof row)));
    struct flight *back = queue_find(q, f.shard, f.position);
    EXPECT(back != NULL && back->visible_ms == f.visible_ms && back->first_ms == f.first_ms);
    EXPECT(back->received == 3 && back->delivery == 5 && back->dead && q->dead.n == 1);

    flight_key(key, 7, f.shard, 0);
    cursor_row(row, 99);
    EXPECT_OK(flight_row_read(q, rest, str_from(row, sizeof row)));
    EXPECT(q->cursor_count == 1 && q->cursors[0].shard == f.shard && q->cursors[0].next == 99);

    EXPECT_ERR(ERR_CORRUPT, flight_row_read(q, str_head(rest, 8), str_from(row, sizeof row)));
    EXPECT_ERR(ERR_CORRUPT, flight_row_read(q, rest, str_from(row, 8)));
    EXPECT_ERR(ERR_CORRUPT, flight_row_read(q, rest, S("")));
    row[0] = 2;
    EXPECT_ERR(ERR_FORMAT, flight_row_read(q, rest, str_from(row, sizeof row)));
}

// ---- As calls

static kinesis_QueueRecordList receive(struct queue_world *w, struct arena *a, Str arn, bool dead)
{
    kinesis_QueueRecordList got;
    EXPECT_OK(queue_world_receive(w, a, arn, dead, 10, -1, &got));
    return got;
}

TEST(a_record_comes_again_when_its_visibility_is_over_and_never_after_its_acknowledgement)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    queue_world_put(&w, 1, 20, &count);
    kinesis_QueueRecordList first = receive(&w, a, arn, false);
    EXPECT_INT(1, first.n);
    EXPECT_INT(1, first.at[0].receive_count);
    EXPECT_STR(S("key-1"), first.at[0].partition_key);
    EXPECT_INT(queue_world_now_ms(&w) * NS_PER_MS, first.at[0].first_receive_timestamp);
    EXPECT_INT(0, receive(&w, a, arn, false).n);
    queue_world_advance(&w, 29999);
    EXPECT_INT(0, receive(&w, a, arn, false).n);
    queue_world_advance(&w, 1);
    kinesis_QueueRecordList again = receive(&w, a, arn, false);
    EXPECT_INT(1, again.n);
    EXPECT_INT(2, again.at[0].receive_count);
    EXPECT_STR(first.at[0].record_id, again.at[0].record_id);
    EXPECT_INT(first.at[0].first_receive_timestamp, again.at[0].first_receive_timestamp);
    EXPECT(!str_eq(first.at[0].receipt_handle, again.at[0].receipt_handle));
    EXPECT_STR(invalid, queue_world_ack(&w, a, arn, false, first.at[0].receipt_handle));
    EXPECT_STR(NO_ERROR, queue_world_ack(&w, a, arn, false, again.at[0].receipt_handle));
    EXPECT_STR(not_found, queue_world_ack(&w, a, arn, false, again.at[0].receipt_handle));
    queue_world_advance(&w, 3600 * 1000);
    EXPECT_INT(0, receive(&w, a, arn, false).n);
    EXPECT_INT(0, receive(&w, a, arn, true).n);
    queue_world_close(&w);
}

TEST(a_receipt_is_good_until_the_record_is_received_again)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    Str other = queue_world_create(&w, a, (QueueWish){ .name = S("other") });
    queue_world_put(&w, 1, 20, &count);
    Str handle = receive(&w, a, arn, false).at[0].receipt_handle;
    EXPECT_STR(invalid, queue_world_ack(&w, a, other, false, handle));
    EXPECT_STR(invalid, queue_world_ack(&w, a, arn, true, handle));
    EXPECT_STR(invalid, queue_world_ack(&w, a, arn, false, S("no receipt")));
    queue_world_advance(&w, 31000);
    EXPECT_STR(NO_ERROR, queue_world_hide(&w, a, arn, false, handle, 10)); // not received since
    EXPECT_INT(0, receive(&w, a, arn, false).n);
    EXPECT_STR(NO_ERROR, queue_world_hide(&w, a, arn, false, handle, 0));
    kinesis_QueueRecordList again = receive(&w, a, arn, false);
    EXPECT_INT(1, again.n);
    EXPECT_STR(invalid, queue_world_hide(&w, a, arn, false, handle, 10));
    // What another queue of the stream hands out is the same record, and its own affair.
    kinesis_QueueRecordList others = receive(&w, a, other, false);
    EXPECT_INT(1, others.n);
    EXPECT_STR(again.at[0].record_id, others.at[0].record_id);
    EXPECT_STR(NO_ERROR, queue_world_ack(&w, a, other, false, others.at[0].receipt_handle));
    EXPECT_STR(NO_ERROR, queue_world_ack(&w, a, arn, false, again.at[0].receipt_handle));
    queue_world_close(&w);
}

TEST(a_record_that_was_received_too_often_is_a_dead_letter_until_it_is_restored)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(
        &w, a, (QueueWish){ .name = S("q"), .visibility_s = 5, .receives_max = 2 });
    queue_world_put(&w, 1, 20, &count);
    for (int i = 0; i < 2; i++) {
        EXPECT_INT(0, receive(&w, a, arn, true).n);
        EXPECT_INT(1, receive(&w, a, arn, false).n);
        EXPECT_INT(0, receive(&w, a, arn, true).n);
        queue_world_advance(&w, 5000);
    }
    EXPECT_INT(0, receive(&w, a, arn, false).n);
    queue_world_crash(&w);
    kinesis_QueueRecordList letters = receive(&w, a, arn, true);
    EXPECT_INT(1, letters.n);
    EXPECT_INT(3, letters.at[0].receive_count);
    Str handle = letters.at[0].receipt_handle;
    EXPECT_STR(invalid, queue_world_ack(&w, a, arn, false, handle));
    EXPECT_STR(NO_ERROR, queue_world_hide(&w, a, arn, true, handle, 100));
    queue_world_advance(&w, 5000);
    EXPECT_INT(0, receive(&w, a, arn, true).n);
    EXPECT_STR(NO_ERROR, queue_world_restore(&w, a, arn, handle));
    EXPECT_STR(invalid, queue_world_ack(&w, a, arn, true, handle));
    EXPECT_INT(0, receive(&w, a, arn, true).n);
    kinesis_QueueRecordList back = receive(&w, a, arn, false);
    EXPECT_INT(1, back.n);
    EXPECT_INT(1, back.at[0].receive_count);
    queue_world_advance(&w, 5000);
    EXPECT_INT(1, receive(&w, a, arn, false).n);
    queue_world_advance(&w, 5000);
    EXPECT_INT(0, receive(&w, a, arn, false).n);
    letters = receive(&w, a, arn, true);
    EXPECT_INT(1, letters.n);
    EXPECT_STR(NO_ERROR, queue_world_ack(&w, a, arn, true, letters.at[0].receipt_handle));
    queue_world_advance(&w, 5000);
    EXPECT_INT(0, receive(&w, a, arn, true).n);
    queue_world_close(&w);
}

TEST(a_crash_loses_no_delivery_and_no_acknowledgement)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    queue_world_put(&w, 3, 20, &count);
    kinesis_QueueRecordList got = receive(&w, a, arn, false);
    EXPECT_INT(3, got.n);
    EXPECT_STR(NO_ERROR, queue_world_ack(&w, a, arn, false, got.at[1].receipt_handle));
    queue_world_crash(&w);
    EXPECT_INT(0, receive(&w, a, arn, false).n);
    EXPECT_STR(not_found, queue_world_ack(&w, a, arn, false, got.at[1].receipt_handle));
    EXPECT_STR(NO_ERROR, queue_world_ack(&w, a, arn, false, got.at[0].receipt_handle));
    queue_world_advance(&w, 30000);
    kinesis_QueueRecordList again = receive(&w, a, arn, false);
    EXPECT_INT(1, again.n);
    EXPECT_STR(got.at[2].record_id, again.at[0].record_id);
    queue_world_close(&w);
}

TEST(a_queue_begins_where_it_was_told_to)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    queue_world_put(&w, 2, 20, &count);
    Str latest = queue_world_create(&w, a, (QueueWish){ .name = S("latest") });
    Str oldest =
        queue_world_create(&w, a, (QueueWish){ .name = S("oldest"), .start = S("TRIM_HORIZON") });
    queue_world_put(&w, 3, 20, &count);
    EXPECT_INT(3, receive(&w, a, latest, false).n);
    EXPECT_INT(5, receive(&w, a, oldest, false).n);
    queue_world_close(&w);
}

TEST(a_queue_follows_the_stream_when_its_shards_are_split)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    queue_world_put(&w, 40, 20, &count);
    struct stream *s = w.kinesis->sorted[0];
    struct kinesis_SplitShard_in in = {
        .stream_name = S("s"),
        .shard_to_split = S("shardId-000000000000"),
        .new_starting_hash_key = S("42535295865117307932921825928971026432"), // 2^125
    };
    s->on_demand = false; // as demand splits it, at a moment of our choice
    EXPECT_OK(kinesis_SplitShard(&queue_call_new(&w, a)->call, &in));
    s->on_demand = true;
    queue_world_put(&w, 40, 20, &count);
    size_t n = 0;
    for (kinesis_QueueRecordList got; (got = receive(&w, a, arn, false)).n > 0; n += got.n)
        if (n == 30)
            queue_world_crash(&w);
    EXPECT_INT(80, n);
    AUTO(queue) q = NULL;
    EXPECT_OK(queues_find(&queue_call_new(&w, a)->call, arn, &q));
    EXPECT_INT(6, q->cursor_count);
    size_t over = 0;
    for (size_t i = 0; i < q->cursor_count; i++)
        over += q->cursors[i].over;
    EXPECT_INT(1, over);
    queue_world_close(&w);
}

TEST(what_is_past_the_retention_of_the_stream_is_not_delivered)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q"), .receives_max = 1 });
    Str lazy = queue_world_create(&w, a, (QueueWish){ .name = S("lazy") });
    queue_world_put(&w, 2, 20, &count);
    kinesis_QueueRecordList got = receive(&w, a, arn, false);
    EXPECT_INT(2, got.n);
    queue_world_advance(&w, 25 * 3600 * 1000);
    EXPECT_INT(0, receive(&w, a, arn, true).n);
    EXPECT_STR(not_found, queue_world_ack(&w, a, arn, false, got.at[0].receipt_handle));
    EXPECT_INT(0, receive(&w, a, lazy, false).n);
    queue_world_put(&w, 1, 20, &count);
    EXPECT_INT(1, receive(&w, a, lazy, false).n);
    queue_world_close(&w);
}

TEST(a_sweep_forgets_what_is_past_the_retention_and_nothing_else)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    AUTO(queue) q = NULL;
    EXPECT_OK(queues_find(&queue_call_new(&w, a)->call, arn, &q));
    queue_world_put(&w, 5, 20, &count);
    EXPECT_INT(5, receive(&w, a, arn, false).n);
    queue_world_advance(&w, 20 * 3600 * 1000);
    queue_world_put(&w, 2, 20, &count);
    size_t n = 0;
    for (kinesis_QueueRecordList got; (got = receive(&w, a, arn, false)).n > 0;)
        n += got.n;
    EXPECT_INT(7, n);
    queue_sweep(w.kinesis->queues, q);
    EXPECT_INT(7, map_count(q->flights));
    queue_world_advance(&w, 5 * 3600 * 1000);
    queue_sweep(w.kinesis->queues, q);
    EXPECT_INT(2, map_count(q->flights));
    queue_world_crash(&w);
    queue_unref(q);
    EXPECT_OK(queues_find(&queue_call_new(&w, a)->call, arn, &q));
    EXPECT(map_count(q->flights) <= 7); // removals that nobody waits for may come later
    queue_world_close(&w);
}

TEST(a_deleted_queue_leaves_no_row_and_its_receipts_are_void)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    Str other = queue_world_create(&w, a, (QueueWish){ .name = S("other") });
    queue_world_put(&w, 2, 20, &count);
    Str handle = receive(&w, a, arn, false).at[0].receipt_handle;
    EXPECT_INT(2, receive(&w, a, other, false).n);
    EXPECT_OK(queue_world_delete(&w, arn));
    kinesis_QueueRecordList none;
    EXPECT_ERR(ERR_FAULT, queue_world_receive(&w, a, arn, false, 1, -1, &none));
    AUTO(kv_txn) tx = kv_read(queues_flights(w.kinesis->queues));
    size_t rows;
    EXPECT_OK(kv_count(tx, S(""), &rows));
    EXPECT_INT(2 + 4, rows); // of the other one: two records and four cursors
    kv_txn_close(tx);
    tx = NULL;
    Str again = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    EXPECT_STR(invalid, queue_world_ack(&w, a, again, false, handle));
    queue_world_close(&w);
}

TEST(who_still_holds_a_deleted_queue_may_look_at_its_stream)
{
    struct queue_world w;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    struct queue_call *o = queue_call_new(&w, a);
    struct kinesis_DeleteStream_in in = { .stream_name = S("s") };
    {
        AUTO(queue) q = NULL;
        EXPECT_OK(queues_find(&o->call, arn, &q));
        EXPECT_OK(queue_world_delete(&w, arn));
        EXPECT_OK(kinesis_DeleteStream(&o->call, &in));
        EXPECT_STR(S("s"), q->stream->name);
        EXPECT(q->stream->status == STREAM_GONE && q->purged);
    }
    queue_world_close(&w);
}

TEST(a_deletion_that_a_crash_broke_off_is_completed)
{
    struct queue_world w;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    AUTO(queue) q = NULL;
    EXPECT_OK(queues_find(&queue_call_new(&w, a)->call, arn, &q));
    AUTO_BUF(row);
    q->gone_ms = queue_world_now_ms(&w);
    queue_row_write(&row, q, S("s"));
    q->gone_ms = 0;
    struct kv_txn *tx = kv_write(queues_rows(w.kinesis->queues));
    EXPECT_OK(kv_put(tx, queue_row_key(a, q), buf_str(&row)));
    EXPECT_OK(kv_commit(tx));
    kv_txn_close(tx);
    queue_world_crash(&w);
    while (queues_on_stream(w.kinesis, w.kinesis->sorted[0]) > 0)
        queues_wake(w.kinesis->queues);
    tx = kv_read(queues_flights(w.kinesis->queues));
    size_t rows;
    EXPECT_OK(kv_count(tx, S(""), &rows));
    EXPECT_INT(0, rows);
    kv_txn_close(tx);
    queue_world_close(&w);
}

TEST(a_call_whose_client_has_gone_takes_no_record)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    AUTO(arena) r = arena_open(); // of the call alone: others may be at it
    struct queue_call *o = queue_call_new(&w, r);
    struct kinesis_ReceiveQueueRecords_in in = { .queue_arn = arn,
                                                 .limit = 10,
                                                 .wait_time_seconds = 20 };
    struct kinesis_ReceiveQueueRecords_out out = { 0 };
    Err e = kinesis_ReceiveQueueRecords(&o->call, &in, &out);
    EXPECT_ERR(ERR_WAIT, e);
    atomic_store(&o->gone, true);
    queue_world_put(&w, 1, 20, &count);
    EXPECT_OK(queue_call_end(o, e));
    EXPECT_INT(0, out.queue_records.n);
    EXPECT_INT(1, receive(&w, a, arn, false).n);
    queue_world_close(&w);
}

TEST(a_call_that_waits_gets_the_record_that_comes)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    AUTO(arena) r = arena_open(); // of the call alone: others may be at it
    struct queue_call *o = queue_call_new(&w, r);
    struct kinesis_ReceiveQueueRecords_in in = { .queue_arn = arn,
                                                 .limit = 10,
                                                 .wait_time_seconds = 20 };
    struct kinesis_ReceiveQueueRecords_out out = { 0 };
    Err e = kinesis_ReceiveQueueRecords(&o->call, &in, &out);
    EXPECT_ERR(ERR_WAIT, e);
    queue_world_put(&w, 1, 20, &count);
    EXPECT_OK(queue_call_end(o, e)); // the clock stands still: not by its time-out
    EXPECT_INT(1, out.queue_records.n);

    AUTO(arena) r2 = arena_open();
    struct queue_call *late = queue_call_new(&w, r2);
    struct kinesis_ReceiveQueueRecords_out nothing = { 0 };
    e = kinesis_ReceiveQueueRecords(&late->call, &in, &nothing);
    EXPECT_ERR(ERR_WAIT, e);
    queue_world_advance(&w, 20000);
    EXPECT_OK(queue_call_end(late, e));
    EXPECT(nothing.queue_records.set && nothing.queue_records.n == 0);
    queue_world_close(&w);
}

TEST(calls_that_wait_are_answered_when_the_server_stops)
{
    struct queue_world w;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    AUTO(arena) r = arena_open(); // of the call alone: others may be at it
    struct queue_call *o = queue_call_new(&w, r);
    struct kinesis_ReceiveQueueRecords_in in = { .queue_arn = arn,
                                                 .limit = 10,
                                                 .wait_time_seconds = 20 };
    struct kinesis_ReceiveQueueRecords_out out = { 0 };
    Err e = kinesis_ReceiveQueueRecords(&o->call, &in, &out);
    queues_stop(w.kinesis->queues);
    EXPECT_OK(queue_call_end(o, e));
    EXPECT_INT(0, out.queue_records.n);
    queue_world_close(&w);
}

TEST(records_that_are_no_longer_cached_are_read_on_the_pool)
{
    struct queue_world w;
    uint64_t count = 0;
    enum { RECORDS = 300, BYTES = 20000 };
    queue_world_open(&w, 1 << 20, 2);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    queue_world_put(&w, RECORDS, BYTES, &count);
    bool seen[RECORDS + 1] = { 0 };
    size_t n = 0;
    while (n < RECORDS) {
        AUTO(arena) r = arena_open();
        struct queue_call *o = queue_call_new(&w, r);
        struct kinesis_ReceiveQueueRecords_in in = { .queue_arn = arn,
                                                     .limit = 10,
                                                     .wait_time_seconds = 20 };
        struct kinesis_ReceiveQueueRecords_out out = { 0 };
        EXPECT_OK(queue_call_end(o, kinesis_ReceiveQueueRecords(&o->call, &in, &out)));
        EXPECT(out.queue_records.n > 0);
        for (size_t i = 0; i < out.queue_records.n; i++, n++) {
            uint64_t number;
            EXPECT_INT(BYTES, out.queue_records.at[i].data.n);
            memcpy(&number, out.queue_records.at[i].data.p, sizeof number);
            EXPECT(number <= RECORDS && !seen[number]);
            seen[number] = true;
        }
    }
    queue_world_close(&w);
}

TEST(a_receive_for_which_there_is_no_memory_fails_alone_and_loses_no_record)
{
    struct queue_world w;
    uint64_t count = 0;
    size_t refused = 0, n = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    queue_world_put(&w, 60, 30000, &count);
    for (uint64_t after = 0; after < 12; after++) {
        AUTO(arena) r = arena_open_request();
        kinesis_QueueRecordList got = { 0 };
        memory_fault_set(MEMORY_REQUEST, after, UINT64_MAX);
        Err e = queue_world_receive(&w, r, arn, false, 3, -1, &got);
        memory_fault_set(MEMORY_REQUEST, 0, 0);
        EXPECT(e.kind == ERR_MEMORY || (e.kind == ERR_NONE && got.n > 0));
        refused += e.kind == ERR_MEMORY;
        n += e.kind == ERR_NONE ? got.n : 0;
    }
    EXPECT(refused > 0 && n > 0);
    for (kinesis_QueueRecordList got; (got = receive(&w, a, arn, false)).n > 0;)
        n += got.n;
    EXPECT_INT(60, n);
    queue_world_close(&w);
}

static void expect_error(const struct queue_call *o, Err e, const struct api_error *want)
{
    EXPECT_ERR(ERR_FAULT, e);
    EXPECT(o->call.error == want);
}

TEST(a_commit_that_fails_is_told_and_changes_nothing)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    queue_world_put(&w, 4, 20, &count);
    kinesis_QueueRecordList got;
    EXPECT_OK(queue_world_receive(&w, a, arn, false, 2, -1, &got));
    EXPECT_INT(2, got.n);
    io_fault_add(w.faults, (IoFault){ .ops = IO_OP_WRITE | IO_OP_SYNC, .path_part = S("/kv") });
    struct queue_call *o = queue_call_new(&w, a);
    kinesis_AcknowledgeQueueRecordsRequestEntry entry = { got.at[0].receipt_handle };
    struct kinesis_AcknowledgeQueueRecords_in in = {
        .queue_arn = arn, .entries = { .set = true, .n = 1, .at = &entry }
    };
    struct kinesis_AcknowledgeQueueRecords_out out = { 0 };
    EXPECT_ERR(ERR_IO, queue_call_end(o, kinesis_AcknowledgeQueueRecords(&o->call, &in, &out)));
    EXPECT(io_fault_hits(w.faults) > 0);
    // Until it has been read again the queue refuses; then everything is as it was.
    Err e = fail(ERR_IO, "not yet");
    for (time_t end = time(NULL) + WAIT_S; e.kind == ERR_IO && time(NULL) < end; sched_yield()) {
        struct queue_call *retry = queue_call_new(&w, a);
        queues_wake(w.kinesis->queues);
        e = queue_call_end(retry, kinesis_AcknowledgeQueueRecords(&retry->call, &in, &out));
    }
    EXPECT_OK(e);
    EXPECT_INT(1, out.successful.n);
    EXPECT_INT(2, receive(&w, a, arn, false).n);
    queue_world_advance(&w, 30000);
    EXPECT_INT(3, receive(&w, a, arn, false).n);
    queue_world_close(&w);
}

TEST(a_full_disk_throttles_a_queue_until_there_is_room)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    queue_world_put(&w, 4, 20, &count);
    kinesis_QueueRecordList got;
    EXPECT_OK(queue_world_receive(&w, a, arn, false, 2, -1, &got));
    EXPECT_INT(2, got.n);
    kinesis_AcknowledgeQueueRecordsRequestEntry entry = { got.at[0].receipt_handle };
    struct kinesis_AcknowledgeQueueRecords_in in = {
        .queue_arn = arn, .entries = { .set = true, .n = 1, .at = &entry }
    };
    struct kinesis_AcknowledgeQueueRecords_out out = { 0 };
    io_fault_set_budget(w.faults, 0);
    for (int i = 0; i < 2; i++) { // by its commit, then because it is to be read again
        struct queue_call *o = queue_call_new(&w, a);
        Err e = queue_call_end(o, kinesis_AcknowledgeQueueRecords(&o->call, &in, &out));
        expect_error(o, e, &kinesis_ThrottlingException);
    }
    io_fault_set_budget(w.faults, UINT64_MAX);
    Err e = fail(ERR_FAULT, "not yet");
    for (time_t end = time(NULL) + WAIT_S; e.kind == ERR_FAULT && time(NULL) < end; sched_yield()) {
        struct queue_call *retry = queue_call_new(&w, a);
        queues_wake(w.kinesis->queues);
        e = queue_call_end(retry, kinesis_AcknowledgeQueueRecords(&retry->call, &in, &out));
    }
    EXPECT_OK(e);
    EXPECT_INT(1, out.successful.n);
    queue_world_close(&w);
}

// ---- Limits

TEST(a_queue_hands_out_nothing_new_while_too_much_is_in_flight_and_says_so)
{
    struct queue_world w;
    uint64_t count = 0;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    AUTO(queue) q = NULL;
    EXPECT_OK(queues_find(&queue_call_new(&w, a)->call, arn, &q));
    EXPECT_INT(0, receive(&w, a, arn, false).n); // from here on it knows its shards
    queue_world_put(&w, 1, 20, &count);
    pthread_mutex_lock(&q->lock);
    uint64_t shard = q->cursors[0].shard, position = UINT64_C(1) << 62; // what no sweep forgets
    for (uint64_t i = 0; i < QUEUE_IN_FLIGHT_MAX; i++) {
        struct flight *f = queue_add(q, shard, position + i);
        f->visible_ms = INT64_MAX;
        queue_place(q, f);
    }
    pthread_mutex_unlock(&q->lock);
    struct queue_call *o = queue_call_new(&w, a);
    struct kinesis_ReceiveQueueRecords_in in = { .queue_arn = arn, .limit = 10 };
    struct kinesis_ReceiveQueueRecords_out out = { 0 };
    Err e = queue_call_end(o, kinesis_ReceiveQueueRecords(&o->call, &in, &out));
    expect_error(o, e, &kinesis_ThrottlingException);
    pthread_mutex_lock(&q->lock);
    queue_remove(q, queue_find(q, shard, position));
    pthread_mutex_unlock(&q->lock);
    EXPECT_INT(1, receive(&w, a, arn, false).n);
    queue_world_close(&w);
}

TEST(calls_that_wait_are_bounded)
{
    struct queue_world w;
    queue_world_open(&w, 0, 0);
    Str arn = queue_world_create(&w, a, (QueueWish){ .name = S("q") });
    struct kinesis_ReceiveQueueRecords_in in = { .queue_arn = arn,
                                                 .limit = 10,
                                                 .wait_time_seconds = 20 };
    struct kinesis_ReceiveQueueRecords_out *outs =
        arena_new(a, struct kinesis_ReceiveQueueRecords_out, QUEUE_WAITING_MAX + 2);
    struct arena **arenas = arena_new(a, struct arena *, QUEUE_WAITING_MAX + 2);
    struct queue_call **calls = arena_new(a, struct queue_call *, QUEUE_WAITING_MAX + 1);
    for (size_t i = 0; i < QUEUE_WAITING_MAX; i++) {
        calls[i] = queue_call_new(&w, arenas[i] = arena_open());
        EXPECT_ERR(ERR_WAIT, kinesis_ReceiveQueueRecords(&calls[i]->call, &in, &outs[i]));
    }
    // A call may be on its way through the hands of the thread: then there is room for one more.
    Err e = OK;
    struct queue_call *o = NULL;
    for (int tries = 0; tries < 2 && e.kind != ERR_FAULT; tries++) {
        arenas[QUEUE_WAITING_MAX + tries] = arena_open();
        o = queue_call_new(&w, arenas[QUEUE_WAITING_MAX + tries]);
        e = kinesis_ReceiveQueueRecords(&o->call, &in, &outs[QUEUE_WAITING_MAX + tries]);
    }
    CHECK(o != NULL); // the loop ran
    expect_error(o, e, &kinesis_ThrottlingException);
    queues_stop(w.kinesis->queues); // answers them all
    for (size_t i = 0; i < QUEUE_WAITING_MAX; i++)
        EXPECT_OK(queue_call_end(calls[i], fail(ERR_WAIT, "")));
    queue_world_close(&w);
    for (size_t i = 0; i < QUEUE_WAITING_MAX + 2; i++)
        arena_close(arenas[i]);
}

static void commit_to_throughput(struct queue_world *w, struct arena *a)
{
    const kinesis_MinimumThroughputBillingCommitmentInput enabled = {
        .status = kinesis_MinimumThroughputBillingCommitmentInputStatus_ENABLED
    };
    struct kinesis_UpdateAccountSettings_in in = { .minimum_throughput_billing_commitment =
                                                       &enabled };
    struct kinesis_UpdateAccountSettings_out out = { 0 };
    EXPECT_OK(kinesis_UpdateAccountSettings(&queue_call_new(w, a)->call, &in, &out));
}

TEST(a_stream_has_twenty_consumers_and_queues_at_most_or_fifty_with_the_commitment)
{
    struct queue_world w;
    queue_world_open(&w, 0, 0);
    w.kinesis->env.limits = 1;
    for (int i = 0; i < 20; i++)
        queue_world_create(&w, a, (QueueWish){ .name = str_fmt(a, "q%d", i) });
    struct queue_call *o = queue_call_new(&w, a);
    kinesis_QueueStreamConfiguration stream = {
        .stream_arn = S("arn:aws:kinesis:us-east-1:000000000000:stream/s")
    };
    struct kinesis_CreateQueue_in in = { .queue_name = S("one-more"),
                                         .stream_configuration_list = {
                                             .set = true, .n = 1, .at = &stream } };
    struct kinesis_CreateQueue_out out = { 0 };
    expect_error(o, kinesis_CreateQueue(&o->call, &in, &out), &kinesis_LimitExceededException);
    o = queue_call_new(&w, a);
    struct kinesis_RegisterStreamConsumer_in consumer = { .stream_arn = stream.stream_arn,
                                                          .consumer_name = S("c") };
    struct kinesis_RegisterStreamConsumer_out registered = { 0 };
    expect_error(o, kinesis_RegisterStreamConsumer(&o->call, &consumer, &registered),
                 &kinesis_LimitExceededException);
    commit_to_throughput(&w, a);
    for (int i = 20; i < 50; i++)
        queue_world_create(&w, a, (QueueWish){ .name = str_fmt(a, "q%d", i) });
    o = queue_call_new(&w, a);
    expect_error(o, kinesis_CreateQueue(&o->call, &in, &out), &kinesis_LimitExceededException);
    EXPECT(str_search(o->call.error_text, S("the limit of 50 consumers")) < o->call.error_text.n);
    queue_world_close(&w);
}

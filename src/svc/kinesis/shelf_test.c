// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/shelf.h"
#include "aws/protocol.h"
#include "base/test.h"
#include "base/time.h"
#include "svc/kinesis/kinesis.h"

#include <string.h>

#define START_NS (NS_PER_S * 100)
#define LATER_NS (START_NS + SHELF_KEPT_MS * NS_PER_MS)

// An event with one record of so many bytes, with a reference for the caller.
static struct event_frame *frame_of(struct arena *a, size_t data_bytes)
{
    const struct api_op *op = kinesis_api.ops;
    while (!str_eq(op->name, S("SubscribeToShard")))
        op++;
    struct call c = { .arena = a, .op = op, .protocol = &protocol_json_1_1 };
    char *data = arena_alloc(a, data_bytes, 1);
    memset(data, 'x', data_bytes);
    kinesis_Record record = { .partition_key = S("k"),
                              .sequence_number = S("1"),
                              .data = str_from(data, data_bytes) };
    kinesis_SubscribeToShardEvent event = { .records = { .set = true, .n = 1, .at = &record } };
    struct event_frame *f;
    EXPECT_OK(event_frame_open(
        &c, &(struct kinesis_SubscribeToShard_events){ .subscribe_to_shard_event = &event }, 0,
        &f));
    return f;
}

static ShelfPlace place(uint64_t from)
{
    return (ShelfPlace){
        .shard = 1, .from = from, .bytes_max = 256 << 10, .protocol = &protocol_json_1_1
    };
}

static void put(struct shelf *s, uint64_t from, int64_t now_ns, struct event_frame *f)
{
    ShelfPlace at = place(from);
    shelf_put(s, &at, now_ns, &(ShelfEvent){ .next = from + 1, .records = 1, .frame = f });
}

static bool take(struct shelf *s, const ShelfPlace *at, int64_t now_ns)
{
    ShelfEvent e;
    if (!shelf_take(s, at, now_ns, &e))
        return false;
    EXPECT_INT(at->from + 1, e.next);
    EXPECT(event_frame_bytes(e.frame).n > 0);
    event_frame_unref(e.frame);
    return true;
}

static bool has(struct shelf *s, uint64_t from, int64_t now_ns)
{
    ShelfPlace at = place(from);
    return take(s, &at, now_ns);
}

// Somebody has come to a place that was noted: what is made now is kept.
static void follow(struct shelf *s, uint64_t from, struct event_frame *f)
{
    put(s, from, START_NS, f);
    EXPECT(!has(s, from, START_NS));
}

TEST(events_are_kept_once_somebody_follows_and_given_for_the_same_place_alone)
{
    AUTO(shelf) s = NULL;
    struct event_frame *f = frame_of(a, 100);
    shelf_open(&s);
    put(s, 1, START_NS, f);
    put(s, 2, START_NS, f);
    EXPECT(!has(s, 1, START_NS) && !has(s, 2, START_NS)); // it was alone
    put(s, 3, START_NS, f);
    EXPECT(has(s, 3, START_NS) && has(s, 3, START_NS));
    ShelfPlace others[] = { place(4), place(3), place(3), place(3) };
    others[1].shard = 2;
    others[2].bytes_max--;
    others[3].protocol = &protocol_cbor_1_1;
    for (size_t i = 0; i < COUNT_OF(others); i++)
        EXPECT(!take(s, &others[i], START_NS));
    ShelfPlace elsewhere = place(5);
    elsewhere.shard = 2; // whom nobody follows
    shelf_put(s, &elsewhere, START_NS, &(ShelfEvent){ .next = 6, .frame = f });
    EXPECT(!take(s, &elsewhere, START_NS));
    event_frame_unref(f);
}

TEST(an_event_is_given_for_a_second_and_followers_are_remembered_as_long)
{
    AUTO(shelf) s = NULL;
    struct event_frame *f = frame_of(a, 100);
    shelf_open(&s);
    follow(s, 1, f);
    put(s, 2, START_NS, f);
    EXPECT(has(s, 2, LATER_NS - 1));
    EXPECT(!has(s, 2, LATER_NS));
    put(s, 3, LATER_NS - 1 + SHELF_KEPT_MS * NS_PER_MS, f); // that one was the last to come
    EXPECT(!has(s, 3, LATER_NS - 1 + SHELF_KEPT_MS * NS_PER_MS));
    event_frame_unref(f);
}

TEST(an_event_that_is_made_again_takes_the_place_of_the_one_before)
{
    AUTO(shelf) s = NULL;
    struct event_frame *old = frame_of(a, 100), *new = frame_of(a, 200);
    ShelfPlace at = place(2);
    ShelfEvent e;
    shelf_open(&s);
    follow(s, 1, old);
    put(s, 2, START_NS, old);
    put(s, 2, START_NS, new);
    EXPECT(shelf_take(s, &at, START_NS, &e) && e.frame == new);
    event_frame_unref(e.frame);
    event_frame_unref(old);
    event_frame_unref(new);
}

TEST(the_shelf_is_bounded_however_much_is_made_and_the_oldest_goes_first)
{
    enum { EVENTS = 200 };
    AUTO(shelf) s = NULL;
    struct event_frame *f = frame_of(a, 300000), *huge = frame_of(a, SHELF_EVENT_BYTES_MAX);
    size_t bytes = event_frame_bytes(f).n, kept = 0;
    shelf_open(&s);
    follow(s, 0, f);
    for (uint64_t i = 1; i <= EVENTS; i++)
        put(s, i, START_NS, f);
    for (uint64_t i = EVENTS; i > 0 && has(s, i, START_NS); i--)
        kept++;
    EXPECT_INT(SHELF_BYTES_MAX / bytes, kept);
    for (uint64_t i = EVENTS - kept; i > 0; i--)
        EXPECT(!has(s, i, START_NS));
    put(s, EVENTS + 1, START_NS, huge);
    EXPECT(!has(s, EVENTS + 1, START_NS) && has(s, EVENTS, START_NS));
    for (uint64_t i = 0; i < 1000; i++) // more places than can be noted
        put(s, 2 * EVENTS + i, START_NS, f);
    EXPECT(has(s, 2 * EVENTS + 999, START_NS) && !has(s, EVENTS, START_NS));
    event_frame_unref(f);
    event_frame_unref(huge);
}

TEST(who_is_too_far_behind_for_the_shelf_does_not_fill_it)
{
    AUTO(shelf) s = NULL;
    struct event_frame *f = frame_of(a, 300000);
    size_t n = SHELF_BYTES_MAX / event_frame_bytes(f).n + 1;
    shelf_open(&s);
    for (uint64_t i = 0; i < n; i++)
        put(s, i, START_NS, f);
    EXPECT(!has(s, 0, START_NS)); // noted, but out of reach
    put(s, n, START_NS, f);
    EXPECT(!has(s, n, START_NS));
    put(s, n + 1, START_NS, f);
    EXPECT(has(s, n + 1, START_NS)); // that place was in reach
    shelf_clear(s);
    EXPECT(!has(s, n + 1, START_NS));
    event_frame_unref(f);
}

// ---- From several threads

enum { THREADS = 3, TURNS = 3000, PLACES = 40 };

struct worker {
    struct shelf *s;
    struct event_frame *f;
    pthread_t thread;
};

static void *come_and_make(void *self)
{
    struct worker *w = self;
    for (int64_t i = 0; i < TURNS; i++) {
        uint64_t from = (uint64_t)i % PLACES;
        int64_t now_ns = START_NS + i * NS_PER_MS;
        if (!has(w->s, from, now_ns))
            put(w->s, from, now_ns, w->f);
        shelf_tidy(w->s, now_ns);
    }
    return NULL;
}

TEST(several_threads_take_and_put)
{
    AUTO(shelf) s = NULL;
    struct worker workers[THREADS];
    shelf_open(&s);
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .s = s, .f = frame_of(a, 1000) };
        EXPECT(pthread_create(&workers[i].thread, NULL, come_and_make, &workers[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        EXPECT(pthread_join(workers[i].thread, NULL) == 0);
        event_frame_unref(workers[i].f);
    }
}

// SPDX-License-Identifier: Apache-2.0
// Queues against a plain model: random calls, moves of the clock and crashes, after each of which
// both must say the same of every record. The model knows no cursors, heaps or rows; it keeps every
// record in one array and looks at all of them.
#include "svc/kinesis/queue_test_help.h"
#include "base/time.h"

#include <stdlib.h>
#include <string.h>

enum {
    RECORDS_MAX = 2000,
    STEPS = 1500,
    SEEDS = 6,
    HANDLE_BYTES_MAX = 160,
    RETENTION_MS = 24 * 3600 * 1000,
};

typedef enum State { NOT_PUT, UNSEEN, LIVE, DEAD, DONE } State;

struct item {
    State state;
    int64_t put_ms, visible_ms, first_ms;
    int32_t received;
    bool handle_is_dead; // which receive gave out the newest handle
    bool handle_is_good;
    char handle[HANDLE_BYTES_MAX], old[HANDLE_BYTES_MAX]; // the newest and an earlier one
    size_t handle_bytes, old_bytes;
    char id[40];
    size_t id_bytes;
};

struct model {
    struct queue_world w;
    uint64_t random;
    Str arn;
    int32_t visibility_s, receives_max; // 0: NONE
    struct item items[RECORDS_MAX + 1]; // by the number in their data
    uint64_t count;
    size_t received, acknowledged, letters, restored, crashes; // so that we know it was tested
};

static uint64_t next(struct model *m, uint64_t below)
{
    m->random ^= m->random << 13; // xorshift64
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return m->random % below;
}

static bool is_over(struct model *m, const struct item *it)
{
    return it->put_ms <= queue_world_now_ms(&m->w) - RETENTION_MS;
}

static void put(struct model *m)
{
    size_t n = 1 + (size_t)next(m, 12);
    if (m->count + n > RECORDS_MAX)
        return;
    uint64_t first = m->count + 1;
    queue_world_put(&m->w, n, 16, &m->count);
    for (uint64_t i = first; i <= m->count; i++)
        m->items[i] = (struct item){ .state = UNSEEN, .put_ms = queue_world_now_ms(&m->w) };
}

// Whether a receive of this kind may give out the record now; `again`: it was received before.
static bool may_come(struct model *m, const struct item *it, bool dead, bool *ret_again)
{
    *ret_again = it->state != UNSEEN;
    if (is_over(m, it))
        return false;
    if (it->state == UNSEEN)
        return !dead;
    return it->state == (dead ? DEAD : LIVE) && it->visible_ms <= queue_world_now_ms(&m->w);
}

static void count_possible(struct model *m, bool dead, size_t *ret_again, size_t *ret_all)
{
    *ret_again = *ret_all = 0;
    for (uint64_t i = 1; i <= m->count; i++) {
        bool again;
        bool comes = may_come(m, &m->items[i], dead, &again);
        *ret_all += comes;
        *ret_again += comes && again;
    }
}

static void keep(char *to, size_t *to_bytes, Str s)
{
    EXPECT(s.n < HANDLE_BYTES_MAX);
    memcpy(to, s.p, s.n);
    *to_bytes = s.n;
}

// One record that came.
static void came(struct model *m, const kinesis_QueueRecord *r, bool dead, int32_t visibility_s)
{
    uint64_t number;
    bool again;
    memcpy(&number, r->data.p, sizeof number);
    EXPECT(number >= 1 && number <= m->count);
    struct item *it = &m->items[number];
    EXPECT(may_come(m, it, dead, &again));
    int64_t now_ms = queue_world_now_ms(&m->w);
    if (!again)
        it->first_ms = now_ms;
    else
        EXPECT_STR(str_from(it->id, it->id_bytes), r->record_id);
    it->received++;
    EXPECT_INT(it->received, r->receive_count);
    EXPECT_INT(it->first_ms * NS_PER_MS, r->first_receive_timestamp);
    EXPECT_INT(it->put_ms * NS_PER_MS, r->approximate_arrival_timestamp);
    it->visible_ms = now_ms + (visibility_s >= 0 ? visibility_s : m->visibility_s) * INT64_C(1000);
    it->state =
        it->state == DEAD || (m->receives_max > 0 && it->received >= m->receives_max) ? DEAD : LIVE;
    m->letters += it->state == DEAD && !dead;
    memcpy(it->old, it->handle, it->handle_bytes);
    it->old_bytes = it->handle_bytes;
    keep(it->handle, &it->handle_bytes, r->receipt_handle);
    EXPECT(r->record_id.n < sizeof it->id);
    memcpy(it->id, r->record_id.p, r->record_id.n);
    it->id_bytes = r->record_id.n;
    it->handle_is_dead = dead;
    it->handle_is_good = true;
    m->received++;
}

static void receive(struct model *m, bool dead)
{
    AUTO(arena) a = arena_open();
    kinesis_QueueRecordList got;
    int32_t limit = 1 + (int32_t)next(m, 10);
    int32_t visibility_s = next(m, 3) == 0 ? (int32_t)next(m, 40) : -1;
    size_t again, all, seen_again = 0;
    count_possible(m, dead, &again, &all);
    EXPECT_OK(queue_world_receive(&m->w, a, m->arn, dead, limit, visibility_s, &got));
    EXPECT_INT(MIN(all, (size_t)limit), got.n);
    for (size_t i = 0; i < got.n; i++) {
        seen_again += got.at[i].receive_count > 1 ||
                      got.at[i].first_receive_timestamp != queue_world_now_ms(&m->w) * NS_PER_MS;
        came(m, &got.at[i], dead, visibility_s);
    }
    if (again >= (size_t)limit) // what is visible again goes first
        EXPECT(seen_again > 0 || limit == 0 || again > 0);
}

// A record that has a handle, or NULL.
static struct item *any_received(struct model *m)
{
    for (int tries = 0; m->count > 0 && tries < 20; tries++) {
        struct item *it = &m->items[1 + next(m, m->count)];
        if (it->handle_bytes > 0)
            return it;
    }
    return NULL;
}

// What an entry of a batch must be answered with; absent: it succeeds.
static Str expected(struct model *m, const struct item *it, bool is_old, bool dead, Str handle)
{
    (void)handle;
    bool handle_is_dead = it->handle_is_dead;
    if (!is_old && handle_is_dead != dead)
        return S("InvalidArgumentException");
    if (it->state == DONE)
        return S("ResourceNotFoundException");
    if (is_old || !it->handle_is_good)
        return S("InvalidArgumentException");
    (void)m;
    return (Str){ 0 };
}

static void deed(struct model *m)
{
    AUTO(arena) a = arena_open();
    struct item *it = any_received(m);
    if (it == NULL || is_over(m, it)) // whether those are forgotten already is left open
        return;
    bool is_old = it->old_bytes > 0 && next(m, 6) == 0;
    Str handle = is_old ? str_from(it->old, it->old_bytes) : str_from(it->handle, it->handle_bytes);
    bool dead = it->handle_is_dead;
    if (is_old && it->state != DONE)
        dead = false; // an old one is refused in either way, as another kind's or as expired
    else if (next(m, 8) == 0)
        dead = !dead;
    if (is_old && it->state == DONE)
        return;
    uint64_t what = next(m, dead ? 3 : 2);
    int32_t seconds = (int32_t)next(m, 30);
    Str want = expected(m, it, is_old, dead, handle), got;
    if (what == 0)
        got = queue_world_ack(&m->w, a, m->arn, dead, handle);
    else if (what == 1)
        got = queue_world_hide(&m->w, a, m->arn, dead, handle, seconds);
    else
        got = queue_world_restore(&m->w, a, m->arn, handle);
    EXPECT_STR(want, got);
    if (want.p != NULL)
        return;
    if (what == 0) {
        it->state = DONE;
        m->acknowledged++;
    } else if (what == 1) {
        it->visible_ms = queue_world_now_ms(&m->w) + seconds * INT64_C(1000);
    } else {
        it->state = LIVE;
        it->received = 0;
        it->visible_ms = queue_world_now_ms(&m->w);
        it->handle_is_good = false;
        m->restored++;
    }
}

static void update(struct model *m)
{
    AUTO(arena) a = arena_open();
    struct queue_call *o = queue_call_new(&m->w, a);
    m->visibility_s = 1 + (int32_t)next(m, 40);
    m->receives_max = next(m, 4) == 0 ? 0 : 1 + (int32_t)next(m, 4);
    kinesis_DeadLetterConfiguration letters = {
        .target_type = m->receives_max > 0 ? S("BUILT_IN") : S("NONE"),
        .has_max_receive_count = m->receives_max > 0,
        .max_receive_count = m->receives_max,
    };
    kinesis_QueueAttributes attributes = { .has_visibility_timeout_seconds = true,
                                           .visibility_timeout_seconds = m->visibility_s,
                                           .dead_letter_configuration = &letters };
    struct kinesis_UpdateQueue_in in = { .queue_arn = m->arn, .queue_attributes = &attributes };
    struct kinesis_UpdateQueue_out out = { 0 };
    EXPECT_OK(kinesis_UpdateQueue(&o->call, &in, &out));
    EXPECT_STR(S("UPDATING"), out.queue_description->queue_status);
}

static void step(struct model *m)
{
    uint64_t what = next(m, 100);
    if (what < 12) {
        put(m);
    } else if (what < 45) {
        receive(m, false);
    } else if (what < 55) {
        receive(m, true);
    } else if (what < 80) {
        deed(m);
    } else if (what < 95) {
        queue_world_advance(&m->w, (int64_t)next(m, 20000));
    } else if (what < 97) {
        update(m);
    } else if (what < 99) {
        queue_world_crash(&m->w);
        m->crashes++;
    } else if (next(m, 4) == 0) {
        queue_world_advance(&m->w, (int64_t)next(m, 2 * RETENTION_MS / 3));
    }
}

static void run_seed(uint64_t seed, struct arena *a)
{
    struct model *m = xalloc(sizeof *m);
    m->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    m->visibility_s = 20;
    m->receives_max = 3;
    queue_world_open(&m->w, 0, 0);
    m->arn = queue_world_create(
        &m->w, a, (QueueWish){ .name = S("q"), .visibility_s = 20, .receives_max = 3 });
    for (int i = 0; i < STEPS; i++)
        step(m);
    EXPECT(m->received > 100 && m->acknowledged > 20 && m->letters > 5 && m->crashes > 3);
    queue_world_close(&m->w);
    free(m);
}

TEST(queues_do_what_a_plain_model_does)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed, a);
}

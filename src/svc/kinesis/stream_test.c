// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "svc/kinesis/stream_priv.h"

#include <stddef.h>
#include <string.h>

static struct stream *sample(uint32_t shards)
{
    uint64_t ids[300];
    struct stream *s = stream_new(S("000000000000"), S("us-east-1"), S("clicks"));
    s->id = stream_own(S("abcdefghijklmnopqrst-xyz"));
    s->status = STREAM_ACTIVE;
    s->created_ms = 1700000000123;
    for (uint32_t i = 0; i < shards; i++)
        ids[i] = UINT64_MAX - i; // over 53 bits
    stream_split_evenly(s, shards, 1700000000, ids);
    return s;
}

TEST(a_row_gives_back_the_stream_that_was_written)
{
    AUTO(stream) s = sample(3);
    AUTO(stream) back = NULL;
    AUTO_BUF(row);
    tag_set_put(&s->tags, S("team"), S("a \"quoted\" name"));
    s->retention_hours = 168;
    s->on_demand = true;
    s->shards[0]->parent = 2;
    s->shards[0]->adjacent = 1;
    shard_close(s->shards[1], UINT64_C(1) << 60, 1700000005000);
    s->over_ms = 1700000000123;
    stream_row_write(&row, s);
    Str key = stream_row_key(a, s->account, s->region, s->name);
    EXPECT_STR(S("000000000000/us-east-1/clicks"), key);

    EXPECT_OK(stream_row_read(a, key, buf_str(&row), &back));
    EXPECT_STR(s->arn, back->arn);
    EXPECT_STR(s->id, back->id);
    EXPECT_STR(S("a \"quoted\" name"), tag_set_find(&back->tags, S("team")));
    EXPECT_INT(168, back->retention_hours);
    EXPECT(back->on_demand && back->status == STREAM_ACTIVE && back->created_ms == s->created_ms);
    EXPECT(back->shard_count == 3 && back->open_count == 2);
    for (size_t i = 0; i < 3; i++) {
        EXPECT(back->shards[i]->id == s->shards[i]->id);
        EXPECT(back->shards[i]->start == s->shards[i]->start &&
               back->shards[i]->end == s->shards[i]->end);
    }
    EXPECT_INT(1700000000123, back->over_ms);
    EXPECT(back->shards[0]->parent == 2 && back->shards[0]->adjacent == 1);
    EXPECT(back->shards[1]->parent == -1 && back->shards[1]->adjacent == -1);
    EXPECT(shard_is_closed(back->shards[1]) && shard_end_position(back->shards[1]) == UINT64_C(1)
                                                                                          << 60);
}

TEST(a_row_that_was_not_written_here_is_refused)
{
    AUTO(stream) s = sample(1);
    AUTO_BUF(row);
    stream_row_write(&row, s);
    struct stream *back;
    Str good = S("0/r/n");
    EXPECT_ERR(ERR_CORRUPT, stream_row_read(a, S("no-slashes"), buf_str(&row), &back));
    EXPECT_ERR(ERR_CORRUPT, stream_row_read(a, good, S("{}"), &back));
    EXPECT_ERR(ERR_CORRUPT, stream_row_read(a, good, S("[1]"), &back));
    EXPECT_ERR(ERR_CORRUPT, stream_row_read(a, good, str_head(buf_str(&row), row.n / 2), &back));
    EXPECT_ERR(ERR_FORMAT, stream_row_read(a, good, S("{\"version\":99}"), &back));
    Str parent =
        S("{\"version\":1,\"id\":\"i\",\"status\":\"ACTIVE\",\"created_ms\":1,\"on_demand\":0,"
          "\"spread\":0,\"retention_hours\":24,\"record_kib_max\":1024,\"shards\":[{\"id\":\"1\","
          "\"start\":\"0\",\"end\":\"9\",\"created_s\":1,\"parent\":");
    EXPECT_ERR(ERR_CORRUPT,
               stream_row_read(a, good, str_cat(a, parent, S("2147483648}]}")), &back));
    EXPECT_OK(stream_row_read(a, good, str_cat(a, parent, S("2147483647}]}")), &back));
    stream_unref(back);
}

TEST(an_idle_shard_holds_no_limits_and_a_used_one_keeps_its_own)
{
    AUTO(stream) s = sample(2);
    EXPECT(shard_take_write(s->shards[0], 0, NS_PER_S, 5000, 0)); // lifted
    EXPECT(shard_take_iterator(s->shards[0], 0, NS_PER_S) &&
           shard_take_read(s->shards[0], 0, NS_PER_S));
    EXPECT(s->shards[0]->use == NULL && s->shards[1]->use == NULL);
    EXPECT(shard_take_write(s->shards[0], 1, NS_PER_S, 1000, 0));
    EXPECT(!shard_take_write(s->shards[0], 1, NS_PER_S, 1, 0));
    EXPECT(shard_take_write(s->shards[1], 1, NS_PER_S, 1, 0)); // another's are untouched
    EXPECT(shard_take_read(s->shards[1], 1, NS_PER_S));
    shard_read_done(s->shards[1], 1, NS_PER_S, 10 << 20);
    EXPECT(!shard_take_read(s->shards[1], 1, NS_PER_S));
}

TEST(a_row_gives_back_what_is_being_done)
{
    AUTO(stream) s = sample(2);
    AUTO(stream) back = NULL;
    AUTO_BUF(row);
    s->status = STREAM_UPDATING;
    s->change = (StreamChange){ .kind = CHANGE_SPLIT,
                                .due_ms = 1700000009000,
                                .shard = 1,
                                .other = 7,
                                .target = 9,
                                .key = HASH_KEY_MAX - 5 };
    s->scaled_ms[0] = 1700000008000;
    s->scaled_ms[1] = 1700000007000;
    s->switched_ms[0] = 1700000006000;
    stream_row_write(&row, s);
    Str key = stream_row_key(a, s->account, s->region, s->name);
    EXPECT_OK(stream_row_read(a, key, buf_str(&row), &back));
    EXPECT(back->status == STREAM_UPDATING && back->change.kind == CHANGE_SPLIT);
    EXPECT(back->change.due_ms == 1700000009000 && back->change.shard == 1 &&
           back->change.other == 7 && back->change.target == 9 &&
           back->change.key == HASH_KEY_MAX - 5);
    EXPECT_INT(1700000007000, back->scaled_ms[1]);
    EXPECT_INT(0, back->scaled_ms[2]);
    EXPECT_INT(1700000006000, back->switched_ms[0]);
}

TEST(a_row_of_the_first_version_has_all_shards_in_their_order)
{
    AUTO(stream) s = NULL;
    Str row = S("{\"version\":1,\"id\":\"x\",\"status\":\"ACTIVE\",\"created_ms\":5,"
                "\"on_demand\":0,\"spread\":0,\"retention_hours\":24,\"record_kib_max\":1024,"
                "\"tags\":{},\"shards\":["
                "{\"id\":\"4\",\"start\":\"0\",\"end\":\"9\",\"created_s\":1},"
                "{\"id\":\"5\",\"start\":\"10\",\"end\":\"19\",\"created_s\":1}]}");
    EXPECT_OK(stream_row_read(a, S("1/r/n"), row, &s));
    EXPECT(s->shard_count == 2 && s->shard_next == 2 && s->shards[1]->index == 1);
    EXPECT(s->change.kind == CHANGE_NONE && s->scaled_ms[0] == 0);
}

TEST(shards_that_are_over_leave_their_numbers_free_for_ever)
{
    AUTO(stream) s = sample(3);
    AUTO(stream) back = NULL;
    AUTO_BUF(row);
    uint64_t ids[4], second = s->shards[1]->id;
    shard_close(s->shards[1], UINT64_C(1) << 60, 1700000005000);
    stream_sort_open(s);
    EXPECT_INT(0, stream_bury(s, 1700000005000, ids)); // it closed then, not before
    EXPECT_INT(1, stream_bury(s, 1700000005001, ids));
    EXPECT(ids[0] == second && s->shard_count == 2 && s->has_buried);
    EXPECT(stream_shard(s, 0)->index == 0 && stream_shard(s, 1) == NULL &&
           stream_shard(s, 2)->index == 2 && stream_shard(s, 3) == NULL);
    EXPECT(stream_shard(s, -1) == NULL);
    stream_clear_buried(s);
    EXPECT(!s->has_buried && stream_shard(s, 2)->index == 2);

    stream_row_write(&row, s);
    Str key = stream_row_key(a, s->account, s->region, s->name);
    EXPECT_OK(stream_row_read(a, key, buf_str(&row), &back));
    EXPECT(back->shard_count == 2 && back->shards[1]->index == 2 && back->shard_next == 3);
    EXPECT_INT(3, stream_add_shards(back, 1)->index);
    EXPECT(stream_shard(back, 3) == back->shards[2]);
}

TEST(a_block_whose_shards_are_all_over_is_given_back)
{
    AUTO(stream) s = sample(1);
    uint64_t ids[4];
    struct shard *more = stream_add_shards(s, 2);
    shard_close(&more[0], 1, 1700000005000);
    shard_close(&more[1], 1, 1700000006000);
    stream_sort_open(s);
    EXPECT_INT(1, stream_bury(s, 1700000005500, ids));
    stream_clear_buried(s); // its neighbour is still there
    EXPECT(stream_shard(s, 2) == &more[1] && shard_closed_ms(&more[1]) == 1700000006000);
    EXPECT_INT(1, stream_bury(s, 1700000009000, ids));
    stream_clear_buried(s);
    EXPECT(s->shard_count == 1 && s->shard_next == 3);
}

TEST(a_child_opens_when_its_parents_end)
{
    AUTO(stream) s = sample(1);
    struct shard *child = stream_add_shards(s, 1);
    uint64_t ids[2];
    EXPECT_INT(s->created_ms, stream_opened_ms(s, s->shards[0]));
    child->parent = 0;
    shard_close(s->shards[0], 1, 1700000005000);
    stream_sort_open(s);
    EXPECT_INT(1700000005000, stream_opened_ms(s, child));
    EXPECT_INT(1, stream_bury(s, INT64_MAX - 1, ids));
    EXPECT_INT(INT64_MIN, stream_opened_ms(s, child));
}

struct waiting_call {
    struct stream_waiter waiter;
    struct loop *loop;
    char *order;
    char name;
};

static void woken(struct task *t)
{
    struct waiting_call *w =
        (struct waiting_call *)((char *)t - offsetof(struct waiting_call, waiter.task));
    w->order[strlen(w->order)] = w->waiter.failed ? '-' : w->name;
    if (w->name == 'b')
        loop_stop(w->loop);
}

TEST(whoever_waits_for_a_stream_is_woken_in_turn_and_once)
{
    AUTO(stream) s = sample(1);
    AUTO(loop) loop = NULL;
    char order[8] = "";
    EXPECT_OK(loop_open(&loop));
    struct waiting_call calls[2] = { { .name = 'a' }, { .name = 'b' } };
    for (int failed = 0; failed < 2; failed++) {
        for (size_t i = 0; i < 2; i++) {
            calls[i].loop = calls[i].waiter.loop = loop;
            calls[i].order = order;
            calls[i].waiter.task.run = woken;
            stream_wait(s, &calls[i].waiter);
        }
        stream_wake(s, failed);
        stream_wake(s, false);
        loop_run(loop);
    }
    EXPECT_STR(S("ab--"), str_of(order));
}

TEST(a_block_of_shards_follows_another_one)
{
    AUTO(stream) s = sample(2);
    struct shard *first = s->shards[0], *more = stream_add_shards(s, 2);
    EXPECT(s->shard_count == 4 && s->shards[0] == first); // they stay where they are
    EXPECT(s->shards[2] == more && more[1].index == 3 && more[1].parent == -1);
}

TEST(every_hash_key_leads_to_the_shard_that_owns_it)
{
    for (uint32_t n = 1; n <= 16; n++) {
        AUTO(stream) s = sample(n);
        for (uint32_t i = 0; i < n; i++) {
            EXPECT(stream_route(s, s->shards[i]->start)->index == i);
            EXPECT(stream_route(s, s->shards[i]->end)->index == i);
        }
    }
}

// Of n shards whose widths differ by any power of two: after splits of the same one, say.
TEST(every_hash_key_leads_to_its_shard_however_uneven_they_are)
{
    uint64_t x = 1;
    for (uint32_t n = 1; n < 300; n += 7) {
        AUTO(stream) s = sample(n);
        for (uint32_t i = n; i-- > 1;) {
            HashKey end = i == n - 1 ? HASH_KEY_MAX : s->shards[i + 1]->start - 1;
            x = x * UINT64_C(6364136223846793005) + 1;
            HashKey room = end - i; // the shards before it need a key each
            HashKey width = ((HashKey)x << 64 | x) % room >> (x >> 58);
            s->shards[i]->start = end - width;
            s->shards[i]->end = end;
        }
        s->shards[0]->end = n == 1 ? HASH_KEY_MAX : s->shards[1]->start - 1;
        for (uint32_t i = 0; i < n; i++) {
            HashKey start = s->shards[i]->start, end = s->shards[i]->end;
            EXPECT(start <= end);
            EXPECT(stream_route(s, start)->index == i && stream_route(s, end)->index == i);
            EXPECT(stream_route(s, start + (end - start) / 2)->index == i);
        }
    }
}

TEST(a_shard_id_is_what_follows_the_first_dash)
{
    AUTO(stream) s = sample(3);
    static const char *const same[] = { "shardId-000000000002", "x-2", "2", "shard-02" };
    struct shard *sh;
    for (size_t i = 0; i < COUNT_OF(same); i++) {
        EXPECT_OK(stream_find_shard(s, str_of(same[i]), &sh));
        EXPECT(sh == s->shards[2]);
    }
    EXPECT_OK(stream_find_shard(s, S("shardId-000000000003"), &sh));
    EXPECT(sh == NULL);
    EXPECT_ERR(ERR_INVALID, stream_find_shard(s, S("shardId-x"), &sh));
    EXPECT_ERR(ERR_INVALID, stream_find_shard(s, S("2147483648"), &sh));
    EXPECT_STR(S("shardId-000000000000"), shard_id_str(a, 0));
    EXPECT_STR(S("shardId-000000000017"), shard_id_str(a, 17));
    EXPECT_STR(S("shardId-002147483647"), shard_id_str(a, INT32_MAX));
}

TEST(tags_are_kept_in_the_order_of_their_keys)
{
    AUTO(stream) s = sample(1);
    tag_set_put(&s->tags, S("b"), S("2"));
    tag_set_put(&s->tags, S("a"), S("1"));
    tag_set_put(&s->tags, S("b"), S("3"));
    EXPECT(s->tags.n == 2);
    EXPECT_STR(S("a"), s->tags.at[0].key);
    EXPECT_STR(S("3"), s->tags.at[1].value);
    tag_set_drop(&s->tags, S("a"));
    tag_set_drop(&s->tags, S("a"));
    EXPECT(s->tags.n == 1 && tag_set_find(&s->tags, S("a")).p == NULL);
}

TEST(a_stream_moves_between_its_states_only_forwards)
{
    EXPECT(stream_may_become(STREAM_CREATING, STREAM_ACTIVE));
    EXPECT(stream_may_become(STREAM_ACTIVE, STREAM_DELETING));
    EXPECT(!stream_may_become(STREAM_DELETING, STREAM_ACTIVE));
    EXPECT(!stream_may_become(STREAM_GONE, STREAM_ACTIVE));
}

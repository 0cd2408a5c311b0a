// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "svc/kinesis/stream_priv.h"

static struct stream *sample(uint32_t shards)
{
    uint64_t ids[16];
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
    stream_set_tag(s, S("team"), S("a \"quoted\" name"));
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
    EXPECT_STR(S("a \"quoted\" name"), stream_tag(back, S("team")));
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
    EXPECT(back->shards[1]->closed && shard_end_position(back->shards[1]) == UINT64_C(1) << 60);
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
    stream_set_tag(s, S("b"), S("2"));
    stream_set_tag(s, S("a"), S("1"));
    stream_set_tag(s, S("b"), S("3"));
    EXPECT(s->tag_count == 2);
    EXPECT_STR(S("a"), s->tags[0].key);
    EXPECT_STR(S("3"), s->tags[1].value);
    stream_drop_tag(s, S("a"));
    stream_drop_tag(s, S("a"));
    EXPECT(s->tag_count == 1 && stream_tag(s, S("a")).p == NULL);
}

TEST(a_stream_moves_between_its_states_only_forwards)
{
    EXPECT(stream_may_become(STREAM_CREATING, STREAM_ACTIVE));
    EXPECT(stream_may_become(STREAM_ACTIVE, STREAM_DELETING));
    EXPECT(!stream_may_become(STREAM_DELETING, STREAM_ACTIVE));
    EXPECT(!stream_may_become(STREAM_GONE, STREAM_ACTIVE));
}

// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/reshard.h"
#include "base/test.h"
#include "svc/kinesis/stream_priv.h"

enum { SHARDS_MOST = 13 };

static struct stream *sample(uint32_t shards)
{
    uint64_t ids[SHARDS_MOST * 2];
    struct stream *s = stream_new(S("000000000000"), S("us-east-1"), S("clicks"));
    s->status = STREAM_ACTIVE;
    s->created_ms = 1700000000123;
    for (uint32_t i = 0; i < shards; i++)
        ids[i] = i + 1;
    stream_split_evenly(s, shards, 1700000000, ids);
    return s;
}

// The open shards own every hash key once.
static void expect_whole(const struct stream *s)
{
    EXPECT(s->open[0]->start == 0 && s->open[s->open_count - 1]->end == HASH_KEY_MAX);
    for (size_t i = 1; i < s->open_count; i++)
        EXPECT(s->open[i - 1]->end + 1 == s->open[i]->start);
    size_t open = 0;
    for (size_t i = 0; i < s->shard_count; i++)
        open += !shard_is_closed(s->shards[i]);
    EXPECT_INT(open, s->open_count);
}

// Children stand behind their parents, and own no other keys than these; what closed has children.
static void expect_lineage(const struct stream *s, size_t before)
{
    for (size_t i = before; i < s->shard_count; i++) {
        const struct shard *sh = s->shards[i], *parent = stream_shard(s, sh->parent);
        const struct shard *adjacent = sh->adjacent >= 0 ? stream_shard(s, sh->adjacent) : NULL;
        EXPECT(parent != NULL && parent->index < sh->index && shard_is_closed(parent));
        if (adjacent == NULL) {
            EXPECT(sh->start >= parent->start && sh->end <= parent->end);
        } else {
            EXPECT(adjacent->index < sh->index && shard_is_closed(adjacent));
            EXPECT(sh->start == parent->start && sh->end == adjacent->end &&
                   parent->end + 1 == adjacent->start);
        }
    }
    for (size_t i = 0; i < s->shard_count; i++) {
        size_t children = 0;
        for (size_t k = 0; k < s->shard_count; k++)
            children += s->shards[k]->parent == (int32_t)i || s->shards[k]->adjacent == (int32_t)i;
        EXPECT(shard_is_closed(s->shards[i]) ? children == 1 || children == 2 : children == 0);
    }
}

static void settle(struct stream *s, struct arena *a, const struct stream *then)
{
    size_t before = then->shard_count;
    size_t *parents = arena_new(a, size_t, before);
    size_t n = reshard_parents(s, then, parents);
    LogPlace *ends = arena_new(a, LogPlace, n);
    uint64_t *ids = arena_new(a, uint64_t, s->shard_count - before);
    for (size_t i = 0; i < n; i++)
        ends[i] = (LogPlace){ .position = 5000 + i, .arrival_ms = 1700000100900 };
    for (size_t i = 0; i < s->shard_count - before; i++)
        ids[i] = 100 + i;
    reshard_settle(s, before, parents, n, ends, ids);
}

// As a client compares them: the later generation has the greater numbers.
static int compare(struct arena *a, Sequence x, Sequence y)
{
    return str_cmp(sequence_str(a, x), sequence_str(a, y)); // they all have the same length
}

static void expect_later(struct arena *a, const struct stream *s, size_t before)
{
    for (size_t i = before; i < s->shard_count; i++) {
        const struct shard *sh = s->shards[i];
        const struct shard *parent = stream_shard(s, sh->parent);
        EXPECT(compare(a, shard_sequence_start(sh), shard_sequence_end(parent)) > 0);
        if (sh->adjacent >= 0)
            EXPECT(compare(a, shard_sequence_start(sh),
                           shard_sequence_end(stream_shard(s, sh->adjacent))) > 0);
        EXPECT(sh->id != 0);
    }
}

TEST(a_split_makes_two_of_one)
{
    AUTO(stream) s = sample(2);
    AUTO(stream) then = sample(2);
    StreamChange change = { .kind = CHANGE_SPLIT, .shard = 1, .key = HASH_KEY_MAX / 4 * 3 };
    EXPECT_OK(reshard_apply(s, &change));
    EXPECT(s->shard_count == 4 && s->open_count == 3 && shard_is_closed(s->shards[1]));
    EXPECT(s->shards[2]->start == s->shards[1]->start && s->shards[2]->end == change.key - 1);
    EXPECT(s->shards[3]->start == change.key && s->shards[3]->end == HASH_KEY_MAX);
    EXPECT(s->shards[2]->parent == 1 && s->shards[3]->parent == 1 && s->shards[2]->adjacent == -1);
    expect_whole(s);
    settle(s, a, then);
    EXPECT_INT(5000, shard_end_position(s->shards[1]));
    EXPECT_INT(1700000100900, shard_closed_ms(s->shards[1]));
    EXPECT_INT(1700000101, s->shards[2]->created_s);
    EXPECT(s->shards[2]->id == 100 && s->shards[3]->id == 101);
    expect_later(a, s, 2);
}

TEST(a_merge_makes_one_of_two)
{
    AUTO(stream) s = sample(3);
    AUTO(stream) then = sample(3);
    StreamChange change = { .kind = CHANGE_MERGE, .shard = 1, .other = 2 };
    EXPECT_OK(reshard_apply(s, &change));
    EXPECT(s->shard_count == 4 && s->open_count == 2);
    EXPECT(s->shards[3]->parent == 1 && s->shards[3]->adjacent == 2);
    expect_whole(s);
    expect_lineage(s, 3);
    settle(s, a, then);
    expect_later(a, s, 3);
}

TEST(what_does_not_fit_to_the_shards_is_refused_and_changes_nothing)
{
    AUTO(stream) s = sample(3);
    const StreamChange wrong[] = {
        { .kind = CHANGE_SPLIT, .shard = 7, .key = 5 },
        { .kind = CHANGE_SPLIT, .shard = 0, .key = 0 },
        { .kind = CHANGE_SPLIT, .shard = 0, .key = HASH_KEY_MAX },
        { .kind = CHANGE_MERGE, .shard = 0, .other = 2 },
        { .kind = CHANGE_MERGE, .shard = 1, .other = 0 },
        { .kind = CHANGE_MERGE, .shard = 2, .other = 0 },
        { .kind = CHANGE_MERGE, .shard = 0, .other = 9 },
        { .kind = CHANGE_SCALE, .target = 0 },
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        EXPECT_ERR(ERR_INVALID, reshard_apply(s, &wrong[i]));
    EXPECT(s->shard_count == 3 && s->open_count == 3);
    shard_close(s->shards[0], 1, 1);
    stream_sort_open(s);
    EXPECT_ERR(ERR_INVALID,
               reshard_apply(s, &(StreamChange){ .kind = CHANGE_SPLIT, .shard = 0, .key = 5 }));
}

// Even but for rounding.
static bool is_near(HashKey x, HashKey y)
{
    return (x > y ? x - y : y - x) <= SHARDS_MOST;
}

TEST(scaling_ends_with_even_shards_whatever_it_begins_with)
{
    for (uint32_t from = 1; from <= SHARDS_MOST; from++)
        for (uint32_t to = 1; to <= SHARDS_MOST; to++) {
            AUTO(stream) s = sample(from);
            AUTO(stream) then = sample(from);
            size_t adds = reshard_scale_adds(s, to);
            EXPECT_OK(reshard_apply(s, &(StreamChange){ .kind = CHANGE_SCALE, .target = to }));
            EXPECT_INT(to, s->open_count);
            EXPECT_INT(adds, s->shard_count - from);
            for (uint32_t i = 0; i < to; i++)
                EXPECT(is_near(s->open[i]->start, hash_key_start(i, to)) &&
                       is_near(s->open[i]->end, hash_key_end(i, to)));
            expect_whole(s);
            expect_lineage(s, from);
            settle(s, a, then);
            expect_later(a, s, from);
        }
}

TEST(scaling_evens_out_shards_that_were_split_by_hand)
{
    AUTO(stream) s = sample(2);
    EXPECT_OK(reshard_apply(s, &(StreamChange){ .kind = CHANGE_SPLIT, .shard = 0, .key = 12345 }));
    EXPECT_OK(reshard_apply(
        s, &(StreamChange){ .kind = CHANGE_SPLIT, .shard = 1, .key = HASH_KEY_MAX - 7 }));
    EXPECT_OK(reshard_apply(s, &(StreamChange){ .kind = CHANGE_SCALE, .target = 4 }));
    EXPECT_INT(4, s->open_count);
    for (uint32_t i = 0; i < 4; i++)
        EXPECT(s->open[i]->start == hash_key_start(i, 4));
    expect_whole(s);
    expect_lineage(s, 2);
}

TEST(scaling_to_what_is_there_changes_nothing)
{
    AUTO(stream) s = sample(5);
    EXPECT_OK(reshard_apply(s, &(StreamChange){ .kind = CHANGE_SCALE, .target = 5 }));
    EXPECT(s->shard_count == 5 && s->open_count == 5);
}

TEST(halving_and_doubling_need_no_shards_on_the_way)
{
    AUTO(stream) s = sample(6);
    AUTO(stream) odd = sample(7);
    EXPECT_INT(14, reshard_scale_adds(odd, 14));
    EXPECT_INT(12, reshard_scale_adds(s, 12));
    EXPECT_INT(3, reshard_scale_adds(s, 3));
    EXPECT_INT(0, reshard_scale_adds(s, 6));
}

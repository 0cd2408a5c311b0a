// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/reshard.h"
#include "svc/kinesis/stream_priv.h"

#include <string.h>

enum { END_UNKNOWN = 1 };                 // the end of a shard that is closed and not settled
#define BOUNDARY_SLACK ((HashKey)1 << 32) // far more than rounding makes, far less than any shard

static void close_for_now(struct shard *sh)
{
    shard_close(sh, END_UNKNOWN, END_UNKNOWN);
}

// The place among the open shards of the one that owns the hash key.
static size_t place_of(const struct stream *s, HashKey h)
{
    size_t low = 0, high = s->open_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->open[middle]->start <= h)
            low = middle;
        else
            high = middle;
    }
    return low;
}

// open[at] becomes two, the second of which begins at the hash key.
static void split_at(struct stream *s, size_t at, HashKey h)
{
    struct shard *parent = s->open[at], *child = stream_add_shards(s, 2);
    CHECK(parent->start < h && h <= parent->end);
    child[0].start = parent->start;
    child[0].end = h - 1;
    child[1].start = h;
    child[1].end = parent->end;
    child[0].parent = child[1].parent = (int32_t)parent->index;
    close_for_now(parent);
    s->open = xrealloc(s->open, mul_checked(s->open_count + 1, sizeof *s->open));
    memmove(&s->open[at + 2], &s->open[at + 1], (s->open_count - at - 1) * sizeof *s->open);
    s->open[at] = &child[0];
    s->open[at + 1] = &child[1];
    s->open_count++;
}

// open[at] and the one behind it become one.
static void merge_at(struct stream *s, size_t at)
{
    struct shard *low = s->open[at], *high = s->open[at + 1], *child = stream_add_shards(s, 1);
    CHECK(low->end + 1 == high->start);
    child->start = low->start;
    child->end = high->end;
    child->parent = (int32_t)low->index;
    child->adjacent = (int32_t)high->index;
    close_for_now(low);
    close_for_now(high);
    s->open[at] = child;
    s->open_count--;
    memmove(&s->open[at + 1], &s->open[at + 2], (s->open_count - at - 1) * sizeof *s->open);
}

// Where the i-th of the wanted shards begins. The even boundaries for two numbers of shards that
// could be the same differ by a few keys, for 2^128 does not divide by them: then it stays where
// there is one already.
static HashKey boundary_of(const struct stream *s, uint32_t i, uint32_t target)
{
    HashKey h = hash_key_start(i, target);
    const struct shard *sh = s->open[place_of(s, h)];
    if (h - sh->start <= BOUNDARY_SLACK)
        return sh->start;
    return sh->end != HASH_KEY_MAX && sh->end - h < BOUNDARY_SLACK ? sh->end + 1 : h;
}

static void scale_to(struct stream *s, uint32_t target)
{
    AUTO(arena) tmp = arena_open();
    HashKey *starts = arena_new(tmp, HashKey, target);
    for (uint32_t i = 0; i < target; i++)
        starts[i] = boundary_of(s, i, target);
    for (uint32_t i = 1; i < target; i++) {
        size_t at = place_of(s, starts[i]);
        if (s->open[at]->start != starts[i])
            split_at(s, at, starts[i]);
    }
    for (uint32_t i = 0; i < target; i++)
        while (s->open[i]->end != (i + 1 < target ? starts[i + 1] - 1 : HASH_KEY_MAX))
            merge_at(s, i);
}

static Err check(const struct stream *s, const StreamChange *c)
{
    const struct shard *one = stream_shard(s, c->shard), *other = stream_shard(s, c->other);
    if (one == NULL || shard_is_closed(one))
        return fail(ERR_INVALID, "the shard to change is not open");
    if (c->kind == CHANGE_SPLIT && (c->key <= one->start || c->key > one->end))
        return fail(ERR_INVALID, "the shard to split does not own the hash key");
    if (c->kind == CHANGE_MERGE && (other == NULL || shard_is_closed(other) ||
                                    one->end == HASH_KEY_MAX || one->end + 1 != other->start))
        return fail(ERR_INVALID, "the shards to merge are no neighbours");
    return OK;
}

Err reshard_apply(struct stream *s, const StreamChange *c)
{
    if (c->kind == CHANGE_SCALE && c->target == 0)
        return fail(ERR_INVALID, "a stream has at least one shard");
    if (c->kind == CHANGE_SPLIT || c->kind == CHANGE_MERGE)
        TRY(check(s, c));
    if (c->kind == CHANGE_SPLIT)
        split_at(s, place_of(s, c->key), c->key);
    else if (c->kind == CHANGE_MERGE)
        merge_at(s, place_of(s, stream_shard(s, c->shard)->start));
    else if (c->kind == CHANGE_SCALE)
        scale_to(s, c->target);
    return OK;
}

size_t reshard_scale_adds(const struct stream *s, uint32_t target)
{
    size_t splits = 0;
    for (uint32_t i = 1; i < target; i++) {
        HashKey boundary = boundary_of(s, i, target);
        splits += s->open[place_of(s, boundary)]->start != boundary;
    }
    return 2 * splits + (s->open_count + splits - target); // each merge adds one
}

size_t reshard_parents(const struct stream *now, const struct stream *then, size_t *ret_places)
{
    size_t n = 0;
    for (size_t i = 0; i < then->shard_count; i++)
        if (shard_is_closed(now->shards[i]) && !shard_is_closed(then->shards[i]))
            ret_places[n++] = i;
    return n;
}

static uint32_t after(const struct stream *s, int64_t parent, uint32_t created_s)
{
    const struct shard *p = parent >= 0 ? stream_shard(s, parent) : NULL;
    if (p == NULL)
        return created_s;
    uint32_t ended_s = (uint32_t)(shard_closed_ms(p) / 1000);
    return MAX(created_s, MAX(p->created_s, ended_s) + 1);
}

void reshard_settle(struct stream *s, size_t before, const size_t *parents, size_t n,
                    const LogPlace *ends, const uint64_t *ids)
{
    LogPlace last = { 0 };
    for (size_t i = 0; i < n; i++) {
        shard_close(s->shards[parents[i]], ends[i].position, ends[i].arrival_ms);
        last.position = MAX(last.position, ends[i].position);
        last.arrival_ms = MAX(last.arrival_ms, ends[i].arrival_ms);
    }
    for (size_t i = before; i < s->shard_count; i++) { // parents stand before their children
        struct shard *sh = s->shards[i];
        sh->id = ids[i - before];
        if (shard_is_closed(sh))
            shard_close(sh, last.position, last.arrival_ms);
        sh->created_s = after(s, sh->adjacent, after(s, sh->parent, 0));
    }
}

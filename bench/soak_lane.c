// SPDX-License-Identifier: Apache-2.0
// Lanes: what their records hold, and what a reader must find of them.
#include "soak.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Bodies are pieces of one text that does not repeat. It is kept in base64; three bytes of data are
// four letters, so that a piece which begins and ends at a multiple of three needs no encoding.
enum { POOL_BYTES = 3 << 20, PIECE_STARTS = 1 << 20, MAGIC = 0x6b616f73 };
_Static_assert(POOL_BYTES >= PIECE_STARTS + RECORD_BODY_BYTES_MAX, "a piece lies in the pool");
static char *pool_text;

struct record_head {
    uint32_t magic, lane;
    uint64_t number;
    uint32_t body_bytes, zero;
};
_Static_assert(sizeof(struct record_head) == RECORD_HEAD_BYTES, "no holes");

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 31) * UINT64_C(0x7fb5d329728ea185);
    x = (x ^ x >> 27) * UINT64_C(0x81dadef4bc2dd44d);
    return x ^ x >> 33;
}

static const char *piece(const struct record_head *h)
{
    uint64_t at = mix((uint64_t)h->lane << 40 ^ h->number << 1 ^ h->body_bytes) % PIECE_STARTS;
    return pool_text + at / 3 * 4;
}

size_t lane_record_text(const struct lane *lane, uint64_t number, size_t body_bytes, char *ret)
{
    struct record_head h = { MAGIC, lane->number, number, (uint32_t)(body_bytes / 3 * 3), 0 };
    size_t n = RECORD_HEAD_BYTES / 3 * 4, body_n = h.body_bytes / 3 * 4;
    EVP_EncodeBlock((unsigned char *)ret, (unsigned char *)&h, RECORD_HEAD_BYTES);
    memcpy(ret + n, piece(&h), body_n);
    return n + body_n;
}

bool lane_record_check(const struct lane *lane, const char *text, size_t n, uint64_t *ret_number)
{
    struct record_head h;
    size_t head_n = RECORD_HEAD_BYTES / 3 * 4;
    if (n < head_n || EVP_DecodeBlock((unsigned char *)&h, (const unsigned char *)text,
                                      (int)head_n) != RECORD_HEAD_BYTES)
        return false;
    *ret_number = h.number;
    return h.magic == MAGIC && h.lane == lane->number && h.zero == 0 && h.body_bytes % 3 == 0 &&
           h.body_bytes <= RECORD_BODY_BYTES_MAX && n - head_n == h.body_bytes / 3 * 4 &&
           memcmp(text + head_n, piece(&h), n - head_n) == 0;
}

// ---- What was not acknowledged

// Those that nobody can miss any more.
static void forget_gaps(struct lane *lane, uint64_t below)
{
    size_t kept = 0;
    for (size_t i = 0; i < lane->gap_count; i++)
        if (lane->gaps[i].to > below)
            lane->gaps[kept++] = lane->gaps[i];
    lane->gap_count = kept;
}

void lane_settle(struct lane *lane, uint64_t from, uint64_t to, bool acknowledged, bool refused)
{
    uint64_t below = acknowledged ? 0 : lane_must_have(lane, wall_ms() + soak.ahead_ms);
    pthread_mutex_lock(&lane->lock);
    if (!acknowledged && to > from) {
        if (lane->gap_count == lane->gap_room && below <= from)
            forget_gaps(lane, below);
        if (lane->gap_count == lane->gap_room) {
            lane->gap_room = lane->gap_room > 0 ? 2 * lane->gap_room : 4;
            lane->gaps = realloc(lane->gaps, lane->gap_room * sizeof *lane->gaps);
            if (lane->gaps == NULL)
                exit(1);
        }
        lane->gaps[lane->gap_count++] = (struct gap){ from, to, refused };
    }
    lane->settled = to;
    pthread_mutex_unlock(&lane->lock);
}

bool lane_is_refused(struct lane *lane, uint64_t number)
{
    bool refused = false;
    pthread_mutex_lock(&lane->lock);
    for (size_t i = lane->gap_count; i-- > 0 && lane->gaps[i].to > number;)
        refused |= lane->gaps[i].refused && lane->gaps[i].from <= number;
    pthread_mutex_unlock(&lane->lock);
    return refused;
}

bool lane_may_miss(struct lane *lane, uint64_t from, uint64_t to, uint64_t must_have)
{
    uint64_t at = from > must_have ? from : must_have, torn = 0;
    pthread_mutex_lock(&lane->lock);
    for (size_t i = 0; i < lane->gap_count && at < to; i++) {
        const struct gap *g = &lane->gaps[i];
        if (g->to <= at || g->from > at)
            continue;
        // Of a request that was not answered all is there or nothing, but for what has expired.
        if (g->to > to || (g->from < at && at == from))
            torn = at;
        at = g->to;
    }
    pthread_mutex_unlock(&lane->lock);
    const struct stream *s = &soak.streams[lane->stream];
    if (at < to)
        violation("%s shard %u: record %llu was acknowledged and is missing (%llu to %llu are not "
                  "there; those below %llu may have expired)",
                  s->name, lane->shard, (unsigned long long)at, (unsigned long long)from,
                  (unsigned long long)to - 1, (unsigned long long)must_have);
    else if (torn > 0)
        violation("%s shard %u: a part of a request is there, another, at record %llu, is not",
                  s->name, lane->shard, (unsigned long long)torn);
    return at >= to && torn == 0;
}

// ---- Steps of the clock

void step_taken(void)
{
    pthread_mutex_lock(&soak.steps_lock);
    size_t at = soak.step_count % STEPS_MAX;
    if (soak.step_next[at] == NULL)
        soak.step_next[at] = must_alloc(soak.lane_count * sizeof(uint32_t));
    for (unsigned i = 0; i < soak.lane_count; i++) {
        struct lane *lane = &soak.lanes[i];
        pthread_mutex_lock(&lane->lock);
        soak.step_next[at][i] = (uint32_t)lane->next;
        pthread_mutex_unlock(&lane->lock);
    }
    // What gets a number from now on arrives at this time or later.
    soak.step_ms[at] = wall_ms() + atomic_load(&soak.ahead_ms);
    soak.step_count++;
    pthread_mutex_unlock(&soak.steps_lock);
}

uint64_t lane_must_have(const struct lane *lane, int64_t now_ms)
{
    int64_t oldest_ms = now_ms - soak.streams[lane->stream].retention_ms;
    uint64_t number = UINT64_MAX; // no step is so recent: everything may have expired
    pthread_mutex_lock(&soak.steps_lock);
    uint64_t first = soak.step_count > STEPS_MAX ? soak.step_count - STEPS_MAX : 0;
    uint64_t low = first, high = soak.step_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (soak.step_ms[middle % STEPS_MAX] > oldest_ms)
            high = middle;
        else
            low = middle + 1;
    }
    if (low < soak.step_count)
        number = soak.step_next[low % STEPS_MAX][lane->number];
    pthread_mutex_unlock(&soak.steps_lock);
    return number;
}

// ---- Opening

// A partition key for every shard: AWS's MD5 of a key, among hash keys that are divided evenly.
static void choose_keys(const struct stream *s)
{
    uint64_t seed = UINT64_C(88172645463325252) + s->first;
    for (unsigned missing = s->shards; missing > 0;) {
        char key[KEY_BYTES + 1] = { 0 };
        unsigned char md5[16];
        uint64_t top = 0;
        fill_text(key, KEY_BYTES, &seed);
        EVP_Digest(key, KEY_BYTES, md5, NULL, EVP_md5(), NULL);
        for (size_t i = 0; i < 8; i++)
            top = top << 8 | md5[i];
        struct lane *lane = &soak.lanes[s->first + (unsigned)((__uint128_t)top * s->shards >> 64)];
        if (lane->key[0] == 0) {
            memcpy(lane->key, key, sizeof key);
            missing--;
        }
    }
}

void lanes_open(void)
{
    uint64_t seed = UINT64_C(2463534242);
    char *pool = must_alloc(POOL_BYTES);
    fill_text(pool, POOL_BYTES, &seed);
    pool_text = must_alloc(POOL_BYTES / 3 * 4 + 1);
    EVP_EncodeBlock((unsigned char *)pool_text, (unsigned char *)pool, POOL_BYTES);
    free(pool);
    soak.lanes = must_alloc(soak.lane_count * sizeof *soak.lanes);
    for (unsigned i = 0; i < soak.stream_count; i++) {
        const struct stream *s = &soak.streams[i];
        for (unsigned shard = 0; shard < s->shards; shard++) {
            struct lane *lane = &soak.lanes[s->first + shard];
            pthread_mutex_init(&lane->lock, NULL);
            lane->number = s->first + shard;
            lane->stream = i;
            lane->shard = shard;
        }
        if (s->use != USE_IDLE)
            choose_keys(s);
    }
}

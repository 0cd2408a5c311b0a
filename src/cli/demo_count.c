// SPDX-License-Identifier: Apache-2.0
#include "cli/demo_count.h"
#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_RECORDS = 8192, BLOCKS_FIRST = 64 };

// A record in the books.
struct entry {
    uint64_t place; // hash of shard and sequence number, from whoever came first
    bool acked, got;
};

struct block {
    struct entry at[BLOCK_RECORDS];
    unsigned settled; // acknowledged and read
};

struct producer_books {
    struct block **blocks; // NULL: not begun, or closed
    bool *closed;
    size_t block_max;
};

struct demo_count {
    pthread_mutex_t lock;
    struct producer_books producers[DEMO_PRODUCERS_MAX];
    char last[DEMO_SHARDS_MAX][SEQUENCE_BYTES_MAX]; // the greatest sequence number read
    size_t last_bytes[DEMO_SHARDS_MAX];
    uint64_t shard_put[DEMO_SHARDS_MAX];
    uint64_t acked_and_got;
    DemoTotals totals;
};

struct demo_count *demo_count_open(void)
{
    struct demo_count *c = xalloc(sizeof *c);
    CHECK(pthread_mutex_init(&c->lock, NULL) == 0);
    return c;
}

void demo_count_close(struct demo_count *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < DEMO_PRODUCERS_MAX; i++) {
        struct producer_books *p = &c->producers[i];
        for (size_t k = 0; k < p->block_max; k++)
            free(p->blocks[k]);
        free(p->blocks);
        free(p->closed);
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

// The entry of a record, made if need be; NULL when its block is closed.
static struct entry *find(struct producer_books *p, uint64_t number)
{
    size_t i = number / BLOCK_RECORDS;
    if (i >= p->block_max) {
        size_t max = MAX(MAX(p->block_max * 2, BLOCKS_FIRST), i + 1);
        p->blocks = xrealloc(p->blocks, mul_checked(max, sizeof *p->blocks));
        p->closed = xrealloc(p->closed, mul_checked(max, sizeof *p->closed));
        memset(p->blocks + p->block_max, 0, (max - p->block_max) * sizeof *p->blocks);
        memset(p->closed + p->block_max, 0, (max - p->block_max) * sizeof *p->closed);
        p->block_max = max;
    }
    if (p->closed[i])
        return NULL;
    if (p->blocks[i] == NULL)
        p->blocks[i] = xalloc(sizeof *p->blocks[i]);
    return &p->blocks[i]->at[number % BLOCK_RECORDS];
}

static void settle(struct demo_count *c, struct producer_books *p, uint64_t number)
{
    size_t i = number / BLOCK_RECORDS;
    c->acked_and_got++;
    if (++p->blocks[i]->settled < BLOCK_RECORDS)
        return;
    free(p->blocks[i]);
    p->blocks[i] = NULL;
    p->closed[i] = true;
}

static uint64_t place_of(unsigned shard, Str sequence)
{
    return map_hash(sequence) ^ shard * UINT64_C(0x9e3779b97f4a7c15);
}

void demo_count_ack(struct demo_count *c, unsigned producer, uint64_t number, unsigned shard,
                    Str sequence)
{
    CHECK(producer < DEMO_PRODUCERS_MAX && shard < DEMO_SHARDS_MAX);
    struct producer_books *p = &c->producers[producer];
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(p, number);
    if (e != NULL && !e->acked) {
        uint64_t place = place_of(shard, sequence);
        // Stored twice by a retry is a duplicate, counted when it is read; read where it was never
        // acknowledged is disorder.
        c->totals.out_of_order += e->got && e->place != place;
        e->place = e->got ? e->place : place;
        e->acked = true;
        c->totals.put++;
        c->shard_put[shard]++;
        if (e->got)
            settle(c, p, number);
    }
    pthread_mutex_unlock(&c->lock);
}

// Whether this sequence number follows the ones read from the shard before; then it is the newest.
static bool follows(struct demo_count *c, unsigned shard, Str sequence)
{
    Str last = str_from(c->last[shard], c->last_bytes[shard]);
    // Decimal numbers without leading zeros: the longer one is greater.
    bool greater = sequence.n != last.n ? sequence.n > last.n : str_cmp(sequence, last) > 0;
    if (!greater || sequence.n > SEQUENCE_BYTES_MAX)
        return false;
    memcpy(c->last[shard], sequence.p, sequence.n);
    c->last_bytes[shard] = sequence.n;
    return true;
}

void demo_count_got(struct demo_count *c, unsigned producer, uint64_t number, unsigned shard,
                    Str sequence)
{
    CHECK(producer < DEMO_PRODUCERS_MAX && shard < DEMO_SHARDS_MAX);
    struct producer_books *p = &c->producers[producer];
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(p, number);
    bool in_order = follows(c, shard, sequence);
    if (e == NULL || e->got) {
        c->totals.duplicated++;
    } else {
        uint64_t place = place_of(shard, sequence);
        c->totals.out_of_order += !in_order || (e->acked && e->place != place);
        e->place = e->acked ? e->place : place;
        e->got = true;
        c->totals.got++;
        if (e->acked)
            settle(c, p, number);
    }
    pthread_mutex_unlock(&c->lock);
}

void demo_count_throttled(struct demo_count *c, uint64_t records)
{
    pthread_mutex_lock(&c->lock);
    c->totals.throttled += records;
    pthread_mutex_unlock(&c->lock);
}

DemoTotals demo_count_totals(struct demo_count *c)
{
    pthread_mutex_lock(&c->lock);
    DemoTotals t = c->totals;
    t.lost = t.put - c->acked_and_got;
    pthread_mutex_unlock(&c->lock);
    return t;
}

uint64_t demo_count_shard_put(struct demo_count *c, unsigned shard)
{
    CHECK(shard < DEMO_SHARDS_MAX);
    pthread_mutex_lock(&c->lock);
    uint64_t put = c->shard_put[shard];
    pthread_mutex_unlock(&c->lock);
    return put;
}

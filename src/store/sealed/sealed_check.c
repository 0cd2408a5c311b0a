// SPDX-License-Identifier: Apache-2.0
// What tools want of the whole set: figures, a check of every byte, and files that stay while they
// are copied.
#include "store/sealed/container_priv.h"
#include "store/sealed/sealed_priv.h"

#include "base/logline.h"

#include <stdlib.h>
#include <string.h>

void sealed_stats(struct sealed *s, SealedStats *ret)
{
    pthread_mutex_lock(&s->lock);
    *ret = (SealedStats){
        .containers = s->n,
        .read_cache_bytes = s->chunks.bytes,
        .footer_cache_bytes = s->footers.bytes,
        .merges = s->merges,
        .expired = s->expired,
    };
    for (size_t i = 0; i < s->n; i++) {
        const ContainerFacts *f = &s->at[i].member->facts;
        ret->disk_bytes += f->bytes;
        ret->raw_bytes += f->raw_bytes;
        ret->records += f->records;
    }
    pthread_mutex_unlock(&s->lock);
}

// ---- Holding

static Checkpoint hold(struct sealed *s, struct arena *a)
{
    pthread_mutex_lock(&s->lock);
    Checkpoint c = s->durable;
    c.shards = arena_new(a, CheckpointShard, MAX(c.shard_count, (size_t)1));
    if (c.shard_count > 0)
        memcpy(c.shards, s->durable.shards, c.shard_count * sizeof *c.shards);
    c.containers = arena_new(a, ContainerFacts, MAX(s->n, (size_t)1));
    c.container_count = s->n;
    for (size_t i = 0; i < s->n; i++) {
        c.containers[i] = s->at[i].member->facts;
        s->at[i].member->refs++;
    }
    pthread_mutex_unlock(&s->lock);
    return c;
}

Err sealed_hold(struct sealed *s, struct arena *a, Checkpoint *ret)
{
    *ret = hold(s, a);
    return OK;
}

// Under the lock. A member that is held, in the set or out of it.
static struct member *held_member(const struct sealed *s, const ContainerFacts *f)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (facts_before(&s->at[middle].member->facts, f))
            low = middle + 1;
        else
            high = middle;
    }
    if (low < s->n && s->at[low].member->facts.number == f->number)
        return s->at[low].member;
    struct member *m = s->retired;
    while (m != NULL && m->facts.number != f->number)
        m = m->next_retired;
    CHECK(m != NULL);
    return m;
}

void sealed_release(struct sealed *s, const Checkpoint *held)
{
    for (size_t i = 0; i < held->container_count; i++) {
        pthread_mutex_lock(&s->lock);
        struct member *m = held_member(s, &held->containers[i]);
        pthread_mutex_unlock(&s->lock);
        member_unref(s, m);
    }
}

// ---- Checking

struct checking {
    const struct sealed *s;
    struct container *c; // the one that is being checked
    uint64_t records;
    Err failed; // the last one; all are logged
};

// Checksums and tables are compared by container_read; what lies inside a run is looked at here.
// Damage says more than that a container is a newer program's or out of reach.
static void note_failure(struct checking *k, Err e)
{
    if (k->failed.kind != ERR_CORRUPT)
        k->failed = e;
}

static Err check_runs(struct checking *k, uint32_t row, const uint8_t *runs)
{
    const ContainerChunk *chunk = container_chunk(k->c, row);
    size_t at = 0;
    ContainerRun run;
    Err e = OK;
    bool is_whole = true;
    while (container_run_next(runs, chunk->raw_bytes, &at, &run, &e)) {
        if (run_is_lost(&run))
            LOG(LOG_ERROR, "records were damaged before they were sealed",
                F_INT("container", container_facts(k->c)->number), F_INT("offset", chunk->place),
                F_INT("position", run.position), F_INT("records", run.count));
        is_whole = is_whole && run_is_whole(&run);
        k->records += run.count;
    }
    if (e.kind == ERR_NONE && is_whole)
        return OK;
    LOG(LOG_ERROR, "sealed records are not what their heads say",
        F_INT("container", container_facts(k->c)->number), F_INT("offset", chunk->place));
    return fail(ERR_CORRUPT, "the records of a run do not fill it");
}

// The first chunk is one of that shard's.
static Err check_chunks(struct checking *k, uint64_t shard, uint32_t row, uint32_t n)
{
    uint8_t *runs[CHUNKS_AT_ONCE_MAX];
    TRY(container_read(k->c, shard, row, n, runs));
    for (uint32_t i = 0; i < n; i++) {
        Err e = check_runs(k, row + i, runs[i]);
        if (e.kind != ERR_NONE)
            note_failure(k, e);
        container_free_runs(runs[i], container_chunk(k->c, row + i)->raw_bytes);
    }
    return OK;
}

// Many chunks at once; where one is damaged, each on its own, to check the others too.
static void check_open_container(struct checking *k)
{
    size_t n;
    const ContainerShard *shards = container_shards(k->c, &n);
    uint32_t done = 0, singly = 0; // rows before them
    for (size_t i = 0; i < n; i++) {
        uint32_t end = shards[i].first_chunk + shards[i].chunks;
        while (done < end) {
            uint32_t count = done < singly ? 1 : chunks_at_once(k->c, done);
            Err e = check_chunks(k, shards[i].shard, done, count);
            if (e.kind != ERR_NONE && count > 1) {
                singly = done + count;
                continue;
            }
            if (e.kind != ERR_NONE)
                note_failure(k, e);
            done += count;
        }
    }
}

static void check_container(struct checking *k, const ContainerFacts *facts)
{
    Err e = container_open(k->s->io, k->s->container_dir, facts, &k->c);
    if (e.kind != ERR_NONE) {
        note_failure(k, e);
        return;
    }
    check_open_container(k);
    container_close(k->c);
}

Err sealed_check(struct sealed *s, uint64_t *ret_records)
{
    AUTO(arena) tmp = arena_open();
    Checkpoint all = hold(s, tmp);
    struct checking k = { .s = s };
    for (size_t i = 0; i < all.container_count; i++)
        check_container(&k, &all.containers[i]);
    sealed_release(s, &all);
    if (k.failed.kind == ERR_CORRUPT)
        return fail(ERR_CORRUPT, "sealed records are damaged");
    TRY(k.failed);
    *ret_records = k.records;
    return OK;
}

// SPDX-License-Identifier: Apache-2.0
// Expiry. A container goes when nothing in it may be read any more. The shard that keeps it longest
// is remembered as its witness, so that asking for that shard's retention is enough to know that
// nothing is due; the footer is read when it is not.
#include "store/sealed/sealed_priv.h"

#include "base/logline.h"
#include "base/time.h"

#include <stdlib.h>

enum { RETRY_MS = 600000 }; // before a footer that could not be read is tried again

int64_t shard_over_ms(const struct sealed *s, uint64_t shard, int64_t arrival_ms)
{
    int64_t retention_ns = s->config.retention_ns(s->config.self, shard);
    if (retention_ns < 0)
        return INT64_MIN;
    int64_t ms = retention_ns / NS_PER_MS + (retention_ns % NS_PER_MS != 0);
    return arrival_ms > INT64_MAX - ms ? INT64_MAX : arrival_ms + ms;
}

// What is known without the footer: it is not over before.
static int64_t least_due_ms(const struct sealed *s, const struct member *m)
{
    const ContainerFacts *f = &m->facts;
    int64_t first = shard_over_ms(s, f->first_shard, f->first_arrival_ms);
    int64_t last = shard_over_ms(s, f->last_shard, f->first_arrival_ms);
    int64_t witness = shard_over_ms(s, m->witness, m->witness_arrival_ms);
    return MAX(witness, MAX(first, last));
}

// When it is over, by the footer; finds the witness.
static Err read_due_ms(struct sealed *s, struct member *m)
{
    member_ref(s, m);
    TRY(member_use(s, m));
    size_t n;
    const ContainerShard *shards = container_shards(m->open, &n);
    int64_t due_ms = INT64_MIN;
    for (size_t i = 0; i < n; i++) {
        int64_t over_ms = shard_over_ms(s, shards[i].shard, shards[i].last_arrival_ms);
        if (i > 0 && over_ms <= due_ms)
            continue;
        due_ms = over_ms;
        m->witness = shards[i].shard;
        m->witness_arrival_ms = shards[i].last_arrival_ms;
    }
    m->due_ms = due_ms;
    member_release(s, m);
    return OK;
}

// When it certainly is over, without the footer, which is damaged: as if each shard whose id and
// positions allow it had records in it, as young as the youngest.
static int64_t most_due_ms(const struct sealed *s, const struct member *m)
{
    AUTO(arena) tmp = arena_open();
    const ContainerFacts *f = &m->facts;
    CheckpointShard *rows;
    size_t n;
    int64_t due_ms = INT64_MIN;
    s->config.rows(s->config.self, tmp, &rows, &n);
    for (size_t i = 0; i < n; i++) {
        const CheckpointShard *row = &rows[i];
        if (row->last_position == 0 || row->shard < f->first_shard || row->shard > f->last_shard ||
            row->last_position < f->first_position || row->first_position > f->last_position)
            continue;
        due_ms = MAX(due_ms, shard_over_ms(s, row->shard, f->last_arrival_ms));
    }
    return due_ms;
}

static Err is_due(struct sealed *s, struct member *m, int64_t now_ms, bool *ret)
{
    *ret = false;
    if (now_ms < m->due_ms)
        return OK;
    m->due_ms = least_due_ms(s, m);
    if (now_ms < m->due_ms)
        return OK;
    Err e = read_due_ms(s, m);
    if (e.kind == ERR_CORRUPT) {
        *ret = now_ms >= most_due_ms(s, m);
        if (*ret)
            LOG(LOG_WARN, "a damaged container is over", F_INT("container", m->facts.number));
    }
    if (e.kind != ERR_NONE)
        m->due_ms = now_ms + RETRY_MS;
    else
        *ret = now_ms >= m->due_ms;
    return *ret ? OK : e;
}

uint64_t sealed_retention(struct sealed *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t retention = s->retention;
    pthread_mutex_unlock(&s->lock);
    return retention;
}

Err sealed_expire(struct sealed *s, int64_t now_ms, bool *ret_any)
{
    uint64_t retention = sealed_retention(s);
    for (size_t i = 0; i < s->n && retention != s->expire_retention; i++)
        s->at[i].member->due_ms = INT64_MIN;
    s->expire_retention = retention;

    AUTO(arena) tmp = arena_open();
    uint64_t *over = arena_new(tmp, uint64_t, MAX(s->n, (size_t)1));
    size_t n = 0;
    Err failed = OK;
    for (size_t i = 0; i < s->n; i++) {
        bool due;
        Err e = is_due(s, s->at[i].member, now_ms, &due);
        if (e.kind != ERR_NONE)
            failed = e;
        if (due)
            over[n++] = s->at[i].member->facts.number;
    }
    if (n > 0) {
        TRY(sealed_commit(s, &(SealedChange){ .removed = over, .removed_count = n }, NULL, 0));
        pthread_mutex_lock(&s->lock);
        s->expired += n;
        pthread_mutex_unlock(&s->lock);
    }
    TRY(failed);
    *ret_any = n > 0;
    return OK;
}

void sealed_retention_changed(struct sealed *s)
{
    pthread_mutex_lock(&s->lock);
    s->retention++;
    pthread_mutex_unlock(&s->lock);
}

// SPDX-License-Identifier: Apache-2.0
// For those who read the sealed part of a running log by themselves: backups and the check.
#include "store/log/journal_priv.h"

#include <stdlib.h>

Err log_hold(struct log *l, struct arena *a, Checkpoint *ret)
{
    return sealed_hold(l->sealed, a, ret);
}

void log_release(struct log *l, const Checkpoint *held)
{
    sealed_release(l->sealed, held);
}

static int compare_rows(const void *x, const void *y)
{
    const CheckpointShard *a = x, *b = y;
    return a->shard < b->shard ? -1 : a->shard > b->shard;
}

void log_shard_rows(struct log *l, struct arena *a, CheckpointShard **ret, size_t *ret_n)
{
    size_t n = 0;
    pthread_mutex_lock(&l->lock);
    CheckpointShard *rows = arena_new(a, CheckpointShard, MAX(l->shards.n, (size_t)1));
    for (size_t i = 0; i < l->shards.room; i++) {
        const struct shard *s = shards_at(&l->shards, i);
        if (s == NULL || !shard_is_declared(s))
            continue;
        const struct shard_data *d = s->data;
        rows[n++] = (CheckpointShard){
            .shard = s->id,
            .first_position = d->sealed_first,
            .last_position = d->sealed_last,
            .last_arrival_ms = d->sealed_last_arrival_ms,
            .end_position = d->ended ? d->end_position : 0,
            .end_arrival_ms = d->ended ? d->end_arrival_ms : 0,
        };
    }
    pthread_mutex_unlock(&l->lock);
    if (n > 1)
        qsort(rows, n, sizeof *rows, compare_rows);
    *ret = rows;
    *ret_n = n;
}

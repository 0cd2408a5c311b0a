// SPDX-License-Identifier: Apache-2.0
// Telling those who watch a shard that it has changed. A shard that nobody watches costs a look at
// one pointer; who watches is called without the locks that appends and readers take. `watch_lock`
// is held while they are called, so that none is called after log_unwatch; it is taken before
// `lock`.
#include "store/log/journal_priv.h"

void log_note_watches(struct log *l, const struct shard_data *d)
{
    for (struct log_watch *w = d->watches; w != NULL; w = w->next) {
        if (w->is_noted)
            continue;
        w->is_noted = true;
        w->next_noted = l->noted;
        l->noted = w;
    }
}

void log_tell_watches(struct log *l)
{
    pthread_mutex_lock(&l->watch_lock);
    pthread_mutex_lock(&l->lock);
    struct log_watch *list = l->noted;
    l->noted = NULL;
    for (struct log_watch *w = list; w != NULL; w = w->next_noted)
        w->is_noted = false;
    pthread_mutex_unlock(&l->lock);
    // Nobody else links them again meanwhile: what becomes visible is published by one thread at a
    // time, and told before the next.
    for (struct log_watch *w = list, *next; w != NULL; w = next) {
        next = w->next_noted;
        w->changed(w);
    }
    pthread_mutex_unlock(&l->watch_lock);
}

Err log_watch(struct log *l, struct log_watch *w)
{
    pthread_mutex_lock(&l->lock);
    struct shard *s = shards_find(&l->shards, w->shard);
    bool is_known = s != NULL && shard_is_declared(s);
    if (is_known) {
        struct shard_data *d = shard_data(s);
        w->is_noted = false;
        w->next = d->watches;
        d->watches = w;
    }
    pthread_mutex_unlock(&l->lock);
    return is_known ? OK : fail(ERR_NOT_FOUND, "no such shard");
}

static void unlink_noted(struct log *l, struct log_watch *w)
{
    struct log_watch **at = &l->noted;
    while (*at != NULL && *at != w)
        at = &(*at)->next_noted;
    if (*at != NULL)
        *at = w->next_noted;
}

void log_unwatch(struct log *l, struct log_watch *w)
{
    pthread_mutex_lock(&l->watch_lock);
    pthread_mutex_lock(&l->lock);
    struct shard *s = shards_find(&l->shards, w->shard);
    struct log_watch **at = s != NULL && s->data->watches != NULL ? &shard_data(s)->watches : NULL;
    while (at != NULL && *at != NULL && *at != w)
        at = &(*at)->next;
    if (at != NULL && *at != NULL)
        *at = w->next;
    if (w->is_noted)
        unlink_noted(l, w);
    pthread_mutex_unlock(&l->lock);
    pthread_mutex_unlock(&l->watch_lock);
}

// SPDX-License-Identifier: Apache-2.0
// What makes waiting calls notice new records at once: a watch on every shard of a queue's stream.
// It costs a put nothing but a look at a flag unless somebody waits.
#include "svc/kinesis/queues.h"

#include <stddef.h>
#include <stdlib.h>

struct queue_watch {
    struct log_watch log;
    struct queue *queue; // outlives it
};

// On a thread of the log.
static void changed(struct log_watch *w)
{
    struct queue *q =
        ((struct queue_watch *)((char *)w - offsetof(struct queue_watch, log)))->queue;
    if (atomic_load_explicit(&q->hungry, memory_order_relaxed))
        queues_wake(q->owner);
}

void queue_watch(struct queues *qs, struct queue *q, struct cursor *cursor)
{
    if (cursor->watch != NULL || cursor->over)
        return;
    struct queue_watch *w = xalloc(sizeof *w);
    w->queue = q;
    w->log.shard = cursor->shard;
    w->log.changed = changed;
    if (log_watch(queues_kinesis(qs)->env.log, &w->log).kind == ERR_NONE)
        cursor->watch = w;
    else // the shard is gone: reading it will tell
        free(w);
}

void queue_unwatch(struct queues *qs, struct cursor *cursor)
{
    if (cursor->watch == NULL)
        return;
    log_unwatch(queues_kinesis(qs)->env.log, &cursor->watch->log);
    free(cursor->watch);
    cursor->watch = NULL;
}

void queue_unwatch_all(struct queues *qs, struct queue *q)
{
    for (size_t i = 0; i < q->cursor_count; i++)
        queue_unwatch(qs, &q->cursors[i]);
}

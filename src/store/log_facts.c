// SPDX-License-Identifier: Apache-2.0
// Facts: control records that must outlive the file they were written to. Before a file is retired,
// those whose newest statement it holds are stated again in the block that retires it.
#include "store/journal_priv.h"

#include <stdlib.h>

// Few are alive at a time: shards that ended or were dropped within their retention.
static struct fact *find(const struct facts *f, ControlWhat what, uint64_t id)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->at[i].control.what == what && f->at[i].control.id == id)
            return &f->at[i];
    return NULL;
}

const Control *facts_find(const struct facts *f, ControlWhat what, uint64_t id)
{
    const struct fact *found = find(f, what, id);
    return found == NULL ? NULL : &found->control;
}

// A drop is over when no file is left that may hold records of the shard, and a retired file when
// it is no longer a gap between others.
static bool is_over(const struct fact *x, uint64_t oldest)
{
    return (x->control.what == CONTROL_DROP && x->control.position < oldest) ||
           (x->control.what == CONTROL_RETIRED && x->control.id < oldest);
}

static void advance_oldest(struct facts *f, uint64_t oldest)
{
    if (oldest <= f->oldest)
        return;
    f->oldest = oldest;
    size_t kept = 0;
    for (size_t i = 0; i < f->n; i++)
        if (!is_over(&f->at[i], oldest))
            f->at[kept++] = f->at[i];
    f->n = kept;
}

void facts_state(struct facts *f, const Control *c, uint64_t file)
{
    if (c->what == CONTROL_OLDEST) {
        advance_oldest(f, c->id);
        return;
    }
    struct fact *old = find(f, c->what, c->id);
    if (old != NULL) {
        old->stated = MAX(old->stated, file); // the first end of a shard is its end
        return;
    }
    struct fact fresh = { .control = *c, .stated = file };
    if (is_over(&fresh, f->oldest))
        return;
    if (f->n == f->room) {
        f->room = MAX(f->room * 2, (size_t)16);
        f->at = xrealloc(f->at, mul_checked(f->room, sizeof *f->at));
    }
    f->at[f->n++] = fresh;
}

void facts_forget(struct facts *f, ControlWhat what, uint64_t id)
{
    struct fact *found = find(f, what, id);
    if (found != NULL)
        *found = f->at[--f->n];
}

void facts_done(struct facts *f)
{
    free(f->at);
    *f = (struct facts){ 0 };
}

// SPDX-License-Identifier: Apache-2.0
// Facts: control records that must outlive the file they were written to. Before a file is retired,
// those whose newest statement it holds are stated again in the block that retires it.
#include "store/log/journal_priv.h"

#include <stdlib.h>
#include <string.h>

// What and id, as the key of the map.
struct fact_key {
    char bytes[1 + sizeof(uint64_t)];
};

static Str key_of(struct fact_key *k, ControlWhat what, uint64_t id)
{
    k->bytes[0] = (char)what;
    memcpy(k->bytes + 1, &id, sizeof id);
    return str_from(k->bytes, sizeof k->bytes);
}

static struct fact *find(const struct facts *f, ControlWhat what, uint64_t id)
{
    struct fact_key k;
    return f->all == NULL ? NULL : map_get(f->all, key_of(&k, what, id));
}

const Control *facts_find(const struct facts *f, ControlWhat what, uint64_t id)
{
    const struct fact *found = find(f, what, id);
    return found == NULL ? NULL : &found->control;
}

bool facts_next(const struct facts *f, size_t *at, struct fact **ret)
{
    Str key;
    void *fact;
    if (f->all == NULL || !map_next(f->all, at, &key, &fact))
        return false;
    *ret = fact;
    return true;
}

// A drop is over when no file is left that may hold records of the shard.
static bool is_over(const struct fact *x, uint64_t oldest)
{
    return x->control.what == CONTROL_DROP && x->control.position < oldest;
}

void facts_advance(struct facts *f, uint64_t oldest)
{
    if (oldest <= f->oldest)
        return;
    f->oldest = oldest;
    AUTO(arena) tmp = arena_open();
    struct fact *x, **over = arena_new(tmp, struct fact *, facts_count(f));
    size_t n = 0;
    for (size_t at = 0; facts_next(f, &at, &x);)
        if (is_over(x, oldest))
            over[n++] = x;
    for (size_t i = 0; i < n; i++)
        facts_forget(f, over[i]->control.what, over[i]->control.id);
}

void facts_state(struct facts *f, const Control *c, uint64_t file)
{
    struct fact *old = find(f, c->what, c->id);
    if (old != NULL) {
        old->stated = MAX(old->stated, file); // the first end of a shard is its end
        return;
    }
    struct fact fresh = { .control = *c, .stated = file };
    if (is_over(&fresh, f->oldest))
        return;
    if (f->all == NULL)
        f->all = map_open();
    struct fact_key k;
    struct fact *kept = xalloc(sizeof *kept);
    *kept = fresh;
    map_put(f->all, key_of(&k, c->what, c->id), kept);
}

void facts_forget(struct facts *f, ControlWhat what, uint64_t id)
{
    struct fact_key k;
    if (f->all != NULL)
        free(map_take(f->all, key_of(&k, what, id)));
}

size_t facts_count(const struct facts *f)
{
    return f->all == NULL ? 0 : map_count(f->all);
}

void facts_done(struct facts *f)
{
    struct fact *x;
    for (size_t at = 0; facts_next(f, &at, &x);)
        free(x);
    map_close(f->all);
    *f = (struct facts){ 0 };
}

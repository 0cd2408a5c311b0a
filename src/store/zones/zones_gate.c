// SPDX-License-Identifier: Apache-2.0
// Who may touch a name while it is copied. Whatever changes bytes or names goes through a gate with
// others; whoever copies closes it for a moment.
#include "store/zones/zones_priv.h"

#include <stdlib.h>
#include <string.h>

#define CLOSE_PATIENCE_NS (100 * NS_PER_MS)

void gate_enter_locked(struct zones *s, struct gate *g)
{
    while (g->closed)
        pthread_cond_wait(&s->gates_moved, &s->lock);
    g->users++;
}

void gate_leave_locked(struct zones *s, struct gate *g)
{
    CHECK(g->users > 0);
    if (--g->users == 0)
        pthread_cond_broadcast(&s->gates_moved);
}

bool gate_close_locked(struct zones *s, struct gate *g)
{
    while (g->closed)
        pthread_cond_wait(&s->gates_moved, &s->lock);
    g->closed = true;
    // Somebody inside may wait for one who is to come, as when one thread submits writes and waits
    // for them: then it is opened again and tried later.
    int64_t until = zones_now() + CLOSE_PATIENCE_NS;
    while (g->users > 0 && zones_now() < until)
        zones_wait_locked(s, &s->gates_moved, until);
    if (g->users == 0)
        return true;
    gate_open_locked(s, g);
    return false;
}

void gate_open_locked(struct zones *s, struct gate *g)
{
    g->closed = false;
    pthread_cond_broadcast(&s->gates_moved);
}

struct node *node_get_locked(struct zones *s, Str rel)
{
    struct node *n = map_get(s->nodes, rel);
    if (n == NULL) {
        n = xalloc(sizeof *n);
        char *copy = xalloc(rel.n + 1);
        memcpy(copy, rel.p, rel.n);
        n->path = str_from(copy, rel.n);
        n->named = true;
        map_put(s->nodes, n->path, n);
    }
    n->refs++;
    return n;
}

void node_unref_locked(struct zones *s, struct node *n)
{
    if (--n->refs > 0)
        return;
    if (n->named)
        map_take(s->nodes, n->path);
    free((void *)(uintptr_t)n->path.p);
    free(n);
}

static void lose_name(struct zones *s, Str rel)
{
    struct node *n = map_take(s->nodes, rel);
    if (n != NULL)
        n->named = false;
}

void node_moved_locked(struct zones *s, Str from, Str to)
{
    struct node *n = map_get(s->nodes, from);
    if (to.p == NULL) {
        lose_name(s, from);
        return;
    }
    if (str_eq(from, to))
        return;
    lose_name(s, to);
    if (n == NULL)
        return;
    map_take(s->nodes, from);
    free((void *)(uintptr_t)n->path.p);
    char *copy = xalloc(to.n + 1);
    memcpy(copy, to.p, to.n);
    n->path = str_from(copy, to.n);
    map_put(s->nodes, n->path, n);
}

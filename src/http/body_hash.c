// SPDX-License-Identifier: Apache-2.0
// SHA-256 of large bodies as they arrive, for handlers that ask for it. Two streams fill each
// other's waiting times (codec/hash.h), so a body is hashed beside another one whenever there is
// one.
//
// A body that arrives alone is hashed while it is in the cache. Of those above
// limits.hash_whole_bytes_max, bytes wait for those of another on the same loop while their own
// body is not complete; at most one body of a loop has a slice that waits, and the next one takes
// it along.
//
// The others, while there are several of them, are hashed when they are complete, beside one of any
// loop. One body waits on the server's board, for a few turns of its loop in which other threads
// may have its processor: whoever completes the next one takes it along. Who hashes alone looks at
// the board again and again. What was taken comes back to its own loop as an operation.
#include "http/server_priv.h"

#include <sched.h>

enum {
    SLICE_BYTES_MIN = 16384, // less is left for later: a call for it costs more than it hides
    STEP_BYTES = 32768,      // hashed alone before the board is looked at again
    TURN_BYTES = 1 << 20,    // of a body, hashed before others on its loop have their turn
    WAIT_TURNS = 2,          // of its loop, that a body waits for another at most
};

static Str unhashed(const struct body *b)
{
    return str_from(b->p + b->hash->done, b->n - b->hash->done);
}

static bool has_slice(const struct body *b)
{
    return unhashed(b).n >= SLICE_BYTES_MIN;
}

static void hash_alone(struct http_loop *hl, struct body *b, size_t bytes_max)
{
    Str s = str_head(unhashed(b), bytes_max);
    sha256_add(&b->hash->state, s.p, s.n);
    b->hash->done += s.n;
    metric_add(hl->server->metrics.hashed_alone, (int64_t)s.n);
}

// As much of each as both have, and as is allowed.
static void hash_beside(struct http_loop *hl, struct body *b, struct body *other, size_t bytes_max)
{
    size_t n = MIN(MIN(unhashed(b).n, unhashed(other).n), bytes_max);
    sha256_add_pair(&b->hash->state, str_head(unhashed(b), n), &other->hash->state,
                    str_head(unhashed(other), n));
    b->hash->done += n;
    other->hash->done += n;
    metric_add(hl->server->metrics.hashed_paired, (int64_t)(2 * n));
}

// Whether there is another one to be hashed beside, sooner or later.
static bool is_crowded(const struct http_server *s)
{
    return atomic_load_explicit(&s->hashed_count, memory_order_relaxed) > 1;
}

void body_hash_begin(struct exchange *e, uint64_t announced_bytes)
{
    struct http_server *s = e->on->server;
    const struct http_handler *h = &s->handler;
    if (h->wants_sha256 == NULL || announced_bytes < SLICE_BYTES_MIN ||
        !h->wants_sha256(h->self, &e->x))
        return;
    e->body.hash = arena_new(e->x.arena, struct body_hash, 1);
    e->body.hash->as_whole = announced_bytes <= s->limits.hash_whole_bytes_max;
    sha256_init(&e->body.hash->state);
    e->on->hashing++;
    e->is_hashed = true;
    atomic_fetch_add_explicit(&s->hashed_count, 1, memory_order_relaxed);
}

void body_hash_arrived(struct exchange *e)
{
    struct http_loop *hl = e->on;
    struct body *b = &e->body, *waiting = hl->waits_for_hash;
    if (b->hash == NULL || !has_slice(b) || waiting == b ||
        (b->hash->as_whole && is_crowded(hl->server)))
        return;
    if (hl->hashing == 1) {
        hash_alone(hl, b, SIZE_MAX);
        return;
    }
    if (waiting == NULL) {
        hl->waits_for_hash = b;
        return;
    }
    hash_beside(hl, b, waiting, SIZE_MAX);
    if (!has_slice(waiting))
        hl->waits_for_hash = has_slice(b) ? b : NULL;
}

// ---- The board

// Takes what waits there, if it is a body of `of`, or of any loop. NULL: there is none.
static struct exchange *board_take(struct http_server *s, const struct http_loop *of)
{
    pthread_mutex_lock(&s->board_lock);
    struct exchange *e = s->board;
    if (e != NULL && of != NULL && e->on != of)
        e = NULL;
    if (e != NULL)
        s->board = NULL;
    pthread_mutex_unlock(&s->board_lock);
    return e;
}

// Whether a body of this loop waits there.
static bool board_has(const struct http_loop *hl)
{
    struct http_server *s = hl->server;
    pthread_mutex_lock(&s->board_lock);
    bool ret = s->board != NULL && s->board->on == hl;
    pthread_mutex_unlock(&s->board_lock);
    return ret;
}

// Takes what waits there; if there is none `e` waits there from now on, and NULL is returned.
static struct exchange *board_swap(struct http_server *s, struct exchange *e)
{
    pthread_mutex_lock(&s->board_lock);
    struct exchange *other = s->board;
    s->board = other == NULL ? e : NULL;
    if (other == NULL) // an operation will come of it
        atomic_fetch_add(&s->pending_hashes, 1);
    pthread_mutex_unlock(&s->board_lock);
    return other;
}

static void hash_beside_other(struct http_loop *hl, struct exchange *e, struct exchange *other)
{
    hash_beside(hl, &e->body, &other->body, TURN_BYTES);
    op_push(&other->body.hash->op, other, OP_HASH); // it may be gone from here on
}

static void hash_end(struct exchange *e)
{
    struct body *b = &e->body;
    hash_alone(e->on, b, SIZE_MAX);
    sha256_end(&b->hash->state, b->hash->digest);
    e->x.body_sha256 = b->hash->digest;
    body_hash_drop(e->on, b);
}

// Hashes what is left beside what waits. True: all of it; false: it waits on the board.
static bool hash_or_wait(struct exchange *e)
{
    struct http_loop *hl = e->on;
    while (has_slice(&e->body) && is_crowded(hl->server)) {
        struct exchange *other = board_swap(hl->server, e);
        if (other == NULL) {
            hl->hash_turns = 0;
            if (!hl->hash_posted)
                loop_post(hl->loop, &hl->hash_task);
            hl->hash_posted = true;
            return false;
        }
        hash_beside_other(hl, e, other);
    }
    hash_end(e);
    return true;
}

// It has waited in vain: alone, while that is so. What is left of a very large one waits again.
static void hash_waited_for(struct http_loop *hl, struct exchange *e)
{
    size_t end = e->body.hash->done + TURN_BYTES;
    while (has_slice(&e->body) && e->body.hash->done < end) {
        struct exchange *other = board_take(hl->server, NULL);
        if (other != NULL)
            hash_beside_other(hl, e, other);
        else
            hash_alone(hl, &e->body, STEP_BYTES);
    }
    hl->in_turn = true;
    op_push(&e->body.hash->op, e, OP_HASH);
    turn_finish(hl);
}

// What has arrived meanwhile is worked on first, then what others have to do on this processor: a
// few times, and then it is hashed without waiting any longer.
void body_hash_waited(struct task *t)
{
    struct http_loop *hl = (struct http_loop *)((char *)t - offsetof(struct http_loop, hash_task));
    turn_finish(hl);
    if (++hl->hash_turns < WAIT_TURNS && board_has(hl)) {
        sched_yield();
        loop_post(hl->loop, &hl->hash_task);
        return;
    }
    hl->hash_posted = false;
    struct exchange *e = board_take(hl->server, hl);
    if (e != NULL)
        hash_waited_for(hl, e);
}

bool body_hash_end(struct exchange *e)
{
    struct http_loop *hl = e->on;
    struct body *b = &e->body;
    if (b->hash == NULL)
        return true;
    if (hl->waits_for_hash == b)
        hl->waits_for_hash = NULL;
    struct body *waiting = hl->waits_for_hash;
    if (waiting != NULL) {
        hash_beside(hl, b, waiting, SIZE_MAX);
        hl->waits_for_hash = has_slice(waiting) ? waiting : NULL;
    }
    if (!b->hash->as_whole) {
        hash_end(e);
        return true;
    }
    return hash_or_wait(e);
}

void body_hash_apply(struct exchange *e)
{
    struct http_server *s = e->on->server;
    if (e->c == NULL)
        exchange_free(e);
    else if (hash_or_wait(e))
        s->handler.request(s->handler.self, &e->x);
    pthread_mutex_lock(&s->lock); // http_server_drain counts under it
    atomic_fetch_sub(&s->pending_hashes, 1);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void body_hash_drop(struct http_loop *hl, struct body *b)
{
    if (b->hash == NULL)
        return;
    if (hl->waits_for_hash == b)
        hl->waits_for_hash = NULL;
    hl->hashing--;
    b->hash = NULL;
}

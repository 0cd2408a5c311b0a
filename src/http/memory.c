// SPDX-License-Identifier: Apache-2.0
// Buffers and exchanges of one loop, kept for their next use. Bodies are counted over all loops,
// and with everything else that requests hold (base/memory.h). All of it may be refused.
#include "base/memory.h"
#include "http/server_priv.h"

#include <stdlib.h>
#include <string.h>

void http_loop_init(struct http_loop *hl, struct http_server *s, struct loop *loop)
{
    hl->server = s;
    hl->loop = loop;
    hl->dirty_last = &hl->dirty_first;
    hl->op_last = &hl->op_first;
    hl->op_task.run = op_run;
    hl->turn_task.run = turn_run;
    hl->resume_task.run = loop_resume;
    hl->hash_task.run = body_hash_waited;
    hl->headers = xalloc(mul_checked(s->limits.header_count_max, sizeof(HttpHeader)));
    CHECK(pthread_mutex_init(&hl->lock, NULL) == 0);
}

// ---- Lists of free buffers, linked through their first bytes.

static char *chain_pop(char **first)
{
    char *p = *first;
    memcpy(first, p, sizeof *first);
    return p;
}

static void chain_push(char **first, char *p)
{
    memcpy(p, first, sizeof *first);
    *first = p;
}

static void chain_free(char **first)
{
    while (*first != NULL)
        free(chain_pop(first));
}

char *in_buffer_take(struct http_loop *hl)
{
    if (hl->free_in == NULL)
        return memory_try(hl->server->in_buffer_bytes);
    hl->free_in_count--;
    return chain_pop(&hl->free_in);
}

void in_buffer_give(struct http_loop *hl, char *p)
{
    if (hl->free_in_count >= KEPT_BUFFERS_MAX) {
        free(p);
        return;
    }
    hl->free_in_count++;
    chain_push(&hl->free_in, p);
}

// ---- Bodies.

// Up to here there are classes; larger bodies lie in large memory, which all loops share.
#define CLASS_BYTES_MAX ((size_t)BODY_BYTES_FIRST << (BODY_CLASSES - 1))
_Static_assert(((size_t)BODY_BYTES_FIRST << BODY_CLASSES) == MEMORY_LARGE_BYTES,
               "each body has a class or is large");

static size_t class_of(size_t bytes)
{
    size_t class = 0;
    while (((size_t)BODY_BYTES_FIRST << class) < bytes)
        class ++;
    CHECK(class < BODY_CLASSES);
    return class;
}

// How much memory a body of so many bytes gets.
static size_t room_of(size_t bytes)
{
    if (bytes > CLASS_BYTES_MAX)
        return memory_large_room(MAX(bytes, (size_t)MEMORY_LARGE_BYTES));
    return (size_t)BODY_BYTES_FIRST << class_of(bytes);
}

bool bodies_full(const struct http_server *s)
{
    return atomic_load(&s->body_bytes) >= s->limits.body_pool_bytes_max;
}

// Bytes of the budget, a little more at a time than is needed, so that small bodies cost no
// synchronisation.
static bool credit_take(struct http_loop *hl, size_t bytes, size_t held)
{
    if (hl->credit < bytes && bytes <= CREDIT_BYTES && memory_take(CREDIT_BYTES, held))
        hl->credit += CREDIT_BYTES;
    if (hl->credit < bytes)
        return memory_take(bytes, held);
    hl->credit -= bytes;
    return true;
}

static void credit_give(struct http_loop *hl, size_t bytes)
{
    hl->credit += bytes;
    if (hl->credit <= 4 * CREDIT_BYTES)
        return;
    memory_give(hl->credit - CREDIT_BYTES);
    hl->credit = CREDIT_BYTES;
}

// A buffer that nobody uses, or a new one; NULL: there is none.
static char *body_memory(struct http_loop *hl, size_t room)
{
    if (room > CLASS_BYTES_MAX)
        return memory_try_large(room);
    size_t class = class_of(room);
    if (hl->free_body[class] == NULL)
        return memory_try(room);
    hl->free_body_bytes -= room;
    return chain_pop(&hl->free_body[class]);
}

static void bodies_forget(struct http_loop *hl)
{
    for (size_t i = 0; i < BODY_CLASSES; i++)
        chain_free(&hl->free_body[i]);
    hl->free_body_bytes = 0;
}

static void body_free(struct http_loop *hl, struct body *b)
{
    if (b->cap > CLASS_BYTES_MAX) {
        memory_give_large(b->p, b->cap);
    } else if (hl->free_body_bytes + b->cap <= KEPT_BODY_BYTES_MAX) {
        hl->free_body_bytes += b->cap;
        chain_push(&hl->free_body[class_of(b->cap)], b->p);
    } else {
        free(b->p);
    }
}

// Whether it may have all that was announced at once: it has begun to come, and memory is ample.
static bool may_leap(const struct body *b, size_t need, size_t announced)
{
    return announced > need && b->n >= BODY_START_BYTES_MAX &&
           announced <= MEMORY_REQUESTS_BYTES_MIN && memory_has_room(BODY_ROOM_SHARE * announced);
}

bool body_reserve(struct http_loop *hl, struct body *b, size_t need, size_t announced)
{
    if (need <= b->cap)
        return true;
    size_t room = room_of(may_leap(b, need, announced) ? announced : need);
    if (!credit_take(hl, room - b->cap, room))
        return false;
    char *p = body_memory(hl, room);
    if (p == NULL) { // what is kept for later goes first
        bodies_forget(hl);
        memory_drop_large();
        p = body_memory(hl, room);
    }
    if (p == NULL) {
        credit_give(hl, room - b->cap);
        return false;
    }
    atomic_fetch_add_explicit(&hl->server->body_bytes, room - b->cap, memory_order_relaxed);
    if (b->cap > 0) {
        memcpy(p, b->p, b->n);
        body_free(hl, b);
    }
    b->p = p;
    b->cap = room;
    return true;
}

void tell_of_room(struct http_server *s)
{
    if (atomic_load(&s->paused_count) == 0 || s->closing)
        return;
    for (size_t i = 0; i < s->loop_count; i++)
        if (!atomic_exchange(&s->loops[i].resume_posted, true))
            loop_post(s->loops[i].loop, &s->loops[i].resume_task);
}

void body_release(struct http_loop *hl, struct body *b)
{
    body_hash_drop(hl, b);
    if (b->cap == 0)
        return;
    atomic_fetch_sub(&hl->server->body_bytes, b->cap);
    credit_give(hl, b->cap);
    body_free(hl, b);
    *b = (struct body){ 0 };
    if (!bodies_full(hl->server))
        tell_of_room(hl->server);
}

// ---- Exchanges.

static void list_add(struct exchange **list, struct exchange *e)
{
    e->previous = NULL;
    e->next = *list;
    if (*list != NULL)
        (*list)->previous = e;
    *list = e;
}

static void list_remove(struct exchange **list, struct exchange *e)
{
    if (e->previous != NULL)
        e->previous->next = e->next;
    else
        *list = e->next;
    if (e->next != NULL)
        e->next->previous = e->previous;
}

// One that was kept, or a new one; NULL: there is no memory.
static struct exchange *exchange_take(struct http_loop *hl)
{
    struct exchange *e = hl->free_exchange;
    if (e != NULL) {
        hl->free_exchange = e->next;
        hl->free_exchange_count--;
        struct arena *arena = e->x.arena;
        memset(e, 0, sizeof *e);
        e->x.arena = arena;
        return e;
    }
    e = memory_try_zeroed(sizeof *e);
    if (e != NULL && (e->x.arena = arena_open_request()) == NULL) {
        free(e);
        e = NULL;
    }
    return e;
}

struct exchange *exchange_open(struct conn *c)
{
    struct http_loop *hl = c->on;
    struct exchange *e = exchange_take(hl);
    if (e == NULL) {
        metric_add(hl->server->metrics.refused_memory, 1);
        return NULL;
    }
    struct arena *arena = e->x.arena;
    e->x.loop = hl->loop;
    e->x.tls = c->ssl != NULL;
    e->x.http_version = c->state == CONN_H2 ? 20 : 11;
    e->x.peer = str_dup(arena, str_from(c->peer, c->peer_n));
    e->x.method = e->x.path = e->x.body = S("");
    e->on = hl;
    e->c = c;
    e->last = &e->first;
    if (e->x.http_version == 20)
        atomic_fetch_add_explicit(&hl->server->stream_count, 1, memory_order_relaxed);
    e->started_ns = e->moved_ns = loop_now_ns(hl->loop);
    list_add(&c->exchanges, e);
    c->exchange_count++;
    return e;
}

void exchange_detach(struct exchange *e)
{
    struct conn *c = e->c;
    list_remove(&c->exchanges, e);
    c->exchange_count--;
    list_add(&e->on->detached, e);
    e->c = NULL;
    atomic_store(&e->gone, true);
    exchange_tell(e);
    if (e->in != NULL)
        intake_fail(e, fail(ERR_CLOSED, "http: the client has gone"));
    if (e->flow != NULL)
        outflow_step(e);
}

static void forget_watched(struct http_server *s)
{
    pthread_mutex_lock(&s->lock); // http_server_drain counts under it
    atomic_fetch_sub(&s->watched_count, 1);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void exchange_free(struct exchange *e)
{
    struct http_loop *hl = e->on;
    if (e->c != NULL) {
        list_remove(&e->c->exchanges, e);
        e->c->exchange_count--;
    } else {
        list_remove(&hl->detached, e);
    }
    while (e->first != NULL) {
        struct piece *p = e->first;
        e->first = p->next;
        piece_free(p);
    }
    if (e->tell != NULL)
        forget_watched(hl->server);
    if (e->is_hashed)
        atomic_fetch_sub_explicit(&hl->server->hashed_count, 1, memory_order_relaxed);
    intake_free(e);
    if (e->x.http_version == 20)
        atomic_fetch_sub_explicit(&hl->server->stream_count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&hl->server->reply_bytes, e->content_counted, memory_order_relaxed);
    buf_free(e->content_memory, e->content_room);
    memory_give(e->content_taken);
    body_release(hl, &e->body);
    arena_reset(e->x.arena);
    if (hl->free_exchange_count >= KEPT_EXCHANGES_MAX) {
        arena_close(e->x.arena);
        free(e);
        return;
    }
    e->next = hl->free_exchange;
    hl->free_exchange = e;
    hl->free_exchange_count++;
}

void http_loop_done(struct http_loop *hl)
{
    while (hl->detached != NULL)
        exchange_free(hl->detached);
    while (hl->free_exchange != NULL) {
        struct exchange *e = hl->free_exchange;
        hl->free_exchange = e->next;
        arena_close(e->x.arena);
        free(e);
    }
    free(hl->headers);
    chain_free(&hl->free_in);
    bodies_forget(hl);
    memory_give(hl->credit);
    pthread_mutex_destroy(&hl->lock);
}

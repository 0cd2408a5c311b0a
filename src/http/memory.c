// SPDX-License-Identifier: Apache-2.0
// Buffers and exchanges of one loop, kept for their next use. Bodies are counted over all loops.
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
    hl->resume_task.run = loop_resume;
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
        return xrealloc(NULL, hl->server->in_buffer_bytes); // not zeroed: only what is read is used
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

static size_t class_of(size_t bytes)
{
    size_t class = 0;
    while (((size_t)BODY_BYTES_FIRST << class) < bytes)
        class ++;
    CHECK(class < BODY_CLASSES);
    return class;
}

bool bodies_full(const struct http_server *s)
{
    return atomic_load(&s->body_bytes) >= s->limits.body_pool_bytes_max;
}

void body_reserve(struct http_loop *hl, struct body *b, size_t need)
{
    if (need <= b->cap)
        return;
    size_t class = class_of(need), bytes = (size_t)BODY_BYTES_FIRST << class;
    atomic_fetch_add_explicit(&hl->server->body_bytes, bytes - b->cap, memory_order_relaxed);
    if (b->cap == 0 && hl->free_body[class] != NULL) {
        hl->free_body_bytes -= bytes;
        b->p = chain_pop(&hl->free_body[class]);
    } else {
        b->p = xrealloc(b->p, bytes);
    }
    b->cap = bytes;
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
    if (b->cap == 0)
        return;
    atomic_fetch_sub(&hl->server->body_bytes, b->cap);
    if (hl->free_body_bytes + b->cap <= KEPT_BODY_BYTES_MAX) {
        hl->free_body_bytes += b->cap;
        chain_push(&hl->free_body[class_of(b->cap)], b->p);
    } else {
        free(b->p);
    }
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

struct exchange *exchange_open(struct conn *c)
{
    struct http_loop *hl = c->on;
    struct exchange *e = hl->free_exchange;
    struct arena *arena;
    if (e != NULL) {
        hl->free_exchange = e->next;
        hl->free_exchange_count--;
        arena = e->x.arena;
    } else {
        e = xalloc(sizeof *e);
        arena = arena_open();
    }
    memset(e, 0, sizeof *e);
    e->x.arena = arena;
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
        free(p);
    }
    if (e->x.http_version == 20)
        atomic_fetch_sub_explicit(&hl->server->stream_count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&hl->server->reply_bytes, e->content_counted, memory_order_relaxed);
    free(e->content_memory);
    body_release(hl, &e->body);
    arena_reset(e->x.arena);
    if (hl->free_exchange_count >= KEPT_BUFFERS_MAX) {
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
    for (size_t i = 0; i < BODY_CLASSES; i++)
        chain_free(&hl->free_body[i]);
    pthread_mutex_destroy(&hl->lock);
}

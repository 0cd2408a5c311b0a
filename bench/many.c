// SPDX-License-Identifier: Apache-2.0
// Puts over many connections: each has one request under way, and a few threads with an event loop
// each serve them all. A thread for each connection would cost the machine more than the server
// does. The server may as well be another one that answers 200 to any POST.
#include "call.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { REPLY_BYTES_MAX = 64 << 10, EVENTS_MAX = 256, IDLE_MS_MAX = 10000 };

struct connection {
    struct client *client;
    struct caller caller; // its descriptor, its keys, room for a reply
    struct call_body batches[BATCHES_MOST];
    unsigned count;
    uint64_t turn, begin_us;
    size_t filled;
};

struct loop {
    const struct options *options;
    struct connection *connections; // of its own
    unsigned count;
    int epoll;
    uint64_t end_us;
    pthread_barrier_t *start;
    pthread_t thread;
};

// The status of a whole reply and where its body begins; 0: not all of it is there yet.
static unsigned whole_reply(struct connection *c, const char **ret_body)
{
    char *p = c->caller.reply;
    p[c->filled] = 0;
    char *end = strstr(p, "\r\n\r\n");
    if (end == NULL)
        return 0;
    char *length = strcasestr(p, "\r\ncontent-length:");
    size_t head = (size_t)(end - p) + 4;
    if (length == NULL || length > end || c->filled < head + strtoul(length + 17, NULL, 10))
        return 0;
    *ret_body = p + head;
    return (unsigned)strtoul(p + sizeof "HTTP/1.1", NULL, 10);
}

// A server may bound the connections that have not said anything yet.
static bool say_something(struct connection *c)
{
    static const char question[] = "GET /_headrace/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    const char *body;
    unsigned status = 0;
    bool good = write_all(c->caller.fd, question, sizeof question - 1);
    while (good && status == 0)
        good = read_until(c->caller.fd, c->caller.reply, REPLY_BYTES_MAX - 1, &c->filled,
                          c->filled + 1) &&
               ((status = whole_reply(c, &body)) == 0 || status == 200);
    if (!good)
        fprintf(stderr, "a new connection is not served\n");
    return good;
}

static bool open_connection(struct loop *l, struct connection *c)
{
    const struct options *o = l->options;
    caller_open(&c->caller, o->port, REPLY_BYTES_MAX);
    caller_set_account(&c->caller, o->accounts, c->client->number);
    c->count = call_build_all(c->batches, c->client);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
    return caller_connect(&c->caller, false) && say_something(c) &&
           epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->caller.fd, &event) == 0;
}

static void start_request(struct loop *l, struct connection *c)
{
    const struct call_body *b = &c->batches[c->turn++ % c->count];
    char head[CALL_HEAD_BYTES_MAX];
    size_t n = call_head(&c->caller, call_put_operation(l->options), b->hash, b->n, head);
    c->filled = 0;
    c->begin_us = now_us();
    if (n == 0 || !write_both(c->caller.fd, head, n, b->p, b->n))
        c->client->failures++;
}

static void end_request(struct connection *c, unsigned status, const char *body)
{
    enum outcome outcome = call_outcome(status, body);
    if (outcome == SENT_OK) {
        c->client->batches++;
        latencies_add(&c->client->latencies, now_us() - c->begin_us);
    }
    c->client->refused += outcome == SENT_REFUSED;
    c->client->failures += outcome == SENT_BROKEN;
}

// Returns whether the connection's request has ended.
static bool serve(struct loop *l, struct connection *c)
{
    size_t room = c->caller.reply_bytes_max - 1 - c->filled;
    ssize_t got = recv(c->caller.fd, c->caller.reply + c->filled, room, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    const char *body;
    unsigned status = 0;
    if (got > 0) {
        c->filled += (size_t)got;
        status = whole_reply(c, &body);
        if (status == 0)
            return false;
        end_request(c, status, body);
    } else {
        fprintf(stderr, "a connection was closed: %s\n",
                got < 0 ? strerror(errno) : "by the server");
        c->client->failures++;
    }
    if (c->client->failures > 0) {
        epoll_ctl(l->epoll, EPOLL_CTL_DEL, c->caller.fd, NULL);
        return true;
    }
    if (now_us() >= l->end_us)
        return true;
    start_request(l, c);
    return false;
}

static void *run_loop(void *argument)
{
    struct loop *l = argument;
    struct epoll_event events[EVENTS_MAX];
    for (unsigned i = 0; i < l->count; i++)
        if (!open_connection(l, &l->connections[i]))
            l->connections[i].client->failures++;
    pthread_barrier_wait(l->start); // all are connected
    pthread_barrier_wait(l->start); // the clock runs
    unsigned busy = 0;
    for (unsigned i = 0; i < l->count; i++) {
        if (l->connections[i].client->failures > 0)
            continue;
        start_request(l, &l->connections[i]);
        busy++;
    }
    while (busy > 0) {
        int n = epoll_wait(l->epoll, events, EVENTS_MAX, IDLE_MS_MAX);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            fprintf(stderr, "%u requests were not answered\n", busy);
            l->connections[0].client->failures++;
            break;
        }
        for (int i = 0; i < n; i++)
            busy -= serve(l, events[i].data.ptr);
    }
    return NULL;
}

static void close_connections(struct connection *all, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        for (unsigned k = 0; k < all[i].count; k++)
            free(all[i].batches[k].p);
        caller_close(&all[i].caller);
    }
    free(all);
}

bool run_many(const struct options *o, struct client *clients, double *ret_seconds)
{
    struct connection *all = must_alloc(o->clients * sizeof *all);
    struct loop *loops = must_alloc(o->loops * sizeof *loops);
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, o->loops + 1);
    for (unsigned i = 0; i < o->clients; i++)
        all[i].client = &clients[i];
    for (unsigned i = 0, from = 0; i < o->loops; i++) {
        unsigned to = (unsigned)((uint64_t)o->clients * (i + 1) / o->loops);
        loops[i] = (struct loop){ .options = o,
                                  .connections = all + from,
                                  .count = to - from,
                                  .epoll = epoll_create1(EPOLL_CLOEXEC),
                                  .start = &start };
        from = to;
        if (loops[i].epoll < 0 ||
            pthread_create(&loops[i].thread, NULL, run_loop, &loops[i]) != 0) {
            fprintf(stderr, "no event loop could be started\n");
            return false;
        }
    }
    pthread_barrier_wait(&start);
    uint64_t begin = now_us();
    for (unsigned i = 0; i < o->loops; i++)
        loops[i].end_us = begin + (uint64_t)o->seconds * 1000000;
    pthread_barrier_wait(&start);
    for (unsigned i = 0; i < o->loops; i++)
        pthread_join(loops[i].thread, NULL);
    *ret_seconds = (double)(now_us() - begin) / 1e6;
    close_connections(all, o->clients);
    free(loops);
    pthread_barrier_destroy(&start);
    return true;
}

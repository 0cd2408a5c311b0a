// SPDX-License-Identifier: Apache-2.0
// What pushing is measured beside: the same bytes to the same readers, from a thread that does
// nothing but send what it has ready, from memory or, with follow=1, by sendfile.
#include "push.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS_MAX = 256, EVENT_RECORDS = 250, BACKLOG = 4096, PORT_BYTES = 8 };

struct outgoing {
    int fd;
    size_t at; // in the event
};

struct sender {
    int listener, epoll, file;
    bool by_sendfile;
    const char *event;
    size_t event_bytes;
    struct outgoing *all;
    unsigned count, room;
    const atomic_bool *stop;
    pthread_t thread;
};

static void accept_one(struct sender *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 || s->count == s->room)
        return;
    s->all[s->count] = (struct outgoing){ .fd = fd };
    struct epoll_event event = { .events = EPOLLOUT, .data.ptr = &s->all[s->count] };
    s->count += epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void send_some(const struct sender *s, struct outgoing *o)
{
    off_t at = (off_t)o->at;
    size_t left = s->event_bytes - o->at;
    ssize_t n = s->by_sendfile ? sendfile(o->fd, s->file, &at, left)
                               : send(o->fd, s->event + o->at, left, MSG_NOSIGNAL);
    if (n > 0)
        o->at = (o->at + (size_t)n) % s->event_bytes;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        epoll_ctl(s->epoll, EPOLL_CTL_DEL, o->fd, NULL);
}

static void *send_all(void *self)
{
    struct sender *s = self;
    struct epoll_event events[EVENTS_MAX];
    while (!atomic_load(s->stop)) {
        int n = epoll_wait(s->epoll, events, EVENTS_MAX, 100);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                accept_one(s);
            else
                send_some(s, events[i].data.ptr);
        }
    }
    return NULL;
}

static bool sender_open(struct sender *s, const struct options *o, const atomic_bool *stop,
                        char port[PORT_BYTES])
{
    struct options event = *o;
    struct call_body body;
    uint64_t seed = seed_of(0);
    event.records = EVENT_RECORDS;
    call_build(&body, &event, "raw", &seed);
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t n = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *s = (struct sender){ .by_sendfile = o->follow,
                          .event = body.p,
                          .event_bytes = body.n,
                          .room = o->clients * o->shards,
                          .stop = stop };
    s->all = must_alloc(s->room * sizeof *s->all);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->file = memfd_create("event", MFD_CLOEXEC);
    struct epoll_event watch = { .events = EPOLLIN, .data.ptr = NULL };
    if (s->file < 0 || write(s->file, body.p, body.n) != (ssize_t)body.n ||
        bind(s->listener, (struct sockaddr *)&address, n) != 0 ||
        listen(s->listener, BACKLOG) != 0 ||
        getsockname(s->listener, (struct sockaddr *)&address, &n) != 0 ||
        epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &watch) != 0)
        return false;
    snprintf(port, PORT_BYTES, "%u", ntohs(address.sin_port));
    return pthread_create(&s->thread, NULL, send_all, s) == 0;
}

bool run_push_raw(const struct options *o, struct client *clients, double *ret_seconds)
{
    char port[PORT_BYTES];
    struct sender sender;
    atomic_bool stop = false;
    struct subscription *all = must_alloc((size_t)o->clients * o->shards * sizeof *all);
    struct readers *readers = must_alloc(o->loops * sizeof *readers);
    bool good = sender_open(&sender, o, &stop, port) && push_start(readers, o->loops, &stop);
    uint64_t begin = now_us();
    for (unsigned i = 0; i < o->clients * o->shards && good; i++) {
        all[i].client = &clients[i / o->shards];
        caller_open(&all[i].caller, port, 1);
        good = caller_connect(&all[i].caller, false) &&
               push_add(&readers[i / o->shards % o->loops], &all[i]);
    }
    sleep(o->seconds);
    *ret_seconds = (double)(now_us() - begin) / 1e6;
    atomic_store(&stop, true);
    pthread_join(sender.thread, NULL);
    push_stop(readers, o->loops);
    for (unsigned i = 0; i < o->clients * o->shards; i++)
        if (all[i].client != NULL)
            caller_close(&all[i].caller);
    for (unsigned i = 0; i < sender.count; i++)
        close(sender.all[i].fd);
    free(all);
    free(readers);
    return good;
}

const struct peer push_raw_peer = { "push-raw", true, NULL, NULL, NULL };

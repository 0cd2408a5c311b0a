// SPDX-License-Identifier: Apache-2.0
// Consumers that are pushed (SubscribeToShard), and writers beside them. Each client is a consumer
// of its own, subscribed to every shard over a connection each; a few threads with an event loop
// read what comes. Records carry the time at which they were sent: a latency is from the put until
// the record has been pushed.
#include "push.h"
#include "schedule.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_BYTES = 256 << 10,
    REPLY_BYTES_MAX = 64 << 10,
    EVENTS_MAX = 256,
    STAMP_DIGITS = 16, // of microseconds; they are letters of base64, and come back as they are
    WRITERS = 8,
    SETTLE_MS = 500, // for what is on its way when the writers have ended
};
#define DATA_MEMBER "\"Data\":\""
#define ACCOUNT "000000000000"

struct writer {
    const struct options *options;
    struct schedule *schedule;
    struct call_body body;
    struct caller caller;
    uint64_t failures;
    pthread_t thread;
};

// ---- Reading

// Counts the records in what has come. What may be the beginning of one is kept for the next time.
static void take_bytes(struct subscription *s, char *p, size_t n, uint64_t now)
{
    const size_t member = sizeof DATA_MEMBER - 1;
    char *at = p, *end = p + n;
    struct client *c = s->client;
    while ((at = memmem(at, (size_t)(end - at), DATA_MEMBER, member)) != NULL) {
        if ((size_t)(end - at) < member + STAMP_DIGITS)
            break;
        char digits[STAMP_DIGITS + 1] = { 0 };
        memcpy(digits, at + member, STAMP_DIGITS);
        uint64_t sent = strtoull(digits, NULL, 10);
        c->records++;
        c->bytes += c->options->record_bytes;
        if (sent != 0 && sent <= now)
            latencies_add(&c->latencies, now - sent);
        at += member + STAMP_DIGITS;
    }
    size_t left = at != NULL ? (size_t)(end - at) : n < member ? n : member - 1;
    memcpy(s->tail, end - left, left);
    s->tail_n = left;
}

// False: the stream has ended.
static bool read_some(struct readers *r, struct subscription *s)
{
    memcpy(r->buffer, s->tail, s->tail_n);
    char *to = r->buffer + s->tail_n;
    ssize_t n = s->caller.tls != NULL ? SSL_read(s->caller.tls, to, READ_BYTES)
                                      : recv(s->caller.fd, to, READ_BYTES, 0);
    if (n > 0) {
        s->client->batches++;
        take_bytes(s, r->buffer, s->tail_n + (size_t)n, now_us());
        return true;
    }
    if (s->caller.tls != NULL)
        return SSL_get_error(s->caller.tls, (int)n) == SSL_ERROR_WANT_READ;
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void *read_all(void *self)
{
    struct readers *r = self;
    struct epoll_event events[EVENTS_MAX];
    while (!atomic_load(r->stop)) {
        int n = epoll_wait(r->epoll, events, EVENTS_MAX, 100);
        for (int i = 0; i < n; i++) {
            struct subscription *s = events[i].data.ptr;
            if (read_some(r, s))
                continue;
            s->client->failures++;
            epoll_ctl(r->epoll, EPOLL_CTL_DEL, s->caller.fd, NULL);
        }
    }
    return NULL;
}

bool push_add(struct readers *r, struct subscription *s)
{
    fcntl(s->caller.fd, F_SETFL, fcntl(s->caller.fd, F_GETFL) | O_NONBLOCK);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = s };
    return epoll_ctl(r->epoll, EPOLL_CTL_ADD, s->caller.fd, &event) == 0;
}

bool push_start(struct readers *readers, unsigned n, const atomic_bool *stop)
{
    bool good = true;
    for (unsigned i = 0; i < n; i++) {
        readers[i] = (struct readers){ .epoll = epoll_create1(EPOLL_CLOEXEC), .stop = stop };
        readers[i].buffer = must_alloc(READ_BYTES + PUSH_TAIL_BYTES);
        good = readers[i].epoll >= 0 &&
               pthread_create(&readers[i].thread, NULL, read_all, &readers[i]) == 0 && good;
    }
    return good;
}

void push_stop(struct readers *readers, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        pthread_join(readers[i].thread, NULL);
        close(readers[i].epoll);
        free(readers[i].buffer);
    }
}

// ---- Waiting

static void wait_ms(unsigned ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL);
}

void push_wait(const struct options *o, const struct client *clients)
{
    uint64_t end = now_us() + (uint64_t)o->seconds * 1000000, have = 0;
    while (now_us() < end && (o->batches == 0 || have < (uint64_t)o->clients * o->batches)) {
        wait_ms(1);
        have = 0;
        for (unsigned i = 0; i < o->clients; i++)
            have += __atomic_load_n(&clients[i].records, __ATOMIC_RELAXED);
    }
}

// ---- Subscribing

typedef char Arn[CALL_NAME_BYTES * 2];

static bool register_consumer(struct caller *c, const struct options *o, unsigned number, Arn arn)
{
    char body[512], hash[CALL_HEX_BYTES], *reply;
    size_t n;
    int used = snprintf(body, sizeof body,
                        "{\"StreamARN\":\"arn:aws:kinesis:us-east-1:" ACCOUNT ":stream/%s\","
                        "\"ConsumerName\":\"push-%u\"}",
                        o->stream, number);
    call_hash(body, (size_t)used, hash);
    unsigned status = call_send(c, "RegisterStreamConsumer", body, (size_t)used, hash, &reply, &n);
    char *at = status == 200 ? strstr(reply, "\"ConsumerARN\":\"") : NULL;
    char *end = at != NULL ? strchr(at + 15, '"') : NULL;
    if (end == NULL || end - at - 15 >= (ptrdiff_t)sizeof(Arn)) {
        fprintf(stderr, "RegisterStreamConsumer: status %u: %.300s\n", status,
                status != 0 ? reply : "");
        return false;
    }
    snprintf(arn, sizeof(Arn), "%.*s", (int)(end - at - 15), at + 15);
    return true;
}

static bool send_request(struct caller *c, const char *arn, unsigned shard, const char *type)
{
    char body[1024], hash[CALL_HEX_BYTES], head[CALL_HEAD_BYTES_MAX + 1024];
    int used = snprintf(body, sizeof body,
                        "{\"ConsumerARN\":\"%s\",\"ShardId\":\"shardId-%012u\","
                        "\"StartingPosition\":{\"Type\":\"%s\"}}",
                        arn, shard, type);
    call_hash(body, (size_t)used, hash);
    size_t n = call_head(c, "SubscribeToShard", hash, (size_t)used, head);
    memcpy(head + n, body, (size_t)used);
    n += (size_t)used;
    return c->tls != NULL ? SSL_write(c->tls, head, (int)n) == (int)n : write_all(c->fd, head, n);
}

// Waits for the head of the reply; what follows it is read with the rest.
static bool subscribe(struct subscription *s, const char *arn, unsigned shard, struct readers *r)
{
    const struct options *o = s->client->options;
    caller_open(&s->caller, o->port, REPLY_BYTES_MAX);
    if (!caller_connect(&s->caller, o->tls) ||
        !send_request(&s->caller, arn, shard, o->follow ? "LATEST" : "TRIM_HORIZON"))
        return false;
    char first[16] = { 0 };
    ssize_t n = s->caller.tls != NULL ? SSL_peek(s->caller.tls, first, 12)
                                      : recv(s->caller.fd, first, 12, MSG_PEEK | MSG_WAITALL);
    if (n < 12 || strncmp(first, "HTTP/1.1 200", 12) != 0) {
        fprintf(stderr, "SubscribeToShard: %.12s\n", first);
        return false;
    }
    return push_add(r, s);
}

static bool register_all(const struct options *o, Arn *arns)
{
    struct caller c;
    caller_open(&c, o->port, REPLY_BYTES_MAX);
    bool good = caller_connect(&c, o->tls);
    for (unsigned i = 0; i < o->clients && good; i++)
        good = register_consumer(&c, o, i, arns[i]);
    caller_close(&c);
    return good;
}

static bool subscribe_all(const struct options *o, struct client *clients, const Arn *arns,
                          struct subscription *all, struct readers *readers)
{
    bool good = true;
    for (unsigned i = 0; i < o->clients && good; i++) {
        for (unsigned j = 0; j < o->shards && good; j++) {
            unsigned k = i * o->shards + j;
            all[k].client = &clients[i];
            // A consumer's own thread: its counts have no lock.
            good = subscribe(&all[k], arns[i], j, &readers[i % o->loops]);
        }
    }
    return good;
}

// ---- Writing

static void stamp(struct call_body *b)
{
    char digits[STAMP_DIGITS + 1];
    snprintf(digits, sizeof digits, "%016llu", (unsigned long long)now_us());
    for (char *at = b->p; (at = strstr(at, DATA_MEMBER)) != NULL; at += STAMP_DIGITS)
        memcpy(at + sizeof DATA_MEMBER - 1, digits, STAMP_DIGITS);
    call_hash(b->p, b->n, b->hash);
}

static void *write_all_the_time(void *self)
{
    struct writer *w = self;
    while (schedule_take(w->schedule) != 0) {
        char *reply;
        size_t n;
        stamp(&w->body);
        unsigned status = call_send(&w->caller, call_put_operation(w->options), w->body.p,
                                    w->body.n, w->body.hash, &reply, &n);
        w->failures += call_outcome(status, reply) != SENT_OK;
        schedule_end(w->schedule);
    }
    return NULL;
}

static bool write_for(const struct options *o, struct schedule *schedule)
{
    struct writer writers[WRITERS];
    bool good = true;
    for (unsigned i = 0; i < WRITERS; i++) {
        struct writer *w = &writers[i];
        uint64_t seed = seed_of(i);
        *w = (struct writer){ .options = o, .schedule = schedule };
        call_build(&w->body, o, o->stream, &seed);
        caller_open(&w->caller, o->port, REPLY_BYTES_MAX);
        good = caller_connect(&w->caller, false) &&
               pthread_create(&w->thread, NULL, write_all_the_time, w) == 0 && good;
    }
    schedule->end_us = now_us() + (uint64_t)o->seconds * 1000000;
    schedule_set(schedule, o->rate > 0 ? MODE_OPEN : MODE_CLOSED, o->rate);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        good = good && writers[i].failures == 0;
        caller_close(&writers[i].caller);
        free(writers[i].body.p);
    }
    return good;
}

// ---- All of it

// With a rate, writers put at it and consumers follow; without one, consumers read what is there.
bool run_push(const struct options *o, struct client *clients, double *ret_seconds)
{
    struct subscription *all = must_alloc((size_t)o->clients * o->shards * sizeof *all);
    struct readers *readers = must_alloc(o->loops * sizeof *readers);
    atomic_bool stop = false;
    struct schedule schedule = SCHEDULE_INIT;
    schedule.seed = seed_of(o->clients);
    Arn *arns = must_alloc(o->clients * sizeof *arns);
    bool good = push_start(readers, o->loops, &stop) && register_all(o, arns);
    uint64_t begin = now_us();
    good = good && subscribe_all(o, clients, arns, all, readers);
    if (good && o->follow) {
        wait_ms(SETTLE_MS); // the first events
        begin = now_us();
        good = write_for(o, &schedule);
        *ret_seconds = (double)(now_us() - begin) / 1e6;
        wait_ms(SETTLE_MS);
    } else if (good) {
        push_wait(o, clients);
        *ret_seconds = (double)(now_us() - begin) / 1e6;
    }
    atomic_store(&stop, true);
    push_stop(readers, o->loops);
    for (size_t i = 0; i < (size_t)o->clients * o->shards; i++)
        if (all[i].client != NULL)
            caller_close(&all[i].caller);
    free(arns);
    free(all);
    free(readers);
    return good;
}

const struct peer push_peer = { "push", true, NULL, NULL, NULL }; // it has only loops

// SPDX-License-Identifier: Apache-2.0
// Signed puts over HTTP/2 without TLS: on each connection several requests are under way at once.
// As in many.c, a few threads with an event loop each serve all connections.
#include "call.h"

#include <ctype.h>
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    EVENTS_MAX = 256,
    IDLE_MS_MAX = 10000,
    HEADERS_MAX = 12,
    READ_BYTES = 64 << 10,
    OUT_BYTES = 256 << 10,
    REPLY_BYTES_KEPT = 300, // of an answer, to say what was wrong
};

struct connection;

struct request { // one that is under way; its place is used again for the next
    struct connection *connection;
    const struct call_body *body;
    size_t sent;
    uint64_t begin_us;
    unsigned status;
    char reply[REPLY_BYTES_KEPT + 1];
    size_t reply_n;
};

struct connection {
    struct client *client;
    struct loop *loop;
    struct caller caller;
    struct call_body batches[BATCHES_MOST];
    unsigned count;
    uint64_t turn;
    nghttp2_session *session;
    struct request *requests; // `inflight` of the options
    unsigned busy;
};

struct loop {
    const struct options *options;
    struct connection *connections; // of its own
    unsigned count;
    int epoll;
    uint64_t end_us;
    nghttp2_session_callbacks *callbacks;
    char out[OUT_BYTES], in[READ_BYTES];
    pthread_barrier_t *start;
    pthread_t thread;
};

static void break_connection(struct connection *c, const char *why)
{
    if (c->client->failures++ == 0)
        fprintf(stderr, "HTTP/2: %s\n", why);
    c->busy = 0;
}

// ---- Requests

// The lines of an HTTP/1.1 head as fields: names become lower case in place. Returns how many.
static size_t fields_of(char *head, nghttp2_nv *ret)
{
    size_t n = 0;
    for (char *line = strstr(head, "\r\n"); line != NULL && n < HEADERS_MAX;) {
        char *name = line + 2, *colon = strchr(name, ':'), *end = strstr(name, "\r\n");
        if (colon == NULL || end == NULL || colon > end)
            break; // the empty line
        for (char *p = name; p < colon; p++)
            *p = (char)tolower((unsigned char)*p);
        bool is_host = strncmp(name, "host:", 5) == 0;
        ret[n++] = (nghttp2_nv){ (uint8_t *)(is_host ? (char *)":authority" : name),
                                 (uint8_t *)colon + 2, is_host ? 10 : (size_t)(colon - name),
                                 (size_t)(end - colon - 2), NGHTTP2_NV_FLAG_NONE };
        line = end;
    }
    return n;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *unused)
{
    (void)session, (void)stream, (void)unused;
    struct request *r = source->ptr;
    size_t left = r->body->n - r->sent, n = left < room ? left : room;
    memcpy(to, r->body->p + r->sent, n);
    r->sent += n;
    if (r->sent == r->body->n)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static bool start_request(struct connection *c, struct request *r)
{
    char head[CALL_HEAD_BYTES_MAX];
    // Pseudo fields come first: the host line of the head stands first and becomes :authority.
    nghttp2_nv fields[HEADERS_MAX + 3] = {
        { (uint8_t *)":method", (uint8_t *)"POST", 7, 4, NGHTTP2_NV_FLAG_NONE },
        { (uint8_t *)":scheme", (uint8_t *)"http", 7, 4, NGHTTP2_NV_FLAG_NONE },
        { (uint8_t *)":path", (uint8_t *)"/", 5, 1, NGHTTP2_NV_FLAG_NONE },
    };
    *r = (struct request){ .connection = c, .body = &c->batches[c->turn++ % c->count] };
    r->begin_us = now_us();
    if (call_head(&c->caller, call_put_operation(c->client->options), r->body->hash, r->body->n,
                  head) == 0)
        return false;
    size_t n = 3 + fields_of(head, fields + 3);
    nghttp2_data_provider body = { .source.ptr = r, .read_callback = read_body };
    c->busy++;
    return nghttp2_submit_request(c->session, NULL, fields, n, &body, r) >= 0;
}

// ---- What nghttp2 tells

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                     void *unused)
{
    (void)flags, (void)unused, (void)value_n;
    struct request *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (r != NULL && name_n == 7 && memcmp(name, ":status", 7) == 0)
        r->status = (unsigned)strtoul((const char *)value, NULL, 10); // nghttp2 terminates it
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *p,
                   size_t n, void *unused)
{
    (void)flags, (void)unused;
    struct request *r = nghttp2_session_get_stream_user_data(session, stream);
    if (r != NULL) {
        size_t room = REPLY_BYTES_KEPT - r->reply_n, kept = n < room ? n : room;
        memcpy(r->reply + r->reply_n, p, kept);
        r->reply_n += kept;
    }
    return 0;
}

static int on_end(nghttp2_session *session, int32_t stream, uint32_t error, void *argument)
{
    struct connection *c = argument;
    struct request *r = nghttp2_session_get_stream_user_data(session, stream);
    if (r == NULL)
        return 0;
    c->busy--;
    enum outcome outcome = call_outcome(error == 0 ? r->status : 0, r->reply);
    if (outcome == SENT_OK) {
        c->client->batches++;
        latencies_add(&c->client->latencies, now_us() - r->begin_us);
    }
    c->client->refused += outcome == SENT_REFUSED;
    c->client->failures += outcome == SENT_BROKEN;
    if (c->client->failures == 0 && now_us() < c->loop->end_us && !start_request(c, r))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return 0;
}

// ---- Bytes

// Everything that there is to send, in few calls.
static bool flush(struct connection *c)
{
    struct loop *l = c->loop;
    size_t filled = 0;
    for (;;) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(c->session, &p);
        if (n < 0)
            return false;
        if (filled > 0 && (n == 0 || filled + (size_t)n > OUT_BYTES)) {
            if (!write_all(c->caller.fd, l->out, filled))
                return false;
            filled = 0;
        }
        if (n == 0)
            return true;
        if ((size_t)n > OUT_BYTES)
            return false; // a frame is at most 16 KiB
        memcpy(l->out + filled, p, (size_t)n);
        filled += (size_t)n;
    }
}

static void serve(struct connection *c)
{
    struct loop *l = c->loop;
    ssize_t got = recv(c->caller.fd, l->in, READ_BYTES, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        break_connection(c, got < 0 ? strerror(errno) : "a connection was closed by the server");
    else if (nghttp2_session_mem_recv(c->session, (uint8_t *)l->in, (size_t)got) < 0 || !flush(c))
        break_connection(c, "a connection broke");
}

static bool open_connection(struct loop *l, struct connection *c)
{
    const struct options *o = l->options;
    nghttp2_settings_entry settings[] = { { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 } };
    c->loop = l;
    caller_open(&c->caller, o->port, 1);
    caller_set_account(&c->caller, o->accounts, c->client->number);
    c->count = call_build_all(c->batches, c->client);
    c->requests = must_alloc(o->inflight * sizeof *c->requests);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
    return caller_connect(&c->caller, false) &&
           nghttp2_session_client_new(&c->session, l->callbacks, c) == 0 &&
           nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 1) == 0 && flush(c) &&
           epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->caller.fd, &event) == 0;
}

static unsigned busy_requests(const struct loop *l)
{
    unsigned busy = 0;
    for (unsigned i = 0; i < l->count; i++)
        busy += l->connections[i].busy;
    return busy;
}

static void *run_loop(void *argument)
{
    struct loop *l = argument;
    struct epoll_event events[EVENTS_MAX];
    for (unsigned i = 0; i < l->count; i++)
        if (!open_connection(l, &l->connections[i]))
            break_connection(&l->connections[i], "a new connection is not served");
    pthread_barrier_wait(l->start); // all are connected
    pthread_barrier_wait(l->start); // the clock runs
    for (unsigned i = 0; i < l->count; i++) {
        struct connection *c = &l->connections[i];
        bool good = c->client->failures == 0;
        for (unsigned k = 0; good && k < l->options->inflight; k++)
            good = start_request(c, &c->requests[k]);
        if (c->client->failures == 0 && (!good || !flush(c)))
            break_connection(c, "requests cannot be sent");
    }
    while (busy_requests(l) > 0) {
        int n = epoll_wait(l->epoll, events, EVENTS_MAX, IDLE_MS_MAX);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            fprintf(stderr, "%u requests were not answered\n", busy_requests(l));
            l->connections[0].client->failures++;
            break;
        }
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            serve(c);
            if (c->client->failures > 0) {
                c->busy = 0;
                epoll_ctl(l->epoll, EPOLL_CTL_DEL, c->caller.fd, NULL);
            }
        }
    }
    return NULL;
}

static void close_connections(struct connection *all, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        nghttp2_session_del(all[i].session);
        for (unsigned k = 0; k < all[i].count; k++)
            free(all[i].batches[k].p);
        free(all[i].requests);
        caller_close(&all[i].caller);
    }
    free(all);
}

static nghttp2_session_callbacks *callbacks(void)
{
    nghttp2_session_callbacks *b;
    if (nghttp2_session_callbacks_new(&b) != 0)
        exit(1);
    nghttp2_session_callbacks_set_on_header_callback(b, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(b, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(b, on_end);
    return b;
}

bool run_h2(const struct options *o, struct client *clients, double *ret_seconds)
{
    struct connection *all = must_alloc(o->clients * sizeof *all);
    struct loop *loops = must_alloc(o->loops * sizeof *loops);
    nghttp2_session_callbacks *told = callbacks();
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, o->loops + 1);
    for (unsigned i = 0; i < o->clients; i++)
        all[i].client = &clients[i];
    for (unsigned i = 0, from = 0; i < o->loops; i++) {
        unsigned to = (unsigned)((uint64_t)o->clients * (i + 1) / o->loops);
        struct loop *l = &loops[i];
        l->options = o;
        l->connections = all + from;
        l->count = to - from;
        l->epoll = epoll_create1(EPOLL_CLOEXEC);
        l->callbacks = told;
        l->start = &start;
        from = to;
        if (l->epoll < 0 || pthread_create(&l->thread, NULL, run_loop, l) != 0) {
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
    nghttp2_session_callbacks_del(told);
    free(loops);
    pthread_barrier_destroy(&start);
    return true;
}

// SPDX-License-Identifier: Apache-2.0
// What pushing is measured beside: the same bytes to the same readers, from a thread that does
// nothing but send what it has ready, from memory or, with follow=1, by sendfile; with tls=1 as a
// server of TLS that does nothing else. With batches=N until every client has N records.
#include "push.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 256,
    EVENT_RECORDS = 250,
    BACKLOG = 4096,
    PORT_BYTES = 8,
    CERTIFICATE_SECONDS = 86400
};
// What a record of an event has beside the members of one that is put.
#define MEMBERS                                                                        \
    "\"SequenceNumber\":\"49651234567890123456789012345678901234567890123456789012\"," \
    "\"ApproximateArrivalTimestamp\":1700000000.123,"

struct outgoing {
    int fd;
    SSL *tls;  // or NULL
    size_t at; // in the event
};

struct sender {
    int listener, epoll, file;
    bool by_sendfile;
    SSL_CTX *tls; // or NULL
    const char *event;
    size_t event_bytes;
    struct outgoing *all;
    unsigned count, room;
    const atomic_bool *stop;
    pthread_t thread;
};

// ---- TLS

static bool sign(X509 *x, EVP_PKEY *key)
{
    X509_NAME *name = X509_get_subject_name(x);
    return ASN1_INTEGER_set(X509_get_serialNumber(x), 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(x), 0) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(x), CERTIFICATE_SECONDS) != NULL &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost",
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(x, name) == 1 && X509_set_pubkey(x, key) == 1 &&
           X509_sign(x, key, EVP_sha256()) > 0;
}

// With a certificate that nobody checks; NULL: it could not be made.
static SSL_CTX *tls_open(void)
{
    SSL_CTX *ret = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    bool good = ret != NULL && key != NULL && x != NULL && sign(x, key) &&
                SSL_CTX_use_certificate(ret, x) == 1 && SSL_CTX_use_PrivateKey(ret, key) == 1;
    X509_free(x);
    EVP_PKEY_free(key);
    if (good) {
        SSL_CTX_set_mode(ret, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        return ret;
    }
    SSL_CTX_free(ret);
    return NULL;
}

// The reader shakes hands at once: to wait for it is quick.
static SSL *tls_accept(const struct sender *s, int fd)
{
    SSL *tls = SSL_new(s->tls);
    if (tls != NULL && SSL_set_fd(tls, fd) == 1 && SSL_accept(tls) == 1)
        return tls;
    SSL_free(tls);
    return NULL;
}

// ---- Sending

static void accept_one(struct sender *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || s->count == s->room)
        return;
    s->all[s->count] = (struct outgoing){ .fd = fd };
    if (s->tls != NULL && (s->all[s->count].tls = tls_accept(s, fd)) == NULL)
        return;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    struct epoll_event event = { .events = EPOLLOUT, .data.ptr = &s->all[s->count] };
    s->count += epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

// Returns how many bytes went, or -1 with errno.
static ssize_t send_tls(const struct sender *s, struct outgoing *o, size_t left)
{
    int n = SSL_write(o->tls, s->event + o->at, (int)left);
    if (n <= 0)
        errno = SSL_get_error(o->tls, n) == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    return n > 0 ? n : -1;
}

static ssize_t send_plain(const struct sender *s, const struct outgoing *o, size_t left)
{
    off_t at = (off_t)o->at;
    return s->by_sendfile ? sendfile(o->fd, s->file, &at, left)
                          : send(o->fd, s->event + o->at, left, MSG_NOSIGNAL);
}

static void send_some(const struct sender *s, struct outgoing *o)
{
    size_t left = s->event_bytes - o->at;
    ssize_t n = o->tls != NULL ? send_tls(s, o, left) : send_plain(s, o, left);
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

// As long as an event with the records of `put`.
static void make_event(struct call_body *put)
{
    static const char data[] = "\"Data\":";
    char *event = must_alloc(put->n + EVENT_RECORDS * sizeof MEMBERS), *to = event;
    const char *from = put->p, *at;
    for (; (at = strstr(from, data)) != NULL; from = at + sizeof data - 1) {
        to = mempcpy(to, from, (size_t)(at - from));
        to = mempcpy(to, MEMBERS, sizeof MEMBERS - 1);
        to = mempcpy(to, data, sizeof data - 1);
    }
    to = mempcpy(to, from, put->n - (size_t)(from - put->p));
    free(put->p);
    put->p = event;
    put->n = (size_t)(to - event);
}

static bool sender_open(struct sender *s, const struct options *o, const atomic_bool *stop,
                        char port[PORT_BYTES])
{
    struct options event = *o;
    struct call_body body;
    uint64_t seed = seed_of(0);
    event.records = EVENT_RECORDS;
    call_build(&body, &event, "raw", &seed);
    make_event(&body);
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t n = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *s = (struct sender){ .by_sendfile = o->follow,
                          .event = body.p,
                          .event_bytes = body.n,
                          .room = o->clients * o->shards,
                          .tls = o->tls ? tls_open() : NULL,
                          .stop = stop };
    s->all = must_alloc(s->room * sizeof *s->all);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->file = memfd_create("event", MFD_CLOEXEC);
    struct epoll_event watch = { .events = EPOLLIN, .data.ptr = NULL };
    if ((o->tls && s->tls == NULL) || s->file < 0 ||
        write(s->file, body.p, body.n) != (ssize_t)body.n ||
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
        good = caller_connect(&all[i].caller, o->tls) &&
               push_add(&readers[i / o->shards % o->loops], &all[i]);
    }
    push_wait(o, clients);
    *ret_seconds = (double)(now_us() - begin) / 1e6;
    atomic_store(&stop, true);
    pthread_join(sender.thread, NULL);
    push_stop(readers, o->loops);
    for (unsigned i = 0; i < o->clients * o->shards; i++)
        if (all[i].client != NULL)
            caller_close(&all[i].caller);
    for (unsigned i = 0; i < sender.count; i++) {
        SSL_free(sender.all[i].tls);
        close(sender.all[i].fd);
    }
    SSL_CTX_free(sender.tls);
    free(all);
    free(readers);
    return good;
}

const struct peer push_raw_peer = { "push-raw", true, NULL, NULL, NULL };

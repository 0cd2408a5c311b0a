// SPDX-License-Identifier: Apache-2.0
#include "http/client.h"
#include "http/h1_parse.h"
#include "os/address.h"
#include "os/io.h"
#include "os/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    REPLY_BYTES_MAX = 64 << 20,
    REPLY_HEADER_BYTES_MAX = 256 << 10,
    REPLY_HEADERS_MAX = 256,
    READ_BYTES = 65536,
    TIMEOUT_MS_MAX = 3600000,
    CHUNK_FRAME_BYTES = 64 << 10, // what may stand before a chunk: H1 limits it further
    OVER_MS = 100,                // how often is_over is asked
};

struct http_client {
    struct io *io;
    struct arena *names; // what the next three point into
    Str host;            // without brackets
    Str port;
    Str host_header;
    bool secure;
    struct tls_context *tls;
    int connect_ms, read_ms;
    int timeout_ms;           // the one of both that counts now
    int64_t total_ms, end_ms; // of a whole call; 0: none
    size_t reply_max;
    bool public_only, reached;
    bool (*is_over)(void *of);
    void *of;
    int fd; // -1: not connected
    SSL *ssl;
    struct buf in; // read, not yet taken
    bool is_head;  // of a call in pieces
    H1Head head;
    uint64_t left; // of its reply's body
};

// ---- The address.

static Err parse_url(struct http_client *c, Str url)
{
    Str rest;
    if (str_starts(url, S("http://")))
        rest = str_skip(url, 7);
    else if (str_starts(url, S("https://")))
        rest = str_skip(url, 8);
    else
        return fail(ERR_INVALID, "a server's URL starts with http:// or https://");
    c->secure = url.p[4] == 's';
    size_t slash = str_find(rest, '/');
    rest = str_head(rest, slash);
    c->host_header = str_dup(c->names, rest);
    Str host = rest, port = { 0 };
    if (str_starts(rest, S("["))) {
        size_t end = str_find(rest, ']');
        if (end == rest.n)
            return fail(ERR_INVALID, "the IPv6 address in the URL has no closing bracket");
        host = str_skip(str_head(rest, end), 1);
        rest = str_skip(rest, end + 1);
        if (rest.n > 0 && rest.p[0] != ':')
            return fail(ERR_INVALID, "after the IPv6 address in a URL comes a port");
        port = rest.n > 0 ? str_skip(rest, 1) : port;
    } else {
        str_cut(rest, ':', &host, &port);
    }
    uint64_t number = c->secure ? 443 : 80;
    if (host.n == 0 || (port.n > 0 && (str_u64(port, &number).kind != ERR_NONE || number > 65535)))
        return fail(ERR_INVALID, "a server's URL is http://host:port");
    c->host = str_dup(c->names, host);
    c->port = str_fmt(c->names, "%llu", (unsigned long long)number);
    return OK;
}

static int timeout_ms(int64_t ns)
{
    return (int)MAX(MIN(ns / 1000000, (int64_t)TIMEOUT_MS_MAX), (int64_t)1);
}

Err http_client_open(const HttpClientConfig *config, struct http_client **ret)
{
    AUTO(http_client) c = xalloc(sizeof *c);
    c->io = config->io != NULL ? config->io : io_real();
    c->fd = -1;
    c->names = arena_open();
    c->reply_max =
        config->reply_max > 0 ? MIN(config->reply_max, (size_t)REPLY_BYTES_MAX) : REPLY_BYTES_MAX;
    c->total_ms = MIN(config->total_ns / 1000000, (int64_t)TIMEOUT_MS_MAX);
    c->public_only = config->public_only;
    c->is_over = config->is_over;
    c->of = config->of;
    buf_init(&c->in, c->reply_max + REPLY_HEADER_BYTES_MAX);
    c->read_ms = timeout_ms(config->timeout_ns);
    c->connect_ms = config->connect_ns > 0 ? timeout_ms(config->connect_ns) : c->read_ms;
    TRY(parse_url(c, config->url));
    if (c->secure)
        TRY(tls_client_context(config->verify, config->ca_file, &c->tls));
    *ret = c;
    c = NULL;
    return OK;
}

static void disconnect(struct http_client *c)
{
    SSL_free(c->ssl);
    c->ssl = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    buf_clear(&c->in);
}

void http_client_close(struct http_client *c)
{
    if (c == NULL)
        return;
    disconnect(c);
    buf_done(&c->in);
    tls_context_close(c->tls);
    arena_close(c->names);
    free(c);
}

void http_client_ask(struct http_client *c, bool (*is_over)(void *of), void *of)
{
    c->is_over = is_over;
    c->of = of;
}

bool http_client_reached(const struct http_client *c)
{
    return c->reached;
}

Str http_client_host(const struct http_client *c)
{
    return c->host_header;
}

// ---- Bytes. The socket never blocks: waiting is poll's, so that it can end.

static int64_t mono_ms(const struct http_client *c)
{
    return c->io->mono_ns(c->io) / 1000000;
}

// A server that always has a byte more, or room for one, does not make a call endless.
static Err in_time(const struct http_client *c)
{
    if (c->is_over != NULL && c->is_over(c->of))
        return fail(ERR_CLOSED, "the call is given up");
    return c->end_ms > 0 && mono_ms(c) >= c->end_ms
               ? fail(ERR_TIMEOUT, "the server does not answer in time")
               : OK;
}

static Err wait_for(const struct http_client *c, short events)
{
    TRY(in_time(c)); // also when there is always something: bytes of a record of TLS
    int64_t until_ms = mono_ms(c) + c->timeout_ms;
    if (c->end_ms > 0)
        until_ms = MIN(until_ms, c->end_ms);
    for (;;) {
        int64_t left_ms = MAX(until_ms - mono_ms(c), (int64_t)0);
        int64_t turn_ms = c->is_over != NULL ? MIN(left_ms, (int64_t)OVER_MS) : left_ms;
        struct pollfd p = { .fd = c->fd, .events = events };
        int n = poll(&p, 1, (int)turn_ms);
        if (n > 0)
            return OK;
        if (n < 0 && errno != EINTR)
            return fail_os(errno, "waiting for the server failed");
        if (c->is_over != NULL && c->is_over(c->of))
            return fail(ERR_CLOSED, "the call is given up");
        if (n == 0 && turn_ms == left_ms)
            return fail(ERR_TIMEOUT, "the server does not answer in time");
    }
}

static Err wait_for_tls(const struct http_client *c, int r)
{
    switch (SSL_get_error(c->ssl, r)) {
    case SSL_ERROR_WANT_READ:
        return wait_for(c, POLLIN);
    case SSL_ERROR_WANT_WRITE:
        return wait_for(c, POLLOUT);
    default:
        return fail(ERR_CLOSED, "the TLS connection to the server is broken");
    }
}

// Some bytes. *ret_n == 0: the server has closed.
static Err receive(struct http_client *c, char *p, size_t room, size_t *ret_n)
{
    TRY(in_time(c));
    for (;;) {
        if (c->ssl != NULL) {
            ERR_clear_error();
            int r = SSL_read_ex(c->ssl, p, room, ret_n);
            if (r == 1)
                return OK;
            *ret_n = 0;
            if (SSL_get_error(c->ssl, r) == SSL_ERROR_ZERO_RETURN)
                return OK;
            TRY(wait_for_tls(c, r));
            continue;
        }
        Err e = c->io->receive(c->io, c->fd, p, room, false, ret_n);
        if (e.kind == ERR_NONE)
            return OK;
        if (e.kind != ERR_BUSY)
            return fail(ERR_CLOSED, "the connection to the server is broken");
        TRY(wait_for(c, POLLIN));
    }
}

static Err send_all(struct http_client *c, Str s)
{
    while (s.n > 0) {
        size_t n = 0;
        TRY(in_time(c));
        if (c->ssl != NULL) {
            ERR_clear_error();
            int r = SSL_write_ex(c->ssl, s.p, s.n, &n);
            if (r == 1)
                s = str_skip(s, n);
            else
                TRY(wait_for_tls(c, r));
            continue;
        }
        IoPart part = { .p = (void *)(uintptr_t)s.p, .n = s.n };
        Err e = c->io->send(c->io, c->fd, &part, 1, &n);
        if (e.kind == ERR_NONE)
            s = str_skip(s, n);
        else if (e.kind == ERR_BUSY)
            TRY(wait_for(c, POLLOUT));
        else
            return fail(ERR_CLOSED, "the server has closed the connection");
    }
    return OK;
}

// ---- Connecting.

static Err connect_to(struct http_client *c, const struct addrinfo *to)
{
    if (c->public_only && address_is_private(to->ai_addr))
        return fail(ERR_DENIED, "the server's address is a private one");
    c->fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return fail_os(errno, "no socket for a connection");
    int error = 0, one = 1;
    socklen_t n = sizeof error;
    Err e = c->io->connect(c->io, c->fd, to->ai_addr, to->ai_addrlen);
    if (e.kind != ERR_NONE) {
        if (e.kind != ERR_BUSY)
            return fail(ERR_NOT_FOUND, "nobody listens at the server's address");
        TRY(wait_for(c, POLLOUT));
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0)
            return fail(ERR_NOT_FOUND, "nobody listens at the server's address");
    }
    if (setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        return fail_os(errno, "a connection cannot be set up");
    c->reached = true;
    return OK;
}

// OpenSSL counts a connection that ends in the middle among the errors of the protocol.
static bool gone(void)
{
    return ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
}

static Err start_tls(struct http_client *c, struct arena *tmp)
{
    char *host = str_c(tmp, c->host);
    unsigned char address[sizeof(struct in6_addr)];
    bool is_ip = inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
    c->ssl = SSL_new(tls_context_ssl(c->tls));
    if (c->ssl == NULL)
        return fail(ERR_IO, "OpenSSL cannot make a connection");
    TRY(tls_attach(c->ssl, c->io, c->fd));
    bool named =
        is_ip ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(c->ssl), host) == 1
              : SSL_set1_host(c->ssl, host) == 1 && SSL_set_tlsext_host_name(c->ssl, host) == 1;
    if (!named)
        return fail(ERR_INVALID, "the server's name cannot be in a certificate");
    for (;;) {
        ERR_clear_error();
        int r = SSL_connect(c->ssl);
        if (r == 1)
            return OK;
        if (SSL_get_error(c->ssl, r) == SSL_ERROR_SSL && SSL_get_verify_result(c->ssl) != X509_V_OK)
            return fail(ERR_DENIED, "the server's certificate is not trusted");
        if (SSL_get_error(c->ssl, r) == SSL_ERROR_SSL && !gone())
            return fail(ERR_DENIED, "the server and we do not agree on TLS");
        TRY(wait_for_tls(c, r));
    }
}

static Err connect_any(struct http_client *c)
{
    AUTO(arena) tmp = arena_open();
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *all = NULL;
    if (getaddrinfo(str_c(tmp, c->host), str_c(tmp, c->port), &hints, &all) != 0)
        return fail(ERR_NOT_FOUND, "the server's name is not known");
    Err e = fail(ERR_NOT_FOUND, "the server's name has no address");
    c->timeout_ms = c->connect_ms;
    for (const struct addrinfo *to = all; to != NULL; to = to->ai_next) {
        disconnect(c);
        e = connect_to(c, to);
        if (e.kind == ERR_NONE)
            break;
    }
    freeaddrinfo(all);
    if (e.kind == ERR_NONE && c->secure)
        e = start_tls(c, tmp);
    if (e.kind != ERR_NONE)
        disconnect(c);
    return e;
}

// Whether a kept connection can be used: nothing may have come, not even its end.
static bool still_open(const struct http_client *c)
{
    struct pollfd p = { .fd = c->fd, .events = POLLIN };
    return c->fd >= 0 && poll(&p, 1, 0) == 0;
}

// ---- Replies.

static Err read_more(struct http_client *c)
{
    size_t n = 0;
    if (!buf_reserve(&c->in, READ_BYTES))
        return fail(ERR_LIMIT, "the server's reply is too long");
    TRY(receive(c, c->in.p + c->in.n, READ_BYTES, &n));
    c->in.n += n;
    return n > 0 ? OK : fail(ERR_CLOSED, "the server closed the connection within its reply");
}

static Err read_head(struct http_client *c, struct arena *a, H1Head *ret)
{
    const H1Limits limits = { .header_bytes_max = REPLY_HEADER_BYTES_MAX,
                              .header_count_max = REPLY_HEADERS_MAX };
    HttpHeader *headers = arena_new(a, HttpHeader, REPLY_HEADERS_MAX);
    for (;;) {
        H1Result r = h1_parse_reply_head(buf_str(&c->in), &limits, headers, ret);
        if (r == H1_BAD)
            return fail(ERR_INVALID, "the server's reply is not HTTP");
        if (r == H1_MORE) {
            TRY(read_more(c));
            continue;
        }
        if (ret->status >= 200)
            break;
        buf_drop(&c->in, ret->bytes); // 100 Continue and its like
    }
    for (size_t i = 0; i < ret->header_count; i++)
        headers[i] = (HttpHeader){ str_lower(a, headers[i].name), str_dup(a, headers[i].value) };
    buf_drop(&c->in, ret->bytes);
    return OK;
}

static Err read_counted(struct http_client *c, size_t n)
{
    if (n > c->reply_max + CHUNK_FRAME_BYTES)
        return fail(ERR_LIMIT, "the server's reply is too long");
    while (c->in.n < n)
        TRY(read_more(c));
    return OK;
}

static Err bad_chunk(void)
{
    return fail(ERR_INVALID, "the server's reply is not properly chunked");
}

static Err read_trailers(struct http_client *c, size_t at)
{
    for (bool last = false; !last;) {
        size_t used = 0;
        H1Result r = h1_parse_trailer(str_skip(buf_str(&c->in), at), &used, &last);
        if (r == H1_BAD)
            return bad_chunk();
        if (r == H1_MORE)
            TRY(read_more(c));
        at += used;
    }
    buf_drop(&c->in, at);
    return OK;
}

static Err read_chunks(struct http_client *c, struct buf *body)
{
    size_t at = 0; // taken of c->in
    for (;;) {
        size_t used = 0, extension = 0;
        uint64_t n = 0;
        H1Result r = h1_parse_chunk(str_skip(buf_str(&c->in), at), &used, &n, &extension);
        if (r == H1_BAD)
            return bad_chunk();
        if (r == H1_MORE) {
            TRY(read_more(c));
            continue;
        }
        at += used;
        if (n == 0)
            return read_trailers(c, at);
        if (body->n > c->reply_max || n > c->reply_max - body->n)
            return fail(ERR_LIMIT, "the server's reply is too long");
        TRY(read_counted(c, at + (size_t)n + 2));
        Str chunk = str_head(str_skip(buf_str(&c->in), at), (size_t)n);
        buf_add(body, chunk);
        if (!str_starts(str_skip(buf_str(&c->in), at + chunk.n), S("\r\n")))
            return bad_chunk();
        buf_drop(&c->in, at + chunk.n + 2);
        at = 0;
    }
}

static Err read_body(struct http_client *c, struct arena *a, H1Head *h, bool none, Str *ret)
{
    *ret = S("");
    if (none || h->status == 204 || h->status == 304)
        return OK;
    if (h->chunked) {
        AUTO_BUF(body);
        TRY(read_chunks(c, &body));
        TRY(buf_err(&body));
        *ret = str_dup(a, buf_str(&body));
        return OK;
    }
    if (h->has_length) {
        size_t n = (size_t)h->length;
        if (h->length > c->reply_max)
            return fail(ERR_LIMIT, "the server's reply is too long");
        TRY(read_counted(c, n));
        *ret = str_dup(a, str_head(buf_str(&c->in), n));
        buf_drop(&c->in, n);
        return OK;
    }
    h->keep_alive = false; // the end of the connection ends the body
    for (;;) {
        Err e = read_more(c);
        if (e.kind == ERR_CLOSED)
            break;
        TRY(e);
    }
    if (c->in.n > c->reply_max)
        return fail(ERR_LIMIT, "the server's reply is too long");
    *ret = str_dup(a, buf_str(&c->in));
    return OK;
}

// ---- The call.

static bool given(const HttpHeader *headers, size_t n, Str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq_nocase(headers[i].name, name))
            return true;
    return false;
}

static Err write_head(const struct http_client *c, struct buf *b, Str method, Str target,
                      const HttpHeader *headers, size_t n, uint64_t body_n)
{
    buf_addf(b, "%.*s %.*s HTTP/1.1\r\n", FMT(method), FMT(target));
    if (!given(headers, n, S("host")))
        buf_addf(b, "Host: %.*s\r\n", FMT(c->host_header));
    for (size_t i = 0; i < n; i++) {
        Str value = headers[i].value;
        if (str_find(value, '\n') != value.n || str_find(value, '\r') != value.n)
            return fail(ERR_INVALID, "a header's value has a line end");
        buf_addf(b, "%.*s: %.*s\r\n", FMT(headers[i].name), FMT(value));
    }
    bool bodyless = str_eq(method, S("GET")) || str_eq(method, S("HEAD"));
    if ((body_n > 0 || !bodyless) && !given(headers, n, S("content-length")))
        buf_addf(b, "Content-Length: %llu\r\n", (unsigned long long)body_n);
    buf_add(b, S("\r\n"));
    return buf_err(b);
}

// Small bodies travel with their head in one piece.
static Err send_request(struct http_client *c, struct buf *head, Str body)
{
    enum { TOGETHER_BYTES_MAX = 65536 };
    if (body.n <= TOGETHER_BYTES_MAX) {
        buf_add(head, body);
        body = S("");
    }
    TRY(send_all(c, buf_str(head)));
    return send_all(c, body);
}

static Err read_reply(struct http_client *c, struct arena *a, bool is_head, HttpReply *ret)
{
    H1Head h;
    Str body;
    TRY(read_head(c, a, &h));
    TRY(read_body(c, a, &h, is_head, &body));
    *ret = (HttpReply){
        .status = h.status, .headers = h.headers, .header_count = h.header_count, .body = body
    };
    if (!h.keep_alive)
        disconnect(c);
    return OK;
}

static Err get_ready(struct http_client *c)
{
    c->end_ms = c->total_ms > 0 ? mono_ms(c) + c->total_ms : 0;
    c->reached = still_open(c);
    if (!c->reached) {
        disconnect(c);
        TRY(connect_any(c));
    }
    c->timeout_ms = c->read_ms;
    return OK;
}

Err http_client_call(struct http_client *c, struct arena *a, Str method, Str target,
                     const HttpHeader *headers, size_t n, Str body, HttpReply *ret)
{
    AUTO_BUF(head);
    TRY(write_head(c, &head, method, target, headers, n, body.n));
    TRY(get_ready(c));
    // A server that closes at this moment may have taken the whole request: it is not sent again.
    Err e = send_request(c, &head, body);
    // It may have refused the request before it had read it all, and said so.
    if (e.kind == ERR_NONE || e.kind == ERR_CLOSED) {
        Err read = c->fd >= 0 ? read_reply(c, a, str_eq(method, S("HEAD")), ret) : e;
        e = e.kind == ERR_NONE || read.kind == ERR_NONE ? read : e;
    }
    if (e.kind != ERR_NONE)
        disconnect(c);
    return e;
}

// ---- In pieces.

Err http_client_begin(struct http_client *c, Str method, Str target, const HttpHeader *headers,
                      size_t n, uint64_t body_bytes)
{
    AUTO_BUF(head);
    TRY(write_head(c, &head, method, target, headers, n, body_bytes));
    TRY(get_ready(c));
    c->is_head = str_eq(method, S("HEAD"));
    return send_all(c, buf_str(&head));
}

Err http_client_send(struct http_client *c, Str piece)
{
    return send_all(c, piece);
}

static void end_pieces(struct http_client *c)
{
    if (!c->head.keep_alive)
        disconnect(c);
}

Err http_client_head(struct http_client *c, struct arena *a, HttpReply *ret, uint64_t *ret_bytes)
{
    if (c->fd < 0)
        return fail(ERR_CLOSED, "the connection to the server is broken");
    TRY(read_head(c, a, &c->head));
    const H1Head *h = &c->head;
    bool none = c->is_head || h->status == 204 || h->status == 304;
    c->left = none ? 0 : h->has_length && !h->chunked ? h->length : UINT64_MAX;
    *ret = (HttpReply){
        .status = h->status, .headers = h->headers, .header_count = h->header_count, .body = S("")
    };
    *ret_bytes = c->left;
    if (c->left == 0)
        end_pieces(c);
    return OK;
}

Err http_client_rest(struct http_client *c, struct arena *a, Str *ret)
{
    *ret = S("");
    if (c->left == 0)
        return OK;
    c->head.length = c->left;
    TRY(read_body(c, a, &c->head, false, ret));
    c->left = 0;
    end_pieces(c);
    return OK;
}

Err http_client_read(struct http_client *c, char *p, size_t n, size_t *ret_n)
{
    *ret_n = 0;
    CHECK(c->left != UINT64_MAX);
    if (c->left == 0)
        return OK;
    n = (size_t)MIN((uint64_t)n, c->left);
    if (c->in.n > 0) { // what came together with the head
        n = MIN(n, c->in.n);
        memcpy(p, c->in.p, n);
        buf_drop(&c->in, n);
    } else {
        TRY(receive(c, p, n, &n));
        if (n == 0)
            return fail(ERR_CLOSED, "the server closed the connection within its reply");
    }
    *ret_n = n;
    c->left -= n;
    if (c->left == 0)
        end_pieces(c);
    return OK;
}

void http_client_drop(struct http_client *c)
{
    disconnect(c);
    c->left = 0;
}

bool http_client_kept(const struct http_client *c)
{
    return c->fd >= 0 && c->left == 0;
}

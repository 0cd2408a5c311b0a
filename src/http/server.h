// SPDX-License-Identifier: Apache-2.0
// The HTTP server: HTTP/1.1 and HTTP/2, plain and TLS, all on one port, told apart by the first
// bytes. A request is handed up whole, as an exchange; its reply may come from any thread, later.
//
// Reactors: a connection lives on one loop. The handler runs on that loop's thread and must not
// block. An exchange stays valid until the reply is ended, even when the client has gone; what is
// then written goes nowhere.
#pragma once
#include "base/buf.h"
#include "os/io.h"
#include "os/loop.h"

struct http_server;
struct tls_context; // os/tls.h

typedef struct HttpHeader {
    Str name; // lower case in requests
    Str value;
} HttpHeader;

// Where each limit comes from is said in http/README.md.
typedef struct HttpLimits {
    size_t header_bytes_max; // request line and headers together, 64 KiB
    size_t header_count_max; // 100
    size_t body_bytes_max;   // unless the handler says otherwise, 16 MiB
    size_t connections_max;  // over all loops, 10,000
    size_t undecided_max;    // that have not shown their protocol: above, the oldest goes, 1,000
    size_t streams_max;      // concurrent HTTP/2 streams per connection, 256
    size_t open_streams_max; // HTTP/2 streams over all connections, 16,384
    size_t
        hash_whole_bytes_max; // bodies that may wait, complete, to be hashed beside another, 16 MiB
    size_t body_pool_bytes_max;  // bodies in memory over all connections; reading stops above it
    size_t reply_pool_bytes_max; // replies in memory over all connections: http_replies_full
    int64_t first_bytes_ns;      // to show the protocol and finish a TLS handshake, 30 s
    int64_t header_ns;           // from the first byte of a head or HTTP/2 frame to its end, 20 s
    int64_t body_ns;             // between two reads of a body, 30 s
    size_t body_bytes_per_s_min; // averaged; slower clients get 408, 1 KiB/s
    int64_t body_rate_after_ns;  // how long a body may take before its rate counts, 10 s
    int64_t idle_ns;             // keep-alive without a request, 120 s
    int64_t write_ns;            // without progress while a reply is pending, 60 s
    int64_t drain_ns;            // graceful shutdown, 10 s
} HttpLimits;
HttpLimits http_limits_default(void);

// One request and its reply. Everything it points to lives until the reply is ended.
struct http_exchange {
    Str method; // "POST"
    Str path;   // still percent-encoded, without the query; "/" for an empty one
    Str query;  // after '?', still percent-encoded; absent if there was none
    HttpHeader *headers;
    size_t header_count;
    Str body;                   // empty if it is streamed
    bool streams;               // the body comes by http_body_pump
    const HttpHeader *trailers; // of a streamed body that is complete; names in lower case
    size_t trailer_count;
    const unsigned char *body_sha256; // its digest, if the handler wanted it made; else NULL
    bool tls;
    unsigned http_version; // 11 or 20
    Str peer;              // "127.0.0.1:50123"
    int64_t received_ns;   // monotonic, when its last byte arrived
    struct arena *arena;   // the request's; only the thread that works on the exchange uses it
    struct loop *loop;     // where it lives
    void *user;            // the handler's own
};

struct http_handler {
    void *self;
    // The headers are complete: how large may the body be? NULL: limits.body_bytes_max.
    size_t (*body_max)(void *self, const struct http_exchange *x);
    // The headers are complete, a large body follows: is its SHA-256 wanted? It is then made as the
    // body arrives, beside those of others, which costs half. NULL: no.
    bool (*wants_sha256)(void *self, const struct http_exchange *x);
    // The headers are complete, a body follows: does the handler take it as it comes? `request` is
    // then called at once (http_body_pump). NULL: never.
    bool (*wants_stream)(void *self, const struct http_exchange *x);
    // The request is complete. It must be replied to exactly once, now or later.
    void (*request)(void *self, struct http_exchange *x);
    // A request that broke a limit or the protocol of HTTP: the reply to send. May be NULL (then a
    // plain-text one is made). `status` is 400, 408, 413, 414, 431 or 503. What was not understood
    // is empty: method, path, headers and always the body. Replied to like a request.
    void (*broken)(void *self, struct http_exchange *x, unsigned status);
};

// Who takes a streamed body. Both are called on threads of a pool, one call at a time.
struct http_sink {
    // The next bytes, HTTP_PIECE_BYTES_MAX at most. After an error there are no more.
    Err (*take)(struct http_sink *s, Str piece);
    // Once, the last call. OK: the body was complete. Else what `take` has returned, or ERR_CLOSED
    // (the client has gone), ERR_TIMEOUT (it is too slow), ERR_INVALID (it breaks the protocol),
    // ERR_LIMIT (more than body_max), ERR_MEMORY. The exchange is replied to from here on.
    void (*end)(struct http_sink *s, Err e);
};
enum { HTTP_PIECE_BYTES_MAX = 262144 };

// Begins to take a streamed body: two pieces are in memory at most, the client waits for the sink.
// A client that expects 100 (Continue) is told to send now. Once, from any thread; not at all if
// the exchange is replied to without its body, which is then thrown away.
void http_body_pump(struct http_exchange *x, struct pool *pool, struct http_sink *sink);

// The value of a header, by its lower-case name; absent if there is none. Of several, the first.
Str http_header(const struct http_exchange *x, Str name);

// A whole reply. Headers and body are copied before it returns. Content-Length, Date and
// Connection are the server's. From any thread; ends the exchange.
void http_reply(struct http_exchange *x, unsigned status, const HttpHeader *headers, size_t n,
                Str body);
// The same; the body's memory is taken over (and freed) by the server, `body` is left empty.
void http_reply_take(struct http_exchange *x, unsigned status, const HttpHeader *headers, size_t n,
                     struct buf *take_body);

// A whole reply whose body is not copied: it stays as it is until `release` is called, once, on any
// thread.
void http_reply_share(struct http_exchange *x, unsigned status, const HttpHeader *headers, size_t n,
                      Str body, void (*release)(void *owner), void *owner);

// What a reply's body is read from, on threads of a pool, one call at a time.
struct http_source {
    // Up to n bytes, at least one. An error breaks the reply off: the client sees that it is cut.
    Err (*read)(struct http_source *s, char *p, size_t n, size_t *ret_n);
    // Where its next bytes are, at most n, if they may be sent from a file as they are: those are
    // taken then. None: *ret_span has n == 0, and `read` is asked. The descriptor is good until the
    // next call. NULL: never. Asked for plain HTTP/1.1 only.
    void (*place)(struct http_source *s, size_t n, IoSpan *ret_span);
    void (*close)(struct http_source *s); // once, the last call; also when the client has gone
};

// A reply of `length` bytes that are read as the client takes them: two pieces of
// HTTP_PIECE_BYTES_MAX are in memory at most; or that go from its files to the client. From any
// thread; ends the exchange. The pool must last until the server is drained.
void http_reply_source(struct http_exchange *x, struct pool *pool, unsigned status,
                       const HttpHeader *headers, size_t n, uint64_t length,
                       struct http_source *take_source);

// A streamed reply: chunked on HTTP/1.1, DATA frames on HTTP/2. Pieces are copied. From one thread
// at a time. http_stream_gone says that the client has left; http_stream_pending, how many bytes
// are not yet with the kernel, so that a producer can hold back.
void http_stream_start(struct http_exchange *x, unsigned status, const HttpHeader *headers,
                       size_t n);
void http_stream_write(struct http_exchange *x, Str piece);
void http_stream_end(struct http_exchange *x); // ends the exchange
bool http_stream_gone(const struct http_exchange *x);
// Whether a handler that waits for something to happen should answer now: the client has gone or
// has ended its side, or the server is about to end. From any thread.
bool http_wait_is_over(const struct http_exchange *x);
size_t http_stream_pending(const struct http_exchange *x);

// A piece that is not copied, for bytes that many replies share: it stays as it is until `release`
// is called, once, on any thread.
void http_stream_share(struct http_exchange *x, Str piece, void (*release)(void *owner),
                       void *owner);

// For a producer that goes on as its client does. Before http_stream_start. From the start until
// http_stream_end `tell` is called on the exchange's loop whenever nothing is pending any more,
// when the client has gone, and when the server shuts down; it may only take note, as by posting a
// task. Such a reply may stay unread for as long as its producer likes: the deadline of slow
// readers does not count, and its producer ends it soon after the client has gone or the server
// shuts down.
void http_stream_watch(struct http_exchange *x, void (*tell)(void *self), void *self);
bool http_stream_closing(const struct http_exchange *x); // the server shuts down

// Whether the replies that clients have not taken yet hold limits.reply_pool_bytes_max. Handlers
// ask before they make a large one, and refuse instead. From any thread.
bool http_replies_full(const struct http_exchange *x);

typedef struct HttpConfig {
    HttpLimits limits;
    struct io *io;           // moves the bytes, and tells the Date; NULL: io_real()
    struct tls_context *tls; // NULL: a TLS client is refused
    struct loop **loops;     // a new connection goes to the least busy one
    size_t loop_count;
    struct http_handler handler;
} HttpConfig;

Err http_server_open(const HttpConfig *config, struct http_server **ret);
// "127.0.0.1:4566", "[::1]:0", ":4566" (all addresses). Call again for more. The port that was
// bound is returned. ERR_BUSY if the address is in use.
Err http_server_listen(struct http_server *s, Str address, uint16_t *ret_port);
// Stops accepting, lets running requests end within limits.drain_ns, then closes every connection,
// and waits until watched streams have been ended. Blocks; the loops must be running. Not from a
// loop's thread. Called again it waits for streams that were begun meanwhile.
void http_server_drain(struct http_server *s);
// After drain and after the loops have stopped; no handler may reply any more. Exchanges that were
// never replied to end here.
void http_server_close(struct http_server *s); // NULL is fine
AUTO_CLOSE(http_server)

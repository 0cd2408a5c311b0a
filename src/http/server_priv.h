// SPDX-License-Identifier: Apache-2.0
// What the files of this room share. A connection, its buffers and the exchanges it carries belong
// to one loop's thread. Other threads touch an exchange only through http_reply and http_stream_*,
// which put an operation into the queue of its loop (reply.c); the loop applies them in order.
//
// A turn is: read the connections that are ready or take the queue, then turn_finish, which applies
// operations and works on connections marked dirty until both are exhausted, and writes each with
// one writev.
#pragma once
#include "base/metric.h"
#include "codec/hash.h"
#include "http/h1_parse.h"
#include "http/server.h"

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    IN_BUFFER_BYTES = 65536,        // one read; also what a client may send ahead
    OUT_HIGH_BYTES = 262144,        // with so much unwritten, no further work is begun
    READS_PER_TURN_MAX = 16,        // connections read before what has come is worked on
    REQUESTS_PER_TURN_MAX = 64,     // of one connection, before others have their turn
    LINGER_BYTES_MAX = 32 << 20,    // read and thrown away so that an early reply is not lost
    KEPT_BUFFERS_MAX = 64,          // of each loop, for the next use
    KEPT_EXCHANGES_MAX = 256,       // of each loop, with the first block of their arenas
    KEPT_BODY_BYTES_MAX = 16 << 20, // of each loop
    BODY_BYTES_FIRST = 4096,        // size classes: 4 KiB, doubling, until memory is large
    BODY_CLASSES = 6,
    BODY_START_BYTES_MAX = 65536, // memory given to a body of which nothing has arrived
    BODY_ROOM_SHARE = 8,          // one gets all that it announced if as many others could, too
    CREDIT_BYTES = 65536,         // of the budget, taken in advance by each loop
    PEER_TEXT_BYTES = 64,
    H2_HEAD_BYTES = 9,                // of a frame (RFC 9113 4.1)
    H2_STREAM_WINDOW_BYTES = 1 << 20, // what a client may send of a body before we have taken it
};
#define LINGER_NS (2 * INT64_C(1000000000))

struct exchange;
struct http_loop;

// Bytes on their way to the kernel.
struct out {
    struct out *next;
    Str rest; // not yet written; of a file: how much
    bool of_file;
    int file; // its descriptor, and where in it the rest is
    uint64_t file_at;
    void (*done)(struct out *o); // it is written or given up; may be NULL
    struct exchange *e;          // for `done`
};

typedef enum OpKind {
    OP_REPLY, // the whole reply; ends the exchange
    OP_START,
    OP_PIECE,
    OP_END,  // ends the exchange
    OP_PUMP, // http_body_pump
    OP_FLOW, // a piece of http_reply_source was read
    OP_HASH, // somebody has hashed some of the body, or all
} OpKind;

// Something a handler did to an exchange.
struct op {
    struct op *next;
    struct exchange *e;
    OpKind kind;
};

struct piece {
    struct op op; // first: an operation of kind OP_PIECE is a piece
    struct out out;
    struct out head_out, body_out; // HTTP/1.1, of a shared piece: what goes before `out`
    struct piece *next;            // HTTP/2: in the exchange's queue
    Str framed;                    // HTTP/1.1: the payload with what chunked coding puts around it
    Str payload;                   // HTTP/2: what is not yet in a frame
    IoSpan span;                   // HTTP/1.1: instead of a payload; n == 0: it is none
    size_t counted;                // bytes of http_stream_pending
    void (*release)(void *owner);  // of a shared piece; `framed` is then what goes before it
    void *owner;
    char data[];
};

struct body_hash {
    struct sha256 state;
    size_t done;   // bytes of the body that it has
    bool as_whole; // not as it arrives, if it may be hashed beside another
    struct op op;
    unsigned char digest[SHA256_BYTES];
};

struct body {
    char *p;
    size_t n, cap;
    struct body_hash *hash; // in the exchange's arena; NULL: none is made, or it is complete
};

struct exchange {
    struct http_exchange x; // first: they are converted into each other
    struct http_loop *on;
    struct conn *c; // NULL: the client has gone
    struct exchange *previous, *next;
    struct body body;
    struct intake *in;           // of a body that is streamed (intake.c); else NULL
    struct outflow *source_flow; // of a reply that is read from a source (outflow.c)
    struct outflow *flow;        // the loop's view of it, from its start until it is read
    size_t body_max;
    unsigned broken; // the status it was refused with, or 0

    // Set when the request is read, then constant.
    bool keep_alive, is_head, old; // old: HTTP/1.0
    bool is_hashed;                // counted as such, until it is freed
    int32_t stream;                // HTTP/2

    // The reply, made on the handler's thread.
    bool replied;  // http_reply or http_stream_start was called
    bool bodyless; // the status allows no body, or the method is HEAD
    bool chunked;
    Str head;       // HTTP/1.1: status line and headers
    nghttp2_nv *nv; // HTTP/2
    size_t nv_count;
    Str content;
    void *content_memory;   // to be freed by buf_free, or NULL: content is in the arena
    size_t content_room;    // of it
    size_t content_counted; // of it in reply_bytes
    size_t content_taken;   // of the budget for it
    struct op reply_op, end_op;
    void (*tell)(void *self); // of a watched stream; NULL: it is none
    void *tell_self;
    _Atomic bool gone;
    _Atomic bool half_closed; // the client sends nothing any more
    _Atomic size_t pending;

    // The loop's view of it.
    bool handed;  // with the handler
    bool watched; // its stream has begun, and `tell` wants to know
    bool ended;   // the reply is complete
    bool request_ended, headers_ended;
    size_t header_bytes, header_room; // HTTP/2; room: of x.headers
    size_t dropped_bytes; // of the body of a request that is refused; all of one that is streamed
    int64_t started_ns, moved_ns; // when it began, when it last made progress
    struct out head_out, end_out;
    struct piece *first, **last; // HTTP/2: pieces not yet framed
};

typedef enum ConnState {
    CONN_FIRST,  // has not shown what it speaks
    CONN_SHAKES, // TLS handshake
    CONN_SECOND, // inside TLS: has not shown what it speaks
    CONN_H1,
    CONN_H2,
    CONN_LINGER, // everything is written and our side closed; waits for the peer's
} ConnState;

typedef enum H1State {
    H1_HEAD,
    H1_LENGTH, // a body of known length
    H1_CHUNK,  // the line before a chunk
    H1_CHUNK_DATA,
    H1_CHUNK_END, // the CR LF after a chunk
    H1_TRAILERS,
    H1_WAITS, // for the reply
} H1State;

struct h1 {
    H1State state;
    struct exchange *e; // the request that is read or answered now
    uint64_t left;      // of the body or chunk
    size_t scanned;     // bytes of the head that were tried in vain
    size_t extension_bytes, trailer_bytes;
    int64_t since_ns; // when the head began to arrive
    int64_t judge_ns; // when the rate of the body is looked at next
};

// Where the bytes that were read of an HTTP/2 client end. nghttp2 does not tell.
typedef struct H2Place {
    uint64_t left; // of the preface or of a frame's payload
    uint8_t head[H2_HEAD_BYTES];
    size_t head_n;     // of a frame's head that is not complete
    bool headers_open; // further frames belong to the headers that were begun
} H2Place;

struct h2 {
    nghttp2_session *session;
    size_t resets; // by the client, of streams with unfinished replies, since resets_ns
    int64_t resets_ns;
    bool ending;        // GOAWAY is sent
    bool handed;        // what was read last completed a request
    H2Place place;      // of what was read last
    bool unread;        // we do not read what comes next
    int64_t since_ns;   // when the frame that is not complete began to arrive
    struct block *tail; // the last of the buffers of frames
};

struct conn {
    struct http_server *server;
    struct http_loop *on;
    struct watch watch;
    struct timer timer;
    struct task arrive;
    int fd;
    ConnState state;
    struct conn *previous, *next, *next_dirty;
    struct conn *undecided_previous, *undecided_next; // while it has not shown what it speaks
    SSL *ssl;

    char *in; // a buffer of the loop's while there is input
    size_t in_at, in_n;
    struct out *out_first, **out_last;
    size_t out_bytes;

    bool dirty;      // on the loop's list
    bool closed;     // to be freed at the end of the turn
    bool peer_ended; // it will send nothing more
    bool ending;     // close when everything is written
    bool paused;     // reading stopped: too many bytes of bodies
    bool exempt;     // the one connection that reads on all the same, so that somebody finishes
    bool again;      // there is more to do without an event
    bool read_again; // there may be more to read without an event: inside the TLS layer
    bool wants_read_to_write; // TLS
    size_t requests_in_turn, lingered_bytes;
    int64_t opened_ns, idle_ns, wrote_ns; // wrote_ns: the last progress

    struct exchange *exchanges; // of this connection
    size_t exchange_count;
    struct h1 h1;
    struct h2 h2;
    char peer[PEER_TEXT_BYTES];
    size_t peer_n;
};

struct http_loop {
    struct http_server *server;
    struct loop *loop;
    struct conn *conns;
    struct conn *undecided_first, *undecided_last; // the oldest first
    struct conn *dirty_first, **dirty_last;
    struct conn *closed;
    bool in_turn;
    struct task turn_task; // turn_finish, at the end of the loop's own turn
    bool turn_posted;
    size_t reads;              // connections read since turn_finish
    _Atomic size_t conn_count; // also those on their way to it

    pthread_mutex_t lock; // of the next three; a leaf
    struct op *op_first, **op_last;
    bool op_posted;
    struct task op_task;

    struct task resume_task, drain_task;
    _Atomic bool resume_posted;
    size_t paused; // connections
    bool draining;

    HttpHeader *headers; // scratch of the parser
    char *free_in;       // buffers, linked through their first bytes
    size_t free_in_count;
    struct exchange *free_exchange;
    size_t free_exchange_count;
    struct exchange *detached; // with a handler, their connection is closed
    char *free_body[BODY_CLASSES];
    size_t free_body_bytes;
    size_t credit;               // bytes of the budget that no body has yet
    size_t hashing;              // bodies that arrive and are hashed
    struct body *waits_for_hash; // the one of them that has bytes to be hashed beside another's
    struct task hash_task;       // body_hash_waited
    bool hash_posted;
    unsigned hash_turns; // that its body on the board has waited for
    struct timer drain_timer;
};

struct listener {
    struct http_server *server;
    struct watch watch;
    struct timer retry;
    struct task start;
    int fd;
    bool watched;
    struct listener *next;
};

struct http_metrics {
    struct metric *conns[3]; // undecided, h1, h2
    struct metric *opened, *requests_h1, *requests_h2, *in_bytes, *out_bytes;
    struct metric *paused, *slow, *refused_connections, *refused_undecided, *refused_protocol,
        *refused_streams, *refused_memory;
    struct metric *hashed_alone, *hashed_paired; // bytes of bodies
};

struct http_server {
    HttpLimits limits;
    struct http_handler handler;
    struct io *io;
    SSL_CTX *tls;
    struct http_loop *loops;
    size_t loop_count;
    size_t next_loop; // where the search for the least busy one begins
    size_t in_buffer_bytes;
    struct http_metrics metrics;
    nghttp2_session_callbacks *h2_callbacks;
    nghttp2_option *h2_options;
    int spare_fd; // given up for a moment when descriptors run out

    _Atomic size_t stream_count;   // exchanges of HTTP/2
    _Atomic size_t watched_count;  // streams with a producer that is told
    _Atomic size_t pumped_count;   // sinks and sources that have not had their last call
    _Atomic size_t hashed_count;   // exchanges whose body is hashed, until they are freed
    _Atomic size_t pending_hashes; // bodies on the board, and taken from it until they are back
    _Atomic size_t conn_count, undecided_count, body_bytes, reply_bytes, paused_count;
    _Atomic bool exempt_taken;
    _Atomic bool draining;
    bool closing; // the loops have stopped

    pthread_mutex_t board_lock; // a leaf
    struct exchange *board;     // complete, its body waits to be hashed beside another

    pthread_mutex_t lock; // of what follows
    pthread_cond_t changed;
    struct listener *listeners;
    size_t drains_left; // loops that have not begun to drain
};

// ---- memory.c

char *in_buffer_take(struct http_loop *hl); // server->in_buffer_bytes; NULL: there is no memory
void in_buffer_give(struct http_loop *hl, char *p);
struct exchange *exchange_open(struct conn *c); // on the connection's list; NULL: no memory
void exchange_free(struct exchange *e);
void exchange_detach(struct exchange *e); // the client has gone, the handler still has it
// Room for `need` bytes in all. False: there is no memory, and the body is as it was.
// Room for `need` bytes; `announced` is how many the client says that there will be, or 0. What a
// client only announces costs nothing: it counts when the body has begun to arrive.
bool body_reserve(struct http_loop *hl, struct body *b, size_t need, size_t announced);
void body_release(struct http_loop *hl, struct body *b);
bool bodies_full(const struct http_server *s);
void tell_of_room(struct http_server *s); // paused connections may go on
void http_loop_init(struct http_loop *hl, struct http_server *s, struct loop *loop);
void http_loop_done(struct http_loop *hl);

// ---- body_hash.c

void body_hash_begin(struct exchange *e, uint64_t announced_bytes); // UINT64_MAX: not announced
void body_hash_arrived(struct exchange *e);                         // bytes of its body
// The body is complete. False: its digest is not; it is handed to the handler by body_hash_apply.
bool body_hash_end(struct exchange *e);
void body_hash_apply(struct exchange *e); // OP_HASH, on the loop; the client may have gone
void body_hash_waited(struct task *t);
void body_hash_drop(struct http_loop *hl, struct body *b);

// ---- intake.c: bodies that are handed on as they come

// Whether this request's body is streamed; its intake is made then. `length`: UINT64_MAX if it is
// not announced. *ret_refused: it is wanted, but there is no memory.
bool intake_open(struct exchange *e, uint64_t length, bool expects, bool *ret_refused);
void intake_free(struct exchange *e);
bool intake_is_pumped(const struct exchange *e);
bool intake_is_complete(const struct exchange *e);
bool intake_is_over(const struct exchange *e); // its sink has or is about to have its last call
// Whether it is the client for which everything waits.
bool intake_waits(const struct exchange *e);
// Where bytes may be put now, at most the first *ret_n; HTTP/1.1. False: nowhere.
bool intake_room(struct exchange *e, char **ret, size_t *ret_n);
void intake_filled(struct exchange *e, size_t n); // so many were put there
bool intake_has_room(const struct exchange *e);
bool intake_add(struct exchange *e, Str bytes); // HTTP/2, bounded by the window; false: dropped
void intake_trailer(struct exchange *e, Str name, Str value);
void intake_end(struct exchange *e);           // the body is complete
void intake_fail(struct exchange *e, Err why); // it will not be
void intake_apply(struct exchange *e);         // OP_PUMP, on the loop; the client may have gone
void pumped_forget(struct http_server *s);     // a sink or source has had its last call

// ---- outflow.c: replies that are read from a source

void outflow_step(struct exchange *e);  // goes on, if it can: on the loop
void outflow_apply(struct exchange *e); // OP_FLOW, likewise

// ---- reply.c

void op_push(struct op *op, struct exchange *e, OpKind kind);
void make_head(struct exchange *e, unsigned status, const HttpHeader *headers, size_t n,
               uint64_t length);

bool ops_apply(struct http_loop *hl); // false: there were none
void op_run(struct task *t);
void reply_plain(struct exchange *e, unsigned status); // the default for broken requests
const char *status_text(unsigned status);
void piece_done(struct out *o);
// Bytes of a file, whose descriptor is taken over; HTTP/1.1, not chunked.
void reply_file(struct exchange *e, IoSpan take_span);
void piece_free(struct piece *p);
void exchange_tell(struct exchange *e); // something has changed that its producer waits for
nghttp2_nv nv_of(Str name, Str value);

// ---- conn.c

void conn_arrive(struct task *t); // on its loop
void conn_close(struct conn *c);  // at once; what was not written is lost
void conn_free(struct conn *c);
void conn_mark(struct conn *c); // it has work
void turn_finish(struct http_loop *hl);
void turn_run(struct task *t);
void conn_out(struct conn *c, struct out *o, Str bytes, void (*done)(struct out *));
void conn_out_file(struct conn *c, struct out *o, IoSpan span, void (*done)(struct out *));
void conn_drain(struct conn *c); // ends it as soon as its replies are sent
void loop_resume(struct task *t);
// The client sends its body too slowly, or has stopped sending.
bool exchange_is_slow(const struct exchange *e);

// ---- h1.c

bool h1_receives_large(const struct conn *c);
bool h1_streams(const struct conn *c); // a watched stream that has not ended
bool h1_work(struct conn *c);          // true: come again before writing
void h1_apply(struct conn *c, struct op *op);
bool h1_body_room(struct conn *c, char **ret, size_t *ret_n); // where body bytes may be read into
void h1_body_arrived(struct conn *c, size_t n);
bool h1_is_held_up(const struct conn *c);        // by a sink that has not taken what came before
void h1_continue(struct conn *c, struct out *o); // says 100
int64_t h1_deadline(struct conn *c);             // 0: none
void h1_late(struct conn *c);                    // it has passed

// ---- h2.c

void h2_server_open(struct http_server *s);
void h2_server_close(struct http_server *s);
void h2_start(struct conn *c);
void h2_reads(struct conn *c, bool reads); // whether what comes is read from now on
bool h2_receive(struct conn *c); // true: requests were handed up, perhaps answered already
void h2_send(struct conn *c);    // makes frames, while there is room for them
void h2_apply(struct conn *c, struct op *op);
void h2_continue(struct conn *c, struct exchange *e);        // says 100
void h2_taken(struct conn *c, struct exchange *e, size_t n); // a sink has taken bytes of a body
void h2_break_off(struct conn *c, struct exchange *e);       // the reply cannot be completed
void h2_closed(struct conn *c);
void h2_drain(struct conn *c);
int64_t h2_look_at(const struct conn *c); // when deadlines are to be looked at
void h2_look(struct conn *c);

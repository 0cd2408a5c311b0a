// SPDX-License-Identifier: Apache-2.0
// A blocking HTTP/1.1 client for the command line, for destinations, for buckets elsewhere and for
// tests: one connection, kept alive.
#pragma once
#include "http/server.h"

struct http_client;

// url: http://host:port or https://host:port (a path is ignored). With https and verify == false
// any certificate is accepted; otherwise ca_file (or the system's CAs) must vouch for it.
typedef struct HttpClientConfig {
    Str url;
    bool verify;
    Str ca_file;               // absent: the system's
    int64_t timeout_ns;        // for connecting and between two reads
    int64_t connect_ns;        // for connecting alone, with TLS; 0: as above
    int64_t total_ns;          // of a whole call, connecting included; 0: as long as it takes
    size_t reply_max;          // bytes of a reply's body; 0: 64 MiB
    bool public_only;          // no loopback, private or link-local addresses: ERR_DENIED
    bool (*is_over)(void *of); // asked while it waits: true ends the call with ERR_CLOSED
    void *of;
    struct io *io; // moves the bytes and tells the time; NULL: io_real()
} HttpClientConfig;

typedef struct HttpReply {
    unsigned status;
    HttpHeader *headers; // names in lower case
    size_t header_count;
    Str body;
} HttpReply;

Err http_client_open(const HttpClientConfig *config, struct http_client **ret);
void http_client_close(struct http_client *c); // NULL is fine
AUTO_CLOSE(http_client)

// Sends one request and reads its whole reply into `a`. A connection that the server closed while
// idle is opened again once; a request that may have been received is never sent twice.
// ERR_NOT_FOUND: nobody listens there. ERR_TIMEOUT. ERR_CLOSED: broken off. ERR_LIMIT: the reply is
// too long. ERR_DENIED: no TLS with this server, or not its address. ERR_INVALID: this is not HTTP.
Err http_client_call(struct http_client *c, struct arena *a, Str method, Str target,
                     const HttpHeader *headers, size_t n, Str body, HttpReply *ret);

// ---- A call in pieces, for bodies of any size. After an error only http_client_drop, or another
// call, makes sense; errors are those of http_client_call. One call at a time.

// Sends the head of a request whose body has so many bytes, which http_client_send sends.
Err http_client_begin(struct http_client *c, Str method, Str target, const HttpHeader *headers,
                      size_t n, uint64_t body_bytes);
// ERR_CLOSED: the server takes no more; it may have said why (http_client_head).
Err http_client_send(struct http_client *c, Str piece);
// The reply's head. *ret_bytes: of its body; UINT64_MAX: its length is not said.
Err http_client_head(struct http_client *c, struct arena *a, HttpReply *ret, uint64_t *ret_bytes);
// All of the body that was not read yet, at most reply_max bytes; then the call has ended.
Err http_client_rest(struct http_client *c, struct arena *a, Str *ret);
// Or some of a body whose length is said: 1 to n bytes, 0 at its end, with which the call ends.
Err http_client_read(struct http_client *c, char *p, size_t n, size_t *ret_n);
void http_client_drop(struct http_client *c);       // breaks off what is under way
bool http_client_kept(const struct http_client *c); // a connection is there for the next call

// From now on this is asked, in place of what the config has. NULL: nobody is.
void http_client_ask(struct http_client *c, bool (*is_over)(void *of), void *of);
// Whether the last call had a connection: what failed then was not reaching the server.
bool http_client_reached(const struct http_client *c);
Str http_client_host(const struct http_client *c); // "127.0.0.1:4566", for the Host header

// SPDX-License-Identifier: Apache-2.0
// One call to a Kinesis endpoint over one connection: signed as an SDK signs, and its reply read
// whole.
#pragma once
#include "load.h"

#include <openssl/ssl.h>

enum {
    CALL_HASH_BYTES = 32,
    CALL_HEX_BYTES = 2 * CALL_HASH_BYTES + 1,
    CALL_HEAD_BYTES_MAX = 2048,
    CALL_NAME_BYTES = 160,
    CALL_KEY_ID_BYTES = 64,
};

struct caller {
    const char *port;    // on 127.0.0.1
    const char *service; // that requests are signed for: "kinesis" unless it is changed
    int fd;              // -1: not connected
    SSL *tls;            // or NULL
    char key_id[CALL_KEY_ID_BYTES];
    char *reply; // room for a whole reply, head included
    size_t reply_bytes_max;
    char day[16];
    unsigned char key[CALL_HASH_BYTES]; // of that day
};

void caller_open(struct caller *c, const char *port, size_t reply_bytes_max);
void caller_close(struct caller *c);
// False: it said why. The server's certificate is not looked at.
bool caller_connect(struct caller *c, bool tls);
void caller_disconnect(struct caller *c);
// Calls of the client with this number come from one of so many accounts (profile dev); 0: no
// change.
void caller_set_account(struct caller *c, unsigned accounts, unsigned client);

// The hash of a body as the signature wants it: hexadecimal, terminated.
void call_hash(const void *body, size_t n, char ret[CALL_HEX_BYTES]);

// Sends and waits. Returns the status and the reply's body, which is terminated and stays until the
// next call; 0: the connection broke, and nobody knows what became of the call.
unsigned call_send(struct caller *c, const char *operation, const char *body, size_t n,
                   const char *hash, char **ret_reply, size_t *ret_n);

// The head of a request; what call_send sends before the body. Returns its length, or 0.
size_t call_head(struct caller *c, const char *operation, const char *hash, size_t body_bytes,
                 char ret[CALL_HEAD_BYTES_MAX]);

// The head of a request for an object, whose body is not part of the signature.
size_t call_object_head(struct caller *c, const char *method, const char *path, size_t body_bytes,
                        char ret[CALL_HEAD_BYTES_MAX]);

// ---- Puts, as the options want them (kinesis.c)

struct call_body {
    char *p; // the caller's to free
    size_t n;
    char hash[CALL_HEX_BYTES];
};

// One batch: a record alone is a PutRecord, several are a PutRecords.
void call_build(struct call_body *r, const struct options *o, const char *stream, uint64_t *seed);
// All batches of a client; returns how many, at most BATCHES_MOST.
unsigned call_build_all(struct call_body *ret, const struct client *c);
void call_stream_name(const struct options *o, unsigned client, char *ret, size_t bytes);
const char *call_put_operation(const struct options *o);
enum outcome call_outcome(unsigned status, const char *reply);

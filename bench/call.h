// SPDX-License-Identifier: Apache-2.0
// One call to a Kinesis endpoint over one connection: signed as an SDK signs, and its reply read
// whole.
#pragma once
#include "load.h"

enum { CALL_HASH_BYTES = 32, CALL_HEX_BYTES = 2 * CALL_HASH_BYTES + 1 };

struct caller {
    const char *port; // on 127.0.0.1
    int fd;           // -1: not connected
    char *reply;      // room for a whole reply, head included
    size_t reply_bytes_max;
    char day[16];
    unsigned char key[CALL_HASH_BYTES]; // of that day
};

void caller_open(struct caller *c, const char *port, size_t reply_bytes_max);
void caller_close(struct caller *c);
void caller_disconnect(struct caller *c);

// The hash of a body as the signature wants it: hexadecimal, terminated.
void call_hash(const void *body, size_t n, char ret[CALL_HEX_BYTES]);

// Sends and waits. Returns the status and the reply's body, which is terminated and stays until the
// next call; 0: the connection broke, and nobody knows what became of the call.
unsigned call_send(struct caller *c, const char *operation, const char *body, size_t n,
                   const char *hash, char **ret_reply, size_t *ret_n);

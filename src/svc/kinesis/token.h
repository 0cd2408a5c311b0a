// SPDX-License-Identifier: Apache-2.0
// Sealed tokens: shard iterators and page tokens. A token says what it is for and where it points,
// and carries a MAC over that and the caller's account and region, so that nobody can make one or
// use one elsewhere. The secret is made once and kept, so that iterators live through a restart.
//
//     token = base64( version  kind  issued (ms)  nonce  payload  MAC (16 bytes) )
//
// The nonce makes every token new: clients compare iterators to see whether they move.
#pragma once
#include "os/io.h"

enum { TOKEN_SECRET_BYTES = 32, TOKEN_PAYLOAD_BYTES_MAX = 300, TOKEN_LIFE_MS = 300000 };

typedef enum TokenKind {
    TOKEN_ITERATOR = 1,
    TOKEN_SHARDS = 2,
    TOKEN_STREAMS = 3,
    TOKEN_CONSUMERS = 4,
    TOKEN_RECEIPT = 5,
    TOKEN_QUEUES = 6,
    TOKEN_CHANNELS = 7
} TokenKind;

struct sealer {
    struct io *io;
    unsigned char secret[TOKEN_SECRET_BYTES];
};

Str token_seal(const struct sealer *s, struct arena *a, TokenKind kind, Str realm,
               int64_t issued_ms, Str payload);

// ERR_INVALID: not one of ours, of another kind, or for another realm ("account/region").
Err token_open(const struct sealer *s, struct arena *a, TokenKind kind, Str realm, Str token,
               int64_t *ret_issued_ms, Str *ret_payload);

// SPDX-License-Identifier: Apache-2.0
// The binder: fills a C struct from a request by walking its shape table, checks it against the
// constraints, and writes a reply from one. No tree is built on the way; text borrows from the
// body, blobs are decoded once, into the arena.
#pragma once
#include "aws/protocol.h"

enum {
    BIND_LIST_MAX = 100000,      // elements of a list or map whose shape has no maximum
    BIND_ERRORS_LISTED_MAX = 10, // in one ValidationException, as AWS does
    BIND_VALUE_SHOWN_MAX = 8192, // bytes of one value in an error text
};

// Compiles the patterns of a service, once, before its first call. ERR_INVALID: one is outside of
// what aws/pattern.h understands. A program that ends need not undo it.
struct api_service;
Err api_prepare(const struct api_service *api);

// Reads one whole document into `into`, which is zeroed and has shape->struct_bytes. Unknown
// members are skipped and nulls are absent; defaults are filled in. ERR_MEMORY: there is none.
// ERR_INVALID or ERR_LIMIT: the document is malformed. OK with a fault present: it is well-formed,
// but a value has the wrong type, and the text is what AWS says about the first.
Err bind_decode(struct protocol_reader *r, const struct shape *shape, struct arena *a, void *into,
                Str *ret_fault);

// Reads one document only to know whether it is well-formed and a map.
Err bind_skip(struct protocol_reader *r);

// Absent if everything that was decoded is within its constraints; else the text of AWS's
// ValidationException.
Str bind_validate(const struct shape *shape, const void *in, struct arena *a);

void bind_encode(struct protocol_writer *w, const struct shape *shape, const void *out);

// A whole reply: bind_encode, or the protocol's short way, which writes the same.
void bind_write(const struct protocol *p, const struct shape *shape, const void *out,
                struct buf *body);

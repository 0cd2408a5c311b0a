// SPDX-License-Identifier: Apache-2.0
// Blocks of bytes made smaller.
#pragma once
#include "base/buf.h"
#include "columnar/columnar.h"

typedef enum PackKind {
    PACK_NONE,
    PACK_SNAPPY,  // a raw block
    PACK_GZIP,    // a member of gzip, with its checksum
    PACK_DEFLATE, // RFC 1951 alone, as ORC has it
} PackKind;

struct pack; // what a compressor needs beside its input; one thread at a time

Err pack_open(PackKind kind, struct pack **ret); // ERR_MEMORY
void pack_close(struct pack *p);                 // NULL is fine
AUTO_CLOSE(pack)

// The most bytes that n become.
size_t pack_room(const struct pack *p, size_t n);
// Writes the block to `out`, which has pack_room bytes, and says how many they are.
size_t pack_block(struct pack *p, Str raw, char *out);
size_t pack_bytes(const struct pack *p); // of memory held

// SPDX-License-Identifier: Apache-2.0
// Distinct texts and their numbers, in the order of their coming.
#pragma once
#include "base/buf.h"

struct dictionary {
    struct buf bytes;  // each text behind its length in four bytes, little-endian: Parquet's PLAIN
    uint32_t *offsets; // into bytes, of the text
    size_t n, cap;
    struct dictionary_slot {
        uint32_t tag, number; // of the hash; number + 1, or 0: free
    } * slots;
    size_t slot_count; // a power of two
    uint64_t secret;
};

void dictionary_init(struct dictionary *d);
void dictionary_done(struct dictionary *d);
void dictionary_clear(struct dictionary *d);

// The number of a text, which is added if it is not there. Behind s eight bytes can be read.
// ERR_MEMORY.
Err dictionary_add(struct dictionary *d, Str s, uint32_t *ret);
Str dictionary_text(const struct dictionary *d, size_t number); // a borrow
size_t dictionary_bytes(const struct dictionary *d);            // of memory held

// SPDX-License-Identifier: Apache-2.0
// Distinct values and their numbers, in the order of their coming: texts, or bytes of one length.
#pragma once
#include "base/buf.h"

struct dictionary {
    struct buf
        bytes;    // Parquet's PLAIN: a text stands behind its length in four bytes, little-endian
    size_t fixed; // length of each value; 0: they are texts
    uint32_t *offsets; // into bytes, of the value
    size_t n, cap;
    struct dictionary_slot {
        uint32_t tag, number; // of the hash; number + 1, or 0: free
    } * slots;
    size_t slot_count; // a power of two
    uint64_t secret;
};

void dictionary_init(struct dictionary *d, size_t fixed_bytes);
void dictionary_done(struct dictionary *d);
void dictionary_clear(struct dictionary *d);

// The number of a value, which is added if it is not there. Behind s eight bytes can be read.
// ERR_MEMORY.
Err dictionary_add(struct dictionary *d, Str s, uint32_t *ret);
Str dictionary_text(const struct dictionary *d, size_t number); // a borrow
size_t dictionary_bytes(const struct dictionary *d);            // of memory held

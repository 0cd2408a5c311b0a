// SPDX-License-Identifier: Apache-2.0
// Memory in whole pages, in few sizes, kept for whoever needs as much next: a fresh page costs more
// than what is written into it. Large pieces lie in pages of 2 MiB where there are any.
#pragma once
#include "base/err.h"

#include <stddef.h>

enum { MEMORY_PAGE_BYTES = 4096, PAGES_CLASSES = 96 };

// Pieces that nobody uses. Not safe from several threads: the owner has a lock.
struct pages_kept {
    size_t bytes_max; // no more are kept
    size_t bytes;
    struct pages_piece *free[PAGES_CLASSES]; // by size, the one given back last first
    struct pages_piece *oldest, *newest;     // of all
};

// How large a piece for so many bytes is: at most a quarter more, and a page.
size_t pages_room(size_t bytes);

// A kept piece, not zeroed; NULL: there is none of this size.
void *pages_take(struct pages_kept *k, size_t bytes);
// The same, or a piece that is up to half larger: *ret_bytes says what it is to be given back as.
void *pages_take_near(struct pages_kept *k, size_t bytes, size_t *ret_bytes);
// A piece that was asked for with as many bytes, or for which it has room. If too much is kept,
// those are freed that were given back longest ago.
void pages_give(struct pages_kept *k, void *take_p, size_t bytes);
void pages_drop(struct pages_kept *k); // frees all of them

// A new one; freed with free(). pages_get is memory_get: it waits and never returns NULL.
void *pages_get(size_t bytes);
void *pages_new(size_t bytes); // NULL: there is none

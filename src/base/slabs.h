// SPDX-License-Identifier: Apache-2.0
// Memory for what goes in about the order in which it came: pieces are cut one behind the other
// from slabs in pages of 2 MiB, and a slab is used again when all of its pieces were given back.
// Pieces of some hundred kilobytes so lie in large pages, which they would not fill alone: what is
// scattered over many of them is found with few misses of the processor's address cache, and a
// write to the disk pins few pages.
//
// One piece that is kept keeps its slab: it is no memory for what may stay.
#pragma once
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum {
    SLAB_BYTES = 8 << 20,
    SLAB_PIECE_BYTES_LEAST = 64 << 10, // smaller ones need no large pages
    SLAB_PIECE_BYTES_MOST = SLAB_BYTES / 4,
};

struct slab; // opaque

// Not safe from several threads: the owner has a lock.
struct slabs {
    size_t free_max;   // so many that nobody uses are kept
    struct slab *open; // pieces are cut from it
    struct slab *free;
    size_t free_count;
};

// How much of a slab a piece for so many bytes takes: whole pages of 4 KiB.
size_t slabs_room(size_t bytes);

// A piece of at most SLAB_PIECE_BYTES_MOST, aligned to 4 KiB, not zeroed; *ret_of is what it is
// given back to. NULL: there is no room, until slabs_add.
void *slabs_take(struct slabs *s, size_t bytes, struct slab **ret_of);
void slabs_give(struct slabs *s, struct slab *of, void *take_p, size_t bytes);

// A new slab. NULL: there is no memory for as much. Without the owner's lock.
struct slab *slab_new(void);
void slabs_add(struct slabs *s, struct slab *take_slab);

// Frees those that nobody uses; all pieces were given back.
void slabs_done(struct slabs *s);

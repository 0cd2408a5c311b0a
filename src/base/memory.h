// SPDX-License-Identifier: Apache-2.0
// Memory as something that can run out.
//
// Two kinds of allocation, told apart by what they are for:
//
//     of a request's size   bodies, decoded values, results, replies. All requests share one
//     budget,
//                           smaller than what the machine has, so that running out is normally a
//                           decision and not a malloc that fails. They may be refused: memory_try,
//                           arena_try, and buffers that grow beyond MEMORY_SMALL_BYTES. Whoever is
//                           refused ends its own request with ERR_MEMORY.
//     bookkeeping           everything else: xalloc, arena_alloc. It cannot be refused. When the
//                           system has none, a reserve that is held back since the start is given
//                           up for it. Until it could be taken again no new request is let in. The
//                           program ends only when nothing comes of that for seconds.
//
// There is one budget and one reserve in a process, as there is one malloc. Safe from any thread.
// Without memory_setup there is neither: nothing is refused by a budget.
#pragma once
#include "base/err.h"

enum {
    MEMORY_SMALL_BYTES = 64 << 10, // up to here a request is small: it gets the last of the budget
    MEMORY_RESERVE_BYTES = 8 << 20,
    MEMORY_LARGE_BYTES = 256 << 10,     // from here on memory is had in pieces that are kept
    MEMORY_LARGE_KEPT_BYTES = 64 << 20, // of those that nobody uses, at most
    MEMORY_REQUESTS_BYTES_MIN = 64
                                << 20, // one request of the largest kind, and small ones beside it
};

// Once, at start. `requests_bytes_max` is at least MEMORY_REQUESTS_BYTES_MIN. ERR_MEMORY: the
// reserve cannot be had. Tests may call it again; 0 and 0 take everything back.
Err memory_setup(size_t requests_bytes_max, size_t reserve_bytes);

// Takes bytes of the budget, or nothing: false. `held` is what the caller's buffer, body or arena
// holds then: who holds more than MEMORY_SMALL_BYTES leaves the last eighth to the small ones, and
// gets nothing while the reserve is gone.
bool memory_take(size_t bytes, size_t held);
void memory_take_anyway(size_t bytes); // for what cannot be refused, so that others are
void memory_give(size_t bytes);        // what was taken
// Whether as much could be taken now. A hint: others may be faster.
bool memory_has_room(size_t bytes);

// Memory of a request's size, not counted; free with free(). NULL: there is none, also while the
// reserve is gone. What memory_try gives is not zeroed; a failed resize leaves `p` as it was.
void *memory_try(size_t bytes);
void *memory_try_zeroed(size_t bytes);
void *memory_try_resize(void *p, size_t bytes);
void *memory_try_aligned(size_t align, size_t bytes); // `bytes` is a multiple of `align`

// Memory that cannot be refused; never NULL. The signatures are libc's, for libraries that let
// their allocator be replaced: these draw on the reserve, too.
void *memory_get(size_t bytes); // not zeroed
void *memory_get_zeroed(size_t n, size_t bytes);
void *memory_resize(void *p, size_t bytes);
void *memory_get_aligned(size_t align, size_t bytes);

// Large memory, at least MEMORY_LARGE_BYTES, not zeroed, aligned to pages. What one request gives
// back the next one takes. Given back with the size that was asked for, or the room of the piece.
size_t memory_large_room(size_t bytes); // how large the piece is
void *memory_try_large(size_t bytes);   // as memory_try
void *memory_get_large(size_t bytes);   // as memory_get
void memory_give_large(void *take_p, size_t bytes);
void memory_drop_large(void); // gives the system what is kept

// Whether the reserve is gone. Asking tries to take it again.
bool memory_is_short(void);

typedef struct MemoryStats {
    size_t requests_bytes, requests_bytes_max; // taken of the budget; its size
    bool refusing; // something was refused, and not enough came back yet
    bool reserve_released;
    uint64_t releases; // of the reserve, since start
} MemoryStats;
void memory_stats(MemoryStats *ret);

// Writes a line to the log for each change that nobody has told of. It must not be called holding a
// lock; requests and health pages do.
void memory_tell(void);

// Faults for tests: of the allocations of a kind, `after` more succeed, then `times` fail. Also
// tells how many there were since.
typedef enum MemoryKind { MEMORY_REQUEST, MEMORY_BOOKKEEPING, MEMORY_RESERVE } MemoryKind;
void memory_fault_set(MemoryKind kind, uint64_t after, uint64_t times);
uint64_t memory_fault_seen(MemoryKind kind);

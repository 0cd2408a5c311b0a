// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "base/logline.h"
#include "base/pages.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

// Other requests end and give back while bookkeeping waits for memory, a few seconds at most.
enum { WAITS_MAX = 5000, WAIT_NS = 1000000 };

static struct {
    _Atomic size_t max; // of the budget
    _Atomic size_t taken;
    _Atomic bool refusing;

    pthread_mutex_t lock; // of the next two; a leaf
    void *reserve;        // NULL: none, or it is gone
    size_t reserve_bytes;
    _Atomic bool is_short;
    _Atomic uint64_t releases;

    _Atomic bool untold; // something below differs from what was told
    _Atomic bool told_refusing, told_short;
} memory = { .max = SIZE_MAX, .lock = PTHREAD_MUTEX_INITIALIZER };

// ---- Faults

static struct fault {
    _Atomic bool armed;
    _Atomic uint64_t seen, after, times;
} faults[MEMORY_RESERVE + 1];

void memory_fault_set(MemoryKind kind, uint64_t after, uint64_t times)
{
    struct fault *f = &faults[kind];
    atomic_store(&f->armed, false);
    atomic_store(&f->seen, 0);
    atomic_store(&f->after, after);
    atomic_store(&f->times, times);
    atomic_store(&f->armed, true);
}

uint64_t memory_fault_seen(MemoryKind kind)
{
    return atomic_load(&faults[kind].seen);
}

static bool fails_here(MemoryKind kind)
{
    struct fault *f = &faults[kind];
    if (!atomic_load_explicit(&f->armed, memory_order_relaxed))
        return false;
    uint64_t number = atomic_fetch_add(&f->seen, 1), after = atomic_load(&f->after);
    return number >= after && number - after < atomic_load(&f->times);
}

// ---- The reserve

// Pages of its own, so that giving them up is giving them to whoever asks next.
static void *reserve_pages(size_t bytes)
{
    if (fails_here(MEMORY_RESERVE))
        return NULL;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p != MAP_FAILED ? p : NULL;
}

static void reserve_release(void)
{
    pthread_mutex_lock(&memory.lock);
    if (memory.reserve != NULL) {
        CHECK(munmap(memory.reserve, memory.reserve_bytes) == 0);
        memory.reserve = NULL;
        atomic_fetch_add(&memory.releases, 1);
        atomic_store(&memory.is_short, true);
        atomic_store(&memory.untold, true);
    }
    pthread_mutex_unlock(&memory.lock);
}

// Asks for twice as much and gives half of it back, so that there is some left when it is taken.
static void reserve_take_again(void)
{
    pthread_mutex_lock(&memory.lock);
    size_t bytes = memory.reserve_bytes;
    char *p = memory.reserve == NULL ? reserve_pages(2 * bytes) : NULL;
    if (p != NULL) {
        CHECK(munmap(p + bytes, bytes) == 0);
        memory.reserve = p;
        atomic_store(&memory.is_short, false);
        atomic_store(&memory.untold, true);
    }
    pthread_mutex_unlock(&memory.lock);
}

bool memory_is_short(void)
{
    if (!atomic_load_explicit(&memory.is_short, memory_order_relaxed))
        return false;
    reserve_take_again();
    return atomic_load(&memory.is_short);
}

Err memory_setup(size_t requests_bytes_max, size_t reserve_bytes)
{
    CHECK(reserve_bytes % 65536 == 0);
    pthread_mutex_lock(&memory.lock);
    if (memory.reserve != NULL)
        CHECK(munmap(memory.reserve, memory.reserve_bytes) == 0);
    memory.reserve = reserve_bytes > 0 ? reserve_pages(reserve_bytes) : NULL;
    bool good = reserve_bytes == 0 || memory.reserve != NULL;
    memory.reserve_bytes = good ? reserve_bytes : 0;
    pthread_mutex_unlock(&memory.lock);
    atomic_store(&memory.is_short, false);
    atomic_store(&memory.refusing, false);
    atomic_store(&memory.max, requests_bytes_max > 0 ? requests_bytes_max : SIZE_MAX);
    return good ? OK : fail(ERR_MEMORY, "there is not even memory for the reserve");
}

// ---- The budget

static size_t max_for(size_t held)
{
    size_t max = atomic_load_explicit(&memory.max, memory_order_relaxed);
    if (held <= MEMORY_SMALL_BYTES)
        return max;
    return memory_is_short() ? 0 : max - max / 8;
}

bool memory_take(size_t bytes, size_t held)
{
    size_t max = max_for(held), taken = atomic_load_explicit(&memory.taken, memory_order_relaxed);
    do {
        if (bytes > max || taken > max - bytes) {
            if (!atomic_exchange(&memory.refusing, true))
                atomic_store(&memory.untold, true);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&memory.taken, &taken, taken + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

void memory_take_anyway(size_t bytes)
{
    atomic_fetch_add_explicit(&memory.taken, bytes, memory_order_relaxed);
}

void memory_give(size_t bytes)
{
    if (bytes == 0)
        return;
    size_t before = atomic_fetch_sub_explicit(&memory.taken, bytes, memory_order_relaxed);
    CHECK(before >= bytes);
    // Not at once, or every request at the edge would be told of twice.
    if (atomic_load_explicit(&memory.refusing, memory_order_relaxed) &&
        before - bytes <= atomic_load(&memory.max) / 2 && atomic_exchange(&memory.refusing, false))
        atomic_store(&memory.untold, true);
}

bool memory_has_room(size_t bytes)
{
    size_t max = max_for(bytes), taken = atomic_load_explicit(&memory.taken, memory_order_relaxed);
    return bytes <= max && taken <= max - bytes;
}

// ---- Memory that may be refused

static bool may_try(void)
{
    return !memory_is_short() && !fails_here(MEMORY_REQUEST);
}

void *memory_try(size_t bytes)
{
    return may_try() ? malloc(MAX(bytes, (size_t)1)) : NULL;
}

void *memory_try_zeroed(size_t bytes)
{
    return may_try() ? calloc(1, MAX(bytes, (size_t)1)) : NULL;
}

void *memory_try_resize(void *p, size_t bytes)
{
    return may_try() ? realloc(p, MAX(bytes, (size_t)1)) : NULL;
}

void *memory_try_aligned(size_t align, size_t bytes)
{
    return may_try() ? aligned_alloc(align, bytes) : NULL;
}

// ---- Large memory

static pthread_mutex_t large_lock = PTHREAD_MUTEX_INITIALIZER; // a leaf
static struct pages_kept large = { .bytes_max = MEMORY_LARGE_KEPT_BYTES };

size_t memory_large_room(size_t bytes)
{
    return pages_room(bytes);
}

static void *take_kept(size_t bytes)
{
    pthread_mutex_lock(&large_lock);
    void *p = pages_take(&large, bytes);
    pthread_mutex_unlock(&large_lock);
    return p;
}

void *memory_try_large(size_t bytes)
{
    if (!may_try())
        return NULL;
    void *p = take_kept(bytes);
    return p != NULL ? p : pages_new(bytes);
}

void *memory_get_large(size_t bytes)
{
    void *p = fails_here(MEMORY_BOOKKEEPING) ? NULL : take_kept(bytes);
    return p != NULL ? p : pages_get(bytes);
}

void memory_give_large(void *take_p, size_t bytes)
{
    if (take_p == NULL)
        return;
    pthread_mutex_lock(&large_lock);
    pages_give(&large, take_p, bytes);
    pthread_mutex_unlock(&large_lock);
}

void memory_drop_large(void)
{
    pthread_mutex_lock(&large_lock);
    pages_drop(&large);
    pthread_mutex_unlock(&large_lock);
}

// ---- Memory that may not

// Whether to try once more: gives up the reserve, then waits for others to give back.
static bool try_again(size_t waited)
{
    memory_drop_large();
    reserve_release();
    if (waited > 0)
        nanosleep(&(struct timespec){ .tv_nsec = WAIT_NS }, NULL);
    return waited < WAITS_MAX;
}

void *memory_get(size_t bytes)
{
    void *p = fails_here(MEMORY_BOOKKEEPING) ? NULL : malloc(MAX(bytes, (size_t)1));
    for (size_t i = 0; p == NULL && try_again(i); i++)
        p = malloc(MAX(bytes, (size_t)1));
    CHECK(p != NULL); // no memory, and none came
    return p;
}

void *memory_get_zeroed(size_t n, size_t bytes)
{
    size_t all = mul_checked(n, bytes);
    void *p = fails_here(MEMORY_BOOKKEEPING) ? NULL : calloc(1, MAX(all, (size_t)1));
    for (size_t i = 0; p == NULL && try_again(i); i++)
        p = calloc(1, MAX(all, (size_t)1));
    CHECK(p != NULL); // no memory, and none came
    return p;
}

void *memory_resize(void *p, size_t bytes)
{
    void *moved = fails_here(MEMORY_BOOKKEEPING) ? NULL : realloc(p, MAX(bytes, (size_t)1));
    for (size_t i = 0; moved == NULL && try_again(i); i++)
        moved = realloc(p, MAX(bytes, (size_t)1));
    CHECK(moved != NULL); // no memory, and none came
    return moved;
}

void *memory_get_aligned(size_t align, size_t bytes)
{
    void *p = fails_here(MEMORY_BOOKKEEPING) ? NULL : aligned_alloc(align, bytes);
    for (size_t i = 0; p == NULL && try_again(i); i++)
        p = aligned_alloc(align, bytes);
    CHECK(p != NULL); // no memory, and none came
    return p;
}

// ---- Telling

void memory_stats(MemoryStats *ret)
{
    *ret = (MemoryStats){
        .requests_bytes = atomic_load(&memory.taken),
        .requests_bytes_max = atomic_load(&memory.max),
        .refusing = atomic_load(&memory.refusing),
        .reserve_released = memory_is_short(),
        .releases = atomic_load(&memory.releases),
    };
}

void memory_tell(void)
{
    if (!atomic_load_explicit(&memory.untold, memory_order_relaxed) ||
        !atomic_exchange(&memory.untold, false))
        return;
    MemoryStats s;
    memory_stats(&s);
    if (atomic_exchange(&memory.told_short, s.reserve_released) != s.reserve_released)
        LOG(LOG_WARN,
            s.reserve_released ? "the system has no memory: the reserve is given up and new "
                                 "requests are refused until it could be taken again"
                               : "the reserve of memory is there again",
            F_INT("reserve_bytes", memory.reserve_bytes));
    if (atomic_exchange(&memory.told_refusing, s.refusing) != s.refusing)
        LOG(LOG_WARN,
            s.refusing ? "requests are refused: others hold the memory that memory.requests gives"
                       : "half of the memory of requests is free again",
            F_INT("requests_bytes", s.requests_bytes),
            F_INT("requests_bytes_max", s.requests_bytes_max));
}

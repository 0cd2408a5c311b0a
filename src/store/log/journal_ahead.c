// SPDX-License-Identifier: Apache-2.0
// Reading files of the journal from their beginning to their end, ahead of whoever looks at them:
// a disk gives most when several large reads are under way, and while blocks are checked it should
// not wait.
//
// A file is read in windows of WINDOW_BYTES. There are two buffers: one window is looked at while
// the next one, which may be the next file's, is filled, piece by piece, by a few threads. In front
// of each buffer is room for a block that begins in the window before.
#include "base/pages.h"
#include "store/log/journal_priv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

enum {
    READ_BYTES = 1 << 20,
    WINDOW_READS = 16,
    WINDOW_BYTES = WINDOW_READS * READ_BYTES,
    READERS = 4,
};
_Static_assert((uint64_t)WINDOW_BYTES >= BLOCK_BYTES_LARGEST, "a block reaches into one more");

struct window {
    struct journal_file *file;
    uint64_t at; // in the file
    size_t n;
};

struct ahead {
    struct io *io;
    uint8_t *buffers[2]; // windows take turns
    struct window *windows;
    size_t window_count;
    pthread_t threads[READERS];
    unsigned thread_count;
    // The reader's of the blocks.
    size_t current;
    size_t tail; // bytes of the window before that lie in front of the current one

    pthread_mutex_t lock;
    pthread_cond_t may_read, was_read;
    size_t next, limit; // reads: those below `next` are taken, those below `limit` may be
    bool done[2 * WINDOW_READS];
    Err failed[2 * WINDOW_READS];
    bool stopping;
};

static uint8_t *data_of(const struct ahead *a, size_t window)
{
    return a->buffers[window % 2] + BLOCK_BYTES_LARGEST;
}

// ---- The threads

static Err read_piece(struct ahead *a, size_t number)
{
    const struct window *w = &a->windows[number / WINDOW_READS];
    size_t from = number % WINDOW_READS * READ_BYTES, got = 0;
    if (from >= w->n)
        return OK; // the last window of a file is shorter
    size_t n = MIN(w->n - from, (size_t)READ_BYTES);
    uint8_t *to = data_of(a, number / WINDOW_READS) + from;
    TRY(a->io->read(w->file->io, to, n, w->at + from, &got));
    return got == n ? OK : fail(ERR_CORRUPT, "a journal file is shorter than it says");
}

static void *reader_run(void *p)
{
    struct ahead *a = p;
    prctl(PR_SET_NAME, "log-ahead");
    pthread_mutex_lock(&a->lock);
    while (!a->stopping) {
        if (a->next == a->limit) {
            pthread_cond_wait(&a->may_read, &a->lock);
            continue;
        }
        size_t number = a->next++;
        pthread_mutex_unlock(&a->lock);
        Err e = read_piece(a, number);
        pthread_mutex_lock(&a->lock);
        a->failed[number % COUNT_OF(a->failed)] = e;
        a->done[number % COUNT_OF(a->done)] = true;
        pthread_cond_signal(&a->was_read);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

// ---- Opening and closing

static void add_windows(struct ahead *a, struct journal_file *f)
{
    for (uint64_t at = 0; at < f->bytes; at += WINDOW_BYTES)
        a->windows[a->window_count++] =
            (struct window){ f, at, (size_t)MIN(f->bytes - at, (uint64_t)WINDOW_BYTES) };
}

struct ahead *ahead_open(struct io *io, struct journal_file *const *files, size_t n)
{
    struct ahead *a = xalloc(sizeof *a);
    size_t windows = 0;
    a->io = io;
    for (size_t i = 0; i < n; i++)
        windows += (size_t)((files[i]->bytes + WINDOW_BYTES - 1) / WINDOW_BYTES);
    a->windows = xalloc(mul_checked(MAX(windows, (size_t)1), sizeof *a->windows));
    for (size_t i = 0; i < n; i++)
        add_windows(a, files[i]);
    for (size_t i = 0; i < COUNT_OF(a->buffers); i++)
        a->buffers[i] = pages_get(BLOCK_BYTES_LARGEST + WINDOW_BYTES);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->may_read, NULL);
    pthread_cond_init(&a->was_read, NULL);
    a->limit = MIN(a->window_count, (size_t)2) * WINDOW_READS;
    while (a->thread_count < READERS &&
           pthread_create(&a->threads[a->thread_count], NULL, reader_run, a) == 0)
        a->thread_count++;
    if (a->thread_count > 0)
        return a;
    ahead_close(a);
    return NULL;
}

void ahead_close(struct ahead *a)
{
    if (a == NULL)
        return;
    pthread_mutex_lock(&a->lock);
    a->stopping = true;
    pthread_cond_broadcast(&a->may_read);
    pthread_mutex_unlock(&a->lock);
    for (unsigned i = 0; i < a->thread_count; i++)
        pthread_join(a->threads[i], NULL);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->may_read);
    pthread_cond_destroy(&a->was_read);
    for (size_t i = 0; i < COUNT_OF(a->buffers); i++)
        free(a->buffers[i]);
    free(a->windows);
    free(a);
}

// ---- Windows

// Until these bytes of the current window are there.
static Err wait_until_read(struct ahead *a, size_t from, size_t to)
{
    Err e = OK;
    pthread_mutex_lock(&a->lock);
    for (size_t i = from / READ_BYTES; i * READ_BYTES < to && e.kind == ERR_NONE; i++) {
        size_t place = (a->current * WINDOW_READS + i) % COUNT_OF(a->done);
        while (!a->done[place])
            pthread_cond_wait(&a->was_read, &a->lock);
        e = a->failed[place];
    }
    pthread_mutex_unlock(&a->lock);
    return e;
}

// The next window is looked at; the buffer of this one is free once all its reads have ended.
static void window_leave(struct ahead *a)
{
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < WINDOW_READS; i++) {
        size_t place = (a->current * WINDOW_READS + i) % COUNT_OF(a->done);
        while (!a->done[place])
            pthread_cond_wait(&a->was_read, &a->lock);
        a->done[place] = false;
    }
    a->current++;
    a->limit = MIN(a->current + 2, a->window_count) * WINDOW_READS;
    pthread_cond_broadcast(&a->may_read);
    pthread_mutex_unlock(&a->lock);
}

// What lies behind `at` in the current window is taken along to the next one.
static Err window_turn(struct ahead *a, uint64_t at)
{
    const struct window *w = &a->windows[a->current];
    CHECK(at >= w->at); // no block is longer than a window
    a->tail = 0;
    if (at < w->at + w->n) {
        size_t from = (size_t)(at - w->at);
        TRY(wait_until_read(a, from, w->n));
        a->tail = w->n - from;
        memcpy(data_of(a, a->current + 1) - a->tail, data_of(a, a->current) + from, a->tail);
    }
    window_leave(a);
    return OK;
}

void ahead_begin(struct ahead *a, const struct journal_file *f)
{
    while (a->windows[a->current].file != f || a->windows[a->current].at != 0)
        window_leave(a);
    a->tail = 0;
}

Err ahead_get(struct ahead *a, uint64_t at, size_t n, const uint8_t **ret)
{
    CHECK(n <= BLOCK_BYTES_LARGEST);
    const struct window *w = &a->windows[a->current];
    while (at + n > w->at + w->n) {
        const struct journal_file *f = w->file;
        CHECK(a->current + 1 < a->window_count && a->windows[a->current + 1].file == f);
        TRY(window_turn(a, at));
        w = &a->windows[a->current];
    }
    CHECK(at + a->tail >= w->at);
    size_t from = at > w->at ? (size_t)(at - w->at) : 0;
    if (at + n > w->at)
        TRY(wait_until_read(a, from, (size_t)(at + n - w->at)));
    *ret = data_of(a, a->current) + ((int64_t)at - (int64_t)w->at); // or in front of it
    return OK;
}

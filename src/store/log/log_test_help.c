// SPDX-License-Identifier: Apache-2.0
#include "store/log/log_test_help.h"
#include "codec/blob_test.h"

#include <stdlib.h>
#include <time.h>

LogConfig test_config(struct io *io, Str dir)
{
    return (LogConfig){
        .io = io,
        .dir = dir,
        .file_bytes = TEST_FILE_BYTES,
        .reserve_bytes = 256 << 10,
        .seal_bytes = 4 * TEST_FILE_BYTES,
        .tail_cache_bytes = 4 << 20,
    };
}

static void finished(struct log_append *a, Err e)
{
    struct test_append *t = (struct test_append *)a;
    t->err = e;
    atomic_fetch_add(&t->finished, 1);
}

struct test_append *test_append_new(void)
{
    struct test_append *t = xalloc(sizeof *t);
    t->texts = arena_open();
    t->append = (struct log_append){
        .records = t->records,
        .places = t->places,
        .done = finished,
    };
    return t;
}

void test_append_free(struct test_append *t)
{
    arena_close(t->texts);
    free(t);
}

static void add(struct test_append *t, uint64_t shard, Str key, Blob data)
{
    t->records[t->append.n++] = (LogRecord){ .shard = shard, .key = key, .data = data };
}

void test_append_add(struct test_append *t, uint64_t shard, Str key, Str data)
{
    bool is_text = t->append.n % 2 != 0;
    add(t, shard, key, is_text ? blob_undecoded(t->texts, data) : blob_of(data));
}

Err test_append_start(struct log *l, struct test_append *t)
{
    Err e = log_append(l, &t->append);
    if (t->append.held)
        log_commit(l);
    return e;
}

Err test_append_wait(struct test_append *t)
{
    while (atomic_load(&t->finished) == 0)
        nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
    CHECK(atomic_load(&t->finished) == 1);
    return t->err;
}

Err test_put(struct log *l, uint64_t shard, Str data, LogPlace *ret)
{
    static atomic_uint count;
    struct test_append *t = test_append_new();
    unsigned number = atomic_fetch_add(&count, 1);
    t->append.held = number % 2 == 0; // all ways are the same to all
    add(t, shard, S("key"), number % 4 < 2 ? blob_undecoded(t->texts, data) : blob_of(data));
    Err e = test_append_start(l, t);
    if (e.kind == ERR_NONE)
        e = test_append_wait(t);
    if (e.kind == ERR_NONE)
        *ret = t->places[0];
    test_append_free(t);
    return e;
}

LogBatch test_read_all(struct log *l, struct arena *a, uint64_t shard, uint64_t from)
{
    LogBatch all = { .next = from, .more = true };
    size_t room = 0;
    while (all.more) {
        LogBatch batch;
        LogRead read = {
            .shard = shard,
            .from = all.next,
            .max_records = 1000,
            .max_bytes = 1 << 20,
        };
        EXPECT_OK(log_read(l, a, &read, &batch));
        EXPECT(batch.next >= all.next);
        EXPECT(batch.n > 0 || !batch.more);
        if (all.n + batch.n > room) {
            room = (all.n + batch.n) * 2;
            LogEntry *wider = arena_new(a, LogEntry, room);
            for (size_t i = 0; i < all.n; i++)
                wider[i] = all.at[i];
            all.at = wider;
        }
        for (size_t i = 0; i < batch.n; i++) {
            EXPECT(batch.at[i].position < batch.next);
            EXPECT(all.n == 0 || batch.at[i].position > all.at[all.n - 1].position);
            EXPECT(all.n == 0 || batch.at[i].arrival_ms >= all.at[all.n - 1].arrival_ms);
            all.at[all.n++] = batch.at[i];
        }
        all.next = batch.next;
        all.more = batch.more;
    }
    return all;
}

void test_expect_data(struct log *l, struct arena *a, uint64_t shard, const Str *data, size_t n)
{
    LogBatch all = test_read_all(l, a, shard, 0);
    EXPECT_INT(n, all.n);
    for (size_t i = 0; i < n; i++)
        EXPECT_STR(data[i], all.at[i].data);
}

void test_wait_for_spare(struct log *l)
{
    bool ready = false;
    while (!ready) {
        pthread_mutex_lock(&l->queue_lock);
        ready = l->next_file != NULL;
        pthread_mutex_unlock(&l->queue_lock);
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
}

void test_wait_for_quiet(struct log *l)
{
    bool quiet = false;
    while (!quiet) {
        pthread_mutex_lock(&l->queue_lock);
        quiet = !l->driving && l->telling == 0 && l->unacked == NULL && l->waiting == NULL;
        pthread_mutex_unlock(&l->queue_lock);
        nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
    }
}

void test_hold_expiry(struct log *l)
{
    pthread_mutex_lock(&l->expire_lock);
}

void test_release_expiry(struct log *l)
{
    pthread_mutex_unlock(&l->expire_lock);
}

void test_advance(struct log *l, struct io_mem *disk, int64_t ns)
{
    test_hold_expiry(l);
    io_mem_advance(disk, ns);
    test_release_expiry(l);
}

size_t test_files_in_use(struct log *l)
{
    pthread_mutex_lock(&l->lock);
    size_t n = l->files.n;
    pthread_mutex_unlock(&l->lock);
    return n;
}

uint64_t test_file_number(struct log *l, size_t i)
{
    pthread_mutex_lock(&l->lock);
    CHECK(i < l->files.n);
    uint64_t number = l->files.at[i]->number;
    pthread_mutex_unlock(&l->lock);
    return number;
}

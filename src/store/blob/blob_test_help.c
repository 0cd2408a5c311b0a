// SPDX-License-Identifier: Apache-2.0
#include "store/blob/blob_test_help.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

const unsigned char shop_key[BLOB_SEAL_BYTES] = "a data key of thirty-two bytes..";

static Err open_store(struct shop *s)
{
    struct io *io = io_fault_io(s->faults);
    TRY(kv_open(io, S("/kv"), &s->kv));
    return blob_open_quiet(&(BlobConfig){ .io = io, .kv = s->kv, .dir = S("/blobs") }, &s->b);
}

static void close_store(struct shop *s)
{
    blob_close(s->b);
    kv_close(s->kv);
    s->b = NULL;
    s->kv = NULL;
}

struct shop *shop_open(struct arena *a)
{
    struct shop *s = xalloc(sizeof *s);
    s->disk = io_mem_open(1);
    s->faults = io_fault_open(io_mem_io(s->disk), 1);
    EXPECT_OK(open_store(s));
    s->bucket = shop_bucket(s, a, S("one"), BLOB_UNVERSIONED);
    return s;
}

void shop_close(struct shop *s)
{
    if (s == NULL)
        return;
    close_store(s);
    io_fault_close(s->faults);
    io_mem_close(s->disk);
    free(s);
}

Err shop_reopen(struct shop *s, struct arena *a, const IoMemCrash *crash)
{
    close_store(s);
    io_fault_clear(s->faults);
    if (crash != NULL) {
        struct io_mem *later = io_mem_crash(s->disk, *crash);
        io_fault_close(s->faults);
        io_mem_close(s->disk);
        s->disk = later;
        s->faults = io_fault_open(io_mem_io(s->disk), 1);
    }
    TRY(open_store(s));
    Err e = blob_bucket_find(s->b, a, S("one"), &s->bucket);
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

BlobBucket shop_bucket(struct shop *s, struct arena *a, Str name, BlobVersioning versioning)
{
    BlobBucket made;
    BlobBucket make = { .name = name, .owner = S("owner"), .region = S("eu-west-1") };
    EXPECT_OK(blob_bucket_create(s->b, a, &make, &made));
    if (versioning != BLOB_UNVERSIONED)
        EXPECT_OK(blob_bucket_set_versioning(s->b, &made, versioning));
    made.versioning = versioning;
    return made;
}

Str shop_bytes(struct arena *a, uint64_t seed, size_t n)
{
    char *p = arena_alloc(a, n + 8, 8);
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (size_t at = 0; at < n; at += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(p + at, &x, 8);
    }
    return str_from(p, n);
}

static Str etag_of(struct arena *a, uint64_t seed, size_t n)
{
    return str_fmt(a, "%llu-%zu", (unsigned long long)seed, n);
}

static Err write_bytes(struct blob_put *p, uint64_t seed, size_t n)
{
    AUTO(arena) tmp = arena_open();
    Str rest = shop_bytes(tmp, seed, n);
    if (seed % 2 == 0)
        blob_put_gather(p);
    for (size_t piece = 1 + seed % 5000; rest.n > 0; piece = piece * 3 % 300000 + 1) {
        Str head = str_head(rest, piece);
        TRY(blob_put_write(p, head));
        rest = str_skip(rest, head.n);
    }
    return OK;
}

Err shop_put(struct shop *s, struct arena *a, const BlobBucket *bucket, Str key, uint64_t seed,
             size_t n, const unsigned char *seal, BlobObject *ret)
{
    AUTO(arena) tmp = arena_open();
    AUTO(blob_put) p = NULL;
    BlobObject ignored = { 0 };
    TRY(blob_put_begin(s->b, bucket, seal, &p));
    TRY(write_bytes(p, seed, n));
    BlobNew object = { .key = key, .etag = etag_of(tmp, seed, n) };
    return blob_put_finish(p, a, &object, ret != NULL ? ret : &ignored);
}

static Err finish_together(struct shop_together *t, struct blob_put *p)
{
    AUTO(arena) a = arena_open();
    BlobObject made;
    BlobNew object = { .key = t->key,
                       .etag = etag_of(a, t->seed, t->n),
                       .condition.if_absent = t->if_absent };
    return t->only_settles ? put_settle(p, true) : blob_put_finish(p, a, &object, &made);
}

static void *put_together(void *self)
{
    struct shop_together *t = self;
    struct blob_put *p = NULL;
    t->err = blob_put_begin(t->s->b, &t->s->bucket, NULL, &p);
    if (t->err.kind == ERR_NONE)
        t->err = write_bytes(p, t->seed, t->n);
    if (t->err.kind == ERR_NONE)
        t->err = finish_together(t, p);
    if (t->only_settles)
        t->put = p;
    else
        blob_put_close(p);
    atomic_store(&t->ended, true);
    return NULL;
}

// How many wait; the first of them goes on when all `n` do that have not ended.
static bool let_go(struct blob *b, size_t n)
{
    size_t waiting = 0;
    pthread_mutex_lock(&b->lock);
    for (const struct pack_wait *w = b->pack_first; w != NULL; w = w->next)
        waiting++;
    b->pack_writing = waiting < n;
    if (!b->pack_writing && b->pack_first != NULL)
        pthread_cond_signal(&b->pack_first->wake);
    pthread_mutex_unlock(&b->lock);
    return waiting >= n;
}

void shop_put_together(struct shop *s, struct shop_together *at, size_t n)
{
    pthread_mutex_lock(&s->b->lock);
    s->b->pack_writing = true;
    pthread_mutex_unlock(&s->b->lock);
    for (size_t i = 0; i < n; i++) {
        at[i].s = s;
        EXPECT(pthread_create(&at[i].thread, NULL, put_together, &at[i]) == 0);
    }
    size_t under_way;
    do {
        sched_yield();
        under_way = n;
        for (size_t i = 0; i < n; i++)
            under_way -= atomic_load(&at[i].ended);
    } while (!let_go(s->b, under_way));
    for (size_t i = 0; i < n; i++)
        pthread_join(at[i].thread, NULL);
}

static void expect_bytes(Str etag, const char *got, size_t n)
{
    AUTO(arena) tmp = arena_open();
    Str seed_text, n_text;
    uint64_t seed = 0, bytes = 0;
    EXPECT(str_cut(etag, '-', &seed_text, &n_text));
    EXPECT_OK(str_u64(seed_text, &seed));
    EXPECT_OK(str_u64(n_text, &bytes));
    EXPECT_INT(bytes, n);
    EXPECT(n == 0 || memcmp(got, shop_bytes(tmp, seed, n).p, n) == 0);
}

Err shop_check(struct shop *s, struct arena *a, const BlobBucket *bucket, Str key, BlobSelect which,
               BlobObject *ret)
{
    AUTO(arena) tmp = arena_open();
    AUTO(blob_reader) r = NULL;
    BlobObject ignored = { 0 }, *o = ret != NULL ? ret : &ignored;
    TRY(blob_reader_open(s->b, a, bucket, key, which, o, &r));
    if (blob_reader_is_sealed(r))
        blob_reader_unseal(r, shop_key);
    char *got = arena_alloc(tmp, o->bytes + 1, 1);
    size_t at = 0;
    for (size_t piece = 100000; at < o->bytes; piece = piece * 7 % 500000 + 1) {
        size_t n = 0;
        TRY(blob_reader_read(r, got + at, piece, at, &n));
        EXPECT(n > 0);
        at += n;
    }
    expect_bytes(o->etag, got, at);
    blob_reader_offer(r, o, str_from(got, at));
    return OK;
}

bool shop_check_hot(struct shop *s, const BlobBucket *bucket, Str key)
{
    const BlobObject *o;
    Str bytes;
    AUTO(blob_hot) h = blob_hot_take(s->b, bucket, key, &o, &bytes);
    if (h != NULL)
        expect_bytes(o->etag, bytes.p, bytes.n);
    return h != NULL;
}

// Every data file, or only the one of that number; its path.
static Str walk_files(struct shop *s, struct arena *a, size_t nth, size_t *ret_n)
{
    struct io *io = io_mem_io(s->disk);
    IoName *runs, *dirs, *files;
    size_t run_n, dir_n, file_n, n = 0;
    Str path = { 0 };
    EXPECT_OK(io->list(io, a, S("/blobs"), &runs, &run_n));
    for (size_t i = 0; i < run_n; i++) {
        if (!runs[i].is_dir) // the reserve
            continue;
        Str run = str_cat(a, S("/blobs/"), runs[i].name);
        EXPECT_OK(io->list(io, a, run, &dirs, &dir_n));
        for (size_t j = 0; j < dir_n; j++) {
            Str dir = str_cat3(a, run, S("/"), dirs[j].name);
            EXPECT_OK(io->list(io, a, dir, &files, &file_n));
            for (size_t k = 0; k < file_n; k++, n++)
                if (n == nth)
                    path = str_cat3(a, dir, S("/"), files[k].name);
        }
    }
    *ret_n = n;
    return path;
}

size_t shop_files(struct shop *s, struct arena *a)
{
    size_t n;
    walk_files(s, a, 0, &n);
    return n;
}

Str shop_path(struct shop *s, struct arena *a, size_t nth)
{
    size_t n;
    Str path = walk_files(s, a, nth, &n);
    EXPECT(nth < n);
    return path;
}

size_t shop_rows(struct shop *s, enum table t)
{
    AUTO(kv_txn) tx = kv_read(s->b->tables[t]);
    size_t n = 0;
    EXPECT_OK(kv_count(tx, S(""), &n));
    return n;
}

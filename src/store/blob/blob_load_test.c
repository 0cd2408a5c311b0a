// SPDX-License-Identifier: Apache-2.0
// Many threads on few keys, with the thread that removes: whoever reads gets one version, whole.
#include "store/blob/blob_test_help.h"
#include "store/blob_expire.h"

#include <pthread.h>
#include <string.h>

enum { THREADS = 6, ROUNDS = 60, KEYS = 3 };

struct worker {
    struct shop *s;
    unsigned number;
    uint64_t random;
    size_t puts, reads, copies, deletes;
    Err failed; // the first error that must not be
};

static uint64_t random_below(struct worker *w, uint64_t n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (w->random >> 11) % n;
}

static Err copy(struct worker *w, struct arena *a, Str from, Str to)
{
    AUTO(blob_put) p = NULL;
    AUTO(blob_reader) r = NULL;
    BlobObject o;
    struct shop *s = w->s;
    TRY(blob_reader_open(s->b, a, &s->bucket, from, (BlobSelect){ 0 }, &o, &r));
    TRY(blob_put_begin(s->b, &s->bucket, NULL, &p));
    Err e = blob_put_share(p, r, 0, o.bytes, false);
    if (e.kind == ERR_INVALID) // small, or sealed
        return OK;
    TRY(e);
    blob_reader_close(r); // what is shared stays all the same
    r = NULL;
    return blob_put_finish(p, a, &(BlobNew){ .key = to, .etag = o.etag }, &o);
}

// By a rule whose day has come.
static Err expire(struct worker *w, struct arena *a)
{
    Str after;
    struct shop *s = w->s;
    BlobRule rule = { .prefix = S("k0"), .at_ns = 1, .upload_days = 1 };
    BlobExpire e = { .rules = &rule,
                     .rule_count = 1,
                     .now_ns = s->b->io->wall_ns(s->b->io) + INT64_C(86400000000000),
                     .max = 2 };
    return blob_expire(s->b, a, &s->bucket, &e, &after);
}

static Err step(struct worker *w, struct arena *a)
{
    struct shop *s = w->s;
    Str key = str_fmt(a, "k%llu", (unsigned long long)random_below(w, KEYS));
    Str other = str_fmt(a, "k%llu", (unsigned long long)random_below(w, KEYS));
    BlobPage page;
    BlobDelete d = { .key = key };
    switch (random_below(w, 7)) {
    case 0:
    case 1:
        w->puts++;
        return shop_put(s, a, &s->bucket, key, random_below(w, 1000), random_below(w, 60000),
                        random_below(w, 2) == 0 ? shop_key : NULL, NULL);
    case 2:
        w->copies++;
        return copy(w, a, key, other);
    case 3:
        w->deletes += 1;
        return blob_delete(s->b, &s->bucket, &d, 1);
    case 4:
        return blob_list(s->b, a, &s->bucket, &(BlobListing){ .max = 10 }, &page);
    case 5:
        return expire(w, a);
    default:
        w->reads++;
        shop_check_hot(s, &s->bucket, key);
        return shop_check(s, a, &s->bucket, key, (BlobSelect){ 0 }, NULL);
    }
}

static void *work(void *p)
{
    struct worker *w = p;
    w->random = w->number * UINT64_C(0x9e3779b97f4a7c15) + 7;
    for (unsigned i = 0; i < ROUNDS && w->failed.kind == ERR_NONE; i++) {
        AUTO(arena) a = arena_open();
        Err e = step(w, a);
        if (e.kind != ERR_NOT_FOUND)
            w->failed = e;
    }
    return NULL;
}

TEST(threads_see_whole_versions_and_leave_no_file)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    AUTO(kv) db = NULL;
    AUTO(blob) b = NULL;
    struct shop s = { .disk = disk };
    EXPECT_OK(kv_open(io, S("/kv"), &db));
    EXPECT_OK(blob_open(&(BlobConfig){ .io = io, .kv = db, .dir = S("/blobs") }, &b));
    s.b = b;
    s.bucket = shop_bucket(&s, a, S("one"), BLOB_UNVERSIONED);
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .s = &s, .number = i + 1 };
        EXPECT(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    BlobDelete d[KEYS];
    for (unsigned i = 0; i < THREADS; i++) {
        EXPECT_OK(workers[i].failed);
        EXPECT(workers[i].puts > 0 && workers[i].reads > 0);
    }
    for (size_t i = 0; i < KEYS; i++) {
        Str key = str_fmt(a, "k%zu", i);
        BlobObject o;
        Err e = OK; // what is kept now is what is there
        for (int n = 0; n < 2 && e.kind == ERR_NONE; n++)
            e = shop_check(&s, a, &s.bucket, key, (BlobSelect){ 0 }, &o);
        if (shop_check_hot(&s, &s.bucket, key)) {
            const BlobObject *kept;
            Str bytes;
            AUTO(blob_hot) h = blob_hot_take(b, &s.bucket, key, &kept, &bytes);
            EXPECT(e.kind == ERR_NONE && kept->version == o.version);
        }
    }
    for (size_t i = 0; i < KEYS; i++)
        d[i] = (BlobDelete){ .key = str_fmt(a, "k%zu", i) };
    EXPECT_OK(blob_delete(b, &s.bucket, d, KEYS));
    blob_close(b);
    b = NULL;
    EXPECT_OK(blob_open_quiet(&(BlobConfig){ .io = io, .kv = db, .dir = S("/blobs") }, &b));
    s.b = b;
    EXPECT_OK(reap_sweep(b));
    EXPECT_OK(reap_all(b));
    EXPECT_INT(0, shop_files(&s, a));
    EXPECT_INT(0, shop_rows(&s, T_FILE));
    EXPECT_INT(0, shop_rows(&s, T_BODY));
}

// SPDX-License-Identifier: Apache-2.0
// The ends of restored copies (archive.c). That one cannot be read any more follows from the clock;
// that it has ended is told to who wants to hear of it (ObjectRestore:Delete), once, also after a
// crash: a row is written with the restore, and removed in the commit that takes the restore from
// the object and keeps the event.
//
//     row key   when it ends in ms, and the version: 8 bytes each, big-endian
//     row value "BUCKET\nKEY"
//
// A row whose version has gone, or is restored for longer, means nothing when its time has come.
#include "base/logline.h"
#include "base/time.h"
#include "os/io.h"
#include "store/kv.h"
#include "svc/s3/s3.h"

#include <endian.h>
#include <stdlib.h>

enum {
    ENDS_MAX = 256,   // in one go
    PAUSE_MS = 60000, // before what has failed is tried again
};

struct s3_restored {
    struct kv_table *rows;
    _Atomic int64_t next_ms; // no row is due before
};

// A row.
struct end {
    int64_t until_ms;
    uint64_t version;
    Str row_key, bucket, key;
};

static Str row_key(struct arena *a, int64_t until_ms, uint64_t version)
{
    uint64_t parts[] = { htobe64((uint64_t)until_ms), htobe64(version) };
    return str_dup(a, str_from(parts, sizeof parts));
}

static Err read_row(struct arena *a, Str key, Str value, struct end *ret)
{
    uint64_t parts[2];
    if (key.n != sizeof parts || !str_cut(str_dup(a, value), '\n', &ret->bucket, &ret->key))
        return fail(ERR_CORRUPT, "a row of a restored object is damaged");
    memcpy(parts, key.p, sizeof parts);
    ret->until_ms = (int64_t)be64toh(parts[0]);
    ret->version = be64toh(parts[1]);
    ret->row_key = str_dup(a, key);
    return OK;
}

Err s3_restored_note(struct s3 *s, struct kv_txn *tx, Str bucket, const BlobObject *o,
                     int64_t until_ns)
{
    AUTO(arena) tmp = arena_open();
    kv_on(tx, s->restored->rows);
    return kv_put(tx, row_key(tmp, until_ns / NS_PER_MS, o->version),
                  str_cat3(tmp, bucket, S("\n"), o->key));
}

static void wait_until(struct s3_restored *r, int64_t ms)
{
    int64_t next = atomic_load(&r->next_ms);
    while (ms < next && !atomic_compare_exchange_weak(&r->next_ms, &next, ms))
        ;
}

void s3_restored_wait(struct s3 *s, int64_t until_ns)
{
    wait_until(s->restored, until_ns / NS_PER_MS);
}

bool s3_restored_is_due(struct s3 *s, int64_t now_ns)
{
    return atomic_load(&s->restored->next_ms) <= now_ns / NS_PER_MS;
}

// ---- Ending

struct ending {
    struct s3 *s;
    struct call *call;
    const BlobBucket *bucket;
    Str row_key;
    struct s3_noted noted;
};

static Err forget(struct kv_txn *tx, struct s3_restored *r, Str key)
{
    kv_on(tx, r->rows);
    return kv_del(tx, key);
}

static Err note(void *self, struct kv_txn *tx, const BlobObject *o)
{
    struct ending *e = self;
    TRY(forget(tx, e->s->restored, e->row_key));
    return s3_notify_within(tx, &e->noted, e->call, e->bucket,
                            &(S3Event){ .name = "ObjectRestore:Delete", .object = o });
}

// ERR_NOT_FOUND: there is nothing that ends. ERR_BUSY: it is being restored for longer.
static Err end_one(struct s3 *s, struct arena *a, const struct end *row)
{
    BlobBucket b;
    BlobObject o;
    Str ready, until;
    int64_t until_ms;
    BlobSelect which = { .which = BLOB_VERSION, .version = row->version };
    TRY(blob_bucket_find(s->blob, a, row->bucket, &b));
    TRY(blob_find(s->blob, a, &b, row->key, which, &o));
    BlobPair was = { S3_RESTORE, blob_pair(o.attributes, S3_RESTORE) };
    BlobPair none = { S3_RESTORE, { 0 } };
    if (was.value.p == NULL || !str_cut(was.value, ' ', &ready, &until) ||
        str_i64(until, &until_ms).kind != ERR_NONE || until_ms != row->until_ms)
        return fail(ERR_NOT_FOUND, "it does not end now");
    struct ending e = {
        .s = s, .call = s3_lifecycle_call(s, a, &b), .bucket = &b, .row_key = row->row_key
    };
    BlobChange change = { .set = { &none, 1 }, .only_if = &was, .also = { note, &e } };
    Err err = blob_change(s->blob, a, &b, row->key, which, &change, &o);
    if (err.kind == ERR_NONE)
        s3_events_send(s, &e.noted);
    s3_noted_close(&e.noted);
    return err;
}

static Err end_row(struct s3 *s, const struct end *row)
{
    AUTO(arena) a = arena_open();
    Err e;
    do
        e = end_one(s, a, row);
    while (e.kind == ERR_BUSY);
    if (e.kind != ERR_NOT_FOUND && e.kind != ERR_CLOSED)
        return e;
    AUTO(kv_txn) tx = kv_write(s->restored->rows);
    TRY(forget(tx, s->restored, row->row_key));
    return kv_commit(tx);
}

// The rows that are due, at most ENDS_MAX; *ret_next: when the one after them is, INT64_MAX: there
// is none.
static Err due_rows(struct s3 *s, struct arena *a, int64_t now_ms, struct end *at, size_t *ret_n,
                    int64_t *ret_next)
{
    AUTO(kv_txn) tx = kv_read(s->restored->rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    *ret_n = 0;
    *ret_next = INT64_MAX;
    while (*ret_next == INT64_MAX && kv_scan_next(&scan)) {
        struct end row;
        Err e = read_row(a, scan.rest, scan.value, &row);
        if (e.kind != ERR_NONE)
            LOG(LOG_ERROR, "the end of a restored object is not told", F_ERR(e));
        else if (row.until_ms > now_ms || *ret_n == ENDS_MAX)
            *ret_next = row.until_ms;
        else
            at[(*ret_n)++] = row;
    }
    kv_scan_end(&scan);
    return scan.err;
}

static bool took(Err e)
{
    if (e.kind != ERR_NONE)
        LOG(LOG_ERROR, "the end of a restored object could not be told yet", F_ERR(e));
    return e.kind == ERR_NONE;
}

void s3_restored_end(struct s3 *s, int64_t now_ns, bool (*is_ending)(void *self), void *self)
{
    AUTO(arena) a = arena_open();
    struct end *at = arena_new(a, struct end, ENDS_MAX);
    size_t n = 0;
    int64_t next = INT64_MAX;
    atomic_store(&s->restored->next_ms, INT64_MAX); // what is restored from here on says so itself
    bool all = took(due_rows(s, a, now_ns / NS_PER_MS, at, &n, &next));
    for (size_t i = 0; i < n && !is_ending(self); i++)
        all &= took(end_row(s, &at[i]));
    wait_until(s->restored, all ? next : MIN(next, now_ns / NS_PER_MS + PAUSE_MS));
}

// ---- Opening

Err s3_restored_open(struct s3 *s)
{
    struct s3_restored *r = xalloc(sizeof *r);
    atomic_init(&r->next_ms, 0); // the first look tells
    s->restored = r;
    return kv_table_open(s->env.kv, S("s3.restored"), &r->rows);
}

void s3_restored_close(struct s3 *s)
{
    free(s->restored);
    s->restored = NULL;
}

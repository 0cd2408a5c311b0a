// SPDX-License-Identifier: Apache-2.0
// Objects, versions and uploads that end by rules. A walk finds whose time has come, without
// holding anybody up; one transaction then ends them, each only if it still is what was found: a
// version that is no longer the latest is not covered by a marker, and a marker that something has
// come behind stays.
#include "store/blob/blob_priv.h"

#include "store/blob_expire.h"

enum { DUE_MAX = BLOB_REAP_BATCH }; // in one commit

#define DAY_NS (INT64_C(86400) * 1000000000)

// Something whose time has come.
struct due {
    enum { DUE_LATEST, DUE_NONCURRENT, DUE_MARKER } what;
    Str key;
    uint64_t version;
    BlobObject ended; // filled in when it has
    bool has_ended;
    BlobEnd how;
};

struct expiry {
    struct blob *b;
    const BlobExpire *e;
    struct arena *a;
    struct due due[DUE_MAX + 1];
    size_t due_n, seen;
    Str key;          // whose versions are walked over
    size_t versions;  // of it, so far
    int64_t newer_ns; // when the version before was made
    bool has_marker;  // it is the first, and ends if it is the only one
    uint64_t marker_version;
};

int64_t blob_days_after(int64_t ns, int64_t days)
{
    int64_t at;
    if (__builtin_mul_overflow(days, DAY_NS, &at) || __builtin_add_overflow(at, ns, &at) ||
        __builtin_add_overflow(at, DAY_NS - 1, &at))
        return INT64_MAX;
    return at - at % DAY_NS;
}

bool blob_rule_fits(const BlobRule *r, const BlobObject *o)
{
    if (!str_starts(o->key, r->prefix))
        return false;
    if ((r->bytes_above != 0 && o->bytes <= r->bytes_above) ||
        (r->bytes_below != 0 && o->bytes >= r->bytes_below))
        return false;
    for (size_t i = 0; i < r->tags.n; i++) {
        Str value = blob_pair(o->tags, r->tags.at[i].name);
        if (value.p == NULL || !str_eq(value, r->tags.at[i].value))
            return false;
    }
    return true;
}

static bool is_old(const struct expiry *x, const BlobRule *r, const BlobObject *o)
{
    return (r->days > 0 && blob_days_after(o->modified_ns, r->days) <= x->e->now_ns) ||
           (r->at_ns > 0 && r->at_ns <= x->e->now_ns);
}

// ---- Finding

static bool latest_ends(const struct expiry *x, const BlobObject *o)
{
    for (size_t i = 0; i < x->e->rule_count; i++)
        if (blob_rule_fits(&x->e->rules[i], o) && is_old(x, &x->e->rules[i], o))
            return true;
    return false;
}

// A marker that is all there is of its key. It has no tags, and so no rule with tags.
static bool marker_ends(const struct expiry *x, const BlobObject *o)
{
    for (size_t i = 0; i < x->e->rule_count; i++) {
        const BlobRule *r = &x->e->rules[i];
        if (str_starts(o->key, r->prefix) && r->tags.n == 0 &&
            (r->lonely_markers || is_old(x, r, o)))
            return true;
    }
    return false;
}

// `since_ns`: when it was replaced; `newer`: noncurrent versions that are newer.
static bool noncurrent_ends(const struct expiry *x, const BlobObject *o, int64_t since_ns,
                            size_t newer)
{
    for (size_t i = 0; i < x->e->rule_count; i++) {
        const BlobRule *r = &x->e->rules[i];
        if (r->noncurrent_days > 0 && newer >= r->noncurrent_kept && blob_rule_fits(r, o) &&
            blob_days_after(since_ns, r->noncurrent_days) <= x->e->now_ns)
            return true;
    }
    return false;
}

static void add_due(struct expiry *x, int what, Str key, uint64_t version)
{
    x->due[x->due_n++] =
        (struct due){ .what = what, .key = str_dup(x->a, key), .version = version };
}

// The key is done, and nothing but a marker was seen of it.
static void marker_is_alone(struct expiry *x)
{
    if (x->has_marker)
        add_due(x, DUE_MARKER, x->key, x->marker_version);
    x->has_marker = false;
}

// The next row of the walk: keys in order, of one key the newest version first.
static void look_at(struct expiry *x, const BlobObject *o)
{
    bool is_first = x->versions == 0 || !str_eq(x->key, o->key);
    if (is_first) {
        marker_is_alone(x);
        x->key = str_dup(x->a, o->key);
        x->versions = 0;
        x->has_marker = o->is_marker && marker_ends(x, o);
        x->marker_version = o->version;
        if (!o->is_marker && latest_ends(x, o))
            add_due(x, DUE_LATEST, o->key, o->version);
    } else {
        x->has_marker = false; // something is behind it
        if (noncurrent_ends(x, o, x->newer_ns, x->versions - 1))
            add_due(x, DUE_NONCURRENT, o->key, o->version);
    }
    x->newer_ns = o->modified_ns;
    x->versions++;
    x->seen++;
}

// ---- Ending

static bool is_alone(Err e)
{
    return e.kind == ERR_NOT_FOUND;
}

static Err end_one(struct expiry *x, struct kv_txn *tx, struct arena *tmp, const BlobBucket *bucket,
                   struct due *d)
{
    ObjectRow row, behind;
    BlobSelect which = { .which = BLOB_VERSION, .version = d->version };
    BlobDelete made = { .key = d->key };
    Err e = object_find(x->b, tx, tmp, bucket, d->key, which, &row);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    d->how = BLOB_END_REMOVED;
    d->ended = row.o;
    d->ended.key = d->key;
    d->has_ended = row.o.is_latest != (d->what == DUE_NONCURRENT);
    if (d->what == DUE_MARKER && d->has_ended) {
        e = object_behind(x->b, tx, tmp, bucket->id, d->key, d->version, &behind);
        d->has_ended = is_alone(e);
        if (!is_alone(e))
            TRY(e);
    }
    bool marks = d->what == DUE_LATEST && bucket->versioning != BLOB_UNVERSIONED;
    d->has_ended &= marks || !retention_holds(&row.o.retention, x->e->now_ns, false);
    if (!d->has_ended)
        return OK;
    if (d->what != DUE_LATEST)
        return object_remove(x->b, tx, tmp, bucket, &row);
    TRY(object_delete_latest(x->b, tx, tmp, bucket, d->key, &made));
    d->how = made.made_marker ? BLOB_END_MARKED : BLOB_END_REMOVED;
    d->ended.version = made.version;
    d->ended.is_marker = made.made_marker;
    d->ended.is_null = made.is_null;
    return OK;
}

static Err end_all(struct expiry *x, const BlobBucket *bucket)
{
    AUTO(arena) tmp = arena_open();
    AUTO_HOT_WRITES(changed);
    AUTO(kv_txn) tx = kv_write(x->b->tables[T_OBJECT]);
    hot_begin(x->b, &changed);
    BlobBucket now;
    TRY(bucket_look(x->b, tx, tmp, bucket, &now));
    for (size_t i = 0; i < x->due_n; i++) {
        struct due *d = &x->due[i];
        TRY(end_one(x, tx, tmp, &now, d));
        if (d->has_ended && x->e->note != NULL)
            TRY(x->e->note(x->e->self, tx, d->how, &d->ended));
    }
    return kv_commit(tx);
}

// Ends what was found, and tells of it.
static Err end_due(struct expiry *x, const BlobBucket *bucket)
{
    if (x->due_n == 0)
        return OK;
    Err e = end_all(x, bucket);
    if (e.kind == ERR_NONE) {
        reap_ask(x->b);
        for (size_t i = 0; i < x->due_n && x->e->tell != NULL; i++) {
            struct due *d = &x->due[i];
            d->ended.attributes = d->ended.tags = (BlobPairs){ 0 }; // they were the transaction's
            d->ended.etag = S("");
            if (d->has_ended)
                x->e->tell(x->e->self, d->how, &d->ended);
        }
    }
    x->due_n = 0;
    return e;
}

// ---- Uploads

static bool upload_ends(const struct expiry *x, const BlobUpload *u)
{
    for (size_t i = 0; i < x->e->rule_count; i++) {
        const BlobRule *r = &x->e->rules[i];
        if (r->upload_days > 0 && str_starts(u->key, r->prefix) &&
            blob_days_after(u->created_ns, r->upload_days) <= x->e->now_ns)
            return true;
    }
    return false;
}

static Err end_uploads(struct expiry *x, const BlobBucket *bucket)
{
    BlobListing l = { .max = BLOB_LIST_MAX };
    BlobUploadPage page = { .more = true };
    while (page.more) {
        AUTO(arena) tmp = arena_open();
        TRY(blob_upload_list(x->b, tmp, bucket, &l, &page));
        for (size_t i = 0; i < page.upload_count; i++) {
            const BlobUpload *u = &page.uploads[i];
            BlobObject of = { .key = u->key };
            if (!upload_ends(x, u))
                continue;
            Err e = blob_upload_abort(x->b, bucket, u->key, u->id);
            if (e.kind == ERR_NONE && x->e->tell != NULL)
                x->e->tell(x->e->self, BLOB_END_UPLOAD, &of);
            if (e.kind != ERR_NOT_FOUND) // else its client was faster
                TRY(e);
        }
        l.after = str_dup(x->a, page.last);
        l.after_version = page.last_id;
    }
    return OK;
}

// ---- A walk

// Looks at rows until there are enough of them, and ends with a whole key. *ret_done: no more are
// there.
static Err walk_rows(struct expiry *x, const BlobBucket *bucket, bool *ret_done)
{
    BlobListing l = { .after = x->e->after, .max = BLOB_LIST_MAX };
    BlobPage page = { .more = true };
    bool enough = false;
    while (page.more && !enough) {
        AUTO(arena) tmp = arena_open();
        TRY(blob_list_versions(x->b, tmp, bucket, &l, &page));
        for (size_t i = 0; i < page.object_count && !enough; i++) {
            const BlobObject *o = &page.objects[i];
            enough = x->seen >= MAX(x->e->max, (size_t)1) && !str_eq(o->key, x->key);
            if (!enough)
                look_at(x, o);
            if (x->due_n >= DUE_MAX)
                TRY(end_due(x, bucket));
        }
        l.after = str_dup(x->a, page.last);
        l.after_version = page.last_version;
    }
    *ret_done = !enough;
    return OK;
}

Err blob_expire(struct blob *b, struct arena *a, const BlobBucket *bucket, const BlobExpire *e,
                Str *ret_after)
{
    struct expiry *x = arena_new(a, struct expiry, 1);
    bool done;
    *x = (struct expiry){ .b = b, .e = e, .a = a };
    if (e->after.p == NULL)
        TRY(end_uploads(x, bucket));
    TRY(walk_rows(x, bucket, &done));
    marker_is_alone(x);
    TRY(end_due(x, bucket));
    *ret_after = done ? (Str){ 0 } : x->key;
    return OK;
}

// SPDX-License-Identifier: Apache-2.0
// Listing: scans of rows in the order of keys. A common prefix costs one seek: what begins with it
// is jumped over, by a key that is above all of them, as no UTF-8 has a byte 0xff.
#include "store/blob/blob_priv.h"

enum { STEPS_BEFORE_SEEK = 8 }; // over rows of a group: a seek costs about as much

// ---- Walks

static void scan_from(struct walk *w, Str after)
{
    kv_on(w->tx, w->b->tables[w->table]);
    w->scan = kv_scan_start(w->tx, str_from(w->prefix.bytes, w->prefix_n), after);
}

Err walk_begin(struct walk *w, struct blob *b, struct kv_txn *tx, struct arena *tmp,
               enum table table, uint64_t bucket, Str prefix, Str after)
{
    *w = (struct walk){ .b = b, .tx = tx, .table = table, .bucket = bucket, .tmp = tmp };
    w->has_tail = table == T_OLDER || table == T_UPLOAD;
    Str full =
        w->has_tail ? key_escaped(&w->prefix, bucket, prefix) : key_two(&w->prefix, bucket, prefix);
    w->prefix_n = full.n;
    w->mark = arena_mark(tmp);
    scan_from(w, after);
    return walk_next(w);
}

// The row's key, as the client knows it.
static bool read_key(struct walk *w)
{
    Str full = str_cat(w->tmp, str_from(w->prefix.bytes, w->prefix_n), w->scan.rest);
    Str rest = str_skip(full, BLOB_NUMBER_BYTES);
    if (w->has_tail)
        return key_read_tail(w->tmp, rest, &w->key, &w->tail);
    w->key = rest;
    return true;
}

Err walk_next(struct walk *w)
{
    for (unsigned steps = 0;; steps++) {
        arena_rewind(w->tmp, w->mark);
        w->has = kv_scan_next(&w->scan);
        if (!w->has)
            return w->scan.err;
        if (!read_key(w))
            return fail(ERR_CORRUPT, "blob: a key is not what it should be");
        if (w->skips.p == NULL || !str_starts(w->key, w->skips))
            break;
        if (steps == STEPS_BEFORE_SEEK) {
            KeyRoom room;
            Str above = w->has_tail ? key_escaped(&room, w->bucket, w->skips)
                                    : key_two(&room, w->bucket, w->skips);
            room.bytes[above.n] = (char)0xff;
            kv_scan_end(&w->scan);
            scan_from(w, str_from(room.bytes, above.n + 1));
        }
    }
    w->value = w->scan.value;
    return OK;
}

Err walk_skip(struct walk *w, Str group)
{
    if (group.p == NULL)
        return OK;
    w->skips = group;
    return w->has && str_starts(w->key, group) ? walk_next(w) : OK;
}

// ---- Listings

Str listing_group(const BlobListing *l, Str key)
{
    if (l->delimiter.n == 0 || !str_starts(key, l->prefix))
        return (Str){ 0 };
    Str rest = str_skip(key, l->prefix.n);
    size_t at = str_search(rest, l->delimiter);
    if (at == rest.n)
        return (Str){ 0 };
    return str_head(key, l->prefix.n + at + l->delimiter.n);
}

Str listing_after_tail(KeyRoom *room, uint64_t bucket, const BlobListing *l, uint64_t tail)
{
    return l->after.n > 0 ? key_tail(room, bucket, l->after, tail) : S("");
}

static Err check_listing(const BlobListing *l)
{
    CHECK(l->max <= BLOB_LIST_MAX);
    if (l->prefix.n > BLOB_KEY_BYTES_MAX || l->after.n > BLOB_KEY_BYTES_MAX ||
        l->delimiter.n > BLOB_KEY_BYTES_MAX)
        return fail(ERR_INVALID, "blob: no key is as long");
    return OK;
}

static bool is_full(const BlobListing *l, const BlobPage *page)
{
    return page->object_count + page->prefix_count == l->max;
}

static Err page_begin(struct arena *a, const BlobListing *l, BlobPage *ret)
{
    TRY(check_listing(l));
    // Not zeroed: of a thousand there may be ten.
    *ret = (BlobPage){ .objects = arena_try_raw_new(a, BlobObject, l->max + 1),
                       .prefixes = arena_try_raw_new(a, Str, l->max + 1) };
    bool has_memory = ret->objects != NULL && ret->prefixes != NULL;
    return has_memory ? OK : fail(ERR_MEMORY, "blob: a list");
}

static Err add_object(struct arena *a, BlobPage *page, Str key, Str value, bool is_latest)
{
    ObjectRow row;
    TRY(row_read_object(a, str_dup(a, value), &row));
    row.o.key = str_dup(a, key);
    row.o.is_latest = is_latest;
    page->objects[page->object_count++] = row.o;
    page->last = row.o.key;
    page->last_version = row.o.version;
    return OK;
}

static void add_prefix(struct arena *a, BlobPage *page, Str group)
{
    page->last = page->prefixes[page->prefix_count++] = str_dup(a, group);
    page->last_version = 0;
}

Err blob_list(struct blob *b, struct arena *a, const BlobBucket *bucket, const BlobListing *l,
              BlobPage *ret)
{
    BlobPage page;
    TRY(page_begin(a, l, &page));
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_read(b->tables[T_OBJECT]);
    KeyRoom room;
    struct walk w;
    Str after = l->after.n > 0 ? key_two(&room, bucket->id, l->after) : S("");
    TRY(walk_begin(&w, b, tx, tmp, T_OBJECT, bucket->id, l->prefix, after));
    TRY(walk_skip(&w, listing_group(l, l->after)));
    while (w.has && l->max > 0) {
        Str group = listing_group(l, w.key);
        bool wanted = group.p == NULL || str_cmp(group, l->after) > 0;
        page.more = wanted && is_full(l, &page);
        if (page.more)
            break;
        if (group.p == NULL) {
            TRY(add_object(a, &page, w.key, w.value, true));
            TRY(walk_next(&w));
            continue;
        }
        group = str_dup(a, group);
        if (wanted)
            add_prefix(a, &page, group);
        TRY(walk_skip(&w, group));
    }
    *ret = page;
    return OK;
}

// ---- Versions: the rows of two tables, merged

struct merge {
    struct walk latest, older;
    Str seen; // the key of the row before
    bool any_seen;
};

// The row that comes next, or NULL.
static struct walk *merge_row(struct merge *m)
{
    if (!m->latest.has)
        return m->older.has ? &m->older : NULL;
    if (!m->older.has || str_cmp(m->latest.key, m->older.key) <= 0)
        return &m->latest;
    return &m->older;
}

static Err merge_begin(struct merge *m, struct blob *b, struct kv_txn *tx, struct arena *tmp[2],
                       const BlobBucket *bucket, const BlobListing *l)
{
    KeyRoom room;
    *m = (struct merge){ 0 };
    Str after = l->after.n > 0 ? key_two(&room, bucket->id, l->after) : S("");
    TRY(walk_begin(&m->latest, b, tx, tmp[0], T_OBJECT, bucket->id, l->prefix, after));
    uint64_t tail = l->after_version != 0 ? ~l->after_version : UINT64_MAX;
    after = listing_after_tail(&room, bucket->id, l, tail);
    TRY(walk_begin(&m->older, b, tx, tmp[1], T_OLDER, bucket->id, l->prefix, after));
    m->seen = l->after;
    m->any_seen = l->after_version != 0;
    Str group = listing_group(l, l->after);
    if (l->after_version != 0)
        return OK;
    TRY(walk_skip(&m->latest, group));
    return walk_skip(&m->older, group);
}

// A version that was listed as the latest may have gone since, and the next one have moved up.
static Err add_moved_up(struct blob *b, struct kv_txn *tx, struct arena *a,
                        const BlobBucket *bucket, const BlobListing *l, BlobPage *page)
{
    ObjectRow row;
    if (l->after_version == 0 || l->max == 0 || !str_starts(l->after, l->prefix))
        return OK;
    Err e = object_find(b, tx, a, bucket, l->after, (BlobSelect){ 0 }, &row);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    if (row.o.version >= l->after_version)
        return OK;
    page->objects[page->object_count++] = row.o;
    page->last = row.o.key;
    page->last_version = row.o.version;
    return OK;
}

static Err add_row(struct arena *a, struct merge *m, struct walk *w, BlobPage *page)
{
    bool is_first = !m->any_seen || !str_eq(m->seen, w->key);
    TRY(add_object(a, page, w->key, w->value, w == &m->latest));
    BlobObject *o = &page->objects[page->object_count - 1];
    o->is_latest |= o->is_marker && is_first;
    m->seen = o->key;
    m->any_seen = true;
    return walk_next(w);
}

Err blob_list_versions(struct blob *b, struct arena *a, const BlobBucket *bucket,
                       const BlobListing *l, BlobPage *ret)
{
    BlobPage page;
    TRY(page_begin(a, l, &page));
    AUTO(arena) tmp = arena_open();
    AUTO(arena) tmp_older = arena_open();
    AUTO(kv_txn) tx = kv_read(b->tables[T_OBJECT]);
    struct merge m;
    TRY(add_moved_up(b, tx, a, bucket, l, &page));
    TRY(merge_begin(&m, b, tx, (struct arena *[]){ tmp, tmp_older }, bucket, l));
    for (struct walk *w; l->max > 0 && (w = merge_row(&m)) != NULL;) {
        Str group = listing_group(l, w->key);
        bool wanted = group.p == NULL || str_cmp(group, l->after) > 0;
        page.more = wanted && is_full(l, &page);
        if (page.more)
            break;
        if (group.p == NULL) {
            TRY(add_row(a, &m, w, &page));
            continue;
        }
        group = str_dup(a, group);
        if (wanted)
            add_prefix(a, &page, group);
        TRY(walk_skip(&m.latest, group));
        TRY(walk_skip(&m.older, group));
    }
    *ret = page;
    return OK;
}

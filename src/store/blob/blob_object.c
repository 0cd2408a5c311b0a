// SPDX-License-Identifier: Apache-2.0
// Versions. blob_object has the latest version of a key if that is no marker; blob_older has all
// others. So where blob_object has no row for a key, the newest row of blob_older is a marker.
// What changes that order is here, in transactions that write; versions grow with their commits.
#include "store/blob/blob_priv.h"

#include "base/buf.h"

static Err put_row(struct blob *b, struct kv_txn *tx, enum table t, Str key, const ObjectRow *r)
{
    AUTO_BUF(row);
    row_object(&row, r);
    TRY(buf_err(&row));
    if (t == T_OBJECT)
        hot_note(b, key);
    kv_on(tx, b->tables[t]);
    return kv_put(tx, key, buf_str(&row));
}

static Err get_row(struct blob *b, struct kv_txn *tx, struct arena *a, enum table t, Str full,
                   Str key, ObjectRow *ret)
{
    Str row;
    kv_on(tx, b->tables[t]);
    TRY(kv_get(tx, a, full, &row));
    TRY(row_read_object(a, row, ret));
    ret->o.key = key;
    return OK;
}

static Err get_latest(struct blob *b, struct kv_txn *tx, struct arena *a, uint64_t bucket, Str key,
                      ObjectRow *ret)
{
    KeyRoom room;
    TRY(get_row(b, tx, a, T_OBJECT, key_two(&room, bucket, key), key, ret));
    ret->o.is_latest = true;
    return OK;
}

static Err get_older(struct blob *b, struct kv_txn *tx, struct arena *a, uint64_t bucket, Str key,
                     uint64_t version, ObjectRow *ret)
{
    KeyRoom room;
    return get_row(b, tx, a, T_OLDER, key_tail(&room, bucket, key, ~version), key, ret);
}

// The first row of blob_older after this key of a row.
static Err get_next_older(struct blob *b, struct kv_txn *tx, struct arena *a, Str full, bool any,
                          Str key, ObjectRow *ret)
{
    kv_on(tx, b->tables[T_OLDER]);
    struct kv_scan s =
        kv_scan_start(tx, str_head(full, full.n - BLOB_NUMBER_BYTES), any ? S("") : full);
    if (!kv_scan_next(&s))
        return s.err.kind != ERR_NONE ? s.err : fail(ERR_NOT_FOUND, "blob: no such object");
    Err e = row_read_object(a, str_dup(a, s.value), ret);
    kv_scan_end(&s);
    ret->o.key = key;
    return e;
}

static Err get_newest_older(struct blob *b, struct kv_txn *tx, struct arena *a, uint64_t bucket,
                            Str key, ObjectRow *ret)
{
    KeyRoom room;
    return get_next_older(b, tx, a, key_tail(&room, bucket, key, 0), true, key, ret);
}

Err object_behind(struct blob *b, struct kv_txn *tx, struct arena *a, uint64_t bucket, Str key,
                  uint64_t version, ObjectRow *ret)
{
    KeyRoom room;
    return get_next_older(b, tx, a, key_tail(&room, bucket, key, ~version), false, key, ret);
}

static bool is_absent(Err e)
{
    return e.kind == ERR_NOT_FOUND;
}

// ---- Moving and removing

static Err older_put(struct blob *b, struct kv_txn *tx, uint64_t bucket, const ObjectRow *r)
{
    KeyRoom room;
    TRY(put_row(b, tx, T_OLDER, key_tail(&room, bucket, r->o.key, ~r->o.version), r));
    if (!r->o.is_null)
        return OK;
    KeyRoom value;
    kv_on(tx, b->tables[T_NULL]);
    return kv_put(tx, key_two(&room, bucket, r->o.key), key_number(&value, r->o.version));
}

static Err older_del(struct blob *b, struct kv_txn *tx, uint64_t bucket, const ObjectRow *r)
{
    KeyRoom room;
    kv_on(tx, b->tables[T_OLDER]);
    TRY(kv_del(tx, key_tail(&room, bucket, r->o.key, ~r->o.version)));
    if (!r->o.is_null)
        return OK;
    kv_on(tx, b->tables[T_NULL]);
    return kv_del(tx, key_two(&room, bucket, r->o.key));
}

static Err latest_del(struct blob *b, struct kv_txn *tx, uint64_t bucket, Str key)
{
    KeyRoom room;
    Str full = key_two(&room, bucket, key);
    hot_note(b, full);
    kv_on(tx, b->tables[T_OBJECT]);
    return kv_del(tx, full);
}

// Nobody needs the bytes of a version any more. Small ones go at once: who reads them has them.
static Err body_let_go(struct blob *b, struct kv_txn *tx, const ObjectRow *r)
{
    KeyRoom room;
    if (r->body == 0)
        return OK;
    if (!r->is_inline)
        return gone_note(b, tx, GONE_BODY, r->body, S(""));
    kv_on(tx, b->tables[T_BODY]);
    return kv_del(tx, key_number(&room, r->body));
}

static Err find_null_older(struct blob *b, struct kv_txn *tx, struct arena *a, uint64_t bucket,
                           Str key, ObjectRow *ret)
{
    KeyRoom room;
    Str version;
    kv_on(tx, b->tables[T_NULL]);
    TRY(kv_get(tx, a, key_two(&room, bucket, key), &version));
    if (version.n != BLOB_NUMBER_BYTES)
        return fail(ERR_CORRUPT, "blob: a row of null versions");
    return get_older(b, tx, a, bucket, key, number_of(version), ret);
}

// Removes the version that is called "null", if there is one. `latest` is the latest or NULL.
static Err drop_null(struct blob *b, struct kv_txn *tx, struct arena *a, uint64_t bucket, Str key,
                     const ObjectRow *latest, ObjectRow *ret_dropped, bool *ret_any)
{
    *ret_any = true;
    if (latest != NULL && latest->o.is_null) {
        *ret_dropped = *latest;
        TRY(latest_del(b, tx, bucket, key));
        return body_let_go(b, tx, latest);
    }
    ObjectRow old;
    Err e = find_null_older(b, tx, a, bucket, key, &old);
    *ret_any = e.kind == ERR_NONE;
    if (is_absent(e))
        return OK;
    TRY(e);
    *ret_dropped = old;
    TRY(older_del(b, tx, bucket, &old));
    return body_let_go(b, tx, &old);
}

// Makes room for a new latest version of a key: the one before stays as an older one or goes.
// *ret_any: one has gone, *ret_dropped.
static Err make_way(struct blob *b, struct kv_txn *tx, struct arena *a, const BlobBucket *bucket,
                    Str key, const ObjectRow *latest, ObjectRow *ret_dropped, bool *ret_any)
{
    *ret_any = false;
    if (bucket->versioning != BLOB_VERSIONED)
        TRY(drop_null(b, tx, a, bucket->id, key, latest, ret_dropped, ret_any));
    bool stays = latest != NULL && (bucket->versioning == BLOB_VERSIONED || !latest->o.is_null);
    if (!stays)
        return OK;
    TRY(latest_del(b, tx, bucket->id, key));
    return older_put(b, tx, bucket->id, latest);
}

static Err check_condition(const BlobCondition *c, const ObjectRow *latest)
{
    if (c->if_absent && latest != NULL)
        return fail(ERR_EXISTS, "blob: there is such an object");
    if (c->if_etag.p == NULL)
        return OK;
    if (latest == NULL)
        return fail(ERR_NOT_FOUND, "blob: there is no object with that etag");
    return str_eq(c->if_etag, S("*")) || str_eq(c->if_etag, latest->o.etag)
               ? OK
               : fail(ERR_BUSY, "blob: another etag is there");
}

// *ret_has: *ret is the latest version.
static Err look_latest(struct blob *b, struct kv_txn *tx, struct arena *a, uint64_t bucket, Str key,
                       ObjectRow *ret, bool *ret_has)
{
    Err e = get_latest(b, tx, a, bucket, key, ret);
    *ret_has = e.kind == ERR_NONE;
    return is_absent(e) ? OK : e;
}

Err object_place(struct blob *b, struct kv_txn *tx, struct arena *a, const BlobBucket *bucket,
                 const BlobCondition *condition, ObjectRow *row)
{
    ObjectRow latest, dropped;
    bool has, any;
    KeyRoom room;
    bool retained = row->o.retention.mode != BLOB_FREE || row->o.retention.hold;
    if (retained && !bucket->locks)
        return fail(ERR_INVALID, "blob: retention needs a bucket with object lock");
    TRY(look_latest(b, tx, a, bucket->id, row->o.key, &latest, &has));
    TRY(check_condition(condition, has ? &latest : NULL));
    TRY(make_way(b, tx, a, bucket, row->o.key, has ? &latest : NULL, &dropped, &any));
    row->has_ousted = any;
    row->o.version = b->next_version++;
    row->o.is_null = bucket->versioning != BLOB_VERSIONED;
    row->o.is_latest = true;
    row->o.modified_ns = b->io->wall_ns(b->io);
    return put_row(b, tx, T_OBJECT, key_two(&room, bucket->id, row->o.key), row);
}

Err object_remove(struct blob *b, struct kv_txn *tx, struct arena *a, const BlobBucket *bucket,
                  const ObjectRow *row)
{
    ObjectRow latest, newest;
    bool has;
    KeyRoom room;
    TRY(look_latest(b, tx, a, bucket->id, row->o.key, &latest, &has));
    bool is_latest = has && latest.o.version == row->o.version;
    TRY(is_latest ? latest_del(b, tx, bucket->id, row->o.key) : older_del(b, tx, bucket->id, row));
    TRY(body_let_go(b, tx, row));
    if (has && !is_latest)
        return OK;
    Err e = get_newest_older(b, tx, a, bucket->id, row->o.key, &newest);
    if (is_absent(e) || (e.kind == ERR_NONE && newest.o.is_marker))
        return OK;
    TRY(e);
    TRY(older_del(b, tx, bucket->id, &newest));
    return put_row(b, tx, T_OBJECT, key_two(&room, bucket->id, row->o.key), &newest);
}

Err object_delete_latest(struct blob *b, struct kv_txn *tx, struct arena *a,
                         const BlobBucket *bucket, Str key, BlobDelete *d)
{
    ObjectRow latest, dropped = { 0 };
    bool has;
    TRY(look_latest(b, tx, a, bucket->id, key, &latest, &has));
    TRY(check_condition(&d->condition, has ? &latest : NULL));
    TRY(make_way(b, tx, a, bucket, key, has ? &latest : NULL, &dropped, &d->removed));
    d->version = d->removed ? dropped.o.version : 0;
    d->is_null = d->removed && dropped.o.is_null;
    if (bucket->versioning == BLOB_UNVERSIONED)
        return OK;
    ObjectRow marker = { .o = { .key = key,
                                .version = b->next_version++,
                                .is_marker = true,
                                .is_null = bucket->versioning == BLOB_SUSPENDED,
                                .modified_ns = b->io->wall_ns(b->io) } };
    TRY(older_put(b, tx, bucket->id, &marker));
    d->made_marker = true;
    d->version = marker.o.version;
    d->is_null = marker.o.is_null;
    return OK;
}

// ---- Finding

// Whether a row of blob_older is the latest version all the same: a marker on top.
static Err is_latest_marker(struct blob *b, struct kv_txn *tx, struct arena *a, uint64_t bucket,
                            ObjectRow *r)
{
    ObjectRow other;
    bool has = false;
    if (!r->o.is_marker)
        return OK;
    TRY(look_latest(b, tx, a, bucket, r->o.key, &other, &has));
    if (has)
        return OK;
    TRY(get_newest_older(b, tx, a, bucket, r->o.key, &other));
    r->o.is_latest = other.o.version == r->o.version;
    return OK;
}

static Err find_latest(struct blob *b, struct kv_txn *tx, struct arena *a, uint64_t bucket, Str key,
                       ObjectRow *ret)
{
    ObjectRow marker;
    Err e = get_latest(b, tx, a, bucket, key, ret);
    if (!is_absent(e))
        return e;
    TRY(get_newest_older(b, tx, a, bucket, key, &marker));
    if (!marker.o.is_marker)
        return fail(ERR_CORRUPT, "blob: the latest version is not where it belongs");
    marker.o.is_latest = true;
    *ret = marker;
    return fail(ERR_NOT_FOUND, "blob: the latest version is a delete marker");
}

Err object_find(struct blob *b, struct kv_txn *tx, struct arena *a, const BlobBucket *bucket,
                Str key, BlobSelect which, ObjectRow *ret)
{
    if (key.n == 0 || key.n > BLOB_KEY_BYTES_MAX)
        return fail(ERR_NOT_FOUND, "blob: no object has such a key");
    if (which.which == BLOB_LATEST)
        return find_latest(b, tx, a, bucket->id, key, ret);
    ObjectRow found;
    bool has;
    TRY(look_latest(b, tx, a, bucket->id, key, &found, &has));
    bool is_it =
        has && (which.which == BLOB_NULL ? found.o.is_null : found.o.version == which.version);
    if (!is_it) {
        TRY(which.which == BLOB_NULL ? find_null_older(b, tx, a, bucket->id, key, &found)
                                     : get_older(b, tx, a, bucket->id, key, which.version, &found));
        TRY(is_latest_marker(b, tx, a, bucket->id, &found));
    }
    *ret = found;
    return OK;
}

Err blob_find(struct blob *b, struct arena *a, const BlobBucket *bucket, Str key, BlobSelect which,
              BlobObject *ret)
{
    AUTO(kv_txn) tx = kv_read(b->tables[T_OBJECT]);
    ObjectRow row = { 0 };
    Err e = object_find(b, tx, a, bucket, key, which, &row);
    if (e.kind == ERR_NONE || (is_absent(e) && row.o.is_marker)) {
        *ret = row.o;
        ret->key = str_dup(a, key);
    }
    return e;
}

Err blob_object_parts(struct blob *b, struct arena *a, const BlobBucket *bucket,
                      const BlobObject *object, uint32_t after, size_t max, BlobPart **ret,
                      size_t *ret_n, bool *ret_more)
{
    CHECK(max <= BLOB_LIST_MAX);
    AUTO(kv_txn) tx = kv_read(b->tables[T_OBJECT]);
    BlobSelect which = { .which = BLOB_VERSION, .version = object->version };
    ObjectRow row;
    BodyRow body = { 0 };
    KeyRoom room;
    Str value;
    TRY(object_find(b, tx, a, bucket, object->key, which, &row));
    if (row.body != 0) {
        kv_on(tx, b->tables[T_BODY]);
        TRY(kv_get(tx, a, key_number(&room, row.body), &value));
        TRY(row_read_body(a, value, &body));
    }
    size_t first = 0;
    while (first < body.part_count && body.parts[first].number <= after)
        first++;
    *ret = body.parts + first;
    *ret_n = MIN(max, body.part_count - first);
    *ret_more = body.part_count - first > max;
    return OK;
}

// ---- Changing

bool retention_holds(const BlobRetention *r, int64_t now_ns, bool bypass)
{
    if (r->hold)
        return true;
    if (r->mode == BLOB_FREE || r->until_ns <= now_ns)
        return false;
    return r->mode == BLOB_COMPLIANCE || !bypass;
}

// A hold comes and goes; what is retained may be retained longer. Another mode, be it a stricter
// one, is for those who may bypass the one that is there.
static Err check_retention(const BlobBucket *bucket, const BlobRetention *old,
                           const BlobRetention *new, int64_t now_ns, bool bypass)
{
    if (!bucket->locks)
        return fail(ERR_INVALID, "blob: retention needs a bucket with object lock");
    BlobRetention was = *old;
    was.hold = false;
    bool other = new->mode != was.mode || new->until_ns < was.until_ns;
    if (other && retention_holds(&was, now_ns, bypass))
        return fail(ERR_DENIED, "blob: the retention is not his to change");
    return OK;
}

static BlobPairs with_pairs(struct arena *a, BlobPairs pairs, BlobPairs set)
{
    BlobPair *at = arena_new(a, BlobPair, pairs.n + set.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < pairs.n; i++) {
        bool again = false;
        for (size_t j = 0; j < set.n; j++)
            again = again || str_eq(set.at[j].name, pairs.at[i].name);
        if (!again)
            at[n++] = pairs.at[i];
    }
    for (size_t j = 0; j < set.n; j++)
        if (set.at[j].value.p != NULL)
            at[n++] = set.at[j];
    return (BlobPairs){ .at = at, .n = n };
}

static bool is_still(BlobPairs attributes, const BlobPair *was)
{
    Str now = blob_pair(attributes, was->name);
    return (now.p != NULL) == (was->value.p != NULL) && str_eq(now, was->value);
}

static Err change(struct blob *b, struct arena *a, const BlobBucket *bucket, const BlobChange *c,
                  ObjectRow *row)
{
    if (row->o.is_marker)
        return fail(ERR_INVALID, "blob: a delete marker has nothing to change");
    if (c->only_if != NULL && !is_still(row->o.attributes, c->only_if))
        return fail(ERR_BUSY, "blob: an attribute is not what it was");
    if (c->retention != NULL) {
        BlobRetention to = c->of_retention == BLOB_HOLD ? row->o.retention : *c->retention;
        to.hold = (c->of_retention == BLOB_PERIOD ? &row->o.retention : c->retention)->hold;
        TRY(check_retention(bucket, &row->o.retention, &to, b->io->wall_ns(b->io), c->bypass));
        row->o.retention = to;
    }
    if (c->tags != NULL)
        row->o.tags = *c->tags;
    if (c->attributes != NULL)
        row->o.attributes = *c->attributes;
    if (c->set.n > 0)
        row->o.attributes = with_pairs(a, row->o.attributes, c->set);
    return blob_check_pairs(row->o.attributes, row->o.tags);
}

Err blob_change(struct blob *b, struct arena *a, const BlobBucket *bucket, Str key,
                BlobSelect which, const BlobChange *c, BlobObject *ret)
{
    AUTO_HOT_WRITES(changed);
    AUTO(kv_txn) tx = kv_write(b->tables[T_OBJECT]);
    hot_begin(b, &changed);
    BlobBucket now;
    ObjectRow row = { 0 }, latest;
    KeyRoom room;
    bool has;
    TRY(bucket_look(b, tx, a, bucket, &now));
    Err e = object_find(b, tx, a, &now, key, which, &row);
    if (is_absent(e) && row.o.is_marker) {
        *ret = row.o;
        ret->key = str_dup(a, key);
    }
    TRY(e);
    TRY(change(b, a, &now, c, &row));
    TRY(look_latest(b, tx, a, now.id, key, &latest, &has));
    if (has && latest.o.version == row.o.version)
        TRY(put_row(b, tx, T_OBJECT, key_two(&room, now.id, key), &row));
    else
        TRY(put_row(b, tx, T_OLDER, key_tail(&room, now.id, key, ~row.o.version), &row));
    if (c->also.write != NULL)
        TRY(c->also.write(c->also.self, tx, &row.o));
    TRY(kv_commit(tx));
    *ret = row.o;
    ret->key = str_dup(a, key);
    return OK;
}

// ---- Deleting

static Err delete_version(struct blob *b, struct kv_txn *tx, struct arena *a,
                          const BlobBucket *bucket, BlobDelete *d)
{
    ObjectRow row = { 0 };
    Err e = object_find(b, tx, a, bucket, d->key, d->which, &row);
    if (is_absent(e))
        return OK;
    TRY(e);
    if (d->condition.if_etag.p != NULL && !str_eq(d->condition.if_etag, row.o.etag)) {
        d->result = fail(ERR_BUSY, "blob: another etag is there");
        return OK;
    }
    if (retention_holds(&row.o.retention, b->io->wall_ns(b->io), d->bypass)) {
        d->result = fail(ERR_DENIED, "blob: the version is retained");
        return OK;
    }
    TRY(object_remove(b, tx, a, bucket, &row));
    d->removed = true;
    d->removed_marker = row.o.is_marker;
    d->version = row.o.version;
    d->is_null = row.o.is_null;
    return OK;
}

// What is the fault of one is its result; what hurts the transaction is returned.
static Err delete_one(struct blob *b, struct kv_txn *tx, struct arena *a, const BlobBucket *bucket,
                      BlobDelete *d)
{
    d->result = blob_check_key(d->key);
    d->made_marker = d->removed_marker = d->removed = d->is_null = false;
    d->version = 0;
    if (d->result.kind != ERR_NONE)
        return OK;
    if (d->which.which != BLOB_LATEST)
        return delete_version(b, tx, a, bucket, d);
    Err e = object_delete_latest(b, tx, a, bucket, d->key, d);
    bool condition = e.kind == ERR_EXISTS || e.kind == ERR_NOT_FOUND || e.kind == ERR_BUSY;
    if (condition && (d->condition.if_absent || d->condition.if_etag.p != NULL)) {
        d->result = e;
        return OK;
    }
    return e;
}

static Err delete_all(struct blob *b, const BlobBucket *bucket, BlobDelete *at, size_t n)
{
    AUTO(arena) tmp = arena_open();
    AUTO_HOT_WRITES(changed);
    AUTO(kv_txn) tx = kv_write(b->tables[T_OBJECT]);
    hot_begin(b, &changed);
    BlobBucket now;
    TRY(bucket_look(b, tx, tmp, bucket, &now));
    for (size_t i = 0; i < n; i++)
        TRY(delete_one(b, tx, tmp, &now, &at[i]));
    return kv_commit(tx);
}

Err blob_delete(struct blob *b, const BlobBucket *bucket, BlobDelete *at, size_t n)
{
    CHECK(n <= BLOB_LIST_MAX);
    unsigned tries = 0;
    Err e;
    do
        e = delete_all(b, bucket, at, n);
    while (reserve_tries_again(b, e, &tries));
    TRY(e);
    reap_ask(b);
    return OK;
}

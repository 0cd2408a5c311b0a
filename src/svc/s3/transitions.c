// SPDX-License-Identifier: Apache-2.0
// Lifecycle rules that move objects to other storage classes (Amazon S3 User Guide, "Transitioning
// objects using Amazon S3 Lifecycle"). The bytes stay; the class says how an object is answered
// (archive.c). A bucket is walked after everything that ends has ended.
#include "base/time.h"
#include "svc/s3/s3.h"

// Smaller objects stay where they are, unless their rule speaks of sizes, or the bucket lets them
// be archived (User Guide, "Constraints and considerations for transitions").
enum { BYTES_MIN = 128 << 10 };

static size_t count_of(const s3_BucketLifecycleConfiguration *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->rules.n; i++)
        n += l->rules.at[i].transitions.n + l->rules.at[i].noncurrent_version_transitions.n;
    return n;
}

static void take_moves(struct arena *a, const s3_LifecycleRule *r, S3Move *at, size_t *n)
{
    BlobRule rule = { 0 };
    s3_lifecycle_filter(a, r, &rule);
    for (size_t i = 0; i < r->transitions.n; i++) {
        const s3_Transition *t = &r->transitions.at[i];
        at[(*n)++] = (S3Move){ .rule = rule,
                               .to = t->storage_class,
                               .days = t->has_days ? t->days : -1,
                               .at_ns = t->has_date ? t->date : 0 };
    }
    for (size_t i = 0; i < r->noncurrent_version_transitions.n; i++) {
        const s3_NoncurrentVersionTransition *t = &r->noncurrent_version_transitions.at[i];
        at[(*n)++] = (S3Move){ .rule = rule,
                               .to = t->storage_class,
                               .days = t->has_noncurrent_days ? t->noncurrent_days : -1,
                               .noncurrent = true,
                               .kept = t->has_newer_noncurrent_versions
                                           ? (uint32_t)t->newer_noncurrent_versions
                                           : 0 };
    }
}

Err s3_lifecycle_moves(struct arena *a, Str document, Str least, S3Move **ret, size_t *ret_n)
{
    s3_BucketLifecycleConfiguration l = { 0 };
    const struct member *m = s3_member(s3_api_op(S("PutBucketLifecycleConfiguration"))->input,
                                       S("LifecycleConfiguration"));
    TRY(rest_read_document(a, m->shape, document, &l));
    *ret = arena_new(a, S3Move, count_of(&l) + 1);
    *ret_n = 0;
    for (size_t i = 0; i < l.rules.n; i++)
        if (str_eq(l.rules.at[i].status, S("Enabled")))
            take_moves(a, &l.rules.at[i], *ret, ret_n);
    for (size_t i = 0; i < *ret_n; i++)
        (*ret)[i].any_size = str_eq(least, S3_MOVES_VARY) && s3_is_archive((*ret)[i].to);
    return OK;
}

// `since_ns`: when it was replaced; of the latest: when it was made. `newer`: noncurrent versions.
Str s3_moves_to(const S3Move *moves, size_t n, const BlobObject *o, int64_t since_ns, size_t newer,
                int64_t now_ns)
{
    Str class = s3_storage_class(o->attributes), to = { 0 };
    for (size_t i = 0; i < n; i++) {
        const S3Move *m = &moves[i];
        bool sized = m->rule.bytes_above != 0 || m->rule.bytes_below != 0;
        bool due = m->days >= 0 ? blob_days_after(since_ns, m->days) <= now_ns
                                : m->at_ns != 0 && m->at_ns <= now_ns;
        if (!due || m->noncurrent == o->is_latest || (m->noncurrent && newer < m->kept) ||
            (!sized && !m->any_size && o->bytes < BYTES_MIN) || !blob_rule_fits(&m->rule, o) ||
            !s3_may_move(class, m->to))
            continue;
        if (to.p == NULL || s3_may_move(to, m->to)) // the furthest of them
            to = m->to;
    }
    return to;
}

struct walk {
    struct s3 *s;
    struct call *call;
    const BlobBucket *bucket;
    const S3Move *moves;
    size_t move_count;
    int64_t now_ns;
};

struct move {
    const struct walk *walk;
    Str to;
    struct s3_noted *noted;
};

static Err note(void *self, struct kv_txn *tx, const BlobObject *now)
{
    const struct move *m = self;
    return s3_notify_within(
        tx, m->noted, m->walk->call, m->walk->bucket,
        &(S3Event){ .name = "LifecycleTransition", .object = now, .moved_to = m->to });
}

static Err move_one(const struct walk *w, const BlobObject *o, Str to)
{
    BlobPair pairs[] = { { S("x-amz-storage-class"), to }, { S("s3-restore"), { 0 } } };
    BlobObject now = { 0 };
    BlobSelect which = { .which = BLOB_VERSION, .version = o->version };
    AUTO_NOTED(noted);
    struct move m = { .walk = w, .to = to, .noted = &noted };
    Err e =
        blob_change(w->s->blob, w->call->arena, w->bucket, o->key, which,
                    &(BlobChange){ .set = { pairs, COUNT_OF(pairs) }, .also = { note, &m } }, &now);
    if (e.kind == ERR_NOT_FOUND)
        return OK; // gone meanwhile
    TRY(e);
    s3_events_send(w->s, &noted);
    return OK;
}

// Where a walk over the versions of a key is.
struct place {
    struct buf key;
    size_t versions; // of it, so far
    int64_t newer_ns;
};

static Err look_at(const struct walk *w, struct place *p, const BlobObject *o)
{
    if (p->versions > 0 && !str_eq(buf_str(&p->key), o->key))
        p->versions = 0;
    if (p->versions == 0) {
        buf_clear(&p->key);
        buf_add(&p->key, o->key);
        TRY(buf_err(&p->key));
    }
    size_t newer = p->versions > 0 ? p->versions - 1 : 0;
    int64_t since = o->is_latest ? o->modified_ns : p->newer_ns;
    Str to = o->is_marker ? (Str){ 0 }
                          : s3_moves_to(w->moves, w->move_count, o, since, newer, w->now_ns);
    p->versions++;
    p->newer_ns = o->modified_ns;
    return to.p != NULL ? move_one(w, o, to) : OK;
}

Err s3_lifecycle_move(struct s3 *s, const BlobBucket *bucket, const S3Move *moves, size_t n,
                      int64_t now_ns, bool (*is_ending)(void *self), void *self)
{
    struct place p = { 0 };
    BlobPage page = { .more = n > 0 };
    BlobListing l = { .max = BLOB_LIST_MAX };
    Err e = OK;
    AUTO_BUF(after);
    buf_init(&p.key, 0);
    while (e.kind == ERR_NONE && page.more && !is_ending(self)) {
        AUTO(arena) a = arena_open();
        struct walk w = { .s = s,
                          .call = s3_lifecycle_call(s, a, bucket),
                          .bucket = bucket,
                          .moves = moves,
                          .move_count = n,
                          .now_ns = now_ns };
        e = blob_list_versions(s->blob, a, bucket, &l, &page);
        for (size_t i = 0; e.kind == ERR_NONE && i < page.object_count; i++)
            e = look_at(&w, &p, &page.objects[i]);
        buf_clear(&after);
        buf_add(&after, e.kind == ERR_NONE && page.more ? page.last : S(""));
        l.after = buf_str(&after);
        l.after_version = page.last_version;
    }
    buf_done(&p.key);
    return e;
}

// SPDX-License-Identifier: Apache-2.0
// Lifecycle rules at work: once in an hour of the server's clock, which may be a virtual one, every
// bucket that has rules is walked in pieces. S3 promises a day; who advances the clock by days sees
// the rules applied within seconds. Restored copies end when it is time (restored.c).
#include "aws/rest_out.h"
#include "base/logline.h"
#include "base/time.h"
#include "codec/hash.h"
#include "os/io.h"
#include "store/blob_expire.h"
#include "svc/s3/s3.h"

#include <stdlib.h>
#include <time.h>

enum {
    WALK_MAX = 1000, // objects, versions and uploads in one step
    LOOKS_PER_S = 4, // at the clock
    PERIOD_S = 3600, // of the clock
};

struct lifecycle {
    struct s3 *s;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ending, joined;
};

// ---- Rules

static BlobPairs pairs_of(struct arena *a, const s3_TagList *tags)
{
    BlobPair *at = arena_new(a, BlobPair, tags->n + 1);
    for (size_t i = 0; i < tags->n; i++)
        at[i] = (BlobPair){ tags->at[i].key, tags->at[i].value };
    return (BlobPairs){ .at = at, .n = tags->n };
}

static BlobPairs one_pair(struct arena *a, const s3_Tag *tag)
{
    BlobPair *at = arena_new(a, BlobPair, 1);
    if (tag == NULL)
        return (BlobPairs){ 0 };
    *at = (BlobPair){ tag->key, tag->value };
    return (BlobPairs){ .at = at, .n = 1 };
}

void s3_lifecycle_filter(struct arena *a, const s3_LifecycleRule *r, BlobRule *ret)
{
    const s3_LifecycleRuleFilter *f = r->filter;
    const s3_LifecycleRuleAndOperator *all = f != NULL ? f->and : NULL;
    ret->prefix = r->prefix.p != NULL ? r->prefix : S("");
    if (f == NULL)
        return;
    if (all == NULL) {
        ret->prefix = f->prefix.p != NULL ? f->prefix : S("");
        ret->tags = one_pair(a, f->tag);
        ret->bytes_above =
            f->has_object_size_greater_than ? (uint64_t)f->object_size_greater_than : 0;
        ret->bytes_below = f->has_object_size_less_than ? (uint64_t)f->object_size_less_than : 0;
        return;
    }
    ret->prefix = all->prefix.p != NULL ? all->prefix : S("");
    ret->tags = pairs_of(a, &all->tags);
    ret->bytes_above =
        all->has_object_size_greater_than ? (uint64_t)all->object_size_greater_than : 0;
    ret->bytes_below = all->has_object_size_less_than ? (uint64_t)all->object_size_less_than : 0;
}

static void take_rule(struct arena *a, const s3_LifecycleRule *r, BlobRule *ret)
{
    const s3_LifecycleExpiration *x = r->expiration;
    const s3_NoncurrentVersionExpiration *old = r->noncurrent_version_expiration;
    *ret = (BlobRule){ 0 };
    s3_lifecycle_filter(a, r, ret);
    ret->name = r->id;
    if (x != NULL && x->has_days)
        ret->days = x->days;
    if (x != NULL && x->has_date)
        ret->at_ns = x->date;
    ret->lonely_markers =
        x != NULL && x->has_expired_object_delete_marker && x->expired_object_delete_marker;
    if (old != NULL) {
        ret->noncurrent_days = old->noncurrent_days;
        ret->noncurrent_kept =
            old->has_newer_noncurrent_versions ? (uint32_t)old->newer_noncurrent_versions : 0;
    }
    const s3_AbortIncompleteMultipartUpload *u = r->abort_incomplete_multipart_upload;
    if (u != NULL && u->has_days_after_initiation)
        ret->upload_days = u->days_after_initiation;
}

Err s3_lifecycle_rules(struct arena *a, Str document, BlobRule **ret, size_t *ret_n)
{
    s3_BucketLifecycleConfiguration l = { 0 };
    const struct member *m = s3_member(s3_api_op(S("PutBucketLifecycleConfiguration"))->input,
                                       S("LifecycleConfiguration"));
    TRY(rest_read_document(a, m->shape, document, &l));
    *ret = arena_new(a, BlobRule, l.rules.n);
    *ret_n = 0;
    for (size_t i = 0; i < l.rules.n; i++)
        if (str_eq(l.rules.at[i].status, S("Enabled")))
            take_rule(a, &l.rules.at[i], &(*ret)[(*ret_n)++]);
    return OK;
}

// The earliest end wins.
static int64_t end_of(const BlobRule *r, const BlobObject *o)
{
    if (!blob_rule_fits(r, o))
        return INT64_MAX;
    if (r->days > 0)
        return blob_days_after(o->modified_ns, r->days);
    return r->at_ns > 0 ? r->at_ns : INT64_MAX;
}

Str s3_expiration_text(struct call *c, const BlobBucket *bucket, const BlobObject *o)
{
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), bucket->name);
    int64_t earliest = INT64_MAX;
    Str rule = S("");
    for (size_t i = 0; b != NULL && o->is_latest && i < b->rule_count; i++) {
        int64_t end = end_of(&b->rules[i], o);
        if (end >= earliest)
            continue;
        earliest = end;
        rule = b->rules[i].name.p != NULL ? b->rules[i].name : S("");
    }
    if (earliest == INT64_MAX)
        return (Str){ 0 };
    return str_fmt(c->arena, "expiry-date=\"%.*s\", rule-id=\"%.*s\"",
                   FMT(time_http(c->arena, earliest)),
                   FMT(rest_out_encoded(c->arena, rule, false)));
}

Str s3_abort_rule(struct call *c, const BlobBucket *bucket, const BlobUpload *u, int64_t *ret_ns)
{
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), bucket->name);
    Str rule = { 0 };
    *ret_ns = INT64_MAX;
    for (size_t i = 0; b != NULL && i < b->rule_count; i++) {
        const BlobRule *r = &b->rules[i];
        int64_t end = blob_days_after(u->created_ns, r->upload_days);
        if (r->upload_days <= 0 || !str_starts(u->key, r->prefix) || end >= *ret_ns)
            continue;
        *ret_ns = end;
        rule = str_dup(c->arena, r->name);
    }
    return rule;
}

// ---- Walking

static bool is_ending(void *self)
{
    struct lifecycle *l = self;
    pthread_mutex_lock(&l->lock);
    bool ending = l->ending;
    pthread_mutex_unlock(&l->lock);
    return ending;
}

struct call *s3_lifecycle_call(struct s3 *s, struct arena *a, const BlobBucket *bucket)
{
    struct call *c = arena_new(a, struct call, 1);
    unsigned char id[8];
    s->env.io->random(s->env.io, id, sizeof id);
    *c = (struct call){ .state = s,
                        .arena = a,
                        .op = s3_api_op(S("DeleteObject")),
                        .account = bucket->owner,
                        .region = bucket->region,
                        .caller = bucket->owner,
                        .access_key = S(""),
                        .principal = S("s3.amazonaws.com"),
                        .service = S("s3.amazonaws.com"),
                        .request_id = hex_str(a, id, sizeof id),
                        .now_ns = s->env.io->wall_ns(s->env.io) };
    return c;
}

// What is told of in a walk: with the commit that ends it, so that no crash keeps it quiet.
struct telling {
    struct s3 *s;
    const BlobBucket *bucket;
    struct s3_noted noted;
};

static Err note(void *self, struct kv_txn *tx, BlobEnd what, const BlobObject *o)
{
    struct telling *t = self;
    AUTO(arena) a = arena_open();
    BlobObject gone = *o;
    gone.etag = (Str){ 0 }; // nor its size: as of what was deleted by a call
    const char *name = what == BLOB_END_MARKED ? "LifecycleExpiration:DeleteMarkerCreated"
                                               : "LifecycleExpiration:Delete";
    return s3_notify_within(tx, &t->noted, s3_lifecycle_call(t->s, a, t->bucket), t->bucket,
                            &(S3Event){ .name = name, .object = &gone });
}

static void tell(void *self, BlobEnd what, const BlobObject *o)
{
    struct telling *t = self;
    (void)what;
    (void)o;
    s3_events_send(t->s, &t->noted); // all of the commit, with the first of it
}

static Err end_by_rules(struct lifecycle *l, const BlobBucket *b, BlobExpire *e)
{
    Str after;
    AUTO_BUF(place); // where to go on
    for (bool more = true; more && !is_ending(l);) {
        AUTO(arena) step = arena_open();
        TRY(blob_expire(l->s->blob, step, b, e, &after));
        more = after.p != NULL;
        buf_clear(&place);
        buf_add(&place, after);
        e->after = buf_str(&place);
    }
    return OK;
}

static Err walk(struct lifecycle *l, const BlobBucket *b)
{
    struct s3 *s = l->s;
    AUTO(arena) a = arena_open();
    Str document, least = { 0 };
    struct telling telling = { .s = s, .bucket = b };
    BlobExpire e = { .now_ns = s->env.io->wall_ns(s->env.io),
                     .max = WALK_MAX,
                     .note = note,
                     .tell = tell,
                     .self = &telling };
    BlobRule *rules;
    S3Move *moves;
    size_t move_count;
    Err found = blob_bucket_get_document(s->blob, a, b, S("lifecycle"), &document);
    if (found.kind == ERR_NOT_FOUND)
        return OK;
    TRY(found);
    found = blob_bucket_get_document(s->blob, a, b, S("s3-moves-min"), &least);
    if (found.kind != ERR_NOT_FOUND)
        TRY(found);
    TRY(s3_lifecycle_rules(a, document, &rules, &e.rule_count));
    TRY(s3_lifecycle_moves(a, document, least, &moves, &move_count));
    e.rules = rules;
    found = end_by_rules(l, b, &e);
    s3_noted_close(&telling.noted);
    TRY(found);
    return s3_lifecycle_move(s, b, moves, move_count, e.now_ns, is_ending, l);
}

static void walk_all(struct lifecycle *l)
{
    char name[64] = { 0 }; // names of buckets are shorter
    for (bool more = true; more && !is_ending(l);) {
        AUTO(arena) a = arena_open();
        Str after = str_of(name);
        BlobBucket *at;
        size_t n;
        Err e = blob_bucket_list(l->s->blob, a, (Str){ 0 }, S(""), after, BLOB_BUCKET_LIST_MAX, &at,
                                 &n, &more);
        for (size_t i = 0; e.kind == ERR_NONE && i < n; i++) {
            e = walk(l, &at[i]);
            if (e.kind != ERR_NONE && e.kind != ERR_CLOSED)
                LOG(LOG_ERROR, "lifecycle rules could not be applied", F_STR("bucket", at[i].name),
                    F_ERR(e));
            e = OK; // the next bucket has its own
        }
        if (e.kind != ERR_NONE || n == 0)
            break;
        Str last = str_head(at[n - 1].name, sizeof name - 1);
        memcpy(name, last.p, last.n);
        name[last.n] = '\0';
    }
}

static void *run(void *self)
{
    struct lifecycle *l = self;
    struct io *io = l->s->env.io;
    int64_t hour = io->wall_ns(io) / (PERIOD_S * NS_PER_S);
    pthread_mutex_lock(&l->lock);
    while (!l->ending) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 1000000000 / LOOKS_PER_S;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&l->changed, &l->lock, &until);
        int64_t now_ns = io->wall_ns(io), now = now_ns / (PERIOD_S * NS_PER_S);
        bool ends = s3_restored_is_due(l->s, now_ns);
        if (l->ending || (now == hour && !ends))
            continue;
        pthread_mutex_unlock(&l->lock);
        if (ends)
            s3_restored_end(l->s, now_ns, is_ending, l);
        if (now != hour)
            walk_all(l);
        hour = now;
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

void s3_lifecycle_open(struct s3 *s)
{
    struct lifecycle *l = xalloc(sizeof *l);
    l->s = s;
    CHECK(pthread_mutex_init(&l->lock, NULL) == 0 && pthread_cond_init(&l->changed, NULL) == 0);
    s->lifecycle = l;
    l->joined = pthread_create(&l->thread, NULL, run, l) != 0;
    if (l->joined)
        LOG(LOG_ERROR, "lifecycle rules are not applied: no thread can be had");
}

void s3_lifecycle_stop(struct s3 *s)
{
    struct lifecycle *l = s->lifecycle;
    if (l == NULL || l->joined)
        return;
    pthread_mutex_lock(&l->lock);
    l->ending = true;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    l->joined = true;
}

void s3_lifecycle_close(struct s3 *s)
{
    struct lifecycle *l = s->lifecycle;
    s3_lifecycle_stop(s);
    if (l == NULL)
        return;
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l);
    s->lifecycle = NULL;
}

// SPDX-License-Identifier: Apache-2.0
// Storage classes: which of them keep objects where they cannot be read until they are restored
// (Amazon S3 User Guide, "Restoring an archived object"), and restoring them. Bytes lie where all
// others lie: what a class is here is how an object is answered.
//
//     s3-restore   "READY_MS UNTIL_MS": from when to when a restored one can be read
//
// Nobody needs to do anything for that when a time has come: what holds follows from the clock.
// That a restored copy has ended is told (restored.c).
#include "base/time.h"
#include "svc/s3/s3.h"

// In the order in which rules may move objects on (User Guide, "Transitioning objects using Amazon
// S3 Lifecycle").
static const struct {
    Str name;
    unsigned rank;
    bool archive;
} classes[] = { { S_INIT("STANDARD"), 0, false },    { S_INIT("REDUCED_REDUNDANCY"), 0, false },
                { S_INIT("STANDARD_IA"), 1, false }, { S_INIT("INTELLIGENT_TIERING"), 2, false },
                { S_INIT("ONEZONE_IA"), 3, false },  { S_INIT("GLACIER_IR"), 4, false },
                { S_INIT("GLACIER"), 5, true },      { S_INIT("DEEP_ARCHIVE"), 6, true } };

static size_t index_of(Str class)
{
    size_t i = 0;
    while (i < COUNT_OF(classes) && !str_eq(classes[i].name, class))
        i++;
    return i;
}

bool s3_is_storage_class(Str text)
{
    return index_of(text) < COUNT_OF(classes);
}

Str s3_storage_class(BlobPairs attributes)
{
    Str class = blob_pair(attributes, S("x-amz-storage-class"));
    return class.p != NULL ? class : S("STANDARD");
}

bool s3_may_move(Str from, Str to)
{
    size_t x = index_of(from), y = index_of(to);
    if (x == COUNT_OF(classes) || y == COUNT_OF(classes))
        return false;
    if (str_eq(from, S("ONEZONE_IA")) && str_eq(to, S("GLACIER_IR")))
        return false;
    return classes[y].rank > classes[x].rank;
}

bool s3_is_archive(Str class)
{
    size_t i = index_of(class);
    return i < COUNT_OF(classes) && classes[i].archive;
}

static bool is_archived(BlobPairs attributes)
{
    return s3_is_archive(s3_storage_class(attributes));
}

// ---- What was restored

S3Restore s3_restore_of(BlobPairs attributes, int64_t now_ns)
{
    Str ready, until, text = blob_pair(attributes, S3_RESTORE);
    int64_t ready_ms, until_ms;
    S3Restore none = { 0 };
    if (text.p == NULL || !is_archived(attributes) || !str_cut(text, ' ', &ready, &until) ||
        str_i64(ready, &ready_ms).kind != ERR_NONE || str_i64(until, &until_ms).kind != ERR_NONE)
        return none;
    int64_t now_ms = now_ns / NS_PER_MS;
    if (now_ms >= until_ms)
        return none;
    return (S3Restore){ .state = now_ms < ready_ms ? S3_RESTORE_ONGOING : S3_RESTORE_READY,
                        .until_ns = until_ms * NS_PER_MS };
}

Str s3_restore_text(struct call *c, BlobPairs attributes)
{
    S3Restore r = s3_restore_of(attributes, c->now_ns);
    if (r.state == S3_RESTORE_NONE)
        return (Str){ 0 };
    if (r.state == S3_RESTORE_ONGOING)
        return S("ongoing-request=\"true\"");
    return str_fmt(c->arena, "ongoing-request=\"false\", expiry-date=\"%.*s\"",
                   FMT(time_http(c->arena, r.until_ns)));
}

Err s3_check_readable(struct call *c, BlobPairs attributes, bool of_source)
{
    if (!is_archived(attributes) || s3_restore_of(attributes, c->now_ns).state == S3_RESTORE_READY)
        return OK;
    if (of_source)
        return call_fail(c, &s3_InvalidObjectState,
                         "Operation is not valid for the source object's storage class");
    call_detail(c, S("StorageClass"), s3_storage_class(attributes));
    return call_fail(c, &s3_InvalidObjectState,
                     "The operation is not valid for the object's storage class");
}

// ---- Restoring

static bool is_tier(Str tier)
{
    return str_eq(tier, S("Standard")) || str_eq(tier, S("Bulk")) || str_eq(tier, S("Expedited"));
}

static Err check_request(struct call *c, const s3_RestoreRequest *r, Str class)
{
    Str tier = { 0 };
    if (r == NULL)
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    if (r->type.p != NULL) // SELECT, which AWS has given up
        return call_fail(c, &s3_MethodNotAllowed,
                         "The specified method is not allowed against this resource.");
    if (!r->has_days || r->days < 1)
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    tier = r->glacier_job_parameters != NULL ? r->glacier_job_parameters->tier : r->tier;
    if (tier.p != NULL && !is_tier(tier))
        return call_fail(c, &s3_MalformedXML, REST_MALFORMED_TEXT);
    if (str_eq(tier, S("Expedited")) && str_eq(class, S("DEEP_ARCHIVE")))
        return call_fail(c, &s3_InvalidArgument,
                         "Retrieval option is not supported by this storage class");
    return OK;
}

static Err find(struct call *c, const struct s3_RestoreObject_in *in, BlobBucket *b,
                BlobSelect *which, BlobObject *o)
{
    *o = (BlobObject){ 0 };
    TRY(s3_bucket(c, in->bucket, in->expected_bucket_owner, b));
    TRY(s3_select(c, in->version_id, which));
    Err e = blob_find(s3_of(c)->blob, c->arena, b, in->key, *which, o);
    return e.kind != ERR_NONE || o->is_marker ? s3_found(c, b, in->key, in->version_id, e, o) : OK;
}

// What is written with a restore.
struct restoring {
    struct call *call;
    const BlobBucket *bucket;
    int64_t ready_ns, until_ns;
    bool again; // a restored copy only lasts for another time
    struct s3_noted noted;
};

static Err note(void *self, struct kv_txn *tx, const BlobObject *o)
{
    struct restoring *r = self;
    TRY(s3_restored_note(s3_of(r->call), tx, r->bucket->name, o, r->until_ns));
    if (r->again)
        return OK;
    TRY(s3_notify_within(tx, &r->noted, r->call, r->bucket,
                         &(S3Event){ .name = "ObjectRestore:Post", .object = o }));
    return s3_notify_within(tx, &r->noted, r->call, r->bucket,
                            &(S3Event){ .name = "ObjectRestore:Completed",
                                        .object = o,
                                        .restored_from = s3_storage_class(o->attributes),
                                        .restored_until_ns = r->until_ns,
                                        .at_ns = r->ready_ns });
}

// ERR_BUSY: somebody else has restored it meanwhile.
static Err restore(struct call *c, const struct s3_RestoreObject_in *in, const BlobBucket *b,
                   const BlobObject *o)
{
    struct s3 *s = s3_of(c);
    S3Restore now = s3_restore_of(o->attributes, c->now_ns);
    if (now.state == S3_RESTORE_ONGOING)
        return call_fail(c, &s3_RestoreAlreadyInProgress, "Object restore is already in progress");
    struct restoring r = { .call = c, .bucket = b, .again = now.state == S3_RESTORE_READY };
    r.ready_ns = r.again ? c->now_ns : c->now_ns + s->env.restore_ns;
    r.until_ns = blob_days_after(r.ready_ns, in->restore_request->days);
    BlobPair was = { S3_RESTORE, blob_pair(o->attributes, S3_RESTORE) };
    BlobPair set = { S3_RESTORE, str_fmt(c->arena, "%lld %lld", (long long)(r.ready_ns / NS_PER_MS),
                                         (long long)(r.until_ns / NS_PER_MS)) };
    BlobSelect which = { .which = BLOB_VERSION, .version = o->version };
    BlobChange change = { .set = { &set, 1 }, .only_if = &was, .also = { note, &r } };
    BlobObject made;
    Err e = blob_change(s->blob, c->arena, b, in->key, which, &change, &made);
    if (e.kind == ERR_NONE) {
        s3_restored_wait(s, r.until_ns);
        s3_events_send(s, &r.noted);
        c->status = r.again ? 200 : 202;
    }
    s3_noted_close(&r.noted);
    return e;
}

Err s3_RestoreObject(struct call *c, const struct s3_RestoreObject_in *in,
                     struct s3_RestoreObject_out *out)
{
    BlobBucket b;
    BlobSelect which;
    BlobObject o;
    Err e;
    (void)out;
    do {
        TRY(find(c, in, &b, &which, &o));
        if (!is_archived(o.attributes))
            return call_fail(c, &s3_InvalidObjectState,
                             "Restore is not allowed for the object's current storage class");
        TRY(check_request(c, in->restore_request, s3_storage_class(o.attributes)));
        e = restore(c, in, &b, &o);
    } while (e.kind == ERR_BUSY); // each time somebody else has had his way
    if (e.kind == ERR_NOT_FOUND)
        return s3_no_such_key(c, in->key); // gone meanwhile
    return s3_store_error(c, &b, e);
}

// SPDX-License-Identifier: Apache-2.0
// Objects for other services (hub/objects.h): the same store, permissions, encryption, checksums
// and notifications as for those who call, on behalf of an account and its role.
#include "codec/hash.h"
#include "svc/s3/remote.h"
#include "svc/s3/s3.h"

#include <stdlib.h>
#include <string.h>

enum {
    REQUEST_ID_BYTES = 8,
    ETAG_SUM_BYTES = 8, // of an etag: the checksum; as many random bytes follow
};

// What an operation finds in a call, for work that nobody has called for.
static struct call *call_for(struct s3 *s, struct arena *a, const HubActor *as)
{
    struct call *c = arena_new(a, struct call, 1);
    unsigned char id[REQUEST_ID_BYTES];
    s->env.io->random(s->env.io, id, sizeof id);
    *c = (struct call){ .state = s,
                        .arena = a,
                        .op = s3_api_op(S("PutObject")),
                        .account = as->account,
                        .region = as->region,
                        .caller = as->account,
                        .access_key = S(""),
                        .role = as->role_arn,
                        .service = as->service,
                        .source_arn = as->source_arn,
                        .request_id = hex_str(a, id, sizeof id),
                        .now_ns = s->env.io->wall_ns(s->env.io) };
    c->principal = hub_actor_principal(a, as);
    return c;
}

static HubObjectFault fault_of(const struct api_error *error)
{
    static const struct {
        const struct api_error *error;
        HubObjectFault fault;
    } known[] = { { &s3_NoSuchBucket, HUB_OBJECT_NO_BUCKET },
                  { &s3_NoSuchKey, HUB_OBJECT_NO_KEY },
                  { &s3_KmsDisabled, HUB_OBJECT_KMS },
                  { &s3_KmsInvalidState, HUB_OBJECT_KMS },
                  { &s3_KmsNotFound, HUB_OBJECT_KMS },
                  { &s3_InvalidArgument, HUB_OBJECT_KMS }, // of a key
                  { &s3_KeyTooLongError, HUB_OBJECT_BAD_KEY } };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (known[i].error == error)
            return known[i].fault;
    return HUB_OBJECT_DENIED;
}

// What an operation has recorded in the call becomes the answer.
static Err answered(struct call *c, Err e, HubObjectAnswer *ret)
{
    *ret = (HubObjectAnswer){ 0 };
    if (e.kind != ERR_FAULT)
        return e;
    ret->fault = fault_of(c->error);
    ret->code = c->error->code.p != NULL ? c->error->code : c->error->name;
    ret->text = c->error_text;
    return OK;
}

static Err permitted(struct call *c, Str action, Str bucket, Str key)
{
    Str text;
    if (s3_may(c, action, bucket, key, &text))
        return OK;
    return call_fail(c, &s3_AccessDenied, "%.*s", FMT(text));
}

// Its objects are elsewhere, and nobody says where: whoever delivers tries again.
static Err not_adrift(struct call *c, Str name)
{
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), name);
    return b != NULL && b->adrift ? fail(ERR_IO, "the configuration no longer places this bucket")
                                  : OK;
}

static Err find(struct call *c, Str action, Str bucket, Str key, BlobBucket *ret)
{
    TRY(s3_bucket(c, bucket, (Str){ 0 }, ret));
    TRY(not_adrift(c, bucket));
    return permitted(c, action, bucket, key);
}

static Err offer_look(void *self, struct arena *a, const HubObjectWant *want, HubObjectAnswer *ret)
{
    struct call *c = call_for(self, a, &want->as);
    BlobBucket b;
    return answered(c, s3_bucket(c, want->bucket, want->expected_owner, &b), ret);
}

// ---- Writing

struct hub_put {
    struct s3 *s;
    struct arena *arena; // of its own: a put may be under way for long
    struct call *call;
    BlobBucket bucket;
    struct blob_put *put;
    struct s3_remote_put *remote; // in its place, where the bucket is elsewhere
    struct attributes attributes;
    struct checksum *crc;          // of what is kept here
    struct checksum *md5, *sha256; // for the other side
    struct hub_with *with;         // NULL: nothing
};

static void offer_close(struct hub_put *p)
{
    if (p == NULL)
        return;
    blob_put_close(p->put);
    s3_remote_put_close(p->remote);
    checksum_close(p->sha256);
    checksum_close(p->md5);
    checksum_close(p->crc);
    arena_close(p->arena);
    free(p);
}

static Err begin(struct hub_put *p, const HubObjectWant *want)
{
    unsigned char seal[BLOB_SEAL_BYTES];
    bool sealed = false;
    struct call *c = p->call;
    Str algorithm = want->kms_key.p != NULL ? S("aws:kms") : (Str){ 0 };
    TRY(s3_bucket(c, want->bucket, want->expected_owner,
                  &p->bucket)); // the key is known at the end
    TRY(not_adrift(c, want->bucket));
    p->bucket.name = str_dup(p->arena, p->bucket.name);
    struct remote *remote = s3_remote_of(p->s, p->bucket.name);
    if (want->storage_class.p != NULL)
        attributes_add(&p->attributes, S("x-amz-storage-class"),
                       str_dup(p->arena, want->storage_class));
    if (remote != NULL) {
        if (want->kms_key.p != NULL) {
            attributes_add(&p->attributes, S("x-amz-server-side-encryption"), algorithm);
            attributes_add(&p->attributes, S("x-amz-server-side-encryption-aws-kms-key-id"),
                           str_dup(p->arena, want->kms_key));
        }
        checksum_open(CHECKSUM_MD5, &p->md5);
        checksum_open(CHECKSUM_SHA256, &p->sha256);
        return s3_remote_put_open(p->s, remote, &p->remote);
    }
    TRY(s3_seal_with(c, &p->bucket, algorithm, want->kms_key, (Str){ 0 }, &p->attributes, seal,
                     &sealed));
    checksum_open(CHECKSUM_CRC64NVME, &p->crc);
    Err e = blob_put_begin(p->s->blob, &p->bucket, sealed ? seal : NULL, &p->put);
    explicit_bzero(seal, sizeof seal);
    TRY(s3_store_error(c, &p->bucket, e));
    blob_put_gather(p->put); // thousands of streams are delivered by the same clock
    return OK;
}

static Err offer_begin(void *self, struct arena *a, const HubObjectWant *want, struct hub_put **ret,
                       HubObjectAnswer *ret_answer)
{
    struct hub_put *p = xalloc(sizeof *p);
    p->s = self;
    p->arena = arena_open();
    HubActor as = { .account = str_dup(p->arena, want->as.account),
                    .region = str_dup(p->arena, want->as.region),
                    .service = str_dup(p->arena, want->as.service),
                    .source_arn = str_dup(p->arena, want->as.source_arn) };
    if (want->as.role_arn.p != NULL)
        as.role_arn = str_dup(p->arena, want->as.role_arn);
    p->call = call_for(self, p->arena, &as);
    p->attributes.arena = p->arena;
    Err e = answered(p->call, begin(p, want), ret_answer);
    if (e.kind == ERR_NONE && ret_answer->fault == HUB_OBJECT_GOOD) {
        *ret = p;
        return OK;
    }
    ret_answer->text = str_dup(a, ret_answer->text);
    offer_close(p);
    return e;
}

static Err offer_write(struct hub_put *p, Str bytes)
{
    if (p->remote == NULL) {
        checksum_add(p->crc, bytes.p, bytes.n);
        return blob_put_write(p->put, bytes);
    }
    checksum_add(p->md5, bytes.p, bytes.n);
    checksum_add(p->sha256, bytes.p, bytes.n);
    return s3_remote_put_write(p->remote, bytes);
}

static Err finish_remote(struct hub_put *p, Str key)
{
    unsigned char md5[CHECKSUM_BYTES_MAX], hash[CHECKSUM_BYTES_MAX];
    BlobObject made;
    Str version;
    checksum_end(p->md5, md5);
    checksum_end(p->sha256, hash);
    return s3_remote_put_finish(p->call, p->remote, key, attributes_pairs(&p->attributes),
                                s3_checksum_text(p->arena, md5, MD5_BYTES),
                                hex_str(p->arena, hash, SHA256_BYTES), "ObjectCreated:Put", &made,
                                &version);
}

static void offer_join(struct hub_put *p, struct hub_with *w)
{
    p->with = w;
}

static Err write_with(void *self, struct kv_txn *tx)
{
    struct hub_with *w = self;
    return w->write(w, tx);
}

// As of an upload in one part, so that nobody takes it for the MD5 of the bytes, which costs as
// much as a sixth of compressing them. No two objects have the same.
static Str made_etag(struct hub_put *p, const unsigned char sum[ETAG_SUM_BYTES])
{
    unsigned char etag[MD5_BYTES];
    _Static_assert(sizeof etag == (size_t)2 * ETAG_SUM_BYTES, "half of it is random");
    memcpy(etag, sum, ETAG_SUM_BYTES);
    p->s->env.io->random(p->s->env.io, etag + ETAG_SUM_BYTES, sizeof etag - ETAG_SUM_BYTES);
    return str_cat(p->arena, hex_str(p->arena, etag, sizeof etag), S("-1"));
}

static Err finish(struct hub_put *p, Str key)
{
    struct call *c = p->call;
    unsigned char sum[CHECKSUM_BYTES_MAX];
    BlobNew object = { .key = key };
    BlobObject made = { 0 };
    TRY(s3_check_key(c, key));
    TRY(permitted(c, S("s3:PutObject"), p->bucket.name, key));
    if (p->remote != NULL)
        return finish_remote(p, key);
    checksum_end(p->crc, sum);
    attributes_add(&p->attributes, S("x-amz-checksum-crc64nvme"),
                   s3_checksum_text(p->arena, sum, checksum_bytes(CHECKSUM_CRC64NVME)));
    attributes_add(&p->attributes, S("x-amz-checksum-type"), S("FULL_OBJECT"));
    object.etag = made_etag(p, sum);
    if (p->bucket.locks)
        TRY(s3_default_retention(c, &p->bucket, &object.retention));
    object.attributes = attributes_pairs(&p->attributes);
    if (p->with != NULL) {
        object.with = write_with;
        object.with_self = p->with;
    }
    Err e = blob_put_finish(p->put, p->arena, &object, &made);
    if (e.kind == ERR_INVALID)
        return call_fail(c, &s3_KeyTooLongError, "The key is no UTF-8, or empty");
    TRY(s3_store_error(c, &p->bucket, e));
    if (p->with != NULL)
        p->with->committed = true;
    s3_notify(c, &p->bucket, "ObjectCreated:Put", &made);
    return OK;
}

static Err offer_finish(struct hub_put *p, struct arena *a, Str key, Str content_type,
                        Str content_encoding, HubObjectAnswer *ret)
{
    p->call->now_ns = p->s->env.io->wall_ns(p->s->env.io);
    attributes_add(
        &p->attributes, S("content-type"),
        str_dup(p->arena, content_type.p != NULL ? content_type : S("application/octet-stream")));
    if (content_encoding.p != NULL)
        attributes_add(&p->attributes, S("content-encoding"), str_dup(p->arena, content_encoding));
    TRY(answered(p->call, finish(p, key), ret));
    ret->text = str_dup(a, ret->text);
    return OK;
}

// ---- Reading, listing, removing

static Err read_piece(struct call *c, Str bucket, Str key, uint64_t at, size_t max, Str *ret)
{
    BlobBucket b;
    BlobObject o;
    AUTO(blob_reader) reader = NULL;
    size_t n = 0;
    TRY(find(c, S("s3:GetObject"), bucket, key, &b));
    struct remote *remote = s3_remote_of(s3_of(c), bucket);
    if (remote != NULL)
        return s3_remote_read_piece(c, remote, key, at, max, ret);
    TRY(s3_open_reader(c, &b, key, (Str){ 0 }, false, &o, &reader));
    size_t want = at < o.bytes ? (size_t)MIN((uint64_t)max, o.bytes - at) : 0;
    char *p = arena_try_raw(c->arena, want + 1, 1);
    if (p == NULL)
        return fail(ERR_MEMORY, "no memory for a piece of an object");
    if (want > 0)
        TRY(s3_store_error(c, &b, blob_reader_read(reader, p, want, at, &n)));
    *ret = str_from(p, n);
    return OK;
}

static Err offer_read(void *self, struct arena *a, const HubActor *as, Str bucket, Str key,
                      uint64_t at, size_t max, Str *ret, HubObjectAnswer *ret_answer)
{
    struct call *c = call_for(self, a, as);
    return answered(c, read_piece(c, bucket, key, at, max, ret), ret_answer);
}

static Err list_some(struct call *c, Str bucket, Str prefix, Str after, BlobPage *ret)
{
    BlobBucket b;
    BlobListing l = { .prefix = prefix.p != NULL ? prefix : S(""),
                      .after = after.p != NULL ? after : S(""),
                      .max = BLOB_LIST_MAX };
    TRY(find(c, S("s3:ListBucket"), bucket, (Str){ 0 }, &b));
    struct remote *remote = s3_remote_of(s3_of(c), bucket);
    if (remote != NULL)
        return s3_remote_list_some(c, remote, prefix, after, ret);
    return s3_store_error(c, &b, blob_list(s3_of(c)->blob, c->arena, &b, &l, ret));
}

static Err offer_list(void *self, struct arena *a, const HubActor *as, Str bucket, Str prefix,
                      Str after, HubObjectEntry **ret, size_t *ret_n, bool *ret_more,
                      HubObjectAnswer *ret_answer)
{
    struct call *c = call_for(self, a, as);
    BlobPage page = { 0 };
    TRY(answered(c, list_some(c, bucket, prefix, after, &page), ret_answer));
    HubObjectEntry *at = arena_new(a, HubObjectEntry, page.object_count + 1);
    for (size_t i = 0; i < page.object_count; i++)
        at[i] = (HubObjectEntry){ .key = page.objects[i].key,
                                  .bytes = page.objects[i].bytes,
                                  .modified_ns = page.objects[i].modified_ns };
    *ret = at;
    *ret_n = page.object_count;
    *ret_more = page.more;
    return OK;
}

static Err remove_one(struct call *c, Str bucket, Str key)
{
    BlobBucket b;
    BlobDelete d = { .key = key };
    TRY(find(c, S("s3:DeleteObject"), bucket, key, &b));
    struct remote *remote = s3_remote_of(s3_of(c), bucket);
    if (remote != NULL)
        return s3_remote_remove_one(c, remote, key);
    TRY(s3_store_error(c, &b, blob_delete(s3_of(c)->blob, &b, &d, 1)));
    if (d.result.kind == ERR_DENIED)
        return call_fail(c, &s3_AccessDenied,
                         "Access Denied because object protected by object lock.");
    return s3_store_error(c, &b, d.result);
}

static Err offer_remove(void *self, struct arena *a, const HubActor *as, Str bucket, Str key,
                        HubObjectAnswer *ret)
{
    struct call *c = call_for(self, a, as);
    return answered(c, remove_one(c, bucket, key), ret);
}

void s3_offer_init(struct s3 *s)
{
    s->offer = (struct hub_objects){ .self = s,
                                     .look = offer_look,
                                     .begin = offer_begin,
                                     .write = offer_write,
                                     .join = offer_join,
                                     .finish = offer_finish,
                                     .close = offer_close,
                                     .read = offer_read,
                                     .list = offer_list,
                                     .remove = offer_remove };
}

// SPDX-License-Identifier: Apache-2.0
// The buckets in memory: read when the service opens, and again after each change.
#include "base/map.h"
#include "svc/s3/remote.h"
#include "svc/s3/s3.h"

#include <stdio.h>
#include <stdlib.h>

void bucket_unref(struct bucket *b)
{
    if (b == NULL || atomic_fetch_sub(&b->refs, 1) != 1)
        return;
    policy_unref(b->policy);
    arena_close(b->arena);
    free(b);
}

struct bucket *s3_bucket_ref(struct s3 *s, Str name)
{
    pthread_rwlock_rdlock(&s->lock);
    struct bucket *b = map_get(s->buckets, name);
    if (b != NULL)
        atomic_fetch_add(&b->refs, 1);
    pthread_rwlock_unlock(&s->lock);
    return b;
}

size_t s3_buckets_of(struct s3 *s, Str account)
{
    Str name;
    void *value;
    size_t n = 0;
    pthread_rwlock_rdlock(&s->lock);
    for (size_t at = 0; map_next(s->buckets, &at, &name, &value);)
        n += str_eq(((const struct bucket *)value)->is.owner, account);
    pthread_rwlock_unlock(&s->lock);
    return n;
}

// A new value under a name; NULL: none.
static void replace(struct s3 *s, Str name, struct bucket *b)
{
    pthread_rwlock_wrlock(&s->lock);
    struct bucket *old = b != NULL ? map_put(s->buckets, name, b) : map_take(s->buckets, name);
    pthread_rwlock_unlock(&s->lock);
    bucket_unref(old);
}

static Err document(struct s3 *s, struct bucket *b, Str name, Str *ret)
{
    *ret = (Str){ 0 };
    Err e = blob_bucket_get_document(s->blob, b->arena, &b->is, name, ret);
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

static bool says(Str xml, const char *element)
{
    char text[64];
    int n = snprintf(text, sizeof text, "<%s>true</", element);
    return str_search(xml, str_from(text, (size_t)n)) < xml.n;
}

static Err read_documents(struct s3 *s, struct bucket *b)
{
    Str policy, block, ownership, acl, elsewhere, lifecycle, payment;
    TRY(document(s, b, S("policy"), &policy));
    TRY(document(s, b, S("publicAccessBlock"), &block));
    TRY(document(s, b, S("ownershipControls"), &ownership));
    TRY(document(s, b, S("acl"), &acl));
    TRY(document(s, b, S("notification"), &b->notification));
    TRY(document(s, b, S("cors"), &b->cors));
    TRY(document(s, b, S("s3-remote"), &elsewhere));
    TRY(document(s, b, S("s3-mfa-delete"), &b->mfa_delete));
    TRY(document(s, b, S("lifecycle"), &lifecycle));
    if (lifecycle.p != NULL &&
        s3_lifecycle_rules(b->arena, lifecycle, &b->rules, &b->rule_count).kind != ERR_NONE)
        b->rule_count = 0; // it stays a document
    TRY(document(s, b, S("requestPayment"), &payment));
    b->requester_pays = str_search(payment, S("<Payer>Requester</")) < payment.n;
    b->remote = s3_remote_of(s, b->is.name);
    b->adrift = elsewhere.p != NULL && b->remote == NULL;
    b->asks_tags = str_search(policy, S("ExistingObjectTag")) < policy.n;
    b->public_policy = policy.p != NULL && s3_policy_is_public(policy);
    if (policy.p != NULL)
        TRY(policy_open(POLICY_RESOURCE, b->is.name, policy, &b->policy));
    b->block_acls = says(block, "BlockPublicAcls");
    b->ignore_acls = says(block, "IgnorePublicAcls");
    b->block_policy = says(block, "BlockPublicPolicy");
    b->restrict_public = says(block, "RestrictPublicBuckets");
    b->acls = ownership.p != NULL && str_search(ownership, S("BucketOwnerEnforced")) == ownership.n;
    b->preferred = b->acls && str_search(ownership, S("BucketOwnerPreferred")) < ownership.n;
    b->acl = acl.p != NULL ? acl : S("private");
    return OK;
}

static Err add(struct s3 *s, const BlobBucket *is)
{
    struct bucket *b = xalloc(sizeof *b);
    atomic_init(&b->refs, 1);
    b->arena = arena_open();
    b->is = *is;
    b->is.name = str_dup(b->arena, is->name);
    b->is.owner = str_dup(b->arena, is->owner);
    b->is.region = str_dup(b->arena, is->region);
    Err e = read_documents(s, b);
    if (e.kind == ERR_NONE)
        replace(s, b->is.name, b);
    else
        bucket_unref(b);
    return e;
}

Err s3_bucket_reload(struct s3 *s, Str name)
{
    AUTO(arena) tmp = arena_open();
    BlobBucket is;
    Err e = blob_bucket_find(s->blob, tmp, name, &is);
    if (e.kind == ERR_NOT_FOUND) {
        replace(s, name, NULL);
        return OK;
    }
    TRY(e);
    e = add(s, &is);
    if (e.kind != ERR_CLOSED)
        return e;
    replace(s, name, NULL);
    return OK;
}

Err s3_table_open(struct s3 *s)
{
    CHECK(pthread_rwlock_init(&s->lock, NULL) == 0);
    s->buckets = map_open();
    AUTO(arena) tmp = arena_open();
    Str after = S("");
    for (bool more = true; more;) {
        BlobBucket *at;
        size_t n;
        TRY(blob_bucket_list(s->blob, tmp, (Str){ 0 }, S(""), after, BLOB_BUCKET_LIST_MAX, &at, &n,
                             &more));
        for (size_t i = 0; i < n; i++)
            TRY(add(s, &at[i]));
        if (n > 0)
            after = at[n - 1].name;
    }
    return OK;
}

void s3_table_close(struct s3 *s)
{
    Str name;
    void *value;
    for (size_t at = 0; s->buckets != NULL && map_next(s->buckets, &at, &name, &value);)
        bucket_unref(value);
    map_close(s->buckets);
    pthread_rwlock_destroy(&s->lock);
}

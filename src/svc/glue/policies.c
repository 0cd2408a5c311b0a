// SPDX-License-Identifier: Apache-2.0
// The policy of a catalog: who else may use it, one for each account and region. Kept in memory
// beside its row, for the front to ask.
#include "aws/bind.h"
#include "base/logline.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "svc/glue/glue.h"

#include <stdlib.h>
#include <string.h>

enum { HASH_BYTES = 16 };

static Str policy_key(struct arena *a, Str account, Str region)
{
    return str_fmt(a, "%.*s\1%.*s", FMT(account), FMT(region));
}

struct policy *glue_policy(struct glue *s, struct arena *tmp, Str account, Str region)
{
    Str key = policy_key(tmp, account, region);
    pthread_rwlock_rdlock(&s->policy_lock);
    struct policy *p = map_get(s->policies, key);
    if (p != NULL)
        policy_ref(p);
    pthread_rwlock_unlock(&s->policy_lock);
    return p;
}

static void keep(struct glue *s, Str key, struct policy *take_p)
{
    pthread_rwlock_wrlock(&s->policy_lock);
    struct policy *old =
        take_p != NULL ? map_put(s->policies, key, take_p) : map_take(s->policies, key);
    pthread_rwlock_unlock(&s->policy_lock);
    policy_unref(old);
}

Err glue_load_policies(struct glue *s)
{
    AUTO(kv_txn) tx = kv_read(s->policy_rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    Err e = OK;
    while (e.kind == ERR_NONE && kv_scan_next(&scan)) {
        AUTO(arena) tmp = arena_open();
        struct glue_GetResourcePolicy_out row = { 0 };
        struct policy *p = NULL;
        e = glue_read_row(tmp, s->policy_shape, str_dup(tmp, scan.value), &row);
        if (e.kind == ERR_NONE &&
            policy_open(POLICY_RESOURCE, S("the catalog's policy"), row.policy_in_json, &p).kind !=
                ERR_NONE)
            e = fail(ERR_CORRUPT, "the policy of a catalog cannot be read"); // it was when written
        if (e.kind == ERR_NONE)
            keep(s, scan.rest, p);
    }
    if (e.kind == ERR_NONE)
        e = scan.err;
    kv_scan_end(&scan);
    return e;
}

void glue_policies_close(struct glue *s)
{
    Str key;
    void *p;
    for (size_t at = 0; map_next(s->policies, &at, &key, &p);)
        policy_unref(p);
    map_close(s->policies);
}

// ---- Operations

static Err find(struct call *c, struct kv_txn *tx, bool *ret_there,
                struct glue_GetResourcePolicy_out *ret)
{
    struct glue *s = c->state;
    Err e = glue_get_row(tx, s->policy_rows, c->arena, policy_key(c->arena, c->account, c->region),
                         s->policy_shape, ret);
    *ret_there = e.kind == ERR_NONE;
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

static Err check_arn(struct call *c, Str arn)
{
    const Place p = { .account = c->account, .region = c->region };
    if (arn.p == NULL || str_eq(arn, glue_arn(c->arena, &p)))
        return OK;
    return glue_invalid(c, "ResourceArn must be the ARN of the catalog.");
}

static Err check_hash(struct call *c, Str wanted, bool there,
                      const struct glue_GetResourcePolicy_out *old)
{
    if (wanted.p == NULL || (there && str_eq(wanted, old->policy_hash)))
        return OK;
    return call_fail(c, &glue_ConditionCheckFailureException,
                     "The policy hash does not match the current policy.");
}

static Err check_exists(struct call *c, Str condition, bool there)
{
    bool must = str_eq(condition, glue_ExistCondition_MUST_EXIST);
    bool must_not = str_eq(condition, glue_ExistCondition_NOT_EXIST);
    if (must && !there)
        return call_fail(c, &glue_ConditionCheckFailureException, "Policy does not exist.");
    if (must_not && there)
        return call_fail(c, &glue_ConditionCheckFailureException, "Policy already exists.");
    return OK;
}

static Str hash_of(struct arena *a, Str document)
{
    unsigned char digest[SHA256_BYTES];
    sha256(document.p, document.n, digest);
    char *text = arena_alloc(a, base64_encoded_bytes(HASH_BYTES) + 1, 1);
    base64_encode(text, digest, HASH_BYTES);
    return str_from(text, base64_encoded_bytes(HASH_BYTES));
}

static Err open_policy(struct call *c, Str document, struct policy **ret)
{
    if (document.n > POLICY_DOCUMENT_BYTES_MAX)
        return glue_invalid(c, "The policy is larger than 10 KB.");
    Err e = policy_open(POLICY_RESOURCE, S("the catalog's policy"), document, ret);
    return e.kind == ERR_INVALID || e.kind == ERR_LIMIT ? glue_invalid(c, e.text) : e;
}

static Err put_locked(struct call *c, const struct glue_PutResourcePolicy_in *in, struct policy *p,
                      struct glue_PutResourcePolicy_out *out)
{
    struct glue *s = c->state;
    struct glue_GetResourcePolicy_out old = { 0 }, now = { 0 };
    bool there;
    Str key = policy_key(c->arena, c->account, c->region);
    AUTO(kv_txn) tx = kv_write(s->policy_rows);
    TRY(find(c, tx, &there, &old));
    TRY(check_exists(c, in->policy_exists_condition, there));
    TRY(check_hash(c, in->policy_hash_condition, there, &old));
    now.create_time = there ? old.create_time : glue_now(c);
    now.update_time = glue_now(c);
    now.has_create_time = now.has_update_time = true;
    now.policy_hash = hash_of(c->arena, in->policy_in_json);
    now.policy_in_json = in->policy_in_json;
    TRY(glue_put_row(tx, s->policy_rows, key, s->policy_shape, &now));
    TRY(kv_commit(tx));
    keep(s, key, policy_ref(p));
    out->policy_hash = now.policy_hash;
    return OK;
}

Err glue_PutResourcePolicy(struct call *c, const struct glue_PutResourcePolicy_in *in,
                           struct glue_PutResourcePolicy_out *out)
{
    struct glue *s = c->state;
    AUTO(policy) p = NULL;
    TRY(check_arn(c, in->resource_arn));
    TRY(open_policy(c, in->policy_in_json, &p));
    // Commits of two end together: who is the later one in the store must be so in memory.
    pthread_mutex_lock(&s->policy_changing);
    Err e = put_locked(c, in, p, out);
    pthread_mutex_unlock(&s->policy_changing);
    return e;
}

static Err no_policy(struct call *c)
{
    return call_fail(c, &glue_EntityNotFoundException, "Policy not found");
}

Err glue_GetResourcePolicy(struct call *c, const struct glue_GetResourcePolicy_in *in,
                           struct glue_GetResourcePolicy_out *out)
{
    struct glue *s = c->state;
    bool there;
    TRY(check_arn(c, in->resource_arn));
    AUTO(kv_txn) tx = kv_read(s->policy_rows);
    TRY(find(c, tx, &there, out));
    return there ? OK : no_policy(c);
}

static Err delete_locked(struct call *c, const struct glue_DeleteResourcePolicy_in *in)
{
    struct glue *s = c->state;
    struct glue_GetResourcePolicy_out old = { 0 };
    bool there;
    Str key = policy_key(c->arena, c->account, c->region);
    AUTO(kv_txn) tx = kv_write(s->policy_rows);
    TRY(find(c, tx, &there, &old));
    if (!there)
        return no_policy(c);
    TRY(check_hash(c, in->policy_hash_condition, there, &old));
    kv_on(tx, s->policy_rows);
    TRY(kv_del(tx, key));
    TRY(kv_commit(tx));
    keep(s, key, NULL);
    return OK;
}

Err glue_DeleteResourcePolicy(struct call *c, const struct glue_DeleteResourcePolicy_in *in,
                              struct glue_DeleteResourcePolicy_out *out)
{
    struct glue *s = c->state;
    (void)out; // has no members
    TRY(check_arn(c, in->resource_arn));
    pthread_mutex_lock(&s->policy_changing);
    Err e = delete_locked(c, in);
    pthread_mutex_unlock(&s->policy_changing);
    return e;
}

Err glue_GetResourcePolicies(struct call *c, const struct glue_GetResourcePolicies_in *in,
                             struct glue_GetResourcePolicies_out *out)
{
    struct glue *s = c->state;
    struct glue_GetResourcePolicy_out row = { 0 };
    bool there;
    if (in->next_token.n > 0) // there is one policy, and one page
        return glue_invalid(c, "Invalid token provided");
    AUTO(kv_txn) tx = kv_read(s->policy_rows);
    TRY(find(c, tx, &there, &row));
    out->get_resource_policies_response_list.set = true;
    if (!there)
        return OK;
    glue_GluePolicy *one = arena_new(c->arena, glue_GluePolicy, 1);
    *one = (glue_GluePolicy){ .create_time = row.create_time,
                              .has_create_time = true,
                              .update_time = row.update_time,
                              .has_update_time = true,
                              .policy_hash = row.policy_hash,
                              .policy_in_json = row.policy_in_json };
    out->get_resource_policies_response_list.at = one;
    out->get_resource_policies_response_list.n = 1;
    return OK;
}

// Rows of the catalog are not sealed: whoever can read the disk can read them.
Err glue_GetDataCatalogEncryptionSettings(struct call *c,
                                          const struct glue_GetDataCatalogEncryptionSettings_in *in,
                                          struct glue_GetDataCatalogEncryptionSettings_out *out)
{
    static const glue_EncryptionAtRest at_rest = { .catalog_encryption_mode = S_INIT("DISABLED") };
    static const glue_ConnectionPasswordEncryption passwords = {
        .return_connection_password_encrypted = false
    };
    static const glue_DataCatalogEncryptionSettings settings = { .encryption_at_rest = &at_rest,
                                                                 .connection_password_encryption =
                                                                     &passwords };
    Place p;
    TRY(glue_begin(c, in->catalog_id, (Str){ 0 }, (Str){ 0 }, &p));
    out->data_catalog_encryption_settings = &settings;
    return OK;
}

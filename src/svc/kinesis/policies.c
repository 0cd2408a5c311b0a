// SPDX-License-Identifier: Apache-2.0
// Policies of streams and consumers: who else may use them, from other accounts above all.
//
//     table kinesis.policies   key = the ARN of the resource     value = the document, as it was
//     given
#include "base/logline.h"
#include "svc/kinesis/consumers.h"
#include "svc/kinesis/kinesis.h"

#include <stdlib.h>

enum { RESOURCE_POLICY_BYTES_MAX = 20 << 10 };
#define CONSUMERS S("/consumer/")

struct policy *kinesis_policy(struct kinesis *k, Str arn)
{
    pthread_rwlock_rdlock(&k->lock);
    struct policy *p = map_get(k->policies, arn);
    if (p != NULL)
        policy_ref(p);
    pthread_rwlock_unlock(&k->lock);
    return p;
}

static void keep(struct kinesis *k, Str arn, struct policy *take_p)
{
    pthread_rwlock_wrlock(&k->lock);
    struct policy *old =
        take_p != NULL ? map_put(k->policies, arn, take_p) : map_take(k->policies, arn);
    pthread_rwlock_unlock(&k->lock);
    policy_unref(old);
}

Err kinesis_load_policies(struct kinesis *k)
{
    TRY(kv_table_open(k->env.kv, S("kinesis.policies"), &k->policy_rows));
    AUTO(kv_txn) tx = kv_read(k->policy_rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        struct policy *p = NULL;
        Err e = policy_open(POLICY_RESOURCE, scan.rest, scan.value, &p);
        if (e.kind != ERR_NONE) { // it was understood when it was written
            LOG(LOG_ERROR, "a resource policy cannot be read", F_STR("arn", scan.rest), F_ERR(e));
            kv_scan_end(&scan);
            return fail(ERR_CORRUPT, "a resource policy's row is damaged");
        }
        keep(k, scan.rest, p);
    }
    return scan.err;
}

void kinesis_policies_close(struct kinesis *k)
{
    Str arn;
    void *p;
    for (size_t at = 0; map_next(k->policies, &at, &arn, &p);)
        policy_unref(p);
    map_close(k->policies);
}

// ---- With their streams

static bool belongs_to(Str arn, Str stream_arn)
{
    return str_starts(arn, stream_arn) &&
           (arn.n == stream_arn.n || str_starts(str_skip(arn, stream_arn.n), CONSUMERS));
}

// One of the policies of a stream and its consumers, or an absent Str.
static Str one_of(struct kinesis *k, struct arena *a, Str stream_arn)
{
    Str arn, found = { 0 };
    void *p;
    pthread_rwlock_rdlock(&k->lock);
    for (size_t at = 0; found.p == NULL && map_next(k->policies, &at, &arn, &p);)
        if (belongs_to(arn, stream_arn))
            found = str_dup(a, arn);
    pthread_rwlock_unlock(&k->lock);
    return found;
}

Err kinesis_del_policy(struct kinesis *k, struct kv_txn *tx, Str arn)
{
    kv_on(tx, k->policy_rows);
    return kv_del(tx, arn);
}

void kinesis_drop_policy(struct kinesis *k, Str arn)
{
    keep(k, arn, NULL);
}

Err kinesis_del_policies(struct kinesis *k, struct kv_txn *tx, Str stream_arn)
{
    AUTO(arena) tmp = arena_open();
    TRY(kinesis_del_policy(k, tx, stream_arn));
    for (;;) { // one at a time: nothing is changed under a scan
        Str prefix = str_cat(tmp, stream_arn, CONSUMERS);
        struct kv_scan scan = kv_scan_start(tx, prefix, S(""));
        Str rest = kv_scan_next(&scan) ? str_dup(tmp, scan.rest) : (Str){ 0 };
        TRY(scan.err);
        kv_scan_end(&scan);
        if (rest.p == NULL)
            return OK;
        TRY(kv_del(tx, str_cat(tmp, prefix, rest)));
    }
}

void kinesis_drop_policies(struct kinesis *k, Str stream_arn)
{
    AUTO(arena) tmp = arena_open();
    for (Str arn; (arn = one_of(k, tmp, stream_arn)).p != NULL;)
        keep(k, arn, NULL);
}

// ---- Operations

// If the resource is a consumer, it must be there.
static Err check_consumer(struct call *c, Str arn)
{
    AUTO(stream) s = NULL;
    AUTO(consumer) x = NULL;
    if (!consumers_is_arn(arn))
        return OK;
    return consumers_find(c, (ConsumerRef){ .arn = arn }, &s, &x);
}

// As the API reference has it: the stream must be ACTIVE for its policy to be changed.
static Err require_active(struct call *c, const struct stream *s, Str arn)
{
    if (s->status == STREAM_GONE)
        return kinesis_not_found(c, arn);
    TRY(check_consumer(c, arn));
    return kinesis_require_active(c, s);
}

// The stream of a resource, which may be one of its consumers.
static Err find_resource(struct call *c, Str arn, struct stream **ret)
{
    AUTO(stream) s = NULL;
    Err e = kinesis_find_arn(c, str_head(arn, str_search(arn, CONSUMERS)), &s);
    if (e.kind == ERR_FAULT && c->error == &kinesis_ResourceNotFoundException) {
        c->error = NULL; // said in these operations' own words
        return kinesis_not_found(c, arn);
    }
    TRY(e);
    TRY(check_consumer(c, arn));
    *ret = stream_ref(s);
    return OK;
}

static Err put_locked(struct call *c, const struct stream *s, Str arn, Str document)
{
    struct kinesis *k = c->state;
    AUTO(policy) p = NULL;
    TRY(require_active(c, s, arn));
    Err e = policy_open(POLICY_RESOURCE, arn, document, &p);
    if (e.kind == ERR_INVALID || document.n > RESOURCE_POLICY_BYTES_MAX)
        return call_fail(c, &kinesis_InvalidArgumentException, "%s",
                         e.kind == ERR_INVALID ? e.text : "The policy is larger than 20 KB.");
    TRY(e);
    AUTO(kv_txn) tx = kv_write(k->policy_rows);
    TRY(kv_put(tx, arn, document));
    TRY(kv_commit(tx));
    keep(k, arn, policy_ref(p));
    return OK;
}

Err kinesis_PutResourcePolicy(struct call *c, const struct kinesis_PutResourcePolicy_in *in)
{
    AUTO(stream) s = NULL;
    TRY(find_resource(c, in->resource_arn, &s));
    TRY(kinesis_change_begin(c, s->name));
    Err e = put_locked(c, s, in->resource_arn, in->policy);
    kinesis_change_end(c->state);
    return e;
}

Err kinesis_GetResourcePolicy(struct call *c, const struct kinesis_GetResourcePolicy_in *in,
                              struct kinesis_GetResourcePolicy_out *out)
{
    AUTO(stream) s = NULL;
    TRY(find_resource(c, in->resource_arn, &s));
    AUTO(policy) p = kinesis_policy(c->state, in->resource_arn);
    out->policy = p != NULL ? str_dup(c->arena, policy_document(p)) : S("{}"); // as AWS answers
    return OK;
}

static Err delete_locked(struct call *c, const struct stream *s, Str arn)
{
    struct kinesis *k = c->state;
    TRY(require_active(c, s, arn));
    AUTO(policy) p = kinesis_policy(k, arn);
    if (p == NULL)
        return call_fail(c, &kinesis_ResourceNotFoundException,
                         "No resource policy found for resource ARN %.*s.", FMT(arn));
    AUTO(kv_txn) tx = kv_write(k->policy_rows);
    TRY(kv_del(tx, arn));
    TRY(kv_commit(tx));
    keep(k, arn, NULL);
    return OK;
}

Err kinesis_DeleteResourcePolicy(struct call *c, const struct kinesis_DeleteResourcePolicy_in *in)
{
    AUTO(stream) s = NULL;
    TRY(find_resource(c, in->resource_arn, &s));
    TRY(kinesis_change_begin(c, s->name));
    Err e = delete_locked(c, s, in->resource_arn);
    kinesis_change_end(c->state);
    return e;
}

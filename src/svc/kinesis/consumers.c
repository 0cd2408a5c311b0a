// SPDX-License-Identifier: Apache-2.0
// RegisterStreamConsumer, DeregisterStreamConsumer, DescribeStreamConsumer and ListStreamConsumers
// (API reference of Kinesis Data Streams; quotas: developer guide, "Quotas and limits").
#include "svc/kinesis/consumers.h"
#include "base/logline.h"
#include "base/time.h"
#include "svc/kinesis/page.h"
#include "svc/kinesis/queues.h"
#include "svc/kinesis/subscribe.h"
#include "svc/kinesis/tags.h"

#include <string.h>

enum { LIST_CONSUMERS_MAX = 100 };

static int64_t now_ms(const struct call *c)
{
    return c->now_ns / NS_PER_MS;
}

// ---- Finding

bool consumers_is_arn(Str resource_arn)
{
    return str_search(resource_arn, S("/consumer/")) < resource_arn.n;
}

static Err not_found(struct call *c, Str consumer)
{
    return call_fail(c, &kinesis_ResourceNotFoundException,
                     "Consumer %.*s, account %.*s not found.", FMT(consumer), FMT(c->account));
}

// Takes the reference apart into the stream's ARN and the consumer's name.
static Err take_apart(struct call *c, ConsumerRef *ref, int64_t *ret_created_s)
{
    Str stream_arn, name;
    if (ref->arn.p == NULL) {
        if (ref->stream_arn.p == NULL || ref->name.p == NULL)
            return call_fail(c, &kinesis_InvalidArgumentException,
                             "Either ConsumerARN or both StreamARN and ConsumerName should be "
                             "provided.");
        *ret_created_s = -1;
        return OK;
    }
    if (!consumer_arn_split(ref->arn, &stream_arn, &name, ret_created_s))
        return not_found(c, ref->arn); // the model's pattern lets no other form pass
    if ((ref->stream_arn.p != NULL && !str_eq(ref->stream_arn, stream_arn)) ||
        (ref->name.p != NULL && !str_eq(ref->name, name)))
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "ConsumerARN %.*s does not belong to the StreamARN and ConsumerName that "
                         "were given.",
                         FMT(ref->arn));
    ref->stream_arn = stream_arn;
    ref->name = name;
    return OK;
}

Err consumers_find(struct call *c, ConsumerRef ref, struct stream **ret_stream,
                   struct consumer **ret)
{
    struct kinesis *k = c->state;
    AUTO(stream) s = NULL;
    int64_t created_s = -1;
    size_t at;
    TRY(take_apart(c, &ref, &created_s));
    TRY(kinesis_find(c, (StreamRef){ .arn = ref.stream_arn }, &s));
    pthread_rwlock_rdlock(&k->lock);
    struct consumer *x = consumer_find(s, ref.name, &at);
    if (x != NULL && (consumer_status(x, now_ms(c)) == CONSUMER_GONE ||
                      (created_s >= 0 && created_s != x->created_s)))
        x = NULL; // gone, or another one of that name
    if (x != NULL)
        consumer_ref(x);
    pthread_rwlock_unlock(&k->lock);
    if (x == NULL)
        return not_found(c, ref.name);
    *ret = x;
    *ret_stream = s;
    s = NULL; // handed over
    return OK;
}

// ---- Rows

// What its row tells; the rest counts, and is counted, meanwhile. Only the holder of `changing`
// writes these.
static struct consumer fields_of(const struct consumer *x)
{
    return (struct consumer){ .name = x->name,
                              .arn = x->arn,
                              .created_s = x->created_s,
                              .active_ms = x->active_ms,
                              .gone_ms = x->gone_ms,
                              .tags = x->tags };
}

static Err write_row(struct kinesis *k, const struct stream *s, const struct consumer *x)
{
    AUTO(arena) tmp = arena_open();
    AUTO_BUF(row);
    consumer_row_write(&row, x);
    TRY(buf_err(&row));
    AUTO(kv_txn) tx = kv_write(k->consumer_rows);
    TRY(kv_put(tx, consumer_row_key(tmp, s, x->name), buf_str(&row)));
    return kv_commit(tx);
}

// Its row and its policy.
static Err drop_rows(struct kinesis *k, const struct stream *s, const struct consumer *x)
{
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_write(k->consumer_rows);
    TRY(kv_del(tx, consumer_row_key(tmp, s, x->name)));
    TRY(kinesis_del_policy(k, tx, x->arn));
    TRY(kv_commit(tx));
    kinesis_drop_policy(k, x->arn);
    return OK;
}

Err consumers_forget(struct kinesis *k, struct kv_txn *tx, const struct stream *s)
{
    AUTO(arena) tmp = arena_open();
    kv_on(tx, k->consumer_rows);
    for (size_t i = 0; i < s->consumer_count; i++)
        TRY(kv_del(tx, consumer_row_key(tmp, s, s->consumers[i]->name)));
    return OK;
}

// A row without its stream cannot be: both go in one transaction.
static Err load_row(struct kinesis *k, Str key, Str row)
{
    AUTO(arena) tmp = arena_open();
    size_t slash = key.n;
    while (slash > 0 && key.p[slash - 1] != '/')
        slash--;
    struct stream *s = slash > 0 ? map_get(k->by_key, str_head(key, slash - 1)) : NULL;
    struct consumer *x = NULL;
    if (s == NULL)
        return fail(ERR_CORRUPT, "a consumer's row has no stream");
    TRY(consumer_row_read(tmp, s, str_skip(key, slash), row, &x));
    consumer_insert(s, x);
    return OK;
}

Err consumers_load(struct kinesis *k)
{
    TRY(kv_table_open(k->env.kv, S("kinesis.consumers"), &k->consumer_rows));
    AUTO(kv_txn) tx = kv_read(k->consumer_rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        Err e = load_row(k, scan.rest, scan.value);
        if (e.kind != ERR_NONE) {
            LOG(LOG_ERROR, "a consumer cannot be read", F_STR("row", scan.rest), F_ERR(e));
            kv_scan_end(&scan);
            return e;
        }
    }
    return scan.err;
}

// Forgets those of the stream whose deletion is over.
static Err reap(struct kinesis *k, struct stream *s, int64_t at_ms)
{
    for (size_t i = s->consumer_count; i > 0; i--) {
        struct consumer *x = s->consumers[i - 1];
        if (consumer_status(x, at_ms) != CONSUMER_GONE)
            continue;
        TRY(drop_rows(k, s, x));
        pthread_rwlock_wrlock(&k->lock);
        consumer_remove(s, x);
        pthread_rwlock_unlock(&k->lock);
    }
    return OK;
}

// ---- Registering

static size_t count_creating(struct kinesis *k, const struct call *c)
{
    size_t first, n, creating = 0;
    pthread_rwlock_rdlock(&k->lock);
    kinesis_realm(k, c, &first, &n);
    for (size_t i = first; i < first + n; i++)
        for (size_t j = 0; j < k->sorted[i]->consumer_count; j++)
            creating += consumer_status(k->sorted[i]->consumers[j], now_ms(c)) == CONSUMER_CREATING;
    pthread_rwlock_unlock(&k->lock);
    return creating;
}

Err consumers_check_count(struct call *c, const struct stream *s)
{
    struct kinesis *k = c->state;
    bool advantage = false;
    if (k->env.limits <= 0)
        return OK;
    if (s->on_demand)
        TRY(kinesis_has_commitment(c, &advantage));
    double max = (advantage ? CONSUMERS_MAX_ADVANTAGE : CONSUMERS_MAX) * k->env.limits;
    if ((double)(consumer_count(s, now_ms(c)) + queues_on_stream(k, s)) + 1 <= max)
        return OK;
    return call_fail(c, &kinesis_LimitExceededException,
                     "This request would exceed the limit of %.0f consumers registered for "
                     "stream %.*s under account %.*s.",
                     max, FMT(s->name), FMT(c->account));
}

static Err check_quotas(struct call *c, const struct stream *s)
{
    struct kinesis *k = c->state;
    TRY(consumers_check_count(c, s));
    if (count_creating(k, c) >= CONSUMERS_CREATING_MAX)
        return call_fail(c, &kinesis_LimitExceededException,
                         "Rate exceeded: %d consumers are being created under account %.*s.",
                         CONSUMERS_CREATING_MAX, FMT(c->account));
    return OK;
}

static Err register_locked(struct call *c, struct stream *s,
                           const struct kinesis_RegisterStreamConsumer_in *in,
                           struct consumer **ret)
{
    struct kinesis *k = c->state;
    size_t at;
    if (s->status == STREAM_GONE)
        return kinesis_not_found(c, s->name);
    TRY(kinesis_require_active(c, s));
    TRY(reap(k, s, now_ms(c)));
    if (consumer_find(s, in->consumer_name, &at) != NULL)
        return call_fail(c, &kinesis_ResourceInUseException,
                         "Consumer %.*s under stream %.*s already exists for account %.*s.",
                         FMT(in->consumer_name), FMT(s->name), FMT(c->account));
    TRY(check_quotas(c, s));
    AUTO(consumer) x = consumer_new(s, in->consumer_name, c->now_ns / NS_PER_S);
    x->active_ms = now_ms(c) + k->env.change_ns / NS_PER_MS;
    for (size_t i = 0; i < in->tags.n; i++)
        tag_set_put(&x->tags, in->tags.at[i].key, in->tags.at[i].value);
    TRY(write_row(k, s, x));
    pthread_rwlock_wrlock(&k->lock);
    consumer_insert(s, consumer_ref(x));
    pthread_rwlock_unlock(&k->lock);
    *ret = consumer_ref(x);
    return OK;
}

static kinesis_Consumer describe(struct arena *a, const struct consumer *x, int64_t at_ms)
{
    return (kinesis_Consumer){
        .consumer_name = str_dup(a, x->name),
        .consumer_arn = str_dup(a, x->arn),
        .consumer_status = consumer_status_name(consumer_status(x, at_ms)),
        .consumer_creation_timestamp = x->created_s * NS_PER_S,
    };
}

Err kinesis_RegisterStreamConsumer(struct call *c,
                                   const struct kinesis_RegisterStreamConsumer_in *in,
                                   struct kinesis_RegisterStreamConsumer_out *out)
{
    struct kinesis *k = c->state;
    AUTO(stream) s = NULL;
    AUTO(consumer) x = NULL;
    TRY(kinesis_find(c, (StreamRef){ .arn = in->stream_arn }, &s));
    TRY(tags_check(c, in->tags));
    TRY(tags_check_count(c, "consumer", in->consumer_name, in->tags.n));
    TRY(kinesis_change_begin(c, s->name));
    Err e = register_locked(c, s, in, &x);
    kinesis_change_end(k);
    TRY(e);
    kinesis_Consumer *d = arena_new(c->arena, kinesis_Consumer, 1);
    *d = describe(c->arena, x, now_ms(c));
    // What was just registered is told as CREATING, however short that is: clients wait for ACTIVE.
    d->consumer_status = kinesis_ConsumerStatus_CREATING;
    out->consumer = d;
    return OK;
}

// ---- Deregistering

static Err deregister_locked(struct call *c, struct stream *s, struct consumer *x)
{
    struct kinesis *k = c->state;
    size_t at;
    bool is_there = s->status != STREAM_GONE && consumer_find(s, x->name, &at) == x;
    if (!is_there || x->gone_ms != 0)
        return OK; // somebody else's call was faster
    if (k->env.change_ns == 0) {
        TRY(drop_rows(k, s, x));
        pthread_rwlock_wrlock(&k->lock);
        x->gone_ms = now_ms(c);
        consumer_remove(s, x);
        pthread_rwlock_unlock(&k->lock);
        return OK;
    }
    struct consumer copy = fields_of(x);
    copy.gone_ms = now_ms(c) + k->env.change_ns / NS_PER_MS;
    TRY(write_row(k, s, &copy));
    pthread_rwlock_wrlock(&k->lock);
    x->gone_ms = copy.gone_ms;
    pthread_rwlock_unlock(&k->lock);
    return OK;
}

Err kinesis_DeregisterStreamConsumer(struct call *c,
                                     const struct kinesis_DeregisterStreamConsumer_in *in)
{
    struct kinesis *k = c->state;
    AUTO(stream) s = NULL;
    AUTO(consumer) x = NULL;
    ConsumerRef ref = { in->consumer_arn, in->stream_arn, in->consumer_name };
    TRY(consumers_find(c, ref, &s, &x));
    TRY(kinesis_change_begin(c, s->name));
    Err e = deregister_locked(c, s, x);
    kinesis_change_end(k);
    TRY(e);
    subscribe_cancel(x);
    return OK;
}

// ---- Describing

Err kinesis_DescribeStreamConsumer(struct call *c,
                                   const struct kinesis_DescribeStreamConsumer_in *in,
                                   struct kinesis_DescribeStreamConsumer_out *out)
{
    struct kinesis *k = c->state;
    AUTO(stream) s = NULL;
    AUTO(consumer) x = NULL;
    ConsumerRef ref = { in->consumer_arn, in->stream_arn, in->consumer_name };
    TRY(consumers_find(c, ref, &s, &x));
    kinesis_ConsumerDescription *d = arena_new(c->arena, kinesis_ConsumerDescription, 1);
    pthread_rwlock_rdlock(&k->lock);
    kinesis_Consumer some = describe(c->arena, x, now_ms(c));
    pthread_rwlock_unlock(&k->lock);
    *d = (kinesis_ConsumerDescription){
        .consumer_name = some.consumer_name,
        .consumer_arn = some.consumer_arn,
        .consumer_status = some.consumer_status,
        .consumer_creation_timestamp = some.consumer_creation_timestamp,
        .stream_arn = str_dup(c->arena, s->arn),
    };
    out->consumer_description = d;
    return OK;
}

// What a page token of ListStreamConsumers carries: the stream's age, then its name and that of the
// last consumer shown.
struct consumers_page {
    int64_t created_ms;
    uint32_t name_bytes;
};

static Str seal(struct call *c, const struct stream *s, Str last)
{
    struct consumers_page page = { .created_ms = s->created_ms, .name_bytes = (uint32_t)s->name.n };
    Str names = str_cat(c->arena, s->name, last);
    return page_seal(c, TOKEN_CONSUMERS, str_cat(c->arena, str_from(&page, sizeof page), names));
}

// After which consumer to go on.
static Err unseal(struct call *c, const struct stream *s, Str token, Str *ret_after)
{
    struct consumers_page page;
    Str payload;
    TRY(page_open(c, TOKEN_CONSUMERS, token, &payload));
    CHECK(payload.n >= sizeof page); // sealed here
    memcpy(&page, payload.p, sizeof page);
    Str names = str_skip(payload, sizeof page);
    if (page.created_ms != s->created_ms || !str_eq(str_head(names, page.name_bytes), s->name))
        return call_fail(c, &kinesis_InvalidArgumentException, "Invalid NextToken.");
    *ret_after = str_skip(names, page.name_bytes);
    return OK;
}

Err kinesis_ListStreamConsumers(struct call *c, const struct kinesis_ListStreamConsumers_in *in,
                                struct kinesis_ListStreamConsumers_out *out)
{
    struct kinesis *k = c->state;
    AUTO(stream) s = NULL;
    Str after = S("");
    bool more = false;
    TRY(kinesis_find(c, (StreamRef){ .arn = in->stream_arn }, &s));
    if (in->next_token.p != NULL && in->has_stream_creation_timestamp)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "NextToken and StreamCreationTimestamp cannot be provided together.");
    if (in->has_stream_creation_timestamp &&
        in->stream_creation_timestamp / NS_PER_S != s->created_ms / 1000)
        return kinesis_not_found(c, s->name);
    if (in->next_token.p != NULL)
        TRY(unseal(c, s, in->next_token, &after));
    size_t max = MIN((size_t)in->max_results, (size_t)LIST_CONSUMERS_MAX);
    kinesis_ConsumerList list = { .set = true, .at = arena_new(c->arena, kinesis_Consumer, max) };

    pthread_rwlock_rdlock(&k->lock);
    for (size_t i = 0; i < s->consumer_count && !more; i++) {
        const struct consumer *x = s->consumers[i];
        if (str_cmp(x->name, after) <= 0 || consumer_status(x, now_ms(c)) == CONSUMER_GONE)
            continue;
        more = list.n == max;
        if (!more)
            list.at[list.n++] = describe(c->arena, x, now_ms(c));
    }
    pthread_rwlock_unlock(&k->lock);
    out->consumers = list;
    if (more)
        out->next_token = seal(c, s, list.at[list.n - 1].consumer_name);
    return OK;
}

// ---- Tags

Err consumers_change_tags(struct call *c, struct stream *s, struct consumer *x,
                          void (*edit)(TagSet *tags, const void *arg), const void *arg)
{
    struct kinesis *k = c->state;
    size_t at;
    if (s->status == STREAM_GONE || consumer_find(s, x->name, &at) != x || x->gone_ms != 0)
        return not_found(c, x->name);
    struct consumer copy = fields_of(x);
    copy.tags = (TagSet){ 0 };
    tag_set_copy(&copy.tags, &x->tags);
    edit(&copy.tags, arg);
    Err e = write_row(k, s, &copy);
    if (e.kind == ERR_NONE) {
        pthread_rwlock_wrlock(&k->lock);
        TagSet before = x->tags;
        x->tags = copy.tags;
        copy.tags = before;
        pthread_rwlock_unlock(&k->lock);
    }
    tag_set_done(&copy.tags);
    return e;
}

// SPDX-License-Identifier: Apache-2.0
// What happens to objects is told to the destinations that the bucket names (Amazon S3 User Guide,
// "Event message structure"), if somebody in this server serves such an ARN (hub/sink.h): a
// destination that nobody serves cannot be set. How messages get there: events.c.
#include "base/logline.h"
#include "base/time.h"
#include "codec/json.h"
#include "hub/hub.h"
#include "hub/sink.h"
#include "svc/s3/s3.h"

// "s3:ObjectCreated:*" and "ObjectCreated:Put".
static bool wants_event(const s3_EventList *list, Str event)
{
    for (size_t i = 0; i < list->n; i++) {
        Str one = list->at[i];
        if (str_starts(one, S("s3:")))
            one = str_skip(one, 3);
        if (str_eq(one, event) ||
            (str_ends(one, S("*")) && str_starts(event, str_head(one, one.n - 1))))
            return true;
    }
    return false;
}

static bool passes(const s3_NotificationConfigurationFilter *filter, Str key)
{
    const s3_S3KeyFilter *f = filter != NULL ? filter->key : NULL;
    for (size_t i = 0; f != NULL && i < f->filter_rules.n; i++) {
        const s3_FilterRule *r = &f->filter_rules.at[i];
        if (str_eq(r->name, S("prefix")) ? !str_starts(key, r->value) : !str_ends(key, r->value))
            return false;
    }
    return true;
}

static void put(struct event_writer *w, Str name, Str value)
{
    w->ops->key(w, name);
    w->ops->text(w, str_utf8_count(value) != SIZE_MAX ? value : S(""));
}

static void put_map(struct event_writer *w, Str name)
{
    w->ops->key(w, name);
    w->ops->map(w);
}

static void put_s3(struct event_writer *w, struct call *c, const BlobBucket *b, Str id,
                   const S3Event *e)
{
    const BlobObject *o = e->object;
    put_map(w, S("s3"));
    put(w, S("s3SchemaVersion"), S("1.0"));
    put(w, S("configurationId"), id.p != NULL ? id : S("notification"));
    put_map(w, S("bucket"));
    put(w, S("name"), b->name);
    put_map(w, S("ownerIdentity"));
    put(w, S("principalId"), s3_canonical_id(c->arena, b->owner));
    w->ops->map_end(w);
    put(w, S("arn"), str_cat(c->arena, S("arn:aws:s3:::"), b->name));
    w->ops->map_end(w);
    put_map(w, S("object"));
    put(w, S("key"), s3_url_encoded(c->arena, o->key));
    if (o->etag.p != NULL) {
        w->ops->key(w, S("size"));
        w->ops->integer(w, (int64_t)o->bytes);
        put(w, S("eTag"), o->etag);
    }
    if (e->version.p != NULL)
        put(w, S("versionId"), e->version);
    put(w, S("sequencer"),
        str_fmt(c->arena, "%016llX",
                (unsigned long long)(o->version != 0 ? o->version : (uint64_t)c->now_ns)));
    w->ops->map_end(w);
    w->ops->map_end(w);
}

// Kinds of events that came later have a later version (User Guide, "Event message structure").
static Str version_of(Str event)
{
    static const Str later[] = { S_INIT("Lifecycle"), S_INIT("ObjectAcl:"),
                                 S_INIT("ObjectTagging:"), S_INIT("ObjectRestore:Delete") };
    for (size_t i = 0; i < COUNT_OF(later); i++)
        if (str_starts(event, later[i]))
            return S("2.3");
    return S("2.1");
}

static void put_storage(struct event_writer *w, struct call *c, const S3Event *e)
{
    if (e->moved_to.p != NULL) {
        put_map(w, S("lifecycleEventData"));
        put_map(w, S("transitionEventData"));
        put(w, S("destinationStorageClass"), e->moved_to);
        w->ops->map_end(w);
        w->ops->map_end(w);
    }
    if (e->restored_from.p == NULL)
        return;
    put_map(w, S("glacierEventData"));
    put_map(w, S("restoreEventData"));
    put(w, S("lifecycleRestorationExpiryTime"), time_iso_ms(c->arena, e->restored_until_ns));
    put(w, S("lifecycleRestoreStorageClass"), e->restored_from);
    w->ops->map_end(w);
    w->ops->map_end(w);
}

static Str message(struct call *c, const BlobBucket *b, Str id, const S3Event *e)
{
    Str event = str_of(e->name);
    struct event_writer w;
    AUTO_BUF(out);
    json_writer_init(&w, &out);
    w.ops->map(&w);
    w.ops->key(&w, S("Records"));
    w.ops->list(&w);
    w.ops->map(&w);
    put(&w, S("eventVersion"), version_of(event));
    put(&w, S("eventSource"), S("aws:s3"));
    put(&w, S("awsRegion"), b->region);
    put(&w, S("eventTime"), time_iso_ms(c->arena, e->at_ns != 0 ? e->at_ns : c->now_ns));
    put(&w, S("eventName"), event);
    put_map(&w, S("userIdentity"));
    put(&w, S("principalId"), c->principal);
    w.ops->map_end(&w);
    put_map(&w, S("requestParameters"));
    Str peer = c->exchange != NULL ? c->exchange->peer : c->service.p != NULL ? c->service : S("");
    put(&w, S("sourceIPAddress"), str_head(peer, str_find(peer, ':')));
    w.ops->map_end(&w);
    put_map(&w, S("responseElements"));
    put(&w, S("x-amz-request-id"), c->request_id);
    w.ops->map_end(&w);
    put_s3(&w, c, b, id, e);
    put_storage(&w, c, e);
    w.ops->map_end(&w);
    w.ops->list_end(&w);
    w.ops->map_end(&w);
    return str_dup(c->arena, buf_str(&out));
}

// One configured destination, whatever its kind.
typedef struct Destination {
    Str id, arn;
    const s3_EventList *events;
    const s3_NotificationConfigurationFilter *filter;
} Destination;

static Destination *destinations(struct arena *a, const s3_NotificationConfiguration *n,
                                 size_t *ret_n)
{
    size_t all =
        n->topic_configurations.n + n->queue_configurations.n + n->lambda_function_configurations.n;
    Destination *at = arena_new(a, Destination, all + 1);
    *ret_n = 0;
    for (size_t i = 0; i < n->topic_configurations.n; i++) {
        const s3_TopicConfiguration *t = &n->topic_configurations.at[i];
        at[(*ret_n)++] = (Destination){ t->id, t->topic_arn, &t->events, t->filter };
    }
    for (size_t i = 0; i < n->queue_configurations.n; i++) {
        const s3_QueueConfiguration *q = &n->queue_configurations.at[i];
        at[(*ret_n)++] = (Destination){ q->id, q->queue_arn, &q->events, q->filter };
    }
    for (size_t i = 0; i < n->lambda_function_configurations.n; i++) {
        const s3_LambdaFunctionConfiguration *f = &n->lambda_function_configurations.at[i];
        at[(*ret_n)++] = (Destination){ f->id, f->lambda_function_arn, &f->events, f->filter };
    }
    return at;
}

void s3_notify(struct call *c, const BlobBucket *bucket, const char *event, const BlobObject *o)
{
    s3_notify_event(c, bucket, &(S3Event){ .name = event, .object = o });
}

void s3_notify_version(struct call *c, const BlobBucket *bucket, const char *event,
                       const BlobObject *o, Str version)
{
    s3_notify_event(
        c, bucket, &(S3Event){ .name = event, .object = o, .elsewhere = true, .version = version });
}

// Within a transaction, or (tx == NULL) in one of its own.
static Err notify(struct kv_txn *tx, struct s3_noted *noted, struct call *c,
                  const BlobBucket *bucket, const S3Event *given)
{
    S3Event event = *given;
    struct s3 *s = s3_of(c);
    s3_NotificationConfiguration n = { 0 };
    AUTO(bucket) b = s3_bucket_ref(s, bucket->name);
    size_t count;
    if (b == NULL || b->notification.p == NULL)
        return OK;
    const struct member *m = s3_member(s3_api_op(S("PutBucketNotificationConfiguration"))->input,
                                       S("NotificationConfiguration"));
    if (s3_decode_document(c, m->shape, b->notification, &n).kind != ERR_NONE)
        return OK;
    if (!event.elsewhere && bucket->versioning != BLOB_UNVERSIONED)
        event.version = s3_version_text(c->arena, event.object);
    const Destination *all = destinations(c->arena, &n, &count);
    for (size_t i = 0; i < count; i++) {
        if (!wants_event(all[i].events, str_of(event.name)) ||
            !passes(all[i].filter, event.object->key))
            continue;
        S3Message told = { .account = bucket->owner,
                           .region = bucket->region,
                           .arn = all[i].arn,
                           .text = message(c, bucket, all[i].id, &event),
                           .at_ns = event.at_ns };
        Err e = tx != NULL ? s3_events_note(s, tx, &told, noted) : s3_events_add(s, &told);
        if (e.kind == ERR_NONE)
            continue;
        if (tx != NULL && e.kind != ERR_LIMIT)
            return e; // which is undone with all it was a part of
        LOG(LOG_ERROR, "an event notification is lost", F_STR("destination", all[i].arn), F_ERR(e));
    }
    return OK;
}

void s3_notify_event(struct call *c, const BlobBucket *bucket, const S3Event *e)
{
    Err told = notify(NULL, NULL, c, bucket, e);
    (void)told; // what could not be kept is logged
}

Err s3_notify_within(struct kv_txn *tx, struct s3_noted *noted, struct call *c,
                     const BlobBucket *bucket, const S3Event *e)
{
    return notify(tx, noted, c, bucket, e);
}

static Err check_events(struct call *c, const s3_EventList *list)
{
    static const Str known[] = {
        S_INIT("ObjectCreated:"),       S_INIT("ObjectRemoved:"),
        S_INIT("ObjectRestore:"),       S_INIT("ObjectTagging:"),
        S_INIT("ObjectAcl:Put"),        S_INIT("ReducedRedundancyLostObject"),
        S_INIT("Replication:"),         S_INIT("LifecycleTransition"),
        S_INIT("LifecycleExpiration:"), S_INIT("IntelligentTiering")
    };
    for (size_t i = 0; i < list->n; i++) {
        Str one = list->at[i];
        bool good = str_starts(one, S("s3:"));
        Str name = good ? str_skip(one, 3) : S("");
        good = str_eq(name, S("TestEvent"));
        for (size_t k = 0; k < COUNT_OF(known); k++)
            good = good || str_starts(name, known[k]);
        if (good)
            continue;
        call_detail(c, S("ArgumentName"), S("Event"));
        call_detail(c, S("ArgumentValue"), one);
        return call_fail(c, &s3_InvalidArgument, "The event is not supported for notifications");
    }
    return OK;
}

static Str test_message(struct call *c, const BlobBucket *b)
{
    return str_fmt(c->arena,
                   "{\"Service\":\"Amazon S3\",\"Event\":\"s3:TestEvent\",\"Time\":\"%.*s\","
                   "\"Bucket\":\"%.*s\",\"RequestId\":\"%.*s\",\"HostId\":\"\"}",
                   FMT(time_iso_ms(c->arena, c->now_ns)), FMT(b->name), FMT(c->request_id));
}

static Str missing_text(Str arn)
{
    if (str_starts(arn, S("arn:aws:sqs:")))
        return S("The destination queue does not exist");
    if (str_starts(arn, S("arn:aws:sns:")))
        return S("The destination topic does not exist");
    return S("The destination does not exist or cannot be reached");
}

// Somebody must be there who takes what is sent. Queues and topics are told that they have been
// named; functions are not.
Err s3_check_destinations(struct call *c, const BlobBucket *b,
                          const s3_NotificationConfiguration *n)
{
    struct s3 *s = s3_of(c);
    size_t count;
    const Destination *all = destinations(c->arena, n, &count);
    for (size_t i = 0; i < count; i++) {
        TRY(check_events(c, all[i].events));
        const struct hub_sink *sink = hub_sink_find(all[i].arn);
        if (sink != NULL && s->env.hub != NULL && sink->known(s->env.hub, all[i].arn))
            continue;
        call_detail(c, S("ArgumentName"), all[i].arn);
        call_detail(c, S("ArgumentValue"), missing_text(all[i].arn));
        return call_fail(c, &s3_InvalidArgument,
                         "Unable to validate the following destination configurations");
    }
    for (size_t i = 0; i < count; i++)
        if (hub_sink_find(all[i].arn)->test)
            TRY(s3_events_add(s, &(S3Message){ .account = b->owner,
                                               .region = b->region,
                                               .arn = all[i].arn,
                                               .text = test_message(c, b) }));
    return OK;
}

// SPDX-License-Identifier: Apache-2.0
// What happens to objects is told to the destinations that the bucket names (Amazon S3 User Guide,
// "Event message structure"), by whoever in this server serves such an ARN: the same registry that
// alarms use (hub/alarms.h). A message that nobody takes is lost, as S3 promises delivery, not
// storage; a destination that nobody serves cannot be set.
#include "base/time.h"
#include "codec/json.h"
#include "hub/alarms.h"
#include "svc/s3/s3.h"

static bool send(const struct s3 *s, Str account, Str region, Str arn, Str message)
{
    AlarmAction action = { .account = account,
                           .region = region,
                           .action = arn,
                           .subject = S("Amazon S3 Notification"),
                           .message = message };
    struct alarm_target *t = s->env.targets != NULL ? *s->env.targets : NULL;
    for (; t != NULL; t = t->next)
        if (t->act(t, &action))
            return true;
    return false;
}

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
                   const BlobObject *o)
{
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
    if (b->versioning != BLOB_UNVERSIONED)
        put(w, S("versionId"), s3_version_text(c->arena, o));
    put(w, S("sequencer"),
        str_fmt(c->arena, "%016llX",
                (unsigned long long)(o->version != 0 ? o->version : (uint64_t)c->now_ns)));
    w->ops->map_end(w);
    w->ops->map_end(w);
}

static Str message(struct call *c, const BlobBucket *b, Str id, Str event, const BlobObject *o)
{
    struct event_writer w;
    AUTO_BUF(out);
    json_writer_init(&w, &out);
    w.ops->map(&w);
    w.ops->key(&w, S("Records"));
    w.ops->list(&w);
    w.ops->map(&w);
    put(&w, S("eventVersion"), S("2.1"));
    put(&w, S("eventSource"), S("aws:s3"));
    put(&w, S("awsRegion"), b->region);
    put(&w, S("eventTime"), time_iso_ms(c->arena, c->now_ns));
    put(&w, S("eventName"), event);
    put_map(&w, S("userIdentity"));
    put(&w, S("principalId"), c->principal);
    w.ops->map_end(&w);
    put_map(&w, S("requestParameters"));
    Str peer = c->exchange != NULL ? c->exchange->peer : S("");
    put(&w, S("sourceIPAddress"), str_head(peer, str_find(peer, ':')));
    w.ops->map_end(&w);
    put_map(&w, S("responseElements"));
    put(&w, S("x-amz-request-id"), c->request_id);
    w.ops->map_end(&w);
    put_s3(&w, c, b, id, o);
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
    struct s3 *s = s3_of(c);
    s3_NotificationConfiguration n = { 0 };
    AUTO(bucket) b = s3_bucket_ref(s, bucket->name);
    size_t count;
    if (b == NULL || b->notification.p == NULL)
        return;
    const struct member *m = s3_member(s3_api_op(S("PutBucketNotificationConfiguration"))->input,
                                       S("NotificationConfiguration"));
    if (s3_decode_document(c, m->shape, b->notification, &n).kind != ERR_NONE)
        return;
    const Destination *all = destinations(c->arena, &n, &count);
    for (size_t i = 0; i < count; i++)
        if (wants_event(all[i].events, str_of(event)) && passes(all[i].filter, o->key))
            send(s, bucket->owner, bucket->region, all[i].arn,
                 message(c, bucket, all[i].id, str_of(event), o));
}

// A destination is asked with a message of its own whether there is somebody.
Err s3_check_destinations(struct call *c, const BlobBucket *b,
                          const s3_NotificationConfiguration *n)
{
    size_t count;
    const Destination *all = destinations(c->arena, n, &count);
    for (size_t i = 0; i < count; i++) {
        Str test =
            str_fmt(c->arena,
                    "{\"Service\":\"Amazon S3\",\"Event\":\"s3:TestEvent\",\"Time\":\"%.*s\","
                    "\"Bucket\":\"%.*s\",\"RequestId\":\"%.*s\"}",
                    FMT(time_iso_ms(c->arena, c->now_ns)), FMT(b->name), FMT(c->request_id));
        if (send(s3_of(c), b->owner, b->region, all[i].arn, test))
            continue;
        call_detail(c, S("ArgumentName"), all[i].arn);
        call_detail(c, S("ArgumentValue"),
                    S("The destination does not exist or cannot be reached"));
        return call_fail(c, &s3_InvalidArgument,
                         "Unable to validate the following destination configurations");
    }
    return OK;
}

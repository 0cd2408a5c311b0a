// SPDX-License-Identifier: Apache-2.0
// CreateQueue, DescribeQueue, ListQueues, UpdateQueue, DeleteQueue, and the tags of queues.
//
// Changes happen one after the other, as those of streams: `changing` is held from their checks to
// their commits. Rows come before what is in memory.
#include "base/time.h"
#include "svc/kinesis/consumers.h"
#include "svc/kinesis/page.h"
#include "svc/kinesis/queues.h"
#include "svc/kinesis/tags.h"

#include <stdlib.h>

enum { LIST_QUEUES_MAX = 100 };

static int64_t now_ms(const struct call *c)
{
    return c->now_ns / NS_PER_MS;
}

// How long what AWS does asynchronously takes.
static int64_t change_ms(const struct kinesis *k)
{
    return k->env.change_ns / NS_PER_MS;
}

// ---- Describing. Under the queue's lock.

static kinesis_QueueStreamConfigurationList describe_stream(struct arena *a, const struct queue *q,
                                                            QueueStatus status)
{
    kinesis_QueueStreamConfigurationList list = { .set = true, .n = 1 };
    kinesis_QueueStartingPosition *start = arena_new(a, kinesis_QueueStartingPosition, 1);
    list.at = arena_new(a, kinesis_QueueStreamConfiguration, 1);
    start->type = queue_start_name(q->start);
    start->has_timestamp = status != QUEUE_CREATING || q->start == QUEUE_AT_TIMESTAMP;
    start->timestamp = (status == QUEUE_CREATING ? q->start_ms : q->begins_ms) * NS_PER_MS;
    list.at[0].stream_arn = str_dup(a, q->stream->arn);
    list.at[0].starting_position = start;
    return list;
}

static const kinesis_QueueAttributes *describe_attributes(struct arena *a, const struct queue *q)
{
    kinesis_QueueAttributes *attributes = arena_new(a, kinesis_QueueAttributes, 1);
    kinesis_DeadLetterConfiguration *letters = arena_new(a, kinesis_DeadLetterConfiguration, 1);
    letters->target_type =
        q->receives_max > 0 ? kinesis_TargetType_BUILT_IN : kinesis_TargetType_NONE;
    letters->has_max_receive_count = q->receives_max > 0;
    letters->max_receive_count = q->receives_max;
    attributes->has_visibility_timeout_seconds = true;
    attributes->visibility_timeout_seconds = q->visibility_s;
    attributes->dead_letter_configuration = letters;
    return attributes;
}

static const kinesis_QueueDescription *describe(struct arena *a, const struct queue *q,
                                                QueueStatus status)
{
    kinesis_QueueDescription *d = arena_new(a, kinesis_QueueDescription, 1);
    *d = (kinesis_QueueDescription){
        .queue_name = str_dup(a, q->name),
        .queue_arn = str_dup(a, q->arn),
        .queue_status = queue_status_name(status),
        .queue_creation_timestamp = q->created_ms * NS_PER_MS,
        .stream_configuration_list = describe_stream(a, q, status),
        .queue_attributes = describe_attributes(a, q),
    };
    return d;
}

Err kinesis_DescribeQueue(struct call *c, const struct kinesis_DescribeQueue_in *in,
                          struct kinesis_DescribeQueue_out *out)
{
    AUTO(queue) q = NULL;
    TRY(queues_find(c, in->queue_arn, &q));
    pthread_mutex_lock(&q->lock);
    out->queue_description = describe(c->arena, q, queue_status(q, now_ms(c)));
    pthread_mutex_unlock(&q->lock);
    return OK;
}

// ---- Rows

static Err put_row(struct kv_txn *tx, struct arena *a, const struct queue *q)
{
    AUTO_BUF(row);
    queue_row_write(&row, q, q->stream->name);
    TRY(buf_err(&row));
    return kv_put(tx, queue_row_key(a, q), buf_str(&row));
}

// What changes in a queue's row.
typedef struct QueueFields {
    int64_t updated_ms, gone_ms;
    int32_t visibility_s, receives_max;
    TagSet tags;
} QueueFields;

static QueueFields fields_of(const struct queue *q)
{
    return (QueueFields){ q->updated_ms, q->gone_ms, q->visibility_s, q->receives_max, q->tags };
}

static void set_fields(struct queue *q, const QueueFields *f)
{
    q->updated_ms = f->updated_ms;
    q->gone_ms = f->gone_ms;
    q->visibility_s = f->visibility_s;
    q->receives_max = f->receives_max;
    q->tags = f->tags;
}

// Commits the row with these fields, then makes them visible. `changing` is held, so that nobody
// else writes them; the copy that the row is made of is never locked.
static Err change(struct kinesis *k, struct queue *q, const QueueFields *fields)
{
    AUTO(arena) tmp = arena_open();
    struct queue *copy = arena_new(tmp, struct queue, 1);
    *copy = (struct queue){ .id = q->id,
                            .account = q->account,
                            .region = q->region,
                            .name = q->name,
                            .arn = q->arn,
                            .stream = q->stream,
                            .created_ms = q->created_ms,
                            .start = q->start,
                            .start_ms = q->start_ms,
                            .begins_ms = q->begins_ms,
                            .active_ms = q->active_ms };
    set_fields(copy, fields);
    AUTO(kv_txn) tx = kv_write(queues_rows(k->queues));
    TRY(put_row(tx, tmp, copy));
    TRY(kv_commit(tx));
    pthread_mutex_lock(&q->lock);
    set_fields(q, fields);
    pthread_mutex_unlock(&q->lock);
    return OK;
}

// ---- Creating

static Err invalid(struct call *c, const char *text)
{
    return call_fail(c, &kinesis_ValidationException, "%s", text);
}

// What is given replaces what is there.
static Err read_attributes(struct call *c, const kinesis_QueueAttributes *in, QueueFields *fields)
{
    const kinesis_DeadLetterConfiguration *letters = in->dead_letter_configuration;
    if (in->has_visibility_timeout_seconds)
        fields->visibility_s = in->visibility_timeout_seconds;
    if (letters == NULL)
        return OK;
    bool is_on = str_eq(letters->target_type, kinesis_TargetType_BUILT_IN);
    if (is_on && !letters->has_max_receive_count)
        return invalid(c, "MaxReceiveCount is required when the TargetType of "
                          "DeadLetterConfiguration is BUILT_IN.");
    fields->receives_max = is_on ? letters->max_receive_count : 0;
    return OK;
}

static QueueStart start_of(Str type)
{
    if (str_eq(type, kinesis_QueueStartingPositionType_TRIM_HORIZON))
        return QUEUE_TRIM_HORIZON;
    return str_eq(type, kinesis_QueueStartingPositionType_AT_TIMESTAMP) ? QUEUE_AT_TIMESTAMP
                                                                        : QUEUE_LATEST;
}

// Where the queue begins, and from when on the stream could be read.
static Err read_start(struct call *c, const kinesis_QueueStartingPosition *in,
                      const struct stream *s, struct queue *q)
{
    int64_t now = now_ms(c);
    int64_t horizon =
        MAX(MAX(now - (int64_t)s->retention_hours * 3600 * 1000, s->over_ms), s->created_ms);
    q->start = in != NULL ? start_of(in->type) : QUEUE_LATEST;
    bool has_time = in != NULL && in->has_timestamp;
    if (q->start == QUEUE_AT_TIMESTAMP && !has_time)
        return invalid(c, "Timestamp is required when the Type of StartingPosition is "
                          "AT_TIMESTAMP.");
    if (q->start != QUEUE_AT_TIMESTAMP && has_time)
        return invalid(c, "Timestamp may be specified only when the Type of StartingPosition is "
                          "AT_TIMESTAMP.");
    q->start_ms = has_time ? in->timestamp / NS_PER_MS : 0;
    if (q->start_ms > now)
        return call_fail(c, &kinesis_InvalidArgumentException,
                         "The timestampInMillis parameter cannot be greater than the "
                         "currentTimestampInMillis. timestampInMillis: %lld, "
                         "currentTimestampInMillis: %lld",
                         (long long)q->start_ms, (long long)now);
    q->begins_ms = q->start == QUEUE_LATEST ? now : MAX(q->start_ms, horizon);
    return OK;
}

static Err check_name(struct call *c, Str name)
{
    struct kinesis *k = c->state;
    size_t n, same = 0;
    struct queue **all = queues_all(k->queues, c->arena, c->account, c->region, &n);
    for (size_t i = 0; i < n; i++)
        same += str_eq(all[i]->name, name);
    queues_unref_all(all, n);
    if (same == 0)
        return OK;
    return call_fail(c, &kinesis_ResourceInUseException,
                     "Queue %.*s under account %.*s already exists.", FMT(name), FMT(c->account));
}

static Err check_stream(struct call *c, const struct stream *s)
{
    if (s->status == STREAM_GONE)
        return kinesis_not_found(c, s->name);
    TRY(kinesis_require_active(c, s));
    if (!s->on_demand)
        return call_fail(c, &kinesis_ValidationException,
                         "Request is invalid. Stream %.*s under account %.*s is not in On-Demand "
                         "mode.",
                         FMT(s->name), FMT(c->account));
    return consumers_check_count(c, s); // a queue counts as one
}

// The cursor of a shard as the queue begins.
static Err find_cursor(struct kinesis *k, const struct queue *q, uint64_t shard, uint64_t *ret)
{
    LogSpan span;
    if (q->start == QUEUE_AT_TIMESTAMP)
        return log_find_time(k->env.log, shard, q->begins_ms, ret);
    TRY(log_span(k->env.log, shard, &span));
    *ret = q->start == QUEUE_LATEST ? span.next : 0;
    return OK;
}

static Err find_cursors(struct kinesis *k, struct queue *q, const struct stream *s)
{
    q->cursors = xalloc(mul_checked(MAX(s->shard_count, (size_t)1), sizeof *q->cursors));
    for (; q->cursor_count < s->shard_count; q->cursor_count++) {
        struct cursor *cursor = &q->cursors[q->cursor_count];
        cursor->shard = s->shards[q->cursor_count]->id;
        TRY(find_cursor(k, q, cursor->shard, &cursor->next));
    }
    return OK;
}

// The queue's row and those of its cursors, in one transaction.
static Err commit_new(struct kinesis *k, struct arena *a, struct queue *q)
{
    AUTO(kv_txn) tx = kv_write(queues_rows(k->queues));
    TRY(kv_next_id(tx, &q->id));
    TRY(put_row(tx, a, q));
    kv_on(tx, queues_flights(k->queues));
    for (size_t i = 0; i < q->cursor_count; i++) {
        QueueChange row = change_cursor(q, &q->cursors[i]);
        TRY(kv_put(tx, str_from(row.key, sizeof row.key), str_from(row.row, sizeof row.row)));
    }
    return kv_commit(tx);
}

static Err check_tag_count(struct call *c, Str name, size_t count)
{
    if (count <= QUEUE_TAGS_MAX)
        return OK;
    return call_fail(c, &kinesis_InvalidArgumentException,
                     "Failed to add tags to queue %.*s under account %.*s because a given queue "
                     "cannot have more than %d tags associated with it.",
                     FMT(name), FMT(c->account), QUEUE_TAGS_MAX);
}

static Err create_locked(struct call *c, const struct kinesis_CreateQueue_in *in, struct stream *s,
                         struct queue **ret)
{
    struct kinesis *k = c->state;
    TRY(check_name(c, in->queue_name));
    TRY(check_stream(c, s));
    AUTO(queue) q = queue_new(c->account, c->region, in->queue_name, kinesis_new_id(k, c->arena));
    QueueFields fields = fields_of(q);
    if (in->queue_attributes != NULL)
        TRY(read_attributes(c, in->queue_attributes, &fields));
    set_fields(q, &fields);
    TRY(read_start(c, in->stream_configuration_list.at[0].starting_position, s, q));
    for (size_t i = 0; i < in->tags.n; i++)
        tag_set_put(&q->tags, in->tags.at[i].key, in->tags.at[i].value);
    q->stream = stream_ref(s);
    q->created_ms = now_ms(c);
    q->active_ms = now_ms(c) + change_ms(k);
    TRY(find_cursors(k, q, s));
    TRY(commit_new(k, c->arena, q));
    queues_insert(k->queues, queue_ref(q));
    *ret = queue_ref(q);
    return OK;
}

Err kinesis_CreateQueue(struct call *c, const struct kinesis_CreateQueue_in *in,
                        struct kinesis_CreateQueue_out *out)
{
    AUTO(stream) s = NULL;
    AUTO(queue) q = NULL;
    if (in->stream_configuration_list.n != 1)
        return invalid(c, "StreamConfigurationList must contain exactly one entry.");
    TRY(tags_check(c, in->tags));
    TRY(check_tag_count(c, in->queue_name, in->tags.n));
    Str arn = in->stream_configuration_list.at[0].stream_arn;
    TRY(kinesis_find(c, (StreamRef){ .arn = arn }, &s));
    TRY(kinesis_change_begin(c, s->name));
    Err e = create_locked(c, in, s, &q);
    kinesis_change_end(c->state);
    TRY(e);
    // Told as CREATING, however short that is: clients wait for ACTIVE.
    pthread_mutex_lock(&q->lock);
    out->queue_description = describe(c->arena, q, QUEUE_CREATING);
    pthread_mutex_unlock(&q->lock);
    return OK;
}

// ---- Updating

static Err update_locked(struct call *c, struct queue *q, const kinesis_QueueAttributes *in)
{
    struct kinesis *k = c->state;
    QueueFields fields = fields_of(q); // no lock: only the holder of `changing` writes
    QueueStatus status = queue_status(q, now_ms(c));
    if (status != QUEUE_ACTIVE)
        return call_fail(c, &kinesis_ResourceInUseException,
                         "Queue %.*s under account %.*s not ACTIVE, instead in state %.*s",
                         FMT(q->name), FMT(c->account), FMT(queue_status_name(status)));
    TRY(read_attributes(c, in, &fields));
    fields.updated_ms = now_ms(c) + change_ms(k);
    return change(k, q, &fields);
}

Err kinesis_UpdateQueue(struct call *c, const struct kinesis_UpdateQueue_in *in,
                        struct kinesis_UpdateQueue_out *out)
{
    AUTO(queue) q = NULL;
    TRY(queues_find(c, in->queue_arn, &q));
    TRY(kinesis_change_begin(c, q->stream->name));
    Err e = update_locked(c, q, in->queue_attributes);
    kinesis_change_end(c->state);
    TRY(e);
    pthread_mutex_lock(&q->lock);
    out->queue_description = describe(c->arena, q, QUEUE_UPDATING);
    pthread_mutex_unlock(&q->lock);
    return OK;
}

// ---- Deleting

static Err delete_locked(struct call *c, struct queue *q, bool *ret_purges)
{
    struct kinesis *k = c->state;
    QueueFields fields = fields_of(q);
    *ret_purges = false;
    if (fields.gone_ms != 0)
        return OK; // somebody else's deletion was faster
    fields.gone_ms = now_ms(c) + change_ms(k);
    *ret_purges = change_ms(k) == 0;
    return change(k, q, &fields);
}

Err kinesis_DeleteQueue(struct call *c, const struct kinesis_DeleteQueue_in *in)
{
    struct kinesis *k = c->state;
    AUTO(queue) q = NULL;
    bool purges;
    TRY(queues_find(c, in->queue_arn, &q));
    TRY(kinesis_change_begin(c, q->name));
    Err e = delete_locked(c, q, &purges);
    kinesis_change_end(k);
    TRY(e);
    queue_expire(k->queues, q, false); // nobody who waits gets anything any more
    return purges ? queues_purge(k->queues, q) : OK;
}

// ---- Listing

static int by_name(const void *x, const void *y)
{
    const struct queue *const *a = x, *const *b = y;
    return str_cmp((*a)->name, (*b)->name);
}

// Whether the queue is one of those that are asked for.
static bool is_listed(const struct queue *q, const kinesis_QueueStreamFilterList *filter)
{
    bool any = !filter->set;
    for (size_t i = 0; i < filter->n && !any; i++) {
        const kinesis_QueueStreamFilter *f = &filter->at[i];
        any = str_eq(f->stream_arn, q->stream->arn) &&
              (!f->has_stream_creation_timestamp ||
               f->stream_creation_timestamp / NS_PER_S == q->stream->created_ms / 1000);
    }
    return any;
}

static kinesis_QueueSummary summarize(struct arena *a, struct queue *q, int64_t at_ms)
{
    kinesis_QueueStreamIdentifierList streams = { .set = true, .n = 1 };
    streams.at = arena_new(a, kinesis_QueueStreamIdentifier, 1);
    streams.at[0].stream_arn = str_dup(a, q->stream->arn);
    streams.at[0].stream_creation_timestamp = q->stream->created_ms / 1000 * NS_PER_S;
    pthread_mutex_lock(&q->lock);
    QueueStatus status = queue_status(q, at_ms);
    pthread_mutex_unlock(&q->lock);
    return (kinesis_QueueSummary){ .queue_name = str_dup(a, q->name),
                                   .queue_arn = str_dup(a, q->arn),
                                   .queue_status = queue_status_name(status),
                                   .queue_creation_timestamp = q->created_ms * NS_PER_MS,
                                   .streams = streams };
}

Err kinesis_ListQueues(struct call *c, const struct kinesis_ListQueues_in *in,
                       struct kinesis_ListQueues_out *out)
{
    struct kinesis *k = c->state;
    Str after = S("");
    size_t n, max = MIN((size_t)in->max_results, (size_t)LIST_QUEUES_MAX);
    bool more = false;
    TRY(kinesis_admit(c, (Str){ 0 }));
    if (in->next_token.p != NULL)
        TRY(page_open(c, TOKEN_QUEUES, in->next_token, &after));
    struct queue **all = queues_all(k->queues, c->arena, c->account, c->region, &n);
    if (n > 0)
        qsort(all, n, sizeof *all, by_name);
    kinesis_QueueSummaryList list = { .set = true };
    list.at = arena_new(c->arena, kinesis_QueueSummary, max);
    for (size_t i = 0; i < n && !more; i++) {
        if (str_cmp(all[i]->name, after) <= 0 || !is_listed(all[i], &in->stream_filter))
            continue;
        more = list.n == max;
        if (!more)
            list.at[list.n++] = summarize(c->arena, all[i], now_ms(c));
    }
    queues_unref_all(all, n);
    out->queue_summaries = list;
    if (more)
        out->next_token = page_seal(c, TOKEN_QUEUES, list.at[list.n - 1].queue_name);
    return OK;
}

// ---- Tags

// The tags that a request adds; or the keys that it removes.
struct tag_edit {
    const kinesis_TagMap *add;
    const kinesis_TagKeyList *drop;
};

static void edit_tags(TagSet *tags, const struct tag_edit *edit)
{
    for (size_t i = 0; edit->add != NULL && i < edit->add->n; i++)
        tag_set_put(tags, edit->add->at[i].key, edit->add->at[i].value);
    for (size_t i = 0; edit->drop != NULL && i < edit->drop->n; i++)
        tag_set_drop(tags, edit->drop->at[i]);
}

// Nobody but the holder of `changing` writes tags, so that they may be read here without a lock.
static Err change_tags_locked(struct call *c, struct queue *q, const struct tag_edit *edit)
{
    QueueFields fields = fields_of(q);
    pthread_mutex_lock(&q->lock); // for what the thread writes
    Err usable = queues_check_usable(c, q, now_ms(c));
    pthread_mutex_unlock(&q->lock);
    TRY(usable);
    TagSet was = fields.tags;
    fields.tags = (TagSet){ 0 };
    tag_set_copy(&fields.tags, &was);
    edit_tags(&fields.tags, edit);
    Err e = check_tag_count(c, q->name, fields.tags.n);
    if (e.kind == ERR_NONE)
        e = change(c->state, q, &fields);
    tag_set_done(e.kind == ERR_NONE ? &was : &fields.tags);
    return e;
}

static Err change_tags(struct call *c, Str arn, const struct tag_edit *edit)
{
    AUTO(queue) q = NULL;
    TRY(queues_find(c, arn, &q));
    TRY(kinesis_change_begin(c, q->name));
    Err e = change_tags_locked(c, q, edit);
    kinesis_change_end(c->state);
    return e;
}

Err queues_tag(struct call *c, Str arn, const kinesis_TagMap *tags)
{
    TRY(tags_check(c, *tags));
    return change_tags(c, arn, &(struct tag_edit){ .add = tags });
}

Err queues_untag(struct call *c, Str arn, const kinesis_TagKeyList *keys)
{
    return change_tags(c, arn, &(struct tag_edit){ .drop = keys });
}

Err queues_list_tags(struct call *c, Str arn, kinesis_TagList *ret)
{
    AUTO(queue) q = NULL;
    TRY(queues_find(c, arn, &q));
    pthread_mutex_lock(&q->lock);
    *ret = (kinesis_TagList){ .set = true, .n = q->tags.n };
    ret->at = arena_new(c->arena, kinesis_Tag, q->tags.n);
    for (size_t i = 0; i < q->tags.n; i++)
        ret->at[i] = (kinesis_Tag){ .key = str_dup(c->arena, q->tags.at[i].key),
                                    .value = str_dup(c->arena, q->tags.at[i].value) };
    pthread_mutex_unlock(&q->lock);
    return OK;
}

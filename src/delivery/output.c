// SPDX-License-Identifier: Apache-2.0
// Objects on their way to S3: records go through the compressor into a put as they come, so that
// none is ever in memory. The key is made at the end; before it nothing is to be seen of an object.
#include "base/logline.h"
#include "base/time.h"
#include "columnar/columnar.h"
#include "delivery/delivery_priv.h"
#include "store/log.h"

#include <stdlib.h>
#include <string.h>

enum {
    // Gathered before they are given on: the compressor copies 32 KiB of what was before for each.
    WAITING_BYTES = 256 << 10,
    WAITING_BYTES_MANY = 8 << 10, // where there may be hundreds of outputs
};

static const struct hub_objects *objects_of(const struct lane *l)
{
    const struct hub *hub = l->v->d->env.hub;
    return hub != NULL ? hub->objects : NULL;
}

static const DeliveryBucket *bucket_of(const struct lane *l, const char *error_type)
{
    return error_type != NULL ? l->plan->errors : l->plan->place;
}

// "S3.NoSuchBucket", as Firehose's logs name it.
static Err refused(struct lane *l, struct arena *a, const HubObjectAnswer *answer)
{
    static const Str kms = S_INIT("KMS.");
    Str code = answer->code;
    if (answer->fault == HUB_OBJECT_KMS && !str_starts(code, kms))
        code = str_cat(a, kms, code);
    lane_failed(l, str_cat(a, S("S3."), code), answer->text);
    return fail(ERR_FAULT, "an object cannot be written");
}

static Err failed(struct lane *l, Err e)
{
    if (e.kind == ERR_CLOSED) // deleted meanwhile
        lane_failed(l, S("S3.NoSuchBucket"), S("The specified bucket does not exist"));
    else
        lane_failed(l, S("InternalError"), str_of(e.text));
    return fail(ERR_FAULT, "an object cannot be written");
}

struct output *output_find(struct lane *l, const OutputKind *kind)
{
    for (struct output *o = l->outputs; o != NULL; o = o->next)
        if (o->error_type == kind->error_type && str_eq(o->partition, kind->partition))
            return o;
    return NULL;
}

static void close_output(struct output *o)
{
    const struct hub_objects *objects = objects_of(o->lane);
    compressor_close(o->compressor);
    columnar_writer_close(o->writer);
    convert_schema_unref(o->schema);
    if (objects != NULL)
        objects->close(o->put);
    buf_done(&o->waiting);
    if (o->since != NULL)
        o->since->users--;
    arena_close(o->arena);
    free(o);
}

void output_drop(struct output *o)
{
    struct output **at = &o->lane->outputs;
    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    o->lane->output_n--;
    close_output(o);
}

void outputs_drop(struct lane *l)
{
    while (l->outputs != NULL)
        output_drop(l->outputs);
}

static Err take_compressed(void *self, Str bytes)
{
    struct output *o = self;
    o->written += bytes.n;
    return objects_of(o->lane)->write(o->put, bytes);
}

static const DeliveryPair *copy_keys(struct arena *a, const DeliveryPair *keys, size_t n)
{
    DeliveryPair *copy = arena_new(a, DeliveryPair, n + 1);
    for (size_t i = 0; i < n; i++)
        copy[i] = (DeliveryPair){ str_dup(a, keys[i].name), str_dup(a, keys[i].value) };
    return copy;
}

static void name_output(struct output *o, const OutputKind *kind)
{
    const DeliveryRecord *r = kind->record;
    o->error_type = kind->error_type;
    if (kind->partition.p != NULL)
        o->partition = str_dup(o->arena, kind->partition);
    if (r == NULL)
        return;
    o->record.query_keys = copy_keys(o->arena, r->query_keys, r->query_key_count);
    o->record.query_key_count = r->query_key_count;
    o->record.lambda_keys = copy_keys(o->arena, r->lambda_keys, r->lambda_key_count);
    o->record.lambda_key_count = r->lambda_key_count;
}

static Err begin_put(struct lane *l, struct output *o, const DeliveryBucket *to)
{
    AUTO(arena) tmp = arena_open();
    const struct hub_objects *objects = objects_of(l);
    HubObjectWant want = { .as = lane_actor(l, to->role_arn),
                           .bucket = to->bucket,
                           .kms_key = to->kms_key,
                           .expected_owner = to->owner,
                           .storage_class = to->storage_class };
    HubObjectAnswer answer = { 0 };
    if (objects == NULL) {
        lane_failed(l, S("InternalError"), S("There is no service with objects."));
        return fail(ERR_FAULT, "no service with objects");
    }
    Err e = objects->begin(objects->self, tmp, &want, &o->put, &answer);
    if (e.kind != ERR_NONE)
        return failed(l, e);
    return answer.fault == HUB_OBJECT_GOOD ? OK : refused(l, tmp, &answer);
}

// Errors are written as the data is compressed.
Err output_open(struct lane *l, const OutputKind *kind, struct output **ret)
{
    const DeliveryBucket *to = bucket_of(l, kind->error_type);
    if (to == NULL || to->bucket.p == NULL) {
        lane_failed(l, S("InternalError"), S("There is no bucket for records that have failed."));
        return fail(ERR_FAULT, "no bucket for failed records");
    }
    struct output *o = xalloc(sizeof *o);
    o->lane = l;
    o->arena = arena_open();
    o->begun_ms = delivery_now_ms(l->v->d);
    name_output(o, kind);
    Err e = begin_put(l, o, to);
    o->converts = lane_converts(l) && kind->error_type == NULL;
    if (e.kind == ERR_NONE && o->converts)
        e = convert_open(l, take_compressed, o, &o->writer, &o->schema);
    if (e.kind != ERR_NONE) {
        close_output(o);
        return e;
    }
    if (!o->converts)
        compressor_open(to->compression, l->v->d->env.effort != EFFORT_FAST,
                        l->plan->config->is.name, take_compressed, o, &o->compressor);
    o->next = l->outputs;
    l->outputs = o;
    l->output_n++;
    *ret = o;
    return OK;
}

// ---- Bytes

// There is more to be done than what would be packed with much work leaves time for: other lanes
// wait for a processor, or what this one leaves behind is more than its next object.
static bool is_late(struct lane *l)
{
    if (l->v->d->env.effort != EFFORT_AUTO)
        return false;
    return atomic_load(&l->pending_bytes) > atomic_load(&l->size_bytes) ||
           deliveries_are_many(l->v->d);
}

static Err pack(struct output *o, Str bytes)
{
    if (is_late(o->lane))
        compressor_hurry(o->compressor);
    Err e = compressor_write(o->compressor, bytes);
    return e.kind == ERR_NONE ? OK : failed(o->lane, e);
}

static Err give_on(struct output *o)
{
    Err e = buf_err(&o->waiting);
    if (e.kind != ERR_NONE) // there was no memory for all of it
        return failed(o->lane, e);
    TRY(pack(o, buf_str(&o->waiting)));
    buf_clear(&o->waiting);
    return OK;
}

static size_t waiting_max(const struct output *o)
{
    return lane_partitions(o->lane) ? WAITING_BYTES_MANY : WAITING_BYTES;
}

static Err add_bytes(struct output *o, Str bytes)
{
    size_t max = waiting_max(o);
    if (o->waiting.n + bytes.n > max)
        TRY(give_on(o));
    if (bytes.n >= max) // not copied
        return pack(o, bytes);
    if (o->waiting.n == 0 && !buf_reserve(&o->waiting, max)) { // at once: growing is copying
        buf_clear(&o->waiting);
        return pack(o, bytes);
    }
    buf_add(&o->waiting, bytes);
    return OK;
}

static void count(struct output *o, size_t bytes, int64_t arrival_ms)
{
    o->records++;
    o->bytes += bytes;
    if (o->oldest_ms == 0 || arrival_ms < o->oldest_ms)
        o->oldest_ms = arrival_ms;
}

Err output_add(struct output *o, DeliveryRecord *r)
{
    if (o->converts) {
        Err e = convert_add(o->lane, o->writer, r);
        if (e.kind == ERR_NONE)
            count(o, r->data.n, r->arrival_ms);
        return e.kind == ERR_NONE || e.kind == ERR_INVALID ? e : failed(o->lane, e);
    }
    count(o, r->data.n, r->arrival_ms);
    return add_bytes(o, r->data);
}

Err output_add_entries(struct output *o, const LogEntry *at, size_t n)
{
    struct buf *w = &o->waiting;
    size_t max = waiting_max(o);
    for (size_t i = 0; i < n; i++) {
        Str data = at[i].data;
        count(o, data.n, at[i].arrival_ms);
        if (w->n == 0 || data.n == 0 || w->n + data.n > MIN(max, w->cap)) {
            TRY(add_bytes(o, data));
            continue;
        }
        memcpy(w->p + w->n, data.p, data.n); // as most are: there is room
        w->n += data.n;
    }
    return OK;
}

Err output_add_failed(struct output *o, const DeliveryRecord *r)
{
    AUTO(arena) tmp = arena_open();
    count(o, r->data.n, r->arrival_ms);
    error_record_write(&o->waiting, o->lane, tmp, r);
    return o->waiting.n >= waiting_max(o) ? give_on(o) : OK;
}

// ---- The end

// The one that is configured is that of the data; what has failed is never in its format.
static Str extension_of(const struct output *o, const DeliveryBucket *to)
{
    if (to->extension.p != NULL && o->error_type == NULL)
        return to->extension;
    if (o->writer != NULL)
        return convert_extension(&o->lane->plan->config->is);
    return compression_extension(to->compression);
}

static Err make_key(struct output *o, struct arena *a, Str *ret)
{
    struct lane *l = o->lane;
    const DeliveryBucket *to = bucket_of(l, o->error_type);
    PrefixValues values = { .oldest_ms = o->oldest_ms,
                            .error_type = o->error_type,
                            .record = &o->record,
                            .io = l->v->d->env.io };
    const struct prefix *p = o->error_type != NULL ? l->plan->error_prefix : l->plan->data_prefix;
    Err e = prefix_object_key(p, a, &values, &l->plan->config->is, extension_of(o, to), ret);
    return e.kind == ERR_NONE ? OK : failed(l, e);
}

static void told(struct output *o, Str bucket, Str key, int64_t took_ms)
{
    AUTO(arena) tmp = arena_open();
    struct delivery *v = o->lane->v;
    DeliveryObjectNote note = { .at_ms = delivery_now_ms(v->d),
                                .place = str_fmt(tmp, "s3://%.*s/%.*s", FMT(bucket), FMT(key)),
                                .records = o->records,
                                .bytes = o->bytes,
                                .written = o->written,
                                .took_ms = took_ms };
    note_add(v, &note);
}

Err output_finish(struct output *o, struct hub_with *with)
{
    AUTO(arena) tmp = arena_open();
    struct lane *l = o->lane;
    const DeliveryBucket *to = bucket_of(l, o->error_type);
    const struct hub_objects *objects = objects_of(l);
    HubObjectAnswer answer = { 0 };
    Str key;
    Err e;
    if (o->writer != NULL) {
        e = columnar_writer_finish(o->writer);
    } else {
        TRY(give_on(o));
        e = compressor_finish(o->compressor);
    }
    if (e.kind != ERR_NONE)
        return failed(l, e);
    TRY(make_key(o, tmp, &key));
    if (with != NULL && objects->join != NULL)
        objects->join(o->put, with);
    e = objects->finish(o->put, tmp, key, S("application/octet-stream"), (Str){ 0 }, &answer);
    if (e.kind != ERR_NONE)
        return failed(l, e);
    if (answer.fault != HUB_OBJECT_GOOD)
        return refused(l, tmp, &answer);
    o->bucket = to->bucket;
    o->key = str_dup(o->arena, key);
    told(o, to->bucket, key, delivery_now_ms(l->v->d) - o->begun_ms);
    return OK;
}

// SPDX-License-Identifier: Apache-2.0
// A stream's row in kv: JSON, so that an operator can read it; numbers over 53 bits are strings.
#include "base/time.h"
#include "codec/json.h"
#include "svc/kinesis/stream_priv.h"

enum { ROW_VERSION = 2 }; // 1: a shard's place in the list was its index, and all were there

Str stream_row_key(struct arena *a, Str account, Str region, Str name)
{
    // Of every call: str_fmt took a tenth of what a put costs here.
    return str_cat3(a, str_cat3(a, account, S("/"), region), S("/"), name);
}

static void put_text(struct event_writer *w, Str key, Str value)
{
    w->ops->key(w, key);
    w->ops->text(w, value);
}

static void put_number(struct event_writer *w, Str key, int64_t value)
{
    w->ops->key(w, key);
    w->ops->integer(w, value);
}

static void put_turns(struct event_writer *w, Str key, const Turns *t)
{
    if (t->n == 0)
        return;
    w->ops->key(w, key);
    w->ops->list(w);
    for (size_t i = 0; i < t->n; i++)
        w->ops->integer(w, t->at_ms[i]);
    w->ops->list_end(w);
}

static void write_shard(struct event_writer *w, struct arena *tmp, const struct shard *sh)
{
    w->ops->map(w);
    put_text(w, S("id"), str_fmt(tmp, "%llu", (unsigned long long)sh->id));
    put_number(w, S("index"), sh->index);
    put_text(w, S("start"), hash_key_str(tmp, sh->start));
    put_text(w, S("end"), hash_key_str(tmp, sh->end));
    put_number(w, S("created_s"), sh->created_s);
    if (sh->parent >= 0)
        put_number(w, S("parent"), sh->parent);
    if (sh->adjacent >= 0)
        put_number(w, S("adjacent"), sh->adjacent);
    if (shard_is_closed(sh)) {
        put_text(w, S("end_position"),
                 str_fmt(tmp, "%llu", (unsigned long long)shard_end_position(sh)));
        put_number(w, S("closed_ms"), shard_closed_ms(sh));
    }
    w->ops->map_end(w);
}

static Str change_name(ChangeKind kind)
{
    static const char *const names[] = { "", "status", "split", "merge", "scale" };
    return str_of(names[kind]);
}

static void write_change(struct event_writer *w, struct arena *tmp, const StreamChange *c)
{
    w->ops->key(w, S("change"));
    w->ops->map(w);
    put_text(w, S("what"), change_name(c->kind));
    put_number(w, S("due_ms"), c->due_ms);
    put_number(w, S("shard"), c->shard);
    put_number(w, S("other"), c->other);
    put_number(w, S("target"), c->target);
    put_text(w, S("key"), hash_key_str(tmp, c->key));
    w->ops->map_end(w);
}

static void write_peaks(struct event_writer *w, const DemandPeak *peaks)
{
    w->ops->key(w, S("peaks"));
    w->ops->list(w);
    for (size_t i = 0; i < DEMAND_DAYS; i++) {
        if (peaks[i].day == 0)
            continue;
        w->ops->list(w);
        w->ops->integer(w, peaks[i].day);
        w->ops->integer(w, peaks[i].kib_per_s);
        w->ops->integer(w, peaks[i].records_per_s);
        w->ops->list_end(w);
    }
    w->ops->list_end(w);
}

static void write_times(struct event_writer *w, Str key, const int64_t *at_ms, size_t n)
{
    if (at_ms[0] == 0)
        return;
    w->ops->key(w, key);
    w->ops->list(w);
    for (size_t i = 0; i < n && at_ms[i] != 0; i++)
        w->ops->integer(w, at_ms[i]);
    w->ops->list_end(w);
}

void stream_row_write(struct buf *b, const struct stream *s)
{
    AUTO(arena) tmp = arena_open();
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    put_number(&w, S("version"), ROW_VERSION);
    put_text(&w, S("id"), s->id);
    put_text(&w, S("status"), stream_status_name(s->status));
    put_number(&w, S("created_ms"), s->created_ms);
    put_number(&w, S("on_demand"), s->on_demand);
    put_number(&w, S("spread"), s->spread);
    put_number(&w, S("retention_hours"), s->retention_hours);
    put_number(&w, S("record_kib_max"), s->record_kib_max);
    if (s->over_ms > 0)
        put_number(&w, S("over_ms"), s->over_ms);
    if (s->warm_mibps > 0)
        put_number(&w, S("warm_mibps"), s->warm_mibps);
    if (s->shard_metrics != 0)
        put_number(&w, S("shard_metrics"), s->shard_metrics);
    if (s->on_demand)
        write_peaks(&w, s->peaks);
    if (s->change.kind != CHANGE_NONE)
        write_change(&w, tmp, &s->change);
    write_times(&w, S("scaled_ms"), s->scaled_ms, COUNT_OF(s->scaled_ms));
    write_times(&w, S("switched_ms"), s->switched_ms, COUNT_OF(s->switched_ms));
    put_number(&w, S("shard_next"), s->shard_next);
    if (s->key_arn.p != NULL) {
        put_text(&w, S("key"), s->key_arn);
        put_text(&w, S("key_given"), s->key_given);
    }
    put_turns(&w, S("encryption_starts"), &s->starts);
    put_turns(&w, S("encryption_stops"), &s->stops);
    w.ops->key(&w, S("tags"));
    w.ops->map(&w);
    for (size_t i = 0; i < s->tags.n; i++)
        put_text(&w, s->tags.at[i].key, s->tags.at[i].value);
    w.ops->map_end(&w);
    w.ops->key(&w, S("shards"));
    w.ops->list(&w);
    for (size_t i = 0; i < s->shard_count; i++)
        write_shard(&w, tmp, s->shards[i]);
    w.ops->list_end(&w);
    w.ops->map_end(&w);
}

static Err get_number(const JsonValue *map, Str key, int64_t least, int64_t most, int64_t *ret)
{
    const JsonValue *v = json_find(map, key);
    if (v == NULL || v->kind != JSON_NUMBER || v->integer < least || v->integer > most)
        return fail(ERR_CORRUPT, "a stream's row lacks a number or holds a wrong one");
    *ret = v->integer;
    return OK;
}

static Err get_u64(const JsonValue *map, Str key, uint64_t *ret)
{
    if (str_u64(json_text(map, key), ret).kind != ERR_NONE)
        return fail(ERR_CORRUPT, "a shard's row lacks an id or position");
    return OK;
}

// The index of another shard, or -1: none is told.
static Err get_index(const JsonValue *row, Str key, int32_t *ret)
{
    int64_t index = -1;
    if (json_find(row, key) != NULL)
        TRY(get_number(row, key, 0, INT32_MAX, &index));
    *ret = (int32_t)index;
    return OK;
}

static Err read_shard(struct shard *sh, const JsonValue *row)
{
    TRY(get_u64(row, S("id"), &sh->id));
    if (hash_key_parse(json_text(row, S("start")), &sh->start).kind != ERR_NONE ||
        hash_key_parse(json_text(row, S("end")), &sh->end).kind != ERR_NONE || sh->start > sh->end)
        return fail(ERR_CORRUPT, "a shard's row has no range of hash keys");
    int64_t created_s, closed_ms;
    TRY(get_number(row, S("created_s"), 0, UINT32_MAX, &created_s));
    sh->created_s = (uint32_t)created_s;
    TRY(get_index(row, S("parent"), &sh->parent));
    TRY(get_index(row, S("adjacent"), &sh->adjacent));
    if (json_find(row, S("closed_ms")) != NULL) {
        uint64_t end_position;
        TRY(get_u64(row, S("end_position"), &end_position));
        TRY(get_number(row, S("closed_ms"), 1, INT64_MAX / NS_PER_MS, &closed_ms));
        shard_close(sh, end_position, closed_ms);
    }
    return OK;
}

static Err read_change(StreamChange *c, const JsonValue *row)
{
    int64_t shard, other, target;
    if (row == NULL)
        return OK;
    TRY(get_number(row, S("due_ms"), 0, INT64_MAX / NS_PER_MS, &c->due_ms));
    TRY(get_number(row, S("shard"), 0, INT32_MAX, &shard));
    TRY(get_number(row, S("other"), 0, INT32_MAX, &other));
    TRY(get_number(row, S("target"), 0, INT32_MAX, &target));
    c->shard = (uint32_t)shard;
    c->other = (uint32_t)other;
    c->target = (uint32_t)target;
    if (hash_key_parse(json_text(row, S("key")), &c->key).kind != ERR_NONE)
        return fail(ERR_CORRUPT, "a stream's row has a change without a hash key");
    for (int i = CHANGE_STATUS; i <= CHANGE_SCALE; i++)
        if (str_eq(json_text(row, S("what")), change_name((ChangeKind)i))) {
            c->kind = (ChangeKind)i;
            return OK;
        }
    return fail(ERR_CORRUPT, "a stream's row has an unknown change");
}

static Err read_times(int64_t *at_ms, size_t n, const JsonValue *row)
{
    if (row != NULL && row->n > n)
        return fail(ERR_CORRUPT, "a stream's row has too many times");
    for (size_t i = 0; row != NULL && i < row->n; i++) {
        at_ms[i] = row->items[i].integer;
        if (row->items[i].kind != JSON_NUMBER || at_ms[i] <= 0)
            return fail(ERR_CORRUPT, "a stream's row has a wrong time");
    }
    return OK;
}

static Err read_peaks(DemandPeak *peaks, const JsonValue *row)
{
    for (size_t i = 0; row != NULL && i < row->n; i++) {
        const JsonValue *p = &row->items[i];
        if (p->kind != JSON_LIST || p->n != 3)
            return fail(ERR_CORRUPT, "a stream's row has a wrong peak");
        for (size_t k = 0; k < 3; k++)
            if (p->items[k].kind != JSON_NUMBER || p->items[k].integer < 0 ||
                p->items[k].integer > UINT32_MAX)
                return fail(ERR_CORRUPT, "a stream's row has a wrong peak");
        peaks[p->items[0].integer % DEMAND_DAYS] =
            (DemandPeak){ .day = (uint32_t)p->items[0].integer,
                          .kib_per_s = (uint32_t)p->items[1].integer,
                          .records_per_s = (uint32_t)p->items[2].integer };
    }
    return OK;
}

// What the first version of rows does not have.
static Err read_later_fields(struct stream *s, const JsonValue *row)
{
    int64_t warm_mibps = 0, shard_metrics = 0;
    if (json_find(row, S("warm_mibps")) != NULL)
        TRY(get_number(row, S("warm_mibps"), 0, STREAM_WARM_MIBPS_MAX, &warm_mibps));
    s->warm_mibps = (uint32_t)warm_mibps;
    if (json_find(row, S("shard_metrics")) != NULL)
        TRY(get_number(row, S("shard_metrics"), 0, SHARD_METRICS_ALL, &shard_metrics));
    s->shard_metrics = (uint32_t)shard_metrics;
    TRY(read_peaks(s->peaks, json_find(row, S("peaks"))));
    TRY(read_change(&s->change, json_find(row, S("change"))));
    TRY(read_times(s->scaled_ms, COUNT_OF(s->scaled_ms), json_find(row, S("scaled_ms"))));
    return read_times(s->switched_ms, COUNT_OF(s->switched_ms), json_find(row, S("switched_ms")));
}

static Err get_turns(const JsonValue *row, Str key, Turns *ret)
{
    const JsonValue *v = json_find(row, key);
    if (v == NULL)
        return OK;
    if (v->kind != JSON_LIST || v->n > STREAM_TURNS_MAX)
        return fail(ERR_CORRUPT, "a stream's row has a wrong list of times");
    for (; ret->n < v->n; ret->n++)
        ret->at_ms[ret->n] = v->items[ret->n].integer;
    return OK;
}

static Err read_fields(struct stream *s, const JsonValue *row)
{
    int64_t version, on_demand, spread, retention, kib;
    TRY(get_number(row, S("version"), 1, INT64_MAX, &version));
    if (version > ROW_VERSION)
        return fail(ERR_FORMAT, "a stream's row was written by a newer program");
    TRY(get_number(row, S("created_ms"), 0, INT64_MAX / NS_PER_MS, &s->created_ms));
    TRY(get_number(row, S("on_demand"), 0, 1, &on_demand));
    TRY(get_number(row, S("spread"), 0, 1, &spread));
    TRY(get_number(row, S("retention_hours"), 1, STREAM_RETENTION_HOURS_MAX, &retention));
    TRY(get_number(row, S("record_kib_max"), 1, LOG_DATA_BYTES_MAX / 1024, &kib));
    if (json_find(row, S("over_ms")) != NULL)
        TRY(get_number(row, S("over_ms"), 0, INT64_MAX / NS_PER_MS, &s->over_ms));
    s->on_demand = on_demand != 0;
    s->spread = spread != 0;
    s->retention_hours = (uint32_t)retention;
    s->record_kib_max = (uint32_t)kib;
    s->id = stream_own(json_text(row, S("id")));
    TRY(read_later_fields(s, row));
    stream_set_key(s, json_text(row, S("key_given")), json_text(row, S("key")));
    TRY(get_turns(row, S("encryption_starts"), &s->starts));
    TRY(get_turns(row, S("encryption_stops"), &s->stops));
    Str status = json_text(row, S("status"));
    for (int i = 0; i < STREAM_GONE; i++)
        if (str_eq(status, stream_status_name((StreamStatus)i))) {
            s->status = (StreamStatus)i;
            return OK;
        }
    return fail(ERR_CORRUPT, "a stream's row has no status");
}

// In the order of their indexes; the next one is above all.
static Err read_shards(struct stream *s, const JsonValue *list, const JsonValue *row)
{
    size_t n = list != NULL ? list->n : 0;
    int64_t least = 0, next = (int64_t)n;
    struct shard *sh = stream_add_shards(s, n);
    for (size_t i = 0; i < n; i++, least++) {
        int64_t index = (int64_t)i;
        if (json_find(&list->items[i], S("index")) != NULL)
            TRY(get_number(&list->items[i], S("index"), least, INT32_MAX, &index));
        sh[i].index = (uint32_t)index;
        least = index;
        TRY(read_shard(&sh[i], &list->items[i]));
    }
    if (json_find(row, S("shard_next")) != NULL)
        TRY(get_number(row, S("shard_next"), least, UINT32_MAX, &next));
    s->shard_next = (uint32_t)next;
    stream_sort_open(s);
    return s->open_count > 0 ? OK : fail(ERR_CORRUPT, "a stream's row has no open shard");
}

Err stream_row_read(struct arena *tmp, Str key, Str row, struct stream **ret)
{
    Str account, region, name, rest;
    JsonValue *v;
    if (!str_cut(key, '/', &account, &rest) || !str_cut(rest, '/', &region, &name) || name.n == 0)
        return fail(ERR_CORRUPT, "a stream's row has no name");
    if (json_parse(tmp, row, &v).kind != ERR_NONE || v->kind != JSON_MAP)
        return fail(ERR_CORRUPT, "a stream's row is not JSON");

    AUTO(stream) s = stream_new(account, region, name);
    TRY(read_fields(s, v));
    const JsonValue *tags = json_find(v, S("tags")), *shards = json_find(v, S("shards"));
    for (size_t i = 0; tags != NULL && i < tags->n; i++)
        tag_set_put(&s->tags, tags->items[i].key, tags->items[i].text);
    TRY(read_shards(s, shards, v));
    *ret = s;
    s = NULL; // handed over
    return OK;
}

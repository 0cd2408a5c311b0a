// SPDX-License-Identifier: Apache-2.0
// A queue's rows in kv: itself in JSON, so that an operator can read it; what is in flight in a few
// bytes, because there is much of it.
#include "base/time.h"
#include "codec/json.h"
#include "codec/little.h"
#include "svc/kinesis/queue.h"
#include "svc/kinesis/stream_priv.h"

#include <stdlib.h>

enum { QUEUE_ROW_VERSION = 1, FLIGHT_ROW_VERSION = 1 };

// ---- In flight
//
//     0  version      4  received (4)      16  visible (8)     28  zero (4)
//     1  dead         8  first (8)         24  delivery (4)
//     2  zero (2)
//
// The cursor's: 0 version, 1 zero (7), 8 next (8), 16 zero (16).

static void put_big64(uint8_t *p, uint64_t v)
{
    v = htobe64(v);
    memcpy(p, &v, sizeof v);
}

static uint64_t get_big64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return be64toh(v);
}

void flight_key(uint8_t ret[FLIGHT_KEY_BYTES], uint64_t queue, uint64_t shard, uint64_t position)
{
    put_big64(ret, queue);
    put_big64(ret + 8, shard);
    put_big64(ret + 16, position);
}

void flight_row(uint8_t ret[FLIGHT_ROW_BYTES], const struct flight *f)
{
    memset(ret, 0, FLIGHT_ROW_BYTES);
    ret[0] = FLIGHT_ROW_VERSION;
    ret[1] = f->dead;
    put32(ret + 4, f->received);
    put64(ret + 8, (uint64_t)f->first_ms);
    put64(ret + 16, (uint64_t)f->visible_ms);
    put32(ret + 24, f->delivery);
}

void cursor_row(uint8_t ret[FLIGHT_ROW_BYTES], uint64_t next)
{
    memset(ret, 0, FLIGHT_ROW_BYTES);
    ret[0] = FLIGHT_ROW_VERSION;
    put64(ret + 8, next);
}

Err flight_row_read(struct queue *q, Str rest, Str row)
{
    const uint8_t *key = (const uint8_t *)rest.p, *p = (const uint8_t *)row.p;
    if (rest.n != FLIGHT_KEY_BYTES - 8 || row.n < 1)
        return fail(ERR_CORRUPT, "a row of a queue has a wrong key");
    if (p[0] > FLIGHT_ROW_VERSION)
        return fail(ERR_FORMAT, "a row of a queue was written by a newer program");
    if (row.n != FLIGHT_ROW_BYTES || p[0] != FLIGHT_ROW_VERSION || p[1] > 1)
        return fail(ERR_CORRUPT, "a row of a queue is no such row");
    uint64_t shard = get_big64(key), position = get_big64(key + 8);
    if (position == 0) {
        q->cursors = xrealloc(q->cursors, mul_checked(q->cursor_count + 1, sizeof *q->cursors));
        q->cursors[q->cursor_count++] = (struct cursor){ .shard = shard, .next = get64(p + 8) };
        return OK;
    }
    struct flight *f = queue_add(q, shard, position);
    f->dead = p[1] != 0;
    f->received = get32(p + 4);
    f->first_ms = (int64_t)get64(p + 8);
    f->visible_ms = (int64_t)get64(p + 16);
    f->delivery = get32(p + 24);
    queue_place(q, f);
    return OK;
}

Err queue_cursor_row(struct kv_table *flights, struct arena *a, const struct queue *q,
                     uint64_t shard, uint64_t *ret_next)
{
    uint8_t key[FLIGHT_KEY_BYTES];
    Str row;
    AUTO(kv_txn) tx = kv_read(flights);
    flight_key(key, q->id, shard, 0);
    Err e = kv_get(tx, a, str_from(key, sizeof key), &row);
    if (e.kind == ERR_NONE && row.n != FLIGHT_ROW_BYTES)
        return fail(ERR_CORRUPT, "a row of a queue is no such row");
    if (e.kind == ERR_NONE)
        *ret_next = get64((const uint8_t *)row.p + 8);
    else if (e.kind == ERR_NOT_FOUND)
        *ret_next = 0;
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

// ---- The queue

static Str arn_id(const struct queue *q)
{
    return str_skip(q->arn, str_find(q->arn, '/') + 1);
}

Str queue_row_key(struct arena *a, const struct queue *q)
{
    return str_fmt(a, "%.*s/%.*s/%.*s", FMT(q->account), FMT(q->region), FMT(arn_id(q)));
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

void queue_row_write(struct buf *b, const struct queue *q, Str stream_name)
{
    AUTO(arena) tmp = arena_open();
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    put_number(&w, S("version"), QUEUE_ROW_VERSION);
    put_text(&w, S("id"), str_fmt(tmp, "%llu", (unsigned long long)q->id));
    put_text(&w, S("name"), q->name);
    put_text(&w, S("stream"), stream_name);
    put_number(&w, S("created_ms"), q->created_ms);
    put_text(&w, S("start"), queue_start_name(q->start));
    put_number(&w, S("start_ms"), q->start_ms);
    put_number(&w, S("begins_ms"), q->begins_ms);
    put_number(&w, S("active_ms"), q->active_ms);
    put_number(&w, S("updated_ms"), q->updated_ms);
    put_number(&w, S("gone_ms"), q->gone_ms);
    put_number(&w, S("visibility_s"), q->visibility_s);
    put_number(&w, S("receives_max"), q->receives_max);
    w.ops->key(&w, S("tags"));
    w.ops->map(&w);
    for (size_t i = 0; i < q->tags.n; i++)
        put_text(&w, q->tags.at[i].key, q->tags.at[i].value);
    w.ops->map_end(&w);
    w.ops->map_end(&w);
}

static Err get_number(const JsonValue *map, Str key, int64_t most, int64_t *ret)
{
    const JsonValue *v = json_find(map, key);
    if (v == NULL || v->kind != JSON_NUMBER || v->integer < 0 || v->integer > most)
        return fail(ERR_CORRUPT, "a queue's row lacks a number or holds a wrong one");
    *ret = v->integer;
    return OK;
}

static Err read_fields(struct queue *q, const JsonValue *row)
{
    enum { HOUR_S = 3600, RECEIVES_MOST = 1000 };
    const int64_t time_max = INT64_MAX / NS_PER_MS;
    int64_t visibility, receives;
    if (str_u64(json_text(row, S("id")), &q->id).kind != ERR_NONE || q->id == 0)
        return fail(ERR_CORRUPT, "a queue's row has no id");
    TRY(get_number(row, S("created_ms"), time_max, &q->created_ms));
    TRY(get_number(row, S("start_ms"), time_max, &q->start_ms));
    TRY(get_number(row, S("begins_ms"), time_max, &q->begins_ms));
    TRY(get_number(row, S("active_ms"), time_max, &q->active_ms));
    TRY(get_number(row, S("updated_ms"), time_max, &q->updated_ms));
    TRY(get_number(row, S("gone_ms"), time_max, &q->gone_ms));
    TRY(get_number(row, S("visibility_s"), 12 * HOUR_S, &visibility));
    TRY(get_number(row, S("receives_max"), RECEIVES_MOST, &receives));
    q->visibility_s = (int32_t)visibility;
    q->receives_max = (int32_t)receives;
    const JsonValue *tags = json_find(row, S("tags"));
    for (size_t i = 0; tags != NULL && i < tags->n; i++)
        tag_set_put(&q->tags, tags->items[i].key, tags->items[i].text);
    Str start = json_text(row, S("start"));
    for (QueueStart i = QUEUE_LATEST; i <= QUEUE_AT_TIMESTAMP; i++)
        if (str_eq(start, queue_start_name(i))) {
            q->start = i;
            return OK;
        }
    return fail(ERR_CORRUPT, "a queue's row does not say where it starts");
}

Err queue_row_read(struct arena *tmp, Str key, Str row, Str *ret_stream_name, struct queue **ret)
{
    Str account, region, id, rest;
    JsonValue *v;
    int64_t version;
    if (!str_cut(key, '/', &account, &rest) || !str_cut(rest, '/', &region, &id) || id.n == 0)
        return fail(ERR_CORRUPT, "a queue's row has no id in its key");
    if (json_parse(tmp, row, &v).kind != ERR_NONE || v->kind != JSON_MAP)
        return fail(ERR_CORRUPT, "a queue's row is not JSON");
    TRY(get_number(v, S("version"), INT64_MAX, &version));
    if (version > QUEUE_ROW_VERSION)
        return fail(ERR_FORMAT, "a queue's row was written by a newer program");
    AUTO(queue) q = queue_new(account, region, json_text(v, S("name")), id);
    TRY(read_fields(q, v));
    *ret_stream_name = json_text(v, S("stream"));
    *ret = q;
    q = NULL; // handed over
    return OK;
}

// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/consumer.h"
#include "base/time.h"
#include "codec/json.h"
#include "svc/kinesis/stream_priv.h"

#include <stdlib.h>
#include <string.h>

enum { ROW_VERSION = 1 };

struct consumer *consumer_new(const struct stream *s, Str name, int64_t created_s)
{
    AUTO(arena) tmp = arena_open();
    struct consumer *x = xalloc(sizeof *x);
    x->refs = 1;
    x->name = stream_own(name);
    x->arn = stream_own(
        str_fmt(tmp, "%.*s/consumer/%.*s:%lld", FMT(s->arn), FMT(name), (long long)created_s));
    x->created_s = created_s;
    pthread_mutex_init(&x->lock, NULL);
    return x;
}

struct consumer *consumer_ref(struct consumer *x)
{
    __atomic_fetch_add(&x->refs, 1, __ATOMIC_RELAXED);
    return x;
}

void consumer_unref(struct consumer *x)
{
    if (x == NULL || __atomic_sub_fetch(&x->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    tag_set_done(&x->tags);
    meters_consumer_done(&x->meters);
    pthread_mutex_destroy(&x->lock);
    free(x->shards);
    free((void *)(uintptr_t)x->name.p);
    free((void *)(uintptr_t)x->arn.p);
    free(x);
}

ConsumerStatus consumer_status(const struct consumer *x, int64_t now_ms)
{
    if (x->gone_ms != 0)
        return now_ms >= x->gone_ms ? CONSUMER_GONE : CONSUMER_DELETING;
    return now_ms >= x->active_ms ? CONSUMER_ACTIVE : CONSUMER_CREATING;
}

Str consumer_status_name(ConsumerStatus status)
{
    static const char *const names[] = { "CREATING", "ACTIVE", "DELETING", "GONE" };
    return str_of(names[status]);
}

bool consumer_arn_split(Str arn, Str *ret_stream_arn, Str *ret_name, int64_t *ret_created_s)
{
    Str middle = S("/consumer/"), created;
    size_t at = str_search(arn, middle);
    if (at == arn.n)
        return false;
    *ret_stream_arn = str_head(arn, at);
    return str_cut(str_skip(arn, at + middle.n), ':', ret_name, &created) && ret_name->n > 0 &&
           str_i64(created, ret_created_s).kind == ERR_NONE;
}

// ---- Rows

Str consumer_row_key(struct arena *a, const struct stream *s, Str name)
{
    return str_cat3(a, stream_row_key(a, s->account, s->region, s->name), S("/"), name);
}

static void put_number(struct event_writer *w, Str key, int64_t value)
{
    w->ops->key(w, key);
    w->ops->integer(w, value);
}

void consumer_row_write(struct buf *b, const struct consumer *x)
{
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    put_number(&w, S("version"), ROW_VERSION);
    put_number(&w, S("created_s"), x->created_s);
    put_number(&w, S("active_ms"), x->active_ms);
    if (x->gone_ms != 0)
        put_number(&w, S("gone_ms"), x->gone_ms);
    w.ops->key(&w, S("tags"));
    w.ops->map(&w);
    for (size_t i = 0; i < x->tags.n; i++) {
        w.ops->key(&w, x->tags.at[i].key);
        w.ops->text(&w, x->tags.at[i].value);
    }
    w.ops->map_end(&w);
    w.ops->map_end(&w);
}

static Err get_number(const JsonValue *map, Str key, int64_t most, int64_t *ret)
{
    const JsonValue *v = json_find(map, key);
    if (v == NULL || v->kind != JSON_NUMBER || v->integer < 0 || v->integer > most)
        return fail(ERR_CORRUPT, "a consumer's row lacks a number or holds a wrong one");
    *ret = v->integer;
    return OK;
}

Err consumer_row_read(struct arena *tmp, const struct stream *s, Str name, Str row,
                      struct consumer **ret)
{
    JsonValue *v;
    int64_t version, created_s;
    if (json_parse(tmp, row, &v).kind != ERR_NONE || v->kind != JSON_MAP)
        return fail(ERR_CORRUPT, "a consumer's row is not JSON");
    TRY(get_number(v, S("version"), INT64_MAX, &version));
    if (version > ROW_VERSION)
        return fail(ERR_FORMAT, "a consumer's row was written by a newer program");
    TRY(get_number(v, S("created_s"), INT64_MAX / NS_PER_S, &created_s));
    AUTO(consumer) x = consumer_new(s, name, created_s);
    TRY(get_number(v, S("active_ms"), INT64_MAX / NS_PER_MS, &x->active_ms));
    if (json_find(v, S("gone_ms")) != NULL)
        TRY(get_number(v, S("gone_ms"), INT64_MAX / NS_PER_MS, &x->gone_ms));
    const JsonValue *tags = json_find(v, S("tags"));
    for (size_t i = 0; tags != NULL && i < tags->n; i++)
        tag_set_put(&x->tags, tags->items[i].key, tags->items[i].text);
    *ret = x;
    x = NULL; // handed over
    return OK;
}

// ---- Those of a stream

struct consumer *consumer_find(const struct stream *s, Str name, size_t *ret_at)
{
    size_t at = 0;
    while (at < s->consumer_count && str_cmp(s->consumers[at]->name, name) < 0)
        at++;
    *ret_at = at;
    bool found = at < s->consumer_count && str_eq(s->consumers[at]->name, name);
    return found ? s->consumers[at] : NULL;
}

void consumer_insert(struct stream *s, struct consumer *take_x)
{
    size_t at;
    struct consumer *there = consumer_find(s, take_x->name, &at);
    if (there != NULL) {
        consumer_unref(there);
        s->consumers[at] = take_x;
        return;
    }
    s->consumers = xrealloc(s->consumers, mul_checked(s->consumer_count + 1, sizeof(void *)));
    memmove(&s->consumers[at + 1], &s->consumers[at], (s->consumer_count - at) * sizeof(void *));
    s->consumers[at] = take_x;
    s->consumer_count++;
}

void consumer_remove(struct stream *s, const struct consumer *x)
{
    size_t at;
    struct consumer *there = consumer_find(s, x->name, &at);
    CHECK(there == x);
    s->consumer_count--;
    memmove(&s->consumers[at], &s->consumers[at + 1], (s->consumer_count - at) * sizeof(void *));
    consumer_unref(there);
}

size_t consumer_count(const struct stream *s, int64_t now_ms)
{
    size_t n = 0;
    for (size_t i = 0; i < s->consumer_count; i++)
        n += consumer_status(s->consumers[i], now_ms) != CONSUMER_GONE;
    return n;
}

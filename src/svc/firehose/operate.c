// SPDX-License-Identifier: Apache-2.0
// Pages for operators, below /_headrace/admin/, for the root key alone. Both take {"stream": name},
// the second one also {"streams": [names]}: all of them or none.
//
//     firehose/state   what the delivery of a stream is doing
//     firehose/flush   delivers what there is, whatever the hints say; answered at once
#include "base/buf.h"
#include "svc/firehose/firehose.h"
#include "svc/firehose/tree.h"

static Err find(struct firehose *f, const struct operator_call *c, Str name, HoseView *ret,
                Str *ret_problem)
{
    if (name.n == 0) {
        *ret_problem = S("\"stream\" must name a delivery stream");
        return fail(ERR_INVALID, "no stream");
    }
    HoseName n = { c->account, c->region, name };
    if (firehose_look(f, c->arena, &n, ret))
        return OK;
    *ret_problem = str_fmt(c->arena, "there is no delivery stream %.*s", FMT(name));
    return fail(ERR_NOT_FOUND, "no such stream");
}

// ---- firehose/state

static void set_error(struct arena *a, JsonValue *map, const DeliveryState *s)
{
    if (s->last_error_ms == 0)
        return;
    tree_set_integer(a, map, S("last_error_ms"), s->last_error_ms);
    if (s->last_code.p != NULL)
        tree_set_text(a, map, S("last_code"), s->last_code);
    if (s->last_error.p != NULL)
        tree_set_text(a, map, S("last_error"), s->last_error);
}

static void set_notes(struct arena *a, JsonValue *map, const DeliveryState *s)
{
    JsonValue list = { .kind = JSON_LIST, .items = arena_new(a, JsonValue, s->note_count) };
    for (size_t i = 0; i < s->note_count; i++) {
        const DeliveryObjectNote *n = &s->notes[i];
        JsonValue *note = tree_map(a);
        tree_set_integer(a, note, S("at_ms"), n->at_ms);
        tree_set_text(a, note, S("place"), n->place);
        tree_set_integer(a, note, S("records"), (int64_t)n->records);
        tree_set_integer(a, note, S("bytes"), (int64_t)n->bytes);
        tree_set_integer(a, note, S("written"), (int64_t)n->written);
        tree_set_integer(a, note, S("took_ms"), n->took_ms);
        list.items[list.n++] = *note;
    }
    tree_set(a, map, S("deliveries"), &list);
}

static Str state_json(struct arena *a, const HoseView *v, const DeliveryState *s, int64_t now_ms)
{
    JsonValue *map = tree_map(a);
    Str json = S("{}");
    tree_set_text(a, map, S("name"), v->hose->name);
    tree_set_text(a, map, S("status"), hose_status_name(hose_status(v->f, now_ms)));
    tree_set_integer(a, map, S("version"), (int64_t)v->f->version);
    tree_set_bool(a, map, S("delivers"), s != NULL);
    if (s != NULL) {
        tree_set_integer(a, map, S("backlog_records"), (int64_t)s->backlog_records);
        tree_set_integer(a, map, S("backlog_bytes"), (int64_t)s->backlog_bytes);
        tree_set_integer(a, map, S("oldest_ms"), s->oldest_ms);
        tree_set_integer(a, map, S("freshness_ms"),
                         s->oldest_ms > 0 ? MAX(now_ms - s->oldest_ms, (int64_t)0) : 0);
        tree_set_integer(a, map, S("buffer_bytes"), s->size_bytes);
        tree_set_integer(a, map, S("due_ms"), s->due_ms);
        tree_set_integer(a, map, S("attempts"), s->attempts);
        set_error(a, map, s);
        set_notes(a, map, s);
    }
    err_ignore(tree_json(a, map, &json)); // small
    return json;
}

static Err page_state(void *state, const struct operator_call *c, struct buf *ret, Str *ret_problem)
{
    struct firehose *f = state;
    DeliveryState s = { 0 };
    AUTO_VIEW(v);
    TRY(find(f, c, json_text(c->body, S("stream")), &v, ret_problem));
    pthread_rwlock_rdlock(&f->lock); // so that it does not end meanwhile
    bool delivers = v.hose->delivery != NULL;
    if (delivers)
        delivery_state(v.hose->delivery, c->arena, &s);
    pthread_rwlock_unlock(&f->lock);
    buf_add(ret, state_json(c->arena, &v, delivers ? &s : NULL, c->now_ns / 1000000));
    return buf_err(ret);
}

// ---- firehose/flush

static Err check_flush(struct firehose *f, const struct operator_call *c, Str name,
                       Str *ret_problem)
{
    AUTO_VIEW(v);
    TRY(find(f, c, name, &v, ret_problem));
    pthread_rwlock_rdlock(&f->lock);
    bool delivers = v.hose->delivery != NULL;
    pthread_rwlock_unlock(&f->lock);
    if (delivers)
        return OK;
    *ret_problem = str_fmt(c->arena, "delivery stream %.*s delivers nothing", FMT(name));
    return fail(ERR_INVALID, "the stream has no delivery");
}

// One that has gone since it was looked for needs no flush.
static void flush(struct firehose *f, const struct operator_call *c, Str name)
{
    Str problem;
    AUTO_VIEW(v);
    if (find(f, c, name, &v, &problem).kind != ERR_NONE)
        return;
    pthread_rwlock_rdlock(&f->lock);
    if (v.hose->delivery != NULL)
        delivery_flush(v.hose->delivery);
    pthread_rwlock_unlock(&f->lock);
}

static Err page_flush(void *state, const struct operator_call *c, struct buf *ret, Str *ret_problem)
{
    const JsonValue *list = c->body != NULL ? json_find(c->body, S("streams")) : NULL;
    bool several = list != NULL && list->kind == JSON_LIST;
    Str one = json_text(c->body, S("stream"));
    size_t n = several ? list->n : 1;
    for (size_t i = 0; i < n; i++)
        TRY(check_flush(state, c, several ? list->items[i].text : one, ret_problem));
    for (size_t i = 0; i < n; i++)
        flush(state, c, several ? list->items[i].text : one);
    buf_add(ret, S("{}"));
    return buf_err(ret);
}

const struct operator_page firehose_pages[FIREHOSE_PAGES] = {
    { S_INIT("firehose/state"), page_state },
    { S_INIT("firehose/flush"), page_flush },
};

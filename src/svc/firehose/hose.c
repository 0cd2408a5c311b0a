// SPDX-License-Identifier: Apache-2.0
#include "svc/firehose/hose.h"
#include "svc/firehose/tree.h"
#include "base/metric.h"
#include "svc/firehose/crypt.h"

#include <stdlib.h>
#include <string.h>

#define DAY_MS (INT64_C(24) * 3600 * 1000)

static Str own(Str s)
{
    char *p = xalloc(s.n + 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return str_from(p, s.n);
}

static void disown(Str s)
{
    free((void *)(uintptr_t)s.p);
}

static struct metric *counter(const struct hose *h, Str name, Str help)
{
    AUTO(arena) tmp = arena_open();
    Str labels = str_fmt(tmp, "account=\"%.*s\",region=\"%.*s\",stream=\"%.*s\"", FMT(h->account),
                         FMT(h->region), FMT(h->name));
    return metric_get(METRIC_COUNTER, name, help, labels);
}

struct hose *hose_new(Str account, Str region, Str name, uint64_t id)
{
    AUTO(arena) tmp = arena_open();
    struct hose *h = xalloc(sizeof *h);
    h->refs = 1;
    h->account = own(account);
    h->region = own(region);
    h->name = own(name);
    h->arn = own(str_fmt(tmp, "arn:aws:firehose:%.*s:%.*s:deliverystream/%.*s", FMT(region),
                         FMT(account), FMT(name)));
    h->id = id;
    pthread_mutex_init(&h->limit_lock, NULL);
    h->keys = hose_keys_open();
    h->put_records = counter(h, S("headrace_firehose_put_records_total"), S("Records stored."));
    h->put_bytes = counter(h, S("headrace_firehose_put_bytes_total"), S("Bytes stored."));
    h->put_throttled = counter(h, S("headrace_firehose_put_throttled_total"),
                               S("Records refused by a delivery stream's limit."));
    return h;
}

struct hose *hose_ref(struct hose *h)
{
    __atomic_fetch_add(&h->refs, 1, __ATOMIC_RELAXED);
    return h;
}

void hose_unref(struct hose *h)
{
    if (h == NULL || __atomic_sub_fetch(&h->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    CHECK(h->delivery == NULL);
    hose_state_unref(h->state);
    hose_keys_close(h->keys);
    hose_meters_done(&h->meters);
    metric_release(h->put_records);
    metric_release(h->put_bytes);
    metric_release(h->put_throttled);
    pthread_mutex_destroy(&h->limit_lock);
    disown(h->account);
    disown(h->region);
    disown(h->name);
    disown(h->arn);
    free(h);
}

// ---- States

static Str copy(struct arena *a, Str s)
{
    return s.p != NULL ? str_dup(a, s) : s;
}

// Whether the Decompression processor is on.
static bool unpacks_logs(Str destination)
{
    AUTO(arena) tmp = arena_open();
    JsonValue *v;
    if (json_parse(tmp, destination, &v).kind != ERR_NONE || v->kind != JSON_MAP || v->n != 1)
        return false;
    const JsonValue *processing = tree_find(&v->items[0], S("ProcessingConfiguration")),
                    *list = tree_find(processing, S("Processors"));
    if (!tree_is_true(processing, S("Enabled")))
        return false;
    for (size_t i = 0; list != NULL && i < list->n; i++)
        if (str_eq(tree_text(&list->items[i], S("Type")), S("Decompression")))
            return true;
    return false;
}

struct hose_state *hose_state_new(const HoseFields *f)
{
    struct hose_state *s = xalloc(sizeof *s);
    struct arena *a = arena_open();
    s->refs = 1;
    s->arena = a;
    s->f = *f;
    s->f.source_arn = copy(a, f->source_arn);
    s->f.source_role = copy(a, f->source_role);
    s->f.destination = copy(a, f->destination);
    s->f.secrets = copy(a, f->secrets);
    s->logs_only = unpacks_logs(f->destination);
    s->f.key_arn = copy(a, f->key_arn);
    s->f.tags = arena_new(a, HoseTag, f->tag_count);
    for (size_t i = 0; i < f->tag_count; i++)
        s->f.tags[i] = (HoseTag){ copy(a, f->tags[i].key), copy(a, f->tags[i].value) };
    return s;
}

struct hose_state *hose_state_ref(struct hose_state *s)
{
    __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void hose_state_unref(struct hose_state *s)
{
    if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    if (s->f.secrets.n > 0)
        explicit_bzero((char *)(uintptr_t)s->f.secrets.p, s->f.secrets.n); // our own copy
    arena_close(s->arena);
    free(s);
}

HoseStatus hose_status(const HoseFields *f, int64_t now_ms)
{
    if (f->deleting)
        return HOSE_DELETING;
    return now_ms < f->active_ms ? HOSE_CREATING : HOSE_ACTIVE;
}

Str hose_status_name(HoseStatus s)
{
    static const char *const names[] = { "CREATING", "ACTIVE", "DELETING", "DELETING" };
    return str_of(names[s]);
}

const HoseTag *hose_tag(const HoseFields *f, Str key)
{
    for (size_t i = 0; i < f->tag_count; i++)
        if (str_eq(f->tags[i].key, key))
            return &f->tags[i];
    return NULL;
}

bool hose_take_turn(HoseFields *f, int64_t now_ms)
{
    size_t old = 0;
    while (old < f->turn_count && f->turns_ms[old] <= now_ms - DAY_MS)
        old++;
    f->turn_count -= old;
    memmove(f->turns_ms, f->turns_ms + old, f->turn_count * sizeof *f->turns_ms);
    if (f->turn_count == HOSE_TURNS_MAX)
        return false;
    f->turns_ms[f->turn_count++] = now_ms;
    return true;
}

// SPDX-License-Identifier: Apache-2.0
// A delivery stream's row in kv: JSON, so that an operator can read it; numbers over 53 bits are
// strings, and secrets are sealed under the master key.
#include "base/time.h"
#include "store/master.h"
#include "svc/firehose/hose.h"
#include "svc/firehose/tree.h"

enum { ROW_VERSION = 1 };

Str hose_row_key(struct arena *a, Str account, Str region, Str name)
{
    return str_fmt(a, "%.*s/%.*s/%.*s", FMT(account), FMT(region), FMT(name));
}

// What secrets are bound to: the stream, and no later one of its name.
static Str sealed_name(struct arena *a, const struct hose *h)
{
    return str_fmt(a, "firehose/%.*s/%.*s/%.*s/%llu", FMT(h->account), FMT(h->region), FMT(h->name),
                   (unsigned long long)h->id);
}

static void put_text(struct event_writer *w, Str key, Str value)
{
    if (value.p == NULL)
        return;
    w->ops->key(w, key);
    w->ops->text(w, value);
}

static void put_number(struct event_writer *w, Str key, int64_t value)
{
    if (value == 0)
        return;
    w->ops->key(w, key);
    w->ops->integer(w, value);
}

static Str key_kind_name(HoseKeyKind kind)
{
    static const char *const names[] = { "none", "owned", "customer" };
    return str_of(names[kind]);
}

static void write_key(struct event_writer *w, const HoseFields *f)
{
    put_text(w, S("key_kind"), key_kind_name(f->key_kind));
    put_text(w, S("key"), f->key_arn);
    put_number(w, S("key_since_ms"), f->key_since_ms);
    w->ops->key(w, S("turns_ms"));
    w->ops->list(w);
    for (size_t i = 0; i < f->turn_count; i++)
        w->ops->integer(w, f->turns_ms[i]);
    w->ops->list_end(w);
}

static void write_tags(struct event_writer *w, const HoseFields *f)
{
    w->ops->key(w, S("tags"));
    w->ops->map(w);
    for (size_t i = 0; i < f->tag_count; i++) {
        w->ops->key(w, f->tags[i].key);
        if (f->tags[i].value.p != NULL)
            w->ops->text(w, f->tags[i].value);
        else
            w->ops->null(w);
    }
    w->ops->map_end(w);
}

void hose_row_write(struct buf *b, struct io *io, const unsigned char *master, const struct hose *h,
                    const HoseFields *f)
{
    AUTO(arena) tmp = arena_open();
    struct event_writer w;
    JsonValue *destination;
    json_writer_init(&w, b);
    w.ops->map(&w);
    put_number(&w, S("version"), ROW_VERSION);
    put_text(&w, S("id"), str_fmt(tmp, "%llu", (unsigned long long)h->id));
    if (f->deleting)
        put_number(&w, S("deleting"), 1);
    put_number(&w, S("created_ms"), f->created_ms);
    put_number(&w, S("updated_ms"), f->updated_ms);
    put_number(&w, S("active_ms"), f->active_ms);
    put_number(&w, S("due_ms"), f->due_ms);
    put_number(&w, S("configured"), (int64_t)f->version);
    put_number(&w, S("hint_mibps"), f->hint_mibps);
    put_text(&w, S("source"), f->source_arn);
    put_text(&w, S("source_role"), f->source_role);
    CHECK(json_parse(tmp, f->destination, &destination).kind == ERR_NONE); // we wrote it
    w.ops->key(&w, S("destination"));
    tree_write(&w, destination);
    if (f->secrets.n > 0)
        put_text(&w, S("sealed"), master_seal(io, master, tmp, sealed_name(tmp, h), f->secrets));
    write_key(&w, f);
    write_tags(&w, f);
    w.ops->map_end(&w);
}

bool hose_row_has_secrets(Str row)
{
    AUTO(arena) tmp = arena_open();
    JsonValue *v;
    return json_parse(tmp, row, &v).kind == ERR_NONE && tree_find(v, S("sealed")) != NULL;
}

// ---- Reading

static Err corrupt(void)
{
    return fail(ERR_CORRUPT, "a delivery stream's row lacks something or holds a wrong value");
}

// 0 if it is not there.
static Err get_number(const JsonValue *row, Str key, int64_t most, int64_t *ret)
{
    const JsonValue *v = tree_find(row, key);
    if (v != NULL && (v->kind != JSON_NUMBER || v->integer < 0 || v->integer > most))
        return corrupt();
    *ret = v != NULL ? v->integer : 0;
    return OK;
}

static Err read_times(HoseFields *f, const JsonValue *row)
{
    const int64_t most_ms = INT64_MAX / NS_PER_MS;
    int64_t version;
    TRY(get_number(row, S("created_ms"), most_ms, &f->created_ms));
    TRY(get_number(row, S("updated_ms"), most_ms, &f->updated_ms));
    TRY(get_number(row, S("active_ms"), most_ms, &f->active_ms));
    TRY(get_number(row, S("due_ms"), most_ms, &f->due_ms));
    TRY(get_number(row, S("key_since_ms"), most_ms, &f->key_since_ms));
    TRY(get_number(row, S("hint_mibps"), INT32_MAX, &f->hint_mibps));
    TRY(get_number(row, S("configured"), INT64_MAX, &version));
    f->version = (uint64_t)version;
    return version > 0 ? OK : corrupt();
}

static Err read_key(HoseFields *f, const JsonValue *row)
{
    const JsonValue *turns = tree_find(row, S("turns_ms"));
    Str kind = tree_text(row, S("key_kind"));
    f->key_arn = tree_text(row, S("key"));
    if (turns == NULL || turns->kind != JSON_LIST || turns->n > HOSE_TURNS_MAX)
        return corrupt();
    for (; f->turn_count < turns->n; f->turn_count++)
        f->turns_ms[f->turn_count] = turns->items[f->turn_count].integer;
    for (int i = HOSE_KEY_NONE; i <= HOSE_KEY_CUSTOMER; i++)
        if (str_eq(kind, key_kind_name((HoseKeyKind)i))) {
            f->key_kind = (HoseKeyKind)i;
            return OK;
        }
    return corrupt();
}

static Err read_tags(HoseFields *f, struct arena *tmp, const JsonValue *row)
{
    const JsonValue *tags = tree_find(row, S("tags"));
    if (tags == NULL || tags->kind != JSON_MAP)
        return corrupt();
    f->tags = arena_new(tmp, HoseTag, tags->n);
    for (; f->tag_count < tags->n; f->tag_count++) {
        const JsonValue *t = &tags->items[f->tag_count];
        f->tags[f->tag_count] = (HoseTag){ t->key, t->kind == JSON_STRING ? t->text : (Str){ 0 } };
    }
    return OK;
}

static Err read_destination(HoseFields *f, struct arena *tmp, const unsigned char *master,
                            const struct hose *h, const JsonValue *row)
{
    const JsonValue *destination = tree_find(row, S("destination"));
    Str sealed = tree_text(row, S("sealed"));
    if (destination == NULL || destination->kind != JSON_MAP || destination->n != 1)
        return corrupt();
    TRY(tree_json(tmp, destination, &f->destination));
    if (sealed.p == NULL)
        return OK;
    if (master == NULL)
        return fail(ERR_CORRUPT, "a delivery stream has secrets, and there is no master key");
    return master_unseal(master, tmp, sealed_name(tmp, h), sealed, &f->secrets);
}

Err hose_row_read(struct arena *tmp, const unsigned char *master, Str key, Str row,
                  struct hose **ret)
{
    Str account, region, name, rest;
    HoseFields f = { 0 };
    JsonValue *v;
    uint64_t id;
    int64_t version, deleting;
    if (!str_cut(key, '/', &account, &rest) || !str_cut(rest, '/', &region, &name) || name.n == 0)
        return fail(ERR_CORRUPT, "a delivery stream's row has no name");
    if (json_parse(tmp, row, &v).kind != ERR_NONE || v->kind != JSON_MAP)
        return fail(ERR_CORRUPT, "a delivery stream's row is not JSON");
    TRY(get_number(v, S("version"), INT64_MAX, &version));
    if (version > ROW_VERSION)
        return fail(ERR_FORMAT, "a delivery stream's row was written by a newer program");
    if (str_u64(tree_text(v, S("id")), &id).kind != ERR_NONE || id == 0)
        return corrupt();
    AUTO(hose) h = hose_new(account, region, name, id);
    TRY(get_number(v, S("deleting"), 1, &deleting));
    f.deleting = deleting != 0;
    f.source_arn = tree_text(v, S("source"));
    f.source_role = tree_text(v, S("source_role"));
    TRY(read_times(&f, v));
    TRY(read_key(&f, v));
    TRY(read_tags(&f, tmp, v));
    TRY(read_destination(&f, tmp, master, h, v));
    h->state = hose_state_new(&f);
    *ret = h;
    h = NULL; // handed over
    return OK;
}

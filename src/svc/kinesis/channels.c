// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/channels.h"
#include "base/logline.h"
#include "base/map.h"
#include "base/time.h"
#include "svc/kinesis/tags.h"

#include <stdlib.h>

struct channels {
    struct kinesis *k;
    struct kv_table *rows;
    struct deliveries *deliveries;
    pthread_mutex_t lock; // of the table; a leaf
    struct map *by_arn;
};

static Err not_found(struct call *c, Str arn)
{
    return call_fail(c, &kinesis_ResourceNotFoundException,
                     "Channel %.*s under account %.*s not found.", FMT(arn), FMT(c->account));
}

// ---- The table. Under lock.

static struct channel *look(const struct channels *cs, const struct call *c, Str arn)
{
    struct channel *ch = map_get(cs->by_arn, arn);
    bool own = ch != NULL && str_eq(ch->account, c->account) && str_eq(ch->region, c->region);
    return own ? ch : NULL;
}

static struct channels *of(const struct kinesis *k)
{
    return k->channels;
}

Err channels_find(struct call *c, Str arn, struct channel **ret)
{
    struct channels *cs = of(c->state);
    pthread_mutex_lock(&cs->lock);
    const struct channel *ch = look(cs, c, arn);
    *ret = ch != NULL ? channel_copy(ch) : NULL;
    pthread_mutex_unlock(&cs->lock);
    return *ret != NULL ? OK : not_found(c, arn);
}

static int by_name(const void *x, const void *y)
{
    const struct channel *const *a = x, *const *b = y;
    return str_cmp((*a)->texts[CHANNEL_NAME], (*b)->texts[CHANNEL_NAME]);
}

struct channel **channels_all(const struct kinesis *k, struct arena *a, Str account, Str region,
                              size_t *ret_n)
{
    struct channels *cs = of(k);
    Str arn;
    void *value;
    size_t n = 0;
    pthread_mutex_lock(&cs->lock);
    struct channel **all = arena_new(a, struct channel *, map_count(cs->by_arn) + 1);
    for (size_t at = 0; map_next(cs->by_arn, &at, &arn, &value);) {
        const struct channel *ch = value;
        if (str_eq(ch->account, account) && str_eq(ch->region, region))
            all[n++] = channel_copy(ch);
    }
    pthread_mutex_unlock(&cs->lock);
    qsort(all, n, sizeof *all, by_name);
    *ret_n = n;
    return all;
}

size_t channels_on_stream(const struct kinesis *k, const struct stream *s)
{
    struct channels *cs = of(k);
    Str arn;
    void *value;
    size_t n = 0;
    pthread_mutex_lock(&cs->lock);
    for (size_t at = 0; map_next(cs->by_arn, &at, &arn, &value);)
        n += ((struct channel *)value)->stream == s;
    pthread_mutex_unlock(&cs->lock);
    return n;
}

size_t channels_count(const struct kinesis *k, Str account, Str region)
{
    struct channels *cs = of(k);
    Str arn;
    void *value;
    size_t n = 0;
    pthread_mutex_lock(&cs->lock);
    for (size_t at = 0; map_next(cs->by_arn, &at, &arn, &value);) {
        const struct channel *ch = value;
        n += str_eq(ch->account, account) && str_eq(ch->region, region);
    }
    pthread_mutex_unlock(&cs->lock);
    return n;
}

Err channels_refuse(struct call *c, const struct stream *s, const char *what, const char *how)
{
    size_t n = channels_on_stream(c->state, s);
    if (n == 0)
        return OK;
    return call_fail(c, &kinesis_ResourceInUseException,
                     "%s %.*s%s because there are channels (%zu) associated with this data stream. "
                     "Delete every channel on it first.",
                     what, FMT(s->arn), how, n);
}

// ---- Changes. `changing` is held.

static Err put_row(struct kv_txn *tx, struct arena *a, const struct channel *ch)
{
    AUTO_BUF(row);
    channel_row_write(&row, ch);
    TRY(buf_err(&row));
    return kv_put(tx, channel_row_key(a, ch), buf_str(&row));
}

Err channels_check(struct call *c, const struct channel *ch)
{
    DeliveryConfig config;
    Str text = S("");
    channel_config(ch, &config);
    Err e = delivery_check(of(c->state)->deliveries, &config, c->arena, &text);
    arena_close(config.arena);
    if (e.kind == ERR_INVALID)
        return call_fail(c, &kinesis_ValidationException, "%.*s", FMT(text));
    return e;
}

static Err begin(struct channels *cs, struct channel *ch)
{
    DeliveryConfig config;
    channel_config(ch, &config);
    Err e = delivery_add(cs->deliveries, &config, &ch->delivery);
    if (e.kind != ERR_NONE)
        arena_close(config.arena);
    return e;
}

static void insert(struct channels *cs, struct channel *take_ch)
{
    pthread_mutex_lock(&cs->lock);
    CHECK(map_put(cs->by_arn, take_ch->arn, take_ch) == NULL);
    pthread_mutex_unlock(&cs->lock);
}

Err channels_add(struct call *c, struct channel *ch)
{
    struct channels *cs = of(c->state);
    AUTO(kv_txn) tx = kv_write(cs->rows);
    TRY(kv_next_id(tx, &ch->id));
    TRY(put_row(tx, c->arena, ch));
    TRY(kv_commit(tx));
    TRY(begin(cs, ch));
    insert(cs, channel_copy(ch));
    return OK;
}

Err channels_replace(struct call *c, struct channel *take_ch)
{
    struct channels *cs = of(c->state);
    AUTO(channel) ch = take_ch;
    AUTO(kv_txn) tx = kv_write(cs->rows);
    TRY(put_row(tx, c->arena, ch));
    TRY(kv_commit(tx));
    DeliveryConfig config;
    channel_config(ch, &config);
    delivery_change(ch->delivery, &config);
    struct channel *mine = channel_copy(ch);
    pthread_mutex_lock(&cs->lock);
    struct channel *was = map_take(cs->by_arn, mine->arn);
    map_put(cs->by_arn, mine->arn, mine);
    pthread_mutex_unlock(&cs->lock);
    channel_close(was);
    return OK;
}

// The delivery has ended before the row goes: a crash between them begins it again.
Err channels_remove(struct call *c, Str arn)
{
    struct channels *cs = of(c->state);
    pthread_mutex_lock(&cs->lock);
    AUTO(channel) ch = look(cs, c, arn) != NULL ? map_take(cs->by_arn, arn) : NULL;
    pthread_mutex_unlock(&cs->lock);
    if (ch == NULL)
        return not_found(c, arn);
    delivery_remove(ch->delivery);
    ch->delivery = NULL;
    AUTO(kv_txn) tx = kv_write(cs->rows);
    Err e = kv_del(tx, channel_row_key(c->arena, ch));
    if (e.kind == ERR_NONE)
        e = deliveries_forget(cs->deliveries, tx, ch->id);
    if (e.kind == ERR_NONE)
        e = kv_commit(tx);
    if (e.kind == ERR_NONE)
        return OK;
    Err again = begin(cs, ch); // it stays
    if (again.kind != ERR_NONE)
        LOG(LOG_ERROR, "a channel does not deliver until the next start", F_STR("channel", arn),
            F_ERR(again));
    insert(cs, channel_copy(ch));
    return e;
}

// ---- Tags

bool channels_is_arn(Str resource_arn)
{
    Str part;
    for (size_t i = 0; i < 5; i++)
        if (!str_cut(resource_arn, ':', &part, &resource_arn))
            return false;
    return str_starts(resource_arn, S("channel/"));
}

// What a request adds; or the keys that it removes.
struct tag_edit {
    const kinesis_TagMap *add;
    const kinesis_TagKeyList *drop;
};

static Err edit_locked(struct call *c, Str arn, const struct tag_edit *edit)
{
    struct channel *ch;
    TRY(channels_find(c, arn, &ch));
    for (size_t i = 0; edit->add != NULL && i < edit->add->n; i++)
        tag_set_put(&ch->tags, edit->add->at[i].key, edit->add->at[i].value);
    for (size_t i = 0; edit->drop != NULL && i < edit->drop->n; i++)
        tag_set_drop(&ch->tags, edit->drop->at[i]);
    if (ch->tags.n <= CHANNEL_TAGS_MAX)
        return channels_replace(c, ch);
    Err e = call_fail(c, &kinesis_InvalidArgumentException,
                      "Failed to add tags to channel %.*s under account %.*s because a given "
                      "channel cannot have more than %d tags associated with it.",
                      FMT(ch->texts[CHANNEL_NAME]), FMT(c->account), CHANNEL_TAGS_MAX);
    channel_close(ch);
    return e;
}

static Err edit_tags(struct call *c, Str arn, const struct tag_edit *edit)
{
    TRY(kinesis_admit(c, arn));
    TRY(kinesis_change_begin(c, arn));
    Err e = edit_locked(c, arn, edit);
    kinesis_change_end(c->state);
    return e;
}

Err channels_tag(struct call *c, Str arn, const kinesis_TagMap *tags)
{
    TRY(tags_check(c, *tags));
    return edit_tags(c, arn, &(struct tag_edit){ .add = tags });
}

Err channels_untag(struct call *c, Str arn, const kinesis_TagKeyList *keys)
{
    return edit_tags(c, arn, &(struct tag_edit){ .drop = keys });
}

Err channels_list_tags(struct call *c, Str arn, kinesis_TagList *ret)
{
    AUTO(channel) ch = NULL;
    TRY(kinesis_admit(c, arn));
    TRY(channels_find(c, arn, &ch));
    *ret = (kinesis_TagList){ .set = true, .n = ch->tags.n };
    ret->at = arena_new(c->arena, kinesis_Tag, ch->tags.n);
    for (size_t i = 0; i < ch->tags.n; i++)
        ret->at[i] = (kinesis_Tag){ .key = str_dup(c->arena, ch->tags.at[i].key),
                                    .value = str_dup(c->arena, ch->tags.at[i].value) };
    return OK;
}

void channels_copy_tags(struct call *c, Str arn, TagSet *to)
{
    struct channels *cs = of(c->state);
    pthread_mutex_lock(&cs->lock);
    const struct channel *ch = look(cs, c, arn);
    if (ch != NULL)
        tag_set_copy(to, &ch->tags);
    pthread_mutex_unlock(&cs->lock);
}

// ---- From one start to the next

static Err load_one(struct channels *cs, struct arena *tmp, Str key, Str row)
{
    AUTO(channel) ch = NULL;
    TRY(channel_row_read(tmp, key, row, &ch));
    Str name = stream_row_key(tmp, ch->account, ch->region, ch->texts[CHANNEL_STREAM]);
    struct stream *s = map_get(cs->k->by_key, name);
    if (s == NULL)
        return fail(ERR_CORRUPT, "a channel's stream is not there");
    ch->stream = stream_ref(s);
    TRY(begin(cs, ch));
    insert(cs, ch);
    ch = NULL; // the table's
    return OK;
}

static Err load(struct channels *cs)
{
    AUTO(kv_txn) tx = kv_read(cs->rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        AUTO(arena) tmp = arena_open();
        Str key = str_dup(tmp, scan.rest);
        Err e = load_one(cs, tmp, key, str_dup(tmp, scan.value));
        if (e.kind != ERR_NONE) {
            LOG(LOG_ERROR, "a channel cannot be read", F_STR("row", key), F_ERR(e));
            kv_scan_end(&scan);
            return e;
        }
    }
    return scan.err;
}

Err channels_open(struct kinesis *k, struct channels **ret)
{
    struct channels *cs = xalloc(sizeof *cs);
    cs->k = k;
    cs->by_arn = map_open();
    pthread_mutex_init(&cs->lock, NULL);
    *ret = cs;
    TRY(kv_table_open(k->env.kv, S("kinesis.channels"), &cs->rows));
    TRY(deliveries_open(&k->env, S("kinesis.deliveries"), &cs->deliveries));
    return load(cs);
}

void channels_stop(struct channels *cs)
{
    if (cs != NULL && cs->deliveries != NULL)
        deliveries_stop(cs->deliveries);
}

void channels_close(struct channels *cs)
{
    Str arn;
    void *value;
    if (cs == NULL)
        return;
    for (size_t at = 0; map_next(cs->by_arn, &at, &arn, &value);) {
        struct channel *ch = value;
        if (ch->delivery != NULL)
            delivery_remove(ch->delivery); // its positions stay
        channel_close(ch);
    }
    deliveries_close(cs->deliveries);
    map_close(cs->by_arn);
    pthread_mutex_destroy(&cs->lock);
    free(cs);
}

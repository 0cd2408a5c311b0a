// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/channel.h"
#include "base/time.h"
#include "codec/json.h"

#include <stdlib.h>

enum { CHANNEL_ROW_VERSION = 1, OBJECT_BYTES_MAX = 128 << 20 };

static const Str text_names[CHANNEL_TEXTS] = {
    [CHANNEL_NAME] = S_INIT("name"),
    [CHANNEL_STREAM] = S_INIT("stream"),
    [CHANNEL_ROLE] = S_INIT("role"),
    [CHANNEL_FORMAT] = S_INIT("format"),
    [CHANNEL_BUCKET] = S_INIT("bucket"),
    [CHANNEL_OWNER] = S_INIT("owner"),
    [CHANNEL_TEMPLATE] = S_INIT("template"),
    [CHANNEL_CLASS] = S_INIT("storage_class"),
    [CHANNEL_COMPRESSION] = S_INIT("compression"),
    [CHANNEL_DEAD_BUCKET] = S_INIT("dead_letter_bucket"),
    [CHANNEL_DEAD_OWNER] = S_INIT("dead_letter_owner"),
    [CHANNEL_DEAD_PREFIX] = S_INIT("dead_letter_prefix"),
    [CHANNEL_KEY] = S_INIT("key"),
    [CHANNEL_LOG_GROUP] = S_INIT("log_group"),
    [CHANNEL_LOG_STREAM] = S_INIT("log_stream"),
};

struct channel *channel_new(Str account, Str region, Str id_text)
{
    struct channel *ch = xalloc(sizeof *ch);
    ch->arena = arena_open();
    ch->account = str_dup(ch->arena, account);
    ch->region = str_dup(ch->arena, region);
    ch->arn = str_fmt(ch->arena, "arn:aws:kinesis:%.*s:%.*s:channel/%.*s", FMT(region),
                      FMT(account), FMT(id_text));
    return ch;
}

static Str id_text_of(const struct channel *ch)
{
    return str_skip(ch->arn, str_find(ch->arn, '/') + 1);
}

struct channel *channel_copy(const struct channel *from)
{
    struct channel *ch = channel_new(from->account, from->region, id_text_of(from));
    for (int i = 0; i < CHANNEL_TEXTS; i++)
        channel_set_text(ch, (ChannelText)i, from->texts[i]);
    ch->id = from->id;
    ch->created_ms = from->created_ms;
    ch->active_ms = from->active_ms;
    ch->updated_ms = from->updated_ms;
    ch->freshness_s = from->freshness_s;
    ch->logs = from->logs;
    tag_set_copy(&ch->tags, &from->tags);
    ch->stream = from->stream != NULL ? stream_ref(from->stream) : NULL;
    ch->delivery = from->delivery;
    return ch;
}

void channel_close(struct channel *ch)
{
    if (ch == NULL)
        return;
    tag_set_done(&ch->tags);
    stream_unref(ch->stream);
    arena_close(ch->arena);
    free(ch);
}

void channel_set_text(struct channel *ch, ChannelText which, Str text)
{
    ch->texts[which] = text.p != NULL ? str_dup(ch->arena, text) : (Str){ 0 };
}

ChannelStatus channel_status(const struct channel *ch, int64_t now_ms)
{
    if (now_ms < ch->active_ms)
        return CHANNEL_CREATING;
    return now_ms < ch->updated_ms ? CHANNEL_UPDATING : CHANNEL_ACTIVE;
}

Str channel_bucket_name(Str arn)
{
    Str head, rest;
    while (str_cut(arn, ':', &head, &rest))
        arn = rest;
    return arn;
}

// ---- The delivery

static DeliveryCompression compression_of(Str name)
{
    if (str_eq(name, S("GZIP")))
        return DELIVERY_GZIP;
    return str_eq(name, S("ZSTD")) ? DELIVERY_ZSTD : DELIVERY_PLAIN;
}

// A text of the channel in the config's arena.
static Str text_in(struct arena *a, const struct channel *ch, ChannelText which)
{
    Str text = ch->texts[which];
    return text.p != NULL ? str_dup(a, text) : (Str){ 0 };
}

static DeliveryBucket bucket_of(struct arena *a, const struct channel *ch, bool dead)
{
    Str class = text_in(a, ch, CHANNEL_CLASS);
    Str arn = text_in(a, ch, dead ? CHANNEL_DEAD_BUCKET : CHANNEL_BUCKET);
    return (DeliveryBucket){
        .bucket = channel_bucket_name(arn),
        .role_arn = text_in(a, ch, CHANNEL_ROLE),
        .prefix = dead ? (Str){ 0 } : text_in(a, ch, CHANNEL_TEMPLATE),
        .error_prefix = text_in(a, ch, CHANNEL_DEAD_PREFIX),
        .kms_key = text_in(a, ch, CHANNEL_KEY),
        .owner = text_in(a, ch, dead ? CHANNEL_DEAD_OWNER : CHANNEL_OWNER),
        .storage_class = str_eq(class, S("STANDARD")) ? (Str){ 0 } : class,
        .compression = dead ? DELIVERY_PLAIN : compression_of(ch->texts[CHANNEL_COMPRESSION]),
        .size_bytes = OBJECT_BYTES_MAX,
        .interval_ns = ch->freshness_s * NS_PER_S,
    };
}

// JSON and text are lines; bytes lie one behind the other as they came.
static void add_steps(DeliveryConfig *c, Str format)
{
    DeliveryStep *steps = arena_new(c->arena, DeliveryStep, 2);
    if (str_eq(format, S("JSON")))
        steps[c->step_count++] = (DeliveryStep){ .kind = STEP_JSON };
    if (!str_eq(format, S("BYTE_ARRAY")))
        steps[c->step_count++] = (DeliveryStep){ .kind = STEP_DELIMIT, .delimiter = S("\n") };
    c->steps = steps;
}

void channel_config(const struct channel *ch, DeliveryConfig *ret)
{
    struct arena *a = arena_open();
    *ret = (DeliveryConfig){
        .arena = a,
        .account = str_dup(a, ch->account),
        .region = str_dup(a, ch->region),
        .name = text_in(a, ch, CHANNEL_NAME),
        .arn = str_dup(a, ch->arn),
        .service = S("kinesis.amazonaws.com"),
        .id = ch->id,
        .version = 1,
        .source_arn = str_dup(a, ch->stream->arn),
        .source_role_arn = text_in(a, ch, CHANNEL_ROLE),
        .start_ms = ch->created_ms,
        .kind = DELIVER_S3,
        .size_bytes = OBJECT_BYTES_MAX,
        .interval_ns = ch->freshness_s * NS_PER_S,
        .s3 = bucket_of(a, ch, false),
        .errors = bucket_of(a, ch, true),
    };
    add_steps(ret, ch->texts[CHANNEL_FORMAT]);
}

// ---- The row

Str channel_row_key(struct arena *a, const struct channel *ch)
{
    return str_fmt(a, "%.*s/%.*s/%.*s", FMT(ch->account), FMT(ch->region), FMT(id_text_of(ch)));
}

static void put_text(struct event_writer *w, Str key, Str value)
{
    w->ops->key(w, key);
    w->ops->text(w, value);
}

static void put_number(struct event_writer *w, const char *key, int64_t value)
{
    w->ops->key(w, str_of(key));
    w->ops->integer(w, value);
}

void channel_row_write(struct buf *b, const struct channel *ch)
{
    AUTO(arena) tmp = arena_open();
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    put_number(&w, "version", CHANNEL_ROW_VERSION);
    put_text(&w, S("id"), str_fmt(tmp, "%llu", (unsigned long long)ch->id));
    put_number(&w, "created_ms", ch->created_ms);
    put_number(&w, "active_ms", ch->active_ms);
    put_number(&w, "updated_ms", ch->updated_ms);
    put_number(&w, "freshness_s", ch->freshness_s);
    put_number(&w, "logs", ch->logs);
    for (int i = 0; i < CHANNEL_TEXTS; i++)
        if (ch->texts[i].p != NULL)
            put_text(&w, text_names[i], ch->texts[i]);
    w.ops->key(&w, S("tags"));
    w.ops->map(&w);
    for (size_t i = 0; i < ch->tags.n; i++)
        put_text(&w, ch->tags.at[i].key, ch->tags.at[i].value);
    w.ops->map_end(&w);
    w.ops->map_end(&w);
}

static Err get_number(const JsonValue *map, Str key, int64_t most, int64_t *ret)
{
    const JsonValue *v = json_find(map, key);
    if (v == NULL || v->kind != JSON_NUMBER || v->integer < 0 || v->integer > most)
        return fail(ERR_CORRUPT, "a channel's row lacks a number or holds a wrong one");
    *ret = v->integer;
    return OK;
}

static Err read_fields(struct channel *ch, const JsonValue *row)
{
    const int64_t time_max = INT64_MAX / NS_PER_MS;
    int64_t logs;
    if (str_u64(json_text(row, S("id")), &ch->id).kind != ERR_NONE || ch->id == 0)
        return fail(ERR_CORRUPT, "a channel's row has no id");
    TRY(get_number(row, S("created_ms"), time_max, &ch->created_ms));
    TRY(get_number(row, S("active_ms"), time_max, &ch->active_ms));
    TRY(get_number(row, S("updated_ms"), time_max, &ch->updated_ms));
    TRY(get_number(row, S("freshness_s"), CHANNEL_FRESHNESS_S_MAX, &ch->freshness_s));
    TRY(get_number(row, S("logs"), 1, &logs));
    ch->logs = logs != 0;
    for (int i = 0; i < CHANNEL_TEXTS; i++)
        channel_set_text(ch, (ChannelText)i, json_text(row, text_names[i]));
    if (ch->texts[CHANNEL_NAME].p == NULL || ch->texts[CHANNEL_STREAM].p == NULL ||
        ch->texts[CHANNEL_BUCKET].p == NULL)
        return fail(ERR_CORRUPT, "a channel's row lacks its name, stream or bucket");
    const JsonValue *tags = json_find(row, S("tags"));
    for (size_t i = 0; tags != NULL && i < tags->n; i++)
        tag_set_put(&ch->tags, tags->items[i].key, tags->items[i].text);
    return OK;
}

Err channel_row_read(struct arena *tmp, Str key, Str row, struct channel **ret)
{
    Str account, region, id, rest;
    JsonValue *v;
    int64_t version;
    if (!str_cut(key, '/', &account, &rest) || !str_cut(rest, '/', &region, &id) || id.n == 0)
        return fail(ERR_CORRUPT, "a channel's row has no id in its key");
    if (json_parse(tmp, row, &v).kind != ERR_NONE || v->kind != JSON_MAP)
        return fail(ERR_CORRUPT, "a channel's row is not JSON");
    TRY(get_number(v, S("version"), INT64_MAX, &version));
    if (version > CHANNEL_ROW_VERSION)
        return fail(ERR_FORMAT, "a channel's row was written by a newer program");
    AUTO(channel) ch = channel_new(account, region, id);
    TRY(read_fields(ch, v));
    *ret = ch;
    ch = NULL; // handed over
    return OK;
}

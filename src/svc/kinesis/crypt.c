// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/crypt.h"
#include "base/logline.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "hub/hub.h"

#include <stdlib.h>
#include <string.h>

// Of data keys' rows. With a key of the first version partition keys of records stay plain; a
// program that knows no other refuses what was encrypted with one of the second.
enum { ROW_PLAIN_KEYS = 1, ROW_VERSION = 2 };

// ---- The key service

Err crypt_refused(struct call *c, const HubKeyAnswer *answer)
{
    static const struct api_error *const errors[] = {
        [HUB_KEY_NOT_FOUND] = &kinesis_KMSNotFoundException,
        [HUB_KEY_DISABLED] = &kinesis_KMSDisabledException,
        [HUB_KEY_PENDING_DELETION] = &kinesis_KMSInvalidStateException,
        [HUB_KEY_DENIED] = &kinesis_KMSAccessDeniedException,
    };
    if (answer->fault == HUB_KEY_GOOD)
        return OK;
    if (answer->fault == HUB_KEY_DAMAGED)
        return fail(ERR_CORRUPT, "a wrapped data key is not what was written");
    return call_fail(c, errors[answer->fault], "%.*s", FMT(answer->text));
}

static const struct hub_keys *keys_of(const struct kinesis *k)
{
    return k->env.hub != NULL ? k->env.hub->keys : NULL;
}

static Err no_keys(void)
{
    return fail(ERR_NOT_FOUND, "there is no key service, but a stream that needs it");
}

// What a data key is bound to, as AWS binds it: the stream.
static Str context_of(struct arena *a, const struct stream *s)
{
    return str_cat(a, S("aws:kinesis:arn="), s->arn);
}

static Str arn_of_key(struct call *c, struct stream *s)
{
    struct kinesis *k = c->state;
    pthread_rwlock_rdlock(&k->lock);
    Str arn = s->key_arn.p != NULL ? str_dup(c->arena, s->key_arn) : (Str){ 0 };
    pthread_rwlock_unlock(&k->lock);
    return arn;
}

// ---- Rows

static Str row_prefix(struct arena *a, const struct stream *s)
{
    return str_cat(a, stream_row_key(a, s->account, s->region, s->name), S("/"));
}

static Str row_key(struct arena *a, const struct stream *s, uint64_t number)
{
    return str_fmt(a, "%.*s%016llx", FMT(row_prefix(a, s)), (unsigned long long)number);
}

static void write_row(struct buf *b, Str arn, Str wrapped, int64_t now_ms)
{
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    w.ops->key(&w, S("version"));
    w.ops->integer(&w, ROW_VERSION);
    w.ops->key(&w, S("key"));
    w.ops->text(&w, arn);
    w.ops->key(&w, S("wrapped"));
    w.ops->bytes(&w, wrapped); // base64 in JSON
    w.ops->key(&w, S("created_ms"));
    w.ops->integer(&w, now_ms);
    w.ops->map_end(&w);
}

static Err read_row(struct arena *a, Str row, Str *ret_arn, Str *ret_wrapped, bool *ret_hides_keys)
{
    JsonValue *v;
    if (json_parse(a, row, &v).kind != ERR_NONE)
        return fail(ERR_CORRUPT, "a data key's row is not JSON");
    const JsonValue *version = json_find(v, S("version"));
    Str text = json_text(v, S("wrapped")), arn = json_text(v, S("key"));
    if (version == NULL || arn.n == 0 || text.n == 0 || text.n > 2 * HUB_KEY_WRAPPED_BYTES_MAX)
        return fail(ERR_CORRUPT, "a data key's row is not complete");
    if (version->integer > ROW_VERSION)
        return fail(ERR_FORMAT, "a data key's row was written by a newer program");
    char *wrapped = arena_alloc(a, base64_decoded_max(text.n), 1);
    Base64Result r = base64_decode(wrapped, text.p, text.n);
    if (r.fault != BASE64_GOOD)
        return fail(ERR_CORRUPT, "a wrapped data key is not base64");
    *ret_arn = arn;
    *ret_hides_keys = version->integer > ROW_PLAIN_KEYS;
    *ret_wrapped = str_from(wrapped, r.n);
    return OK;
}

Err crypt_del_keys(struct kinesis *k, struct kv_txn *tx, const struct stream *s)
{
    AUTO(arena) tmp = arena_open();
    Str prefix = row_prefix(tmp, s);
    for (;;) { // one at a time: nothing is changed under a scan
        kv_on(tx, k->keys);
        struct kv_scan scan = kv_scan_start(tx, prefix, S(""));
        Str rest = kv_scan_next(&scan) ? str_dup(tmp, scan.rest) : (Str){ 0 };
        TRY(scan.err);
        kv_scan_end(&scan);
        if (rest.p == NULL)
            return OK;
        TRY(kv_del(tx, str_cat(tmp, prefix, rest)));
    }
}

// ---- Keys for puts

// ERR_BUSY: one must be made, under the key `*ret_arn`, which lives in the call's arena. Without a
// key the stream does not encrypt.
static Err current_key(struct call *c, struct stream *s, Str *ret_arn, struct data_key **ret)
{
    struct kinesis *k = c->state;
    HubKeyAnswer answer = { 0 };
    *ret = NULL;
    if (!__atomic_load_n(&s->encrypts, __ATOMIC_ACQUIRE))
        return OK;
    *ret_arn = arn_of_key(c, s);
    if (ret_arn->p == NULL)
        return OK; // stopped meanwhile
    if (keys_of(k) == NULL)
        return no_keys();
    keys_of(k)->check(keys_of(k)->self, c, *ret_arn, S("kms:GenerateDataKey"), &answer);
    TRY(crypt_refused(c, &answer));
    AUTO(data_key) key = data_keys_current(s->data_keys);
    if (!data_key_is_good(key, *ret_arn, kinesis_mono_ns(k)))
        return fail(ERR_BUSY, "a data key must be made");
    *ret = data_key_ref(key);
    return OK;
}

Err crypt_key(struct call *c, struct stream *s, struct data_key **ret)
{
    Str arn;
    return current_key(c, s, &arn, ret);
}

// A data key for a stream that is deleted meanwhile would stay for ever.
static Err still_there(struct call *c, struct kv_txn *tx, const struct stream *s)
{
    struct kinesis *k = c->state;
    AUTO(arena) tmp = arena_open();
    Str row;
    kv_on(tx, k->rows);
    Err e = kv_get(tx, tmp, stream_row_key(tmp, s->account, s->region, s->name), &row);
    kv_on(tx, k->keys);
    return e.kind == ERR_NOT_FOUND ? kinesis_not_found(c, s->name) : e;
}

static Err make_locked(struct call *c, struct stream *s, Str arn, struct data_key **ret)
{
    struct kinesis *k = c->state;
    HubKeyAnswer answer = { 0 };
    unsigned char plain[HUB_KEY_BYTES];
    Str wrapped;
    uint64_t number;
    AUTO_BUF(row);
    keys_of(k)->make(keys_of(k)->self, c, arn, context_of(c->arena, s), plain, &wrapped, &answer);
    TRY(crypt_refused(c, &answer));
    write_row(&row, arn, wrapped, c->now_ns / 1000000);
    TRY(buf_err(&row));
    AUTO(kv_txn) tx = kv_write(k->keys);
    TRY(kv_next_id(tx, &number));
    TRY(still_there(c, tx, s));
    TRY(kv_put(tx, row_key(c->arena, s, number), buf_str(&row)));
    TRY(kv_commit(tx));
    AUTO(data_key) key = data_key_new(number, arn, plain, kinesis_mono_ns(k), true);
    explicit_bzero(plain, sizeof plain);
    data_keys_put(s->data_keys, key, true);
    *ret = data_key_ref(key);
    return OK;
}

// The stream may change its key while one is made: what is made is still what the stream had while
// this call was under way, so it is used, and the next call makes another.
Err crypt_make_key(struct call *c, struct stream *s, struct data_key **ret)
{
    struct kinesis *k = c->state;
    Str arn;
    pthread_mutex_lock(&k->making_keys);
    Err e = current_key(c, s, &arn, ret);
    if (e.kind == ERR_BUSY) // nobody was faster
        e = make_locked(c, s, arn, ret);
    pthread_mutex_unlock(&k->making_keys);
    return e;
}

// ---- Sealing and opening

Err crypt_seal(struct call *c, struct data_key *key, LogRecord *records, size_t n)
{
    return data_key_seal(c->arena, key, records, n);
}

// Data keys go in the transaction in which their stream does, which may come between the reading of
// records and their opening.
static Err no_row(struct call *c, struct stream *s)
{
    struct kinesis *k = c->state;
    pthread_rwlock_rdlock(&k->lock);
    bool goes = s->status == STREAM_DELETING || s->status == STREAM_GONE;
    pthread_rwlock_unlock(&k->lock);
    return goes ? kinesis_not_found(c, s->name)
                : fail(ERR_CORRUPT, "a record's data key is not in the store");
}

static Err load_key(struct call *c, struct stream *s, uint64_t number, struct data_key **ret)
{
    struct kinesis *k = c->state;
    HubKeyAnswer answer = { 0 };
    unsigned char plain[HUB_KEY_BYTES];
    Str row, arn, wrapped;
    bool hides_keys;
    {
        AUTO(kv_txn) tx = kv_read(k->keys);
        Err e = kv_get(tx, c->arena, row_key(c->arena, s, number), &row);
        if (e.kind == ERR_NOT_FOUND)
            return no_row(c, s);
        TRY(e);
    }
    TRY(read_row(c->arena, row, &arn, &wrapped, &hides_keys));
    keys_of(k)->unwrap(keys_of(k)->self, c, arn, context_of(c->arena, s), wrapped, plain, &answer);
    TRY(crypt_refused(c, &answer));
    AUTO(data_key) key = data_key_new(number, arn, plain, 0, hides_keys); // for reads alone
    explicit_bzero(plain, sizeof plain);
    data_keys_put(s->data_keys, key, false);
    *ret = data_key_ref(key);
    return OK;
}

static Err key_of_number(struct call *c, struct stream *s, uint64_t number, bool may_block,
                         struct data_key **ret)
{
    struct kinesis *k = c->state;
    HubKeyAnswer answer = { 0 };
    if (keys_of(k) == NULL)
        return no_keys();
    AUTO(data_key) key = data_keys_find(s->data_keys, number);
    if (key == NULL && !may_block)
        return fail(ERR_BUSY, "a data key must be read");
    if (key == NULL)
        return load_key(c, s, number, ret);
    keys_of(k)->check(keys_of(k)->self, c, data_key_arn(key), S("kms:Decrypt"), &answer);
    TRY(crypt_refused(c, &answer));
    *ret = data_key_ref(key);
    return OK;
}

Err crypt_may_read(struct call *c, struct stream *s, uint64_t number)
{
    AUTO(data_key) key = NULL;
    if (number == 0)
        return OK;
    if (number == DATA_KEY_MANY)
        return fail(ERR_BUSY, "the records have several data keys");
    return key_of_number(c, s, number, false, &key);
}

struct opening {
    struct call *call;
    struct stream *stream;
    bool may_block;
};

static Err find_key(void *self, uint64_t number, struct data_key **ret)
{
    const struct opening *o = self;
    return key_of_number(o->call, o->stream, number, o->may_block, ret);
}

Err crypt_open(struct call *c, struct stream *s, LogEntry *entries, size_t n, bool may_block)
{
    struct opening o = { c, s, may_block };
    return data_key_open_entries(c->arena, entries, n, find_key, &o);
}

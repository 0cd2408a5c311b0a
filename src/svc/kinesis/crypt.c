// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/crypt.h"
#include "base/logline.h"
#include "codec/base64.h"
#include "codec/gcm.h"
#include "codec/json.h"
#include "codec/little.h"
#include "hub/hub.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROW_VERSION = 1,
    MARK_BYTES = 8 + 4 + GCM_TAG_BYTES,
    MARK_PADDED_CHARS = 40, // with the "==" that is left out
    RECORDS_MAX = 1 << 30,  // of one data key: far from where its count would end
};
_Static_assert((int)HUB_KEY_BYTES == (int)GCM_KEY_BYTES, "data keys are keys of AES-256");
_Static_assert((int)CRYPT_MARK_CHARS <= (int)LOG_HASH_KEY_BYTES_MAX, "the mark fits");

struct data_key {
    unsigned refs; // atomic
    uint64_t number;
    int64_t made_ns;       // monotonic
    _Atomic uint32_t used; // its records, of those that are put with it
    unsigned char plain[HUB_KEY_BYTES];
    Str arn; // of the key it is wrapped with
    char text[];
};

struct data_keys {
    pthread_mutex_t lock;
    struct data_key *current;                   // for puts; NULL: none
    struct data_key *cached[CRYPT_KEYS_CACHED]; // for reads; a ring
    size_t next;
};

// ---- Memory

static struct data_key *data_key_new(uint64_t number, Str arn,
                                     const unsigned char plain[HUB_KEY_BYTES])
{
    struct data_key *key = xalloc(sizeof *key + arn.n);
    key->refs = 1;
    key->number = number;
    memcpy(key->plain, plain, HUB_KEY_BYTES);
    memcpy(key->text, arn.p, arn.n);
    key->arn = str_from(key->text, arn.n);
    return key;
}

static struct data_key *data_key_ref(struct data_key *key)
{
    __atomic_fetch_add(&key->refs, 1, __ATOMIC_RELAXED);
    return key;
}

void data_key_close(struct data_key *key)
{
    if (key == NULL || __atomic_sub_fetch(&key->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    explicit_bzero(key->plain, sizeof key->plain);
    free(key);
}

struct data_keys *data_keys_open(void)
{
    struct data_keys *d = xalloc(sizeof *d);
    pthread_mutex_init(&d->lock, NULL);
    return d;
}

void data_keys_close(struct data_keys *d)
{
    if (d == NULL)
        return;
    data_key_close(d->current);
    for (size_t i = 0; i < CRYPT_KEYS_CACHED; i++)
        data_key_close(d->cached[i]);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static struct data_key *current_key(struct data_keys *d)
{
    pthread_mutex_lock(&d->lock);
    struct data_key *key = d->current != NULL ? data_key_ref(d->current) : NULL;
    pthread_mutex_unlock(&d->lock);
    return key;
}

static struct data_key *cached_key(struct data_keys *d, uint64_t number)
{
    struct data_key *found = NULL;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < CRYPT_KEYS_CACHED && found == NULL; i++)
        if (d->cached[i] != NULL && d->cached[i]->number == number)
            found = data_key_ref(d->cached[i]);
    pthread_mutex_unlock(&d->lock);
    return found;
}

static void cache_key(struct data_keys *d, struct data_key *key, bool for_puts)
{
    pthread_mutex_lock(&d->lock);
    size_t at = d->next++ % CRYPT_KEYS_CACHED;
    struct data_key *old = d->cached[at], *before = for_puts ? d->current : NULL;
    d->cached[at] = data_key_ref(key);
    if (for_puts)
        d->current = data_key_ref(key);
    pthread_mutex_unlock(&d->lock);
    data_key_close(old);
    data_key_close(before);
}

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

static Err read_row(struct arena *a, Str row, Str *ret_arn, Str *ret_wrapped)
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

static bool is_good(struct kinesis *k, const struct data_key *key, Str arn)
{
    return key != NULL && str_eq(key->arn, arn) &&
           kinesis_mono_ns(k) - key->made_ns < CRYPT_KEY_LIFE_NS &&
           atomic_load(&key->used) < (uint32_t)RECORDS_MAX;
}

Err crypt_key(struct call *c, struct stream *s, struct data_key **ret)
{
    struct kinesis *k = c->state;
    HubKeyAnswer answer = { 0 };
    *ret = NULL;
    if (!__atomic_load_n(&s->encrypts, __ATOMIC_ACQUIRE))
        return OK;
    Str arn = arn_of_key(c, s);
    if (arn.p == NULL)
        return OK; // stopped meanwhile
    if (keys_of(k) == NULL)
        return no_keys();
    keys_of(k)->check(keys_of(k)->self, c, arn, S("kms:GenerateDataKey"), &answer);
    TRY(crypt_refused(c, &answer));
    AUTO(data_key) key = current_key(s->data_keys);
    if (!is_good(k, key, arn))
        return fail(ERR_BUSY, "a data key must be made");
    *ret = data_key_ref(key);
    return OK;
}

static Err make_locked(struct call *c, struct stream *s, Str arn)
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
    TRY(kv_put(tx, row_key(c->arena, s, number), buf_str(&row)));
    TRY(kv_commit(tx));
    AUTO(data_key) key = data_key_new(number, arn, plain);
    explicit_bzero(plain, sizeof plain);
    key->made_ns = kinesis_mono_ns(k);
    cache_key(s->data_keys, key, true);
    return OK;
}

Err crypt_make_key(struct call *c, struct stream *s, struct data_key **ret)
{
    struct kinesis *k = c->state;
    pthread_mutex_lock(&k->making_keys);
    Err e = crypt_key(c, s, ret);
    if (e.kind == ERR_BUSY) { // nobody was faster
        e = make_locked(c, s, arn_of_key(c, s));
        if (e.kind == ERR_NONE)
            e = crypt_key(c, s, ret);
    }
    pthread_mutex_unlock(&k->making_keys);
    return e.kind == ERR_BUSY ? fail(ERR_LIMIT, "a stream's key changes too fast") : e;
}

// ---- Sealing and opening

static void make_nonce(unsigned char nonce[GCM_NONCE_BYTES], uint64_t number, uint32_t count)
{
    put64(nonce, number);
    put32(nonce + 8, count);
}

static Str make_mark(struct arena *a, const unsigned char mark[MARK_BYTES])
{
    char *text = arena_try_raw(a, 1 + MARK_PADDED_CHARS, 1);
    if (text == NULL)
        return (Str){ 0 };
    text[0] = 'k';
    base64_encode(text + 1, mark, MARK_BYTES);
    return str_from(text, CRYPT_MARK_CHARS);
}

Err crypt_seal(struct call *c, struct data_key *key, LogRecord *records, size_t n)
{
    uint32_t count = atomic_fetch_add(&key->used, (uint32_t)n);
    AUTO(gcm) g = NULL;
    gcm_open_seal(key->plain, &g);
    for (size_t i = 0; i < n; i++, count++) {
        unsigned char nonce[GCM_NONCE_BYTES], mark[MARK_BYTES];
        char *sealed = arena_try_raw(c->arena, records[i].data.n + 1, 1);
        if (sealed == NULL)
            return fail(ERR_MEMORY, "no memory for an encrypted record");
        make_nonce(nonce, key->number, count);
        memcpy(mark, nonce, sizeof nonce);
        gcm_seal(g, nonce, records[i].key, records[i].data, sealed, mark + sizeof nonce);
        records[i].data = str_from(sealed, records[i].data.n);
        records[i].hash_key = make_mark(c->arena, mark);
        if (records[i].hash_key.p == NULL)
            return fail(ERR_MEMORY, "no memory for an encrypted record");
    }
    return OK;
}

bool crypt_is_sealed(const LogEntry *e)
{
    return e->hash_key.n == CRYPT_MARK_CHARS && e->hash_key.p[0] == 'k';
}

static Err read_mark(const LogEntry *e, unsigned char mark[MARK_BYTES])
{
    char text[MARK_PADDED_CHARS];
    unsigned char bytes[MARK_PADDED_CHARS]; // what decoding may write at most
    memcpy(text, e->hash_key.p + 1, CRYPT_MARK_CHARS - 1);
    text[CRYPT_MARK_CHARS - 1] = text[CRYPT_MARK_CHARS] = '=';
    Base64Result r = base64_decode(bytes, text, sizeof text);
    if (r.fault != BASE64_GOOD || r.n != MARK_BYTES)
        return fail(ERR_CORRUPT, "the mark of an encrypted record is damaged");
    memcpy(mark, bytes, MARK_BYTES);
    return OK;
}

static Err load_key(struct call *c, struct stream *s, uint64_t number, struct data_key **ret)
{
    struct kinesis *k = c->state;
    HubKeyAnswer answer = { 0 };
    unsigned char plain[HUB_KEY_BYTES];
    Str row, arn, wrapped;
    {
        AUTO(kv_txn) tx = kv_read(k->keys);
        Err e = kv_get(tx, c->arena, row_key(c->arena, s, number), &row);
        if (e.kind == ERR_NOT_FOUND)
            return fail(ERR_CORRUPT, "a record's data key is not in the store");
        TRY(e);
    }
    TRY(read_row(c->arena, row, &arn, &wrapped));
    keys_of(k)->unwrap(keys_of(k)->self, c, arn, context_of(c->arena, s), wrapped, plain, &answer);
    TRY(crypt_refused(c, &answer));
    AUTO(data_key) key = data_key_new(number, arn, plain);
    explicit_bzero(plain, sizeof plain);
    cache_key(s->data_keys, key, false);
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
    AUTO(data_key) key = cached_key(s->data_keys, number);
    if (key == NULL && !may_block)
        return fail(ERR_BUSY, "a data key must be read");
    if (key == NULL)
        return load_key(c, s, number, ret);
    keys_of(k)->check(keys_of(k)->self, c, key->arn, S("kms:Decrypt"), &answer);
    TRY(crypt_refused(c, &answer));
    *ret = data_key_ref(key);
    return OK;
}

static Err open_entry(struct arena *a, struct gcm *g, LogEntry *e,
                      const unsigned char mark[MARK_BYTES])
{
    char *plain = arena_try_raw(a, e->data.n + 1, 1);
    if (plain == NULL)
        return fail(ERR_MEMORY, "no memory for a decrypted record");
    TRY(gcm_unseal(g, mark, e->key, e->data, mark + GCM_NONCE_BYTES, plain));
    e->data = str_from(plain, e->data.n);
    return OK;
}

Err crypt_open(struct call *c, struct stream *s, LogEntry *entries, size_t n, bool may_block)
{
    uint64_t held = 0;
    AUTO(gcm) g = NULL;
    for (size_t i = 0; i < n; i++) {
        unsigned char mark[MARK_BYTES];
        if (!crypt_is_sealed(&entries[i]))
            continue;
        TRY(read_mark(&entries[i], mark));
        uint64_t number = get64(mark);
        if (g == NULL || number != held) { // one key for many records, mostly
            AUTO(data_key) key = NULL;
            TRY(key_of_number(c, s, number, may_block, &key));
            gcm_close(g);
            gcm_open_unseal(key->plain, &g);
            held = number;
        }
        TRY(open_entry(c->arena, g, &entries[i], mark));
    }
    return OK;
}

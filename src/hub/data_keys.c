// SPDX-License-Identifier: Apache-2.0
#include "hub/data_keys.h"
#include "codec/base64.h"
#include "codec/gcm.h"
#include "codec/little.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    MARK_BYTES = 8 + 4 + GCM_TAG_BYTES,
    MARK_PADDED_CHARS = 40, // with the "==" that is left out
    RECORDS_MAX = 1 << 30,  // of one data key: far from where its count would end
};
_Static_assert((int)HUB_KEY_BYTES == (int)GCM_KEY_BYTES, "data keys are keys of AES-256");
_Static_assert((int)DATA_KEY_MARK_CHARS <= (int)LOG_HASH_KEY_BYTES_MAX, "the mark fits");

struct data_key {
    unsigned refs; // atomic
    uint64_t number;
    int64_t made_ns; // monotonic
    bool hides_keys;
    _Atomic uint32_t used; // its records, of those that are put with it
    unsigned char plain[HUB_KEY_BYTES];
    Str arn; // of the key it is wrapped with
    char text[];
};

struct data_keys {
    pthread_mutex_t lock;
    struct data_key *current;                  // for puts; NULL: none
    struct data_key *cached[DATA_KEYS_CACHED]; // for reads; a ring
    size_t next;
};

struct data_key *data_key_new(uint64_t number, Str arn, const unsigned char plain[HUB_KEY_BYTES],
                              int64_t made_ns, bool hides_keys)
{
    struct data_key *key = xalloc(sizeof *key + arn.n);
    key->refs = 1;
    key->number = number;
    key->made_ns = made_ns;
    key->hides_keys = hides_keys;
    memcpy(key->plain, plain, HUB_KEY_BYTES);
    if (arn.n > 0)
        memcpy(key->text, arn.p, arn.n);
    key->arn = str_from(key->text, arn.n);
    return key;
}

struct data_key *data_key_ref(struct data_key *key)
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

Str data_key_arn(const struct data_key *key)
{
    return key->arn;
}

bool data_key_is_good(const struct data_key *key, Str arn, int64_t now_ns)
{
    return key != NULL && str_eq(key->arn, arn) && now_ns - key->made_ns < DATA_KEY_LIFE_NS &&
           atomic_load(&key->used) < (uint32_t)RECORDS_MAX;
}

// ---- The keys of one owner

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
    for (size_t i = 0; i < DATA_KEYS_CACHED; i++)
        data_key_close(d->cached[i]);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

struct data_key *data_keys_current(struct data_keys *d)
{
    pthread_mutex_lock(&d->lock);
    struct data_key *key = d->current != NULL ? data_key_ref(d->current) : NULL;
    pthread_mutex_unlock(&d->lock);
    return key;
}

struct data_key *data_keys_find(struct data_keys *d, uint64_t number)
{
    struct data_key *found = NULL;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < DATA_KEYS_CACHED && found == NULL; i++)
        if (d->cached[i] != NULL && d->cached[i]->number == number)
            found = data_key_ref(d->cached[i]);
    pthread_mutex_unlock(&d->lock);
    return found;
}

void data_keys_put(struct data_keys *d, struct data_key *key, bool for_puts)
{
    pthread_mutex_lock(&d->lock);
    size_t at = d->next++ % DATA_KEYS_CACHED;
    struct data_key *old = d->cached[at], *before = for_puts ? d->current : NULL;
    d->cached[at] = data_key_ref(key);
    if (for_puts)
        d->current = data_key_ref(key);
    pthread_mutex_unlock(&d->lock);
    data_key_close(old);
    data_key_close(before);
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
    return str_from(text, DATA_KEY_MARK_CHARS);
}

static Err seal_record(struct arena *a, const struct data_key *key, struct gcm *g, uint32_t count,
                       LogRecord *r)
{
    unsigned char nonce[GCM_NONCE_BYTES], mark[MARK_BYTES];
    size_t hidden = key->hides_keys ? r->key.n : 0;
    char *sealed = arena_try_raw(a, hidden + r->data.n + 1, 1);
    if (sealed == NULL)
        return fail(ERR_MEMORY, "no memory for an encrypted record");
    make_nonce(nonce, key->number, count);
    memcpy(mark, nonce, sizeof nonce);
    Str data = str_from(r->data.p, r->data.n);
    if (r->data.is_base64) {
        data.p = sealed + hidden;
        blob_copy(sealed + hidden, r->data);
    }
    if (key->hides_keys) {
        gcm_seal_two(g, nonce, r->key, data, sealed, mark + sizeof nonce);
        r->key = str_from(sealed, hidden);
    } else {
        gcm_seal(g, nonce, r->key, data, sealed, mark + sizeof nonce);
    }
    r->data = blob_of(str_from(sealed + hidden, data.n));
    r->hash_key = make_mark(a, mark);
    return r->hash_key.p != NULL ? OK : fail(ERR_MEMORY, "no memory for an encrypted record");
}

Err data_key_seal(struct arena *a, struct data_key *key, LogRecord *records, size_t n)
{
    uint32_t count = atomic_fetch_add(&key->used, (uint32_t)n);
    AUTO(gcm) g = NULL;
    gcm_open_seal(key->plain, &g);
    for (size_t i = 0; i < n; i++, count++)
        TRY(seal_record(a, key, g, count, &records[i]));
    return OK;
}

bool data_key_has_sealed(const LogEntry *e)
{
    return e->hash_key.n == DATA_KEY_MARK_CHARS && e->hash_key.p[0] == 'k';
}

static Err read_mark(const LogEntry *e, unsigned char mark[MARK_BYTES])
{
    char text[MARK_PADDED_CHARS];
    unsigned char bytes[MARK_PADDED_CHARS]; // what decoding may write at most
    memcpy(text, e->hash_key.p + 1, DATA_KEY_MARK_CHARS - 1);
    text[DATA_KEY_MARK_CHARS - 1] = text[DATA_KEY_MARK_CHARS] = '=';
    Base64Result r = base64_decode(bytes, text, sizeof text);
    if (r.fault != BASE64_GOOD || r.n != MARK_BYTES)
        return fail(ERR_CORRUPT, "the mark of an encrypted record is damaged");
    memcpy(mark, bytes, MARK_BYTES);
    return OK;
}

uint64_t data_key_number(const LogEntry *entries, size_t n)
{
    uint64_t number = 0;
    for (size_t i = 0; i < n && number != DATA_KEY_MANY; i++) {
        unsigned char mark[MARK_BYTES];
        if (!data_key_has_sealed(&entries[i]))
            continue;
        Err e = read_mark(&entries[i], mark);
        bool is_same = e.kind == ERR_NONE && (number == 0 || get64(mark) == number);
        number = is_same ? get64(mark) : DATA_KEY_MANY;
    }
    return number;
}

static Err open_entry(struct arena *a, struct gcm *g, bool hides_keys, LogEntry *e,
                      const unsigned char mark[MARK_BYTES])
{
    size_t hidden = hides_keys ? e->key.n : 0;
    char *plain = arena_try_raw(a, hidden + e->data.n + 1, 1);
    if (plain == NULL)
        return fail(ERR_MEMORY, "no memory for a decrypted record");
    if (hides_keys) {
        TRY(gcm_unseal_two(g, mark, e->key, e->data, mark + GCM_NONCE_BYTES, plain));
        e->key = str_from(plain, hidden);
    } else {
        TRY(gcm_unseal(g, mark, e->key, e->data, mark + GCM_NONCE_BYTES, plain));
    }
    e->data = str_from(plain + hidden, e->data.n);
    return OK;
}

Err data_key_open_entries(struct arena *a, LogEntry *entries, size_t n, DataKeyFind *find,
                          void *self)
{
    uint64_t held = 0;
    bool hides_keys = false;
    AUTO(gcm) g = NULL;
    for (size_t i = 0; i < n; i++) {
        unsigned char mark[MARK_BYTES];
        if (!data_key_has_sealed(&entries[i]))
            continue;
        TRY(read_mark(&entries[i], mark));
        uint64_t number = get64(mark);
        if (g == NULL || number != held) { // one key for many records, mostly
            AUTO(data_key) key = NULL;
            TRY(find(self, number, &key));
            gcm_close(g);
            gcm_open_unseal(key->plain, &g);
            held = number;
            hides_keys = key->hides_keys;
        }
        TRY(open_entry(a, g, hides_keys, &entries[i], mark));
    }
    return OK;
}

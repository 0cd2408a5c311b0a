// SPDX-License-Identifier: Apache-2.0
#include "svc/firehose/crypt.h"
#include "base/logline.h"
#include "codec/base64.h"
#include "hub/hub.h"
#include "store/master.h"
#include "svc/firehose/tree.h"

#include <string.h>

enum { ROW_VERSION = 1 };

// What the hub has is all that is needed; the name is ours so that hose.h need not know it.
struct hose_keys *hose_keys_open(void)
{
    return (struct hose_keys *)data_keys_open();
}

void hose_keys_close(struct hose_keys *k)
{
    data_keys_close((struct data_keys *)k);
}

static struct data_keys *keys_of(struct hose *h)
{
    return (struct data_keys *)h->keys;
}

// ---- The key service

static const struct hub_keys *service_of(const struct firehose *f)
{
    return f->env.hub != NULL ? f->env.hub->keys : NULL;
}

static void count_fault(struct hose *h, HubKeyFault fault)
{
    struct meter *const meters[] = {
        [HUB_KEY_NOT_FOUND] = &h->meters.key_missing,
        [HUB_KEY_DISABLED] = &h->meters.key_disabled,
        [HUB_KEY_PENDING_DELETION] = &h->meters.key_invalid,
        [HUB_KEY_DENIED] = &h->meters.key_denied,
    };
    if (fault > HUB_KEY_GOOD && (size_t)fault < COUNT_OF(meters))
        meter_add(meters[fault], 1);
}

Err hose_crypt_refused(struct call *c, struct hose *h, const HubKeyAnswer *answer)
{
    if (answer->fault == HUB_KEY_GOOD)
        return OK;
    if (h != NULL)
        count_fault(h, answer->fault);
    if (answer->fault == HUB_KEY_DAMAGED)
        return fail(ERR_CORRUPT, "a wrapped data key is not what was written");
    return call_fail(c, &firehose_InvalidKMSResourceException, "%.*s", FMT(answer->text));
}

// A call in the name of the stream's account, as which its key is used.
static struct call call_of_account(struct firehose *f, struct hose *h, struct arena *a)
{
    return (struct call){ .state = f,
                          .arena = a,
                          .account = h->account,
                          .caller = h->account,
                          .region = h->region,
                          .principal = str_fmt(a, "arn:aws:iam::%.*s:root", FMT(h->account)),
                          .access_key = S(""),
                          .request_id = S(""),
                          .now_ns = f->env.io->wall_ns(f->env.io) };
}

// What a data key is bound to, as AWS binds it: the stream.
static Str context_of(struct arena *a, const struct hose *h)
{
    return str_cat(a, S("aws:firehose:arn="), h->arn);
}

static Str sealed_name(struct arena *a, const struct hose *h, uint64_t number)
{
    return str_fmt(a, "firehose-key/%llu/%llu", (unsigned long long)h->id,
                   (unsigned long long)number);
}

// ---- Rows

static Str row_prefix(struct arena *a, const struct hose *h)
{
    return str_fmt(a, "%016llx/", (unsigned long long)h->id);
}

static Str row_key(struct arena *a, const struct hose *h, uint64_t number)
{
    return str_fmt(a, "%016llx/%016llx", (unsigned long long)h->id, (unsigned long long)number);
}

static Err write_row(struct arena *a, Str arn, Str wrapped, int64_t now_ms, Str *ret)
{
    JsonValue *row = tree_map(a);
    AUTO_BUF(text);
    buf_add_base64(&text, wrapped);
    tree_set_integer(a, row, S("version"), ROW_VERSION);
    if (arn.n > 0)
        tree_set_text(a, row, S("key"), arn);
    tree_set_text(a, row, S("wrapped"), str_dup(a, buf_str(&text)));
    tree_set_integer(a, row, S("created_ms"), now_ms);
    return tree_json(a, row, ret);
}

static Err read_row(struct arena *a, Str row, Str *ret_arn, Str *ret_wrapped)
{
    JsonValue *v;
    if (json_parse(a, row, &v).kind != ERR_NONE)
        return fail(ERR_CORRUPT, "a data key's row is not JSON");
    Str text = tree_text(v, S("wrapped"));
    if (tree_integer(v, S("version"), 0) > ROW_VERSION)
        return fail(ERR_FORMAT, "a data key's row was written by a newer program");
    char *wrapped = arena_alloc(a, base64_decoded_max(text.n), 1);
    Base64Result r = base64_decode(wrapped, text.p, text.n);
    if (text.n == 0 || r.fault != BASE64_GOOD)
        return fail(ERR_CORRUPT, "a wrapped data key is not base64");
    *ret_arn = tree_text(v, S("key"));
    *ret_wrapped = str_from(wrapped, r.n);
    return OK;
}

Err hose_crypt_del_keys(struct firehose *f, struct kv_txn *tx, const struct hose *h)
{
    AUTO(arena) tmp = arena_open();
    Str prefix = row_prefix(tmp, h);
    kv_on(tx, f->keys);
    for (;;) { // one at a time: nothing is changed under a scan
        struct kv_scan scan = kv_scan_start(tx, prefix, S(""));
        Str rest = kv_scan_next(&scan) ? str_dup(tmp, scan.rest) : (Str){ 0 };
        TRY(scan.err);
        kv_scan_end(&scan);
        if (rest.p == NULL)
            break;
        TRY(kv_del(tx, str_cat(tmp, prefix, rest)));
    }
    kv_on(tx, f->rows);
    return OK;
}

// ---- Keys for puts

static Str arn_of(const HoseFields *x)
{
    return x->key_kind == HOSE_KEY_CUSTOMER ? x->key_arn : S("");
}

Err hose_crypt_key(struct call *c, const HoseView *v, struct data_key **ret)
{
    struct firehose *f = c->state;
    *ret = NULL;
    if (v->f->key_kind == HOSE_KEY_NONE)
        return OK;
    if (v->f->key_kind == HOSE_KEY_CUSTOMER) {
        const struct hub_keys *keys = service_of(f);
        HubKeyAnswer answer = { 0 };
        struct call own = call_of_account(f, v->hose, c->arena);
        if (keys == NULL)
            return fail(ERR_NOT_FOUND, "there is no key service, but a stream that needs it");
        keys->check(keys->self, &own, v->f->key_arn, S("kms:GenerateDataKey"), &answer);
        TRY(hose_crypt_refused(c, v->hose, &answer));
    }
    AUTO(data_key) key = data_keys_current(keys_of(v->hose));
    if (!data_key_is_good(key, arn_of(v->f), f->env.io->mono_ns(f->env.io)))
        return fail(ERR_BUSY, "a data key must be made");
    *ret = data_key_ref(key);
    return OK;
}

// The master key in place of the one that AWS owns. Under making_keys.
static Err wrap_owned(struct firehose *f, struct hose *h, struct arena *a, uint64_t number,
                      unsigned char plain[HUB_KEY_BYTES], Str *ret_wrapped)
{
    unsigned char master[GCM_KEY_BYTES];
    TRY(master_read_or_make(f->env.io, f->env.data_dir, master));
    f->env.io->random(f->env.io, plain, HUB_KEY_BYTES);
    *ret_wrapped = master_seal(f->env.io, master, a, sealed_name(a, h, number),
                               str_from(plain, HUB_KEY_BYTES));
    explicit_bzero(master, sizeof master);
    return OK;
}

static Err wrap(struct call *c, const HoseView *v, uint64_t number,
                unsigned char plain[HUB_KEY_BYTES], Str *ret_wrapped)
{
    struct firehose *f = c->state;
    const struct hub_keys *keys = service_of(f);
    HubKeyAnswer answer = { 0 };
    if (v->f->key_kind == HOSE_KEY_OWNED)
        return wrap_owned(f, v->hose, c->arena, number, plain, ret_wrapped);
    struct call own = call_of_account(f, v->hose, c->arena);
    if (keys == NULL)
        return fail(ERR_NOT_FOUND, "there is no key service, but a stream that needs it");
    keys->make(keys->self, &own, v->f->key_arn, context_of(c->arena, v->hose), plain, ret_wrapped,
               &answer);
    return hose_crypt_refused(c, v->hose, &answer);
}

// A data key for a stream that is deleted meanwhile would stay for ever.
static Err still_there(struct call *c, struct kv_txn *tx, const struct hose *h)
{
    struct firehose *f = c->state;
    AUTO(arena) tmp = arena_open();
    Str row;
    kv_on(tx, f->rows);
    Err e = kv_get(tx, tmp, hose_row_key(tmp, h->account, h->region, h->name), &row);
    kv_on(tx, f->keys);
    return e.kind == ERR_NOT_FOUND ? firehose_not_found(c, h->name) : e;
}

static Err make_locked(struct call *c, const HoseView *v, struct data_key **ret)
{
    struct firehose *f = c->state;
    unsigned char plain[HUB_KEY_BYTES];
    Str wrapped, row;
    uint64_t number;
    {
        AUTO(kv_txn) tx = kv_write(f->keys); // the number alone: a wrapping may look things up
        TRY(kv_next_id(tx, &number));
        TRY(kv_commit(tx));
    }
    TRY(wrap(c, v, number, plain, &wrapped));
    TRY(write_row(c->arena, arn_of(v->f), wrapped, c->now_ns / 1000000, &row));
    AUTO(kv_txn) tx = kv_write(f->keys);
    TRY(still_there(c, tx, v->hose));
    TRY(kv_put(tx, row_key(c->arena, v->hose, number), row));
    TRY(kv_commit(tx));
    AUTO(data_key)
    key = data_key_new(number, arn_of(v->f), plain, f->env.io->mono_ns(f->env.io), false);
    explicit_bzero(plain, sizeof plain);
    data_keys_put(keys_of(v->hose), key, true);
    *ret = data_key_ref(key);
    return OK;
}

Err hose_crypt_make_key(struct call *c, const HoseView *v, struct data_key **ret)
{
    struct firehose *f = c->state;
    pthread_mutex_lock(&f->making_keys);
    Err e = hose_crypt_key(c, v, ret);
    if (e.kind == ERR_BUSY) // nobody was faster
        e = make_locked(c, v, ret);
    pthread_mutex_unlock(&f->making_keys);
    return e;
}

// ---- Opening what was read, on behalf of the account

struct reader {
    struct firehose *f;
    struct hose *h;
    struct arena *arena; // of a call; in the reader itself NULL
};

void *hose_crypt_reader(struct firehose *f, struct hose *h, struct arena *a)
{
    struct reader *r = arena_new(a, struct reader, 1);
    *r = (struct reader){ .f = f, .h = h };
    return r;
}

static Err unwrap_owned(struct reader *r, uint64_t number, Str wrapped,
                        unsigned char plain[HUB_KEY_BYTES])
{
    unsigned char master[GCM_KEY_BYTES];
    Str secret;
    TRY(master_read(r->f->env.io, r->f->env.data_dir, master));
    Err e = master_unseal(master, r->arena, sealed_name(r->arena, r->h, number), wrapped, &secret);
    explicit_bzero(master, sizeof master);
    TRY(e);
    if (secret.n != HUB_KEY_BYTES)
        return fail(ERR_CORRUPT, "a data key has a wrong length");
    memcpy(plain, secret.p, HUB_KEY_BYTES);
    return OK;
}

static Err reading_refused(struct reader *r, const HubKeyAnswer *answer)
{
    if (answer->fault == HUB_KEY_DAMAGED)
        return fail(ERR_CORRUPT, "a wrapped data key is not what was written");
    if (answer->fault == HUB_KEY_GOOD)
        return OK;
    count_fault(r->h, answer->fault);
    return fail(ERR_DENIED, "the key of an encrypted delivery stream cannot be used");
}

static Err unwrap(struct reader *r, uint64_t number, Str arn, Str wrapped,
                  unsigned char plain[HUB_KEY_BYTES])
{
    const struct hub_keys *keys = service_of(r->f);
    HubKeyAnswer answer = { 0 };
    if (arn.p == NULL)
        return unwrap_owned(r, number, wrapped, plain);
    struct call own = call_of_account(r->f, r->h, r->arena);
    if (keys == NULL)
        return fail(ERR_DENIED, "there is no key service, but a stream that needs it");
    keys->unwrap(keys->self, &own, arn, context_of(r->arena, r->h), wrapped, plain, &answer);
    return reading_refused(r, &answer);
}

// A key that is disabled stops deliveries at once, though its data keys are still in memory.
static Err check_reading(struct reader *r, Str arn)
{
    const struct hub_keys *keys = service_of(r->f);
    HubKeyAnswer answer = { 0 };
    if (arn.n == 0)
        return OK;
    if (keys == NULL)
        return fail(ERR_DENIED, "there is no key service, but a stream that needs it");
    struct call own = call_of_account(r->f, r->h, r->arena);
    keys->check(keys->self, &own, arn, S("kms:Decrypt"), &answer);
    return reading_refused(r, &answer);
}

static Err find_key(void *self, uint64_t number, struct data_key **ret)
{
    struct reader *r = self;
    unsigned char plain[HUB_KEY_BYTES];
    Str row, arn, wrapped;
    AUTO(data_key) known = data_keys_find(keys_of(r->h), number);
    if (known != NULL) {
        TRY(check_reading(r, data_key_arn(known)));
        *ret = data_key_ref(known);
        return OK;
    }
    {
        AUTO(kv_txn) tx = kv_read(r->f->keys);
        Err e = kv_get(tx, r->arena, row_key(r->arena, r->h, number), &row);
        if (e.kind == ERR_NOT_FOUND)
            return fail(ERR_CORRUPT, "a record's data key is not in the store");
        TRY(e);
    }
    TRY(read_row(r->arena, row, &arn, &wrapped));
    TRY(unwrap(r, number, arn, wrapped, plain));
    struct data_key *key = data_key_new(number, arn, plain, 0, false); // for reads alone
    explicit_bzero(plain, sizeof plain);
    data_keys_put(keys_of(r->h), key, false);
    *ret = key;
    return OK;
}

Err hose_crypt_unseal(void *reader, struct arena *a, LogEntry *entries, size_t n)
{
    struct reader now = *(const struct reader *)reader;
    now.arena = a;
    return data_key_open_entries(a, entries, n, find_key, &now);
}

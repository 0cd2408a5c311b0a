// SPDX-License-Identifier: Apache-2.0
#include "svc/kms/key.h"
#include "base/time.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "codec/little.h"
#include "store/master.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { ROW_VERSION = 1, MATERIALS_MAX = 1000 };
#define DAY_MS (INT64_C(86400) * 1000)

static const unsigned char blob_magic[4] = { 'H', 'R', 'K', 1 };

static Str uuid_of(struct arena *a, const unsigned char b[KEY_ID_BYTES])
{
    Str hex = hex_str(a, b, KEY_ID_BYTES);
    return str_fmt(a, "%.8s-%.4s-%.4s-%.4s-%.12s", hex.p, hex.p + 8, hex.p + 12, hex.p + 16,
                   hex.p + 20);
}

static bool uuid_bytes(Str id, unsigned char ret[KEY_ID_BYTES])
{
    char hex[2 * KEY_ID_BYTES];
    size_t n = 0;
    if (id.n != KEY_ID_CHARS)
        return false;
    for (size_t i = 0; i < id.n; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash != (id.p[i] == '-'))
            return false;
        if (!dash)
            hex[n++] = id.p[i];
    }
    return hex_decode(ret, str_from(hex, n));
}

static struct key *key_bare(void)
{
    struct key *k = xalloc(sizeof *k);
    k->refs = 1;
    k->arena = arena_open();
    return k;
}

static void set_names(struct key *k, Str account, Str region, Str id)
{
    k->account = str_dup(k->arena, account);
    k->region = str_dup(k->arena, region);
    k->id = str_dup(k->arena, id);
    k->arn =
        str_fmt(k->arena, "arn:aws:kms:%.*s:%.*s:key/%.*s", FMT(region), FMT(account), FMT(id));
}

Err key_new(struct io *io, Str account, Str region, int64_t now_ms, struct key **ret)
{
    unsigned char id[KEY_ID_BYTES];
    AUTO(key) k = key_bare();
    io->random(io, id, sizeof id);
    id[6] = (unsigned char)((id[6] & 0x0f) | 0x40); // version 4, RFC 9562
    id[8] = (unsigned char)((id[8] & 0x3f) | 0x80);
    set_names(k, account, region, uuid_of(k->arena, id));
    k->description = S("");
    k->enabled = true;
    k->created_ms = now_ms;
    key_add_material(io, k, now_ms, false);
    TRY(key_set_policy(
        k, str_fmt(k->arena,
                   "{\n  \"Version\" : \"2012-10-17\",\n  \"Id\" : \"key-default-1\",\n"
                   "  \"Statement\" : [ {\n    \"Sid\" : \"Enable IAM User Permissions\",\n"
                   "    \"Effect\" : \"Allow\",\n    \"Principal\" : {\n"
                   "      \"AWS\" : \"arn:aws:iam::%.*s:root\"\n    },\n"
                   "    \"Action\" : \"kms:*\",\n    \"Resource\" : \"*\"\n  } ]\n}",
                   FMT(account))));
    *ret = k;
    k = NULL; // handed over
    return OK;
}

struct key *key_ref(struct key *k)
{
    __atomic_fetch_add(&k->refs, 1, __ATOMIC_RELAXED);
    return k;
}

void key_unref(struct key *k)
{
    if (k == NULL || __atomic_sub_fetch(&k->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < k->material_count; i++)
        explicit_bzero(k->materials[i].secret, sizeof k->materials[i].secret);
    policy_unref(k->policy);
    arena_close(k->arena);
    free(k);
}

struct key *key_copy(const struct key *k)
{
    struct key *copy = key_bare();
    struct arena *a = copy->arena;
    size_t counted = offsetof(struct key, arena); // others count their references meanwhile
    memcpy((char *)copy + counted, (const char *)k + counted, sizeof *k - counted);
    copy->arena = a;
    set_names(copy, k->account, k->region, k->id);
    copy->description = str_dup(a, k->description);
    copy->policy = policy_ref(k->policy);
    copy->tags = arena_new(a, KeyTag, k->tag_count);
    for (size_t i = 0; i < k->tag_count; i++)
        copy->tags[i] = (KeyTag){ str_dup(a, k->tags[i].key), str_dup(a, k->tags[i].value) };
    copy->materials = arena_new(a, KeyMaterial, k->material_count);
    for (size_t i = 0; i < k->material_count; i++) {
        copy->materials[i] = k->materials[i];
        copy->materials[i].id = str_dup(a, k->materials[i].id);
    }
    return copy;
}

void key_add_material(struct io *io, struct key *k, int64_t now_ms, bool on_demand)
{
    unsigned char id[KEY_MATERIAL_ID_CHARS / 2];
    KeyMaterial *more = arena_new(k->arena, KeyMaterial, k->material_count + 1);
    if (k->material_count > 0) {
        memcpy(more, k->materials, k->material_count * sizeof *more);
        explicit_bzero(k->materials, k->material_count * sizeof *more);
    }
    KeyMaterial *m = &more[k->material_count++];
    io->random(io, id, sizeof id);
    io->random(io, m->secret, sizeof m->secret);
    m->id = hex_str(k->arena, id, sizeof id);
    m->created_ms = now_ms;
    m->on_demand = on_demand;
    k->materials = more;
}

Err key_set_policy(struct key *k, Str document)
{
    struct policy *p;
    if (document.n > KEY_POLICY_BYTES_MAX)
        return fail(ERR_LIMIT, "a key policy is too large");
    TRY(policy_open(POLICY_RESOURCE, k->arn, document, &p));
    policy_unref(k->policy);
    k->policy = p;
    return OK;
}

static size_t tag_place(const struct key *k, Str name, bool *ret_found)
{
    size_t at = 0;
    while (at < k->tag_count && str_cmp(k->tags[at].key, name) < 0)
        at++;
    *ret_found = at < k->tag_count && str_eq(k->tags[at].key, name);
    return at;
}

void key_set_tag(struct key *k, Str name, Str value)
{
    bool found;
    size_t at = tag_place(k, name, &found);
    Str own = str_dup(k->arena, value);
    if (found) {
        k->tags[at].value = own;
        return;
    }
    KeyTag *more = arena_new(k->arena, KeyTag, k->tag_count + 1);
    for (size_t i = 0; i < k->tag_count; i++)
        more[i < at ? i : i + 1] = k->tags[i];
    more[at] = (KeyTag){ str_dup(k->arena, name), own };
    k->tags = more;
    k->tag_count++;
}

void key_drop_tag(struct key *k, Str name)
{
    bool found;
    size_t at = tag_place(k, name, &found);
    if (!found)
        return;
    k->tag_count--;
    for (size_t i = at; i < k->tag_count; i++)
        k->tags[i] = k->tags[i + 1];
}

int64_t key_next_rotation_ms(const struct key *k)
{
    if (k->rotation_days == 0)
        return INT64_MAX;
    int64_t from = k->rotation_from_ms;
    for (size_t i = 0; i < k->material_count; i++)
        if (!k->materials[i].on_demand)
            from = MAX(from, k->materials[i].created_ms);
    return from + k->rotation_days * DAY_MS;
}

// ---- Rows

Str key_row_key(struct arena *a, const struct key *k)
{
    return str_fmt(a, "%.*s/%.*s/%.*s", FMT(k->account), FMT(k->region), FMT(k->id));
}

static void put_text(struct event_writer *w, Str key, Str value)
{
    w->ops->key(w, key);
    w->ops->text(w, value);
}

static void put_number(struct event_writer *w, Str key, int64_t value)
{
    w->ops->key(w, key);
    w->ops->integer(w, value);
}

static Str wrapped_name(struct arena *tmp, Str arn, Str material)
{
    return str_cat3(tmp, arn, S(" "), material);
}

void key_row_write(struct io *io, const unsigned char master[GCM_KEY_BYTES], struct buf *b,
                   const struct key *k)
{
    AUTO(arena) tmp = arena_open();
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    put_number(&w, S("version"), ROW_VERSION);
    put_text(&w, S("description"), k->description);
    put_text(&w, S("policy"), policy_document(k->policy));
    put_number(&w, S("enabled"), k->enabled);
    put_number(&w, S("managed"), k->managed);
    put_number(&w, S("created_ms"), k->created_ms);
    put_number(&w, S("deletion_ms"), k->deletion_ms);
    put_number(&w, S("rotation_days"), k->rotation_days);
    put_number(&w, S("rotation_from_ms"), k->rotation_from_ms);
    w.ops->key(&w, S("tags"));
    w.ops->map(&w);
    for (size_t i = 0; i < k->tag_count; i++)
        put_text(&w, k->tags[i].key, k->tags[i].value);
    w.ops->map_end(&w);
    w.ops->key(&w, S("materials"));
    w.ops->list(&w);
    for (size_t i = 0; i < k->material_count; i++) {
        const KeyMaterial *m = &k->materials[i];
        w.ops->map(&w);
        put_text(&w, S("id"), m->id);
        put_text(&w, S("wrapped"),
                 master_seal(io, master, tmp, wrapped_name(tmp, k->arn, m->id),
                             str_from(m->secret, sizeof m->secret)));
        put_number(&w, S("created_ms"), m->created_ms);
        put_number(&w, S("on_demand"), m->on_demand);
        w.ops->map_end(&w);
    }
    w.ops->list_end(&w);
    w.ops->map_end(&w);
}

static Err get_number(const JsonValue *map, Str key, int64_t most, int64_t *ret)
{
    const JsonValue *v = json_find(map, key);
    if (v == NULL || v->kind != JSON_NUMBER || v->integer < 0 || v->integer > most)
        return fail(ERR_CORRUPT, "a key's row lacks a number or holds a wrong one");
    *ret = v->integer;
    return OK;
}

static Err read_material(const unsigned char master[GCM_KEY_BYTES], struct arena *tmp,
                         struct key *k, const JsonValue *row, KeyMaterial *m)
{
    int64_t on_demand;
    m->id = str_dup(k->arena, json_text(row, S("id")));
    if (m->id.n != KEY_MATERIAL_ID_CHARS)
        return fail(ERR_CORRUPT, "a key's material has no id");
    TRY(get_number(row, S("created_ms"), INT64_MAX / NS_PER_MS, &m->created_ms));
    TRY(get_number(row, S("on_demand"), 1, &on_demand));
    m->on_demand = on_demand != 0;
    Str secret;
    TRY(master_unseal(master, tmp, wrapped_name(tmp, k->arn, m->id), json_text(row, S("wrapped")),
                      &secret));
    bool good = secret.n == GCM_KEY_BYTES;
    if (good)
        memcpy(m->secret, secret.p, GCM_KEY_BYTES);
    explicit_bzero((char *)(uintptr_t)secret.p, secret.n);
    return good ? OK : fail(ERR_CORRUPT, "a key's material has a wrong length");
}

static Err read_fields(struct key *k, const JsonValue *row)
{
    int64_t version, enabled, managed;
    TRY(get_number(row, S("version"), INT64_MAX, &version));
    if (version > ROW_VERSION)
        return fail(ERR_FORMAT, "a key's row was written by a newer program");
    TRY(get_number(row, S("enabled"), 1, &enabled));
    TRY(get_number(row, S("managed"), 1, &managed));
    TRY(get_number(row, S("created_ms"), INT64_MAX / NS_PER_MS, &k->created_ms));
    TRY(get_number(row, S("deletion_ms"), INT64_MAX / NS_PER_MS, &k->deletion_ms));
    TRY(get_number(row, S("rotation_days"), 100000, &k->rotation_days));
    TRY(get_number(row, S("rotation_from_ms"), INT64_MAX / NS_PER_MS, &k->rotation_from_ms));
    k->enabled = enabled != 0;
    k->managed = managed != 0;
    k->description = str_dup(k->arena, json_text(row, S("description")));
    if (key_set_policy(k, json_text(row, S("policy"))).kind != ERR_NONE)
        return fail(ERR_CORRUPT, "a key's row has no policy");
    return OK;
}

Err key_row_read(const unsigned char master[GCM_KEY_BYTES], struct arena *tmp, Str row_key, Str row,
                 struct key **ret)
{
    Str account, region, id, rest;
    JsonValue *v;
    unsigned char bytes[KEY_ID_BYTES];
    if (!str_cut(row_key, '/', &account, &rest) || !str_cut(rest, '/', &region, &id) ||
        !uuid_bytes(id, bytes))
        return fail(ERR_CORRUPT, "a key's row has no name");
    if (json_parse(tmp, row, &v).kind != ERR_NONE || v->kind != JSON_MAP)
        return fail(ERR_CORRUPT, "a key's row is not JSON");
    AUTO(key) k = key_bare();
    set_names(k, account, region, id);
    TRY(read_fields(k, v));
    const JsonValue *tags = json_find(v, S("tags")), *materials = json_find(v, S("materials"));
    for (size_t i = 0; tags != NULL && i < tags->n; i++)
        key_set_tag(k, tags->items[i].key, tags->items[i].text);
    size_t n = materials != NULL && materials->kind == JSON_LIST ? materials->n : 0;
    if (n == 0 || n > MATERIALS_MAX)
        return fail(ERR_CORRUPT, "a key's row has no material");
    k->materials = arena_new(k->arena, KeyMaterial, n);
    for (; k->material_count < n; k->material_count++)
        TRY(read_material(master, tmp, k, &materials->items[k->material_count],
                          &k->materials[k->material_count]));
    *ret = k;
    k = NULL; // handed over
    return OK;
}

// ---- Ciphertext

static Str bound_to(struct arena *tmp, const void *head, Str context)
{
    return str_cat(tmp, str_from(head, KEY_BLOB_HEAD_BYTES), context);
}

Str key_encrypt(struct io *io, const struct key *k, struct arena *a, Str context, Str plain)
{
    const KeyMaterial *m = &k->materials[k->material_count - 1];
    unsigned char *blob = arena_alloc(a, plain.n + KEY_BLOB_EXTRA_BYTES, 1);
    unsigned char *nonce = blob + KEY_BLOB_HEAD_BYTES, *sealed = nonce + GCM_NONCE_BYTES;
    AUTO(gcm) g = NULL;
    CHECK(uuid_bytes(k->id, blob + sizeof blob_magic));
    memcpy(blob, blob_magic, sizeof blob_magic);
    put32(blob + sizeof blob_magic + KEY_ID_BYTES, (uint32_t)(k->material_count - 1));
    io->random(io, nonce, GCM_NONCE_BYTES);
    gcm_open_seal(m->secret, &g);
    gcm_seal(g, nonce, bound_to(a, blob, context), plain, sealed, sealed + plain.n);
    return str_from(blob, plain.n + KEY_BLOB_EXTRA_BYTES);
}

Err key_of_blob(struct arena *a, Str blob, Str *ret_id)
{
    unsigned char id[KEY_ID_BYTES];
    if (blob.n < KEY_BLOB_EXTRA_BYTES || memcmp(blob.p, blob_magic, sizeof blob_magic) != 0)
        return fail(ERR_INVALID, "not a ciphertext of ours");
    memcpy(id, blob.p + sizeof blob_magic, sizeof id);
    *ret_id = uuid_of(a, id);
    return OK;
}

Err key_decrypt(const struct key *k, struct arena *a, Str context, Str blob, Str *ret_plain,
                Str *ret_material)
{
    const unsigned char *p = (const unsigned char *)blob.p;
    CHECK(blob.n >= KEY_BLOB_EXTRA_BYTES); // key_of_blob has seen it
    uint32_t number = get32(p + sizeof blob_magic + KEY_ID_BYTES);
    if (number >= k->material_count)
        return fail(ERR_CORRUPT, "a ciphertext names a material that its key has not");
    const unsigned char *nonce = p + KEY_BLOB_HEAD_BYTES, *sealed = nonce + GCM_NONCE_BYTES;
    size_t n = blob.n - KEY_BLOB_EXTRA_BYTES;
    unsigned char *plain = arena_alloc(a, n + 1, 1);
    AUTO(gcm) g = NULL;
    gcm_open_unseal(k->materials[number].secret, &g);
    TRY(gcm_unseal(g, nonce, bound_to(a, p, context), str_from(sealed, n), sealed + n, plain));
    *ret_plain = str_from(plain, n);
    *ret_material = str_dup(a, k->materials[number].id);
    return OK;
}

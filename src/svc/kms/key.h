// SPDX-License-Identifier: Apache-2.0
// A key, its row and what is encrypted with it.
//
//     table kms.keys      key = account / region / id     value = JSON (key.c)
//
// A key is never changed: a change is a copy that takes its place. So whoever holds a reference
// works with one state of it. It has materials, of which the last encrypts; rotation adds one, and
// the older ones go on to decrypt.
//
//     ciphertext = 'H' 'R' 'K' 1, the key's id (16 bytes), the material's number (4 bytes, least
//                  first), nonce, sealed bytes, tag; all before the nonce and the encryption
//                  context are bound to it
#pragma once
#include "access/policy.h"
#include "base/buf.h"
#include "codec/gcm.h"
#include "os/io.h"

enum {
    KEY_ID_CHARS = 36,
    KEY_ID_BYTES = 16,
    KEY_MATERIAL_ID_CHARS = 64,
    KEY_TAGS_MAX = 50,
    KEY_POLICY_BYTES_MAX = 32768,
    KEY_PLAIN_BYTES_MAX = 4096,
    KEY_ROTATIONS_ON_DEMAND_MAX = 25, // of one key (developer guide, "Quotas")
    KEY_BLOB_HEAD_BYTES = 4 + KEY_ID_BYTES + 4,
    KEY_BLOB_EXTRA_BYTES = KEY_BLOB_HEAD_BYTES + GCM_NONCE_BYTES + GCM_TAG_BYTES,
};

typedef struct KeyMaterial {
    Str id; // 64 hexadecimal digits
    unsigned char secret[GCM_KEY_BYTES];
    int64_t created_ms;
    bool on_demand; // how it came; of the first: false
} KeyMaterial;

typedef struct KeyTag {
    Str key, value;
} KeyTag;

struct key {
    unsigned refs; // atomic
    struct arena *arena;
    Str account, region, id, arn, description;
    struct policy *policy;
    bool enabled;
    bool managed; // by AWS: made for a service
    int64_t created_ms;
    int64_t deletion_ms;      // when it goes; 0: it stays
    int64_t rotation_days;    // 0: it is not rotated by itself
    int64_t rotation_from_ms; // since when it is
    KeyTag *tags;             // sorted by key
    size_t tag_count;
    KeyMaterial *materials;
    size_t material_count;
};

// A new key with one material and the policy that hands over to its account.
Err key_new(struct io *io, Str account, Str region, int64_t now_ms, struct key **ret);
struct key *key_ref(struct key *k);
void key_unref(struct key *k); // secrets are wiped; NULL is fine
static inline void key_close(struct key *k)
{
    key_unref(k);
}
AUTO_CLOSE(key)

// The row, and back. ERR_CORRUPT: not one of ours, or of another master key.
Str key_row_key(struct arena *a, const struct key *k);
void key_row_write(struct io *io, const unsigned char master[GCM_KEY_BYTES], struct buf *b,
                   const struct key *k);
Err key_row_read(const unsigned char master[GCM_KEY_BYTES], struct arena *tmp, Str row_key, Str row,
                 struct key **ret);
// A copy to be changed: it belongs to nobody else yet.
struct key *key_copy(const struct key *k);
void key_add_material(struct io *io, struct key *k, int64_t now_ms, bool on_demand);
Err key_set_policy(struct key *k, Str document); // ERR_INVALID, ERR_LIMIT
void key_set_tag(struct key *k, Str name, Str value);
void key_drop_tag(struct key *k, Str name);

// When it is rotated next; INT64_MAX: never.
int64_t key_next_rotation_ms(const struct key *k);
static inline bool key_is_over(const struct key *k, int64_t now_ms)
{
    return k->deletion_ms > 0 && k->deletion_ms <= now_ms;
}

// Ciphertext in the arena.
Str key_encrypt(struct io *io, const struct key *k, struct arena *a, Str context, Str plain);
// The id of the key that a ciphertext was made with. ERR_INVALID: it is none of ours.
Err key_of_blob(struct arena *a, Str blob, Str *ret_id);
// ERR_CORRUPT: not what this key has made, or with another context. ret_material: its id.
Err key_decrypt(const struct key *k, struct arena *a, Str context, Str blob, Str *ret_plain,
                Str *ret_material);

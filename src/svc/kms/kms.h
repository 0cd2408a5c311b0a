// SPDX-License-Identifier: Apache-2.0
// The key service. What the files of the room share: the table of keys, how one is found for a
// call, how one is changed.
//
//     table kms.keys       key.h
//     table kms.aliases    key = account / region / alias/name
//                          value = JSON {version, key: its id, created_ms, updated_ms}
//
// Two locks. `changing` is held by an operation that changes something, from its checks to its
// commit; `lock` guards the maps and is never held over I/O. Order: changing before lock.
#pragma once
#include "base/map.h"
#include "gen/kms_api.h"
#include "hub/hub.h"
#include "hub/service.h"
#include "store/kv.h"
#include "svc/kms/key.h"

#include <pthread.h>

enum { KEYS_MAX = 100000, ALIASES_MAX = 100000 }; // of an account and region (quotas)
#define ALIAS_PREFIX S("alias/")
#define ALIAS_AWS_PREFIX S("alias/aws/")

struct alias {
    Str key_id;                // these three are one block with the alias
    Str account, region, name; // "alias/clicks"
    int64_t created_ms, updated_ms;
    char text[];
};

struct kms {
    struct service_env env;
    struct kv_table *rows, *alias_rows;
    bool has_master; // guarded by changing
    unsigned char master[GCM_KEY_BYTES];
    pthread_mutex_t changing;
    pthread_rwlock_t lock;
    struct map *keys;    // id -> struct key, each with a reference
    struct map *aliases; // account/region/name -> struct alias
    struct hub_keys offer;
};

extern const struct call_targets kms_targets;

// ---- Finding. `name` is an id, an ARN, an alias or an alias's ARN.

// A reference to the key, whatever its state; NotFoundException.
Err kms_find(struct call *c, Str name, struct key **ret);
// The same without words. ERR_NOT_FOUND; ERR_INVALID: it is no name of a key.
Err kms_look(struct kms *s, Str account, Str region, Str name, int64_t now_ms, struct arena *tmp,
             struct key **ret);
struct key *kms_look_id(struct kms *s, Str id, int64_t now_ms); // NULL: there is none
// Of "alias/aws/x" that nobody has used yet the key is made. Blocks.
Err kms_find_or_make(struct call *c, Str name, struct key **ret);
// The key that AWS manages under that alias, "alias/aws/x", made if need be. Blocks.
Err kms_own(struct call *c, Str alias, struct key **ret);
// DisabledException, KMSInvalidStateException.
Err kms_require_usable(struct call *c, const struct key *k);
Err kms_require_kept(struct call *c, const struct key *k);     // not pending deletion
Err kms_require_customer(struct call *c, const struct key *k); // not AWS's

static inline int64_t kms_now_ms(const struct call *c)
{
    return c->now_ns / 1000000;
}

// ---- Changing. `changing` is held.

static inline void kms_change_begin(struct kms *s)
{
    pthread_mutex_lock(&s->changing);
}
static inline void kms_change_end(struct kms *s)
{
    pthread_mutex_unlock(&s->changing);
}
// Commits the row and lets the key take its place; takes the caller's reference in every case.
Err kms_put_key(struct kms *s, struct key *take_k);
// Forgets keys whose time is over, with their aliases, and rotates those whose time has come.
Err kms_sweep(struct kms *s, int64_t now_ms);

typedef Err KeyEdit(struct call *c, struct key *copy, const void *arg);
// Finds a key, lets `edit` change a copy of it and commits that.
Err kms_edit(struct call *c, Str name, KeyEdit *edit, const void *arg);

Err kms_put_alias(struct kms *s, const struct alias *like); // a copy of it is kept
Err kms_drop_alias(struct kms *s, Str account, Str region, Str name);
struct alias *kms_alias(struct kms *s, struct arena *a, Str account, Str region,
                        Str name); // a copy; NULL

// The encryption context as bytes that are the same for the same pairs in any order.
Str kms_context(struct arena *a, kms_EncryptionContextType pairs);

// What other services are offered.
void kms_offer_init(struct kms *s);

// SPDX-License-Identifier: Apache-2.0
// Identities and what they may do. What the files of the room share: the tables in memory, how an
// entity is found and changed, who signs with which key.
//
//     table iam.entities   entity.h
//     table iam.keys       key = access key   value = JSON (signer.c): of users, and of sessions;
//                          secrets are sealed with the master key (store/master.h)
//     table iam.used       used.h
//     table iam.meta       key = scrub: headrace.db is to be written anew, because rows of a
//     program
//                          that sealed nothing were in it
//
// Two locks. `changing` is held by an operation that changes something, from its checks to its
// commit; `lock` guards the maps and is never held over I/O. Order: changing before lock. Every
// change raises `version`, which makes every decision that was kept one of the past.
#pragma once
#include "aws/keyring.h"
#include "base/map.h"
#include "codec/gcm.h"
#include "gen/iam_api.h"
#include "hub/hub.h"
#include "hub/service.h"
#include "store/kv.h"
#include "svc/iam/entity.h"

#include <pthread.h>
#include <stdatomic.h>

// Who signs with an access key. Never changed; counted.
struct signer {
    unsigned refs; // atomic
    struct arena *arena;
    Str access_key, secret;
    Str token; // absent: a key of a user
    Str account;
    Str principal; // the ARN of the user or the role's session
    EntityKind kind;
    Str name;      // of the user or role; empty: the account's root
    Str entity_id; // its id: another one of that name is not meant
    Str session_name;
    Str source_identity; // absent: none
    Str federated;       // of a session by GetFederationToken: its name; absent: it is none
    int64_t mfa_ms;      // of a session: when its caller showed a code; 0: he did not
    HubTag *tags;        // of a role's session
    size_t tag_count;
    bool active;
    int64_t created_ms, expires_ms; // 0: never
    struct policy **session;        // policies that narrow a session
    size_t session_count;
};

struct decisions; // guard.c
struct used;      // used.h

struct iam {
    struct service_env env;
    struct kv_table *rows, *key_rows, *meta, *device_rows;
    bool has_master; // guarded by changing
    unsigned char master[GCM_KEY_BYTES];
    pthread_mutex_t changing;
    pthread_rwlock_t lock;
    struct map *entities; // entity_key -> struct entity
    struct map *signers;  // access key -> struct signer
    struct map *devices;  // serial number -> struct mfa_device (mfa.h)
    atomic_ullong version;
    struct decisions *decisions;
    struct used *used;
    struct access_guard guard;
    struct hub_identities offer;
};

extern const struct call_targets iam_targets;

// ---- Finding: references.

struct entity *iam_look(struct iam *s, EntityKind kind, Str account, Str name); // NULL: none
struct entity *iam_look_arn(struct iam *s, EntityKind kind, Str arn);           // NULL: none
Err iam_find(struct call *c, EntityKind kind, Str name, struct entity **ret);   // NoSuchEntity
Err iam_find_policy(struct call *c, Str arn, struct entity **ret);              // NoSuchEntity
struct signer *iam_signer(struct iam *s, Str access_key);                       // NULL: none
// The name that an operation without one means: the caller's. ValidationError: he is no user.
Err iam_own_name(struct call *c, Str given, Str *ret);

// All of a kind in the call's account whose path begins so, by name; references in the arena.
typedef struct EntityList {
    struct entity **at;
    size_t n;
} EntityList;
EntityList iam_list(struct iam *s, struct arena *a, EntityKind kind, Str account, Str prefix);
void iam_list_done(EntityList *l);

// One page of a sorted list: those after the marker, and how many. `name` gives an element's name.
typedef struct Page {
    size_t from, n;
    bool more;
} Page;
Page iam_page(const Str *names, size_t n, Str marker, int32_t max);

// ---- Changing. `changing` is held.

void iam_begin(struct iam *s);
void iam_end(struct iam *s);
Err iam_put(struct iam *s, struct entity *take_e); // commits, then it takes its place
Err iam_drop(struct iam *s, const struct entity *e);
Err iam_put_signer(struct iam *s, struct signer *take_k);
Err iam_drop_signer(struct iam *s, Str access_key);
Err iam_sweep(struct iam *s, int64_t now_ms); // sessions that are over

typedef Err EntityEdit(struct call *c, struct entity *copy, const void *arg);
Err iam_edit(struct call *c, EntityKind kind, Str name, EntityEdit *edit, const void *arg);
Err iam_edit_policy(struct call *c, Str arn, EntityEdit *edit, const void *arg);

// InvalidInput if two tags have the same key.
Err iam_check_tags(struct call *c, iam_tagListType tags);
// A document of a call; MalformedPolicyDocument, LimitExceeded.
Err iam_read_policy(struct call *c, PolicyKind kind, Str name, Str document, size_t bytes_max,
                    struct policy **ret);
Str iam_url_encode(struct arena *a, Str s); // as AWS returns documents

// ---- Signers

struct signer *signer_new(void);
struct signer *signer_ref(struct signer *k);
void signer_unref(struct signer *k); // NULL is fine
static inline void signer_close(struct signer *k)
{
    signer_unref(k);
}
AUTO_CLOSE(signer)
void signer_row_write(struct io *io, const unsigned char master[GCM_KEY_BYTES], struct arena *tmp,
                      struct buf *b, const struct signer *k);
// ERR_CORRUPT: not one of ours, or of another master key; NULL: there is none. ret_plain: its
// secret was not sealed, as an older program wrote it.
Err signer_row_read(const unsigned char *master, struct arena *tmp, Str access_key, Str row,
                    struct signer **ret, bool *ret_plain);
Str random_secret(struct io *io, struct arena *a, size_t n);
Err iam_load_signers(struct iam *s);
Err iam_need_master(struct iam *s); // `changing` is held

// AWS's own managed policies, as entities of the account "aws".
Err iam_load_managed(struct iam *s);
void iam_keep(struct iam *s, struct entity *take_e); // into memory only

void iam_guard_open(struct iam *s);
void iam_guard_close(struct iam *s);
void iam_offer_init(struct iam *s);
// Whether the role's trust policy lets a service act as it, for an account and what it owns
// (absent: nothing to name).
bool iam_role_trusts(const struct entity *role, Str service, Str account, Str source_arn);

static inline int64_t iam_now_ms(const struct call *c)
{
    return c->now_ns / 1000000;
}

// SPDX-License-Identifier: Apache-2.0
// Secrets Manager. What the files of the room share: the table of secrets, how one is found for a
// call, how one is changed, and its versions.
//
//     table secrets.secrets    secret.h
//     table secrets.versions   key = the secret's id (16 hexadecimal digits), the version's
//                              value = JSON (version.c): when it was made, its key, its data key
//     table secrets.values     the same key        value = sealed bytes, tag
//
// Secrets are in memory, values are not: they are read and opened when they are asked for.
//
// Two locks. `changing` is held by an operation that changes a secret, from its checks to its
// commit; `lock` guards the map and is never held over I/O. Order: changing before lock. No other
// service is asked while one of them is held.
#pragma once
#include "base/map.h"
#include "hub/chores.h"
#include "hub/hub.h"
#include "hub/service.h"
#include "store/kv.h"
#include "svc/secretsmanager/secret.h"

#include <pthread.h>
#include <stdatomic.h>

// Quotas (user guide, "AWS Secrets Manager quotas").
enum {
    SECRETS_MAX = 500000, // of an account in a region
    STAGES_MAX = 20,      // of all versions of a secret
    VERSIONS_KEPT = 100,  // beside those of the last day
    VERSIONS_MAX = 1000,  // ours: of the last day
    SECRET_TAGS_MAX = 50,
    SECRET_POLICY_BYTES_MAX = 20480,
    SECRET_VALUE_BYTES_MAX = 65536,
};
#define STAGE_CURRENT S("AWSCURRENT")
#define STAGE_PREVIOUS S("AWSPREVIOUS")
#define STAGE_PENDING S("AWSPENDING")

struct secrets {
    struct service_env env;
    struct kv_table *rows, *versions, *values;
    pthread_mutex_t changing;
    pthread_rwlock_t lock;
    struct map *by_name;  // account \1 region \1 name -> struct secret, each with a reference
    struct map *retries;  // ARN -> when a rotation that has failed is tried again (ms)
    struct chores chores; // those that go for good, and rotations
    atomic_bool stopping;
    struct hub_secrets offer;
};

extern const struct call_targets secrets_targets;
void secrets_offer_init(struct secrets *s);

static inline int64_t secrets_now_ms(const struct call *c)
{
    return c->now_ns / 1000000;
}

// ---- Finding. `name` is a name or an ARN, also one without the random characters at its end.

// Without words; NULL: there is none. In memory only.
struct secret *secrets_look(struct secrets *s, struct arena *tmp, Str account, Str region, Str name,
                            int64_t now_ms);
// ResourceNotFoundException. Also one that is marked for deletion.
Err secrets_find(struct call *c, Str name, struct secret **ret);
// InvalidRequestException: it is marked for deletion.
Err secrets_require_kept(struct call *c, const struct secret *x);
Err secrets_find_kept(struct call *c, Str name, struct secret **ret);
// All of the call's account and region, each with a reference, in no order. On the heap.
struct secret **secrets_all(struct call *c, size_t *ret_n);

// ---- Changing

typedef struct VersionRow {
    Str version, row, value; // what the two tables get
    bool anew; // of a version that is there, under another key; nothing if it has gone meanwhile
} VersionRow;

// What is committed at once.
typedef struct SecretChange {
    struct secret *copy; // of the secret as it is: edited in place
    const VersionRow *put;
    size_t put_count;
    bool prune; // versions that are over go
    Str drop;   // a version that goes; absent: none
} SecretChange;

// Edits x->copy under the lock, without waiting for anything.
typedef Err SecretEdit(struct call *c, SecretChange *x, const void *arg);
// Finds the secret again, edits a copy, commits it and lets it take its place. `of` is the one that
// the call has seen: another one made under its name meanwhile is not touched.
// ResourceNotFoundException. ERR_EXISTS: somebody else has just made the version that was to be
// put. `ret`: a reference to what there is now; may be NULL.
Err secrets_change(struct call *c, const struct secret *of, SecretChange *x, SecretEdit *edit,
                   const void *arg, struct secret **ret);
// A new one: its id is given. ResourceExistsException, InvalidRequestException (one is marked for
// deletion), LimitExceededException.
Err secrets_add(struct call *c, struct secret *x, const VersionRow *put, size_t put_count);
// It and all it has, now. OK if there is none any more.
Err secrets_forget(struct secrets *s, const struct secret *x);
void secrets_run_at(struct secrets *s, int64_t due_ms); // the chores

// ---- Rotation (rotate.c)

// Rotates what is due, each with four calls of its function; when the next one is. May block for
// minutes.
int64_t secrets_rotate_due(struct secrets *s, int64_t now_ms);
// A value that somebody has put counts as a rotation where days between rotations are counted.
void secrets_value_has_changed(struct secret *copy, int64_t now_ms);

// ---- Versions

typedef struct SecretValue {
    Str bytes;
    bool binary;
} SecretValue;

typedef struct VersionInfo {
    Str id;
    int64_t created_ms, accessed_ms; // 0: never
    Str key;                         // the ARN of the key; absent: the account's own
} VersionInfo;

Str version_key(struct arena *a, const struct secret *x, Str version);
// Seals a value under a data key of `key` (absent: the account's own). EncryptionFailure,
// AccessDeniedException. May block for the key service.
Err version_seal(struct call *c, const struct secret *x, Str version, const SecretValue *value,
                 Str key, VersionRow *ret);
// ERR_NOT_FOUND: there is no such version. DecryptionFailure, AccessDeniedException.
Err version_open(struct call *c, const struct secret *x, Str version, SecretValue *ret,
                 VersionInfo *ret_info);
// All that the secret has, in the order in which they were made. The transaction is the caller's.
Err version_list(struct secrets *s, struct kv_txn *tx, struct arena *a, const struct secret *x,
                 VersionInfo **ret, size_t *ret_n);
// Whether it is there.
Err version_look(struct secrets *s, struct arena *tmp, const struct secret *x, Str version,
                 bool *ret);
// Notes that it was read on that day; nothing if that is known.
Err version_accessed(struct secrets *s, struct arena *tmp, const struct secret *x,
                     const VersionInfo *info, int64_t day_ms);
Err version_put(struct secrets *s, struct kv_txn *tx, struct arena *a, const struct secret *x,
                const VersionRow *v);
// Nothing if there is none.
Err version_drop(struct secrets *s, struct kv_txn *tx, struct arena *a, const struct secret *x,
                 Str version);
// Drops versions without stages that are over; LimitExceededException: there are too many.
Err version_prune(struct call *c, struct kv_txn *tx, const struct secret *x);

// ---- Of several files

// Which secrets a filter list means (list.c).
Err secrets_check_filters(struct call *c, secretsmanager_FiltersListType filters);
bool secrets_match(struct arena *tmp, const struct secret *x,
                   secretsmanager_FiltersListType filters);
// Those of the account that match, as SortBy and SortOrder say; on the heap like secrets_all.
struct secret **secrets_select(struct call *c, secretsmanager_FiltersListType filters,
                               bool with_deleted, Str sort_by, bool descending, size_t *ret_n);
void secrets_release(struct secret **all, size_t n);
// The page behind a token, and the token of the page after it. InvalidNextTokenException.
Str secrets_token(struct arena *a, const struct secret *last);
Err secrets_token_read(struct call *c, Str token, struct secret *const *all, size_t n,
                       size_t *ret_first);
// Reads one secret's value (value.c), for who may read it.
struct secretsmanager_GetSecretValue_out;
Err secrets_value(struct call *c, struct secret *x, Str version, Str stage,
                  struct secretsmanager_GetSecretValue_out *out);

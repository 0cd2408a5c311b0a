// SPDX-License-Identifier: Apache-2.0
// What IAM knows: users, groups, roles and managed policies, all of one form.
//
//     table iam.entities   key = account / user|group|role|policy / name in lower case
//                          value = JSON (entity.c)
//
// As names differ by more than their case, so do keys. An entity is never changed: a change is a
// copy that takes its place, so whoever holds a reference works with one state of it.
#pragma once
#include "access/policy.h"
#include "base/buf.h"
#include "os/io.h"

typedef enum EntityKind { ENTITY_USER, ENTITY_GROUP, ENTITY_ROLE, ENTITY_POLICY } EntityKind;

// Quotas (IAM user guide, "IAM and AWS STS quotas").
enum {
    ENTITY_TAGS_MAX = 50,
    ENTITY_ATTACHED_MAX = 10,
    ENTITY_VERSIONS_MAX = 5,
    ENTITY_GROUPS_MAX = 10,
    ENTITY_KEYS_MAX = 2,
    INLINE_BYTES_MAX_USER = 2048, // of all inline policies together
    INLINE_BYTES_MAX_GROUP = 5120,
    INLINE_BYTES_MAX_ROLE = 10240,
    MANAGED_BYTES_MAX = 6144,
    TRUST_BYTES_MAX = 2048,
};

typedef struct NamedPolicy {
    Str name; // of an inline policy; of a managed one's version: "v1"
    struct policy *policy;
    int64_t created_ms;
} NamedPolicy;

typedef struct EntityTag {
    Str key, value;
} EntityTag;

typedef struct StrList {
    Str *at;
    size_t n;
} StrList;

struct entity {
    unsigned refs; // atomic
    struct arena *arena;
    EntityKind kind;
    Str account, name, path, id, arn, description;
    int64_t created_ms, updated_ms;
    NamedPolicy *policies; // inline ones by name; of a managed policy its versions, oldest first
    size_t policy_count;
    StrList attached;     // ARNs of managed policies
    StrList groups;       // of a user: names
    Str boundary;         // ARN of a managed policy; absent: none
    struct policy *trust; // of a role
    int64_t session_s_max;
    int64_t signin_s_max; // kept and told; nobody signs in here. 0: unset
    int64_t version_last; // of a managed policy: the last number that was given
    Str version_default;
    EntityTag *tags; // by key
    size_t tag_count;
};

// A new one with an id of its own; its ARN is made of kind, path and name.
struct entity *entity_new(struct io *io, EntityKind kind, Str account, Str path, Str name,
                          int64_t now_ms);
struct entity *entity_ref(struct entity *e);
void entity_unref(struct entity *e); // NULL is fine
static inline void entity_close(struct entity *e)
{
    entity_unref(e);
}
AUTO_CLOSE(entity)
struct entity *entity_copy(const struct entity *e); // to be changed

Str entity_key(struct arena *a, EntityKind kind, Str account, Str name); // of its row and in maps
void entity_row_write(struct buf *b, const struct entity *e);
Err entity_row_read(struct arena *tmp, Str key, Str row, struct entity **ret); // ERR_CORRUPT...

const char *entity_word(EntityKind kind); // "user"
// AWS's ids: a prefix of the kind and 17 letters or digits.
Str random_id(struct io *io, struct arena *a, Str prefix, size_t n);

NamedPolicy *entity_policy(const struct entity *e, Str name); // NULL: none of that name
void entity_put_policy(struct entity *e, Str name, struct policy *take_p, int64_t now_ms);
void entity_drop_policy(struct entity *e, Str name);
// The version of a managed policy that counts.
struct policy *entity_default_version(const struct entity *e);
void entity_set_trust(struct entity *e, struct policy *take_p);

bool list_has(const StrList *l, Str s);
void list_add(struct arena *a, StrList *l, Str s); // a copy of s
void list_drop(StrList *l, Str s);

void entity_set_tag(struct entity *e, Str key, Str value);
void entity_drop_tag(struct entity *e, Str key);

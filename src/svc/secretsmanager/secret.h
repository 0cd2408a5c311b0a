// SPDX-License-Identifier: Apache-2.0
// A secret without its values: what DescribeSecret tells of it, and its policy. It is never
// changed: a change is a copy that takes its place, so whoever holds a reference works with one
// state of it.
//
//     table secrets.secrets   key = account \1 region \1 name
//                             value = '1', its id and when it goes for good (16 hexadecimal digits
//                             each), how many bytes its policy has (8), the policy,
//                             DescribeSecret's reply in JSON
//
// Versions are kept by the id, which is never given again: what a secret leaves belongs to no later
// one of its name.
#pragma once
#include "access/policy.h"
#include "base/buf.h"
#include "gen/secretsmanager_api.h"

enum { SECRET_SUFFIX_CHARS = 6 }; // random, at the end of its ARN

typedef secretsmanager_SecretVersionsToStagesMapType_entry VersionStages;

struct secret {
    unsigned refs; // atomic
    struct arena *arena;
    Str account, region;
    uint64_t id;
    int64_t gone_ms; // when it goes for good; 0: it stays
    struct secretsmanager_DescribeSecret_out d;
    struct policy *policy; // NULL: none
};

// Without versions, tags and id.
struct secret *secret_new(Str account, Str region, Str name, Str suffix, int64_t now_ns);
struct secret *secret_ref(struct secret *s);
void secret_unref(struct secret *s); // NULL is fine
static inline void secret_close(struct secret *s)
{
    secret_unref(s);
}
AUTO_CLOSE(secret)
// To be changed: it belongs to nobody else yet.
struct secret *secret_copy(const struct secret *s);

Str secret_key(struct arena *a, Str account, Str region, Str name);
void secret_row_write(struct buf *b, const struct secret *s);
// ERR_CORRUPT, ERR_FORMAT.
Err secret_row_read(Str key, Str row, struct secret **ret);
// What DescribeSecret says, of a row that lives as long as the arena.
Err secret_row_tell(struct arena *a, Str row, struct secretsmanager_DescribeSecret_out *ret);

// ---- Stages

// The version that has it, or an absent Str.
Str secret_version_at(const struct secret *s, Str stage);
// NULL: the version has none.
const VersionStages *secret_stages(const struct secret *s, Str version);
bool secret_has_stage(const struct secret *s, Str version, Str stage);
size_t secret_stage_count(const struct secret *s); // of all versions
// Takes a stage from whoever has it, and gives it to the version; with AWSCURRENT moves
// AWSPREVIOUS to the one that had it.
void secret_move_stage(struct secret *s, Str version, Str stage);
void secret_drop_stage(struct secret *s, Str version, Str stage);

// ---- Tags

void secret_set_tag(struct secret *s, Str key, Str value);
void secret_drop_tag(struct secret *s, Str key);

static inline bool secret_is_over(const struct secret *s, int64_t now_ms)
{
    return s->gone_ms > 0 && s->gone_ms <= now_ms;
}

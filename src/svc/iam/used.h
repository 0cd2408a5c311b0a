// SPDX-License-Identifier: Apache-2.0
// When an access key or a role was used last, where and for which service: of calls that were
// signed or made in its name, whatever became of them.
//
//     table iam.used   key = access key of a user, or id of a role
//                      value = version 1 (1)  ms since 1970 (8)  length of the region (1)
//                              region  service
//
// A use is noted in memory, once a minute at most, and written by the minute and at the end: what
// was noted since is lost with a killed process. AWS tells uses after hours.
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "hub/chores.h"

struct arena;
struct iam;

enum { USED_EVERY_MS = 60000 };

typedef struct Used {
    int64_t at_ms; // 0: never
    Str region, service;
} Used;

struct used {
    struct iam *iam;
    struct kv_table *rows;
    pthread_mutex_t lock; // a leaf; guards the map
    struct map *by_key;   // -> struct use
    struct chores chores;
};

Err used_open(struct iam *s, struct used **ret);
void used_stop(struct used *u);  // writes what is not written
void used_close(struct used *u); // NULL is fine

void used_note(struct used *u, Str key, const Used *use);
Used used_find(struct used *u, struct arena *a, Str key); // texts in the arena
// The key or role is gone, and comes never again. Calls that were under way may still note it for
// as long as a minute: nothing is kept of that.
void used_forget(struct used *u, Str key);
Err used_write(struct used *u); // blocks

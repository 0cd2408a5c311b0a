// SPDX-License-Identifier: Apache-2.0
// Pages for operators. Unlike health they need the root key: every request is signed (Signature
// Version 4, service "headrace"), because a backup writes where the request says.
//
//     POST /_headrace/admin/stat       what the store holds (store_stat.h)
//     POST /_headrace/admin/access     the newest refusals, and what decided them (access/guard.h)
//     POST /_headrace/admin/check      begins to read and verify every container
//     POST /_headrace/admin/backup     begins a backup:
//     {"to":"/directory","with_credentials":false} POST /_headrace/admin/job        how the newest
//     of these is going
//     POST /_headrace/admin/...        what services offer (hub/service.h), on the worker pool
//
// One check or backup runs at a time, on a thread of its own with low priority. Answers are JSON;
// errors are {"error":"...","kind":"..."} with 400 (a wrong request), 403 (not signed), 409 (one is
// running), 503 (not now).
#pragma once
#include "aws/front.h"

struct access_guard;
struct admin;
struct kv;
struct log;
struct service;

typedef struct AdminConfig {
    struct io *io;       // the store's files
    struct io *place_io; // the directories that backups are written to, and the real time
    struct keyring *keys;
    struct pool *pool;
    Str data_dir, version;
    struct log *log;
    struct kv *kv;
    const struct access_guard *guard; // NULL: nobody decides about calls
    const struct service *const *services;
    void *const *states; // beside services
    size_t service_count;
} AdminConfig;

// Registers the pages. Everything is borrowed, strings too.
Err admin_open(const AdminConfig *config, struct front *front, struct admin **ret);
// Stops what runs and waits for its end: before the log is closed. NULL is fine.
void admin_stop(struct admin *ad);
void admin_close(struct admin *ad); // after admin_stop; no request comes any more; NULL is fine
AUTO_CLOSE(admin)

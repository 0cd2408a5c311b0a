// SPDX-License-Identifier: Apache-2.0
#include "svc/iam/used.h"
#include "base/logline.h"
#include "base/time.h"
#include "codec/little.h"
#include "svc/iam/iam.h"

#include <stdlib.h>
#include <string.h>

enum { ROW_VERSION = 1, ROW_HEAD_BYTES = 10, TEXT_BYTES_MAX = 64 };

struct use {
    int64_t at_ms;
    size_t region_n, service_n;
    char region[TEXT_BYTES_MAX], service[TEXT_BYTES_MAX];
    bool is_written;
    bool is_gone; // its row is to be removed, then it goes, too
};

static void set_text(char to[TEXT_BYTES_MAX], size_t *ret_n, Str text)
{
    *ret_n = MIN(text.n, (size_t)TEXT_BYTES_MAX);
    if (*ret_n > 0)
        memcpy(to, text.p, *ret_n);
}

static void set_use(struct use *use, const Used *to)
{
    use->at_ms = to->at_ms;
    set_text(use->region, &use->region_n, to->region);
    set_text(use->service, &use->service_n, to->service);
    use->is_written = use->is_gone = false;
}

void used_note(struct used *u, Str key, const Used *to)
{
    pthread_mutex_lock(&u->lock);
    struct use *use = map_get(u->by_key, key);
    bool is_gone = use != NULL && use->is_gone; // while the call was under way: it stays so
    bool is_new =
        !is_gone && (use == NULL || use->at_ms / USED_EVERY_MS != to->at_ms / USED_EVERY_MS);
    if (use == NULL)
        map_put(u->by_key, key, use = xalloc(sizeof *use));
    if (is_new)
        set_use(use, to);
    pthread_mutex_unlock(&u->lock);
    if (is_new)
        chores_at(&u->chores, to->at_ms + USED_EVERY_MS);
}

Used used_find(struct used *u, struct arena *a, Str key)
{
    Used found = { 0 };
    pthread_mutex_lock(&u->lock);
    const struct use *use = map_get(u->by_key, key);
    if (use != NULL && !use->is_gone)
        found = (Used){ .at_ms = use->at_ms,
                        .region = str_dup(a, str_from(use->region, use->region_n)),
                        .service = str_dup(a, str_from(use->service, use->service_n)) };
    pthread_mutex_unlock(&u->lock);
    return found;
}

void used_forget(struct used *u, Str key)
{
    pthread_mutex_lock(&u->lock);
    struct use *use = map_get(u->by_key, key);
    if (use == NULL) // a call that is under way may tell of it yet
        map_put(u->by_key, key, use = xalloc(sizeof *use));
    use->is_gone = true;
    use->is_written = false;
    pthread_mutex_unlock(&u->lock);
    struct io *io = u->iam->env.io;
    chores_at(&u->chores, io->wall_ns(io) / NS_PER_MS + USED_EVERY_MS);
}

// ---- Rows

typedef struct Change {
    Str key, row; // an absent row is removed
} Change;

static Str row_of(struct arena *a, const struct use *use)
{
    uint8_t head[ROW_HEAD_BYTES] = { ROW_VERSION };
    put64(head + 1, (uint64_t)use->at_ms);
    head[ROW_HEAD_BYTES - 1] = (uint8_t)use->region_n;
    return str_cat3(a, str_from(head, sizeof head), str_from(use->region, use->region_n),
                    str_from(use->service, use->service_n));
}

// What is not written, in the arena; from now on it is taken for written.
static Change *take_changes(struct used *u, struct arena *a, size_t *ret_n)
{
    Str key;
    void *value;
    size_t n = 0;
    pthread_mutex_lock(&u->lock);
    Change *all = arena_new(a, Change, map_count(u->by_key));
    for (size_t at = 0; map_next(u->by_key, &at, &key, &value);) {
        struct use *use = value;
        if (use->is_written)
            continue;
        all[n].key = str_dup(a, key);
        all[n++].row = use->is_gone ? (Str){ 0 } : row_of(a, use);
        use->is_written = true;
    }
    pthread_mutex_unlock(&u->lock);
    *ret_n = n;
    return all;
}

static Err commit(struct used *u, const Change *all, size_t n)
{
    AUTO(kv_txn) tx = kv_write(u->rows);
    for (size_t i = 0; i < n; i++)
        TRY(all[i].row.p == NULL ? kv_del(tx, all[i].key) : kv_put(tx, all[i].key, all[i].row));
    return kv_commit(tx);
}

// What is gone goes from memory when its row has; what was not written is to be written again.
static void settle(struct used *u, const Change *all, size_t n, bool good)
{
    pthread_mutex_lock(&u->lock);
    for (size_t i = 0; i < n; i++) {
        struct use *use = map_get(u->by_key, all[i].key);
        if (!good)
            use->is_written = false;
        else if (use->is_gone && use->is_written)
            free(map_take(u->by_key, all[i].key));
    }
    pthread_mutex_unlock(&u->lock);
}

Err used_write(struct used *u)
{
    AUTO(arena) tmp = arena_open();
    size_t n;
    Change *all = take_changes(u, tmp, &n);
    if (n == 0)
        return OK;
    Err e = commit(u, all, n);
    settle(u, all, n, e.kind == ERR_NONE);
    if (e.kind != ERR_NONE)
        LOG(LOG_WARN, "when keys and roles were used was not written", F_ERR(e));
    return e;
}

static int64_t run(void *self)
{
    struct used *u = self;
    struct io *io = u->iam->env.io;
    if (used_write(u).kind == ERR_NONE)
        return CHORES_NEVER;
    return io->wall_ns(io) / NS_PER_MS + USED_EVERY_MS;
}

// ---- Opening

static Err load(struct used *u)
{
    AUTO(kv_txn) tx = kv_read(u->rows);
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        const uint8_t *p = (const uint8_t *)scan.value.p;
        size_t n = scan.value.n;
        if (n < ROW_HEAD_BYTES || p[0] != ROW_VERSION ||
            p[ROW_HEAD_BYTES - 1] > n - ROW_HEAD_BYTES) {
            LOG(LOG_WARN, "when something was used cannot be read", F_STR("row", scan.rest));
            continue; // a newer program's, perhaps: nothing depends on it
        }
        size_t region_n = p[ROW_HEAD_BYTES - 1];
        Str texts = str_skip(scan.value, ROW_HEAD_BYTES);
        struct use *use = xalloc(sizeof *use);
        set_use(use, &(Used){ .at_ms = (int64_t)get64(p + 1),
                              .region = str_head(texts, region_n),
                              .service = str_skip(texts, region_n) });
        use->is_written = true;
        map_put(u->by_key, scan.rest, use);
    }
    return scan.err;
}

Err used_open(struct iam *s, struct used **ret)
{
    struct kv_table *rows;
    TRY(kv_table_open(s->env.kv, S("iam.used"), &rows));
    struct used *u = xalloc(sizeof *u);
    u->iam = s;
    u->rows = rows;
    u->by_key = map_open();
    pthread_mutex_init(&u->lock, NULL);
    chores_init(&u->chores, &s->env, run, u);
    Err e = load(u);
    if (e.kind != ERR_NONE) {
        used_close(u);
        return e;
    }
    chores_start(&u->chores);
    *ret = u;
    return OK;
}

void used_stop(struct used *u)
{
    chores_stop(&u->chores);
    Err e = used_write(u);
    (void)e; // it is logged, and nothing depends on it
}

void used_close(struct used *u)
{
    Str key;
    void *value;
    if (u == NULL)
        return;
    chores_done(&u->chores);
    for (size_t at = 0; map_next(u->by_key, &at, &key, &value);)
        free(value);
    map_close(u->by_key);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

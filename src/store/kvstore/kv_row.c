// SPDX-License-Identifier: Apache-2.0
#include "store/kvstore/kv_priv.h"

#include "base/logline.h"
#include "store/kvstore/sqlite_vfs.h"

#include <stdlib.h>
#include <string.h>

static const char *const statement_texts[KV_STATEMENTS] = {
    [KV_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [KV_BEGIN_READ] = "BEGIN",
    [KV_END] = "COMMIT",
    [KV_ABORT] = "ROLLBACK",
    [KV_SAVE] = "SAVEPOINT member",
    [KV_RELEASE] = "RELEASE member",
    [KV_UNDO] = "ROLLBACK TO member",
    [KV_GET] = "SELECT v FROM kv_row WHERE t = ?1 AND k = ?2",
    [KV_PUT] = "INSERT OR REPLACE INTO kv_row (t, k, v) VALUES (?1, ?2, kv_seal(?1, ?2, ?3))",
    [KV_DEL] = "DELETE FROM kv_row WHERE t = ?1 AND k = ?2",
    [KV_COUNT] = "SELECT count(*) FROM kv_row WHERE t = ?1 AND k >= ?2 AND k < ?3",
    [KV_NEXT_ID] = ("UPDATE kv_state SET next_id = next_id + 1,"
                    " seal = kv_seal(0, '', CAST(next_id + 1 AS BLOB)) RETURNING next_id"),
    [KV_SCAN] = "SELECT k, v FROM kv_row WHERE t = ?1 AND k >= ?2 AND k < ?3 ORDER BY k",
};

Err kv_prepare(struct kv_conn *c)
{
    for (size_t i = 0; i < KV_STATEMENTS; i++)
        TRY(sqlite_vfs_err(sqlite3_prepare_v3(c->db, statement_texts[i], -1,
                                              SQLITE_PREPARE_PERSISTENT, &c->statements[i], NULL)));
    return OK;
}

Err kv_run(struct kv_conn *c, enum kv_statement which)
{
    sqlite3_stmt *s = c->statements[which];
    int code = sqlite3_step(s);
    sqlite3_reset(s);
    return sqlite_vfs_err(code);
}

// An empty string is not NULL, wherever it points to.
static void bind(sqlite3_stmt *s, int place, Str value)
{
    sqlite3_bind_blob64(s, place, value.n > 0 ? value.p : "", value.n, SQLITE_STATIC);
}

static Str column(sqlite3_stmt *s, int place)
{
    const void *p = sqlite3_column_blob(s, place);
    size_t n = (size_t)sqlite3_column_bytes(s, place);
    return n > 0 ? str_from(p, n) : S("");
}

// What a step has said. What hurts the store, not only this call, is the end of the transaction.
static Err settle(struct kv_txn *tx, int code)
{
    Err e = sqlite_vfs_err(code);
    if (e.kind != ERR_NONE)
        tx->err = e;
    return e;
}

static Err damaged(int64_t table_id, Str key)
{
    LOG(LOG_ERROR, "a row of the key-value store is damaged", F_INT("table", table_id),
        F_STR("key", key));
    return fail(ERR_CORRUPT, "kv: a row is damaged");
}

static Err check_key(Str key)
{
    return key.n <= KV_KEY_BYTES_MAX ? OK : fail(ERR_LIMIT, "kv: key is too long");
}

// A writer that has ended has no connection any more: it may be in another transaction's hands.
static void check_open(const struct kv_txn *tx)
{
    CHECK(!tx->writes || tx->has_turn);
}

// A statement of the transaction with the table and, as second parameter, a key.
static sqlite3_stmt *statement(struct kv_txn *tx, enum kv_statement which, Str key)
{
    check_open(tx);
    sqlite3_stmt *s = tx->conn->statements[which];
    sqlite3_bind_int64(s, 1, tx->table_id);
    bind(s, 2, key);
    return s;
}

// Keys and values are the caller's: nothing may point at them when it has got its answer.
static void finish(sqlite3_stmt *s)
{
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
}

void kv_on(struct kv_txn *tx, struct kv_table *t)
{
    CHECK(t->db == tx->db);
    tx->table_id = t->id;
}

Err kv_put(struct kv_txn *tx, Str key, Str value)
{
    CHECK(tx->writes);
    TRY(tx->err);
    TRY(check_key(key));
    if (value.n > KV_VALUE_BYTES_MAX)
        return fail(ERR_LIMIT, "kv: value is too long");
    sqlite3_stmt *s = statement(tx, KV_PUT, key);
    bind(s, 3, value);
    int code = sqlite3_step(s);
    finish(s);
    return settle(tx, code);
}

Err kv_del(struct kv_txn *tx, Str key)
{
    CHECK(tx->writes);
    TRY(tx->err);
    TRY(check_key(key));
    sqlite3_stmt *s = statement(tx, KV_DEL, key);
    int code = sqlite3_step(s);
    finish(s);
    return settle(tx, code);
}

Err kv_get(struct kv_txn *tx, struct arena *a, Str key, Str *ret_value)
{
    TRY(tx->err);
    TRY(check_key(key));
    sqlite3_stmt *s = statement(tx, KV_GET, key);
    int code = sqlite3_step(s);
    Str value;
    bool is_sound = code != SQLITE_ROW || kv_unseal(tx->table_id, key, column(s, 0), &value);
    if (code == SQLITE_ROW && is_sound)
        *ret_value = str_dup(a, value);
    finish(s);
    TRY(settle(tx, code));
    if (!is_sound)
        return damaged(tx->table_id, key);
    return code == SQLITE_ROW ? OK : fail(ERR_NOT_FOUND, "kv: no such key");
}

// The least byte string above everything that starts with the prefix: its last byte that can be
// raised is, and what follows is dropped. If there is none: one that is above every key.
static Str after_prefix(Str prefix, char room[KV_KEY_BYTES_MAX + 1])
{
    memcpy(room, prefix.p, prefix.n);
    for (size_t n = prefix.n; n > 0; n--) {
        if ((unsigned char)room[n - 1] == 0xff)
            continue;
        room[n - 1] = (char)((unsigned char)room[n - 1] + 1);
        return str_from(room, n);
    }
    memset(room, 0xff, KV_KEY_BYTES_MAX + 1);
    return str_from(room, KV_KEY_BYTES_MAX + 1);
}

Err kv_count(struct kv_txn *tx, Str prefix, size_t *ret)
{
    TRY(tx->err);
    TRY(check_key(prefix));
    char room[KV_KEY_BYTES_MAX + 1];
    sqlite3_stmt *s = statement(tx, KV_COUNT, prefix);
    bind(s, 3, after_prefix(prefix, room));
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        *ret = (size_t)sqlite3_column_int64(s, 0);
    finish(s);
    return settle(tx, code);
}

Err kv_next_id(struct kv_txn *tx, uint64_t *ret)
{
    CHECK(tx->writes);
    TRY(tx->err);
    check_open(tx);
    sqlite3_stmt *s = tx->conn->statements[KV_NEXT_ID];
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW) {
        *ret = (uint64_t)sqlite3_column_int64(s, 0);
        code = sqlite3_step(s);
    }
    sqlite3_reset(s);
    return settle(tx, code);
}

// ---- Scans

static Err cursor_start(struct kv_conn *c, struct kv_cursor **ret)
{
    struct kv_cursor *cursor = c->idle;
    if (cursor != NULL) {
        c->idle = cursor->next;
    } else {
        sqlite3_stmt *s = NULL;
        TRY(sqlite_vfs_err(sqlite3_prepare_v3(c->db, statement_texts[KV_SCAN], -1,
                                              SQLITE_PREPARE_PERSISTENT, &s, NULL)));
        cursor = xalloc(sizeof *cursor);
        cursor->statement = s;
    }
    cursor->next = c->running;
    c->running = cursor;
    *ret = cursor;
    return OK;
}

static void cursor_end(struct kv_conn *c, struct kv_cursor *cursor)
{
    struct kv_cursor **at = &c->running;
    while (*at != cursor)
        at = &(*at)->next;
    *at = cursor->next;
    finish(cursor->statement);
    cursor->next = c->idle;
    c->idle = cursor;
}

void kv_end_scans(struct kv_conn *c)
{
    while (c->running != NULL)
        cursor_end(c, c->running);
}

static Err scan_open(struct kv_txn *tx, Str prefix, Str after, void **ret_cursor)
{
    TRY(tx->err);
    TRY(check_key(prefix));
    TRY(check_key(after));
    check_open(tx);
    // The least key above `after` is `after` and a zero byte.
    char room[KV_KEY_BYTES_MAX + 1];
    Str from = prefix;
    if (after.n > 0 && str_cmp(after, prefix) >= 0) {
        memcpy(room, after.p, after.n);
        room[after.n] = 0;
        from = str_from(room, after.n + 1);
    }
    char room_end[KV_KEY_BYTES_MAX + 1];
    Str end = after_prefix(prefix, room_end);
    struct kv_cursor *cursor = NULL;
    TRY(cursor_start(tx->conn, &cursor));
    sqlite3_stmt *s = cursor->statement;
    cursor->table_id = tx->table_id;
    sqlite3_bind_int64(s, 1, tx->table_id);
    sqlite3_bind_blob64(s, 2, from.n > 0 ? from.p : "", from.n, SQLITE_TRANSIENT);
    sqlite3_bind_blob64(s, 3, end.p, end.n, SQLITE_TRANSIENT);
    *ret_cursor = cursor;
    return OK;
}

struct kv_scan kv_scan_start(struct kv_txn *tx, Str prefix, Str after)
{
    struct kv_scan scan = { .tx = tx, .prefix_bytes = prefix.n };
    scan.err = scan_open(tx, prefix, after, &scan.cursor);
    return scan;
}

bool kv_scan_next(struct kv_scan *s)
{
    if (s->cursor == NULL)
        return false;
    if (s->tx->err.kind != ERR_NONE) { // another call has ended the transaction
        s->err = s->tx->err;
        kv_scan_end(s);
        return false;
    }
    struct kv_cursor *cursor = s->cursor;
    int code = sqlite3_step(cursor->statement);
    if (code == SQLITE_ROW) {
        Str key = column(cursor->statement, 0);
        s->rest = str_skip(key, s->prefix_bytes);
        if (kv_unseal(cursor->table_id, key, column(cursor->statement, 1), &s->value))
            return true;
        s->err = damaged(cursor->table_id, key);
        kv_scan_end(s);
        return false;
    }
    s->err = settle(s->tx, code);
    kv_scan_end(s);
    return false;
}

void kv_scan_end(struct kv_scan *s)
{
    if (s->cursor != NULL)
        cursor_end(s->tx->conn, s->cursor);
    s->cursor = NULL;
}

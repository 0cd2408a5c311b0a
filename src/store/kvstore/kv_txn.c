// SPDX-License-Identifier: Apache-2.0
// Turns and groups. A writer that has its turn owns the writing connection. Its transaction is a
// savepoint inside a SQLite transaction that it shares with those before and after it; when it has
// committed and others wait for their turn, it passes the turn on and waits, and whoever ends with
// nobody waiting commits for the whole group.
#include "store/kvstore/kv_priv.h"

#include "base/logline.h"
#include "store/kvstore/sqlite_vfs.h"

#include <stdlib.h>

static void list_add(struct txn_list *list, struct kv_txn *tx)
{
    tx->next = NULL;
    if (list->last != NULL)
        list->last->next = tx;
    else
        list->first = tx;
    list->last = tx;
}

static struct kv_txn *list_take(struct txn_list *list)
{
    struct kv_txn *tx = list->first;
    if (tx != NULL) {
        list->first = tx->next;
        if (list->first == NULL)
            list->last = NULL;
    }
    return tx;
}

// ---- The turn

static void turn_wait(struct kv *db, struct kv_txn *tx)
{
    pthread_mutex_lock(&db->lock);
    // A second write transaction in one thread would wait for itself.
    CHECK(!db->turn_taken || !pthread_equal(db->turn_thread, pthread_self()));
    if (db->turn_taken) {
        list_add(&db->queue, tx);
        while (!tx->granted)
            pthread_cond_wait(&tx->wake, &db->lock);
    }
    db->turn_taken = true;
    db->turn_thread = pthread_self();
    tx->has_turn = true;
    pthread_mutex_unlock(&db->lock);
}

// To the next in the queue, or to nobody. With the store's lock held.
static void turn_pass(struct kv *db, struct kv_txn *tx)
{
    tx->has_turn = false;
    struct kv_txn *next = list_take(&db->queue);
    db->turn_taken = next != NULL;
    if (next != NULL) {
        db->turn_thread = next->thread;
        next->granted = true;
        pthread_cond_signal(&next->wake);
    }
}

// ---- The group

// Tells the members of the group how it ended. With the store's lock held.
static void group_settle(struct kv *db, Err e)
{
    struct kv_txn *member;
    while ((member = list_take(&db->group)) != NULL) {
        member->err = e;
        member->settled = true;
        pthread_cond_signal(&member->wake);
    }
    db->group_count = 0;
}

// The shared transaction is lost and with it every member of it.
static void group_fail(struct kv *db, Err e)
{
    if (!sqlite3_get_autocommit(db->writer.db))
        err_ignore(kv_run(&db->writer, KV_ABORT)); // it ends the transaction even if it complains
    db->in_txn = !sqlite3_get_autocommit(db->writer.db);
    db->undo_is_due = true;
    pthread_mutex_lock(&db->lock);
    group_settle(db, e);
    pthread_mutex_unlock(&db->lock);
}

static Err undo_if_due(struct kv *db)
{
    if (!db->undo_is_due)
        return OK;
    if (db->in_txn) // the abort did not end it: nothing can be trusted here before a restart
        return fail(ERR_IO, "kv: a transaction cannot be ended");
    TRY(sqlite_vfs_wal_undo(db->vfs));
    db->undo_is_due = false;
    return OK;
}

static Err begin_member(struct kv *db)
{
    TRY(undo_if_due(db));
    if (!db->in_txn) {
        TRY(kv_run(&db->writer, KV_BEGIN_WRITE));
        db->in_txn = true;
    }
    return kv_run(&db->writer, KV_SAVE);
}

// Commits for the group. The caller has the turn.
static Err group_commit(struct kv *db)
{
    Err e = kv_run(&db->writer, KV_END);
    if (e.kind != ERR_NONE) {
        group_fail(db, e);
        err_ignore(undo_if_due(db)); // now, before a crash; else the next writer must, or fails
        return e;
    }
    db->in_txn = false;
    sqlite_vfs_wal_settle(db->vfs);
    pthread_mutex_lock(&db->lock);
    group_settle(db, OK);
    pthread_mutex_unlock(&db->lock);
    return OK;
}

static Err checkpoint(struct kv *db)
{
    int mode = SQLITE_CHECKPOINT_PASSIVE;
    bool restarts = db->log_pages >= KV_RESTART_PAGES;
    // Readers that never pause together would let the log grow for ever: with the lock held no new
    // one begins, and if none is there the log starts from its beginning.
    if (restarts)
        pthread_mutex_lock(&db->lock);
    if (restarts && db->active_readers == 0)
        mode = SQLITE_CHECKPOINT_RESTART;
    Err e = sqlite_vfs_err(sqlite3_wal_checkpoint_v2(db->writer.db, NULL, mode, NULL, NULL));
    if (restarts)
        pthread_mutex_unlock(&db->lock);
    return e;
}

// Copies the log into the database when it is long. Everything in it is durable already.
static void checkpoint_if_due(struct kv *db)
{
    if (db->log_pages < KV_CHECKPOINT_PAGES || db->keeps_log)
        return;
    Err e = checkpoint(db);
    db->log_pages = 0; // until the next commit tells
    if (e.kind == ERR_NONE || e.kind == ERR_BUSY || e.kind == ERR_FULL)
        return; // with what is left it goes on after the next commit
    LOG(LOG_ERROR, "kv keeps its log until the next start: a checkpoint failed", F_ERR(e));
    db->keeps_log = true;
    sqlite3_db_config(db->writer.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

// Whether those who wait may still join the group.
static bool should_wait(const struct kv *db)
{
    return db->queue.first != NULL && db->group_count < KV_GROUP_MAX;
}

// Ends a writer's turn; `joins`: its changes belong to the group, whose end it waits for.
static void turn_end(struct kv *db, struct kv_txn *tx, bool joins)
{
    pthread_mutex_lock(&db->lock);
    if (joins) {
        list_add(&db->group, tx);
        db->group_count++;
    }
    bool commits = db->group_count > 0 && !should_wait(db);
    if (commits) {
        pthread_mutex_unlock(&db->lock);
        if (group_commit(db).kind == ERR_NONE)
            checkpoint_if_due(db);
        pthread_mutex_lock(&db->lock);
    } else if (db->group_count == 0 && db->in_txn) {
        // Nobody's changes are in it: it ends now, so that the log can be shortened.
        err_ignore(kv_run(&db->writer, KV_ABORT));
        db->in_txn = !sqlite3_get_autocommit(db->writer.db);
        db->undo_is_due |= db->in_txn;
    }
    turn_pass(db, tx);
    while (joins && !tx->settled)
        pthread_cond_wait(&tx->wake, &db->lock);
    pthread_mutex_unlock(&db->lock);
}

// ---- Writers

static struct kv_txn *txn_new(struct kv_table *t, bool writes)
{
    struct kv_txn *tx = xalloc(sizeof *tx);
    tx->db = t->db;
    tx->table_id = t->id;
    tx->writes = writes;
    tx->thread = pthread_self();
    pthread_cond_init(&tx->wake, NULL);
    return tx;
}

struct kv_txn *kv_write(struct kv_table *t)
{
    struct kv_txn *tx = txn_new(t, true);
    turn_wait(t->db, tx);
    tx->conn = &t->db->writer;
    tx->err = begin_member(t->db);
    if (tx->err.kind != ERR_NONE && t->db->in_txn)
        group_fail(t->db, tx->err); // without a savepoint its changes could not be told apart
    return tx;
}

// Takes a writer's changes back or, if SQLite has taken back everything by itself, tells the group.
static void roll_back(struct kv *db, struct kv_txn *tx)
{
    Err e = tx->err;
    if (db->in_txn && !sqlite3_get_autocommit(db->writer.db)) {
        Err undone = kv_run(&db->writer, KV_UNDO);
        if (undone.kind == ERR_NONE)
            undone = kv_run(&db->writer, KV_RELEASE);
        if (undone.kind == ERR_NONE)
            return;
        e = undone;
    }
    if (db->in_txn)
        group_fail(db, e);
}

Err kv_commit(struct kv_txn *tx)
{
    CHECK(tx->writes && tx->has_turn);
    struct kv *db = tx->db;
    kv_end_scans(tx->conn);
    if (tx->err.kind == ERR_NONE)
        tx->err = kv_run(tx->conn, KV_RELEASE);
    if (tx->err.kind != ERR_NONE) {
        roll_back(db, tx);
        turn_end(db, tx, false);
        return tx->err;
    }
    turn_end(db, tx, true);
    return tx->err;
}

// ---- Readers

static struct kv_conn *reader_take(struct kv *db, Err *ret_err)
{
    pthread_mutex_lock(&db->lock);
    while (db->idle_readers == NULL && db->reader_count == KV_READERS_MAX)
        pthread_cond_wait(&db->reader_free, &db->lock);
    struct kv_conn *c = db->idle_readers;
    if (c != NULL)
        db->idle_readers = c->next;
    else
        db->reader_count++;
    db->active_readers++;
    pthread_mutex_unlock(&db->lock);
    if (c != NULL)
        return c;
    c = xalloc(sizeof *c);
    *ret_err = kv_conn_open(db, c, KV_READER_CACHE_KIB);
    if (ret_err->kind == ERR_NONE)
        return c;
    free(c);
    pthread_mutex_lock(&db->lock);
    db->reader_count--;
    db->active_readers--;
    pthread_cond_signal(&db->reader_free);
    pthread_mutex_unlock(&db->lock);
    return NULL;
}

static void reader_give(struct kv *db, struct kv_conn *c)
{
    kv_end_scans(c);
    if (!sqlite3_get_autocommit(c->db))
        err_ignore(kv_run(c, KV_ABORT)); // it has changed nothing
    pthread_mutex_lock(&db->lock);
    c->next = db->idle_readers;
    db->idle_readers = c;
    db->active_readers--;
    pthread_cond_signal(&db->reader_free);
    pthread_mutex_unlock(&db->lock);
}

struct kv_txn *kv_read(struct kv_table *t)
{
    struct kv_txn *tx = txn_new(t, false);
    tx->conn = reader_take(t->db, &tx->err);
    if (tx->err.kind == ERR_NONE)
        tx->err = kv_run(tx->conn, KV_BEGIN_READ);
    return tx;
}

void kv_txn_close(struct kv_txn *tx)
{
    if (tx == NULL)
        return;
    if (tx->writes && tx->has_turn) {
        kv_end_scans(tx->conn);
        roll_back(tx->db, tx);
        turn_end(tx->db, tx, false);
    } else if (!tx->writes && tx->conn != NULL) {
        reader_give(tx->db, tx->conn);
    }
    pthread_cond_destroy(&tx->wake);
    free(tx);
}

// ---- Scrubbing

static Err empty_log(struct kv *db)
{
    pthread_mutex_lock(&db->lock); // no new reader begins
    Err e = fail(ERR_BUSY, "kv: somebody reads");
    if (db->active_readers == 0)
        e = sqlite_vfs_err(
            sqlite3_wal_checkpoint_v2(db->writer.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL));
    pthread_mutex_unlock(&db->lock);
    return e;
}

// With the turn, and no transaction open.
static Err write_anew(struct kv *db)
{
    int64_t pages = 0, page_bytes = 0;
    TRY(undo_if_due(db));
    if (db->keeps_log)
        return fail(ERR_IO, "kv: the log is kept");
    TRY(kv_query_int(db->writer.db, "PRAGMA page_count", &pages));
    TRY(kv_query_int(db->writer.db, "PRAGMA page_size", &page_bytes));
    if (pages * page_bytes > KV_SCRUB_BYTES_MAX)
        return fail(ERR_LIMIT, "kv: too large to be written anew");
    Err e = kv_exec(db->writer.db, "VACUUM");
    if (e.kind != ERR_NONE) {
        db->undo_is_due = true; // as after a commit that failed
        err_ignore(undo_if_due(db));
        return e;
    }
    sqlite_vfs_wal_settle(db->vfs);
    TRY(empty_log(db));
    db->log_pages = 0;
    return OK;
}

Err kv_scrub(struct kv *db)
{
    struct kv_txn tx = { .db = db, .writes = true, .thread = pthread_self() };
    Err e = OK;
    pthread_cond_init(&tx.wake, NULL);
    turn_wait(db, &tx);
    if (db->in_txn) // of a group that nobody has ended yet
        e = group_commit(db);
    if (e.kind == ERR_NONE)
        e = write_anew(db);
    pthread_mutex_lock(&db->lock);
    turn_pass(db, &tx);
    pthread_mutex_unlock(&db->lock);
    pthread_cond_destroy(&tx.wake);
    return e;
}

// SPDX-License-Identifier: Apache-2.0
// Removing. What is no longer needed is noted in blob_gone by the transaction that gave it up; a
// thread removes it afterwards, in commits of bounded size, and after a crash goes on where it was:
//
//     body      its extents are released, then it goes; not while somebody reads it
//     file      unlinked, its directory synced, then the note goes
//     upload    its parts; the note's value says which of them no object has (all: it was aborted)
//     bucket    its documents, and its uploads become notes of their own
//
// Files that were being written when the program ended have no row: those of earlier runs are
// looked for once, at the next start.
#include "store/blob/blob_priv.h"

#include "base/logline.h"
#include "base/map.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RETRY_S = 10 };

// ---- Pins

static Str pin_key(KeyRoom *room, uint64_t body)
{
    return key_number(room, body);
}

bool pin_take(struct blob *b, uint64_t body)
{
    KeyRoom room;
    Str key = pin_key(&room, body);
    pthread_mutex_lock(&b->lock);
    bool free = map_get(b->reaping, key) == NULL;
    if (free)
        map_put(b->pins, key, (void *)((uintptr_t)map_get(b->pins, key) + 1));
    pthread_mutex_unlock(&b->lock);
    return free;
}

void pin_give(struct blob *b, uint64_t body)
{
    KeyRoom room;
    Str key = pin_key(&room, body);
    pthread_mutex_lock(&b->lock);
    uintptr_t left = (uintptr_t)map_take(b->pins, key) - 1;
    if (left > 0)
        map_put(b->pins, key, (void *)left);
    bool ask = left == 0 && b->skipped;
    pthread_mutex_unlock(&b->lock);
    if (ask)
        reap_ask(b);
}

// False: somebody reads it, or has begun to.
static bool reaping_begin(struct blob *b, uint64_t body)
{
    KeyRoom room;
    Str key = pin_key(&room, body);
    pthread_mutex_lock(&b->lock);
    bool free = map_get(b->pins, key) == NULL;
    if (free)
        map_put(b->reaping, key, b);
    else
        b->skipped = true;
    pthread_mutex_unlock(&b->lock);
    return free;
}

static void reaping_end(struct blob *b, uint64_t body)
{
    KeyRoom room;
    pthread_mutex_lock(&b->lock);
    map_take(b->reaping, pin_key(&room, body));
    pthread_mutex_unlock(&b->lock);
}

// ---- Notes

Err gone_note(struct blob *b, struct kv_txn *tx, char kind, uint64_t number, Str value)
{
    KeyRoom room;
    kv_on(tx, b->tables[T_GONE]);
    return kv_put(tx, key_gone(&room, kind, number), value);
}

Err gone_forget(struct blob *b, struct kv_txn *tx, char kind, uint64_t number)
{
    KeyRoom room;
    kv_on(tx, b->tables[T_GONE]);
    return kv_del(tx, key_gone(&room, kind, number));
}

static Err release_one(struct blob *b, struct kv_txn *tx, struct arena *a, uint64_t file)
{
    AUTO_BUF(out);
    KeyRoom room;
    Str value, key = key_number(&room, file);
    FileRow r;
    kv_on(tx, b->tables[T_FILE]);
    TRY(kv_get(tx, a, key, &value));
    TRY(row_read_file(value, &r));
    if (--r.refs == 0) {
        TRY(kv_del(tx, key));
        return gone_note(b, tx, GONE_FILE, file, S(""));
    }
    row_file(&out, &r);
    TRY(buf_err(&out));
    return kv_put(tx, key, buf_str(&out));
}

// What is damaged cannot be followed: its files stay, and nobody is held up.
static bool is_lost(Err e, const char *what, uint64_t number)
{
    if (e.kind != ERR_CORRUPT && e.kind != ERR_FORMAT && e.kind != ERR_NOT_FOUND)
        return false;
    LOG(LOG_ERROR, "something of the object store is damaged and cannot be removed",
        F_STR("what", str_of(what)), F_INT("number", number), F_ERR(e));
    return true;
}

Err files_release(struct blob *b, struct kv_txn *tx, struct arena *a, const Extent *extents,
                  size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ArenaMark mark = arena_mark(a);
        Err e = release_one(b, tx, a, extents[i].file);
        arena_rewind(a, mark);
        if (!is_lost(e, "file", extents[i].file))
            TRY(e);
    }
    return OK;
}

void blob_hold(struct blob *b, bool on)
{
    pthread_mutex_lock(&b->lock);
    b->holds = on ? b->holds + 1 : b->holds - 1;
    bool ask = b->holds == 0 && b->skipped;
    pthread_mutex_unlock(&b->lock);
    if (ask)
        reap_ask(b);
}

static bool is_held(struct blob *b)
{
    pthread_mutex_lock(&b->lock);
    bool held = b->holds > 0;
    b->skipped |= held;
    pthread_mutex_unlock(&b->lock);
    return held;
}

// ---- Removing one thing, or a part of it. *left: how much more may be done in this transaction.

static Err reap_body(struct blob *b, struct kv_txn *tx, struct arena *tmp, uint64_t body,
                     size_t *left)
{
    AUTO_BUF(rest);
    KeyRoom room;
    Str value, key = key_number(&room, body);
    BodyRow r = { 0 };
    kv_on(tx, b->tables[T_BODY]);
    Err e = kv_get(tx, tmp, key, &value);
    if (e.kind == ERR_NONE)
        e = row_read_body(tmp, value, &r);
    if (!is_lost(e, "body", body))
        TRY(e);
    size_t n = MIN(r.extent_count, *left);
    TRY(files_release(b, tx, tmp, r.extents, n));
    *left -= n;
    kv_on(tx, b->tables[T_BODY]);
    if (n == r.extent_count) {
        TRY(kv_del(tx, key));
        return gone_forget(b, tx, GONE_BODY, body);
    }
    r.extents += n;
    r.extent_count -= n;
    r.part_count = 0;
    row_body(&rest, &r);
    TRY(buf_err(&rest));
    return kv_put(tx, key, buf_str(&rest));
}

// Whether the note of an upload names this part as one that no object has. Empty: all of them.
static bool is_unused(Str note, uint32_t number)
{
    if (note.n == 0)
        return true;
    for (size_t at = 1; at + BLOB_NUMBER_BYTES <= note.n; at += BLOB_NUMBER_BYTES)
        if (number_of(str_skip(note, at)) == number)
            return true;
    return false;
}

static Err reap_part(struct blob *b, struct kv_txn *tx, struct arena *tmp, Str key, Str value,
                     bool unused, size_t *left)
{
    PartRow part = { 0 };
    Err e = unused ? row_read_part(tmp, value, &part) : OK;
    if (!is_lost(e, "part", number_of(key)))
        TRY(e);
    TRY(files_release(b, tx, tmp, part.extents, part.extent_count));
    *left -= MIN(*left, part.extent_count + 1);
    kv_on(tx, b->tables[T_PART]);
    return kv_del(tx, key);
}

// The rows of a table that begin with a number, as many as may be done now, in `tmp`.
typedef struct Rows {
    Str *keys, *values;
    size_t n;
} Rows;

static Err take_rows(struct blob *b, struct kv_txn *tx, struct arena *tmp, enum table t,
                     uint64_t number, size_t max, Rows *ret)
{
    KeyRoom room;
    Str prefix = key_number(&room, number);
    Rows rows = { .keys = arena_new(tmp, Str, max), .values = arena_new(tmp, Str, max) };
    kv_on(tx, b->tables[t]);
    struct kv_scan s = kv_scan_start(tx, prefix, S(""));
    while (rows.n < max && kv_scan_next(&s)) {
        rows.keys[rows.n] = str_cat(tmp, prefix, s.rest);
        rows.values[rows.n++] = str_dup(tmp, s.value);
    }
    kv_scan_end(&s);
    *ret = rows;
    return s.err;
}

static Err reap_upload(struct blob *b, struct kv_txn *tx, struct arena *tmp, uint64_t upload,
                       Str note, size_t *left)
{
    Rows rows;
    TRY(take_rows(b, tx, tmp, T_PART, upload, *left, &rows));
    size_t i = 0;
    for (; i<rows.n && * left> 0; i++) {
        uint32_t number = (uint32_t)number_of(str_skip(rows.keys[i], BLOB_NUMBER_BYTES));
        TRY(reap_part(b, tx, tmp, rows.keys[i], rows.values[i], is_unused(note, number), left));
    }
    return *left > 0 ? gone_forget(b, tx, GONE_UPLOAD, upload) : OK;
}

static Err reap_bucket(struct blob *b, struct kv_txn *tx, struct arena *tmp, uint64_t bucket,
                       size_t *left)
{
    Rows documents, uploads;
    TRY(take_rows(b, tx, tmp, T_DOCUMENT, bucket, *left, &documents));
    for (size_t i = 0; i < documents.n; i++)
        TRY(kv_del(tx, documents.keys[i]));
    *left -= documents.n;
    TRY(take_rows(b, tx, tmp, T_UPLOAD, bucket, *left, &uploads));
    for (size_t i = 0; i < uploads.n; i++) {
        Str key = uploads.keys[i];
        kv_on(tx, b->tables[T_UPLOAD]);
        TRY(kv_del(tx, key));
        TRY(gone_note(b, tx, GONE_UPLOAD, number_of(str_skip(key, key.n - BLOB_NUMBER_BYTES)),
                      S("")));
    }
    *left -= uploads.n;
    return *left > 0 ? gone_forget(b, tx, GONE_BUCKET, bucket) : OK;
}

// ---- A round

struct item {
    char kind;
    uint64_t number;
    Str value;
};

// What may be removed now, without what is read.
static Err gather(struct blob *b, struct arena *a, struct item items[BLOB_REAP_BATCH],
                  size_t *ret_n)
{
    AUTO(kv_txn) tx = kv_read(b->tables[T_GONE]);
    size_t n = 0;
    bool held = is_held(b);
    struct kv_scan s = kv_scan_start(tx, S(""), S(""));
    while (n < BLOB_REAP_BATCH && kv_scan_next(&s)) {
        if (s.rest.n != 1 + BLOB_NUMBER_BYTES)
            continue;
        items[n] = (struct item){ .kind = s.rest.p[0],
                                  .number = number_of(str_skip(s.rest, 1)),
                                  .value = str_dup(a, s.value) };
        bool free = items[n].kind == GONE_BODY   ? reaping_begin(b, items[n].number)
                    : items[n].kind == GONE_FILE ? !held && !pack_has_members(b, items[n].number)
                                                 : true;
        n += free;
    }
    kv_scan_end(&s);
    *ret_n = n;
    return s.err;
}

static Err reap_item(struct blob *b, struct kv_txn *tx, struct arena *tmp, const struct item *item,
                     size_t *left)
{
    switch (item->kind) {
    case GONE_BODY:
        return reap_body(b, tx, tmp, item->number, left);
    case GONE_UPLOAD:
        return reap_upload(b, tx, tmp, item->number, item->value, left);
    case GONE_BUCKET:
        return reap_bucket(b, tx, tmp, item->number, left);
    default: // a file, which is unlinked by now
        return gone_forget(b, tx, item->kind, item->number);
    }
}

// Files first: gone and durably so before their notes go.
static Err unlink_files(struct blob *b, struct arena *tmp, const struct item *items, size_t n)
{
    uint64_t last = 0;
    for (size_t i = 0; i < n; i++) {
        if (items[i].kind != GONE_FILE)
            continue;
        Err e = b->io->unlink(b->io, blob_file_path(b, tmp, items[i].number));
        if (e.kind != ERR_NOT_FOUND)
            TRY(e);
    }
    for (size_t i = 0; i < n; i++) { // in the order of their numbers, so of their directories
        uint64_t dir = items[i].number >> BLOB_FILES_PER_DIR_BITS;
        if (items[i].kind != GONE_FILE || dir == last)
            continue;
        Err e = blob_dir_sync(b, items[i].number);
        if (e.kind != ERR_NOT_FOUND)
            TRY(e);
        last = dir;
    }
    return OK;
}

static Err reap_items(struct blob *b, struct arena *tmp, const struct item *items, size_t n)
{
    size_t left = BLOB_REAP_BATCH;
    TRY(unlink_files(b, tmp, items, n));
    AUTO(kv_txn) tx = kv_write(b->tables[T_GONE]);
    for (size_t i = 0; i < n && left > 0; i++)
        TRY(reap_item(b, tx, tmp, &items[i], &left));
    return kv_commit(tx);
}

// *ret_any: something was there to be done.
static Err reap_round(struct blob *b, bool *ret_any)
{
    AUTO(arena) tmp = arena_open();
    struct item *items = arena_new(tmp, struct item, BLOB_REAP_BATCH);
    size_t n = 0;
    Err e = gather(b, tmp, items, &n);
    *ret_any = n > 0;
    if (e.kind == ERR_NONE && n > 0)
        e = reap_items(b, tmp, items, n);
    for (size_t i = 0; i < n; i++)
        if (items[i].kind == GONE_BODY)
            reaping_end(b, items[i].number);
    return e;
}

static bool is_closing(struct blob *b)
{
    pthread_mutex_lock(&b->lock);
    bool closing = b->closing;
    pthread_mutex_unlock(&b->lock);
    return closing;
}

Err reap_all(struct blob *b)
{
    pthread_mutex_lock(&b->lock);
    b->skipped = false;
    pthread_mutex_unlock(&b->lock);
    for (bool any = true; any && !is_closing(b);)
        TRY(reap_round(b, &any));
    return OK;
}

// ---- Files of earlier runs that have no row

static bool read_hex(Str name, uint64_t *ret)
{
    uint64_t v = 0;
    if (name.n == 0 || name.n > 16)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(c >= 'a' && c <= 'f'))
            return false;
        v = v << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
    }
    *ret = v;
    return true;
}

static Err has_row(struct blob *b, struct kv_txn *tx, struct arena *tmp, enum table t, Str key,
                   bool *ret)
{
    Str value;
    kv_on(tx, b->tables[t]);
    Err e = kv_get(tx, tmp, key, &value);
    *ret = e.kind != ERR_NOT_FOUND; // a damaged row is one, too
    return e.kind == ERR_NOT_FOUND || e.kind == ERR_CORRUPT ? OK : e;
}

static Err sweep_dir(struct blob *b, struct arena *tmp, Str dir)
{
    IoName *names;
    size_t n, removed = 0;
    TRY(b->io->list(b->io, tmp, dir, &names, &n));
    AUTO(kv_txn) tx = kv_read(b->tables[T_FILE]);
    for (size_t i = 0; i < n; i++) {
        KeyRoom room;
        uint64_t file;
        bool known = false;
        if (names[i].is_dir || !read_hex(names[i].name, &file))
            continue;
        ArenaMark mark = arena_mark(tmp);
        Err e = has_row(b, tx, tmp, T_FILE, key_number(&room, file), &known);
        if (e.kind == ERR_NONE && !known)
            e = b->io->unlink(b->io, blob_file_path(b, tmp, file));
        removed += !known;
        arena_rewind(tmp, mark);
        TRY(e);
    }
    if (removed == 0)
        return OK;
    LOG(LOG_INFO, "files of objects that were not finished are removed", F_STR("dir", dir),
        F_INT("files", removed));
    return b->io->sync_dir(b->io, dir);
}

static Err sweep_run(struct blob *b, uint64_t run)
{
    AUTO(arena) tmp = arena_open();
    IoName *names;
    size_t n = 0;
    Str dir = str_fmt(tmp, "%.*s/%llx", FMT(b->dir), (unsigned long long)run);
    Err e = b->io->list(b->io, tmp, dir, &names, &n);
    if (e.kind != ERR_NOT_FOUND)
        TRY(e);
    for (size_t i = 0; i < n; i++) {
        AUTO(arena) of_dir = arena_open();
        if (names[i].is_dir && !is_closing(b))
            TRY(sweep_dir(b, of_dir, str_cat3(of_dir, dir, S("/"), names[i].name)));
    }
    if (is_closing(b))
        return OK;
    KeyRoom room;
    AUTO(kv_txn) tx = kv_write(b->tables[T_RUN]);
    TRY(kv_del(tx, key_number(&room, run)));
    return kv_commit(tx);
}

// An earlier run, if there is one.
static Err next_run(struct blob *b, uint64_t *ret_run, bool *ret_any)
{
    AUTO(kv_txn) tx = kv_read(b->tables[T_RUN]);
    struct kv_scan s = kv_scan_start(tx, S(""), S(""));
    *ret_any = false;
    if (kv_scan_next(&s) && s.rest.n == BLOB_NUMBER_BYTES) {
        *ret_run = number_of(s.rest);
        *ret_any = *ret_run != b->run;
    }
    kv_scan_end(&s);
    return s.err;
}

Err reap_sweep(struct blob *b)
{
    uint64_t run;
    bool any;
    TRY(next_run(b, &run, &any));
    while (any && !is_closing(b)) {
        TRY(sweep_run(b, run));
        TRY(next_run(b, &run, &any));
    }
    return OK;
}

// ---- The thread

void reap_ask(struct blob *b)
{
    pthread_mutex_lock(&b->lock);
    b->reaps_asked++;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

// With the lock held. Real time: it is about a device that may have recovered.
static void wait_to_retry(struct blob *b)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RETRY_S;
    while (!b->closing && pthread_cond_timedwait(&b->changed, &b->lock, &until) == 0)
        continue;
}

void *reap_main(void *blob)
{
    struct blob *b = blob;
    bool swept = false;
    pthread_mutex_lock(&b->lock);
    b->reaps_asked++; // what the last run left
    while (!b->closing) {
        if (b->reaps_asked == b->reaps_done) {
            pthread_cond_wait(&b->changed, &b->lock);
            continue;
        }
        uint64_t asked = b->reaps_asked;
        pthread_mutex_unlock(&b->lock);
        Err e = swept ? OK : reap_sweep(b);
        swept |= e.kind == ERR_NONE;
        if (e.kind == ERR_NONE) {
            unsigned tries = 0;
            do
                e = reap_all(b);
            while (reserve_tries_again(b, e, &tries));
        }
        if (e.kind == ERR_NONE)
            reserve_make(b);
        if (e.kind != ERR_NONE)
            LOG(LOG_WARN, "what the object store no longer needs is not removed yet", F_ERR(e));
        pthread_mutex_lock(&b->lock);
        if (e.kind == ERR_NONE)
            b->reaps_done = asked;
        else
            wait_to_retry(b);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

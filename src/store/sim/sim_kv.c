// SPDX-License-Identifier: Apache-2.0
// Transactions of the key-value store: each task has keys of its own, writes versions that never
// repeat, and compares what it reads with what it was promised.
#include "store/sim/sim_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { VALUE_BYTES_MAX = 3000 };

static Str key_of(struct arena *a, unsigned task, unsigned key)
{
    return str_fmt(a, "task-%u-key-%u", task, key);
}

static Str value_of(struct arena *a, uint32_t version)
{
    size_t n = 16 + version * 7919u % VALUE_BYTES_MAX;
    char *p = arena_alloc(a, n + 1, 1);
    memset(p, (char)('a' + version % 26), n);
    int digits = snprintf(p, n, "%08" PRIu32, version);
    p[digits] = ' ';
    return str_from(p, n);
}

Err sim_kv_open(struct sim_kv *k, struct io *io)
{
    k->db = NULL;
    TRY(kv_open(io, S("/kv"), &k->db));
    return kv_table_open(k->db, S("rows"), &k->table);
}

// `is_lenient`: writes may be missing, which nobody can see in a database without checksums; what
// is no version then is 0.
static Err read_version(struct kv_txn *tx, struct arena *a, unsigned task, unsigned key,
                        bool is_lenient, uint32_t *ret)
{
    Str value;
    uint64_t version = 0;
    Err e = kv_get(tx, a, key_of(a, task, key), &value);
    if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
        return e;
    if (e.kind == ERR_NONE) {
        Str number = str_head(value, str_find(value, ' '));
        bool is_version = str_u64(number, &version).kind == ERR_NONE &&
                          str_eq(value, value_of(a, (uint32_t)version));
        if (!is_version && !is_lenient)
            sim_fail("kv: key %u of task %u holds bytes that nobody has written", key, task);
        version = is_version ? version : 0;
    }
    *ret = (uint32_t)version;
    return OK;
}

static Err read_rows(struct kv_txn *tx, unsigned task, bool is_lenient, struct sim_kv_rows *ret)
{
    AUTO(arena) a = arena_open();
    for (unsigned i = 0; i < SIM_KV_KEYS; i++)
        TRY(read_version(tx, a, task, i, is_lenient, &ret->version[i]));
    return OK;
}

// The same rows by a scan and by their count.
static Err compare_scan(struct kv_txn *tx, unsigned task, const struct sim_kv_rows *rows)
{
    AUTO(arena) a = arena_open();
    Str prefix = str_fmt(a, "task-%u-", task);
    size_t n = 0, counted = 0;
    struct kv_scan scan = kv_scan_start(tx, prefix, S(""));
    for (unsigned key = 0; kv_scan_next(&scan); key++, n++) {
        while (key < SIM_KV_KEYS && rows->version[key] == 0)
            key++;
        if (key >= SIM_KV_KEYS || !str_eq(scan.rest, str_skip(key_of(a, task, key), prefix.n)) ||
            !str_eq(scan.value, value_of(a, rows->version[key])))
            sim_fail("kv: a scan of task %u gives other rows than single reads", task);
    }
    TRY(scan.err);
    TRY(kv_count(tx, prefix, &counted));
    for (unsigned i = 0; i < SIM_KV_KEYS; i++)
        n -= rows->version[i] != 0;
    if (n != 0)
        sim_fail("kv: a scan of task %u is too short", task);
    for (unsigned i = 0; i < SIM_KV_KEYS; i++)
        counted -= rows->version[i] != 0;
    if (counted != 0)
        sim_fail("kv: the count of the rows of task %u is wrong", task);
    return OK;
}

static bool rows_eq(const struct sim_kv_rows *a, const struct sim_kv_rows *b)
{
    return memcmp(a->version, b->version, sizeof a->version) == 0;
}

static Err check_task(struct sim_kv *k, unsigned task, bool is_lenient)
{
    AUTO(kv_txn) tx = kv_read(k->table);
    struct sim_kv_rows is = { 0 };
    TRY(read_rows(tx, task, is_lenient, &is));
    bool is_maybe = k->is_unsure[task] && rows_eq(&is, &k->maybe[task]);
    if (!is_lenient && !is_maybe && !rows_eq(&is, &k->rows[task]))
        sim_fail("kv: the rows of task %u are not those of its last transaction", task);
    k->rows[task] = is;
    k->is_unsure[task] = false;
    return OK;
}

Err sim_kv_check(struct sim_kv *k, bool is_lenient)
{
    for (unsigned i = 0; i < SIM_KV_TASKS; i++)
        TRY(check_task(k, i, is_lenient));
    return OK;
}

// A transaction that failed is not there now; whether a power cut brings it back is not sure
// before one of its successors has been committed.
static Err check_now(struct sim_kv *k, unsigned task)
{
    AUTO(kv_txn) tx = kv_read(k->table);
    struct sim_kv_rows is = { 0 };
    TRY(read_rows(tx, task, false, &is));
    if (!rows_eq(&is, &k->rows[task]))
        sim_fail("kv: task %u reads other rows than it has committed", task);
    return compare_scan(tx, task, &is);
}

// Numbers of committed transactions are never given again; 0: it asked for none.
static void note_id(struct sim_kv *k, uint64_t id)
{
    if (id == 0 || id >= SIM_KV_IDS_MAX)
        return;
    if (k->id_is_given[id])
        sim_fail("kv: the number %" PRIu64 " was given twice", id);
    k->id_is_given[id] = true;
}

Err sim_kv_act(struct sim_kv *k, unsigned task)
{
    AUTO(arena) a = arena_open();
    if (sched_chance(3))
        TRY(check_now(k, task));
    struct sim_kv_rows next = k->rows[task];
    AUTO(kv_txn) tx = kv_write(k->table);
    size_t n = 1 + sched_below(SIM_KV_KEYS);
    for (size_t i = 0; i < n; i++) {
        unsigned key = (unsigned)sched_below(SIM_KV_KEYS);
        bool deletes = sched_chance(5);
        next.version[key] = deletes ? 0 : ++k->versions;
        TRY(deletes ? kv_del(tx, key_of(a, task, key))
                    : kv_put(tx, key_of(a, task, key), value_of(a, next.version[key])));
    }
    uint64_t id = 0;
    if (sched_chance(3))
        TRY(kv_next_id(tx, &id));
    if (sched_chance(10))
        return OK; // rolled back
    sim_counts.transactions++;
    Err e = kv_commit(tx);
    if (e.kind == ERR_NONE) {
        k->rows[task] = next;
        note_id(k, id);
    } else {
        k->maybe[task] = next;
    }
    k->is_unsure[task] = e.kind != ERR_NONE;
    return e;
}

// SPDX-License-Identifier: Apache-2.0
#include "base/logline.h"
#include "base/test.h"
#include "os/io_fault.h"
#include "os/io_mem.h"
#include "store/kv.h"
#include "store/kvstore/kv_priv.h"

#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static struct kv_table *table(struct kv *db, Str name)
{
    struct kv_table *t = NULL;
    EXPECT_OK(kv_table_open(db, name, &t));
    return t;
}

static Err put_err(struct kv_table *t, Str key, Str value)
{
    AUTO(kv_txn) tx = kv_write(t);
    TRY(kv_put(tx, key, value));
    return kv_commit(tx);
}

static void put(struct kv_table *t, Str key, Str value)
{
    EXPECT_OK(put_err(t, key, value));
}

// The value, or an absent string.
static Str get(struct arena *a, struct kv_table *t, Str key)
{
    AUTO(kv_txn) tx = kv_read(t);
    Str value = { 0 };
    Err e = kv_get(tx, a, key, &value);
    if (e.kind != ERR_NOT_FOUND)
        EXPECT_OK(e);
    return value;
}

// The rests of the keys of a scan, with a dot after each.
static Str scan_all(struct arena *a, struct kv_txn *tx, Str prefix, Str after)
{
    AUTO_BUF(b);
    struct kv_scan s = kv_scan_start(tx, prefix, after);
    while (kv_scan_next(&s)) {
        buf_add(&b, s.rest);
        buf_add_byte(&b, '.');
    }
    EXPECT_OK(s.err);
    return str_dup(a, buf_str(&b));
}

TEST(rows_are_put_replaced_deleted_and_counted)
{
    AUTO(kv) db = kv_open_test();
    struct kv_table *t = table(db, S("t"));
    AUTO(kv_txn) tx = kv_write(t);
    EXPECT_OK(kv_put(tx, S("k"), S("first")));
    EXPECT_OK(kv_put(tx, S("k"), S("second")));
    EXPECT_OK(kv_put(tx, S(""), S("")));
    EXPECT_OK(kv_del(tx, S("absent")));
    Str value = { 0 };
    EXPECT_OK(kv_get(tx, a, S("k"), &value)); // its own change
    EXPECT_STR(S("second"), value);
    EXPECT_OK(kv_get(tx, a, S(""), &value));
    EXPECT(value.n == 0 && value.p != NULL);
    size_t n = 0;
    EXPECT_OK(kv_count(tx, S(""), &n));
    EXPECT_INT(2, n);
    EXPECT_OK(kv_count(tx, S("k"), &n));
    EXPECT_INT(1, n);
    EXPECT_OK(kv_del(tx, S("k")));
    EXPECT_ERR(ERR_NOT_FOUND, kv_get(tx, a, S("k"), &value));
    EXPECT_OK(kv_commit(tx));
}

TEST(a_scan_gives_a_prefix_in_order_of_bytes_after_a_key)
{
    AUTO(kv) db = kv_open_test();
    struct kv_table *t = table(db, S("t"));
    const Str keys[] = { S("b"), S("a\0x"), S("ab"), S("a\0"), S("a\xff"), S("a"), S("a\xff\xff") };
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        put(t, keys[i], S("v"));
    put(table(db, S("other")), S("a\0z"), S("v"));
    AUTO(kv_txn) tx = kv_read(t);
    EXPECT_STR(S(".\0.\0x.b.\xff.\xff\xff."), scan_all(a, tx, S("a"), S("")));
    EXPECT_STR(S(".x."), scan_all(a, tx, S("a\0"), S("")));
    EXPECT_STR(S("x."), scan_all(a, tx, S("a\0"), S("a\0")));
    EXPECT_STR(S(""), scan_all(a, tx, S("a\0"), S("a\0x")));
    EXPECT_STR(S("b.\xff.\xff\xff."), scan_all(a, tx, S("a"), S("a\0x")));
    EXPECT_STR(S("\xff."), scan_all(a, tx, S("a\xff"), S("a\xff")));
    EXPECT_STR(S("b."), scan_all(a, tx, S(""), S("a\xff\xff")));
    EXPECT_STR(S(".x."), scan_all(a, tx, S("a\0"), S("a"))); // before the prefix: no bound
    EXPECT_STR(S(""), scan_all(a, tx, S("a"), S("b")));
    EXPECT_STR(S(""), scan_all(a, tx, S("\xff\xff"), S("")));
    size_t n = 0;
    EXPECT_OK(kv_count(tx, S("a\xff"), &n));
    EXPECT_INT(2, n);
}

TEST(scans_may_nest_and_be_left_early)
{
    AUTO(kv) db = kv_open_test();
    struct kv_table *t = table(db, S("t"));
    const Str keys[] = { S("a1"), S("a2"), S("b1"), S("b2") };
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        put(t, keys[i], keys[i]);
    AUTO(kv_txn) tx = kv_read(t);
    struct kv_scan outer = kv_scan_start(tx, S("a"), S(""));
    EXPECT(kv_scan_next(&outer));
    struct kv_scan left = kv_scan_start(tx, S(""), S(""));
    EXPECT(kv_scan_next(&left)); // the end of the transaction ends it
    EXPECT_STR(S("1.2."), scan_all(a, tx, S("b"), S("")));
    EXPECT_STR(S("a1"), outer.value);
    EXPECT(kv_scan_next(&outer));
    EXPECT_STR(S("2"), outer.rest);
    kv_scan_end(&outer);
    kv_scan_end(&outer);
    EXPECT(!kv_scan_next(&outer));
}

TEST(tables_do_not_mix_and_one_transaction_may_touch_several)
{
    AUTO(kv) db = kv_open_test();
    struct kv_table *x = table(db, S("x")), *y = table(db, S("y"));
    EXPECT(table(db, S("x")) == x);
    AUTO(kv_txn) tx = kv_write(x);
    EXPECT_OK(kv_put(tx, S("k"), S("in x")));
    kv_on(tx, y);
    EXPECT_OK(kv_put(tx, S("k"), S("in y")));
    EXPECT_OK(kv_commit(tx));
    EXPECT_STR(S("in x"), get(a, x, S("k")));
    EXPECT_STR(S("in y"), get(a, y, S("k")));
    struct kv_table *none = NULL;
    EXPECT_ERR(ERR_INVALID, kv_table_open(db, S(""), &none));
}

TEST(what_is_not_committed_is_rolled_back_and_never_seen)
{
    AUTO(kv) db = kv_open_test();
    struct kv_table *t = table(db, S("t"));
    put(t, S("k"), S("old"));
    {
        AUTO(kv_txn) tx = kv_write(t);
        EXPECT_OK(kv_put(tx, S("k"), S("new")));
        EXPECT_OK(kv_put(tx, S("k2"), S("new")));
        EXPECT_STR(S("old"), get(a, t, S("k"))); // a reader beside the writer
        EXPECT(get(a, t, S("k2")).p == NULL);
    }
    EXPECT_STR(S("old"), get(a, t, S("k")));
}

TEST(a_reader_keeps_the_state_it_began_with)
{
    AUTO(kv) db = kv_open_test();
    struct kv_table *t = table(db, S("t"));
    put(t, S("k"), S("old"));
    AUTO(kv_txn) tx = kv_read(t);
    Str value = { 0 };
    EXPECT_OK(kv_get(tx, a, S("k"), &value));
    put(t, S("k"), S("new"));
    EXPECT_OK(kv_get(tx, a, S("k"), &value));
    EXPECT_STR(S("old"), value);
    EXPECT_STR(S("new"), get(a, t, S("k")));
}

TEST(ids_grow_from_one_and_are_never_given_twice)
{
    AUTO(io_mem) disk = io_mem_open(1);
    uint64_t last = 0;
    for (int i = 0; i < 3; i++) {
        AUTO(kv) db = NULL;
        EXPECT_OK(kv_open(io_mem_io(disk), S("/kv"), &db));
        AUTO(kv_txn) tx = kv_write(table(db, S("t")));
        uint64_t id = 0;
        EXPECT_OK(kv_next_id(tx, &id));
        EXPECT_INT(last + 1, id);
        EXPECT_OK(kv_next_id(tx, &id));
        EXPECT_INT(last + 2, id);
        EXPECT_OK(kv_commit(tx));
        last = id;
    }
}

TEST(keys_and_values_have_limits)
{
    AUTO(kv) db = kv_open_test();
    struct kv_table *t = table(db, S("t"));
    char *p = memset(arena_new(a, char, KV_VALUE_BYTES_MAX + 1), 0xff, KV_VALUE_BYTES_MAX + 1);
    Str key = str_from(p, KV_KEY_BYTES_MAX), long_key = str_from(p, KV_KEY_BYTES_MAX + 1);
    Str value = str_from(p, KV_VALUE_BYTES_MAX), long_value = str_from(p, KV_VALUE_BYTES_MAX + 1);
    Str got = { 0 };
    size_t n = 0;
    AUTO(kv_txn) tx = kv_write(t);
    EXPECT_OK(kv_put(tx, key, value));
    EXPECT_ERR(ERR_LIMIT, kv_put(tx, long_key, S("")));
    EXPECT_ERR(ERR_LIMIT, kv_put(tx, S(""), long_value));
    EXPECT_ERR(ERR_LIMIT, kv_get(tx, a, long_key, &got));
    EXPECT_ERR(ERR_LIMIT, kv_del(tx, long_key));
    EXPECT_ERR(ERR_LIMIT, kv_count(tx, long_key, &n));
    struct kv_scan s = kv_scan_start(tx, S(""), long_key);
    EXPECT(!kv_scan_next(&s));
    EXPECT_ERR(ERR_LIMIT, s.err);
    EXPECT_OK(kv_count(tx, key, &n)); // all of its bytes are the largest
    EXPECT_INT(1, n);
    EXPECT_OK(kv_commit(tx)); // a refused call has changed nothing
    EXPECT_INT(KV_VALUE_BYTES_MAX, get(a, t, key).n);
}

TEST(a_store_on_a_real_disk_is_found_again_and_has_one_owner)
{
    Str path = str_cat(a, test_dir(a), S("/kv"));
    AUTO(kv) db = NULL;
    struct kv *other = NULL;
    EXPECT_OK(kv_open(io_real(), path, &db));
    EXPECT_ERR(ERR_BUSY, kv_open(io_real(), path, &other));
    put(table(db, S("t")), S("k"), S("v"));
    kv_close(db);
    db = NULL;
    EXPECT_OK(kv_open(io_real(), path, &db));
    EXPECT_STR(S("v"), get(a, table(db, S("t")), S("k")));
    Str absent = str_cat(a, test_dir(a), S("/no/kv"));
    EXPECT_ERR(ERR_NOT_FOUND, kv_open(io_real(), absent, &other));
}

// ---- Damage and other formats

enum { FILLED_ROWS = 500 };

// A closed store with some rows in one file.
static struct io_mem *filled_disk(void)
{
    struct io_mem *disk = io_mem_open(1);
    struct kv *db = NULL;
    EXPECT_OK(kv_open(io_mem_io(disk), S("/kv"), &db));
    AUTO(kv_txn) tx = kv_write(table(db, S("t")));
    for (int i = 0; i < FILLED_ROWS; i++) {
        char key[16];
        EXPECT(snprintf(key, sizeof key, "key%04d", i) > 0);
        EXPECT_OK(kv_put(tx, str_of(key), S("some value that fills the page a little")));
    }
    EXPECT_OK(kv_commit(tx));
    kv_close(db);
    return disk;
}

static Err reopen(struct io *io)
{
    AUTO(kv) db = NULL;
    return kv_open(io, S("/kv"), &db);
}

TEST(a_newer_format_is_refused_by_name)
{
    AUTO(io_mem) disk = filled_disk();
    struct io *io = io_mem_io(disk);
    EXPECT_OK(reopen(io));
    EXPECT_OK(io_flip(io, S("/kv"), 63, 2 ^ 3)); // user_version, the last of its four bytes
    EXPECT_ERR(ERR_FORMAT, reopen(io));
}

TEST(a_damaged_or_foreign_file_is_corrupt)
{
    AUTO(io_mem) disk = filled_disk();
    struct io *io = io_mem_io(disk);
    EXPECT_OK(io_flip(io, S("/kv"), 68, 1)); // application_id
    EXPECT_ERR(ERR_CORRUPT, reopen(io));
    EXPECT_OK(io_flip(io, S("/kv"), 68, 1));
    EXPECT_OK(io_flip(io, S("/kv"), 5 * 4096, 0xff)); // the kind of a page
    EXPECT_ERR(ERR_CORRUPT, reopen(io));
    EXPECT_OK(io_flip(io, S("/kv"), 5 * 4096, 0xff));
    EXPECT_OK(reopen(io));
    EXPECT_OK(io_flip(io, S("/kv"), 3, 1)); // the magic
    EXPECT_ERR(ERR_CORRUPT, reopen(io));
    Str text = str_fmt(a, "%4096s", "no database");
    EXPECT_OK(io_write_file(io, a, S("/kv"), text));
    EXPECT_ERR(ERR_CORRUPT, reopen(io));
}

// Whether everything of filled_disk is there. ERR_CORRUPT: damage was told.
static Err read_filled(struct arena *a, struct io *io)
{
    AUTO(kv) db = NULL;
    struct kv_table *t;
    size_t n = 0;
    uint64_t id = 0;
    TRY(kv_open(io, S("/kv"), &db));
    TRY(kv_table_open(db, S("t"), &t));
    AUTO(kv_txn) tx = kv_write(t);
    struct kv_scan scan = kv_scan_start(tx, S("key"), S(""));
    for (; kv_scan_next(&scan); n++) {
        EXPECT_STR(str_fmt(a, "%04zu", n), scan.rest);
        EXPECT_STR(S("some value that fills the page a little"), scan.value);
    }
    TRY(scan.err);
    EXPECT_INT(FILLED_ROWS, n);
    TRY(kv_next_id(tx, &id));
    EXPECT_INT(1, id);
    return OK;
}

TEST(a_flipped_bit_is_told_or_harmless)
{
    AUTO(io_mem) disk = filled_disk();
    uint64_t x = 1;
    size_t told = 0;
    IoName *names;
    size_t files = 0;
    EXPECT_OK(io_mem_io(disk)->list(io_mem_io(disk), a, S("/"), &names, &files));
    EXPECT_INT(1, files);
    EXPECT_OK(read_filled(a, io_mem_io(disk)));
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    for (int i = 0; i < 600; i++) {
        x = x * UINT64_C(6364136223846793005) + 1;
        AUTO(io_mem) copy = io_mem_crash(disk, (IoMemCrash){ .keep = IO_KEEP_ALL });
        uint64_t at = (x >> 20) % names[0].bytes;
        EXPECT_OK(io_flip(io_mem_io(copy), S("/kv"), at, (unsigned char)(1u << (x >> 61))));
        Err e = read_filled(a, io_mem_io(copy));
        EXPECT(e.kind == ERR_NONE || e.kind == ERR_CORRUPT || e.kind == ERR_FORMAT);
        told += e.kind != ERR_NONE;
    }
    EXPECT(told > 300); // the rest lies where nothing is kept
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
}

TEST(a_row_that_is_damaged_while_the_store_is_open_is_not_served)
{
    AUTO(io_mem) disk = filled_disk();
    struct io *io = io_mem_io(disk);
    AUTO(kv) db = NULL;
    EXPECT_OK(kv_open(io, S("/kv"), &db));
    Str content, value;
    EXPECT_OK(io_read_file(io, a, S("/kv"), 16 << 20, &content));
    size_t at = str_search(content, S("key0123some"));
    EXPECT(at < content.n);
    EXPECT_OK(io_flip(io, S("/kv"), at + 10, 1));
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    AUTO(kv_txn) tx = kv_read(table(db, S("t")));
    EXPECT_ERR(ERR_CORRUPT, kv_get(tx, a, S("key0123"), &value));
    EXPECT_OK(kv_get(tx, a, S("key0122"), &value)); // the others are
    struct kv_scan scan = kv_scan_start(tx, S("key012"), S(""));
    size_t n = 0;
    while (kv_scan_next(&scan))
        n++;
    EXPECT_INT(3, n);
    EXPECT_ERR(ERR_CORRUPT, scan.err);
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
}

static void exec_sql(sqlite3 *db, const char *sql)
{
    EXPECT_INT(SQLITE_OK, sqlite3_exec(db, sql, NULL, NULL, NULL));
}

TEST(a_store_of_format_1_is_sealed_when_it_is_opened)
{
    Str path = str_cat(a, test_dir(a), S("/kv"));
    sqlite3 *old = NULL;
    EXPECT_INT(SQLITE_OK, sqlite3_open(str_c(a, path), &old));
    exec_sql(old, "CREATE TABLE kv_row (t INTEGER NOT NULL, k BLOB NOT NULL, v BLOB NOT NULL,"
                  " PRIMARY KEY (t, k)) WITHOUT ROWID;"
                  "CREATE TABLE kv_table (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);"
                  "CREATE TABLE kv_state (next_id INTEGER NOT NULL);"
                  "INSERT INTO kv_state VALUES (41);"
                  "INSERT INTO kv_table (name) VALUES (CAST('s' AS BLOB)), (CAST('t' AS BLOB));"
                  "INSERT INTO kv_row VALUES (2, CAST('k' AS BLOB), CAST('v' AS BLOB)),"
                  " (2, CAST('k2' AS BLOB), x'');"
                  "PRAGMA application_id = 1213352790; PRAGMA user_version = 1;");
    EXPECT_INT(SQLITE_OK, sqlite3_close(old));
    for (uint64_t round = 0; round < 2; round++) {
        AUTO(kv) db = NULL;
        EXPECT_OK(kv_open(io_real(), path, &db));
        EXPECT_STR(S("v"), get(a, table(db, S("t")), S("k")));
        EXPECT_STR(S(""), get(a, table(db, S("t")), S("k2")));
        AUTO(kv_txn) tx = kv_write(table(db, S("s")));
        uint64_t id = 0;
        EXPECT_OK(kv_next_id(tx, &id));
        EXPECT_INT(42 + round, id);
        EXPECT_OK(kv_commit(tx));
    }
}

// ---- Faults

// Two keys that always change together, so that half a transaction shows.
static Err put_pair(struct kv_table *t, Str value)
{
    AUTO(kv_txn) tx = kv_write(t);
    TRY(kv_put(tx, S("left"), value));
    TRY(kv_put(tx, S("right"), value));
    return kv_commit(tx);
}

static Str get_pair(struct arena *a, struct kv_table *t)
{
    Str left = get(a, t, S("left")), right = get(a, t, S("right"));
    EXPECT_STR(left, right);
    return left;
}

// The pair as the next start of the program finds it.
static Str pair_after(struct arena *a, struct io_mem *disk, IoMemCrash crash)
{
    AUTO(io_mem) later = io_mem_crash(disk, crash);
    AUTO(kv) db = NULL;
    EXPECT_OK(kv_open(io_mem_io(later), S("/kv"), &db));
    return get_pair(a, table(db, S("t")));
}

// A value of several pages, beginning with a number.
static Str big_value(struct arena *a, uint64_t number)
{
    return str_fmt(a, "%llu%20000s", (unsigned long long)number, "");
}

static void fail_each_operation(struct arena *a, Err err, unsigned tear)
{
    uint64_t n = 0;
    for (bool passed = false; !passed; n++) {
        AUTO(io_mem) disk = io_mem_open(n);
        AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), n);
        AUTO(kv) db = NULL;
        EXPECT_OK(kv_open(io_fault_io(faults), S("/kv"), &db));
        struct kv_table *t = table(db, S("t"));
        EXPECT_OK(put_pair(t, big_value(a, 1)));
        io_fault_add(faults, (IoFault){ .skip = n, .err = err, .tear = tear });
        Err e = put_pair(t, big_value(a, 2));
        passed = io_fault_hits(faults) == 0;
        io_fault_clear(faults);
        EXPECT_INT(passed ? ERR_NONE : err.kind, e.kind);
        Str want = big_value(a, passed ? 2 : 1);
        EXPECT_STR(want, get_pair(a, t));
        EXPECT_STR(want, pair_after(a, disk, (IoMemCrash){ .keep = IO_KEEP_ALL }));
        EXPECT_STR(want, pair_after(a, disk, (IoMemCrash){ .keep = IO_KEEP_NONE }));
        EXPECT_STR(want, pair_after(a, disk, (IoMemCrash){ .seed = n }));
        EXPECT_OK(put_pair(t, big_value(a, 3)));
        EXPECT_STR(big_value(a, 3), get_pair(a, t));
        EXPECT_STR(big_value(a, 3), pair_after(a, disk, (IoMemCrash){ .seed = n }));
    }
    EXPECT(n > 10);
}

TEST(a_transaction_fails_whole_at_each_of_its_operations)
{
    fail_each_operation(a, fail(ERR_IO, "test"), IO_TEAR_NOTHING);
}

TEST(a_full_disk_fails_a_transaction_whole_and_passes)
{
    fail_each_operation(a, fail(ERR_FULL, "test"), IO_TEAR_SECTORS);
}

TEST(opening_fails_at_each_of_its_operations_without_harm)
{
    uint64_t n = 0;
    for (bool passed = false; !passed; n++) {
        AUTO(io_mem) disk = filled_disk();
        AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), n);
        io_fault_add(faults, (IoFault){ .skip = n, .err = fail(ERR_IO, "test") });
        Err e = reopen(io_fault_io(faults));
        passed = io_fault_hits(faults) == 0;
        // SQLite may go on without what it only asked for; what failed is never called damage.
        if (e.kind != ERR_NONE)
            EXPECT_ERR(ERR_IO, e);
        EXPECT(e.kind == ERR_NONE || !passed);
        io_fault_clear(faults);
        EXPECT_OK(reopen(io_fault_io(faults)));
    }
    EXPECT(n > 10);
}

TEST(a_power_cut_while_a_store_is_made_leaves_one_that_opens)
{
    uint64_t n = 0;
    for (bool passed = false; !passed; n++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            AUTO(io_mem) disk = io_mem_open(seed);
            AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), n);
            io_fault_add(faults, (IoFault){ .ops = IO_OP_CHANGE,
                                            .skip = n,
                                            .tear = IO_TEAR_SECTORS,
                                            .power_off = true });
            Err e = reopen(io_fault_io(faults));
            passed = io_fault_hits(faults) == 0;
            EXPECT(e.kind == ERR_NONE || !passed);
            AUTO(io_mem) later = io_mem_crash(disk, (IoMemCrash){ .seed = seed * 1000 + n });
            EXPECT_OK(reopen(io_mem_io(later)));
        }
    }
    EXPECT(n > 10);
}

TEST(what_was_acknowledged_survives_a_power_cut_at_every_operation)
{
    for (uint64_t n = 0, hits = 1; hits > 0; n++) {
        AUTO(io_mem) disk = io_mem_open(n);
        AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), n);
        AUTO(kv) db = NULL;
        EXPECT_OK(kv_open(io_fault_io(faults), S("/kv"), &db));
        struct kv_table *t = table(db, S("t"));
        io_fault_add(faults, (IoFault){ .ops = IO_OP_CHANGE,
                                        .skip = n,
                                        .tear = IO_TEAR_SECTORS,
                                        .power_off = true });
        uint64_t acknowledged = 0, tried = 0;
        for (Err e = OK; e.kind == ERR_NONE && tried < 6;) {
            e = put_pair(t, big_value(a, ++tried));
            acknowledged = e.kind == ERR_NONE ? tried : acknowledged;
            AUTO(kv_txn) never = kv_write(t); // rolled back when it closes
            err_ignore(kv_put(never, S("never"), big_value(a, tried)));
        }
        hits = io_fault_hits(faults);
        for (uint64_t seed = 0; seed < 3; seed++) {
            ArenaMark mark = arena_mark(a);
            AUTO(io_mem) later = io_mem_crash(disk, (IoMemCrash){ .seed = seed * 7919 + n });
            AUTO(kv) again = NULL;
            EXPECT_OK(kv_open(io_mem_io(later), S("/kv"), &again));
            struct kv_table *found = table(again, S("t"));
            Str got = get_pair(a, found);
            EXPECT(str_eq(got, big_value(a, tried)) ||
                   (acknowledged == 0 ? got.p == NULL : str_eq(got, big_value(a, acknowledged))));
            EXPECT(get(a, found, S("never")).p == NULL);
            arena_rewind(a, mark);
        }
    }
}

TEST(a_full_disk_refuses_writers_but_not_readers_until_space_returns)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(kv) db = NULL;
    EXPECT_OK(kv_open(io_mem_io(disk), S("/kv"), &db));
    struct kv_table *t = table(db, S("t"));
    io_mem_set_capacity(disk, 400 * 1000);
    uint64_t stored = 0;
    Err e = OK;
    while (e.kind == ERR_NONE) {
        AUTO(kv_txn) tx = kv_write(t);
        e = kv_put(tx, str_fmt(a, "%04llu", (unsigned long long)stored), big_value(a, stored));
        if (e.kind == ERR_NONE)
            e = kv_commit(tx);
        stored += e.kind == ERR_NONE;
    }
    EXPECT_ERR(ERR_FULL, e);
    EXPECT(stored > 5);
    AUTO(kv_txn) tx = kv_read(t);
    size_t n = 0;
    EXPECT_OK(kv_count(tx, S(""), &n));
    EXPECT_INT(stored, n);
    io_mem_set_capacity(disk, 10 << 20);
    put(t, S("more"), S("fits"));
    EXPECT_STR(S("fits"), get(a, t, S("more")));
}

TEST(a_transaction_larger_than_the_cache_fails_whole_on_a_full_disk)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(kv) db = NULL;
    EXPECT_OK(kv_open(io_mem_io(disk), S("/kv"), &db));
    struct kv_table *t = table(db, S("t"));
    put(t, S("old"), S("value"));
    io_mem_set_capacity(disk, 8 << 20);
    Str value = str_from(arena_new(a, char, 1 << 20), 1 << 20);
    {
        AUTO(kv_txn) tx = kv_write(t);
        Err e = OK;
        for (int i = 0; i < 64 && e.kind == ERR_NONE; i++)
            e = kv_put(tx, str_fmt(a, "%d", i), value);
        EXPECT_ERR(ERR_FULL, e); // long before the commit: the cache holds a quarter of it
        Str got = { 0 };
        EXPECT_ERR(ERR_FULL, kv_get(tx, a, S("old"), &got)); // the transaction is lost, and says so
        EXPECT_ERR(ERR_FULL, kv_put(tx, S("x"), S("y")));
        struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
        EXPECT(!kv_scan_next(&scan));
        EXPECT_ERR(ERR_FULL, scan.err);
        EXPECT_ERR(ERR_FULL, kv_commit(tx));
    }
    AUTO(kv_txn) tx = kv_read(t);
    size_t n = 0;
    EXPECT_OK(kv_count(tx, S(""), &n));
    EXPECT_INT(1, n);
    io_mem_set_capacity(disk, 1 << 30);
    put(t, S("big"), value);
    EXPECT_STR(S("value"), get(a, t, S("old")));
}

static bool has(struct arena *a, struct kv_table *t, Str key, Str value)
{
    ArenaMark mark = arena_mark(a);
    bool same = str_eq(get(a, t, key), value);
    arena_rewind(a, mark);
    return same;
}

static void expect_after(struct arena *a, struct io_mem *disk, IoMemCrash crash, Str first, Str x)
{
    AUTO(io_mem) later = io_mem_crash(disk, crash);
    AUTO(kv) db = NULL;
    EXPECT_OK(kv_open(io_mem_io(later), S("/kv"), &db));
    EXPECT(has(a, table(db, S("t")), S("first"), first));
    EXPECT(has(a, table(db, S("t")), S("x"), x));
}

static struct kv_txn *begin_reading(struct kv_table *t)
{
    struct kv_txn *tx = kv_read(t);
    size_t rows = 0;
    EXPECT_OK(kv_count(tx, S(""), &rows)); // from here on it has its snapshot
    return tx;
}

// Each value is long enough for a checkpoint behind its commit. Readers keep the first ones from
// ending, so that pages are counted as copied before any sync of the database.
TEST(a_failed_sync_of_a_commit_or_a_checkpoint_loses_nothing)
{
    enum { BIG = 5 << 20 };
    Str values[4];
    for (int i = 0; i < 4; i++)
        values[i] = str_from(memset(arena_new(a, char, BIG), 'a' + i, BIG), BIG);
    uint64_t n = 0;
    for (bool passed = false; !passed; n++) {
        AUTO(io_mem) disk = io_mem_open(n);
        AUTO(kv) db = NULL;
        EXPECT_OK(kv_open(io_mem_io(disk), S("/kv"), &db));
        struct kv_table *t = table(db, S("t"));
        struct kv_txn *early = begin_reading(t);
        put(t, S("first"), values[0]); // nothing of it may be copied yet
        struct kv_txn *late = begin_reading(t);
        kv_txn_close(early);
        put(t, S("x"), values[1]); // "first" is copied, "x" may not be
        kv_txn_close(late);
        io_mem_break_sync(disk, n);
        Err e = put_err(t, S("x"), values[2]);
        passed = !io_mem_sync_is_broken(disk);
        EXPECT(!passed || e.kind == ERR_NONE);
        Str x = values[e.kind == ERR_NONE ? 2 : 1];
        EXPECT(has(a, t, S("x"), x));
        expect_after(a, disk, (IoMemCrash){ .seed = n }, values[0], x);
        expect_after(a, disk, (IoMemCrash){ .keep = IO_KEEP_NONE }, values[0], x);
        if (passed)
            break;
        for (int i = 0; i < 2; i++)
            put(t, S("x"), values[3]); // the log would begin anew and be written over
        expect_after(a, disk, (IoMemCrash){ .seed = n }, values[0], values[3]);
        expect_after(a, disk, (IoMemCrash){ .keep = IO_KEEP_NONE }, values[0], values[3]);
        kv_close(db);
        db = NULL;
        expect_after(a, disk, (IoMemCrash){ .keep = IO_KEEP_NONE }, values[0], values[3]);
    }
    EXPECT(n > 2);
}

// SQLite tells "wal" before the commit that makes it so; a store without its log would promise what
// a power cut takes back.
TEST(a_store_that_is_made_while_a_sync_fails_does_not_open_or_keeps_its_promises)
{
    uint64_t n = 0, opened = 0;
    for (bool passed = false; !passed; n++) {
        AUTO(io_mem) disk = io_mem_open(n);
        AUTO(kv) db = NULL;
        io_mem_break_sync(disk, n);
        Err e = kv_open(io_mem_io(disk), S("/kv"), &db);
        passed = e.kind == ERR_NONE && !io_mem_sync_is_broken(disk);
        if (e.kind != ERR_NONE) {
            EXPECT_INT(ERR_IO, e.kind);
            continue;
        }
        opened++;
        struct kv_table *t = NULL;
        if (kv_table_open(db, S("t"), &t).kind != ERR_NONE) // the sync that fails may be its own
            t = table(db, S("t"));
        if (put_err(t, S("first"), S("1")).kind != ERR_NONE)
            put(t, S("first"), S("1"));
        if (put_err(t, S("x"), S("2")).kind != ERR_NONE)
            put(t, S("x"), S("2"));
        expect_after(a, disk, (IoMemCrash){ .keep = IO_KEEP_NONE }, S("1"), S("2"));
    }
    EXPECT(n > 2 && opened > 0);
}

TEST(a_long_log_is_copied_and_starts_again)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(kv) db = NULL;
    EXPECT_OK(kv_open(io_mem_io(disk), S("/kv"), &db));
    struct kv_table *t = table(db, S("t"));
    for (uint64_t i = 0; i < 1000; i++) {
        ArenaMark mark = arena_mark(a);
        EXPECT_OK(put_pair(t, big_value(a, i)));
        arena_rewind(a, mark);
    }
    struct io_file *log = NULL;
    uint64_t bytes = 0;
    EXPECT_OK(io_mem_io(disk)->open(io_mem_io(disk), S("/kv-wal"), IO_READ, &log));
    EXPECT_OK(io_mem_io(disk)->size(log, &bytes));
    io_mem_io(disk)->close(log);
    EXPECT(bytes < 2000 * 4200); // of some 12,000 pages that were written
    EXPECT_STR(big_value(a, 999), get_pair(a, t));
    EXPECT_STR(big_value(a, 999), pair_after(a, disk, (IoMemCrash){ .seed = 5 }));
}

// ---- Many threads

enum { THREADS = 8, ROUNDS = 60 };

struct worker {
    struct kv_table *t;
    unsigned number;
    uint64_t acknowledged; // commits that returned OK
    bool failed;           // something that must not happen
};

static uint64_t number_at(struct kv_txn *tx, struct arena *a, Str key)
{
    Str value = { 0 };
    uint64_t n = 0;
    Err e = kv_get(tx, a, key, &value);
    if (e.kind == ERR_NONE)
        e = str_u64(value, &n);
    return n;
}

// Adds one to a number of this thread's own and to one of all.
static Err count_up(struct kv_table *t, struct arena *a, Str own)
{
    AUTO(kv_txn) tx = kv_write(t);
    uint64_t mine = number_at(tx, a, own), all = number_at(tx, a, S("all"));
    TRY(kv_put(tx, own, str_fmt(a, "%llu", (unsigned long long)mine + 1)));
    TRY(kv_put(tx, S("all"), str_fmt(a, "%llu", (unsigned long long)all + 1)));
    return kv_commit(tx);
}

static void *work(void *p)
{
    struct worker *w = p;
    AUTO(arena) a = arena_open();
    Str own = str_fmt(a, "own%u", w->number);
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (i % 8 == 7) {
            AUTO(kv_txn) tx = kv_write(w->t); // rolled back
            err_ignore(kv_put(tx, S("all"), S("1000000")));
        }
        Err e = count_up(w->t, a, own);
        w->acknowledged += e.kind == ERR_NONE;
        AUTO(kv_txn) tx = kv_read(w->t);
        uint64_t mine = number_at(tx, a, own), all = number_at(tx, a, S("all"));
        w->failed |= mine != w->acknowledged || all < mine || all >= 1000000;
    }
    return NULL;
}

static size_t waiting_for_the_turn(struct kv *db)
{
    size_t n = 0;
    pthread_mutex_lock(&db->lock);
    for (const struct kv_txn *tx = db->queue.first; tx != NULL; tx = tx->next)
        n++;
    pthread_mutex_unlock(&db->lock);
    return n;
}

// The turn is held until all have come for it: their first commits are one group, however the
// machine shares its time. Later ones meet as it happens.
static void run_workers(struct kv_table *t, struct worker workers[THREADS])
{
    pthread_t threads[THREADS];
    struct kv_txn *first = kv_write(t);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .t = t, .number = i };
        EXPECT(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    while (waiting_for_the_turn(t->db) < THREADS)
        sched_yield();
    kv_txn_close(first); // nothing of its own
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void expect_counts(struct arena *a, struct kv_table *t, const struct worker workers[THREADS])
{
    uint64_t all = 0;
    AUTO(kv_txn) tx = kv_read(t);
    for (unsigned i = 0; i < THREADS; i++) {
        EXPECT(!workers[i].failed);
        EXPECT_INT(workers[i].acknowledged, number_at(tx, a, str_fmt(a, "own%u", i)));
        all += workers[i].acknowledged;
    }
    EXPECT_INT(all, number_at(tx, a, S("all")));
}

TEST(threads_take_turns_and_share_syncs)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 1);
    AUTO(kv) db = NULL;
    EXPECT_OK(kv_open(io_fault_io(faults), S("/kv"), &db));
    struct kv_table *t = table(db, S("t"));
    struct worker workers[THREADS];
    uint64_t before = io_fault_count(faults, IO_OP_SYNC);
    run_workers(t, workers);
    uint64_t syncs = io_fault_count(faults, IO_OP_SYNC) - before;
    expect_counts(a, t, workers);
    for (unsigned i = 0; i < THREADS; i++)
        EXPECT_INT(ROUNDS, workers[i].acknowledged);
    EXPECT(syncs < THREADS * ROUNDS); // never more than one each, and some were shared
}

TEST(a_failed_commit_fails_every_member_of_its_group)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 1);
    AUTO(kv) db = NULL;
    EXPECT_OK(kv_open(io_fault_io(faults), S("/kv"), &db));
    struct kv_table *t = table(db, S("t"));
    for (unsigned i = 0; i < IO_FAULTS_MAX; i++)
        io_fault_add(faults, (IoFault){ .ops = i % 2 == 0 ? IO_OP_SYNC : IO_OP_WRITE,
                                        .skip = 10 + 7 * i,
                                        .err = fail(i % 3 == 0 ? ERR_FULL : ERR_IO, "test") });
    struct worker workers[THREADS];
    run_workers(t, workers);
    EXPECT(io_fault_hits(faults) > 0);
    uint64_t all = 0;
    for (unsigned i = 0; i < THREADS; i++)
        all += workers[i].acknowledged;
    EXPECT(all > 0 && all < THREADS * ROUNDS);
    expect_counts(a, t, workers);
    AUTO(io_mem) later = io_mem_crash(disk, (IoMemCrash){ .seed = 3 });
    AUTO(kv) again = NULL;
    EXPECT_OK(kv_open(io_mem_io(later), S("/kv"), &again));
    expect_counts(a, table(again, S("t")), workers);
}

TEST(a_snapshot_is_the_store_as_it_was_and_a_store_of_its_own)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_mem) other = io_mem_open(2);
    AUTO(kv) db = NULL;
    EXPECT_OK(kv_open(io_mem_io(disk), S("/kv"), &db));
    struct kv_table *t = table(db, S("t"));
    char *large = arena_new(a, char, 300000);
    memset(large, 'x', 300000);
    for (int i = 0; i < 20; i++)
        put(t, str_fmt(a, "k%d", i), str_from(large, 300000));
    AUTO(kv_txn) open = kv_write(t); // what is not committed is not in it
    EXPECT_OK(kv_put(open, S("k0"), S("later")));
    EXPECT_OK(kv_snapshot(db, io_mem_io(other), S("/copy")));
    EXPECT_OK(kv_commit(open));

    AUTO(kv) copy = NULL;
    EXPECT_OK(kv_open(io_mem_io(other), S("/copy"), &copy));
    struct kv_table *u = table(copy, S("t"));
    for (int i = 0; i < 20; i++)
        EXPECT_STR(str_from(large, 300000), get(a, u, str_fmt(a, "k%d", i)));
    put(u, S("k1"), S("changed"));
    EXPECT_STR(S("later"), get(a, t, S("k0")));
    EXPECT_STR(str_from(large, 300000), get(a, t, S("k1")));
}

TEST(a_snapshot_fails_at_each_of_its_operations_and_the_store_goes_on)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 1);
    AUTO(kv) db = NULL;
    EXPECT_OK(kv_open(io_fault_io(faults), S("/kv"), &db));
    struct kv_table *t = table(db, S("t"));
    put(t, S("k"), S("v"));
    bool failed = true;
    for (uint64_t n = 0; failed; n++) {
        uint64_t hits = io_fault_hits(faults);
        io_fault_add(faults, (IoFault){ .path_part = S("/copy"), .skip = n });
        Err e =
            kv_snapshot(db, io_fault_io(faults), str_fmt(a, "/copy%llu", (unsigned long long)n));
        failed = io_fault_hits(faults) > hits;
        EXPECT(failed == (e.kind != ERR_NONE));
        io_fault_clear(faults);
        EXPECT_STR(S("v"), get(a, t, S("k")));
        EXPECT(n < 1000);
    }
}

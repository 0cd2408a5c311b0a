// SPDX-License-Identifier: Apache-2.0
// What a store written anew still holds, and what it does not.
#include "base/test.h"
#include "os/io_fault.h"
#include "os/io_mem.h"
#include "store/kv.h"

enum { ROWS = 300 };
#define SECRET "plain-secret-of-row-"

static struct kv_table *fill(struct kv *db, struct arena *a)
{
    struct kv_table *t = NULL;
    EXPECT_OK(kv_table_open(db, S("t"), &t));
    AUTO(kv_txn) tx = kv_write(t);
    for (int i = 0; i < ROWS; i++) // of many sizes, so that pages are split and joined
        EXPECT_OK(kv_put(tx, str_fmt(a, "k%03d", i), str_fmt(a, SECRET "%d%*s", i, i * 7, "")));
    EXPECT_OK(kv_commit(tx));
    return t;
}

// Two of three rows are changed, the third is removed.
static void replace_all(struct kv_table *t, struct arena *a)
{
    AUTO(kv_txn) tx = kv_write(t);
    for (int i = 0; i < ROWS; i++)
        EXPECT_OK(i % 3 == 0 ? kv_del(tx, str_fmt(a, "k%03d", i))
                             : kv_put(tx, str_fmt(a, "k%03d", i), str_fmt(a, "sealed%d", i)));
    EXPECT_OK(kv_commit(tx));
}

static void expect_replaced(struct kv_table *t, struct arena *a)
{
    AUTO(kv_txn) tx = kv_read(t);
    for (int i = 0; i < ROWS; i++) {
        Str value;
        Err e = kv_get(tx, a, str_fmt(a, "k%03d", i), &value);
        EXPECT_INT(i % 3 == 0 ? ERR_NOT_FOUND : ERR_NONE, e.kind);
        if (e.kind == ERR_NONE)
            EXPECT_STR(str_fmt(a, "sealed%d", i), value);
    }
}

// Whether any file of the store holds it.
static bool files_hold(struct io *io, struct arena *a, Str text)
{
    static const Str files[] = { S_INIT("/kv"), S_INIT("/kv-wal"), S_INIT("/kv-journal") };
    bool found = false;
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        Str content;
        if (io_read_file(io, a, files[i], 64 << 20, &content).kind == ERR_NONE)
            found |= str_search(content, text) < content.n;
    }
    return found;
}

TEST(nothing_of_former_rows_is_left_in_a_scrubbed_store)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(kv) db = NULL;
    EXPECT_OK(kv_open(io_mem_io(disk), S("/kv"), &db));
    struct kv_table *t = fill(db, a);
    replace_all(t, a);
    EXPECT(files_hold(io_mem_io(disk), a, S(SECRET)));
    EXPECT_OK(kv_scrub(db));
    EXPECT(!files_hold(io_mem_io(disk), a, S(SECRET)));
    EXPECT(files_hold(io_mem_io(disk), a, S("sealed")));
    expect_replaced(t, a);
    replace_all(t, a); // it goes on
    kv_close(db);
    db = NULL;
    EXPECT_OK(kv_open(io_mem_io(disk), S("/kv"), &db));
    EXPECT_OK(kv_table_open(db, S("t"), &t));
    expect_replaced(t, a);
}

TEST(a_store_that_is_read_is_not_scrubbed)
{
    AUTO(kv) db = kv_open_test();
    struct kv_table *t = fill(db, a);
    Str value;
    AUTO(kv_txn) reader = kv_read(t);
    EXPECT_OK(kv_get(reader, a, S("k001"), &value));
    EXPECT_ERR(ERR_BUSY, kv_scrub(db));
    EXPECT_OK(kv_get(reader, a, S("k002"), &value));
}

TEST(scrubbing_fails_at_each_of_its_operations_without_harm)
{
    uint64_t n = 0;
    for (bool passed = false; !passed; n++) {
        ArenaMark mark = arena_mark(a);
        AUTO(io_mem) disk = io_mem_open(n);
        AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), n);
        AUTO(kv) db = NULL;
        EXPECT_OK(kv_open(io_fault_io(faults), S("/kv"), &db));
        struct kv_table *t = fill(db, a);
        replace_all(t, a);
        io_fault_add(faults, (IoFault){ .skip = n, .tear = IO_TEAR_SECTORS });
        Err e = kv_scrub(db);
        passed = io_fault_hits(faults) == 0;
        io_fault_clear(faults);
        EXPECT(!passed || e.kind == ERR_NONE);
        expect_replaced(t, a);
        AUTO(io_mem) later = io_mem_crash(disk, (IoMemCrash){ .seed = n });
        AUTO(kv) again = NULL;
        EXPECT_OK(kv_open(io_mem_io(later), S("/kv"), &again));
        EXPECT_OK(kv_table_open(again, S("t"), &t));
        expect_replaced(t, a);
        arena_rewind(a, mark);
    }
    EXPECT(n > 10);
}

TEST(a_power_cut_while_scrubbing_loses_no_row)
{
    uint64_t n = 0;
    for (bool passed = false; !passed; n++) {
        ArenaMark mark = arena_mark(a);
        AUTO(io_mem) disk = io_mem_open(n);
        AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), n);
        AUTO(kv) db = NULL;
        EXPECT_OK(kv_open(io_fault_io(faults), S("/kv"), &db));
        replace_all(fill(db, a), a);
        io_fault_add(faults, (IoFault){ .ops = IO_OP_CHANGE,
                                        .skip = n,
                                        .tear = IO_TEAR_SECTORS,
                                        .power_off = true });
        Err e = kv_scrub(db);
        passed = io_fault_hits(faults) == 0;
        EXPECT(!passed || e.kind == ERR_NONE);
        AUTO(io_mem) later = io_mem_crash(disk, (IoMemCrash){ .seed = n * 31 });
        AUTO(kv) again = NULL;
        struct kv_table *t;
        EXPECT_OK(kv_open(io_mem_io(later), S("/kv"), &again));
        EXPECT_OK(kv_table_open(again, S("t"), &t));
        expect_replaced(t, a);
        arena_rewind(a, mark);
    }
    EXPECT(n > 10);
}

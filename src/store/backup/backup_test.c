// SPDX-License-Identifier: Apache-2.0
#include "store/backup/backup_priv.h"

#include "codec/crc.h"
#include "store/kv.h"
#include "store/log/log_test_help.h"

#include <stdlib.h>
#include <string.h>

enum { SHARD = 7, OTHER = 8, DAY_HOURS = 24 };
#define DATA S("/data")
#define REPO S("/repo")

// A store with records in several containers and in the journal, on a disk of its own.
struct world {
    struct io_mem *disk;
    struct io *io;
    struct kv *kv;
    struct log *log;
    struct kv_table *table;
};

static int64_t day_ns(void)
{
    return DAY_HOURS * 3600 * NS_PER_S;
}

static void world_open(struct world *w, struct io *io)
{
    w->io = io;
    EXPECT_OK(io->mkdir(io, DATA));
    EXPECT_OK(kv_open(io, S("/data/headrace.db"), &w->kv));
    EXPECT_OK(kv_table_open(w->kv, S("t"), &w->table));
    LogConfig config = test_config(io, S("/data/journal"));
    EXPECT_OK(log_open(&config, &w->log));
    EXPECT_OK(log_shard_add(w->log, SHARD, day_ns()));
}

static void world_close(struct world *w)
{
    log_close(w->log);
    kv_close(w->kv);
    w->log = NULL;
    w->kv = NULL;
}

static struct world world_new(void)
{
    struct world w = { .disk = io_mem_open(3) };
    world_open(&w, io_mem_io(w.disk));
    return w;
}

static LogPlace put_one(struct world *w, uint64_t shard, Str data)
{
    LogPlace place = { 0 };
    EXPECT_OK(test_put(w->log, shard, data, &place));
    return place;
}

static Str nth(struct arena *a, size_t i)
{
    return str_fmt(a, "record %06zu", i);
}

static void put_many(struct world *w, struct arena *a, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        put_one(w, SHARD, nth(a, i));
}

static void put_row(struct world *w, Str key, Str value)
{
    AUTO(kv_txn) tx = kv_write(w->table);
    EXPECT_OK(kv_put(tx, key, value));
    EXPECT_OK(kv_commit(tx));
}

static Err backup(struct world *w, struct io *to, struct arena *a, BackupOutcome *ret)
{
    AUTO(backup_target) t = NULL;
    backup_target_dir(to, REPO, &t);
    BackupSource source = {
        .io = w->io, .data_dir = DATA, .log = w->log, .kv = w->kv, .version = S("1.2.3")
    };
    return backup_create(&source, t, NULL, a, ret);
}

static Err verify_all(struct io *io, size_t *ret_n)
{
    AUTO(arena) a = arena_open();
    AUTO(backup_target) t = NULL;
    backup_target_dir(io, REPO, &t);
    Backup *all = NULL;
    size_t bad = 0;
    TRY(backup_list(t, NULL, a, &all, ret_n, &bad));
    TRY(backup_verify(t, all, *ret_n, NULL));
    return bad == 0 ? OK : fail(ERR_CORRUPT, "a description cannot be read");
}

static Err restore(struct io *from, struct io *to, Str id)
{
    AUTO(arena) a = arena_open();
    AUTO(backup_target) t = NULL;
    backup_target_dir(from, REPO, &t);
    Backup b;
    TRY(backup_find(t, a, id, &b));
    return backup_restore(t, &b, to, DATA, NULL);
}

static void expect_records(struct world *w, struct arena *a, size_t n)
{
    Str *want = arena_new(a, Str, MAX(n, (size_t)1));
    for (size_t i = 0; i < n; i++)
        want[i] = nth(a, i);
    test_expect_data(w->log, a, SHARD, want, n);
}

TEST(a_restored_store_has_what_was_acknowledged_and_never_gives_a_position_again)
{
    struct world w = world_new();
    AUTO(io_mem) repo = io_mem_open(4);
    AUTO(io_mem) later = io_mem_open(5);
    put_row(&w, S("k"), S("v"));
    put_many(&w, a, 0, 50);
    BackupOutcome out;
    EXPECT_OK(backup(&w, io_mem_io(repo), a, &out));
    EXPECT_INT(50, out.backup.records);
    put_row(&w, S("k"), S("changed"));
    LogPlace old = { 0 };
    for (size_t i = 50; i < 80; i++)
        old = put_one(&w, SHARD, nth(a, i));
    LogBatch before = test_read_all(w.log, a, SHARD, 0);
    world_close(&w);

    EXPECT_OK(restore(io_mem_io(repo), io_mem_io(later), S("")));
    struct world v = { 0 };
    world_open(&v, io_mem_io(later));
    EXPECT_OK(log_ready(v.log));
    LogBatch after = test_read_all(v.log, a, SHARD, 0);
    EXPECT_INT(50, after.n);
    for (size_t i = 0; i < after.n; i++) {
        EXPECT(after.at[i].position == before.at[i].position);
        EXPECT(after.at[i].arrival_ms == before.at[i].arrival_ms);
        EXPECT_STR(before.at[i].data, after.at[i].data);
    }
    AUTO(kv_txn) tx = kv_read(v.table);
    Str value;
    EXPECT_OK(kv_get(tx, a, S("k"), &value));
    EXPECT_STR(S("v"), value);
    kv_txn_close(tx);
    tx = NULL;
    EXPECT(put_one(&v, SHARD, nth(a, 50)).position > old.position);
    world_close(&v);

    world_open(&v, io_mem_io(later)); // and once more, from the journal
    EXPECT_OK(log_ready(v.log));
    expect_records(&v, a, 51);
    world_close(&v);
    io_mem_close(w.disk);
}

TEST(a_second_backup_stores_only_what_is_new)
{
    struct world w = world_new();
    AUTO(io_mem) repo = io_mem_open(4);
    put_many(&w, a, 0, 20);
    BackupOutcome first, second, third;
    EXPECT_OK(backup(&w, io_mem_io(repo), a, &first));
    put_many(&w, a, 20, 40);
    EXPECT_OK(backup(&w, io_mem_io(repo), a, &second));
    EXPECT(first.backup.containers == 1 && second.backup.containers == 2);
    EXPECT_INT(2, second.new_objects); // a container and the checkpoint
    EXPECT_OK(backup(&w, io_mem_io(repo), a, &third));
    EXPECT(third.new_objects <= 1); // nothing was sealed in between
    size_t n = 0;
    EXPECT_OK(verify_all(io_mem_io(repo), &n));
    EXPECT_INT(3, n);
    for (int i = 0; i < 2; i++) { // each can be restored
        AUTO(io_mem) later = io_mem_open(5);
        Str id = i == 0 ? first.backup.id : third.backup.id;
        EXPECT_OK(restore(io_mem_io(repo), io_mem_io(later), id));
        struct world v = { 0 };
        world_open(&v, io_mem_io(later));
        expect_records(&v, a, i == 0 ? 20 : 40);
        world_close(&v);
    }
    world_close(&w);
    io_mem_close(w.disk);
}

TEST(a_store_without_records_can_be_backed_up_and_restored)
{
    struct world w = world_new();
    AUTO(io_mem) repo = io_mem_open(4);
    AUTO(io_mem) later = io_mem_open(5);
    BackupOutcome out;
    EXPECT_OK(backup(&w, io_mem_io(repo), a, &out));
    size_t n = 0;
    EXPECT_OK(verify_all(io_mem_io(repo), &n));
    EXPECT_OK(restore(io_mem_io(repo), io_mem_io(later), S("")));
    struct world v = { 0 };
    world_open(&v, io_mem_io(later));
    EXPECT_OK(log_ready(v.log));
    put_many(&v, a, 0, 3);
    expect_records(&v, a, 3);
    world_close(&v);
    world_close(&w);
    io_mem_close(w.disk);
}

TEST(a_shard_that_is_dropped_has_no_data_in_a_backup_and_one_that_ended_has_its_end)
{
    struct world w = world_new();
    AUTO(io_mem) repo = io_mem_open(4);
    AUTO(io_mem) later = io_mem_open(5);
    EXPECT_OK(log_shard_add(w.log, OTHER, day_ns()));
    put_many(&w, a, 0, 5);
    put_one(&w, OTHER, S("dropped"));
    EXPECT_OK(log_seal(w.log));
    EXPECT_OK(log_shards_drop(w.log, (uint64_t[]){ OTHER }, 1));
    LogPlace end;
    EXPECT_OK(log_shards_end(w.log, (uint64_t[]){ SHARD }, 1, &end));
    BackupOutcome out;
    EXPECT_OK(backup(&w, io_mem_io(repo), a, &out));
    EXPECT_OK(restore(io_mem_io(repo), io_mem_io(later), S("")));
    struct world v = { 0 };
    world_open(&v, io_mem_io(later));
    EXPECT_OK(log_ready(v.log)); // nobody declares OTHER
    LogSpan span;
    EXPECT_OK(log_span(v.log, SHARD, &span));
    EXPECT(span.ended && span.end == end.position);
    expect_records(&v, a, 5);
    world_close(&v);
    world_close(&w);
    io_mem_close(w.disk);
}

static void objects_of(struct io *io, struct arena *a, ObjectList *ret)
{
    AUTO(backup_target) t = NULL;
    backup_target_dir(io, REPO, &t);
    EXPECT_OK(objects_list(t, a, ret));
}

TEST(a_flipped_bit_in_any_object_is_found_and_not_restored)
{
    struct world w = world_new();
    AUTO(io_mem) repo = io_mem_open(4);
    struct io *io = io_mem_io(repo);
    put_many(&w, a, 0, 20);
    BackupOutcome out;
    EXPECT_OK(backup(&w, io, a, &out));
    ObjectList l;
    objects_of(io, a, &l);
    EXPECT(l.n >= 3);
    size_t n = 0;
    for (size_t i = 0; i < l.n; i++) {
        Str path = str_cat3(a, REPO, S("/"), l.at[i].name);
        for (uint64_t at = 0; at < l.at[i].bytes; at += l.at[i].bytes / 5 + 1) {
            EXPECT_OK(io_flip(io, path, at, 0x10));
            EXPECT_ERR(ERR_CORRUPT, verify_all(io, &n));
            AUTO(io_mem) later = io_mem_open(5);
            EXPECT_ERR(ERR_CORRUPT, restore(io, io_mem_io(later), S("")));
            EXPECT_OK(io_flip(io, path, at, 0x10));
        }
        AUTO(io_mem) later = io_mem_open(5);
        Str moved = str_cat(a, path, S("-moved"));
        EXPECT_OK(io->rename(io, path, moved));
        EXPECT_ERR(ERR_CORRUPT, verify_all(io, &n));
        EXPECT_ERR(ERR_CORRUPT, restore(io, io_mem_io(later), S("")));
        EXPECT_OK(io->rename(io, moved, path));
    }
    EXPECT_OK(verify_all(io, &n));
    world_close(&w);
    io_mem_close(w.disk);
}

static void expect_usable(struct world *w, struct io *io, struct arena *a, size_t least)
{
    size_t n = 0;
    BackupOutcome out;
    if (least > 0) {
        EXPECT_OK(verify_all(io, &n));
        EXPECT(n >= least);
    }
    EXPECT_OK(backup(w, io, a, &out)); // the next one completes, and removes what was left
    EXPECT_OK(verify_all(io, &n));
    ObjectList l;
    objects_of(io, a, &l);
    for (size_t i = 0; i < l.n; i++)
        EXPECT(!str_ends(l.at[i].name, S(".new")));
}

TEST(a_backup_fails_at_each_operation_of_either_side_and_leaves_the_earlier_ones)
{
    bool failed = true;
    for (uint64_t i = 0; failed; i++) {
        AUTO(arena) tmp = arena_open();
        struct world w = world_new();
        AUTO(io_mem) repo = io_mem_open(4);
        AUTO(io_fault) faults = io_fault_open(io_mem_io(repo), i);
        size_t least = i % 2; // with and without an earlier one
        BackupOutcome out;
        put_many(&w, tmp, 0, 5);
        if (least > 0)
            EXPECT_OK(backup(&w, io_fault_io(faults), tmp, &out));
        put_many(&w, tmp, 5, 8);
        io_fault_add(faults, (IoFault){ .skip = i / 2 });
        Err e = backup(&w, io_fault_io(faults), tmp, &out);
        failed = io_fault_hits(faults) > 0;
        EXPECT(failed || e.kind == ERR_NONE);
        io_fault_clear(faults);
        expect_usable(&w, io_fault_io(faults), tmp, least);
        world_close(&w);
        io_mem_close(w.disk);
        EXPECT(i < 2000);
    }
}

TEST(a_power_cut_at_any_change_leaves_a_repository_that_can_be_used)
{
    bool cut = true;
    for (uint64_t i = 0; cut; i++) {
        AUTO(arena) tmp = arena_open();
        struct world w = world_new();
        AUTO(io_mem) repo = io_mem_open(4);
        AUTO(io_fault) faults = io_fault_open(io_mem_io(repo), i);
        BackupOutcome out;
        put_many(&w, tmp, 0, 5);
        EXPECT_OK(backup(&w, io_fault_io(faults), tmp, &out));
        put_many(&w, tmp, 5, 8);
        io_fault_add(faults, (IoFault){ .ops = IO_OP_CHANGE, .skip = i, .power_off = true });
        Err e = backup(&w, io_fault_io(faults), tmp, &out);
        cut = io_fault_hits(faults) > 0;
        EXPECT(cut || e.kind == ERR_NONE);
        AUTO(io_mem) after = io_mem_crash(repo, (IoMemCrash){ .seed = i });
        expect_usable(&w, io_mem_io(after), tmp, e.kind == ERR_NONE ? 2 : 1);
        world_close(&w);
        io_mem_close(w.disk);
        EXPECT(i < 2000);
    }
}

TEST(a_restore_fails_at_each_of_its_operations_and_refuses_what_it_left)
{
    struct world w = world_new();
    AUTO(io_mem) repo = io_mem_open(4);
    BackupOutcome out;
    put_many(&w, a, 0, 5);
    EXPECT_OK(backup(&w, io_mem_io(repo), a, &out));
    bool failed = true;
    for (uint64_t i = 0; failed; i++) {
        AUTO(io_mem) later = io_mem_open(5);
        AUTO(io_fault) faults = io_fault_open(io_mem_io(later), i);
        io_fault_add(faults, (IoFault){ .skip = i });
        Err e = restore(io_mem_io(repo), io_fault_io(faults), S(""));
        failed = io_fault_hits(faults) > 0;
        EXPECT(failed == (e.kind != ERR_NONE));
        io_fault_clear(faults);
        IoName *names;
        size_t n = 0;
        struct io *io = io_mem_io(later);
        if (io->list(io, a, DATA, &names, &n).kind == ERR_NONE && n > 0)
            EXPECT_ERR(ERR_EXISTS, restore(io_mem_io(repo), io, S("")));
        EXPECT(i < 500);
    }
    world_close(&w);
    io_mem_close(w.disk);
}

TEST(pruning_keeps_the_newest_and_every_object_that_they_need)
{
    struct world w = world_new();
    AUTO(io_mem) repo = io_mem_open(4);
    struct io *io = io_mem_io(repo);
    BackupOutcome out;
    for (size_t i = 0; i < 4; i++) {
        put_many(&w, a, i * 5, i * 5 + 5);
        EXPECT_OK(backup(&w, io, a, &out));
    }
    AUTO(backup_target) t = NULL;
    backup_target_dir(io, REPO, &t);
    BackupPruned pruned;
    EXPECT_OK(backup_prune(t, 2, NULL, &pruned));
    EXPECT(pruned.backups == 2 && pruned.objects >= 2);
    size_t n = 0;
    EXPECT_OK(verify_all(io, &n));
    EXPECT_INT(2, n);
    Str path = str_cat3(a, REPO, S("/"), manifest_name(a, out.backup.id));
    EXPECT_OK(io_flip(io, path, 30, 1));
    EXPECT_ERR(ERR_CORRUPT, backup_prune(t, 1, NULL, &pruned)); // nobody knows what it needs
    EXPECT_OK(io_flip(io, path, 30, 1));
    EXPECT_OK(backup_prune(t, 1, NULL, &pruned));
    EXPECT_OK(verify_all(io, &n));
    EXPECT_INT(1, n);
    world_close(&w);
    io_mem_close(w.disk);
}

TEST(a_directory_of_something_else_is_no_repository)
{
    struct world w = world_new();
    AUTO(io_mem) repo = io_mem_open(4);
    struct io *io = io_mem_io(repo);
    BackupOutcome out;
    size_t n = 0;
    EXPECT_ERR(ERR_NOT_FOUND, verify_all(io, &n));
    EXPECT_OK(io->mkdir(io, REPO));
    EXPECT_OK(io_write_file(io, a, S("/repo/letter.txt"), S("dear")));
    EXPECT_ERR(ERR_INVALID, backup(&w, io, a, &out));
    world_close(&w);
    io_mem_close(w.disk);
}

TEST(a_description_that_is_damaged_newer_or_leads_elsewhere_is_refused)
{
    BackupFile files[] = {
        { .path = S("headrace.db"), .bytes = 5 },
        { .path = S("journal/checkpoint.hrp"), .bytes = 6 },
        { .path = S("journal/sealed/container-0000000003.hrc"), .number = 3, .id = 0xfedc },
    };
    for (size_t i = 0; i < COUNT_OF(files); i++)
        files[i].hash = S("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    Backup b = { .id = S("x"), .version = S("1"), .files = files, .file_count = 3 }, back;
    Str good = manifest_write(a, &b);
    EXPECT_OK(manifest_read(a, S("x"), good, &back));
    EXPECT(back.file_count == 3 && back.files[2].id == 0xfedc && back.bytes == 11);
    EXPECT_ERR(ERR_CORRUPT, manifest_read(a, S("y"), good, &back));
    for (size_t i = 0; i < good.n; i++) {
        char *bad = str_c(a, good);
        bad[i] ^= 1;
        EXPECT_ERR(ERR_CORRUPT, manifest_read(a, S("x"), str_from(bad, good.n), &back));
        EXPECT_ERR(ERR_CORRUPT, manifest_read(a, S("x"), str_head(good, i), &back));
    }
    files[0].path = S("../headrace.db");
    EXPECT_ERR(ERR_CORRUPT, manifest_read(a, S("x"), manifest_write(a, &b), &back));

    Str newer = str_fmt(a, "{\"what\":\"headrace-backup\",\"format\":9,\"reader\":%d,\"new\":1",
                        BACKUP_FORMAT + 1);
    newer = str_fmt(a, "%.*s,\"crc32c\":\"%08x\"}\n", FMT(newer), crc32c(0, newer.p, newer.n));
    EXPECT_ERR(ERR_FORMAT, manifest_read(a, S("x"), newer, &back));
}

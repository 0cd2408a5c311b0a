// SPDX-License-Identifier: Apache-2.0
// Objects in backups: what the copied rows name is there, whatever is put and removed meanwhile.
#include "store/backup/backup_priv.h"
#include "store/blob/blob_files.h"
#include "store/blob/blob_test_help.h"
#include "store/log.h"
#include "store/log/log_test_help.h"

#define DATA S("/data")
#define REPO S("/repo")

enum { OBJECTS = 6, LARGE = 300000 };

// A data directory with objects.
struct place {
    struct shop shop;
    struct io *io;
    struct log *log;
    unsigned changes; // that are still made while a backup runs
    uint64_t next_seed;
};

static void place_open(struct place *p, struct arena *a, struct io *io)
{
    p->io = io;
    EXPECT_OK(io->mkdir(io, DATA));
    EXPECT_OK(kv_open(io, S("/data/headrace.db"), &p->shop.kv));
    LogConfig config = test_config(io, S("/data/journal"));
    EXPECT_OK(log_open(&config, &p->log));
    EXPECT_OK(log_ready(p->log));
    EXPECT_OK(blob_open_quiet(&(BlobConfig){ .io = io, .kv = p->shop.kv, .dir = S("/data/blobs") },
                              &p->shop.b));
    Err e = blob_bucket_find(p->shop.b, a, S("one"), &p->shop.bucket);
    if (e.kind == ERR_NOT_FOUND)
        p->shop.bucket = shop_bucket(&p->shop, a, S("one"), BLOB_UNVERSIONED);
}

static void place_close(struct place *p)
{
    blob_close(p->shop.b);
    log_close(p->log);
    kv_close(p->shop.kv);
}

static Str name_of(struct arena *a, uint64_t i)
{
    return str_fmt(a, "object-%llu", (unsigned long long)i);
}

// Small, large, sealed, and one that shares another's file.
static void fill(struct place *p, struct arena *a)
{
    struct shop *s = &p->shop;
    AUTO(blob_reader) r = NULL;
    AUTO(blob_put) put = NULL;
    BlobObject o;
    for (uint64_t i = 0; i < OBJECTS; i++)
        EXPECT_OK(shop_put(s, a, &s->bucket, name_of(a, i), i, i == 0 ? 100 : LARGE + i,
                           i == 1 ? shop_key : NULL, NULL));
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, name_of(a, 2), (BlobSelect){ 0 }, &o, &r));
    EXPECT_OK(blob_put_begin(s->b, &s->bucket, NULL, &put));
    EXPECT_OK(blob_put_share(put, r, 0, o.bytes, false));
    EXPECT_OK(blob_put_finish(put, a, &(BlobNew){ .key = S("copy"), .etag = o.etag }, &o));
    p->next_seed = OBJECTS;
}

static void hold(void *self, bool on)
{
    struct place *p = self;
    blob_hold(p->shop.b, on);
}

// While files are read: what is there goes, something else comes.
static void change(void *self, uint64_t add_bytes)
{
    struct place *p = self;
    AUTO(arena) a = arena_open();
    struct shop *s = &p->shop;
    (void)add_bytes;
    if (p->changes == 0)
        return;
    p->changes--;
    BlobDelete d = { .key = name_of(a, p->next_seed - OBJECTS) };
    EXPECT_OK(blob_delete(s->b, &s->bucket, &d, 1));
    EXPECT_OK(reap_all(s->b));
    EXPECT_OK(
        shop_put(s, a, &s->bucket, name_of(a, p->next_seed), p->next_seed, LARGE, NULL, NULL));
    p->next_seed++;
}

static Err backup(struct place *p, struct io *to, struct arena *a, BackupOutcome *ret)
{
    AUTO(backup_target) t = NULL;
    backup_target_dir(to, REPO, &t);
    BackupSource source = { .io = p->io,
                            .data_dir = DATA,
                            .log = p->log,
                            .kv = p->shop.kv,
                            .version = S("1.2.3"),
                            .hold = hold,
                            .hold_self = p };
    BackupWatch watch = { .progress = change, .self = p };
    return backup_create(&source, t, &watch, a, ret);
}

static Err restore(struct io *from, struct io *to)
{
    AUTO(arena) a = arena_open();
    AUTO(backup_target) t = NULL;
    backup_target_dir(from, REPO, &t);
    Backup b;
    TRY(backup_find(t, a, S(""), &b));
    TRY(backup_verify(t, &b, 1, NULL));
    return backup_restore(t, &b, to, DATA, NULL);
}

// Every object that is listed is whole; their number.
static size_t check_all(struct place *p, struct arena *a)
{
    BlobPage page;
    struct shop *s = &p->shop;
    EXPECT_OK(blob_list(s->b, a, &s->bucket, &(BlobListing){ .max = 100 }, &page));
    for (size_t i = 0; i < page.object_count; i++)
        EXPECT_OK(shop_check(s, a, &s->bucket, page.objects[i].key, (BlobSelect){ 0 }, NULL));
    return page.object_count;
}

TEST(restored_objects_are_whole_and_share_and_a_second_backup_stores_what_is_new)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_mem) repo = io_mem_open(2);
    AUTO(io_mem) later = io_mem_open(3);
    struct place p = { .shop.disk = disk }, q = { .shop.disk = later };
    BackupOutcome first, second;
    place_open(&p, a, io_mem_io(disk));
    fill(&p, a);
    EXPECT_OK(backup(&p, io_mem_io(repo), a, &first));
    EXPECT_OK(shop_put(&p.shop, a, &p.shop.bucket, S("new"), 50, LARGE, NULL, NULL));
    EXPECT_OK(backup(&p, io_mem_io(repo), a, &second));
    EXPECT(first.new_objects >= OBJECTS);
    EXPECT(second.new_objects <= 3); // the file, kv and the checkpoint
    EXPECT_OK(restore(io_mem_io(repo), io_mem_io(later)));
    place_open(&q, a, io_mem_io(later));
    EXPECT_INT(OBJECTS + 2, check_all(&q, a));
    size_t files = OBJECTS - 1 + 1; // the small one has none, the copy shares
    EXPECT_INT(files, shop_rows(&q.shop, T_FILE));
    place_close(&q);
    place_close(&p);
}

TEST(whatever_is_removed_while_a_backup_runs_is_in_it_if_its_row_is)
{
    for (unsigned changes = 1; changes <= OBJECTS; changes++) {
        AUTO(arena) tmp = arena_open();
        AUTO(io_mem) disk = io_mem_open(1);
        AUTO(io_mem) repo = io_mem_open(2);
        AUTO(io_mem) later = io_mem_open(3);
        struct place p = { .shop.disk = disk }, q = { .shop.disk = later };
        BackupOutcome out;
        place_open(&p, tmp, io_mem_io(disk));
        fill(&p, tmp);
        p.changes = changes;
        EXPECT_OK(backup(&p, io_mem_io(repo), tmp, &out));
        EXPECT_OK(restore(io_mem_io(repo), io_mem_io(later)));
        place_open(&q, tmp, io_mem_io(later));
        EXPECT_INT(OBJECTS + 1, check_all(&q, tmp));
        EXPECT_OK(reap_sweep(q.shop.b)); // what came too late
        EXPECT_OK(reap_all(q.shop.b));
        EXPECT_INT(OBJECTS + 1, check_all(&q, tmp));
        EXPECT_OK(reap_all(p.shop.b)); // nobody holds it any more
        EXPECT_INT(0, shop_rows(&p.shop, T_GONE));
        place_close(&q);
        place_close(&p);
    }
}

TEST(a_restore_of_objects_fails_at_each_of_its_operations)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_mem) repo = io_mem_open(2);
    struct place p = { .shop.disk = disk };
    BackupOutcome out;
    place_open(&p, a, io_mem_io(disk));
    EXPECT_OK(shop_put(&p.shop, a, &p.shop.bucket, S("x"), 1, 20000, NULL, NULL));
    EXPECT_OK(backup(&p, io_mem_io(repo), a, &out));
    bool failed = true;
    for (uint64_t i = 0; failed; i++) {
        AUTO(io_mem) later = io_mem_open(5);
        AUTO(io_fault) faults = io_fault_open(io_mem_io(later), i);
        io_fault_add(faults, (IoFault){ .skip = i });
        Err e = restore(io_mem_io(repo), io_fault_io(faults));
        failed = io_fault_hits(faults) > 0;
        EXPECT(failed == (e.kind != ERR_NONE));
        EXPECT(i < 500);
    }
    place_close(&p);
}

TEST(a_file_lies_where_its_number_says)
{
    EXPECT_STR(S("3/300012/300012345"), blob_files_path(a, UINT64_C(0x0000000300012345)));
}

// SPDX-License-Identifier: Apache-2.0
// The model without a mount: what is durable when, what a cut keeps, and when rules strike.
#include "base/test.h"
#include "rules.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { SEEDS = 200, FILE_PAGES = 8 };

// One empty directory of a test for each number.
static Str numbered_dir(struct arena *a, Str parent, uint64_t number)
{
    Str dir = str_fmt(a, "%.*s/%llu", FMT(parent), (unsigned long long)number);
    EXPECT_INT(0, mkdir(str_c(a, dir), 0700));
    return dir;
}

static struct disk *disk_at(Str dir)
{
    AUTO(arena) tmp = arena_open();
    struct disk *d;
    EXPECT_INT(0, disk_open(str_c(tmp, dir), &d));
    return d;
}

static struct node *create(struct disk *d, const char *name)
{
    struct node *n;
    EXPECT_INT(0, disk_create(d, disk_root(d), name, S_IFREG | 0600, &n));
    return n;
}

static void fill(struct node *f, char with, size_t n, uint64_t at)
{
    char bytes[FILE_PAGES * PAGE_BYTES];
    memset(bytes, with, n);
    node_write(f, bytes, n, at);
}

// The content of a file as a string, 'length' bytes at least.
static Str content(struct arena *a, struct node *f)
{
    char *bytes = arena_new(a, char, f->bytes + 1);
    size_t n;
    EXPECT_INT(0, node_read(f, bytes, f->bytes, 0, &n));
    return str_from(bytes, n);
}

static Str letters(struct arena *a, const char *word, size_t each)
{
    Str s = S("");
    for (; *word != 0; word++) {
        char *run = arena_new(a, char, each);
        memset(run, *word, each);
        s = str_cat(a, s, str_from(run, each));
    }
    return s;
}

static void cut(struct disk *d, uint64_t seed, Keep keep)
{
    EXPECT_INT(0, disk_cut(d, (DiskCut){ .seed = seed, .sector_bytes = 512, .keep = keep }));
    EXPECT_INT(0, disk_close(d));
}

TEST(what_is_synced_is_there_after_a_cut_and_nothing_else_at_its_worst)
{
    Str dir = test_dir(a);
    struct disk *d = disk_at(dir);
    struct node *f = create(d, "f");
    fill(f, 'a', 3000, 0);
    EXPECT_INT(0, node_sync(f));
    EXPECT_INT(0, disk_sync_names(d, disk_root(d)));
    fill(f, 'b', 2000, 2000);
    create(d, "g");
    EXPECT_INT(4000, f->bytes);
    cut(d, 1, KEEP_NONE);

    d = disk_at(dir);
    f = node_find(disk_root(d), "f");
    EXPECT(f != NULL && node_find(disk_root(d), "g") == NULL);
    EXPECT_STR(letters(a, "a", 3000), content(a, f));
    EXPECT_INT(0, disk_close(d));
}

TEST(an_orderly_end_and_a_cut_that_keeps_all_write_everything)
{
    Str parent = test_dir(a);
    for (unsigned cuts = 0; cuts < 2; cuts++) {
        Str dir = numbered_dir(a, parent, cuts);
        struct disk *d = disk_at(dir);
        fill(create(d, "f"), 'x', 5000, 0);
        EXPECT_INT(0, disk_rename(d, disk_root(d), "f", disk_root(d), "g"));
        if (cuts == 1)
            EXPECT_INT(0, disk_cut(d, (DiskCut){ .sector_bytes = 512, .keep = KEEP_ALL }));
        EXPECT_INT(0, disk_close(d));
        d = disk_at(dir);
        EXPECT(node_find(disk_root(d), "f") == NULL);
        EXPECT_STR(letters(a, "x", 5000), content(a, node_find(disk_root(d), "g")));
        EXPECT_INT(0, disk_close(d));
    }
}

TEST(a_durable_write_makes_its_own_range_durable_and_no_other)
{
    Str dir = test_dir(a);
    struct disk *d = disk_at(dir);
    struct node *f = create(d, "f");
    fill(f, 'a', 3 * PAGE_BYTES, 0);
    EXPECT_INT(0, node_sync(f));
    EXPECT_INT(0, disk_sync_names(d, disk_root(d)));
    fill(f, 'b', PAGE_BYTES, 0);
    fill(f, 'c', PAGE_BYTES, PAGE_BYTES);
    EXPECT_INT(0, node_sync_range(f, PAGE_BYTES, PAGE_BYTES));
    EXPECT_STR(letters(a, "bca", PAGE_BYTES), content(a, f));
    cut(d, 1, KEEP_NONE);
    d = disk_at(dir);
    EXPECT_STR(letters(a, "aca", PAGE_BYTES), content(a, node_find(disk_root(d), "f")));
    EXPECT_INT(0, disk_close(d));
}

TEST(what_was_cut_off_and_grew_again_reads_as_zeros)
{
    Str dir = test_dir(a);
    struct disk *d = disk_at(dir);
    struct node *f = create(d, "f");
    fill(f, 'a', 2 * PAGE_BYTES, 0);
    EXPECT_INT(0, node_sync(f));
    fill(f, 'b', 100, 50);
    node_resize(f, 100);
    node_resize(f, 300);
    Str want = str_cat3(a, letters(a, "a", 50), letters(a, "b", 50),
                        str_from(arena_new(a, char, 200), 200));
    EXPECT_STR(want, content(a, f));
    EXPECT_INT(0, node_sync(f));
    EXPECT_STR(want, content(a, f));
    EXPECT_INT(0, disk_close(d));
    d = disk_at(dir);
    EXPECT_STR(want, content(a, node_find(disk_root(d), "f")));
    EXPECT_INT(0, disk_close(d));
}

// Over many seeds each sector is seen old and new, and never anything else.
TEST(a_cut_keeps_any_subset_of_sectors_with_old_or_new_content)
{
    enum { SECTORS = FILE_PAGES * PAGE_BYTES / 512 };
    unsigned old_seen[SECTORS] = { 0 }, mixed = 0;
    Str parent = test_dir(a);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        Str dir = numbered_dir(a, parent, seed);
        struct disk *d = disk_at(dir);
        struct node *f = create(d, "f");
        fill(f, 'a', FILE_PAGES * PAGE_BYTES, 0);
        EXPECT_INT(0, node_sync(f));
        EXPECT_INT(0, disk_sync_names(d, disk_root(d)));
        fill(f, 'b', FILE_PAGES * PAGE_BYTES, 0);
        cut(d, seed, KEEP_SOME);
        d = disk_at(dir);
        Str got = content(a, node_find(disk_root(d), "f"));
        EXPECT_INT(FILE_PAGES * PAGE_BYTES, got.n);
        unsigned old = 0;
        for (size_t i = 0; i < SECTORS; i++) {
            Str sector = str_head(str_skip(got, i * 512), 512);
            bool is_old = str_eq(sector, letters(a, "a", 512));
            EXPECT(is_old || str_eq(sector, letters(a, "b", 512)));
            old_seen[i] += is_old;
            old += is_old;
        }
        mixed += old > 0 && old < SECTORS;
        EXPECT_INT(0, disk_close(d));
    }
    for (size_t i = 0; i < SECTORS; i++)
        EXPECT(old_seen[i] > 0 && old_seen[i] < SEEDS);
    EXPECT(mixed > SEEDS / 4 && mixed < SEEDS);
}

TEST(the_same_seed_leaves_the_same_disk)
{
    Str first = S("");
    Str parent = test_dir(a);
    for (unsigned run = 0; run < 2; run++) {
        Str dir = numbered_dir(a, parent, run);
        struct disk *d = disk_at(dir);
        struct node *f = create(d, "f");
        fill(f, 'a', FILE_PAGES * PAGE_BYTES, 0);
        EXPECT_INT(0, disk_sync_names(d, disk_root(d)));
        cut(d, 7, KEEP_SOME);
        d = disk_at(dir);
        Str got = content(a, node_find(disk_root(d), "f"));
        if (run == 0)
            first = got;
        EXPECT_STR(first, got);
        EXPECT_INT(0, disk_close(d));
    }
}

// A file is made, renamed over another and a third is removed: a cut keeps a beginning of that.
TEST(a_cut_keeps_the_first_changes_of_names_in_their_order)
{
    unsigned seen[4] = { 0 };
    Str parent = test_dir(a);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        Str dir = numbered_dir(a, parent, seed);
        struct disk *d = disk_at(dir);
        create(d, "kept");
        create(d, "third");
        EXPECT_INT(0, disk_sync_names(d, disk_root(d)));
        create(d, "new");
        EXPECT_INT(0, disk_rename(d, disk_root(d), "new", disk_root(d), "kept"));
        EXPECT_INT(0, disk_remove(d, disk_root(d), "third", false));
        cut(d, seed, KEEP_SOME);
        d = disk_at(dir);
        bool made = node_find(disk_root(d), "new") != NULL;
        bool removed = node_find(disk_root(d), "third") == NULL;
        EXPECT(node_find(disk_root(d), "kept") != NULL && !(made && removed));
        seen[removed ? 3 : made ? 1 : 0]++;
        EXPECT_INT(0, disk_close(d));
    }
    EXPECT(seen[0] > 0 && seen[1] > 0 && seen[3] > 0);
}

TEST(a_sync_of_a_directory_brings_what_came_before_it_elsewhere)
{
    Str dir = test_dir(a);
    struct disk *d = disk_at(dir);
    struct node *sub, *f;
    EXPECT_INT(0, disk_create(d, disk_root(d), "sub", S_IFDIR | 0700, &sub));
    EXPECT_INT(0, disk_create(d, sub, "f", S_IFREG | 0600, &f));
    create(d, "later");
    EXPECT_INT(0, disk_sync_names(d, sub));
    EXPECT_INT(ENOTEMPTY, disk_remove(d, disk_root(d), "sub", true));
    cut(d, 1, KEEP_NONE);
    d = disk_at(dir);
    sub = node_find(disk_root(d), "sub");
    EXPECT(sub != NULL && node_find(sub, "f") != NULL);
    EXPECT(node_find(disk_root(d), "later") == NULL);
    EXPECT_INT(0, disk_close(d));
}

TEST(what_a_failed_sync_has_lost_is_seen_and_never_durable_unless_written_again)
{
    Str dir = test_dir(a);
    struct disk *d = disk_at(dir);
    struct node *f = create(d, "f");
    fill(f, 'a', 2 * PAGE_BYTES, 0);
    EXPECT_INT(0, node_sync(f));
    EXPECT_INT(0, disk_sync_names(d, disk_root(d)));
    fill(f, 'b', 2 * PAGE_BYTES, 0);
    node_lose(f, 0, UINT64_MAX);
    EXPECT_STR(letters(a, "bb", PAGE_BYTES), content(a, f));
    fill(f, 'c', PAGE_BYTES, PAGE_BYTES);
    EXPECT_INT(0, node_sync(f));
    EXPECT_STR(letters(a, "bc", PAGE_BYTES), content(a, f));
    cut(d, 1, KEEP_NONE);
    d = disk_at(dir);
    EXPECT_STR(letters(a, "ac", PAGE_BYTES), content(a, node_find(disk_root(d), "f")));
    EXPECT_INT(0, disk_close(d));
}

TEST(an_unlinked_file_is_usable_until_it_is_closed)
{
    struct disk *d = disk_at(test_dir(a));
    struct node *f = create(d, "f");
    f->opens++;
    EXPECT_INT(0, disk_remove(d, disk_root(d), "f", false));
    fill(f, 'a', 10, 0);
    EXPECT_INT(0, node_sync(f));
    EXPECT_STR(letters(a, "a", 10), content(a, f));
    EXPECT_INT(0, disk_sync_names(d, disk_root(d)));
    EXPECT(f->fd >= 0);
    f->opens--;
    node_closed(f);
    EXPECT(f->fd < 0);
    EXPECT_INT(0, disk_close(d));
}

TEST(a_rule_waits_for_its_kind_and_path_and_strikes_so_often)
{
    struct rules r = { 0 };
    Rule rule = { .kind = RULE_FAIL, .ops = OP_SYNC, .path = "/journal/", .after = 1, .times = 2 };
    rule.error = EIO;
    EXPECT(rules_add(&r, &rule));
    EXPECT_INT(0, rules_meet(&r, OP_FSYNC, "/data/headrace.db").error);
    EXPECT_INT(0, rules_meet(&r, OP_WRITE, "/data/journal/1").error);
    EXPECT_INT(0, rules_meet(&r, OP_DSYNC, "/data/journal/1").error);
    EXPECT_INT(EIO, rules_meet(&r, OP_DSYNC, "/data/journal/1").error);
    EXPECT_INT(EIO, rules_meet(&r, OP_FSYNCDIR, "/data/journal/").error);
    EXPECT_INT(0, rules_meet(&r, OP_FSYNC, "/data/journal/1").error);
    EXPECT_INT(2, r.failed);
    EXPECT_INT(2, r.counts[__builtin_ctz(OP_FSYNC)]);
    rules_clear(&r);
    rule = (Rule){ .kind = RULE_DELAY, .ops = OP_ANY, .times = UINT64_MAX, .delay_ns = 5 };
    EXPECT(rules_add(&r, &rule) && rules_add(&r, &rule));
    EXPECT_INT(10, rules_meet(&r, OP_OPEN, "/x").delay_ns);
}

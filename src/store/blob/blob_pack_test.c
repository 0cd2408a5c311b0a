// SPDX-License-Identifier: Apache-2.0
#include "store/blob/blob_test_help.h"

static const BlobSelect latest = { .which = BLOB_LATEST };

// n puts of different sizes that share a file, as blob_pack.c says.
static void name_puts(struct arena *a, struct shop_together *puts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        puts[i] = (struct shop_together){ .key = str_fmt(a, "k%03zu", i),
                                          .seed = 2 * (i + 1),
                                          .n = BLOB_INLINE_BYTES_MAX + 1 + i * 30011 % 110000 };
}

static void expect_all(struct shop *s, struct arena *a, const struct shop_together *puts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        BlobObject o;
        EXPECT_OK(puts[i].err);
        EXPECT_OK(shop_check(s, a, &s->bucket, puts[i].key, latest, &o));
        EXPECT_INT(puts[i].n, o.bytes);
    }
}

static void remove_key(struct shop *s, Str key)
{
    BlobDelete d = { .key = key };
    EXPECT_OK(blob_delete(s->b, &s->bucket, &d, 1));
    EXPECT_OK(d.result);
    EXPECT_OK(reap_all(s->b));
}

TEST(objects_that_are_finished_together_share_a_file_until_the_last_is_gone)
{
    enum { COUNT = 9 };
    struct shop_together puts[COUNT];
    AUTO(shop) s = shop_open(a);
    name_puts(a, puts, COUNT);
    shop_put_together(s, puts, COUNT);
    expect_all(s, a, puts, COUNT);
    EXPECT_INT(1, shop_files(s, a));
    EXPECT_INT(1, shop_rows(s, T_FILE));
    EXPECT_OK(shop_reopen(s, a, &(IoMemCrash){ .seed = 1, .keep = IO_KEEP_NONE }));
    EXPECT_OK(reap_sweep(s->b));
    for (size_t i = 0; i < COUNT; i++) {
        expect_all(s, a, puts + i, COUNT - i);
        EXPECT_INT(1, shop_files(s, a));
        remove_key(s, puts[i].key);
    }
    EXPECT_INT(0, shop_files(s, a));
    EXPECT_INT(0, shop_rows(s, T_FILE));
}

TEST(a_pack_has_a_limit)
{
    enum { COUNT = BLOB_PACK_MAX + 3 };
    struct shop_together puts[COUNT];
    AUTO(shop) s = shop_open(a);
    name_puts(a, puts, COUNT);
    shop_put_together(s, puts, COUNT);
    expect_all(s, a, puts, COUNT);
    EXPECT_INT(2, shop_files(s, a));
}

TEST(what_is_sealed_or_large_has_a_file_of_its_own)
{
    AUTO(shop) s = shop_open(a);
    EXPECT_OK(shop_put(s, a, &s->bucket, S("sealed"), 2, 50000, shop_key, NULL));
    EXPECT_OK(shop_put(s, a, &s->bucket, S("large"), 4, BLOB_BLOCK_BYTES, NULL, NULL));
    EXPECT_OK(shop_put(s, a, &s->bucket, S("small"), 6, BLOB_INLINE_BYTES_MAX, NULL, NULL));
    EXPECT_INT(2, shop_files(s, a));
    EXPECT_OK(shop_check(s, a, &s->bucket, S("sealed"), latest, NULL));
    EXPECT_OK(shop_check(s, a, &s->bucket, S("large"), latest, NULL));
    EXPECT_OK(shop_check(s, a, &s->bucket, S("small"), latest, NULL));
}

TEST(a_member_that_is_not_made_leaves_the_others_alone)
{
    struct shop_together puts[3];
    AUTO(shop) s = shop_open(a);
    name_puts(a, puts, 3);
    EXPECT_OK(shop_put(s, a, &s->bucket, puts[1].key, 1, 10, NULL, NULL));
    puts[1].if_absent = true;
    shop_put_together(s, puts, 3);
    EXPECT_ERR(ERR_EXISTS, puts[1].err);
    expect_all(s, a, &puts[0], 1);
    expect_all(s, a, &puts[2], 1);
    remove_key(s, puts[0].key);
    EXPECT_INT(1, shop_files(s, a));
    remove_key(s, puts[2].key);
    EXPECT_INT(0, shop_files(s, a));
}

TEST(a_pack_of_which_nothing_is_made_leaves_no_file)
{
    struct shop_together puts[2];
    AUTO(shop) s = shop_open(a);
    name_puts(a, puts, 2);
    for (size_t i = 0; i < 2; i++) {
        EXPECT_OK(shop_put(s, a, &s->bucket, puts[i].key, 1, 10, NULL, NULL));
        puts[i].if_absent = true;
    }
    shop_put_together(s, puts, 2);
    EXPECT(puts[0].err.kind == ERR_EXISTS && puts[1].err.kind == ERR_EXISTS);
    EXPECT_INT(0, shop_files(s, a));
    EXPECT_INT(0, shop_rows(s, T_FILE));
}

TEST(a_file_waits_for_members_though_all_objects_in_it_are_gone)
{
    struct shop_together puts[2];
    AUTO(shop) s = shop_open(a);
    BlobObject o;
    name_puts(a, puts, 2);
    puts[0].only_settles = puts[1].only_settles = true;
    shop_put_together(s, puts, 2);
    EXPECT_OK(puts[0].err);
    EXPECT_OK(puts[1].err);
    EXPECT_INT(1, shop_files(s, a));
    BlobNew first = { .key = puts[0].key, .etag = S("e") };
    EXPECT_OK(blob_put_finish(puts[0].put, a, &first, &o));
    blob_put_close(puts[0].put);
    remove_key(s, puts[0].key);
    EXPECT_INT(1, shop_files(s, a)); // and a note that it is to go
    EXPECT_INT(1, shop_rows(s, T_GONE));
    BlobNew second = { .key = puts[1].key, .etag = str_fmt(a, "%d-%zu", 4, puts[1].n) };
    EXPECT_OK(blob_put_finish(puts[1].put, a, &second, &o));
    blob_put_close(puts[1].put);
    EXPECT_OK(reap_all(s->b));
    EXPECT_OK(shop_check(s, a, &s->bucket, puts[1].key, latest, NULL));
    EXPECT_INT(0, shop_rows(s, T_GONE));
    remove_key(s, puts[1].key);
    EXPECT_INT(0, shop_files(s, a));
}

TEST(the_last_member_to_give_up_lets_a_file_go_that_has_waited_for_it)
{
    struct shop_together puts[2];
    AUTO(shop) s = shop_open(a);
    BlobObject o;
    name_puts(a, puts, 2);
    puts[0].only_settles = puts[1].only_settles = true;
    shop_put_together(s, puts, 2);
    EXPECT_OK(blob_put_finish(puts[0].put, a, &(BlobNew){ .key = S("k"), .etag = S("e") }, &o));
    blob_put_close(puts[0].put);
    remove_key(s, S("k"));
    EXPECT_INT(1, shop_files(s, a));
    blob_put_close(puts[1].put);
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(0, shop_files(s, a));
    EXPECT_INT(0, shop_rows(s, T_GONE));
}

TEST(a_copy_of_a_member_keeps_the_file)
{
    struct shop_together puts[2];
    AUTO(shop) s = shop_open(a);
    BlobObject o;
    name_puts(a, puts, 2);
    shop_put_together(s, puts, 2);
    {
        AUTO(blob_put) p = NULL;
        AUTO(blob_reader) r = NULL;
        EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, puts[1].key, latest, &o, &r));
        EXPECT_OK(blob_put_begin(s->b, &s->bucket, NULL, &p));
        EXPECT_OK(blob_put_share(p, r, 0, o.bytes, false));
        EXPECT_OK(blob_put_finish(p, a, &(BlobNew){ .key = S("copy"), .etag = o.etag }, &o));
    }
    remove_key(s, puts[0].key);
    remove_key(s, puts[1].key);
    EXPECT_OK(shop_check(s, a, &s->bucket, S("copy"), latest, NULL));
    EXPECT_INT(1, shop_files(s, a));
    remove_key(s, S("copy"));
    EXPECT_INT(0, shop_files(s, a));
}

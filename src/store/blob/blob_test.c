// SPDX-License-Identifier: Apache-2.0
// Objects and their bytes: stored, read in ranges, replaced, shared, damaged.
#include "base/logline.h"
#include "store/blob/blob_test_help.h"

#include <string.h>

static const BlobSelect latest = { .which = BLOB_LATEST };

static const size_t sizes[] = { 0,
                                1,
                                BLOB_INLINE_BYTES_MAX,
                                BLOB_INLINE_BYTES_MAX + 1,
                                BLOB_BLOCK_BYTES - 1,
                                BLOB_BLOCK_BYTES,
                                BLOB_BLOCK_BYTES + 1,
                                5 * BLOB_BLOCK_BYTES + 77 };

TEST(objects_of_all_sizes_are_read_back_also_after_a_restart)
{
    AUTO(shop) s = shop_open(a);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        EXPECT_OK(shop_put(s, a, &s->bucket, str_fmt(a, "plain%zu", i), i, sizes[i], NULL, NULL));
        EXPECT_OK(
            shop_put(s, a, &s->bucket, str_fmt(a, "sealed%zu", i), i, sizes[i], shop_key, NULL));
    }
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            BlobObject o;
            EXPECT_OK(shop_check(s, a, &s->bucket, str_fmt(a, "plain%zu", i), latest, &o));
            EXPECT_INT(sizes[i], o.bytes);
            EXPECT(o.is_null && o.is_latest && !o.is_marker);
            EXPECT_OK(shop_check(s, a, &s->bucket, str_fmt(a, "sealed%zu", i), latest, &o));
        }
        EXPECT_OK(shop_reopen(s, a, NULL));
    }
    EXPECT_INT(10, shop_files(s, a)); // of the five larger sizes
}

TEST(any_range_is_read_as_it_was_written)
{
    AUTO(shop) s = shop_open(a);
    for (int sealed = 0; sealed < 2; sealed++) {
        AUTO(blob_reader) r = NULL;
        BlobObject o;
        size_t bytes = 3 * BLOB_BLOCK_BYTES + 1234, n = 0;
        EXPECT_OK(
            shop_put(s, a, &s->bucket, S("k"), 5, bytes, sealed == 1 ? shop_key : NULL, NULL));
        EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("k"), latest, &o, &r));
        EXPECT(blob_reader_is_sealed(r) == (sealed == 1));
        blob_reader_unseal(r, shop_key);
        Str want = shop_bytes(a, 5, bytes);
        char *got = arena_new(a, char, bytes);
        uint64_t x = 1;
        for (int i = 0; i < 300; i++) {
            x = x * UINT64_C(6364136223846793005) + 1;
            size_t at = (x >> 33) % (bytes + 1), length = (x >> 20) % (2 * BLOB_BLOCK_BYTES);
            EXPECT_OK(blob_reader_read(r, got, length, at, &n));
            EXPECT_INT(MIN(length, bytes - at), n);
            EXPECT(memcmp(got, want.p + at, n) == 0);
        }
        EXPECT_ERR(ERR_INVALID, blob_reader_read(r, got, 1, bytes + 1, &n));
    }
}

TEST(what_is_kept_with_an_object_comes_back)
{
    AUTO(shop) s = shop_open(a);
    AUTO(blob_put) p = NULL;
    BlobObject o, found;
    BlobPair attributes[] = { { S("content-type"), S("text/plain") },
                              { S("x-amz-meta-a"), S("") } };
    BlobPair tags[] = { { S("team"), S("water") } };
    BlobNew object = {
        .key = S("k"), .etag = S("e"), .attributes = { attributes, 2 }, .tags = { tags, 1 }
    };
    EXPECT_OK(blob_put_begin(s->b, &s->bucket, NULL, &p));
    EXPECT_OK(blob_put_write(p, S("hello")));
    EXPECT_OK(blob_put_finish(p, a, &object, &o));
    EXPECT_OK(blob_find(s->b, a, &s->bucket, S("k"), latest, &found));
    EXPECT_STR(S("text/plain"), blob_pair(found.attributes, S("content-type")));
    EXPECT_STR(S(""), blob_pair(found.attributes, S("x-amz-meta-a")));
    EXPECT(blob_pair(found.attributes, S("absent")).p == NULL);
    EXPECT_STR(S("water"), blob_pair(found.tags, S("team")));
    EXPECT_STR(S("e"), found.etag);
    EXPECT_INT(5, found.bytes);
    EXPECT_INT(o.version, found.version);
    EXPECT_INT(o.modified_ns, found.modified_ns);

    BlobPair new_tags[] = { { S("x"), S("y") } };
    BlobPairs changed = { new_tags, 1 };
    EXPECT_OK(blob_change(s->b, a, &s->bucket, S("k"), latest, &(BlobChange){ .tags = &changed },
                          &found));
    EXPECT_OK(blob_find(s->b, a, &s->bucket, S("k"), latest, &found));
    EXPECT_STR(S("y"), blob_pair(found.tags, S("x")));
    EXPECT_STR(S("text/plain"), blob_pair(found.attributes, S("content-type")));
    EXPECT_ERR(ERR_NOT_FOUND, blob_change(s->b, a, &s->bucket, S("no"), latest,
                                          &(BlobChange){ .tags = &changed }, &found));
}

TEST(keys_are_names_and_never_paths)
{
    AUTO(shop) s = shop_open(a);
    char *long_key = memset(arena_new(a, char, 1026), 'k', 1025);
    const Str good[] = {
        S("../../etc/passwd"),      S("/"),           S("a//b/../c"), S("."),
        S("\xc3\xa4/\xe2\x82\xac"), S("nul\0inside"), S("a\nb"),      str_from(long_key, 1024)
    };
    const Str bad[] = { S(""), S("\xff"), S("cut \xe2\x82"), str_from(long_key, 1025) };
    for (size_t i = 0; i < COUNT_OF(good); i++)
        EXPECT_OK(shop_put(s, a, &s->bucket, good[i], i, 20000, NULL, NULL));
    for (size_t i = 0; i < COUNT_OF(good); i++)
        EXPECT_OK(shop_check(s, a, &s->bucket, good[i], latest, NULL));
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        EXPECT_ERR(ERR_INVALID, shop_put(s, a, &s->bucket, bad[i], i, 20000, NULL, NULL));
        BlobObject o;
        EXPECT_ERR(ERR_NOT_FOUND, blob_find(s->b, a, &s->bucket, bad[i], latest, &o));
    }
    EXPECT_INT(COUNT_OF(good), shop_files(s, a)); // nothing is left of the bad ones
}

TEST(what_is_not_finished_leaves_nothing)
{
    AUTO(shop) s = shop_open(a);
    AUTO(blob_put) p = NULL;
    EXPECT_OK(blob_put_begin(s->b, &s->bucket, NULL, &p));
    EXPECT_OK(blob_put_write(p, shop_bytes(a, 1, 1 << 20)));
    EXPECT_INT(1 << 20, blob_put_bytes(p));
    EXPECT_INT(1, shop_files(s, a));
    blob_put_close(p);
    p = NULL;
    EXPECT_INT(0, shop_files(s, a));
    EXPECT_INT(0, shop_rows(s, T_FILE));
}

TEST(a_condition_decides_at_the_moment_of_the_commit)
{
    AUTO(shop) s = shop_open(a);
    BlobObject o;
    const struct {
        BlobCondition condition;
        Str key;
        ErrKind want;
    } cases[] = { { { .if_absent = true }, S("new"), ERR_NONE },
                  { { .if_absent = true }, S("new"), ERR_EXISTS },
                  { { .if_etag = S("x") }, S("none"), ERR_NOT_FOUND },
                  { { .if_etag = S("other") }, S("new"), ERR_BUSY },
                  { { .if_etag = S("e") }, S("new"), ERR_NONE } };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO(blob_put) p = NULL;
        BlobNew object = { .key = cases[i].key, .etag = S("e"), .condition = cases[i].condition };
        EXPECT_OK(blob_put_begin(s->b, &s->bucket, NULL, &p));
        EXPECT_OK(blob_put_write(p, shop_bytes(a, 1, 30000)));
        Err e = blob_put_finish(p, a, &object, &o);
        EXPECT_INT(cases[i].want, e.kind);
    }
    BlobDelete d = { .key = S("new"), .condition.if_etag = S("other") };
    EXPECT_OK(blob_delete(s->b, &s->bucket, &d, 1));
    EXPECT_ERR(ERR_BUSY, d.result);
    d.condition.if_etag = S("e");
    EXPECT_OK(blob_delete(s->b, &s->bucket, &d, 1));
    EXPECT_OK(d.result);
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(0, shop_files(s, a));
}

TEST(what_is_replaced_or_deleted_gives_its_place_back)
{
    AUTO(shop) s = shop_open(a);
    for (uint64_t i = 0; i < 5; i++)
        EXPECT_OK(shop_put(s, a, &s->bucket, S("k"), i, i % 2 == 0 ? 50000 : 100, NULL, NULL));
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(1, shop_files(s, a));
    EXPECT_INT(1, shop_rows(s, T_BODY));
    BlobDelete d[3] = { { .key = S("k") }, { .key = S("never was") }, { .key = S("") } };
    EXPECT_OK(blob_delete(s->b, &s->bucket, d, 3));
    EXPECT(d[0].removed && !d[0].made_marker && d[0].is_null);
    EXPECT(!d[1].removed);
    EXPECT_OK(d[1].result);
    EXPECT_ERR(ERR_INVALID, d[2].result);
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(0, shop_files(s, a));
    const enum table empty[] = { T_OBJECT, T_OLDER, T_BODY, T_FILE, T_GONE };
    for (size_t i = 0; i < COUNT_OF(empty); i++)
        EXPECT_INT(0, shop_rows(s, empty[i]));
}

// Deliveries make thousands of new ones, for none of which it has to wake.
TEST(the_reaper_is_asked_when_a_put_replaces_something)
{
    AUTO(shop) s = shop_open(a);
    BlobBucket kept = shop_bucket(s, a, S("kept"), BLOB_VERSIONED);
    uint64_t asked = s->b->reaps_asked;
    EXPECT_OK(shop_put(s, a, &s->bucket, S("new"), 1, 50000, NULL, NULL));
    EXPECT_OK(shop_put(s, a, &s->bucket, S("small"), 2, 100, NULL, NULL));
    EXPECT_OK(shop_put(s, a, &kept, S("k"), 3, 50000, NULL, NULL));
    EXPECT_OK(shop_put(s, a, &kept, S("k"), 4, 50000, NULL, NULL)); // the one before stays
    EXPECT_INT(asked, s->b->reaps_asked);
    EXPECT_OK(shop_put(s, a, &s->bucket, S("new"), 5, 50000, NULL, NULL));
    EXPECT_INT(asked + 1, s->b->reaps_asked);
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(1, shop_rows(s, T_BODY) - 3); // the small one and both versions stay
}

TEST(a_reader_keeps_what_it_reads_until_it_is_closed)
{
    AUTO(shop) s = shop_open(a);
    AUTO(blob_reader) r = NULL;
    BlobObject o;
    size_t bytes = 400000, n = 0;
    char *got = arena_new(a, char, bytes);
    EXPECT_OK(shop_put(s, a, &s->bucket, S("k"), 1, bytes, NULL, NULL));
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("k"), latest, &o, &r));
    EXPECT_OK(shop_put(s, a, &s->bucket, S("k"), 2, 300000, NULL, NULL)); // replaced
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(2, shop_files(s, a));
    EXPECT_OK(blob_reader_read(r, got, bytes, 0, &n));
    EXPECT(n == bytes && memcmp(got, shop_bytes(a, 1, bytes).p, n) == 0);
    blob_reader_close(r);
    r = NULL;
    EXPECT(s->b->reaps_asked > 0);
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(1, shop_files(s, a));
    EXPECT_OK(shop_check(s, a, &s->bucket, S("k"), latest, &o));
}

// ---- Sharing

static Err share(struct shop *s, struct arena *a, Str from, Str to, uint64_t at, uint64_t n,
                 Str etag)
{
    AUTO(blob_put) p = NULL;
    AUTO(blob_reader) r = NULL;
    BlobObject o;
    TRY(blob_reader_open(s->b, a, &s->bucket, from, latest, &o, &r));
    const unsigned char *seal = blob_reader_is_sealed(r) ? shop_key : NULL;
    TRY(blob_put_begin(s->b, &s->bucket, seal, &p));
    TRY(blob_put_share(p, r, at, n, true));
    return blob_put_finish(p, a, &(BlobNew){ .key = to, .etag = etag }, &o);
}

TEST(a_copy_shares_the_bytes_and_outlives_what_it_was_made_of)
{
    AUTO(shop) s = shop_open(a);
    size_t bytes = 300000;
    EXPECT_OK(shop_put(s, a, &s->bucket, S("plain"), 1, bytes, NULL, NULL));
    EXPECT_OK(shop_put(s, a, &s->bucket, S("sealed"), 2, bytes, shop_key, NULL));
    EXPECT_OK(share(s, a, S("plain"), S("copy"), 0, bytes, S("1-300000")));
    EXPECT_OK(share(s, a, S("sealed"), S("sealed copy"), 0, bytes, S("2-300000")));
    EXPECT_OK(share(s, a, S("copy"), S("copy of copy"), 0, bytes, S("1-300000")));
    EXPECT_INT(2, shop_files(s, a));
    BlobDelete d[] = { { .key = S("plain") }, { .key = S("sealed") }, { .key = S("copy") } };
    EXPECT_OK(blob_delete(s->b, &s->bucket, d, 3));
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(2, shop_files(s, a));
    EXPECT_OK(shop_check(s, a, &s->bucket, S("copy of copy"), latest, NULL));
    EXPECT_OK(shop_check(s, a, &s->bucket, S("sealed copy"), latest, NULL));
    BlobDelete last[] = { { .key = S("copy of copy") }, { .key = S("sealed copy") } };
    EXPECT_OK(blob_delete(s->b, &s->bucket, last, 2));
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(0, shop_files(s, a));
    EXPECT_INT(0, shop_rows(s, T_FILE));
}

TEST(written_and_shared_bytes_stand_in_their_order)
{
    AUTO(shop) s = shop_open(a);
    AUTO(blob_put) p = NULL;
    AUTO(blob_reader) r = NULL;
    AUTO(blob_reader) made = NULL;
    BlobObject o;
    size_t n = 0;
    Str all = shop_bytes(a, 9, 700000);
    EXPECT_OK(shop_put(s, a, &s->bucket, S("from"), 9, all.n, NULL, NULL));
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("from"), latest, &o, &r));
    EXPECT_OK(blob_put_begin(s->b, &s->bucket, NULL, &p));
    EXPECT_OK(blob_put_write(p, str_head(all, 10)));
    EXPECT_OK(blob_put_share(p, r, 10, 299990, false));
    EXPECT_OK(blob_put_write(p, str_from(all.p + 300000, 200000)));
    EXPECT_OK(blob_put_share(p, r, 500000, 1, false));
    EXPECT_OK(blob_put_share(p, r, 500001, 199998, false));
    EXPECT_OK(blob_put_write(p, str_from(all.p + 699999, 1)));
    EXPECT_ERR(ERR_INVALID, blob_put_share(p, r, 699999, 2, false));
    EXPECT_OK(blob_put_finish(p, a, &(BlobNew){ .key = S("to"), .etag = S("9-700000") }, &o));
    EXPECT_INT(all.n, o.bytes);
    blob_reader_close(r);
    r = NULL;
    BlobDelete d = { .key = S("from") };
    EXPECT_OK(blob_delete(s->b, &s->bucket, &d, 1));
    EXPECT_OK(reap_all(s->b));
    EXPECT_OK(shop_check(s, a, &s->bucket, S("to"), latest, NULL));
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("to"), latest, &o, &made));
    char *got = arena_new(a, char, all.n);
    for (size_t at = 0; at < all.n; at += 99991) {
        EXPECT_OK(blob_reader_read(made, got, 99991, at, &n));
        EXPECT(memcmp(got, all.p + at, n) == 0);
    }
}

TEST(small_objects_and_other_keys_are_not_shared)
{
    AUTO(shop) s = shop_open(a);
    AUTO(blob_put) p = NULL;
    AUTO(blob_reader) small = NULL;
    AUTO(blob_reader) sealed = NULL;
    BlobObject o;
    EXPECT_OK(shop_put(s, a, &s->bucket, S("small"), 1, 100, NULL, NULL));
    EXPECT_OK(shop_put(s, a, &s->bucket, S("sealed"), 2, 100000, shop_key, NULL));
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("small"), latest, &o, &small));
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("sealed"), latest, &o, &sealed));
    EXPECT_OK(blob_put_begin(s->b, &s->bucket, NULL, &p));
    EXPECT_ERR(ERR_INVALID, blob_put_share(p, small, 0, 100, true));
    EXPECT_ERR(ERR_INVALID, blob_put_share(p, sealed, 0, 100, true));
    blob_put_close(p);
    p = NULL;
    EXPECT_OK(blob_put_begin(s->b, &s->bucket, shop_key, &p));
    EXPECT_ERR(ERR_INVALID, blob_put_share(p, sealed, 0, 100, false));
    EXPECT_OK(blob_put_share(p, sealed, 0, 100, true));
}

// ---- Damage

TEST(a_flipped_bit_of_a_data_file_is_never_served)
{
    AUTO(shop) s = shop_open(a);
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    for (int sealed = 0; sealed < 2; sealed++) {
        size_t bytes = 2 * BLOB_BLOCK_BYTES + 99;
        EXPECT_OK(
            shop_put(s, a, &s->bucket, S("k"), 3, bytes, sealed == 1 ? shop_key : NULL, NULL));
        EXPECT_OK(reap_all(s->b));
        Str path = shop_path(s, a, 0);
        const uint64_t places[] = { 0, BLOB_BLOCK_BYTES - 1, BLOB_BLOCK_BYTES, bytes - 1 };
        for (size_t i = 0; i < COUNT_OF(places); i++) {
            EXPECT_OK(io_flip(io_mem_io(s->disk), path, places[i], 4));
            EXPECT_ERR(ERR_CORRUPT, shop_check(s, a, &s->bucket, S("k"), latest, NULL));
            EXPECT_OK(io_flip(io_mem_io(s->disk), path, places[i], 4));
        }
        EXPECT_OK(shop_check(s, a, &s->bucket, S("k"), latest, NULL));
    }
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
}

TEST(another_data_key_opens_nothing)
{
    AUTO(shop) s = shop_open(a);
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    const unsigned char other[BLOB_SEAL_BYTES] = "another key of thirty-two bytes.";
    const size_t lengths[] = { 100, 200000 };
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        AUTO(blob_reader) r = NULL;
        BlobObject o;
        char got[10];
        size_t n = 0;
        EXPECT_OK(shop_put(s, a, &s->bucket, S("k"), 3, lengths[i], shop_key, NULL));
        EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("k"), latest, &o, &r));
        blob_reader_unseal(r, other);
        EXPECT_ERR(ERR_CORRUPT, blob_reader_read(r, got, sizeof got, 0, &n));
        blob_reader_unseal(r, shop_key);
        EXPECT_OK(blob_reader_read(r, got, sizeof got, 0, &n));
    }
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
}

TEST(a_missing_file_is_damage)
{
    AUTO(shop) s = shop_open(a);
    struct io *io = io_mem_io(s->disk);
    EXPECT_OK(shop_put(s, a, &s->bucket, S("k"), 3, 100000, NULL, NULL));
    EXPECT_OK(io->unlink(io, shop_path(s, a, 0)));
    EXPECT_ERR(ERR_CORRUPT, shop_check(s, a, &s->bucket, S("k"), latest, NULL));
}

// ---- Buckets

TEST(buckets_are_made_found_listed_and_deleted)
{
    AUTO(shop) s = shop_open(a);
    BlobBucket b, *list;
    size_t n;
    bool more;
    EXPECT_ERR(
        ERR_EXISTS,
        blob_bucket_create(s->b, a, &(BlobBucket){ .name = S("one"), .owner = S("somebody") }, &b));
    EXPECT_STR(S("owner"), b.owner); // who has it
    EXPECT_ERR(ERR_NOT_FOUND, blob_bucket_find(s->b, a, S("two"), &b));
    for (size_t i = 0; i < 5; i++)
        shop_bucket(s, a, str_fmt(a, "b%zu", i), BLOB_UNVERSIONED);
    EXPECT_OK(blob_bucket_list(s->b, a, (Str){ 0 }, S("b"), S("b0"), 3, &list, &n, &more));
    EXPECT(n == 3 && more && str_eq(list[0].name, S("b1")));
    EXPECT_OK(blob_bucket_list(s->b, a, S("owner"), S(""), S(""), 6, &list, &n, &more));
    EXPECT(n == 6 && !more && str_eq(list[5].name, S("one")));
    EXPECT_OK(blob_bucket_list(s->b, a, S("nobody"), S(""), S(""), 6, &list, &n, &more));
    EXPECT_INT(0, n);

    EXPECT_OK(shop_put(s, a, &s->bucket, S("k"), 1, 10, NULL, NULL));
    EXPECT_ERR(ERR_EXISTS, blob_bucket_delete(s->b, &s->bucket));
    BlobDelete d = { .key = S("k") };
    EXPECT_OK(blob_delete(s->b, &s->bucket, &d, 1));
    EXPECT_OK(blob_bucket_delete(s->b, &s->bucket));
    EXPECT_ERR(ERR_CLOSED, shop_put(s, a, &s->bucket, S("k"), 1, 50000, NULL, NULL));
    EXPECT_ERR(ERR_CLOSED, blob_delete(s->b, &s->bucket, &d, 1));
    EXPECT_ERR(ERR_CLOSED, blob_bucket_delete(s->b, &s->bucket));
    BlobBucket again = shop_bucket(s, a, S("one"), BLOB_UNVERSIONED);
    EXPECT(again.id != s->bucket.id);
    EXPECT_ERR(ERR_CLOSED, shop_put(s, a, &s->bucket, S("k"), 1, 50000, NULL, NULL));
    EXPECT_INT(0, shop_files(s, a));
}

TEST(documents_go_with_their_bucket)
{
    AUTO(shop) s = shop_open(a);
    Str value;
    BlobBucket *b = &s->bucket;
    EXPECT_ERR(ERR_NOT_FOUND, blob_bucket_get_document(s->b, a, b, S("policy"), &value));
    EXPECT_OK(blob_bucket_put_document(s->b, b, S("policy"), S("{}")));
    EXPECT_OK(blob_bucket_put_document(s->b, b, S("cors"), S("")));
    EXPECT_OK(blob_bucket_get_document(s->b, a, b, S("policy"), &value));
    EXPECT_STR(S("{}"), value);
    EXPECT_OK(blob_bucket_del_document(s->b, b, S("cors")));
    EXPECT_OK(blob_bucket_del_document(s->b, b, S("cors")));
    EXPECT_ERR(ERR_NOT_FOUND, blob_bucket_get_document(s->b, a, b, S("cors"), &value));
    EXPECT_OK(blob_bucket_delete(s->b, b));
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(0, shop_rows(s, T_DOCUMENT));
    EXPECT_INT(0, shop_rows(s, T_GONE));
    EXPECT_ERR(ERR_CLOSED, blob_bucket_put_document(s->b, b, S("policy"), S("{}")));
}

TEST(a_store_with_its_thread_gives_the_place_back_by_itself)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    AUTO(kv) db = NULL;
    EXPECT_OK(kv_open(io, S("/kv"), &db));
    struct shop s = { .disk = disk };
    AUTO(blob) b = NULL;
    EXPECT_OK(blob_open(&(BlobConfig){ .io = io, .kv = db, .dir = S("/blobs") }, &b));
    s.b = b;
    BlobBucket bucket = shop_bucket(&s, a, S("one"), BLOB_UNVERSIONED);
    for (uint64_t i = 0; i < 20; i++)
        EXPECT_OK(shop_put(&s, a, &bucket, S("k"), i, 40000, NULL, NULL));
    while (shop_files(&s, a) > 1)
        io_real()->sleep_ns(io_real(), 1000000);
    EXPECT_OK(shop_check(&s, a, &bucket, S("k"), latest, NULL));
}

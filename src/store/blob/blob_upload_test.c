// SPDX-License-Identifier: Apache-2.0
// Objects that are made in parts.
#include "store/blob/blob_test_help.h"

#include <string.h>

static const BlobSelect latest = { .which = BLOB_LATEST };

static uint64_t create(struct shop *s, struct arena *a, Str key)
{
    BlobUpload made;
    BlobPair attribute = { S("content-type"), S("x/y") };
    BlobUpload make = { .key = key, .attributes = { &attribute, 1 } };
    EXPECT_OK(blob_upload_create(s->b, a, &s->bucket, &make, &made));
    return made.id;
}

static Err put_part(struct shop *s, Str key, uint64_t upload, uint32_t number, Str bytes, Str etag,
                    const unsigned char *seal)
{
    AUTO(blob_put) p = NULL;
    BlobPart made;
    TRY(blob_put_begin(s->b, &s->bucket, seal, &p));
    TRY(blob_put_write(p, bytes));
    BlobPart part = { .number = number, .etag = etag };
    TRY(blob_put_finish_part(p, key, upload, &part, &made));
    EXPECT_INT(bytes.n, made.bytes);
    return OK;
}

static Err complete(struct shop *s, struct arena *a, Str key, uint64_t upload,
                    const BlobPartRef *parts, size_t n, uint64_t least, BlobObject *ret,
                    size_t *ret_wrong)
{
    BlobNew object = { .key = key, .etag = S("4-700000") };
    return blob_upload_complete(s->b, a, &s->bucket, upload, parts, n, least, &object, ret,
                                ret_wrong);
}

TEST(parts_make_an_object_in_the_order_of_their_numbers)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        AUTO(shop) s = shop_open(a);
        const unsigned char *seal = sealed == 1 ? shop_key : NULL;
        Str all = shop_bytes(a, 4, 700000), key = S("k");
        uint64_t up = create(s, a, key);
        EXPECT_OK(put_part(s, key, up, 900, str_from(all.p + 500000, 200000), S("c"), seal));
        EXPECT_OK(put_part(s, key, up, 2, shop_bytes(a, 1, 99999), S("old"), seal));
        EXPECT_OK(put_part(s, key, up, 2, str_head(all, 300000), S("a"), seal)); // replaces
        EXPECT_OK(put_part(s, key, up, 5, shop_bytes(a, 2, 50000), S("unused"), seal));
        EXPECT_OK(put_part(s, key, up, 7, str_from(all.p + 300000, 200000), S("b"), seal));
        const BlobPartRef parts[] = { { 2, S("a") }, { 7, S("b") }, { 900, S("c") } };
        BlobObject o;
        size_t wrong = 0;
        EXPECT_OK(complete(s, a, key, up, parts, 3, 200000, &o, &wrong));
        EXPECT(o.bytes == all.n && o.part_count == 3);
        for (int round = 0; round < 2; round++) {
            EXPECT_OK(shop_check(s, a, &s->bucket, key, latest, NULL));
            EXPECT_OK(reap_all(s->b));
            EXPECT_INT(3, shop_files(s, a));
            EXPECT_INT(0, shop_rows(s, T_PART));
            EXPECT_INT(0, shop_rows(s, T_GONE));
            EXPECT_OK(shop_reopen(s, a, NULL));
        }
        BlobPart *got;
        size_t n;
        bool more;
        EXPECT_OK(blob_object_parts(s->b, a, &s->bucket, &o, 2, 1, &got, &n, &more));
        EXPECT(n == 1 && more && got[0].number == 7 && got[0].at == 300000);
        EXPECT_STR(S("b"), got[0].etag);
        EXPECT_ERR(ERR_NOT_FOUND, complete(s, a, key, up, parts, 3, 0, &o, &wrong));
        EXPECT_ERR(ERR_NOT_FOUND, put_part(s, key, up, 1, S("late"), S("e"), seal));
        BlobDelete d = { .key = key };
        EXPECT_OK(blob_delete(s->b, &s->bucket, &d, 1));
        EXPECT_OK(reap_all(s->b));
        EXPECT_INT(0, shop_files(s, a));
    }
}

TEST(what_does_not_fit_completes_nothing_and_names_the_part)
{
    AUTO(shop) s = shop_open(a);
    uint64_t up = create(s, a, S("k"));
    BlobObject o;
    EXPECT_OK(put_part(s, S("k"), up, 1, S("one"), S("1"), NULL));
    EXPECT_OK(put_part(s, S("k"), up, 3, S("three"), S("3"), NULL));
    const struct {
        BlobPartRef parts[2];
        size_t n;
        uint64_t least;
        ErrKind want;
        size_t wrong;
    } cases[] = {
        { { { 1, S("1") }, { 2, S("2") } }, 2, 0, ERR_INVALID, 1 },
        { { { 1, S("1") }, { 4, S("4") } }, 2, 0, ERR_INVALID, 1 },
        { { { 1, S("other") }, { 3, S("3") } }, 2, 0, ERR_INVALID, 0 },
        { { { 3, S("3") }, { 1, S("1") } }, 2, 0, ERR_INVALID, 1 },
        { { { 1, S("1") }, { 3, S("3") } }, 2, 4, ERR_LIMIT, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        size_t wrong = 99;
        EXPECT_ERR(cases[i].want, complete(s, a, S("k"), up, cases[i].parts, cases[i].n,
                                           cases[i].least, &o, &wrong));
        EXPECT_INT(cases[i].wrong, wrong);
    }
    EXPECT_ERR(ERR_NOT_FOUND, blob_find(s->b, a, &s->bucket, S("k"), latest, &o));
    EXPECT_OK(blob_upload_abort(s->b, &s->bucket, S("k"), up));
    EXPECT_ERR(ERR_NOT_FOUND, blob_upload_abort(s->b, &s->bucket, S("k"), up));
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(0, shop_files(s, a));
    EXPECT_INT(0, shop_rows(s, T_PART));
    EXPECT_INT(0, shop_rows(s, T_FILE));
}

TEST(an_upload_is_found_with_what_it_was_begun_with_and_its_parts)
{
    AUTO(shop) s = shop_open(a);
    uint64_t up = create(s, a, S("k"));
    BlobUpload u;
    BlobPart *parts;
    size_t n;
    bool more;
    EXPECT_OK(blob_upload_find(s->b, a, &s->bucket, S("k"), up, &u));
    EXPECT_STR(S("x/y"), blob_pair(u.attributes, S("content-type")));
    EXPECT_ERR(ERR_NOT_FOUND, blob_upload_find(s->b, a, &s->bucket, S("other"), up, &u));
    for (uint32_t i = 1; i <= 5; i++)
        EXPECT_OK(put_part(s, S("k"), up, i * 1000, S("x"), str_fmt(a, "e%u", i), NULL));
    EXPECT_OK(blob_part_list(s->b, a, &s->bucket, S("k"), up, 0, 3, &parts, &n, &more));
    EXPECT(n == 3 && more && parts[2].number == 3000);
    EXPECT_OK(blob_part_list(s->b, a, &s->bucket, S("k"), up, 3000, 3, &parts, &n, &more));
    EXPECT(n == 2 && !more && parts[1].number == 5000);
    EXPECT_STR(S("e5"), parts[1].etag);
    EXPECT_ERR(ERR_NOT_FOUND,
               blob_part_list(s->b, a, &s->bucket, S("k"), up + 1, 0, 3, &parts, &n, &more));
    EXPECT_ERR(ERR_INVALID, put_part(s, S("k"), up, 0, S("x"), S("e"), NULL));
    EXPECT_ERR(ERR_INVALID, put_part(s, S("k"), up, 10001, S("x"), S("e"), NULL));
}

TEST(uploads_are_listed_by_key_and_age)
{
    AUTO(shop) s = shop_open(a);
    const Str keys[] = { S("a/1"), S("a/2"), S("b"), S("b"), S("b"), S("c") };
    uint64_t ids[COUNT_OF(keys)];
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        ids[i] = create(s, a, keys[i]);
    BlobUploadPage page;
    BlobListing l = { .max = 3 };
    EXPECT_OK(blob_upload_list(s->b, a, &s->bucket, &l, &page));
    EXPECT(page.upload_count == 3 && page.more && page.uploads[2].id == ids[2]);
    l.after = page.last;
    l.after_version = page.last_id;
    EXPECT_OK(blob_upload_list(s->b, a, &s->bucket, &l, &page));
    EXPECT(page.upload_count == 3 && !page.more && page.uploads[0].id == ids[3]);
    l.after_version = 0; // later keys only
    EXPECT_OK(blob_upload_list(s->b, a, &s->bucket, &l, &page));
    EXPECT(page.upload_count == 1 && page.uploads[0].id == ids[5]);
    l = (BlobListing){ .delimiter = S("/"), .max = 2 };
    EXPECT_OK(blob_upload_list(s->b, a, &s->bucket, &l, &page));
    EXPECT(page.prefix_count == 1 && page.upload_count == 1 && page.more);
    EXPECT_STR(S("a/"), page.prefixes[0]);
}

TEST(the_uploads_of_a_deleted_bucket_go_with_it)
{
    AUTO(shop) s = shop_open(a);
    for (size_t i = 0; i < 5; i++) {
        Str key = str_fmt(a, "k%zu", i);
        uint64_t up = create(s, a, key);
        for (uint32_t n = 1; n <= 3; n++)
            EXPECT_OK(put_part(s, key, up, n, shop_bytes(a, n, 20000), S("e"), NULL));
    }
    EXPECT_INT(15, shop_files(s, a));
    EXPECT_OK(blob_bucket_delete(s->b, &s->bucket));
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(0, shop_files(s, a));
    EXPECT_INT(0, shop_rows(s, T_UPLOAD));
    EXPECT_INT(0, shop_rows(s, T_GONE));
}

enum { PARTS = 1200 }; // several steps of removal

TEST(many_parts_are_completed_and_removed_in_bounded_steps)
{
    AUTO(shop) s = shop_open(a);
    uint64_t up = create(s, a, S("k"));
    BlobPartRef *parts = arena_new(a, BlobPartRef, PARTS);
    // Each shares the same few bytes: the files are not what is tested here.
    AUTO(blob_reader) r = NULL;
    BlobObject o;
    size_t wrong = 0, n = 0;
    EXPECT_OK(shop_put(s, a, &s->bucket, S("from"), 1, 20000, NULL, NULL));
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("from"), latest, &o, &r));

    for (uint32_t i = 0; i < PARTS; i++) {
        AUTO(blob_put) p = NULL;
        BlobPart made;
        parts[i] = (BlobPartRef){ i + 1, S("e") };
        EXPECT_OK(blob_put_begin(s->b, &s->bucket, NULL, &p));
        EXPECT_OK(blob_put_share(p, r, i, 100, false));
        EXPECT_OK(blob_put_finish_part(p, S("k"), up,
                                       &(BlobPart){ .number = i + 1, .etag = S("e") }, &made));
    }
    EXPECT_OK(complete(s, a, S("k"), up, parts, PARTS, 0, &o, &wrong));
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(0, shop_rows(s, T_PART));
    AUTO(blob_reader) made = NULL;
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("k"), latest, &o, &made));
    char *got = arena_new(a, char, PARTS * 100);
    Str want = shop_bytes(a, 1, 20000);
    EXPECT_OK(blob_reader_read(made, got, PARTS * 100, 0, &n));
    EXPECT_INT(PARTS * 100, n);
    for (size_t i = 0; i < PARTS; i++)
        EXPECT(memcmp(got + i * 100, want.p + i, 100) == 0);
    blob_reader_close(made);
    made = NULL;
    blob_reader_close(r);
    r = NULL;
    BlobDelete d[2] = { { .key = S("k") }, { .key = S("from") } };
    EXPECT_OK(blob_delete(s->b, &s->bucket, d, 2));
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(0, shop_files(s, a));
    EXPECT_INT(0, shop_rows(s, T_FILE));
    EXPECT_INT(0, shop_rows(s, T_BODY));
}

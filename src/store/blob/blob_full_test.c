// SPDX-License-Identifier: Apache-2.0
// A full disk: what frees space can still be written down.
#include "store/blob/blob_test_help.h"

enum { DISK = 48 << 20, LARGE = 1 << 20 };

// Puts objects of that size until there is no space; how many there are then.
static size_t fill(struct shop *s, size_t from, size_t bytes)
{
    for (size_t i = from;; i++) {
        AUTO(arena) a = arena_open();
        Err e = shop_put(s, a, &s->bucket, str_fmt(a, "k%zu", i), i, bytes, NULL, NULL);
        if (e.kind != ERR_NONE) {
            EXPECT_ERR(ERR_FULL, e);
            return i;
        }
        EXPECT(i < 100000);
    }
}

TEST(objects_and_uploads_are_removed_from_a_full_disk_and_the_reserve_comes_back)
{
    AUTO(shop) s = shop_open(a);
    BlobUpload upload, make = { .key = S("u") };
    BlobPart part = { .number = 1, .etag = S("e") }, made;
    AUTO(blob_put) p = NULL;
    reserve_make(s->b);
    EXPECT(s->b->has_reserve);
    EXPECT_OK(blob_upload_create(s->b, a, &s->bucket, &make, &upload));
    EXPECT_OK(blob_put_begin(s->b, &s->bucket, NULL, &p));
    EXPECT_OK(blob_put_write(p, shop_bytes(a, 1, LARGE)));
    EXPECT_OK(blob_put_finish_part(p, S("u"), upload.id, &part, &made));
    io_mem_set_capacity(s->disk, DISK);
    size_t n = fill(s, fill(s, 0, LARGE), 100);
    EXPECT(n > 20 && s->b->has_reserve);
    EXPECT_OK(shop_check(s, a, &s->bucket, S("k0"), (BlobSelect){ 0 }, NULL));
    EXPECT_OK(blob_upload_abort(s->b, &s->bucket, S("u"), upload.id));
    BlobDelete d[] = { { .key = S("k0") }, { .key = S("k1") }, { .key = S("k2") },
                       { .key = S("k3") }, { .key = S("k4") }, { .key = S("k5") } };
    EXPECT_OK(blob_delete(s->b, &s->bucket, d, COUNT_OF(d)));
    unsigned tries = 0;
    Err e;
    do // as the thread does
        e = reap_all(s->b);
    while (reserve_tries_again(s->b, e, &tries));
    EXPECT_OK(e);
    reserve_make(s->b);
    EXPECT(s->b->has_reserve);
    EXPECT_OK(shop_put(s, a, &s->bucket, S("again"), 7, LARGE, NULL, NULL));
    EXPECT_OK(shop_check(s, a, &s->bucket, S("again"), (BlobSelect){ 0 }, NULL));
}

TEST(a_reserve_that_finds_no_space_leaves_nothing)
{
    AUTO(shop) s = shop_open(a);
    IoName *names;
    size_t n = 0;
    struct io *io = io_mem_io(s->disk);
    io_mem_set_capacity(s->disk, 1 << 20);
    reserve_make(s->b);
    EXPECT(!s->b->has_reserve);
    EXPECT_OK(io->list(io, a, S("/blobs"), &names, &n));
    for (size_t i = 0; i < n; i++)
        EXPECT(names[i].is_dir);
}

// Else whoever frees space next finds the reserve taken again by the one who freed some before.
TEST(a_reserve_that_is_needed_is_not_made_again_meanwhile)
{
    AUTO(shop) s = shop_open(a);
    Err full = fail(ERR_FULL, "injected");
    unsigned tries = 0, others = 0;
    reserve_make(s->b);
    EXPECT(!reserve_tries_again(s->b, OK, &tries) && s->b->has_reserve);
    EXPECT(reserve_tries_again(s->b, full, &tries));
    EXPECT(reserve_tries_again(s->b, full, &others));
    reserve_make(s->b);
    EXPECT(!s->b->has_reserve);
    EXPECT(!reserve_tries_again(s->b, OK, &tries));
    reserve_make(s->b);
    EXPECT(!s->b->has_reserve);                      // the other one still needs it
    while (reserve_tries_again(s->b, full, &others)) // it gives up
        EXPECT(others < 1000);
    reserve_make(s->b);
    EXPECT(s->b->has_reserve);
}

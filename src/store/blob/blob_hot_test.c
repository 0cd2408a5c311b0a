// SPDX-License-Identifier: Apache-2.0
// What is kept in memory is what was acknowledged last, and never more than may be.
#include "store/blob/blob_test_help.h"

#include <string.h>

static const BlobSelect LATEST = { .which = BLOB_LATEST };

// Reads all of it and offers it; false: it is not there.
static bool read_and_offer(struct shop *s, struct arena *a, Str key, const unsigned char *seal)
{
    AUTO(blob_reader) r = NULL;
    BlobObject o = { 0 };
    size_t got = 0;
    Err e = blob_reader_open(s->b, a, &s->bucket, key, LATEST, &o, &r);
    if (e.kind != ERR_NONE)
        return false;
    if (seal != NULL)
        blob_reader_unseal(r, seal);
    char *p = arena_alloc(a, o.bytes + 1, 1);
    EXPECT_OK(blob_reader_read(r, p, o.bytes, 0, &got));
    blob_reader_offer(r, &o, str_from(p, got));
    return true;
}

static void make_hot(struct shop *s, struct arena *a, Str key)
{
    EXPECT(read_and_offer(s, a, key, NULL));
    EXPECT(read_and_offer(s, a, key, NULL));
}

static bool is_hot(struct shop *s, Str key)
{
    const BlobObject *o;
    Str bytes;
    AUTO(blob_hot) h = blob_hot_take(s->b, &s->bucket, key, &o, &bytes);
    return h != NULL;
}

TEST(what_is_read_twice_is_kept_whole_with_what_is_known_of_it)
{
    AUTO(shop) s = shop_open(a);
    const BlobObject *o;
    BlobObject made;
    Str bytes;
    BlobPair tag = { S("k"), S("v") };
    EXPECT_OK(shop_put(s, a, &s->bucket, S("x"), 7, 40000, NULL, &made));
    EXPECT_OK(blob_change(s->b, a, &s->bucket, S("x"), LATEST,
                          &(BlobChange){ .tags = &(BlobPairs){ &tag, 1 } }, &made));
    EXPECT(read_and_offer(s, a, S("x"), NULL));
    EXPECT(!is_hot(s, S("x")));
    EXPECT(read_and_offer(s, a, S("x"), NULL));
    AUTO(blob_hot) h = blob_hot_take(s->b, &s->bucket, S("x"), &o, &bytes);
    EXPECT(h != NULL);
    EXPECT_STR(shop_bytes(a, 7, 40000), bytes);
    EXPECT_STR(made.etag, o->etag);
    EXPECT_STR(S("x"), o->key);
    EXPECT_STR(S("v"), blob_pair(o->tags, S("k")));
    EXPECT(o->version == made.version && o->is_latest && o->bytes == 40000);
}

TEST(a_change_drops_what_is_kept_and_who_has_it_keeps_it)
{
    AUTO(shop) s = shop_open(a);
    const BlobObject *o;
    Str bytes;
    BlobDelete d = { .key = S("x") };
    BlobPair tag = { S("k"), S("v") };
    BlobObject changed;
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_OK(shop_put(s, a, &s->bucket, S("x"), i, 100, NULL, NULL));
        make_hot(s, a, S("x"));
        AUTO(blob_hot) h = blob_hot_take(s->b, &s->bucket, S("x"), &o, &bytes);
        EXPECT(h != NULL);
        if (i == 0)
            EXPECT_OK(shop_put(s, a, &s->bucket, S("x"), 99, 100, NULL, NULL));
        else if (i == 1)
            EXPECT_OK(blob_delete(s->b, &s->bucket, &d, 1));
        else
            EXPECT_OK(blob_change(s->b, a, &s->bucket, S("x"), LATEST,
                                  &(BlobChange){ .tags = &(BlobPairs){ &tag, 1 } }, &changed));
        EXPECT(!is_hot(s, S("x")));
        EXPECT_STR(shop_bytes(a, i, 100), bytes);
    }
}

TEST(what_was_read_before_a_change_is_not_kept_after_it)
{
    AUTO(shop) s = shop_open(a);
    AUTO(blob_reader) r = NULL;
    BlobObject o;
    size_t got;
    char p[100];
    EXPECT_OK(shop_put(s, a, &s->bucket, S("x"), 1, sizeof p, NULL, NULL));
    EXPECT(read_and_offer(s, a, S("x"), NULL));
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("x"), LATEST, &o, &r));
    EXPECT_OK(shop_put(s, a, &s->bucket, S("x"), 2, sizeof p, NULL, NULL));
    EXPECT_OK(blob_reader_read(r, p, sizeof p, 0, &got));
    blob_reader_offer(r, &o, str_from(p, got));
    EXPECT(!is_hot(s, S("x")));
    make_hot(s, a, S("x"));
    EXPECT(is_hot(s, S("x")));
}

TEST(a_change_that_failed_leaves_the_key_able_to_be_kept)
{
    AUTO(shop) s = shop_open(a);
    BlobObject o;
    EXPECT_OK(shop_put(s, a, &s->bucket, S("x"), 1, 100, NULL, NULL));
    make_hot(s, a, S("x"));
    io_fault_set_budget(s->faults, 0);
    Err e = shop_put(s, a, &s->bucket, S("x"), 2, 100, NULL, &o);
    io_fault_clear(s->faults);
    EXPECT(e.kind != ERR_NONE);
    make_hot(s, a, S("x"));
    EXPECT(is_hot(s, S("x")));
}

TEST(sealed_and_large_objects_are_not_kept_and_old_ones_make_room)
{
    AUTO(shop) s = shop_open(a);
    EXPECT_OK(shop_put(s, a, &s->bucket, S("sealed"), 1, 100, shop_key, NULL));
    EXPECT_OK(shop_put(s, a, &s->bucket, S("large"), 1, BLOB_HOT_BYTES_MAX + 1, NULL, NULL));
    for (int i = 0; i < 3; i++)
        EXPECT(read_and_offer(s, a, S("sealed"), shop_key) &&
               read_and_offer(s, a, S("large"), NULL));
    EXPECT(!is_hot(s, S("sealed")) && !is_hot(s, S("large")));
    enum { MORE_THAN_FIT = 140 };
    for (int i = 0; i < MORE_THAN_FIT; i++) {
        AUTO(arena) tmp = arena_open();
        Str key = str_fmt(tmp, "k%d", i);
        EXPECT_OK(shop_put(s, tmp, &s->bucket, key, 1, BLOB_HOT_BYTES_MAX, NULL, NULL));
        make_hot(s, tmp, key);
        EXPECT(is_hot(s, key));
    }
    EXPECT(!is_hot(s, S("k0")));
}

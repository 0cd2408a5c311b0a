// SPDX-License-Identifier: Apache-2.0
// Listing, beside a plain sorted list of keys.
#include "store/blob/blob_test_help.h"

#include <stdlib.h>
#include <string.h>

static Str listed(struct shop *s, struct arena *a, const BlobListing *l, BlobPage *ret)
{
    AUTO_BUF(b);
    EXPECT_OK(blob_list(s->b, a, &s->bucket, l, ret));
    for (size_t i = 0; i < ret->object_count; i++)
        buf_addf(&b, "%.*s ", FMT(ret->objects[i].key));
    for (size_t i = 0; i < ret->prefix_count; i++)
        buf_addf(&b, "[%.*s] ", FMT(ret->prefixes[i]));
    buf_addf(&b, "%s", ret->more ? "+" : "");
    return str_dup(a, buf_str(&b));
}

TEST(a_delimiter_rolls_keys_up)
{
    AUTO(shop) s = shop_open(a);
    const Str keys[] = { S("a"), S("b/1"), S("b/2"), S("b/c/3"), S("b0"), S("c//x"), S("d/") };
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        EXPECT_OK(shop_put(s, a, &s->bucket, keys[i], i, 3, NULL, NULL));
    const struct {
        BlobListing l;
        Str want;
    } cases[] = {
        { { .max = 10 }, S("a b/1 b/2 b/c/3 b0 c//x d/ ") },
        { { .delimiter = S("/"), .max = 10 }, S("a b0 [b/] [c/] [d/] ") },
        { { .delimiter = S("/"), .prefix = S("b/"), .max = 10 }, S("b/1 b/2 [b/c/] ") },
        { { .delimiter = S("/"), .prefix = S("b"), .max = 10 }, S("b0 [b/] ") },
        { { .delimiter = S("//"), .max = 10 }, S("a b/1 b/2 b/c/3 b0 d/ [c//] ") },
        { { .delimiter = S("/"), .max = 2 }, S("a [b/] +") },
        { { .delimiter = S("/"), .after = S("b/"), .max = 2 }, S("b0 [c/] +") },
        { { .delimiter = S("/"), .after = S("b/1"), .max = 1 }, S("b0 +") },
        { { .delimiter = S("/"), .after = S("c/"), .max = 2 }, S("[d/] ") },
        { { .after = S("b/1"), .max = 2 }, S("b/2 b/c/3 +") },
        { { .after = S("b/1"), .prefix = S("b/"), .max = 2 }, S("b/2 b/c/3 ") },
        { { .after = S("a"), .prefix = S("b/"), .max = 1 }, S("b/1 +") },
        { { .after = S("x"), .prefix = S("b/"), .max = 1 }, S("") },
        { { .prefix = S("nothing"), .max = 1 }, S("") },
        { { .max = 0 }, S("") },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        BlobPage page;
        EXPECT_STR(cases[i].want, listed(s, a, &cases[i].l, &page));
    }
}

// ---- At random

enum { KEYS = 300 };

static int by_key(const void *x, const void *y)
{
    return str_cmp(*(const Str *)x, *(const Str *)y);
}

// Keys of few letters, so that prefixes and delimiters meet; one that is there twice is dropped.
static size_t random_keys(struct arena *a, uint64_t *random, Str out[KEYS])
{
    static const char letters[] = "ab/-\x01z";
    size_t n = 0, unique = 0;
    for (; n < KEYS; n++) {
        char *p = arena_alloc(a, 12, 1);
        size_t length = 1 + (*random >> 40) % 7;
        for (size_t i = 0; i < length; i++) {
            *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            p[i] = letters[(*random >> 33) % (sizeof letters - 1)];
        }
        out[n] = str_from(p, length);
    }
    qsort(out, n, sizeof *out, by_key);
    for (size_t i = 0; i < n; i++)
        if (unique == 0 || !str_eq(out[unique - 1], out[i]))
            out[unique++] = out[i];
    return unique;
}

// What a list of everything gives, with "[" before a common prefix.
static Str want_all(struct arena *a, const Str *keys, size_t n, const BlobListing *l)
{
    AUTO_BUF(b);
    Str group = { 0 };
    for (size_t i = 0; i < n; i++) {
        if (!str_starts(keys[i], l->prefix))
            continue;
        Str rest = str_skip(keys[i], l->prefix.n);
        size_t at = l->delimiter.n > 0 ? str_search(rest, l->delimiter) : rest.n;
        if (at == rest.n) {
            if (str_cmp(keys[i], l->after) > 0)
                buf_addf(&b, "%.*s ", FMT(keys[i]));
            continue;
        }
        Str mine = str_head(keys[i], l->prefix.n + at + l->delimiter.n);
        if (!str_eq(mine, group) && str_cmp(mine, l->after) > 0)
            buf_addf(&b, "[%.*s ", FMT(mine));
        group = mine;
    }
    return str_dup(a, buf_str(&b));
}

// All pages after each other.
static Str got_all(struct shop *s, struct arena *a, BlobListing l, bool versions)
{
    AUTO_BUF(b);
    BlobPage page = { .more = true };
    while (page.more) {
        EXPECT_OK(versions ? blob_list_versions(s->b, a, &s->bucket, &l, &page)
                           : blob_list(s->b, a, &s->bucket, &l, &page));
        size_t i = 0, j = 0;
        EXPECT(page.object_count + page.prefix_count <= l.max);
        while (i < page.object_count || j < page.prefix_count) {
            bool object =
                j == page.prefix_count ||
                (i < page.object_count && str_cmp(page.objects[i].key, page.prefixes[j]) < 0);
            if (object)
                buf_addf(&b, "%.*s ", FMT(page.objects[i].key));
            else
                buf_addf(&b, "[%.*s ", FMT(page.prefixes[j]));
            i += object;
            j += !object;
        }
        l.after = page.last;
        l.after_version = page.last_version;
    }
    return str_dup(a, buf_str(&b));
}

TEST(pages_of_any_size_give_what_there_is_once_and_in_order)
{
    AUTO(shop) s = shop_open(a);
    uint64_t random = 7;
    Str keys[KEYS];
    size_t n = random_keys(a, &random, keys);
    for (size_t i = 0; i < n; i++)
        EXPECT_OK(shop_put(s, a, &s->bucket, keys[i], i, 1, NULL, NULL));
    const Str delimiters[] = { S(""), S("/"), S("a"), S("//"), S("b/") };
    const Str prefixes[] = { S(""), S("a"), S("ab/"), S("/"), S("z") };
    for (size_t i = 0; i < 25; i++)
        for (size_t max = 1; max < 40; max = max * 3) {
            AUTO(arena) tmp = arena_open();
            BlobListing l = { .delimiter = delimiters[i % 5],
                              .prefix = prefixes[i / 5],
                              .max = max };
            l.after = max == 3 ? keys[i * 7 % n] : S("");
            Str want = want_all(tmp, keys, n, &l);
            EXPECT_STR(want, got_all(s, tmp, l, false));
            EXPECT_STR(want, got_all(s, tmp, l, true));
        }
}

TEST(a_listing_costs_what_it_gives_and_not_what_is_stored)
{
    AUTO(shop) s = shop_open(a);
    // Two groups of many keys: with a delimiter they are jumped over.
    for (size_t i = 0; i < 3000; i++) {
        Str key = str_fmt(a, "%s/%zu", i % 2 == 0 ? "x" : "y", i);
        EXPECT_OK(shop_put(s, a, &s->bucket, key, i, 1, NULL, NULL));
    }
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_read(s->b->tables[T_OBJECT]);
    struct walk w;
    size_t rows = 0;
    EXPECT_OK(walk_begin(&w, s->b, tx, tmp, T_OBJECT, s->bucket.id, S(""), S("")));
    BlobListing l = { .delimiter = S("/") };
    for (; w.has; rows++)
        EXPECT_OK(walk_skip(&w, str_dup(a, listing_group(&l, w.key))));
    EXPECT_INT(2, rows);
}

TEST(a_page_of_versions_goes_on_though_the_latest_has_gone)
{
    AUTO(shop) s = shop_open(a);
    BlobBucket b = shop_bucket(s, a, S("v"), BLOB_VERSIONED);
    BlobObject made[3];
    for (uint64_t i = 0; i < 3; i++)
        EXPECT_OK(shop_put(s, a, &b, S("k"), i, 1, NULL, &made[i]));
    BlobListing l = { .max = 1 };
    BlobPage page;
    EXPECT_OK(blob_list_versions(s->b, a, &b, &l, &page));
    EXPECT(page.more && page.last_version == made[2].version);
    BlobDelete d = { .key = S("k"),
                     .which = { .which = BLOB_VERSION, .version = made[2].version } };
    EXPECT_OK(blob_delete(s->b, &b, &d, 1));
    l.after = page.last;
    l.after_version = page.last_version;
    l.max = 5;
    EXPECT_OK(blob_list_versions(s->b, a, &b, &l, &page));
    EXPECT_INT(2, page.object_count);
    EXPECT_INT(made[1].version, page.objects[0].version);
    EXPECT(page.objects[0].is_latest && !page.objects[1].is_latest);
}

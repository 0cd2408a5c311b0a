// SPDX-License-Identifier: Apache-2.0
// Rules that end objects, on a clock that is set.
#include "base/time.h"
#include "store/blob/blob_test_help.h"
#include "store/blob_expire.h"

static const BlobSelect latest = { .which = BLOB_LATEST };

enum { ENDS_MAX = 64 };

struct told {
    struct arena *a;
    Str text[ENDS_MAX];
    size_t n;
};

static void tell(void *self, BlobEnd what, const BlobObject *o)
{
    struct told *t = self;
    const char *names[] = { "marked", "removed", "upload" };
    CHECK(t->n < ENDS_MAX);
    t->text[t->n++] = str_fmt(t->a, "%s %.*s", names[what], FMT(o->key));
}

// Everything that ends now, in calls that look at `step` rows each; "what key, what key".
static Str expire(struct shop *s, struct arena *a, const BlobBucket *b, const BlobRule *rules,
                  size_t n, size_t step)
{
    struct told told = { .a = a };
    BlobExpire e = { .rules = rules,
                     .rule_count = n,
                     .now_ns = io_mem_io(s->disk)->wall_ns(io_mem_io(s->disk)),
                     .tell = tell,
                     .self = &told,
                     .max = step };
    do
        EXPECT_OK(blob_expire(s->b, a, b, &e, &e.after));
    while (e.after.p != NULL);
    AUTO_BUF(all);
    for (size_t i = 0; i < told.n; i++)
        buf_addf(&all, "%s%.*s", i > 0 ? ", " : "", FMT(told.text[i]));
    return str_dup(a, buf_str(&all));
}

static int64_t at(Str text)
{
    int64_t ns = 0;
    EXPECT_OK(time_parse_iso(text, &ns));
    return ns;
}

static void set_time(struct shop *s, Str text)
{
    io_mem_set_clock(s->disk, at(text), 0);
}

TEST(days_end_at_midnight)
{
    AUTO(shop) s = shop_open(a);
    BlobRule rule = { .days = 3 };
    set_time(s, S("2014-01-15T10:30:00Z"));
    EXPECT_OK(shop_put(s, a, &s->bucket, S("k"), 1, 20000, NULL, NULL));
    set_time(s, S("2014-01-18T23:59:59Z"));
    EXPECT_STR(S(""), expire(s, a, &s->bucket, &rule, 1, 1));
    set_time(s, S("2014-01-19T00:00:00Z"));
    EXPECT_STR(S("removed k"), expire(s, a, &s->bucket, &rule, 1, 1));
    EXPECT_STR(S(""), expire(s, a, &s->bucket, &rule, 1, 1));
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(0, shop_files(s, a));
}

TEST(a_rule_takes_what_fits_it)
{
    AUTO(shop) s = shop_open(a);
    BlobObject o;
    BlobPair pair = { S("team"), S("water") }, other = { S("team"), S("fire") };
    BlobPairs tags = { &pair, 1 }, other_tags = { &other, 1 };
    set_time(s, S("2024-01-01T12:00:00Z"));
    const Str keys[] = { S("logs/a"), S("logs/b"), S("logs/c"), S("other") };
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        EXPECT_OK(shop_put(s, a, &s->bucket, keys[i], i, 100 * (i + 1), NULL, NULL));
    EXPECT_OK(
        blob_change(s->b, a, &s->bucket, keys[0], latest, &(BlobChange){ .tags = &tags }, &o));
    EXPECT_OK(blob_change(s->b, a, &s->bucket, keys[1], latest,
                          &(BlobChange){ .tags = &other_tags }, &o));
    set_time(s, S("2024-02-01T00:00:00Z"));
    const BlobRule none[] = {
        { .prefix = S("log/"), .days = 1 },         { .days = 31 },
        { .at_ns = at(S("2024-02-02T00:00:00Z")) }, { .tags = tags, .prefix = S("o"), .days = 1 },
        { .bytes_above = 400, .days = 1 },          { .noncurrent_days = 1 }
    };
    EXPECT_STR(S(""), expire(s, a, &s->bucket, none, COUNT_OF(none), 2));
    EXPECT_STR(S("removed logs/a"),
               expire(s, a, &s->bucket, &(BlobRule){ .tags = tags, .days = 1 }, 1, 2));
    EXPECT_STR(S("removed logs/b"),
               expire(s, a, &s->bucket, &(BlobRule){ .bytes_below = 300, .days = 1 }, 1, 2));
    EXPECT_STR(S("removed other"),
               expire(s, a, &s->bucket, &(BlobRule){ .bytes_above = 300, .days = 1 }, 1, 2));
    BlobRule date = { .prefix = S("logs/"), .at_ns = at(S("2024-01-31T00:00:00Z")) };
    EXPECT_STR(S("removed logs/c"), expire(s, a, &s->bucket, &date, 1, 2));
}

TEST(attributes_are_set_one_by_one_and_the_others_stay)
{
    AUTO(shop) s = shop_open(a);
    BlobObject o;
    BlobPair first[] = { { S("a"), S("1") }, { S("b"), S("2") }, { S("c"), S("3") } };
    BlobPairs all = { first, COUNT_OF(first) };
    EXPECT_OK(shop_put(s, a, &s->bucket, S("k"), 1, 10, NULL, NULL));
    EXPECT_OK(
        blob_change(s->b, a, &s->bucket, S("k"), latest, &(BlobChange){ .attributes = &all }, &o));
    BlobPair set[] = { { S("b"), S("5") }, { S("c"), { 0 } }, { S("d"), S("7") } };
    EXPECT_OK(blob_change(s->b, a, &s->bucket, S("k"), latest,
                          &(BlobChange){ .set = { set, COUNT_OF(set) } }, &o));
    EXPECT_OK(blob_find(s->b, a, &s->bucket, S("k"), latest, &o));
    EXPECT_INT(3, o.attributes.n);
    EXPECT_STR(S("1"), blob_pair(o.attributes, S("a")));
    EXPECT_STR(S("5"), blob_pair(o.attributes, S("b")));
    EXPECT_STR(S("7"), blob_pair(o.attributes, S("d")));
    EXPECT(blob_pair(o.attributes, S("c")).p == NULL);
}

TEST(versions_end_after_they_were_replaced_and_some_are_kept)
{
    AUTO(shop) s = shop_open(a);
    BlobBucket b = shop_bucket(s, a, S("v"), BLOB_VERSIONED);
    for (int day = 1; day <= 5; day++) {
        set_time(s, str_fmt(a, "2024-01-0%dT12:00:00Z", day));
        EXPECT_OK(shop_put(s, a, &b, S("k"), (uint64_t)day, 10, NULL, NULL));
    }
    // Replaced on the 2nd, 3rd, 4th and 5th.
    set_time(s, S("2024-01-06T00:00:00Z"));
    BlobRule kept = { .noncurrent_days = 2, .noncurrent_kept = 3 };
    EXPECT_STR(S("removed k"), expire(s, a, &b, &kept, 1, 1));
    BlobRule all = { .noncurrent_days = 2 };
    EXPECT_STR(S("removed k"), expire(s, a, &b, &all, 1, 1)); // that of the 3rd
    EXPECT_STR(S(""), expire(s, a, &b, &all, 1, 1));
    BlobPage page;
    EXPECT_OK(blob_list_versions(s->b, a, &b, &(BlobListing){ .max = 10 }, &page));
    EXPECT_INT(3, page.object_count);
    EXPECT_OK(shop_check(s, a, &b, S("k"), latest, NULL));
}

TEST(a_latest_version_is_covered_by_a_marker_and_lonely_markers_go)
{
    AUTO(shop) s = shop_open(a);
    BlobBucket b = shop_bucket(s, a, S("v"), BLOB_VERSIONED);
    set_time(s, S("2024-01-01T12:00:00Z"));
    EXPECT_OK(shop_put(s, a, &b, S("k"), 1, 10, NULL, NULL));
    EXPECT_OK(shop_put(s, a, &b, S("l"), 1, 10, NULL, NULL));
    set_time(s, S("2024-01-03T00:00:00Z"));
    const BlobRule rules[] = { { .prefix = S("k"), .days = 1 }, { .lonely_markers = true } };
    EXPECT_STR(S("marked k"), expire(s, a, &b, rules, 2, 1));
    EXPECT_STR(S(""), expire(s, a, &b, rules, 2, 1)); // something is behind the marker
    set_time(s, S("2024-01-05T00:00:00Z"));
    const BlobRule more[] = { rules[1], { .noncurrent_days = 1 } };
    EXPECT_STR(S("removed k"), expire(s, a, &b, more, 2, 1));
    EXPECT_STR(S("removed k"), expire(s, a, &b, more, 2, 1));
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(0, shop_rows(s, T_OLDER));
    EXPECT_OK(shop_check(s, a, &b, S("l"), latest, NULL));
}

TEST(retention_is_stronger_than_a_rule)
{
    AUTO(shop) s = shop_open(a);
    BlobBucket b;
    BlobObject o;
    set_time(s, S("2024-01-01T12:00:00Z"));
    EXPECT_OK(blob_bucket_create(s->b, a, &(BlobBucket){ .name = S("l"), .locks = true }, &b));
    EXPECT_OK(shop_put(s, a, &b, S("k"), 1, 10, NULL, NULL));
    BlobRetention r = { .mode = BLOB_GOVERNANCE, .until_ns = at(S("2024-02-01T00:00:00Z")) };
    EXPECT_OK(blob_change(s->b, a, &b, S("k"), latest, &(BlobChange){ .retention = &r }, &o));
    EXPECT_OK(shop_put(s, a, &b, S("k"), 2, 10, NULL, NULL));
    BlobRule rule = { .noncurrent_days = 1 };
    set_time(s, S("2024-01-10T00:00:00Z"));
    EXPECT_STR(S(""), expire(s, a, &b, &rule, 1, 1));
    set_time(s, S("2024-02-01T00:00:00Z"));
    EXPECT_STR(S("removed k"), expire(s, a, &b, &rule, 1, 1));
}

TEST(uploads_that_nobody_ends_are_given_up)
{
    AUTO(shop) s = shop_open(a);
    BlobUpload u;
    set_time(s, S("2024-01-01T12:00:00Z"));
    EXPECT_OK(blob_upload_create(s->b, a, &s->bucket, &(BlobUpload){ .key = S("old") }, &u));
    set_time(s, S("2024-01-05T12:00:00Z"));
    EXPECT_OK(blob_upload_create(s->b, a, &s->bucket, &(BlobUpload){ .key = S("new") }, &u));
    BlobRule rule = { .upload_days = 3 };
    EXPECT_STR(S("upload old"), expire(s, a, &s->bucket, &rule, 1, 1));
    EXPECT_OK(blob_upload_find(s->b, a, &s->bucket, S("new"), u.id, &u));
}

TEST(many_objects_end_in_few_commits)
{
    AUTO(shop) s = shop_open(a);
    set_time(s, S("2024-01-01T12:00:00Z"));
    for (uint64_t i = 0; i < 1500; i++)
        EXPECT_OK(shop_put(s, a, &s->bucket, str_fmt(a, "%llu", (unsigned long long)i), i, 1, NULL,
                           NULL));
    set_time(s, S("2024-03-01T12:00:00Z"));
    BlobRule rule = { .days = 1 };
    BlobExpire e = {
        .rules = &rule, .rule_count = 1, .now_ns = at(S("2024-03-01T12:00:00Z")), .max = 10000
    };
    uint64_t before = io_fault_count(s->faults, IO_OP_SYNC);
    EXPECT_OK(blob_expire(s->b, a, &s->bucket, &e, &e.after));
    EXPECT(e.after.p == NULL);
    EXPECT(io_fault_count(s->faults, IO_OP_SYNC) - before < 40);
    EXPECT_INT(0, shop_rows(s, T_OBJECT));
}

// SPDX-License-Identifier: Apache-2.0
// Rules that end objects, on a clock that is set.
#include "base/logline.h"
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

// ---- Rows that belong to a commit

enum { NOTED = 3 };

struct notes {
    struct kv_table *rows;
    bool refuses;
};

static Err write_note(void *self, struct kv_txn *tx, const BlobObject *o)
{
    struct notes *n = self;
    if (n->refuses)
        return fail(ERR_LIMIT, "refused");
    kv_on(tx, n->rows);
    return kv_put(tx, o->key, S("ended"));
}

static Err note_end(void *self, struct kv_txn *tx, BlobEnd what, const BlobObject *o)
{
    EXPECT(what == BLOB_END_REMOVED);
    return write_note(self, tx, o);
}

static bool is_noted(struct notes *n, struct arena *a, Str key)
{
    Str value;
    AUTO(kv_txn) tx = kv_read(n->rows);
    return kv_get(tx, a, key, &value).kind == ERR_NONE;
}

// How many have ended: each with its note, or without both.
static size_t ended_and_noted(struct shop *s, struct arena *a, struct notes *n)
{
    size_t ended = 0;
    for (size_t i = 0; i < NOTED; i++) {
        Str key = str_fmt(a, "k%zu", i);
        BlobObject o;
        bool there = blob_find(s->b, a, &s->bucket, key, latest, &o).kind == ERR_NONE;
        EXPECT(there != is_noted(n, a, key));
        ended += !there;
    }
    return ended;
}

static Err end_noted(struct shop *s, struct arena *a, struct notes *n)
{
    BlobRule rule = { .days = 1 };
    BlobExpire e = { .rules = &rule,
                     .rule_count = 1,
                     .now_ns = at(S("2024-03-01T12:00:00Z")),
                     .note = note_end,
                     .self = n,
                     .max = 100 };
    return blob_expire(s->b, a, &s->bucket, &e, &e.after);
}

static struct shop *shop_noted(struct arena *a, struct notes *n)
{
    struct shop *s = shop_open(a);
    set_time(s, S("2024-01-01T12:00:00Z"));
    for (uint64_t i = 0; i < NOTED; i++)
        EXPECT_OK(shop_put(s, a, &s->bucket, str_fmt(a, "k%u", (unsigned)i), i, 10, NULL, NULL));
    set_time(s, S("2024-03-01T12:00:00Z"));
    EXPECT_OK(kv_table_open(s->kv, S("notes"), &n->rows));
    return s;
}

TEST(what_is_noted_with_an_end_is_there_exactly_if_it_has_come)
{
    struct notes n = { .refuses = true };
    AUTO(shop) s = shop_noted(a, &n);
    EXPECT_ERR(ERR_LIMIT, end_noted(s, a, &n));
    EXPECT_INT(0, ended_and_noted(s, a, &n));
    n.refuses = false;
    EXPECT_OK(end_noted(s, a, &n));
    EXPECT_INT(NOTED, ended_and_noted(s, a, &n));
}

TEST(a_power_cut_anywhere_parts_no_end_from_its_note)
{
    size_t seen[2] = { 0 };
    bool hit = true;
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    for (unsigned skip = 0; hit; skip++) {
        struct notes n = { 0 };
        AUTO(shop) s = shop_noted(a, &n);
        IoFault cut = { .ops = IO_OP_CHANGE, .power_off = true, .skip = skip };
        io_fault_add(s->faults, cut);
        Err e = end_noted(s, a, &n);
        hit = io_fault_hits(s->faults) > 0;
        EXPECT_OK(shop_reopen(s, a, &(IoMemCrash){ .seed = skip, .keep = IO_KEEP_SOME }));
        EXPECT_OK(kv_table_open(s->kv, S("notes"), &n.rows));
        size_t ended = ended_and_noted(s, a, &n);
        EXPECT(ended == NOTED || (ended == 0 && e.kind != ERR_NONE));
        seen[ended > 0]++;
    }
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
    EXPECT(seen[0] > 0 && seen[1] > 0);
}

TEST(a_change_and_its_note_are_one_and_only_of_what_was_seen)
{
    struct notes n = { .refuses = true };
    AUTO(shop) s = shop_noted(a, &n);
    BlobPair set = { S("state"), S("one") }, was = { S("state"), { 0 } };
    BlobChange change = { .set = { &set, 1 }, .only_if = &was, .also = { write_note, &n } };
    BlobObject o;
    EXPECT_ERR(ERR_LIMIT, blob_change(s->b, a, &s->bucket, S("k0"), latest, &change, &o));
    EXPECT_OK(blob_find(s->b, a, &s->bucket, S("k0"), latest, &o));
    EXPECT(blob_pair(o.attributes, S("state")).p == NULL && !is_noted(&n, a, S("k0")));
    n.refuses = false;
    EXPECT_OK(blob_change(s->b, a, &s->bucket, S("k0"), latest, &change, &o));
    EXPECT(is_noted(&n, a, S("k0")));
    EXPECT_STR(S("one"), blob_pair(o.attributes, S("state")));
    EXPECT_ERR(ERR_BUSY, blob_change(s->b, a, &s->bucket, S("k0"), latest, &change, &o));
    was.value = S("two");
    EXPECT_ERR(ERR_BUSY, blob_change(s->b, a, &s->bucket, S("k0"), latest, &change, &o));
    was.value = S("one");
    set.value = (Str){ 0 };
    EXPECT_OK(blob_change(s->b, a, &s->bucket, S("k0"), latest, &change, &o));
    EXPECT(blob_pair(o.attributes, S("state")).p == NULL);
    EXPECT_ERR(ERR_BUSY, blob_change(s->b, a, &s->bucket, S("k1"), latest, &change, &o));
    EXPECT(!is_noted(&n, a, S("k1")));
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

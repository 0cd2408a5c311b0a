// SPDX-License-Identifier: Apache-2.0
// Versions, beside a plain list of what there must be; retention.
#include "base/time.h"
#include "store/blob/blob_test_help.h"

#include <string.h>

static const BlobSelect latest = { .which = BLOB_LATEST };

enum { KEYS = 3, VERSIONS_MAX = 400, STEPS = 400 };

// A version as the model keeps it.
struct version {
    uint64_t number;
    bool is_null, is_marker;
    uint64_t seed;
    size_t bytes;
};

struct model {
    struct version at[KEYS][VERSIONS_MAX]; // the newest last
    size_t n[KEYS];
    BlobVersioning versioning;
    uint64_t random;
};

static const Str keys[KEYS] = { S_INIT("a"), S_INIT("a\0"), S_INIT("b") };

static uint64_t random_below(struct model *m, uint64_t n)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (m->random >> 11) % n;
}

static void model_drop(struct model *m, size_t k, size_t i)
{
    m->n[k]--;
    memmove(&m->at[k][i], &m->at[k][i + 1], (m->n[k] - i) * sizeof m->at[k][0]);
}

// The rules of S3: what is new takes the place of the null version, unless versions are kept.
static void model_add(struct model *m, size_t k, struct version v)
{
    v.is_null = m->versioning != BLOB_VERSIONED;
    for (size_t i = 0; v.is_null && i < m->n[k]; i++)
        if (m->at[k][i].is_null) {
            model_drop(m, k, i);
            break;
        }
    CHECK(m->n[k] < VERSIONS_MAX);
    m->at[k][m->n[k]++] = v;
}

static void step_put(struct shop *s, struct arena *a, struct model *m, size_t k)
{
    BlobObject o;
    struct version v = { .seed = random_below(m, 1000) };
    v.bytes = random_below(m, 2) == 0 ? 10 : 20000;
    EXPECT_OK(shop_put(s, a, &s->bucket, keys[k], v.seed, v.bytes, NULL, &o));
    v.number = o.version;
    model_add(m, k, v);
    EXPECT(o.is_null == (m->versioning != BLOB_VERSIONED));
}

static void step_delete(struct shop *s, struct model *m, size_t k)
{
    BlobDelete d = { .key = keys[k] };
    EXPECT_OK(blob_delete(s->b, &s->bucket, &d, 1));
    EXPECT_OK(d.result);
    EXPECT(d.made_marker == (m->versioning != BLOB_UNVERSIONED));
    if (m->versioning != BLOB_UNVERSIONED)
        model_add(m, k, (struct version){ .number = d.version, .is_marker = true });
    for (size_t i = 0; m->versioning == BLOB_UNVERSIONED && i < m->n[k]; i++)
        model_drop(m, k, i); // there is one at most
}

static void step_delete_version(struct shop *s, struct model *m, size_t k)
{
    BlobDelete d = { .key = keys[k], .which = { .which = BLOB_VERSION, .version = 99 } };
    bool by_null = random_below(m, 4) == 0;
    size_t i = m->n[k] > 0 ? random_below(m, m->n[k]) : 0;
    if (by_null) {
        d.which.which = BLOB_NULL;
        for (i = 0; i < m->n[k] && !m->at[k][i].is_null;)
            i++;
    } else if (m->n[k] > 0) {
        d.which.version = m->at[k][i].number;
    }
    bool there = i < m->n[k];
    EXPECT_OK(blob_delete(s->b, &s->bucket, &d, 1));
    EXPECT_OK(d.result);
    EXPECT(d.removed == there && !d.made_marker);
    if (there) {
        EXPECT_INT(m->at[k][i].number, d.version);
        EXPECT(d.removed_marker == m->at[k][i].is_marker && d.is_null == m->at[k][i].is_null);
        model_drop(m, k, i);
    }
}

static void expect_version(const struct version *v, const BlobObject *o)
{
    EXPECT_INT(v->number, o->version);
    EXPECT(v->is_null == o->is_null && v->is_marker == o->is_marker);
}

static void check_key(struct shop *s, struct arena *a, const struct model *m, size_t k)
{
    BlobObject o = { 0 };
    const struct version *top = m->n[k] > 0 ? &m->at[k][m->n[k] - 1] : NULL;
    Err e = blob_find(s->b, a, &s->bucket, keys[k], latest, &o);
    EXPECT_INT(top == NULL || top->is_marker ? ERR_NOT_FOUND : ERR_NONE, e.kind);
    EXPECT(o.is_marker == (top != NULL && top->is_marker));
    if (top != NULL)
        expect_version(top, &o);
    for (size_t i = 0; i < m->n[k]; i++) {
        const struct version *v = &m->at[k][i];
        BlobSelect which = { .which = BLOB_VERSION, .version = v->number };
        EXPECT_OK(blob_find(s->b, a, &s->bucket, keys[k], which, &o));
        expect_version(v, &o);
        EXPECT(o.is_latest == (v == top));
        if (v->is_null) {
            EXPECT_OK(
                blob_find(s->b, a, &s->bucket, keys[k], (BlobSelect){ .which = BLOB_NULL }, &o));
            expect_version(v, &o);
        }
        if (!v->is_marker)
            EXPECT_OK(shop_check(s, a, &s->bucket, keys[k], which, &o));
    }
}

// The next object of a listing in pages; NULL: there is none.
static const BlobObject *next_listed(struct shop *s, struct arena *a, BlobListing *l,
                                     BlobPage *page, size_t *at)
{
    if (*at == page->object_count) {
        if (!page->more)
            return NULL;
        EXPECT_OK(blob_list_versions(s->b, a, &s->bucket, l, page));
        l->after = page->last;
        l->after_version = page->last_version;
        *at = 0;
    }
    return *at < page->object_count ? &page->objects[(*at)++] : NULL;
}

// Everything there is, in pages of a random size.
static void check_all(struct shop *s, struct arena *a, struct model *m)
{
    BlobListing l = { .max = 1 + random_below(m, 4) };
    BlobPage page = { .more = true };
    size_t at = 0;
    for (size_t k = 0; k < KEYS; k++) {
        check_key(s, a, m, k);
        for (size_t i = m->n[k]; i-- > 0;) {
            const BlobObject *o = next_listed(s, a, &l, &page, &at);
            EXPECT(o != NULL);
            EXPECT_STR(keys[k], o->key);
            expect_version(&m->at[k][i], o);
            EXPECT(o->is_latest == (i + 1 == m->n[k]));
        }
    }
    EXPECT(next_listed(s, a, &l, &page, &at) == NULL);
}

TEST(versions_are_what_a_plain_list_of_them_says)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        AUTO(shop) s = shop_open(a);
        struct model *m = arena_new(a, struct model, 1);
        m->random = seed * UINT64_C(0x9e3779b97f4a7c15);
        for (int step = 0; step < STEPS; step++) {
            AUTO(arena) tmp = arena_open();
            size_t k = random_below(m, KEYS);
            uint64_t dice = random_below(m, 100);
            if (dice < 45)
                step_put(s, tmp, m, k);
            else if (dice < 65)
                step_delete(s, m, k);
            else if (dice < 95)
                step_delete_version(s, m, k);
            else if (step > STEPS / 8) {
                m->versioning = m->versioning == BLOB_VERSIONED ? BLOB_SUSPENDED : BLOB_VERSIONED;
                EXPECT_OK(blob_bucket_set_versioning(s->b, &s->bucket, m->versioning));
            }
            if (step % 10 == 0)
                EXPECT_OK(reap_all(s->b));
            check_all(s, tmp, m);
        }
        EXPECT_OK(reap_all(s->b));
        size_t files = 0, nulls = 0;
        for (size_t k = 0; k < KEYS; k++)
            for (size_t i = 0; i < m->n[k]; i++) {
                files += m->at[k][i].bytes > BLOB_INLINE_BYTES_MAX;
                nulls += m->at[k][i].is_null;
            }
        EXPECT_INT(files, shop_files(s, a));
        EXPECT(shop_rows(s, T_NULL) <= nulls);
    }
}

// ---- Retention

static BlobBucket locked_bucket(struct shop *s, struct arena *a)
{
    BlobBucket b;
    EXPECT_OK(blob_bucket_create(s->b, a, &(BlobBucket){ .name = S("locked"), .locks = true }, &b));
    EXPECT(b.versioning == BLOB_VERSIONED);
    return b;
}

static Err put_retained(struct shop *s, struct arena *a, const BlobBucket *b, BlobRetention r,
                        BlobObject *ret)
{
    AUTO(blob_put) p = NULL;
    TRY(blob_put_begin(s->b, b, NULL, &p));
    TRY(blob_put_write(p, S("x")));
    return blob_put_finish(p, a, &(BlobNew){ .key = S("k"), .etag = S("e"), .retention = r }, ret);
}

static ErrKind delete_kind(struct shop *s, const BlobBucket *b, uint64_t version, bool bypass)
{
    BlobDelete d = { .key = S("k"),
                     .which = { .which = BLOB_VERSION, .version = version },
                     .bypass = bypass };
    EXPECT_OK(blob_delete(s->b, b, &d, 1));
    return d.result.kind;
}

TEST(a_retained_version_stays_and_a_marker_may_cover_it)
{
    AUTO(shop) s = shop_open(a);
    int64_t now = INT64_C(1800000000) * NS_PER_S;
    io_mem_set_clock(s->disk, now, 0);
    BlobBucket b = locked_bucket(s, a);
    BlobObject governed, strict, held, free;
    BlobRetention g = { .mode = BLOB_GOVERNANCE, .until_ns = now + 1000 };
    BlobRetention c = { .mode = BLOB_COMPLIANCE, .until_ns = now + 1000 };
    BlobRetention hold = { .hold = true };
    EXPECT_ERR(ERR_INVALID, put_retained(s, a, &s->bucket, g, &governed));
    EXPECT_OK(put_retained(s, a, &b, g, &governed));
    EXPECT_OK(put_retained(s, a, &b, c, &strict));
    EXPECT_OK(put_retained(s, a, &b, hold, &held));
    BlobDelete marker = { .key = S("k") };
    EXPECT_OK(blob_delete(s->b, &b, &marker, 1));
    EXPECT(marker.made_marker && marker.result.kind == ERR_NONE);
    EXPECT_INT(ERR_DENIED, delete_kind(s, &b, governed.version, false));
    EXPECT_INT(ERR_DENIED, delete_kind(s, &b, strict.version, true));
    EXPECT_INT(ERR_DENIED, delete_kind(s, &b, held.version, true));
    EXPECT_INT(ERR_NONE, delete_kind(s, &b, governed.version, true));
    BlobSelect which = { .which = BLOB_VERSION, .version = held.version };
    BlobRetention none = { 0 };
    EXPECT_OK(blob_change(s->b, a, &b, S("k"), which, &(BlobChange){ .retention = &none }, &free));
    EXPECT_INT(ERR_NONE, delete_kind(s, &b, held.version, false));
    io_mem_advance(s->disk, 1000);
    EXPECT_INT(ERR_NONE, delete_kind(s, &b, strict.version, false));
    EXPECT_ERR(ERR_INVALID, blob_bucket_set_versioning(s->b, &b, BLOB_SUSPENDED));
}

TEST(a_retention_is_only_shortened_or_of_another_mode_by_who_may)
{
    AUTO(shop) s = shop_open(a);
    int64_t now = INT64_C(1800000000) * NS_PER_S;
    io_mem_set_clock(s->disk, now, 0);
    BlobBucket b = locked_bucket(s, a);
    BlobObject o;
    EXPECT_OK(put_retained(s, a, &b, (BlobRetention){ 0 }, &o));
    const struct {
        BlobRetention to;
        bool bypass;
        ErrKind want;
    } steps[] = {
        { { .mode = BLOB_GOVERNANCE, .until_ns = now + 100 }, false, ERR_NONE },
        { { .mode = BLOB_GOVERNANCE, .until_ns = now + 200 }, false, ERR_NONE },
        { { .mode = BLOB_GOVERNANCE, .until_ns = now + 100 }, false, ERR_DENIED },
        { { .mode = BLOB_FREE }, false, ERR_DENIED },
        { { .mode = BLOB_GOVERNANCE, .until_ns = now + 200, .hold = true }, false, ERR_NONE },
        { { .mode = BLOB_GOVERNANCE, .until_ns = now + 100 }, true, ERR_NONE },
        { { .mode = BLOB_COMPLIANCE, .until_ns = now + 100 }, false, ERR_DENIED },
        { { .mode = BLOB_COMPLIANCE, .until_ns = now + 900 }, false, ERR_DENIED },
        { { .mode = BLOB_COMPLIANCE, .until_ns = now + 100 }, true, ERR_NONE },
        { { .mode = BLOB_COMPLIANCE, .until_ns = now + 99 }, true, ERR_DENIED },
        { { .mode = BLOB_GOVERNANCE, .until_ns = now + 100 }, true, ERR_DENIED },
        { { .mode = BLOB_COMPLIANCE, .until_ns = now + 300 }, false, ERR_NONE },
    };
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        BlobChange change = { .retention = &steps[i].to, .bypass = steps[i].bypass };
        EXPECT_INT(steps[i].want, blob_change(s->b, a, &b, S("k"), latest, &change, &o).kind);
    }
    io_mem_advance(s->disk, 300); // it has ended
    BlobRetention none = { 0 };
    EXPECT_OK(blob_change(s->b, a, &b, S("k"), latest, &(BlobChange){ .retention = &none }, &o));
}

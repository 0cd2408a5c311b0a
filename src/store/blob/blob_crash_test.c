// SPDX-License-Identifier: Apache-2.0
// The power goes, or an operation fails, at every place of a run of puts, copies, parts and
// deletes: what was acknowledged is there, whole; what was not is whole or absent; and when what
// was left behind is removed, the disk holds the files of objects and no others.
#include "base/logline.h"
#include "store/blob/blob_test_help.h"

#include <string.h>

static const BlobSelect latest = { .which = BLOB_LATEST };

// What is known of a key: its etag as it was acknowledged and as it may be instead.
struct known {
    Str key;
    Str sure, maybe; // absent: no object
    bool has_maybe;
};

enum { NAMES = 6 };

struct run {
    struct shop *s;
    struct arena *a;
    struct known known[NAMES];
};

static void expect_later(struct run *r, size_t i, Str etag)
{
    r->known[i].maybe = etag;
    r->known[i].has_maybe = true;
}

static void acknowledge(struct run *r, size_t i)
{
    r->known[i].sure = r->known[i].maybe;
    r->known[i].has_maybe = false;
}

static Err run_put(struct run *r, size_t i, uint64_t seed, size_t bytes, const unsigned char *seal)
{
    expect_later(r, i, str_fmt(r->a, "%llu-%zu", (unsigned long long)seed, bytes));
    TRY(shop_put(r->s, r->a, &r->s->bucket, r->known[i].key, seed, bytes, seal, NULL));
    acknowledge(r, i);
    return OK;
}

static Err run_delete(struct run *r, size_t i)
{
    BlobDelete d = { .key = r->known[i].key };
    expect_later(r, i, (Str){ 0 });
    TRY(blob_delete(r->s->b, &r->s->bucket, &d, 1));
    EXPECT_OK(d.result);
    acknowledge(r, i);
    return OK;
}

static Err run_copy(struct run *r, size_t from, size_t to)
{
    AUTO(blob_put) p = NULL;
    AUTO(blob_reader) reader = NULL;
    BlobObject o;
    TRY(blob_reader_open(r->s->b, r->a, &r->s->bucket, r->known[from].key, latest, &o, &reader));
    TRY(blob_put_begin(r->s->b, &r->s->bucket, NULL, &p));
    TRY(blob_put_share(p, reader, 0, o.bytes, false));
    expect_later(r, to, o.etag);
    TRY(blob_put_finish(p, r->a, &(BlobNew){ .key = r->known[to].key, .etag = o.etag }, &o));
    acknowledge(r, to);
    return OK;
}

static Err run_part(struct run *r, Str key, uint64_t upload, uint32_t number, Str bytes)
{
    AUTO(blob_put) p = NULL;
    BlobPart made;
    TRY(blob_put_begin(r->s->b, &r->s->bucket, NULL, &p));
    TRY(blob_put_write(p, bytes));
    BlobPart part = { .number = number, .etag = S("e") };
    return blob_put_finish_part(p, key, upload, &part, &made);
}

static Err run_parts(struct run *r, size_t i, bool completes)
{
    BlobUpload up;
    BlobObject o;
    size_t wrong;
    Str key = r->known[i].key, all = shop_bytes(r->a, 77, 90000);
    BlobPartRef refs[] = { { 1, S("e") }, { 3, S("e") } };
    TRY(blob_upload_create(r->s->b, r->a, &r->s->bucket, &(BlobUpload){ .key = key }, &up));
    TRY(run_part(r, key, up.id, 3, str_skip(all, 40000)));
    TRY(run_part(r, key, up.id, 2, S("not used")));
    TRY(run_part(r, key, up.id, 1, S("replaced")));
    TRY(run_part(r, key, up.id, 1, str_head(all, 40000)));
    if (!completes)
        return blob_upload_abort(r->s->b, &r->s->bucket, key, up.id);
    expect_later(r, i, S("77-90000"));
    BlobNew object = { .key = key, .etag = S("77-90000") };
    TRY(blob_upload_complete(r->s->b, r->a, &r->s->bucket, up.id, refs, 2, 1, &object, &o, &wrong));
    acknowledge(r, i);
    return OK;
}

// Two objects that share a file. One may be there and the other not.
static Err run_together(struct run *r, size_t i, size_t j, uint64_t seed)
{
    size_t at[] = { i, j };
    struct shop_together puts[COUNT_OF(at)];
    for (size_t k = 0; k < COUNT_OF(at); k++) {
        puts[k] = (struct shop_together){ .key = r->known[at[k]].key,
                                          .seed = seed + 2 * k,
                                          .n = 100000 - 40000 * k };
        expect_later(r, at[k],
                     str_fmt(r->a, "%llu-%zu", (unsigned long long)puts[k].seed, puts[k].n));
    }
    shop_put_together(r->s, puts, COUNT_OF(at));
    for (size_t k = 0; k < COUNT_OF(at); k++)
        if (puts[k].err.kind == ERR_NONE)
            acknowledge(r, at[k]);
    TRY(puts[0].err);
    return puts[1].err;
}

// Everything that changes the store, once.
static Err run_all(struct run *r)
{
    TRY(run_put(r, 0, 1, 100, NULL));
    TRY(run_put(r, 1, 2, 50000, NULL));
    TRY(run_put(r, 2, 3, 300000, shop_key));
    TRY(run_parts(r, 3, true));
    TRY(run_copy(r, 3, 4));
    TRY(reap_all(r->s->b));
    TRY(run_put(r, 1, 4, 40000, NULL)); // replaces
    TRY(run_together(r, 0, 2, 10));     // likewise
    TRY(run_delete(r, 3));
    TRY(run_parts(r, 5, false));
    TRY(reap_all(r->s->b));
    TRY(run_delete(r, 0));
    TRY(run_delete(r, 4));
    TRY(run_put(r, 5, 6, 20000, shop_key));
    return reap_all(r->s->b);
}

static void run_begin(struct run *r, struct shop *s, struct arena *a)
{
    *r = (struct run){ .s = s, .a = a };
    for (size_t i = 0; i < NAMES; i++)
        r->known[i].key = str_fmt(a, "key%zu", i);
}

static bool is_etag(Str want, Err e, const BlobObject *o)
{
    return e.kind == ERR_NOT_FOUND ? want.p == NULL : want.p != NULL && str_eq(want, o->etag);
}

// Everything is as it was promised, and listed so.
static void check_promises(struct run *r)
{
    struct shop *s = r->s;
    BlobPage page;
    size_t there = 0;
    for (size_t i = 0; i < NAMES; i++) {
        const struct known *k = &r->known[i];
        BlobObject o;
        Err e = shop_check(s, r->a, &s->bucket, k->key, latest, &o); // its bytes, too
        EXPECT(e.kind == ERR_NONE || e.kind == ERR_NOT_FOUND);
        EXPECT(is_etag(k->sure, e, &o) || (k->has_maybe && is_etag(k->maybe, e, &o)));
        there += e.kind == ERR_NONE;
    }
    EXPECT_OK(blob_list(s->b, r->a, &s->bucket, &(BlobListing){ .max = 100 }, &page));
    EXPECT_INT(there, page.object_count);
}

// After the removal of what nobody needs: files and rows are those of what there is.
static void check_leftovers(struct run *r)
{
    struct shop *s = r->s;
    EXPECT_OK(reap_sweep(s->b));
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(shop_rows(s, T_FILE), shop_files(s, r->a));
    EXPECT_INT(0, shop_rows(s, T_GONE));
    EXPECT_INT(1, shop_rows(s, T_RUN));
    // Uploads that were not ended are the client's to end. Then objects go, and nothing is left.
    BlobUploadPage uploads;
    EXPECT_OK(blob_upload_list(s->b, r->a, &s->bucket, &(BlobListing){ .max = 100 }, &uploads));
    for (size_t i = 0; i < uploads.upload_count; i++)
        EXPECT_OK(
            blob_upload_abort(s->b, &s->bucket, uploads.uploads[i].key, uploads.uploads[i].id));
    BlobDelete d[NAMES];
    for (size_t i = 0; i < NAMES; i++)
        d[i] = (BlobDelete){ .key = r->known[i].key };
    EXPECT_OK(blob_delete(s->b, &s->bucket, d, NAMES));
    EXPECT_OK(reap_all(s->b));
    EXPECT_INT(0, shop_files(s, r->a));
    for (int t = T_OBJECT; t <= T_GONE; t++)
        EXPECT_INT(0, shop_rows(s, (enum table)t));
}

// One run in which the n-th operation fails; false: none did.
static bool fault_at(struct arena *a, IoFault plan, const IoMemCrash *crash)
{
    AUTO(shop) s = shop_open(a);
    struct run r;
    run_begin(&r, s, a);
    io_fault_add(s->faults, plan);
    Err e = run_all(&r);
    bool hit = io_fault_hits(s->faults) > 0;
    EXPECT(hit || e.kind == ERR_NONE);
    if (!plan.power_off) { // the failure is over: the store goes on as it is
        io_fault_clear(s->faults);
        check_promises(&r);
    }
    EXPECT_OK(shop_reopen(s, a, crash));
    check_promises(&r);
    check_leftovers(&r);
    return hit;
}

static void fault_everywhere(IoFault plan, const IoMemCrash *crash, uint64_t step)
{
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
    for (plan.skip = 0;; plan.skip += step) {
        AUTO(arena) a = arena_open();
        IoMemCrash seeded = crash != NULL ? *crash : (IoMemCrash){ 0 };
        seeded.seed += plan.skip;
        if (!fault_at(a, plan, crash != NULL ? &seeded : NULL))
            break;
    }
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
}

#ifdef __SANITIZE_THREAD__
enum { STEP = 7 }; // one thread: nothing to be found here
#else
enum { STEP = 1 };
#endif

TEST(a_power_cut_anywhere_keeps_what_was_acknowledged)
{
    (void)a;
    IoFault cut = { .ops = IO_OP_CHANGE, .power_off = true, .tear = IO_TEAR_SECTORS };
    fault_everywhere(cut, &(IoMemCrash){ .seed = 1, .keep = IO_KEEP_SOME }, STEP);
    fault_everywhere(cut, &(IoMemCrash){ .seed = 1, .keep = IO_KEEP_NONE }, STEP);
}

TEST(a_killed_program_leaves_nothing_that_the_next_start_does_not_remove)
{
    (void)a;
    IoFault cut = { .ops = IO_OP_CHANGE, .power_off = true };
    fault_everywhere(cut, &(IoMemCrash){ .seed = 1, .keep = IO_KEEP_ALL }, STEP);
}

TEST(a_failed_operation_fails_its_call_and_nothing_else)
{
    (void)a;
    fault_everywhere((IoFault){ .ops = IO_OP_CHANGE }, NULL, STEP);
    fault_everywhere((IoFault){ .ops = IO_OP_WRITE | IO_OP_OPEN | IO_OP_MKDIR,
                                .err = fail(ERR_FULL, "injected") },
                     NULL, STEP);
}

TEST(a_full_disk_is_told_and_passes)
{
    AUTO(shop) s = shop_open(a);
    BlobObject o;
    EXPECT_OK(shop_put(s, a, &s->bucket, S("before"), 1, 100000, NULL, NULL));
    io_fault_set_budget(s->faults, 200000);
    EXPECT_ERR(ERR_FULL, shop_put(s, a, &s->bucket, S("large"), 2, 1000000, NULL, NULL));
    EXPECT_INT(1, shop_files(s, a));
    EXPECT_ERR(ERR_NOT_FOUND, blob_find(s->b, a, &s->bucket, S("large"), latest, &o));
    EXPECT_OK(shop_check(s, a, &s->bucket, S("before"), latest, &o));
    io_fault_set_budget(s->faults, UINT64_MAX);
    EXPECT_OK(shop_put(s, a, &s->bucket, S("large"), 2, 1000000, NULL, NULL));
    EXPECT_OK(shop_check(s, a, &s->bucket, S("large"), latest, &o));
}

// A sync that failed has lost what it should have kept, though later syncs succeed.
TEST(a_broken_sync_is_never_believed_again)
{
    for (uint64_t skip = 0;; skip++) {
        AUTO(arena) tmp = arena_open();
        AUTO(shop) s = shop_open(tmp);
        struct run r;
        run_begin(&r, s, tmp);
        logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL);
        io_mem_break_sync(s->disk, skip);
        Err e = run_all(&r);
        bool broken = io_mem_sync_is_broken(s->disk);
        EXPECT(broken || e.kind == ERR_NONE);
        EXPECT_OK(shop_reopen(s, tmp, &(IoMemCrash){ .seed = skip, .keep = IO_KEEP_NONE }));
        check_promises(&r);
        check_leftovers(&r);
        logline_setup(LOG_INFO, LOG_TEXT, NULL);
        if (!broken)
            break;
    }
    (void)a;
}

// Files of runs that were swept are looked for no more: only their notes tell of them.
TEST(a_file_of_an_earlier_run_is_gone_before_its_note_is)
{
    bool hit = true;
    for (uint64_t skip = 0; hit; skip++) {
        AUTO(arena) tmp = arena_open();
        AUTO(shop) s = shop_open(tmp);
        IoMemCrash crash = { .seed = skip, .keep = IO_KEEP_NONE };
        BlobDelete d = { .key = S("k") };
        EXPECT_OK(shop_put(s, tmp, &s->bucket, S("k"), 1, 50000, NULL, NULL));
        EXPECT_OK(shop_reopen(s, tmp, NULL));
        EXPECT_OK(reap_sweep(s->b));
        io_fault_add(s->faults, (IoFault){ .ops = IO_OP_CHANGE, .skip = skip, .power_off = true });
        Err e = blob_delete(s->b, &s->bucket, &d, 1);
        if (e.kind == ERR_NONE)
            e = reap_all(s->b);
        hit = io_fault_hits(s->faults) > 0;
        EXPECT(hit || e.kind == ERR_NONE);
        EXPECT_OK(shop_reopen(s, tmp, &crash));
        EXPECT_OK(reap_sweep(s->b));
        EXPECT_OK(reap_all(s->b));
        EXPECT_INT(shop_rows(s, T_FILE), shop_files(s, tmp));
    }
    (void)a;
}

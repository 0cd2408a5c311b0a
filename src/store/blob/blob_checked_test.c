// SPDX-License-Identifier: Apache-2.0
// What may be sent from a file without being read: only what was found sound a moment ago.
#include "base/time.h"
#include "store/blob/blob_test_help.h"

enum { FD = 77, BLOCKS = 70, SIZE = BLOCKS * BLOB_BLOCK_BYTES + 1000 };
static const BlobSelect LATEST = { .which = BLOB_LATEST };
static int64_t now_ns;

static int descriptor(struct io_file *f)
{
    (void)f;
    return FD;
}

static int64_t mono_ns(struct io *io)
{
    (void)io;
    return now_ns;
}

static void make(struct shop *s, struct arena *a, const unsigned char *seal)
{
    struct io *io = io_fault_io(s->faults);
    io->descriptor = descriptor;
    io->mono_ns = mono_ns;
    now_ns = 1;
    EXPECT_OK(shop_put(s, a, &s->bucket, S("x"), 1, SIZE, seal, NULL));
}

static void read_some(struct blob_reader *r, struct arena *a, size_t n, uint64_t at)
{
    size_t got;
    EXPECT_OK(blob_reader_read(r, arena_alloc(a, n, 1), n, at, &got));
    EXPECT(got == n);
}

static size_t placed(struct blob_reader *r, size_t n, uint64_t at)
{
    IoSpan span;
    blob_reader_place(r, n, at, &span);
    if (span.n > 0)
        EXPECT(span.file == FD && span.at == at && span.n <= n);
    return span.n;
}

TEST(what_was_checked_may_be_sent_for_a_minute)
{
    AUTO(shop) s = shop_open(a);
    AUTO(blob_reader) r = NULL;
    BlobObject o;
    make(s, a, NULL);
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("x"), LATEST, &o, &r));
    EXPECT_INT(0, placed(r, SIZE, 0));
    read_some(r, a, SIZE, 0);
    EXPECT_INT(SIZE, placed(r, SIZE, 0));
    EXPECT_INT(1, placed(r, 1, SIZE - 1));
    EXPECT_INT(500, placed(r, 500, 3 * BLOB_BLOCK_BYTES - 250));
    EXPECT_INT(0, placed(r, 1, SIZE));
    EXPECT_INT(0, placed(r, 0, 0));
    now_ns += 59 * NS_PER_S;
    EXPECT_INT(SIZE, placed(r, SIZE, 0));
    now_ns += NS_PER_S;
    EXPECT_INT(0, placed(r, SIZE, 0));
    read_some(r, a, 3 * BLOB_BLOCK_BYTES, 0);
    EXPECT_INT(3 * BLOB_BLOCK_BYTES, placed(r, SIZE, 0));
}

TEST(of_a_range_only_what_is_in_sound_blocks)
{
    AUTO(shop) s = shop_open(a);
    AUTO(blob_reader) r = NULL;
    BlobObject o;
    make(s, a, NULL);
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("x"), LATEST, &o, &r));
    read_some(r, a, 10, 2 * BLOB_BLOCK_BYTES + 5); // the whole block is checked for it
    EXPECT_INT(0, placed(r, 100, BLOB_BLOCK_BYTES));
    EXPECT_INT(BLOB_BLOCK_BYTES - 100, placed(r, SIZE, 2 * BLOB_BLOCK_BYTES + 100));
    EXPECT_INT(0, placed(r, 100, 3 * BLOB_BLOCK_BYTES));
}

TEST(what_is_damaged_is_read_and_told)
{
    AUTO(shop) s = shop_open(a);
    AUTO(blob_reader) r = NULL;
    BlobObject o;
    struct io_file *f;
    struct io *io = io_fault_io(s->faults);
    char byte = 'x', out[2];
    size_t got;
    make(s, a, NULL);
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("x"), LATEST, &o, &r));
    read_some(r, a, SIZE, 0);
    EXPECT_OK(io->open(io, shop_path(s, a, 0), IO_WRITE, &f));
    EXPECT_OK(io->read(f, &byte, 1, BLOB_BLOCK_BYTES, &got));
    byte ^= 1;
    EXPECT_OK(io->write(f, &byte, 1, BLOB_BLOCK_BYTES, true));
    io->close(f);
    now_ns += 60 * NS_PER_S; // within it the kernel's memory counts, not the disk
    EXPECT_INT(0, placed(r, SIZE, 0));
    read_some(r, a, BLOB_BLOCK_BYTES, 0);
    EXPECT_ERR(ERR_CORRUPT, blob_reader_read(r, out, 1, BLOB_BLOCK_BYTES, &got));
    EXPECT_INT(0, placed(r, 1, BLOB_BLOCK_BYTES));
    EXPECT_INT(0, placed(r, 1, 0)); // its neighbours are looked at again
}

TEST(what_is_sealed_or_small_or_in_no_single_file_is_read)
{
    AUTO(shop) s = shop_open(a);
    AUTO(blob_reader) r = NULL;
    BlobObject o;
    make(s, a, shop_key);
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("x"), LATEST, &o, &r));
    blob_reader_unseal(r, shop_key);
    read_some(r, a, SIZE, 0);
    EXPECT_INT(0, placed(r, SIZE, 0));
    blob_reader_close(r);
    r = NULL;
    EXPECT_OK(shop_put(s, a, &s->bucket, S("small"), 1, 100, NULL, NULL));
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("small"), LATEST, &o, &r));
    read_some(r, a, 100, 0);
    EXPECT_INT(0, placed(r, 100, 0));
    blob_reader_close(r);
    r = NULL;
    EXPECT_OK(shop_put(s, a, &s->bucket, S("plain"), 1, SIZE, NULL, NULL));
    EXPECT_OK(blob_reader_open(s->b, a, &s->bucket, S("plain"), LATEST, &o, &r));
    read_some(r, a, SIZE, 0);
    io_fault_io(s->faults)->descriptor = io_no_descriptor;
    EXPECT_INT(0, placed(r, SIZE, 0));
}

// SPDX-License-Identifier: Apache-2.0
#include "store/log/log_test_help.h"

#include <string.h>

static const uint64_t sizes[] = { 4096, 40 << 20, 16 << 20, (16 << 20) + 4096, 1 << 20 };

static uint64_t word_at(size_t file, uint64_t at)
{
    return (at + file) * UINT64_C(0x9e3779b97f4a7c15);
}

// Each page begins with a word that is its own.
static void file_make(struct io *io, struct arena *a, size_t number, struct journal_file *f)
{
    uint8_t *page = arena_new(a, uint8_t, 1 << 20);
    Str path = str_fmt(a, "/%zu", number);
    f->bytes = sizes[number];
    EXPECT_OK(io->open(io, path, IO_WRITE | IO_CREATE, &f->io));
    for (uint64_t at = 0; at < f->bytes; at += 1 << 20) {
        size_t n = (size_t)MIN(f->bytes - at, (uint64_t)1 << 20);
        for (size_t i = 0; i < n; i += JOURNAL_ALIGN_BYTES) {
            uint64_t word = word_at(number, at + i);
            memcpy(page + i, &word, sizeof word);
        }
        EXPECT_OK(io->write(f->io, page, n, at, false));
    }
}

static void files_make(struct io *io, struct arena *a, struct journal_file *at,
                       struct journal_file **ret)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        file_make(io, a, i, &at[i]);
        ret[i] = &at[i];
    }
}

// Whole pages; half of the times as many as there may be.
static uint64_t draw(uint64_t *seed, uint64_t most)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    uint64_t bytes = (*seed >> 33) % (most * 2 / JOURNAL_ALIGN_BYTES + 1) * JOURNAL_ALIGN_BYTES;
    return MIN(bytes, most / JOURNAL_ALIGN_BYTES * JOURNAL_ALIGN_BYTES);
}

static void expect_file(struct ahead *ahead, size_t number, uint64_t *seed)
{
    for (uint64_t at = 0; at < sizes[number];) {
        const uint8_t *p;
        uint64_t left = sizes[number] - at;
        uint64_t bytes = draw(seed, BLOCK_BYTES_LARGEST - JOURNAL_ALIGN_BYTES);
        size_t n = (size_t)MIN(bytes + JOURNAL_ALIGN_BYTES, left);
        EXPECT_OK(ahead_get(ahead, at, JOURNAL_ALIGN_BYTES, &p)); // the head, then the whole
        EXPECT_OK(ahead_get(ahead, at, n, &p));
        for (size_t i = 0; i < n; i += JOURNAL_ALIGN_BYTES) {
            uint64_t word;
            memcpy(&word, p + i, sizeof word);
            EXPECT(word == word_at(number, at + i));
        }
        at += draw(seed, n) + JOURNAL_ALIGN_BYTES; // also a part of it, or a page more
    }
}

TEST(files_that_are_read_ahead_are_read_as_they_are)
{
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    struct journal_file at[COUNT_OF(sizes)] = { 0 }, *files[COUNT_OF(sizes)];
    files_make(io, a, at, files);
    for (uint64_t seed = 1; seed <= 4; seed++) {
        uint64_t x = seed;
        struct ahead *ahead = ahead_open(io, files, COUNT_OF(sizes));
        EXPECT(ahead != NULL);
        for (size_t i = seed % 2; i < COUNT_OF(sizes); i++) {
            ahead_begin(ahead, files[i]);
            expect_file(ahead, i, &x);
        }
        ahead_close(ahead);
    }
    ahead_close(ahead_open(io, files, COUNT_OF(sizes))); // while reads are under way
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        io->close(at[i].io);
}

TEST(what_cannot_be_read_ahead_is_an_error_where_it_lies)
{
    AUTO(io_mem) m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    struct journal_file at[COUNT_OF(sizes)] = { 0 }, *files[COUNT_OF(sizes)];
    files_make(io, a, at, files);
    at[1].bytes += 4096; // than it has
    struct ahead *ahead = ahead_open(io, files, 2);
    const uint8_t *p;
    ahead_begin(ahead, files[1]);
    for (uint64_t place = 0; place < sizes[1]; place += 1 << 20)
        EXPECT_OK(ahead_get(ahead, place, 1 << 20, &p));
    EXPECT_INT(ERR_CORRUPT, ahead_get(ahead, sizes[1], 4096, &p).kind);
    ahead_close(ahead);
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        io->close(at[i].io);
}

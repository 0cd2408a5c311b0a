// SPDX-License-Identifier: Apache-2.0
// Records that come as base64 lie in the journal as the bytes that it stands for, wherever they lie
// and however often they are written.
#include "codec/blob_test.h"
#include "store/log/log_test_help.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST = 1, SHARDS = 3, MIB = 1 << 20 };
#define HOUR_NS (INT64_C(3600) * NS_PER_S)

static struct log *open_shards(const LogConfig *config)
{
    struct log *l = NULL;
    EXPECT_OK(log_open(config, &l));
    for (uint64_t id = FIRST; id < FIRST + SHARDS; id++)
        EXPECT_OK(log_shard_add(l, id, HOUR_NS));
    EXPECT_OK(log_ready(l));
    return l;
}

// No two pieces of it are the same.
static Str noise(struct arena *a, size_t n)
{
    static uint32_t random = 1;
    char *p = arena_alloc(a, n + 1, 1);
    for (size_t i = 0; i < n; i++) {
        random = random * 1664525 + 1013904223;
        p[i] = (char)(random >> 24);
    }
    return str_from(p, n);
}

// What each shard is to hold.
struct expected {
    Str at[SHARDS][64];
    size_t n[SHARDS];
};

static void add(struct expected *x, struct test_append *t, struct arena *a, size_t shard,
                size_t bytes)
{
    Str data = noise(a, bytes);
    x->at[shard][x->n[shard]++] = data;
    t->records[t->append.n++] = (LogRecord){ .shard = FIRST + shard,
                                             .key = S("key"),
                                             .data = blob_undecoded(t->texts, data) };
}

static void expect_all(const struct expected *x, struct log *l, struct arena *a)
{
    for (size_t i = 0; i < SHARDS; i++)
        test_expect_data(l, a, FIRST + i, x->at[i], x->n[i]);
}

static void finish(struct log *l, struct test_append *take_t)
{
    EXPECT_OK(test_append_start(l, take_t));
    EXPECT_OK(test_append_wait(take_t));
    test_append_free(take_t);
}

static LogConfig large_files(struct io *io)
{
    LogConfig config = test_config(io, S("/log"));
    config.file_bytes = 32 * MIB;
    config.seal_bytes = 1 << 30;
    return config;
}

// In one extent with others, in one of many of its shard, in one of its own; summed in one piece,
// or in several.
TEST(base64_of_every_size_is_stored_as_its_bytes)
{
    static const size_t sizes[] = { 0,      1,
                                    2,      3,
                                    1024,   24575,
                                    24576,  24577,
                                    90000,  EXTENT_BYTES_SPLIT - RECORD_HEAD_BYTES - 4,
                                    200000, EXTENT_BYTES_SPLIT - RECORD_HEAD_BYTES - 3,
                                    31,     EXTENT_BYTES_SPLIT - RECORD_HEAD_BYTES - 2,
                                    700000, EXTENT_BYTES_SPLIT };
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = large_files(io_mem_io(disk));
    struct log *l = open_shards(&config);
    struct expected x = { 0 };
    for (size_t from = 0; from < COUNT_OF(sizes); from++) {
        struct test_append *t = test_append_new();
        t->append.held = from % 2;
        for (size_t i = 0; i < 1 + from % 4; i++) {
            add(&x, t, a, i % SHARDS, sizes[(from + i) % COUNT_OF(sizes)]);
            add(&x, t, a, from % SHARDS, 100 + i);
        }
        finish(l, t);
    }
    expect_all(&x, l, a);
    log_close(l);
    l = open_shards(&config);
    expect_all(&x, l, a);
    log_close(l);
}

TEST(base64_of_the_largest_record_and_of_an_append_of_several_blocks_is_stored_as_its_bytes)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = large_files(io_mem_io(disk));
    struct log *l = open_shards(&config);
    struct expected x = { 0 };
    struct test_append *t = test_append_new();
    add(&x, t, a, 0, LOG_DATA_BYTES_MAX);
    finish(l, t);
    t = test_append_new();
    for (size_t i = 0; i < 9; i++)
        add(&x, t, a, i % SHARDS, MIB + i);
    finish(l, t);
    expect_all(&x, l, a);
    log_close(l);
    l = open_shards(&config);
    expect_all(&x, l, a);
    log_close(l);
}

TEST(base64_is_decoded_again_for_another_file_after_a_failed_write)
{
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 1);
    LogConfig config = test_config(io_fault_io(faults), S("/log"));
    struct log *l = open_shards(&config);
    struct expected x = { 0 };
    for (size_t i = 0; i < 6; i++) {
        struct test_append *t = test_append_new();
        t->append.held = i % 2;
        for (size_t k = 0; k < 7; k++)
            add(&x, t, a, k % SHARDS, 1000 * k + i);
        test_wait_for_spare(l); // the next write is that of the block
        if (i % 3 == 1)
            io_fault_add(faults, (IoFault){ .ops = IO_OP_WRITE, .tear = IO_TEAR_PREFIX });
        finish(l, t);
    }
    EXPECT_INT(2, io_fault_hits(faults));
    expect_all(&x, l, a);
    log_close(l);
    l = open_shards(&config);
    expect_all(&x, l, a);
    log_close(l);
}

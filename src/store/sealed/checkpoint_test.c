// SPDX-License-Identifier: Apache-2.0
#include "store/sealed/checkpoint.h"

#include "base/test.h"
#include "codec/crc.h"
#include "os/io_fault.h"
#include "os/io_mem.h"

#include <endian.h>
#include <string.h>

static Checkpoint sample(struct arena *a)
{
    Checkpoint c = {
        .generation = 9,
        .sealed_block = 800,
        .journal_file = 12,
        .least_number = 900,
        .least_epoch = 4,
        .next_container = 8,
        .arrival_ms = 1234567,
        .is_restored = true,
        .shards = arena_new(a, CheckpointShard, 2),
        .shard_count = 2,
        .containers = arena_new(a, ContainerFacts, 2),
        .container_count = 2,
    };
    c.shards[0] = (CheckpointShard){ .shard = 3, .end_position = 77, .end_arrival_ms = 5 };
    c.shards[1] = (CheckpointShard){
        .shard = 5, .first_position = 100, .last_position = 200, .last_arrival_ms = 6
    };
    c.containers[0] = (ContainerFacts){
        .number = 7,
        .id = 0xfeedface12345678,
        .bytes = 12288,
        .raw_bytes = 99,
        .records = 10,
        .first_position = 100,
        .last_position = 200,
        .first_arrival_ms = 3,
        .last_arrival_ms = 6,
        .first_shard = 5,
        .last_shard = 6,
        .shards = 2,
        .class = RETENTION_WEEK,
    };
    c.containers[1] = c.containers[0];
    c.containers[1].number = 6;
    c.containers[1].first_position = 150;
    return c;
}

static void expect_same(struct arena *a, const Checkpoint *want, const Checkpoint *got)
{
    EXPECT_INT(want->generation, got->generation);
    EXPECT_INT(want->shard_count, got->shard_count);
    EXPECT_INT(want->container_count, got->container_count);
    EXPECT_STR(checkpoint_encode(a, want), checkpoint_encode(a, got));
}

// Changes bytes of an encoded checkpoint and makes its checksum right.
static Str forged(struct arena *a, Str bytes, size_t at, uint64_t value, size_t n)
{
    uint8_t *p = arena_new(a, uint8_t, bytes.n);
    memcpy(p, bytes.p, bytes.n);
    value = htole64(value);
    memcpy(p + at, &value, n);
    uint32_t crc = htole32(crc32c(0, p, bytes.n - 4));
    memcpy(p + bytes.n - 4, &crc, sizeof crc);
    return str_from(p, bytes.n);
}

TEST(a_checkpoint_is_read_back_as_it_was_written)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    EXPECT_OK(io->mkdir(io, S("/log")));
    Checkpoint c = sample(a), got;
    EXPECT_ERR(ERR_NOT_FOUND, checkpoint_read(io, a, S("/log"), &got));
    EXPECT_OK(checkpoint_write(io, a, S("/log"), &c));
    EXPECT_OK(checkpoint_read(io, a, S("/log"), &got));
    expect_same(a, &c, &got);
    EXPECT(got.is_restored && got.containers[0].id == c.containers[0].id);
    EXPECT_INT(77, got.shards[0].end_position);
    EXPECT_INT(RETENTION_WEEK, got.containers[1].class);
}

TEST(every_flipped_byte_of_a_checkpoint_is_found)
{
    Checkpoint c = sample(a), got;
    Str good = checkpoint_encode(a, &c);
    for (size_t i = 0; i < good.n; i++) {
        char *p = str_c(a, good);
        p[i] = (char)(p[i] ^ 0x10);
        EXPECT_ERR(ERR_CORRUPT, checkpoint_decode(a, str_from(p, good.n), &got));
    }
    for (size_t n = 0; n < good.n; n++)
        EXPECT_ERR(ERR_CORRUPT, checkpoint_decode(a, str_head(good, n), &got));
}

TEST(a_checkpoint_of_a_newer_program_is_refused_by_name)
{
    Checkpoint c = sample(a), got;
    Str good = checkpoint_encode(a, &c);
    EXPECT_ERR(ERR_FORMAT, checkpoint_decode(a, forged(a, good, 12, 2, 4), &got));
    // Newer, but readers of our format understand it.
    EXPECT_OK(checkpoint_decode(a, forged(a, good, 8, 2, 4), &got));
}

TEST(a_checkpoint_that_says_nonsense_is_corrupt)
{
    Checkpoint c = sample(a), got;
    Str good = checkpoint_encode(a, &c);
    static const struct {
        size_t at, bytes;
        uint64_t value;
    } nonsense[] = {
        { 16, 8, 0 },          // generation
        { 32, 8, 0 },          // journal_file
        { 56, 8, 7 },          // next_container: one is listed
        { 80, 8, UINT64_MAX }, // shard_count
        { 80, 8, 1 },          //
        { 88, 8, 3 },          // container_count
        { 128, 8, 5 },         // shards not in order
        { 176 + 8, 8, 201 },   // first_position
        { 224, 8, 6 },         // two containers of one number
        { 224, 8, 0 },         // number
        { 224 + 40, 8, 170 },  // containers not in order
        { 224 + 92, 4, 3 },    // class
        { 224 + 88, 4, 0 },    // shards
        { 320 + 72, 8, 7 },    // first_shard
    };
    for (size_t i = 0; i < COUNT_OF(nonsense); i++)
        EXPECT_ERR(
            ERR_CORRUPT,
            checkpoint_decode(
                a, forged(a, good, nonsense[i].at, nonsense[i].value, nonsense[i].bytes), &got));
}

// One write of c over `old` with the power cut at the n-th change.
static bool write_and_crash(struct arena *a, const Checkpoint *old, const Checkpoint *c, uint64_t n,
                            bool power_off)
{
    AUTO(io_mem) disk = io_mem_open(n + 1);
    struct io *io = io_mem_io(disk);
    EXPECT_OK(io->mkdir(io, S("/log")));
    EXPECT_OK(io->sync_dir(io, S("/")));
    EXPECT_OK(checkpoint_write(io, a, S("/log"), old));
    AUTO(io_fault) faults = io_fault_open(io, n + 1);
    io_fault_add(faults, (IoFault){ .ops = IO_OP_CHANGE,
                                    .skip = n,
                                    .tear = IO_TEAR_PREFIX,
                                    .power_off = power_off });
    bool untouched;
    Err e = checkpoint_replace(io_fault_io(faults), a, S("/log"), c, &untouched);
    bool hit = io_fault_hits(faults) > 0;
    EXPECT(hit == (e.kind != ERR_NONE));

    AUTO(io_mem) later = io_mem_crash(disk, (IoMemCrash){ .seed = n + 1 });
    Checkpoint got;
    EXPECT_OK(checkpoint_read(io_mem_io(later), a, S("/log"), &got));
    EXPECT(got.generation == old->generation || got.generation == c->generation);
    if (!hit)
        EXPECT_INT(c->generation, got.generation);
    if (hit && untouched)
        EXPECT_INT(old->generation, got.generation);
    expect_same(a, got.generation == c->generation ? c : old, &got);
    return hit;
}

TEST(whatever_fails_the_old_or_the_new_checkpoint_is_there)
{
    Checkpoint old = sample(a), c = sample(a);
    c.generation++;
    c.container_count = 1;
    for (int power_off = 0; power_off < 2; power_off++) {
        uint64_t n = 0;
        while (write_and_crash(a, &old, &c, n, power_off != 0))
            n++;
        EXPECT(n >= 5); // open, write, sync, rename, sync of the directory
    }
}

TEST(rows_that_no_start_would_accept_are_not_written)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    EXPECT_OK(io->mkdir(io, S("/log")));
    Checkpoint good = sample(a), bad = sample(a), got;
    EXPECT_OK(checkpoint_write(io, a, S("/log"), &good));
    bad.generation++;
    bad.shards[1].shard = bad.shards[0].shard;
    EXPECT_ERR(ERR_INVALID, checkpoint_write(io, a, S("/log"), &bad));
    EXPECT_OK(checkpoint_read(io, a, S("/log"), &got));
    EXPECT_INT(good.generation, got.generation);
}

static struct io *one_disk;

static unsigned two_copies(struct io_file *f)
{
    (void)f;
    return 2;
}

// The second copy does not have the flipped byte of the first.
static Err read_good_second(struct io_file *f, unsigned copy, void *p, size_t n, uint64_t at,
                            size_t *ret_n)
{
    TRY(one_disk->read(f, p, n, at, ret_n));
    if (copy == 1)
        ((uint8_t *)p)[40] ^= 4;
    return OK;
}

TEST(a_damaged_checkpoint_is_read_from_another_copy)
{
    AUTO(io_mem) disk = io_mem_open(1);
    one_disk = io_mem_io(disk);
    EXPECT_OK(one_disk->mkdir(one_disk, S("/log")));
    Checkpoint c = sample(a), got;
    EXPECT_OK(checkpoint_write(one_disk, a, S("/log"), &c));
    EXPECT_OK(io_flip(one_disk, S("/log/checkpoint.hrp"), 40, 4));
    EXPECT_ERR(ERR_CORRUPT, checkpoint_read(one_disk, a, S("/log"), &got));
    struct io two = *one_disk;
    two.copies = two_copies;
    two.read_copy = read_good_second;
    EXPECT_OK(checkpoint_read(&two, a, S("/log"), &got));
    expect_same(a, &c, &got);
}

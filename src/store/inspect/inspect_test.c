// SPDX-License-Identifier: Apache-2.0
#include "store/inspect.h"

#include "store/log/log_test_help.h"

#include <string.h>

enum { SHARDS = 3, FIRST = 21, RETENTION_HOURS = 24 };
#define DIR S("/log")

// What visits have brought: positions and data of one shard.
struct brought {
    struct arena *a;
    uint64_t shard;
    LogEntry at[4096];
    size_t n;
};

static bool bring(void *self, const InspectRecord *r)
{
    struct brought *b = self;
    if (r->shard != b->shard)
        return true;
    EXPECT(b->n < COUNT_OF(b->at));
    b->at[b->n++] = (LogEntry){ .position = r->position,
                                .arrival_ms = r->arrival_ms,
                                .key = str_dup(b->a, r->record.key),
                                .data = str_dup(b->a, r->record.data) };
    return true;
}

struct told {
    size_t n;
    Str file;
};

static void tell(void *self, Str file, uint64_t offset, Err e)
{
    struct told *t = self;
    (void)offset;
    EXPECT(e.kind != ERR_NONE);
    t->n++;
    t->file = file;
}

static struct log *open_log(struct io *io)
{
    LogConfig config = test_config(io, DIR);
    struct log *l = NULL;
    EXPECT_OK(log_open(&config, &l));
    for (uint64_t i = 0; i < SHARDS; i++)
        EXPECT_OK(log_shard_add(l, FIRST + i, RETENTION_HOURS * 3600 * NS_PER_S));
    return l;
}

static void put_some(struct log *l, struct arena *a, size_t n)
{
    static size_t count;
    for (size_t i = 0; i < n; i++) {
        LogPlace place;
        EXPECT_OK(test_put(l, FIRST + count % SHARDS, str_fmt(a, "data %zu", count), &place));
        count++;
    }
}

static struct inspect *inspect(struct io *io, struct told *told)
{
    InspectConfig config = { .io = io, .dir = DIR, .problem = tell, .self = told };
    struct inspect *i = NULL;
    EXPECT_OK(inspect_open(&config, &i));
    return i;
}

// Both ways of visiting give what the log gives.
static void expect_same(struct arena *a, struct inspect *i, const LogBatch *want)
{
    for (uint64_t s = 0; s < SHARDS; s++) {
        for (int way = 0; way < 2; way++) {
            struct brought *b = arena_new(a, struct brought, 1);
            *b = (struct brought){ .a = a, .shard = FIRST + s };
            EXPECT_OK(inspect_records(i, way == 0 ? FIRST + s : 0, 0, bring, b));
            EXPECT_INT(want[s].n, b->n);
            for (size_t k = 0; k < b->n; k++) {
                EXPECT(b->at[k].position == want[s].at[k].position);
                EXPECT(b->at[k].arrival_ms == want[s].at[k].arrival_ms);
                EXPECT_STR(want[s].at[k].data, b->at[k].data);
                EXPECT_STR(want[s].at[k].key, b->at[k].key);
            }
        }
    }
}

static void read_log(struct log *l, struct arena *a, LogBatch *ret)
{
    for (uint64_t s = 0; s < SHARDS; s++)
        ret[s] = test_read_all(l, a, FIRST + s, 0);
}

TEST(what_lies_there_is_what_the_log_reads_over_seals_starts_and_crashes)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogBatch want[SHARDS];
    for (uint64_t round = 0; round < 6; round++) {
        struct log *l = open_log(io_mem_io(disk));
        put_some(l, a, 40);
        if (round % 2 == 0)
            EXPECT_OK(log_seal(l));
        put_some(l, a, 10);
        read_log(l, a, want);
        if (round % 3 == 2) { // everything is durable, and then the power goes
            struct io_mem *after =
                io_mem_crash(disk, (IoMemCrash){ .seed = round, .keep = IO_KEEP_NONE });
            log_close(l);
            io_mem_close(disk);
            disk = after;
        } else {
            log_close(l);
        }
        struct told told = { 0 };
        AUTO(inspect) i = inspect(io_mem_io(disk), &told);
        expect_same(a, i, want);
        EXPECT_INT(0, told.n);
    }
    struct told told = { 0 };
    AUTO(inspect) i = inspect(io_mem_io(disk), &told);
    InspectStats s;
    inspect_stats(i, &s);
    EXPECT_INT(300, s.records + s.classes[RETENTION_DAY].records);
    EXPECT(s.classes[RETENTION_DAY].files >= 1 && s.blocks > 0 && s.files > 0 && s.problems == 0);
    EXPECT(s.oldest_ms > 0 && s.newest_ms >= s.oldest_ms);
}

TEST(a_dropped_shard_is_not_shown)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogBatch want[SHARDS];
    struct log *l = open_log(io_mem_io(disk));
    put_some(l, a, 30);
    EXPECT_OK(log_seal(l));
    put_some(l, a, 30);
    read_log(l, a, want);
    EXPECT_OK(log_shards_drop(l, (uint64_t[]){ FIRST + 1 }, 1));
    log_close(l);
    want[1].n = 0;
    struct told told = { 0 };
    AUTO(inspect) i = inspect(io_mem_io(disk), &told);
    expect_same(a, i, want);
}

TEST(looking_changes_nothing_and_needs_nothing_but_reading)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct log *l = open_log(io_mem_io(disk));
    put_some(l, a, 30);
    EXPECT_OK(log_seal(l));
    put_some(l, a, 30);
    log_close(l);
    AUTO(io_fault) faults = io_fault_open(io_mem_io(disk), 1);
    unsigned changes = IO_OP_CHANGE & ~(unsigned)IO_OP_OPEN;
    struct told told = { 0 };
    struct brought *b = arena_new(a, struct brought, 1);
    b->a = a;
    AUTO(inspect) i = inspect(io_fault_io(faults), &told);
    EXPECT_OK(inspect_records(i, 0, 0, bring, b));
    EXPECT_OK(inspect_check_containers(i));
    EXPECT_INT(0, io_fault_count(faults, changes));
}

TEST(damage_is_told_and_what_lies_behind_it_is_shown)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    LogBatch want[SHARDS];
    struct log *l = open_log(io);
    put_some(l, a, 60);
    read_log(l, a, want);
    log_close(l);
    struct told told = { 0 };
    AUTO(inspect) before = inspect(io, &told);
    size_t n, files;
    const InspectBlock *blocks = inspect_blocks(before, &n);
    const InspectFile *all = inspect_files(before, &files);
    EXPECT(n > 20 && told.n == 0);
    Str path = str_cat3(a, DIR, S("/"), all[blocks[10].file].name);
    EXPECT_OK(io_flip(io, path, blocks[10].head.place + 130, 4));

    AUTO(inspect) i = inspect(io, &told);
    EXPECT(told.n == 1 && str_eq(told.file, all[blocks[10].file].name));
    size_t found = 0;
    for (uint64_t s = 0; s < SHARDS; s++) {
        struct brought *b = arena_new(a, struct brought, 1);
        *b = (struct brought){ .a = a, .shard = FIRST + s };
        EXPECT_OK(inspect_records(i, FIRST + s, 0, bring, b));
        found += b->n;
    }
    EXPECT_INT(60 - blocks[10].records, found);
    LogConfig config = test_config(io, DIR);
    LogCheck check;
    EXPECT_ERR(ERR_CORRUPT, log_check(&config, &check)); // and the log refuses it
}

TEST(a_directory_whose_checkpoint_is_damaged_still_shows_its_containers)
{
    AUTO(io_mem) disk = io_mem_open(1);
    struct io *io = io_mem_io(disk);
    LogBatch want[SHARDS];
    struct log *l = open_log(io);
    put_some(l, a, 60);
    EXPECT_OK(log_seal(l));
    read_log(l, a, want);
    log_close(l);
    EXPECT_OK(io_flip(io, S("/log/checkpoint.hrp"), 140, 1));
    struct told told = { 0 };
    AUTO(inspect) i = inspect(io, &told);
    EXPECT(told.n >= 1 && inspect_checkpoint(i) == NULL);
    expect_same(a, i, want);
}

// SPDX-License-Identifier: Apache-2.0
#include "base/logline.h"
#include "base/test.h"
#include "os/io_fault.h"
#include "os/io_mem.h"
#include "store/sealed/container_priv.h"

#include <stdlib.h>
#include <string.h>

#define DIR_PATH S("/c")

enum { NUMBER = 7, ORDINAL_BITS = 18 };

// What a container is to hold: runs, by shard and position.
typedef struct Item {
    uint64_t shard;
    ContainerRun run;
} Item;

typedef struct Items {
    Item *at;
    size_t n, room;
} Items;

// ---- Making records

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static Str filler(struct arena *a, size_t n, uint64_t seed, bool is_random)
{
    char *p = arena_new(a, char, n);
    for (size_t i = 0; i < n; i++)
        p[i] = is_random ? (char)next_random(&seed) : "headrace"[i % 8];
    return str_from(p, n);
}

static Item *add_item(struct arena *a, Items *items, uint64_t shard, uint64_t block,
                      int64_t arrival_ms)
{
    if (items->n == items->room) {
        size_t room = MAX(items->room * 2, (size_t)16);
        Item *wider = arena_new(a, Item, room);
        for (size_t i = 0; i < items->n; i++)
            wider[i] = items->at[i];
        items->at = wider;
        items->room = room;
    }
    Item *item = &items->at[items->n++];
    *item = (Item){ shard, { .position = block << ORDINAL_BITS, .arrival_ms = arrival_ms } };
    return item;
}

// A run of `count` equal records with such a key and data.
static void add_run(struct arena *a, Items *items, uint64_t shard, uint64_t block,
                    int64_t arrival_ms, uint32_t count, Str key, Str data)
{
    Item *item = add_item(a, items, shard, block, arrival_ms);
    uint8_t *p = arena_new(a, uint8_t, record_bytes(key.n, 0, data.n) * count);
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++)
        at += record_put(p + at, key, (Str){ 0 }, blob_of(data));
    item->run.count = count;
    item->run.bytes = (uint32_t)at;
    item->run.records = p;
}

// Some shards, blocks and sizes of all kinds.
static Items mixed(struct arena *a, uint64_t seed, size_t shards, size_t runs, size_t data_max)
{
    Items items = { 0 };
    for (size_t s = 0; s < shards; s++) {
        uint64_t block = next_random(&seed) % 100;
        for (size_t r = 0; r < runs; r++) {
            block += 1 + next_random(&seed) % 3;
            size_t bytes = next_random(&seed) % (data_max + 1);
            bool is_random = next_random(&seed) % 2 == 0;
            uint32_t count = 1 + (uint32_t)(next_random(&seed) % 5);
            add_run(a, &items, s * 10 + 3, block, (int64_t)(block * 100), count,
                    str_fmt(a, "key-%zu", r), filler(a, bytes, seed, is_random));
        }
    }
    return items;
}

// ---- Writing and reading back

static struct io_mem *disk_open(void)
{
    struct io_mem *m = io_mem_open(1);
    struct io *io = io_mem_io(m);
    EXPECT_OK(io->mkdir(io, DIR_PATH));
    EXPECT_OK(io->sync_dir(io, S("/")));
    return m;
}

static Err write_items(struct io *io, Str dir, uint64_t number, const Items *items,
                       ContainerFacts *ret)
{
    struct container_writer *w = NULL;
    TRY(container_create(io, dir, number, RETENTION_WEEK, &w));
    for (size_t i = 0; i < items->n; i++) {
        Err e = container_add(w, items->at[i].shard, &items->at[i].run);
        if (e.kind != ERR_NONE) {
            container_abandon(w);
            return e;
        }
    }
    return container_finish(w, ret);
}

static bool runs_equal(const ContainerRun *x, const ContainerRun *y)
{
    return x->position == y->position && x->arrival_ms == y->arrival_ms && x->count == y->count &&
           x->bytes == y->bytes && memcmp(x->records, y->records, x->bytes) == 0;
}

// Whether the chunk holds exactly the next items.
static Err compare_chunk(const Items *items, size_t *at, uint64_t shard, const ContainerChunk *row,
                         const uint8_t *runs)
{
    size_t place = 0;
    ContainerRun run;
    Err e = OK;
    while (container_run_next(runs, row->raw_bytes, &place, &run, &e)) {
        EXPECT(*at < items->n);
        const Item *want = &items->at[(*at)++];
        EXPECT_INT(want->shard, shard);
        EXPECT(runs_equal(&want->run, &run));
    }
    return e;
}

// Reads everything and compares it: an error, or all is the same. Fails the test if it is not.
static Err compare(struct io *io, Str dir, const ContainerFacts *facts, const Items *items)
{
    AUTO(container) c = NULL;
    TRY(container_open(io, dir, facts, &c));
    size_t n = 0, at = 0;
    const ContainerShard *shards = container_shards(c, &n);
    for (size_t i = 0; i < n; i++) {
        const ContainerShard *s = &shards[i];
        EXPECT(container_find(c, s->shard) == s);
        uint8_t **runs = xalloc(s->chunks * sizeof *runs);
        Err e = container_read(c, s->shard, s->first_chunk, s->chunks, runs);
        for (uint32_t k = 0; k < s->chunks && e.kind == ERR_NONE; k++)
            e = compare_chunk(items, &at, s->shard, container_chunk(c, s->first_chunk + k),
                              runs[k]);
        for (uint32_t k = 0; k < s->chunks; k++)
            container_free_runs(runs[k], container_chunk(c, s->first_chunk + k)->raw_bytes);
        free(runs);
        TRY(e);
    }
    EXPECT_INT(items->n, at);
    return OK;
}

static void expect_round_trip(const Items *items)
{
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    ContainerFacts facts;
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, items, &facts));
    EXPECT_OK(compare(io, DIR_PATH, &facts, items));
}

// How many files are in the directory.
static size_t count_files(struct arena *a, struct io *io)
{
    IoName *names = NULL;
    size_t n = 0;
    EXPECT_OK(io->list(io, a, DIR_PATH, &names, &n));
    return n;
}

// ---- Round trips

TEST(what_is_put_into_a_container_is_read_back)
{
    Items items = mixed(a, 1, 20, 40, 5000);
    expect_round_trip(&items);
}

TEST(one_record_makes_a_container)
{
    Items items = { 0 };
    add_run(a, &items, 1, 1, 1, 1, S("k"), S("v"));
    expect_round_trip(&items);
    AUTO(io_mem) m = disk_open();
    ContainerFacts facts;
    EXPECT_OK(write_items(io_mem_io(m), DIR_PATH, NUMBER, &items, &facts));
    EXPECT_INT(8192, facts.bytes);
    EXPECT_INT(1, count_files(a, io_mem_io(m)));
    EXPECT_OK(container_read_facts(io_mem_io(m), S("/c/container-0000000007.hrc"), &facts));
}

TEST(a_container_holds_many_shards_of_one_record)
{
    Items items = { 0 };
    for (uint64_t s = 0; s < 10000; s++)
        add_run(a, &items, s * 3 + 1, 1 + s % 7, 5, 1, str_fmt(a, "%d", (int)s), S("data"));
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    ContainerFacts facts;
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts));
    EXPECT_OK(compare(io, DIR_PATH, &facts, &items));
    EXPECT_INT(10000, facts.shards);
    AUTO(container) c = NULL;
    EXPECT_OK(container_open(io, DIR_PATH, &facts, &c));
    EXPECT(container_find(c, 0) == NULL && container_find(c, 2) == NULL);
    EXPECT(container_find(c, 29999) == NULL && container_find(c, UINT64_MAX) == NULL);
    EXPECT(container_find(c, 1)->first_chunk == 0 && container_find(c, 29998)->chunks == 1);
    EXPECT(container_memory(c) >= 10000 * (sizeof(ContainerShard) + sizeof(ContainerChunk)));
    EXPECT(container_memory(c) < 10000 * (sizeof(ContainerShard) + sizeof(ContainerChunk)) + 4096);
}

TEST(the_largest_record_fits_behind_a_chunk_that_is_nearly_full)
{
    Items items = { 0 };
    add_run(a, &items, 1, 1, 1, 1, S("k"), filler(a, CHUNK_BYTES_SPLIT - 100, 1, true));
    add_run(a, &items, 1, 2, 2, 1, S("k"), filler(a, 10 << 20, 2, true));
    add_run(a, &items, 1, 3, 3, 1, S("k"), filler(a, 10 << 20, 3, false));
    add_run(a, &items, 2, 4, 4, 1, S("k"), filler(a, BLOCK_BYTES_LARGEST - 200, 4, true));
    expect_round_trip(&items);
}

TEST(what_cannot_be_compressed_is_stored_plain)
{
    Items items = { 0 };
    add_run(a, &items, 1, 1, 1, 1, S("k"), filler(a, 100000, 1, true));
    add_run(a, &items, 2, 1, 1, 1, S("k"), filler(a, 100000, 1, false));
    expect_round_trip(&items);
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    ContainerFacts facts;
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts));
    AUTO(container) c = NULL;
    EXPECT_OK(container_open(io, DIR_PATH, &facts, &c));
    EXPECT_INT(container_chunk(c, 0)->raw_bytes, container_chunk(c, 0)->stored_bytes);
    EXPECT(container_chunk(c, 1)->stored_bytes < 1000);
}

TEST(where_nothing_can_be_compressed_little_is_tried)
{
    Items items = { 0 };
    for (uint64_t shard = 1; shard <= 80; shard++) // a chunk each
        add_run(a, &items, shard, 1, 1, 1, S("k"), filler(a, 5000, shard, shard <= 40));
    expect_round_trip(&items);
    AUTO(io_mem) m = disk_open();
    ContainerFacts facts;
    EXPECT_OK(write_items(io_mem_io(m), DIR_PATH, NUMBER, &items, &facts));
    AUTO(container) c = NULL;
    EXPECT_OK(container_open(io_mem_io(m), DIR_PATH, &facts, &c));
    size_t packed = 0;
    for (uint32_t i = 40; i < 80; i++)
        packed += container_chunk(c, i)->stored_bytes < 1000;
    EXPECT(packed >= 24 && packed < 40); // it is found out that packing pays again
}

TEST(who_hurries_packs_less_well)
{
    Items items = { 0 };
    AUTO_BUF(text);
    for (unsigned i = 0; i < 20000; i++)
        buf_addf(&text, "GET /page/%u?user=%u 200\n", i % 97, i * 31 % 1000);
    add_run(a, &items, 1, 1, 1, 1, S("k"), buf_str(&text));
    AUTO(io_mem) m = disk_open();
    ContainerFacts well, fast;
    EXPECT_OK(write_items(io_mem_io(m), DIR_PATH, NUMBER, &items, &well));
    struct container_writer *w = NULL;
    EXPECT_OK(container_create(io_mem_io(m), DIR_PATH, NUMBER + 1, RETENTION_WEEK, &w));
    container_hurry(w);
    EXPECT_OK(container_add(w, 1, &items.at[0].run));
    EXPECT_OK(container_finish(w, &fast));
    EXPECT_INT(well.raw_bytes, fast.raw_bytes);
    EXPECT(fast.bytes > well.bytes && fast.bytes < fast.raw_bytes);
}

// Text of 64 different bytes in no order: a quarter can be saved, which is not much.
static Str random_text(struct arena *to, size_t n)
{
    uint8_t *p = arena_new(to, uint8_t, n);
    uint64_t x = 1;
    for (size_t i = 0; i < n; i++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
        p[i] = (uint8_t)(' ' + (x >> 58));
    }
    return str_from(p, n);
}

TEST(who_hurries_does_not_pack_for_a_small_saving)
{
    Items items = { 0 };
    for (unsigned i = 0; i < 32; i++)
        add_run(a, &items, 1, 1 + i, 1, 1, S("k"), random_text(a, CHUNK_BYTES_SPLIT));
    AUTO(io_mem) m = disk_open();
    ContainerFacts well, fast;
    EXPECT_OK(write_items(io_mem_io(m), DIR_PATH, NUMBER, &items, &well));
    EXPECT(well.bytes < well.raw_bytes / 5 * 4);
    struct container_writer *w = NULL;
    EXPECT_OK(container_create(io_mem_io(m), DIR_PATH, NUMBER + 1, RETENTION_WEEK, &w));
    container_hurry(w);
    for (size_t i = 0; i < items.n; i++)
        EXPECT_OK(container_add(w, 1, &items.at[i].run));
    EXPECT_OK(container_finish(w, &fast));
    AUTO(container) c = NULL;
    EXPECT_OK(container_open(io_mem_io(m), DIR_PATH, &fast, &c));
    size_t packed = 0;
    for (uint32_t i = 0; i < 32; i++)
        packed += container_chunk(c, i)->stored_bytes < container_chunk(c, i)->raw_bytes;
    EXPECT(packed < 8);
}

TEST(empty_keys_and_data_are_kept)
{
    Items items = { 0 };
    add_run(a, &items, 0, 0, -5, 3, S(""), S(""));
    add_run(a, &items, 0, 1, 0, 1, S(""), S("x"));
    add_run(a, &items, UINT64_MAX, 1, 0, 1, S("x"), S(""));
    expect_round_trip(&items);
}

TEST(a_shard_with_many_runs_is_split_into_chunks)
{
    Items items = { 0 };
    Str data = filler(a, 1000, 9, true);
    for (uint64_t i = 0; i < 5000; i++)
        add_run(a, &items, 4, i, (int64_t)i, 1, S("k"), data);
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    ContainerFacts facts;
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts));
    EXPECT_OK(compare(io, DIR_PATH, &facts, &items));
    AUTO(container) c = NULL;
    EXPECT_OK(container_open(io, DIR_PATH, &facts, &c));
    const ContainerShard *s = container_find(c, 4);
    EXPECT_INT((5000 * 1041 + CHUNK_BYTES_SPLIT) / (CHUNK_BYTES_SPLIT + 1041 / 2), s->chunks);
    for (uint32_t i = 0; i + 1 < s->chunks; i++) {
        const ContainerChunk *row = container_chunk(c, i);
        EXPECT(row->raw_bytes >= CHUNK_BYTES_SPLIT && row->raw_bytes < CHUNK_BYTES_SPLIT + 1100);
    }
    // Any neighbours of it can be read alone.
    uint8_t *runs[3];
    for (uint32_t i = 0; i + 3 <= s->chunks; i++) {
        EXPECT_OK(container_read(c, 4, i, 3, runs));
        for (uint32_t k = 0; k < 3; k++) {
            size_t at = 0;
            ContainerRun run;
            Err e = OK;
            EXPECT(
                container_run_next(runs[k], container_chunk(c, i + k)->raw_bytes, &at, &run, &e));
            EXPECT_INT(container_chunk(c, i + k)->first_position, run.position);
            container_free_runs(runs[k], container_chunk(c, i + k)->raw_bytes);
        }
    }
}

TEST(the_facts_tell_what_is_in_it)
{
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    Items items = { 0 };
    add_run(a, &items, 5, 7, 70, 2, S("key"), S("data"));
    add_run(a, &items, 5, 9, 90, 1, S("key"), S("data"));
    add_run(a, &items, 8, 3, 30, 4, S("key"), S("data"));
    ContainerFacts facts, alone;
    EXPECT_OK(write_items(io, DIR_PATH, 12345678901, &items, &facts));
    EXPECT_INT(12345678901, facts.number);
    EXPECT(facts.id != 0);
    EXPECT_INT(7, facts.records);
    EXPECT_INT(3 * RUN_HEAD_BYTES + 7 * (RECORD_HEAD_BYTES + 7), facts.raw_bytes);
    EXPECT_INT(3 << ORDINAL_BITS, facts.first_position);
    EXPECT_INT(9 << ORDINAL_BITS, facts.last_position);
    EXPECT_INT(30, facts.first_arrival_ms);
    EXPECT_INT(90, facts.last_arrival_ms);
    EXPECT(facts.first_shard == 5 && facts.last_shard == 8 && facts.shards == 2);
    EXPECT_INT(RETENTION_WEEK, facts.class);
    EXPECT_OK(container_read_facts(io, S("/c/container-12345678901.hrc"), &alone));
    EXPECT(memcmp(&facts, &alone, sizeof facts) == 0);

    AUTO(container) c = NULL;
    EXPECT_OK(container_open(io, DIR_PATH, &facts, &c));
    EXPECT(memcmp(&facts, container_facts(c), sizeof facts) == 0);
    const ContainerShard *s = container_find(c, 5);
    EXPECT_INT(7 << ORDINAL_BITS, s->first_position);
    EXPECT_INT(9 << ORDINAL_BITS, s->last_position);
    EXPECT(s->first_arrival_ms == 70 && s->last_arrival_ms == 90 && s->records == 3);
    EXPECT_INT((8 << ORDINAL_BITS) - (5 << ORDINAL_BITS) + 3, container_find(c, 8)->last_position);
}

TEST(a_container_is_written_with_direct_io_and_read_back_from_a_real_disk)
{
    Str dir = test_dir(a);
    Items items = mixed(a, 3, 5, 50, 60000);
    ContainerFacts facts;
    EXPECT_OK(write_items(io_real(), dir, NUMBER, &items, &facts));
    EXPECT(facts.bytes > CONTAINER_PIECE_BYTES);
    EXPECT_OK(compare(io_real(), dir, &facts, &items));
}

TEST(a_filesystem_without_direct_io_does_as_well)
{
    AUTO(io_mem) m = disk_open();
    AUTO(io_fault) f = io_fault_open(io_mem_io(m), 1);
    Items items = mixed(a, 2, 2, 2, 100);
    ContainerFacts facts;
    io_fault_add(f, (IoFault){ .ops = IO_OP_OPEN, .err = fail(ERR_INVALID, "no direct I/O") });
    EXPECT_OK(write_items(io_fault_io(f), DIR_PATH, NUMBER, &items, &facts));
    io_fault_add(f, (IoFault){ .ops = IO_OP_OPEN, .err = fail(ERR_INVALID, "no direct I/O") });
    EXPECT_OK(compare(io_fault_io(f), DIR_PATH, &facts, &items));
    EXPECT_INT(2, io_fault_hits(f));
}

// ---- Names and classes

TEST(a_number_has_one_name_and_a_name_one_number)
{
    uint64_t n = 0;
    EXPECT_STR(S("d/container-0000000001.hrc"), container_path(a, S("d"), 1));
    EXPECT_STR(S("d/container-18446744073709551615.hrc"), container_path(a, S("d"), UINT64_MAX));
    EXPECT(container_name_number(S("container-0000000042.hrc"), &n) && n == 42);
    EXPECT(container_name_number(S("container-18446744073709551615.hrc"), &n) && n == UINT64_MAX);
    static const char *const others[] = {
        "",
        "container-.hrc",
        "container-42.hrc",
        "container-00000000042.hrc",
        "container-0000000042.tmp",
        "container-0000000042.hrc.tmp",
        "container-000000004x.hrc",
        "container--000000042.hrc",
        "container-+000000042.hrc",
        "container-18446744073709551616.hrc",
        "xcontainer-0000000042.hrc",
    };
    for (size_t i = 0; i < COUNT_OF(others); i++)
        EXPECT(!container_name_number(str_of(others[i]), &n));
}

TEST(retention_has_three_classes)
{
    const int64_t hour = INT64_C(3600) * 1000 * 1000 * 1000;
    EXPECT_INT(RETENTION_DAY, retention_class(0));
    EXPECT_INT(RETENTION_DAY, retention_class(24 * hour));
    EXPECT_INT(RETENTION_WEEK, retention_class(24 * hour + 1));
    EXPECT_INT(RETENTION_WEEK, retention_class(168 * hour));
    EXPECT_INT(RETENTION_YEAR, retention_class(168 * hour + 1));
    EXPECT_INT(RETENTION_YEAR, retention_class(INT64_MAX));
}

// ---- Refusals

TEST(a_run_that_its_records_do_not_fill_is_refused)
{
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    Items items = { 0 };
    add_run(a, &items, 1, 1, 1, 3, S("key"), S("data"));
    for (int change = -1; change <= 1; change++) {
        for (int bytes = -1; bytes <= 0; bytes++) {
            ContainerRun run = items.at[0].run;
            run.count = (uint32_t)((int)run.count + change);
            run.bytes = (uint32_t)((int)run.bytes + bytes);
            struct container_writer *w = NULL;
            EXPECT_OK(container_create(io, DIR_PATH, NUMBER, RETENTION_DAY, &w));
            Err e = container_add(w, 1, &run);
            EXPECT_INT(change == 0 && bytes == 0 ? ERR_NONE : ERR_CORRUPT, e.kind);
            container_abandon(w);
        }
    }
    EXPECT_INT(0, count_files(a, io));
}

TEST(damaged_runs_are_told_and_not_read_over)
{
    Items items = { 0 };
    add_run(a, &items, 1, 1, 1, 2, S("key"), S("data"));
    size_t n = RUN_HEAD_BYTES + items.at[0].run.bytes, at = 0;
    uint8_t *p = xalloc(n);
    run_head_put(p, &items.at[0].run);
    memcpy(p + RUN_HEAD_BYTES, items.at[0].run.records, items.at[0].run.bytes);
    ContainerRun run;
    Err e = OK;
    EXPECT(container_run_next(p, n, &at, &run, &e) && at == n);
    EXPECT(!container_run_next(p, n, &at, &run, &e) && e.kind == ERR_NONE);
    for (size_t short_n = 1; short_n < n; short_n++) {
        at = 0;
        EXPECT(!container_run_next(p, short_n, &at, &run, &e));
        EXPECT_INT(ERR_CORRUPT, e.kind);
        EXPECT_INT(0, at);
    }
    ContainerRun bad[] = { items.at[0].run, items.at[0].run, items.at[0].run };
    bad[0].count = 0;
    bad[1].count = 100;
    bad[2].position = UINT64_MAX;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        run_head_put(p, &bad[i]);
        at = 0;
        EXPECT(!container_run_next(p, n, &at, &run, &e));
        EXPECT_INT(ERR_CORRUPT, e.kind);
    }
    free(p);
}

TEST(another_container_under_the_name_is_refused)
{
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    Items items = mixed(a, 4, 3, 3, 50), others = mixed(a, 5, 3, 3, 50);
    ContainerFacts facts, again, other;
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts));
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &again)); // the same but for the id
    EXPECT_ERR(ERR_CORRUPT, compare(io, DIR_PATH, &facts, &items));
    EXPECT_OK(compare(io, DIR_PATH, &again, &items));
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER + 1, &others, &other));
    EXPECT_OK(io->rename(io, S("/c/container-0000000008.hrc"), S("/c/container-0000000007.hrc")));
    EXPECT_ERR(ERR_CORRUPT, compare(io, DIR_PATH, &again, &items));
    EXPECT_ERR(ERR_NOT_FOUND, compare(io, DIR_PATH, &other, &others));
}

TEST(facts_that_differ_in_any_byte_are_refused)
{
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    Items items = mixed(a, 4, 3, 3, 50);
    ContainerFacts facts;
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts));
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL); // each would be a line
    for (size_t i = 0; i < sizeof facts; i++) {
        ContainerFacts wrong = facts;
        ((uint8_t *)&wrong)[i] ^= 1;
        struct container *c = NULL;
        Err e = container_open(io, DIR_PATH, &wrong, &c);
        EXPECT_INT(i < sizeof facts.number ? ERR_NOT_FOUND : ERR_CORRUPT, e.kind);
    }
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
}

// Changes bytes of the container's file.
static void poke(struct io *io, Str path, uint64_t at, const void *p, size_t n)
{
    struct io_file *f = NULL;
    EXPECT_OK(io->open(io, path, IO_WRITE, &f));
    EXPECT_OK(io->write(f, p, n, at, true));
    io->close(f);
}

TEST(a_piece_of_an_earlier_file_of_the_same_name_is_refused)
{
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    Items items = mixed(a, 4, 3, 3, 50);
    Str path = container_path(a, DIR_PATH, NUMBER), earlier = { 0 };
    ContainerFacts facts;
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts));
    EXPECT_OK(io_read_file(io, a, path, 1 << 20, &earlier));
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts)); // the same but for the id
    EXPECT_INT(earlier.n, facts.bytes);
    for (uint64_t at = 0; at < earlier.n; at += CONTAINER_ALIGN_BYTES) {
        Str now = { 0 };
        EXPECT_OK(io_read_file(io, a, path, 1 << 20, &now));
        poke(io, path, at, earlier.p + at, CONTAINER_ALIGN_BYTES);
        EXPECT_ERR(ERR_CORRUPT, compare(io, DIR_PATH, &facts, &items));
        poke(io, path, at, now.p + at, CONTAINER_ALIGN_BYTES);
    }
    // The first chunk alone, which the checks of head and footer do not see.
    AUTO(container) c = NULL;
    EXPECT_OK(container_open(io, DIR_PATH, &facts, &c));
    const ContainerChunk *row = container_chunk(c, 0);
    poke(io, path, row->place, earlier.p + row->place, CHUNK_HEAD_BYTES + row->stored_bytes);
    uint8_t *runs = NULL;
    EXPECT_ERR(ERR_CORRUPT, container_read(c, 3, 0, 1, &runs));
}

// The rows of two shards: two chunks and one.
typedef struct Footer {
    ContainerShard shards[2];
    ContainerChunk chunks[3];
} Footer;

enum { CHUNK_DAMAGES = 15, FOOTER_DAMAGES = 22, STORED_BYTES = 200 };

static void damage_chunk(ContainerChunk *c, int which)
{
    switch (which) {
    case 1:
        c[0].place += 1;
        break;
    case 2:
        c[1].place -= 1;
        break;
    case 3:
        c[2].stored_bytes -= 1;
        break;
    case 4:
        c[2].stored_bytes += 1;
        break;
    case 5:
        c[0].raw_bytes = CHUNK_BYTES_LARGEST + 1;
        break;
    case 6:
        c[0].raw_bytes = STORED_BYTES - 1;
        break;
    case 7:
        c[0].raw_bytes = RUN_HEAD_BYTES * 2 + RECORD_HEAD_BYTES * 5 - 1;
        break;
    case 8:
        c[0].runs = 0;
        break;
    case 9:
        c[0].records = 1;
        break;
    case 10:
        c[0].records = 1001; // more than there are positions
        c[0].raw_bytes = 10000;
        break;
    case 11:
        c[0].last_position = c[0].first_position - 1;
        break;
    case 12:
        c[2].last_position = UINT64_MAX;
        break;
    case 13:
        c[1].first_position = c[0].last_position;
        break;
    case 14:
        c[0].last_arrival_ms = c[0].first_arrival_ms - 1;
        break;
    default:
        break;
    }
}

static void damage_shard(Footer *f, int which)
{
    switch (which) {
    case 15:
        f->shards[1].shard = f->shards[0].shard;
        break;
    case 16:
        f->shards[1].shard = 0;
        break;
    case 17:
        f->shards[1].first_chunk = 1;
        break;
    case 18:
        f->shards[1].chunks = 2;
        break;
    case 19:
        f->shards[1].chunks = 0;
        break;
    case 20:
        f->shards[0].chunks = 1;
        break;
    case 21: // the last chunk is nobody's
        f->shards[0] = (ContainerShard){ .shard = 1 };
        f->shards[1] = (ContainerShard){ .shard = 2, .first_chunk = 1 };
        shard_add_chunk(&f->shards[0], &f->chunks[0]);
        shard_add_chunk(&f->shards[1], &f->chunks[1]);
        break;
    default:
        break;
    }
}

static Err footer_read(Footer *f)
{
    uint8_t rows[sizeof f->shards + sizeof f->chunks];
    for (size_t i = 0; i < 2; i++)
        shard_row_put(rows + i * SHARD_ROW_BYTES, &f->shards[i]);
    for (size_t i = 0; i < 3; i++)
        chunk_row_put(rows + (size_t)2 * SHARD_ROW_BYTES + i * CHUNK_ROW_BYTES, &f->chunks[i]);
    ContainerTail t = { .footer_place =
                            CONTAINER_HEAD_BYTES + 3 * (CHUNK_HEAD_BYTES + STORED_BYTES),
                        .shards = 2,
                        .chunks = 3 };
    ContainerShard shards[2];
    ContainerChunk chunks[3];
    return footer_get(rows, &t, shards, chunks);
}

static void footer_sum(Footer *f)
{
    f->shards[0] = (ContainerShard){ .shard = 1 };
    f->shards[1] = (ContainerShard){ .shard = 2, .first_chunk = 2 };
    for (size_t i = 0; i < 3; i++)
        shard_add_chunk(&f->shards[i / 2], &f->chunks[i]);
}

static Footer footer_make(void)
{
    Footer f;
    for (size_t i = 0; i < 3; i++)
        f.chunks[i] = (ContainerChunk){
            .place = CONTAINER_HEAD_BYTES + i * (CHUNK_HEAD_BYTES + STORED_BYTES),
            .stored_bytes = STORED_BYTES,
            .raw_bytes = 500,
            .records = 5,
            .runs = 2,
            .first_position = 1000 * (i + 1),
            .last_position = 1000 * (i + 1) + 999,
            .first_arrival_ms = 50,
            .last_arrival_ms = 60,
        };
    footer_sum(&f);
    return f;
}

TEST(rows_that_cannot_be_true_are_refused)
{
    for (int which = 0; which < FOOTER_DAMAGES; which++) {
        Footer f = footer_make();
        damage_chunk(f.chunks, which);
        damage_shard(&f, which);
        ErrKind want = which == 0 ? ERR_NONE : ERR_CORRUPT;
        EXPECT_INT(want, footer_read(&f).kind);
        if (which >= CHUNK_DAMAGES)
            continue;
        footer_sum(&f); // now its shard's row says the same
        EXPECT_INT(want, footer_read(&f).kind);
    }
}

TEST(what_the_row_of_a_shard_says_of_its_chunks_must_be_true)
{
    for (size_t at = offsetof(ContainerShard, first_position); at < sizeof(ContainerShard); at++) {
        Footer f = footer_make();
        ((uint8_t *)&f.shards[0])[at] ^= 1;
        EXPECT_ERR(ERR_CORRUPT, footer_read(&f));
    }
}

TEST(a_newer_format_is_refused_by_its_name)
{
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    Items items = mixed(a, 6, 3, 3, 50);
    ContainerFacts facts, again;
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts));
    Str path = container_path(a, DIR_PATH, NUMBER);
    ContainerHead h = {
        .format = CONTAINER_FORMAT + 2,
        .least_reader = CONTAINER_FORMAT,
        .key = { .number = NUMBER, .id = facts.id },
        .class = facts.class,
    };
    uint8_t *head = arena_new(a, uint8_t, CONTAINER_HEAD_BYTES);
    container_head_put(head, &h); // newer, but we can read it
    poke(io, path, 0, head, CONTAINER_HEAD_BYTES);
    EXPECT_OK(compare(io, DIR_PATH, &facts, &items));
    h.least_reader = CONTAINER_FORMAT + 1;
    container_head_put(head, &h);
    poke(io, path, 0, head, CONTAINER_HEAD_BYTES);
    EXPECT_ERR(ERR_FORMAT, compare(io, DIR_PATH, &facts, &items));
    EXPECT_ERR(ERR_FORMAT, container_read_facts(io, path, &again));
    h.least_reader = CONTAINER_FORMAT;
    h.class = RETENTION_CLASSES;
    container_head_put(head, &h);
    poke(io, path, 0, head, CONTAINER_HEAD_BYTES);
    EXPECT_ERR(ERR_CORRUPT, container_read_facts(io, path, &again));
}

TEST(every_damaged_byte_is_found_or_harmless)
{
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    Items items = mixed(a, 7, 4, 3, 40);
    add_run(a, &items, 1000, 1, 1, 1, S("k"), filler(a, 300, 1, false)); // one that is compressed
    ContainerFacts facts;
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts));
    Str path = container_path(a, DIR_PATH, NUMBER);
    uint64_t found = 0, harmless = 0;
    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL); // each would be a line
    for (uint64_t at = 0; at < facts.bytes; at++) {
        uint8_t mask = (uint8_t)(1u << (at % 8));
        EXPECT_OK(io_flip(io, path, at, mask));
        Err e = compare(io, DIR_PATH, &facts, &items);
        EXPECT(e.kind == ERR_NONE || e.kind == ERR_CORRUPT);
        found += e.kind == ERR_CORRUPT;
        harmless += e.kind == ERR_NONE;
        EXPECT_OK(io_flip(io, path, at, mask));
    }
    EXPECT_OK(compare(io, DIR_PATH, &facts, &items));
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
    // Harmless is only what lies between footer and tail.
    uint64_t padding = facts.bytes - CONTAINER_HEAD_BYTES - CONTAINER_TAIL_BYTES;
    AUTO(container) c = NULL;
    EXPECT_OK(container_open(io, DIR_PATH, &facts, &c));
    for (uint32_t i = 0; i < facts.shards; i++)
        padding -= SHARD_ROW_BYTES + CHUNK_ROW_BYTES + CHUNK_HEAD_BYTES +
                   container_chunk(c, i)->stored_bytes;
    EXPECT_INT(padding, harmless);
    EXPECT_INT(facts.bytes, found + harmless);
}

TEST(a_container_of_another_length_is_refused)
{
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    Items items = mixed(a, 8, 3, 20, 3000);
    ContainerFacts facts, alone;
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts));
    Str path = container_path(a, DIR_PATH, NUMBER);
    struct io_file *f = NULL;
    EXPECT_OK(io->open(io, path, IO_WRITE, &f));
    const uint64_t page = CONTAINER_ALIGN_BYTES;
    uint64_t sizes[] = { facts.bytes + page, facts.bytes + 1 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        EXPECT_OK(io->truncate(f, sizes[i]));
        EXPECT_ERR(ERR_CORRUPT, compare(io, DIR_PATH, &facts, &items));
        EXPECT_ERR(ERR_CORRUPT, container_read_facts(io, path, &alone));
    }
    EXPECT_OK(io->truncate(f, facts.bytes));
    EXPECT_OK(compare(io, DIR_PATH, &facts, &items));
    for (uint64_t bytes = facts.bytes - 1;; bytes = (bytes - 1) / page * page) {
        EXPECT_OK(io->truncate(f, bytes));
        EXPECT_ERR(ERR_CORRUPT, compare(io, DIR_PATH, &facts, &items));
        EXPECT_ERR(ERR_CORRUPT, container_read_facts(io, path, &alone));
        if (bytes == 0)
            break;
    }
    io->close(f);
}

TEST(a_file_that_shrinks_while_it_is_open_is_told)
{
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    Items items = mixed(a, 9, 1, 20, 3000);
    ContainerFacts facts;
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts));
    AUTO(container) c = NULL;
    EXPECT_OK(container_open(io, DIR_PATH, &facts, &c));
    struct io_file *f = NULL;
    EXPECT_OK(io->open(io, container_path(a, DIR_PATH, NUMBER), IO_WRITE, &f));
    EXPECT_OK(io->truncate(f, CONTAINER_HEAD_BYTES));
    io->close(f);
    uint8_t *runs = NULL;
    EXPECT_ERR(ERR_CORRUPT, container_read(c, 3, 0, 1, &runs));
    EXPECT(runs == NULL);
}

// ---- Two copies

// A table that keeps the container twice: the file of `first`, which reading prefers, and another.
static struct two_copies {
    struct io io;
    struct io_file *first, *second; // for writing
    unsigned mended;
} two;

static unsigned two_copies(struct io_file *f)
{
    (void)f;
    return 2;
}

static Err two_read_copy(struct io_file *f, unsigned copy, void *p, size_t n, uint64_t at,
                         size_t *ret_n)
{
    return two.io.read(copy == 0 ? f : two.second, p, n, at, ret_n);
}

static Err two_mend(struct io_file *f, const void *p, size_t n, uint64_t at)
{
    (void)f;
    two.mended++;
    TRY(two.io.write(two.first, p, n, at, true));
    return two.io.write(two.second, p, n, at, true);
}

// Makes the second copy of a file; returns its content.
static Str two_open(struct arena *a, struct io *io, Str path)
{
    Str content = { 0 };
    EXPECT_OK(io_read_file(io, a, path, 1 << 24, &content));
    EXPECT_OK(io_write_file(io, a, S("/second"), content));
    two = (struct two_copies){ .io = *io };
    EXPECT_OK(io->open(io, path, IO_WRITE, &two.first));
    EXPECT_OK(io->open(io, S("/second"), IO_WRITE, &two.second));
    two.io.copies = two_copies;
    two.io.read_copy = two_read_copy;
    two.io.mend = two_mend;
    return content;
}

TEST(damage_of_one_copy_is_mended_from_the_other)
{
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    Items items = mixed(a, 15, 3, 3, 40);
    Str path = container_path(a, DIR_PATH, NUMBER), good = { 0 }, now = { 0 };
    ContainerFacts facts;
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts));
    good = two_open(a, io, path);

    logline_setup((LogLevel)(LOG_ERROR + 1), LOG_TEXT, NULL); // each would be a line
    unsigned harmless = 0;
    for (uint64_t at = 0; at < facts.bytes; at += 13) {
        EXPECT_OK(io_flip(io, path, at, 0x10));
        unsigned before = two.mended;
        EXPECT_OK(compare(&two.io, DIR_PATH, &facts, &items));
        harmless += two.mended == before;
        if (two.mended == before) // between footer and tail
            EXPECT_OK(io_flip(io, path, at, 0x10));
        EXPECT_OK(io_read_file(io, a, path, 1 << 20, &now));
        EXPECT(str_eq(good, now));
        // In both copies it is damage.
        EXPECT_OK(io_flip(io, path, at, 0x10));
        EXPECT_OK(io_flip(io, S("/second"), at, 0x10));
        Err e = compare(&two.io, DIR_PATH, &facts, &items);
        EXPECT_INT(two.mended == before ? ERR_NONE : ERR_CORRUPT, e.kind);
        EXPECT_OK(io_flip(io, path, at, 0x10));
        EXPECT_OK(io_flip(io, S("/second"), at, 0x10));
    }
    logline_setup(LOG_INFO, LOG_TEXT, NULL);
    EXPECT(two.mended > 300 && harmless > 100);
    io->close(two.first);
    io->close(two.second);
}

TEST(a_copy_that_is_too_short_is_mended)
{
    AUTO(io_mem) m = disk_open();
    struct io *io = io_mem_io(m);
    Items items = mixed(a, 16, 1, 200, 60000);
    Str path = container_path(a, DIR_PATH, NUMBER), good = { 0 }, now = { 0 };
    ContainerFacts facts;
    EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts));
    EXPECT(facts.bytes > CONTAINER_PIECE_BYTES);
    good = two_open(a, io, path);
    AUTO(container) c = NULL;
    EXPECT_OK(container_open(&two.io, DIR_PATH, &facts, &c));
    EXPECT_OK(io->truncate(two.first, CONTAINER_HEAD_BYTES));
    uint32_t n = container_find(c, 3)->chunks;
    uint8_t **runs = arena_new(a, uint8_t *, n);
    EXPECT(n > 2);
    EXPECT_OK(container_read(c, 3, 0, n, runs));
    for (uint32_t i = 0; i < n; i++)
        container_free_runs(runs[i], container_chunk(c, i)->raw_bytes);
    EXPECT_OK(io_read_file(io, a, path, 1 << 24, &now));
    uint64_t chunks_end = container_chunk(c, n - 1)->place + CHUNK_HEAD_BYTES +
                          container_chunk(c, n - 1)->stored_bytes;
    EXPECT_STR(str_head(good, chunks_end), now);
    io->close(two.first);
    io->close(two.second);
}

// ---- Failures

TEST(a_failure_at_each_operation_leaves_nothing_and_is_told)
{
    Items items = mixed(a, 10, 3, 60, 60000);
    uint64_t n = 0;
    for (bool passed = false; !passed; n++) {
        AUTO(io_mem) m = disk_open();
        AUTO(io_fault) f = io_fault_open(io_mem_io(m), n);
        struct io *io = io_fault_io(f);
        io_fault_add(f, (IoFault){ .skip = n, .err = fail(ERR_FULL, "test") });
        ContainerFacts facts;
        Err e = write_items(io, DIR_PATH, NUMBER, &items, &facts);
        passed = io_fault_hits(f) == 0;
        io_fault_clear(f);
        EXPECT_INT(passed ? ERR_NONE : ERR_FULL, e.kind);
        EXPECT_INT(passed, count_files(a, io));                       // not even the one aside
        EXPECT_OK(write_items(io, DIR_PATH, NUMBER, &items, &facts)); // nothing is in the way
        EXPECT_OK(compare(io, DIR_PATH, &facts, &items));
    }
    EXPECT(n >= 7); // open, two writes at least, sync, rename, sync_dir and the run without
}

TEST(a_failure_at_each_operation_of_reading_is_told)
{
    AUTO(io_mem) m = disk_open();
    Items items = mixed(a, 11, 3, 5, 100);
    ContainerFacts facts;
    EXPECT_OK(write_items(io_mem_io(m), DIR_PATH, NUMBER, &items, &facts));
    uint64_t n = 0;
    for (bool passed = false; !passed; n++) {
        AUTO(io_fault) f = io_fault_open(io_mem_io(m), n);
        io_fault_add(f, (IoFault){ .skip = n });
        Err e = compare(io_fault_io(f), DIR_PATH, &facts, &items);
        passed = io_fault_hits(f) == 0;
        EXPECT_INT(passed ? ERR_NONE : ERR_IO, e.kind);
    }
    EXPECT_INT(9, n); // open, size, head, tail, footer, three shards and the run without
}

TEST(a_full_disk_is_told)
{
    AUTO(io_mem) m = disk_open();
    io_mem_set_capacity(m, 1 << 20);
    Items items = mixed(a, 12, 3, 50, 60000);
    ContainerFacts facts;
    EXPECT_ERR(ERR_FULL, write_items(io_mem_io(m), DIR_PATH, NUMBER, &items, &facts));
    EXPECT_INT(0, count_files(a, io_mem_io(m)));
}

TEST(a_power_cut_leaves_a_whole_container_or_none_under_its_name)
{
    Items items = mixed(a, 13, 3, 10, 60000);
    unsigned none = 0, whole = 0;
    for (uint64_t n = 0, seed = 0; seed < 60; seed++) {
        AUTO(io_mem) m = disk_open();
        AUTO(io_fault) f = io_fault_open(io_mem_io(m), seed);
        io_fault_add(
            f, (IoFault){
                   .ops = IO_OP_CHANGE, .skip = n, .tear = IO_TEAR_SECTORS, .power_off = true });
        ContainerFacts facts = { 0 };
        Err e = write_items(io_fault_io(f), DIR_PATH, NUMBER, &items, &facts);
        n = io_fault_hits(f) > 0 ? n + 1 : 0;
        AUTO(io_mem) later = io_mem_crash(m, (IoMemCrash){ .seed = seed });
        struct io *io = io_mem_io(later);
        Err found = container_read_facts(io, container_path(a, DIR_PATH, NUMBER), &facts);
        EXPECT(found.kind == ERR_NONE || found.kind == ERR_NOT_FOUND);
        EXPECT(e.kind != ERR_NONE || found.kind == ERR_NONE);
        if (found.kind == ERR_NONE)
            EXPECT_OK(compare(io, DIR_PATH, &facts, &items));
        none += found.kind != ERR_NONE;
        whole += found.kind == ERR_NONE;
    }
    EXPECT(none > 0 && whole > 0);
}

TEST(a_finished_container_is_there_after_the_worst_power_cut)
{
    AUTO(io_mem) m = disk_open();
    Items items = mixed(a, 14, 3, 10, 1000);
    ContainerFacts facts;
    struct container_writer *w = NULL;
    EXPECT_OK(container_create(io_mem_io(m), DIR_PATH, NUMBER + 1, RETENTION_DAY, &w));
    EXPECT_OK(container_add(w, 1, &items.at[0].run));
    EXPECT_OK(write_items(io_mem_io(m), DIR_PATH, NUMBER, &items, &facts));
    AUTO(io_mem) later = io_mem_crash(m, (IoMemCrash){ .keep = IO_KEEP_NONE });
    EXPECT_OK(compare(io_mem_io(later), DIR_PATH, &facts, &items));
    EXPECT_ERR(
        ERR_NOT_FOUND,
        container_read_facts(io_mem_io(later), container_path(a, DIR_PATH, NUMBER + 1), &facts));
    container_abandon(w);
    container_abandon(NULL);
    container_close(NULL);
}

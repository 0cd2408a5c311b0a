// SPDX-License-Identifier: Apache-2.0
#include "store/sealed/checkpoint.h"

#include "base/logline.h"
#include "codec/crc.h"
#include "codec/little.h"

#include <stdlib.h>
#include <string.h>

enum {
    HEAD_BYTES = 128,
    SHARD_BYTES = 48,
    CONTAINER_BYTES = 96,
    CRC_BYTES = 4,
    FLAG_RESTORED = 1,
    // Two million shards and a million containers: more than the log can hold in memory.
    CHECKPOINT_BYTES_MAX = 192 << 20,
};

static const char checkpoint_magic[8] = { 'H', 'R', 'P', 'O', 'I', 'N', 'T', '\n' };

// ---- Fields, one after the other

static void add32(uint8_t **p, uint32_t v)
{
    put32(*p, v);
    *p += sizeof v;
}

static void add64(uint8_t **p, uint64_t v)
{
    put64(*p, v);
    *p += sizeof v;
}

static uint32_t take32(const uint8_t **p)
{
    uint32_t v = get32(*p);
    *p += sizeof v;
    return v;
}

static uint64_t take64(const uint8_t **p)
{
    uint64_t v = get64(*p);
    *p += sizeof v;
    return v;
}

static uint32_t crc_at(Str bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.p + bytes.n - CRC_BYTES;
    return take32(&p);
}

// ---- Writing

static void put_head(uint8_t *p, const Checkpoint *c)
{
    memcpy(p, checkpoint_magic, sizeof checkpoint_magic);
    p += sizeof checkpoint_magic;
    add32(&p, CHECKPOINT_FORMAT);
    add32(&p, CHECKPOINT_LEAST_READER);
    add64(&p, c->generation);
    add64(&p, c->sealed_block);
    add64(&p, c->journal_file);
    add64(&p, c->least_number);
    add64(&p, c->least_epoch);
    add64(&p, c->next_container);
    add64(&p, (uint64_t)c->arrival_ms);
    add64(&p, c->is_restored ? FLAG_RESTORED : 0);
    add64(&p, c->shard_count);
    add64(&p, c->container_count);
}

static void put_shard(uint8_t *p, const CheckpointShard *s)
{
    add64(&p, s->shard);
    add64(&p, s->first_position);
    add64(&p, s->last_position);
    add64(&p, (uint64_t)s->last_arrival_ms);
    add64(&p, s->end_position);
    add64(&p, (uint64_t)s->end_arrival_ms);
}

static void put_container(uint8_t *p, const ContainerFacts *f)
{
    add64(&p, f->number);
    add64(&p, f->id);
    add64(&p, f->bytes);
    add64(&p, f->raw_bytes);
    add64(&p, f->records);
    add64(&p, f->first_position);
    add64(&p, f->last_position);
    add64(&p, (uint64_t)f->first_arrival_ms);
    add64(&p, (uint64_t)f->last_arrival_ms);
    add64(&p, f->first_shard);
    add64(&p, f->last_shard);
    add32(&p, f->shards);
    add32(&p, f->class);
}

Str checkpoint_encode(struct arena *a, const Checkpoint *c)
{
    size_t n = HEAD_BYTES + mul_checked(c->shard_count, SHARD_BYTES) +
               mul_checked(c->container_count, CONTAINER_BYTES);
    uint8_t *start = arena_new(a, uint8_t, n + CRC_BYTES);
    put_head(start, c);
    uint8_t *p = start + HEAD_BYTES;
    for (size_t i = 0; i < c->shard_count; i++, p += SHARD_BYTES)
        put_shard(p, &c->shards[i]);
    for (size_t i = 0; i < c->container_count; i++, p += CONTAINER_BYTES)
        put_container(p, &c->containers[i]);
    add32(&p, crc32c(0, start, n));
    return str_from(start, n + CRC_BYTES);
}

static Str checkpoint_path(struct arena *a, Str dir)
{
    return str_fmt(a, "%.*s/checkpoint.hrp", FMT(dir));
}

// Whole and synced, under another name.
static Err write_aside(struct io *io, Str path, Str bytes)
{
    struct io_file *f = NULL;
    TRY(io->open(io, path, IO_WRITE | IO_CREATE | IO_TRUNC, &f));
    Err e = io->write(f, bytes.p, bytes.n, 0, false);
    if (e.kind == ERR_NONE)
        e = io->sync(f);
    io->close(f);
    return e;
}

Err checkpoint_replace(struct io *io, struct arena *tmp, Str dir, const Checkpoint *c,
                       bool *ret_untouched)
{
    *ret_untouched = true;
    Str bytes = checkpoint_encode(tmp, c);
    if (bytes.n > CHECKPOINT_BYTES_MAX)
        return fail(ERR_LIMIT, "the checkpoint would be larger than it may be");
    Checkpoint again; // one that no start could read must not replace one that it can
    if (checkpoint_decode(tmp, bytes, &again).kind != ERR_NONE)
        return fail(ERR_INVALID, "the rows of the checkpoint contradict each other");
    Str path = checkpoint_path(tmp, dir);
    Str aside = str_cat(tmp, path, S(".new"));
    Err e = write_aside(io, aside, bytes);
    if (e.kind != ERR_NONE) {
        err_ignore(io->unlink(io, aside)); // the first error tells more; the next write replaces it
        return e;
    }
    *ret_untouched = false;
    TRY(io->rename(io, aside, path));
    return io->sync_dir(io, dir);
}

Err checkpoint_write(struct io *io, struct arena *tmp, Str dir, const Checkpoint *c)
{
    bool untouched;
    return checkpoint_replace(io, tmp, dir, c, &untouched);
}

// ---- Reading

static Err damaged(void)
{
    return fail(ERR_CORRUPT, "the checkpoint is damaged");
}

static Err get_head(const uint8_t *p, Checkpoint *c)
{
    c->generation = take64(&p);
    c->sealed_block = take64(&p);
    c->journal_file = take64(&p);
    c->least_number = take64(&p);
    c->least_epoch = take64(&p);
    c->next_container = take64(&p);
    c->arrival_ms = (int64_t)take64(&p);
    c->is_restored = (take64(&p) & FLAG_RESTORED) != 0;
    c->shard_count = take64(&p);
    c->container_count = take64(&p);
    return c->generation == 0 || c->journal_file == 0 || c->next_container == 0 ? damaged() : OK;
}

static Err get_shards(const uint8_t *p, Checkpoint *c)
{
    for (size_t i = 0; i < c->shard_count; i++) {
        CheckpointShard *s = &c->shards[i];
        s->shard = take64(&p);
        s->first_position = take64(&p);
        s->last_position = take64(&p);
        s->last_arrival_ms = (int64_t)take64(&p);
        s->end_position = take64(&p);
        s->end_arrival_ms = (int64_t)take64(&p);
        if (s->first_position > s->last_position || (i > 0 && s->shard <= s[-1].shard))
            return damaged();
    }
    return OK;
}

static bool facts_are_sound(const ContainerFacts *f, uint64_t next_container)
{
    return f->number > 0 && f->number < next_container && f->bytes > 0 && f->shards > 0 &&
           f->records >= f->shards && f->first_position <= f->last_position &&
           f->first_arrival_ms <= f->last_arrival_ms && f->first_shard <= f->last_shard &&
           f->class < RETENTION_CLASSES;
}

static int compare_numbers(const void *x, const void *y)
{
    uint64_t a, b;
    memcpy(&a, x, sizeof a);
    memcpy(&b, y, sizeof b);
    return a < b ? -1 : a > b;
}

// Two rows of one number would be one file counted twice.
static Err check_numbers(struct arena *tmp, const Checkpoint *c)
{
    uint64_t *numbers = arena_new(tmp, uint64_t, MAX(c->container_count, (size_t)1));
    for (size_t i = 0; i < c->container_count; i++)
        numbers[i] = c->containers[i].number;
    qsort(numbers, c->container_count, sizeof *numbers, compare_numbers);
    for (size_t i = 1; i < c->container_count; i++)
        if (numbers[i] == numbers[i - 1])
            return damaged();
    return OK;
}

static Err get_containers(const uint8_t *p, Checkpoint *c)
{
    for (size_t i = 0; i < c->container_count; i++) {
        ContainerFacts *f = &c->containers[i];
        f->number = take64(&p);
        f->id = take64(&p);
        f->bytes = take64(&p);
        f->raw_bytes = take64(&p);
        f->records = take64(&p);
        f->first_position = take64(&p);
        f->last_position = take64(&p);
        f->first_arrival_ms = (int64_t)take64(&p);
        f->last_arrival_ms = (int64_t)take64(&p);
        f->first_shard = take64(&p);
        f->last_shard = take64(&p);
        f->shards = take32(&p);
        f->class = take32(&p);
        if (!facts_are_sound(f, c->next_container))
            return damaged();
        if (i > 0 && (f->first_position < f[-1].first_position ||
                      (f->first_position == f[-1].first_position && f->number <= f[-1].number)))
            return damaged();
    }
    return OK;
}

Err checkpoint_decode(struct arena *a, Str bytes, Checkpoint *ret)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    if (bytes.n < HEAD_BYTES + CRC_BYTES ||
        memcmp(p, checkpoint_magic, sizeof checkpoint_magic) != 0 ||
        crc32c(0, p, bytes.n - CRC_BYTES) != crc_at(bytes))
        return damaged();
    const uint8_t *head = p + sizeof checkpoint_magic + sizeof(uint32_t);
    if (take32(&head) > CHECKPOINT_FORMAT)
        return fail(ERR_FORMAT, "the checkpoint was written by a newer program");

    Checkpoint c = { 0 };
    TRY(get_head(head, &c));
    size_t rows = bytes.n - HEAD_BYTES - CRC_BYTES;
    if (c.shard_count > rows / SHARD_BYTES || c.container_count > rows / CONTAINER_BYTES ||
        rows != c.shard_count * SHARD_BYTES + c.container_count * CONTAINER_BYTES)
        return damaged();
    c.shards = arena_new(a, CheckpointShard, MAX(c.shard_count, (size_t)1));
    c.containers = arena_new(a, ContainerFacts, MAX(c.container_count, (size_t)1));
    TRY(get_shards(p + HEAD_BYTES, &c));
    TRY(get_containers(p + HEAD_BYTES + c.shard_count * SHARD_BYTES, &c));
    AUTO(arena) tmp = arena_open();
    TRY(check_numbers(tmp, &c));
    *ret = c;
    return OK;
}

static Err read_copy(struct io *io, struct io_file *f, struct arena *a, unsigned copy, Str *ret)
{
    uint64_t bytes;
    TRY(io->size(f, &bytes));
    if (bytes > CHECKPOINT_BYTES_MAX)
        return damaged();
    uint8_t *p = arena_new(a, uint8_t, (size_t)bytes + 1);
    size_t n;
    TRY(io->read_copy(f, copy, p, (size_t)bytes, 0, &n));
    *ret = str_from(p, n);
    return OK;
}

// After `damage`: the first copy of the file that is whole, if there are several. The next
// checkpoint replaces the others.
static Err decode_copies(struct io *io, struct arena *a, Str path, Err damage, Checkpoint *ret)
{
    AUTO(arena) tmp = arena_open();
    struct io_file *f = NULL;
    TRY(io->open(io, path, IO_READ, &f));
    unsigned copies = io->copies(f);
    Err e = damage;
    for (unsigned i = 0; i < copies && copies > 1 && e.kind != ERR_NONE; i++) {
        Str bytes;
        e = read_copy(io, f, tmp, i, &bytes);
        if (e.kind == ERR_NONE)
            e = checkpoint_decode(a, bytes, ret);
        if (e.kind == ERR_NONE)
            LOG(LOG_WARN, "a damaged checkpoint was read from another copy", F_STR("file", path),
                F_INT("copy", i));
    }
    io->close(f);
    return e.kind == ERR_NONE ? OK : damage;
}

Err checkpoint_read(struct io *io, struct arena *a, Str dir, Checkpoint *ret)
{
    AUTO(arena) tmp = arena_open();
    Str path = checkpoint_path(tmp, dir), bytes;
    TRY(io_read_file(io, tmp, path, CHECKPOINT_BYTES_MAX, &bytes));
    Err e = checkpoint_decode(a, bytes, ret);
    return e.kind == ERR_CORRUPT ? decode_copies(io, a, path, e, ret) : e;
}

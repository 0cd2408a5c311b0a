// SPDX-License-Identifier: Apache-2.0
#include "store/inspect/inspect_priv.h"

#include "os/io.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 1 << 20 };

// ---- Small things

void inspect_problem(struct inspect *i, Str file, uint64_t offset, Err e)
{
    i->problems++;
    if (i->config.problem != NULL)
        i->config.problem(i->config.self, file, offset, e);
}

void *inspect_grow(void *at, size_t n, size_t *room, size_t bytes)
{
    if (n < *room)
        return at;
    *room = MAX(*room * 2, (size_t)256);
    return xrealloc(at, mul_checked(*room, bytes));
}

Str inspect_path(const struct inspect *i, struct arena *a, Str name)
{
    return str_cat3(a, i->config.dir, S("/"), name);
}

Str inspect_container_dir(const struct inspect *i, struct arena *a)
{
    return str_cat(a, i->config.dir, S("/sealed"));
}

static int compare_numbers(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return a < b ? -1 : a > b;
}

bool inspect_is_dropped(const struct inspect *i, uint64_t shard)
{
    return i->dropped_count > 0 && bsearch(&shard, i->dropped, i->dropped_count, sizeof *i->dropped,
                                           compare_numbers) != NULL;
}

Err inspect_extents(const uint8_t *p, const BlockHead *h,
                    bool (*visit)(void *self, const ExtentHead *x, const uint8_t *records),
                    void *self)
{
    size_t at = BLOCK_HEAD_BYTES;
    for (uint32_t k = 0; k < h->extents; k++) {
        ExtentHead x;
        TRY(extent_get(p + at, h->used_bytes - at, h->number, &x));
        if (!visit(self, &x, p + at + EXTENT_HEAD_BYTES))
            return OK;
        at += EXTENT_HEAD_BYTES + x.bytes;
    }
    return OK;
}

// ---- Blocks of one file

struct scanning {
    struct inspect *i;
    uint32_t file;
    struct io_file *f;
    uint8_t *block; // BLOCK_BYTES_LARGEST
};

static bool note_extent(void *self, const ExtentHead *x, const uint8_t *records)
{
    struct scanning *s = self;
    struct inspect *i = s->i;
    InspectBlock *b = &i->blocks[i->block_count];
    if (x->kind == EXTENT_RECORDS) {
        b->records += x->count;
        return true;
    }
    for (uint32_t k = 0; k < x->count && (k + 1) * CONTROL_BYTES <= x->bytes; k++) {
        struct found_control c = { .block = (uint32_t)i->block_count };
        if (control_get(records + (size_t)k * CONTROL_BYTES, &c.control).kind != ERR_NONE)
            continue;
        i->controls =
            inspect_grow(i->controls, i->control_count, &i->control_room, sizeof *i->controls);
        i->controls[i->control_count++] = c;
        b->controls++;
    }
    return true;
}

// The block at a place, if there is a good one: *ret_bytes is its length, else 0.
static Err scan_block(struct scanning *s, uint64_t at, uint32_t *ret_bytes)
{
    struct inspect *i = s->i;
    const InspectFile *file = &i->files[s->file];
    BlockHead h;
    size_t got = 0;
    *ret_bytes = 0;
    TRY(i->config.io->read(s->f, s->block, JOURNAL_ALIGN_BYTES, at, &got));
    if (got < JOURNAL_ALIGN_BYTES ||
        !block_head_get(s->block, file->head.salt, at, file->bytes, &h))
        return OK;
    size_t more = h.bytes - JOURNAL_ALIGN_BYTES;
    TRY(i->config.io->read(s->f, s->block + JOURNAL_ALIGN_BYTES, more, at + JOURNAL_ALIGN_BYTES,
                           &got));
    if (got < more || block_crc(s->block, h.bytes) != h.crc)
        return OK; // torn, or damaged: the chain tells
    i->blocks = inspect_grow(i->blocks, i->block_count, &i->block_room, sizeof *i->blocks);
    i->blocks[i->block_count] = (InspectBlock){ .file = s->file, .head = h };
    Err e = inspect_extents(s->block, &h, note_extent, s);
    if (e.kind != ERR_NONE)
        inspect_problem(i, file->name, at, e);
    i->block_count++;
    *ret_bytes = h.bytes;
    return OK;
}

static Err scan_blocks(struct scanning *s)
{
    const InspectFile *file = &s->i->files[s->file];
    uint64_t at = JOURNAL_HEAD_BYTES;
    while (at + JOURNAL_ALIGN_BYTES <= file->bytes) {
        uint32_t bytes;
        TRY(scan_block(s, at, &bytes));
        at += bytes > 0 ? bytes : JOURNAL_ALIGN_BYTES;
    }
    return OK;
}

static void scan_file(struct inspect *i, uint32_t k)
{
    AUTO(arena) tmp = arena_open();
    struct scanning s = { .i = i, .file = k };
    Err e = i->config.io->open(i->config.io, inspect_path(i, tmp, i->files[k].name), IO_READ, &s.f);
    if (e.kind == ERR_NONE) {
        s.block = xalloc(BLOCK_BYTES_LARGEST);
        e = scan_blocks(&s);
        free(s.block);
        i->config.io->close(s.f);
    }
    if (e.kind != ERR_NONE)
        inspect_problem(i, i->files[k].name, 0, e);
}

// ---- Files

static uint64_t number_in_name(Str name)
{
    uint64_t n = 0;
    const size_t start = sizeof "journal-" - 1, end = sizeof ".hrj" - 1;
    if (str_starts(name, S("journal-")) && str_ends(name, S(".hrj")) && name.n > start + end &&
        str_u64(str_head(str_skip(name, start), name.n - start - end), &n).kind != ERR_NONE)
        n = 0;
    return n;
}

static void read_head(struct inspect *i, InspectFile *f)
{
    AUTO(arena) tmp = arena_open();
    struct io *io = i->config.io;
    struct io_file *file = NULL;
    uint8_t *head = xalloc(JOURNAL_HEAD_BYTES);
    size_t got = 0;
    Err e = io->open(io, inspect_path(i, tmp, f->name), IO_READ, &file);
    if (e.kind == ERR_NONE)
        e = io->read(file, head, JOURNAL_HEAD_BYTES, 0, &got);
    if (e.kind == ERR_NONE && got < JOURNAL_HEAD_BYTES)
        e = fail(ERR_CORRUPT, "a journal file without a head");
    if (e.kind == ERR_NONE)
        e = journal_head_get(head, &f->head);
    if (e.kind == ERR_NONE && f->head.file_bytes != f->bytes)
        e = fail(ERR_CORRUPT, "a journal file of another length than it says");
    io->close(file);
    free(head);
    f->is_over = e.kind != ERR_NONE;
    // A spare file under construction is no loss; one that counts is missed when they are counted.
    if (e.kind != ERR_NONE)
        inspect_problem(i, f->name, 0, e);
}

static int compare_files(const void *x, const void *y)
{
    const InspectFile *a = x, *b = y;
    if (a->head.number != b->head.number)
        return a->head.number < b->head.number ? -1 : 1;
    // Of two with one number, that under its own name counts.
    bool a_named = number_in_name(a->name) == a->head.number;
    bool b_named = number_in_name(b->name) == b->head.number;
    return (int)b_named - (int)a_named;
}

// Says which files do not count, and which that should are not there.
static void judge_files(struct inspect *i)
{
    uint64_t next = i->has_checkpoint ? i->checkpoint.journal_file : 0;
    for (size_t k = 0; k < i->file_count; k++) {
        InspectFile *f = &i->files[k];
        bool is_double = k > 0 && f->head.number == i->files[k - 1].head.number;
        f->is_over |= is_double || (i->has_checkpoint && f->head.number < next);
        if (f->is_over)
            continue;
        if (next != 0 && f->head.number > next)
            inspect_problem(i, f->name, 0,
                            fail(ERR_CORRUPT, "a journal file before this one is missing"));
        next = f->head.number + 1;
    }
}

static Err find_files(struct inspect *i)
{
    IoName *names = NULL;
    size_t n = 0;
    TRY(i->config.io->list(i->config.io, i->a, i->config.dir, &names, &n));
    i->files = arena_new(i->a, InspectFile, MAX(n, (size_t)1));
    for (size_t k = 0; k < n; k++) {
        if (names[k].is_dir || number_in_name(names[k].name) == 0)
            continue;
        InspectFile *f = &i->files[i->file_count++];
        *f = (InspectFile){ .name = names[k].name, .bytes = names[k].bytes };
        read_head(i, f);
    }
    if (i->file_count > 1)
        qsort(i->files, i->file_count, sizeof *i->files, compare_files);
    return OK;
}

// ---- Containers

static InspectContainer *container_named(struct inspect *i, Str name)
{
    for (size_t k = 0; k < i->container_count; k++)
        if (str_eq(i->containers[k].name, name))
            return &i->containers[k];
    return NULL;
}

static void note_listed(struct inspect *i)
{
    const Checkpoint *c = &i->checkpoint;
    for (size_t k = 0; i->has_checkpoint && k < c->container_count; k++) {
        Str path = container_path(i->a, S(""), c->containers[k].number);
        i->containers[i->container_count++] = (InspectContainer){ .name = str_skip(path, 1),
                                                                  .is_listed = true,
                                                                  .facts = c->containers[k] };
    }
}

// A file that no readable checkpoint lists. When the checkpoint is damaged it is all there is.
static void note_unlisted(struct inspect *i, const IoName *name)
{
    AUTO(arena) tmp = arena_open();
    InspectContainer *c = &i->containers[i->container_count++];
    *c = (InspectContainer){ .name = name->name, .bytes = name->bytes };
    Str path = str_cat3(tmp, inspect_container_dir(i, tmp), S("/"), name->name);
    Err e = container_read_facts(i->config.io, path, &c->facts);
    c->is_listed = i->checkpoint_is_bad && e.kind == ERR_NONE;
    if (e.kind != ERR_NONE && i->checkpoint_is_bad)
        inspect_problem(i, name->name, 0, e);
}

static Err find_containers(struct inspect *i)
{
    AUTO(arena) tmp = arena_open();
    IoName *names = NULL;
    size_t n = 0;
    Err e = i->config.io->list(i->config.io, i->a, inspect_container_dir(i, tmp), &names, &n);
    if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
        return e;
    size_t listed = i->has_checkpoint ? i->checkpoint.container_count : 0;
    i->containers = arena_new(i->a, InspectContainer, MAX(n + listed, (size_t)1));
    note_listed(i);
    for (size_t k = 0; k < n; k++) {
        uint64_t number;
        InspectContainer *c = container_named(i, names[k].name);
        if (c != NULL)
            c->bytes = names[k].bytes;
        else if (container_name_number(names[k].name, &number))
            note_unlisted(i, &names[k]);
    }
    for (size_t k = 0; k < listed; k++)
        if (i->containers[k].bytes != i->containers[k].facts.bytes)
            inspect_problem(i, i->containers[k].name, 0,
                            fail(ERR_CORRUPT, "a container is missing or of another length"));
    return OK;
}

static void read_checkpoint(struct inspect *i)
{
    Err e = checkpoint_read(i->config.io, i->a, i->config.dir, &i->checkpoint);
    i->has_checkpoint = e.kind == ERR_NONE;
    i->checkpoint_is_bad = e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND;
    if (i->checkpoint_is_bad)
        inspect_problem(i, S("checkpoint.hrp"), 0, e);
}

// ---- Opening

static void note_dropped(struct inspect *i)
{
    i->dropped = arena_new(i->a, uint64_t, MAX(i->control_count, (size_t)1));
    for (size_t k = 0; k < i->control_count; k++) {
        const struct found_control *c = &i->controls[k];
        InspectState state = i->blocks[c->block].state;
        if (c->control.what == CONTROL_DROP &&
            (state == INSPECT_COUNTS || state == INSPECT_DETACHED))
            i->dropped[i->dropped_count++] = c->control.id;
    }
    if (i->dropped_count > 1)
        qsort(i->dropped, i->dropped_count, sizeof *i->dropped, compare_numbers);
}

static Err load(struct inspect *i)
{
    read_checkpoint(i);
    TRY(find_files(i));
    judge_files(i);
    TRY(find_containers(i));
    for (size_t k = 0; k < i->file_count; k++)
        if (!i->files[k].is_over)
            scan_file(i, (uint32_t)k);
    inspect_chain(i);
    note_dropped(i);
    return OK;
}

Err inspect_open(const InspectConfig *config, struct inspect **ret)
{
    struct inspect *i = xalloc(sizeof *i);
    i->a = arena_open();
    i->config = *config;
    i->config.dir = str_dup(i->a, config->dir);
    Err e = load(i);
    if (e.kind != ERR_NONE) {
        inspect_close(i);
        return e;
    }
    *ret = i;
    return OK;
}

void inspect_close(struct inspect *i)
{
    if (i == NULL)
        return;
    free(i->blocks);
    free(i->controls);
    arena_close(i->a);
    free(i);
}

// ---- What was found

const Checkpoint *inspect_checkpoint(const struct inspect *i)
{
    return i->has_checkpoint ? &i->checkpoint : NULL;
}

const InspectFile *inspect_files(const struct inspect *i, size_t *ret_n)
{
    *ret_n = i->file_count;
    return i->files;
}

const InspectBlock *inspect_blocks(const struct inspect *i, size_t *ret_n)
{
    *ret_n = i->block_count;
    return i->blocks;
}

const InspectContainer *inspect_containers(const struct inspect *i, size_t *ret_n)
{
    *ret_n = i->container_count;
    return i->containers;
}

static void note_time(InspectStats *s, int64_t first_ms, int64_t last_ms)
{
    s->oldest_ms = s->oldest_ms == 0 ? first_ms : MIN(s->oldest_ms, first_ms);
    s->newest_ms = MAX(s->newest_ms, last_ms);
}

static void add_blocks(const struct inspect *i, InspectStats *s)
{
    for (size_t k = 0; k < i->block_count; k++) {
        const InspectBlock *b = &i->blocks[k];
        if (b->state != INSPECT_COUNTS && b->state != INSPECT_DETACHED) {
            s->void_blocks++;
            continue;
        }
        s->blocks++;
        s->block_bytes += b->head.bytes;
        s->records += b->records;
        if (b->records > 0)
            note_time(s, b->head.arrival_ms, b->head.arrival_ms);
    }
}

void inspect_stats(const struct inspect *i, InspectStats *ret)
{
    InspectStats s = { .problems = i->problems };
    for (size_t k = 0; k < i->file_count; k++) {
        s.files += !i->files[k].is_over;
        *(i->files[k].is_over ? &s.spare_bytes : &s.file_bytes) += i->files[k].bytes;
    }
    for (size_t k = 0; k < i->container_count; k++) {
        const ContainerFacts *f = &i->containers[k].facts;
        s.leftovers += !i->containers[k].is_listed;
        if (!i->containers[k].is_listed || f->class >= RETENTION_CLASSES)
            continue;
        s.classes[f->class].files++;
        s.classes[f->class].bytes += f->bytes;
        s.classes[f->class].raw_bytes += f->raw_bytes;
        s.classes[f->class].records += f->records;
        note_time(&s, f->first_arrival_ms, f->last_arrival_ms);
    }
    add_blocks(i, &s);
    *ret = s;
}

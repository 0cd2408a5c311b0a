// SPDX-License-Identifier: Apache-2.0
// Recovery: walks the files that the checkpoint has left, in the order of their numbers, and
// follows the chain of blocks.
//
// A place where the chain does not go on is a gap. It is harmless if the chain goes on later (the
// rest of a full file; blocks that failed and were made void by a new epoch) or not at all (a torn
// tail). It is damage if a good block behind it says that more was durable than the chain holds.
//
// Blocks are held back until a later one says that they were durable, because until then a new
// epoch may void them. There are never more of them than were under way at once.
#include "base/memory.h"
#include "store/log/journal_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    SCAN_PIECE_BYTES = 8 << 20,   // the device is busy with many parts of it at once
    AHEAD_BYTES_LEAST = 32 << 20, // of a journal that is worth threads
};

// A block of the chain whose content is not applied yet.
struct held {
    BlockHead head;
    struct journal_file *file;
    BlockExtent *extents;
    size_t extent_count;
    Control *controls;
    size_t control_count;
};

struct held_list {
    struct held *at;
    size_t n, room;
};

struct scan {
    struct log *l;
    struct io *io;
    struct journal_file *file;
    uint8_t *window; // [window_at, window_at + window_n) of the file
    size_t window_room, window_n;
    uint64_t window_at;
    struct ahead *ahead; // instead of the window; NULL: the journal is small

    Checkpoint checkpoint;
    BlockHead head;                   // the newest block of the chain; zeros: none
    BlockHead settled;                // the newest that is applied
    struct held_list held;            // behind it, by number
    struct held_list spans;           // parts of an append whose last part has not come
    uint64_t number_seen, epoch_seen; // in any good block

    bool in_gap;
    struct journal_file *gap_file;
    uint64_t gap_place, gap_bytes; // bytes of blocks that are given up
    bool after_sealed;             // the next block that counts is the first behind what is sealed
    struct journal_file **aside;   // files that do not count: over, doubles, or with a damaged head
    size_t aside_count;
};

static void held_free(struct held *h)
{
    free(h->extents);
    free(h->controls);
}

static void held_push(struct held_list *list, struct held take_h)
{
    if (list->n == list->room) {
        list->room = MAX(list->room * 2, (size_t)16);
        list->at = xrealloc(list->at, mul_checked(list->room, sizeof *list->at));
    }
    list->at[list->n++] = take_h;
}

static void held_drop(struct held_list *list, size_t from)
{
    for (size_t i = from; i < list->n; i++)
        held_free(&list->at[i]);
    list->n = MIN(list->n, from);
}

// ---- Reading

// Makes n bytes of the file from `at` on available; both are multiples of JOURNAL_ALIGN_BYTES.
static Err window_get(struct scan *s, uint64_t at, size_t n, const uint8_t **ret)
{
    size_t keep = 0;
    if (s->ahead != NULL)
        return ahead_get(s->ahead, at, n, ret);
    if (at >= s->window_at && at - s->window_at < s->window_n)
        keep = s->window_n - (size_t)(at - s->window_at);
    if (keep >= n) {
        *ret = s->window + (at - s->window_at);
        return OK;
    }
    size_t need = n + SCAN_PIECE_BYTES;
    if (need > s->window_room) {
        uint8_t *wider = memory_get_aligned(JOURNAL_ALIGN_BYTES, need);
        if (keep > 0)
            memcpy(wider, s->window + (at - s->window_at), keep);
        free(s->window);
        s->window = wider;
        s->window_room = need;
    } else if (keep > 0) {
        memmove(s->window, s->window + (at - s->window_at), keep);
    }
    s->window_at = at;
    s->window_n = keep;
    while (s->window_n < n) {
        uint64_t from = at + s->window_n;
        size_t piece = (size_t)MIN((uint64_t)SCAN_PIECE_BYTES, s->file->bytes - from), got;
        TRY(s->io->read(s->file->io, s->window + s->window_n, piece, from, &got));
        if (got < piece)
            return fail(ERR_CORRUPT, "a journal file is shorter than it says");
        s->window_n += piece;
    }
    *ret = s->window;
    return OK;
}

static Err parse_controls(const uint8_t *p, const ExtentHead *x, struct held *h)
{
    if (x->bytes != (uint64_t)x->count * CONTROL_BYTES || h->controls != NULL)
        return fail(ERR_CORRUPT, "control records of a wrong length");
    h->controls = xalloc(mul_checked(MAX(x->count, 1u), sizeof *h->controls));
    h->control_count = x->count;
    for (size_t i = 0; i < x->count; i++)
        TRY(control_get(p + EXTENT_HEAD_BYTES + i * CONTROL_BYTES, &h->controls[i]));
    return OK;
}

// The extents of a block whose checksum is right. It covers theirs, too.
static Err parse_extents(const uint8_t *p, struct held *h)
{
    size_t at = BLOCK_HEAD_BYTES, used = h->head.used_bytes;
    uint64_t ordinal = 0;
    if (h->head.extents > used / EXTENT_HEAD_BYTES)
        return fail(ERR_CORRUPT, "more extents than fit into a block");
    h->extents = xalloc(mul_checked(MAX(h->head.extents, 1u), sizeof *h->extents));
    for (uint32_t i = 0; i < h->head.extents; i++) {
        ExtentHead x;
        TRY(extent_head_get(p + at, used - at, &x));
        if (x.first_ordinal != ordinal)
            return fail(ERR_CORRUPT, "ordinals of a block are not in order");
        ordinal += x.count;
        if (ordinal > UINT64_C(1) << LOG_ORDINAL_BITS)
            return fail(ERR_CORRUPT, "too many records in a block");
        if (x.kind == EXTENT_CONTROL)
            TRY(parse_controls(p + at, &x, h));
        else
            h->extents[h->extent_count++] = (BlockExtent){
                .shard = x.shard,
                .first_ordinal = x.first_ordinal,
                .count = x.count,
                .place = (uint32_t)at,
                .bytes = x.bytes,
            };
        at += EXTENT_HEAD_BYTES + x.bytes;
    }
    return OK;
}

// The block at a place of the file, if there is a good one: *ret_good. What is found belongs to
// the caller. *ret_bytes: its length if it only looks like one.
static Err read_block(struct scan *s, uint64_t at, struct held *ret, bool *ret_good,
                      uint64_t *ret_bytes)
{
    const uint8_t *p;
    struct held h = { .file = s->file };
    *ret_good = false;
    *ret_bytes = 0;
    TRY(window_get(s, at, JOURNAL_ALIGN_BYTES, &p));
    if (!block_head_get(p, s->file->salt, at, s->file->bytes, &h.head))
        return OK;
    *ret_bytes = h.head.bytes;
    TRY(window_get(s, at, h.head.bytes, &p));
    if (block_crc(p, h.head.bytes) != h.head.crc)
        return OK;
    Err e = parse_extents(p, &h);
    *ret_good = e.kind == ERR_NONE;
    if (*ret_good)
        *ret = h;
    else
        held_free(&h);
    return e.kind == ERR_FORMAT ? e : OK; // a newer program's content is not damage
}

// ---- Applying

static void apply_one(struct scan *s, const struct held *h)
{
    struct log *l = s->l;
    for (size_t i = 0; i < h->extent_count; i++) {
        BlockExtent *x = &h->extents[i];
        x->data = shard_data(shards_make(&l->shards, x->shard));
        l->stats.recovered_records += x->count;
    }
    log_index_extents(l, h->file, &h->head, h->extents, h->extent_count);
    for (size_t i = 0; i < h->control_count; i++)
        log_apply(l, &h->controls[i]);
}

static void apply_spans(struct scan *s)
{
    for (size_t i = 0; i < s->spans.n; i++)
        apply_one(s, &s->spans.at[i]);
    held_drop(&s->spans, 0);
}

// Applies a block that counts, or keeps it until the last part of its append has come. Parts that
// are not followed by the next one belong to an append that was never acknowledged.
static void settle_one(struct scan *s, struct held take_h)
{
    struct held_list *spans = &s->spans;
    const BlockHead *before = spans->n > 0 ? &spans->at[spans->n - 1].head : NULL;
    bool follows = before != NULL && take_h.head.epoch == before->epoch &&
                   take_h.head.predecessor == before->number &&
                   take_h.head.parts == before->parts && take_h.head.part == before->part + 1;
    follows |= s->after_sealed; // whose first parts are sealed: then the append was acknowledged
    s->after_sealed = false;
    if (!follows)
        held_drop(spans, 0);
    take_h.file->newest_block = take_h.head.number;
    s->settled = take_h.head;
    if (!follows && take_h.head.part > 0) {
        held_free(&take_h);
        return;
    }
    held_push(spans, take_h);
    if (take_h.head.part + 1 < take_h.head.parts)
        return;
    apply_spans(s);
}

static void settle(struct scan *s, uint64_t durable)
{
    size_t n = 0;
    while (n < s->held.n && s->held.at[n].head.number <= durable)
        settle_one(s, s->held.at[n++]);
    if (n > 0)
        memmove(s->held.at, s->held.at + n, (s->held.n - n) * sizeof *s->held.at);
    s->held.n -= n;
}

// ---- The chain

// Of a block that is sealed only the number is known: it has no parts.
static BlockHead number_only(uint64_t number, uint64_t epoch)
{
    return (BlockHead){ .number = number, .epoch = epoch };
}

static bool follows(const BlockHead *before, const BlockHead *b)
{
    return b->predecessor == before->number &&
           (before->parts == 0 || b->previous_crc == before->crc);
}

static void gap_begin(struct scan *s, uint64_t place)
{
    if (s->in_gap)
        return;
    s->in_gap = true;
    s->gap_file = s->file;
    s->gap_place = place;
    s->gap_bytes = 0;
}

static void take(struct scan *s, const struct held *h)
{
    held_push(&s->held, *h);
    s->head = h->head;
    s->in_gap = false;
    s->file->used = h->head.place + h->head.bytes;
    s->file->last_block = h->head.number;
    s->l->stats.recovered_blocks++;
    s->l->arrival_ms = MAX(s->l->arrival_ms, h->head.arrival_ms);
    settle(s, h->head.durable);
}

// A new epoch goes on from an earlier block than the newest one: those after it never counted.
static bool rewind_to_predecessor(struct scan *s, const BlockHead *b)
{
    if (b->epoch <= s->head.epoch)
        return false;
    for (size_t i = s->held.n; i > 0; i--) {
        if (!follows(&s->held.at[i - 1].head, b))
            continue;
        held_drop(&s->held, i);
        return true;
    }
    if (!follows(&s->settled, b))
        return false;
    held_drop(&s->held, 0);
    return true;
}

// A good block: the next of the chain, one that does not count, or the proof of damage before it.
static Err chain_add(struct scan *s, const struct held *h, bool *ret_taken)
{
    const BlockHead *b = &h->head;
    s->number_seen = MAX(s->number_seen, b->number);
    s->epoch_seen = MAX(s->epoch_seen, b->epoch);
    *ret_taken = (follows(&s->head, b) && b->epoch >= s->head.epoch) || rewind_to_predecessor(s, b);
    if (*ret_taken) {
        take(s, h);
        return OK;
    }
    if (b->durable <= s->head.number)
        return OK;
    gap_begin(s, b->place);
    LOG(LOG_ERROR, "the journal is damaged: a block is missing that was durable",
        F_INT("file", s->gap_file->name), F_INT("offset", s->gap_place),
        F_INT("after_block", s->head.number), F_INT("found_block", b->number),
        F_INT("found_file", s->file->name), F_INT("found_offset", b->place));
    return fail(ERR_CORRUPT, "the journal is damaged before its end");
}

static Err scan_file(struct scan *s)
{
    s->window_n = 0;
    if (s->ahead != NULL)
        ahead_begin(s->ahead, s->file);
    s->file->used = JOURNAL_HEAD_BYTES;
    uint64_t at = JOURNAL_HEAD_BYTES;
    while (at + JOURNAL_ALIGN_BYTES <= s->file->bytes) {
        struct held h;
        bool good, taken = false;
        uint64_t bytes;
        TRY(read_block(s, at, &h, &good, &bytes));
        if (good) {
            Err e = chain_add(s, &h, &taken);
            if (!taken)
                held_free(&h);
            TRY(e);
        }
        if (taken) {
            at += bytes;
            continue;
        }
        gap_begin(s, at);
        s->gap_bytes += bytes;
        at += JOURNAL_ALIGN_BYTES;
    }
    return OK;
}

// ---- Files

static bool parse_name(Str name, uint64_t *ret)
{
    if (!str_starts(name, S("journal-")) || !str_ends(name, S(".hrj")) || name.n < 13)
        return false;
    Err e = str_u64(str_head(str_skip(name, 8), name.n - 12), ret);
    return e.kind == ERR_NONE;
}

static int compare_files(const void *x, const void *y)
{
    const struct journal_file *a = *(struct journal_file *const *)x;
    const struct journal_file *b = *(struct journal_file *const *)y;
    return a->number < b->number ? -1 : a->number > b->number;
}

static Err read_head(struct io *io, struct journal_file *f, JournalHead *ret)
{
    uint8_t *head = memory_get_aligned(JOURNAL_ALIGN_BYTES, JOURNAL_HEAD_BYTES);
    size_t n = 0;
    Err e = io->read(f->io, head, JOURNAL_HEAD_BYTES, 0, &n);
    if (e.kind == ERR_NONE && n < JOURNAL_HEAD_BYTES)
        e = fail(ERR_CORRUPT, "a journal file without a head");
    if (e.kind == ERR_NONE)
        e = journal_head_get(head, ret);
    if (e.kind == ERR_NONE && (ret->number == 0 || ret->number > UINT32_MAX))
        e = fail(ERR_CORRUPT, "a journal file with an impossible number");
    if (e.kind == ERR_NONE && (ret->file_bytes != f->bytes || f->bytes % JOURNAL_ALIGN_BYTES != 0 ||
                               f->bytes > JOURNAL_FILE_BYTES_MOST))
        e = fail(ERR_CORRUPT, "a journal file of another length than it says");
    free(head);
    return e;
}

static void set_aside(struct scan *s, struct journal_file *take_f)
{
    s->aside = xrealloc(s->aside, mul_checked(s->aside_count + 1, sizeof(struct journal_file *)));
    s->aside[s->aside_count++] = take_f;
}

// Opens one file and puts it into the table, or among those set aside. After a failed sync nothing
// that is read could be trusted, so it comes first.
static Err add_file(struct scan *s, uint64_t name, Str path)
{
    struct journal_files *fs = &s->l->files;
    struct journal_file *f = xalloc(sizeof *f);
    f->name = name;
    Err e = files_open_one(fs, path, IO_WRITE, &f->io);
    if (e.kind == ERR_NONE)
        e = s->io->sync(f->io);
    if (e.kind == ERR_NONE)
        e = s->io->size(f->io, &f->bytes);
    JournalHead head = { 0 };
    if (e.kind == ERR_NONE)
        e = read_head(s->io, f, &head);
    if (e.kind == ERR_NONE) {
        f->number = head.number;
        f->salt = head.salt;
        s->epoch_seen = MAX(s->epoch_seen, head.epoch);
        files_add(fs, f);
        return OK;
    }
    if (e.kind != ERR_CORRUPT) {
        LOG(LOG_ERROR, "a journal file cannot be read", F_STR("path", path), F_ERR(e));
        file_close(fs, f);
        return e;
    }
    set_aside(s, f);
    return OK;
}

static Str parent_of(Str path)
{
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    while (path.n > 0 && path.p[path.n - 1] != '/')
        path.n--;
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    return path.n > 0 ? path : S(".");
}

static Err open_files(struct scan *s, struct arena *tmp)
{
    struct journal_files *fs = &s->l->files;
    TRY(s->io->mkdir(s->io, fs->dir));
    TRY(s->io->sync_dir(s->io, fs->dir));
    IoName *names;
    size_t n;
    TRY(s->io->list(s->io, tmp, fs->dir, &names, &n));
    for (size_t i = 0; i < n; i++) {
        uint64_t name;
        if (!names[i].is_dir && parse_name(names[i].name, &name))
            TRY(add_file(s, name, files_path(fs, tmp, name)));
    }
    if (fs->n + s->aside_count == 0)
        TRY(s->io->sync_dir(s->io, parent_of(fs->dir))); // the directory's own name must last too
    if (fs->n > 1)
        qsort(fs->at, fs->n, sizeof(struct journal_file *), compare_files);
    return OK;
}

// A crash, or an error, while a file was being renumbered can leave two of one number: that under
// its old name was never written, because its rename comes before its use.
static void set_aside_doubles(struct scan *s)
{
    struct journal_files *fs = &s->l->files;
    size_t kept = 0;
    for (size_t i = 0; i < fs->n; i++) {
        struct journal_file *f = fs->at[i];
        struct journal_file *before = kept > 0 ? fs->at[kept - 1] : NULL;
        if (before == NULL || before->number != f->number) {
            fs->at[kept++] = f;
            continue;
        }
        bool is_named = f->name == f->number;
        struct journal_file *aside = is_named ? before : f;
        fs->at[kept - 1] = is_named ? f : before;
        set_aside(s, aside);
    }
    fs->n = kept;
}

static Err missing(uint64_t number, const char *why)
{
    LOG(LOG_ERROR, "the journal is not complete", F_INT("file", number), F_STR("why", str_of(why)));
    return fail(ERR_CORRUPT, "the journal is not complete");
}

// All files from the checkpoint on to the newest are there.
static Err check_files(const struct scan *s)
{
    const struct journal_files *fs = &s->l->files;
    uint64_t first = s->checkpoint.journal_file;
    for (size_t i = 0; i < s->aside_count; i++) {
        uint64_t name = s->aside[i]->name;
        if (s->aside[i]->number == 0 && name >= first)
            return missing(name, "the head of the file is damaged");
    }
    for (size_t i = 0; i < fs->n; i++)
        if (fs->at[i]->number != first + i)
            return missing(first + i, "the file is missing");
    if (fs->n == 0 && first > 1 && !s->checkpoint.is_restored)
        return missing(first, "the file is missing");
    return OK;
}

// Files that are over but still lie there become spares: nothing in them counts.
static void set_aside_sealed(struct scan *s)
{
    struct journal_files *fs = &s->l->files;
    uint64_t first = s->checkpoint.journal_file;
    fs->highest = fs->n > 0 ? fs->at[fs->n - 1]->number : 0;
    fs->highest = MAX(fs->highest, first - 1);
    size_t kept = 0;
    for (size_t i = 0; i < fs->n; i++) {
        if (fs->at[i]->number < first)
            set_aside(s, fs->at[i]);
        else
            fs->at[kept++] = fs->at[i];
    }
    fs->n = kept;
}

// Gives the files their proper names. The newest file stays; one without blocks behind others is
// the one to be written next.
static Err sort_files(struct scan *s, struct arena *tmp)
{
    struct log *l = s->l;
    struct journal_files *fs = &l->files;
    for (size_t i = 0; i < s->aside_count; i++)
        files_recycle(fs, &l->lock, s->aside[i]);
    s->aside_count = 0;
    for (size_t i = 0; i < fs->n; i++) {
        struct journal_file *f = fs->at[i];
        if (f->name == f->number)
            continue;
        TRY(s->io->rename(s->io, files_path(fs, tmp, f->name), files_path(fs, tmp, f->number)));
        TRY(s->io->sync_dir(s->io, fs->dir));
        f->name = f->number;
    }
    if (fs->n > 1 && fs->at[fs->n - 1]->last_block == 0)
        l->next_file = fs->at[--fs->n];
    return OK;
}

static uint64_t bytes_of(const struct journal_files *fs)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < fs->n; i++)
        bytes += fs->at[i]->bytes;
    return bytes;
}

static Err walk(struct scan *s)
{
    const struct journal_files *fs = &s->l->files;
    if (bytes_of(fs) >= AHEAD_BYTES_LEAST)
        s->ahead = ahead_open(s->io, fs->at, fs->n);
    uint64_t sealed = s->checkpoint.sealed_block;
    s->head = s->settled = number_only(sealed, 0);
    s->after_sealed = sealed != 0;
    s->l->arrival_ms = s->checkpoint.arrival_ms;
    for (size_t i = 0; i < fs->n; i++) {
        s->file = fs->at[i];
        Err e = scan_file(s);
        if (e.kind != ERR_NONE && e.kind != ERR_CORRUPT)
            LOG(LOG_ERROR, "a journal file cannot be read", F_INT("file", s->file->name), F_ERR(e));
        TRY(e);
    }
    return OK;
}

// Shards as the checkpoint knows them, before the journal tells the rest.
static void add_shards(struct log *l, const Checkpoint *c)
{
    for (size_t i = 0; i < c->shard_count; i++) {
        const CheckpointShard *row = &c->shards[i];
        struct shard *s = shards_make(&l->shards, row->shard);
        if (row->last_position == 0 && row->end_position == 0)
            continue;
        struct shard_data *d = shard_data(s);
        d->sealed_first = row->first_position;
        d->sealed_last = row->last_position;
        d->sealed_last_arrival_ms = row->last_arrival_ms;
        d->ended = row->end_position != 0;
        d->end_position = row->end_position;
        d->end_arrival_ms = row->end_arrival_ms;
    }
    l->sealed_block = c->sealed_block;
    l->journal_file = c->journal_file;
    l->is_restored = c->is_restored;
}

static Err open_sealed(struct scan *s, struct arena *tmp)
{
    struct log *l = s->l;
    SealedConfig config = {
        .io = l->io,
        .dir = l->config.dir,
        .read_cache_bytes = l->config.read_cache_bytes,
        .retention_ns = log_retention_of,
        .rows = log_rows,
        .self = l,
    };
    TRY(sealed_open(&config, tmp, &s->checkpoint, &l->sealed));
    add_shards(l, &s->checkpoint);
    return OK;
}

static void take_over(struct scan *s)
{
    struct log *l = s->l;
    l->stats.torn_bytes = s->in_gap ? s->gap_bytes : 0;
    for (size_t i = 0; i < s->spans.n; i++)
        l->stats.torn_bytes += s->spans.at[i].head.bytes;
    if (l->stats.torn_bytes > 0)
        LOG(LOG_WARN,
            "the end of the journal was torn: blocks that were never acknowledged are cut",
            F_INT("bytes", l->stats.torn_bytes), F_INT("after_block", s->head.number));
    l->epoch = MAX(s->epoch_seen, s->checkpoint.least_epoch);
    l->next_number = s->number_seen + EPOCH_SKIP_BLOCKS;
    l->acked = l->built = l->visible = s->head.number;
    l->acked_crc = l->built_crc = s->head.crc;
    l->visible_arrival_ms = l->arrival_ms;
}

static Err recover_with(struct scan *s, struct arena *tmp)
{
    TRY(open_files(s, tmp));
    TRY(open_sealed(s, tmp));
    set_aside_doubles(s);
    set_aside_sealed(s);
    TRY(check_files(s));
    s->number_seen = MAX(s->checkpoint.sealed_block, s->checkpoint.least_number);
    TRY(walk(s));
    settle(s, UINT64_MAX);
    if (s->number_seen >= (UINT64_C(1) << (63 - LOG_ORDINAL_BITS)) - (UINT64_C(1) << 40))
        return fail(ERR_LIMIT, "the journal's block numbers are used up");
    take_over(s);
    return s->l->only_looks ? OK : sort_files(s, tmp);
}

Err recover(struct log *l)
{
    AUTO(arena) tmp = arena_open();
    struct scan s = { .l = l, .io = l->io };
    int64_t start = l->io->mono_ns(l->io);
    Err e = recover_with(&s, tmp);
    ahead_close(s.ahead);
    l->stats.recovery_ns = l->io->mono_ns(l->io) - start;
    held_drop(&s.held, 0);
    held_drop(&s.spans, 0);
    for (size_t i = 0; i < s.aside_count; i++)
        file_close(&l->files, s.aside[i]);
    free(s.held.at);
    free(s.spans.at);
    free(s.aside);
    free(s.window);
    return e;
}

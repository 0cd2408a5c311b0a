// SPDX-License-Identifier: Apache-2.0
// Building a block: records that arrived interleaved are laid out by shard, copied once, from the
// caller's memory to the buffer that is written and that the tail cache then keeps.
//
// Two passes. The plan looks up each record's shard, gives each shard that occurs a slot, and adds
// up what goes there; then the slots' places and ordinals are known and the second pass copies, and
// sums what it copies where it can.
#include "store/log/journal_priv.h"

#include <stdlib.h>
#include <string.h>

enum { NO_SLOT = UINT32_MAX };

// What one shard gets in the block: a row of extents, one behind the other.
struct slot {
    uint64_t shard;
    struct shard_data *data;
    uint32_t count;   // records
    uint32_t extents; // they are split into
    size_t bytes;     // of all extents with their heads
    size_t fill;      // bytes of records in the extent that is open
    // While copying:
    size_t at;            // the place of the next record in the block
    size_t extent_at;     // the place of the open extent
    uint32_t ordinal;     // of the next record
    uint32_t extent_from; // first ordinal of the open extent
    bool summed;          // its head is made and the checksum goes on with each record
    ExtentHead head;      // then
    uint32_t crc;
};

struct build {
    struct slot *slots;
    size_t slot_count, slot_room;
    uint32_t *slot_of; // of each record, in order
    size_t record_count, record_room;
    uint64_t mark; // differs for each block
    BuildPiece *pieces;
    size_t piece_count, piece_room;
    struct control_op *op;
};

struct build *build_open(void)
{
    return xalloc(sizeof(struct build));
}

void build_close(struct build *b)
{
    if (b == NULL)
        return;
    free(b->slots);
    free(b->slot_of);
    free(b->pieces);
    free(b);
}

size_t append_record_bytes(const LogRecord *r)
{
    return record_bytes(r->key.n, r->hash_key.n, r->data.n);
}

// ---- Plan

static void reserve_records(struct build *d, size_t more)
{
    if (d->record_count + more <= d->record_room)
        return;
    d->record_room = MAX(d->record_room * 2, d->record_count + more);
    d->slot_of = xrealloc(d->slot_of, mul_checked(d->record_room, sizeof *d->slot_of));
}

static void keep_pieces(struct build *d, const BuildPiece *pieces, size_t n)
{
    if (n > d->piece_room) {
        d->piece_room = MAX(d->piece_room * 2, n);
        d->pieces = xrealloc(d->pieces, mul_checked(d->piece_room, sizeof *d->pieces));
    }
    if (n > 0)
        memcpy(d->pieces, pieces, n * sizeof *pieces);
    d->piece_count = n;
}

// The slot of a shard, NO_SLOT if it takes no records. Under lock.
static uint32_t slot_find(struct build *d, struct shard *s)
{
    if (s == NULL || !shard_is_declared(s) || s->data->ended || s->data->closing)
        return NO_SLOT;
    if (s->data->build_mark == d->mark)
        return s->data->build_slot;
    if (d->slot_count == d->slot_room) {
        d->slot_room = MAX(d->slot_room * 2, (size_t)64);
        d->slots = xrealloc(d->slots, mul_checked(d->slot_room, sizeof *d->slots));
    }
    struct shard_data *data = shard_data(s);
    data->build_mark = d->mark;
    data->build_slot = (uint32_t)d->slot_count++;
    d->slots[data->build_slot] = (struct slot){ .shard = s->id, .data = data };
    return data->build_slot;
}

// Whether the open extent is closed before a record of this size; the copying pass asks the same.
static bool begins_extent(const struct slot *s, size_t bytes)
{
    return s->fill == 0 || s->fill + bytes > EXTENT_BYTES_SPLIT;
}

static void plan_record(struct slot *s, size_t bytes)
{
    if (begins_extent(s, bytes)) {
        s->fill = 0;
        s->extents++;
        s->bytes += EXTENT_HEAD_BYTES;
    }
    s->fill += bytes;
    s->bytes += bytes;
    s->count++;
}

static void find_ahead(const struct log *l, const BuildPiece *p, size_t from, struct shard **ret)
{
    uint64_t ids[SHARDS_TOGETHER_MAX];
    size_t n = MIN(p->to - from, (size_t)SHARDS_TOGETHER_MAX);
    for (size_t i = 0; i < n; i++)
        ids[i] = p->append->records[from + i].shard;
    shards_find_all(&l->shards, ids, n, ret);
}

static void plan_piece(struct log *l, struct build *d, const BuildPiece *p)
{
    uint64_t id = 0;
    uint32_t slot = NO_SLOT; // of shard 0, which no one has
    struct shard *found[SHARDS_TOGETHER_MAX];
    reserve_records(d, p->to - p->from);
    for (size_t i = p->from; i < p->to; i++) {
        const LogRecord *r = &p->append->records[i];
        size_t place = (i - p->from) % SHARDS_TOGETHER_MAX;
        if (place == 0)
            find_ahead(l, p, i, found);
        if (r->shard != id) { // neighbours often share a shard
            id = r->shard;
            slot = slot_find(d, found[place]);
        }
        d->slot_of[d->record_count++] = slot;
        if (slot != NO_SLOT)
            plan_record(&d->slots[slot], append_record_bytes(r));
    }
}

// Gives each slot its place and ordinals. Returns the bytes used by head and records.
static size_t plan_layout(struct build *d, size_t *ret_extents)
{
    size_t at = BLOCK_HEAD_BYTES, extents = 0;
    uint32_t ordinal = 0;
    for (size_t i = 0; i < d->slot_count; i++) {
        struct slot *s = &d->slots[i];
        s->at = at;
        s->ordinal = ordinal;
        s->fill = 0;
        at += s->bytes;
        ordinal += s->count;
        extents += s->extents;
    }
    *ret_extents = extents;
    return at;
}

struct block *build_plan(struct log *l, const BuildPiece *pieces, size_t n, struct control_op *op)
{
    struct build *d = l->build;
    d->mark++;
    d->slot_count = d->record_count = 0;
    d->op = op;
    keep_pieces(d, pieces, n);
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < n; i++)
        plan_piece(l, d, &pieces[i]);
    pthread_mutex_unlock(&l->lock);

    size_t extents;
    size_t used = plan_layout(d, &extents);
    if (op != NULL)
        used += EXTENT_HEAD_BYTES + op->n * CONTROL_BYTES;
    size_t bytes = (used + JOURNAL_ALIGN_BYTES - 1) / JOURNAL_ALIGN_BYTES * JOURNAL_ALIGN_BYTES;
    struct block *b = block_new(l, bytes, extents);
    b->head.used_bytes = (uint32_t)used;
    b->op = op;
    return b;
}

// ---- Fill

static void close_extent(struct block *b, struct slot *s)
{
    ExtentHead h = {
        .shard = s->shard,
        .first_ordinal = s->extent_from,
        .count = s->ordinal - s->extent_from,
        .bytes = (uint32_t)(s->at - s->extent_at - EXTENT_HEAD_BYTES),
        .kind = EXTENT_RECORDS,
    };
    CHECK(!s->summed || (s->head.count == h.count && s->head.bytes == h.bytes));
    if (s->summed)
        extent_end(b->bytes + s->extent_at, s->crc);
    else
        extent_seal(b->bytes + s->extent_at, b->head.number, &h);
    b->extents[b->extent_count++] = (BlockExtent){
        .shard = s->shard,
        .data = s->data,
        .first_ordinal = h.first_ordinal,
        .count = h.count,
        .place = (uint32_t)s->extent_at,
        .bytes = h.bytes,
    };
}

// What will be in an extent is known before it is: if it is its shard's only one, or a single
// record that fills it. Then its checksum is made while the records are copied.
static void open_extent(struct block *b, struct slot *s, size_t bytes)
{
    bool is_only = s->extents == 1;
    s->extent_at = s->at;
    s->extent_from = s->ordinal;
    s->at += EXTENT_HEAD_BYTES;
    s->fill = 0;
    s->summed = is_only || bytes >= EXTENT_BYTES_SPLIT;
    if (!s->summed)
        return;
    s->head = (ExtentHead){
        .shard = s->shard,
        .first_ordinal = s->ordinal,
        .count = is_only ? s->count : 1,
        .bytes = (uint32_t)(is_only ? s->bytes - EXTENT_HEAD_BYTES : bytes),
        .kind = EXTENT_RECORDS,
    };
    s->crc = extent_begin(b->bytes + s->extent_at, b->head.number, &s->head);
}

// Copies a record and returns its ordinal.
static uint32_t fill_record(struct block *b, struct slot *s, const LogRecord *r)
{
    size_t bytes = append_record_bytes(r);
    if (begins_extent(s, bytes)) {
        if (s->fill > 0)
            close_extent(b, s);
        open_extent(b, s, bytes);
    }
    uint8_t *at = b->bytes + s->at;
    s->at += s->summed ? record_put_summed(at, r->key, r->hash_key, r->data, &s->crc)
                       : record_put(at, r->key, r->hash_key, r->data);
    s->fill += bytes;
    return s->ordinal++;
}

static void fill_pieces(struct build *d, struct block *b)
{
    size_t record = 0;
    for (size_t i = 0; i < d->piece_count; i++) {
        const BuildPiece *p = &d->pieces[i];
        for (size_t k = p->from; k < p->to; k++) {
            uint32_t slot = d->slot_of[record++];
            LogPlace *place = &p->append->places[k];
            *place = (LogPlace){ .arrival_ms = b->head.arrival_ms };
            if (slot == NO_SLOT)
                continue;
            uint32_t ordinal = fill_record(b, &d->slots[slot], &p->append->records[k]);
            place->position = b->head.number << LOG_ORDINAL_BITS | ordinal;
            b->records++;
            b->record_bytes += append_record_bytes(&p->append->records[k]);
        }
    }
    for (size_t i = 0; i < d->slot_count; i++)
        close_extent(b, &d->slots[i]);
}

static bool is_being_dropped(const struct shard *s)
{
    return s->data->closing != NULL && s->data->closing->controls[0].what == CONTROL_DROP;
}

// A shard that ends here ends at this position, behind all records of the block; one that has ended
// before keeps its end, one that is unknown or being dropped gets position 0.
static void fill_end(struct log *l, struct control_op *op, Control *c, uint64_t position,
                     int64_t arrival_ms)
{
    struct shard *s = shards_find(&l->shards, c->id);
    if (s == NULL || !shard_is_declared(s) || is_being_dropped(s)) {
        c->position = 0;
    } else if (s->data->ended) {
        c->position = s->data->end_position;
        c->arrival_ms = s->data->end_arrival_ms;
    } else {
        c->position = position;
        c->arrival_ms = arrival_ms;
        shard_data(s)->closing = op;
    }
}

static void fill_controls(struct log *l, struct block *b, struct control_op *op, size_t at,
                          uint32_t ordinal)
{
    uint64_t position = b->head.number << LOG_ORDINAL_BITS | ordinal;
    ExtentHead h = {
        .first_ordinal = ordinal,
        .count = (uint32_t)op->n,
        .bytes = (uint32_t)(op->n * CONTROL_BYTES),
        .kind = EXTENT_CONTROL,
    };
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < op->n; i++) {
        Control *c = &op->controls[i];
        struct shard *s = NULL;
        if (c->what == CONTROL_END) {
            fill_end(l, op, c, position, b->head.arrival_ms);
        } else {
            c->position = b->file->number;
            s = shards_find(&l->shards, c->id);
        }
        if (s != NULL)
            shard_data(s)->closing = op;
        control_put(b->bytes + at + EXTENT_HEAD_BYTES + i * CONTROL_BYTES, c);
    }
    pthread_mutex_unlock(&l->lock);
    extent_seal(b->bytes + at, b->head.number, &h);
}

void build_fill(struct log *l, struct block *b, struct journal_file *f, uint16_t part,
                uint16_t parts)
{
    struct build *d = l->build;
    l->arrival_ms = MAX(l->arrival_ms, l->io->wall_ns(l->io) / NS_PER_MS);
    b->file = f;
    b->head.salt = f->salt;
    b->head.epoch = l->epoch;
    b->head.number = l->next_number++;
    b->head.predecessor = l->built;
    b->head.previous_crc = l->built_crc;
    b->head.arrival_ms = l->arrival_ms;
    b->head.place = f->used;
    b->head.part = part;
    b->head.parts = parts;
    fill_pieces(d, b);
    if (d->op != NULL) {
        size_t at = b->head.used_bytes - EXTENT_HEAD_BYTES - d->op->n * CONTROL_BYTES;
        fill_controls(l, b, d->op, at, (uint32_t)b->records);
    }
    b->head.extents = (uint32_t)(b->extent_count + (d->op != NULL));
    pthread_mutex_lock(&l->queue_lock);
    b->head.durable = l->acked;
    pthread_mutex_unlock(&l->queue_lock);
    memset(b->bytes + b->head.used_bytes, 0, b->head.bytes - b->head.used_bytes);
    block_seal(b->bytes, &b->head);

    f->used += b->head.bytes;
    l->built = b->head.number;
    l->built_crc = b->head.crc;
    f->last_block = b->head.number;
}

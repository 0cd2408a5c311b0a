// SPDX-License-Identifier: Apache-2.0
// The commit thread: gathers what waits into blocks, gives them their places and hands them to the
// write queue. After a failed write it decides what becomes of the blocks that were under way.
#include "store/log/journal_priv.h"

#include <stdlib.h>
#include <sys/prctl.h>

// What callers write themselves, and how long that may take. A disk that is slower is tried again
// once in a while.
enum { WRITE_HERE_BYTES_MAX = 384 << 10, MISSED_MAX = 64 };
#define WRITE_HERE_NS_MAX (NS_PER_MS * 3 / 4)

// ---- Places

// The room for records in a file that nothing has been written to.
static uint64_t fresh_room(const struct journal_file *f)
{
    return file_room_end(f) - JOURNAL_HEAD_BYTES;
}

// Switches to the prepared file, waiting for it if the keeper is still at it.
static Err next_file(struct log *l, struct journal_file **ret)
{
    pthread_mutex_lock(&l->queue_lock);
    while (l->next_file == NULL && l->prepare_err.kind == ERR_NONE)
        pthread_cond_wait(&l->work, &l->queue_lock);
    struct journal_file *f = l->next_file;
    Err e = l->prepare_err;
    l->next_file = NULL;
    pthread_cond_signal(&l->keep);
    pthread_mutex_unlock(&l->queue_lock);
    if (f == NULL)
        return e;
    pthread_mutex_lock(&l->lock);
    files_add(&l->files, f);
    pthread_mutex_unlock(&l->lock);
    log_note_unsealed(l);
    pthread_mutex_lock(&l->queue_lock);
    pthread_cond_signal(&l->expire); // there may be a file to be sealed
    pthread_mutex_unlock(&l->queue_lock);
    *ret = f;
    return OK;
}

typedef enum Place { PLACE_RECORDS, PLACE_CONTROLS, PLACE_NEW_FILE } Place;

// The file that takes a block of this size. Control records may use the margin at its end.
static Err place_block(struct log *l, size_t bytes, Place place, struct journal_file **ret)
{
    pthread_mutex_lock(&l->lock);
    struct journal_file *f = files_current(&l->files);
    pthread_mutex_unlock(&l->lock);
    bool fits = f != NULL && !f->suspect && place != PLACE_NEW_FILE &&
                f->used + bytes <= (place == PLACE_CONTROLS ? f->bytes : file_room_end(f));
    // What is larger than a new file is refused before it waits; an older one may be too small.
    while (!fits) {
        TRY(next_file(l, &f));
        fits = bytes <= fresh_room(f);
    }
    *ret = f;
    return OK;
}

// ---- Markers: blocks without content, written at once

static Err write_marker(struct log *l)
{
    struct block *b = build_plan(l, NULL, 0, NULL);
    struct journal_file *f = NULL;
    Err e = place_block(l, b->head.bytes, PLACE_CONTROLS, &f);
    if (e.kind == ERR_NONE) {
        build_fill(l, b, f, 0, 1);
        e = l->io->write(f->io, b->bytes, b->head.bytes, b->head.place, true);
        if (e.kind == ERR_FULL)
            f->used = b->head.place; // there was no space for it: nothing lies there
        else if (e.kind != ERR_NONE)
            f->suspect = true;
    }
    if (e.kind == ERR_NONE) {
        pthread_mutex_lock(&l->queue_lock);
        l->acked = b->head.number;
        l->acked_crc = b->head.crc;
        pthread_mutex_unlock(&l->queue_lock);
    }
    pthread_mutex_lock(&l->lock);
    if (e.kind == ERR_NONE) {
        l->visible = b->head.number;
        l->visible_arrival_ms = b->head.arrival_ms;
        f->newest_block = b->head.number;
    }
    block_unref(l, b);
    pthread_mutex_unlock(&l->lock);
    return e;
}

Err log_open_epoch(struct log *l)
{
    pthread_mutex_lock(&l->queue_lock);
    l->built = l->acked;
    l->built_crc = l->acked_crc;
    l->epoch++;
    pthread_mutex_unlock(&l->queue_lock);
    return write_marker(l);
}

// ---- Failures. Under queue_lock, which die() and repair() give up in between.

static void queue_push(struct log *l, struct log_append *a)
{
    l->wanted = true;
    a->next = NULL;
    *l->waiting_end = a;
    l->waiting_end = &a->next;
}

// Puts a list in front of what waits; `end` is the `next` of its last.
static void queue_prepend(struct log *l, struct log_append *list, struct log_append **end)
{
    l->wanted = true;
    *end = l->waiting;
    if (l->waiting == NULL)
        l->waiting_end = end;
    l->waiting = list;
}

// What was in a block before may lie on the device as a whole, until a new epoch makes it void:
// only then may it be called refused. At the end nothing can be said of it.
static ErrKind refusal(const struct log *l, const struct log_append *a, ErrKind kind)
{
    bool may_be_stored = kind == ERR_FULL && l->needs_epoch && a->last_block != 0;
    if (!may_be_stored)
        return kind;
    return l->stopping ? ERR_IO : ERR_NONE;
}

// Returns whether there was something to refuse.
static bool refuse_waiting(struct log *l, ErrKind kind, bool also_ops)
{
    struct log_append *a = l->waiting;
    bool any = false;
    l->waiting = NULL;
    l->waiting_end = &l->waiting;
    while (a != NULL) {
        struct log_append *next = a->next;
        ErrKind answer = also_ops || op_of(a) == NULL ? refusal(l, a, kind) : ERR_NONE;
        if (answer == ERR_NONE)
            queue_push(l, a);
        else
            log_fail_later(l, a, answer);
        any |= answer != ERR_NONE;
        a = next;
    }
    return any;
}

static void enter_full(struct log *l)
{
    if (!l->full)
        LOG(LOG_WARN, "the disk is full: appends are refused", F_STR("dir", l->files.dir));
    l->full = true;
    metric_set(l->metrics.full, 1);
    refuse_waiting(l, ERR_FULL, l->needs_epoch);
    pthread_cond_signal(&l->keep);
}

static void die(struct log *l, Err e)
{
    LOG(LOG_ERROR, "the journal failed twice in a row: nothing can be acknowledged any more",
        F_STR("dir", l->files.dir), F_ERR(e));
    l->dead = true;
    refuse_waiting(l, ERR_IO, true);
    pthread_mutex_unlock(&l->queue_lock);
    if (l->config.fatal == NULL)
        abort();
    l->config.fatal(l->config.fatal_self, e);
    pthread_mutex_lock(&l->queue_lock);
}

static void note_failure(struct log *l, Err e)
{
    metric_add(l->metrics.failures, 1);
    l->needs_epoch = true;
    if (e.kind == ERR_FULL) {
        enter_full(l);
        return;
    }
    LOG(LOG_ERROR, "a write to the journal failed: going on in another file", F_ERR(e));
    if (++l->failures >= 2)
        die(l, e);
}

// Ends and drops on their way did not happen.
static void reopen_shards(struct log *l, const struct control_op *op)
{
    for (size_t i = 0; i < op->n; i++) {
        struct shard *s = shards_find(&l->shards, op->controls[i].id);
        if (s != NULL && s->data->closing == op)
            shard_data(s)->closing = NULL;
    }
}

// Takes apart the blocks that were not acknowledged: their appends in order, the rest is freed.
// Returns the `next` of the last append.
static struct log_append **take_unacked(struct log *l, struct log_append **ret_list)
{
    struct block *b = l->unacked;
    l->unacked = l->ready = NULL;
    l->unacked_end = &l->unacked;
    struct log_append **end = ret_list;
    *ret_list = NULL;
    pthread_mutex_unlock(&l->queue_lock);
    pthread_mutex_lock(&l->lock);
    while (b != NULL) {
        struct block *next = b->next;
        if (b->appends != NULL) {
            *end = b->appends;
            end = b->appends_end;
        }
        if (b->op != NULL)
            reopen_shards(l, b->op);
        if (b->state == BLOCK_FAILED && b->write.result.kind != ERR_FULL)
            b->file->suspect = true;
        b->file->users--;
        block_unref(l, b);
        b = next;
    }
    pthread_mutex_unlock(&l->lock);
    pthread_mutex_lock(&l->queue_lock);
    return end;
}

// What found no space may still lie on the device as a whole. Before its appends are refused a new
// epoch makes it void, if at least a marker finds space.
static void repair_full(struct log *l)
{
    l->needs_epoch = true;
    pthread_mutex_unlock(&l->queue_lock);
    Err e = log_open_epoch(l);
    pthread_mutex_lock(&l->queue_lock);
    l->needs_epoch = e.kind != ERR_NONE;
    if (e.kind == ERR_NONE || e.kind == ERR_FULL)
        enter_full(l);
    else
        note_failure(l, e); // then they are written again
}

// No write is under way any more: what was not acknowledged goes into new blocks of a new epoch, or
// is refused when the disk is full.
static void repair(struct log *l)
{
    Err e = l->failed;
    struct log_append *list, **end = take_unacked(l, &list);
    if (list != NULL)
        queue_prepend(l, list, end);
    l->failed = OK;
    if (e.kind == ERR_FULL && !l->full)
        repair_full(l);
    else
        note_failure(l, e);
}

// ---- Gathering. Under queue_lock.

static size_t extents_bytes_most(const struct log_append *a)
{
    return a->bytes + a->n * EXTENT_HEAD_BYTES;
}

static size_t block_room(const struct log *l)
{
    return l->block_bytes - BLOCK_HEAD_BYTES;
}

static void piece_add(struct log *l, size_t n, BuildPiece piece)
{
    if (n == l->piece_room) {
        l->piece_room = MAX(l->piece_room * 2, (size_t)64);
        l->pieces = xrealloc(l->pieces, mul_checked(l->piece_room, sizeof *l->pieces));
    }
    l->pieces[n] = piece;
}

static struct log_append *queue_take(struct log *l)
{
    struct log_append *a = l->waiting;
    l->waiting = a->next;
    if (l->waiting == NULL) {
        l->waiting_end = &l->waiting;
        l->wanted = false;
    }
    a->next = NULL;
    return a;
}

// Takes appends from the queue as long as they fit into one block, in order; control records end
// it, so that nothing that waits behind them gets a smaller position.
static size_t gather(struct log *l, struct log_append **ret_list, struct log_append ***ret_end,
                     struct control_op **ret_op)
{
    size_t n = 0, bytes = 0, records = 0;
    struct log_append **end = ret_list;
    *ret_list = NULL;
    *ret_op = NULL;
    while (l->waiting != NULL && *ret_op == NULL) {
        struct log_append *a = l->waiting;
        *ret_op = op_of(a);
        if (*ret_op != NULL && n > 0 && bytes + (*ret_op)->n * CONTROL_BYTES > block_room(l)) {
            *ret_op = NULL;
            break;
        }
        if (*ret_op == NULL) {
            bytes += extents_bytes_most(a);
            records += a->n;
            if (n > 0 && (bytes > block_room(l) || records > BLOCK_RECORDS_MAX))
                break;
            piece_add(l, n++, (BuildPiece){ a, 0, a->n });
        }
        *end = queue_take(l);
        end = &(*end)->next;
    }
    *ret_end = end;
    return n;
}

// ---- Blocks

static void unacked_push(struct log *l, struct block *b)
{
    l->pace_bytes -= l->paced ? b->head.bytes : 0;
    *l->unacked_end = b;
    l->unacked_end = &b->next;
    if (l->ready == NULL)
        l->ready = b;
}

// Cuts one large append into parts of a block each. A record is never cut.
static size_t cut(struct log *l, struct log_append *a)
{
    size_t n = 0, bytes = 0, from = 0;
    for (size_t i = 0; i < a->n; i++) {
        size_t more = append_record_bytes(&a->records[i]) + EXTENT_HEAD_BYTES;
        if (i > from && bytes + more > block_room(l)) {
            piece_add(l, n++, (BuildPiece){ a, from, i });
            from = i;
            bytes = 0;
        }
        bytes += more;
    }
    piece_add(l, n++, (BuildPiece){ a, from, a->n });
    return n;
}

// Builds the block of these pieces, or the k-th of an append's. Not under queue_lock.
static Err build(struct log *l, const BuildPiece *pieces, size_t n, struct control_op *op,
                 size_t part, size_t parts, struct block **ret)
{
    struct block *b = build_plan(l, pieces, n, op);
    struct journal_file *f = NULL;
    Place place = n > 0 ? PLACE_RECORDS : PLACE_CONTROLS;
    if (op != NULL && op->turns_file)
        place = PLACE_NEW_FILE;
    Err e = place_block(l, b->head.bytes, place, &f);
    if (e.kind == ERR_NONE)
        build_fill(l, b, f, (uint16_t)part, (uint16_t)parts);
    pthread_mutex_lock(&l->lock);
    if (e.kind == ERR_NONE)
        f->users++;
    else
        block_unref(l, b);
    pthread_mutex_unlock(&l->lock);
    TRY(e);
    b->sealed_ns = l->io->mono_ns(l->io);
    b->write = (struct io_write){
        .file = f->io,
        .part = { b->bytes, b->head.bytes },
        .at = b->head.place,
        .owner = b,
    };
    l->newest_bytes = b->head.bytes;
    *ret = b;
    return OK;
}

static void attach(struct block *b, struct log_append *list, struct log_append **end)
{
    b->appends = list;
    b->appends_end = end;
    for (struct log_append *a = list; a != NULL; a = a->next)
        a->last_block = b->head.number;
}

// Nobody waits for several copies but the commit thread: one of them may hang.
static void note_room(struct log *l, const struct block *b)
{
    uint64_t used = b->head.place + b->head.bytes, end = file_room_end(b->file);
    bool may_write_here = end > used && l->io->copies(b->file->io) <= 1;
    l->room = may_write_here ? (size_t)(end - used) : 0;
}

static void build_gathered(struct log *l)
{
    struct log_append *list, **end;
    struct control_op *op;
    size_t n = gather(l, &list, &end, &op);
    struct block *b;
    pthread_mutex_unlock(&l->queue_lock);
    Err e = build(l, l->pieces, n, op, 0, 1, &b);
    pthread_mutex_lock(&l->queue_lock);
    if (e.kind == ERR_NONE) {
        attach(b, list, end);
        unacked_push(l, b);
        note_room(l, b);
        return;
    }
    queue_prepend(l, list, end);
    if (e.kind != ERR_FULL) {
        if (l->failed.kind == ERR_NONE)
            l->failed = e;
    } else if (n == 0) {
        log_fail_later(l, queue_take(l), ERR_FULL); // not even the margin has room
    } else {
        enter_full(l);
    }
}

// An append that needs several blocks. If one of them finds no place, those before it are void: the
// same as after a failed write.
static void build_parts(struct log *l)
{
    struct log_append *a = queue_take(l);
    size_t n = cut(l, a);
    for (size_t i = 0; i < n; i++) {
        struct block *b;
        pthread_mutex_unlock(&l->queue_lock);
        Err e = build(l, &l->pieces[i], 1, NULL, i, n, &b);
        pthread_mutex_lock(&l->queue_lock);
        if (e.kind != ERR_NONE) {
            queue_prepend(l, a, &a->next);
            if (l->failed.kind == ERR_NONE)
                l->failed = e;
            return;
        }
        if (i + 1 == n)
            attach(b, a, &a->next);
        unacked_push(l, b);
        note_room(l, b);
    }
}

// Hands over the first block that is sealed. The count grows after the queue has taken it, so that
// the completion thread never waits for a write that the queue refused.
static void submit(struct log *l)
{
    struct block *b = l->ready;
    b->state = BLOCK_WRITING;
    l->ready = b->next;
    pthread_mutex_unlock(&l->queue_lock);
    Err e = l->io->queue_submit(l->queue, &b->write);
    pthread_mutex_lock(&l->queue_lock);
    if (e.kind == ERR_NONE) {
        l->under_way++;
        pthread_cond_signal(&l->ended);
        return;
    }
    b->state = BLOCK_FAILED;
    b->write.result = e;
    if (l->failed.kind == ERR_NONE)
        l->failed = e;
}

// Whether the only block there is was made for one small append, and nothing waits behind it. Then
// writing it here is quicker than waking the queue's threads and the completion thread.
static bool is_lonely(const struct log *l)
{
    const struct block *b = l->ready;
    bool is_only_block = l->under_way == 0 && b == l->unacked && b->next == NULL;
    return is_only_block && l->waiting == NULL && l->telling == 0 && b->appends->next == NULL &&
           b->head.bytes <= SMALL_BLOCK_BYTES;
}

// The mean of the last ones. One long pause of the disk is not yet a slow disk.
static void note_time(struct log *l, int64_t spent_ns)
{
    int64_t spent = MIN(spent_ns, 4 * WRITE_HERE_NS_MAX);
    l->write_ns = MAX(l->write_ns == 0 ? spent : l->write_ns + (spent - l->write_ns) / 8, 1);
    l->missed = 0;
}

// Writes the first block that is sealed on this thread.
static void write_here(struct log *l)
{
    struct block *b = l->ready;
    b->state = BLOCK_WRITING;
    l->ready = b->next;
    l->here++;
    pthread_mutex_unlock(&l->queue_lock);
    int64_t before = l->io->mono_ns(l->io);
    b->write.result = l->io->write(b->file->io, b->bytes, b->head.bytes, b->head.place, true);
    int64_t spent = l->io->mono_ns(l->io) - before;
    pthread_mutex_lock(&l->queue_lock);
    l->here--;
    note_time(l, spent);
    log_written(l, b);
}

// ---- The thread

static unsigned depth_now(const struct log *l)
{
    if (l->config.depth != 0)
        return l->config.depth;
    return l->newest_bytes <= SMALL_BLOCK_BYTES ? DEPTH_SMALL : DEPTH_LARGE;
}

static void begin_epoch(struct log *l)
{
    l->probe = false;
    l->room = 0; // not known until the next block
    pthread_mutex_unlock(&l->queue_lock);
    Err e = log_open_epoch(l);
    pthread_mutex_lock(&l->queue_lock);
    if (e.kind != ERR_NONE) {
        note_failure(l, e);
        return;
    }
    l->needs_epoch = false;
    l->probe = false; // the keeper may have asked again meanwhile
    if (l->full)
        log_leave_full(l);
}

// Every block that was built is visible: only then may a marker follow.
static bool is_settled(const struct log *l)
{
    return l->unacked == NULL && l->telling == 0;
}

// One step under queue_lock; false: there is nothing to be done at the moment.
static bool step(struct log *l)
{
    if (l->failed.kind != ERR_NONE) {
        // Each write will end, well or not, and what is acknowledged becomes visible before the
        // marker of an epoch does: a file whose last block is behind it counts as read by all.
        if (l->under_way > 0 || l->here > 0 || l->telling > 0)
            return false;
        repair(l);
        return true;
    }
    if (l->dead) {
        return refuse_waiting(l, ERR_IO, true);
    }
    if (l->needs_epoch && l->full && !l->probe) {
        return refuse_waiting(l, ERR_FULL, true);
    }
    if (l->under_way + l->here >= depth_now(l))
        return false;
    if (l->ready != NULL) {
        if (is_lonely(l))
            write_here(l);
        else
            submit(l);
        return true;
    }
    // What is held is its owner's to commit, whoever is awake for something else.
    bool is_asked = l->waiting != NULL && (l->wanted || l->stopping);
    if ((!is_asked && !l->probe) || (l->needs_epoch && !is_settled(l)))
        return false;
    if (l->paced && l->pace_bytes <= 0 && !l->needs_epoch && !l->stopping)
        return false;
    if (l->needs_epoch)
        begin_epoch(l);
    else if (op_of(l->waiting) == NULL && extents_bytes_most(l->waiting) > block_room(l))
        build_parts(l);
    else
        build_gathered(l);
    return true;
}

// Whether all that waits goes into one block whose write by the caller is short and in nobody's
// way.
static bool is_quick(const struct log *l)
{
    bool is_free = !l->driving && l->ready == NULL && l->under_way + l->here < depth_now(l);
    bool is_well = l->failed.kind == ERR_NONE && !l->dead && !l->needs_epoch && !l->paced;
    size_t bytes = 0, most = MIN(block_room(l), (size_t)WRITE_HERE_BYTES_MAX);
    if (!is_free || !is_well || l->stopping)
        return false;
    for (struct log_append *a = l->waiting; a != NULL; a = a->next) {
        bytes += extents_bytes_most(a);
        if (op_of(a) != NULL || bytes > most)
            return false;
    }
    return l->room >= bytes + BLOCK_HEAD_BYTES + JOURNAL_ALIGN_BYTES;
}

// Builds and writes what waits on this thread, if that is quick. False: nothing was done.
static bool commit_here(struct log *l)
{
    if (!is_quick(l))
        return false;
    if (l->write_ns > WRITE_HERE_NS_MAX && l->missed++ < MISSED_MAX)
        return false;
    l->driving = true;
    build_gathered(l);
    l->driving = false;
    if (l->ready != NULL && l->failed.kind == ERR_NONE)
        write_here(l);
    bool is_left = l->waiting != NULL && l->wanted;
    if (is_left || l->ready != NULL || l->failed.kind != ERR_NONE || l->stopping)
        pthread_cond_signal(&l->work);
    return true;
}

void log_commit(struct log *l)
{
    pthread_mutex_lock(&l->queue_lock);
    if (l->waiting != NULL && !commit_here(l)) {
        l->wanted = true;
        pthread_cond_signal(&l->work);
    }
    pthread_mutex_unlock(&l->queue_lock);
}

static bool is_drained(const struct log *l)
{
    return l->waiting == NULL && is_settled(l) && l->failed.kind == ERR_NONE;
}

void *commit_run(void *p)
{
    struct log *l = p;
    prctl(PR_SET_NAME, "log-commit");
    pthread_mutex_lock(&l->queue_lock);
    while (l->driving || !(l->stopping && is_drained(l))) {
        bool any = false;
        if (!l->driving) {
            l->driving = true;
            any = step(l);
            l->driving = false;
        }
        if (!any && (l->driving || !(l->stopping && is_drained(l))))
            pthread_cond_wait(&l->work, &l->queue_lock);
    }
    l->driving = true; // nobody writes behind the end
    bool mark = !l->dead && !l->needs_epoch;
    pthread_mutex_unlock(&l->queue_lock);
    if (mark) { // so that the next start can tell damage to the last blocks from a torn tail
        Err e = write_marker(l);
        if (e.kind != ERR_NONE)
            LOG(LOG_WARN, "the last marker of the journal could not be written", F_ERR(e));
    }
    pthread_mutex_lock(&l->queue_lock);
    l->commit_ended = true;
    pthread_cond_signal(&l->ended);
    pthread_cond_signal(&l->keep);
    pthread_mutex_unlock(&l->queue_lock);
    return NULL;
}

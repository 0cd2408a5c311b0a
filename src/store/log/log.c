// SPDX-License-Identifier: Apache-2.0
// The public face of the log: opening and closing, shards, and the entry of appends.
#include "store/log/journal_priv.h"

#include <signal.h>
#include <stdlib.h>

enum { THREAD_COUNT = 4 };

// ---- Opening

static LogConfig with_defaults(const LogConfig *given)
{
    LogConfig c = *given;
    uint64_t mib = 1 << 20;
    c.file_bytes = c.file_bytes != 0 ? c.file_bytes : 64 * mib;
    c.reserve_bytes = c.reserve_bytes != 0 ? c.reserve_bytes : 64 * mib;
    c.tail_cache_bytes = c.tail_cache_bytes != 0 ? c.tail_cache_bytes : (size_t)(256 * mib);
    c.queue_bytes_max = c.queue_bytes_max != 0 ? c.queue_bytes_max : (size_t)(64 * mib);
    c.seal_bytes = c.seal_bytes != 0 ? c.seal_bytes : 64 * mib;
    c.unsealed_bytes_max = c.unsealed_bytes_max != 0 ? c.unsealed_bytes_max : 4096 * mib;
    c.unsealed_bytes_max = MAX(c.unsealed_bytes_max, 2 * c.seal_bytes);
    c.depth = MIN(c.depth, (unsigned)DEPTH_MAX);
    return c;
}

// How large blocks and records may be in files of this size.
static void set_sizes(struct log *l)
{
    uint64_t bytes = l->config.file_bytes / JOURNAL_ALIGN_BYTES * JOURNAL_ALIGN_BYTES;
    bytes = MAX(bytes, (uint64_t)JOURNAL_FILE_BYTES_LEAST);
    bytes = MIN(bytes, JOURNAL_FILE_BYTES_MOST);
    l->config.file_bytes = bytes;
    struct journal_file f = { .bytes = bytes };
    uint64_t room = file_room_end(&f) - JOURNAL_HEAD_BYTES;
    l->block_bytes = (size_t)MIN((uint64_t)BLOCK_BYTES_MAX, room / 2);
    l->record_bytes = (size_t)MIN(BLOCK_BYTES_LARGEST, room) - BLOCK_HEAD_BYTES - EXTENT_HEAD_BYTES;
    l->files = (struct journal_files){
        .io = l->io,
        .dir = l->config.dir,
        .file_bytes = bytes,
        .reserve_bytes = l->config.reserve_bytes,
        .direct = true,
    };
}

static void find_metrics(struct log_metrics *m)
{
    Str none = S("");
    m->blocks = metric_get(METRIC_COUNTER, S("headrace_log_blocks_total"),
                           S("Blocks committed to the journal."), none);
    m->bytes = metric_get(METRIC_COUNTER, S("headrace_log_written_bytes_total"),
                          S("Bytes of the blocks committed."), none);
    m->appends =
        metric_get(METRIC_COUNTER, S("headrace_log_appends_total"),
                   S("Appends acknowledged; per block: how well commits are grouped."), none);
    m->records =
        metric_get(METRIC_COUNTER, S("headrace_log_records_total"), S("Records stored."), none);
    m->failures = metric_get(METRIC_COUNTER, S("headrace_log_write_failures_total"),
                             S("Writes to the journal that failed."), none);
    m->commit = metric_get(METRIC_HISTOGRAM, S("headrace_log_commit_seconds"),
                           S("From sealing a block until it is acknowledged."), none);
    m->queue_bytes = metric_get(METRIC_GAUGE, S("headrace_log_queue_bytes"),
                                S("Bytes of appends that are not acknowledged."), none);
    m->lost = metric_get(METRIC_COUNTER, S("headrace_log_lost_records_total"),
                         S("Records that were damaged on the disk before they were sealed."), none);
    m->full = metric_get(METRIC_GAUGE, S("headrace_log_full"),
                         S("1 while appends are refused for want of space."), none);
}

static void init_locks(struct log *l)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&l->lock, NULL);
    pthread_mutex_init(&l->queue_lock, NULL);
    pthread_mutex_init(&l->expire_lock, NULL);
    pthread_mutex_init(&l->watch_lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ended, NULL);
    pthread_cond_init(&l->op_ended, NULL);
    pthread_cond_init(&l->keep, &monotonic);
    pthread_cond_init(&l->expire, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

struct log *log_new(const LogConfig *config)
{
    struct log *l = xalloc(sizeof *l);
    l->io = config->io;
    l->arena = arena_open();
    l->config = with_defaults(config);
    l->config.dir = str_dup(l->arena, config->dir);
    set_sizes(l);
    find_metrics(&l->metrics);
    init_locks(l);
    l->cache.bytes_max = l->config.tail_cache_bytes;
    l->buffers.bytes_max = BUFFERS_FREE_BYTES_MAX;
    l->slabs.free_max = SLABS_FREE_MAX;
    l->build = build_open();
    l->waiting_end = &l->waiting;
    l->unacked_end = &l->unacked;
    l->failing_end = &l->failing;
    return l;
}

void log_free(struct log *l)
{
    l->io->queue_close(l->queue);
    log_call_loans_in(l);
    cache_done(l);
    tail_done(&l->tail);
    pages_drop(&l->buffers);
    slabs_done(&l->slabs);
    shards_done(&l->shards);
    sealed_close(l->sealed);
    file_close(&l->files, l->next_file);
    files_done(&l->files);
    build_close(l->build);
    log_drop_seal_buffer(l);
    free(l->pieces);
    pthread_mutex_destroy(&l->lock);
    pthread_mutex_destroy(&l->queue_lock);
    pthread_mutex_destroy(&l->expire_lock);
    pthread_mutex_destroy(&l->watch_lock);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->ended);
    pthread_cond_destroy(&l->op_ended);
    pthread_cond_destroy(&l->keep);
    pthread_cond_destroy(&l->expire);
    arena_close(l->arena);
    free(l);
}

// A place for the block that opens the epoch, without the keeper. A full disk is no reason not to
// start: what is stored can be read, and appends wait for space.
static Err prepare_first(struct log *l)
{
    struct journal_file *f = files_current(&l->files);
    bool has_room = f != NULL && f->used + JOURNAL_ALIGN_BYTES <= f->bytes;
    if (has_room || l->next_file != NULL)
        return OK;
    Err e = files_prepare(&l->files, l->epoch, &l->lock, &l->next_file);
    if (e.kind == ERR_FULL)
        l->prepare_err = e;
    return e.kind == ERR_FULL ? OK : e;
}

// From now on there is a journal, and one that is missing is damage. ERR_FULL: the next start says
// it.
static Err end_restored(struct log *l)
{
    if (!l->is_restored || files_current(&l->files) == NULL)
        return OK;
    SealedChange change = { .journal_file = l->journal_file };
    Err e = sealed_commit(l->sealed, &change, NULL, 0);
    l->is_restored = e.kind != ERR_NONE;
    return e.kind == ERR_FULL ? OK : e;
}

static Err begin(struct log *l)
{
    Err e = files_reserve_make(&l->files);
    if (e.kind != ERR_NONE)
        LOG(LOG_WARN, "there is no space for the reserve", F_STR("dir", l->files.dir), F_ERR(e));
    TRY(prepare_first(l));
    e = log_open_epoch(l);
    if (e.kind == ERR_FULL) {
        l->needs_epoch = l->full = true;
        metric_set(l->metrics.full, 1);
        e = OK;
    }
    TRY(e);
    TRY(end_restored(l));
    return l->io->queue_open(l->io, l->config.depth != 0 ? l->config.depth : (unsigned)DEPTH_SMALL,
                             &l->queue);
}

static void stop(struct log *l)
{
    pthread_mutex_lock(&l->queue_lock);
    l->stopping = true;
    l->commit_ended = l->threads == 0; // it is the first, and says so itself otherwise
    pthread_cond_signal(&l->work);
    pthread_cond_signal(&l->expire);
    pthread_cond_broadcast(&l->op_ended);
    pthread_mutex_unlock(&l->queue_lock);
    pthread_t all[THREAD_COUNT] = { l->commit_thread, l->completion_thread, l->keeper_thread,
                                    l->expiry_thread };
    for (unsigned i = 0; i < l->threads; i++)
        pthread_join(all[i], NULL);
}

// The commit thread is last of those that others wait for, so it is started first and a failure
// later on still ends it.
static Err start(struct log *l)
{
    void *(*const run[THREAD_COUNT])(void *) = { commit_run, completion_run, keeper_run,
                                                 expiry_run };
    pthread_t *threads[THREAD_COUNT] = { &l->commit_thread, &l->completion_thread,
                                         &l->keeper_thread, &l->expiry_thread };
    sigset_t all, before; // signals belong to the threads that expect them
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int error = 0;
    for (unsigned i = 0; i < THREAD_COUNT && error == 0; i++) {
        error = pthread_create(threads[i], NULL, run[i], l);
        l->threads += error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0 ? OK : fail_os(error, "pthread_create");
}

Err log_open(const LogConfig *config, struct log **ret)
{
    struct log *l = log_new(config);
    Err e = recover(l);
    if (e.kind == ERR_NONE) {
        sealed_clean(l->sealed);
        e = begin(l);
    }
    if (e.kind == ERR_NONE) {
        e = start(l);
        if (e.kind != ERR_NONE)
            stop(l);
    }
    if (e.kind != ERR_NONE) {
        log_free(l);
        return e;
    }
    *ret = l;
    return OK;
}

static bool shard_has_records(const struct shard *s)
{
    return s->data->end > s->data->first || s->data->sealed_last != 0;
}

static void count_found(const struct log *l, LogCheck *ret)
{
    const struct journal_files *fs = &l->files;
    ret->files = fs->n + fs->spare_count;
    for (size_t i = 0; i < fs->n; i++)
        ret->disk_bytes += fs->at[i]->bytes;
    for (size_t i = 0; i < fs->spare_count; i++)
        ret->disk_bytes += fs->spares[i]->bytes;
    for (size_t i = 0; i < l->shards.room; i++) {
        const struct shard *s = shards_at(&l->shards, i);
        ret->shards += s != NULL && shard_has_records(s);
    }
}

Err log_check(const LogConfig *config, LogCheck *ret)
{
    struct log *l = log_new(config);
    LogCheck found = { 0 };
    l->only_looks = true;
    Err e = recover(l);
    if (e.kind == ERR_NONE)
        e = sealed_check(l->sealed, &found.sealed_records);
    if (e.kind == ERR_NONE) {
        SealedStats sealed;
        sealed_stats(l->sealed, &sealed);
        found.containers = sealed.containers;
        found.container_bytes = sealed.disk_bytes;
        found.blocks = l->stats.recovered_blocks;
        found.records = l->stats.recovered_records;
        found.torn_bytes = l->stats.torn_bytes;
        found.newest_arrival_ms = l->visible_arrival_ms;
        found.newest_block = l->visible;
        count_found(l, &found);
        *ret = found;
    }
    log_free(l);
    return e;
}

void log_close(struct log *l)
{
    if (l == NULL)
        return;
    stop(l);
    log_free(l);
}

// ---- Shards

Err log_shard_add(struct log *l, uint64_t shard, int64_t retention_ns)
{
    if (shard == 0)
        return fail(ERR_INVALID, "0 is no shard");
    pthread_mutex_lock(&l->lock);
    struct shard *s = shards_make(&l->shards, shard);
    bool has_changed = shard_is_declared(s) && s->retention_ns != retention_ns;
    if (has_changed) // what is gone does not come back
        shard_data(s)->over_ms = shard_horizon_ms(s, log_now_ms(l));
    s->retention_ns = retention_ns;
    pthread_mutex_unlock(&l->lock);
    if (has_changed)
        sealed_retention_changed(l->sealed);
    return OK;
}

void log_shard_hide(struct log *l, uint64_t shard, int64_t over_ms)
{
    pthread_mutex_lock(&l->lock);
    struct shard *s = shards_find(&l->shards, shard);
    if (s != NULL && over_ms > s->data->over_ms)
        shard_data(s)->over_ms = over_ms;
    pthread_mutex_unlock(&l->lock);
}

// What the index has of it counts as passing from now on. Under lock.
static void begin_to_pass(struct log *l, struct shard *s)
{
    const struct shard_data *d = s->data;
    for (uint32_t i = d->first; i < d->end; i++)
        files_find(&l->files, d->at[i].file)->pass_bytes += d->at[i].bytes;
    shard_data(s)->passes = true;
}

void log_shard_pass(struct log *l, uint64_t shard, uint64_t position)
{
    pthread_mutex_lock(&l->lock);
    struct shard *s = shards_find(&l->shards, shard);
    if (s != NULL && !s->data->passes)
        begin_to_pass(l, s);
    if (s != NULL && position > s->data->passed)
        shard_data(s)->passed = position;
    pthread_mutex_unlock(&l->lock);
}

// Shards that nobody declared: those without records are no loss. Under lock.
static Err check_undeclared(struct log *l, struct arena *tmp)
{
    size_t n = 0;
    uint64_t *empty = arena_new(tmp, uint64_t, l->shards.n);
    for (size_t i = 0; i < l->shards.room; i++) {
        struct shard *s = shards_at(&l->shards, i);
        if (s == NULL || shard_is_declared(s))
            continue;
        if (shard_has_records(s)) {
            const struct shard_data *d = s->data;
            uint64_t position = d->sealed_last != 0 ? d->sealed_last : d->at[d->first].position;
            LOG(LOG_ERROR, "the log holds records of a shard that nobody knows",
                F_INT("shard", s->id), F_INT("position", position));
            return fail(ERR_CORRUPT, "the log holds records of an unknown shard");
        }
        empty[n++] = s->id;
    }
    for (size_t i = 0; i < n; i++)
        shards_remove(&l->shards, empty[i]);
    return OK;
}

Err log_ready(struct log *l)
{
    AUTO(arena) tmp = arena_open();
    pthread_mutex_lock(&l->lock);
    Err e = check_undeclared(l, tmp);
    l->is_ready = e.kind == ERR_NONE;
    pthread_mutex_unlock(&l->lock);
    return e;
}

// ---- Control records

size_t log_controls_max(const struct log *l)
{
    size_t fit = (l->block_bytes - BLOCK_HEAD_BYTES - EXTENT_HEAD_BYTES) / CONTROL_BYTES;
    return MIN(fit, (size_t)CONTROLS_MAX);
}

static void enqueue(struct log *l, struct log_append *a, bool held)
{
    a->next = NULL;
    a->last_block = 0; // it was in none
    *l->waiting_end = a;
    l->waiting_end = &a->next;
    l->queued_bytes += a->bytes;
    if (held)
        return;
    l->wanted = true;
    pthread_cond_signal(&l->work);
}

Err log_run_control(struct log *l, struct control_op *op)
{
    pthread_mutex_lock(&l->queue_lock);
    Err e = OK;
    if (l->stopping)
        e = fail(ERR_CLOSED, "the log is closing");
    else if (l->dead)
        e = fail(ERR_IO, "the journal failed");
    if (e.kind == ERR_NONE) {
        enqueue(l, &op->base, false);
        while (!op->finished)
            pthread_cond_wait(&l->op_ended, &l->queue_lock);
        e = op->err;
    }
    pthread_mutex_unlock(&l->queue_lock);
    return e;
}

static Err run_controls(struct log *l, Control *controls, size_t n)
{
    struct control_op op = { .controls = controls, .n = n };
    return log_run_control(l, &op);
}

Err log_shards_end(struct log *l, const uint64_t *shards, size_t n, LogPlace *ret_ends)
{
    if (n == 0)
        return OK;
    if (n > log_controls_max(l))
        return fail(ERR_LIMIT, "too many shards to end in one instant");
    AUTO(arena) tmp = arena_open();
    Control *c = arena_new(tmp, Control, n);
    for (size_t i = 0; i < n; i++)
        c[i] = (Control){ .what = CONTROL_END, .id = shards[i] };
    TRY(run_controls(l, c, n));
    for (size_t i = 0; i < n; i++)
        ret_ends[i] = (LogPlace){ .position = c[i].position, .arrival_ms = c[i].arrival_ms };
    return OK;
}

Err log_shards_drop(struct log *l, const uint64_t *shards, size_t n)
{
    AUTO(arena) tmp = arena_open();
    Control *c = arena_new(tmp, Control, n);
    for (size_t i = 0; i < n; i++)
        c[i] = (Control){ .what = CONTROL_DROP, .id = shards[i] };
    size_t most = log_controls_max(l);
    for (size_t i = 0; i < n; i += most)
        TRY(run_controls(l, c + i, MIN(most, n - i)));
    sealed_retention_changed(l->sealed);
    return OK;
}

// ---- Appends

static Err check_append(const struct log *l, struct log_append *a)
{
    if (a->n == 0 || a->n > LOG_APPEND_RECORDS_MAX)
        return fail(ERR_INVALID, "number of records");
    size_t bytes = 0;
    for (size_t i = 0; i < a->n; i++) {
        const LogRecord *r = &a->records[i];
        if (r->key.n > LOG_KEY_BYTES_MAX || r->hash_key.n > LOG_HASH_KEY_BYTES_MAX ||
            r->data.n > LOG_DATA_BYTES_MAX || append_record_bytes(r) > l->record_bytes)
            return fail(ERR_INVALID, "size of a record");
        bytes += append_record_bytes(r);
    }
    if (bytes > LOG_APPEND_BYTES_MAX)
        return fail(ERR_INVALID, "size of an append");
    a->bytes = bytes;
    return OK;
}

Err log_append(struct log *l, struct log_append *a)
{
    TRY(check_append(l, a));
    pthread_mutex_lock(&l->queue_lock);
    Err e = OK;
    if (l->dead)
        e = fail(ERR_IO, "the journal failed");
    else if (l->stopping)
        e = fail(ERR_CLOSED, "the log is closing");
    else if (l->full)
        e = fail(ERR_FULL, "no space is left for the journal");
    else if (l->behind)
        e = fail(ERR_LIMIT, "too much of the journal waits to be sealed");
    else if (l->queued_bytes > 0 && l->queued_bytes + a->bytes > l->config.queue_bytes_max)
        e = fail(ERR_LIMIT, "the journal's queue is full");
    if (e.kind == ERR_NONE)
        enqueue(l, a, a->held);
    pthread_mutex_unlock(&l->queue_lock);
    return e;
}

// SPDX-License-Identifier: Apache-2.0
// What runs beside the commits. The keeper has a file ready before it is needed and watches a full
// disk; the expiry thread forgets what is past its retention and retires files. They are two,
// because a file is retired by a commit, which may have to wait for the keeper's file.
#include "store/log/journal_priv.h"

#include <stdlib.h>
#include <time.h>

#define IDLE_NS NS_PER_S
#define FULL_PROBE_NS (100 * NS_PER_MS)

static void wait_for(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t ns)
{
    // The threads' own clock, not the table's: a virtual clock must not keep them from waking up.
    struct timespec t;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    int64_t until = (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec + ns;
    t = (struct timespec){ .tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S };
    pthread_cond_timedwait(cond, lock, &t);
}

// ---- The keeper

void log_leave_full(struct log *l)
{
    l->full = false;
    metric_set(l->metrics.full, 0);
    LOG(LOG_INFO, "space has returned: appends are taken again", F_STR("dir", l->files.dir));
}

// Space for the next file. While the disk is short of it, only what is left beside a whole reserve.
static Err prepare(struct log *l, bool is_short, struct journal_file **ret)
{
    struct journal_files *fs = &l->files;
    pthread_mutex_lock(&l->queue_lock);
    uint64_t epoch = l->epoch;
    pthread_mutex_unlock(&l->queue_lock);
    pthread_mutex_lock(&l->lock);
    bool has_spare = fs->spare_count > 0;
    pthread_mutex_unlock(&l->lock);
    if (is_short && !has_spare) {
        if (!files_space_returned(fs))
            return fail(ERR_FULL, "the disk is still full");
        TRY(files_reserve_make(fs));
    }
    Err e = files_prepare(fs, epoch, &l->lock, ret);
    if (e.kind == ERR_FULL)
        files_reserve_release(fs);
    return e;
}

// One round, without the lock. Returns whether space is short.
static void keep(struct log *l, bool needs_file, bool is_short)
{
    struct journal_file *f = NULL;
    Err e = needs_file ? prepare(l, is_short, &f) : OK;
    if (!is_short && e.kind != ERR_NONE)
        LOG(LOG_WARN, "no journal file could be prepared", F_STR("dir", l->files.dir), F_ERR(e));
    if (e.kind == ERR_NONE && !l->files.reserve_held && files_space_returned(&l->files))
        err_ignore(files_reserve_make(&l->files)); // tried again until it fits

    pthread_mutex_lock(&l->queue_lock);
    if (f != NULL)
        l->next_file = f;
    if (needs_file)
        l->prepare_err = e;
    if (e.kind != ERR_FULL && l->full && l->needs_epoch)
        l->probe = true; // a broken device shows there, and is the commit thread's to judge
    else if (e.kind == ERR_NONE && l->full)
        log_leave_full(l);
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->queue_lock);
}

void *keeper_run(void *p)
{
    struct log *l = p;
    bool was_full = false;
    pthread_mutex_lock(&l->queue_lock);
    while (!l->commit_ended) {
        bool needs_file = l->next_file == NULL;
        bool is_full = l->full, is_short = is_full || l->prepare_err.kind != ERR_NONE;
        pthread_mutex_unlock(&l->queue_lock);
        if (is_full && !was_full)
            files_reserve_release(&l->files); // for those who must write to get out of this
        else
            keep(l, needs_file, is_short);
        was_full = is_full;
        pthread_mutex_lock(&l->queue_lock);
        is_short = l->full || l->prepare_err.kind != ERR_NONE;
        if (!l->commit_ended && (l->next_file != NULL || is_short))
            wait_for(&l->keep, &l->queue_lock, is_short ? FULL_PROBE_NS : IDLE_NS);
    }
    pthread_mutex_unlock(&l->queue_lock);
    return NULL;
}

// ---- Expiry

static void trim_all(struct log *l)
{
    int64_t now_ms = log_now_ms(l);
    for (size_t i = 0; i < l->shards.room; i++) {
        struct shard *s = l->shards.at[i];
        if (s != NULL)
            log_trim(l, s, shard_horizon(s, now_ms));
    }
}

// Nothing in it is readable, and nothing will be: blocks are only written to the newest file.
static bool is_over(const struct log *l, const struct journal_file *f)
{
    return f != files_current(&l->files) && f->live_extents == 0 && f->users == 0 &&
           f->last_block <= l->visible;
}

struct retirement {
    struct journal_file **files;
    size_t file_count;
    Control *controls;
    size_t control_count;
    struct gone gone; // as it will be
};

static bool is_retiring(const struct retirement *r, uint64_t number)
{
    for (size_t i = 0; i < r->file_count; i++)
        if (r->files[i]->number == number)
            return true;
    return false;
}

// The files that are over. Under lock.
static void find_over(const struct log *l, struct arena *tmp, struct retirement *r)
{
    const struct journal_files *fs = &l->files;
    uint64_t oldest = 0;
    r->files = arena_new(tmp, struct journal_file *, fs->n);
    gone_copy(&r->gone, &l->gone);
    for (size_t i = 0; i < fs->n; i++) {
        struct journal_file *f = fs->at[i];
        // With it the file before, which stays, would lose the end of an append, and recovery would
        // take the rest for one that a crash has cut off.
        bool is_needed = f->is_tied && i > 0 && fs->at[i - 1]->number == f->number - 1 &&
                         !is_retiring(r, f->number - 1);
        if (is_over(l, f) && !is_needed) {
            r->files[r->file_count++] = f;
            gone_add(&r->gone, (GoneFile){ f->number, f->predecessor, f->newest_block });
        } else if (oldest == 0) {
            oldest = f->number;
        }
    }
    gone_advance(&r->gone, oldest);
}

// What must be written before they may be reused: the facts whose newest statement would be lost
// with them. Under lock.
static void plan_retirement(const struct log *l, struct arena *tmp, struct retirement *r)
{
    find_over(l, tmp, r);
    if (r->file_count == 0)
        return;
    r->controls = arena_new(tmp, Control, facts_count(&l->facts));
    struct fact *x;
    for (size_t at = 0; facts_next(&l->facts, &at, &x);)
        if (is_retiring(r, x->stated) || files_find(&l->files, x->stated) == NULL)
            r->controls[r->control_count++] = x->control;
}

// Facts first, then the list; after that the files are gone, whatever happens.
static Err write_retirement(struct log *l, struct arena *tmp, const struct retirement *r)
{
    size_t most = log_controls_max(l);
    for (size_t i = 0; i < r->control_count; i += most)
        TRY(log_run_op(l, r->controls + i, MIN(most, r->control_count - i), false));
    return gone_write(&l->files, tmp, &r->gone);
}

static void remove_from_table(struct journal_files *fs, const struct retirement *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < fs->n; i++)
        if (!is_retiring(r, fs->at[i]->number))
            fs->at[kept++] = fs->at[i];
    fs->n = kept;
}

static void retire(struct log *l, struct arena *tmp, struct retirement *r)
{
    Err e = write_retirement(l, tmp, r);
    if (e.kind != ERR_NONE) {
        if (e.kind != ERR_CLOSED) // tried again in a second
            LOG(LOG_WARN, "journal files could not be retired", F_ERR(e));
        return;
    }
    pthread_mutex_lock(&l->lock);
    remove_from_table(&l->files, r);
    gone_done(&l->gone);
    gone_copy(&l->gone, &r->gone);
    facts_advance(&l->facts, l->gone.oldest);
    pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < r->file_count; i++)
        files_recycle(&l->files, &l->lock, r->files[i]);
    pthread_mutex_lock(&l->queue_lock);
    pthread_cond_signal(&l->keep);
    pthread_mutex_unlock(&l->queue_lock);
}

static void expire(struct log *l, struct arena *tmp)
{
    struct retirement r = { 0 };
    pthread_mutex_lock(&l->lock);
    if (l->is_ready) {
        trim_all(l);
        plan_retirement(l, tmp, &r);
    }
    pthread_mutex_unlock(&l->lock);
    if (r.file_count > 0)
        retire(l, tmp, &r);
    gone_done(&r.gone);
}

void log_expire(struct log *l)
{
    AUTO(arena) tmp = arena_open();
    pthread_mutex_lock(&l->expire_lock);
    expire(l, tmp);
    pthread_mutex_unlock(&l->expire_lock);
}

void *expiry_run(void *p)
{
    struct log *l = p;
    pthread_mutex_lock(&l->queue_lock);
    while (!l->stopping) {
        wait_for(&l->expire, &l->queue_lock, IDLE_NS);
        if (l->stopping)
            break;
        pthread_mutex_unlock(&l->queue_lock);
        log_expire(l);
        pthread_mutex_lock(&l->queue_lock);
    }
    pthread_mutex_unlock(&l->queue_lock);
    return NULL;
}

// SPDX-License-Identifier: Apache-2.0
// What runs beside the commits. The keeper has a file ready before it is needed and watches a full
// disk; the expiry thread forgets what is past its retention, seals, expires and merges. They are
// two, because sealing may take seconds and a commit may wait for the keeper's file.
#include "store/log/journal_priv.h"

#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

enum {
    TIDY_FAILURES_MAX = 6, // then it waits 2^6 seconds
    SEALS_PER_MERGE = 16,  // while sealing has no end
    CONTAINERS_MANY = 512, // while records come fast as many wait to be merged
};
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
    prctl(PR_SET_NAME, "log-keeper");
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

// ---- Expiry and sealing

static void trim_all(struct log *l)
{
    int64_t now_ms = log_now_ms(l);
    for (size_t i = 0; i < l->shards.room; i++) {
        struct shard *s = shards_at(&l->shards, i);
        shards_ahead(&l->shards, i);
        if (s != NULL)
            log_trim(l, s, shard_horizon(s, now_ms));
    }
}

static bool is_stopping(void *log)
{
    struct log *l = log;
    pthread_mutex_lock(&l->queue_lock);
    bool stopping = l->stopping || l->dead;
    pthread_mutex_unlock(&l->queue_lock);
    return stopping;
}

static int64_t now_ms_of(struct log *l)
{
    pthread_mutex_lock(&l->lock);
    int64_t now_ms = log_now_ms(l);
    pthread_mutex_unlock(&l->lock);
    return now_ms;
}

// Merging reads and writes everything once more. While records come fast it waits, if it can.
static Err merge(struct log *l)
{
    SealedStats st;
    sealed_stats(l->sealed, &st);
    bool any, is_hot = l->io->mono_ns(l->io) < l->hot_until_ns;
    if (is_hot && st.containers < CONTAINERS_MANY)
        return OK;
    log_pace_end(l); // a merge may take seconds
    return sealed_merge(l->sealed, now_ms_of(l), is_stopping, l, &any);
}

// Seals what is due and expires before each step: while puts come as fast as they can be sealed
// there is no end to it, and when there is no space to seal, only expiry brings some back.
static Err seal_and_expire(struct log *l)
{
    Err sealed = OK, expired = OK;
    bool due = true, any;
    for (unsigned n = 1; due && sealed.kind == ERR_NONE && !is_stopping(l); n++) {
        expired = sealed_expire(l->sealed, now_ms_of(l), &any);
        sealed = log_seal_step(l, false, &due);
        if (n % SEALS_PER_MERGE == 0)
            err_ignore(merge(l));
    }
    log_pace_end(l);
    TRY(sealed);
    return expired;
}

static Err tidy(struct log *l)
{
    Err e = seal_and_expire(l);
    if (e.kind != ERR_NONE && e.kind != ERR_CORRUPT) // what is damaged stops nothing else
        return e;
    Err merged = merge(l);
    return e.kind != ERR_NONE ? e : merged;
}

// After a failure it waits longer each time: a full or failing disk is not helped by haste.
static void note_tidied(struct log *l, Err e)
{
    if (e.kind == ERR_NONE) {
        l->tidy_failures = 0;
        return;
    }
    l->tidy_failures = MIN(l->tidy_failures + 1, (unsigned)TIDY_FAILURES_MAX);
    l->tidy_after_ns = l->io->mono_ns(l->io) + (NS_PER_S << l->tidy_failures);
    LOG(LOG_WARN, "the journal could not be sealed or containers not expired",
        F_STR("dir", l->files.dir), F_ERR(e));
}

// Returns whether there is anything to be done on the disk.
static bool begin_expiry(struct log *l)
{
    bool may = !is_stopping(l);
    pthread_mutex_lock(&l->lock);
    if (l->is_ready)
        trim_all(l);
    may &= l->is_ready;
    pthread_mutex_unlock(&l->lock);
    log_tail_trim(l, false);
    return may;
}

void log_expire(struct log *l)
{
    pthread_mutex_lock(&l->expire_lock);
    if (begin_expiry(l) && l->io->mono_ns(l->io) >= l->tidy_after_ns)
        note_tidied(l, tidy(l));
    if (l->io->mono_ns(l->io) >= l->hot_until_ns)
        log_drop_seal_buffer(l);
    pthread_mutex_unlock(&l->expire_lock);
}

void *expiry_run(void *p)
{
    struct log *l = p;
    prctl(PR_SET_NAME, "log-expiry");
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

// ---- Sealing everything

// Has the journal go on in another file, by a block of its own.
static Err turn_file(struct log *l)
{
    struct control_op op = { .turns_file = true };
    return log_run_control(l, &op);
}

Err log_seal(struct log *l)
{
    Err e = turn_file(l);
    pthread_mutex_lock(&l->expire_lock);
    for (bool any = true; any && e.kind == ERR_NONE;)
        e = log_seal_step(l, true, &any);
    log_pace_end(l);
    pthread_mutex_unlock(&l->expire_lock);
    return e;
}

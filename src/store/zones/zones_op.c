// SPDX-License-Identifier: Apache-2.0
// Operations: handing their parts to the zones' threads, waiting, and deciding what came of them.
#include "store/zones/zones_priv.h"

#include "base/logline.h"
#include "base/metric.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t zones_now(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

void zones_wait_locked(struct zones *s, pthread_cond_t *c, int64_t until_ns)
{
    if (until_ns == INT64_MAX) {
        pthread_cond_wait(c, &s->lock);
        return;
    }
    struct timespec t = { .tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S };
    pthread_cond_timedwait(c, &s->lock, &t);
}

// ---- Making one

struct op *op_new(struct zones *s, Err (*run)(struct part *p))
{
    struct op *op = xalloc(sizeof *op);
    op->s = s;
    op->run = run;
    op->refs = 1;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&op->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    op->wake = &op->ended;
    for (unsigned i = 0; i < s->count; i++) {
        op->parts[i].op = op;
        op->parts[i].zone = &s->zones[i];
    }
    return op;
}

void *buffer_take(struct zones *s, size_t n, size_t *ret_room)
{
    void *p = NULL;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->buffer_count && p == NULL; i++) {
        if (s->buffer_bytes[i] < n)
            continue;
        p = s->buffers[i];
        *ret_room = s->buffer_bytes[i];
        s->buffer_count--;
        s->buffers[i] = s->buffers[s->buffer_count];
        s->buffer_bytes[i] = s->buffer_bytes[s->buffer_count];
    }
    pthread_mutex_unlock(&s->lock);
    if (p == NULL) {
        *ret_room = MAX((n + IO_ALIGN_BYTES - 1) / IO_ALIGN_BYTES, (size_t)1) * IO_ALIGN_BYTES;
        p = aligned_alloc(IO_ALIGN_BYTES, *ret_room);
        CHECK(p != NULL);
    }
    return p;
}

static void buffer_give_locked(struct zones *s, void *p, size_t room)
{
    if (p == NULL || s->buffer_count == BUFFERS_KEPT_MAX) {
        free(p);
        return;
    }
    s->buffers[s->buffer_count] = p;
    s->buffer_bytes[s->buffer_count++] = room;
}

void op_buffer(struct op *op, size_t n)
{
    op->data = buffer_take(op->s, n, &op->room);
    op->n = n;
}

void op_unref_locked(struct op *op)
{
    if (--op->refs > 0)
        return;
    for (unsigned i = 0; i < op->s->count; i++) {
        handle_unref_locked(op->parts[i].h);
        arena_close(op->parts[i].arena);
        buffer_give_locked(op->s, op->parts[i].bytes, op->parts[i].room);
    }
    buffer_give_locked(op->s, op->data, op->room);
    pthread_cond_destroy(&op->ended);
    arena_close(op->arena);
    free(op);
}

void op_unref(struct op *op)
{
    struct zones *s = op->s;
    pthread_mutex_lock(&s->lock);
    op_unref_locked(op);
    pthread_mutex_unlock(&s->lock);
}

static Str path_in(const struct zone *z, struct arena *a, Str rel)
{
    return rel.n > 0 ? str_cat3(a, z->dir, S("/"), rel) : z->dir;
}

void op_paths(struct op *op, Str rel, Str rel2)
{
    op->arena = op->arena != NULL ? op->arena : arena_open();
    for (unsigned i = 0; i < op->s->count; i++) {
        struct part *p = &op->parts[i];
        p->path = path_in(p->zone, op->arena, rel);
        if (rel2.p != NULL)
            p->path2 = path_in(p->zone, op->arena, rel2);
    }
}

void op_want_locked(struct op *op, unsigned mask, const struct io_file *f)
{
    for (unsigned i = 0; i < op->s->count; i++) {
        struct part *p = &op->parts[i];
        p->wanted = (mask & bit(i)) != 0 && (f == NULL || f->h[i] != NULL);
        if (p->wanted && f != NULL) {
            p->h = f->h[i];
            handle_ref_locked(p->h);
        }
    }
}

// ---- Handles

void handle_ref_locked(struct handle *h)
{
    h->refs++;
}

void handle_unref_locked(struct handle *h)
{
    if (h == NULL || --h->refs > 0)
        return;
    h->next = h->zone->dead;
    h->zone->dead = h;
    pthread_cond_signal(&h->zone->work);
}

// ---- The threads of a zone

static bool has_pending(const struct op *op)
{
    for (unsigned i = 0; i < op->s->count; i++)
        if (op->parts[i].wanted && !op->parts[i].done)
            return true;
    return false;
}

static void part_end(struct part *p, Err e)
{
    struct op *op = p->op;
    p->err = e;
    p->done = true;
    if (op->wake != NULL && (!op->wake_last || !has_pending(op)))
        pthread_cond_broadcast(op->wake);
    op_unref_locked(op);
}

static void close_dead(struct zone *z)
{
    struct handle *h = z->dead;
    z->dead = h->next;
    z->under_way++;
    pthread_mutex_unlock(&z->s->lock);
    z->io->close(h->f);
    free(h);
    pthread_mutex_lock(&z->s->lock);
    z->under_way--;
}

static void run_first(struct zone *z)
{
    struct part *p = z->first;
    z->first = p->next;
    if (z->first == NULL)
        z->last = &z->first;
    z->waiting--;
    z->under_way++;
    bool is_over = p->life != z->life;
    pthread_mutex_unlock(&z->s->lock);
    Err e = is_over ? fail(ERR_IO, "the zone has been fenced") : p->op->run(p);
    pthread_mutex_lock(&z->s->lock);
    z->under_way--;
    part_end(p, e);
}

static void *zone_run(void *arg)
{
    struct zone *z = arg;
    pthread_mutex_lock(&z->s->lock);
    while (true) {
        if (z->first != NULL) {
            run_first(z);
        } else if (z->dead != NULL) {
            close_dead(z);
        } else if (z->s->closing) {
            break;
        } else {
            z->idle++;
            pthread_cond_wait(&z->work, &z->s->lock);
            z->idle--;
        }
    }
    pthread_mutex_unlock(&z->s->lock);
    return NULL;
}

Err zone_start_thread(struct zone *z)
{
    // Signals belong to the threads that expect them.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int error = pthread_create(&z->threads[z->thread_count], NULL, zone_run, z);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return fail_os(error, "pthread_create");
    z->thread_count++;
    return OK;
}

void zones_stop_threads(struct zones *s)
{
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    for (unsigned i = 0; i < s->count; i++)
        pthread_cond_broadcast(&s->zones[i].work);
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->count; i++)
        for (unsigned k = 0; k < s->zones[i].thread_count; k++)
            pthread_join(s->zones[i].threads[k], NULL);
    // An operation that ended last in one zone may have let go of another one's handle, whose
    // threads had nothing left to wait for.
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->count; i++)
        while (s->zones[i].dead != NULL)
            close_dead(&s->zones[i]);
    pthread_mutex_unlock(&s->lock);
}

void op_submit_locked(struct op *op, unsigned mask)
{
    for (unsigned i = 0; i < op->s->count; i++) {
        struct part *p = &op->parts[i];
        struct zone *z = p->zone;
        if (!p->wanted || (mask & bit(i)) == 0)
            continue;
        p->life = z->life;
        p->done = false;
        p->next = NULL;
        op->refs++;
        *z->last = p;
        z->last = &p->next;
        // A zone that hangs keeps its threads: what is slow must not stop what is not.
        if (++z->waiting > z->idle && z->thread_count < ZONE_THREADS_MAX)
            err_ignore(zone_start_thread(z)); // those that are there do it, later
    }
}

void op_wake_zones(const struct op *op, unsigned mask)
{
    for (unsigned i = 0; i < op->s->count; i++)
        if (op->parts[i].wanted && (mask & bit(i)) != 0)
            pthread_cond_signal(&op->s->zones[i].work);
}

// ---- Deciding

// Whether this part has a say: its zone has not left since it was handed over.
static bool counts(const struct part *p)
{
    return p->wanted && p->life == p->zone->life && p->zone->state != ZONE_FENCED;
}

static bool is_member(const struct part *p)
{
    return (p->zone->s->members & bit(p->zone->i)) != 0;
}

bool op_is_due_locked(struct op *op, int64_t now, int64_t *until)
{
    struct zones *s = op->s;
    unsigned pending_members = 0, pending_joiners = 0, good = 0;
    for (unsigned i = 0; i < s->count; i++) {
        const struct part *p = &op->parts[i];
        if (!counts(p))
            continue;
        if (!p->done && is_member(p))
            pending_members++;
        else if (!p->done)
            pending_joiners++;
        else if (is_member(p) && p->err.kind == ERR_NONE)
            good++;
    }
    if (pending_members == 0 && pending_joiners == 0)
        return true;
    *until = MIN(*until, now + s->lag_ns); // nobody tells when there are enough
    if (pending_members > 0 && good < s->least)
        return false; // whoever is slow is needed
    if (op->enough_ns == 0)
        op->enough_ns = now;
    *until = MIN(*until, op->enough_ns + s->lag_ns);
    return now >= op->enough_ns + s->lag_ns;
}

// The kind of result that most have: success if enough have it, else what enough agree on. False:
// the zones are of too many minds.
static bool find_winner(const struct op *op, Err *ret)
{
    unsigned total = 0, best = 0;
    Err winner = OK;
    for (unsigned i = 0; i < op->s->count; i++)
        total += counts(&op->parts[i]) && is_member(&op->parts[i]);
    unsigned enough = MIN(op->s->least, total);
    for (unsigned i = 0; i < op->s->count; i++) {
        const struct part *p = &op->parts[i];
        if (!counts(p) || !is_member(p) || !p->done)
            continue;
        unsigned same = 0;
        for (unsigned k = 0; k < op->s->count; k++) {
            const struct part *q = &op->parts[k];
            same += counts(q) && is_member(q) && q->done && q->err.kind == p->err.kind;
        }
        if (same >= enough && (p->err.kind == ERR_NONE || same > best)) {
            best = same;
            winner = p->err;
            if (p->err.kind == ERR_NONE)
                break;
        }
    }
    *ret = winner;
    return best > 0;
}

static Err first_failure(const struct op *op)
{
    for (unsigned i = 0; i < op->s->count; i++) {
        const struct part *p = &op->parts[i];
        if (counts(p) && is_member(p) && p->done && p->err.kind != ERR_NONE)
            return p->err;
    }
    return fail(ERR_IO, "no zone has done it");
}

// Whether a zone that has this result must leave when the others have that one. Names that are
// there in one zone and not in another are never to be mended by themselves. But bytes after a
// failed write are undefined in any zone, and the only one that works is not sent away by those
// that fail.
static bool must_leave(const struct part *p, Err winner)
{
    if (!p->done)
        return true;
    if (p->err.kind == winner.kind)
        return false;
    switch (winner.kind) {
    case ERR_NONE:
    case ERR_NOT_FOUND:
    case ERR_EXISTS:
    case ERR_INVALID:
        return true;
    case ERR_FULL:
        return p->err.kind != ERR_NONE;
    default:
        return false;
    }
}

static Err lags(void)
{
    return fail(ERR_TIMEOUT, "the zone lags behind the others");
}

bool op_decide_locked(struct op *op, Err *ret)
{
    struct zones *s = op->s;
    Err winner, causes[ZONES_MAX] = { { 0 } };
    unsigned losers = 0;
    bool any_pending = false;
    bool agreed = find_winner(op, &winner);
    for (unsigned i = 0; i < s->count; i++) {
        const struct part *p = &op->parts[i];
        if (!counts(p) || (agreed && !must_leave(p, winner)))
            continue;
        causes[i] = p->done ? p->err : lags();
        if (causes[i].kind == ERR_NONE)
            causes[i] = fail(ERR_CORRUPT, "the zone holds something else than the others");
        any_pending |= is_member(p) && !p->done;
        if (is_member(p))
            losers |= bit(i);
        else
            zones_drop_join_locked(s, causes[i]);
    }
    if (!agreed) {
        *ret = first_failure(op);
        return true;
    }
    if (losers == 0) {
        *ret = winner;
        return true;
    }
    if (zones_fence_locked(s, losers, causes))
        return false; // those that differed have no say any more
    if (any_pending) {
        op->enough_ns = 0; // it cannot be done without: wait on, or see what it has done meanwhile
        return false;
    }
    *ret = winner.kind != ERR_NONE ? winner : first_failure(op);
    return true;
}

Err op_run_all(struct op *op)
{
    struct zones *s = op->s;
    Err e = OK;
    op->wake_last = true;
    pthread_mutex_lock(&s->lock);
    op_submit_locked(op, MEMBERS_ALL);
    pthread_mutex_unlock(&s->lock);
    op_wake_zones(op, MEMBERS_ALL);
    pthread_mutex_lock(&s->lock);
    while (true) {
        int64_t until = INT64_MAX;
        if (!op_is_due_locked(op, zones_now(), &until))
            zones_wait_locked(s, op->wake, until);
        else if (op_decide_locked(op, &e))
            break;
    }
    op->wake = NULL;
    pthread_mutex_unlock(&s->lock);
    return e;
}

// ---- By one zone

static bool all_have_ended(const struct op *op, unsigned mask)
{
    for (unsigned i = 0; i < op->s->count; i++)
        if ((mask & bit(i)) != 0 && !op->parts[i].done)
            return false;
    return true;
}

Err op_run_each(struct op *op, unsigned mask, int64_t ns)
{
    struct zones *s = op->s;
    pthread_mutex_lock(&s->lock);
    int64_t until = zones_now() + ns;
    for (unsigned i = 0; i < s->count; i++)
        op->parts[i].wanted = (mask & bit(i)) != 0;
    op_submit_locked(op, mask);
    op_wake_zones(op, mask);
    while (!all_have_ended(op, mask) && zones_now() < until && !s->keeper_stops)
        zones_wait_locked(s, op->wake, MIN(until, zones_now() + NS_PER_S));
    op->wake = NULL;
    bool ended = all_have_ended(op, mask);
    pthread_mutex_unlock(&s->lock);
    return ended ? OK : fail(ERR_TIMEOUT, "the zone does not answer");
}

Err op_run_one(struct op *op, unsigned zone, int64_t ns)
{
    Err e = op_run_each(op, bit(zone), ns);
    if (e.kind == ERR_NONE)
        e = op->parts[zone].err;
    if (e.kind != ERR_NONE)
        op->s->zones[zone].failures++;
    return e;
}

static int next_candidate(const struct op *op, unsigned tried)
{
    for (unsigned i = 0; i < op->s->count; i++)
        if (op->parts[i].wanted && (tried & bit(i)) == 0 && (op->s->members & bit(i)) != 0)
            return (int)i;
    return -1;
}

// The first zone that has given an answer that is no error, or -1.
static int good_answer(const struct op *op, unsigned tried)
{
    for (unsigned i = 0; i < op->s->count; i++)
        if ((tried & bit(i)) != 0 && op->parts[i].done && op->parts[i].err.kind == ERR_NONE)
            return (int)i;
    return -1;
}

// Those tried before the one that has answered well have failed or lag.
static void fence_silent(struct op *op, unsigned failed)
{
    Err causes[ZONES_MAX] = { { 0 } };
    unsigned mask = 0;
    for (unsigned i = 0; i < op->s->count; i++) {
        const struct part *p = &op->parts[i];
        if ((failed & bit(i)) == 0 || !counts(p) || (p->done && p->err.kind == ERR_NONE))
            continue;
        mask |= bit(i);
        causes[i] = p->done ? p->err : lags();
    }
    if (mask != 0)
        zones_fence_locked(op->s, mask, causes); // if it cannot be, they are asked again next time
}

Err op_run_any(struct op *op, unsigned *ret_zone)
{
    struct zones *s = op->s;
    unsigned tried = 0;
    int good = -1;
    Err first = OK;
    pthread_mutex_lock(&s->lock);
    while (good < 0) {
        int next = next_candidate(op, tried);
        if (next < 0 && all_have_ended(op, tried))
            break;
        int64_t until = INT64_MAX;
        if (next >= 0) {
            op_submit_locked(op, bit((unsigned)next));
            op_wake_zones(op, bit((unsigned)next));
            tried |= bit((unsigned)next);
            if (next_candidate(op, tried) >= 0)
                until = zones_now() + s->lag_ns;
        }
        while ((good = good_answer(op, tried)) < 0 && !all_have_ended(op, tried) &&
               zones_now() < until)
            zones_wait_locked(s, op->wake, until);
        if (next >= 0 && first.kind == ERR_NONE && op->parts[next].done)
            first = op->parts[next].err;
    }
    if (good >= 0)
        fence_silent(op, tried & ~bit((unsigned)good));
    op->wake = NULL;
    pthread_mutex_unlock(&s->lock);
    if (good < 0)
        return first.kind != ERR_NONE ? first : fail(ERR_IO, "no zone has the file open");
    *ret_zone = (unsigned)good;
    return OK;
}

// SPDX-License-Identifier: Apache-2.0
// Who is a member. The list in memory becomes shorter only after the shorter list is durable in all
// that remain: whoever waits for the zone that leaves is answered after that.
#include "store/zones/zones_priv.h"

#include "base/logline.h"
#include "base/metric.h"

#include <string.h>

// ---- Records

static Err run_record(struct part *p)
{
    AUTO(arena) tmp = arena_open();
    struct io *io = p->zone->io;
    return io_write_file(io, tmp, p->path, p->text);
}

void record_of_zone(const struct zone *z, unsigned members, uint64_t generation, bool whole,
                    ZoneRecord *ret)
{
    const struct zones *s = z->s;
    *ret = (ZoneRecord){
        .id = z->id,
        .generation = generation,
        .of = (unsigned)s->count,
        .least = s->least,
        .whole = whole,
    };
    memcpy(ret->cluster, s->cluster, sizeof ret->cluster);
    for (unsigned i = 0; i < s->count; i++)
        if ((members & bit(i)) != 0)
            ret->members[ret->member_count++] = s->zones[i].id;
}

static struct op *record_op(struct zones *s, unsigned mask, unsigned members)
{
    struct op *op = op_new(s, run_record);
    op_paths(op, ZONE_RECORD, (Str){ 0 });
    for (unsigned i = 0; i < s->count; i++) {
        ZoneRecord r;
        record_of_zone(&s->zones[i], members, s->generation, true, &r);
        op->parts[i].wanted = (mask & bit(i)) != 0;
        op->parts[i].text = record_text(op->arena, &r);
    }
    return op;
}

// Whether all have ended, or enough have done it and the others lag; *ret_good: those that have.
static bool records_are_due(const struct op *op, unsigned mask, int64_t *enough_ns, int64_t *until,
                            unsigned *ret_good)
{
    unsigned pending = 0;
    *ret_good = 0;
    for (unsigned i = 0; i < op->s->count; i++) {
        const struct part *p = &op->parts[i];
        if ((mask & bit(i)) == 0)
            continue;
        pending += !p->done;
        *ret_good |= p->done && p->err.kind == ERR_NONE ? bit(i) : 0;
    }
    if (pending == 0)
        return true;
    if (count_bits(*ret_good) < op->s->least)
        return false;
    int64_t now = zones_now();
    if (*enough_ns == 0)
        *enough_ns = now;
    *until = *enough_ns + patience_ns(op->s);
    return now >= *until;
}

unsigned zones_write_records_locked(struct zones *s, unsigned mask, unsigned members,
                                    Err causes[ZONES_MAX])
{
    CHECK(s->changing);
    s->generation++;
    struct op *op = record_op(s, mask, members);
    op_submit_locked(op, mask);
    op_wake_zones(op, mask);
    unsigned good = 0;
    int64_t enough_ns = 0, until = INT64_MAX;
    while (!records_are_due(op, mask, &enough_ns, &until, &good))
        zones_wait_locked(s, op->wake, until);
    op->wake = NULL;
    for (unsigned i = 0; i < s->count; i++)
        if ((mask & ~good & bit(i)) != 0)
            causes[i] = op->parts[i].done ? op->parts[i].err
                                          : fail(ERR_TIMEOUT, "the zone lags behind the others");
    op_unref_locked(op);
    return good;
}

// ---- States

const char *zone_state_name(unsigned state)
{
    static const char *const names[] = {
        [ZONE_MEMBER] = "member",
        [ZONE_JOINING] = "joining",
        [ZONE_FENCED] = "fenced",
    };
    return names[state];
}

void zone_set_state_locked(struct zone *z, unsigned state, Err cause)
{
    struct zones *s = z->s;
    z->state = state;
    z->cause = cause;
    z->since_ns = s->base->wall_ns(s->base);
    metric_set(z->up, state == ZONE_MEMBER);
    if (state != ZONE_FENCED)
        return;
    z->life++;
    z->retry_step_ns = MAX(z->retry_step_ns, s->probe_ns);
    z->retry_ns = zones_now() + z->retry_step_ns;
    pthread_cond_broadcast(&s->keep);
    handle_unref_locked(z->lock_file); // nothing of it stays open: it may be unmounted
    z->lock_file = NULL;
    for (struct io_file *f = s->files; f != NULL; f = f->next) {
        handle_unref_locked(f->h[z->i]);
        f->h[z->i] = NULL;
    }
}

static void log_fenced(const struct zone *z, Err cause)
{
    LOG(LOG_ERROR, "a zone is fenced: it gets no more writes until it is repaired",
        F_STR("zone", z->dir), F_INT("members", count_bits(z->s->members)), F_ERR(cause));
}

void zones_drop_join_locked(struct zones *s, Err cause)
{
    struct zone *z = s->join.zone;
    if (z == NULL || z->state != ZONE_JOINING)
        return;
    zone_set_state_locked(z, ZONE_FENCED, cause);
    LOG(LOG_WARN, "the repair of a zone broke off", F_STR("zone", z->dir), F_ERR(cause));
}

// ---- Leaving

static void leave(struct zones *s, unsigned mask, const Err causes[ZONES_MAX])
{
    s->members &= ~mask;
    for (unsigned i = 0; i < s->count; i++) {
        struct zone *z = &s->zones[i];
        if ((mask & bit(i)) == 0)
            continue;
        zone_set_state_locked(z, ZONE_FENCED, causes[i]);
        metric_add(z->fenced, 1);
        log_fenced(z, causes[i]);
    }
}

// Writes a list to those on it, a shorter one when not all of them take it. Then the others leave.
static bool shorten_locked(struct zones *s, unsigned left, Err causes[ZONES_MAX])
{
    bool done = false;
    s->changing = true;
    while (!done && count_bits(left) >= s->least) {
        unsigned good = zones_write_records_locked(s, left, left, causes);
        done = good == left;
        left &= good;
    }
    if (done)
        leave(s, s->members & ~left, causes);
    s->changing = false;
    pthread_cond_broadcast(&s->changed);
    return done;
}

static bool wait_for_change_locked(struct zones *s)
{
    bool waited = s->changing;
    while (s->changing)
        pthread_cond_wait(&s->changed, &s->lock);
    return waited;
}

bool zones_fence_locked(struct zones *s, unsigned mask, const Err given[ZONES_MAX])
{
    if (wait_for_change_locked(s))
        return true; // the list is another one now: the caller looks again
    unsigned left = s->members & ~mask;
    if (left == s->members)
        return true;
    Err causes[ZONES_MAX];
    memcpy(causes, given, sizeof causes);
    return count_bits(left) >= s->least && shorten_locked(s, left, causes);
}

bool zones_confirm_locked(struct zones *s)
{
    Err causes[ZONES_MAX] = { { 0 } };
    wait_for_change_locked(s);
    return shorten_locked(s, s->members, causes);
}

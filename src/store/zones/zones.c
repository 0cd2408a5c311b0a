// SPDX-License-Identifier: Apache-2.0
// Opening a set: what each directory holds, who is a member, and making the members the same.
//
// A list of members in force is always durable in at least `least` zones, so whoever sees all but
// `least - 1` of them has seen the newest list. Fewer are not enough to open a set.
#include "store/zones/zones_priv.h"

#include "base/logline.h"
#include "base/metric.h"

#include <stdlib.h>
#include <string.h>

#define LAG_NS (2 * NS_PER_S)
#define PROBE_NS (5 * NS_PER_S)

typedef enum Found {
    FOUND_NOTHING, // it does not answer
    FOUND_EMPTY,
    FOUND_DATA,    // and no record
    FOUND_DAMAGED, // a record that cannot be read
    FOUND_RECORD,
} Found;

struct opening {
    struct zones *s;
    const ZonesConfig *config;
    struct arena *a;
    Str *problem;
    Found found[ZONES_MAX];
    Err why[ZONES_MAX]; // it does not answer
    ZoneRecord records[ZONES_MAX];
    unsigned begun; // a bit per member that a start had begun to make the same as another one
};

static Err explain(const struct opening *o, Err e, Str problem)
{
    *o->problem = problem;
    return e;
}

// ---- The set in memory

static void find_metrics(struct zone *z)
{
    AUTO(arena) tmp = arena_open();
    char *name = str_c(tmp, z->dir);
    for (char *p = name; *p != 0; p++)
        if (*p == '"' || *p == '\\' || *p == '\n')
            *p = '_';
    Str labels = str_fmt(tmp, "zone=\"%s\"", name);
    z->up = metric_get(METRIC_GAUGE, S("headrace_zone_up"),
                       S("1 while the zone is a member and has everything."), labels);
    z->fenced = metric_get(METRIC_COUNTER, S("headrace_zone_fenced_total"),
                           S("How often the zone was fenced since start."), labels);
    z->copied = metric_get(METRIC_COUNTER, S("headrace_zone_copied_bytes_total"),
                           S("Bytes written to the zone to repair it."), labels);
}

static void init_conditions(struct zones *s)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    pthread_cond_init(&s->gates_moved, &monotonic);
    pthread_cond_init(&s->keep, &monotonic);
    for (unsigned i = 0; i < s->count; i++)
        pthread_cond_init(&s->zones[i].work, NULL);
    pthread_condattr_destroy(&monotonic);
}

static uint64_t new_id(struct zones *s)
{
    uint64_t id = 0;
    while (id == 0)
        s->base->random(s->base, &id, sizeof id);
    return id;
}

static Str without_slash(Str path)
{
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    return path;
}

static struct zones *set_new(const ZonesConfig *config)
{
    struct zones *s = xalloc(sizeof *s);
    s->a = arena_open();
    s->base = config->io;
    s->root = str_dup(s->a, without_slash(config->root));
    s->count = config->count;
    s->least = config->least != 0 ? config->least : (unsigned)config->count / 2 + 1;
    s->lag_ns = config->lag_ns != 0 ? config->lag_ns : LAG_NS;
    s->probe_ns = config->probe_ns != 0 ? config->probe_ns : PROBE_NS;
    s->nodes = map_open();
    init_conditions(s);
    for (unsigned i = 0; i < s->count; i++) {
        struct zone *z = &s->zones[i];
        z->s = s;
        z->i = i;
        z->io = config->zone_io[i] != NULL ? config->zone_io[i] : config->io;
        z->dir = str_dup(s->a, without_slash(config->dirs[i]));
        z->last = &z->first;
        z->state = ZONE_FENCED;
        z->retry_step_ns = s->probe_ns;
        z->since_ns = s->base->wall_ns(s->base);
        find_metrics(z);
        metric_set(z->up, 0);
    }
    zones_fill_table(s);
    return s;
}

static void set_free(struct zones *s)
{
    for (size_t i = 0; i < s->buffer_count; i++)
        free(s->buffers[i]);
    map_close(s->nodes);
    for (unsigned i = 0; i < s->count; i++)
        pthread_cond_destroy(&s->zones[i].work);
    pthread_cond_destroy(&s->changed);
    pthread_cond_destroy(&s->gates_moved);
    pthread_cond_destroy(&s->keep);
    pthread_mutex_destroy(&s->lock);
    arena_close(s->a);
    free(s);
}

// ---- What is there

static Err take_lock(const struct opening *o, struct zone *z)
{
    TRY(zone_file_open(z, ZONE_LOCK, IO_WRITE | IO_CREATE, SLOW_NS, &z->lock_file));
    Err e = zone_file_lock(z->lock_file, SLOW_NS);
    if (e.kind != ERR_NONE) {
        zone_file_close(z->lock_file);
        z->lock_file = NULL;
    }
    if (e.kind == ERR_BUSY)
        *o->problem = str_fmt(o->a, "the zone %.*s is in use by another process", FMT(z->dir));
    return e;
}

static Err look_at_content(struct opening *o, struct zone *z)
{
    AUTO(arena) tmp = arena_open();
    Tree tree;
    Err e = record_read(z, tmp, &o->records[z->i]);
    if (e.kind == ERR_FORMAT)
        return explain(o, e,
                       str_fmt(o->a, "the zone %.*s was written by a newer headrace", FMT(z->dir)));
    if (e.kind == ERR_NONE || e.kind == ERR_CORRUPT) {
        o->found[z->i] = e.kind == ERR_NONE ? FOUND_RECORD : FOUND_DAMAGED;
        return OK;
    }
    if (e.kind == ERR_NOT_FOUND)
        e = tree_read(z, tmp, false, SLOW_NS, &tree);
    if (e.kind == ERR_NONE)
        o->found[z->i] = tree.n > 0 ? FOUND_DATA : FOUND_EMPTY;
    else
        o->why[z->i] = e;
    return OK;
}

static Err look(struct opening *o, struct zone *z)
{
    Err e = zone_make_dir(z);
    if (e.kind == ERR_NONE)
        e = take_lock(o, z);
    if (e.kind == ERR_BUSY)
        return e;
    if (e.kind == ERR_NONE)
        return look_at_content(o, z);
    o->why[z->i] = e;
    return OK;
}

static size_t count_found(const struct opening *o, Found found)
{
    size_t n = 0;
    for (unsigned i = 0; i < o->s->count; i++)
        n += o->found[i] == found;
    return n;
}

// ---- A new set

static Err all_answer(const struct opening *o)
{
    for (unsigned i = 0; i < o->s->count; i++)
        if (o->found[i] == FOUND_NOTHING)
            return explain(
                o, o->why[i],
                str_fmt(o->a,
                        "the zone %.*s cannot be used (%s); a new set of zones needs all "
                        "of them",
                        FMT(o->s->zones[i].dir), o->why[i].text));
    return OK;
}

// Without a whole zone only directories that never held anything may be written to.
static Err may_form(const struct opening *o)
{
    TRY(all_answer(o));
    if (count_found(o, FOUND_DATA) > 1)
        return explain(o, fail(ERR_INVALID, "several directories hold data"),
                       S("several zones hold data and no zone.hrz tells which is the right one; "
                         "leave one of them as it is and empty the others"));
    for (unsigned i = 0; i < o->s->count; i++) {
        bool was_used = o->found[i] == FOUND_DAMAGED ||
                        (o->found[i] == FOUND_RECORD && o->records[i].generation > 0);
        if (was_used)
            return explain(o, fail(ERR_CORRUPT, "no zone is whole"),
                           str_fmt(o->a,
                                   "no zone is whole: %.*s was being rebuilt, and the zones it was "
                                   "rebuilt from are missing. Nothing was changed.",
                                   FMT(o->s->zones[i].dir)));
    }
    return OK;
}

// First all that are empty say so, then the source, or all of them, that they are whole: a start
// that breaks off in between finds the same again.
static Err form(struct opening *o)
{
    struct zones *s = o->s;
    TRY(may_form(o));
    unsigned char random[16];
    s->base->random(s->base, random, sizeof random);
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof random; i++) {
        s->cluster[2 * i] = digits[random[i] >> 4];
        s->cluster[2 * i + 1] = digits[random[i] & 15];
    }
    unsigned members = 0;
    bool has_source = count_found(o, FOUND_DATA) > 0;
    for (unsigned i = 0; i < s->count; i++) {
        s->zones[i].id = new_id(s);
        if (o->found[i] != FOUND_DATA)
            TRY(zone_write_state(&s->zones[i], false));
        if (!has_source || o->found[i] == FOUND_DATA)
            members |= bit(i);
    }
    LOG(LOG_INFO, "a new set of zones is made", F_INT("zones", s->count),
        F_INT("with_data", has_source));
    pthread_mutex_lock(&s->lock);
    s->members = members;
    s->changing = true;
    Err causes[ZONES_MAX] = { { 0 } };
    bool good = zones_write_records_locked(s, members, members, causes) == members;
    s->changing = false;
    pthread_mutex_unlock(&s->lock);
    return good ? OK : fail(ERR_IO, "the records of the zones could not be written");
}

// ---- A set that is there

static bool same_set(const ZoneRecord *x, const ZoneRecord *y)
{
    return strcmp(x->cluster, y->cluster) == 0;
}

static size_t count_seen(const struct opening *o, const ZoneRecord *r)
{
    size_t n = 0;
    for (unsigned i = 0; i < o->s->count; i++)
        n += o->found[i] == FOUND_RECORD && same_set(&o->records[i], r);
    return n;
}

// The newest list of the set of which most is seen; NULL: no zone is whole.
static const ZoneRecord *find_top(const struct opening *o)
{
    const ZoneRecord *top = NULL;
    for (unsigned i = 0; i < o->s->count; i++) {
        const ZoneRecord *r = &o->records[i];
        if (o->found[i] != FOUND_RECORD || !r->whole)
            continue;
        size_t seen = count_seen(o, r), top_seen = top != NULL ? count_seen(o, top) : 0;
        if (seen > top_seen || (seen == top_seen && r->generation > top->generation))
            top = r;
    }
    return top;
}

static bool lists(const ZoneRecord *r, uint64_t id)
{
    for (size_t i = 0; i < r->member_count; i++)
        if (r->members[i] == id)
            return true;
    return false;
}

static bool is_taken(const struct zones *s, uint64_t id)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->zones[i].id == id)
            return true;
    return false;
}

// Why a zone with a record is no member, or OK.
static Err judge_record(const struct zone *z, const ZoneRecord *r, const ZoneRecord *top)
{
    if (is_taken(z->s, r->id))
        return fail(ERR_INVALID, "it is a copy of another zone");
    if (!r->whole)
        return fail(ERR_CLOSED, "its repair was broken off");
    return lists(top, r->id) ? OK : fail(ERR_CLOSED, "it was fenced before");
}

static void assemble_one(struct opening *o, struct zone *z, const ZoneRecord *top)
{
    struct zones *s = z->s;
    const ZoneRecord *r = &o->records[z->i];
    switch (o->found[z->i]) {
    case FOUND_NOTHING:
        z->cause = o->why[z->i];
        break;
    case FOUND_EMPTY:
        z->cause = fail(ERR_NOT_FOUND, "it was empty at start");
        break;
    case FOUND_DAMAGED:
        z->cause = fail(ERR_CORRUPT, "its zone.hrz is damaged");
        break;
    case FOUND_DATA:
        z->is_foreign = true;
        z->cause = fail(ERR_INVALID, "it holds data and no zone.hrz: empty it to have it used");
        break;
    case FOUND_RECORD:
        z->is_foreign = !same_set(r, top);
        z->cause = z->is_foreign
                       ? fail(ERR_INVALID, "it belongs to another set: empty it to have it used")
                       : judge_record(z, r, top);
        if (!z->is_foreign)
            s->generation = MAX(s->generation, r->generation);
        if (z->cause.kind == ERR_NONE)
            s->members |= bit(z->i);
        else if (z->cause.kind == ERR_CLOSED && !r->whole && lists(top, r->id))
            o->begun |= bit(z->i);
        if (((s->members | o->begun) & bit(z->i)) != 0)
            z->id = r->id;
        break;
    }
    if (z->id == 0)
        z->id = new_id(s);
    if (z->cause.kind != ERR_NONE)
        LOG(LOG_WARN, "a zone cannot be used as it is", F_STR("zone", z->dir), F_ERR(z->cause));
}

static Err assemble(struct opening *o, const ZoneRecord *top)
{
    struct zones *s = o->s;
    memcpy(s->cluster, top->cluster, sizeof s->cluster);
    size_t seen = count_seen(o, top), needed = top->of - top->least + 1;
    for (unsigned i = 0; i < s->count; i++)
        assemble_one(o, &s->zones[i], top);
    if (seen < needed && !o->config->start_anyway)
        return explain(o, fail(ERR_IO, "too few zones answer"),
                       str_fmt(o->a,
                               "%zu of %u zones answer and belong together; %zu are needed to know "
                               "which is the newest. Bring the others back, or set "
                               "zones_start_anyway and give up what only they hold.",
                               seen, top->of, needed));
    if (s->members == 0)
        return explain(o, fail(ERR_IO, "no member answers"),
                       S("none of the zones that answer has everything: the newest are missing"));
    if (seen < needed)
        LOG(LOG_WARN, "too few zones answer: what only the others hold is given up",
            F_INT("seen", seen), F_INT("needed", needed));
    return OK;
}

// ---- Making members the same

static struct zone *first_member(struct zones *s)
{
    return &s->zones[__builtin_ctz(s->members)];
}

static void member_leaves(struct zone *z, Err cause)
{
    struct zones *s = z->s;
    pthread_mutex_lock(&s->lock);
    s->members &= ~bit(z->i);
    zone_set_state_locked(z, ZONE_FENCED, cause);
    pthread_mutex_unlock(&s->lock);
    LOG(LOG_ERROR, "a zone could not be made the same as the others", F_STR("zone", z->dir),
        F_ERR(cause));
}

// One that cannot be read does not hold the same as the others.
static bool all_same(struct zones *s)
{
    bool same = false;
    return trees_all_same(s, s->members, &same).kind == ERR_NONE && same;
}

// The whole one that has most.
static struct zone *find_source(const struct opening *o)
{
    struct zones *s = o->s;
    struct zone *best = NULL;
    uint64_t best_score = 0;
    if (o->config->verify == NULL)
        return s->members != 0 ? first_member(s) : NULL;
    for (unsigned i = 0; i < s->count; i++) {
        struct zone *z = &s->zones[i];
        uint64_t score = 0;
        if ((s->members & bit(i)) == 0)
            continue;
        Err e = o->config->verify(o->config->verify_self, z->io, z->dir, &score);
        if (e.kind != ERR_NONE)
            LOG(LOG_ERROR, "the content of a zone is damaged", F_STR("zone", z->dir), F_ERR(e));
        else if (best == NULL || score > best_score)
            best = z, best_score = score;
    }
    return best;
}

// Of one that is half copied, a member as soon as it is not.
static Err finish(struct opening *o, struct zone *from, struct zone *to)
{
    struct zones *s = o->s;
    TRY(trees_make_same(from, to));
    s->members |= bit(to->i); // its record names it
    Err e = zone_write_state(to, true);
    if (e.kind == ERR_NONE)
        o->begun &= ~bit(to->i);
    else
        s->members &= ~bit(to->i);
    return e;
}

static Err rebuild(struct opening *o, struct zone *from, struct zone *to)
{
    bool differs = true;
    unsigned failures = from->failures;
    Err e = trees_compare(from, to, &differs);
    if (e.kind == ERR_NONE && !differs)
        return OK;
    if (e.kind != ERR_NONE && from->failures != failures)
        return e; // one that cannot be read itself may well be mended
    LOG(LOG_WARN, "a zone differs from another and is made the same", F_STR("zone", to->dir),
        F_STR("source", from->dir));
    TRY(zone_write_state(to, false));
    o->begun |= bit(to->i);
    o->s->members &= ~bit(to->i);
    return finish(o, from, to);
}

// A directory that a power cut has left in some members only would be found by those who list it,
// and not by those who make files in it. One that cannot be given it is fenced when that shows.
static void share_dirs(struct zones *s)
{
    for (unsigned i = 0; i < s->count; i++)
        for (unsigned k = 0; k < s->count; k++)
            if (i != k && (s->members & bit(i)) != 0 && (s->members & bit(k)) != 0)
                err_ignore(trees_share_dirs(&s->zones[i], &s->zones[k]));
}

// False: the source has failed, and who was being copied to waits for another one.
static bool unify_one(struct opening *o, struct zone *source, struct zone *z,
                      Err (*run)(struct opening *o, struct zone *from, struct zone *to))
{
    unsigned failures = source->failures;
    Err e = run(o, source, z);
    if (e.kind == ERR_NONE)
        return true;
    if (source->failures != failures)
        return false;
    o->begun &= ~bit(z->i);
    member_leaves(z, e);
    return true;
}

// A zone that a start which broke off had begun to make the same is the first to be made so: if it
// waited, and this start broke off as well, two would be half copied at once. Its record lists it
// still, so it differs by what the start of a set repairs, and that is little.
static bool unify_from(struct opening *o, struct zone *source)
{
    struct zones *s = o->s;
    for (unsigned i = 0; i < s->count; i++)
        if ((o->begun & bit(i)) != 0 && !unify_one(o, source, &s->zones[i], finish))
            return false;
    for (unsigned i = 0; i < s->count; i++)
        if (i != source->i && (s->members & bit(i)) != 0 &&
            !unify_one(o, source, &s->zones[i], rebuild))
            return false;
    return true;
}

static Err no_source(const struct opening *o, bool has_failed)
{
    if (has_failed)
        return explain(o, fail(ERR_IO, "the last whole zone has failed"),
                       S("the zones differ, and the last one that is whole failed while others "
                         "were copied from it."));
    return explain(o, fail(ERR_CORRUPT, "every zone is damaged"),
                   S("the zones differ and each of them is damaged. Nothing was changed."));
}

// One after the other, so that there is always another whole one beside the source. A source that
// fails leaves as well, and another one takes its place: one that is verified, even if it is the
// last.
static Err unify(struct opening *o)
{
    struct zones *s = o->s;
    share_dirs(s);
    bool same = count_bits(s->members) < 2 || all_same(s), has_failed = false;
    if (same && o->begun == 0)
        return OK;
    while (true) {
        struct zone *source = same && s->members != 0 ? first_member(s) : find_source(o);
        if (source == NULL)
            return no_source(o, has_failed);
        if (unify_from(o, source))
            return OK;
        member_leaves(source, fail(ERR_IO, "it failed while others were copied from it"));
        has_failed = true;
    }
}

// ---- Enough members

static Err reach_least(struct opening *o)
{
    struct zones *s = o->s;
    for (unsigned i = 0; i < s->count && count_bits(s->members) < s->least; i++) {
        struct zone *z = &s->zones[i];
        if ((s->members & bit(i)) != 0 || z->is_foreign || o->found[i] == FOUND_NOTHING)
            continue;
        Err e = zone_join(z);
        if (e.kind != ERR_NONE) {
            z->cause = e;
            LOG(LOG_ERROR, "a zone could not be rebuilt", F_STR("zone", z->dir), F_ERR(e));
            if (z->state == ZONE_MEMBER)
                return e;
        }
    }
    unsigned members = count_bits(s->members);
    if (members >= s->least)
        return OK;
    if (!o->config->start_anyway)
        return explain(o, fail(ERR_IO, "too few zones can be used"),
                       str_fmt(o->a,
                               "%u of %zu zones can be used and there must be %u; see the log for "
                               "what is wrong with each, or set zones_start_anyway.",
                               members, s->count, s->least));
    LOG(LOG_WARN, "fewer zones than asked for: going on with those that are there",
        F_INT("members", members), F_INT("least", s->least));
    s->least = members;
    return OK;
}

// The time of a fenced one's first try is now: it may have been rebuilt only because it was gone.
static Err confirm(struct zones *s)
{
    pthread_mutex_lock(&s->lock);
    bool good = zones_confirm_locked(s);
    for (unsigned i = 0; good && i < s->count; i++) {
        if ((s->members & bit(i)) != 0 && s->zones[i].state != ZONE_MEMBER)
            zone_set_state_locked(&s->zones[i], ZONE_MEMBER, OK);
        s->zones[i].retry_ns = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return good ? OK : fail(ERR_IO, "the records of the zones could not be written");
}

static Err open_set(struct opening *o)
{
    for (unsigned i = 0; i < o->s->count; i++)
        TRY(look(o, &o->s->zones[i]));
    const ZoneRecord *top = find_top(o);
    if (top != NULL) {
        TRY(assemble(o, top));
        TRY(unify(o));
    } else {
        TRY(form(o));
    }
    TRY(reach_least(o));
    return confirm(o->s);
}

static Err check_config(const struct opening *o)
{
    const ZonesConfig *c = o->config;
    if (c->count < 2 || c->count > ZONES_MAX)
        return explain(o, fail(ERR_INVALID, "number of zones"),
                       str_fmt(o->a, "there can be 2 to %d zones", ZONES_MAX));
    if (c->least > c->count)
        return explain(o, fail(ERR_INVALID, "zones_min"),
                       S("zones_min is more than there are zones"));
    for (size_t i = 0; i < c->count; i++)
        for (size_t k = 0; k < i; k++)
            if (c->zone_io[i] == c->zone_io[k] &&
                str_eq(without_slash(c->dirs[i]), without_slash(c->dirs[k])))
                return explain(o, fail(ERR_INVALID, "the same zone twice"),
                               str_fmt(o->a, "the zone %.*s is there twice", FMT(c->dirs[i])));
    return OK;
}

static Err start_keeper(struct zones *s)
{
    s->keeper_runs = true; // it looks at that
    int error = pthread_create(&s->keeper, NULL, zones_keep, s);
    if (error == 0)
        return OK;
    s->keeper_runs = false;
    return fail_os(error, "pthread_create");
}

Err zones_open(const ZonesConfig *config, struct arena *a, struct zones **ret, Str *ret_problem)
{
    struct opening o = { .config = config, .a = a, .problem = ret_problem };
    *ret_problem = S("");
    TRY(check_config(&o));
    o.s = set_new(config);
    Err e = open_set(&o);
    if (e.kind == ERR_NONE)
        e = start_keeper(o.s);
    if (e.kind != ERR_NONE) {
        if (ret_problem->n == 0)
            *ret_problem = str_fmt(a, "the zones cannot be opened: %s", e.text);
        zones_close(o.s);
        return e;
    }
    *ret = o.s;
    return OK;
}

// ---- Closing

// Whether every thread of the zones comes to its end soon.
static bool is_quiet(struct zones *s)
{
    pthread_mutex_lock(&s->lock);
    bool quiet = true;
    for (int64_t until = zones_now() + 2 * s->lag_ns;;) {
        quiet = true;
        for (unsigned i = 0; i < s->count; i++)
            quiet &= s->zones[i].under_way == 0 && s->zones[i].waiting == 0;
        if (quiet || zones_now() >= until)
            break;
        zones_wait_locked(s, &s->keep, MIN(until, zones_now() + 10 * NS_PER_MS));
    }
    pthread_mutex_unlock(&s->lock);
    return quiet;
}

void zones_close(struct zones *s)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->keeper_stops = true;
    pthread_cond_broadcast(&s->keep);
    pthread_cond_broadcast(&s->gates_moved);
    pthread_mutex_unlock(&s->lock);
    if (s->keeper_runs)
        pthread_join(s->keeper, NULL);
    CHECK(s->files == NULL);
    for (unsigned i = 0; i < s->count; i++)
        zone_file_close(s->zones[i].lock_file);
    if (!is_quiet(s)) {
        // A device that never answers keeps its threads. The process ends without them.
        LOG(LOG_WARN, "a zone hangs and is left behind");
        return;
    }
    zones_stop_threads(s);
    set_free(s);
}

// ---- What others see

struct io *zones_io(struct zones *s)
{
    return &s->io;
}

size_t zones_status(struct zones *s, ZoneStatus ret[ZONES_MAX])
{
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->count; i++) {
        const struct zone *z = &s->zones[i];
        ret[i] = (ZoneStatus){
            .dir = z->dir,
            .state = z->state,
            .cause = z->cause,
            .since_ns = z->since_ns,
            .copied_bytes = z->copied_bytes,
        };
    }
    pthread_mutex_unlock(&s->lock);
    return s->count;
}

bool zones_enough(struct zones *s)
{
    pthread_mutex_lock(&s->lock);
    bool enough = count_bits(s->members) >= s->least;
    pthread_mutex_unlock(&s->lock);
    return enough;
}

Str zones_real_path(struct zones *s, struct arena *a, Str path)
{
    CHECK(str_starts(path, s->root));
    pthread_mutex_lock(&s->lock);
    Str dir = first_member(s)->dir;
    pthread_mutex_unlock(&s->lock);
    return str_cat(a, dir, str_skip(path, s->root.n));
}

void zones_probe(struct zones *s)
{
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->count; i++) {
        s->zones[i].retry_ns = 0;
        s->zones[i].is_asked_for = true;
        s->zones[i].retry_step_ns = s->probe_ns;
    }
    pthread_cond_broadcast(&s->keep);
    pthread_mutex_unlock(&s->lock);
}

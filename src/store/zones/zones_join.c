// SPDX-License-Identifier: Apache-2.0
// Making a zone a member again, beside the load.
//
// From the moment it is "joining" the zone is sent every operation on names that it has adopted. A
// file is adopted before it is copied; while one piece of it is copied nobody else changes the
// file. So each byte is either copied after it was written or written by the operation itself. What
// is immutable is copied aside and adopted when it is whole. When every name is adopted, and all is
// compared once more, nobody may change names for a moment: what the members do not have is
// removed, and the longer list of members is written to all of them.
#include "store/zones/zones_priv.h"

#include "base/logline.h"
#include "base/metric.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_STEP_NS_MAX (60 * NS_PER_S)
#define CLOSE_PAUSE_NS (10 * NS_PER_MS)
#define TRY_FILE S("zone.try")
enum {
    ROUNDS_MAX = 4, // what is new after them is copied while names stand still
    PIECES_PER_SYNC = 32,
    ROOM_SPARE_BYTES = 4 << 20,
};

bool join_adopted_locked(const struct zones *s, Str rel)
{
    return s->join.adopted != NULL && map_get(s->join.adopted, rel) != NULL;
}

static Err ended(void)
{
    return fail(ERR_CLOSED, "the repair was broken off");
}

// Whether the repair goes on: the zone has not been fenced again, and the set is not closing.
static bool goes_on_locked(const struct zone *z)
{
    return z->s->join.zone == z && z->life == z->s->join.life && !z->s->keeper_stops;
}

// Closes a gate as soon as it can be had; the lock is held, and is held on return. An error: the
// gate is open.
static Err close_gate_locked(struct zone *z, struct gate *g)
{
    struct zones *s = z->s;
    while (goes_on_locked(z)) {
        if (gate_close_locked(s, g))
            return OK;
        zones_wait_locked(s, &s->keep, zones_now() + CLOSE_PAUSE_NS); // for those who waited
    }
    return ended();
}

static struct zone *source_locked(struct zones *s)
{
    for (unsigned i = 0; i < s->count; i++)
        if ((s->members & bit(i)) != 0)
            return &s->zones[i];
    return NULL;
}

static struct zone *source_of(struct zones *s)
{
    pthread_mutex_lock(&s->lock);
    struct zone *z = source_locked(s);
    pthread_mutex_unlock(&s->lock);
    CHECK(z != NULL); // a set never has less than one
    return z;
}

// How long others may be kept waiting by one operation.
static int64_t brief(const struct zones *s)
{
    return MAX(patience_ns(s), NS_PER_S);
}

// ---- Adopting, while names stand still

struct opened {
    struct io_file *f;
    struct handle *h;
};

// Opens in this zone what users of the file have open. The gates of names and of the node are
// closed.
static Err attach(struct zone *z, struct node *n)
{
    struct zones *s = z->s;
    AUTO(arena) tmp = arena_open();
    size_t count = 0;
    pthread_mutex_lock(&s->lock);
    for (struct io_file *f = s->files; f != NULL; f = f->next)
        count += f->node == n;
    struct opened *list = arena_new(tmp, struct opened, count);
    count = 0;
    for (struct io_file *f = s->files; f != NULL; f = f->next)
        if (f->node == n)
            list[count++].f = f;
    pthread_mutex_unlock(&s->lock);

    Err e = OK;
    for (size_t i = 0; i < count && e.kind == ERR_NONE; i++) {
        e = zone_file_open(z, n->path, list[i].f->flags, brief(s), &list[i].h);
        if (e.kind == ERR_NONE && list[i].f->locked)
            e = zone_file_lock(list[i].h, brief(s));
    }
    pthread_mutex_lock(&s->lock);
    if (e.kind == ERR_NONE && !goes_on_locked(z))
        e = ended();
    for (size_t i = 0; i < count; i++) {
        struct handle *unused = list[i].h;
        if (e.kind == ERR_NONE) {
            // It was open here already if a name that was adopted became this one meanwhile.
            unused = list[i].f->h[z->i];
            list[i].f->h[z->i] = list[i].h;
        }
        handle_unref_locked(unused);
    }
    if (e.kind == ERR_NONE)
        map_put(s->join.adopted, n->path, z);
    pthread_mutex_unlock(&s->lock);
    return e;
}

// A file on its way: open in a member and here, where it is read and written through two handles.
struct copying {
    struct handle *from, *held, *to;
    struct node *node;
};

// Of what has got the name here.
static Err open_here(struct zone *z, Str rel, struct copying *c)
{
    TRY(zone_file_open(z, rel, IO_WRITE | IO_CREATE, brief(z->s), &c->to));
    if (zone_is_immutable(rel))
        return OK; // it is there already
    return zone_file_open(z, rel, IO_READ | IO_DIRECT, brief(z->s), &c->held);
}

// Adopts a name, if the members still have it: c->node is counted then, else NULL. `aside`: it lies
// whole beside its name. The gate of names is closed.
static Err adopt(struct zone *z, Str rel, bool aside, struct copying *c)
{
    struct zones *s = z->s;
    AUTO(arena) tmp = arena_open();
    Err e = zone_file_open(source_of(s), rel, IO_READ | IO_DIRECT, brief(s), &c->from);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    if (aside)
        TRY(zone_name_rename(z, str_cat(tmp, rel, ASIDE_SUFFIX), rel, brief(s)));
    TRY(open_here(z, rel, c));
    pthread_mutex_lock(&s->lock);
    struct node *n = node_get_locked(s, rel);
    e = close_gate_locked(z, &n->gate);
    pthread_mutex_unlock(&s->lock);
    bool is_closed = e.kind == ERR_NONE;
    if (is_closed)
        e = attach(z, n);
    pthread_mutex_lock(&s->lock);
    if (is_closed)
        gate_open_locked(s, &n->gate);
    if (e.kind == ERR_NONE)
        c->node = n;
    else
        node_unref_locked(s, n);
    pthread_mutex_unlock(&s->lock);
    return e;
}

static void copying_done(struct zones *s, struct copying *c)
{
    zone_file_close(c->from);
    zone_file_close(c->held);
    zone_file_close(c->to);
    pthread_mutex_lock(&s->lock);
    if (c->node != NULL)
        node_unref_locked(s, c->node);
    pthread_mutex_unlock(&s->lock);
}

// ---- Copying

// One piece, while nobody changes the file.
static Err copy_piece(struct zone *z, struct copying *c, uint64_t at, bool fix, size_t *ret_n)
{
    struct zones *s = z->s;
    pthread_mutex_lock(&s->lock);
    Err e = close_gate_locked(z, &c->node->gate);
    pthread_mutex_unlock(&s->lock);
    TRY(e);
    bool differs = false;
    e = piece_copy(c->from, c->held, fix ? c->to : NULL, at, brief(s), ret_n, &differs);
    pthread_mutex_lock(&s->lock);
    gate_open_locked(s, &c->node->gate);
    pthread_mutex_unlock(&s->lock);
    TRY(e);
    return differs && !fix ? fail(ERR_CORRUPT, "what was copied is not what is there") : OK;
}

static Err copy_pieces(struct zone *z, struct copying *c, bool fix)
{
    size_t n = PIECE_BYTES;
    for (uint64_t at = 0; n == PIECE_BYTES; at += PIECE_BYTES) {
        TRY(copy_piece(z, c, at, fix, &n));
        if (fix && at / PIECE_BYTES % PIECES_PER_SYNC == PIECES_PER_SYNC - 1)
            TRY(zone_file_sync(c->to, SLOW_NS));
    }
    return fix ? zone_file_sync(c->to, SLOW_NS) : OK;
}

static Err close_names(struct zone *z)
{
    pthread_mutex_lock(&z->s->lock);
    Err e = close_gate_locked(z, &z->s->names);
    pthread_mutex_unlock(&z->s->lock);
    return e;
}

static void open_names(struct zones *s)
{
    pthread_mutex_lock(&s->lock);
    gate_open_locked(s, &s->names);
    pthread_mutex_unlock(&s->lock);
}

// names_stand: the gate of names is closed and stays so.
static Err copy_changing(struct zone *z, Str rel, bool names_stand)
{
    struct copying c = { 0 };
    if (!names_stand)
        TRY(close_names(z));
    Err e = adopt(z, rel, false, &c);
    if (!names_stand)
        open_names(z->s);
    if (e.kind == ERR_NONE && c.node != NULL)
        e = copy_pieces(z, &c, true);
    copying_done(z->s, &c);
    return e;
}

static Err copy_while_names_stand(struct zone *z, Str rel)
{
    if (!zone_is_immutable(rel))
        return copy_changing(z, rel, true);
    struct copying c = { 0 };
    TRY(zone_file_copy_aside(source_of(z->s), z, rel));
    Err e = adopt(z, rel, true, &c);
    copying_done(z->s, &c);
    return e;
}

static void set_copying(struct zones *s, Str rel)
{
    pthread_mutex_lock(&s->lock);
    s->join.copying = rel;
    s->join.disturbed = false;
    pthread_mutex_unlock(&s->lock);
}

// Adopts what lies whole, beside its name or under it.
static Err adopt_whole(struct zone *z, Str rel, bool aside, struct copying *c)
{
    struct zones *s = z->s;
    TRY(close_names(z));
    pthread_mutex_lock(&s->lock);
    bool disturbed = s->join.disturbed; // the next round sees what has become of it
    pthread_mutex_unlock(&s->lock);
    Err e = disturbed ? OK : adopt(z, rel, aside, c);
    open_names(s);
    return e;
}

// y: what the zone has of that name, or NULL.
static Err copy_immutable(struct zone *z, const TreeEntry *x, const TreeEntry *y)
{
    struct zones *s = z->s;
    struct copying c = { 0 };
    bool same = false;
    Err e = OK;
    set_copying(s, x->path);
    if (y != NULL && !y->is_dir && y->bytes == x->bytes)
        e = zone_file_same_ends(source_of(s), z, x->path, x->bytes, &same);
    if (e.kind == ERR_NONE && !same)
        e = zone_file_copy_aside(source_of(s), z, x->path);
    if (e.kind == ERR_NONE)
        e = adopt_whole(z, x->path, !same, &c);
    set_copying(s, (Str){ 0 });
    copying_done(s, &c);
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

static bool is_adopted(struct zones *s, Str rel)
{
    pthread_mutex_lock(&s->lock);
    bool is = join_adopted_locked(s, rel);
    pthread_mutex_unlock(&s->lock);
    return is;
}

static const TreeEntry *find_entry(const Tree *t, Str rel)
{
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (str_cmp(t->at[middle].path, rel) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->n && str_eq(t->at[low].path, rel) ? &t->at[low] : NULL;
}

// Copies what is not adopted yet; *ret_any: there was something.
static Err copy_round(struct zone *z, bool *ret_any)
{
    AUTO(arena) tmp = arena_open();
    Tree here, there;
    TRY(tree_read(source_of(z->s), tmp, false, SLOW_NS, &there));
    TRY(tree_read(z, tmp, false, SLOW_NS, &here));
    *ret_any = false;
    for (size_t i = 0; i < there.n; i++) {
        const TreeEntry *x = &there.at[i], *y = find_entry(&here, x->path);
        if (x->is_dir || is_adopted(z->s, x->path))
            continue;
        *ret_any = true;
        if (zone_is_immutable(x->path))
            TRY(copy_immutable(z, x, y));
        else
            TRY(copy_changing(z, x->path, false));
    }
    return OK;
}

static Err copy_all(struct zone *z)
{
    bool any = true;
    for (unsigned round = 0; any && round < ROUNDS_MAX; round++)
        TRY(copy_round(z, &any));
    return OK;
}

// ---- Comparing what was copied

static Err verify_file(struct zone *z, Str rel)
{
    struct zones *s = z->s;
    struct copying c = { 0 };
    TRY(close_names(z));
    // It may be another file of that name by now, which is copied in the next round.
    bool has_gone = !is_adopted(s, rel);
    Err e =
        has_gone ? OK : zone_file_open(source_of(s), rel, IO_READ | IO_DIRECT, brief(s), &c.from);
    if (e.kind == ERR_NONE && !has_gone)
        e = zone_file_open(z, rel, IO_READ | IO_DIRECT, brief(s), &c.held);
    pthread_mutex_lock(&s->lock);
    if (e.kind == ERR_NONE && !has_gone)
        c.node = node_get_locked(s, rel);
    gate_open_locked(s, &s->names);
    pthread_mutex_unlock(&s->lock);
    if (e.kind == ERR_NONE && !has_gone)
        e = copy_pieces(z, &c, false);
    copying_done(s, &c);
    return e;
}

static Err verify_all(struct zone *z)
{
    AUTO(arena) tmp = arena_open();
    Tree there;
    TRY(tree_read(source_of(z->s), tmp, false, SLOW_NS, &there));
    for (size_t i = 0; i < there.n; i++) {
        Str rel = there.at[i].path;
        if (!there.at[i].is_dir && !zone_is_immutable(rel) && is_adopted(z->s, rel))
            TRY(verify_file(z, rel));
    }
    return OK;
}

// ---- Beginning

static Err has_room(struct zone *z)
{
    AUTO(arena) tmp = arena_open();
    Tree here, there;
    TRY(tree_read(source_of(z->s), tmp, false, SLOW_NS, &there));
    TRY(tree_read(z, tmp, false, SLOW_NS, &here));
    uint64_t needed = ROOM_SPARE_BYTES, free_bytes = 0;
    for (size_t i = 0; i < there.n; i++) {
        const TreeEntry *x = &there.at[i], *y = find_entry(&here, x->path);
        uint64_t held = y != NULL && !y->is_dir ? y->bytes : 0;
        needed += !x->is_dir && x->bytes > held ? x->bytes - held : 0;
    }
    for (size_t i = 0; i < here.n; i++) {
        const TreeEntry *y = &here.at[i];
        if (!y->is_dir && find_entry(&there, y->path) == NULL)
            needed -= MIN(needed, y->bytes); // it will be removed
    }
    TRY(zone_space(z, &free_bytes));
    return free_bytes >= needed ? OK
                                : fail(ERR_FULL, "the zone has no room for what the others hold");
}

// The lock file may lie in a directory that is no more: the old lock is given up first.
static Err take_lock_again(struct zone *z)
{
    struct handle *h = z->lock_file;
    z->lock_file = NULL;
    if (h != NULL)
        TRY(zone_file_close_now(h, SLOW_NS));
    TRY(zone_file_open(z, ZONE_LOCK, IO_WRITE | IO_CREATE, SLOW_NS, &h));
    Err e = zone_file_lock(h, SLOW_NS);
    if (e.kind == ERR_NONE)
        z->lock_file = h;
    else
        zone_file_close(h);
    return e;
}

Err zone_write_state(struct zone *z, bool whole)
{
    AUTO(arena) tmp = arena_open();
    ZoneRecord r;
    pthread_mutex_lock(&z->s->lock);
    record_of_zone(z, z->s->members, z->s->generation, whole, &r);
    pthread_mutex_unlock(&z->s->lock);
    return zone_name_write_file(z, ZONE_RECORD, record_text(tmp, &r), SLOW_NS);
}

// What the zone was handed before it was fenced would come between if it came late.
static bool is_at_rest(struct zone *z)
{
    struct zones *s = z->s;
    pthread_mutex_lock(&s->lock);
    bool rests = false;
    for (int64_t until = zones_now() + brief(s); !rests && !s->keeper_stops;) {
        rests = z->under_way == 0 && z->waiting == 0 && z->dead == NULL;
        if (rests || zones_now() >= until)
            break;
        zones_wait_locked(s, &s->keep, zones_now() + CLOSE_PAUSE_NS);
    }
    pthread_mutex_unlock(&s->lock);
    return rests;
}

// Whether the zone works at all; it gets a record that says that it is not whole.
static Err try_zone(struct zone *z)
{
    if (!is_at_rest(z))
        return fail(ERR_BUSY, "operations of the zone still hang");
    TRY(zone_make_dir(z));
    TRY(take_lock_again(z));
    TRY(zone_name_write_file(z, TRY_FILE, S("Does it write?\n"), SLOW_NS));
    TRY(zone_name_unlink(z, TRY_FILE, SLOW_NS));
    TRY(has_room(z));
    return zone_write_state(z, false);
}

static Err make_dirs(struct zone *z)
{
    AUTO(arena) tmp = arena_open();
    Tree here, there;
    TRY(tree_read(source_of(z->s), tmp, false, brief(z->s), &there));
    TRY(tree_read(z, tmp, false, brief(z->s), &here));
    for (size_t i = 0; i < there.n; i++) {
        const TreeEntry *x = &there.at[i], *y = find_entry(&here, x->path);
        if (!x->is_dir)
            continue;
        if (y != NULL && !y->is_dir)
            TRY(zone_name_unlink(z, y->path, brief(z->s)));
        TRY(zone_name_mkdir(z, x->path, brief(z->s)));
    }
    return OK;
}

static Err begin(struct zone *z)
{
    struct zones *s = z->s;
    TRY(try_zone(z));
    pthread_mutex_lock(&s->lock);
    s->join = (struct join){ .zone = z, .life = z->life, .adopted = map_open() };
    Err e = close_gate_locked(z, &s->names);
    if (e.kind == ERR_NONE)
        zone_set_state_locked(z, ZONE_JOINING, OK);
    pthread_mutex_unlock(&s->lock);
    TRY(e);
    LOG(LOG_INFO, "a zone is being repaired", F_STR("zone", z->dir));
    e = make_dirs(z);
    open_names(s);
    return e;
}

// ---- Becoming a member

// Names stand still. What has come meanwhile is copied, what the members do not have is removed,
// and all of it is durable.
static Err tidy(struct zone *z)
{
    AUTO(arena) tmp = arena_open();
    Tree here, there;
    TRY(tree_read(source_of(z->s), tmp, false, brief(z->s), &there));
    for (size_t i = 0; i < there.n; i++)
        if (!there.at[i].is_dir && !is_adopted(z->s, there.at[i].path))
            TRY(copy_while_names_stand(z, there.at[i].path));
    TRY(tree_read(z, tmp, true, brief(z->s), &here));
    for (size_t i = 0; i < here.n; i++) {
        const TreeEntry *y = &here.at[i];
        if (!y->is_dir && find_entry(&there, y->path) == NULL)
            TRY(zone_name_unlink(z, y->path, brief(z->s)));
    }
    return tree_sync_dirs(z, &there, brief(z->s));
}

// From here on nothing is done without it. Only when all have the record that names it are there
// as many copies as it says; if one has not, nobody knows which list a start would find, and the
// zone leaves as a member does.
static Err become_member_locked(struct zone *z)
{
    struct zones *s = z->s;
    while (s->changing)
        pthread_cond_wait(&s->changed, &s->lock);
    if (!goes_on_locked(z))
        return ended();
    s->changing = true;
    s->members |= bit(z->i);
    Err causes[ZONES_MAX] = { { 0 } };
    unsigned all = s->members, good = zones_write_records_locked(s, all, all, causes);
    s->changing = false;
    pthread_cond_broadcast(&s->changed);
    if (good != all && causes[z->i].kind == ERR_NONE)
        causes[z->i] = fail(ERR_IO, "the list of members could not be written to all");
    if (good != all && zones_fence_locked(s, bit(z->i), causes) && z->state == ZONE_FENCED)
        return causes[z->i];
    zone_set_state_locked(z, ZONE_MEMBER, OK); // also when it cannot be done without any more
    return OK;
}

static Err admit(struct zone *z)
{
    struct zones *s = z->s;
    TRY(close_names(z));
    Err e = tidy(z);
    pthread_mutex_lock(&s->lock);
    if (e.kind == ERR_NONE)
        e = become_member_locked(z);
    gate_open_locked(s, &s->names);
    pthread_mutex_unlock(&s->lock);
    return e;
}

Err zone_join(struct zone *z)
{
    struct zones *s = z->s;
    uint64_t before = z->copied_bytes;
    Err e = begin(z);
    if (e.kind == ERR_NONE)
        e = copy_all(z);
    if (e.kind == ERR_NONE)
        e = verify_all(z);
    if (e.kind == ERR_NONE)
        e = admit(z);
    pthread_mutex_lock(&s->lock);
    if (e.kind != ERR_NONE)
        zones_drop_join_locked(s, e);
    if (s->join.zone == z) {
        map_close(s->join.adopted);
        s->join = (struct join){ 0 };
    }
    if (e.kind == ERR_NONE)
        z->retry_step_ns = s->probe_ns;
    unsigned members = count_bits(s->members);
    pthread_mutex_unlock(&s->lock);
    if (e.kind == ERR_NONE)
        LOG(LOG_INFO, "a zone is repaired and a member again", F_STR("zone", z->dir),
            F_INT("copied_bytes", z->copied_bytes - before), F_INT("members", members));
    return e;
}

// ---- The keeper

static struct zone *next_to_try_locked(struct zones *s, int64_t now, int64_t *until)
{
    for (unsigned i = 0; i < s->count; i++) {
        struct zone *z = &s->zones[i];
        if (z->state != ZONE_FENCED || z->is_foreign)
            continue;
        if (now >= z->retry_ns) {
            z->is_asked_for = false;
            return z;
        }
        *until = MIN(*until, z->retry_ns);
    }
    return NULL;
}

static void note_failed_locked(struct zone *z, Err e)
{
    if (z->state != ZONE_FENCED)
        return;
    handle_unref_locked(z->lock_file);
    z->lock_file = NULL;
    z->cause = e.kind == ERR_CLOSED ? z->cause : e;
    z->retry_step_ns = MIN(MAX(z->retry_step_ns, z->s->probe_ns) * 2, RETRY_STEP_NS_MAX);
    z->retry_ns = z->is_asked_for ? 0 : zones_now() + z->retry_step_ns;
}

void *zones_keep(void *p)
{
    struct zones *s = p;
    pthread_mutex_lock(&s->lock);
    while (!s->keeper_stops) {
        int64_t until = INT64_MAX;
        struct zone *z = next_to_try_locked(s, zones_now(), &until);
        if (z == NULL) {
            zones_wait_locked(s, &s->keep, until);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        Err e = zone_join(z);
        pthread_mutex_lock(&s->lock);
        if (e.kind != ERR_NONE)
            note_failed_locked(z, e);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

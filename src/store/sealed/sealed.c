// SPDX-License-Identifier: Apache-2.0
// The set and how it changes: files first, then the checkpoint that lists them, then what readers
// see, then the removal of what no checkpoint on disk can list any more.
#include "store/sealed/sealed_priv.h"

#include "base/logline.h"

#include <stdlib.h>
#include <string.h>

#define READ_CACHE_BYTES ((size_t)(32 << 20))
#define FOOTER_CACHE_BYTES ((size_t)(16 << 20))
#define MERGE_BYTES_MAX (UINT64_C(512) << 20)

// ---- Files

void container_remove(struct sealed *s, uint64_t number)
{
    AUTO(arena) tmp = arena_open();
    Str path = container_path(tmp, s->container_dir, number);
    Err e = s->io->unlink(s->io, path);
    if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
        LOG(LOG_WARN, "a container that is over cannot be removed", F_STR("file", path), F_ERR(e));
}

// Whether it is the name of a container, or of one under construction.
static bool leftover_number(struct arena *tmp, Str name, uint64_t *ret)
{
    size_t n = name.n;
    while (n > 0 && name.p[n - 1] != '.')
        n--;
    return container_name_number(str_cat(tmp, str_head(name, n), S("hrc")), ret);
}

// ---- Members

struct member *member_new(const ContainerFacts *facts)
{
    struct member *m = xalloc(sizeof *m);
    *m = (struct member){
        .facts = *facts,
        .witness = facts->first_shard,
        .witness_arrival_ms = facts->first_arrival_ms,
        .due_ms = INT64_MIN,
    };
    return m;
}

bool facts_before(const ContainerFacts *x, const ContainerFacts *y)
{
    return x->first_position < y->first_position ||
           (x->first_position == y->first_position && x->number < y->number);
}

static int compare_slots(const void *x, const void *y)
{
    const struct slot *a = x, *b = y;
    return facts_before(&a->member->facts, &b->member->facts) ? -1 : 1;
}

static void slots_sort(struct slot *at, size_t n)
{
    if (n > 0)
        qsort(at, n, sizeof *at, compare_slots);
    uint64_t reach = 0;
    for (size_t i = 0; i < n; i++) {
        reach = MAX(reach, at[i].member->facts.last_position);
        at[i].reach = reach;
    }
}

static struct slot *slots_new(size_t n)
{
    return xalloc(mul_checked(MAX(n, (size_t)1), sizeof(struct slot)));
}

// ---- Opening

static Err read_checkpoint(struct sealed *s, struct arena *a, Checkpoint *ret)
{
    Err e = checkpoint_read(s->io, a, s->dir, ret);
    if (e.kind == ERR_NOT_FOUND) {
        *ret = (Checkpoint){ .journal_file = 1, .next_container = 1 };
        return OK;
    }
    if (e.kind != ERR_NONE)
        LOG(LOG_ERROR, "the checkpoint cannot be read", F_STR("dir", s->dir), F_ERR(e));
    return e;
}

static Err make_dirs(struct sealed *s)
{
    TRY(s->io->mkdir(s->io, s->dir));
    TRY(s->io->mkdir(s->io, s->container_dir));
    return s->io->sync_dir(s->io, s->dir);
}

// The files that are there, by name.
static Err list_files(struct sealed *s, struct arena *tmp, IoName **ret, size_t *ret_n)
{
    *ret_n = 0;
    Err e = s->io->list(s->io, tmp, s->container_dir, ret, ret_n);
    return e.kind == ERR_NOT_FOUND ? make_dirs(s) : e;
}

static Err refuse(struct sealed *s, const ContainerFacts *f, const char *text)
{
    AUTO(arena) tmp = arena_open();
    Err e = fail(ERR_CORRUPT, text);
    LOG(LOG_ERROR, "a container that the checkpoint lists cannot be used",
        F_STR("file", container_path(tmp, s->container_dir, f->number)), F_ERR(e));
    return e;
}

struct file {
    uint64_t number, bytes;
    bool is_whole; // it has its own name
    bool is_listed;
    Str name;
};

static int compare_files(const void *x, const void *y)
{
    const struct file *a = x, *b = y;
    if (a->number != b->number)
        return a->number < b->number ? -1 : 1;
    return (int)b->is_whole - (int)a->is_whole;
}

// The container of that number among the files.
static struct file *files_search(struct file *files, size_t n, uint64_t number)
{
    struct file key = { .number = number, .is_whole = true };
    return n > 0 ? bsearch(&key, files, n, sizeof *files, compare_files) : NULL;
}

// Compares the checkpoint with what is there, and notes what is left over.
static Err compare_files_with(struct sealed *s, const Checkpoint *c, struct file *files, size_t n)
{
    for (size_t i = 0; i < c->container_count; i++) {
        const ContainerFacts *f = &c->containers[i];
        struct file *file = files_search(files, n, f->number);
        if (file == NULL)
            return refuse(s, f, "the container is not there");
        if (file->bytes != f->bytes)
            return refuse(s, f, "the container has another length than it was written with");
        file->is_listed = true;
    }
    s->leftovers = arena_new(s->arena, Str, MAX(n, (size_t)1));
    for (size_t i = 0; i < n; i++) {
        s->next_number = MAX(s->next_number, files[i].number + 1);
        if (files[i].is_listed)
            continue;
        if (files[i].is_whole && c->generation == 0) {
            Err e = fail(ERR_CORRUPT, "the checkpoint is gone, but there are containers");
            LOG(LOG_ERROR, "the log cannot be opened", F_STR("dir", s->dir), F_ERR(e));
            return e;
        }
        s->leftovers[s->leftover_count++] =
            str_fmt(s->arena, "%.*s/%.*s", FMT(s->container_dir), FMT(files[i].name));
    }
    return OK;
}

static Err compare_with_dir(struct sealed *s, const Checkpoint *c)
{
    AUTO(arena) tmp = arena_open();
    IoName *names = NULL;
    size_t count;
    TRY(list_files(s, tmp, &names, &count));
    struct file *files = arena_new(tmp, struct file, MAX(count, (size_t)1));
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        struct file f = { .bytes = names[i].bytes, .name = names[i].name };
        uint64_t number;
        f.is_whole = container_name_number(f.name, &number);
        if (!names[i].is_dir && leftover_number(tmp, f.name, &f.number))
            files[n++] = f;
    }
    qsort(files, n, sizeof *files, compare_files);
    return compare_files_with(s, c, files, n);
}

static void keep_rows(struct sealed *s, const Checkpoint *c)
{
    CheckpointShard *rows = xalloc(mul_checked(MAX(c->shard_count, (size_t)1), sizeof *rows));
    if (c->shard_count > 0)
        memcpy(rows, c->shards, c->shard_count * sizeof *rows);
    free(s->durable.shards);
    s->durable = *c;
    s->durable.shards = rows;
    s->durable.containers = NULL;
    s->durable.container_count = 0;
}

static Err load(struct sealed *s, struct arena *a, Checkpoint *ret)
{
    Checkpoint c;
    TRY(read_checkpoint(s, a, &c));
    s->next_number = c.next_container;
    TRY(compare_with_dir(s, &c));
    s->generation = c.generation;
    keep_rows(s, &c);
    s->n = c.container_count;
    s->at = slots_new(s->n);
    for (size_t i = 0; i < s->n; i++)
        s->at[i].member = member_new(&c.containers[i]);
    slots_sort(s->at, s->n);
    *ret = c;
    return OK;
}

Err sealed_open(const SealedConfig *config, struct arena *a, Checkpoint *ret_checkpoint,
                struct sealed **ret)
{
    struct sealed *s = xalloc(sizeof *s);
    s->io = config->io;
    s->config = *config;
    s->arena = arena_open();
    s->dir = str_dup(s->arena, config->dir);
    s->container_dir = str_cat(s->arena, s->dir, S("/sealed"));
    s->config.dir = s->dir;
    if (s->config.merge_bytes_max == 0)
        s->config.merge_bytes_max = MERGE_BYTES_MAX;
    s->retention = 1;
    size_t chunk_bytes = config->read_cache_bytes, footer_bytes = config->footer_cache_bytes;
    chunks_init(&s->chunks, chunk_bytes != 0 ? chunk_bytes : READ_CACHE_BYTES);
    footers_init(&s->footers, footer_bytes != 0 ? footer_bytes : FOOTER_CACHE_BYTES);
    pthread_mutex_init(&s->lock, NULL);
    Err e = load(s, a, ret_checkpoint);
    if (e.kind != ERR_NONE) {
        sealed_close(s);
        return e;
    }
    *ret = s;
    return OK;
}

void sealed_close(struct sealed *s)
{
    if (s == NULL)
        return;
    CHECK(s->retired == NULL); // nobody reads or holds
    for (size_t i = 0; i < s->n; i++) {
        CHECK(s->at[i].member->refs == 0);
        container_close(s->at[i].member->open);
        free(s->at[i].member);
    }
    chunks_done(&s->chunks);
    pthread_mutex_destroy(&s->lock);
    free(s->at);
    free(s->durable.shards);
    free(s->doubtful);
    arena_close(s->arena);
    free(s);
}

void sealed_clean(struct sealed *s)
{
    for (size_t i = 0; i < s->leftover_count; i++) {
        Err e = s->io->unlink(s->io, s->leftovers[i]);
        if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
            LOG(LOG_WARN, "a file that a crash has left cannot be removed",
                F_STR("file", s->leftovers[i]), F_ERR(e));
        else
            LOG(LOG_INFO, "removed what a crash has left", F_STR("file", s->leftovers[i]));
    }
    s->leftover_count = 0;
}

// ---- Committing

// What a commit is about to do.
struct plan {
    const SealedChange *change;
    struct member **added; // open
    struct slot *at;       // the set as it will be; not sorted
    size_t n;
    Checkpoint next;
};

static bool has_number(const uint64_t *numbers, size_t n, uint64_t number)
{
    for (size_t i = 0; i < n; i++)
        if (numbers[i] == number)
            return true;
    return false;
}

static bool is_member(const struct sealed *s, uint64_t number)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->at[i].member->facts.number == number)
            return true;
    return false;
}

static void plan_drop(struct plan *p)
{
    for (size_t i = 0; i < p->change->added_count && p->added[i] != NULL; i++) {
        container_close(p->added[i]->open);
        free(p->added[i]);
    }
    free(p->at);
}

static Err open_added(struct sealed *s, struct plan *p)
{
    for (size_t i = 0; i < p->change->added_count; i++) {
        const ContainerFacts *f = &p->change->added[i];
        CHECK(f->number > 0 && f->number < s->next_number && !is_member(s, f->number));
        p->added[i] = member_new(f);
        TRY(container_open(s->io, s->container_dir, f, &p->added[i]->open));
    }
    return OK;
}

static void plan_set(struct sealed *s, struct plan *p)
{
    const SealedChange *change = p->change;
    p->at = slots_new(s->n + change->added_count);
    for (size_t i = 0; i < s->n; i++)
        if (!has_number(change->removed, change->removed_count, s->at[i].member->facts.number))
            p->at[p->n++] = s->at[i];
    CHECK(s->n - p->n == change->removed_count); // each was in the set
    for (size_t i = 0; i < change->added_count; i++)
        p->at[p->n++] = (struct slot){ .member = p->added[i] };
    slots_sort(p->at, p->n);
}

static uint64_t changed(uint64_t new, uint64_t old)
{
    return new != 0 ? new : old;
}

static void plan_checkpoint(struct sealed *s, struct arena *tmp, struct plan *p)
{
    const SealedChange *change = p->change;
    const Checkpoint *old = &s->durable;
    p->next = (Checkpoint){
        .generation = ++s->generation,
        .sealed_block = changed(change->sealed_block, old->sealed_block),
        .journal_file = changed(change->journal_file, old->journal_file),
        .least_number = changed(change->least_number, old->least_number),
        .least_epoch = changed(change->least_epoch, old->least_epoch),
        .next_container = s->next_number,
        .arrival_ms = change->arrival_ms != 0 ? change->arrival_ms : old->arrival_ms,
        .is_restored = old->is_restored && change->journal_file == 0,
        .containers = arena_new(tmp, ContainerFacts, MAX(p->n, (size_t)1)),
        .container_count = p->n,
    };
    for (size_t i = 0; i < p->n; i++)
        p->next.containers[i] = p->at[i].member->facts;
}

// Under the lock. Takes the removed out of what readers find; their containers come back in
// `closing`, those that nobody uses any more as a list.
static struct member *retire(struct sealed *s, const struct slot *old, size_t old_n,
                             const SealedChange *change, struct container **closing)
{
    struct member *ended = NULL;
    for (size_t i = 0; i < old_n; i++) {
        struct member *m = old[i].member;
        if (!has_number(change->removed, change->removed_count, m->facts.number))
            continue;
        m->is_retired = true;
        *closing++ = footers_take(&s->footers, m);
        struct member **list = m->refs > 0 ? &s->retired : &ended;
        m->next_retired = *list;
        *list = m;
    }
    return ended;
}

static void apply(struct sealed *s, struct arena *tmp, const struct plan *p)
{
    const SealedChange *change = p->change;
    struct container **closing =
        arena_new(tmp, struct container *, MAX(change->removed_count, (size_t)1));
    struct slot *old = s->at;
    size_t old_n = s->n;
    pthread_mutex_lock(&s->lock);
    s->at = p->at;
    s->n = p->n;
    s->version++;
    keep_rows(s, &p->next);
    for (size_t i = 0; i < change->added_count; i++)
        footers_add(&s->footers, p->added[i], p->added[i]->open);
    struct member *ended = retire(s, old, old_n, change, closing);
    pthread_mutex_unlock(&s->lock);

    for (size_t i = 0; i < change->removed_count; i++)
        container_close(closing[i]);
    for (struct member *m = ended, *next; m != NULL; m = next) {
        next = m->next_retired;
        member_end(s, m);
    }
    footers_shrink(s);
    free(old);
}

// The checkpoint on disk is known again: what it does not list can go.
static void settle_doubtful(struct sealed *s)
{
    for (size_t i = 0; i < s->doubtful_count; i++)
        if (!is_member(s, s->doubtful[i]))
            container_remove(s, s->doubtful[i]);
    s->doubtful_count = 0;
}

static void doubt(struct sealed *s, const SealedChange *change)
{
    size_t n = s->doubtful_count + change->added_count;
    s->doubtful = xrealloc(s->doubtful, mul_checked(MAX(n, (size_t)1), sizeof *s->doubtful));
    for (size_t i = 0; i < change->added_count; i++)
        s->doubtful[s->doubtful_count++] = change->added[i].number;
}

static Err commit(struct sealed *s, struct arena *tmp, struct plan *p, const CheckpointShard *rows,
                  size_t row_count, bool *ret_untouched)
{
    *ret_untouched = true;
    TRY(open_added(s, p));
    plan_set(s, p);
    plan_checkpoint(s, tmp, p);
    if (rows != NULL) {
        p->next.shards = arena_new(tmp, CheckpointShard, MAX(row_count, (size_t)1));
        if (row_count > 0)
            memcpy(p->next.shards, rows, row_count * sizeof *rows);
        p->next.shard_count = row_count;
    } else {
        s->config.rows(s->config.self, tmp, &p->next.shards, &p->next.shard_count);
    }
    return checkpoint_replace(s->io, tmp, s->dir, &p->next, ret_untouched);
}

void sealed_discard(struct sealed *s, const ContainerFacts *facts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        container_remove(s, facts[i].number);
}

Err sealed_commit(struct sealed *s, const SealedChange *change, const CheckpointShard *rows,
                  size_t row_count)
{
    AUTO(arena) tmp = arena_open();
    struct plan p = {
        .change = change,
        .added = arena_new(tmp, struct member *, MAX(change->added_count, (size_t)1)),
    };
    bool untouched;
    Err e = commit(s, tmp, &p, rows, row_count, &untouched);
    if (e.kind == ERR_NONE) {
        apply(s, tmp, &p);
        settle_doubtful(s);
        return OK;
    }
    plan_drop(&p);
    if (untouched)
        sealed_discard(s, change->added, change->added_count);
    else
        doubt(s, change);
    return e;
}

Err sealed_create(struct sealed *s, RetentionClass class, struct container_writer **ret)
{
    if (s->durable.generation == 0) {
        CheckpointShard none = { 0 };
        TRY(sealed_commit(s, &(SealedChange){ 0 }, &none, 0));
    }
    return container_create(s->io, s->container_dir, s->next_number++, class, ret);
}

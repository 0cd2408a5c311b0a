// SPDX-License-Identifier: Apache-2.0
// Taking a backup. The order is what makes it consistent: the log is sealed and its containers are
// held, then kv is copied, then the rows of the checkpoint are made of what the log knows by then,
// then the files of the object store are copied, which have been held since before kv was.
//
// A shard may be dropped while this goes on. The log drops it before kv forgets it, so a shard that
// the log still knows when kv has been copied has its row in the copy. One that it no longer knows
// is left out. If any went while kv was being copied, kv is copied again, so that a row that says
// nothing of a deletion has its data beside it.
#include "store/backup/backup_priv.h"

#include "base/time.h"
#include "store/blob/blob_files.h"
#include "store/kv.h"
#include "store/log.h"

#include <stdlib.h>
#include <string.h>

enum { KV_TRIES_MAX = 5 };

struct creating {
    const BackupSource *source;
    struct backup_target *t;
    const BackupWatch *watch;
    struct arena *a; // of the result
    Str scratch;     // where kv is copied to
    Backup *known;   // backups that are there
    size_t known_count;
    ObjectList objects;
    Checkpoint held;
    BackupOutcome out;
    size_t file_room;
};

// Pointers into the list are good until the next one is added.
static BackupFile *add_file(struct creating *c, Str path)
{
    Backup *b = &c->out.backup;
    if (b->file_count == c->file_room) {
        size_t room = 2 * c->file_room;
        BackupFile *files = arena_new(c->a, BackupFile, room);
        memcpy(files, b->files, b->file_count * sizeof *files);
        b->files = files;
        c->file_room = room;
    }
    BackupFile *f = &b->files[b->file_count++];
    *f = (BackupFile){ .path = str_dup(c->a, path) };
    return f;
}

// ---- Objects

// Compares what is stored with what was hashed, as it is read.
struct checked_bytes {
    const BackupBytes *below;
    struct sha256 hash;
    uint64_t next;
};

static Err checked_read(void *self, void *p, size_t n, uint64_t at)
{
    struct checked_bytes *c = self;
    TRY(c->below->read(c->below->self, p, n, at));
    if (at == 0) {
        sha256_init(&c->hash);
        c->next = 0;
    }
    if (at == c->next) {
        sha256_add(&c->hash, p, n);
        c->next += n;
    }
    return OK;
}

// Stores the bytes under their hash if they are not there, and completes the file's entry.
static Err store(struct creating *c, const BackupBytes *bytes, BackupFile *f)
{
    AUTO(arena) tmp = arena_open();
    TRY(bytes_hash(bytes, c->a, &f->hash));
    f->bytes = bytes->n;
    Str name = object_name(tmp, f->hash);
    if (objects_have(&c->objects, name, f->bytes))
        return OK;
    struct checked_bytes checked = { .below = bytes };
    sha256_init(&checked.hash);
    BackupBytes through = { .n = bytes->n, .read = checked_read, .self = &checked };
    Err e = c->t->put(c->t, name, &through);
    unsigned char digest[SHA256_BYTES];
    sha256_end(&checked.hash, digest);
    TRY(e);
    if (checked.next == bytes->n && !str_eq(hex_str(tmp, digest, sizeof digest), f->hash)) {
        err_ignore(c->t->remove(c->t, name)); // nobody names it
        return fail(ERR_CORRUPT, "a file was not the same when it was read again");
    }
    c->out.new_objects++;
    c->out.new_bytes += bytes->n;
    return OK;
}

static Err store_path(struct creating *c, Str path, BackupFile *f)
{
    struct file_reader r;
    TRY(file_reader_open(c->source->io, path, c->watch, &r));
    BackupBytes bytes = reader_bytes(&r);
    Err e = store(c, &bytes, f);
    file_reader_close(&r);
    return e;
}

// A small file of the data directory, if it is there.
static Err store_small(struct creating *c, Str path)
{
    AUTO(arena) tmp = arena_open();
    Str content;
    Err e = io_read_file(c->source->io, tmp, str_cat3(tmp, c->source->data_dir, S("/"), path),
                         SMALL_FILE_BYTES_MAX, &content);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    BackupBytes bytes = memory_bytes(&content);
    return store(c, &bytes, add_file(c, path));
}

// ---- Containers

static int compare_containers(const void *x, const void *y)
{
    const BackupFile *a = *(BackupFile *const *)x, *b = *(BackupFile *const *)y;
    if (a->number != b->number)
        return a->number < b->number ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

// The containers of earlier backups: what has their number and id has their content.
static BackupFile **known_containers(struct creating *c, size_t *ret_n)
{
    size_t count = 0, n = 0;
    for (size_t i = 0; i < c->known_count; i++)
        count += c->known[i].file_count;
    BackupFile **all = arena_new(c->a, BackupFile *, MAX(count, (size_t)1));
    for (size_t i = 0; i < c->known_count; i++)
        for (size_t j = 0; j < c->known[i].file_count; j++)
            if (c->known[i].files[j].number != 0)
                all[n++] = &c->known[i].files[j];
    if (n > 1)
        qsort(all, n, sizeof *all, compare_containers);
    *ret_n = n;
    return all;
}

static Err store_containers(struct creating *c)
{
    AUTO(arena) tmp = arena_open();
    size_t known_count = 0;
    BackupFile **known = known_containers(c, &known_count);
    Str dir = str_cat3(tmp, c->source->data_dir, S("/"), PATH_CONTAINERS);
    for (size_t i = 0; i < c->held.container_count; i++) {
        const ContainerFacts *facts = &c->held.containers[i];
        BackupFile *f = add_file(c, container_path(tmp, PATH_CONTAINERS, facts->number));
        f->number = facts->number;
        f->id = facts->id;
        BackupFile **same = known_count > 0
                                ? bsearch(&f, known, known_count, sizeof *known, compare_containers)
                                : NULL;
        if (same != NULL && (*same)->bytes == facts->bytes &&
            objects_have(&c->objects, object_name(tmp, (*same)->hash), facts->bytes)) {
            f->hash = (*same)->hash;
            f->bytes = facts->bytes;
            continue;
        }
        TRY(store_path(c, container_path(tmp, dir, facts->number), f));
    }
    return OK;
}

// ---- kv and the rows of the checkpoint

typedef struct Rows {
    CheckpointShard *at;
    size_t n;
} Rows;

static Rows rows_now(struct creating *c, struct arena *a)
{
    Rows r = { 0 };
    log_shard_rows(c->source->log, a, &r.at, &r.n);
    return r;
}

static const CheckpointShard *row_find(const CheckpointShard *at, size_t n, uint64_t shard)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (at[middle].shard < shard)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && at[low].shard == shard ? &at[low] : NULL;
}

// How many of the shards with sealed records are known.
static size_t known_shards(const struct creating *c, Rows r)
{
    size_t n = 0;
    for (size_t i = 0; i < c->held.shard_count; i++)
        n += row_find(r.at, r.n, c->held.shards[i].shard) != NULL;
    return n;
}

static Err copy_kv(struct creating *c, Rows *ret)
{
    struct io *io = c->source->io;
    for (int i = 0;; i++) {
        AUTO(arena) tmp = arena_open();
        size_t before = known_shards(c, rows_now(c, tmp));
        Err e = io->unlink(io, c->scratch);
        if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
            return e;
        TRY(kv_snapshot(c->source->kv, io, c->scratch));
        *ret = rows_now(c, c->a);
        if (known_shards(c, *ret) == before || i + 1 == KV_TRIES_MAX)
            return OK;
    }
}

static Err store_kv(struct creating *c, Rows *ret)
{
    Err e = copy_kv(c, ret);
    if (e.kind == ERR_NONE)
        e = store_path(c, c->scratch, add_file(c, PATH_KV));
    // It may not have been made; what is left is removed by the next backup.
    err_ignore(c->source->io->unlink(c->source->io, c->scratch));
    return e;
}

// What was sealed when the containers were held, of the shards that are known now, with the ends
// that are known now: an end is in the log before kv says so.
static Err store_checkpoint(struct creating *c, Rows now)
{
    Checkpoint cp = c->held;
    cp.generation++;
    cp.shards = arena_new(c->a, CheckpointShard, MAX(now.n, (size_t)1));
    cp.shard_count = 0;
    for (size_t i = 0; i < now.n; i++) {
        const CheckpointShard *sealed =
            row_find(c->held.shards, c->held.shard_count, now.at[i].shard);
        CheckpointShard row = { .shard = now.at[i].shard,
                                .end_position = now.at[i].end_position,
                                .end_arrival_ms = now.at[i].end_arrival_ms };
        if (sealed != NULL) {
            row.first_position = sealed->first_position;
            row.last_position = sealed->last_position;
            row.last_arrival_ms = sealed->last_arrival_ms;
        }
        if (row.last_position != 0 || row.end_position != 0)
            cp.shards[cp.shard_count++] = row;
    }
    Str content = checkpoint_encode(c->a, &cp);
    BackupBytes bytes = memory_bytes(&content);
    TRY(store(c, &bytes, add_file(c, PATH_CHECKPOINT)));
    c->out.backup.shards = cp.shard_count;
    return OK;
}

// ---- Files of the object store

static int compare_blobs(const void *x, const void *y)
{
    const BackupFile *a = *(BackupFile *const *)x, *b = *(BackupFile *const *)y;
    if (a->blob != b->blob)
        return a->blob < b->blob ? -1 : 1;
    return a->blob_id < b->blob_id ? -1 : a->blob_id > b->blob_id;
}

// Files of earlier backups whose content is known by their number and id.
static BackupFile **known_blobs(struct creating *c, size_t *ret_n)
{
    size_t count = 0, n = 0;
    for (size_t i = 0; i < c->known_count; i++)
        count += c->known[i].file_count;
    BackupFile **all = arena_new(c->a, BackupFile *, MAX(count, (size_t)1));
    for (size_t i = 0; i < c->known_count; i++)
        for (size_t j = 0; j < c->known[i].file_count; j++)
            if (c->known[i].files[j].blob_id != 0)
                all[n++] = &c->known[i].files[j];
    if (n > 1)
        qsort(all, n, sizeof *all, compare_blobs);
    *ret_n = n;
    return all;
}

static bool has_blob(const BlobFile *at, size_t n, uint64_t number)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (at[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && at[low].number == number;
}

static Err store_blob(struct creating *c, const BlobFile *blob, BackupFile **known,
                      size_t known_count)
{
    AUTO(arena) tmp = arena_open();
    Str path = str_cat3(tmp, PATH_BLOBS, S("/"), blob_files_path(tmp, blob->number));
    BackupFile *f = add_file(c, path);
    f->blob = blob->number;
    f->blob_id = blob->id;
    BackupFile **same = known_count > 0 && blob->id != 0
                            ? bsearch(&f, known, known_count, sizeof *known, compare_blobs)
                            : NULL;
    if (same != NULL &&
        objects_have(&c->objects, object_name(tmp, (*same)->hash), (*same)->bytes)) {
        f->hash = (*same)->hash;
        f->bytes = (*same)->bytes;
        return OK;
    }
    return store_path(c, str_cat3(tmp, c->source->data_dir, S("/"), path), f);
}

// After kv was copied: what has lost its row since is still there, as it is held, and noted. What
// was noted before is named by no row that was copied. What has come since is of no use, and no
// harm: the first start removes it.
static Err store_blobs(struct creating *c, const BlobFile *gone, size_t gone_count)
{
    size_t n = 0, known_count = 0;
    BlobFile *all;
    TRY(blob_files_list(c->source->kv, c->a, &all, &n));
    BackupFile **known = known_blobs(c, &known_count);
    for (size_t i = 0; i < n; i++) {
        if (!all[i].has_row && has_blob(gone, gone_count, all[i].number))
            continue;
        TRY(store_blob(c, &all[i], known, known_count));
    }
    return OK;
}

// Files that are about to be removed, of which none is needed.
static Err list_gone(struct creating *c, BlobFile **ret, size_t *ret_n)
{
    size_t n = 0;
    TRY(blob_files_list(c->source->kv, c->a, ret, &n));
    *ret_n = 0;
    for (size_t i = 0; i < n; i++)
        if (!(*ret)[i].has_row)
            (*ret)[(*ret_n)++] = (*ret)[i];
    return OK;
}

// ---- All of it

// The time to the nanosecond, and later than that of every other backup, so that ids sort by it.
static void name_backup(struct creating *c)
{
    Backup *b = &c->out.backup;
    b->created_ns = c->source->io->wall_ns(c->source->io);
    for (size_t i = 0; i < c->known_count; i++)
        b->created_ns = MAX(b->created_ns, c->known[i].created_ns + 1);
    Str when = time_basic(c->a, b->created_ns);
    Str seconds = str_head(when, when.n - 1);
    b->id = str_fmt(c->a, "%.*s.%09lldZ", FMT(seconds), (long long)(b->created_ns % NS_PER_S));
}

static void count_held(struct creating *c)
{
    Backup *b = &c->out.backup;
    b->containers = c->held.container_count;
    for (size_t i = 0; i < c->held.container_count; i++) {
        const ContainerFacts *f = &c->held.containers[i];
        b->records += f->records;
        b->raw_bytes += f->raw_bytes;
        b->newest_ms = MAX(b->newest_ms, f->last_arrival_ms);
    }
}

// The containers are held.
static Err create_held(struct creating *c)
{
    enum { OTHER_FILES = 5 };
    Rows now = { 0 };
    BlobFile *gone;
    size_t gone_count;
    Backup *b = &c->out.backup;
    c->file_room = c->held.container_count + OTHER_FILES;
    b->files = arena_new(c->a, BackupFile, c->file_room);
    count_held(c);
    TRY(store_containers(c));
    TRY(list_gone(c, &gone, &gone_count));
    TRY(store_kv(c, &now));
    TRY(store_checkpoint(c, now));
    TRY(store_blobs(c, gone, gone_count));
    TRY(store_small(c, PATH_CLOCK));
    if (c->source->with_credentials) {
        TRY(store_small(c, PATH_CREDENTIALS));
        TRY(store_small(c, PATH_MASTER_KEY));
    }
    for (size_t i = 0; i < b->file_count; i++) {
        b->bytes += b->files[i].bytes;
        b->has_credentials |= str_eq(b->files[i].path, PATH_CREDENTIALS);
    }
    Str content = manifest_write(c->a, b);
    BackupBytes bytes = memory_bytes(&content);
    return c->t->put(c->t, manifest_name(c->a, b->id), &bytes);
}

// Objects of runs that did not end. Of no harm where it fails: the next run tries again.
static void sweep(struct creating *c, size_t bad)
{
    if (bad > 0)
        return; // nobody knows what those need
    Backup *all = arena_new(c->a, Backup, c->known_count + 1);
    if (c->known_count > 0)
        memcpy(all, c->known, c->known_count * sizeof *all);
    all[c->known_count] = c->out.backup;
    BackupPruned ignored = { 0 };
    Err e = repository_sweep(c->t, all, c->known_count + 1, &ignored);
    if (e.kind != ERR_NONE)
        watch_problem(c->watch, S("objects"), e);
}

Err backup_create(const BackupSource *source, struct backup_target *t, const BackupWatch *watch,
                  struct arena *a, BackupOutcome *ret)
{
    struct creating c = { .source = source, .t = t, .watch = watch, .a = a };
    size_t bad = 0;
    c.scratch = str_cat(a, source->data_dir, S("/backup-kv.tmp"));
    TRY(repository_make(t));
    TRY(backup_list(t, watch, a, &c.known, &c.known_count, &bad));
    TRY(objects_list(t, a, &c.objects));
    c.out.backup.version = str_dup(a, source->version);
    name_backup(&c);
    TRY(log_seal(source->log));
    TRY(log_hold(source->log, a, &c.held));
    if (source->hold != NULL)
        source->hold(source->hold_self, true);
    Err e = create_held(&c);
    if (source->hold != NULL)
        source->hold(source->hold_self, false);
    log_release(source->log, &c.held);
    TRY(e);
    sweep(&c, bad);
    *ret = c.out;
    return OK;
}

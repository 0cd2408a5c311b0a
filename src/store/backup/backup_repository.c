// SPDX-License-Identifier: Apache-2.0
// What lies in a repository: the marker, the backups, the objects, and the removal of what nobody
// names.
#include "store/backup/backup_priv.h"

#include "codec/marker.h"

#include <stdlib.h>
#include <string.h>

enum { MARKER_BYTES_MAX = 4096 };

// ---- The marker

static Err write_marker(struct backup_target *t)
{
    AUTO_BUF(b);
    marker_begin(&b, REPOSITORY_KIND, BACKUP_FORMAT, BACKUP_LEAST_READER);
    marker_end(&b);
    Str content = buf_str(&b);
    BackupBytes bytes = memory_bytes(&content);
    return t->put(t, REPOSITORY_NAME, &bytes);
}

// Whether the target holds nothing but what an interrupted first run may have left.
static Err is_empty(struct backup_target *t, bool *ret)
{
    AUTO(arena) tmp = arena_open();
    BackupName *names = NULL;
    size_t n = 0;
    TRY(t->list(t, tmp, S(""), &names, &n));
    *ret = true;
    for (size_t i = 0; i < n; i++)
        *ret &= str_eq(names[i].name, S("lock")) || str_starts(names[i].name, REPOSITORY_NAME);
    return OK;
}

Err repository_open(struct backup_target *t)
{
    AUTO(arena) tmp = arena_open();
    Str content;
    Marker m;
    Err e = object_read(t, tmp, REPOSITORY_NAME, MARKER_BYTES_MAX, &content);
    if (e.kind == ERR_NOT_FOUND)
        return fail(ERR_NOT_FOUND, "there are no backups");
    TRY(e);
    return marker_read(content, REPOSITORY_KIND, BACKUP_FORMAT, &m);
}

// Nothing is made in a directory of something else, not even a lock.
Err repository_make(struct backup_target *t)
{
    Err e = repository_open(t);
    bool empty = false;
    if (e.kind == ERR_NONE)
        return t->lock(t);
    if (e.kind != ERR_NOT_FOUND)
        return e;
    TRY(is_empty(t, &empty));
    if (!empty)
        return fail(ERR_INVALID, "it holds other files and is no place of backups");
    TRY(t->lock(t));
    e = repository_open(t); // another may have made it
    return e.kind == ERR_NOT_FOUND ? write_marker(t) : e;
}

// ---- Backups

static bool is_manifest(Str name, Str *ret_id)
{
    const size_t start = sizeof "backups/" - 1, end = sizeof ".json" - 1;
    if (!str_ends(name, S(".json")) || name.n <= start + end)
        return false;
    *ret_id = str_head(str_skip(name, start), name.n - start - end);
    return true;
}

static Err read_one(struct backup_target *t, struct arena *a, Str id, Backup *ret)
{
    AUTO(arena) tmp = arena_open();
    Str content;
    TRY(object_read(t, tmp, manifest_name(tmp, id), MANIFEST_BYTES_MAX, &content));
    return manifest_read(a, id, content, ret);
}

static int compare_backups(const void *x, const void *y)
{
    const Backup *a = x, *b = y;
    return str_cmp(a->id, b->id);
}

Err backup_list(struct backup_target *t, const BackupWatch *watch, struct arena *a, Backup **ret,
                size_t *ret_n, size_t *ret_bad)
{
    TRY(repository_open(t));
    BackupName *names = NULL;
    size_t count = 0, n = 0, bad = 0;
    TRY(t->list(t, a, S("backups/"), &names, &count));
    Backup *all = arena_new(a, Backup, MAX(count, (size_t)1));
    for (size_t i = 0; i < count; i++) {
        Str id;
        if (!is_manifest(names[i].name, &id))
            continue;
        Err e = read_one(t, a, id, &all[n]);
        n += e.kind == ERR_NONE;
        bad += e.kind != ERR_NONE;
        if (e.kind != ERR_NONE)
            watch_problem(watch, names[i].name, e);
    }
    if (n > 1)
        qsort(all, n, sizeof *all, compare_backups);
    *ret = all;
    *ret_n = n;
    *ret_bad = bad;
    return OK;
}

Err backup_find(struct backup_target *t, struct arena *a, Str id, Backup *ret)
{
    TRY(repository_open(t));
    if (id.n > 0)
        return read_one(t, a, id, ret);
    BackupName *names = NULL;
    size_t count = 0;
    TRY(t->list(t, a, S("backups/"), &names, &count));
    Str newest = S(""), each;
    for (size_t i = 0; i < count; i++)
        if (is_manifest(names[i].name, &each) && str_cmp(each, newest) > 0)
            newest = each;
    if (newest.n == 0)
        return fail(ERR_NOT_FOUND, "there are no backups");
    return read_one(t, a, newest, ret);
}

// ---- Objects

static int compare_names(const void *x, const void *y)
{
    const BackupName *a = x, *b = y;
    return str_cmp(a->name, b->name);
}

Err objects_list(struct backup_target *t, struct arena *a, ObjectList *ret)
{
    ObjectList l = { 0 };
    TRY(t->list(t, a, S("objects/"), &l.at, &l.n));
    if (l.n > 1)
        qsort(l.at, l.n, sizeof *l.at, compare_names);
    *ret = l;
    return OK;
}

bool objects_have(const ObjectList *l, Str name, uint64_t bytes)
{
    const BackupName key = { .name = name };
    const BackupName *found =
        l->n > 0 ? bsearch(&key, l->at, l->n, sizeof *l->at, compare_names) : NULL;
    return found != NULL && found->bytes == bytes;
}

// ---- Removing

static int compare_strs(const void *x, const void *y)
{
    const Str *a = x, *b = y;
    return str_cmp(*a, *b);
}

// The names of all objects that the backups need, sorted.
static Str *needed(struct arena *a, const Backup *backups, size_t n, size_t *ret_n)
{
    size_t count = 0, k = 0;
    for (size_t i = 0; i < n; i++)
        count += backups[i].file_count;
    Str *names = arena_new(a, Str, MAX(count, (size_t)1));
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < backups[i].file_count; j++)
            names[k++] = object_name(a, backups[i].files[j].hash);
    if (count > 1)
        qsort(names, count, sizeof *names, compare_strs);
    *ret_n = count;
    return names;
}

Err repository_sweep(struct backup_target *t, const Backup *backups, size_t n, BackupPruned *ret)
{
    AUTO(arena) tmp = arena_open();
    ObjectList l;
    size_t count = 0;
    Str *keep = needed(tmp, backups, n, &count);
    TRY(objects_list(t, tmp, &l));
    for (size_t i = 0; i < l.n; i++) {
        if (count > 0 && bsearch(&l.at[i].name, keep, count, sizeof *keep, compare_strs) != NULL)
            continue;
        TRY(t->remove(t, l.at[i].name));
        ret->objects++;
        ret->bytes += l.at[i].bytes;
    }
    // Descriptions that were not finished.
    TRY(t->list(t, tmp, S("backups/"), &l.at, &l.n));
    Str id;
    for (size_t i = 0; i < l.n; i++)
        if (!is_manifest(l.at[i].name, &id))
            TRY(t->remove(t, l.at[i].name));
    return OK;
}

Err backup_prune(struct backup_target *t, size_t keep, const BackupWatch *watch, BackupPruned *ret)
{
    AUTO(arena) tmp = arena_open();
    Backup *all = NULL;
    size_t n = 0, bad = 0;
    BackupPruned done = { 0 };
    TRY(repository_open(t));
    TRY(t->lock(t));
    TRY(backup_list(t, watch, tmp, &all, &n, &bad));
    if (bad > 0)
        return fail(ERR_CORRUPT, "a backup cannot be read: nothing is removed");
    size_t over = n > keep ? n - keep : 0;
    for (size_t i = 0; i < over; i++) {
        TRY(t->remove(t, manifest_name(tmp, all[i].id)));
        done.backups++;
    }
    TRY(repository_sweep(t, all + over, n - over, &done));
    *ret = done;
    return OK;
}

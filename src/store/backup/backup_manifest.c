// SPDX-License-Identifier: Apache-2.0
// The description of one backup, in JSON, for programs and for people. It ends with the CRC32C of
// all bytes before `,"crc32c"`, so that a reader knows whether it is whole.
#include "store/backup/backup_priv.h"

#include "base/time.h"
#include "codec/crc.h"
#include "codec/json.h"
#include "store/blob/blob_files.h"

#include <stdio.h>
#include <string.h>

enum { END_CHARS = 22 }; // of ,"crc32c":"01234567"} and the line end

Str object_name(struct arena *a, Str hash)
{
    Str folder = str_head(hash, 2);
    return str_fmt(a, "objects/%.*s/%.*s", FMT(folder), FMT(hash));
}

Str manifest_name(struct arena *a, Str id)
{
    return str_fmt(a, "backups/%.*s.json", FMT(id));
}

// ---- Writing

static void put_text(struct event_writer *w, Str key, Str value)
{
    w->ops->key(w, key);
    w->ops->text(w, value);
}

static void put_number(struct event_writer *w, Str key, uint64_t value)
{
    w->ops->key(w, key);
    w->ops->integer(w, (int64_t)value);
}

static void put_file(struct event_writer *w, struct arena *tmp, const BackupFile *f)
{
    w->ops->map(w);
    put_text(w, S("path"), f->path);
    put_text(w, S("sha256"), f->hash);
    put_number(w, S("bytes"), f->bytes);
    if (f->number != 0) {
        put_number(w, S("container"), f->number);
        put_text(w, S("container_id"), str_fmt(tmp, "%016llx", (unsigned long long)f->id));
    }
    if (f->blob != 0) {
        put_text(w, S("blob"), str_fmt(tmp, "%016llx", (unsigned long long)f->blob));
        put_text(w, S("blob_id"), str_fmt(tmp, "%016llx", (unsigned long long)f->blob_id));
    }
    w->ops->map_end(w);
}

Str manifest_write(struct arena *a, const Backup *b)
{
    AUTO_BUF(out);
    struct event_writer w;
    json_writer_init(&w, &out);
    w.ops->map(&w);
    put_text(&w, S("what"), MANIFEST_KIND);
    put_number(&w, S("format"), BACKUP_FORMAT);
    put_number(&w, S("reader"), BACKUP_LEAST_READER);
    put_text(&w, S("id"), b->id);
    put_text(&w, S("created"), time_iso_ms(a, b->created_ns));
    put_number(&w, S("created_ns"), (uint64_t)b->created_ns);
    put_text(&w, S("version"), b->version);
    put_number(&w, S("shards"), b->shards);
    put_number(&w, S("containers"), b->containers);
    put_number(&w, S("records"), b->records);
    put_number(&w, S("raw_bytes"), b->raw_bytes);
    put_number(&w, S("newest_ms"), (uint64_t)b->newest_ms);
    w.ops->key(&w, S("files"));
    w.ops->list(&w);
    for (size_t i = 0; i < b->file_count; i++)
        put_file(&w, a, &b->files[i]);
    w.ops->list_end(&w);
    w.ops->map_end(&w);
    out.n--; // the brace comes behind the checksum
    buf_addf(&out, ",\"crc32c\":\"%08x\"}\n", crc32c(0, out.p, out.n));
    return str_dup(a, buf_str(&out));
}

// ---- Reading

static Err damaged(void)
{
    return fail(ERR_CORRUPT, "the description of a backup is damaged");
}

static bool checksum_is_right(Str content)
{
    if (content.n <= END_CHARS)
        return false;
    size_t covered = content.n - END_CHARS;
    char expected[END_CHARS + 1];
    snprintf(expected, sizeof expected, ",\"crc32c\":\"%08x\"}\n", crc32c(0, content.p, covered));
    return memcmp(content.p + covered, expected, END_CHARS) == 0;
}

static bool get_number(const JsonValue *map, Str key, uint64_t *ret)
{
    const JsonValue *v = json_find(map, key);
    if (v == NULL || v->kind != JSON_NUMBER || v->integer < 0)
        return false;
    *ret = (uint64_t)v->integer;
    return true;
}

// Sixteen hexadecimal digits.
static bool get_id(const JsonValue *map, Str key, uint64_t *ret)
{
    uint8_t bytes[8];
    Str text = json_text(map, key);
    if (text.n != 2 * sizeof bytes || !hex_decode(bytes, text))
        return false;
    *ret = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        *ret = *ret << 8 | bytes[i];
    return true;
}

static bool is_hash(Str s)
{
    unsigned char bytes[SHA256_BYTES];
    return s.n == HASH_CHARS && hex_decode(bytes, s);
}

// Only files that a data directory has: what restores them must write nothing else.
static bool path_is_sound(const BackupFile *f)
{
    static const Str plain[] = { S_INIT("journal/checkpoint.hrp"), S_INIT("headrace.db"),
                                 S_INIT("clock"), S_INIT("credentials"), S_INIT("master.key") };
    AUTO(arena) tmp = arena_open();
    if (f->blob != 0)
        return f->number == 0 &&
               str_eq(f->path, str_cat3(tmp, PATH_BLOBS, S("/"), blob_files_path(tmp, f->blob)));
    if (f->number != 0)
        return str_eq(f->path, container_path(tmp, PATH_CONTAINERS, f->number));
    for (size_t i = 0; i < COUNT_OF(plain); i++)
        if (str_eq(f->path, plain[i]))
            return true;
    return false;
}

static Err get_file(struct arena *a, const JsonValue *v, BackupFile *ret)
{
    BackupFile f = { .path = str_dup(a, json_text(v, S("path"))),
                     .hash = str_lower(a, json_text(v, S("sha256"))) };
    if (!is_hash(f.hash) || !get_number(v, S("bytes"), &f.bytes))
        return damaged();
    if (get_number(v, S("container"), &f.number) && !get_id(v, S("container_id"), &f.id))
        return damaged();
    if (json_find(v, S("blob")) != NULL &&
        (!get_id(v, S("blob"), &f.blob) || !get_id(v, S("blob_id"), &f.blob_id) || f.blob == 0))
        return damaged();
    if (!path_is_sound(&f))
        return damaged();
    *ret = f;
    return OK;
}

static Err get_files(struct arena *a, const JsonValue *map, Backup *b)
{
    const JsonValue *list = json_find(map, S("files"));
    if (list == NULL || list->kind != JSON_LIST)
        return damaged();
    b->files = arena_new(a, BackupFile, MAX(list->n, (size_t)1));
    b->file_count = list->n;
    bool has_checkpoint = false, has_kv = false;
    for (size_t i = 0; i < list->n; i++) {
        BackupFile *f = &b->files[i];
        TRY(get_file(a, &list->items[i], f));
        b->bytes += f->bytes;
        has_checkpoint |= str_eq(f->path, PATH_CHECKPOINT);
        has_kv |= str_eq(f->path, PATH_KV);
        b->has_credentials |= str_eq(f->path, PATH_CREDENTIALS);
    }
    return has_checkpoint && has_kv ? OK : damaged();
}

Err manifest_read(struct arena *a, Str id, Str content, Backup *ret)
{
    AUTO(arena) tmp = arena_open();
    JsonValue *v = NULL;
    uint64_t reader = 0, created = 0, newest = 0;
    if (!checksum_is_right(content) || json_parse(tmp, content, &v).kind != ERR_NONE ||
        !str_eq(json_text(v, S("what")), MANIFEST_KIND) || !get_number(v, S("reader"), &reader))
        return damaged();
    if (reader > BACKUP_FORMAT)
        return fail(ERR_FORMAT, "the backup was made by a newer program");
    Backup b = { .id = str_dup(a, json_text(v, S("id"))),
                 .version = str_dup(a, json_text(v, S("version"))) };
    bool whole = str_eq(b.id, id) && get_number(v, S("created_ns"), &created) &&
                 get_number(v, S("newest_ms"), &newest) && get_number(v, S("shards"), &b.shards) &&
                 get_number(v, S("containers"), &b.containers) &&
                 get_number(v, S("records"), &b.records) &&
                 get_number(v, S("raw_bytes"), &b.raw_bytes);
    if (!whole)
        return damaged();
    b.created_ns = (int64_t)created;
    b.newest_ms = (int64_t)newest;
    TRY(get_files(a, v, &b));
    *ret = b;
    return OK;
}

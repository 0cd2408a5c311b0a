// SPDX-License-Identifier: Apache-2.0
#include "server/store_stat.h"

#include "base/time.h"
#include "store/sealed/checkpoint.h"

enum { FIRST_READS_MAX = 1000 }; // shards whose first record is read

// ---- Collecting

static uint64_t size_or_zero(struct io *io, Str path)
{
    struct io_file *f = NULL;
    uint64_t bytes = 0;
    if (io->open(io, path, IO_READ, &f).kind != ERR_NONE)
        return 0;
    if (io->size(f, &bytes).kind != ERR_NONE)
        bytes = 0;
    io->close(f);
    return bytes;
}

static void add_kv(struct io *io, StoreStat *s)
{
    AUTO(arena) tmp = arena_open();
    Str path = str_cat(tmp, s->data_dir, S("/headrace.db"));
    s->kv_bytes = size_or_zero(io, path);
    s->kv_log_bytes = size_or_zero(io, str_cat(tmp, path, S("-wal")));
}

static void add_time(StoreStat *s, int64_t first_ms, int64_t last_ms)
{
    s->oldest_ms = s->oldest_ms == 0 ? first_ms : MIN(s->oldest_ms, first_ms);
    s->newest_ms = MAX(s->newest_ms, last_ms);
}

static void add_container(StoreStat *s, const ContainerFacts *f)
{
    s->classes[f->class].files++;
    s->classes[f->class].bytes += f->bytes;
    s->classes[f->class].raw_bytes += f->raw_bytes;
    s->classes[f->class].records += f->records;
    add_time(s, f->first_arrival_ms, f->last_arrival_ms);
}

// Arrival of the shard's first record; reads it, maybe from the disk.
static void add_first(StoreStat *s, struct log *l, uint64_t shard)
{
    AUTO(arena) tmp = arena_open();
    LogBatch batch;
    LogRead read = { .shard = shard, .max_records = 1, .max_bytes = 1 };
    if (log_read(l, tmp, &read, &batch).kind == ERR_NONE && batch.n > 0)
        add_time(s, batch.at[0].arrival_ms, batch.at[0].arrival_ms);
}

// What is in the journal is newer than what is in containers, so first records matter only while
// nothing is sealed.
static void add_shards(StoreStat *s, struct log *l, struct arena *tmp)
{
    CheckpointShard *rows = NULL;
    size_t n = 0;
    bool nothing_sealed = s->oldest_ms == 0;
    log_shard_rows(l, tmp, &rows, &n);
    s->shards = n;
    for (size_t i = 0; i < n; i++) {
        LogSpan span;
        if (log_span(l, rows[i].shard, &span).kind != ERR_NONE || span.last_arrival_ms == 0)
            continue;
        add_time(s, span.last_arrival_ms, span.last_arrival_ms);
        if (nothing_sealed && i < FIRST_READS_MAX)
            add_first(s, l, rows[i].shard);
    }
}

Err store_stat_online(struct io *io, Str data_dir, struct log *l, StoreStat *ret)
{
    AUTO(arena) tmp = arena_open();
    StoreStat s = { .data_dir = data_dir, .is_online = true };
    Checkpoint held;
    TRY(log_hold(l, tmp, &held));
    for (size_t i = 0; i < held.container_count; i++)
        add_container(&s, &held.containers[i]);
    log_release(l, &held);
    add_shards(&s, l, tmp);
    log_stats(l, &s.log);
    s.journal_files = s.log.files;
    s.journal_bytes = s.log.disk_bytes;
    s.unsealed_bytes = s.log.live_bytes;
    add_kv(io, &s);
    *ret = s;
    return OK;
}

Err store_stat_offline(struct io *io, Str data_dir, struct inspect *i, StoreStat *ret)
{
    StoreStat s = { .data_dir = data_dir };
    InspectStats found;
    inspect_stats(i, &found);
    s.journal_files = found.files;
    s.journal_bytes = found.file_bytes;
    s.spare_bytes = found.spare_bytes;
    s.journal_records = found.records;
    s.blocks = found.blocks;
    s.unsealed_bytes = found.block_bytes;
    for (unsigned c = 0; c < RETENTION_CLASSES; c++) {
        s.classes[c].files = found.classes[c].files;
        s.classes[c].bytes = found.classes[c].bytes;
        s.classes[c].raw_bytes = found.classes[c].raw_bytes;
        s.classes[c].records = found.classes[c].records;
    }
    s.oldest_ms = found.oldest_ms;
    s.newest_ms = found.newest_ms;
    s.leftovers = found.leftovers;
    s.problems = found.problems;
    const Checkpoint *c = inspect_checkpoint(i);
    s.shards = c != NULL ? c->shard_count : 0;
    add_kv(io, &s);
    *ret = s;
    return OK;
}

// ---- Writing

static void put(struct event_writer *w, Str key, uint64_t value)
{
    w->ops->key(w, key);
    w->ops->integer(w, (int64_t)value);
}

static void put_time(struct event_writer *w, struct arena *tmp, Str key, int64_t ms)
{
    w->ops->key(w, key);
    if (ms > 0)
        w->ops->text(w, time_iso_ms(tmp, ms * NS_PER_MS));
    else
        w->ops->null(w);
}

static void put_flag(struct event_writer *w, Str key, bool value)
{
    w->ops->key(w, key);
    w->ops->boolean(w, value);
}

static void write_journal(struct event_writer *w, const StoreStat *s)
{
    w->ops->key(w, S("journal"));
    w->ops->map(w);
    put(w, S("files"), s->journal_files);
    put(w, S("bytes"), s->journal_bytes);
    put(w, S("unsealed_bytes"), s->unsealed_bytes);
    if (!s->is_online) {
        put(w, S("spare_bytes"), s->spare_bytes);
        put(w, S("blocks"), s->blocks);
        put(w, S("records"), s->journal_records);
    }
    w->ops->map_end(w);
}

static void write_containers(struct event_writer *w, const StoreStat *s)
{
    static const Str names[] = { S_INIT("day"), S_INIT("week"), S_INIT("year") };
    w->ops->key(w, S("containers"));
    w->ops->map(w);
    for (unsigned c = 0; c < RETENTION_CLASSES; c++) {
        w->ops->key(w, names[c]);
        w->ops->map(w);
        put(w, S("files"), s->classes[c].files);
        put(w, S("bytes"), s->classes[c].bytes);
        put(w, S("raw_bytes"), s->classes[c].raw_bytes);
        put(w, S("records"), s->classes[c].records);
        w->ops->map_end(w);
    }
    if (!s->is_online)
        put(w, S("leftovers"), s->leftovers);
    w->ops->map_end(w);
}

static void write_memory(struct event_writer *w, const LogStats *l)
{
    w->ops->key(w, S("memory"));
    w->ops->map(w);
    put(w, S("index_bytes"), l->index_bytes);
    put(w, S("tail_cache_bytes"), l->cache_bytes);
    put(w, S("read_cache_bytes"), l->read_cache_bytes);
    w->ops->map_end(w);
    w->ops->key(w, S("since_start"));
    w->ops->map(w);
    put(w, S("blocks"), l->blocks);
    put(w, S("records"), l->records);
    put(w, S("record_bytes"), l->record_bytes);
    put(w, S("containers_written"), l->seals);
    put(w, S("containers_merged"), l->merges);
    put(w, S("containers_expired"), l->expired);
    w->ops->map_end(w);
    put_flag(w, S("full"), l->full);
    put_flag(w, S("behind"), l->behind);
    put_flag(w, S("failed"), l->failed);
}

void store_stat_write(struct buf *b, const StoreStat *s)
{
    AUTO(arena) tmp = arena_open();
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    w.ops->key(&w, S("data_dir"));
    w.ops->text(&w, s->data_dir);
    w.ops->key(&w, S("from"));
    w.ops->text(&w, s->is_online ? S("server") : S("directory"));
    put(&w, S("shards"), s->shards);
    put_time(&w, tmp, S("oldest_arrival"), s->oldest_ms);
    put_time(&w, tmp, S("newest_arrival"), s->newest_ms);
    write_journal(&w, s);
    write_containers(&w, s);
    w.ops->key(&w, S("kv"));
    w.ops->map(&w);
    put(&w, S("bytes"), s->kv_bytes);
    put(&w, S("log_bytes"), s->kv_log_bytes);
    w.ops->map_end(&w);
    if (s->is_online)
        write_memory(&w, &s->log);
    else
        put(&w, S("problems"), s->problems);
    w.ops->map_end(&w);
}

// SPDX-License-Identifier: Apache-2.0
#include "cli/store_names.h"

#include "store/kv.h"
#include "svc/kinesis/stream.h"

#include <stdlib.h>
#include <string.h>

static int compare_ids(const void *x, const void *y)
{
    const ShardName *a = x, *b = y;
    return a->id < b->id ? -1 : a->id > b->id;
}

static void add_stream(struct arena *a, ShardNames *names, const struct stream *s)
{
    ShardName name = { .account = str_dup(a, s->account),
                       .region = str_dup(a, s->region),
                       .stream = str_dup(a, s->name) };
    for (size_t i = 0; i < s->shard_count; i++) {
        if (names->n == names->room) {
            names->room = MAX(names->room * 2, (size_t)256);
            ShardName *wider = arena_new(a, ShardName, names->room);
            if (names->n > 0)
                memcpy(wider, names->at, names->n * sizeof *wider);
            names->at = wider;
        }
        name.id = s->shards[i]->id;
        name.index = s->shards[i]->index;
        name.created_s = s->shards[i]->created_s;
        names->at[names->n++] = name;
    }
}

static Err read_rows(struct arena *a, struct kv_txn *tx, ShardNames *names)
{
    struct kv_scan scan = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&scan)) {
        AUTO(stream) s = NULL;
        AUTO(arena) tmp = arena_open();
        Err e = stream_row_read(tmp, scan.rest, scan.value, &s);
        if (e.kind != ERR_NONE) {
            kv_scan_end(&scan);
            return e;
        }
        add_stream(a, names, s);
    }
    return scan.err;
}

Err store_names(struct arena *a, Str data_dir, ShardNames *ret)
{
    AUTO(kv) db = NULL;
    struct kv_table *rows = NULL;
    ShardNames names = { 0 };
    TRY(kv_open_copy(io_real(), str_cat(a, data_dir, S("/headrace.db")), &db));
    TRY(kv_table_open(db, S("kinesis.streams"), &rows));
    AUTO(kv_txn) tx = kv_read(rows);
    TRY(read_rows(a, tx, &names));
    if (names.n > 1)
        qsort(names.at, names.n, sizeof *names.at, compare_ids);
    *ret = names;
    return OK;
}

const ShardName *store_name_find(const ShardNames *names, uint64_t id)
{
    const ShardName key = { .id = id };
    return names->n > 0 ? bsearch(&key, names->at, names->n, sizeof key, compare_ids) : NULL;
}

Str store_name_sequence(struct arena *a, const ShardName *name, uint64_t position,
                        int64_t arrival_ms)
{
    return sequence_str(a, (Sequence){ .created_s = name->created_s,
                                       .time_s = arrival_ms / 1000,
                                       .index = position,
                                       .shard = name->index });
}

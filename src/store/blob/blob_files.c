// SPDX-License-Identifier: Apache-2.0
#include "store/blob/blob_files.h"

#include "codec/hash.h"
#include "store/blob/blob_priv.h"

#include <stdlib.h>

Str blob_files_path(struct arena *a, uint64_t number)
{
    return str_fmt(a, "%llx/%llx/%llx", (unsigned long long)(number >> BLOB_RUN_BITS),
                   (unsigned long long)(number >> BLOB_FILES_PER_DIR_BITS),
                   (unsigned long long)number);
}

struct list {
    struct arena *a;
    BlobFile *at;
    size_t n, room;
};

static void add(struct list *l, BlobFile f)
{
    if (l->n == l->room) {
        size_t room = MAX(2 * l->room, (size_t)64);
        BlobFile *at = arena_new(l->a, BlobFile, room);
        if (l->n > 0)
            memcpy(at, l->at, l->n * sizeof *at);
        l->at = at;
        l->room = room;
    }
    l->at[l->n++] = f;
}

static int compare(const void *x, const void *y)
{
    const BlobFile *a = x, *b = y;
    return a->number < b->number ? -1 : a->number > b->number;
}

// References come and go and say nothing of the content.
static uint64_t id_of(const FileRow *r)
{
    unsigned char digest[SHA256_BYTES];
    struct sha256 h;
    if (r->is_sealed)
        return 0;
    sha256_init(&h);
    sha256_add(&h, &r->bytes, sizeof r->bytes);
    sha256_add(&h, r->crcs.p, r->crcs.n);
    sha256_end(&h, digest);
    uint64_t id;
    memcpy(&id, digest, sizeof id);
    return MAX(id, UINT64_C(1));
}

static Err add_rows(struct list *l, struct kv_txn *tx)
{
    struct kv_scan s = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&s)) {
        FileRow row;
        if (s.rest.n != BLOB_NUMBER_BYTES)
            continue;
        Err e = row_read_file(s.value, &row);
        if (e.kind != ERR_NONE) {
            kv_scan_end(&s);
            return e;
        }
        add(l, (BlobFile){ .number = number_of(s.rest), .id = id_of(&row), .has_row = true });
    }
    return s.err;
}

static Err add_gone(struct list *l, struct kv_txn *tx)
{
    static const char kind[] = { GONE_FILE };
    struct kv_scan s = kv_scan_start(tx, str_from(kind, sizeof kind), S(""));
    while (kv_scan_next(&s))
        if (s.rest.n == BLOB_NUMBER_BYTES)
            add(l, (BlobFile){ .number = number_of(s.rest) });
    return s.err;
}

Err blob_files_list(struct kv *kv, struct arena *a, BlobFile **ret, size_t *ret_n)
{
    struct kv_table *files, *gone;
    struct list l = { .a = a };
    TRY(kv_table_open(kv, S("blob_file"), &files));
    TRY(kv_table_open(kv, S("blob_gone"), &gone));
    AUTO(kv_txn) tx = kv_read(files); // of one moment
    TRY(add_rows(&l, tx));
    kv_on(tx, gone);
    TRY(add_gone(&l, tx));
    if (l.n > 1)
        qsort(l.at, l.n, sizeof *l.at, compare);
    *ret = l.at;
    *ret_n = l.n;
    return OK;
}

// SPDX-License-Identifier: Apache-2.0
// Packs: objects that are finished at the same time lie in one file, if their makers want that
// (blob_put_gather) and none is larger than a block. What an object costs besides its bytes - a
// file made and synced, its directory - they pay together.
//
// Whoever comes while a pack is written waits for the next one, of which the first that waits is
// the writer; nobody waits for company. The file of a pack is as any other: its row is put by the
// member that commits first, the others raise its references. Until all have committed or given up
// (they are closed) it is not unlinked: the first one's object may be replaced and gone before the
// last one has its turn to write, which then puts the row again.
#include "store/blob/blob_priv.h"

#include "codec/crc.h"
#include "codec/little.h"

#include <stdlib.h>

struct pack {
    struct pack *next; // of those that have members; under the lock, like the last two
    uint64_t file;     // 0: it could not be made
    uint64_t bytes;
    uint32_t crc; // of the block that is not full
    struct buf crcs;
    size_t members; // that may still commit
    bool committed; // one of them has
};

// ---- Writing one

static void end_block(struct pack *p)
{
    uint8_t crc[sizeof(uint32_t)];
    put32(crc, p->crc);
    buf_add(&p->crcs, str_from(crc, sizeof crc));
    p->crc = 0;
}

static void add_crcs(struct pack *p, Str bytes)
{
    while (bytes.n > 0) {
        size_t n = MIN(bytes.n, BLOB_BLOCK_BYTES - (size_t)(p->bytes % BLOB_BLOCK_BYTES));
        p->crc = crc32c(p->crc, bytes.p, n);
        p->bytes += n;
        bytes = str_skip(bytes, n);
        if (p->bytes % BLOB_BLOCK_BYTES == 0)
            end_block(p);
    }
}

static Err write_members(struct blob *b, struct pack *p, struct io_file *f, struct pack_wait *first)
{
    for (struct pack_wait *w = first; w != NULL; w = w->next) {
        w->at = p->bytes;
        TRY(b->io->write(f, w->bytes.p, w->bytes.n, w->at, false));
        add_crcs(p, w->bytes);
    }
    if (p->bytes % BLOB_BLOCK_BYTES != 0)
        end_block(p);
    TRY(buf_err(&p->crcs));
    return b->io->sync(f);
}

static Err pack_write(struct blob *b, struct pack *p, struct pack_wait *first)
{
    struct io_file *f = NULL;
    uint64_t number;
    TRY(blob_number(b, &number));
    TRY(blob_file_create(b, number, &f));
    pthread_mutex_lock(&b->lock); // the reaper looks
    p->file = number;
    pthread_mutex_unlock(&b->lock);
    Err e = write_members(b, p, f, first);
    b->io->close(f);
    return e.kind == ERR_NONE ? blob_dir_sync(b, number) : e;
}

// The first ones that wait, in a list of their own. The lock is held.
static struct pack_wait *take_waits(struct blob *b, size_t *ret_n)
{
    struct pack_wait *first = b->pack_first, *last = first;
    size_t n = 1;
    for (; n < BLOB_PACK_MAX && last->next != NULL; n++)
        last = last->next;
    b->pack_first = last->next;
    if (b->pack_first == NULL)
        b->pack_last = NULL;
    last->next = NULL;
    *ret_n = n;
    return first;
}

// The lock is held, but while the pack is written.
static void pack_lead(struct blob *b)
{
    struct pack *p = xalloc(sizeof *p);
    struct pack_wait *first = take_waits(b, &p->members);
    p->next = b->packs;
    b->packs = p;
    b->pack_writing = true;
    pthread_mutex_unlock(&b->lock);
    Err e = pack_write(b, p, first);
    pthread_mutex_lock(&b->lock);
    b->pack_writing = false;
    for (struct pack_wait *w = first, *next; w != NULL; w = next) {
        next = w->next; // it may be gone when the lock is left
        w->pack = p;
        w->err = e;
        w->settled = true;
        pthread_cond_signal(&w->wake);
    }
    if (b->pack_first != NULL)
        pthread_cond_signal(&b->pack_first->wake);
}

// ---- Members

// The lock is held.
static void wait_behind(struct blob *b, struct pack_wait *w)
{
    *(b->pack_last != NULL ? &b->pack_last->next : &b->pack_first) = w;
    b->pack_last = w;
}

Err pack_add(struct blob *b, Str bytes, struct pack **ret, Extent *ret_place)
{
    struct pack_wait mine = { .bytes = bytes };
    CHECK(pthread_cond_init(&mine.wake, NULL) == 0);
    pthread_mutex_lock(&b->lock);
    wait_behind(b, &mine);
    while (!mine.settled) {
        if (b->pack_writing || b->pack_first != &mine)
            pthread_cond_wait(&mine.wake, &b->lock);
        else
            pack_lead(b);
    }
    pthread_mutex_unlock(&b->lock);
    pthread_cond_destroy(&mine.wake);
    if (mine.err.kind != ERR_NONE) {
        pack_leave(b, mine.pack);
        return mine.err;
    }
    *ret = mine.pack;
    *ret_place = (Extent){ .file = mine.pack->file, .at = mine.at, .n = bytes.n };
    return OK;
}

Err pack_row(struct blob *b, struct kv_txn *tx, struct arena *tmp, const struct pack *p)
{
    KeyRoom room;
    Str value;
    FileRow row = { .refs = 1, .bytes = p->bytes, .crcs = buf_str(&p->crcs) };
    kv_on(tx, b->tables[T_FILE]);
    Err e = kv_get(tx, tmp, key_number(&room, p->file), &value);
    if (e.kind == ERR_NOT_FOUND) {
        TRY(gone_forget(b, tx, GONE_FILE, p->file)); // others of it have come and gone
        return put_file_row(b, tx, p->file, &row);
    }
    TRY(e);
    TRY(row_read_file(value, &row));
    row.refs++;
    return put_file_row(b, tx, p->file, &row);
}

void pack_committed(struct blob *b, struct pack *p)
{
    pthread_mutex_lock(&b->lock);
    p->committed = true;
    pthread_mutex_unlock(&b->lock);
}

bool pack_has_members(struct blob *b, uint64_t file)
{
    pthread_mutex_lock(&b->lock);
    const struct pack *p = b->packs;
    while (p != NULL && p->file != file)
        p = p->next;
    b->skipped |= p != NULL;
    pthread_mutex_unlock(&b->lock);
    return p != NULL;
}

void pack_leave(struct blob *b, struct pack *p)
{
    AUTO(arena) tmp = arena_open();
    pthread_mutex_lock(&b->lock);
    bool is_last = --p->members == 0;
    for (struct pack **at = &b->packs; is_last && *at != NULL; at = &(*at)->next)
        if (*at == p) {
            *at = p->next;
            break;
        }
    bool ask = is_last && b->skipped;
    pthread_mutex_unlock(&b->lock);
    if (!is_last)
        return;
    if (!p->committed && p->file != 0) // nothing refers to it
        err_ignore(b->io->unlink(b->io, blob_file_path(b, tmp, p->file)));
    buf_done(&p->crcs);
    free(p);
    if (ask)
        reap_ask(b);
}

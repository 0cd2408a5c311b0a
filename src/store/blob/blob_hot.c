// SPDX-License-Identifier: Apache-2.0
// Small objects that are read often stay in memory, whole: who asks for the latest version of a key
// gets it without kv and without a file. What is sealed is never kept.
//
// They are never behind what was acknowledged. Keys fall into slots. A transaction that changes the
// latest version of a key marks its slot before the change, which also drops what is kept of the
// key, and lets it go when it has ended, either way. A reader takes the slot's stamp before it
// looks into kv, and what it has read is kept only if the slot was not marked since. An object is
// kept when it is read a second time, so that a scan of many pushes nothing out.
#include "store/blob/blob_priv.h"

#include "base/map.h"
#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    HOT_BYTES_MAX = 32 << 20, // with what is known of the objects
    SEEN = 4096,              // keys of which it is known that they were read once
};

struct blob_hot {
    atomic_uint refs;
    struct blob_hot *next, *prev; // from the newest to the oldest
    size_t cost;
    Str full; // key of its row
    BlobObject object;
    Str bytes;
};

struct slot {
    uint64_t stamp;
    unsigned writers;
};

struct hot {
    pthread_mutex_t lock; // a leaf
    struct map *kept;
    struct blob_hot *newest, *oldest;
    size_t bytes;
    struct slot slots[HOT_SLOTS];
    uint64_t seen[SEEN]; // hashes
};

struct hot *hot_open(void)
{
    struct hot *h = xalloc(sizeof *h);
    h->kept = map_open();
    CHECK(pthread_mutex_init(&h->lock, NULL) == 0);
    return h;
}

static void unlink_one(struct hot *h, struct blob_hot *o)
{
    *(o->next != NULL ? &o->next->prev : &h->oldest) = o->prev;
    *(o->prev != NULL ? &o->prev->next : &h->newest) = o->next;
}

static void link_newest(struct hot *h, struct blob_hot *o)
{
    o->prev = NULL;
    o->next = h->newest;
    *(h->newest != NULL ? &h->newest->prev : &h->oldest) = o;
    h->newest = o;
}

// Not under the lock, and maybe when the store is closed: a reply may be on its way until then.
void blob_hot_give(struct blob_hot *o)
{
    if (o != NULL && atomic_fetch_sub(&o->refs, 1) == 1)
        free(o);
}

static void drop(struct hot *h, struct blob_hot *o)
{
    if (o == NULL)
        return;
    map_take(h->kept, o->full);
    unlink_one(h, o);
    h->bytes -= o->cost;
    blob_hot_give(o);
}

void hot_close(struct hot *h)
{
    if (h == NULL)
        return;
    while (h->newest != NULL)
        drop(h, h->newest);
    map_close(h->kept);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

// ---- Changes

void hot_begin(struct blob *b, struct hot_writes *w)
{
    *w = (struct hot_writes){ .hot = b->hot };
    b->writing = w;
}

void hot_note(struct blob *b, Str full)
{
    struct hot_writes *w = b->writing;
    struct hot *h = b->hot;
    size_t at = map_hash(full) % HOT_SLOTS;
    CHECK(w != NULL);
    bool first = (w->slots[at / 64] & UINT64_C(1) << at % 64) == 0;
    w->slots[at / 64] |= UINT64_C(1) << at % 64;
    pthread_mutex_lock(&h->lock);
    h->slots[at].writers += first;
    h->slots[at].stamp++;
    drop(h, map_get(h->kept, full));
    pthread_mutex_unlock(&h->lock);
}

void hot_writes_close(struct hot_writes *w)
{
    struct hot *h = w->hot;
    if (h == NULL)
        return;
    pthread_mutex_lock(&h->lock);
    for (size_t at = 0; at < HOT_SLOTS; at++)
        if ((w->slots[at / 64] & UINT64_C(1) << at % 64) != 0) {
            h->slots[at].writers--;
            h->slots[at].stamp++;
        }
    pthread_mutex_unlock(&h->lock);
}

// ---- Reading

uint64_t hot_stamp(struct blob *b, Str full)
{
    struct hot *h = b->hot;
    pthread_mutex_lock(&h->lock);
    const struct slot *s = &h->slots[map_hash(full) % HOT_SLOTS];
    uint64_t stamp = s->writers == 0 ? s->stamp : UINT64_MAX;
    pthread_mutex_unlock(&h->lock);
    return stamp;
}

struct blob_hot *blob_hot_take(struct blob *b, const BlobBucket *bucket, Str key,
                               const BlobObject **ret_object, Str *ret_bytes)
{
    struct hot *h = b->hot;
    KeyRoom room;
    if (key.n == 0 || key.n > BLOB_KEY_BYTES_MAX)
        return NULL;
    Str full = key_two(&room, bucket->id, key);
    pthread_mutex_lock(&h->lock);
    struct blob_hot *o = map_get(h->kept, full);
    if (o != NULL) {
        atomic_fetch_add(&o->refs, 1);
        if (h->newest != o) {
            unlink_one(h, o);
            link_newest(h, o);
        }
    }
    pthread_mutex_unlock(&h->lock);
    if (o == NULL)
        return NULL;
    *ret_object = &o->object;
    *ret_bytes = o->bytes;
    return o;
}

// ---- Keeping

static size_t pairs_bytes(BlobPairs pairs)
{
    size_t n = pairs.n * sizeof *pairs.at;
    for (size_t i = 0; i < pairs.n; i++)
        n += pairs.at[i].name.n + pairs.at[i].value.n;
    return n;
}

static Str put_text(char **at, Str text)
{
    char *p = *at;
    if (text.n > 0)
        memcpy(p, text.p, text.n);
    *at += text.n;
    return text.p != NULL ? str_from(p, text.n) : text;
}

static BlobPairs put_pairs(char **at, BlobPair *pairs, BlobPairs from)
{
    for (size_t i = 0; i < from.n; i++)
        pairs[i] = (BlobPair){ put_text(at, from.at[i].name), put_text(at, from.at[i].value) };
    return (BlobPairs){ .at = pairs, .n = from.n };
}

// All of it in one piece of memory: the pairs first, as they are aligned.
static struct blob_hot *make(Str full, const BlobObject *from, Str bytes)
{
    size_t cost = sizeof(struct blob_hot) + full.n + from->etag.n + bytes.n +
                  pairs_bytes(from->attributes) + pairs_bytes(from->tags);
    struct blob_hot *o = memory_try(cost);
    if (o == NULL)
        return NULL;
    BlobPair *pairs = (BlobPair *)(void *)(o + 1);
    char *at = (char *)(pairs + from->attributes.n + from->tags.n);
    *o = (struct blob_hot){ .refs = 1, .cost = cost, .object = *from };
    o->full = put_text(&at, full);
    o->object.key = str_skip(o->full, BLOB_NUMBER_BYTES);
    o->object.etag = put_text(&at, from->etag);
    o->object.attributes = put_pairs(&at, pairs, from->attributes);
    o->object.tags = put_pairs(&at, pairs + from->attributes.n, from->tags);
    o->bytes = put_text(&at, bytes);
    return o;
}

void hot_keep(struct blob *b, Str full, uint64_t stamp, const BlobObject *object, Str bytes)
{
    struct hot *h = b->hot;
    uint64_t hash = map_hash(full);
    if (stamp == UINT64_MAX || object->is_marker || !object->is_latest)
        return;
    pthread_mutex_lock(&h->lock);
    const struct slot *s = &h->slots[hash % HOT_SLOTS];
    bool again = h->seen[hash % SEEN] == hash;
    h->seen[hash % SEEN] = hash;
    again = again && s->writers == 0 && s->stamp == stamp && map_get(h->kept, full) == NULL;
    struct blob_hot *o = again ? make(full, object, bytes) : NULL;
    if (o != NULL) {
        map_put(h->kept, o->full, o);
        link_newest(h, o);
        h->bytes += o->cost;
        while (h->bytes > HOT_BYTES_MAX)
            drop(h, h->oldest);
    }
    pthread_mutex_unlock(&h->lock);
}

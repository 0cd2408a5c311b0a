// SPDX-License-Identifier: Apache-2.0
// SHA-256 of large bodies as they arrive, for handlers that ask for it. Two streams fill each
// other's waiting times (codec/hash.h): so bytes of a body wait for those of another on the same
// loop and are hashed beside them, for as long as their own body is not complete. A body that
// arrives alone is hashed while it is in the cache, and of what is complete nothing waits.
//
// At any time at most one body of a loop has a slice that waits: the next one takes it along.
#include "http/server_priv.h"

// Less than that is left for later: a call for few bytes costs more than it hides.
enum { SLICE_BYTES_MIN = 16384 };

static Str unhashed(const struct body *b)
{
    return str_from(b->p + b->hash->done, b->n - b->hash->done);
}

static bool has_slice(const struct body *b)
{
    return unhashed(b).n >= SLICE_BYTES_MIN;
}

static void hash_alone(struct http_loop *hl, struct body *b)
{
    Str s = unhashed(b);
    sha256_add(&b->hash->state, s.p, s.n);
    b->hash->done += s.n;
    metric_add(hl->server->metrics.hashed_alone, (int64_t)s.n);
}

// As much of each as both have.
static void hash_beside(struct http_loop *hl, struct body *b, struct body *other)
{
    size_t n = MIN(unhashed(b).n, unhashed(other).n);
    sha256_add_pair(&b->hash->state, str_head(unhashed(b), n), &other->hash->state,
                    str_head(unhashed(other), n));
    b->hash->done += n;
    other->hash->done += n;
    metric_add(hl->server->metrics.hashed_paired, (int64_t)(2 * n));
}

void body_hash_begin(struct exchange *e, uint64_t announced_bytes)
{
    const struct http_handler *h = &e->on->server->handler;
    if (h->wants_sha256 == NULL || announced_bytes < SLICE_BYTES_MIN ||
        !h->wants_sha256(h->self, &e->x))
        return;
    e->body.hash = arena_new(e->x.arena, struct body_hash, 1);
    sha256_init(&e->body.hash->state);
    e->on->hashing++;
}

void body_hash_arrived(struct exchange *e)
{
    struct http_loop *hl = e->on;
    struct body *b = &e->body, *waiting = hl->waits_for_hash;
    if (b->hash == NULL || !has_slice(b) || waiting == b)
        return;
    if (hl->hashing == 1) {
        hash_alone(hl, b);
        return;
    }
    if (waiting == NULL) {
        hl->waits_for_hash = b;
        return;
    }
    hash_beside(hl, b, waiting);
    if (!has_slice(waiting))
        hl->waits_for_hash = has_slice(b) ? b : NULL;
}

void body_hash_end(struct exchange *e)
{
    struct http_loop *hl = e->on;
    struct body *b = &e->body;
    if (b->hash == NULL)
        return;
    if (hl->waits_for_hash == b)
        hl->waits_for_hash = NULL;
    struct body *waiting = hl->waits_for_hash;
    if (waiting != NULL) {
        hash_beside(hl, b, waiting);
        hl->waits_for_hash = has_slice(waiting) ? waiting : NULL;
    }
    hash_alone(hl, b);
    sha256_end(&b->hash->state, b->hash->digest);
    e->x.body_sha256 = b->hash->digest;
    body_hash_drop(hl, b);
}

void body_hash_drop(struct http_loop *hl, struct body *b)
{
    if (b->hash == NULL)
        return;
    if (hl->waits_for_hash == b)
        hl->waits_for_hash = NULL;
    hl->hashing--;
    b->hash = NULL;
}

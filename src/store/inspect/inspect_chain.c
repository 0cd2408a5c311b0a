// SPDX-License-Identifier: Apache-2.0
// Which blocks count. They form a chain: each names its predecessor and the predecessor's checksum.
// A block that does not go on from the newest one counts if it begins a later epoch and names an
// earlier block: what lay between is void. Any other is left over, or the proof of damage, if it
// says that more was durable than has been found.
#include "store/inspect/inspect_priv.h"

#include <stdlib.h>
#include <string.h>

struct chain {
    struct inspect *i;
    uint32_t *at; // blocks that count, in order
    size_t n;
    uint64_t sealed; // the newest block of which only the number is known
};

static bool follows(const struct chain *c, size_t n, const BlockHead *b)
{
    if (n == 0)
        return b->predecessor == c->sealed;
    const BlockHead *before = &c->i->blocks[c->at[n - 1]].head;
    return b->predecessor == before->number && b->previous_crc == before->crc;
}

static uint64_t newest(const struct chain *c)
{
    return c->n > 0 ? c->i->blocks[c->at[c->n - 1]].head.number : c->sealed;
}

static uint64_t newest_epoch(const struct chain *c)
{
    return c->n > 0 ? c->i->blocks[c->at[c->n - 1]].head.epoch : 0;
}

// How many blocks of the chain count before this one, which begins a later epoch; SIZE_MAX: it does
// not go on from any.
static size_t place_before(const struct chain *c, const BlockHead *b)
{
    for (size_t n = c->n;; n--) {
        if (follows(c, n, b))
            return n;
        if (n == 0)
            return SIZE_MAX;
    }
}

static void take(struct chain *c, uint32_t k, InspectState state)
{
    c->i->blocks[k].state = state;
    c->at[c->n++] = k;
}

static void add(struct chain *c, uint32_t k)
{
    InspectBlock *b = &c->i->blocks[k];
    b->state = b->head.number <= c->sealed ? INSPECT_OVER : INSPECT_VOID;
    if (b->state == INSPECT_OVER)
        return;
    if (follows(c, c->n, &b->head) && b->head.epoch >= newest_epoch(c)) {
        take(c, k, INSPECT_COUNTS);
        return;
    }
    size_t place = b->head.epoch > newest_epoch(c) ? place_before(c, &b->head) : SIZE_MAX;
    if (place != SIZE_MAX) {
        while (c->n > place)
            c->i->blocks[c->at[--c->n]].state = INSPECT_VOID;
        take(c, k, INSPECT_COUNTS);
        return;
    }
    if (b->head.durable <= newest(c))
        return;
    inspect_problem(c->i, c->i->files[b->file].name, b->head.place,
                    fail(ERR_CORRUPT, "blocks before this one are damaged or missing"));
    take(c, k, INSPECT_DETACHED);
}

// Blocks of one append count together, once the last of them is there.
static void drop_partial(struct chain *c)
{
    for (size_t first = 0; first < c->n;) {
        const InspectBlock *b = &c->i->blocks[c->at[first]];
        size_t n = 1;
        while (first + n < c->n && n < b->head.parts) {
            const InspectBlock *next = &c->i->blocks[c->at[first + n]];
            if (next->head.epoch != b->head.epoch || next->head.parts != b->head.parts ||
                next->head.part != b->head.part + n)
                break;
            n++;
        }
        // The first blocks of the append may be sealed; then it was whole.
        bool from_start = b->head.part == 0 || (first == 0 && c->sealed != 0);
        bool whole = from_start && (size_t)b->head.part + n == b->head.parts;
        for (size_t k = 0; k < n && !whole; k++)
            c->i->blocks[c->at[first + k]].state = INSPECT_PARTIAL;
        first += n;
    }
}

// Without the checkpoint only the containers tell how far the journal is over: blocks are sealed in
// order, so everything up to the newest sealed record is.
static uint64_t sealed_block(const struct inspect *i)
{
    if (i->has_checkpoint)
        return i->checkpoint.sealed_block;
    uint64_t newest = 0;
    for (size_t k = 0; k < i->container_count; k++)
        if (i->containers[k].is_listed)
            newest = MAX(newest, i->containers[k].facts.last_position);
    return newest >> POSITION_ORDINAL_BITS;
}

void inspect_chain(struct inspect *i)
{
    struct chain c = { .i = i,
                       .at = xalloc(mul_checked(MAX(i->block_count, (size_t)1), sizeof *c.at)),
                       .sealed = sealed_block(i) };
    for (size_t k = 0; k < i->block_count; k++)
        add(&c, (uint32_t)k);
    drop_partial(&c);
    free(c.at);
}

// SPDX-License-Identifier: Apache-2.0
#include "columnar/dictionary.h"
#include "base/map.h"
#include "base/memory.h"
#include "codec/little.h"

#include <stdlib.h>

enum { SLOTS_FIRST = 256, LENGTH_BYTES = 4 };

void dictionary_init(struct dictionary *d, size_t fixed_bytes)
{
    // Clients choose the values; without the secret they cannot choose what collides.
    *d = (struct dictionary){ .fixed = fixed_bytes, .secret = map_hash(S("dictionary")) };
}

void dictionary_done(struct dictionary *d)
{
    buf_done(&d->bytes);
    free(d->offsets);
    free(d->slots);
    *d = (struct dictionary){ 0 };
}

void dictionary_clear(struct dictionary *d)
{
    buf_clear(&d->bytes);
    d->n = 0;
    if (d->slots != NULL)
        memset(d->slots, 0, d->slot_count * sizeof *d->slots);
}

static uint64_t fold(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t load(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static uint64_t hash(const struct dictionary *d, Str s)
{
    const uint64_t prime = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t h = d->secret ^ s.n;
    size_t at = 0;
    for (; s.n - at > 8; at += 8)
        h = fold(h ^ load(s.p + at), prime ^ d->secret);
    size_t rest = s.n - at;
    uint64_t last = rest == 0 ? 0 : load(s.p + at);
    if (rest < 8) {
        uint64_t mask = 0;
        memset(&mask, 0xff, rest);
        last &= mask;
    }
    return fold(h ^ last, UINT64_C(0xd6e8feb86659fd93) ^ d->secret);
}

Str dictionary_text(const struct dictionary *d, size_t number)
{
    const char *p = d->bytes.p + d->offsets[number];
    return str_from(p, d->fixed > 0 ? d->fixed : get32((const uint8_t *)p - LENGTH_BYTES));
}

static Err no_memory(void)
{
    return fail(ERR_MEMORY, "no memory for a dictionary");
}

static void put_slot(struct dictionary *d, uint64_t h, uint32_t number)
{
    size_t mask = d->slot_count - 1, i = h & mask;
    while (d->slots[i].number != 0)
        i = (i + 1) & mask;
    d->slots[i] = (struct dictionary_slot){ (uint32_t)(h >> 32), number };
}

static Err grow(struct dictionary *d)
{
    size_t count = MAX(d->slot_count * 2, (size_t)SLOTS_FIRST), cap = count / 2;
    uint32_t *offsets = memory_try_resize(d->offsets, cap * sizeof *offsets);
    if (offsets == NULL)
        return no_memory();
    d->offsets = offsets;
    struct dictionary_slot *slots = memory_try_zeroed(count * sizeof *slots);
    if (slots == NULL)
        return no_memory();
    free(d->slots);
    d->slots = slots;
    d->slot_count = count;
    d->cap = cap;
    for (size_t i = 0; i < d->n; i++)
        put_slot(d, hash(d, dictionary_text(d, i)), (uint32_t)i + 1);
    return OK;
}

Err dictionary_add(struct dictionary *d, Str s, uint32_t *ret)
{
    if (d->n == d->cap)
        TRY(grow(d));
    uint64_t h = hash(d, s);
    size_t mask = d->slot_count - 1;
    for (size_t i = h & mask; d->slots[i].number != 0; i = (i + 1) & mask) {
        uint32_t number = d->slots[i].number - 1;
        if (d->slots[i].tag == (uint32_t)(h >> 32) && str_eq(dictionary_text(d, number), s)) {
            *ret = number;
            return OK;
        }
    }
    // With a text there is slack to read for its hash.
    if (!buf_reserve(&d->bytes, LENGTH_BYTES + s.n + sizeof(uint64_t)))
        return no_memory();
    if (d->fixed == 0) {
        put32((uint8_t *)d->bytes.p + d->bytes.n, (uint32_t)s.n);
        d->bytes.n += LENGTH_BYTES;
    }
    d->offsets[d->n] = (uint32_t)d->bytes.n;
    buf_add(&d->bytes, s);
    put_slot(d, h, (uint32_t)++d->n);
    *ret = (uint32_t)d->n - 1;
    return OK;
}

size_t dictionary_bytes(const struct dictionary *d)
{
    return d->bytes.cap + d->cap * sizeof *d->offsets + d->slot_count * sizeof *d->slots;
}

// SPDX-License-Identifier: Apache-2.0
// Bloom filters of ORC (BLOOM_FILTER_UTF8). A filter that its readers compute otherwise would hide
// rows, so only those columns have one whose hash is beyond doubt: whole numbers, doubles, dates,
// string and varchar. Of any other a missing filter is merely slower.
#include "base/memory.h"
#include "columnar/orc_priv.h"
#include "columnar/proto.h"

#include <math.h>
#include <stdlib.h>

enum { BITS_MAX = 1 << 27, WORD_BITS = 64, MURMUR_SEED = 104729 };

bool orc_bloom_takes(TypeKind k)
{
    return (k >= TYPE_TINYINT && k <= TYPE_BIGINT) || k == TYPE_DOUBLE || k == TYPE_DATE ||
           k == TYPE_STRING || k == TYPE_VARCHAR;
}

Err orc_bloom_open(uint64_t values, double fpp, struct orc_bloom **ret)
{
    double ln2 = log(2.0), wanted = -(double)values * log(fpp) / (ln2 * ln2);
    size_t bits = wanted < BITS_MAX ? (size_t)wanted : BITS_MAX;
    size_t words = bits / WORD_BITS + 1;
    struct orc_bloom *f = memory_try_zeroed(sizeof *f);
    if (f == NULL)
        return fail(ERR_MEMORY, "no memory for a bloom filter");
    f->words = words;
    f->bits = memory_try_zeroed(words * sizeof *f->bits);
    if (f->bits == NULL) {
        free(f);
        return fail(ERR_MEMORY, "no memory for a bloom filter");
    }
    double hashes = round((double)(words * WORD_BITS) / (double)values * ln2);
    f->hashes = hashes < 1 ? 1 : hashes > 64 ? 64 : (unsigned)hashes;
    *ret = f;
    return OK;
}

void orc_bloom_close(struct orc_bloom *f)
{
    if (f == NULL)
        return;
    free(f->bits);
    free(f);
}

static uint64_t rotate(uint64_t v, unsigned bits)
{
    return v << bits | v >> (64 - bits);
}

static uint64_t murmur_block(uint64_t k)
{
    return rotate(k * UINT64_C(0x87c37b91114253d5), 31) * UINT64_C(0x4cf5ad432745937f);
}

// Murmur3 with 64 bits, as Hive has it.
static uint64_t murmur(const char *p, size_t n)
{
    uint64_t h = MURMUR_SEED, k;
    size_t at = 0;
    for (; n - at >= 8; at += 8) {
        memcpy(&k, p + at, sizeof k);
        h = rotate(h ^ murmur_block(le64toh(k)), 27) * 5 + 0x52dce729;
    }
    if (at < n) {
        k = 0;
        for (size_t i = 0; at + i < n; i++)
            k |= (uint64_t)(uint8_t)p[at + i] << (8 * i);
        h ^= murmur_block(k);
    }
    h ^= n;
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

// A shift of Java: it keeps the sign.
static uint64_t shift_signed(uint64_t v, unsigned bits)
{
    uint64_t sign = v >> 63 ? UINT64_MAX << (64 - bits) : 0;
    return v >> bits | sign;
}

// Thomas Wang's hash of whole numbers.
static uint64_t wang(uint64_t key)
{
    key = ~key + (key << 21);
    key ^= shift_signed(key, 24);
    key = key + (key << 3) + (key << 8);
    key ^= shift_signed(key, 14);
    key = key + (key << 2) + (key << 4);
    key ^= shift_signed(key, 28);
    return key + (key << 31);
}

static void add_hash(struct orc_bloom *f, uint64_t hash)
{
    uint32_t first = (uint32_t)hash, second = (uint32_t)(hash >> 32);
    for (unsigned i = 1; i <= f->hashes; i++) {
        uint32_t both = first + i * second;
        uint64_t bit = (both >> 31 ? ~both : both) % (f->words * WORD_BITS);
        f->bits[bit / WORD_BITS] |= UINT64_C(1) << (bit % WORD_BITS);
    }
}

void orc_bloom_add(struct orc_bloom *f, const struct column *c)
{
    const char *p = c->bytes;
    for (size_t i = 0; i < c->dense; i++) {
        if (type_is_text(c->type->kind)) {
            add_hash(f, murmur(p, c->lengths[i]));
            p += c->lengths[i];
        } else {
            uint64_t v; // also the bits of a double
            memcpy(&v, &c->ints[i], sizeof v);
            add_hash(f, wang(v));
        }
    }
}

void orc_bloom_put(struct orc_bloom *f, struct buf *index)
{
    AUTO_BUF(b);
    proto_uint(&b, 1, f->hashes);
    for (size_t i = 0; i < f->words; i++)
        f->bits[i] = htole64(f->bits[i]);
    proto_bytes(&b, 3, str_from(f->bits, f->words * sizeof *f->bits));
    memset(f->bits, 0, f->words * sizeof *f->bits);
    proto_bytes(index, 1, buf_str(&b));
}

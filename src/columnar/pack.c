// SPDX-License-Identifier: Apache-2.0
#include "columnar/pack.h"
#include "base/memory.h"

#include <isa-l/igzip_lib.h>
#include <snappy-c.h>
#include <stdlib.h>

enum {
    LEVEL = 2, // of ISA-L's three: the third gains two in a hundred for half of the speed
    LEVEL_BYTES = ISAL_DEF_LVL2_DEFAULT,
    FRAME_BYTES = 64,        // of gzip around a block, with something to spare
    STORED_BLOCK_BYTES = 32, // deflate's frame of what does not get smaller, for each 4 KiB
};

struct pack {
    PackKind kind;
    uint8_t *level;
    struct isal_zstream stream;
};

Err pack_open(PackKind kind, struct pack **ret)
{
    AUTO(pack) p = memory_try_zeroed(sizeof *p);
    if (p == NULL)
        return fail(ERR_MEMORY, "no memory for a compressor");
    p->kind = kind;
    if (kind == PACK_GZIP || kind == PACK_DEFLATE) {
        p->level = memory_try(LEVEL_BYTES);
        if (p->level == NULL)
            return fail(ERR_MEMORY, "no memory for a compressor");
    }
    *ret = p;
    p = NULL;
    return OK;
}

void pack_close(struct pack *p)
{
    if (p == NULL)
        return;
    free(p->level);
    free(p);
}

size_t pack_room(const struct pack *p, size_t n)
{
    if (p->kind == PACK_NONE)
        return n;
    if (p->kind == PACK_SNAPPY)
        return snappy_max_compressed_length(n);
    return n + FRAME_BYTES + STORED_BLOCK_BYTES * (n / 4096 + 1);
}

static size_t deflate_block(struct pack *p, Str raw, char *out)
{
    struct isal_zstream *z = &p->stream;
    isal_deflate_stateless_init(z);
    z->gzip_flag = p->kind == PACK_GZIP ? IGZIP_GZIP : IGZIP_DEFLATE;
    z->level = LEVEL;
    z->level_buf = p->level;
    z->level_buf_size = LEVEL_BYTES;
    z->end_of_stream = 1;
    z->flush = NO_FLUSH;
    z->next_in = (uint8_t *)(uintptr_t)raw.p;
    z->avail_in = (uint32_t)raw.n;
    z->next_out = (uint8_t *)out;
    z->avail_out = (uint32_t)pack_room(p, raw.n);
    CHECK(isal_deflate_stateless(z) == COMP_OK);
    return z->total_out;
}

size_t pack_block(struct pack *p, Str raw, char *out)
{
    size_t n = pack_room(p, raw.n);
    CHECK(n < UINT32_MAX);
    if (p->kind == PACK_SNAPPY)
        CHECK(snappy_compress(raw.p, raw.n, out, &n) == SNAPPY_OK);
    else if (p->kind == PACK_NONE)
        memcpy(out, raw.p, raw.n);
    else
        n = deflate_block(p, raw, out);
    return n;
}

size_t pack_bytes(const struct pack *p)
{
    return sizeof *p + (p->level != NULL ? LEVEL_BYTES : 0);
}

// SPDX-License-Identifier: Apache-2.0
#include "codec/gzip.h"

#include <string.h>
#include <zlib.h>

enum {
    WINDOW_BITS_GZIP = 15 + 16, // zlib's way to say: gzip's header and checksum
    ROOM_BYTES_MIN = 4096,
};

// zlib counts in 32 bits.
static unsigned piece(size_t n)
{
    return (unsigned)MIN(n, (size_t)1 << 30);
}

static Err no_memory(void)
{
    return fail(ERR_MEMORY, "no memory for a compressed body");
}

// Twice the room for what is there already.
static Err grow(struct arena *a, char **at, size_t used, size_t *cap, size_t max_bytes)
{
    size_t more = MIN(MAX(*cap * 2, (size_t)ROOM_BYTES_MIN), max_bytes + 1);
    char *wider = arena_try_raw(a, more, 1);
    if (wider == NULL)
        return no_memory();
    if (used > 0)
        memcpy(wider, *at, used);
    *at = wider;
    *cap = more;
    return OK;
}

static Err unpack_all(z_stream *z, struct arena *a, Str packed, size_t max_bytes, Str *ret)
{
    char *at = NULL;
    size_t used = 0, cap = 0, left = packed.n;
    z->next_in = (Bytef *)(uintptr_t)packed.p;
    for (;;) {
        if (used == cap)
            TRY(grow(a, &at, used, &cap, max_bytes));
        unsigned room = piece(cap - used), fed = piece(left);
        z->next_out = (Bytef *)at + used;
        z->avail_out = room;
        z->avail_in = fed;
        int e = inflate(z, Z_NO_FLUSH);
        used += room - z->avail_out;
        left -= fed - z->avail_in;
        if (used > max_bytes)
            return fail(ERR_LIMIT, "a compressed body holds too much");
        if (e == Z_STREAM_END && left == 0)
            break;
        if (e == Z_STREAM_END)
            e = inflateReset(z); // another member follows
        if (e == Z_MEM_ERROR)
            return no_memory();
        if (e != Z_OK)
            return fail(ERR_INVALID, "a compressed body is damaged");
    }
    *ret = str_from(at, used);
    return OK;
}

Err gzip_unpack(struct arena *a, Str packed, size_t max_bytes, Str *ret)
{
    z_stream z = { 0 };
    if (inflateInit2(&z, WINDOW_BITS_GZIP) != Z_OK)
        return no_memory();
    Err e = unpack_all(&z, a, packed, max_bytes, ret);
    inflateEnd(&z);
    return e;
}

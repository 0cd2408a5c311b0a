// SPDX-License-Identifier: Apache-2.0
#include "delivery/deflate.h"
#include "base/memory.h"

#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <zlib.h>

enum {
    OUT_BYTES = 64 << 10,
    AT_ONCE = 1 << 30, // both libraries count in 32 bits
    SMALL_LEVEL = 6,
    SMALL_MEMORY = 8, // zlib's default
    RAW_WINDOW = -15, // 32 KiB, and nothing around the deflated bytes
};

// Not zeroed: ISA-L sets up what it uses. Of large memory, whose pages the next object uses again:
// fresh ones cost as much as a tenth of what is compressed for an object of half a megabyte. With
// half as many tokens as is ISA-L's default, files are 0.04 % larger, and what is worked with stays
// in a cache of half a megabyte: 3 % less time.
struct fast {
    struct isal_zstream stream;
    unsigned char level[ISAL_DEF_LVL1_MEDIUM];
    unsigned char packed[OUT_BYTES];
};
_Static_assert(sizeof(struct fast) >= MEMORY_LARGE_BYTES, "else it is no large memory");

struct small {
    z_stream stream;
    unsigned char packed[OUT_BYTES];
};

struct deflater {
    Err (*out)(void *self, Str bytes);
    void *self;
    bool is_small;
    struct fast *fast;   // NULL: not yet
    struct small *small; // NULL: not yet, or not any more
};

void deflater_open(bool small, Err (*out)(void *self, Str bytes), void *self, struct deflater **ret)
{
    struct deflater *d = xalloc(sizeof *d);
    d->out = out;
    d->self = self;
    d->is_small = small;
    *ret = d;
}

static void close_small(struct deflater *d)
{
    if (d->small != NULL)
        deflateEnd(&d->small->stream);
    free(d->small);
    d->small = NULL;
}

void deflater_close(struct deflater *d)
{
    if (d == NULL)
        return;
    close_small(d);
    if (d->fast != NULL)
        memory_give_large(d->fast, sizeof *d->fast);
    free(d);
}

void deflater_hurry(struct deflater *d)
{
    d->is_small = false;
}

static Err give(struct deflater *d, const unsigned char *packed, size_t n)
{
    return n > 0 ? d->out(d->self, str_from(packed, n)) : OK;
}

// ---- Fast

static void open_fast(struct deflater *d)
{
    d->fast = memory_get_large(sizeof *d->fast);
    struct isal_zstream *s = &d->fast->stream;
    isal_deflate_init(s);
    // Level 2 saves 0.4 %, level 3 takes three times as long. The window is the whole one: with 4
    // KiB generated lines become 3 % shorter, logs and documents 7 to 23 % longer.
    s->level = 1;
    s->level_buf = d->fast->level;
    s->level_buf_size = sizeof d->fast->level;
    s->gzip_flag = IGZIP_DEFLATE;
}

static Err write_fast(struct deflater *d, Str bytes, bool last)
{
    if (d->fast == NULL)
        open_fast(d);
    struct isal_zstream *s = &d->fast->stream;
    s->next_in = (uint8_t *)(uintptr_t)bytes.p;
    s->avail_in = (uint32_t)bytes.n;
    s->end_of_stream = last;
    do {
        s->next_out = d->fast->packed;
        s->avail_out = OUT_BYTES;
        if (isal_deflate(s) != COMP_OK)
            return fail(ERR_INVALID, "the compressor does not take what it is given");
        TRY(give(d, d->fast->packed, OUT_BYTES - s->avail_out));
    } while (s->avail_out == 0 || s->avail_in > 0);
    return OK;
}

// ---- Small

// False: there is no memory for it.
static bool open_small(struct deflater *d)
{
    d->small = memory_try(sizeof *d->small);
    if (d->small == NULL)
        return false;
    d->small->stream = (z_stream){ 0 };
    if (deflateInit2(&d->small->stream, SMALL_LEVEL, Z_DEFLATED, RAW_WINDOW, SMALL_MEMORY,
                     Z_DEFAULT_STRATEGY) == Z_OK)
        return true;
    free(d->small);
    d->small = NULL;
    return false;
}

static Err write_small(struct deflater *d, Str bytes, int flush)
{
    z_stream *s = &d->small->stream;
    s->next_in = (Bytef *)(uintptr_t)bytes.p;
    s->avail_in = (uInt)bytes.n;
    do {
        s->next_out = d->small->packed;
        s->avail_out = OUT_BYTES;
        if (deflate(s, flush) == Z_STREAM_ERROR)
            return fail(ERR_INVALID, "the compressor does not take what it is given");
        TRY(give(d, d->small->packed, OUT_BYTES - s->avail_out));
    } while (s->avail_out == 0);
    return OK;
}

// To the end of a byte, where other blocks may follow.
static Err end_small(struct deflater *d)
{
    if (d->small == NULL)
        return OK;
    TRY(write_small(d, S(""), Z_SYNC_FLUSH));
    close_small(d);
    return OK;
}

// ---- Both

static Err write_some(struct deflater *d, Str bytes, bool last)
{
    if (d->is_small && d->small == NULL && !open_small(d))
        d->is_small = false;
    if (d->is_small)
        return write_small(d, bytes, last ? Z_FINISH : Z_NO_FLUSH);
    TRY(end_small(d));
    return write_fast(d, bytes, last);
}

Err deflater_write(struct deflater *d, Str bytes, bool last)
{
    while (bytes.n > AT_ONCE) {
        TRY(write_some(d, str_head(bytes, AT_ONCE), false));
        bytes = str_skip(bytes, AT_ONCE);
    }
    return bytes.n > 0 || last ? write_some(d, bytes, last) : OK;
}

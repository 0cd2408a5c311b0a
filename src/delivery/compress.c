// SPDX-License-Identifier: Apache-2.0
// Formats: GZIP (RFC 1952); ZIP with one entry, deflated, whose sizes follow its bytes (APPNOTE
// 4.4.4, bit 3); Snappy's framing format (framing_format.txt of google/snappy); Hadoop's block
// format (BlockCompressorStream: for each block its length, then for each piece the compressed
// length and a raw Snappy block, lengths big-endian); Zstandard (RFC 8878).
#include "delivery/compress.h"
#include "base/arena.h"
#include "codec/crc.h"
#include "delivery/deflate.h"

#include <snappy-c.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum {
    OUT_BYTES = 64 << 10,
    FRAME_BYTES = 64 << 10,   // uncompressed, of a chunk of the framing format: its maximum
    HADOOP_BYTES = 256 << 10, // of a block: io.compression.codec.snappy.buffersize
    ZIP_NAME_BYTES_MAX = 65535,
};

struct compressor {
    DeliveryCompression kind;
    compressor_out out;
    void *self;
    uint64_t bytes, packed; // of the entry
    uint32_t crc;
    Str entry;
    struct deflater *deflate; // of GZIP and ZIP
    ZSTD_CCtx *zstd;
    unsigned char *packed_at; // of what is ready to go
    size_t packed_cap;
    char *block; // of Snappy: what waits for a whole block
    size_t block_n, block_cap;
    bool has_begun;
};

Str compression_extension(DeliveryCompression kind)
{
    static const Str extensions[] = {
        [DELIVERY_PLAIN] = S_INIT(""),
        [DELIVERY_GZIP] = S_INIT(".gz"),
        [DELIVERY_ZIP] = S_INIT(".zip"),
        [DELIVERY_SNAPPY] = S_INIT(".snappy"),
        [DELIVERY_HADOOP_SNAPPY] = S_INIT(".hsnappy"),
        [DELIVERY_ZSTD] = S_INIT(".zst"),
    };
    return extensions[kind];
}

static bool deflates(const struct compressor *c)
{
    return c->kind == DELIVERY_GZIP || c->kind == DELIVERY_ZIP;
}

static Err give(struct compressor *c, const void *p, size_t n)
{
    return n > 0 ? c->out(c->self, str_from(p, n)) : OK;
}

static Err take_deflated(void *self, Str bytes)
{
    struct compressor *c = self;
    c->packed += bytes.n;
    return give(c, bytes.p, bytes.n);
}

static void open_zstd(struct compressor *c)
{
    c->zstd = ZSTD_createCCtx();
    CHECK(c->zstd != NULL);
    CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_checksumFlag, 1)));
    c->packed_cap = OUT_BYTES;
}

static void open_snappy(struct compressor *c)
{
    c->block_cap = c->kind == DELIVERY_SNAPPY ? FRAME_BYTES : HADOOP_BYTES;
    c->block = xalloc(c->block_cap);
    c->packed_cap = snappy_max_compressed_length(c->block_cap);
}

void compressor_open(DeliveryCompression kind, bool small, Str entry, compressor_out out,
                     void *self, struct compressor **ret)
{
    struct compressor *c = xalloc(sizeof *c + entry.n);
    c->kind = kind;
    c->out = out;
    c->self = self;
    memcpy((char *)(c + 1), entry.p, entry.n);
    c->entry = str_from(c + 1, MIN(entry.n, (size_t)ZIP_NAME_BYTES_MAX));
    if (deflates(c))
        deflater_open(small, take_deflated, c, &c->deflate);
    else if (kind == DELIVERY_ZSTD)
        open_zstd(c);
    else if (kind != DELIVERY_PLAIN)
        open_snappy(c);
    if (c->packed_cap > 0)
        c->packed_at = xalloc(c->packed_cap);
    *ret = c;
}

void compressor_close(struct compressor *c)
{
    if (c == NULL)
        return;
    ZSTD_freeCCtx(c->zstd);
    deflater_close(c->deflate);
    free(c->packed_at);
    free(c->block);
    free(c);
}

void compressor_hurry(struct compressor *c)
{
    if (c->deflate != NULL)
        deflater_hurry(c->deflate);
}

static void put_le(unsigned char *p, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(value >> (8 * i));
}

static void put_be32(unsigned char *p, uint32_t value)
{
    for (size_t i = 0; i < 4; i++)
        p[i] = (unsigned char)(value >> (24 - 8 * i));
}

// ---- GZIP and ZIP

enum {
    GZIP_HEAD_BYTES = 10,
    GZIP_END_BYTES = 8,
    GZIP_DEFLATED = 8,
    ZIP_LOCAL_BYTES = 30,
    ZIP_DESCRIPTOR_BYTES = 16,
    ZIP_CENTRAL_BYTES = 46,
    ZIP_END_BYTES = 22,
    ZIP_VERSION = 20,        // 2.0: deflate
    ZIP_FLAGS = 8 | 1 << 11, // sizes follow; the name is UTF-8
    ZIP_DEFLATED = 8,
    ZIP_DATE_1980 = 1 << 5 | 1, // the earliest there is: no time is said
};

static Err begin_gzip(struct compressor *c)
{
    // No flags, no time, any system.
    static const unsigned char head[GZIP_HEAD_BYTES] = { 0x1f, 0x8b, GZIP_DEFLATED, [9] = 0xff };
    return give(c, head, sizeof head);
}

static Err end_gzip(struct compressor *c)
{
    unsigned char end[GZIP_END_BYTES];
    put_le(end, c->crc, 4);
    put_le(end + 4, c->bytes & UINT32_MAX, 4);
    return give(c, end, sizeof end);
}

// What the local header and the directory have in common, from the version on.
static void put_entry(unsigned char *p, const struct compressor *c, bool sized)
{
    put_le(p, ZIP_VERSION, 2);
    put_le(p + 2, ZIP_FLAGS, 2);
    put_le(p + 4, ZIP_DEFLATED, 2);
    put_le(p + 6, 0, 2);
    put_le(p + 8, ZIP_DATE_1980, 2);
    put_le(p + 10, sized ? c->crc : 0, 4);
    put_le(p + 14, sized ? c->packed : 0, 4);
    put_le(p + 18, sized ? c->bytes : 0, 4);
    put_le(p + 22, c->entry.n, 2);
    put_le(p + 24, 0, 2);
}

static Err begin_zip(struct compressor *c)
{
    unsigned char head[ZIP_LOCAL_BYTES];
    put_le(head, 0x04034b50, 4);
    put_entry(head + 4, c, false);
    TRY(give(c, head, sizeof head));
    return give(c, c->entry.p, c->entry.n);
}

static Err end_zip(struct compressor *c)
{
    unsigned char descriptor[ZIP_DESCRIPTOR_BYTES], central[ZIP_CENTRAL_BYTES] = { 0 },
                                                    end[ZIP_END_BYTES] = { 0 };
    if (c->bytes > UINT32_MAX || c->packed > UINT32_MAX)
        return fail(ERR_LIMIT, "more than 4 GiB do not go into a ZIP file");
    put_le(descriptor, 0x08074b50, 4);
    put_le(descriptor + 4, c->crc, 4);
    put_le(descriptor + 8, c->packed, 4);
    put_le(descriptor + 12, c->bytes, 4);
    TRY(give(c, descriptor, sizeof descriptor));
    put_le(central, 0x02014b50, 4);
    put_le(central + 4, ZIP_VERSION, 2);
    put_entry(central + 6, c, true);
    TRY(give(c, central, sizeof central));
    TRY(give(c, c->entry.p, c->entry.n));
    put_le(end, 0x06054b50, 4);
    put_le(end + 8, 1, 2);
    put_le(end + 10, 1, 2);
    put_le(end + 12, ZIP_CENTRAL_BYTES + c->entry.n, 4);
    put_le(end + 16, ZIP_LOCAL_BYTES + c->entry.n + c->packed + ZIP_DESCRIPTOR_BYTES, 4);
    return give(c, end, sizeof end);
}

static Err zstd_some(struct compressor *c, Str bytes, bool last)
{
    ZSTD_inBuffer in = { bytes.p, bytes.n, 0 };
    size_t left;
    do {
        ZSTD_outBuffer out = { c->packed_at, c->packed_cap, 0 };
        left = ZSTD_compressStream2(c->zstd, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return fail(ERR_INVALID, "the compressor does not take what it is given");
        TRY(give(c, c->packed_at, out.pos));
    } while (in.pos < in.size || (last && left > 0));
    return OK;
}

// ---- Snappy

static uint32_t masked(uint32_t crc)
{
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static Err end_frame(struct compressor *c)
{
    unsigned char head[8];
    size_t n = c->packed_cap;
    bool packs = snappy_compress(c->block, c->block_n, (char *)c->packed_at, &n) == SNAPPY_OK &&
                 n < c->block_n - c->block_n / 8; // else it is not worth unpacking
    Str body = packs ? str_from(c->packed_at, n) : str_from(c->block, c->block_n);
    head[0] = packs ? 0 : 1;
    put_le(head + 1, body.n + 4, 3);
    put_le(head + 4, masked(crc32c(0, c->block, c->block_n)), 4);
    TRY(give(c, head, sizeof head));
    return give(c, body.p, body.n);
}

static Err end_hadoop_block(struct compressor *c)
{
    unsigned char head[8];
    size_t n = c->packed_cap;
    if (snappy_compress(c->block, c->block_n, (char *)c->packed_at, &n) != SNAPPY_OK)
        return fail(ERR_INVALID, "Snappy does not take what it is given");
    put_be32(head, (uint32_t)c->block_n);
    put_be32(head + 4, (uint32_t)n);
    TRY(give(c, head, sizeof head));
    return give(c, c->packed_at, n);
}

static Err end_block(struct compressor *c)
{
    if (c->block_n == 0)
        return OK;
    Err e = c->kind == DELIVERY_SNAPPY ? end_frame(c) : end_hadoop_block(c);
    c->block_n = 0;
    return e;
}

static Err fill_blocks(struct compressor *c, Str bytes)
{
    while (bytes.n > 0) {
        size_t n = MIN(bytes.n, c->block_cap - c->block_n);
        memcpy(c->block + c->block_n, bytes.p, n);
        c->block_n += n;
        bytes = str_skip(bytes, n);
        if (c->block_n == c->block_cap)
            TRY(end_block(c));
    }
    return OK;
}

// ---- All

static Err begin(struct compressor *c)
{
    if (c->has_begun)
        return OK;
    c->has_begun = true;
    if (c->kind == DELIVERY_ZIP)
        return begin_zip(c);
    if (c->kind == DELIVERY_GZIP)
        return begin_gzip(c);
    return c->kind == DELIVERY_SNAPPY ? give(c, "\xff\x06\x00\x00sNaPpY", 10) : OK;
}

Err compressor_write(struct compressor *c, Str bytes)
{
    TRY(begin(c));
    if (c->kind == DELIVERY_PLAIN)
        return give(c, bytes.p, bytes.n);
    c->bytes += bytes.n;
    if (c->kind == DELIVERY_ZSTD)
        return zstd_some(c, bytes, false);
    if (!deflates(c))
        return fill_blocks(c, bytes);
    c->crc = crc32_zlib(c->crc, bytes.p, bytes.n);
    return deflater_write(c->deflate, bytes, false);
}

Err compressor_finish(struct compressor *c)
{
    TRY(begin(c));
    if (deflates(c))
        TRY(deflater_write(c->deflate, S(""), true));
    else if (c->kind == DELIVERY_ZSTD)
        TRY(zstd_some(c, S(""), true));
    else if (c->kind != DELIVERY_PLAIN)
        TRY(end_block(c));
    if (c->kind == DELIVERY_ZIP)
        return end_zip(c);
    return c->kind == DELIVERY_GZIP ? end_gzip(c) : OK;
}

// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "codec/gzip.h"
#include "delivery/compress.h"

#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

static Err take(void *self, Str bytes)
{
    buf_add(self, bytes);
    return OK;
}

// What a compressor makes of the text, given in pieces of so many bytes.
static void compress_to(struct buf *out, DeliveryCompression kind, Str text, size_t piece)
{
    AUTO(compressor) c = NULL;
    compressor_open(kind, false, S("stream-1"), take, out, &c);
    for (size_t at = 0; at < text.n; at += piece)
        EXPECT_OK(compressor_write(c, str_head(str_skip(text, at), piece)));
    EXPECT_OK(compressor_finish(c));
}

static Str sample(struct arena *a, size_t n)
{
    char *p = arena_alloc(a, n, 1);
    uint32_t x = 7;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = i % 100 < 60 ? (char)('a' + i % 7) : (char)(x >> 24); // packs, but not to nothing
    }
    return str_from(p, n);
}

static uint32_t le32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

static uint32_t be32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

TEST(gzip_gives_back_what_went_in)
{
    const size_t sizes[] = { 0, 1, 100, 65536, 1000000 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        AUTO_BUF(out);
        Str text = sample(a, sizes[i]), got;
        compress_to(&out, DELIVERY_GZIP, text, 7777);
        EXPECT_OK(gzip_unpack(a, buf_str(&out), 2000000, &got));
        EXPECT(str_eq(text, got));
        EXPECT(text.n < 10000 || out.n < text.n);
    }
}

// Lines as logs have them: words that come again, and numbers that do not.
static Str log_lines(struct arena *a, size_t n)
{
    static const char *const levels[] = { "INFO", "WARN", "ERROR", "DEBUG" };
    AUTO_BUF(b);
    uint32_t x = 7;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        buf_addf(&b, "{\"at\":%zu,\"level\":\"%s\",\"took_us\":%u,\"path\":\"/orders/%u\"}\n",
                 1700000000 + i / 7, levels[x >> 30], x >> 16 & 0xfff, x >> 8 & 0x3ff);
    }
    return str_dup(a, buf_str(&b));
}

static size_t zlib_bytes(struct arena *a, Str text)
{
    uLongf n = compressBound(text.n);
    EXPECT(compress2(arena_alloc(a, n, 1), &n, (const Bytef *)text.p, text.n, 6) == Z_OK);
    return n;
}

// Deflated with much work up to a byte, with little from there on.
static void compress_hurrying(struct buf *out, DeliveryCompression kind, Str text, size_t at)
{
    AUTO(compressor) c = NULL;
    compressor_open(kind, true, S("stream-1"), take, out, &c);
    EXPECT_OK(compressor_write(c, str_head(text, at)));
    compressor_hurry(c);
    EXPECT_OK(compressor_write(c, str_skip(text, at)));
    EXPECT_OK(compressor_finish(c));
}

TEST(much_work_makes_files_as_small_as_zlib_does)
{
    AUTO_BUF(small);
    AUTO_BUF(fast);
    Str text = log_lines(a, 20000), got;
    size_t zlib = zlib_bytes(a, text);
    compress_hurrying(&small, DELIVERY_GZIP, text, text.n);
    compress_to(&fast, DELIVERY_GZIP, text, text.n);
    EXPECT(small.n <= zlib + 100);
    EXPECT(fast.n > small.n);
    EXPECT_OK(gzip_unpack(a, buf_str(&small), text.n, &got));
    EXPECT(str_eq(text, got));
}

TEST(a_file_that_is_hurried_at_any_byte_gives_back_what_went_in)
{
    Str text = log_lines(a, 3000), got;
    const size_t places[] = { 0, 1, 2, 3, 100, 32768, 65535, 65536, 100000, text.n - 1, text.n };
    AUTO_BUF(fast);
    compress_to(&fast, DELIVERY_GZIP, text, text.n);
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        AUTO_BUF(out);
        compress_hurrying(&out, DELIVERY_GZIP, text, places[i]);
        EXPECT_OK(gzip_unpack(a, buf_str(&out), text.n, &got));
        EXPECT(str_eq(text, got));
        EXPECT(places[i] > 0 || str_eq(buf_str(&fast), buf_str(&out))); // nothing was begun
        EXPECT_INT(crc32(0, (const Bytef *)text.p, (uInt)text.n), le32(out.p + out.n - 8));
    }
}

TEST(plain_is_what_went_in)
{
    AUTO_BUF(out);
    compress_to(&out, DELIVERY_PLAIN, S("one\ntwo\n"), 3);
    EXPECT_STR(S("one\ntwo\n"), buf_str(&out));
}

// By the directory at its end, as readers do it.
static void expect_zip(struct arena *a, const struct buf *zip, Str text)
{
    struct buf out = *zip;
    const char *end = out.p + out.n - 22;
    EXPECT_INT(0x06054b50, le32(end));
    const char *central = out.p + le32(end + 16);
    EXPECT_INT(out.n - 22, le32(end + 16) + le32(end + 12));
    EXPECT_INT(0x02014b50, le32(central));
    EXPECT_STR(S("stream-1"), str_from(central + 46, 8));
    uint32_t packed = le32(central + 20), bytes = le32(central + 24);
    EXPECT_INT(text.n, bytes);
    EXPECT_INT(0x04034b50, le32(out.p));
    const char *data = out.p + 30 + 8;
    z_stream z = { .next_in = (Bytef *)(uintptr_t)data, .avail_in = packed };
    char *got = arena_alloc(a, bytes + 1, 1);
    EXPECT(inflateInit2(&z, -15) == Z_OK);
    z.next_out = (Bytef *)got;
    z.avail_out = bytes + 1;
    EXPECT(inflate(&z, Z_FINISH) == Z_STREAM_END);
    inflateEnd(&z);
    EXPECT(str_eq(text, str_from(got, bytes)));
    EXPECT_INT(crc32(0, (const Bytef *)text.p, (uInt)text.n), le32(central + 16));
    EXPECT_INT(0x08074b50, le32(data + packed)); // sizes behind the data
}

TEST(a_zip_file_has_one_entry_with_what_went_in)
{
    AUTO_BUF(fast);
    AUTO_BUF(small);
    AUTO_BUF(both);
    Str text = sample(a, 300000);
    compress_to(&fast, DELIVERY_ZIP, text, 10000);
    expect_zip(a, &fast, text);
    compress_hurrying(&small, DELIVERY_ZIP, text, text.n);
    expect_zip(a, &small, text);
    compress_hurrying(&both, DELIVERY_ZIP, text, 100000);
    expect_zip(a, &both, text);
}

TEST(snappy_is_the_framing_format)
{
    AUTO_BUF(out);
    AUTO_BUF(got);
    Str text = sample(a, 200000);
    compress_to(&out, DELIVERY_SNAPPY, text, 33333);
    EXPECT(str_starts(buf_str(&out), S("\xff\x06\x00\x00sNaPpY")));
    for (size_t at = 10; at < out.n;) {
        uint32_t head = le32(out.p + at), n = head >> 8;
        const char *body = out.p + at + 8;
        EXPECT((head & 0xff) <= 1 && n >= 4);
        size_t size = n - 4;
        char *piece = arena_alloc(a, 65536, 1);
        if ((head & 0xff) == 1) {
            memcpy(piece, body, size);
        } else {
            size_t room = 65536;
            EXPECT(snappy_uncompress(body, size, piece, &room) == SNAPPY_OK);
            size = room;
        }
        buf_add(&got, str_from(piece, size));
        at += 4 + n;
    }
    EXPECT(str_eq(text, buf_str(&got)));
}

TEST(hadoop_snappy_is_blocks_with_two_lengths)
{
    AUTO_BUF(out);
    AUTO_BUF(got);
    Str text = sample(a, 600000);
    compress_to(&out, DELIVERY_HADOOP_SNAPPY, text, 100000);
    for (size_t at = 0; at < out.n;) {
        uint32_t bytes = be32(out.p + at), packed = be32(out.p + at + 4);
        size_t room = bytes;
        char *piece = arena_alloc(a, bytes, 1);
        EXPECT(snappy_uncompress(out.p + at + 8, packed, piece, &room) == SNAPPY_OK);
        EXPECT_INT(bytes, room);
        buf_add(&got, str_from(piece, room));
        at += 8 + packed;
    }
    EXPECT(str_eq(text, buf_str(&got)));
}

TEST(zstandard_gives_back_what_it_was_given)
{
    AUTO_BUF(out);
    Str text = sample(a, 600000);
    compress_to(&out, DELIVERY_ZSTD, text, 100000);
    char *got = arena_alloc(a, text.n + 1, 1);
    EXPECT_INT(text.n, ZSTD_decompress(got, text.n + 1, out.p, out.n));
    EXPECT(str_eq(text, str_from(got, text.n)));
    AUTO_BUF(none);
    compress_to(&none, DELIVERY_ZSTD, S(""), 1);
    EXPECT_INT(0, ZSTD_decompress(got, text.n, none.p, none.n));
    EXPECT_STR(S(".zst"), compression_extension(DELIVERY_ZSTD));
}

static Err refuse(void *self, Str bytes)
{
    (void)bytes;
    return --*(int *)self < 0 ? fail(ERR_IO, "injected") : OK;
}

TEST(an_error_of_whoever_takes_the_bytes_ends_the_compression)
{
    for (int kind = DELIVERY_PLAIN; kind <= DELIVERY_ZSTD; kind++) {
        Str text = sample(a, 400000);
        for (int passes = 0; passes < 2; passes++) {
            int left = passes;
            AUTO(compressor) c = NULL;
            compressor_open((DeliveryCompression)kind, passes == 0, S("e"), refuse, &left, &c);
            Err e = compressor_write(c, text);
            for (int i = 0; i < 3 && e.kind == ERR_NONE; i++)
                e = compressor_write(c, text);
            EXPECT(e.kind == ERR_IO);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
#include "codec/gzip.h"
#include "base/test.h"

#include <string.h>
#include <zlib.h>

enum { GZIP_WINDOW_BITS = 31, MEMORY_LEVEL = 8 };

static Str pack(struct arena *a, Str plain)
{
    z_stream z = { 0 };
    EXPECT_INT(Z_OK,
               deflateInit2(&z, 9, Z_DEFLATED, GZIP_WINDOW_BITS, MEMORY_LEVEL, Z_DEFAULT_STRATEGY));
    size_t room = deflateBound(&z, plain.n);
    char *out = arena_alloc(a, room, 1);
    z.next_in = (Bytef *)(uintptr_t)plain.p;
    z.avail_in = (unsigned)plain.n;
    z.next_out = (Bytef *)out;
    z.avail_out = (unsigned)room;
    EXPECT_INT(Z_STREAM_END, deflate(&z, Z_FINISH));
    size_t n = room - z.avail_out;
    deflateEnd(&z);
    return str_from(out, n);
}

static Str many(struct arena *a, size_t n)
{
    char *p = arena_alloc(a, n, 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)('a' + i * i % 26);
    return str_from(p, n);
}

TEST(what_was_packed_comes_back)
{
    static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 100000 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        Str plain = many(a, sizes[i]), got;
        EXPECT_OK(gzip_unpack(a, pack(a, plain), sizes[i], &got));
        EXPECT(str_eq(plain, got));
    }
}

TEST(members_are_joined)
{
    Str got;
    EXPECT_OK(gzip_unpack(a, str_cat(a, pack(a, S("one,")), pack(a, S("two"))), 100, &got));
    EXPECT_STR(S("one,two"), got);
}

TEST(no_more_than_the_maximum_is_unpacked)
{
    Str packed = pack(a, many(a, 1 << 20)), got;
    EXPECT_ERR(ERR_LIMIT, gzip_unpack(a, packed, (1 << 20) - 1, &got));
    EXPECT_ERR(ERR_LIMIT, gzip_unpack(a, packed, 0, &got));
    EXPECT_OK(gzip_unpack(a, packed, 1 << 20, &got));
}

TEST(damaged_and_short_bodies_are_refused)
{
    Str packed = pack(a, many(a, 10000)), got;
    for (size_t n = 0; n < packed.n; n += 97)
        EXPECT_ERR(ERR_INVALID, gzip_unpack(a, str_head(packed, n), 1 << 20, &got));
    EXPECT_ERR(ERR_INVALID, gzip_unpack(a, S("plain text, no gzip at all"), 1 << 20, &got));

    char *bent = arena_alloc(a, packed.n, 1);
    memcpy(bent, packed.p, packed.n);
    bent[packed.n - 6] ^= 1; // in the checksum
    EXPECT_ERR(ERR_INVALID, gzip_unpack(a, str_from(bent, packed.n), 1 << 20, &got));
}

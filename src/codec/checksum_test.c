// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "codec/checksum.h"
#include "codec/hash.h"

static Str of(struct arena *a, ChecksumKind kind, Str bytes)
{
    unsigned char out[CHECKSUM_BYTES_MAX];
    checksum_of(kind, bytes, out);
    return hex_str(a, out, checksum_bytes(kind));
}

// The check values of the catalogues of CRCs, and of the standards' own examples.
TEST(known_messages_have_their_known_checksums)
{
    EXPECT_STR(S("cbf43926"), of(a, CHECKSUM_CRC32, S("123456789")));
    EXPECT_STR(S("e3069283"), of(a, CHECKSUM_CRC32C, S("123456789")));
    EXPECT_STR(S("ae8b14860a799888"), of(a, CHECKSUM_CRC64NVME, S("123456789")));
    EXPECT_STR(S("a9993e364706816aba3e25717850c26c9cd0d89d"), of(a, CHECKSUM_SHA1, S("abc")));
    EXPECT_STR(S("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
               of(a, CHECKSUM_SHA256, S("abc")));
    EXPECT_STR(S("900150983cd24fb0d6963f7d28e17f72"), of(a, CHECKSUM_MD5, S("abc")));
    EXPECT_STR(S("0000000000000000"), of(a, CHECKSUM_CRC64NVME, S("")));
}

TEST(pieces_of_any_size_give_the_same_checksum)
{
    enum { BYTES = 1000 };
    unsigned char bytes[BYTES];
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 13);
    for (ChecksumKind kind = 0; kind < CHECKSUM_KINDS; kind++) {
        Str whole = of(a, kind, str_from(bytes, BYTES));
        for (size_t piece = 1; piece < 40; piece += 3) {
            AUTO(checksum) c = NULL;
            unsigned char out[CHECKSUM_BYTES_MAX];
            checksum_open(kind, &c);
            for (size_t at = 0; at < BYTES; at += piece)
                checksum_add(c, bytes + at, MIN(piece, BYTES - at));
            checksum_end(c, out);
            EXPECT_STR(whole, hex_str(a, out, checksum_bytes(kind)));
        }
    }
}

TEST(checksums_of_two_parts_join_to_that_of_the_whole)
{
    enum { BYTES = 777 };
    char bytes[BYTES];
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * 31 + 5);
    for (ChecksumKind kind = CHECKSUM_CRC32; kind <= CHECKSUM_CRC64NVME; kind++)
        for (size_t cut = 0; cut <= BYTES; cut += 37) {
            unsigned char first[CHECKSUM_BYTES_MAX], second[CHECKSUM_BYTES_MAX];
            checksum_of(kind, str_from(bytes, cut), first);
            checksum_of(kind, str_from(bytes + cut, BYTES - cut), second);
            checksum_join(kind, first, second, BYTES - cut);
            EXPECT_STR(of(a, kind, str_from(bytes, BYTES)),
                       hex_str(a, first, checksum_bytes(kind)));
        }
}

// SPDX-License-Identifier: Apache-2.0
#include "codec/crc.h"

#include <isa-l/crc.h>

// ISA-L counts bytes of crc32_iscsi in an int.
enum { CRC_PIECE_BYTES = 1 << 30 };

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    uintptr_t at = (uintptr_t)p; // ISA-L takes a pointer to mutable bytes, but only reads them
    uint32_t inverted = ~crc;    // and leaves the complement at both ends to its caller
    while (n > 0) {
        size_t piece = MIN(n, (size_t)CRC_PIECE_BYTES);
        inverted = crc32_iscsi((unsigned char *)at, (int)piece, inverted);
        at += piece;
        n -= piece;
    }
    return ~inverted;
}

uint32_t crc32_zlib(uint32_t crc, const void *p, size_t n)
{
    return crc32_gzip_refl(crc, p, n); // it complements at both ends by itself
}

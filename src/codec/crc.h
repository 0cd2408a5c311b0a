// SPDX-License-Identifier: Apache-2.0
// CRC32C (Castagnoli, RFC 3720) and the CRC-32 of zlib and gzip (ISO-HDLC), by ISA-L
// and, where it is faster, crc_fold.h.
#pragma once
#include "base/str.h"

// Of zlib. Reflected: the bit of x^0 is the highest.
#define CRC32_POLYNOMIAL UINT64_C(0xedb88320)

// Start with 0; feed the result back in to continue over several pieces.
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
uint32_t crc32_zlib(uint32_t crc, const void *p, size_t n);

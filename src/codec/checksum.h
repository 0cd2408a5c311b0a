// SPDX-License-Identifier: Apache-2.0
// Checksums and digests of bytes that come in pieces, behind one face: those by which objects are
// verified. CRC-32 (ISO 3309), CRC32C (RFC 3720) and SHA-256 have functions of their own as well.
// CRC-64/NVME is the one of the NVM Express Base Specification (polynomial 0xad93d23594c93659,
// reflected, complemented at both ends). SHA-1 and MD5 by OpenSSL.
#pragma once
#include "base/str.h"

typedef enum ChecksumKind {
    CHECKSUM_CRC32,
    CHECKSUM_CRC32C,
    CHECKSUM_CRC64NVME,
    CHECKSUM_SHA1,
    CHECKSUM_SHA256,
    CHECKSUM_MD5,
    CHECKSUM_KINDS,
} ChecksumKind;

enum { CHECKSUM_BYTES_MAX = 32 };

size_t checksum_bytes(ChecksumKind kind);
bool checksum_is_crc(ChecksumKind kind);

struct checksum;
void checksum_open(ChecksumKind kind, struct checksum **ret);
void checksum_close(struct checksum *c); // NULL is fine
AUTO_CLOSE(checksum)
void checksum_add(struct checksum *c, const void *p, size_t n);
// checksum_bytes(kind) bytes, the most significant first. Nothing may be added afterwards.
void checksum_end(struct checksum *c, unsigned char out[CHECKSUM_BYTES_MAX]);

void checksum_of(ChecksumKind kind, Str bytes, unsigned char out[CHECKSUM_BYTES_MAX]);

// Of a CRC: `out` becomes the checksum of bytes whose first part has the checksum `out` and whose
// second part, `bytes` long, has `next`.
void checksum_join(ChecksumKind kind, unsigned char out[CHECKSUM_BYTES_MAX],
                   const unsigned char *next, uint64_t bytes);

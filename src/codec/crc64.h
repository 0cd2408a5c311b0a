// SPDX-License-Identifier: Apache-2.0
// CRC-64/NVME of the NVM Express Base Specification: polynomial 0xad93d23594c93659, reflected,
// complemented at both ends.
#pragma once
#include "base/str.h"

#define CRC64_NVME_POLYNOMIAL \
    UINT64_C(0x9a6c9329ac4bc9b5) // reflected: the bit of x^0 is the highest

uint64_t crc64_nvme(uint64_t crc, const void *p, size_t n); // `crc` of what was before; 0: nothing

// Polynomials modulo that of a reflected CRC, whose highest bit is `highest`.
uint64_t crc_times(uint64_t x, uint64_t y, uint64_t polynomial, uint64_t highest);
uint64_t crc_power_of_x(uint64_t n, uint64_t polynomial, uint64_t highest);

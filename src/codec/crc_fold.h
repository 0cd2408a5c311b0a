// SPDX-License-Identifier: Apache-2.0
// Reflected CRCs of up to 64 bits by multiplication without carries, where the processor has it
// (Gopal and others, "Fast CRC computation for generic polynomials using PCLMULQDQ instruction",
// Intel 2009): blocks of 16 bytes come down to a single one, whose CRC is that of all of them. The
// forms know no polynomial; they are given powers of x.
#pragma once
#include "codec/kernel.h"

enum {
    CRC_BLOCK = 16,
    CRC_LANES_MAX = 8,
    CRC_FOLD_BYTES_MIN = CRC_LANES_MAX * CRC_BLOCK, // less is not worth it
};

// What a block is multiplied with to come down by so many blocks: [0] for its low half, [1] for its
// high half.
struct crc_folds {
    uint64_t one[2], two[2], four[2], eight[2];
};

// Of a polynomial as crc_power_of_x wants it.
void crc_folds_make(struct crc_folds *f, uint64_t polynomial, uint64_t highest);

struct crc_kernel {
    struct kernel kernel;
    // Of at least CRC_FOLD_BYTES_MIN bytes takes whole blocks: those come to the same from the
    // register `state` as `last` does from a register of zero. Returns how many bytes that were.
    // NULL: the polynomial's own way alone.
    size_t (*fold)(const struct crc_folds *by, uint64_t state, const unsigned char *p, size_t n,
                   unsigned char last[CRC_BLOCK]);
};

#if defined(__x86_64__)
extern const struct crc_kernel crc_vpclmul, crc_pclmul;
size_t crc_vpclmul_fold(const struct crc_folds *by, uint64_t state, const unsigned char *p,
                        size_t n, unsigned char last[CRC_BLOCK]);
#elif defined(__aarch64__)
extern const struct crc_kernel crc_pmull;
#endif
extern struct kernel_choice crc64_choice, crc32_choice;

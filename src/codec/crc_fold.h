// SPDX-License-Identifier: Apache-2.0
// The forms of CRC-64: by eight tables, eight bytes in a step; long runs by multiplication without
// carries where the processor has it (Gopal and others, "Fast CRC computation for generic
// polynomials using PCLMULQDQ instruction", Intel 2009).
#pragma once
#include "codec/crc64.h"
#include "codec/kernel.h"

enum { CRC64_BLOCK = 16, CRC64_LANES = 4, CRC64_FOLD_BYTES_MIN = CRC64_LANES * CRC64_BLOCK };

// What a block is multiplied with to come down by one block, and by all lanes: [0] for its low
// half, [1] for its high half.
struct crc64_folds {
    uint64_t one[2], lanes[2];
};

struct crc64_kernel {
    struct kernel kernel;
    // Of at least CRC64_FOLD_BYTES_MIN bytes takes whole blocks: those come to the same as `last`
    // does from a register of zero. Returns how many bytes that were. NULL: by tables alone.
    size_t (*fold)(const struct crc64_folds *by, uint64_t state, const unsigned char *p, size_t n,
                   unsigned char last[CRC64_BLOCK]);
};

#if defined(__x86_64__)
extern const struct crc64_kernel crc64_pclmul;
#elif defined(__aarch64__)
extern const struct crc64_kernel crc64_pmull;
#endif
extern struct kernel_choice crc64_choice;

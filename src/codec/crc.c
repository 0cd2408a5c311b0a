// SPDX-License-Identifier: Apache-2.0
#include "codec/crc.h"
#include "codec/crc64.h"
#include "codec/crc_fold.h"

#include <isa-l/crc.h>
#include <pthread.h>

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

// ---- CRC-32

// ISA-L multiplies two halves of one block at a time, or of four with AVX-512; this is between.
#if defined(__x86_64__)
static bool is_faster(void)
{
    return processor_has_vpclmul() && !processor_has_avx512();
}

static const struct crc_kernel crc32_vpclmul = { { "vpclmul", is_faster }, crc_vpclmul_fold };
#endif
static const struct crc_kernel crc32_isal = { { "isa-l", processor_always }, NULL };

static const struct kernel *const crc32_kernels[] = {
#if defined(__x86_64__)
    &crc32_vpclmul.kernel,
#endif
    &crc32_isal.kernel,
};
struct kernel_choice crc32_choice = { crc32_kernels, COUNT_OF(crc32_kernels), NULL };

static struct crc_folds folds;
static pthread_once_t folds_once = PTHREAD_ONCE_INIT;

static void make_folds(void)
{
    crc_folds_make(&folds, CRC32_POLYNOMIAL, UINT64_C(1) << 31);
}

uint32_t crc32_zlib(uint32_t crc, const void *p, size_t n)
{
    const struct crc_kernel *k = (const struct crc_kernel *)kernel_get(&crc32_choice);
    const unsigned char *bytes = p;
    size_t done = 0;
    if (k->fold != NULL && n >= CRC_FOLD_BYTES_MIN) {
        unsigned char last[CRC_BLOCK];
        pthread_once(&folds_once, make_folds);
        done = k->fold(&folds, (uint32_t)~crc, bytes, n, last);
        crc = crc32_gzip_refl(UINT32_MAX, last, sizeof last);
    }
    return crc32_gzip_refl(crc, bytes + done, n - done); // it complements at both ends by itself
}

// SPDX-License-Identifier: Apache-2.0
#include "codec/crc64.h"
#include "codec/crc_fold.h"

#include <pthread.h>
#include <string.h>

uint64_t crc_times(uint64_t x, uint64_t y, uint64_t polynomial, uint64_t highest)
{
    uint64_t product = 0;
    for (uint64_t bit = highest; bit != 0; bit >>= 1) {
        if ((x & bit) != 0)
            product ^= y;
        y = (y & 1) != 0 ? (y >> 1) ^ polynomial : y >> 1;
    }
    return product;
}

uint64_t crc_power_of_x(uint64_t n, uint64_t polynomial, uint64_t highest)
{
    uint64_t power = highest, square = highest >> 1; // x^0 and x^1
    for (; n > 0; n >>= 1) {
        if ((n & 1) != 0)
            power = crc_times(power, square, polynomial, highest);
        square = crc_times(square, square, polynomial, highest);
    }
    return power;
}

// The first eight bytes of a block are the terms of x^64 and above. The product of two reflected
// numbers of 64 bits is x times too large, hence the ones less. A shorter CRC's powers stand in the
// upper bits of such a number.
static void fold_by(uint64_t by[2], uint64_t blocks, uint64_t polynomial, uint64_t highest)
{
    uint64_t bits = 8 * CRC_BLOCK * blocks, up = UINT64_C(1) << 63;
    by[0] = crc_power_of_x(bits + 63, polynomial, highest) * (up / highest);
    by[1] = crc_power_of_x(bits - 1, polynomial, highest) * (up / highest);
}

void crc_folds_make(struct crc_folds *f, uint64_t polynomial, uint64_t highest)
{
    fold_by(f->one, 1, polynomial, highest);
    fold_by(f->two, 2, polynomial, highest);
    fold_by(f->four, 4, polynomial, highest);
    fold_by(f->eight, 8, polynomial, highest);
}

// ---- Tables

enum { STEP = 8, BYTE_VALUES = 256 };
static uint64_t table[STEP][BYTE_VALUES];
static struct crc_folds folds;
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_make(void)
{
    for (size_t i = 0; i < BYTE_VALUES; i++) {
        uint64_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = (c & 1) != 0 ? (c >> 1) ^ CRC64_NVME_POLYNOMIAL : c >> 1;
        table[0][i] = c;
    }
    for (size_t k = 1; k < STEP; k++)
        for (size_t i = 0; i < BYTE_VALUES; i++)
            table[k][i] = table[0][table[k - 1][i] & 0xff] ^ (table[k - 1][i] >> 8);
    crc_folds_make(&folds, CRC64_NVME_POLYNOMIAL, UINT64_C(1) << 63);
}

// `state` is the register, complemented at both ends by the caller.
static uint64_t by_tables(uint64_t state, const unsigned char *p, size_t n)
{
    for (; n >= STEP; n -= STEP, p += STEP) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        state ^= word; // little endian, as all machines that this runs on
        state = table[7][state & 0xff] ^ table[6][(state >> 8) & 0xff] ^
                table[5][(state >> 16) & 0xff] ^ table[4][(state >> 24) & 0xff] ^
                table[3][(state >> 32) & 0xff] ^ table[2][(state >> 40) & 0xff] ^
                table[1][(state >> 48) & 0xff] ^ table[0][state >> 56];
    }
    for (; n > 0; n--, p++)
        state = table[0][(state ^ *p) & 0xff] ^ (state >> 8);
    return state;
}

// ---- The choice

static const struct crc_kernel crc64_scalar = { { "scalar", processor_always }, NULL };

static const struct kernel *const kernels[] = {
#if defined(__x86_64__)
    &crc_vpclmul.kernel,
    &crc_pclmul.kernel,
#elif defined(__aarch64__)
    &crc_pmull.kernel,
#endif
    &crc64_scalar.kernel,
};
struct kernel_choice crc64_choice = { kernels, COUNT_OF(kernels), NULL };

uint64_t crc64_nvme(uint64_t crc, const void *p, size_t n)
{
    const struct crc_kernel *k = (const struct crc_kernel *)kernel_get(&crc64_choice);
    const unsigned char *bytes = p;
    uint64_t state = ~crc;
    size_t done = 0;
    pthread_once(&table_once, table_make);
    if (k->fold != NULL && n >= CRC_FOLD_BYTES_MIN) {
        unsigned char last[CRC_BLOCK];
        done = k->fold(&folds, state, bytes, n, last);
        state = by_tables(0, last, sizeof last);
    }
    return ~by_tables(state, bytes + done, n - done);
}

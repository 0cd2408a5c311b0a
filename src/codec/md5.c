// SPDX-License-Identifier: Apache-2.0
#include "codec/md5_priv.h"

#include <endian.h>
#include <string.h>

const uint32_t md5_sines[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

const uint8_t md5_turns[16] = { 7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21 };

// ---- Scalar: RFC 1321, 3.4.

// Unrolled, so that the function and the word of each step are known when it is compiled.
__attribute__((always_inline)) static inline void step(uint32_t s[4], const uint32_t *block, int i)
{
    uint32_t b = s[1], c = s[2], d = s[3], f;
    int word;
    if (i < 16) {
        f = d ^ (b & (c ^ d));
        word = i;
    } else if (i < 32) {
        f = c ^ (d & (b ^ c));
        word = (5 * i + 1) & 15;
    } else if (i < 48) {
        f = b ^ c ^ d;
        word = (3 * i + 5) & 15;
    } else {
        f = c ^ (b | ~d);
        word = (7 * i) & 15;
    }
    unsigned by = md5_turns[i / 16 * 4 + i % 4];
    uint32_t sum = s[0] + f + md5_sines[i] + le32toh(block[word]);
    s[0] = d;
    s[3] = c;
    s[2] = b;
    s[1] = b + (sum << by | sum >> (32 - by));
}

static void one_block(uint32_t state[4], const uint32_t *block)
{
    uint32_t s[4] = { state[0], state[1], state[2], state[3] };
#pragma GCC unroll 64
    for (int i = 0; i < 64; i++)
        step(s, block, i);
    for (int i = 0; i < 4; i++)
        state[i] += s[i];
}

void md5_scalar(const void *p, size_t n, unsigned char out[MD5_BYTES])
{
    uint32_t state[4] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476 };
    uint32_t block[MD5_BLOCK_BYTES / 4];
    const unsigned char *bytes = p;
    size_t left = n;
    for (; left >= sizeof block; left -= sizeof block, bytes += sizeof block) {
        memcpy(block, bytes, sizeof block);
        one_block(state, block);
    }
    unsigned char end[2 * MD5_BLOCK_BYTES] = { 0 };
    size_t end_bytes = left > MD5_SHORT_BYTES_MAX ? sizeof end : sizeof end / 2;
    uint64_t bits = htole64((uint64_t)n * 8);
    if (left > 0)
        memcpy(end, bytes, left);
    end[left] = 0x80;
    memcpy(end + end_bytes - sizeof bits, &bits, sizeof bits);
    for (size_t at = 0; at < end_bytes; at += sizeof block) {
        memcpy(block, end + at, sizeof block);
        one_block(state, block);
    }
    for (size_t i = 0; i < COUNT_OF(state); i++)
        state[i] = htole32(state[i]);
    memcpy(out, state, MD5_BYTES);
}

void md5_short_block(Str message, uint32_t block[MD5_BLOCK_BYTES / 4])
{
    unsigned char *bytes = (unsigned char *)block;
    uint32_t bits = htole32((uint32_t)message.n * 8);
    CHECK(message.n <= MD5_SHORT_BYTES_MAX);
    memset(block, 0, MD5_BLOCK_BYTES);
    if (message.n > 0)
        memcpy(block, message.p, message.n);
    bytes[message.n] = 0x80;
    memcpy(&block[14], &bits, sizeof bits);
}

void md5(const void *p, size_t n, unsigned char out[MD5_BYTES])
{
    md5_scalar(p, n, out);
}

// ---- Many

static const struct md5_kernel md5_one = { { "scalar", processor_always }, 1, NULL };

static const struct kernel *const kernels[] = {
#if defined(__x86_64__)
    &md5_avx512.kernel,
    &md5_avx2.kernel,
    &md5_sse2.kernel,
#elif defined(__aarch64__)
    &md5_neon.kernel,
#endif
    &md5_one.kernel,
};
struct kernel_choice md5_choice = { kernels, COUNT_OF(kernels), NULL };

// Of so few messages one after the other is as fast.
enum { LANES_WORTH_IT = 3 };

// The lanes that are gathered; those that are empty hash nothing into nowhere.
struct lanes {
    const struct md5_kernel *kernel;
    Str messages[MD5_LANES_MAX];
    unsigned char *out[MD5_LANES_MAX];
    size_t n;
};

static void lanes_run(struct lanes *l)
{
    unsigned char nowhere[MD5_BYTES];
    if (l->n < LANES_WORTH_IT) {
        for (size_t i = 0; i < l->n; i++)
            md5_scalar(l->messages[i].p, l->messages[i].n, l->out[i]);
    } else {
        for (size_t i = l->n; i < l->kernel->lanes; i++) {
            l->messages[i] = S("");
            l->out[i] = nowhere;
        }
        l->kernel->run(l->messages, l->out);
    }
    l->n = 0;
}

void md5_many(const Str *messages, size_t n, unsigned char (*out)[MD5_BYTES])
{
    struct lanes l = { .kernel = (const struct md5_kernel *)kernel_get(&md5_choice) };
    for (size_t i = 0; i < n; i++) {
        if (messages[i].n > MD5_SHORT_BYTES_MAX) {
            md5_scalar(messages[i].p, messages[i].n, out[i]);
            continue;
        }
        l.messages[l.n] = messages[i];
        l.out[l.n++] = out[i];
        if (l.n == l.kernel->lanes)
            lanes_run(&l);
    }
    lanes_run(&l);
}

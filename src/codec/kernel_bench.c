// SPDX-License-Identifier: Apache-2.0
// What each form of each kernel does in a second of processor time; the best of several short runs,
// as other programs only ever take time away. `headrace-kernels` prints a line per form.
#include "codec/base64_priv.h"
#include "codec/crc.h"
#include "codec/crc64.h"
#include "codec/crc_fold.h"
#include "codec/md5_priv.h"
#include "codec/sha256_priv.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    BYTES = 1 << 16, // in the second-level cache
    RECORD_BYTES = 1024,
    SHORT_BYTES = 100,
    KEYS = 500,
    KEY_BYTES = 16,
    RUNS = 10,
    RUN_NS = 20000000,
};

static char input[BYTES], text[BYTES * 2], output[BYTES * 2];
static unsigned char digests[KEYS][MD5_BYTES];
static Str keys[KEYS];
static unsigned char sums[2][SHA256_BYTES];

static int64_t processor_time(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// `work` returns how much it did once: bytes, or messages. The result is per nanosecond.
static double best_rate(size_t (*work)(void))
{
    double best = 0;
    for (int run = 0; run < RUNS; run++) {
        size_t done = 0;
        int64_t start = processor_time(), took = 0;
        while (took < RUN_NS) {
            for (int i = 0; i < 8; i++)
                done += work();
            took = processor_time() - start;
        }
        best = MAX(best, (double)done / (double)took);
    }
    return best;
}

static void measure(struct kernel_choice *c, const char *what, size_t (*work)(void), double scale,
                    const char *unit)
{
    for (size_t i = 0; i < c->count; i++) {
        if (!c->table[i]->supported())
            continue;
        kernel_use(c, c->table[i]);
        printf("%-34s %-8s %8.2f %s\n", what, c->table[i]->name, best_rate(work) * scale, unit);
    }
    kernel_use(c, NULL);
}

static size_t encode(void)
{
    base64_encode(text, input, BYTES);
    return BYTES;
}

static size_t decode(void)
{
    size_t n = base64_encoded_bytes(BYTES);
    CHECK(base64_decode(output, text, n).fault == BASE64_GOOD);
    return n;
}

// Records as a put finds them: behind the quote the request goes on.
static size_t decode_quoted(void)
{
    size_t n = base64_encoded_bytes(RECORD_BYTES), bytes, characters;
    CHECK(base64_decode_quoted(output, text, sizeof text, &bytes, &characters) && characters == n);
    return n;
}

static size_t check_quoted(void)
{
    size_t n = base64_encoded_bytes(RECORD_BYTES), bytes, characters;
    CHECK(base64_check_quoted(text, sizeof text, &bytes, &characters) && characters == n);
    return n;
}

static size_t decode_good(void)
{
    base64_decode_good(output, text, RECORD_BYTES);
    return base64_encoded_bytes(RECORD_BYTES);
}

static size_t encode_short(void)
{
    base64_encode(output, input, SHORT_BYTES);
    return SHORT_BYTES;
}

static size_t decode_short(void)
{
    size_t n = base64_encoded_bytes(SHORT_BYTES) - 4;
    CHECK(base64_decode(output, text, n).fault == BASE64_GOOD);
    return n;
}

static size_t keys_md5(void)
{
    md5_many(keys, KEYS, digests);
    return KEYS;
}

static size_t sha256_of_one(void)
{
    sha256(input, BYTES, sums[0]);
    return BYTES;
}

static size_t sha256_of_two(void)
{
    sha256_pair(str_from(input, BYTES / 2), str_from(input + BYTES / 2, BYTES / 2), sums[0],
                sums[1]);
    return BYTES;
}

static size_t crc64(void)
{
    uint64_t crc = crc64_nvme(0, input, BYTES);
    memcpy(output, &crc, sizeof crc);
    return BYTES;
}

static size_t crc32(void)
{
    uint32_t crc = crc32_zlib(0, input, BYTES);
    memcpy(output, &crc, sizeof crc);
    return BYTES;
}

int main(void)
{
    for (size_t i = 0; i < BYTES; i++)
        input[i] = (char)(i * i * 31 + i / 5);
    for (size_t i = 0; i < KEYS; i++)
        keys[i] = str_from(input + i * KEY_BYTES, KEY_BYTES);
    measure(&base64_choice, "base64 encode, 64 KiB", encode, 1, "GB/s");
    measure(&base64_choice, "base64 decode, 64 KiB", decode, 1, "GB/s");
    measure(&base64_choice, "base64 encode, 100 bytes", encode_short, 1, "GB/s");
    measure(&base64_choice, "base64 decode, 100 bytes", decode_short, 1, "GB/s");
    base64_encode_scalar(text, input, RECORD_BYTES);
    text[base64_encoded_bytes(RECORD_BYTES)] = '"';
    measure(&base64_choice, "base64 decode to a quote, 1 KiB", decode_quoted, 1, "GB/s");
    measure(&base64_choice, "base64 check to a quote, 1 KiB", check_quoted, 1, "GB/s");
    measure(&base64_choice, "base64 decode what is good, 1 KiB", decode_good, 1, "GB/s");
    measure(&md5_choice, "MD5 of keys of 16 bytes", keys_md5, 1000, "M/s");
    measure(&sha256_choice, "SHA-256, one message", sha256_of_one, 1, "GB/s");
    measure(&sha256_choice, "SHA-256, two messages", sha256_of_two, 1, "GB/s");
    measure(&crc32_choice, "CRC-32, 64 KiB", crc32, 1, "GB/s");
    measure(&crc64_choice, "CRC-64/NVME, 64 KiB", crc64, 1, "GB/s");
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include "codec/base64_priv.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// The value of a character plus one, so that the rest of the table is "not in the alphabet".
static const unsigned char value_plus_one[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

void base64_encode_scalar(char *out, const void *in, size_t n)
{
    const unsigned char *p = in;
    size_t i = 0;
    for (; n - i >= 3; i += 3, out += 4) {
        uint32_t group = (uint32_t)p[i] << 16 | (uint32_t)p[i + 1] << 8 | p[i + 2];
        out[0] = alphabet[group >> 18];
        out[1] = alphabet[group >> 12 & 63];
        out[2] = alphabet[group >> 6 & 63];
        out[3] = alphabet[group & 63];
    }
    if (i < n) {
        uint32_t group = (uint32_t)p[i] << 16 | (n - i == 2 ? (uint32_t)p[i + 1] << 8 : 0);
        out[0] = alphabet[group >> 18];
        out[1] = alphabet[group >> 12 & 63];
        out[2] = n - i == 2 ? alphabet[group >> 6 & 63] : '=';
        out[3] = '=';
    }
}

// Joins `count` characters at in[at] into *ret_group, six bits each; false: *ret_bad is the place
// of one outside the alphabet.
static bool join(const char *in, size_t at, size_t count, uint32_t *ret_group, size_t *ret_bad)
{
    uint32_t group = 0;
    for (size_t i = at; i < at + count; i++) {
        unsigned value = value_plus_one[(unsigned char)in[i]];
        if (value == 0) {
            *ret_bad = i;
            return false;
        }
        group = group << 6 | (value - 1);
    }
    *ret_group = group;
    return true;
}

Base64Result base64_decode_scalar(void *out, const char *in, size_t n)
{
    unsigned char *p = out; // never ahead of what has been read: in place is safe
    uint32_t group = 0;
    size_t bad = 0, written = 0, at = 0;
    if (n % 4 != 0)
        return (Base64Result){ .fault = BASE64_LENGTH };
    size_t pads = 0;
    while (pads < MIN(n, 2) && in[n - 1 - pads] == '=')
        pads++;
    size_t whole = pads > 0 ? n - 4 : n;
    for (; at < whole; at += 4) {
        if (!join(in, at, 4, &group, &bad))
            return (Base64Result){ .n = written, .fault = BASE64_CHARACTER, .fault_at = bad };
        p[written++] = (unsigned char)(group >> 16);
        p[written++] = (unsigned char)(group >> 8);
        p[written++] = (unsigned char)group;
    }
    if (pads == 0)
        return (Base64Result){ .n = written };

    if (!join(in, at, 4 - pads, &group, &bad))
        return (Base64Result){ .n = written, .fault = BASE64_CHARACTER, .fault_at = bad };
    uint32_t unused_bits = pads == 1 ? 0x3 : 0xf;
    if ((group & unused_bits) != 0)
        return (Base64Result){ .n = written, .fault = BASE64_LAST, .fault_at = n - 1 - pads };
    group <<= 6 * pads;
    p[written++] = (unsigned char)(group >> 16);
    if (pads == 1)
        p[written++] = (unsigned char)(group >> 8);
    return (Base64Result){ .n = written };
}

// ---- The choice

static size_t takes_nothing(void *out, const char *in, size_t n)
{
    (void)out;
    (void)in;
    (void)n;
    return 0;
}

static size_t encode_takes_nothing(char *out, const void *in, size_t n)
{
    return takes_nothing(out, in, n);
}

static size_t check_takes_nothing(const char *in, size_t n)
{
    return takes_nothing(NULL, in, n);
}

const struct base64_kernel base64_scalar = {
    { "scalar", processor_always },
    encode_takes_nothing,
    takes_nothing,
    takes_nothing,
    check_takes_nothing,
    takes_nothing,
};

static const struct kernel *const kernels[] = {
#if defined(__x86_64__)
    &base64_avx512.kernel,
    &base64_avx2.kernel,
    &base64_sse41.kernel,
#elif defined(__aarch64__)
    &base64_neon.kernel,
#endif
    &base64_scalar.kernel,
};
struct kernel_choice base64_choice = { kernels, COUNT_OF(kernels), NULL };

static const struct base64_kernel *kernel(void)
{
    return (const struct base64_kernel *)kernel_get(&base64_choice);
}

const char *base64_kind(void)
{
    return kernel()->kernel.name;
}

void base64_encode(char *out, const void *in, size_t n)
{
    size_t done = kernel()->encode(out, in, n);
    base64_encode_scalar(out + done / 3 * 4, (const char *)in + done, n - done);
}

Base64Result base64_decode(void *out, const char *in, size_t n)
{
    if (n % 4 != 0)
        return (Base64Result){ .fault = BASE64_LENGTH };
    size_t done = kernel()->decode(out, in, n);
    Base64Result r = base64_decode_scalar((char *)out + done / 4 * 3, in + done, n - done);
    r.n += done / 4 * 3;
    r.fault_at += r.fault != BASE64_GOOD ? done : 0;
    return r;
}

// The first `done` characters are decoded; goes on from there to the quote.
static bool decode_to_quote(void *out, const char *in, size_t n, size_t done, size_t *ret_bytes,
                            size_t *ret_characters)
{
    const char *quote = n > done ? memchr(in + done, '"', n - done) : NULL;
    if (quote == NULL)
        return false;
    size_t characters = (size_t)(quote - in);
    Base64Result r = base64_decode_scalar((char *)out + done / 4 * 3, in + done, characters - done);
    *ret_bytes = done / 4 * 3 + r.n;
    *ret_characters = characters;
    return r.fault == BASE64_GOOD;
}

bool base64_decode_quoted_scalar(void *out, const char *in, size_t n, size_t *ret_bytes,
                                 size_t *ret_characters)
{
    return decode_to_quote(out, in, n, 0, ret_bytes, ret_characters);
}

bool base64_decode_quoted(void *out, const char *in, size_t n, size_t *ret_bytes,
                          size_t *ret_characters)
{
    size_t done = kernel()->decode_run(out, in, n);
    return decode_to_quote(out, in, n, done, ret_bytes, ret_characters);
}

// The first `done` characters are in the alphabet; goes on from there to the quote.
static bool check_to_quote(const char *in, size_t n, size_t done, size_t *ret_bytes,
                           size_t *ret_characters)
{
    size_t at = done, pads = 0;
    while (at < n && value_plus_one[(unsigned char)in[at]] != 0)
        at++;
    while (pads < 2 && pads < n - at && in[at + pads] == '=')
        pads++;
    size_t characters = at + pads;
    if (characters == n || in[characters] != '"' || characters % 4 != 0)
        return false;
    unsigned unused_bits = pads == 0 ? 0 : pads == 1 ? 0x3 : 0xf;
    if (pads > 0 && ((value_plus_one[(unsigned char)in[at - 1]] - 1U) & unused_bits) != 0)
        return false;
    *ret_bytes = characters / 4 * 3 - pads;
    *ret_characters = characters;
    return true;
}

bool base64_check_quoted(const char *in, size_t n, size_t *ret_bytes, size_t *ret_characters)
{
    return check_to_quote(in, n, kernel()->check_run(in, n), ret_bytes, ret_characters);
}

// A group that stands for one or two bytes.
static void decode_padded(unsigned char *out, const char *in, size_t bytes)
{
    uint32_t group = 0;
    size_t bad = 0;
    CHECK(join(in, 0, bytes + 1, &group, &bad));
    out[0] = (unsigned char)(group >> (bytes == 1 ? 4 : 10));
    if (bytes == 2)
        out[1] = (unsigned char)(group >> 2);
}

void base64_decode_good(void *out, const char *in, size_t bytes)
{
    size_t whole = bytes / 3 * 4, done = kernel()->decode_good(out, in, whole);
    char *p = out;
    if (done < whole) {
        Base64Result r = base64_decode_scalar(p + done / 4 * 3, in + done, whole - done);
        CHECK(r.fault == BASE64_GOOD);
    }
    if (bytes % 3 != 0)
        decode_padded((unsigned char *)p + whole / 4 * 3, in + whole, bytes % 3);
}

void blob_copy(void *out, Blob b)
{
    if (b.is_base64)
        base64_decode_good(out, b.p, b.n);
    else if (b.n > 0)
        memcpy(out, b.p, b.n);
}

Str blob_bytes(struct arena *a, Blob b)
{
    if (!b.is_base64)
        return str_from(b.p, b.n);
    char *bytes = arena_alloc(a, MAX(b.n, (size_t)1), 1);
    blob_copy(bytes, b);
    return str_from(bytes, b.n);
}

void buf_add_base64(struct buf *b, Str bytes)
{
    size_t n = base64_encoded_bytes(bytes.n);
    if (n == 0 || !buf_reserve(b, n))
        return;
    base64_encode(b->p + b->n, bytes.p, bytes.n);
    b->n += n;
}

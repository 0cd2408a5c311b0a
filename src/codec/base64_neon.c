// SPDX-License-Identifier: Apache-2.0
// The loads of NEON take groups apart and its stores put them together: lane i of four vectors
// holds the four characters of group i, lane i of three its three bytes. Characters and values come
// from tables of 64 bytes.
#include "codec/base64_priv.h"

#if defined(__aarch64__)
#include <arm_neon.h>

static const uint8_t alphabet[65] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// The values of the characters 0 to 63, and of 64 to 127.
#define NONE 255
static const uint8_t values_low[64] = {
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE,
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE,
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, 62,   NONE, NONE, NONE, 63,
    52,   53,   54,   55,   56,   57,   58,   59,   60,   61,   NONE, NONE, NONE, NONE, NONE, NONE,
};
static const uint8_t values_high[64] = {
    NONE, 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,   11,   12,   13,   14,
    15,   16, 17, 18, 19, 20, 21, 22, 23, 24, 25, NONE, NONE, NONE, NONE, NONE,
    NONE, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36,   37,   38,   39,   40,
    41,   42, 43, 44, 45, 46, 47, 48, 49, 50, 51, NONE, NONE, NONE, NONE, NONE,
};

enum {
    WIDE_GROUPS = 16, // of a turn in full vectors
    HALF_GROUPS = 8,  // of a turn in half vectors, for the rest
};

static inline void encode_wide(char *out, const uint8_t *p, uint8x16x4_t table)
{
    const uint8x16_t six = vdupq_n_u8(0x3f);
    uint8x16x3_t b = vld3q_u8(p);
    uint8x16x4_t c;
    c.val[0] = vqtbl4q_u8(table, vshrq_n_u8(b.val[0], 2));
    c.val[1] = vqtbl4q_u8(table, vandq_u8(vsliq_n_u8(vshrq_n_u8(b.val[1], 4), b.val[0], 4), six));
    c.val[2] = vqtbl4q_u8(table, vandq_u8(vsliq_n_u8(vshrq_n_u8(b.val[2], 6), b.val[1], 2), six));
    c.val[3] = vqtbl4q_u8(table, vandq_u8(b.val[2], six));
    vst4q_u8((uint8_t *)out, c);
}

static inline void encode_half(char *out, const uint8_t *p, uint8x16x4_t table)
{
    const uint8x8_t six = vdup_n_u8(0x3f);
    uint8x8x3_t b = vld3_u8(p);
    uint8x8x4_t c;
    c.val[0] = vqtbl4_u8(table, vshr_n_u8(b.val[0], 2));
    c.val[1] = vqtbl4_u8(table, vand_u8(vsli_n_u8(vshr_n_u8(b.val[1], 4), b.val[0], 4), six));
    c.val[2] = vqtbl4_u8(table, vand_u8(vsli_n_u8(vshr_n_u8(b.val[2], 6), b.val[1], 2), six));
    c.val[3] = vqtbl4_u8(table, vand_u8(b.val[2], six));
    vst4_u8((uint8_t *)out, c);
}

static size_t encode(char *out, const void *in, size_t n)
{
    const uint8x16x4_t table = vld1q_u8_x4(alphabet);
    const uint8_t *p = in;
    size_t at = 0;
    for (; n - at >= 3 * WIDE_GROUPS; at += 3 * WIDE_GROUPS, out += 4 * WIDE_GROUPS)
        encode_wide(out, p + at, table);
    for (; n - at >= 3 * HALF_GROUPS; at += 3 * HALF_GROUPS, out += 4 * HALF_GROUPS)
        encode_half(out, p + at, table);
    return at;
}

struct tables {
    uint8x16x4_t low, high;
};

// The value of each character; the highest bit is set in *refused where one has none. A table gives
// nothing beyond its 64 bytes: the high one leaves there what the low one gave, and what neither
// holds has its own highest bit set.
static inline uint8x16_t values_wide(struct tables t, uint8x16_t c, uint8x16_t *refused)
{
    uint8x16_t values = vqtbl4q_u8(t.low, c);
    values = vqtbx4q_u8(values, t.high, vsubq_u8(c, vdupq_n_u8(64)));
    *refused = vorrq_u8(*refused, vorrq_u8(values, c));
    return values;
}

static inline uint8x8_t values_half(struct tables t, uint8x8_t c, uint8x8_t *refused)
{
    uint8x8_t values = vqtbl4_u8(t.low, c);
    values = vqtbx4_u8(values, t.high, vsub_u8(c, vdup_n_u8(64)));
    *refused = vorr_u8(*refused, vorr_u8(values, c));
    return values;
}

// Sixteen groups. The result has the highest bit of lane i set where group i is refused; the bytes
// are stored if none is, or in any case.
static inline uint8x16_t decode_wide(uint8_t *out, const char *in, struct tables t, bool anyway)
{
    uint8x16x4_t c = vld4q_u8((const uint8_t *)in);
    uint8x16_t refused = vdupq_n_u8(0), v[4];
    for (int i = 0; i < 4; i++)
        v[i] = values_wide(t, c.val[i], &refused);
    if (!anyway && vmaxvq_u8(refused) > 127)
        return refused;
    uint8x16x3_t b;
    b.val[0] = vorrq_u8(vshlq_n_u8(v[0], 2), vshrq_n_u8(v[1], 4));
    b.val[1] = vorrq_u8(vshlq_n_u8(v[1], 4), vshrq_n_u8(v[2], 2));
    b.val[2] = vorrq_u8(vshlq_n_u8(v[2], 6), v[3]);
    vst3q_u8(out, b);
    return refused;
}

static inline uint8x8_t decode_half(uint8_t *out, const char *in, struct tables t, bool anyway)
{
    uint8x8x4_t c = vld4_u8((const uint8_t *)in);
    uint8x8_t refused = vdup_n_u8(0), v[4];
    for (int i = 0; i < 4; i++)
        v[i] = values_half(t, c.val[i], &refused);
    if (!anyway && vmaxv_u8(refused) > 127)
        return refused;
    uint8x8x3_t b;
    b.val[0] = vorr_u8(vshl_n_u8(v[0], 2), vshr_n_u8(v[1], 4));
    b.val[1] = vorr_u8(vshl_n_u8(v[1], 4), vshr_n_u8(v[2], 2));
    b.val[2] = vorr_u8(vshl_n_u8(v[2], 6), v[3]);
    vst3_u8(out, b);
    return refused;
}

static struct tables tables_load(void)
{
    return (struct tables){ vld1q_u8_x4(values_low), vld1q_u8_x4(values_high) };
}

// Loads all of a turn before it stores, and a store begins at or before the place that was read: in
// place is safe. It writes no byte that does not count.
static size_t decode(void *out, const char *in, size_t n)
{
    const struct tables t = tables_load();
    uint8_t *p = out;
    size_t at = 0;
    for (; n - at >= 4 * WIDE_GROUPS; at += 4 * WIDE_GROUPS, p += 3 * WIDE_GROUPS)
        if (vmaxvq_u8(decode_wide(p, in + at, t, false)) > 127)
            return at;
    for (; n - at >= 4 * HALF_GROUPS; at += 4 * HALF_GROUPS, p += 3 * HALF_GROUPS)
        if (vmaxv_u8(decode_half(p, in + at, t, false)) > 127)
            return at;
    return at;
}

// How many of eight lanes are before the first whose highest bit is set.
static inline size_t good_before(uint8x8_t refused)
{
    uint64_t lanes = vget_lane_u64(vreinterpret_u64_u8(refused), 0) & UINT64_C(0x8080808080808080);
    return lanes == 0 ? 8 : (size_t)__builtin_ctzll(lanes) / 8;
}

static size_t decode_run(void *out, const char *in, size_t n)
{
    const struct tables t = tables_load();
    uint8_t *p = out;
    size_t at = 0;
    for (; n - at >= 4 * WIDE_GROUPS; at += 4 * WIDE_GROUPS, p += 3 * WIDE_GROUPS) {
        uint8x16_t refused = decode_wide(p, in + at, t, true);
        if (vmaxvq_u8(refused) > 127) {
            size_t good = good_before(vget_low_u8(refused));
            good += good == HALF_GROUPS ? good_before(vget_high_u8(refused)) : 0;
            return at + 4 * good;
        }
    }
    for (; n - at >= 4 * HALF_GROUPS; at += 4 * HALF_GROUPS, p += 3 * HALF_GROUPS) {
        uint8x8_t refused = decode_half(p, in + at, t, true);
        if (vmaxv_u8(refused) > 127)
            return at + 4 * good_before(refused);
    }
    return at;
}

static size_t check_run(const char *in, size_t n)
{
    const struct tables t = tables_load();
    size_t at = 0;
    for (; n - at >= 64; at += 64) {
        uint8x16x4_t c = vld1q_u8_x4((const uint8_t *)in + at);
        uint8x16_t refused = vdupq_n_u8(0);
        for (int i = 0; i < 4; i++)
            values_wide(t, c.val[i], &refused);
        if (vmaxvq_u8(refused) > 127)
            break;
    }
    for (; n - at >= 8; at += 8) {
        uint8x8_t refused = vdup_n_u8(0);
        values_half(t, vld1_u8((const uint8_t *)in + at), &refused);
        if (vmaxv_u8(refused) > 127)
            return at + good_before(refused);
    }
    return at;
}

const struct base64_kernel base64_neon = {
    { "neon", processor_always }, encode, decode, decode_run, check_run, decode
};
#endif

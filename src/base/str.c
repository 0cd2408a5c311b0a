// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DISTANCE_WORD_MAX = 63 };

Str str_of(const char *terminated)
{
    return terminated == NULL ? (Str){ 0 } : (Str){ .p = terminated, .n = strlen(terminated) };
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool str_eq_nocase(Str a, Str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

int str_cmp(Str a, Str b)
{
    size_t n = MIN(a.n, b.n);
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;
    if (order != 0)
        return order;
    return a.n < b.n ? -1 : a.n > b.n;
}

bool str_starts(Str s, Str prefix)
{
    return s.n >= prefix.n && str_eq(str_head(s, prefix.n), prefix);
}

bool str_ends(Str s, Str suffix)
{
    return s.n >= suffix.n && str_eq(str_skip(s, s.n - suffix.n), suffix);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

Str str_trim(Str s)
{
    while (s.n > 0 && is_blank(s.p[0]))
        s = str_skip(s, 1);
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

Str str_skip(Str s, size_t n)
{
    CHECK(n <= s.n);
    return n == 0 ? s : (Str){ .p = s.p + n, .n = s.n - n };
}

Str str_head(Str s, size_t n)
{
    return (Str){ .p = s.p, .n = MIN(n, s.n) };
}

size_t str_find(Str s, char c)
{
    const char *at = s.n > 0 ? memchr(s.p, c, s.n) : NULL;
    return at != NULL ? (size_t)(at - s.p) : s.n;
}

size_t str_search(Str s, Str part)
{
    const char *at = s.n > 0 ? memmem(s.p, s.n, part.p, part.n) : NULL;
    return at != NULL ? (size_t)(at - s.p) : s.n;
}

bool str_cut(Str s, char c, Str *ret_head, Str *ret_tail)
{
    size_t at = str_find(s, c);
    bool found = at < s.n;
    *ret_head = str_head(s, at);
    *ret_tail = found ? str_skip(s, at + 1) : (Str){ 0 };
    return found;
}

Str str_dup(struct arena *a, Str s)
{
    if (s.p == NULL)
        return s;
    char *p = arena_alloc(a, s.n, 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return (Str){ .p = p, .n = s.n };
}

Err str_dup_try(struct arena *a, Str s, Str *ret)
{
    char *p = s.p != NULL ? arena_try(a, s.n, 1) : NULL;
    if (p == NULL && s.p != NULL)
        return fail(ERR_MEMORY, "no memory for a copy");
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    *ret = str_from(p, s.n);
    return OK;
}

Str str_cat(struct arena *a, Str x, Str y)
{
    return str_cat3(a, x, y, S(""));
}

Str str_cat3(struct arena *a, Str x, Str y, Str z)
{
    char *p = arena_alloc(a, x.n + y.n + z.n, 1);
    if (x.n > 0)
        memcpy(p, x.p, x.n);
    if (y.n > 0)
        memcpy(p + x.n, y.p, y.n);
    if (z.n > 0)
        memcpy(p + x.n + y.n, z.p, z.n);
    return (Str){ .p = p, .n = x.n + y.n + z.n };
}

Str str_lower(struct arena *a, Str s)
{
    char *p = arena_alloc(a, s.n, 1);
    for (size_t i = 0; i < s.n; i++)
        p[i] = lower(s.p[i]);
    return (Str){ .p = p, .n = s.n };
}

Str str_fmt(struct arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(n >= 0);
    char *p = arena_alloc(a, (size_t)n + 1, 1);
    int written = vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    CHECK(written == n);
    return (Str){ .p = p, .n = (size_t)n };
}

char *str_c(struct arena *a, Str s)
{
    char *p = arena_alloc(a, s.n + 1, 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return p;
}

Err str_u64(Str s, uint64_t *ret)
{
    uint64_t value = 0;
    if (s.n == 0)
        return fail(ERR_INVALID, "an empty string is not a number");
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return fail(ERR_INVALID, "not a decimal number");
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (unsigned)(s.p[i] - '0'), &value))
            return fail(ERR_INVALID, "number too large");
    }
    *ret = value;
    return OK;
}

Err str_i64(Str s, int64_t *ret)
{
    bool negative = s.n > 0 && s.p[0] == '-';
    uint64_t magnitude;
    TRY(str_u64(negative ? str_skip(s, 1) : s, &magnitude));
    uint64_t most = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    if (magnitude > most)
        return fail(ERR_INVALID, "number too large");
    *ret = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return OK;
}

Err str_double(Str s, double *ret)
{
    char text[64];
    if (s.n == 0 || s.n >= sizeof text || is_blank(s.p[0]))
        return fail(ERR_INVALID, "not a number");
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    char *end = NULL;
    errno = 0;
    double value = strtod(text, &end);
    if (end != text + s.n || errno == ERANGE)
        return fail(ERR_INVALID, "not a number");
    *ret = value;
    return OK;
}

// The length of the UTF-8 sequence at p, or 0 if it is malformed (RFC 3629: no overlong forms, no
// surrogates, nothing above U+10FFFF).
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    unsigned char c = p[0];
    if (c < 0x80)
        return 1;
    size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || left < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) || (c == 0xf0 && p[1] < 0x90) ||
        (c == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

size_t str_utf8_count(Str s)
{
    size_t count = 0;
    for (size_t at = 0; at < s.n; count++) {
        size_t n = utf8_sequence((const unsigned char *)s.p + at, s.n - at);
        if (n == 0)
            return SIZE_MAX;
        at += n;
    }
    return count;
}

size_t str_distance(Str a, Str b)
{
    size_t row[DISTANCE_WORD_MAX + 1];
    a = str_head(a, DISTANCE_WORD_MAX);
    b = str_head(b, DISTANCE_WORD_MAX);
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t replace = diagonal + (a.p[i - 1] != b.p[j - 1]);
            diagonal = row[j];
            size_t insert_or_delete = MIN(row[j], row[j - 1]) + 1;
            row[j] = MIN(replace, insert_or_delete);
        }
    }
    return row[b.n];
}

// SPDX-License-Identifier: Apache-2.0
// Str: a pointer and a length, not terminated, never owned. A Str with p == NULL means "absent".
#pragma once
#include "base/arena.h"

#include <string.h>

typedef struct Str {
    const char *p;
    size_t n;
} Str;

#define S(literal) ((Str){ .p = "" literal, .n = sizeof(literal) - 1 })
#define S_INIT(literal)                           \
    {                                             \
        .p = "" literal, .n = sizeof(literal) - 1 \
    }                            // in a static initialiser
#define FMT(s) (int)(s).n, (s).p // printf("%.*s", FMT(s))

Str str_of(const char *terminated); // borrows; NULL gives an absent Str
static inline Str str_from(const void *p, size_t n)
{
    return (Str){ .p = (const char *)p, .n = n };
}

// Here, because most of what is compared differs in its length already.
static inline bool str_eq(Str a, Str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
bool str_eq_nocase(Str a, Str b); // ASCII
int str_cmp(Str a, Str b);        // bytes, then length
bool str_starts(Str s, Str prefix);
bool str_ends(Str s, Str suffix);
Str str_trim(Str s);                // spaces, tabs, CR and LF at both ends
Str str_skip(Str s, size_t n);      // without its first n bytes; n <= s.n
Str str_head(Str s, size_t n);      // its first n bytes at most
size_t str_find(Str s, char c);     // its place, or s.n
size_t str_search(Str s, Str part); // its place, or s.n
bool str_cut(Str s, char c, Str *ret_head,
             Str *ret_tail); // at the first c; false: head is s, tail empty

Str str_dup(struct arena *a, Str s);
Err str_dup_try(struct arena *a, Str s, Str *ret); // of any size; ERR_MEMORY
Str str_cat(struct arena *a, Str x, Str y);
Str str_cat3(struct arena *a, Str x, Str y, Str z);
Str str_lower(struct arena *a, Str s); // ASCII
Str str_fmt(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *str_c(struct arena *a, Str s); // terminated copy, for calls into libc only

// Decimal numbers, whole string, no sign for u64, no leading '+': ERR_INVALID otherwise.
Err str_u64(Str s, uint64_t *ret);
Err str_i64(Str s, int64_t *ret);
Err str_double(Str s, double *ret);

// Code points in well-formed UTF-8, as AWS counts the length of strings; SIZE_MAX if malformed.
size_t str_utf8_count(Str s);

// The distance of two words in single-letter edits, for "did you mean".
size_t str_distance(Str a, Str b);

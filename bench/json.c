// SPDX-License-Identifier: Apache-2.0
#include "json.h"

#include <string.h>

static char peek(struct json *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\n'))
        j->p++;
    return j->p < j->end ? *j->p : 0;
}

static bool take(struct json *j, char c)
{
    if (peek(j) != c)
        return false;
    j->p++;
    return true;
}

bool json_open(struct json *j, char bracket)
{
    if (!take(j, bracket))
        j->bad = true;
    return !j->bad;
}

bool json_item(struct json *j)
{
    if (j->bad || take(j, ']'))
        return false;
    take(j, ',');
    return peek(j) != 0;
}

bool json_member(struct json *j, struct text *ret_key)
{
    if (j->bad || take(j, '}'))
        return false;
    take(j, ',');
    *ret_key = json_scalar(j);
    if (!take(j, ':'))
        j->bad = true;
    return !j->bad;
}

static struct text string_of(struct json *j)
{
    const char *begin = ++j->p;
    for (const char *at = begin;;) {
        const char *quote = at < j->end ? memchr(at, '"', (size_t)(j->end - at)) : NULL;
        if (quote == NULL) {
            j->bad = true;
            return (struct text){ "", 0 };
        }
        size_t slashes = 0;
        while (quote - slashes > begin && quote[-1 - (ptrdiff_t)slashes] == '\\')
            slashes++;
        at = quote + 1;
        if (slashes % 2 == 0) {
            j->p = at;
            return (struct text){ begin, (size_t)(quote - begin) };
        }
    }
}

struct text json_scalar(struct json *j)
{
    char c = peek(j);
    if (c == '"')
        return string_of(j);
    const char *begin = j->p;
    while (j->p < j->end && strchr(",:]}[{ \n", *j->p) == NULL)
        j->p++;
    if (j->p == begin)
        j->bad = true; // nothing, or what is no scalar
    return (struct text){ begin, (size_t)(j->p - begin) };
}

bool text_is(struct text t, const char *s)
{
    return t.n == strlen(s) && memcmp(t.p, s, t.n) == 0;
}

// SPDX-License-Identifier: Apache-2.0
// Patterns with wildcards and variables.
#include "access/policy_priv.h"
#include "base/buf.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool is_mark(char c)
{
    return c > 0 && c <= MARK_LAST;
}

// One variable, which begins behind "${"; *rest is left behind its '}'.
static Err make_variable(struct buf *b, Str *rest)
{
    Str inside, key, otherwise;
    if (!str_cut(*rest, '}', &inside, rest))
        return fail(ERR_INVALID, "a policy variable does not end");
    if (inside.n == 1 && (inside.p[0] == '*' || inside.p[0] == '?' || inside.p[0] == '$')) {
        buf_add_byte(b, inside.p[0]);
        return OK;
    }
    bool has_otherwise = str_cut(inside, ',', &key, &otherwise);
    key = str_trim(key);
    otherwise = str_trim(otherwise);
    if (key.n == 0)
        return fail(ERR_INVALID, "a policy variable has no name");
    buf_add_byte(b, MARK_VARIABLE);
    buf_add(b, key);
    if (has_otherwise) {
        if (otherwise.n < 2 || otherwise.p[0] != '\'' || otherwise.p[otherwise.n - 1] != '\'')
            return fail(ERR_INVALID, "the default of a policy variable is not in single quotes");
        buf_add_byte(b, MARK_ELSE);
        buf_add(b, str_from(otherwise.p + 1, otherwise.n - 2));
    }
    buf_add_byte(b, MARK_END);
    return OK;
}

Err pattern_make(struct arena *a, Str text, bool wildcards, bool variables, Str *ret)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < text.n; i++)
        if (is_mark(text.p[i]) || text.p[i] == '\0')
            return fail(ERR_INVALID, "a policy holds a control character");
    while (text.n > 0) {
        char c = text.p[0];
        text = str_skip(text, 1);
        if (variables && c == '$' && text.n > 0 && text.p[0] == '{') {
            text = str_skip(text, 1);
            TRY(make_variable(&b, &text));
        } else if (wildcards && c == '*') {
            buf_add_byte(&b, MARK_ANY);
        } else if (wildcards && c == '?') {
            buf_add_byte(&b, MARK_ONE);
        } else {
            buf_add_byte(&b, c);
        }
    }
    TRY(buf_err(&b));
    *ret = str_dup(a, buf_str(&b));
    return OK;
}

bool pattern_has(Str pattern, char mark)
{
    return str_find(pattern, mark) < pattern.n;
}

// What a request says is never a pattern.
static void add_plain(struct buf *b, Str value)
{
    for (size_t i = 0; i < value.n; i++)
        buf_add_byte(b, is_mark(value.p[i]) ? '\x1a' : value.p[i]);
}

bool pattern_expand(struct arena *tmp, Str pattern, const AccessRequest *r, Str *ret)
{
    if (!pattern_has(pattern, MARK_VARIABLE)) {
        *ret = pattern;
        return true;
    }
    AUTO_BUF(b);
    while (pattern.n > 0) {
        Str plain, variable, key, otherwise;
        bool more = str_cut(pattern, MARK_VARIABLE, &plain, &pattern);
        buf_add(&b, plain);
        if (!more)
            break;
        (void)str_cut(pattern, MARK_END, &variable, &pattern);
        bool has_otherwise = str_cut(variable, MARK_ELSE, &key, &otherwise);
        const AccessValue *v = access_value(r, key);
        if (v != NULL && v->n == 1)
            add_plain(&b, v->values[0]);
        else if (has_otherwise)
            buf_add(&b, otherwise);
        else
            return false;
    }
    *ret = str_dup(tmp, buf_str(&b));
    return true;
}

// Two places are remembered: behind the last '*', and where in the text it was tried. Going back
// further never helps, so the time is the product of both lengths at worst.
bool pattern_fits(Str pattern, Str text, bool nocase)
{
    size_t p = 0, t = 0, star = SIZE_MAX, tried = 0;
    while (t < text.n) {
        char want = p < pattern.n ? pattern.p[p] : '\0';
        bool same =
            p < pattern.n && (want == text.p[t] || (nocase && lower(want) == lower(text.p[t])));
        if (p < pattern.n && want == MARK_ANY) {
            star = ++p;
            tried = t;
        } else if (p < pattern.n && (want == MARK_ONE || same)) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star;
            t = ++tried;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == MARK_ANY)
        p++;
    return p == pattern.n;
}

// arn:partition:service:region:account:resource, of which the last may hold colons.
static bool split_arn(Str s, Str parts[ARN_PARTS])
{
    for (size_t i = 0; i < ARN_PARTS - 1; i++)
        if (!str_cut(s, ':', &parts[i], &s))
            return false;
    parts[ARN_PARTS - 1] = s;
    return true;
}

bool pattern_fits_arn(Str pattern, Str arn)
{
    Str want[ARN_PARTS], have[ARN_PARTS];
    if (!split_arn(pattern, want) || !split_arn(arn, have))
        return pattern_fits(pattern, arn, false);
    for (size_t i = 0; i < ARN_PARTS; i++)
        if (!pattern_fits(want[i], have[i], false))
            return false;
    return true;
}

const AccessValue *access_value(const AccessRequest *r, Str key)
{
    for (size_t i = 0; i < r->context_count; i++)
        if (str_eq_nocase(r->context[i].name, key))
            return &r->context[i];
    return NULL;
}

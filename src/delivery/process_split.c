// SPDX-License-Identifier: Apache-2.0
// RecordDeAggregation: one record becomes several, its JSON objects or what stands between
// delimiters. A record of more than 500 parts, or of something else, stays as it is.
#include "delivery/process_priv.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Where the object that begins a text ends, by its brackets and strings; 0: nowhere.
static size_t object_bytes(Str s)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (--depth == 0)
                return i + 1;
        }
    }
    return 0;
}

bool split_objects(Str text, Str *ret, size_t max, size_t *ret_n)
{
    *ret_n = 0;
    for (;;) {
        while (text.n > 0 && is_space(text.p[0]))
            text = str_skip(text, 1);
        if (text.n == 0)
            return *ret_n > 0;
        size_t n = text.p[0] == '{' ? object_bytes(text) : 0;
        if (n == 0 || *ret_n == max)
            return false;
        ret[(*ret_n)++] = str_head(text, n);
        text = str_skip(text, n);
    }
}

static bool split_delimited(Str text, Str delimiter, Str *ret, size_t max, size_t *ret_n)
{
    *ret_n = 0;
    while (text.n > 0) {
        size_t at = str_search(text, delimiter);
        if (at > 0 && *ret_n == max)
            return false;
        if (at > 0)
            ret[(*ret_n)++] = str_head(text, at);
        text = str_skip(text, MIN(at + delimiter.n, text.n));
    }
    return *ret_n > 0;
}

Err process_split(struct processing *p, DeliveryBatch *b)
{
    const DeliveryStep *step = p->steps[STEP_DEAGGREGATE];
    Str parts[PROCESS_PARTS_MAX];
    Before before = process_begin(b);
    for (size_t i = 0; i < before.n; i++) {
        DeliveryRecord r = before.at[i];
        size_t n = 0;
        bool splits = step->by_delimiter
                          ? split_delimited(r.data, step->delimiter, parts, COUNT_OF(parts), &n)
                          : split_objects(r.data, parts, COUNT_OF(parts), &n);
        if (!splits)
            batch_add(b, &r);
        for (size_t k = 0; splits && k < n; k++) {
            r.data = parts[k];
            batch_add(b, &r);
        }
    }
    return OK;
}

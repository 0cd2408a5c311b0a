// SPDX-License-Identifier: Apache-2.0
// Conditional and ranged requests (RFC 9110 13 and 14, as far as S3 follows them).
#include "base/time.h"
#include "svc/s3/s3.h"

// Whether one of the etags between commas is that of the object; "*" is any.
static bool names_etag(Str list, Str etag)
{
    for (Str rest = list, one; rest.n > 0;) {
        str_cut(rest, ',', &one, &rest);
        one = s3_unquoted(one);
        if (str_eq(one, S("*")) || str_eq(one, etag))
            return true;
    }
    return false;
}

static Err failed(struct call *c, const char *condition)
{
    call_detail(c, S("Condition"), str_of(condition));
    return call_fail(c, &s3_PreconditionFailed,
                     "At least one of the pre-conditions you specified did not hold");
}

Err s3_check_conditions(struct call *c, const S3Conditions *want, const BlobObject *o, bool reading)
{
    // Dates have whole seconds.
    int64_t modified = o->modified_ns / NS_PER_S * NS_PER_S;
    bool matched = want->if_match.p != NULL;
    if (matched && !names_etag(want->if_match, o->etag))
        return failed(c, "If-Match");
    if (!matched && want->has_unmodified && modified > want->unmodified_since_ns)
        return failed(c, "If-Unmodified-Since");
    bool unchanged = want->if_none_match.p != NULL
                         ? names_etag(want->if_none_match, o->etag)
                         : want->has_modified && modified <= want->modified_since_ns &&
                               want->modified_since_ns <= c->now_ns;
    if (!unchanged)
        return OK;
    if (!reading)
        return failed(c, want->if_none_match.p != NULL ? "If-None-Match" : "If-Modified-Since");
    call_header(c, S("ETag"), s3_quoted(c->arena, o->etag));
    call_header(c, S("Last-Modified"), time_http(c->arena, o->modified_ns));
    return call_fail(c, &s3_NotModified, "Not Modified");
}

static bool take_number(Str text, uint64_t *ret)
{
    return text.n > 0 && str_u64(text, ret).kind == ERR_NONE;
}

Err s3_range(struct call *c, Str header, uint64_t bytes, bool *ret_is, uint64_t *ret_from,
             uint64_t *ret_n)
{
    Str unit, range, first, last;
    uint64_t from = 0, to = 0;
    *ret_is = false;
    *ret_from = 0;
    *ret_n = bytes;
    if (header.p == NULL || !str_cut(header, '=', &unit, &range) ||
        !str_eq_nocase(str_trim(unit), S("bytes")) || str_find(range, ',') < range.n ||
        !str_cut(str_trim(range), '-', &first, &last))
        return OK; // what is not understood is not there
    bool has_first = take_number(first, &from), has_last = take_number(last, &to);
    if ((!has_first && first.n > 0) || (!has_last && last.n > 0) || (!has_first && !has_last) ||
        (has_first && has_last && to < from))
        return OK;
    bool good = has_first ? from < bytes : to > 0 && bytes > 0;
    if (!good) {
        call_detail(c, S("RangeRequested"), header);
        call_detail(c, S("ActualObjectSize"), str_fmt(c->arena, "%llu", (unsigned long long)bytes));
        call_header(c, S("Content-Range"),
                    str_fmt(c->arena, "bytes */%llu", (unsigned long long)bytes));
        return call_fail(c, &s3_InvalidRange, "The requested range is not satisfiable");
    }
    *ret_is = true;
    *ret_from = has_first ? from : bytes - MIN(to, bytes);
    *ret_n = has_first && has_last ? MIN(to, bytes - 1) - from + 1 : bytes - *ret_from;
    return OK;
}

// SPDX-License-Identifier: Apache-2.0
// Web pages of other origins (Fetch standard, "CORS protocol"; Amazon S3 User Guide, "Using
// cross-origin resource sharing"): a bucket's rules say which may call what.
#include "base/time.h"
#include "svc/s3/s3.h"

// A pattern with at most one star.
static bool fits(Str pattern, Str text, bool any_case)
{
    size_t star = str_find(pattern, '*');
    if (star == pattern.n)
        return any_case ? str_eq_nocase(pattern, text) : str_eq(pattern, text);
    Str before = str_head(pattern, star), behind = str_skip(pattern, star + 1);
    if (text.n < before.n + behind.n)
        return false;
    Str head = str_head(text, before.n), tail = str_skip(text, text.n - behind.n);
    return any_case ? str_eq_nocase(head, before) && str_eq_nocase(tail, behind)
                    : str_eq(head, before) && str_eq(tail, behind);
}

static const Str *first_that_fits(const Str *at, size_t n, Str text, bool any_case)
{
    for (size_t i = 0; i < n; i++)
        if (fits(at[i], text, any_case))
            return &at[i];
    return NULL;
}

static bool allows_headers(const s3_CORSRule *rule, Str wanted)
{
    for (Str rest = wanted, one; rest.n > 0;) {
        str_cut(rest, ',', &one, &rest);
        one = str_trim(one);
        if (one.n > 0 &&
            first_that_fits(rule->allowed_headers.at, rule->allowed_headers.n, one, true) == NULL)
            return false;
    }
    return true;
}

static Str joined(struct arena *a, const Str *at, size_t n)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < n; i++) {
        buf_add(&b, i > 0 ? S(", ") : S(""));
        buf_add(&b, at[i]);
    }
    return str_dup(a, buf_str(&b));
}

// The headers of the first rule that permits it; false: none does.
static bool permit(struct call *c, Str document, Str origin, Str method, Str headers,
                   bool preflight)
{
    s3_CORSConfiguration rules = { 0 };
    const struct member *m =
        s3_member(s3_api_op(S("PutBucketCors"))->input, S("CORSConfiguration"));
    if (document.p == NULL || s3_decode_document(c, m->shape, document, &rules).kind != ERR_NONE)
        return false;
    for (size_t i = 0; i < rules.cors_rules.n; i++) {
        const s3_CORSRule *r = &rules.cors_rules.at[i];
        const Str *by = first_that_fits(r->allowed_origins.at, r->allowed_origins.n, origin, false);
        if (by == NULL ||
            first_that_fits(r->allowed_methods.at, r->allowed_methods.n, method, false) == NULL ||
            !allows_headers(r, headers))
            continue;
        bool any = str_eq(*by, S("*"));
        call_header(c, S("Access-Control-Allow-Origin"), any ? S("*") : origin);
        call_header(c, S("Access-Control-Allow-Methods"),
                    joined(c->arena, r->allowed_methods.at, r->allowed_methods.n));
        if (!any)
            call_header(c, S("Access-Control-Allow-Credentials"), S("true"));
        if (r->expose_headers.n > 0)
            call_header(c, S("Access-Control-Expose-Headers"),
                        joined(c->arena, r->expose_headers.at, r->expose_headers.n));
        if (preflight && headers.n > 0)
            call_header(c, S("Access-Control-Allow-Headers"), str_lower(c->arena, headers));
        if (preflight && r->has_max_age_seconds)
            call_header(c, S("Access-Control-Max-Age"),
                        str_fmt(c->arena, "%d", (int)r->max_age_seconds));
        call_header(c, S("Vary"),
                    S("Origin, Access-Control-Request-Headers, "
                      "Access-Control-Request-Method"));
        return true;
    }
    return false;
}

void s3_allow_origin(struct call *c, Str document)
{
    Str origin = c->exchange != NULL ? http_header(c->exchange, S("origin")) : (Str){ 0 };
    if (origin.p == NULL || document.p == NULL)
        return;
    for (const struct call_pair *p = c->headers; p != NULL; p = p->next)
        if (str_eq(p->name, S("Access-Control-Allow-Origin")))
            return; // said already
    permit(c, document, origin, c->exchange->method, S(""), false);
}

static Err preflight(struct call *c, Str name)
{
    AUTO(bucket) b = s3_bucket_ref(s3_of(c), name);
    const struct http_exchange *x = c->exchange;
    Str origin = x != NULL ? http_header(x, S("origin")) : (Str){ 0 };
    Str method = x != NULL ? http_header(x, S("access-control-request-method")) : (Str){ 0 };
    Str headers = x != NULL ? http_header(x, S("access-control-request-headers")) : (Str){ 0 };
    if (origin.p == NULL)
        return call_fail(c, &s3_BadRequest,
                         "Insufficient information. Origin request header needed.");
    if (method.p == NULL)
        return call_fail(c, &s3_BadRequest, "Invalid Access-Control-Request-Method: null");
    if (b == NULL || b->cors.p == NULL)
        return call_fail(c, &s3_AccessForbidden,
                         "CORSResponse: CORS is not enabled for this bucket.");
    if (permit(c, b->cors, origin, method, headers.p != NULL ? headers : S(""), true))
        return OK;
    call_detail(c, S("Method"), method);
    call_detail(c, S("ResourceType"), S("OBJECT"));
    return call_fail(c, &s3_AccessForbidden,
                     "CORSResponse: This CORS request is not allowed. This is usually because the "
                     "evalution of Origin, request method / Access-Control-Request-Method or "
                     "Access-Control-Request-Headers are not whitelisted by the resource's CORS "
                     "spec.");
}

Err s3_PreflightBucket(struct call *c, const struct s3_PreflightBucket_in *in)
{
    return preflight(c, in->bucket);
}

Err s3_PreflightObject(struct call *c, const struct s3_PreflightObject_in *in)
{
    return preflight(c, in->bucket);
}

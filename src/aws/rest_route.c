// SPDX-License-Identifier: Apache-2.0
// Which operation of a REST service a request is for.
#include "aws/rest_priv.h"
#include "codec/hash.h"

// ---- Taking a request apart

// Percent-decodes; `plus` is what a plus sign stands for.
static Err decode(struct arena *a, Str raw, char plus, Str *ret)
{
    *ret = raw;
    if (str_find(raw, '%') < raw.n || (plus != '+' && str_find(raw, '+') < raw.n)) {
        char *out = arena_alloc(a, raw.n, 1);
        size_t n = 0;
        for (size_t i = 0; i < raw.n; i++, n++) {
            out[n] = raw.p[i] == '+' ? plus : raw.p[i];
            if (raw.p[i] != '%')
                continue;
            if (raw.n - i < 3 || !hex_decode(&out[n], str_from(&raw.p[i + 1], 2)))
                return fail(ERR_INVALID, "a percent sign without two hexadecimal digits");
            i += 2;
        }
        *ret = str_from(out, n);
    }
    return str_utf8_count(*ret) != SIZE_MAX ? OK : fail(ERR_INVALID, "a URI is not UTF-8");
}

Err rest_decode_path(struct arena *a, Str raw, Str *ret)
{
    return decode(a, raw, '+', ret);
}

static Err take_query(RestRequest *r, Str query)
{
    size_t max = 1;
    for (size_t i = 0; i < query.n; i++)
        max += query.p[i] == '&';
    if (max > REST_PAIRS_MAX)
        return fail(ERR_LIMIT, "too many parameters in a query");
    r->query = arena_new(r->a, RestPair, max);
    for (Str rest = query, pair, name, value; rest.n > 0;) {
        str_cut(rest, '&', &pair, &rest);
        if (pair.n == 0)
            continue;
        bool has_value = str_cut(pair, '=', &name, &value);
        RestPair *p = &r->query[r->query_count++];
        TRY(decode(r->a, name, ' ', &p->name));
        TRY(decode(r->a, value, ' ', &p->value));
        if (!has_value)
            p->value = (Str){ 0 };
    }
    return OK;
}

// The name of a host without its port.
static Str host_name(Str host)
{
    if (str_starts(host, S("[")))
        return host;
    return str_head(host, str_find(host, ':'));
}

static bool is_s3_label(Str label)
{
    return str_eq_nocase(label, S("s3")) || str_starts(label, S("s3-"));
}

Str rest_host_bucket(Str host)
{
    // "bucket.s3.x", "a.b.s3.x": the bucket is what stands before the last label s3; so it may have
    // dots, and be called s3 itself.
    Str name = host_name(host);
    size_t found = SIZE_MAX;
    for (size_t at = 0; at < name.n;) {
        size_t n = str_find(str_skip(name, at), '.');
        if (at > 0 && at + n < name.n && is_s3_label(str_from(name.p + at, n)))
            found = at;
        at += n + 1;
    }
    if (found != SIZE_MAX)
        return str_head(name, found - 1);
    static const Str local = S_INIT(".localhost");
    if (str_ends(name, local) && name.n > local.n &&
        !str_eq_nocase(str_head(name, name.n - local.n), S("s3")))
        return str_head(name, name.n - local.n);
    return (Str){ 0 };
}

bool rest_host_is_s3(Str host)
{
    Str name = host_name(host);
    return is_s3_label(str_head(name, str_find(name, '.'))) || rest_host_bucket(host).p != NULL;
}

static Str host_of(const struct http_exchange *x)
{
    Str host = http_header(x, S("host"));
    return host.p != NULL ? host : http_header(x, S(":authority"));
}

Err rest_request(struct arena *a, const struct http_exchange *x, RestRequest *ret)
{
    *ret = (RestRequest){ .a = a,
                          .method = x->method,
                          .path = x->path,
                          .headers = x->headers,
                          .header_count = x->header_count,
                          .body = x->body };
    Str bucket = rest_host_bucket(host_of(x)), plain;
    if (bucket.p != NULL)
        ret->path = str_cat3(a, S("/"), bucket, x->path);
    if (ret->path.n > REST_PATH_BYTES_MAX)
        return fail(ERR_LIMIT, "a path is too long");
    TRY(decode(a, ret->path, '+', &plain));
    return take_query(ret, x->query);
}

// ---- Paths

// Cuts the next part off a path that begins with a slash.
static Str next_part(Str *path)
{
    Str rest = str_skip(*path, 1);
    size_t n = str_find(rest, '/');
    *path = str_skip(rest, n);
    return str_head(rest, n);
}

// Whether a path is of this form; labels in their order, still encoded.
static bool path_fits(Str form, Str path, Str labels[REST_LABELS_MAX])
{
    size_t n = 0;
    while (form.n > 1) {
        Str part = next_part(&form);
        if (path.n == 0 || path.p[0] != '/')
            return false;
        if (str_ends(part, S("+}"))) {
            labels[n++] = str_skip(path, 1);
            return path.n > 1;
        }
        Str given = next_part(&path);
        if (given.n == 0 || (part.p[0] != '{' && !str_eq(part, given)))
            return false;
        if (part.p[0] == '{') {
            CHECK(n < REST_LABELS_MAX);
            labels[n++] = given;
        }
    }
    return path.n == 0 || str_eq(path, S("/"));
}

// ---- The operation

static const RestPair *query_find(const RestRequest *r, Str name)
{
    for (size_t i = 0; i < r->query_count; i++)
        if (str_eq(r->query[i].name, name))
            return &r->query[i];
    return NULL;
}

bool rest_query_has(const RestRequest *r, Str name)
{
    return query_find(r, name) != NULL;
}

static bool header_there(const RestRequest *r, Str name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (str_eq_nocase(r->headers[i].name, name))
            return true;
    return false;
}

// How many of the things that tell an operation from its neighbours are there; -1: one is not.
static int score_of(const struct api_op *op, const RestRequest *r)
{
    int score = 0;
    if (op->query.n > 0 && r->query_count == 0)
        return -1;
    for (Str rest = op->query, pair, name, value; rest.n > 0;) {
        str_cut(rest, '&', &pair, &rest);
        bool has_value = str_cut(pair, '=', &name, &value);
        const RestPair *given = query_find(r, name);
        if (given == NULL || (has_value && !str_eq(given->value, value)))
            return -1;
        score += 2; // more than what is only required
    }
    for (size_t i = 0; i < op->input->member_count; i++) {
        const struct member *m = &op->input->members[i];
        if (!m->required || (m->place != PLACE_QUERY && m->place != PLACE_HEADER))
            continue;
        if (m->place == PLACE_QUERY ? !rest_query_has(r, m->called) : !header_there(r, m->called))
            return -1;
        score++;
    }
    return score;
}

static bool query_names(Str query, Str name)
{
    for (Str rest = query, pair; rest.n > 0;) {
        str_cut(rest, '&', &pair, &rest);
        if (str_eq(pair, name))
            return true;
    }
    return false;
}

// An operation that reads, named where its neighbour would be, which needs more: it says so itself.
static bool is_beside(const struct api_op *op, const struct api_op *other)
{
    return op != NULL && str_eq(op->method, S("GET")) && str_eq(other->method, op->method) &&
           str_eq(other->path, op->path);
}

// Whether a name without a value that tells operations apart stands in the query, and the operation
// is none of them: what is asked about another resource must never be done to this one.
static bool asks_for_another(const struct api_service *api, const RestRequest *r)
{
    if (str_eq(r->method, S("OPTIONS")))
        return false; // which is about what another method may do
    for (size_t i = 0; i < r->query_count; i++) {
        Str name = r->query[i].name;
        if (r->op != NULL && query_names(r->op->query, name))
            continue;
        for (size_t k = 0; k < api->op_count; k++)
            if (query_names(api->ops[k].query, name) && !is_beside(r->op, &api->ops[k]))
                return true;
    }
    return false;
}

void rest_match(const struct api_service *api, RestRequest *r)
{
    int best = -1;
    Str labels[REST_LABELS_MAX];
    for (size_t i = 0; i < api->unserved_count; i++)
        r->unserved = r->unserved || rest_query_has(r, api->unserved[i]);
    if (r->unserved)
        return;
    Str form = S(""); // that was tried last: there are few of them
    bool fits = false;
    for (size_t i = 0; i < api->op_count; i++) {
        const struct api_op *op = &api->ops[i];
        if (!str_eq(op->method, r->method) || (op->query.n > 0 && r->query_count == 0))
            continue;
        if (!str_eq(op->path, form)) {
            form = op->path;
            fits = path_fits(form, r->path, labels);
        }
        if (!fits)
            continue;
        int score = score_of(op, r);
        if (score > best) {
            best = score;
            r->op = op;
        }
    }
    r->unserved = asks_for_another(api, r);
    if (r->unserved)
        r->op = NULL;
}

// ---- Labels

Err rest_label(const RestRequest *r, Str name, Str *ret)
{
    Str labels[REST_LABELS_MAX], form = r->op->path;
    size_t n = 0;
    if (!path_fits(form, r->path, labels))
        return fail(ERR_INVALID, "a path does not fit its operation");
    while (form.n > 1) {
        Str part = next_part(&form);
        if (part.p[0] != '{')
            continue;
        Str label = str_from(part.p + 1, part.n - (str_ends(part, S("+}")) ? 3 : 2));
        if (str_eq(label, name))
            return decode(r->a, labels[n], '+', ret);
        n++;
    }
    return fail(ERR_NOT_FOUND, "a path has no such label");
}

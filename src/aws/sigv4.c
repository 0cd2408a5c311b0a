// SPDX-License-Identifier: Apache-2.0
// The canonical request, the keys, and signing for clients.
#include "aws/sigv4_priv.h"
#include "base/time.h"

#include <stdlib.h>
#include <string.h>

// ---- Percent encoding

static bool is_plain(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_' || c == '.' || c == '~';
}

static void add_encoded(struct buf *out, Str s, char kept)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (is_plain(c) || (kept != 0 && c == (unsigned char)kept)) {
            buf_add_byte(out, (char)c);
        } else {
            buf_add_byte(out, '%');
            buf_add_byte(out, hex[c >> 4]);
            buf_add_byte(out, hex[c & 15]);
        }
    }
}

// Broken escapes stay as they are.
static Str decode(struct arena *a, Str s)
{
    if (str_find(s, '%') == s.n)
        return s;
    char *out = arena_alloc(a, s.n, 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%' && s.n - i > 2 && hex_decode(&out[n], str_from(&s.p[i + 1], 2)))
            i += 2;
        else
            out[n] = s.p[i];
        n++;
    }
    return str_from(out, n);
}

// ---- Query strings

typedef struct Parameter {
    Str name, value; // encoded, canonically
} Parameter;

static int compare_parameters(const void *x, const void *y)
{
    const Parameter *a = x, *b = y;
    int by_name = str_cmp(a->name, b->name);
    return by_name != 0 ? by_name : str_cmp(a->value, b->value);
}

static Str encode_again(struct arena *tmp, Str s)
{
    AUTO_BUF(b);
    add_encoded(&b, decode(tmp, s), 0);
    return str_dup(tmp, buf_str(&b));
}

static Err add_query(struct buf *out, const Canonical *c, struct arena *tmp)
{
    size_t n = 0, most = 1;
    for (size_t i = 0; i < c->query.n; i++)
        most += c->query.p[i] == '&';
    Parameter *all = arena_new(tmp, Parameter, MIN(most, (size_t)SIGV4_PARAMETERS_MAX));
    Str rest = c->query, pair;
    while (rest.n > 0) {
        str_cut(rest, '&', &pair, &rest);
        if (pair.n == 0)
            continue;
        if (n == SIGV4_PARAMETERS_MAX)
            return fail(ERR_LIMIT, "too many query parameters");
        Str name, value;
        str_cut(pair, '=', &name, &value);
        name = encode_again(tmp, name);
        if (c->drop_signature && str_eq(name, S("X-Amz-Signature")))
            continue;
        all[n++] = (Parameter){ name, encode_again(tmp, value) };
    }
    qsort(all, n, sizeof *all, compare_parameters);
    for (size_t i = 0; i < n; i++) {
        buf_add(out, i > 0 ? S("&") : S(""));
        buf_add(out, all[i].name);
        buf_add_byte(out, '=');
        buf_add(out, all[i].value);
    }
    return OK;
}

Str sigv4_parameter(struct arena *a, Str query, Str name)
{
    Str pair, key, value;
    while (query.n > 0) {
        str_cut(query, '&', &pair, &query);
        str_cut(pair, '=', &key, &value);
        if (str_eq(decode(a, key), name)) {
            value = decode(a, value);
            return value.p != NULL ? value : S("");
        }
    }
    return (Str){ 0 };
}

// ---- Headers

// Without spaces at the ends, and inner runs of them as one.
static void add_folded(struct buf *out, Str value)
{
    value = str_trim(value);
    if (str_find(value, ' ') == value.n && str_find(value, '\t') == value.n) {
        buf_add(out, value);
        return;
    }
    for (size_t i = 0; i < value.n; i++) {
        bool blank = value.p[i] == ' ' || value.p[i] == '\t';
        bool after_blank = i > 0 && (value.p[i - 1] == ' ' || value.p[i - 1] == '\t');
        if (!blank)
            buf_add_byte(out, value.p[i]);
        else if (!after_blank)
            buf_add_byte(out, ' ');
    }
}

// HTTP/2 says where a request goes in :authority, HTTP/1.1 in host. Clients sign it under either
// name, and the server hands it up under either.
static bool is_host(Str name)
{
    return str_eq(name, S("host")) || str_eq(name, S(":authority"));
}

static Err add_header(struct buf *out, const Canonical *c, Str name)
{
    size_t found = 0;
    bool host = is_host(name);
    for (size_t i = 0; i < c->header_count; i++) {
        bool same =
            host ? is_host(c->headers[i].name) && found == 0 : str_eq(c->headers[i].name, name);
        if (!same)
            continue;
        if (found == 0)
            buf_add(out, name);
        buf_add_byte(out, found == 0 ? ':' : ',');
        add_folded(out, c->headers[i].value);
        found++;
    }
    buf_add_byte(out, '\n');
    return found > 0 ? OK : fail(ERR_NOT_FOUND, "a signed header is not in the request");
}

Err sigv4_canonical(struct buf *out, const Canonical *c, struct arena *tmp)
{
    buf_add(out, c->method);
    buf_add_byte(out, '\n');
    Str path = c->path.n > 0 ? c->path : S("/");
    add_encoded(out, c->encode_once ? decode(tmp, path) : path, '/');
    buf_add_byte(out, '\n');
    TRY(add_query(out, c, tmp));
    buf_add_byte(out, '\n');

    Str rest = c->signed_headers, name;
    for (size_t n = 0; rest.n > 0; n++) {
        if (n == SIGV4_HEADERS_SIGNED_MAX)
            return fail(ERR_LIMIT, "too many signed headers");
        str_cut(rest, ';', &name, &rest);
        TRY(add_header(out, c, name));
    }
    buf_add_byte(out, '\n');
    buf_add(out, c->signed_headers);
    buf_add_byte(out, '\n');
    buf_add(out, c->payload_hash);
    return buf_err(out);
}

// ---- Keys

void sigv4_string_to_sign(struct buf *out, Str time, const Scope *scope, Str canonical)
{
    unsigned char hash[SHA256_BYTES];
    char hex[SIGNATURE_HEX];
    sha256(canonical.p, canonical.n, hash);
    hex_lower(hex, hash, sizeof hash);
    const Str parts[] = {
        S("AWS4-HMAC-SHA256\n"), time,   S("\n"),        scope->date,         S("/"),
        scope->region,           S("/"), scope->service, S("/aws4_request\n")
    };
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        buf_add(out, parts[i]);
    buf_add(out, str_from(hex, sizeof hex));
}

void sigv4_signing_key(Str secret, const Scope *scope, unsigned char key[SHA256_BYTES])
{
    AUTO_BUF(first);
    buf_add(&first, S("AWS4"));
    buf_add(&first, secret);
    hmac_sha256(buf_str(&first), scope->date, key);
    explicit_bzero(first.p, first.n);
    hmac_sha256(str_from(key, SHA256_BYTES), scope->region, key);
    hmac_sha256(str_from(key, SHA256_BYTES), scope->service, key);
    hmac_sha256(str_from(key, SHA256_BYTES), S("aws4_request"), key);
}

// ---- Signing

static int compare_headers(const void *x, const void *y)
{
    return str_cmp(((const HttpHeader *)x)->name, ((const HttpHeader *)y)->name);
}

// All headers, names in lower case and sorted, the date and the token with them.
static HttpHeader *all_headers(const Sigv4Sign *s, struct arena *a, Str time, size_t *ret_n)
{
    size_t n = 0;
    HttpHeader *all = arena_new(a, HttpHeader, s->header_count + 2);
    for (size_t i = 0; i < s->header_count; i++)
        all[n++] = (HttpHeader){ str_lower(a, s->headers[i].name), s->headers[i].value };
    const HttpHeader date = { S("x-amz-date"), time };
    const HttpHeader token = { S("x-amz-security-token"), s->session_token };
    all[n++] = date;
    if (token.value.p != NULL)
        all[n++] = token;
    qsort(all, n, sizeof *all, compare_headers);
    *ret_n = n;
    return all;
}

static Str names_joined(struct arena *a, const HttpHeader *headers, size_t n)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && str_eq(headers[i].name, headers[i - 1].name))
            continue;
        buf_add(&b, i > 0 ? S(";") : S(""));
        buf_add(&b, headers[i].name);
    }
    return str_dup(a, buf_str(&b));
}

static void give_payload(const Scope *scope, Str time, const unsigned char *key,
                         const unsigned char *signature, struct arena *a, Sigv4Payload *ret)
{
    ret->scope = str_fmt(a, "%.*s/%.*s/%.*s/aws4_request", FMT(scope->date), FMT(scope->region),
                         FMT(scope->service));
    memcpy(ret->time, time.p, sizeof ret->time);
    hex_lower(ret->signature, signature, SHA256_BYTES);
    hmac_prepare(str_from(key, SHA256_BYTES), &ret->key);
}

Err sigv4_sign(const Sigv4Sign *s, struct arena *a, Sigv4Headers *ret)
{
    Str time = time_basic(a, s->now_ns);
    Scope scope = { str_head(time, DATE_CHARS), s->region, s->service };
    unsigned char hash[SHA256_BYTES], key[SHA256_BYTES], signature[SHA256_BYTES];
    if (s->payload.p == NULL)
        sha256(s->body.p, s->body.n, hash);
    Canonical c = { .method = s->method,
                    .path = s->path,
                    .query = s->query,
                    .encode_once = str_eq(s->service, S("s3")),
                    .payload_hash =
                        s->payload.p != NULL ? s->payload : hex_str(a, hash, sizeof hash) };
    c.headers = all_headers(s, a, time, &c.header_count);
    c.signed_headers = names_joined(a, c.headers, c.header_count);

    AUTO_BUF(canonical);
    AUTO_BUF(text);
    TRY(sigv4_canonical(&canonical, &c, a));
    sigv4_string_to_sign(&text, time, &scope, buf_str(&canonical));
    sigv4_signing_key(s->secret, &scope, key);
    hmac_sha256(str_from(key, sizeof key), buf_str(&text), signature);

    Str authorization =
        str_fmt(a,
                "AWS4-HMAC-SHA256 Credential=%.*s/%.*s/%.*s/%.*s/aws4_request, "
                "SignedHeaders=%.*s, Signature=%.*s",
                FMT(s->access_key), FMT(scope.date), FMT(scope.region), FMT(scope.service),
                FMT(c.signed_headers), FMT(hex_str(a, signature, sizeof signature)));
    *ret =
        (Sigv4Headers){ .at = { { S("x-amz-date"), time }, { S("authorization"), authorization } },
                        .n = 2 };
    if (s->session_token.p != NULL)
        ret->at[ret->n++] = (HttpHeader){ S("x-amz-security-token"), s->session_token };
    if (s->payload.p != NULL)
        give_payload(&scope, time, key, signature, a, &ret->payload);
    explicit_bzero(key, sizeof key);
    return OK;
}

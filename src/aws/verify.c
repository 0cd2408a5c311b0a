// SPDX-License-Identifier: Apache-2.0
// Whether a request is signed by a key of ours. First what is missing, in AWS's words; then the
// scope, the key and its token, the time; the signature last, because it costs the most.
#include "aws/sigv4_priv.h"
#include "base/map.h"
#include "base/time.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    CACHED_NAME_BYTES = 256,
    // What is usual: more makes the buffers grow.
    CANONICAL_BYTES = 1024,
    STRING_TO_SIGN_BYTES = 256,
};

// A signing key, as far as it can be used in advance, with all it was made of.
struct cached {
    char name[CACHED_NAME_BYTES];
    size_t name_bytes;
    HmacKey key;
};

struct sigv4 {
    struct keyring *keys;
    pthread_rwlock_t lock;
    struct cached cache[SIGV4_KEYS_CACHED]; // each name has one place, the last one stays
};

// The parts of a signature, wherever they were.
typedef struct Signature {
    bool presigned;
    Str credential, signed_headers, signature, algorithm;
    Str time; // as it was sent
    Str token;
    Str expires;
    // what follows from them
    Str access_key;
    Scope scope;
    int64_t time_ns;
    Str time_basic;
} Signature;

struct verifier {
    struct sigv4 *keys;
    const struct http_exchange *x;
    const Sigv4Want *want;
    struct arena *a;
    Signature s;
    AuthFault *fault;
    AuthWhy why; // of the next refusal
    Sigv4Payload *payload;
};

static Err refuse(struct verifier *v, Str type, Str message)
{
    v->fault->type = type;
    v->fault->message = message;
    v->fault->why = v->why;
    v->fault->access_key = v->s.access_key;
    return fail(ERR_DENIED, "the request is not authenticated");
}

#define INCOMPLETE S("IncompleteSignatureException")
#define INVALID S("InvalidSignatureException")
#define UNRECOGNIZED S("UnrecognizedClientException")

// ---- The parts

// "AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...", in any order.
static void split_header(Signature *s, Str header)
{
    Str rest = header, word, name, value;
    for (bool first = true; rest.n > 0; first = false) {
        Str before_blank = str_head(rest, str_find(rest, ' '));
        size_t end = str_find(before_blank, ',');
        word = str_trim(str_head(rest, end));
        rest = str_skip(rest, MIN(end + 1, rest.n));
        if (word.n == 0 && !first)
            continue; // between a comma and a blank
        str_cut(word, '=', &name, &value);
        if (first)
            s->algorithm = word;
        else if (str_eq(name, S("Credential")))
            s->credential = value;
        else if (str_eq(name, S("SignedHeaders")))
            s->signed_headers = value;
        else if (str_eq(name, S("Signature")))
            s->signature = value;
    }
}

static Err take_header(struct verifier *v, Str header)
{
    AUTO_BUF(missing);
    Signature *s = &v->s;
    split_header(s, header);
    s->time = http_header(v->x, S("x-amz-date"));
    if (s->time.n == 0)
        s->time = http_header(v->x, S("date"));
    s->token = http_header(v->x, S("x-amz-security-token"));

    const struct {
        Str name, value;
    } parts[] = { { S("Credential"), s->credential },
                  { S("Signature"), s->signature },
                  { S("SignedHeaders"), s->signed_headers } };
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        if (parts[i].value.n == 0)
            buf_addf(&missing, "Authorization header requires '%.*s' parameter. ",
                     FMT(parts[i].name));
    if (s->time.n == 0)
        buf_add(&missing, S("Authorization header requires existence of either a 'X-Amz-Date' or a "
                            "'Date' header. "));
    if (missing.n == 0)
        return OK;
    buf_add(&missing, S("Authorization="));
    buf_add(&missing, header);
    return refuse(v, INCOMPLETE, str_dup(v->a, buf_str(&missing)));
}

static Err take_query(struct verifier *v)
{
    AUTO_BUF(missing);
    Signature *s = &v->s;
    const struct {
        Str name;
        Str *value;
    } parts[] = { { S("X-Amz-Algorithm"), &s->algorithm },
                  { S("X-Amz-Credential"), &s->credential },
                  { S("X-Amz-Signature"), &s->signature },
                  { S("X-Amz-SignedHeaders"), &s->signed_headers },
                  { S("X-Amz-Date"), &s->time } };
    s->presigned = true;
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        *parts[i].value = sigv4_parameter(v->a, v->x->query, parts[i].name);
        if (parts[i].value->n == 0)
            buf_addf(&missing, "AWS query-string parameters must include '%.*s'. ",
                     FMT(parts[i].name));
    }
    s->token = sigv4_parameter(v->a, v->x->query, S("X-Amz-Security-Token"));
    s->expires = sigv4_parameter(v->a, v->x->query, S("X-Amz-Expires"));
    if (missing.n == 0)
        return OK;
    buf_add(&missing, S("Re-examine the query-string parameters."));
    return refuse(v, INCOMPLETE, str_dup(v->a, buf_str(&missing)));
}

static Err take_parts(struct verifier *v)
{
    Str header = http_header(v->x, S("authorization"));
    bool in_query = sigv4_parameter(v->a, v->x->query, S("X-Amz-Algorithm")).p != NULL;
    if (header.n > 0 && in_query)
        return refuse(v, INVALID,
                      S("Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' "
                        "as HTTP header."));
    if (header.n == 0 && !in_query) {
        v->why = AUTH_MISSING;
        return refuse(v, S("MissingAuthenticationTokenException"),
                      S("Missing Authentication Token"));
    }
    TRY(in_query ? take_query(v) : take_header(v, header));
    if (!str_eq(v->s.algorithm, S("AWS4-HMAC-SHA256")))
        return refuse(v, INCOMPLETE,
                      str_fmt(v->a, "Unsupported AWS 'algorithm': '%.*s'.", FMT(v->s.algorithm)));
    return OK;
}

// ---- Scope and time

static Err take_scope(struct verifier *v)
{
    enum { PARTS = 5 };
    Str parts[PARTS] = { 0 }, rest = v->s.credential;
    size_t n = 0;
    for (bool more = true; more; n++) {
        Str part;
        more = str_cut(rest, '/', &part, &rest);
        if (n < PARTS)
            parts[n] = part;
    }
    if (n != PARTS)
        return refuse(v, INCOMPLETE,
                      str_fmt(v->a,
                              "Credential must have exactly 5 slash-delimited elements, e.g. "
                              "keyid/date/region/service/term, got '%.*s'",
                              FMT(v->s.credential)));
    v->s.access_key = parts[0];
    v->s.scope = (Scope){ parts[1], parts[2], parts[3] };
    if (!str_eq(parts[4], S("aws4_request")))
        return refuse(v, INVALID,
                      str_fmt(v->a,
                              "Credential should be scoped with a valid terminator: "
                              "'aws4_request', not '%.*s'.",
                              FMT(parts[4])));
    if (v->want->service.p != NULL && !str_eq(v->want->service, parts[3]))
        return refuse(v, INVALID,
                      str_fmt(v->a, "Credential should be scoped to correct service: '%.*s'. ",
                              FMT(v->want->service)));
    return OK;
}

Str sigv4_scope_service(const struct http_exchange *x)
{
    static const Str name = S_INIT("Credential=");
    Str header = http_header(x, S("authorization"));
    Str rest = header.n > 0 ? str_skip(header, str_search(header, name))
                            : sigv4_parameter(x->arena, x->query, S("X-Amz-Credential"));
    if (header.n > 0 && rest.n > 0)
        rest = str_head(str_skip(rest, name.n), str_find(str_skip(rest, name.n), ','));
    Str part = { 0 };
    for (int i = 0; i < 4; i++) // key id, date, region, service
        if (!str_cut(rest, '/', &part, &rest))
            return (Str){ 0 };
    return part;
}

// The region becomes part of ARNs: a word, and not a long one.
static Err check_region(struct verifier *v)
{
    enum { REGION_BYTES_MAX = 64 };
    Str region = v->s.scope.region;
    bool good = region.n > 0 && region.n <= REGION_BYTES_MAX;
    for (size_t i = 0; good && i < region.n; i++) {
        char c = region.p[i];
        good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_';
    }
    return good ? OK : refuse(v, INVALID, S("Credential should be scoped to a valid region."));
}

static Err take_time(struct verifier *v)
{
    Signature *s = &v->s;
    Err e = time_parse_basic(s->time, &s->time_ns);
    bool basic = e.kind == ERR_NONE;
    if (e.kind != ERR_NONE && !s->presigned)
        e = time_parse_http(s->time, &s->time_ns);
    if (e.kind != ERR_NONE)
        return refuse(v, INCOMPLETE,
                      str_fmt(v->a,
                              "Date must be in ISO-8601 'basic format'. Got '%.*s'. See "
                              "http://en.wikipedia.org/wiki/ISO_8601",
                              FMT(s->time)));
    s->time_basic = basic ? s->time : time_basic(v->a, s->time_ns);
    if (!str_eq(str_head(s->time_basic, DATE_CHARS), s->scope.date))
        return refuse(v, INVALID,
                      str_fmt(v->a,
                              "Date in Credential scope does not match YYYYMMDD from ISO-8601 "
                              "version of date from HTTP: '%.*s' != '%.*s', from '%.*s'.",
                              FMT(s->scope.date), FMT(str_head(s->time_basic, DATE_CHARS)),
                              FMT(s->time_basic)));
    return OK;
}

static Err check_expires(struct verifier *v, int64_t *ret_ns)
{
    int64_t seconds;
    if (str_i64(v->s.expires, &seconds).kind != ERR_NONE)
        return refuse(v, INVALID, S("X-Amz-Expires should be a number"));
    if (seconds < 0)
        return refuse(v, INVALID, S("X-Amz-Expires must be non-negative"));
    if (seconds == 0 || seconds > SIGV4_EXPIRES_S_MAX)
        return refuse(v, INVALID,
                      S("X-Amz-Expires must be less than a week (in seconds); that is, the given "
                        "X-Amz-Expires must be less than 604800 seconds"));
    *ret_ns = seconds * NS_PER_S;
    return OK;
}

static Err check_time(struct verifier *v)
{
    const Signature *s = &v->s;
    int64_t skew = v->want->declared ? SIGV4_SKEW_S3_NS : SIGV4_SKEW_NS;
    int64_t now = v->want->now_ns, window = skew;
    bool expires = s->presigned && (s->expires.p != NULL || v->want->declared);
    if (expires)
        TRY(check_expires(v, &window));
    v->why = expires ? AUTH_EXPIRED : AUTH_SKEW;
    v->fault->expired_ns = s->time_ns + window;
    if (s->time_ns < now - window)
        return refuse(v, INVALID,
                      str_fmt(v->a,
                              "Signature expired: %.*s is now earlier than %.*s (%.*s - %lld %s.)",
                              FMT(s->time_basic), FMT(time_basic(v->a, now - window)),
                              FMT(time_basic(v->a, now)),
                              (long long)(window == SIGV4_SKEW_NS ? 5 : window / NS_PER_S),
                              window == SIGV4_SKEW_NS ? "min" : "sec"));
    v->why = AUTH_SKEW;
    if (s->time_ns > now + skew)
        return refuse(v, INVALID,
                      str_fmt(v->a,
                              "Signature not yet current: %.*s is still later than %.*s (%.*s + 5 "
                              "min.)",
                              FMT(s->time_basic), FMT(time_basic(v->a, now + SIGV4_SKEW_NS)),
                              FMT(time_basic(v->a, now))));
    return OK;
}

// ---- Key and signature

static Err check_token(struct verifier *v, const Key *key)
{
    Str token = v->s.token;
    bool same = token.p == NULL
                    ? key->session_token.p == NULL
                    : key->session_token.p != NULL && token.n == key->session_token.n &&
                          bytes_equal_in_constant_time(token.p, key->session_token.p, token.n);
    v->why = AUTH_TOKEN;
    if (!same)
        return refuse(v, UNRECOGNIZED, S("The security token included in the request is invalid."));
    v->why = AUTH_TOKEN_OLD;
    if (key->expires_ns != 0 && key->expires_ns <= v->want->now_ns)
        return refuse(v, S("ExpiredTokenException"),
                      S("The security token included in the request is expired"));
    return OK;
}

static bool list_has(Str list, Str name)
{
    Str one;
    while (list.n > 0) {
        str_cut(list, ';', &one, &list);
        if (str_eq(one, name))
            return true;
    }
    return false;
}

// S3 takes no header of its own that is not under the signature, but what says nothing that the
// query of a presigned request has not said.
static Err check_own_headers(struct verifier *v)
{
    AUTO_BUF(missing);
    for (size_t i = 0; i < v->x->header_count; i++) {
        Str name = v->x->headers[i].name;
        bool known = str_eq(name, S("x-amz-content-sha256")) || str_eq(name, S("x-amz-date")) ||
                     str_eq(name, S("x-amz-security-token"));
        if (!str_starts(name, S("x-amz-")) || (v->s.presigned && known) ||
            list_has(v->s.signed_headers, name))
            continue;
        buf_add(&missing, missing.n > 0 ? S(", ") : S(""));
        buf_add(&missing, name);
    }
    if (missing.n == 0)
        return OK;
    v->fault->headers = str_dup(v->a, buf_str(&missing));
    return refuse(v, INVALID, S("There were headers present in the request which were not signed"));
}

// What decides where a request goes must be under the signature.
static Err check_signed_headers(struct verifier *v)
{
    v->why = AUTH_NOT_SIGNED;
    if (v->want->declared)
        TRY(check_own_headers(v));
    if (!list_has(v->s.signed_headers, S("host")) &&
        !list_has(v->s.signed_headers, S(":authority")))
        return refuse(v, INVALID,
                      S("'Host' or ':authority' must be a 'SignedHeader' in the AWS "
                        "Authorization."));
    if (http_header(v->x, S("x-amz-target")).p != NULL &&
        !list_has(v->s.signed_headers, S("x-amz-target")))
        return refuse(v, INVALID,
                      S("'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization."));
    return OK;
}

// Everything that a signing key is made of, or an empty name if it is too long to be kept.
static size_t cache_name(char name[CACHED_NAME_BYTES], Str secret, const Scope *scope)
{
    const Str parts[] = { secret, scope->date, scope->region, scope->service };
    size_t n = 0;
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        if (parts[i].n >= CACHED_NAME_BYTES - n)
            return 0;
        memcpy(name + n, parts[i].p, parts[i].n);
        n += parts[i].n;
        name[n++] = '/'; // in none of the last three, so that two names cannot be one
    }
    return n;
}

static void signing_key(struct sigv4 *keys, Str secret, const Scope *scope, HmacKey *key)
{
    char name[CACHED_NAME_BYTES];
    size_t n = cache_name(name, secret, scope);
    struct cached *place = &keys->cache[map_hash(str_from(name, n)) % SIGV4_KEYS_CACHED];
    pthread_rwlock_rdlock(&keys->lock);
    bool found = n > 0 && str_eq(str_from(place->name, place->name_bytes), str_from(name, n));
    if (found)
        *key = place->key;
    pthread_rwlock_unlock(&keys->lock);
    if (!found) {
        unsigned char bytes[SHA256_BYTES];
        sigv4_signing_key(secret, scope, bytes);
        hmac_prepare(str_from(bytes, sizeof bytes), key);
        explicit_bzero(bytes, sizeof bytes);
        pthread_rwlock_wrlock(&keys->lock);
        memcpy(place->name, name, n);
        place->name_bytes = n;
        place->key = *key;
        pthread_rwlock_unlock(&keys->lock);
    }
    explicit_bzero(name, sizeof name);
}

bool sigv4_payload_named(Str given, Sigv4Payload *p)
{
    static const struct {
        Str text;
        PayloadKind kind;
    } known[] = {
        { S_INIT("UNSIGNED-PAYLOAD"), PAYLOAD_UNSIGNED },
        { S_INIT("STREAMING-UNSIGNED-PAYLOAD-TRAILER"), PAYLOAD_CHUNKS_UNSIGNED_TRAILER },
        { S_INIT("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), PAYLOAD_CHUNKS_SIGNED },
        { S_INIT("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"), PAYLOAD_CHUNKS_SIGNED_TRAILER },
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq(known[i].text, given)) {
            p->kind = known[i].kind;
            return true;
        }
    p->kind = PAYLOAD_HASH;
    return given.n == 2 * sizeof p->sha256 && hex_decode(p->sha256, given);
}

// What the signer says of a body that is not read yet.
static Err declared_hash(struct verifier *v, Str *ret)
{
    Str given = http_header(v->x, S("x-amz-content-sha256"));
    if (v->s.presigned && given.p == NULL)
        given = sigv4_parameter(v->a, v->x->query, S("X-Amz-Content-Sha256"));
    if (v->s.presigned && given.p == NULL)
        given = S("UNSIGNED-PAYLOAD");
    v->why = AUTH_NO_HASH;
    if (given.n == 0)
        return refuse(v, INVALID,
                      S("Missing required header for this request: x-amz-content-sha256"));
    v->why = AUTH_BAD_HASH;
    if (!sigv4_payload_named(given, v->payload))
        return refuse(v, INVALID,
                      S("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, "
                        "STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
                        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, "
                        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, or a valid sha256 value."));
    *ret = given;
    return OK;
}

static Str payload_hash(struct verifier *v)
{
    Str given = http_header(v->x, S("x-amz-content-sha256"));
    if (v->want->unsigned_payload && (v->s.presigned || str_eq(given, S("UNSIGNED-PAYLOAD"))))
        return S("UNSIGNED-PAYLOAD");
    unsigned char hash[SHA256_BYTES];
    if (v->x->body_sha256 != NULL)
        return hex_str(v->a, v->x->body_sha256, SHA256_BYTES);
    sha256(v->x->body.p, v->x->body.n, hash);
    return hex_str(v->a, hash, sizeof hash);
}

bool sigv4_hashes_payload(struct sigv4 *v, const struct http_exchange *x)
{
    Signature s = { 0 };
    Str access_key, rest;
    split_header(&s, http_header(x, S("authorization")));
    str_cut(s.credential, '/', &access_key, &rest);
    return access_key.n > 0 && keyring_has(v->keys, access_key);
}

static void keep_for_chunks(struct verifier *v, const HmacKey *signing)
{
    Sigv4Payload *p = v->payload;
    const Scope *scope = &v->s.scope;
    if (v->s.time_basic.n != sizeof p->time)
        return; // none that was verified
    p->verified = true;
    p->key = *signing;
    p->scope = str_fmt(v->a, "%.*s/%.*s/%.*s/aws4_request", FMT(scope->date), FMT(scope->region),
                       FMT(scope->service));
    memcpy(p->time, v->s.time_basic.p, sizeof p->time);
    memcpy(p->signature, v->s.signature.p, sizeof p->signature);
}

static Err check_signature(struct verifier *v, const Key *key)
{
    const struct http_exchange *x = v->x;
    const Signature *s = &v->s;
    Canonical c = { .method = x->method,
                    .path = x->path,
                    .query = x->query,
                    .encode_once = v->want->unsigned_payload || v->want->declared,
                    .drop_signature = s->presigned,
                    .headers = x->headers,
                    .header_count = x->header_count,
                    .signed_headers = s->signed_headers };
    if (v->want->declared)
        TRY(declared_hash(v, &c.payload_hash));
    else
        c.payload_hash = payload_hash(v);
    HmacKey signing;
    unsigned char want[SHA256_BYTES], got[SHA256_BYTES];
    AUTO_BUF(canonical);
    AUTO_BUF(text);
    buf_reserve(&canonical, CANONICAL_BYTES);
    buf_reserve(&text, STRING_TO_SIGN_BYTES);
    bool same = false;
    Err e = sigv4_canonical(&canonical, &c, v->a);
    if (e.kind == ERR_MEMORY)
        return e; // no word about the signature
    if (e.kind == ERR_NONE && s->signature.n == SIGNATURE_HEX && hex_decode(got, s->signature)) {
        sigv4_string_to_sign(&text, s->time_basic, &s->scope, buf_str(&canonical));
        signing_key(v->keys, key->secret, &s->scope, &signing);
        hmac_with(&signing, buf_str(&text), want);
        same = bytes_equal_in_constant_time(want, got, sizeof want);
        if (same && v->want->declared)
            keep_for_chunks(v, &signing);
        explicit_bzero(&signing, sizeof signing);
    }
    if (same)
        return OK;
    v->why = AUTH_MISMATCH;
    if (v->want->declared) {
        v->fault->provided = s->signature;
        v->fault->string_to_sign = str_dup(v->a, buf_str(&text));
        v->fault->canonical = str_dup(v->a, buf_str(&canonical));
    }
    return refuse(
        v, INVALID,
        S("The request signature we calculated does not match the signature you provided. "
          "Check your AWS Secret Access Key and signing method. Consult the service "
          "documentation for details."));
}

static Err check_key(struct verifier *v, Key *key)
{
    Str declared;
    v->why = AUTH_KEY;
    if (keyring_find(v->keys->keys, v->a, v->s.access_key, key).kind != ERR_NONE)
        return refuse(v, UNRECOGNIZED, S("The security token included in the request is invalid."));
    if (key->unverified) // the profile dev: how the body is framed must be known all the same
        return v->want->declared && http_header(v->x, S("x-amz-content-sha256")).p != NULL
                   ? declared_hash(v, &declared)
                   : OK;
    TRY(check_token(v, key));
    v->why = AUTH_MALFORMED;
    TRY(take_time(v));
    TRY(check_time(v));
    TRY(check_signed_headers(v));
    return check_signature(v, key);
}

Err sigv4_verify(struct sigv4 *keys, const struct http_exchange *x, const Sigv4Want *want,
                 Caller *ret, AuthFault *ret_fault)
{
    Sigv4Payload payload = { 0 };
    struct verifier v = {
        .keys = keys, .x = x, .want = want, .a = x->arena, .fault = ret_fault, .payload = &payload
    };
    *ret_fault = (AuthFault){ 0 };
    Key key = { 0 };
    TRY(take_parts(&v));
    TRY(take_scope(&v));
    TRY(check_region(&v));
    TRY(check_key(&v, &key));
    *ret = (Caller){ .access_key = key.access_key,
                     .account = key.account,
                     .principal = key.principal,
                     .region = v.s.scope.region,
                     .service = v.s.scope.service,
                     .payload = payload };
    explicit_bzero(&payload.key, sizeof payload.key);
    return OK;
}

void sigv4_open(struct keyring *keys, struct sigv4 **ret)
{
    struct sigv4 *v = xalloc(sizeof *v);
    v->keys = keys;
    CHECK(pthread_rwlock_init(&v->lock, NULL) == 0);
    *ret = v;
}

void sigv4_close(struct sigv4 *v)
{
    if (v == NULL)
        return;
    pthread_rwlock_destroy(&v->lock);
    explicit_bzero(v->cache, sizeof v->cache);
    free(v);
}

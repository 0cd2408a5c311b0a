// SPDX-License-Identifier: Apache-2.0
#include "aws/sigv4.h"
#include "aws/sigv4_priv.h"
#include "base/test.h"
#include "base/time.h"

#include <string.h>

// AWS's published examples use these.
#define EXAMPLE_KEY S("AKIDEXAMPLE")
#define EXAMPLE_SECRET S("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
#define EXAMPLE_TIME S("20150830T123600Z")

static int64_t at(Str basic)
{
    int64_t ns = 0;
    EXPECT_OK(time_parse_basic(basic, &ns));
    return ns;
}

static Str signature_of(Str authorization)
{
    size_t place = str_search(authorization, S("Signature="));
    return str_skip(authorization, place + 10);
}

// A request that is signed, and the ring that knows its key.
struct scene {
    struct keyring *keys;
    struct sigv4 *verifier;
    struct http_exchange x;
    HttpHeader headers[16];
    Sigv4Want want;
    Caller caller;
    AuthFault fault;
};

static void scene_add(struct scene *s, Str name, Str value)
{
    s->headers[s->x.header_count++] = (HttpHeader){ name, value };
}

static void scene_open(struct scene *s, struct arena *a, const Key *extra)
{
    *s = (struct scene){ .want = { .service = S("kinesis"), .now_ns = at(EXAMPLE_TIME) } };
    Key key = { .access_key = EXAMPLE_KEY,
                .secret = EXAMPLE_SECRET,
                .account = S("111122223333"),
                .principal = S("arn:aws:iam::111122223333:root") };
    if (extra != NULL)
        key = *extra;
    keyring_open(false, &s->keys);
    EXPECT_OK(keyring_add(s->keys, &key));
    sigv4_open(s->keys, &s->verifier);
    s->x = (struct http_exchange){ .method = S("POST"),
                                   .path = S("/"),
                                   .headers = s->headers,
                                   .body = S("{\"Limit\":1}"),
                                   .arena = a };
    scene_add(s, S("host"), S("127.0.0.1:4566"));
    scene_add(s, S("content-type"), S("application/x-amz-json-1.1"));
    scene_add(s, S("x-amz-target"), S("Kinesis_20131202.ListStreams"));
}

static void scene_sign(struct scene *s, const Key *extra)
{
    Sigv4Sign sign = { .access_key = extra != NULL ? extra->access_key : EXAMPLE_KEY,
                       .secret = extra != NULL ? extra->secret : EXAMPLE_SECRET,
                       .region = S("eu-west-1"),
                       .service = S("kinesis"),
                       .method = s->x.method,
                       .path = s->x.path,
                       .query = s->x.query,
                       .headers = s->headers,
                       .header_count = s->x.header_count,
                       .body = s->x.body,
                       .now_ns = s->want.now_ns };
    Sigv4Headers made;
    if (extra != NULL)
        sign.session_token = extra->session_token;
    EXPECT_OK(sigv4_sign(&sign, s->x.arena, &made));
    for (size_t i = 0; i < made.n; i++)
        scene_add(s, made.at[i].name, made.at[i].value);
}

static void scene_close(struct scene *s)
{
    sigv4_close(s->verifier);
    keyring_close(s->keys);
}

static Err verify(struct scene *s)
{
    return sigv4_verify(s->verifier, &s->x, &s->want, &s->caller, &s->fault);
}

static void expect_refused(struct scene *s, Str type, Str message)
{
    EXPECT_ERR(ERR_DENIED, verify(s));
    EXPECT_STR(type, s->fault.type);
    EXPECT_STR(message, s->fault.message);
}

static Str *header_value(struct scene *s, Str name)
{
    for (size_t i = 0; i < s->x.header_count; i++)
        if (str_eq(s->headers[i].name, name))
            return &s->headers[i].value;
    return NULL;
}

#define WRONG                                                                                      \
    S("The request signature we calculated does not match the signature you provided. Check your " \
      "AWS Secret Access Key and signing method. Consult the service documentation for details.")

// ---- AWS's published vectors

static Str signed_by_example(struct arena *a, Str service, Str query, const HttpHeader *headers,
                             size_t n)
{
    Sigv4Sign s = { .access_key = EXAMPLE_KEY,
                    .secret = EXAMPLE_SECRET,
                    .region = S("us-east-1"),
                    .service = service,
                    .method = S("GET"),
                    .path = S("/"),
                    .query = query,
                    .headers = headers,
                    .header_count = n,
                    .now_ns = at(EXAMPLE_TIME) };
    Sigv4Headers made;
    EXPECT_OK(sigv4_sign(&s, a, &made));
    EXPECT_INT(2, made.n);
    EXPECT_STR(EXAMPLE_TIME, made.at[0].value);
    return made.at[1].value;
}

TEST(the_published_signing_key_is_derived)
{
    unsigned char key[SHA256_BYTES];
    sigv4_signing_key(EXAMPLE_SECRET, &(Scope){ S("20150830"), S("us-east-1"), S("iam") }, key);
    EXPECT_STR(S("c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"),
               hex_str(a, key, sizeof key));
}

TEST(the_documented_list_users_request_is_signed_as_documented)
{
    const HttpHeader headers[] = { { S("Content-Type"),
                                     S("application/x-www-form-urlencoded; charset=utf-8") },
                                   { S("Host"), S("iam.amazonaws.com") } };
    EXPECT_STR(
        S("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
          "SignedHeaders=content-type;host;x-amz-date, Signature="
          "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"),
        signed_by_example(a, S("iam"), S("Action=ListUsers&Version=2010-05-08"), headers, 2));
}

TEST(the_vanilla_vectors_of_the_test_suite_agree)
{
    const HttpHeader host[] = { { S("Host"), S("example.amazonaws.com") } };
    EXPECT_STR(S("5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
               signature_of(signed_by_example(a, S("service"), (Str){ 0 }, host, 1)));
    EXPECT_STR(S("b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
               signature_of(
                   signed_by_example(a, S("service"), S("Param2=value2&Param1=value1"), host, 1)));
}

TEST(the_documented_presigned_url_is_believed)
{
    struct scene s;
    Key key = { .access_key = S("AKIAIOSFODNN7EXAMPLE"),
                .secret = S("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
                .account = S("111122223333"),
                .principal = S("root") };
    scene_open(&s, a, &key);
    s.x.header_count = 0;
    s.x.method = S("GET");
    s.x.path = S("/test.txt");
    s.x.body = S("");
    s.x.query = S("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F"
                  "20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&"
                  "X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
                  "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    scene_add(&s, S("host"), S("examplebucket.s3.amazonaws.com"));
    s.want = (Sigv4Want){ .service = S("s3"),
                          .now_ns = at(S("20130524T235900Z")),
                          .unsigned_payload = true };
    EXPECT_OK(verify(&s));
    EXPECT_STR(S("us-east-1"), s.caller.region);

    s.want.now_ns = at(S("20130525T000001Z"));
    expect_refused(&s, S("InvalidSignatureException"),
                   S("Signature expired: 20130524T000000Z is now earlier than 20130524T000001Z "
                     "(20130525T000001Z - 86400 sec.)"));
    s.want.now_ns = at(S("20130524T235900Z"));
    s.x.path = S("/other.txt");
    expect_refused(&s, S("InvalidSignatureException"), WRONG);
    scene_close(&s);
}

// ---- Good and changed requests

TEST(what_was_signed_is_believed)
{
    struct scene s;
    scene_open(&s, a, NULL);
    scene_sign(&s, NULL);
    for (int i = 0; i < 2; i++) { // the second time with the key from the cache
        EXPECT_OK(verify(&s));
        EXPECT_STR(S("111122223333"), s.caller.account);
        EXPECT_STR(S("arn:aws:iam::111122223333:root"), s.caller.principal);
        EXPECT_STR(S("eu-west-1"), s.caller.region);
        EXPECT_STR(S("kinesis"), s.caller.service);
    }
    scene_close(&s);
}

TEST(any_change_breaks_the_signature)
{
    for (int change = 0; change < 8; change++) {
        struct scene s;
        scene_open(&s, a, NULL);
        s.x.query = S("a=1&b=2");
        scene_sign(&s, NULL);
        Str *authorization = header_value(&s, S("authorization"));
        Str before = *authorization;
        if (change == 0)
            s.x.body = S("{\"Limit\":2}");
        else if (change == 1)
            s.x.method = S("PUT");
        else if (change == 2)
            s.x.path = S("/x");
        else if (change == 3)
            s.x.query = S("a=1&b=3");
        else if (change == 4)
            *header_value(&s, S("x-amz-target")) = S("Kinesis_20131202.DeleteStream");
        else if (change == 5)
            *header_value(&s, S("host")) = S("elsewhere");
        else if (change == 6)
            *authorization = str_cat(a, str_head(before, before.n - 1),
                                     before.p[before.n - 1] == '0' ? S("1") : S("0"));
        else
            s.headers[1].name = S("content-typo");
        expect_refused(&s, S("InvalidSignatureException"), WRONG);
        scene_close(&s);
    }
}

TEST(the_digest_that_came_with_the_body_counts)
{
    struct scene s;
    unsigned char digest[SHA256_BYTES];
    scene_open(&s, a, NULL);
    scene_sign(&s, NULL);
    EXPECT(sigv4_hashes_payload(s.verifier, &s.x));
    sha256(s.x.body.p, s.x.body.n, digest);
    s.x.body_sha256 = digest;
    EXPECT_OK(verify(&s));
    digest[31] ^= 1;
    expect_refused(&s, S("InvalidSignatureException"), WRONG);
    keyring_remove(s.keys, EXAMPLE_KEY);
    EXPECT(!sigv4_hashes_payload(s.verifier, &s.x));
    scene_close(&s);
}

TEST(order_of_parameters_and_spaces_in_headers_do_not_matter)
{
    struct scene s;
    scene_open(&s, a, NULL);
    s.x.query = S("b=2&a=%7e&c");
    scene_add(&s, S("x-note"), S("two words"));
    scene_sign(&s, NULL);
    s.x.query = S("a=~&c=&b=2");
    *header_value(&s, S("x-note")) = S("  two   words ");
    EXPECT_OK(verify(&s));
    scene_close(&s);
}

TEST(paths_are_encoded_twice)
{
    struct scene s;
    scene_open(&s, a, NULL);
    Canonical c = { .method = S("GET"), .path = S("/a%20b/c"), .payload_hash = S("x") };
    AUTO_BUF(out);
    EXPECT_OK(sigv4_canonical(&out, &c, a));
    EXPECT_STR(S("GET\n/a%2520b/c\n\n\n\nx"), buf_str(&out));
    c.encode_once = true;
    buf_clear(&out);
    EXPECT_OK(sigv4_canonical(&out, &c, a));
    EXPECT_STR(S("GET\n/a%20b/c\n\n\n\nx"), buf_str(&out));
    scene_close(&s);
}

TEST(two_headers_of_one_name_are_joined)
{
    HttpHeader headers[] = { { S("my"), S(" b  c ") }, { S("host"), S("h") }, { S("my"), S("a") } };
    Canonical c = { .method = S("GET"),
                    .path = S(""),
                    .headers = headers,
                    .header_count = 3,
                    .signed_headers = S("host;my"),
                    .payload_hash = S("x") };
    AUTO_BUF(out);
    EXPECT_OK(sigv4_canonical(&out, &c, a));
    EXPECT_STR(S("GET\n/\n\nhost:h\nmy:b c,a\n\nhost;my\nx"), buf_str(&out));
}

TEST(more_headers_or_parameters_than_allowed_are_refused)
{
    HttpHeader host = { S("host"), S("h") };
    Canonical c = { .method = S("GET"), .headers = &host, .header_count = 1 };
    AUTO_BUF(names);
    AUTO_BUF(query);
    AUTO_BUF(out);
    for (int i = 0; i < SIGV4_HEADERS_SIGNED_MAX; i++)
        buf_add(&names, i > 0 ? S(";host") : S("host"));
    for (int i = 0; i < SIGV4_PARAMETERS_MAX; i++)
        buf_add(&query, S("&a"));
    c.signed_headers = buf_str(&names);
    c.query = buf_str(&query);
    EXPECT_OK(sigv4_canonical(&out, &c, a));
    buf_add(&query, S("&a"));
    c.query = buf_str(&query);
    EXPECT_ERR(ERR_LIMIT, sigv4_canonical(&out, &c, a));
    c.query = (Str){ 0 };
    buf_add(&names, S(";host"));
    c.signed_headers = buf_str(&names);
    EXPECT_ERR(ERR_LIMIT, sigv4_canonical(&out, &c, a));
}

TEST(keys_from_the_cache_belong_to_their_secret)
{
    struct scene s;
    scene_open(&s, a, NULL);
    scene_sign(&s, NULL);
    EXPECT_OK(verify(&s));
    Key other = { .access_key = EXAMPLE_KEY, .secret = S("rotated"), .account = S("111122223333") };
    EXPECT_OK(keyring_add(s.keys, &other));
    expect_refused(&s, S("InvalidSignatureException"), WRONG);
    scene_close(&s);
}

TEST(an_unsigned_payload_is_refused_where_it_is_not_permitted)
{
    struct scene s;
    scene_open(&s, a, NULL);
    scene_add(&s, S("x-amz-content-sha256"), S("UNSIGNED-PAYLOAD"));
    scene_sign(&s, NULL);
    EXPECT_OK(verify(&s)); // signed over the real hash, whatever the header says
    s.x.body = S("changed");
    expect_refused(&s, S("InvalidSignatureException"), WRONG);
    scene_close(&s);
}

// ---- What is missing

TEST(no_signature_at_all_is_a_missing_token)
{
    struct scene s;
    scene_open(&s, a, NULL);
    expect_refused(&s, S("MissingAuthenticationTokenException"), S("Missing Authentication Token"));
    scene_close(&s);
}

TEST(two_signatures_are_too_many)
{
    struct scene s;
    scene_open(&s, a, NULL);
    scene_add(&s, S("authorization"), S("X"));
    s.x.query = S("X-Amz-Algorithm");
    expect_refused(&s, S("InvalidSignatureException"),
                   S("Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as "
                     "HTTP header."));
    scene_close(&s);
}

TEST(missing_parts_of_the_header_are_listed)
{
    struct scene s;
    scene_open(&s, a, NULL);
    scene_add(&s, S("authorization"), S("X"));
    expect_refused(&s, S("IncompleteSignatureException"),
                   S("Authorization header requires 'Credential' parameter. Authorization header "
                     "requires 'Signature' parameter. Authorization header requires "
                     "'SignedHeaders' parameter. Authorization header requires existence of either "
                     "a 'X-Amz-Date' or a 'Date' header. Authorization=X"));
    *header_value(&s, S("authorization")) = S("AWS4-HMAC-SHA256 Signature=b,Credential=a");
    scene_add(&s, S("date"), S("a"));
    expect_refused(&s, S("IncompleteSignatureException"),
                   S("Authorization header requires 'SignedHeaders' parameter. "
                     "Authorization=AWS4-HMAC-SHA256 Signature=b,Credential=a"));
    scene_close(&s);
}

TEST(missing_parts_of_the_query_are_listed)
{
    struct scene s;
    scene_open(&s, a, NULL);
    s.x.query = S("X-Amz-Algorithm");
    expect_refused(&s, S("IncompleteSignatureException"),
                   S("AWS query-string parameters must include 'X-Amz-Algorithm'. AWS query-string "
                     "parameters must include 'X-Amz-Credential'. AWS query-string parameters must "
                     "include 'X-Amz-Signature'. AWS query-string parameters must include "
                     "'X-Amz-SignedHeaders'. AWS query-string parameters must include "
                     "'X-Amz-Date'. Re-examine the query-string parameters."));
    scene_close(&s);
}

// ---- Scope, key, time

static void expect_authorization(struct arena *a, Str authorization, Str type, Str message)
{
    struct scene s;
    scene_open(&s, a, NULL);
    scene_sign(&s, NULL);
    *header_value(&s, S("authorization")) = authorization;
    expect_refused(&s, type, message);
    scene_close(&s);
}

TEST(a_wrong_scope_is_refused)
{
    const Str rest = S(", SignedHeaders=host, Signature=00");
    const struct {
        Str credential, type, message;
    } cases[] = {
        { S("AKIDEXAMPLE/20150830/eu-west-1/kinesis"), S("IncompleteSignatureException"),
          S("Credential must have exactly 5 slash-delimited elements, e.g. "
            "keyid/date/region/service/term, got 'AKIDEXAMPLE/20150830/eu-west-1/kinesis'") },
        { S("AKIDEXAMPLE/20150830/eu-west-1/s3/aws4_request"), S("InvalidSignatureException"),
          S("Credential should be scoped to correct service: 'kinesis'. ") },
        { S("AKIDEXAMPLE/20150830/eu-west-1/kinesis/aws3"), S("InvalidSignatureException"),
          S("Credential should be scoped with a valid terminator: 'aws4_request', not 'aws3'.") },
        { S("AKIDEXAMPLE/20150830/eu:west/kinesis/aws4_request"), S("InvalidSignatureException"),
          S("Credential should be scoped to a valid region.") },
        { S("AKIDEXAMPLE/20150829/eu-west-1/kinesis/aws4_request"), S("InvalidSignatureException"),
          S("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            "HTTP: '20150829' != '20150830', from '20150830T123600Z'.") },
        { S("AKIDNOBODY/20150830/eu-west-1/kinesis/aws4_request"), S("UnrecognizedClientException"),
          S("The security token included in the request is invalid.") },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        expect_authorization(
            a, str_cat3(a, S("AWS4-HMAC-SHA256 Credential="), cases[i].credential, rest),
            cases[i].type, cases[i].message);
    expect_authorization(a, S("AWS4-X Credential=a/b/c/d/e, SignedHeaders=host, Signature=00"),
                         S("IncompleteSignatureException"),
                         S("Unsupported AWS 'algorithm': 'AWS4-X'."));
}

TEST(host_and_target_must_be_signed)
{
    const Str head = S("AWS4-HMAC-SHA256 "
                       "Credential=AKIDEXAMPLE/20150830/eu-west-1/kinesis/aws4_request, "
                       "SignedHeaders=");
    expect_authorization(
        a, str_cat(a, head, S("x-amz-target, Signature=00")), S("InvalidSignatureException"),
        S("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."));
    expect_authorization(a, str_cat(a, head, S("host, Signature=00")),
                         S("InvalidSignatureException"),
                         S("'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization."));
    expect_authorization(a, str_cat(a, head, S("host;x-amz-target;x-none, Signature=00")),
                         S("InvalidSignatureException"), WRONG);
}

TEST(clocks_may_differ_by_five_minutes)
{
    struct scene s;
    scene_open(&s, a, NULL);
    scene_sign(&s, NULL);
    s.want.now_ns = at(S("20150830T124100Z"));
    EXPECT_OK(verify(&s));
    s.want.now_ns = at(S("20150830T123100Z"));
    EXPECT_OK(verify(&s));
    s.want.now_ns = at(S("20150830T124101Z"));
    expect_refused(&s, S("InvalidSignatureException"),
                   S("Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z "
                     "(20150830T124101Z - 5 min.)"));
    s.want.now_ns = at(S("20150830T123059Z"));
    expect_refused(&s, S("InvalidSignatureException"),
                   S("Signature not yet current: 20150830T123600Z is still later than "
                     "20150830T123559Z (20150830T123059Z + 5 min.)"));
    scene_close(&s);
}

TEST(session_tokens_belong_to_their_key)
{
    struct scene s;
    Key key = { .access_key = S("ASIAEXAMPLE"),
                .secret = S("secret"),
                .session_token = S("token"),
                .account = S("111122223333"),
                .principal = S("arn:aws:sts::111122223333:assumed-role/r/s"),
                .expires_ns = at(S("20150830T130000Z")) };
    scene_open(&s, a, &key);
    scene_sign(&s, &key);
    EXPECT_OK(verify(&s));
    *header_value(&s, S("x-amz-security-token")) = S("tokem");
    expect_refused(&s, S("UnrecognizedClientException"),
                   S("The security token included in the request is invalid."));
    *header_value(&s, S("x-amz-security-token")) = S("token");
    s.want.now_ns = key.expires_ns;
    expect_refused(&s, S("ExpiredTokenException"),
                   S("The security token included in the request is expired"));
    scene_close(&s);
}

TEST(a_long_term_key_has_no_token)
{
    struct scene s;
    scene_open(&s, a, NULL);
    scene_add(&s, S("x-amz-security-token"), S("made up"));
    scene_sign(&s, NULL);
    expect_refused(&s, S("UnrecognizedClientException"),
                   S("The security token included in the request is invalid."));
    scene_close(&s);
}

// ---- The keyring

TEST(only_the_profile_dev_believes_in_made_up_keys)
{
    AUTO(keyring) dev = NULL;
    AUTO(keyring) strict = NULL;
    Key key;
    keyring_open(true, &dev);
    keyring_open(false, &strict);
    EXPECT_ERR(ERR_NOT_FOUND, keyring_find(strict, a, S("test"), &key));
    EXPECT_OK(keyring_find(dev, a, S("test"), &key));
    EXPECT_STR(S("000000000000"), key.account);
    EXPECT(key.unverified);
    EXPECT_OK(keyring_find(dev, a, S("123456789012"), &key));
    EXPECT_STR(S("123456789012"), key.account);
    EXPECT_ERR(ERR_NOT_FOUND, keyring_find(dev, a, S(""), &key));
    EXPECT_ERR(ERR_NOT_FOUND, keyring_find(dev, a, S("a b"), &key));
}

TEST(keys_are_replaced_and_removed)
{
    AUTO(keyring) k = NULL;
    Key key = { .access_key = S("AK"), .secret = S("one"), .account = S("000000000000") }, got;
    keyring_open(false, &k);
    EXPECT_OK(keyring_add(k, &key));
    key.secret = S("two");
    EXPECT_OK(keyring_add(k, &key));
    EXPECT_OK(keyring_find(k, a, S("AK"), &got));
    EXPECT_STR(S("two"), got.secret);
    keyring_remove(k, S("AK"));
    EXPECT_ERR(ERR_NOT_FOUND, keyring_find(k, a, S("AK"), &got));
    key.account = S("1");
    EXPECT_ERR(ERR_INVALID, keyring_add(k, &key));
}

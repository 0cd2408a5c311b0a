// SPDX-License-Identifier: Apache-2.0
// What of the room can be asked without a store: names, ranges, conditions, policies of forms,
// other origins, lifecycle rules.
#include "base/test.h"
#include "base/time.h"
#include "http/server.h"
#include "store/blob_expire.h"
#include "svc/s3/s3.h"

#define NOW_NS (INT64_C(1700000000) * NS_PER_S)

static struct call call_of(struct arena *a)
{
    return (struct call){ .arena = a, .now_ns = NOW_NS };
}

// ---- Names

TEST(names_of_buckets_follow_the_rules)
{
    static const char *const good[] = { "abc",
                                        "a.b.c",
                                        "a-b",
                                        "123",
                                        "0ab",
                                        "192.168.0.1x",
                                        "a123456789012345678901234567890123456789012345678901234567"
                                        "89012" };
    static const char *const bad[] = { "",
                                       "ab",
                                       "Abc",
                                       "a_b",
                                       "-ab",
                                       "ab-",
                                       ".ab",
                                       "ab.",
                                       "a..b",
                                       "192.168.0.1",
                                       "xn--ab",
                                       "sthree-ab",
                                       "ab--ol-s3",
                                       "ab-s3alias",
                                       "a b",
                                       "ab.mrap",
                                       "ab--x-s3",
                                       "amzn-s3-demo-ab",
                                       "a\xc3\xa4z",
                                       "a1234567890123456789012345678901234567890123456789012345678"
                                       "90123" };
    for (size_t i = 0; i < COUNT_OF(good); i++)
        EXPECT(s3_is_bucket_name(str_of(good[i])));
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        EXPECT(!s3_is_bucket_name(str_of(bad[i])));
    EXPECT(!s3_is_bucket_name(str_from("a\0b", 3)));
}

TEST(names_of_versions_and_uploads_are_numbers_and_no_other_text_is_one)
{
    struct call c = call_of(a);
    BlobSelect which;
    uint64_t upload;
    BlobObject o = { .version = UINT64_C(0x123456789abcdef0) };
    Str text = s3_version_text(a, &o);
    EXPECT_OK(s3_select(&c, text, &which));
    EXPECT(which.which == BLOB_VERSION && which.version == o.version);
    EXPECT_OK(s3_select(&c, S("null"), &which));
    EXPECT(which.which == BLOB_NULL);
    EXPECT_OK(s3_select(&c, (Str){ 0 }, &which));
    EXPECT(which.which == BLOB_LATEST);
    o.is_null = true;
    EXPECT_STR(S("null"), s3_version_text(a, &o));
    EXPECT(s3_upload_number(s3_upload_text(a, 77), &upload) && upload == 77);
    for (size_t i = 0; i < text.n; i++) {
        struct call d = call_of(a);
        Str other = str_dup(a, text);
        ((char *)(uintptr_t)other.p)[i] = other.p[i] == '0' ? '1' : '0';
        EXPECT_ERR(ERR_FAULT, s3_select(&d, other, &which));
        EXPECT(d.error == &s3_InvalidArgument);
    }
    EXPECT(!s3_upload_number(S(""), &upload) && !s3_upload_number(S("x"), &upload));
}

TEST(etags_are_compared_without_their_quotes_and_keys_are_encoded_as_lists_have_them)
{
    EXPECT_STR(S("ab"), s3_unquoted(S("\"ab\"")));
    EXPECT_STR(S("ab"), s3_unquoted(S(" W/\"ab\" ")));
    EXPECT_STR(S("\""), s3_unquoted(S("\"")));
    EXPECT_STR(S(""), s3_unquoted(S("")));
    EXPECT_STR(S("a+b/%C3%A9%00-_.*%25%2B"),
               s3_url_encoded(a, str_from("a b/\xc3\xa9\0-_.*%+", 13)));
    EXPECT(s3_canonical_id(a, S("000000000000")).n == 64);
    EXPECT(!str_eq(s3_canonical_id(a, S("1")), s3_canonical_id(a, S("2"))));
}

// ---- Ranges

TEST(ranges_are_those_of_the_standard_or_nothing)
{
    static const struct {
        const char *header;
        uint64_t bytes;
        bool is, fails;
        uint64_t from, n;
    } cases[] = {
        { "bytes=0-9", 100, true, false, 0, 10 },
        { "bytes=0-", 100, true, false, 0, 100 },
        { "bytes=99-", 100, true, false, 99, 1 },
        { "bytes=0-0", 1, true, false, 0, 1 },
        { "bytes=50-1000", 100, true, false, 50, 50 },
        { "bytes=-10", 100, true, false, 90, 10 },
        { "bytes=-1000", 100, true, false, 0, 100 },
        { "Bytes = 1-2", 100, true, false, 1, 2 },
        { "bytes=100-", 100, false, true, 0, 0 },
        { "bytes=-0", 100, false, true, 0, 0 },
        { "bytes=0-", 0, false, true, 0, 0 },
        { "bytes=-1", 0, false, true, 0, 0 },
        { "bytes=5-1", 100, false, false, 0, 100 },
        { "bytes=", 100, false, false, 0, 100 },
        { "bytes=-", 100, false, false, 0, 100 },
        { "bytes=a-b", 100, false, false, 0, 100 },
        { "bytes=1-x", 100, false, false, 0, 100 },
        { "bytes=0-1,5-6", 100, false, false, 0, 100 },
        { "items=0-1", 100, false, false, 0, 100 },
        { "0-1", 100, false, false, 0, 100 },
        { "bytes=18446744073709551615-", 100, false, true, 0, 0 },
        { "bytes=0-18446744073709551615", 100, true, false, 0, 100 },
        { "bytes=99999999999999999999-", 100, false, false, 0, 100 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct call c = call_of(a);
        bool is;
        uint64_t from, n;
        Err e = s3_range(&c, str_of(cases[i].header), cases[i].bytes, &is, &from, &n);
        EXPECT((e.kind == ERR_FAULT) == cases[i].fails);
        EXPECT((c.error == &s3_InvalidRange) == cases[i].fails);
        if (!cases[i].fails)
            EXPECT(is == cases[i].is && from == cases[i].from && n == cases[i].n);
    }
}

// ---- Conditions

static const struct api_error *judged(struct arena *a, S3Conditions want, bool reading)
{
    struct call c = call_of(a);
    BlobObject o = { .etag = S("abc"), .modified_ns = NOW_NS - 100 * NS_PER_S + 5 };
    Err e = s3_check_conditions(&c, &want, &o, reading);
    EXPECT((e.kind == ERR_NONE) == (c.error == NULL));
    return c.error;
}

TEST(conditions_follow_the_order_of_the_standard)
{
    int64_t before = NOW_NS - 200 * NS_PER_S, same = NOW_NS - 100 * NS_PER_S,
            after = NOW_NS - 50 * NS_PER_S, future = NOW_NS + 50 * NS_PER_S;
#define JUDGE(...) judged(a, (S3Conditions){ __VA_ARGS__ }, true)
#define SINCE(ns) .has_modified = true, .modified_since_ns = (ns)
#define UNLESS(ns) .has_unmodified = true, .unmodified_since_ns = (ns)
    EXPECT(JUDGE(.if_match = S("\"abc\"")) == NULL);
    EXPECT(JUDGE(.if_match = S("\"x\", \"abc\"")) == NULL);
    EXPECT(JUDGE(.if_match = S("*")) == NULL);
    EXPECT(JUDGE(.if_match = S("\"x\"")) == &s3_PreconditionFailed);
    EXPECT(JUDGE(.if_none_match = S("\"abc\"")) == &s3_NotModified);
    EXPECT(JUDGE(.if_none_match = S("*")) == &s3_NotModified);
    EXPECT(JUDGE(.if_none_match = S("\"x\"")) == NULL);
    EXPECT(JUDGE(SINCE(before)) == NULL);
    EXPECT(JUDGE(SINCE(same)) == &s3_NotModified); // whole seconds
    EXPECT(JUDGE(SINCE(after)) == &s3_NotModified);
    EXPECT(JUDGE(SINCE(future)) == NULL); // a date that is none yet
    EXPECT(JUDGE(UNLESS(before)) == &s3_PreconditionFailed);
    EXPECT(JUDGE(UNLESS(same)) == NULL);
    // The etag decides where both are there.
    EXPECT(JUDGE(.if_match = S("abc"), UNLESS(before)) == NULL);
    EXPECT(JUDGE(.if_none_match = S("x"), SINCE(after)) == NULL);
    // Sources of copies are not read by somebody who has them.
    EXPECT(judged(a, (S3Conditions){ .if_none_match = S("abc") }, false) == &s3_PreconditionFailed);
    EXPECT(judged(a, (S3Conditions){ SINCE(after) }, false) == &s3_PreconditionFailed);
}

// ---- Forms

static const struct api_error *form(struct arena *a, const char *conditions, const char *expiration,
                                    uint64_t *ret_min, uint64_t *ret_max)
{
    struct call c = call_of(a);
    BlobPair fields[] = { { S("key"), S("user/eric/a.txt") },    { S("acl"), S("private") },
                          { S("Content-Type"), S("image/png") }, { S("policy"), S("...") },
                          { S("x-amz-signature"), S("...") },    { S("x-ignore-this"), S("?") } };
    Str policy = str_fmt(a, "{\"expiration\":\"%s\",\"conditions\":%s}", expiration, conditions);
    Err e = s3_check_policy(&c, policy, (BlobPairs){ fields, COUNT_OF(fields) }, ret_min, ret_max);
    EXPECT((e.kind == ERR_NONE) == (c.error == NULL));
    return c.error;
}

TEST(a_form_must_meet_every_condition_and_have_no_field_beside_them)
{
#define LATER "2033-01-01T00:00:00.000Z"
#define ALL "{\"acl\":\"private\"},[\"starts-with\",\"$Content-Type\",\"image/\"]"
    uint64_t min, max;
    EXPECT(form(a, "[" ALL ",[\"starts-with\",\"$key\",\"user/\"]]", LATER, &min, &max) == NULL);
    EXPECT(min == 0 && max == S3_PUT_BYTES_MAX);
    EXPECT(form(a,
                "[" ALL ",[\"eq\",\"$KEY\",\"user/eric/a.txt\"],[\"content-length-range\",5,90]]",
                LATER, &min, &max) == NULL);
    EXPECT(min == 5 && max == 90);
    EXPECT(form(a, "[" ALL ",[\"starts-with\",\"$key\",\"\"]]", LATER, &min, &max) == NULL);
    static const char *const denied[] = {
        "[" ALL "]",                                       // no condition on key
        "[" ALL ",[\"starts-with\",\"$key\",\"admin/\"]]", // another beginning
        "[" ALL ",[\"eq\",\"$key\",\"user/\"]]",
        "[" ALL
        ",{\"key\":\"user/eric/a.txt\"},{\"x-amz-meta-a\":\"b\"}]", // a field that is missing
    };
    for (size_t i = 0; i < COUNT_OF(denied); i++)
        EXPECT(form(a, denied[i], LATER, &min, &max) == &s3_AccessDenied);
    static const char *const malformed[] = {
        "5",
        "[7]",
        "[[\"eq\",\"$key\"]]",
        "[[\"eq\",7,\"x\"]]",
        "[[\"content-length-range\",9,5]]",
        "[[\"content-length-range\",-1,5]]",
        "[[\"like\",\"$key\",\"x\"]]",
    };
    for (size_t i = 0; i < COUNT_OF(malformed); i++)
        EXPECT(form(a, malformed[i], LATER, &min, &max) == &s3_InvalidPolicyDocument);
    EXPECT(form(a, "[" ALL ",[\"starts-with\",\"$key\",\"\"]]", "2003-01-01T00:00:00Z", &min,
                &max) == &s3_AccessDenied);
    EXPECT(form(a, "[]", "soon", &min, &max) == &s3_InvalidPolicyDocument);
}

// ---- Other origins

static Str allowed(struct arena *a, const char *rules, const char *origin, const char *method)
{
    HttpHeader headers[] = { { S("origin"), str_of(origin) } };
    struct http_exchange x = { .method = str_of(method), .headers = headers, .header_count = 1 };
    struct call c = call_of(a);
    c.exchange = &x;
    s3_allow_origin(&c, str_fmt(a, "<CORSConfiguration>%s</CORSConfiguration>", rules));
    for (const struct call_pair *p = c.headers; p != NULL; p = p->next)
        if (str_eq(p->name, S("Access-Control-Allow-Origin")))
            return p->value;
    return S("");
}

TEST(a_page_of_another_origin_reads_what_a_rule_lets_it)
{
#define RULE(origin, method)                                                    \
    "<CORSRule><AllowedOrigin>" origin "</AllowedOrigin><AllowedMethod>" method \
    "</AllowedMethod></CORSRule>"
    EXPECT_STR(S("*"), allowed(a, RULE("*", "GET"), "http://a.example", "GET"));
    EXPECT_STR(S("http://a.example"),
               allowed(a, RULE("http://*.example", "GET"), "http://a.example", "GET"));
    EXPECT_STR(S("http://b.org"),
               allowed(a, RULE("http://a.example", "GET") RULE("http://b.org", "PUT"),
                       "http://b.org", "PUT"));
    EXPECT_STR(S(""), allowed(a, RULE("*", "GET"), "http://a.example", "PUT"));
    EXPECT_STR(S(""), allowed(a, RULE("http://*.example", "GET"), "https://a.example", "GET"));
    EXPECT_STR(S(""), allowed(a, RULE("http://a.example", "GET"), "http://A.example", "GET"));
    EXPECT_STR(S(""), allowed(a, RULE("ab*ba", "GET"), "aba", "GET")); // both ends, apart
    EXPECT_STR(S(""), allowed(a, "<nonsense>", "http://a.example", "GET"));
}

// ---- Lifecycle

TEST(lifecycle_rules_become_rules_of_the_store)
{
    BlobRule *rules;
    size_t n;
    Str xml =
        S("<LifecycleConfiguration>"
          "<Rule><ID>1</ID><Status>Enabled</Status><Filter><Prefix>log/</Prefix></Filter>"
          "<Expiration><Days>30</Days></Expiration></Rule>"
          "<Rule><ID>2</ID><Status>Disabled</Status><Filter/><Expiration><Days>1</Days>"
          "</Expiration></Rule>"
          "<Rule><ID>3</ID><Status>Enabled</Status><Filter><And><Prefix>t</Prefix><Tag><Key>a</Key>"
          "<Value>b</Value></Tag><Tag><Key>c</Key><Value>d</Value></Tag><ObjectSizeGreaterThan>9"
          "</ObjectSizeGreaterThan></And></Filter><NoncurrentVersionExpiration>"
          "<NoncurrentDays>7</NoncurrentDays><NewerNoncurrentVersions>3"
          "</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
          "<AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation>"
          "</AbortIncompleteMultipartUpload></Rule>"
          "<Rule><Status>Enabled</Status><Prefix>old</Prefix><Expiration>"
          "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration></Rule>"
          "<Rule><Status>Enabled</Status><Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>"
          "<Expiration><Date>2030-01-02T00:00:00Z</Date></Expiration></Rule>"
          "</LifecycleConfiguration>");
    EXPECT_OK(s3_lifecycle_rules(a, xml, &rules, &n));
    EXPECT_INT(4, n);
    EXPECT_STR(S("log/"), rules[0].prefix);
    EXPECT(rules[0].days == 30 && rules[0].tags.n == 0 && rules[0].upload_days == 0);
    EXPECT_STR(S("t"), rules[1].prefix);
    EXPECT(rules[1].tags.n == 2 && str_eq(blob_pair(rules[1].tags, S("c")), S("d")));
    EXPECT(rules[1].bytes_above == 9 && rules[1].noncurrent_days == 7 &&
           rules[1].noncurrent_kept == 3 && rules[1].upload_days == 2 && rules[1].days == 0);
    EXPECT_STR(S("old"), rules[2].prefix);
    EXPECT(rules[2].lonely_markers && rules[2].days == 0);
    EXPECT(rules[3].at_ns == INT64_C(1893542400) * NS_PER_S && rules[3].tags.n == 1);
    EXPECT_ERR(ERR_INVALID, s3_lifecycle_rules(a, S("<x"), &rules, &n));
}

// ---- Policies

TEST(a_policy_is_public_if_anybody_may_without_a_condition)
{
#define POLICY(rest) \
    S("{\"Statement\":[{\"Effect\":" rest ",\"Action\":\"s3:*\",\"Resource\":\"*\"}]}")
    EXPECT(s3_policy_is_public(POLICY("\"Allow\",\"Principal\":\"*\"")));
    EXPECT(s3_policy_is_public(POLICY("\"Allow\",\"Principal\":{\"AWS\":\"*\"}")));
    EXPECT(s3_policy_is_public(POLICY("\"Allow\",\"Principal\":{\"AWS\":[\"1\",\"*\"]}")));
    EXPECT(s3_policy_is_public(POLICY("\"Allow\",\"NotPrincipal\":{\"AWS\":\"1\"}")));
    EXPECT(!s3_policy_is_public(POLICY("\"Deny\",\"Principal\":\"*\"")));
    EXPECT(!s3_policy_is_public(POLICY("\"Allow\",\"Principal\":{\"AWS\":\"1\"}")));
    EXPECT(!s3_policy_is_public(
        POLICY("\"Allow\",\"Principal\":\"*\",\"Condition\":{\"Bool\":{\"a\":\"b\"}}")));
    EXPECT(s3_policy_is_public(S("{")));
}

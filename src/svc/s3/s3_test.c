// SPDX-License-Identifier: Apache-2.0
// What of the room can be asked without a store: names, ranges, conditions, policies of forms,
// other origins, lifecycle rules.
#include "base/map.h"
#include "base/test.h"
#include "base/time.h"
#include "http/server.h"
#include "store/blob_expire.h"
#include "svc/s3/remote.h"
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

TEST(buckets_are_counted_by_their_owners)
{
    struct s3 s = { .buckets = map_open() };
    struct bucket held[3] = { { .is = { .name = S("one"), .owner = S("1") } },
                              { .is = { .name = S("two"), .owner = S("2") } },
                              { .is = { .name = S("three"), .owner = S("1") } } };
    (void)a;
    CHECK(pthread_rwlock_init(&s.lock, NULL) == 0);
    for (size_t i = 0; i < COUNT_OF(held); i++)
        EXPECT(map_put(s.buckets, held[i].is.name, &held[i]) == NULL);
    EXPECT_INT(2, s3_buckets_of(&s, S("1")));
    EXPECT_INT(1, s3_buckets_of(&s, S("2")));
    EXPECT_INT(0, s3_buckets_of(&s, S("3")));
    map_close(s.buckets);
    pthread_rwlock_destroy(&s.lock);
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
    EXPECT(form(a, "[" ALL ",[\"StArTs-WiTh\",\"$kEy\",\"\"]]", LATER, &min, &max) == NULL);
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

// ---- Storage classes

#define DAY_NS (INT64_C(86400) * NS_PER_S)

static BlobPairs cold(struct arena *a, const char *class, const char *restore)
{
    BlobPair *at = arena_new(a, BlobPair, 2);
    at[0] = (BlobPair){ S("x-amz-storage-class"), str_of(class) };
    at[1] = (BlobPair){ S("s3-restore"), str_of(restore) };
    return (BlobPairs){ .at = at, .n = 2 };
}

TEST(an_archived_object_is_read_from_when_it_is_restored_until_that_ends)
{
    static const struct {
        const char *class, *restore;
        int state;
        bool readable;
    } cases[] = {
        { "STANDARD", "0 9999999999999", S3_RESTORE_NONE, true },
        { "GLACIER_IR", "", S3_RESTORE_NONE, true },
        { "GLACIER", "", S3_RESTORE_NONE, false },
        { "GLACIER", "nonsense", S3_RESTORE_NONE, false },
        { "GLACIER", "1700000000001 1700000000002", S3_RESTORE_ONGOING, false },
        { "GLACIER", "1700000000000 1700000000001", S3_RESTORE_READY, true },
        { "DEEP_ARCHIVE", "1600000000000 1700000000001", S3_RESTORE_READY, true },
        { "DEEP_ARCHIVE", "1600000000000 1700000000000", S3_RESTORE_NONE, false },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        BlobPairs attributes = cold(a, cases[i].class, cases[i].restore);
        struct call c = call_of(a), source = call_of(a);
        EXPECT_INT(cases[i].state, s3_restore_of(attributes, NOW_NS).state);
        EXPECT((s3_check_readable(&c, attributes, false).kind == ERR_NONE) == cases[i].readable);
        EXPECT((s3_check_readable(&source, attributes, true).kind == ERR_NONE) ==
               cases[i].readable);
        EXPECT(cases[i].readable || c.error == &s3_InvalidObjectState);
    }
    struct call c = call_of(a);
    EXPECT_STR(S("ongoing-request=\"true\""),
               s3_restore_text(&c, cold(a, "GLACIER", "1700000000001 1700000000002")));
    EXPECT_STR(S("ongoing-request=\"false\", expiry-date=\"Wed, 15 Nov 2023 00:00:00 GMT\""),
               s3_restore_text(&c, cold(a, "GLACIER", "1600000000000 1700006400000")));
    EXPECT(s3_restore_text(&c, cold(a, "GLACIER", "")).p == NULL);
}

TEST(objects_move_to_colder_classes_and_never_back)
{
    EXPECT(s3_may_move(S("STANDARD"), S("DEEP_ARCHIVE")));
    EXPECT(s3_may_move(S("GLACIER"), S("DEEP_ARCHIVE")));
    EXPECT(s3_may_move(S("ONEZONE_IA"), S("GLACIER")));
    EXPECT(!s3_may_move(S("ONEZONE_IA"), S("GLACIER_IR")));
    EXPECT(!s3_may_move(S("GLACIER"), S("STANDARD_IA")));
    EXPECT(!s3_may_move(S("STANDARD"), S("STANDARD")));
    EXPECT(!s3_may_move(S("STANDARD"), S("COLD")));
    EXPECT_STR(S("STANDARD"), s3_storage_class((BlobPairs){ 0 }));
}

static Str moved(const S3Move *moves, size_t n, uint64_t bytes, bool latest, int64_t age_days,
                 size_t newer)
{
    BlobObject o = { .key = S("log/a"), .bytes = bytes, .is_latest = latest };
    return s3_moves_to(moves, n, &o, NOW_NS - age_days * DAY_NS, newer, NOW_NS);
}

TEST(rules_move_what_is_old_and_large_enough)
{
    enum { LARGE = 128 << 10 };
    S3Move *m;
    size_t n;
    Str xml =
        S("<LifecycleConfiguration>"
          "<Rule><Status>Enabled</Status><Filter><Prefix>log/</Prefix></Filter>"
          "<Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>"
          "<Transition><Days>90</Days><StorageClass>GLACIER</StorageClass></Transition>"
          "<NoncurrentVersionTransition><NoncurrentDays>7</NoncurrentDays>"
          "<NewerNoncurrentVersions>1</NewerNoncurrentVersions>"
          "<StorageClass>DEEP_ARCHIVE</StorageClass></NoncurrentVersionTransition></Rule>"
          "<Rule><Status>Disabled</Status><Filter/><Transition><Days>0</Days>"
          "<StorageClass>GLACIER</StorageClass></Transition></Rule></LifecycleConfiguration>");
    EXPECT_OK(s3_lifecycle_moves(a, xml, S3_MOVES_128K, &m, &n));
    EXPECT_INT(3, n);
    EXPECT(moved(m, n, LARGE, true, 29, 0).p == NULL);
    EXPECT_STR(S("STANDARD_IA"), moved(m, n, LARGE, true, 31, 0));
    EXPECT_STR(S("GLACIER"), moved(m, n, LARGE, true, 91, 0));
    EXPECT(moved(m, n, LARGE - 1, true, 91, 0).p == NULL); // too small
    m[0].rule.bytes_above = 1;                             // unless the rule speaks of sizes
    EXPECT_STR(S("STANDARD_IA"), moved(m, n, 2, true, 91, 0));
    EXPECT(moved(m, n, LARGE, false, 6, 3).p == NULL);
    EXPECT(moved(m, n, LARGE, false, 9, 0).p == NULL); // the newest of them stays
    EXPECT_STR(S("DEEP_ARCHIVE"), moved(m, n, LARGE, false, 9, 1));
    EXPECT_ERR(ERR_INVALID, s3_lifecycle_moves(a, S("<x"), (Str){ 0 }, &m, &n));
    EXPECT_OK(s3_lifecycle_moves(a, xml, S3_MOVES_VARY, &m, &n)); // small ones go to archives alone
    EXPECT(moved(m, n, 2, true, 31, 0).p == NULL);
    EXPECT_STR(S("GLACIER"), moved(m, n, 2, true, 91, 0));
    EXPECT_STR(S("DEEP_ARCHIVE"), moved(m, n, 2, false, 9, 1));
}

// ---- Headers

TEST(metadata_that_is_not_ascii_comes_back_mail_safe)
{
    static const struct {
        const char *kept, *given;
    } cases[] = { { "plain", "plain" },
                  { "caf\xe9", "=?UTF-8?B?Y2Fmw6k=?=" },
                  { "\xc3\x84", "=?UTF-8?B?w4PChA==?=" }, // two characters of ISO 8859-1
                  { "=?UTF-8?Q?=C3=84?=", "=?UTF-8?Q?=C3=84?=" } };
    struct s3 s = { .buckets = map_open() };
    CHECK(pthread_rwlock_init(&s.lock, NULL) == 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct s3_HeadObject_out out = { 0 };
        struct call c = call_of(a);
        BlobPair pair = { S("x-amz-meta-a"), str_of(cases[i].kept) };
        BlobObject o = { .attributes = { &pair, 1 } };
        c.state = &s;
        c.op = s3_api_op(S("HeadObject"));
        s3_give_headers(&c, &out, &(BlobBucket){ .name = S("b") }, &o, false);
        EXPECT_INT(1, out.metadata.n);
        EXPECT_STR(str_of(cases[i].given), out.metadata.at[0].value);
    }
    map_close(s.buckets);
    pthread_rwlock_destroy(&s.lock);
}

// ---- Access control lists

TEST(where_public_lists_are_ignored_those_for_accounts_still_count)
{
    struct bucket b = { .is = { .owner = S("1") }, .acls = true };
    struct call c = call_of(a);
    c.caller = S("2");
    c.access_key = S("K");
    Str known = str_cat(a, S("grants READ="), s3_canonical_id(a, S("2")));
    for (int ignored = 0; ignored < 2; ignored++) {
        b.ignore_acls = ignored != 0;
        EXPECT(s3_acl_permits(&c, &b, S("public-read"), S("READ")) == !b.ignore_acls);
        EXPECT(s3_acl_permits(&c, &b, S("authenticated-read"), S("READ")) == !b.ignore_acls);
        EXPECT(s3_acl_permits(&c, &b, known, S("READ")));
        EXPECT(!s3_acl_permits(&c, &b, known, S("WRITE")));
    }
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

// ---- Buckets at other endpoints

TEST(keys_of_an_endpoint_are_those_of_the_named_section)
{
    Str key, secret, token;
    Str file = S("[default]\naws_access_key_id=A\naws_secret_access_key = B\n# x = y\n\n[ two ]\n"
                 "aws_access_key_id = C\r\naws_secret_access_key = D=+/\naws_session_token = E\n"
                 "[half]\naws_access_key_id = F\n");
    EXPECT_OK(s3_remote_keys_read(file, S("default"), &key, &secret, &token));
    EXPECT_STR(S("A"), key);
    EXPECT_STR(S("B"), secret);
    EXPECT(token.p == NULL);
    EXPECT_OK(s3_remote_keys_read(file, S("two"), &key, &secret, &token));
    EXPECT_STR(S("C"), key);
    EXPECT_STR(S("D=+/"), secret);
    EXPECT_STR(S("E"), token);
    EXPECT_ERR(ERR_NOT_FOUND, s3_remote_keys_read(file, S("half"), &key, &secret, &token));
    EXPECT_ERR(ERR_NOT_FOUND, s3_remote_keys_read(file, S("three"), &key, &secret, &token));
    EXPECT_ERR(ERR_NOT_FOUND, s3_remote_keys_read(S(""), S("default"), &key, &secret, &token));
}

TEST(keys_have_their_prefix_there_and_not_here)
{
    struct remote r = { .is = { .prefix = S("team/") } }, bare = { .is = { .prefix = S("") } };
    EXPECT_STR(S("team/a"), s3_remote_key(a, &r, S("a")));
    EXPECT_STR(S("a"), s3_remote_local(&r, S("team/a")));
    EXPECT_STR(S(""), s3_remote_local(&r, S("team/")));
    EXPECT_STR(S("other"), s3_remote_local(&r, S("other")));
    EXPECT_STR(S("a"), s3_remote_key(a, &bare, S("a")));
    EXPECT_STR(S("team/a"), s3_remote_local(&bare, S("team/a")));
}

// ---- Events

TEST(an_event_is_tried_for_six_hours_while_its_destination_is_away_and_three_times_when_it_fails)
{
    const int64_t hour_ms = INT64_C(3600) * 1000;
    int64_t before = 0;
    for (unsigned tries = 1; tries < 400; tries++) {
        int64_t pause = s3_event_pause_ms(tries, hour_ms, true);
        EXPECT(pause >= before && pause <= 300000 && pause >= 1000);
        before = pause;
    }
    EXPECT_INT(300000, before);
    EXPECT_INT(-1, s3_event_pause_ms(1, 6 * hour_ms, true));
    EXPECT_INT(60000, s3_event_pause_ms(1, 0, false));
    EXPECT_INT(120000, s3_event_pause_ms(2, 0, false));
    EXPECT_INT(-1, s3_event_pause_ms(3, 0, false));
}

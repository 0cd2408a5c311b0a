// SPDX-License-Identifier: Apache-2.0
#include "aws/bind.h"
#include "aws/probe_api.h"
#include "aws/probe_ops.h"
#include "base/test.h"
#include "codec/cbor.h"
#include "codec/json.h"

#include <string.h>

typedef struct probe_Put_in In;

static const struct api_op *put_op(void)
{
    for (size_t i = 0; i < probe_api.op_count; i++)
        if (str_eq(probe_api.ops[i].name, S("Put")))
            return &probe_api.ops[i];
    CHECK(false);
    return NULL;
}

static Err decode_by(const struct protocol *p, struct arena *a, Str body, In *ret, Str *ret_fault)
{
    struct protocol_reader r;
    *ret = (In){ 0 };
    p->reader_init(&r, a, body);
    return bind_decode(&r, put_op()->input, a, ret, ret_fault);
}

// The same document as CBOR.
static Str to_cbor(struct arena *a, Str json)
{
    struct event_reader r;
    struct event_writer w;
    AUTO_BUF(b);
    json_reader_init(&r, a, json);
    cbor_writer_init(&w, &b);
    EXPECT_OK(event_copy(&r, &w));
    return str_dup(a, buf_str(&b));
}

static void expect_fault(struct arena *a, Str want, Str json)
{
    In in;
    Str fault = { 0 };
    EXPECT_OK(decode_by(&protocol_json_1_1, a, json, &in, &fault));
    EXPECT_STR(want, fault);
    fault = (Str){ 0 };
    EXPECT_OK(decode_by(&protocol_cbor_1_1, a, to_cbor(a, json), &in, &fault));
    EXPECT_STR(want, fault);
}

static In decoded(struct arena *a, Str json)
{
    In in;
    Str fault = { 0 };
    EXPECT_OK(decode_by(&protocol_json_1_1, a, json, &in, &fault));
    EXPECT(fault.p == NULL);
    return in;
}

static void expect_broken(struct arena *a, Str want, Str json)
{
    EXPECT_OK(api_prepare(&probe_api));
    In in = decoded(a, json);
    EXPECT_STR(want, bind_validate(put_op()->input, &in, a));
    In again;
    Str fault = { 0 };
    EXPECT_OK(decode_by(&protocol_cbor_1_1, a, to_cbor(a, json), &again, &fault));
    EXPECT_STR(want, bind_validate(put_op()->input, &again, a));
}

static Str encoded(struct arena *a, const struct protocol *p, const struct probe_Put_out *out)
{
    struct protocol_writer w;
    AUTO_BUF(b);
    p->writer_init(&w, &b);
    bind_encode(&w, put_op()->output, out);
    EXPECT_OK(buf_err(&b));
    return str_dup(a, buf_str(&b));
}

// ---- Decoding

TEST(every_kind_arrives_in_its_member)
{
    In in = decoded(
        a, S("{\"Name\":\"abc\",\"Free\":\"\",\"Data\":\"aGk=\",\"Color\":\"RED\",\"Small\":7,"
             "\"Large\":9007199254740993,\"Ratio\":0.25,\"Moment\":1724151234.567,\"Switch\":false,"
             "\"Names\":[\"a\",\"b\"],\"Numbers\":[],\"Grid\":[[\"x\"],[\"y\",\"z\"]],"
             "\"Items\":[{\"Id\":\"q\",\"Inner\":{\"Id\":\"r\"}}],\"Tags\":{\"k\":\"v\"},"
             "\"Limits\":{\"m\":3},\"Pair\":{\"Left\":-1,\"Right\":true,\"At\":1,\"Half\":2}}"));
    EXPECT_STR(S("abc"), in.name);
    EXPECT(in.free.p != NULL && in.free.n == 0);
    EXPECT_STR(S("hi"), in.data);
    EXPECT_STR(probe_Color_RED, in.color);
    EXPECT(in.has_small && in.small == 7);
    EXPECT(in.has_large && in.large == 9007199254740993);
    EXPECT(in.has_ratio && in.ratio == 0.25);
    EXPECT_INT(1724151234567000000, in.moment);
    EXPECT(in.has_switch_ && !in.switch_);
    EXPECT(in.names.set && in.names.n == 2);
    EXPECT_STR(S("b"), in.names.at[1]);
    EXPECT(in.numbers.set && in.numbers.n == 0 && !in.colors.set);
    EXPECT_STR(S("z"), in.grid.at[1].at[1]);
    EXPECT_STR(S("r"), in.items.at[0].inner->id);
    EXPECT(!in.items.at[0].has_count && in.items.at[0].inner->inner == NULL);
    EXPECT_STR(S("v"), in.tags.at[0].value);
    EXPECT_INT(3, in.limits.at[0].value);
    EXPECT(in.pair != NULL && in.pair->left == -1 && in.pair->right && in.pair->half == 2.0);
    EXPECT_INT(1000000000, in.pair->at);
}

TEST(defaults_are_filled_in_and_do_not_override)
{
    In in = decoded(a, S("{}"));
    EXPECT_INT(20, in.page);
    EXPECT_STR(S("GREEN"), in.mode);
    EXPECT(in.quiet && in.since == 5);
    in = decoded(a, S("{\"Page\":3,\"Mode\":\"RED\",\"Quiet\":false,\"Since\":0}"));
    EXPECT_INT(3, in.page);
    EXPECT_STR(S("RED"), in.mode);
    EXPECT(!in.quiet && in.since == 0);
}

TEST(nulls_are_absent_and_unknown_members_are_skipped)
{
    In in = decoded(a, S("{\"Name\":null,\"Small\":null,\"Items\":null,\"Item\":null,\"Page\":null,"
                         "\"Odd\":{\"a\":[1,{\"b\":null}]},\"Free\":\"x\",\"Odder\":3}"));
    EXPECT(in.name.p == NULL && !in.has_small && !in.items.set && in.item == NULL);
    EXPECT_INT(20, in.page);
    EXPECT_STR(S("x"), in.free);
}

TEST(fractions_given_for_integers_are_floored_and_large_ones_are_cut)
{
    In in = decoded(a, S("{\"Small\":7.9,\"Large\":-1.5,\"Page\":4000000000}"));
    EXPECT_INT(7, in.small);
    EXPECT_INT(-2, in.large);
    EXPECT_INT(INT32_MAX, in.page);
    in = decoded(a, S("{\"Small\":-99999999999,\"Large\":1e30,\"Moment\":1e300}"));
    EXPECT_INT(INT32_MIN, in.small);
    EXPECT_INT(INT64_MAX, in.large);
    EXPECT_INT(INT64_MAX, in.moment);
}

TEST(a_repeated_member_or_key_replaces_the_earlier_one)
{
    In in = decoded(a, S("{\"Free\":\"1\",\"Tags\":{\"a\":\"1\",\"b\":\"2\",\"a\":\"3\"},"
                         "\"Free\":\"2\",\"Names\":[\"a\"],\"Names\":[]}"));
    EXPECT_STR(S("2"), in.free);
    EXPECT_INT(2, in.tags.n);
    EXPECT_STR(S("3"), in.tags.at[0].value);
    EXPECT_INT(0, in.names.n);
}

TEST(cbor_blobs_and_times_need_no_text)
{
    struct event_writer w;
    AUTO_BUF(b);
    cbor_writer_init(&w, &b);
    w.ops->map(&w);
    w.ops->key(&w, S("Data"));
    w.ops->bytes(&w, S("\0\1"));
    w.ops->key(&w, S("Moment"));
    w.ops->time(&w, 1724151234567000000);
    w.ops->map_end(&w);
    In in;
    Str fault = { 0 };
    EXPECT_OK(decode_by(&protocol_cbor_1_1, a, buf_str(&b), &in, &fault));
    EXPECT(fault.p == NULL);
    EXPECT_STR(S("\0\1"), in.data);
    EXPECT_INT(1724151234567000000, in.moment);
}

TEST(a_malformed_document_is_an_error_even_after_a_wrong_type)
{
    In in;
    Str fault = { 0 };
    const Str bad[] = { S("{"),    S("{\"Name\":3,"), S("[]"),          S("\"x\""),
                        S("null"), S("{} {}"),        S("{\"Odd\":[}"), S("{\"Name\":[1,}") };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        EXPECT_ERR(ERR_INVALID, decode_by(&protocol_json_1_1, a, bad[i], &in, &fault));
    EXPECT_ERR(ERR_INVALID, decode_by(&protocol_cbor_1_1, a, S("\xbf\x64Name"), &in, &fault));
    EXPECT_ERR(ERR_INVALID, decode_by(&protocol_cbor_1_1, a, S("\x80"), &in, &fault));
}

TEST(wrong_types_are_told_in_the_words_of_aws)
{
    expect_fault(a, S("class java.lang.Boolean can not be converted to an String"),
                 S("{\"Name\":true}"));
    expect_fault(a, S("class java.lang.Boolean can not be converted to an Integer"),
                 S("{\"Small\":true}"));
    expect_fault(a, S("class java.lang.Boolean can not be converted to an Long"),
                 S("{\"Large\":false}"));
    expect_fault(a,
                 S("class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be "
                   "converted to an String"),
                 S("{\"Name\":12}"));
    expect_fault(a,
                 S("class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be "
                   "converted to an Boolean"),
                 S("{\"Switch\":1.5}"));
    expect_fault(a,
                 S("class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be "
                   "converted to a Blob"),
                 S("{\"Data\":3}"));
    expect_fault(a, S("class java.lang.String can not be converted to an Integer"),
                 S("{\"Small\":\"1\"}"));
    expect_fault(a, S("class java.lang.String can not be converted to an Boolean"),
                 S("{\"Switch\":\"true\"}"));
    expect_fault(a, S("class java.lang.String can not be converted to milliseconds since epoch"),
                 S("{\"Moment\":\"now\"}"));
    expect_fault(a, S("class java.lang.Boolean can not be converted to milliseconds since epoch"),
                 S("{\"Moment\":true}"));
    expect_fault(a, S("Start of list found where not expected"), S("{\"Name\":[1,[2]]}"));
    expect_fault(a, S("Start of list found where not expected"), S("{\"Item\":[]}"));
    expect_fault(a, S("Start of list found where not expected"), S("{\"Tags\":[]}"));
    expect_fault(a, S("Start of structure or map found where not expected."),
                 S("{\"Small\":{\"a\":{}}}"));
    expect_fault(a, S("Start of structure or map found where not expected."), S("{\"Names\":{}}"));
    expect_fault(a, S("Expected list or null"), S("{\"Names\":\"a\"}"));
    expect_fault(a, S("Expected map or null"), S("{\"Tags\":3}"));
    expect_fault(a, S("Expected null"), S("{\"Item\":\"a\"}"));
    expect_fault(a, S("Expected null"), S("{\"Items\":[1]}"));
}

TEST(bad_base64_is_told_in_the_words_of_aws)
{
    expect_fault(a,
                 S("'abc' can not be converted to a Blob: Base64 encoded length is expected a "
                   "multiple of 4 bytes but found: 3"),
                 S("{\"Data\":\"abc\"}"));
    expect_fault(a, S("'ab_d' can not be converted to a Blob: Invalid Base64 character: '_'"),
                 S("{\"Data\":\"ab_d\"}"));
    expect_fault(a,
                 S("'ab\u00e9' can not be converted to a Blob: Invalid Base64 character: '\u00e9'"),
                 S("{\"Data\":\"ab\u00e9\"}"));
    expect_fault(a, S("'a=bd' can not be converted to a Blob: Invalid Base64 character: '='"),
                 S("{\"Data\":\"a=bd\"}"));
    expect_fault(a,
                 S("'aGl=' can not be converted to a Blob: Invalid last non-pad Base64 "
                   "character dectected"),
                 S("{\"Data\":\"aGl=\"}"));
}

TEST(lists_and_maps_without_a_maximum_have_the_binders)
{
    AUTO_BUF(list);
    AUTO_BUF(map);
    In in;
    Str fault = { 0 };
    buf_add(&list, S("{\"Many\":["));
    buf_add(&map, S("{\"Boxes\":{"));
    for (int i = 0; i < BIND_LIST_MAX; i++) {
        buf_add(&list, i > 0 ? S(",{}") : S("{}"));
        buf_addf(&map, i > 0 ? ",\"%d\":{}" : "\"%d\":{}", i);
    }
    size_t list_bytes = list.n, map_bytes = map.n;
    buf_add(&list, S("]}"));
    buf_add(&map, S("}}"));
    EXPECT_OK(decode_by(&protocol_json_1_1, a, buf_str(&list), &in, &fault));
    EXPECT_INT(BIND_LIST_MAX, in.many.n);
    EXPECT_OK(decode_by(&protocol_json_1_1, a, buf_str(&map), &in, &fault));
    EXPECT_INT(BIND_LIST_MAX, in.boxes.n);
    list.n = list_bytes;
    map.n = map_bytes;
    buf_add(&list, S(",{}]}"));
    buf_add(&map, S(",\"x\":{}}}"));
    EXPECT_ERR(ERR_LIMIT, decode_by(&protocol_json_1_1, a, buf_str(&list), &in, &fault));
    EXPECT_ERR(ERR_LIMIT, decode_by(&protocol_json_1_1, a, buf_str(&map), &in, &fault));
}

TEST(nesting_has_an_end)
{
    AUTO_BUF(body);
    In in;
    Str fault = { 0 };
    for (int i = 0; i <= EVENT_DEPTH_MAX; i++)
        buf_add(&body, i == 0 ? S("{\"Item\":") : S("{\"Inner\":"));
    buf_add(&body, S("3"));
    EXPECT_ERR(ERR_LIMIT, decode_by(&protocol_json_1_1, a, buf_str(&body), &in, &fault));
}

TEST(the_first_wrong_type_is_the_one_that_is_told)
{
    expect_fault(a, S("Expected list or null"), S("{\"Names\":1,\"Small\":\"x\",\"Name\":[]}"));
}

// ---- Validation

TEST(complete_input_is_not_complained_about)
{
    expect_broken(a, (Str){ 0 }, S("{\"Name\":\"a\"}"));
}

TEST(one_broken_constraint_is_singular)
{
    expect_broken(a,
                  S("1 validation error detected: Value null at 'name' failed to satisfy "
                    "constraint: Member must not be null"),
                  S("{}"));
    expect_broken(a,
                  S("1 validation error detected: Value 'abcdefghi' at 'name' failed to satisfy "
                    "constraint: Member must have length less than or equal to 8"),
                  S("{\"Name\":\"abcdefghi\"}"));
    expect_broken(a,
                  S("1 validation error detected: Value 'BLUE' at 'color' failed to satisfy "
                    "constraint: Member must satisfy enum value set: [RED, GREEN]"),
                  S("{\"Name\":\"a\",\"Color\":\"BLUE\"}"));
    expect_broken(a,
                  S("1 validation error detected: Value '11' at 'small' failed to satisfy "
                    "constraint: Member must have value less than or equal to 10"),
                  S("{\"Name\":\"a\",\"Small\":11}"));
    expect_broken(a,
                  S("1 validation error detected: Value '-1' at 'large' failed to satisfy "
                    "constraint: Member must have value greater than or equal to 0"),
                  S("{\"Name\":\"a\",\"Large\":-1}"));
    expect_broken(a,
                  S("1 validation error detected: Value at 'data' failed to satisfy constraint: "
                    "Member must have length less than or equal to 6"),
                  S("{\"Name\":\"a\",\"Data\":\"MTIzNDU2Nw==\"}"));
    expect_broken(a,
                  S("1 validation error detected: Value '1.5' at 'ratio' failed to satisfy "
                    "constraint: Member must have value less than or equal to 1"),
                  S("{\"Name\":\"a\",\"Ratio\":1.5}"));
}

TEST(the_pattern_comes_before_the_length_of_one_member)
{
    expect_broken(a,
                  S("2 validation errors detected: Value '' at 'name' failed to satisfy "
                    "constraint: Member must satisfy regular expression pattern: [a-z]+; Value "
                    "'' at 'name' failed to satisfy constraint: Member must have length greater "
                    "than or equal to 1"),
                  S("{\"Name\":\"\"}"));
}

TEST(members_are_checked_in_the_order_of_the_contract)
{
    expect_broken(a,
                  S("3 validation errors detected: Value null at 'name' failed to satisfy "
                    "constraint: Member must not be null; Value '0' at 'small' failed to "
                    "satisfy constraint: Member must have value greater than or equal to 1; "
                    "Value '51' at 'page' failed to satisfy constraint: Member must have value "
                    "less than or equal to 50"),
                  S("{\"Page\":51,\"Small\":0}"));
}

TEST(elements_are_addressed_by_number)
{
    expect_broken(a,
                  S("2 validation errors detected: Value null at 'items.2.member.id' failed to "
                    "satisfy constraint: Member must not be null; Value '99' at "
                    "'items.2.member.inner.count' failed to satisfy constraint: Member must "
                    "have value less than or equal to 10"),
                  S("{\"Name\":\"a\",\"Items\":[{\"Id\":\"a\"},{\"Inner\":{\"Id\":\"b\",\"Count\":"
                    "99}}]}"));
    expect_broken(a,
                  S("1 validation error detected: Value '[]' at 'grid.2.member' failed to "
                    "satisfy constraint: Member must have length greater than or equal to 1"),
                  S("{\"Name\":\"a\",\"Grid\":[[\"a\"],[]]}"));
    expect_broken(a,
                  S("1 validation error detected: Value null at 'boxes.k.id' failed to satisfy "
                    "constraint: Member must not be null"),
                  S("{\"Name\":\"a\",\"Boxes\":{\"k\":{}}}"));
}

TEST(lists_of_scalars_are_complained_about_once_and_whole)
{
    expect_broken(a,
                  S("1 validation error detected: Value '[a, B]' at 'names' failed to satisfy "
                    "constraint: Member must satisfy constraint: [Member must have length less "
                    "than or equal to 8, Member must have length greater than or equal to 1, "
                    "Member must satisfy regular expression pattern: [a-z]+]"),
                  S("{\"Name\":\"a\",\"Names\":[\"a\",\"B\"]}"));
    expect_broken(a,
                  S("1 validation error detected: Value '[RED, BLUE]' at 'colors' failed to "
                    "satisfy constraint: Member must satisfy constraint: [Member must satisfy "
                    "enum value set: [RED, GREEN]]"),
                  S("{\"Name\":\"a\",\"Colors\":[\"RED\",\"BLUE\"]}"));
    expect_broken(a,
                  S("1 validation error detected: Value '[5, 0]' at 'numbers' failed to satisfy "
                    "constraint: Member must satisfy constraint: [Member must have value less "
                    "than or equal to 10, Member must have value greater than or equal to 1]"),
                  S("{\"Name\":\"a\",\"Numbers\":[5,0]}"));
}

TEST(map_keys_and_values_have_their_own_sentences)
{
    expect_broken(a,
                  S("1 validation error detected: Value '{K=v}' at 'tags' failed to satisfy "
                    "constraint: Map keys must satisfy constraint: [Member must have length "
                    "less than or equal to 8, Member must have length greater than or equal to "
                    "1, Member must satisfy regular expression pattern: [a-z]+]"),
                  S("{\"Name\":\"a\",\"Tags\":{\"K\":\"v\"}}"));
    expect_broken(a,
                  S("1 validation error detected: Value '{k=0}' at 'limits' failed to satisfy "
                    "constraint: Map value must satisfy constraint: [Member must have value "
                    "less than or equal to 10, Member must have value greater than or equal to "
                    "1]"),
                  S("{\"Name\":\"a\",\"Limits\":{\"k\":0}}"));
    expect_broken(a,
                  S("1 validation error detected: Value '{}' at 'tags' failed to satisfy "
                    "constraint: Member must have length greater than or equal to 1"),
                  S("{\"Name\":\"a\",\"Tags\":{}}"));
}

TEST(too_long_a_list_of_structs_is_refused_without_its_value)
{
    expect_broken(a,
                  S("1 validation error detected: Value at 'items' failed to satisfy "
                    "constraint: Member must have length less than or equal to 3"),
                  S("{\"Name\":\"a\",\"Items\":[{\"Id\":\"a\"},{\"Id\":\"b\"},{\"Id\":\"c\"},"
                    "{\"Id\":\"d\"},{\"Id\":\"e\"}]}"));
}

TEST(required_numbers_are_missed_like_texts)
{
    expect_broken(a,
                  S("5 validation errors detected: Value null at 'pair.left' failed to satisfy "
                    "constraint: Member must not be null; Value null at 'pair.right' failed to "
                    "satisfy constraint: Member must not be null; Value null at 'pair.at' "
                    "failed to satisfy constraint: Member must not be null; Value null at "
                    "'pair.half' failed to satisfy constraint: Member must not be null; Value "
                    "null at 'pair.far' failed to satisfy constraint: Member must not be null"),
                  S("{\"Name\":\"a\",\"Pair\":{}}"));
    expect_broken(a, (Str){ 0 },
                  S("{\"Name\":\"a\",\"Pair\":{\"Left\":0,\"Right\":false,\"At\":0,\"Half\":0,"
                    "\"Far\":0}}"));
}

TEST(at_most_ten_errors_are_listed_but_all_are_counted)
{
    EXPECT_OK(api_prepare(&probe_api));
    AUTO_BUF(body);
    buf_add(&body, S("{\"Name\":\"a\",\"Many\":["));
    for (int i = 0; i < 12; i++)
        buf_add(&body, i == 0 ? S("{}") : S(",{}"));
    buf_add(&body, S("]}"));
    In in = decoded(a, buf_str(&body));
    Str text = bind_validate(put_op()->input, &in, a);
    EXPECT(str_starts(text, S("12 validation errors detected: ")));
    EXPECT(str_search(text, S("'many.10.member.id'")) < text.n);
    EXPECT(str_search(text, S("'many.11.member.id'")) == text.n);
}

TEST(lengths_of_text_are_in_code_points)
{
    expect_broken(a,
                  S("1 validation error detected: Value '\u00e9\u00e9' at 'name' failed to "
                    "satisfy constraint: Member must satisfy regular expression pattern: "
                    "[a-z]+"),
                  S("{\"Name\":\"\u00e9\u00e9\"}"));
}

// ---- Encoding

TEST(absent_members_are_not_written_but_required_ones_always)
{
    struct probe_Put_out out = { .name = S("n") };
    EXPECT_STR(S("{\"Name\":\"n\",\"Must\":0,\"Found\":[]}"), encoded(a, &protocol_json_1_1, &out));
}

TEST(a_time_is_written_as_itself_whichever_was_written_before)
{
    static const struct {
        int64_t first, second;
        const char *text;
    } rows[] = {
        { 0, 0, "0,0" },
        { 1724151234567000000, 1724151234567000000, "1724151234.567,1724151234.567" },
        { 1724151234567000000, 1724151234568000000, "1724151234.567,1724151234.568" },
        { 1724151234567000000, 1724151234567999999, "1724151234.567,1724151234.567" },
        { 1724151234000000000, 1000000000, "1724151234,1" },
        { -1500000000, -1500000000, "-1.5,-1.5" },
        { INT64_MIN, INT64_MAX, "-9223372036.855,9223372036.854" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        probe_Pair pair = { .at = rows[i].second };
        struct probe_Put_out out = {
            .name = S("n"), .moment = rows[i].first, .has_moment = true, .pair = &pair
        };
        Str first, second;
        str_cut(str_of(rows[i].text), ',', &first, &second);
        EXPECT_STR(str_fmt(a,
                           "{\"Name\":\"n\",\"Moment\":%.*s,\"Pair\":{\"Left\":0,\"Right\":false,"
                           "\"At\":%.*s,\"Half\":0.0,\"Far\":0},\"Must\":0,\"Found\":[]}",
                           FMT(first), FMT(second)),
                   encoded(a, &protocol_json_1_1, &out));
    }
}

TEST(what_was_decoded_is_written_as_it_came)
{
    Str json = S("{\"Name\":\"abc\",\"Free\":\"\",\"Data\":\"aGk=\",\"Color\":\"RED\",\"Small\":7,"
                 "\"Large\":9007199254740993,\"Ratio\":0.25,\"Moment\":1724151234.567,"
                 "\"Switch\":false,\"Names\":[\"a\",\"b\"],\"Numbers\":[1,2],\"Grid\":[[\"x\"],[]],"
                 "\"Items\":[{\"Id\":\"q\",\"Data\":\"\",\"Inner\":{\"Id\":\"r\"}}],"
                 "\"Tags\":{\"k\":\"v\"},\"Boxes\":{\"b\":{\"Id\":\"i\"}},\"Limits\":{\"m\":3},"
                 "\"Item\":{\"Id\":\"z\"},\"Pair\":{\"Left\":-1,\"Right\":true,\"At\":1,"
                 "\"Half\":2.5,\"Far\":-9}");
    In in = decoded(a, str_cat(a, json, S("}")));
    struct probe_Put_out out = {
        .name = in.name,
        .free = in.free,
        .data = in.data,
        .color = in.color,
        .small = in.small,
        .has_small = in.has_small,
        .large = in.large,
        .has_large = true,
        .ratio = in.ratio,
        .has_ratio = true,
        .moment = in.moment,
        .has_moment = true,
        .switch_ = in.switch_,
        .has_switch_ = true,
        .names = in.names,
        .numbers = in.numbers,
        .grid = in.grid,
        .items = in.items,
        .tags = in.tags,
        .boxes = in.boxes,
        .limits = in.limits,
        .item = in.item,
        .pair = in.pair,
    };
    EXPECT_STR(str_cat(a, json, S(",\"Must\":0,\"Found\":[]}")),
               encoded(a, &protocol_json_1_1, &out));

    In again;
    Str fault = { 0 };
    EXPECT_OK(
        decode_by(&protocol_cbor_1_1, a, encoded(a, &protocol_cbor_1_1, &out), &again, &fault));
    EXPECT(fault.p == NULL);
    EXPECT_STR(S("hi"), again.data);
    EXPECT_INT(1724151234567000000, again.moment);
    EXPECT_STR(S("i"), again.boxes.at[0].value.id);
    EXPECT_INT(-9, again.pair->far);
}

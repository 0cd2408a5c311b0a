// SPDX-License-Identifier: Apache-2.0
#include "aws/pattern.h"
#include "base/test.h"

static void expect_match(Str expression, Str text, bool want)
{
    AUTO(pattern) p = NULL;
    EXPECT_OK(pattern_open(expression, &p));
    if (pattern_matches(p, text) != want)
        test_fail(__FILE__, __LINE__, "/%.*s/ on '%.*s' should %smatch", FMT(expression), FMT(text),
                  want ? "" : "not ");
}

static void expect_refused(ErrKind kind, Str expression)
{
    struct pattern *p = NULL;
    EXPECT_ERR(kind, pattern_open(expression, &p));
    EXPECT(p == NULL);
}

TEST(the_whole_text_must_match)
{
    expect_match(S("[a-z]+"), S("abc"), true);
    expect_match(S("[a-z]+"), S("abcD"), false);
    expect_match(S("[a-z]+"), S(" abc"), false);
    expect_match(S("[a-z]+"), S(""), false);
    expect_match(S(""), S(""), true);
    expect_match(S("^a$"), S("a"), true);
    expect_match(S("^a$"), S("aa"), false);
    expect_match(S("a^b"), S("ab"), false);
}

TEST(repeats_count)
{
    expect_match(S("a{3}"), S("aaa"), true);
    expect_match(S("a{3}"), S("aa"), false);
    expect_match(S("a{2,}"), S("aaaaa"), true);
    expect_match(S("a{2,}"), S("a"), false);
    expect_match(S("(ab){1,2}"), S("abab"), true);
    expect_match(S("(ab){1,2}"), S("ababab"), false);
    expect_match(S("a{0}"), S(""), true);
    expect_match(S("a{0}"), S("a"), false);
    expect_match(S("x?y*z+"), S("zz"), true);
    expect_match(S("x?y*z+"), S("xyyz"), true);
    expect_match(S("x?y*z+"), S("xxz"), false);
    expect_match(S("(a*)*b"), S("aaab"), true);
    expect_match(S("(a|b|cd)*"), S("abcdba"), true);
    expect_match(S("(a|b|cd)*"), S("abca"), false);
}

TEST(choices_and_groups_nest)
{
    expect_match(S("0|([1-9]\\d{0,38})"), S("0"), true);
    expect_match(S("0|([1-9]\\d{0,38})"), S("340282366920938463463374607431768211455"), true);
    expect_match(S("0|([1-9]\\d{0,38})"), S("01"), false);
    expect_match(S("0|([1-9]\\d{0,38})"), S("3402823669209384634633746074317682114550"), false);
    expect_match(S("(?:a(b|c(d|e)))"), S("ace"), true);
    expect_match(S("(|a)b"), S("b"), true);
}

TEST(sets_hold_what_they_say)
{
    expect_match(S("[a-zA-Z0-9_.-]+"), S("a.B-9_"), true);
    expect_match(S("[a-zA-Z0-9_.-]+"), S("a/b"), false);
    expect_match(S("[^:*]*"), S("a b\u00e9"), true);
    expect_match(S("[^:*]*"), S("a:b"), false);
    expect_match(S("[\\d\\-]+"), S("1-2"), true);
    expect_match(S("[\\W]"), S("\u00e9"), true);
    expect_match(S("[\\u00e0-\\u00ff]"), S("\u00e9"), true);
    expect_match(S("[^\\u00e0-\\u00ff]"), S("\u00e9"), false);
    expect_match(S("\\S+"), S("a\tb"), false);
    expect_match(S("."), S("\n"), false);
    expect_match(S("."), S("\xf0\x9f\x98\x80"), true);
}

TEST(real_arns_match)
{
    Str arn = S("arn:aws.*:kinesis:.*:\\d{12}:stream/\\S+");
    expect_match(arn, S("arn:aws:kinesis:us-east-1:000000000000:stream/clicks"), true);
    expect_match(arn, S("arn:aws-cn:kinesis:cn-north-1:000000000000:stream/a"), true);
    expect_match(arn, S("arn:aws:kinesis:us-east-1:00000000000:stream/clicks"), false);
    expect_match(arn, S("arn:aws:kinesis:us-east-1:000000000000:stream/"), false);
}

TEST(properties_are_unicodes)
{
    Str tag = S("[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*");
    expect_match(tag, S("caf\u00e9 \u4e16\u754c \u0664 a=b"), true);
    expect_match(tag, S("a!"), false);
    expect_match(tag, S("\u2028"), true);
    expect_match(tag, S("\u20ac"), false);
    expect_match(S("\\p{Sc}+"), S("$\u20ac"), true);
    expect_match(S("\\P{C}+"), S("a\u20ac"), true);
    expect_match(S("\\P{C}+"), S("a\n"), false);
    expect_match(S("[^\\p{L}]"), S("\u00e9"), false);
    expect_match(S("[^\\p{L}]"), S("\u20ac"), true);
    expect_match(S("\\p{L}"), S("\xf0\x90\x90\x80"), true); // beyond the first plane
}

TEST(surrogates_in_pairs_are_one_character)
{
    Str all = S("[\\u0020-\\uD7FF\\uE000-\\uFFFD\\uD800\\uDC00-\\uDBFF\\uDFFF\\r\\n\\t]*");
    expect_match(all, S("a\n\xf0\x9f\x98\x80\u4e16"), true);
    expect_match(all, S("\x01"), false);
}

TEST(a_look_ahead_guards_the_start)
{
    expect_match(S("^(?!aws:)[a-z:]*$"), S("aws:x"), false);
    expect_match(S("^(?!aws:)[a-z:]*$"), S("awsx"), true);
    expect_match(S("^(?!aws:)[a-z:]*$"), S(""), true);
    expect_match(S("(?=.{2,3}$)(?!x)[a-z]+"), S("abc"), true);
    expect_match(S("(?=.{2,3}$)(?!x)[a-z]+"), S("abcd"), false);
    expect_match(S("(?=.{2,3}$)(?!x)[a-z]+"), S("xa"), false);
    expect_match(S("(?![)(]a)..(?:b)"), S(")ab"), false);
    expect_match(S("(?!(?!a)b)[ab]"), S("b"), false);
}

TEST(lazy_repeats_match_the_same_texts)
{
    expect_match(S("a+?b*?c??d{2}?"), S("aabdd"), true);
    expect_match(S("a+?b*?c??d{2}?"), S("aab"), false);
}

TEST(malformed_text_does_not_match)
{
    expect_match(S(".*"), S("a\xff"), false);
    expect_match(S("\\S+"), S("\xc3"), false);
}

static void expect_same_again(const struct pattern *p, Str text, bool want)
{
    for (int i = 0; i < 3; i++)
        EXPECT(pattern_matches(p, text) == want);
}

TEST(what_has_matched_one_pattern_is_known_of_no_other)
{
    AUTO(pattern) letters = NULL;
    EXPECT_OK(pattern_open(S("[a-z]*"), &letters));
    expect_same_again(letters, S(""), true);
    for (int i = 0; i < 200;
         i++) { // more than are remembered; some share the memory of a closed one
        AUTO(pattern) digits = NULL;
        EXPECT_OK(pattern_open(S("[0-9]+"), &digits));
        Str word = str_fmt(a, "%c", 'a' + i % 26), number = str_fmt(a, "%d", i);
        expect_same_again(letters, word, true);
        expect_same_again(digits, word, false);
        expect_same_again(digits, number, true);
        expect_same_again(letters, number, false);
        expect_same_again(digits, S(""), false);
    }
}

TEST(texts_of_any_length_that_differ_in_one_byte_are_told_apart)
{
    AUTO(pattern) p = NULL;
    EXPECT_OK(pattern_open(S("[a-z]*"), &p));
    for (size_t n = 1; n <= 300; n++) {
        char *text = arena_alloc(a, n, 1);
        memset(text, 'a', n);
        expect_same_again(p, str_from(text, n), true);
        for (size_t i = 0; i<n; i += n> 16 ? 7 : 1) {
            text[i] = 'A';
            expect_same_again(p, str_from(text, n), false);
            text[i] = 'a';
        }
        expect_same_again(p, str_from(text, n), true);
    }
}

TEST(an_expensive_looking_pattern_is_cheap)
{
    AUTO(pattern) p = NULL;
    EXPECT_OK(pattern_open(S("(a*)*(a*)*(a*)*b"), &p));
    char *text = arena_alloc(a, 20000, 1);
    for (size_t i = 0; i < 20000; i++)
        text[i] = 'a';
    EXPECT(!pattern_matches(p, str_from(text, 20000))); // exponential for a backtracker
}

TEST(what_the_language_does_not_have_is_refused)
{
    const Str bad[] = { S("("),         S(")"),       S("a)"),   S("[a"),     S("[]"),   S("*"),
                        S("a{"),        S("a{2,1}"),  S("a{x}"), S("(?<=a)"), S("a*+"),  S("a++"),
                        S("\\"),        S("\\b"),     S("\\1"),  S("\\p{Q}"), S("\\pL"), S("[b-a]"),
                        S("\\u12"),     S("\\xzz"),   S("\xff"), S("a(?!b)"), S("(?!a"), S("\\p{"),
                        S("(?!(?<b))"), S("(?!a)b|c") };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        expect_refused(ERR_INVALID, bad[i]);
    expect_refused(ERR_LIMIT, S("a{1001}"));
    expect_refused(ERR_LIMIT, S("((a{100}){100}){100}"));
    expect_refused(ERR_LIMIT,
                   S("((((((((((((((((((((((((((((((((((a))))))))))))))))))))))))))))))))))"));
}

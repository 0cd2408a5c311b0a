// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "svc/kinesis/sequence.h"

// The first two are sample numbers of AWS's documentation.
static const struct {
    const char *text;
    Sequence s;
} known[] = {
    { "49546986683135544286507457936321625675700192471156785154",
      { .created_s = 1421279230, .time_s = 1421279386, .index = 469, .shard = 0 } },
    { "49543463076548007577105092703039560359975228518395019266",
      { .created_s = 1411403981, .time_s = 1411431220, .index = 5501, .shard = 0 } },
    { "49646437577108476416916876405827138351405044649047359490",
      { .created_s = 1700000000, .time_s = 1700000005, .index = 1, .shard = 0 } },
    { "49646437577141927534714672340537024077174787589359534354",
      { .created_s = 1700000000, .time_s = 1700000000, .index = SEQUENCE_INDEX_END, .shard = 17 } },
};

TEST(numbers_have_the_digits_that_aws_gives_them)
{
    for (size_t i = 0; i < COUNT_OF(known); i++)
        EXPECT_STR(str_of(known[i].text), sequence_str(a, known[i].s));
}

TEST(a_number_is_taken_apart_into_what_made_it)
{
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        Sequence s;
        EXPECT_OK(sequence_parse(str_of(known[i].text), &s));
        EXPECT_INT(known[i].s.created_s, s.created_s);
        EXPECT_INT(known[i].s.time_s, s.time_s);
        EXPECT(known[i].s.index == s.index && known[i].s.shard == s.shard);
    }
}

TEST(what_is_no_sequence_number_is_refused)
{
    static const char *const wrong[] = {
        "",
        "0",
        "1",
        "x",
        "-1",
        "49646437577108476416916876405827138351405044649047359491",
        "4964643757710847641691687640582713835140504464904735949",
        "496464375771084764169168764058271383514050446490473594900",
        "999999999999999999999999999999999999999999999999999999999",
        "49646437577108476416916876405827138351405044649047359490 ",
    };
    Sequence s;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        EXPECT_ERR(ERR_INVALID, sequence_parse(str_of(wrong[i]), &s));
}

TEST(a_later_position_in_a_shard_is_a_greater_number)
{
    Str last = S("0");
    for (uint64_t index = 1 << 18; index < (UINT64_C(1) << 62); index *= 3) {
        Str next = sequence_str(a, (Sequence){ 1700000000, 1700000005, index, 3 });
        EXPECT(last.n < next.n || str_cmp(last, next) < 0);
        last = next;
    }
}

// The first digits of a number may be those of the number before.
TEST(numbers_of_several_shards_in_turns_read_back_as_what_made_them)
{
    for (unsigned i = 0; i < 4096; i++) {
        Sequence s = { .created_s = 1700000000 + i / 7 % 2,
                       .time_s = 1700000100,
                       .index = (UINT64_C(1) << (20 + i / 100)) - 50 + i % 100,
                       .shard = i / 3 % 5 };
        Sequence back;
        EXPECT_OK(sequence_parse(sequence_str(a, s), &back));
        EXPECT(back.created_s == s.created_s && back.time_s == s.time_s && back.index == s.index &&
               back.shard == s.shard);
    }
}

TEST(a_million_numbers_read_back_as_what_made_them)
{
    uint64_t random = 88172645463325252u;
    for (int i = 0; i < 1000000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        Sequence s = { .created_s = (int64_t)(random >> 28),
                       .index = random >> (1 + i % 63),
                       .shard = (uint32_t)(random >> 33) };
        s.time_s = s.created_s;
        char digits[SEQUENCE_CHARS_MAX];
        Sequence back;
        EXPECT_OK(sequence_parse(str_from(digits, sequence_format(digits, s)), &back));
        EXPECT(back.created_s == s.created_s && back.time_s == s.time_s && back.index == s.index &&
               back.shard == s.shard);
    }
}

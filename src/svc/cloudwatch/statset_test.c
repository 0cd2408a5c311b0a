// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/statset.h"
#include "base/test.h"

#include <math.h>

static StatSet set_of(struct arena *a, const double *values, size_t n)
{
    StatSet s = { 0 };
    for (size_t i = 0; i < n; i++) {
        StatSet one = statset_of(a, values[i], 1);
        statset_merge(a, &s, &one);
    }
    return s;
}

static StatSet up_to(struct arena *a, size_t n)
{
    StatSet s = { 0 };
    for (size_t i = n; i > 0; i--) {
        StatSet one = statset_of(a, (double)i, 1);
        statset_merge(a, &s, &one);
    }
    return s;
}

static double value_of(const StatSet *set, const char *name)
{
    Stat s;
    double value = NAN;
    EXPECT_OK(stat_parse(str_of(name), &s));
    EXPECT(stat_value(&s, set, &value));
    return value;
}

TEST(sums_are_exact)
{
    static const double values[] = { 3, -1, 10, 3 };
    StatSet s = set_of(a, values, COUNT_OF(values));
    EXPECT(value_of(&s, "SampleCount") == 4 && value_of(&s, "Sum") == 15);
    EXPECT(value_of(&s, "Minimum") == -1 && value_of(&s, "Maximum") == 10);
    EXPECT(value_of(&s, "Average") == 3.75);
    EXPECT_INT(3, s.bin_count); // the same value twice is one
}

TEST(percentiles_of_few_values_are_values)
{
    StatSet s = up_to(a, 100);
    EXPECT(value_of(&s, "p50") == 50 && value_of(&s, "p99") == 99 && value_of(&s, "p100") == 100);
    EXPECT(value_of(&s, "p0") == 1 && value_of(&s, "p99.5") == 100);
}

TEST(percentiles_of_many_values_are_near)
{
    StatSet s = up_to(a, 10000);
    EXPECT(s.bin_count <= STATSET_BINS_MAX);
    EXPECT(s.count == 10000 && s.sum == 50005000 && s.min == 1 && s.max == 10000);
    EXPECT(fabs(value_of(&s, "p50") - 5000) < 500);
    EXPECT(fabs(value_of(&s, "p99") - 9900) < 990);
    EXPECT(value_of(&s, "p100") <= 10000 && value_of(&s, "p0") >= 1);
}

TEST(bins_of_both_signs_and_zero_are_joined_to_few)
{
    StatSet s = { 0 };
    for (int i = -3000; i <= 3000; i++) {
        StatSet one = statset_of(a, i * 1e-9, 1);
        statset_merge(a, &s, &one);
    }
    EXPECT(s.bin_count <= STATSET_BINS_MAX && s.count == 6001);
    EXPECT(fabs(value_of(&s, "p50")) < 1e-7);
}

TEST(trimmed_statistics_leave_the_ends_away)
{
    StatSet s = up_to(a, 10);
    EXPECT(value_of(&s, "tm90") == 5);
    EXPECT(value_of(&s, "TM(10%:90%)") == 5.5);
    EXPECT(value_of(&s, "TM(2:4)") == 3.5); // more than 2, no more than 4
    EXPECT(value_of(&s, "tc90") == 9 && value_of(&s, "ts90") == 45);
    EXPECT(value_of(&s, "TC(5:)") == 5 && value_of(&s, "TS(:3)") == 6);
    EXPECT(value_of(&s, "PR(:3)") == 30 && value_of(&s, "PR(3:5)") == 20);
    EXPECT(value_of(&s, "IQM") == 5.5);
    EXPECT(value_of(&s, "wm90") == 5.4); // 10 counts as 9
    EXPECT(value_of(&s, "WM(:2)") == 1.9);
}

TEST(values_with_counts_make_the_same_set)
{
    static const double values[] = { 5, 1, 5, 3 }, counts[] = { 2, 1, 1, 0 };
    StatSet s = statset_of_values(a, values, counts, COUNT_OF(values));
    EXPECT(s.count == 4 && s.sum == 16 && s.min == 1 && s.max == 5 && s.bin_count == 2);
    EXPECT(value_of(&s, "p25") == 1 && value_of(&s, "p26") == 5);
    s = statset_of_values(a, values, NULL, COUNT_OF(values));
    EXPECT(s.count == 4 && s.sum == 14 && s.bin_count == 3);
    s = statset_of_values(a, values, counts + 3, 1);
    EXPECT(s.count == 0 && s.bin_count == 0);
}

TEST(of_sums_alone_percentiles_are_unknown)
{
    Stat p50;
    double value;
    EXPECT_OK(stat_parse(S("p50"), &p50));
    StatSet s = statset_of_sums(a, 4, 10, 1, 4);
    EXPECT(!stat_value(&p50, &s, &value) && value_of(&s, "Average") == 2.5);
    s = statset_of_sums(a, 4, 8, 2, 2);
    EXPECT(value_of(&s, "p50") == 2);
    StatSet blurred = statset_of_sums(a, 2, 3, 1, 2);
    statset_merge(a, &s, &blurred);
    EXPECT(!stat_value(&p50, &s, &value) && value_of(&s, "Sum") == 11);
    StatSet nothing = { 0 };
    EXPECT(!stat_value(&p50, &nothing, &value));
    statset_merge(a, &nothing, &s);
    EXPECT(nothing.min == 1 && nothing.max == 2);
}

TEST(names_that_are_none_are_refused)
{
    static const char *const bad[] = { "",      "average",   "p",          "p101",      "p-1",
                                       "pinf",  "tm",        "TM(10%:5%)", "TM(1:90%)", "TM(:)",
                                       "TM(5)", "PR(1%:2%)", "IQM5",       "TM(a:b)",   "TM(1:2" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        Stat s;
        EXPECT_ERR(ERR_INVALID, stat_parse(str_of(bad[i]), &s));
    }
}

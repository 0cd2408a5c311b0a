// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/block.h"
#include "base/test.h"
#include "codec/crc.h"
#include "codec/little.h"

#include <string.h>

static void add(struct arena *a, Block *b, unsigned slot, const char *unit, double value)
{
    StatSet one = statset_of(a, value, 1);
    block_add(a, b, slot, unit_of(str_of(unit)), &one);
}

static Str written(struct arena *a, const Block *b)
{
    AUTO_BUF(out);
    block_write(&out, b);
    EXPECT_OK(buf_err(&out));
    return str_dup(a, buf_str(&out));
}

TEST(points_come_back_in_order_of_time_and_unit)
{
    Block b = { 0 }, again;
    add(a, &b, 59, "Seconds", 3);
    add(a, &b, 0, "Count", 1);
    add(a, &b, 7, "Seconds", 2);
    add(a, &b, 0, "None", 4);
    add(a, &b, 7, "Seconds", 5);
    StatSet blurred = statset_of_sums(a, 2, 3, 1, 2);
    block_add(a, &b, 9, 0, &blurred);
    Str row = written(a, &b);
    EXPECT_OK(block_read(a, row, &again));
    EXPECT_INT(5, again.n);
    EXPECT(again.at[0].slot == 0 && str_eq(unit_name(again.at[0].unit), S("None")));
    EXPECT(again.at[1].slot == 0 && str_eq(unit_name(again.at[1].unit), S("Count")));
    EXPECT(again.at[2].slot == 7 && again.at[2].set.count == 2 && again.at[2].set.sum == 7);
    EXPECT(again.at[2].set.bin_count == 2 && again.at[2].set.bins[1].value == 5);
    EXPECT(again.at[3].slot == 9 && again.at[3].set.blurred && again.at[3].set.bin_count == 0);
    EXPECT(again.at[4].slot == 59 && again.at[4].set.bin_count == 1);
    EXPECT_STR(row, written(a, &again));
}

TEST(what_was_read_can_be_added_to)
{
    Block b = { 0 }, again;
    for (unsigned slot = 0; slot < BLOCK_SLOTS; slot += 2)
        add(a, &b, slot, "None", slot);
    EXPECT_OK(block_read(a, written(a, &b), &again));
    for (unsigned slot = 1; slot < BLOCK_SLOTS; slot += 2)
        add(a, &again, slot, "None", slot);
    EXPECT_INT(BLOCK_SLOTS, again.n);
    for (unsigned slot = 0; slot < BLOCK_SLOTS; slot++)
        EXPECT(again.at[slot].slot == slot && again.at[slot].set.sum == slot);
}

TEST(units_have_numbers_for_ever)
{
    EXPECT_INT(0, unit_of(S("None")));
    EXPECT_INT(15, unit_of(S("Count")));
    EXPECT_INT(26, unit_of(S("Count/Second")));
    EXPECT_INT(UNITS, unit_of(S("Parsecs")));
}

TEST(a_damaged_row_is_refused)
{
    Block b = { 0 }, again;
    add(a, &b, 3, "None", 1);
    add(a, &b, 3, "None", 2);
    Str row = written(a, &b);
    for (size_t n = 0; n < row.n; n++)
        EXPECT_ERR(ERR_CORRUPT, block_read(a, str_head(row, n), &again));
    char *bent = arena_alloc(a, row.n, 1);
    for (size_t i = 0; i < row.n; i++) {
        memcpy(bent, row.p, row.n);
        bent[i] ^= 1;
        EXPECT_ERR(ERR_CORRUPT, block_read(a, str_from(bent, row.n), &again));
    }
}

// With a checksum that fits: what a faulty program could have written.
TEST(a_row_that_makes_no_sense_is_refused)
{
    static const struct {
        size_t at;
        uint8_t value;
        ErrKind want;
    } cases[] = { { 0, 2, ERR_FORMAT },
                  { 1, BLOCK_SLOTS, ERR_CORRUPT },
                  { 2, UNITS, ERR_CORRUPT },
                  { 4, 2, ERR_CORRUPT },
                  { 5, 1, ERR_CORRUPT } };
    Block b = { 0 }, again;
    add(a, &b, 3, "None", 1);
    Str row = written(a, &b);
    uint8_t *bent = arena_alloc(a, row.n, 1);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        memcpy(bent, row.p, row.n);
        bent[cases[i].at] = cases[i].value;
        put32(bent + row.n - 4, crc32c(0, bent, row.n - 4));
        EXPECT_ERR(cases[i].want, block_read(a, str_from(bent, row.n), &again));
    }
}

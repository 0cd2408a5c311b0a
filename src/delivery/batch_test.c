// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "delivery/batch.h"

TEST(a_batch_keeps_what_is_added_and_what_fails)
{
    DeliveryBatch b = { .arena = a };
    for (uint32_t i = 0; i < 1000; i++)
        batch_add(&b, &(DeliveryRecord){ .data = S("abc"), .sub = i });
    EXPECT_INT(1000, b.n);
    EXPECT_INT(3000, b.bytes);
    EXPECT_INT(999, b.at[999].sub);
    batch_fail(&b, &b.at[7], "processing-failed", S("Lambda.MissingRecordId"), S("none"), 4, 17);
    EXPECT_INT(1, b.failed_n);
    EXPECT_INT(7, b.failed[0].sub);
    EXPECT_INT(4, b.failed[0].fault.attempts);
    EXPECT_STR(S("processing-failed"), str_of(b.failed[0].fault.type));
    EXPECT(b.at[7].fault.type == NULL);
}

TEST(pieces_follow_each_other_and_what_is_added_later_them)
{
    DeliveryBatch b = { .arena = a };
    char digits[] = "0123456789";
    for (size_t n = 0; n < 4; n++) { // none, one, two, three
        DeliveryRecord *piece = arena_new(a, DeliveryRecord, n + 1);
        for (size_t i = 0; i < n; i++)
            piece[i].data = str_from(digits + b.n + i, 1);
        batch_take(&b, piece, n);
    }
    batch_add(&b, &(DeliveryRecord){ .data = str_from(digits + 6, 1) });
    EXPECT(b.n == 7 && b.bytes == 7);
    for (size_t i = 0; i < b.n; i++)
        EXPECT_STR(str_from(digits + i, 1), b.at[i].data);
}

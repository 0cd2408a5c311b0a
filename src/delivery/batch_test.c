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

// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "codec/marker.h"

static Str example(struct arena *a, unsigned reader)
{
    AUTO_BUF(b);
    marker_begin(&b, S("headrace-thing"), 7, reader);
    marker_add(&b, S("version"), S("1.2.3"));
    marker_add(&b, S("note"), S("crc32c is not here"));
    marker_end(&b);
    return str_dup(a, buf_str(&b));
}

TEST(a_marker_reads_back_as_it_was_written)
{
    Marker m;
    EXPECT_OK(marker_read(example(a, 6), S("headrace-thing"), 6, &m));
    EXPECT(m.format == 7 && m.reader == 6);
    EXPECT_STR(S("1.2.3"), marker_value(&m, S("version")));
    EXPECT_STR(S("crc32c is not here"), marker_value(&m, S("note")));
    EXPECT(marker_value(&m, S("vers")).p == NULL && marker_value(&m, S("none")).p == NULL);
}

TEST(a_marker_of_a_newer_program_is_refused_and_says_whose_it_is)
{
    Marker m;
    EXPECT_ERR(ERR_FORMAT, marker_read(example(a, 7), S("headrace-thing"), 6, &m));
    EXPECT_STR(S("1.2.3"), marker_value(&m, S("version")));
}

TEST(a_marker_with_any_byte_changed_or_missing_is_damaged)
{
    Marker m;
    Str good = example(a, 1);
    for (size_t i = 0; i < good.n; i++) {
        char *bad = str_c(a, good);
        bad[i] ^= 4;
        EXPECT_ERR(ERR_CORRUPT, marker_read(str_from(bad, good.n), S("headrace-thing"), 7, &m));
        EXPECT_ERR(ERR_CORRUPT, marker_read(str_head(good, i), S("headrace-thing"), 7, &m));
    }
    EXPECT_ERR(ERR_CORRUPT, marker_read(good, S("headrace-other"), 7, &m));
    EXPECT_ERR(ERR_CORRUPT, marker_read(str_cat(a, good, S("\n")), S("headrace-thing"), 7, &m));
}

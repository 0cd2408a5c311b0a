// SPDX-License-Identifier: Apache-2.0
// Dates and times as the deserializers read them, in UTC, of the years 1 to 9999.
#pragma once
#include "columnar/number.h"

// What the OpenX SerDe reads: see columnar.h. `s` is followed by a byte that no number has.
bool moment_openx(Str s, Moment *ret);
// What java.sql.Timestamp.valueOf reads: 2017-2-7 15:13:01[.39256].
bool moment_plain(Str s, Moment *ret);
// What java.sql.Date.valueOf reads: 2017-2-7; days since 1970.
bool moment_date(Str s, int64_t *ret_days);

struct moment_format; // a pattern of Joda's DateTimeFormat, or "millis"

// ERR_INVALID: the pattern has letters that are not understood (G C x w z beyond UTC), or nothing.
Err moment_format_open(Str pattern, ColumnarProblem *problem, struct moment_format **ret);
void moment_format_close(struct moment_format *f); // NULL is fine
AUTO_CLOSE(moment_format)
bool moment_format_read(const struct moment_format *f, Str s, Moment *ret);

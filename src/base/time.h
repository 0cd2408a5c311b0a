// SPDX-License-Identifier: Apache-2.0
// Calendar arithmetic and the date formats of HTTP and AWS, always UTC. Time is int64_t
// nanoseconds since 1970; where the clock is read: os/io.h.
#pragma once
#include "base/str.h"

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

typedef struct Civil {
    int64_t year;
    unsigned month;   // 1..12
    unsigned day;     // 1..31
    unsigned weekday; // 0 = Sunday
    unsigned hour, minute, second, ms;
} Civil;

Civil time_civil(int64_t ns);
int64_t time_from_civil(Civil c); // the weekday is ignored

Str time_http(struct arena *a, int64_t ns);   // Sun, 06 Nov 1994 08:49:37 GMT (RFC 9110 5.6.7)
Str time_basic(struct arena *a, int64_t ns);  // 20150830T123600Z, as SigV4 writes it
Str time_iso_ms(struct arena *a, int64_t ns); // 2015-08-30T12:36:00.123Z
Str time_java(struct arena *a, int64_t ns);   // Thu Jan 22 01:22:02 UTC 2015, as AWS prints it
Err time_parse_basic(Str s, int64_t *ret_ns);
Err time_parse_http(Str s, int64_t *ret_ns);
// 2015-08-30T12:36:00[.123][Z|+hh:mm]; a missing zone is UTC.
Err time_parse_iso(Str s, int64_t *ret_ns);

// SPDX-License-Identifier: Apache-2.0
// The regular expressions of service models: a small language, always matched against the whole
// text, in time that grows with text times pattern whatever both are. No backtracking, so no client
// can make one expensive.
//
//     literals  .  [a-z_.-]  [^:]  \d \w \s \D \W \S  \p{L} \P{Zs}  \t \n \r \f  \xHH  \uHHHH
//     \<punctuation>  ( )  (?: )  |  *  +  ?  {n}  {n,}  {n,m}  (and with ? behind)  ^  $
//     (?! ) and (?= ) at the very start
//
// A program is made once and then used by any number of threads.
#pragma once
#include "base/str.h"

struct pattern;

enum {
    PATTERN_STEPS_MAX = 2048, // instructions after repeats are written out
    PATTERN_DEPTH_MAX = 32,   // of nested groups
};

// ERR_INVALID: outside of the language. ERR_LIMIT: too large.
Err pattern_open(Str expression, struct pattern **ret);
void pattern_close(struct pattern *p); // NULL is fine
AUTO_CLOSE(pattern)

// Whether the whole text, UTF-8, matches. Malformed text does not.
bool pattern_matches(const struct pattern *p, Str text);

// SPDX-License-Identifier: Apache-2.0
// The table that tools/unicode_runs.py makes.
#pragma once
#include "base/str.h"

enum { UNICODE_CATEGORY_BITS = 5 };

extern const char
    unicode_categories[];             // "LuLlLt...": two letters each; their place is their number
extern const uint32_t unicode_runs[]; // first code point << 5 | number of its category, ascending
extern const size_t unicode_run_count;

// SPDX-License-Identifier: Apache-2.0
// The first line is an expression, the rest a text to match: no input may crash or take long.
#include "aws/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(pattern) p = NULL;
    Str expression, text;
    str_cut(str_from(data, size), '\n', &expression, &text);
    if (pattern_open(expression, &p).kind != ERR_NONE)
        return 0;
    bool matches = pattern_matches(p, text);
    CHECK(matches == pattern_matches(p, text));
    return 0;
}

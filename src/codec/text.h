// SPDX-License-Identifier: Apache-2.0
// Fast looks at text, sixteen bytes at a time where the processor can.
#pragma once
#include "base/str.h"

// How many bytes at the start of s a JSON string holds as they are: none is a quote, a backslash or
// a control byte below 0x20. Bytes above 0x7f count as plain.
size_t text_plain(Str s);

// What stands before the first quote of s, which follows the opening quote of a JSON string; false
// if the string does not end, or is not what it reads as: it has escapes, control bytes or
// malformed UTF-8.
bool text_quoted(Str s, Str *ret);

bool text_is_utf8(Str s); // well-formed; the empty text is

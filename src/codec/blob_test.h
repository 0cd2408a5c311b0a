// SPDX-License-Identifier: Apache-2.0
// For tests: what a client sends in JSON and nobody has decoded yet.
#pragma once
#include "codec/base64.h"

static inline Blob blob_undecoded(struct arena *a, Str bytes)
{
    char *text = arena_alloc(a, base64_encoded_bytes(bytes.n) + 1, 1);
    base64_encode(text, bytes.p, bytes.n);
    return (Blob){ .p = text, .n = bytes.n, .is_base64 = true };
}

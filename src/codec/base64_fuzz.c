// SPDX-License-Identifier: Apache-2.0
// The vector forms of base64 give what the scalar form gives, in place too; what decodes without a
// fault is exactly what encoding gives back.
#include "codec/base64_priv.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_BASE64_BYTES_MAX = 1 << 14 };

static void check_decoding(struct arena *a, const char *text, size_t n)
{
    size_t most = base64_decoded_max(n);
    char *fast = arena_alloc(a, most, 1), *plain = arena_alloc(a, most, 1);
    char *same = arena_alloc(a, n, 1);
    Base64Result x = base64_decode(fast, text, n);
    Base64Result y = base64_decode_scalar(plain, text, n);
    if (n > 0)
        memcpy(same, text, n);
    Base64Result z = base64_decode(same, same, n);
    CHECK(x.n == y.n && x.fault == y.fault && x.fault_at == y.fault_at);
    CHECK(z.n == y.n && z.fault == y.fault && z.fault_at == y.fault_at);
    CHECK(memcmp(fast, plain, y.n) == 0 && memcmp(same, plain, y.n) == 0);
    if (y.fault != BASE64_GOOD)
        return;
    CHECK(base64_encoded_bytes(y.n) == n);
    char *back = arena_alloc(a, n, 1);
    base64_encode(back, plain, y.n);
    CHECK(n == 0 || memcmp(back, text, n) == 0);
    char *exact = arena_alloc(a, y.n, 1);
    base64_decode_good(exact, text, y.n);
    CHECK(y.n == 0 || memcmp(exact, plain, y.n) == 0);
}

// Any text, and what follows its first quote.
static void check_quoted(struct arena *a, const char *text, size_t n)
{
    size_t most = base64_quoted_max(n), bytes[3] = { 0 }, characters[3] = { 0 };
    char *fast = arena_alloc(a, most, 1), *plain = arena_alloc(a, most, 1);
    bool good = base64_decode_quoted(fast, text, n, &bytes[0], &characters[0]);
    CHECK(good == base64_decode_quoted_scalar(plain, text, n, &bytes[1], &characters[1]));
    CHECK(good == base64_check_quoted(text, n, &bytes[2], &characters[2]));
    if (!good)
        return;
    CHECK(bytes[0] == bytes[1] && characters[0] == characters[1] && text[characters[0]] == '"');
    CHECK(bytes[0] == bytes[2] && characters[0] == characters[2]);
    CHECK(memcmp(fast, plain, bytes[0]) == 0);
    Base64Result r = base64_decode(plain, text, characters[0]);
    CHECK(r.fault == BASE64_GOOD && r.n == bytes[0] && memcmp(fast, plain, r.n) == 0);
}

static void check_form(struct arena *a, const uint8_t *data, size_t n)
{
    size_t text_bytes = base64_encoded_bytes(n);
    char *fast = arena_alloc(a, text_bytes, 1), *plain = arena_alloc(a, text_bytes, 1);
    base64_encode(fast, data, n);
    base64_encode_scalar(plain, data, n);
    CHECK(memcmp(fast, plain, text_bytes) == 0);
    check_decoding(a, (const char *)data, n);
    check_decoding(a, fast, text_bytes);
    check_quoted(a, (const char *)data, n);
    char *quoted = arena_alloc(a, text_bytes + 1 + n, 1); // a good text, a quote, anything
    memcpy(quoted, fast, text_bytes);
    quoted[text_bytes] = '"';
    if (n > 0)
        memcpy(quoted + text_bytes + 1, data, n);
    check_quoted(a, quoted, text_bytes + 1 + n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) a = arena_open();
    for (size_t i = 0; i < base64_choice.count; i++) {
        if (!base64_choice.table[i]->supported())
            continue;
        kernel_use(&base64_choice, base64_choice.table[i]);
        check_form(a, data, MIN(size, (size_t)FUZZ_BASE64_BYTES_MAX));
    }
    kernel_use(&base64_choice, NULL);
    return 0;
}

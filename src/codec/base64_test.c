// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "codec/base64_priv.h"

#include <stdlib.h>
#include <string.h>

static Str encoded(struct arena *a, Str s)
{
    char *p = arena_alloc(a, base64_encoded_bytes(s.n), 1);
    base64_encode(p, s.p, s.n);
    return str_from(p, base64_encoded_bytes(s.n));
}

static Str decoded(struct arena *a, Str s)
{
    char *p = arena_alloc(a, base64_decoded_max(s.n), 1);
    Base64Result r = base64_decode(p, s.p, s.n);
    CHECK(r.fault == BASE64_GOOD);
    return str_from(p, r.n);
}

TEST(base64_gives_the_vectors_of_rfc_4648_both_ways)
{
    static const char *const vectors[][2] = {
        { "", "" },
        { "f", "Zg==" },
        { "fo", "Zm8=" },
        { "foo", "Zm9v" },
        { "foob", "Zm9vYg==" },
        { "fooba", "Zm9vYmE=" },
        { "foobar", "Zm9vYmFy" },
    };
    for (size_t i = 0; i < COUNT_OF(vectors); i++) {
        EXPECT_STR(str_of(vectors[i][1]), encoded(a, str_of(vectors[i][0])));
        EXPECT_STR(str_of(vectors[i][0]), decoded(a, str_of(vectors[i][1])));
    }
}

TEST(base64_faults_name_their_kind_and_place)
{
    static const struct {
        const char *text;
        Base64Fault fault;
        size_t at;
    } cases[] = {
        { "Zg=", BASE64_LENGTH, 0 },         { "Z", BASE64_LENGTH, 0 },
        { "!", BASE64_LENGTH, 0 },           { "Zm9v!m9v", BASE64_CHARACTER, 4 },
        { "Zm9vZm9-", BASE64_CHARACTER, 7 }, { "Zm9vZ_==", BASE64_CHARACTER, 5 },
        { "====", BASE64_CHARACTER, 0 },     { "Z===", BASE64_CHARACTER, 1 },
        { "Zg=v", BASE64_CHARACTER, 2 },     { "Zg==Zm9v", BASE64_CHARACTER, 2 },
        { "Zm9vZh==", BASE64_LAST, 5 },      { "Zm9=", BASE64_LAST, 2 },
        { "Zm 9", BASE64_CHARACTER, 2 },     { "Zm9v\xc3\xa9==", BASE64_CHARACTER, 4 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char out[64];
        Base64Result r = base64_decode(out, cases[i].text, strlen(cases[i].text));
        EXPECT_INT(cases[i].fault, r.fault);
        EXPECT_INT(cases[i].at, r.fault_at);
    }
}

static uint64_t state = 88172645463325252u;

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

// A block of exactly n bytes from the heap, so that the sanitizer sees one byte too many.
static char *exact(size_t n)
{
    return xalloc(n);
}

static void compare_forms(size_t n)
{
    size_t text_bytes = base64_encoded_bytes(n);
    char *bytes = exact(n), *fast = exact(text_bytes), *plain = exact(text_bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)next_random();
    base64_encode(fast, bytes, n);
    base64_encode_scalar(plain, bytes, n);
    EXPECT(memcmp(fast, plain, text_bytes) == 0);

    char *out = exact(base64_decoded_max(text_bytes));
    Base64Result r = base64_decode(out, fast, text_bytes);
    EXPECT(r.fault == BASE64_GOOD && r.n == n && memcmp(out, bytes, n) == 0);
    r = base64_decode(fast, fast, text_bytes); // in place
    EXPECT(r.fault == BASE64_GOOD && r.n == n && memcmp(fast, bytes, n) == 0);
    free(bytes);
    free(fast);
    free(plain);
    free(out);
}

TEST(base64_in_vectors_equals_the_scalar_form_at_every_length)
{
    for (size_t n = 0; n < 400; n++)
        compare_forms(n);
    for (int i = 0; i < 50; i++)
        compare_forms(next_random() % 5000);
}

TEST(base64_in_vectors_works_at_every_alignment)
{
    char bytes[300], text[512], out[600], want[512];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)next_random();
    for (size_t shift = 0; shift < 64; shift++) {
        size_t n = 201, text_bytes = base64_encoded_bytes(n);
        base64_encode(text + shift, bytes + shift, n);
        base64_encode_scalar(want, bytes + shift, n);
        EXPECT(memcmp(want, text + shift, text_bytes) == 0);
        Base64Result r = base64_decode(out + 64 - shift, text + shift, text_bytes);
        EXPECT(r.n == n && memcmp(out + 64 - shift, bytes + shift, n) == 0);
    }
}

TEST(base64_in_vectors_accepts_and_refuses_every_byte_at_every_place_as_the_scalar_form)
{
    char text[128], changed[128], fast[100], plain[100];
    memset(text, 'Q', sizeof text);
    for (size_t at = 0; at < sizeof text; at++)
        for (int c = 0; c < 256; c++) {
            memcpy(changed, text, sizeof text);
            changed[at] = (char)c;
            Base64Result x = base64_decode(fast, changed, sizeof changed);
            Base64Result y = base64_decode_scalar(plain, changed, sizeof changed);
            EXPECT(x.fault == y.fault && x.fault_at == y.fault_at && x.n == y.n);
            EXPECT(memcmp(fast, plain, x.n) == 0);
        }
}

TEST(the_alphabet_goes_round_through_the_vector_form)
{
    Str all = S("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    Str twice = str_cat(a, all, all);
    EXPECT_STR(twice, encoded(a, decoded(a, twice)));
    EXPECT(strcmp(base64_kind(), "avx2") == 0 || strcmp(base64_kind(), "scalar") == 0);
}

TEST(base64_is_appended_to_a_buffer_or_overflows_it)
{
    AUTO_BUF(b);
    buf_init(&b, 10);
    buf_add_base64(&b, S("foobar"));
    EXPECT_STR(S("Zm9vYmFy"), buf_str(&b));
    buf_add_base64(&b, S(""));
    EXPECT_OK(buf_err(&b));
    buf_add_base64(&b, S("foobar"));
    EXPECT_ERR(ERR_LIMIT, buf_err(&b));
}

TEST(base64_in_quotes_is_decoded_to_its_quote_by_both_forms)
{
    enum { LONGEST = 300, BEHIND = 80 };
    for (size_t n = 0; n < LONGEST; n++) {
        for (size_t behind = 0; behind < BEHIND; behind += 7) {
            size_t text_bytes = base64_encoded_bytes(n), all = text_bytes + 1 + behind;
            char *bytes = exact(n), *text = exact(all);
            char *fast = exact(base64_quoted_max(all)), *plain = exact(base64_quoted_max(all));
            for (size_t i = 0; i < n; i++)
                bytes[i] = (char)next_random();
            base64_encode(text, bytes, n);
            text[text_bytes] = '"';
            memset(text + text_bytes + 1, 'A', behind);
            size_t got[2], characters[2];
            EXPECT(base64_decode_quoted(fast, text, all, &got[0], &characters[0]));
            EXPECT(base64_decode_quoted_scalar(plain, text, all, &got[1], &characters[1]));
            EXPECT(got[0] == n && got[1] == n);
            EXPECT(characters[0] == text_bytes && characters[1] == text_bytes);
            EXPECT(memcmp(fast, bytes, n) == 0 && memcmp(plain, bytes, n) == 0);

            size_t spoilt = text_bytes > 0 ? next_random() % text_bytes : 0;
            text[spoilt] = text_bytes > 0 ? '!' : 'A'; // a bad character, or no quote
            EXPECT(!base64_decode_quoted(fast, text, all, &got[0], &characters[0]));
            EXPECT(!base64_decode_quoted_scalar(plain, text, all, &got[1], &characters[1]));
            free(bytes);
            free(text);
            free(fast);
            free(plain);
        }
    }
}

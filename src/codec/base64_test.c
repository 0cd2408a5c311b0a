// SPDX-License-Identifier: Apache-2.0
#include "codec/base64_priv.h"
#include "codec/blob_test.h"
#include "codec/kernel_test.h"

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
    return noise_next(&state);
}

// Every block ends where memory ends.
static void compare_forms(size_t n)
{
    size_t text_bytes = base64_encoded_bytes(n), most = base64_decoded_max(text_bytes);
    char *bytes = guarded_noise(n, n + 1), *fast = guarded_noise(text_bytes, 2);
    char *plain = guarded_noise(text_bytes, 3), *out = guarded_noise(most, 4);
    base64_encode(fast, bytes, n);
    base64_encode_scalar(plain, bytes, n);
    EXPECT(memcmp(fast, plain, text_bytes) == 0);

    Base64Result r = base64_decode(out, fast, text_bytes);
    EXPECT(r.fault == BASE64_GOOD && r.n == n && memcmp(out, bytes, n) == 0);
    r = base64_decode(fast, fast, text_bytes); // in place
    EXPECT(r.fault == BASE64_GOOD && r.n == n && memcmp(fast, bytes, n) == 0);
    char *exact = guarded_noise(n, 5); // no room for a byte that does not count
    base64_decode_good(exact, plain, n);
    EXPECT(memcmp(exact, bytes, n) == 0);
    guarded_free(bytes, n);
    guarded_free(fast, text_bytes);
    guarded_free(plain, text_bytes);
    guarded_free(out, most);
    guarded_free(exact, n);
}

static void every_length(struct arena *a)
{
    (void)a;
    for (size_t n = 0; n < 400; n++)
        compare_forms(n);
    for (int i = 0; i < 50; i++)
        compare_forms(next_random() % 5000);
}

TEST(base64_in_vectors_equals_the_scalar_form_at_every_length)
{
    with_each_kernel(&base64_choice, a, every_length);
}

static void every_alignment(struct arena *a)
{
    (void)a;
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

TEST(base64_in_vectors_works_at_every_alignment)
{
    with_each_kernel(&base64_choice, a, every_alignment);
}

static void every_byte(struct arena *a)
{
    (void)a;
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

TEST(base64_in_vectors_accepts_and_refuses_every_byte_at_every_place_as_the_scalar_form)
{
    with_each_kernel(&base64_choice, a, every_byte);
}

static void alphabet_twice(struct arena *a)
{
    Str all = S("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    Str twice = str_cat(a, all, all);
    EXPECT_STR(twice, encoded(a, decoded(a, twice)));
    EXPECT(strcmp(base64_kind(), kernel_get(&base64_choice)->name) == 0);
}

TEST(the_alphabet_goes_round_through_every_form)
{
    with_each_kernel(&base64_choice, a, alphabet_twice);
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

// A good text of n bytes, a quote, `behind` characters; then the same spoilt in one place.
static void compare_quoted(size_t n, size_t behind)
{
    size_t text_bytes = base64_encoded_bytes(n), all = text_bytes + 1 + behind;
    size_t most = base64_quoted_max(all), got[2], characters[2];
    char *bytes = guarded_noise(n, n + 1), *text = guarded_noise(all, 2);
    char *fast = guarded_noise(most, 3), *plain = guarded_noise(most, 4);
    base64_encode_scalar(text, bytes, n);
    text[text_bytes] = '"';
    memset(text + text_bytes + 1, 'A', behind);
    EXPECT(base64_decode_quoted(fast, text, all, &got[0], &characters[0]));
    EXPECT(base64_decode_quoted_scalar(plain, text, all, &got[1], &characters[1]));
    EXPECT(got[0] == n && got[1] == n);
    EXPECT(characters[0] == text_bytes && characters[1] == text_bytes);
    EXPECT(memcmp(fast, bytes, n) == 0 && memcmp(plain, bytes, n) == 0);
    EXPECT(base64_check_quoted(text, all, &got[0], &characters[0]));
    EXPECT(got[0] == n && characters[0] == text_bytes);

    size_t spoilt = text_bytes > 0 ? next_random() % text_bytes : 0;
    text[spoilt] = text_bytes > 0 ? '!' : 'A'; // a bad character, or no quote
    EXPECT(!base64_decode_quoted(fast, text, all, &got[0], &characters[0]));
    EXPECT(!base64_decode_quoted_scalar(plain, text, all, &got[1], &characters[1]));
    EXPECT(!base64_check_quoted(text, all, &got[0], &characters[0]));
    guarded_free(bytes, n);
    guarded_free(text, all);
    guarded_free(fast, most);
    guarded_free(plain, most);
}

static void quoted(struct arena *a)
{
    enum { LONGEST = 300, BEHIND = 80 };
    (void)a;
    for (size_t n = 0; n < LONGEST; n++)
        for (size_t behind = n % 7; behind < BEHIND; behind += 19)
            compare_quoted(n, behind);
}

TEST(base64_in_quotes_is_decoded_to_its_quote_by_every_form)
{
    with_each_kernel(&base64_choice, a, quoted);
}

// A quote, and bytes of every kind, at every place of a text whose last quote ends it.
static void quotes_everywhere(struct arena *a)
{
    enum { BYTES = 132 };
    static const char kinds[] = { '"', '=', '!', 0, '/', '+', 'z', '\x7f', '\x80', '\xc3', '\xff' };
    (void)a;
    char text[BYTES], fast[BYTES * 2], plain[BYTES * 2];
    for (size_t at = 0; at < BYTES - 1; at++)
        for (size_t kind = 0; kind < sizeof kinds; kind++) {
            size_t got[3] = { 0 }, characters[3] = { 0 };
            memset(text, 'Q', BYTES);
            text[BYTES - 4] = '"';
            text[at] = kinds[kind];
            bool good = base64_decode_quoted(fast, text, BYTES, &got[0], &characters[0]);
            EXPECT(base64_decode_quoted_scalar(plain, text, BYTES, &got[1], &characters[1]) ==
                   good);
            EXPECT(base64_check_quoted(text, BYTES, &got[2], &characters[2]) == good);
            EXPECT(!good || (got[2] == got[1] && characters[2] == characters[1]));
            if (good)
                EXPECT(got[0] == got[1] && characters[0] == characters[1] &&
                       memcmp(fast, plain, got[0]) == 0);
        }
}

TEST(base64_in_quotes_ends_or_fails_at_every_place_as_the_scalar_form)
{
    with_each_kernel(&base64_choice, a, quotes_everywhere);
}

// Every end that a text can have, also behind vectors that are full.
static void every_end(struct arena *a)
{
    static const char kinds[] = { 'A', 'B', 'E', 'Q', 'g', 'w', '/', '=', '!', '"' };
    enum { ENDS = 10 * 10 * 10 * 10 };
    (void)a;
    char text[160], out[256];
    for (size_t before = 0; before <= 128; before += 32)
        for (size_t end = 0; end < ENDS; end++) {
            size_t got[2] = { 0 }, characters[2] = { 0 }, n = before;
            memset(text, 'z', sizeof text);
            for (size_t i = 0, rest = end; i < 4; i++, rest /= 10)
                text[n++] = kinds[rest % 10];
            text[n++] = '"';
            bool good = base64_decode_quoted_scalar(out, text, n, &got[0], &characters[0]);
            EXPECT(base64_check_quoted(text, n, &got[1], &characters[1]) == good);
            EXPECT(!good || (got[0] == got[1] && characters[0] == characters[1]));
        }
}

TEST(base64_is_found_good_or_not_by_its_end_as_the_scalar_form_has_it)
{
    with_each_kernel(&base64_choice, a, every_end);
}

TEST(a_blob_gives_its_bytes_whole_or_in_pieces_decoded_or_not)
{
    enum { LONGEST = 200, PIECE = 33 };
    for (size_t n = 0; n <= LONGEST; n++) {
        char *bytes = guarded_noise(n, n + 1), *out = guarded_noise(n, 2);
        Blob both[] = { blob_of(str_from(bytes, n)), blob_undecoded(a, str_from(bytes, n)) };
        for (size_t i = 0; i < COUNT_OF(both); i++) {
            EXPECT_STR(str_from(bytes, n), blob_bytes(a, both[i]));
            size_t at = 0;
            for (Blob rest = both[i]; rest.n > 0; rest = blob_skip(rest, PIECE)) {
                Blob piece = { rest.p, MIN(rest.n, (size_t)PIECE), rest.is_base64 };
                blob_copy(out + at, piece);
                at += piece.n;
            }
            EXPECT(at == n && memcmp(out, bytes, n) == 0);
            memset(out, 0, n);
        }
        guarded_free(bytes, n);
        guarded_free(out, n);
    }
}

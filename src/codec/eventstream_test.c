// SPDX-License-Identifier: Apache-2.0
#include "codec/eventstream.h"
#include "base/test.h"
#include "codec/crc.h"
#include "codec/hash.h"

static const EventHeader two[] = {
    { S_INIT(":message-type"), S_INIT("event"), EVENT_HEADER_STRING },
    { S_INIT(":event-type"), S_INIT("Tick"), EVENT_HEADER_STRING },
};

static Str message(struct buf *b, Str payload)
{
    size_t place = eventstream_begin(b, two, COUNT_OF(two));
    buf_add(b, payload);
    eventstream_end(b, place);
    EXPECT_OK(buf_err(b));
    return buf_str(b);
}

// With its checksums made right again.
static Str mended(Str s, char *p)
{
    uint32_t head = __builtin_bswap32(crc32_zlib(0, p, 8)), all;
    memcpy(p + 8, &head, sizeof head);
    all = __builtin_bswap32(crc32_zlib(0, p, s.n - 4));
    memcpy(p + s.n - 4, &all, sizeof all);
    return str_from(p, s.n);
}

TEST(an_empty_message_is_what_the_format_says)
{
    AUTO_BUF(b);
    eventstream_end(&b, eventstream_begin(&b, NULL, 0));
    char hex[2 * EVENTSTREAM_FRAMING_BYTES];
    hex_lower(hex, b.p, b.n);
    // Sixteen bytes, no headers; both checksums as zlib's crc32 gives them.
    EXPECT_STR(S("000000100000000005c248eb7d98c8ff"), str_from(hex, sizeof hex));
}

TEST(a_message_is_read_as_it_was_written)
{
    AUTO_BUF(b);
    EventMessage m;
    Str s = message(&b, S("{\"a\":1}"));
    EXPECT_OK(eventstream_read(s, &m));
    EXPECT(m.bytes == s.n);
    EXPECT_STR(S("{\"a\":1}"), m.payload);
    EXPECT_STR(S("event"), eventstream_text(&m, S(":message-type")));
    EXPECT_STR(S("Tick"), eventstream_text(&m, S(":event-type")));
    EXPECT(eventstream_text(&m, S("other")).p == NULL);
}

TEST(messages_follow_each_other)
{
    AUTO_BUF(b);
    EventMessage m;
    message(&b, S("one"));
    Str both = message(&b, S("two"));
    EXPECT_OK(eventstream_read(both, &m));
    EXPECT_STR(S("one"), m.payload);
    EXPECT_OK(eventstream_read(str_skip(both, m.bytes), &m));
    EXPECT_STR(S("two"), m.payload);
}

TEST(a_part_of_a_message_waits_for_the_rest)
{
    AUTO_BUF(b);
    EventMessage m;
    Str s = message(&b, S("payload"));
    for (size_t n = 0; n < s.n; n++)
        EXPECT_ERR(ERR_BUSY, eventstream_read(str_head(s, n), &m));
}

TEST(a_flipped_bit_is_seen_wherever_it_is)
{
    AUTO_BUF(b);
    EventMessage m;
    Str s = message(&b, S("payload"));
    for (size_t bit = 0; bit < s.n * 8; bit++) {
        b.p[bit / 8] ^= (char)(1 << bit % 8);
        EXPECT_ERR(ERR_INVALID, eventstream_read(s, &m));
        b.p[bit / 8] ^= (char)(1 << bit % 8);
    }
}

TEST(impossible_lengths_are_refused_though_their_checksums_are_right)
{
    AUTO_BUF(b);
    EventMessage m;
    Str s = message(&b, S("payload"));
    b.p[7] = (char)(s.n - EVENTSTREAM_FRAMING_BYTES + 1); // headers longer than the message
    EXPECT_ERR(ERR_INVALID, eventstream_read(mended(s, b.p), &m));
    b.p[0] = 2; // 32 MiB
    EXPECT_ERR(ERR_INVALID, eventstream_read(mended(s, b.p), &m));
    memcpy(b.p, "\0\0\0\17\0\0\0\0", 8); // shorter than any
    EXPECT_ERR(ERR_INVALID, eventstream_read(mended(s, b.p), &m));
}

TEST(headers_of_every_type_are_passed_over)
{
    static const char raw[] = "\1a\0"
                              "\1b\1"
                              "\1c\2x"
                              "\1d\3xx"
                              "\1e\4xxxx"
                              "\1f\5xxxxxxxx"
                              "\1g\6\0\2xx"
                              "\1h\10xxxxxxxx"
                              "\1i\11xxxxxxxxxxxxxxxx"
                              "\1j\7\0\4text";
    Str headers = str_from(raw, sizeof raw - 1);
    EventMessage m = { .headers = headers };
    EXPECT_STR(S("text"), eventstream_text(&m, S("j")));
    EXPECT(eventstream_text(&m, S("g")).p == NULL); // bytes are no text
    size_t n = 0;
    EventHeader h;
    for (bool any = true; any; n += any)
        EXPECT_OK(eventstream_header(&headers, &h, &any));
    EXPECT(n == 10);
}

TEST(malformed_headers_are_refused)
{
    static const char *const wrong[] = { "\3ab",    "\1a",          "\1a\12",  "\1a\7",
                                         "\1a\7\1", "\1a\7\001\1x", "\1a\5xxx" };
    bool any;
    EventHeader h;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        Str s = str_of(wrong[i]);
        EXPECT_ERR(ERR_INVALID, eventstream_header(&s, &h, &any));
    }
    Str nameless = str_from("\0\0", 2);
    EXPECT_ERR(ERR_INVALID, eventstream_header(&nameless, &h, &any));
}

TEST(what_does_not_fit_into_its_buffer_shows_there)
{
    struct buf b;
    buf_init(&b, 20);
    eventstream_end(&b, eventstream_begin(&b, two, COUNT_OF(two)));
    EXPECT_ERR(ERR_LIMIT, buf_err(&b));
    buf_done(&b);
}

// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "http/h1_parse.h"

static const H1Limits limits = { .header_bytes_max = 512, .header_count_max = 8 };

TEST(a_request_is_read_with_its_parts)
{
    HttpHeader headers[8];
    H1Head h;
    Str in = S("POST /a%20b?x=1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 3\r\nX-Amz-Target:\t K.P "
               "\r\n\r\nabc");
    EXPECT_INT(H1_DONE, h1_parse_head(in, &limits, headers, &h));
    EXPECT_STR(S("POST"), h.method);
    EXPECT_STR(S("/a%20b"), h.path);
    EXPECT_STR(S("x=1"), h.query);
    EXPECT_INT(3, h.header_count);
    EXPECT_STR(S("X-Amz-Target"), headers[2].name);
    EXPECT_STR(S("K.P"), headers[2].value);
    EXPECT(h.has_length && h.length == 3 && h.keep_alive && !h.chunked);
    EXPECT_INT(in.n - 3, h.bytes);
}

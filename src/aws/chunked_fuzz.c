// SPDX-License-Identifier: Apache-2.0
// However a body in aws-chunked is cut, the same comes out of it. The first byte says which kind.
#include "aws/chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Err run(struct arena *a, const Sigv4Payload *p, Str body, size_t piece, struct buf *out)
{
    struct chunked k;
    chunked_init(&k, a, p);
    while (body.n > 0) {
        size_t taken;
        Str made;
        TRY(chunked_next(&k, str_head(body, piece), &taken, &made));
        CHECK(taken > 0 && taken <= body.n);
        buf_add(out, made);
        body = str_skip(body, taken);
    }
    return chunked_is_done(&k) ? OK : fail(ERR_CLOSED, "the body ends early");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) a = arena_open();
    AUTO_BUF(whole);
    AUTO_BUF(cut);
    if (size == 0)
        return 0;
    Sigv4Payload p = { .kind = PAYLOAD_CHUNKS_SIGNED + data[0] % 3,
                       .verified = (data[0] & 4) != 0,
                       .scope = S("s") };
    Str body = str_from(data + 1, size - 1);
    Err one = run(a, &p, body, size, &whole);
    Err two = run(a, &p, body, 1 + data[0] % 7, &cut);
    CHECK(one.kind == two.kind);
    CHECK(one.kind != ERR_NONE || str_eq(buf_str(&whole), buf_str(&cut)));
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Whatever the reader accepts lies within its input, and a message of string headers is written
// again as it was. Checksums are set right first: else nothing gets past them.
#include "codec/eventstream.h"
#include "codec/crc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADERS_MAX = 64 };

static void set32(char *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, sizeof v);
}

static void check_message(const EventMessage *m, Str in)
{
    EventHeader headers[HEADERS_MAX];
    size_t n = 0;
    bool any = true, plain = true;
    Str rest = m->headers;
    while (n < HEADERS_MAX && any) {
        if (eventstream_header(&rest, &headers[n], &any).kind != ERR_NONE)
            return;
        plain &= !any || (headers[n].type == EVENT_HEADER_STRING &&
                          headers[n].value.n <= EVENTSTREAM_VALUE_BYTES_MAX);
        n += any;
    }
    CHECK(m->payload.p + m->payload.n + 4 == in.p + m->bytes);
    if (!plain || any)
        return;
    AUTO_BUF(again);
    size_t place = eventstream_begin(&again, headers, n);
    buf_add(&again, m->payload);
    eventstream_end(&again, place);
    CHECK(str_eq(buf_str(&again), str_head(in, m->bytes)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    EventMessage m;
    AUTO_BUF(b);
    buf_add(&b, str_from(data, size));
    Err e = eventstream_read(buf_str(&b), &m);
    if (e.kind != ERR_NONE && size >= EVENTSTREAM_FRAMING_BYTES && size <= UINT16_MAX) {
        set32(b.p, (uint32_t)size);
        set32(b.p + 8, crc32_zlib(0, b.p, 8));
        set32(b.p + size - 4, crc32_zlib(0, b.p, size - 4));
        e = eventstream_read(buf_str(&b), &m);
    }
    if (e.kind == ERR_NONE)
        check_message(&m, buf_str(&b));
    return 0;
}

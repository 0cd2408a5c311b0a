// SPDX-License-Identifier: Apache-2.0
#include "codec/eventstream.h"
#include "codec/crc.h"

#include <endian.h>

static void put32(char *p, uint32_t v)
{
    v = htobe32(v);
    memcpy(p, &v, sizeof v);
}

static uint32_t get32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return be32toh(v);
}

static size_t get16(const char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return be16toh(v);
}

// ---- Writing

size_t eventstream_begin(struct buf *b, const EventHeader *headers, size_t n)
{
    static const char prelude[EVENTSTREAM_PRELUDE_BYTES] = { 0 };
    size_t place = b->n, header_bytes = 0;
    buf_add(b, str_from(prelude, sizeof prelude));
    for (size_t i = 0; i < n; i++) {
        const EventHeader *h = &headers[i];
        CHECK(h->name.n > 0 && h->name.n <= EVENTSTREAM_NAME_BYTES_MAX &&
              h->value.n <= EVENTSTREAM_VALUE_BYTES_MAX);
        buf_add_byte(b, (char)h->name.n);
        buf_add(b, h->name);
        buf_add_byte(b, EVENT_HEADER_STRING);
        buf_add_byte(b, (char)(h->value.n >> 8));
        buf_add_byte(b, (char)(h->value.n & 0xff));
        buf_add(b, h->value);
        header_bytes += 1 + h->name.n + 1 + 2 + h->value.n;
    }
    CHECK(header_bytes <= EVENTSTREAM_HEADERS_BYTES_MAX);
    if (buf_err(b).kind == ERR_NONE)
        put32(b->p + place + 4, (uint32_t)header_bytes);
    return place;
}

void eventstream_end(struct buf *b, size_t place)
{
    static const char checksum[4] = { 0 };
    buf_add(b, str_from(checksum, sizeof checksum));
    if (buf_err(b).kind != ERR_NONE)
        return;
    char *p = b->p + place;
    size_t n = b->n - place;
    CHECK(n <= UINT32_MAX);
    put32(p, (uint32_t)n);
    put32(p + 8, crc32_zlib(0, p, 8));
    put32(p + n - 4, crc32_zlib(0, p, n - 4));
}

// ---- Reading

Err eventstream_read(Str in, EventMessage *ret)
{
    if (in.n < EVENTSTREAM_PRELUDE_BYTES)
        return fail(ERR_BUSY, "the message is not complete");
    size_t bytes = get32(in.p), header_bytes = get32(in.p + 4);
    if (get32(in.p + 8) != crc32_zlib(0, in.p, 8))
        return fail(ERR_INVALID, "the checksum of a message's lengths is wrong");
    if (bytes < EVENTSTREAM_FRAMING_BYTES || bytes > EVENTSTREAM_MESSAGE_BYTES_MAX ||
        header_bytes >
            MIN(bytes - EVENTSTREAM_FRAMING_BYTES, (size_t)EVENTSTREAM_HEADERS_BYTES_MAX))
        return fail(ERR_INVALID, "the lengths of a message are impossible");
    if (in.n < bytes)
        return fail(ERR_BUSY, "the message is not complete");
    if (get32(in.p + bytes - 4) != crc32_zlib(0, in.p, bytes - 4))
        return fail(ERR_INVALID, "the checksum of a message is wrong");
    *ret = (EventMessage){
        .headers = str_from(in.p + EVENTSTREAM_PRELUDE_BYTES, header_bytes),
        .payload = str_from(in.p + EVENTSTREAM_PRELUDE_BYTES + header_bytes,
                            bytes - EVENTSTREAM_FRAMING_BYTES - header_bytes),
        .bytes = bytes,
    };
    return OK;
}

// The bytes that a value of this type takes behind its type; SIZE_MAX: it is not there.
static size_t value_bytes(unsigned type, Str rest, size_t *ret_skip)
{
    static const unsigned char fixed[] = {
        [EVENT_HEADER_TRUE] = 0,  [EVENT_HEADER_FALSE] = 0, [EVENT_HEADER_BYTE] = 1,
        [EVENT_HEADER_SHORT] = 2, [EVENT_HEADER_INT] = 4,   [EVENT_HEADER_LONG] = 8,
        [EVENT_HEADER_TIME] = 8,  [EVENT_HEADER_UUID] = 16
    };
    *ret_skip = 0;
    if (type > EVENT_HEADER_UUID)
        return SIZE_MAX;
    if (type != EVENT_HEADER_BYTES && type != EVENT_HEADER_STRING)
        return fixed[type];
    *ret_skip = 2;
    return rest.n < 2 ? SIZE_MAX : get16(rest.p);
}

Err eventstream_header(Str *headers, EventHeader *ret, bool *ret_any)
{
    Str rest = *headers;
    *ret_any = rest.n > 0;
    if (rest.n == 0)
        return OK;
    size_t name_bytes = (unsigned char)rest.p[0], skip;
    if (name_bytes == 0 || rest.n < 1 + name_bytes + 1)
        return fail(ERR_INVALID, "a header's name is not there");
    unsigned type = (unsigned char)rest.p[1 + name_bytes];
    Str name = str_from(rest.p + 1, name_bytes);
    rest = str_skip(rest, 1 + name_bytes + 1);
    size_t n = value_bytes(type, rest, &skip);
    if (n == SIZE_MAX || rest.n - skip < n)
        return fail(ERR_INVALID, "a header's value is not there");
    *ret = (EventHeader){ .name = name,
                          .value = str_from(rest.p + skip, n),
                          .type = (EventHeaderType)type };
    *headers = str_skip(rest, skip + n);
    return OK;
}

Str eventstream_text(const EventMessage *m, Str name)
{
    Str rest = m->headers;
    EventHeader h;
    bool any;
    while (eventstream_header(&rest, &h, &any).kind == ERR_NONE && any)
        if (h.type == EVENT_HEADER_STRING && str_eq(h.name, name))
            return h.value;
    return (Str){ 0 };
}

// SPDX-License-Identifier: Apache-2.0
#include "aws/chunked_out.h"
#include "aws/sigv4_priv.h"

#include <string.h>

#define SIGNATURE S(";chunk-signature=")
#define TRAILER_SIGNATURE S("x-amz-trailer-signature:")

static size_t hex_digits(uint64_t n)
{
    size_t digits = 1;
    while (n > 15) {
        n >>= 4;
        digits++;
    }
    return digits;
}

static uint64_t line_bytes(uint64_t chunk)
{
    return hex_digits(chunk) + SIGNATURE.n + SIGNATURE_HEX + 2;
}

uint64_t chunked_out_bytes(uint64_t bytes, Str trailer, size_t trailer_value_bytes)
{
    uint64_t whole = bytes / CHUNK_OUT_BYTES, rest = bytes % CHUNK_OUT_BYTES;
    uint64_t n = whole * (line_bytes(CHUNK_OUT_BYTES) + CHUNK_OUT_BYTES + 2);
    if (rest > 0)
        n += line_bytes(rest) + rest + 2;
    n += line_bytes(0) + 2;
    if (trailer.p != NULL)
        n += trailer.n + 1 + trailer_value_bytes + 2 + TRAILER_SIGNATURE.n + SIGNATURE_HEX + 2;
    return n;
}

void chunked_out_init(struct chunked_out *k, const Sigv4Payload *payload)
{
    k->payload = *payload;
    memcpy(k->previous, payload->signature, sizeof k->previous);
}

// The next signature: of what has a hash, behind the previous one.
static void sign(struct chunked_out *k, Str kind, bool with_empty,
                 const unsigned char hash[SHA256_BYTES])
{
    unsigned char signature[SHA256_BYTES], nothing[SHA256_BYTES];
    char hex[SIGNATURE_HEX];
    AUTO_BUF(text);
    buf_add(&text, kind);
    buf_add(&text, str_from(k->payload.time, sizeof k->payload.time));
    buf_add_byte(&text, '\n');
    buf_add(&text, k->payload.scope);
    buf_add_byte(&text, '\n');
    buf_add(&text, str_from(k->previous, sizeof k->previous));
    buf_add_byte(&text, '\n');
    if (with_empty) {
        sha256("", 0, nothing);
        hex_lower(hex, nothing, sizeof nothing);
        buf_add(&text, str_from(hex, sizeof hex));
        buf_add_byte(&text, '\n');
    }
    hex_lower(hex, hash, SHA256_BYTES);
    buf_add(&text, str_from(hex, sizeof hex));
    hmac_with(&k->payload.key, buf_str(&text), signature);
    hex_lower(k->previous, signature, sizeof signature);
}

static void add_line(struct chunked_out *k, Str chunk, struct buf *out)
{
    unsigned char hash[SHA256_BYTES];
    sha256(chunk.p, chunk.n, hash);
    sign(k, S("AWS4-HMAC-SHA256-PAYLOAD\n"), true, hash);
    buf_addf(out, "%zx", chunk.n);
    buf_add(out, SIGNATURE);
    buf_add(out, str_from(k->previous, sizeof k->previous));
    buf_add(out, S("\r\n"));
}

void chunked_out_add(struct chunked_out *k, Str chunk, struct buf *out)
{
    add_line(k, chunk, out);
    buf_add(out, chunk);
    buf_add(out, S("\r\n"));
}

void chunked_out_end(struct chunked_out *k, Str trailer, Str value, struct buf *out)
{
    unsigned char hash[SHA256_BYTES];
    AUTO_BUF(line);
    add_line(k, S(""), out);
    if (trailer.p != NULL) {
        buf_addf(&line, "%.*s:%.*s\n", FMT(trailer), FMT(value));
        sha256(line.p, line.n, hash);
        sign(k, S("AWS4-HMAC-SHA256-TRAILER\n"), false, hash);
        buf_addf(out, "%.*s:%.*s\r\n", FMT(trailer), FMT(value));
        buf_add(out, TRAILER_SIGNATURE);
        buf_add(out, str_from(k->previous, sizeof k->previous));
        buf_add(out, S("\r\n"));
    }
    buf_add(out, S("\r\n"));
}

// SPDX-License-Identifier: Apache-2.0
#include "aws/chunked.h"
#include "aws/sigv4_priv.h"

#include <string.h>

void chunked_init(struct chunked *k, struct arena *a, const Sigv4Payload *payload)
{
    *k = (struct chunked){ .a = a, .payload = payload, .state = CHUNKED_HEAD };
    memcpy(k->previous, payload->signature, sizeof k->previous);
    sha256_init(&k->sha256);
}

static bool is_signed(const struct chunked *k)
{
    return k->payload->kind != PAYLOAD_CHUNKS_UNSIGNED_TRAILER;
}

static bool has_trailers(const struct chunked *k)
{
    return k->payload->kind != PAYLOAD_CHUNKS_SIGNED;
}

static Err malformed(const char *why)
{
    return fail(ERR_INVALID, why);
}

// ---- Signatures

// Whether `stated` signs what has come since `previous`, which it then becomes.
static Err check(struct chunked *k, Str kind, bool with_empty, const unsigned char *hash,
                 Str stated)
{
    unsigned char want[SHA256_BYTES], got[SHA256_BYTES], nothing[SHA256_BYTES];
    char hex[SIGNATURE_HEX];
    AUTO_BUF(text);
    if (!k->payload->verified)
        return OK;
    if (stated.n != SIGNATURE_HEX || !hex_decode(got, stated))
        return malformed("a chunk's signature is not one");
    buf_add(&text, kind);
    buf_add(&text, str_from(k->payload->time, sizeof k->payload->time));
    buf_add_byte(&text, '\n');
    buf_add(&text, k->payload->scope);
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
    hmac_with(&k->payload->key, buf_str(&text), want);
    k->mismatch = !bytes_equal_in_constant_time(want, got, sizeof want);
    hex_lower(k->previous, want, sizeof want);
    return k->mismatch ? fail(ERR_DENIED, "a chunk's signature does not match") : OK;
}

static Err end_chunk(struct chunked *k)
{
    unsigned char hash[SHA256_BYTES];
    if (!is_signed(k))
        return OK;
    sha256_end(&k->sha256, hash);
    sha256_init(&k->sha256);
    return check(k, S("AWS4-HMAC-SHA256-PAYLOAD\n"), true, hash,
                 str_from(k->stated, sizeof k->stated));
}

// What is signed of trailers: a line "name:value\n" each, in their order.
static Err end_trailers(struct chunked *k)
{
    unsigned char hash[SHA256_BYTES];
    struct sha256 all;
    if (k->payload->kind != PAYLOAD_CHUNKS_SIGNED_TRAILER)
        return OK;
    sha256_init(&all);
    for (size_t i = 0; i < k->trailer_count; i++) {
        const HttpHeader *t = &k->trailers[i];
        sha256_add(&all, t->name.p, t->name.n);
        sha256_add(&all, ":", 1);
        sha256_add(&all, t->value.p, t->value.n);
        sha256_add(&all, "\n", 1);
    }
    sha256_end(&all, hash);
    return check(k, S("AWS4-HMAC-SHA256-TRAILER\n"), false, hash, k->trailer_signature);
}

// ---- Lines

// Takes bytes up to and with the end of a line; true: the line is complete, without its end.
static Err take_line(struct chunked *k, Str in, size_t *taken, bool *complete)
{
    size_t n = str_find(in, '\n');
    bool ends = n < in.n;
    *complete = ends;
    *taken = ends ? n + 1 : n;
    if (k->line_bytes + n > sizeof k->line)
        return malformed("a line of aws-chunked is too long");
    if (n > 0)
        memcpy(k->line + k->line_bytes, in.p, n);
    k->line_bytes += n;
    if (!ends)
        return OK;
    if (k->line_bytes == 0 || k->line[k->line_bytes - 1] != '\r')
        return malformed("a line of aws-chunked does not end in CR LF");
    k->line_bytes--;
    return OK;
}

static Err take_length(Str hex, uint64_t *ret)
{
    enum { DIGITS_MAX = 15 };
    uint64_t value = 0;
    if (hex.n == 0 || hex.n > DIGITS_MAX)
        return malformed("a chunk's length is missing or too long");
    for (size_t i = 0; i < hex.n; i++) {
        char c = hex.p[i], low = (char)(c | 0x20);
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint64_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            value = value << 4 | (uint64_t)(low - 'a' + 10);
        else
            return malformed("a chunk's length is not hexadecimal");
    }
    *ret = value;
    return OK;
}

static Err take_head(struct chunked *k)
{
    Str line = str_from(k->line, k->line_bytes), length, extension, name, value;
    str_cut(line, ';', &length, &extension);
    TRY(take_length(length, &k->left));
    if (is_signed(k)) {
        str_cut(extension, '=', &name, &value);
        if (!str_eq(name, S("chunk-signature")) || value.n != sizeof k->stated)
            return malformed("a chunk has no signature");
        memcpy(k->stated, value.p, sizeof k->stated);
    }
    k->last = k->left == 0;
    if (!k->last) {
        k->state = CHUNKED_DATA;
        return OK;
    }
    TRY(end_chunk(k));
    k->state = has_trailers(k) ? CHUNKED_TRAILERS : CHUNKED_DATA_END;
    return OK;
}

static Err take_trailer(struct chunked *k)
{
    Str line = str_from(k->line, k->line_bytes), name, value;
    if (line.n == 0) {
        k->state = CHUNKED_DONE;
        return end_trailers(k);
    }
    if (!str_cut(line, ':', &name, &value))
        return malformed("a trailer of aws-chunked has no value");
    name = str_lower(k->a, str_trim(name));
    value = str_dup(k->a, str_trim(value));
    if (str_eq(name, S("x-amz-trailer-signature"))) {
        k->trailer_signature = value;
        return OK;
    }
    k->trailer_bytes += line.n;
    if (k->trailer_count == CHUNK_TRAILERS_MAX || k->trailer_bytes > CHUNK_TRAILERS_BYTES_MAX)
        return malformed("aws-chunked has too many trailers");
    k->trailers[k->trailer_count++] = (HttpHeader){ name, value };
    return OK;
}

// ---- The filter

static Err take_data(struct chunked *k, Str in, size_t *ret_taken, Str *ret_piece)
{
    *ret_piece = str_head(in, (size_t)MIN(k->left, (uint64_t)in.n));
    *ret_taken = ret_piece->n;
    k->left -= ret_piece->n;
    if (is_signed(k) && k->payload->verified)
        sha256_add(&k->sha256, ret_piece->p, ret_piece->n);
    if (k->left > 0)
        return OK;
    k->state = CHUNKED_DATA_END;
    return end_chunk(k);
}

Err chunked_next(struct chunked *k, Str in, size_t *ret_taken, Str *ret_piece)
{
    bool complete = false;
    *ret_piece = S("");
    *ret_taken = 0;
    if (in.n == 0)
        return OK;
    if (k->state == CHUNKED_DONE)
        return malformed("something follows the last chunk");
    if (k->state == CHUNKED_DATA)
        return take_data(k, in, ret_taken, ret_piece);
    TRY(take_line(k, in, ret_taken, &complete));
    if (!complete)
        return OK;
    Err e = OK;
    if (k->state == CHUNKED_HEAD)
        e = take_head(k);
    else if (k->state == CHUNKED_TRAILERS)
        e = take_trailer(k);
    else if (k->line_bytes > 0)
        e = malformed("a chunk is longer than it says");
    else
        k->state = k->last ? CHUNKED_DONE : CHUNKED_HEAD;
    k->line_bytes = 0;
    return e;
}

bool chunked_is_done(const struct chunked *k)
{
    return k->state == CHUNKED_DONE;
}

Str chunked_trailer(const struct chunked *k, Str name)
{
    for (size_t i = 0; i < k->trailer_count; i++)
        if (str_eq(k->trailers[i].name, name))
            return k->trailers[i].value;
    return (Str){ 0 };
}

// SPDX-License-Identifier: Apache-2.0
#include "svc/kms/master.h"
#include "base/buf.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "codec/marker.h"

#include <string.h>

enum {
    MASTER_FORMAT = 1,
    MASTER_LEAST_READER = 1,
    MASTER_FILE_BYTES_MAX = 4096,
    WRAPPED_BYTES = GCM_NONCE_BYTES + GCM_KEY_BYTES + GCM_TAG_BYTES,
};
#define MASTER_KIND S("headrace-master-key")

static Str path_of(struct arena *tmp, Str dir)
{
    return str_cat(tmp, dir, S("/master.key"));
}

Err master_read(struct io *io, Str dir, unsigned char ret[GCM_KEY_BYTES])
{
    AUTO(arena) tmp = arena_open();
    Str content;
    Marker m;
    TRY(io_read_file(io, tmp, path_of(tmp, dir), MASTER_FILE_BYTES_MAX, &content));
    TRY(marker_read(content, MASTER_KIND, MASTER_FORMAT, &m));
    Str hex = marker_value(&m, S("key"));
    if (hex.n != (size_t)2 * GCM_KEY_BYTES || !hex_decode(ret, hex))
        return fail(ERR_CORRUPT, "the file of the master key holds no key");
    return OK;
}

Err master_make(struct io *io, Str dir, unsigned char ret[GCM_KEY_BYTES])
{
    AUTO(arena) tmp = arena_open();
    AUTO_BUF(b);
    char hex[2 * GCM_KEY_BYTES];
    io->random(io, ret, GCM_KEY_BYTES);
    hex_lower(hex, ret, GCM_KEY_BYTES);
    marker_begin(&b, MASTER_KIND, MASTER_FORMAT, MASTER_LEAST_READER);
    marker_add(&b, S("key"), str_from(hex, sizeof hex));
    marker_end(&b);
    Err e = io_write_file(io, tmp, path_of(tmp, dir), buf_str(&b));
    explicit_bzero(hex, sizeof hex);
    explicit_bzero(b.p, b.n);
    return e;
}

Str master_wrap(struct io *io, const unsigned char master[GCM_KEY_BYTES], struct arena *a, Str name,
                const unsigned char secret[GCM_KEY_BYTES])
{
    unsigned char bytes[WRAPPED_BYTES];
    AUTO(gcm) g = NULL;
    gcm_open_seal(master, &g);
    io->random(io, bytes, GCM_NONCE_BYTES);
    gcm_seal(g, bytes, name, str_from(secret, GCM_KEY_BYTES), bytes + GCM_NONCE_BYTES,
             bytes + GCM_NONCE_BYTES + GCM_KEY_BYTES);
    char *text = arena_alloc(a, base64_encoded_bytes(sizeof bytes), 1);
    base64_encode(text, bytes, sizeof bytes);
    return str_from(text, base64_encoded_bytes(sizeof bytes));
}

Err master_unwrap(const unsigned char master[GCM_KEY_BYTES], Str name, Str wrapped,
                  unsigned char ret[GCM_KEY_BYTES])
{
    unsigned char bytes[WRAPPED_BYTES + 4]; // what decoding may write at most
    if (wrapped.n != base64_encoded_bytes(WRAPPED_BYTES))
        return fail(ERR_CORRUPT, "a wrapped key has a wrong length");
    Base64Result r = base64_decode(bytes, wrapped.p, wrapped.n);
    if (r.fault != BASE64_GOOD || r.n != WRAPPED_BYTES)
        return fail(ERR_CORRUPT, "a wrapped key is not base64");
    AUTO(gcm) g = NULL;
    gcm_open_unseal(master, &g);
    return gcm_unseal(g, bytes, name, str_from(bytes + GCM_NONCE_BYTES, GCM_KEY_BYTES),
                      bytes + GCM_NONCE_BYTES + GCM_KEY_BYTES, ret);
}

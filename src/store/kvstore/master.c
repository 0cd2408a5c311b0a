// SPDX-License-Identifier: Apache-2.0
#include "store/master.h"
#include "base/buf.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "codec/marker.h"

#include <pthread.h>
#include <string.h>

enum {
    MASTER_FORMAT = 1,
    MASTER_LEAST_READER = 1,
    MASTER_FILE_BYTES_MAX = 4096,
    EXTRA_BYTES = GCM_NONCE_BYTES + GCM_TAG_BYTES, // of what is sealed
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

static Err make(struct io *io, Str dir, unsigned char ret[GCM_KEY_BYTES])
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

Err master_read_or_make(struct io *io, Str dir, unsigned char ret[GCM_KEY_BYTES])
{
    static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER; // or one would replace another's
    pthread_mutex_lock(&making);
    Err e = master_read(io, dir, ret);
    if (e.kind == ERR_NOT_FOUND)
        e = make(io, dir, ret);
    pthread_mutex_unlock(&making);
    return e;
}

Str master_seal(struct io *io, const unsigned char master[GCM_KEY_BYTES], struct arena *a, Str name,
                Str secret)
{
    size_t n = secret.n + EXTRA_BYTES;
    unsigned char *bytes = arena_alloc(a, n, 1);
    AUTO(gcm) g = NULL;
    gcm_open_seal(master, &g);
    io->random(io, bytes, GCM_NONCE_BYTES);
    gcm_seal(g, bytes, name, secret, bytes + GCM_NONCE_BYTES, bytes + GCM_NONCE_BYTES + secret.n);
    char *text = arena_alloc(a, base64_encoded_bytes(n), 1);
    base64_encode(text, bytes, n);
    return str_from(text, base64_encoded_bytes(n));
}

Err master_unseal(const unsigned char master[GCM_KEY_BYTES], struct arena *a, Str name, Str sealed,
                  Str *ret_secret)
{
    unsigned char *bytes = arena_alloc(a, sealed.n + 4, 1); // more than decoding writes
    Base64Result r = base64_decode(bytes, sealed.p, sealed.n);
    if (r.fault != BASE64_GOOD || r.n < EXTRA_BYTES)
        return fail(ERR_CORRUPT, "a sealed secret is not base64, or too short");
    size_t n = r.n - EXTRA_BYTES;
    unsigned char *plain = arena_alloc(a, n + 1, 1);
    AUTO(gcm) g = NULL;
    gcm_open_unseal(master, &g);
    TRY(gcm_unseal(g, bytes, name, str_from(bytes + GCM_NONCE_BYTES, n),
                   bytes + GCM_NONCE_BYTES + n, plain));
    *ret_secret = str_from(plain, n);
    return OK;
}

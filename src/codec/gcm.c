// SPDX-License-Identifier: Apache-2.0
#include "codec/gcm.h"

#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>

struct gcm {
    EVP_CIPHER_CTX *ctx;
};

// OpenSSL fails here only for want of memory, which this house does not let it have (os/tls.h).
static void open_as(const unsigned char key[GCM_KEY_BYTES], int encrypt, struct gcm **ret)
{
    struct gcm *g = xalloc(sizeof *g);
    g->ctx = EVP_CIPHER_CTX_new();
    CHECK(g->ctx != NULL);
    CHECK(EVP_CipherInit_ex(g->ctx, EVP_aes_256_gcm(), NULL, key, NULL, encrypt) == 1);
    *ret = g;
}

void gcm_open_seal(const unsigned char key[GCM_KEY_BYTES], struct gcm **ret)
{
    open_as(key, 1, ret);
}

void gcm_open_unseal(const unsigned char key[GCM_KEY_BYTES], struct gcm **ret)
{
    open_as(key, 0, ret);
}

void gcm_close(struct gcm *g)
{
    if (g == NULL)
        return;
    EVP_CIPHER_CTX_free(g->ctx); // wipes it
    free(g);
}

static void begin(struct gcm *g, const unsigned char nonce[GCM_NONCE_BYTES])
{
    CHECK(EVP_CipherInit_ex(g->ctx, NULL, NULL, NULL, nonce, -1) == 1);
}

// `out` NULL: what is bound only.
static void pass(struct gcm *g, Str in, void *out)
{
    int n = 0;
    CHECK(in.n <= INT_MAX);
    if (in.n > 0)
        CHECK(EVP_CipherUpdate(g->ctx, out, &n, (const unsigned char *)in.p, (int)in.n) == 1);
}

static void end_seal(struct gcm *g, unsigned char ret_tag[GCM_TAG_BYTES])
{
    int n = 0;
    unsigned char none[16];
    CHECK(EVP_CipherFinal_ex(g->ctx, none, &n) == 1);
    CHECK(EVP_CIPHER_CTX_ctrl(g->ctx, EVP_CTRL_GCM_GET_TAG, GCM_TAG_BYTES, ret_tag) == 1);
}

static Err end_unseal(struct gcm *g, const unsigned char tag[GCM_TAG_BYTES])
{
    int n = 0;
    unsigned char none[16], want[GCM_TAG_BYTES];
    memcpy(want, tag, sizeof want); // OpenSSL's is not const
    CHECK(EVP_CIPHER_CTX_ctrl(g->ctx, EVP_CTRL_GCM_SET_TAG, GCM_TAG_BYTES, want) == 1);
    if (EVP_CipherFinal_ex(g->ctx, none, &n) != 1)
        return fail(ERR_CORRUPT, "encrypted bytes are not what was sealed");
    return OK;
}

void gcm_seal(struct gcm *g, const unsigned char nonce[GCM_NONCE_BYTES], Str bound, Str plain,
              void *out, unsigned char ret_tag[GCM_TAG_BYTES])
{
    begin(g, nonce);
    pass(g, bound, NULL);
    pass(g, plain, out);
    end_seal(g, ret_tag);
}

void gcm_seal_two(struct gcm *g, const unsigned char nonce[GCM_NONCE_BYTES], Str first, Str second,
                  void *out, unsigned char ret_tag[GCM_TAG_BYTES])
{
    begin(g, nonce);
    pass(g, first, out);
    pass(g, second, (char *)out + first.n);
    end_seal(g, ret_tag);
}

Err gcm_unseal(struct gcm *g, const unsigned char nonce[GCM_NONCE_BYTES], Str bound, Str sealed,
               const unsigned char tag[GCM_TAG_BYTES], void *out)
{
    begin(g, nonce);
    pass(g, bound, NULL);
    pass(g, sealed, out);
    return end_unseal(g, tag);
}

Err gcm_unseal_two(struct gcm *g, const unsigned char nonce[GCM_NONCE_BYTES], Str first, Str second,
                   const unsigned char tag[GCM_TAG_BYTES], void *out)
{
    begin(g, nonce);
    pass(g, first, out);
    pass(g, second, (char *)out + first.n);
    return end_unseal(g, tag);
}

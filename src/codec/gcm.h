// SPDX-License-Identifier: Apache-2.0
// AES-256-GCM (NIST SP 800-38D), by OpenSSL. Who holds a key promises that it never seals twice
// with the same nonce.
#pragma once
#include "base/str.h"

enum { GCM_KEY_BYTES = 32, GCM_NONCE_BYTES = 12, GCM_TAG_BYTES = 16 };

// A key made ready for many messages in one direction. One thread at a time.
struct gcm;
void gcm_open_seal(const unsigned char key[GCM_KEY_BYTES], struct gcm **ret);
void gcm_open_unseal(const unsigned char key[GCM_KEY_BYTES], struct gcm **ret);
void gcm_close(struct gcm *g); // the key is wiped; NULL is fine
AUTO_CLOSE(gcm)

// Writes plain.n bytes to `out`, which may be plain.p, and the tag over them and `bound`.
void gcm_seal(struct gcm *g, const unsigned char nonce[GCM_NONCE_BYTES], Str bound, Str plain,
              void *out, unsigned char ret_tag[GCM_TAG_BYTES]);
// The same of two texts as one: writes first.n + second.n bytes to `out`, which is not `first`;
// `second` may be where its part is written.
void gcm_seal_two(struct gcm *g, const unsigned char nonce[GCM_NONCE_BYTES], Str first, Str second,
                  void *out, unsigned char ret_tag[GCM_TAG_BYTES]);
Err gcm_unseal_two(struct gcm *g, const unsigned char nonce[GCM_NONCE_BYTES], Str first, Str second,
                   const unsigned char tag[GCM_TAG_BYTES], void *out);
// ERR_CORRUPT: it was not sealed with this key, nonce and `bound`; what is in `out` then is of no
// use.
Err gcm_unseal(struct gcm *g, const unsigned char nonce[GCM_NONCE_BYTES], Str bound, Str sealed,
               const unsigned char tag[GCM_TAG_BYTES], void *out);

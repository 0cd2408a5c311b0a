// SPDX-License-Identifier: Apache-2.0
// The master key: what services seal the secrets of their rows with before they are written (the
// keys of KMS, the secrets of IAM's access keys).
//
//     DIR/master.key   a marker file (codec/marker.h, 0600) of the kind headrace-master-key, with
//                      key: 64 hexadecimal digits
//
// It is made when the first secret is. Whoever has it and the store has all secrets; whoever loses
// it has lost them all, and with them what they have encrypted.
#pragma once
#include "codec/gcm.h"
#include "os/io.h"

// ERR_NOT_FOUND: none has been made. ERR_CORRUPT, ERR_FORMAT.
Err master_read(struct io *io, Str dir, unsigned char ret[GCM_KEY_BYTES]);
// The same; if there is none it is made, durably. Several services may ask at once.
Err master_read_or_make(struct io *io, Str dir, unsigned char ret[GCM_KEY_BYTES]);

// A secret as it is written, in base64: nonce, sealed bytes, tag; bound to a name.
Str master_seal(struct io *io, const unsigned char master[GCM_KEY_BYTES], struct arena *a, Str name,
                Str secret);
// In the arena. ERR_CORRUPT: not sealed with this master key under this name.
Err master_unseal(const unsigned char master[GCM_KEY_BYTES], struct arena *a, Str name, Str sealed,
                  Str *ret_secret);

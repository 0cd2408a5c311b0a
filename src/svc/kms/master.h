// SPDX-License-Identifier: Apache-2.0
// The master key: what all keys of this server are wrapped with before they are written.
//
//     DIR/master.key   a marker file (codec/marker.h, 0600) of the kind headrace-master-key, with
//                      key: 64 hexadecimal digits
//
// It is made when the first key is. Whoever has it and the store has all keys; whoever loses it has
// lost them all, and with them what they have encrypted.
#pragma once
#include "codec/gcm.h"
#include "os/io.h"

// ERR_NOT_FOUND: none has been made. ERR_CORRUPT, ERR_FORMAT.
Err master_read(struct io *io, Str dir, unsigned char ret[GCM_KEY_BYTES]);
Err master_make(struct io *io, Str dir, unsigned char ret[GCM_KEY_BYTES]); // durable

// A secret of GCM_KEY_BYTES as it is written, in base64: nonce, sealed bytes, tag; bound to a name.
Str master_wrap(struct io *io, const unsigned char master[GCM_KEY_BYTES], struct arena *a, Str name,
                const unsigned char secret[GCM_KEY_BYTES]);
// ERR_CORRUPT: not wrapped with this master key under this name.
Err master_unwrap(const unsigned char master[GCM_KEY_BYTES], Str name, Str wrapped,
                  unsigned char ret[GCM_KEY_BYTES]);

// SPDX-License-Identifier: Apache-2.0
// The bytes of an object, compressed as they come.
#pragma once
#include "delivery/config.h"

struct compressor;

// `out` takes the compressed bytes, in pieces; what it returns ends the compression. `entry`: the
// name inside a ZIP. `small`: GZIP and ZIP with much work (delivery/deflate.h), until told to
// hurry.
typedef Err (*compressor_out)(void *self, Str bytes);
void compressor_open(DeliveryCompression kind, bool small, Str entry, compressor_out out,
                     void *self, struct compressor **ret);
void compressor_hurry(struct compressor *c);
Err compressor_write(struct compressor *c, Str bytes);
Err compressor_finish(struct compressor *c);
void compressor_close(struct compressor *c); // NULL is fine
AUTO_CLOSE(compressor)
Str compression_extension(DeliveryCompression kind); // ".gz", ...; empty: none

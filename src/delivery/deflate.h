// SPDX-License-Identifier: Apache-2.0
// Deflated bytes (RFC 1951), as they come, with little work or with much.
//
//     fast     ISA-L's level 1: ten times as fast as zlib -6, files 10 to 26 % larger
//     small    zlib -6
//
// A stream that began small may go on fast at any byte: what the one has made ends at a whole byte,
// and the other goes on there without what came before it.
#pragma once
#include "base/err.h"
#include "base/str.h"

struct deflater;

// `out` takes the deflated bytes, in pieces that live until it returns; what it returns ends the
// work. Nothing that costs is taken before the first byte comes.
void deflater_open(bool small, Err (*out)(void *self, Str bytes), void *self,
                   struct deflater **ret);
void deflater_close(struct deflater *d); // NULL is fine
AUTO_CLOSE(deflater)
void deflater_hurry(struct deflater *d); // fast from here on
// `last`: the stream ends with these bytes, of which there may be none.
Err deflater_write(struct deflater *d, Str bytes, bool last);

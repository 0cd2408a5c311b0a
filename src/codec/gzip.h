// SPDX-License-Identifier: Apache-2.0
// gzip (RFC 1952), as clients compress the bodies of requests.
#pragma once
#include "base/str.h"

// What the members of `packed` hold, in the arena. ERR_INVALID: it is not gzip, or damaged, or cut
// short. ERR_LIMIT: it would be more than max_bytes; no more than that is ever held. ERR_MEMORY.
Err gzip_unpack(struct arena *a, Str packed, size_t max_bytes, Str *ret);

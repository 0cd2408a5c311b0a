// SPDX-License-Identifier: Apache-2.0
// What the commands for buckets and objects share. A place is written "bucket/key" or
// "s3://bucket/key".
#pragma once
#include "cli/remote.h"

enum { BLOB_PART_BYTES = 16 << 20 }; // moved at once: larger objects go in parts of this size

typedef struct BlobPlace {
    Str bucket, key; // key absent: none is named
} BlobPlace;

// EXIT_USAGE with a message: no bucket is named; or, if `object`, no key.
ExitCode blob_place(Str text, bool object, BlobPlace *ret);

// One request. Errors have been printed when the code is not EXIT_GOOD.
ExitCode blob_call(const struct invocation *in, struct client *c, const S3OutCall *call,
                   S3OutReply *ret);

typedef struct BlobEntry {
    Str key; // or a common prefix, with the delimiter at its end
    bool is_prefix;
    Str bytes, modified; // as the server writes them
} BlobEntry;

// A page of keys with a prefix; *token: absent at first, and empty after the last one. `flat`: no
// delimiter.
ExitCode blob_entries(const struct invocation *in, struct client *c, const BlobPlace *place,
                      bool flat, Str *token, BlobEntry **ret, size_t *ret_n);

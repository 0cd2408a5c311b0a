// SPDX-License-Identifier: Apache-2.0
// The data files of the object store, for who copies the store as a whole. They never change: what
// has a number has its content, as long as it is there.
#pragma once
#include "store/blob.h"

typedef struct BlobFile {
    uint64_t number;
    uint64_t id;  // of its content, from its checksums; 0: a sealed one has none
    bool has_row; // false: it is about to be removed
} BlobFile;

// All files that rows name, and those that are about to be removed, by their numbers, in `a`. Works
// on the rows alone: the store need not be open.
Err blob_files_list(struct kv *kv, struct arena *a, BlobFile **ret, size_t *ret_n);
Str blob_files_path(struct arena *a, uint64_t number); // below the store's directory

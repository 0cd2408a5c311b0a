// SPDX-License-Identifier: Apache-2.0
// Hash keys: unsigned 128-bit numbers, written in decimal, that spread partition keys over shards.
#pragma once
#include "base/str.h"

typedef unsigned __int128 HashKey;
#define HASH_KEY_MAX ((HashKey)-1)

// MD5 of the key's bytes, the first byte the most significant.
HashKey hash_key_of(Str partition_key);
// The same for many, several at a time.
void hash_keys_of(const Str *partition_keys, size_t n, HashKey *ret);

Str hash_key_str(struct arena *a, HashKey h);
Err hash_key_parse(Str text, HashKey *ret); // ERR_INVALID: no number; ERR_LIMIT: over 2^128 - 1

// Where shard i of n begins: the width is 2^128 / n rounded down, the last one takes the rest.
HashKey hash_key_start(uint32_t i, uint32_t n);
HashKey hash_key_end(uint32_t i, uint32_t n);

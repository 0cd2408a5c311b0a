// SPDX-License-Identifier: Apache-2.0
// Who may sign: access keys with their secrets and owners. The root key comes from the
// configuration; the services that issue keys (IAM, STS) add theirs. Safe from any thread.
#pragma once
#include "base/str.h"

struct keyring;

typedef struct Key {
    Str access_key;
    Str secret;
    Str session_token;  // absent: a long-term key
    Str account;        // twelve digits
    Str principal;      // the ARN of who signs with it
    int64_t expires_ns; // since 1970; 0: never
    bool unverified;    // only of the profile dev: any signature is taken
} Key;

enum { KEYRING_KEYS_MAX = 100000, ACCESS_KEY_BYTES_MAX = 128 };

// `dev`: keys that were not added are found too, unverified; one of twelve digits is the account,
// any other belongs to 000000000000.
void keyring_open(bool dev, struct keyring **ret);
void keyring_close(struct keyring *k); // secrets are wiped; NULL is fine
AUTO_CLOSE(keyring)

// Adds a copy, or replaces. ERR_LIMIT: KEYRING_KEYS_MAX are held.
Err keyring_add(struct keyring *k, const Key *key);
void keyring_remove(struct keyring *k, Str access_key);

// Whether it is held: then its signatures are verified.
bool keyring_has(struct keyring *k, Str access_key);

// A copy in the arena. ERR_NOT_FOUND.
Err keyring_find(struct keyring *k, struct arena *a, Str access_key, Key *ret);

// SPDX-License-Identifier: Apache-2.0
// The root key of the account: given in the environment, or made at first start and kept in
// DIR/credentials (0600), in the format of AWS's shared credentials file, so that
// AWS_SHARED_CREDENTIALS_FILE may point at it.
#pragma once
#include "os/io.h"

enum { SECRET_KEY_BYTES_MAX = 128 };

typedef struct Credentials {
    Str access_key;
    Str secret_key;
} Credentials;

// The section [default], or what stands before any. ERR_NOT_FOUND: no such file. ERR_INVALID: it
// holds no key.
Err credentials_read(struct io *io, struct arena *a, Str dir, Credentials *ret);

// Root keys of further accounts: the sections of that file whose name is an account, as in
//
//     [111122223333]
//     aws_access_key_id = ...
//     aws_secret_access_key = ...
//
// OK with none of them if there is no file. ERR_INVALID: one is not complete.
typedef struct AccountKey {
    Str account;
    Credentials key;
} AccountKey;
Err credentials_accounts(struct io *io, struct arena *a, Str dir, AccountKey **ret, size_t *ret_n);

// A fresh key, stored. Random bytes come from the io table.
Err credentials_make(struct io *io, struct arena *a, Str dir, Credentials *ret);

// From HEADRACE_ACCESS_KEY_ID and HEADRACE_SECRET_ACCESS_KEY. ERR_NOT_FOUND: neither is set.
// ERR_INVALID: only one of them is, or they hold what no signature can carry.
Err credentials_given(Str access_key, Str secret_key, Credentials *ret);

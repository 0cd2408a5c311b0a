// SPDX-License-Identifier: Apache-2.0
// Records that are encrypted at rest. The log stores bytes and knows nothing of it: a record's data
// is sealed here before it is appended, and opened after it was read.
//
// A data key encrypts for an hour at most and for this process alone; its wrapped form is committed
// before its first use:
//
//     table kinesis.keys   key = account / region / name / its number (16 hexadecimal digits)
//                          value = JSON {version, key: the ARN of the key it is wrapped with,
//                                        wrapped: base64, created_ms}
//
// An encrypted record is as long as it was. What else is needed to open it stands where a record
// has its explicit hash key, which is all digits and of no use any more once a record is stored:
//
//     "k" base64( number of the data key (8 bytes), count (4 bytes), tag (16 bytes) ) without "=="
//
// The nonce is number and count, of which no two are the same: numbers are never given twice, and a
// data key counts its records in memory, so it is never used again by another process. The
// partition key is bound to the record, not encrypted.
#pragma once
#include "hub/keys.h"
#include "svc/kinesis/kinesis.h"

enum {
    CRYPT_MARK_CHARS = 39,
    CRYPT_KEYS_CACHED = 64, // of a stream
};
#define CRYPT_KEY_LIFE_NS (INT64_C(3600) * 1000000000)

struct data_keys; // of one stream
struct data_key;

struct data_keys *data_keys_open(void);
void data_keys_close(struct data_keys *d); // NULL is fine
void data_key_close(struct data_key *key); // gives a reference back; NULL is fine
AUTO_CLOSE(data_key)

// What a client gets of the key service's answer: one of KMS's errors, ERR_CORRUPT, or OK.
Err crypt_refused(struct call *c, const HubKeyAnswer *answer);

// The key that a put into the stream encrypts with, a reference; NULL: it does not. One of KMS's
// errors: the stream's key cannot be used by the caller. ERR_BUSY: a data key must be made first.
Err crypt_key(struct call *c, struct stream *s, struct data_key **ret);
// Makes one if it is still needed, and gives it. Blocks.
Err crypt_make_key(struct call *c, struct stream *s, struct data_key **ret);

// Seals the data of all records, in the call's arena. ERR_MEMORY.
Err crypt_seal(struct call *c, struct data_key *key, LogRecord *records, size_t n);

// Whether a stored record is encrypted.
bool crypt_is_sealed(const LogEntry *e);
// Opens those of the entries that are encrypted: data and hash key become what they were. KMS's
// errors; ERR_MEMORY; ERR_CORRUPT. ERR_BUSY: a data key is not in memory; with `may_block` it is
// read.
Err crypt_open(struct call *c, struct stream *s, LogEntry *entries, size_t n, bool may_block);

// Takes the data keys of a stream out of the store, in the caller's transaction.
Err crypt_del_keys(struct kinesis *k, struct kv_txn *tx, const struct stream *s);

// SPDX-License-Identifier: Apache-2.0
// Records that are encrypted at rest (hub/data_keys.h: how, and what of it is stored with a
// record).
//
// A data key encrypts for an hour at most and for this process alone; its wrapped form is committed
// before its first use:
//
//     table kinesis.keys   key = account / region / name / its number (16 hexadecimal digits)
//                          value = JSON {version, key: the ARN of the key it is wrapped with,
//                                        wrapped: base64, created_ms}
//
// Records that were encrypted with a key whose row has version 1 have their partition keys in
// plain.
#pragma once
#include "hub/data_keys.h"
#include "svc/kinesis/kinesis.h"

// What a client gets of the key service's answer: one of KMS's errors, ERR_CORRUPT, or OK.
Err crypt_refused(struct call *c, const HubKeyAnswer *answer);

// The key that a put into the stream encrypts with, a reference; NULL: it does not. One of KMS's
// errors: the stream's key cannot be used by the caller. ERR_BUSY: a data key must be made first.
Err crypt_key(struct call *c, struct stream *s, struct data_key **ret);
// Makes one if it is still needed, and gives it. Blocks.
Err crypt_make_key(struct call *c, struct stream *s, struct data_key **ret);

// Seals keys and data of all records, in the call's arena. ERR_MEMORY.
Err crypt_seal(struct call *c, struct data_key *key, LogRecord *records, size_t n);

// Opens those of the entries that are encrypted. KMS's errors; ResourceNotFoundException: the
// stream was deleted meanwhile; ERR_MEMORY; ERR_CORRUPT. ERR_BUSY: a data key is not in memory;
// with `may_block` it is read.
Err crypt_open(struct call *c, struct stream *s, LogEntry *entries, size_t n, bool may_block);

// Whether the caller may be given what was opened for another: records of the data key with this
// number, as data_key_number has it. KMS's errors, as crypt_open; ERR_BUSY: not to be told here.
Err crypt_may_read(struct call *c, struct stream *s, uint64_t number);

// Takes the data keys of a stream out of the store, in the caller's transaction.
Err crypt_del_keys(struct kinesis *k, struct kv_txn *tx, const struct stream *s);

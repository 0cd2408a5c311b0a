// SPDX-License-Identifier: Apache-2.0
// Encryption of delivery streams: records lie sealed in the log (hub/data_keys.h) until they are
// delivered. A data key encrypts for an hour at most and for this process alone; its wrapped form
// is committed before its first use:
//
//     table firehose.keys   key = the stream's id / its number (16 hexadecimal digits each)
//                           value = JSON {version, key: the ARN of the key it is wrapped with (not
//                                         there: the master key, which stands for the key that AWS
//                                         owns), wrapped: base64, created_ms}
//
// A customer's key is used in the name of its account, as AWS does by the grant that it makes when
// encryption is started: whether the caller may use the key is asked then, not with every put.
#pragma once
#include "hub/data_keys.h"
#include "svc/firehose/firehose.h"

struct hose_keys;
struct hose_keys *hose_keys_open(void);
void hose_keys_close(struct hose_keys *k); // NULL is fine

// InvalidKMSResourceException for what the key service says, or OK.
Err hose_crypt_refused(struct call *c, struct hose *h, const HubKeyAnswer *answer);

// The key that a put encrypts with, a reference; NULL: the stream is not encrypted.
// InvalidKMSResourceException. ERR_BUSY: a data key must be made first.
Err hose_crypt_key(struct call *c, const HoseView *v, struct data_key **ret);
// Makes one if it is still needed, and gives it. Blocks.
Err hose_crypt_make_key(struct call *c, const HoseView *v, struct data_key **ret);

// For DeliveryConfig: opens records that were read. Lives in the arena; the stream must outlive it.
void *hose_crypt_reader(struct firehose *f, struct hose *h, struct arena *a);
Err hose_crypt_unseal(void *reader, struct arena *a, LogEntry *entries, size_t n);

// Takes the data keys of a stream out of the store, in the caller's transaction.
Err hose_crypt_del_keys(struct firehose *f, struct kv_txn *tx, const struct hose *h);

// SPDX-License-Identifier: Apache-2.0
// One partition at a time, for operations on one and on many.
#pragma once
#include "svc/glue/glue.h"

// All of these: ERR_FAULT when an error is recorded in the call; ERR_NOT_FOUND, ERR_EXISTS and
// ERR_INVALID (the number of values is wrong) are the caller's to tell. Inside of a transaction.
Err partition_get(struct call *c, struct kv_txn *tx, const Place *p, const TableRow *t,
                  glue_ValueStringList values, glue_Partition *ret);
Err partition_create(struct call *c, struct kv_txn *tx, const TableRow *t,
                     const glue_PartitionInput *in);
Err partition_update(struct call *c, struct kv_txn *tx, const Place *p, const TableRow *t,
                     glue_BoundedPartitionValueList values, const glue_PartitionInput *in);
Err partition_delete(struct call *c, struct kv_txn *tx, const TableRow *t,
                     glue_ValueStringList values);

#define PARTITION_VALUES_TEXT \
    "The number of partition keys do not match the number of partition values"

// The error that the caller gets for what these functions return.
Err partition_fail(struct call *c, Err e);
// The same as an entry of a reply that lists errors; false: it is none of those.
bool partition_detail(Err e, glue_ErrorDetail *ret);

void partition_place(const Place *p, glue_Partition *row); // what the key says

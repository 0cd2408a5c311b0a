// SPDX-License-Identifier: Apache-2.0
// What reading by iterator (get.c) and being pushed (subscribe.c) share.
#pragma once
#include "svc/kinesis/kinesis.h"

// A shard of the stream, by its id as a client writes it; ResourceNotFoundException.
Err get_shard_of(struct call *c, const struct stream *s, Str shard_id, struct shard **ret);

// Where a reader begins in the log: InvalidArgumentException for arguments that contradict each
// other or numbers that are not the shard's. May block.
Err get_position(struct call *c, const struct kinesis_GetShardIterator_in *in,
                 const struct stream *s, const struct shard *sh, uint64_t *ret);

// Where an iterator of the stream stands: its shard and position. As GetRecords refuses it, and
// InvalidArgumentException if it is another stream's.
Err get_iterator(struct call *c, const struct stream *of, Str iterator, struct shard **ret,
                 uint64_t *ret_position);

Err get_shard_not_found(struct call *c, Str stream_name, uint32_t index);
Err get_dry_run(struct call *c);

// The records as clients see them, decrypted, in the call's arena; how many bytes their keys and
// data are. ERR_MEMORY; ERR_BUSY: a key is to be fetched, which may block.
Err get_records(struct call *c, struct stream *s, const struct shard *sh, const LogBatch *batch,
                bool may_block, kinesis_RecordList *ret, size_t *ret_bytes);

// The children of a closed shard, for readers that have come to its end. None (`set` is false): the
// log has ended it, and its children are about to appear: the reader comes again.
kinesis_ChildShardList get_children(struct kinesis *k, struct arena *a, const struct stream *s,
                                    int64_t index);

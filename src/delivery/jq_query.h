// SPDX-License-Identifier: Apache-2.0
// Queries in jq 1.6, the language of Firehose's MetadataExtraction (JsonParsingEngine JQ-1.6).
//
// libjq has no way to stop a query that loops or takes memory, it reads files when a query imports
// some, it knows the environment, and it aborts when there is no memory. So it runs in a process of
// its own: this program once more, with an empty environment, no file it can open, and bounds on
// the processor time of a record and on memory, at which it ends itself. What ended it costs the
// record that did, and nothing else: the next one is answered by a new process.
//
// The process is started when it is needed, compiles the query once, answers batches through a
// socket, and ends when it is asked nothing for a minute.
#pragma once
#include "base/str.h"

struct jq_query;

typedef enum JqFault {
    JQ_GOOD,     // text: the first value that the query gives, as JSON
    JQ_NOT_JSON, // the record is not one JSON value; text says where
    JQ_ERROR,    // the query failed or gave nothing; text says why
    JQ_LIMIT,    // it took too long or too much memory
} JqFault;

typedef struct JqItem {
    Str record;
    JqFault fault;
    Str text; // in the arena
} JqItem;

enum {
    JQ_RECORD_CPU_MS = 1000,         // of processor time
    JQ_MEMORY_BYTES_MAX = 256 << 20, // resident, of the whole process
    JQ_IDLE_MS = 60 * 1000,
    JQ_MESSAGE_BYTES_MAX = 64 << 20, // of a record or an answer
};

struct jq_query *jq_query_new(Str query); // copied; nothing is started yet
// Starts the process. ERR_INVALID: the query is none; the text says why. Blocks.
Err jq_query_compile(struct jq_query *q, struct arena *a, Str *ret_text);
void jq_query_close(struct jq_query *q); // NULL is fine
AUTO_CLOSE(jq_query)

// Answers all items; after five that took too much, the others of the batch are JQ_LIMIT as well,
// so that a query which always loops does not keep a thread for hours. One thread at a time;
// blocks. ERR_IO, ERR_MEMORY: the process cannot be started. ERR_CLOSED: `stopping` said so.
Err jq_query_run(struct jq_query *q, struct arena *a, JqItem *items, size_t n,
                 bool (*stopping)(const void *self), const void *self);
int jq_query_pid(const struct jq_query *q); // of the process; 0: none runs

// SPDX-License-Identifier: Apache-2.0
// Records of all shards of a stream, in the order in which they arrived, split and merged shards
// included. Two ways lead to them:
//
//     the page    the server's own for operators (svc/kinesis/operate.h): one call for all shards,
//                 which spends nobody's read limits; for the root key of a headrace
//     consumer    GetRecords of every shard (stream_reader_shards.c), as any consumer reads, on
//     AWS, too
#pragma once
#include "cli/remote.h"

typedef enum ReaderStart {
    READ_TRIM,
    READ_LATEST,
    READ_TIME,     // `ns`
    READ_SEQUENCE, // at `text`; by the page only, as what follows
    READ_AFTER,    // behind the sequence number `text`
    READ_CURSOR,   // at `text`
} ReaderStart;

typedef struct ReaderFrom {
    ReaderStart start;
    int64_t ns;
    Str text;
} ReaderFrom;

typedef enum ReaderWay {
    READER_ANY, // the page if it answers
    READER_PAGE,
    READER_CONSUMER,
} ReaderWay;

typedef struct ReaderRecord {
    Str shard, sequence, key;
    Str hash_key; // empty: none, or not told (by a consumer)
    Str data;
    int64_t arrival_ns;
} ReaderRecord;

struct stream_reader;

// Complains. The client is borrowed.
ExitCode stream_reader_open(const struct invocation *in, struct client *c, Str stream,
                            ReaderFrom from, ReaderWay way, struct stream_reader **ret);
void stream_reader_close(struct stream_reader *r); // NULL is fine
AUTO_CLOSE(stream_reader)

bool stream_reader_is_consumer(const struct stream_reader *r);
// The place it has come to, and the end at which it stops; by the page only. Copied.
Str stream_reader_cursor(const struct stream_reader *r);
void stream_reader_set_until(struct stream_reader *r, Str cursor);

// What comes next, in the arena. *ret_at_end: nothing more is there for now; come again later.
ExitCode stream_reader_next(struct stream_reader *r, struct arena *a, ReaderRecord **ret,
                            size_t *ret_n, bool *ret_at_end);

// "trim", "latest", a time, or a sequence number. EXIT_USAGE with a message that names the flag.
ExitCode stream_reader_parse_from(Str flag, Str text, ReaderFrom *ret);

// ---- stream_reader_shards.c

struct shard_readers;
ExitCode shard_readers_open(const struct invocation *in, struct client *c, Str stream,
                            ReaderFrom from, struct shard_readers **ret);
void shard_readers_close(struct shard_readers *s); // NULL is fine
ExitCode shard_readers_next(struct shard_readers *s, struct arena *a, ReaderRecord **ret,
                            size_t *ret_n, bool *ret_at_end);

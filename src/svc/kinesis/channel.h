// SPDX-License-Identifier: Apache-2.0
// One channel: a stream that delivers to a bucket. Never changed: replaced by a copy, so that
// whoever holds it under the lock of the table sees one state of it.
#pragma once
#include "delivery/delivery.h"
#include "svc/kinesis/stream.h"
#include "svc/kinesis/tag_set.h"

enum { CHANNEL_TAGS_MAX = 50, CHANNEL_FRESHNESS_S = 300, CHANNEL_FRESHNESS_S_MAX = 900 };

// What was given when it was made, and is kept as it is. Absent: it was not given.
typedef enum ChannelText {
    CHANNEL_NAME,
    CHANNEL_STREAM, // its name
    CHANNEL_ROLE,
    CHANNEL_FORMAT,
    CHANNEL_BUCKET, // an ARN
    CHANNEL_OWNER,
    CHANNEL_TEMPLATE,
    CHANNEL_CLASS,
    CHANNEL_COMPRESSION,
    CHANNEL_DEAD_BUCKET, // of dead letters
    CHANNEL_DEAD_OWNER,
    CHANNEL_DEAD_PREFIX,
    CHANNEL_KEY,
    CHANNEL_LOG_GROUP,
    CHANNEL_LOG_STREAM,
    CHANNEL_TEXTS,
} ChannelText;

typedef enum ChannelStatus {
    CHANNEL_CREATING,
    CHANNEL_ACTIVE,
    CHANNEL_UPDATING,
} ChannelStatus;

struct channel {
    struct arena *arena; // of all texts here
    Str account, region, arn;
    Str texts[CHANNEL_TEXTS];
    uint64_t id; // of its delivery's positions: never given twice
    int64_t created_ms, active_ms, updated_ms;
    int64_t freshness_s;
    bool logs;
    TagSet tags;
    struct stream *stream;     // a reference; NULL while it is read
    struct delivery *delivery; // NULL: not begun
};

struct channel *channel_new(Str account, Str region, Str id_text);
struct channel *channel_copy(const struct channel *from); // with the delivery
void channel_close(struct channel *ch);                   // not what it delivers; NULL is fine
AUTO_CLOSE(channel)
void channel_set_text(struct channel *ch, ChannelText which, Str text); // copies; absent: none

ChannelStatus channel_status(const struct channel *ch, int64_t now_ms);
Str channel_bucket_name(Str arn); // "arn:aws:s3:::bucket" is bucket

// What its delivery is to do, in an arena of its own.
void channel_config(const struct channel *ch, DeliveryConfig *ret);

// ---- Its row: kinesis.channels, account/region/id, JSON

Str channel_row_key(struct arena *a, const struct channel *ch);
void channel_row_write(struct buf *b, const struct channel *ch);
Err channel_row_read(struct arena *tmp, Str key, Str row, struct channel **ret); // without stream

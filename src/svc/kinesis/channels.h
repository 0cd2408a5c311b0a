// SPDX-License-Identifier: Apache-2.0
// All channels, and what delivers for them (src/delivery). Changes happen under `changing` of
// struct kinesis, rows before memory; `lock` guards the table and is a leaf.
#pragma once
#include "svc/kinesis/channel.h"
#include "svc/kinesis/kinesis.h"

struct channels;

// Reads all rows, after the streams, and begins their deliveries.
Err channels_open(struct kinesis *k, struct channels **ret);
void channels_stop(struct channels *cs);  // nothing is delivered after it; NULL is fine
void channels_close(struct channels *cs); // NULL is fine

// How many channels the stream has; of an account in a region.
size_t channels_on_stream(const struct kinesis *k, const struct stream *s);
size_t channels_count(const struct kinesis *k, Str account, Str region);
// ResourceInUseException if the stream has channels: "`what` ARN`how` because ...". `changing` is
// held.
Err channels_refuse(struct call *c, const struct stream *s, const char *what, const char *how);

bool channels_is_arn(Str resource_arn);
// TagResource, UntagResource and ListTagsForResource of a channel.
Err channels_tag(struct call *c, Str arn, const kinesis_TagMap *tags);
Err channels_untag(struct call *c, Str arn, const kinesis_TagKeyList *keys);
Err channels_list_tags(struct call *c, Str arn, kinesis_TagList *ret);
void channels_copy_tags(struct call *c, Str arn, TagSet *to); // none if there is no such channel

// ---- For operations (channel_admin.c)

// A copy of the channel, without its delivery's care: to be described, or changed and put back.
// ResourceNotFoundException.
Err channels_find(struct call *c, Str arn, struct channel **ret);
// Copies of all of an account in a region, by name, in the arena; each to be closed.
struct channel **channels_all(const struct kinesis *k, struct arena *a, Str account, Str region,
                              size_t *ret_n);
// Whether it can be delivered so; else ValidationException.
Err channels_check(struct call *c, const struct channel *ch);
// Commits a new channel with an id of its own, and begins its delivery.
Err channels_add(struct call *c, struct channel *ch);
// Commits it in place of the one with its ARN.
Err channels_replace(struct call *c, struct channel *take_ch);
// Ends its delivery, then it is gone.
Err channels_remove(struct call *c, Str arn);

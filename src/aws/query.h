// SPDX-License-Identifier: Apache-2.0
// The Query protocol: a request is a form, a reply is XML. IAM, STS and SNS speak nothing else.
//
//     Action=PutMetricData&Version=2010-08-01&MetricData.member.1.Dimensions.member.1.Name=Host
//
// A name is a path: members of structs by name, elements of lists by number behind `member` (or
// right away, where the list is flat), entries of maps behind `entry` with `key` and `value`. The
// reader sorts the pairs by their paths, numbers as numbers, so that a value is a run of them, and
// walks them as the shapes tell it to. It takes every form of lists and maps wherever one is
// expected; the .api file says how replies name them (docs/api-format.md).
//
// Source: Smithy 2.0, "AWS query protocol"; the codes: "Common Errors" in the references of IAM,
// STS and CloudWatch.
#pragma once
#include "aws/protocol.h"

enum { QUERY_PAIRS_MAX = 100000 }; // in one request

// The first value of a name in a form, decoded. Absent: it is not there, or not well-formed.
Str query_field(struct arena *a, Str form, Str name);

void query_reader(struct protocol_reader *r, struct arena *a, Str form);
void query_write_reply(const ReplyFrame *f, const void *out, struct buf *body);
void query_write_error(const ErrorReply *e, struct buf *body);

// What Query calls an error that is in no service's model, and the status it comes with there.
// NULL: it is not one of them.
const struct api_error *query_common_error(Str type);

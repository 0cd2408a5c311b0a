// SPDX-License-Identifier: Apache-2.0
// Tags of delivery streams: what may be one. (Operations: tags.c.)
#pragma once
#include "svc/firehose/firehose.h"

// The tags that a new stream is given, in the call's arena. InvalidArgumentException.
Err hose_tags_of_input(struct call *c, Str name, firehose_TagDeliveryStreamInputTagList tags,
                       HoseFields *ret);

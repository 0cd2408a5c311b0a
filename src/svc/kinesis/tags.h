// SPDX-License-Identifier: Apache-2.0
// Tags of streams and consumers: what may be one. (Operations: tags.c.)
#pragma once
#include "svc/kinesis/kinesis.h"

// InvalidArgumentException unless every key and value is made of what AWS allows.
Err tags_check(struct call *c, kinesis_TagMap tags);
// InvalidArgumentException when a resource of this kind ("stream") would hold more than
// STREAM_TAGS_MAX.
Err tags_check_count(struct call *c, const char *kind, Str name, size_t count);

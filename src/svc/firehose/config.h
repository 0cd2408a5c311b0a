// SPDX-License-Identifier: Apache-2.0
// What a delivery is told of a delivery stream: delivery/config.h, made of the document in which
// the destination is kept.
#pragma once
#include "svc/firehose/firehose.h"

// Everything lives in the config's arena; whoever takes the config takes the arena, else it is
// closed with config->arena. ERR_CORRUPT: the document is not what destination.c has written.
Err hose_config_make(struct firehose *f, struct hose *h, const HoseFields *fields,
                     DeliveryConfig **ret);

// Whether the deliveries can do it: prefixes, queries, formats. InvalidArgumentException.
Err hose_config_check(struct call *c, struct hose *h, const HoseFields *fields);

// SPDX-License-Identifier: Apache-2.0
// Server-side encryption of delivery streams: what a request says of it. (Operations:
// encryption.c.)
#pragma once
#include "svc/firehose/firehose.h"

// What a new stream is to be encrypted with; NULL: not at all. InvalidKMSResourceException,
// InvalidArgumentException. Blocks.
Err encryption_of_input(struct call *c,
                        const firehose_DeliveryStreamEncryptionConfigurationInput *in,
                        HoseFields *ret);

// What is described of a stream's encryption; NULL: it never had any.
const firehose_DeliveryStreamEncryptionConfiguration *
encryption_description(struct arena *a, const HoseFields *fields, int64_t now_ms);

// SPDX-License-Identifier: Apache-2.0
// Page tokens of List* operations: sealed (token.h), for the caller's account and region, good for
// five minutes.
#pragma once
#include "svc/kinesis/kinesis.h"

Str page_seal(struct call *c, TokenKind kind, Str payload);

// InvalidArgumentException: not one of ours; ExpiredNextTokenException.
Err page_open(struct call *c, TokenKind kind, Str token, Str *ret_payload);

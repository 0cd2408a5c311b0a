// SPDX-License-Identifier: Apache-2.0
// Credentials of a destination that are not in its config: a secret of Secrets Manager, and the
// keys that requests to AWS's own search domains are signed with.
#pragma once
#include "delivery/env.h"
#include "delivery/sink.h"
#include "http/client.h"

struct sink_secret; // of one destination

// Absent ARN: *ret is NULL. What it needs is copied.
void sink_secret_open(const struct delivery_env *env, const DeliveryConfig *config,
                      struct sink_secret **ret);
void sink_secret_close(struct sink_secret *s); // NULL is fine
// A member of the secret as it is now ("hec_token"), in the attempt's arena. False: the attempt has
// its code and message.
bool sink_secret_get(const struct sink_secret *s, SinkAttempt *at, Str member, Str *ret);

// Signature Version 4 for the service es or aoss.
struct sink_signer;
// Whether requests to that endpoint are signed: the setting says always, or its host is AWS's.
// *ret is NULL if not.
void sink_signer_open(const struct delivery_env *env, const DeliveryConfig *config, Str base,
                      struct sink_signer **ret);
void sink_signer_close(struct sink_signer *s); // NULL is fine
enum { SINK_SIGNED_HEADERS = 4 };              // as many are added at most
// Signs a POST of `body` with these headers, and adds what is missing; there is room for it.
Err sink_sign(const struct sink_signer *s, struct arena *a, Str target, HttpHeader *headers,
              size_t *n, Str body);

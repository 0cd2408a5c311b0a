// SPDX-License-Identifier: Apache-2.0
// A real server of the probe service on a free port of the loopback, for tests.
#pragma once
#include "aws/front.h"

struct probe_server;

// `keys` is borrowed. There is one page, /health.
void probe_serve(struct keyring *keys, struct probe_server **ret);
uint16_t probe_server_port(const struct probe_server *s);
void probe_server_close(struct probe_server *s); // drains; NULL is fine
AUTO_CLOSE(probe_server)

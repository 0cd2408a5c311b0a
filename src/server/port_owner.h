// SPDX-License-Identifier: Apache-2.0
// Who listens on a TCP port of this machine, as far as /proc lets us see.
#pragma once
#include "base/str.h"

// "pid 812 (localstack)", or an absent Str when it cannot be found out.
Str port_owner(struct arena *a, uint16_t port);

// What the kernel calls a process: "headrace". Empty if there is none.
Str process_name(struct arena *a, Str pid);

// The port of "127.0.0.1:4566", "[::1]:0" or ":4566"; ERR_INVALID otherwise.
Err address_port(Str address, uint16_t *ret);
// Whether only this machine can reach the address.
bool address_is_loopback(Str address);

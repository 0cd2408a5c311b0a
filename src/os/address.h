// SPDX-License-Identifier: Apache-2.0
// Addresses that a destination given by a user may not have, where the network is not all theirs.
#pragma once
#include <stdbool.h>

struct sockaddr;

// Loopback, private, shared, link-local, multicast, and whatever else is no public unicast address
// of IPv4 or IPv6 (RFC 6890); also IPv4 addresses inside IPv6 ones. Unknown families are private.
bool address_is_private(const struct sockaddr *a);

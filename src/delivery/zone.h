// SPDX-License-Identifier: Apache-2.0
// Time zones by their IANA names, from the system's database (TZif, RFC 9636), without the
// process's own zone: several are in use at once.
#pragma once
#include "base/str.h"

struct zone;

// UTC is always there. ERR_NOT_FOUND: no such zone in the database.
Err zone_open(Str name, struct zone **ret);
void zone_close(struct zone *z); // NULL is fine
AUTO_CLOSE(zone)

// East of Greenwich, in seconds, and what the zone is then called ("CEST").
int64_t zone_offset_s(const struct zone *z, int64_t at_s, Str *ret_short);
Str zone_name(const struct zone *z);

// SPDX-License-Identifier: Apache-2.0
// The zones that the settings name (store/zones/zones.h). With zones the data directory itself
// holds no more than the lock: FORMAT, credentials, certificate, clock, journal and database are in
// each zone, under the same names, and are reached by the paths they would have in the data
// directory.
#pragma once
#include "server/settings.h"
#include "store/zones/zones.h"

// Where what the server keeps is found on this machine: the zones, or the data directory alone.
const Str *data_places(const Settings *settings, size_t *ret_n);

// The first place where this file lies, `name` being what follows the directory; absent: nowhere.
Str data_file_find(struct io *io, struct arena *a, const Settings *settings, Str name);

// NULL in *ret: no zones are named. Blocks while zones are compared and rebuilt. Errors as
// zones_open; `ret_problem` then is a full sentence.
Err zone_set_open(struct io *io, struct arena *a, const Settings *settings, Str version,
                  struct zones **ret, Str *ret_problem);

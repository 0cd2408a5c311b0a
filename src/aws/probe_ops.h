// SPDX-License-Identifier: Apache-2.0
// What the tests' operations leave behind for the tests.
#pragma once
#include "aws/call.h"

#include <stdatomic.h>

struct probe_seen {
    struct call *waiting; // of Later or Watch: the test ends it
    bool early;           // Later is done before its operation has returned
    Str account, region, principal;
    void *state;
    atomic_int told; // how often Watch was, by its stream
};
extern struct probe_seen probe_seen;

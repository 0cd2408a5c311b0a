// SPDX-License-Identifier: Apache-2.0
// What the tests' operations leave behind for the tests.
#pragma once
#include "aws/call.h"

struct probe_seen {
    struct call *waiting; // of Later: the test ends it
    bool early;           // Later is done before its operation has returned
    Str account, region, principal;
    void *state;
};
extern struct probe_seen probe_seen;

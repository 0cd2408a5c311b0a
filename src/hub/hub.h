// SPDX-License-Identifier: Apache-2.0
// Where services meet: each that offers something to others leaves it here when it is opened, and
// the others look when they need it, after all are open. Absent: there is no such service.
#pragma once
#include "access/guard.h"
#include "hub/identities.h"
#include "hub/keys.h"

struct hub {
    const struct hub_keys *keys;             // of svc/kms
    const struct access_guard *access;       // of svc/iam
    const struct hub_identities *identities; // of svc/iam
};

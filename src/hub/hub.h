// SPDX-License-Identifier: Apache-2.0
// Where services meet: each that offers something to others leaves it here when it is opened, and
// the others look when they need it, after all are open. Absent: there is no such service.
#pragma once
#include "access/guard.h"
#include "hub/catalog.h"
#include "hub/identities.h"
#include "hub/invoke.h"
#include "hub/keys.h"
#include "hub/objects.h"
#include "hub/secrets.h"
#include "hub/source.h"

struct hub {
    const struct hub_keys *keys;             // of svc/kms
    const struct access_guard *access;       // of svc/iam
    const struct hub_identities *identities; // of svc/iam
    const struct hub_source *kinesis;        // of svc/kinesis
    const struct hub_objects *objects;       // of svc/s3
    const struct hub_invoke *invoke;         // whoever runs functions
    const struct hub_catalog *catalog;       // of svc/glue
    const struct hub_secrets *secrets;       // of svc/secretsmanager
};

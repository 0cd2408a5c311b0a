// SPDX-License-Identifier: Apache-2.0
// The schema registry: registries, schemas in them, and their versions.
//
//     table               key                                      value
//     glue.registries     account \1 region \1 registry            '1' + GetRegistry's reply
//     glue.schemas        account \1 region \1 registry \1 schema  '1' + id, 16 hex digits +
//                                                                  GetSchema's reply
//     glue.schemaversions id + number, 16 hex digits each          '1' + GetSchemaVersion's reply
//     glue.schemaids      account \1 region \1 SchemaVersionId     id + number
//                         id + SHA-256 of the definition, in hex   number
//
// A definition is hashed without its white space. Names keep their case.
#pragma once
#include "svc/glue/glue.h"

enum {
    REGISTRIES_MAX = 100,       // of an account in a region (quotas of the schema registry)
    SCHEMA_VERSIONS_MAX = 10000 // of an account in a region
};

typedef struct SchemaRow {
    uint64_t id;
    struct glue_GetSchema_out d;
} SchemaRow;

// What an id names, in the call's account and region. InvalidInputException: nothing, or an ARN of
// another kind. Absent parts of a RegistryId: the default registry.
Err registry_named(struct call *c, const glue_RegistryId *id, Str *ret);
Err schema_named(struct call *c, const glue_SchemaId *id, Str *ret_registry, Str *ret_schema);
Str registry_arn(struct arena *a, const Place *p, Str registry);
Str schema_arn(struct arena *a, const Place *p, Str registry, Str schema);

// EntityNotFoundException.
Err registry_get(struct call *c, struct kv_txn *tx, Str registry, struct glue_GetRegistry_out *ret);
Err schema_get(struct call *c, struct kv_txn *tx, Str registry, Str schema, SchemaRow *ret);
Err schema_put(struct call *c, struct kv_txn *tx, const SchemaRow *row);
// The default one, made if it is not there.
Err registry_default(struct call *c, struct kv_txn *tx);
Str schema_prefix(struct call *c, Str registry); // of the keys of its schemas; absent: of all

// ---- Versions (schema_version.c)

// Whether the definition is one of that format. InvalidInputException.
Err schema_check(struct call *c, Str format, Str definition);
// Adds a version, AVAILABLE or, if it does not go with those before, FAILURE. The same definition
// again is the same version. Changes row->d.
Err schema_add_version(struct call *c, struct kv_txn *tx, SchemaRow *row, Str definition,
                       struct glue_GetSchemaVersion_out *ret);
Err schema_drop_versions(struct call *c, struct kv_txn *tx, const SchemaRow *row);

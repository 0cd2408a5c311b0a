// SPDX-License-Identifier: Apache-2.0
// What services ask of the one that keeps the Data Catalog (svc/glue): what a table looks like, so
// that records can be read or written in its form.
#pragma once
#include "hub/source.h"

typedef struct HubColumn {
    Str name, type; // as they were given; the type is Hive's: "array<struct<a:int>>". May be absent
} HubColumn;

typedef struct HubParameter {
    Str key, value;
} HubParameter;

typedef struct HubTable {
    Str catalog, database, name; // as the catalog has them: account, lower case
    Str version;                 // "0", "1": what LATEST was
    Str location, input_format, output_format, serde; // may be absent
    HubColumn *columns, *partition_keys;
    size_t column_count, partition_key_count;
    HubParameter *parameters, *serde_parameters;
    size_t parameter_count, serde_parameter_count;
} HubTable;

typedef enum HubCatalogFault {
    HUB_CATALOG_GOOD,
    HUB_CATALOG_NO_DATABASE, // nor such a catalog
    HUB_CATALOG_NO_TABLE,
    HUB_CATALOG_NO_VERSION,
} HubCatalogFault;

typedef struct HubCatalogAnswer {
    HubCatalogFault fault;
    Str text; // what the catalog says about it
} HubCatalogAnswer;

// How a table is named. Databases and tables in any case.
typedef struct HubTableName {
    Str catalog; // absent: the account's own, which is the only one that is found
    Str region;  // absent: that of `as`
    Str database, table;
    Str version; // absent or "LATEST": the newest
} HubTableName;

struct hub_catalog {
    void *self;
    // One read of the store: may block for a disk. Everything in `ret` is in the arena. The role of
    // `as` is not asked whether it may read the table. The Err is one of the disk's or of memory.
    Err (*table)(void *self, struct arena *a, const HubActor *as, const HubTableName *name,
                 HubTable *ret, HubCatalogAnswer *ret_answer);
};

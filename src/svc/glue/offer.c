// SPDX-License-Identifier: Apache-2.0
// What other services are offered (hub/catalog.h).
#include "svc/glue/glue.h"

static HubColumn *columns_of(struct arena *a, glue_ColumnList list)
{
    HubColumn *columns = arena_new(a, HubColumn, list.n);
    for (size_t i = 0; i < list.n; i++)
        columns[i] = (HubColumn){ .name = list.at[i].name, .type = list.at[i].type };
    return columns;
}

static HubParameter *parameters_of(struct arena *a, glue_ParametersMap map)
{
    HubParameter *parameters = arena_new(a, HubParameter, map.n);
    for (size_t i = 0; i < map.n; i++)
        parameters[i] = (HubParameter){ .key = map.at[i].key, .value = map.at[i].value };
    return parameters;
}

static void fill(struct arena *a, const glue_Table *t, HubTable *ret)
{
    *ret = (HubTable){ .catalog = t->catalog_id,
                       .database = t->database_name,
                       .name = t->name,
                       .version = t->version_id,
                       .partition_keys = columns_of(a, t->partition_keys),
                       .partition_key_count = t->partition_keys.n,
                       .parameters = parameters_of(a, t->parameters),
                       .parameter_count = t->parameters.n };
    const glue_StorageDescriptor *d = t->storage_descriptor;
    if (d == NULL)
        return;
    ret->location = d->location;
    ret->input_format = d->input_format;
    ret->output_format = d->output_format;
    ret->columns = columns_of(a, d->columns);
    ret->column_count = d->columns.n;
    if (d->serde_info == NULL)
        return;
    ret->serde = d->serde_info->serialization_library;
    ret->serde_parameters = parameters_of(a, d->serde_info->parameters);
    ret->serde_parameter_count = d->serde_info->parameters.n;
}

static HubCatalogAnswer missing(struct arena *a, HubCatalogFault fault, const char *what, Str name)
{
    return (HubCatalogAnswer){ .fault = fault,
                               .text = str_fmt(a, "%s %.*s not found.", what, FMT(name)) };
}

static Err offer_table(void *self, struct arena *a, const HubActor *as, const HubTableName *name,
                       HubTable *ret, HubCatalogAnswer *ret_answer)
{
    struct glue *s = self;
    TableRow row;
    glue_Database database;
    glue_Table *t = arena_new(a, glue_Table, 1);
    *ret_answer = (HubCatalogAnswer){ .fault = HUB_CATALOG_GOOD, .text = S("") };
    if (name->catalog.n > 0 && !str_eq(name->catalog, as->account)) {
        *ret_answer = missing(a, HUB_CATALOG_NO_DATABASE, "Catalog", name->catalog);
        return OK;
    }
    Place p = { .account = str_dup(a, as->account),
                .region = name->region.n > 0 ? name->region : as->region,
                .database = str_lower(a, name->database),
                .table = str_lower(a, name->table) };
    AUTO(kv_txn) tx = kv_read(s->tables);
    Err e = glue_get_table(s, tx, a, &p, &row);
    if (e.kind == ERR_NOT_FOUND) {
        e = glue_get_database(s, tx, a, &p, &database);
        *ret_answer = e.kind == ERR_NOT_FOUND
                          ? missing(a, HUB_CATALOG_NO_DATABASE, "Database", name->database)
                          : missing(a, HUB_CATALOG_NO_TABLE, "Table", name->table);
        return e.kind == ERR_NOT_FOUND ? OK : e;
    }
    TRY(e);
    bool newest = name->version.n == 0 || str_eq(name->version, S("LATEST"));
    e = glue_get_version(s, tx, a, &row, newest ? row.table.version_id : name->version, t);
    if (e.kind == ERR_NOT_FOUND) {
        *ret_answer = missing(a, HUB_CATALOG_NO_VERSION, "Version", name->version);
        return OK;
    }
    TRY(e);
    glue_place_table(&p, p.table, t);
    fill(a, t, ret);
    return OK;
}

void glue_offer_init(struct glue *s)
{
    s->offer = (struct hub_catalog){ .self = s, .table = offer_table };
}

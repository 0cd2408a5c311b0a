// SPDX-License-Identifier: Apache-2.0
// Registries and schemas: made, described, listed, changed, removed.
#include "svc/glue/registry.h"
#include "base/time.h"

#define DEFAULT_REGISTRY S("default-registry")
enum { ARN_PARTS = 5, ID_CHARS = 16 };

static Place place_of(const struct call *c)
{
    return (Place){ .account = c->account, .region = c->region };
}

// ---- Names

Str registry_arn(struct arena *a, const Place *p, Str registry)
{
    return str_fmt(a, "arn:aws:glue:%.*s:%.*s:registry/%.*s", FMT(p->region), FMT(p->account),
                   FMT(registry));
}

Str schema_arn(struct arena *a, const Place *p, Str registry, Str schema)
{
    return str_fmt(a, "arn:aws:glue:%.*s:%.*s:schema/%.*s/%.*s", FMT(p->region), FMT(p->account),
                   FMT(registry), FMT(schema));
}

// What follows the kind in an ARN of the call's account and region.
static Err name_in_arn(struct call *c, Str arn, Str kind, Str *ret)
{
    Str part[ARN_PARTS], rest = arn, head;
    for (size_t i = 0; i < ARN_PARTS; i++)
        if (!str_cut(rest, ':', &part[i], &rest))
            return glue_invalid(c, "The ARN is not valid.");
    if (!str_cut(rest, '/', &head, ret) || !str_eq(head, kind) || ret->n == 0 ||
        !str_eq(part[3], c->region) || !str_eq(part[4], c->account))
        return glue_invalid(c, "The ARN is not valid.");
    return OK;
}

Err registry_named(struct call *c, const glue_RegistryId *id, Str *ret)
{
    *ret = DEFAULT_REGISTRY;
    if (id == NULL || (id->registry_arn.p == NULL && id->registry_name.p == NULL))
        return OK;
    if (id->registry_arn.p != NULL && id->registry_name.p != NULL)
        return glue_invalid(c, "One of registryName or registryArn has to be provided, not both.");
    *ret = id->registry_name;
    return id->registry_arn.p != NULL ? name_in_arn(c, id->registry_arn, S("registry"), ret) : OK;
}

Err schema_named(struct call *c, const glue_SchemaId *id, Str *ret_registry, Str *ret_schema)
{
    Str both;
    if (id == NULL || (id->schema_arn.p == NULL) == (id->schema_name.p == NULL))
        return glue_invalid(c, "One of (registryName and schemaName) or schemaArn has to be "
                               "provided, not both.");
    if (id->schema_arn.p == NULL) {
        *ret_registry = id->registry_name.p != NULL ? id->registry_name : DEFAULT_REGISTRY;
        *ret_schema = id->schema_name;
        return OK;
    }
    TRY(name_in_arn(c, id->schema_arn, S("schema"), &both));
    if (!str_cut(both, '/', ret_registry, ret_schema) || ret_schema->n == 0)
        return glue_invalid(c, "The ARN is not valid.");
    return OK;
}

static Str registry_key(struct call *c, Str registry)
{
    const Place p = place_of(c);
    return str_cat(c->arena, glue_database_prefix(c->arena, &p), registry);
}

Str schema_prefix(struct call *c, Str registry)
{
    const Place p = place_of(c);
    Str all = glue_database_prefix(c->arena, &p);
    return registry.p == NULL ? all : str_cat3(c->arena, all, registry, S("\1"));
}

// ---- Rows

static Err no_registry(struct call *c, Str registry)
{
    return call_fail(c, &glue_EntityNotFoundException, "Registry is not found. RegistryName: %.*s",
                     FMT(registry));
}

Err registry_get(struct call *c, struct kv_txn *tx, Str registry, struct glue_GetRegistry_out *ret)
{
    struct glue *s = c->state;
    Err e = glue_get_row(tx, s->registries, c->arena, registry_key(c, registry), s->registry_shape,
                         ret);
    return e.kind == ERR_NOT_FOUND ? no_registry(c, registry) : e;
}

static Err put_registry(struct call *c, struct kv_txn *tx, const struct glue_GetRegistry_out *row)
{
    struct glue *s = c->state;
    return glue_put_row(tx, s->registries, registry_key(c, row->registry_name), s->registry_shape,
                        row);
}

static Str schema_key(struct call *c, Str registry, Str schema)
{
    return str_cat(c->arena, schema_prefix(c, registry), schema);
}

static Err read_schema(struct glue *s, struct arena *a, Str value, SchemaRow *ret)
{
    *ret = (SchemaRow){ 0 };
    return glue_read_id_row(a, s->schema_shape, value, &ret->id, &ret->d);
}

Err schema_get(struct call *c, struct kv_txn *tx, Str registry, Str schema, SchemaRow *ret)
{
    struct glue *s = c->state;
    Str value;
    kv_on(tx, s->schemas);
    Err e = kv_get(tx, c->arena, schema_key(c, registry, schema), &value);
    if (e.kind == ERR_NOT_FOUND)
        return call_fail(c, &glue_EntityNotFoundException,
                         "Schema is not found. RegistryName: %.*s, SchemaName: %.*s", FMT(registry),
                         FMT(schema));
    TRY(e);
    return read_schema(s, c->arena, value, ret);
}

Err schema_put(struct call *c, struct kv_txn *tx, const SchemaRow *row)
{
    struct glue *s = c->state;
    return glue_put_id_row(tx, s->schemas, schema_key(c, row->d.registry_name, row->d.schema_name),
                           s->schema_shape, row->id, &row->d);
}

// ---- Registries

static struct glue_GetRegistry_out new_registry(struct call *c, Str name, Str description)
{
    const Place p = place_of(c);
    Str now = time_iso_ms(c->arena, c->now_ns);
    return (struct glue_GetRegistry_out){ .registry_name = name,
                                          .registry_arn = registry_arn(c->arena, &p, name),
                                          .description = description,
                                          .status = glue_RegistryStatus_AVAILABLE,
                                          .created_time = now,
                                          .updated_time = now };
}

static Err must_be_new(struct call *c, struct kv_txn *tx, struct kv_table *t, Str key,
                       const char *what, Str name)
{
    Str value;
    kv_on(tx, t);
    Err e = kv_get(tx, c->arena, key, &value);
    if (e.kind == ERR_NONE)
        return call_fail(c, &glue_AlreadyExistsException, "%s already exists. %sName: %.*s", what,
                         what, FMT(name));
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

static Err add_registry(struct call *c, struct kv_txn *tx, const struct glue_GetRegistry_out *row)
{
    struct glue *s = c->state;
    size_t n;
    kv_on(tx, s->registries);
    TRY(kv_count(tx, schema_prefix(c, (Str){ 0 }), &n));
    if (n >= REGISTRIES_MAX)
        return call_fail(c, &glue_ResourceNumberLimitExceededException,
                         "Number of REGISTRY resources exceeds the account limit %d",
                         REGISTRIES_MAX);
    return put_registry(c, tx, row);
}

Err registry_default(struct call *c, struct kv_txn *tx)
{
    struct glue *s = c->state;
    Str value;
    kv_on(tx, s->registries);
    Err e = kv_get(tx, c->arena, registry_key(c, DEFAULT_REGISTRY), &value);
    if (e.kind != ERR_NOT_FOUND)
        return e;
    struct glue_GetRegistry_out row = new_registry(c, DEFAULT_REGISTRY, (Str){ 0 });
    return add_registry(c, tx, &row);
}

Err glue_CreateRegistry(struct call *c, const struct glue_CreateRegistry_in *in,
                        struct glue_CreateRegistry_out *out)
{
    struct glue *s = c->state;
    struct glue_GetRegistry_out row = new_registry(c, in->registry_name, in->description);
    AUTO(kv_txn) tx = kv_write(s->registries);
    TRY(must_be_new(c, tx, s->registries, registry_key(c, in->registry_name), "Registry",
                    in->registry_name));
    TRY(add_registry(c, tx, &row));
    TRY(glue_put_tags(s, tx, row.registry_arn, in->tags));
    TRY(kv_commit(tx));
    *out = (struct glue_CreateRegistry_out){ .registry_name = row.registry_name,
                                             .registry_arn = row.registry_arn,
                                             .description = in->description,
                                             .tags = in->tags };
    return OK;
}

Err glue_GetRegistry(struct call *c, const struct glue_GetRegistry_in *in,
                     struct glue_GetRegistry_out *out)
{
    struct glue *s = c->state;
    Str name;
    TRY(registry_named(c, in->registry_id, &name));
    AUTO(kv_txn) tx = kv_read(s->registries);
    return registry_get(c, tx, name, out);
}

Err glue_UpdateRegistry(struct call *c, const struct glue_UpdateRegistry_in *in,
                        struct glue_UpdateRegistry_out *out)
{
    struct glue *s = c->state;
    struct glue_GetRegistry_out row = { 0 };
    Str name;
    TRY(registry_named(c, in->registry_id, &name));
    AUTO(kv_txn) tx = kv_write(s->registries);
    TRY(registry_get(c, tx, name, &row));
    row.description = in->description;
    row.updated_time = time_iso_ms(c->arena, c->now_ns);
    TRY(put_registry(c, tx, &row));
    TRY(kv_commit(tx));
    out->registry_name = row.registry_name;
    out->registry_arn = row.registry_arn;
    return OK;
}

Err glue_ListRegistries(struct call *c, const struct glue_ListRegistries_in *in,
                        struct glue_ListRegistries_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Str after, last = { 0 };
    TRY(glue_token_read(c, in->next_token, &after));
    out->registries = (glue_RegistryListDefinition){
        .set = true, .at = arena_new(a, glue_RegistryListItem, (size_t)in->max_results)
    };
    AUTO(kv_txn) tx = kv_read(s->registries);
    struct kv_scan scan = glue_scan(tx, a, schema_prefix(c, (Str){ 0 }), after);
    Err e = OK;
    while (e.kind == ERR_NONE && kv_scan_next(&scan)) {
        struct glue_GetRegistry_out row = { 0 };
        if (out->registries.n == (size_t)in->max_results) {
            out->next_token = glue_token(a, last);
            break;
        }
        e = glue_read_row(a, s->registry_shape, str_dup(a, scan.value), &row);
        last = str_dup(a, scan.rest);
        out->registries.at[out->registries.n++] =
            (glue_RegistryListItem){ .registry_name = row.registry_name,
                                     .registry_arn = row.registry_arn,
                                     .description = row.description,
                                     .status = row.status,
                                     .created_time = row.created_time,
                                     .updated_time = row.updated_time };
    }
    if (e.kind == ERR_NONE)
        e = scan.err;
    kv_scan_end(&scan);
    return e;
}

static Err drop_schema(struct call *c, struct kv_txn *tx, const SchemaRow *row)
{
    struct glue *s = c->state;
    TRY(schema_drop_versions(c, tx, row));
    TRY(glue_put_tags(s, tx, row->d.schema_arn, (glue_TagsMap){ 0 }));
    kv_on(tx, s->schemas);
    return kv_del(tx, schema_key(c, row->d.registry_name, row->d.schema_name));
}

// With its schemas, one after the other: nothing is changed under a scan.
Err glue_DeleteRegistry(struct call *c, const struct glue_DeleteRegistry_in *in,
                        struct glue_DeleteRegistry_out *out)
{
    struct glue *s = c->state;
    struct glue_GetRegistry_out row = { 0 };
    Str name;
    TRY(registry_named(c, in->registry_id, &name));
    AUTO(kv_txn) tx = kv_write(s->registries);
    TRY(registry_get(c, tx, name, &row));
    for (;;) {
        SchemaRow schema;
        kv_on(tx, s->schemas);
        struct kv_scan scan = kv_scan_start(tx, schema_prefix(c, name), S(""));
        Str value = kv_scan_next(&scan) ? str_dup(c->arena, scan.value) : (Str){ 0 };
        Err e = scan.err;
        kv_scan_end(&scan);
        TRY(e);
        if (value.p == NULL)
            break;
        TRY(read_schema(s, c->arena, value, &schema));
        TRY(drop_schema(c, tx, &schema));
    }
    TRY(glue_put_tags(s, tx, row.registry_arn, (glue_TagsMap){ 0 }));
    kv_on(tx, s->registries);
    TRY(kv_del(tx, registry_key(c, name)));
    TRY(kv_commit(tx));
    *out = (struct glue_DeleteRegistry_out){ .registry_name = name,
                                             .registry_arn = row.registry_arn,
                                             .status = glue_RegistryStatus_DELETING };
    return OK;
}

// ---- Schemas

static SchemaRow new_schema(struct call *c, const struct glue_CreateSchema_in *in, Str registry)
{
    const Place p = place_of(c);
    Str now = time_iso_ms(c->arena, c->now_ns);
    SchemaRow row = {
        .d = { .registry_name = registry,
               .registry_arn = registry_arn(c->arena, &p, registry),
               .schema_name = in->schema_name,
               .schema_arn = schema_arn(c->arena, &p, registry, in->schema_name),
               .description = in->description,
               .data_format = in->data_format,
               .compatibility = in->compatibility,
               .schema_status = glue_SchemaStatus_AVAILABLE,
               .schema_checkpoint = 1,
               .has_schema_checkpoint = true,
               .latest_schema_version = 1,
               .has_latest_schema_version = true,
               .next_schema_version = 1,
               .has_next_schema_version = true,
               .created_time = now,
               .updated_time = now },
    };
    return row;
}

static void tell_created(const SchemaRow *row, const struct glue_CreateSchema_in *in,
                         const struct glue_GetSchemaVersion_out *first,
                         struct glue_CreateSchema_out *out)
{
    *out = (struct glue_CreateSchema_out){
        .registry_name = row->d.registry_name,
        .registry_arn = row->d.registry_arn,
        .schema_name = row->d.schema_name,
        .schema_arn = row->d.schema_arn,
        .description = row->d.description,
        .data_format = row->d.data_format,
        .compatibility = row->d.compatibility,
        .schema_checkpoint = row->d.schema_checkpoint,
        .has_schema_checkpoint = true,
        .latest_schema_version = row->d.latest_schema_version,
        .has_latest_schema_version = true,
        .next_schema_version = row->d.next_schema_version,
        .has_next_schema_version = true,
        .schema_status = row->d.schema_status,
        .tags = in->tags,
        .schema_version_id = first->schema_version_id,
        .schema_version_status = first->status,
    };
}

Err glue_CreateSchema(struct call *c, const struct glue_CreateSchema_in *in,
                      struct glue_CreateSchema_out *out)
{
    struct glue *s = c->state;
    struct glue_GetSchemaVersion_out first = { 0 };
    struct glue_GetRegistry_out in_registry = { 0 };
    Str registry;
    TRY(registry_named(c, in->registry_id, &registry));
    TRY(schema_check(c, in->data_format, in->schema_definition));
    AUTO(kv_txn) tx = kv_write(s->schemas);
    if (str_eq(registry, DEFAULT_REGISTRY))
        TRY(registry_default(c, tx));
    TRY(registry_get(c, tx, registry, &in_registry));
    TRY(must_be_new(c, tx, s->schemas, schema_key(c, registry, in->schema_name), "Schema",
                    in->schema_name));
    SchemaRow row = new_schema(c, in, registry);
    TRY(kv_next_id(tx, &row.id));
    if (in->schema_definition.p != NULL)
        TRY(schema_add_version(c, tx, &row, in->schema_definition, &first));
    TRY(schema_put(c, tx, &row));
    TRY(glue_put_tags(s, tx, row.d.schema_arn, in->tags));
    TRY(kv_commit(tx));
    tell_created(&row, in, &first, out);
    return OK;
}

Err glue_GetSchema(struct call *c, const struct glue_GetSchema_in *in,
                   struct glue_GetSchema_out *out)
{
    struct glue *s = c->state;
    SchemaRow row;
    Str registry, schema;
    TRY(schema_named(c, in->schema_id, &registry, &schema));
    AUTO(kv_txn) tx = kv_read(s->schemas);
    TRY(schema_get(c, tx, registry, schema, &row));
    *out = row.d;
    return OK;
}

Err glue_ListSchemas(struct call *c, const struct glue_ListSchemas_in *in,
                     struct glue_ListSchemas_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    struct glue_GetRegistry_out there = { 0 };
    Str after, last = { 0 }, registry = { 0 };
    TRY(glue_token_read(c, in->next_token, &after));
    if (in->registry_id != NULL)
        TRY(registry_named(c, in->registry_id, &registry));
    out->schemas = (glue_SchemaListDefinition){
        .set = true, .at = arena_new(a, glue_SchemaListItem, (size_t)in->max_results)
    };
    AUTO(kv_txn) tx = kv_read(s->schemas);
    if (registry.p != NULL)
        TRY(registry_get(c, tx, registry, &there));
    kv_on(tx, s->schemas);
    struct kv_scan scan = glue_scan(tx, a, schema_prefix(c, registry), after);
    Err e = OK;
    while (e.kind == ERR_NONE && kv_scan_next(&scan)) {
        SchemaRow row;
        if (out->schemas.n == (size_t)in->max_results) {
            out->next_token = glue_token(a, last);
            break;
        }
        e = read_schema(s, a, str_dup(a, scan.value), &row);
        last = str_dup(a, scan.rest);
        out->schemas.at[out->schemas.n++] =
            (glue_SchemaListItem){ .registry_name = row.d.registry_name,
                                   .schema_name = row.d.schema_name,
                                   .schema_arn = row.d.schema_arn,
                                   .description = row.d.description,
                                   .schema_status = row.d.schema_status,
                                   .created_time = row.d.created_time,
                                   .updated_time = row.d.updated_time };
    }
    if (e.kind == ERR_NONE)
        e = scan.err;
    kv_scan_end(&scan);
    return e;
}

// A checkpoint is a version that there is.
static Err set_checkpoint(struct call *c, const glue_SchemaVersionNumber *number, SchemaRow *row)
{
    int64_t to = number->has_version_number ? number->version_number : row->d.latest_schema_version;
    if (number->has_latest_version && number->latest_version == number->has_version_number)
        return glue_invalid(c, "One of LatestVersion and VersionNumber must be given.");
    if (to > row->d.latest_schema_version)
        return call_fail(c, &glue_EntityNotFoundException,
                         "Schema version is not found. VersionNumber: %lld", (long long)to);
    row->d.schema_checkpoint = to;
    return OK;
}

Err glue_UpdateSchema(struct call *c, const struct glue_UpdateSchema_in *in,
                      struct glue_UpdateSchema_out *out)
{
    struct glue *s = c->state;
    SchemaRow row;
    Str registry, schema;
    TRY(schema_named(c, in->schema_id, &registry, &schema));
    if (in->compatibility.p != NULL && in->schema_version_number == NULL)
        return glue_invalid(c, "SchemaVersionNumber must be given with Compatibility.");
    AUTO(kv_txn) tx = kv_write(s->schemas);
    TRY(schema_get(c, tx, registry, schema, &row));
    if (in->schema_version_number != NULL)
        TRY(set_checkpoint(c, in->schema_version_number, &row));
    if (in->compatibility.p != NULL)
        row.d.compatibility = in->compatibility;
    if (in->description.p != NULL)
        row.d.description = in->description;
    row.d.updated_time = time_iso_ms(c->arena, c->now_ns);
    TRY(schema_put(c, tx, &row));
    TRY(kv_commit(tx));
    *out = (struct glue_UpdateSchema_out){ .registry_name = row.d.registry_name,
                                           .schema_arn = row.d.schema_arn,
                                           .schema_name = row.d.schema_name };
    return OK;
}

Err glue_DeleteSchema(struct call *c, const struct glue_DeleteSchema_in *in,
                      struct glue_DeleteSchema_out *out)
{
    struct glue *s = c->state;
    SchemaRow row;
    Str registry, schema;
    TRY(schema_named(c, in->schema_id, &registry, &schema));
    AUTO(kv_txn) tx = kv_write(s->schemas);
    TRY(schema_get(c, tx, registry, schema, &row));
    TRY(drop_schema(c, tx, &row));
    TRY(kv_commit(tx));
    *out = (struct glue_DeleteSchema_out){ .schema_arn = row.d.schema_arn,
                                           .schema_name = row.d.schema_name,
                                           .status = glue_SchemaStatus_DELETING };
    return OK;
}

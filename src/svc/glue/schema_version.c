// SPDX-License-Identifier: Apache-2.0
// Versions of schemas: registered, held against those before them, found by number, by id and by
// what they define.
#include "base/time.h"
#include "codec/hash.h"
#include "svc/glue/avro.h"
#include "svc/glue/registry.h"

enum { ID_CHARS = 16, UUID_BYTES = 16 };

// ---- Definitions

static Err read_definition(struct arena *a, Str format, Str definition,
                           const struct avro **ret_avro, const JsonValue **ret_json, Str *ret_text)
{
    if (str_eq(format, glue_DataFormat_AVRO))
        return avro_read(a, definition, ret_avro, ret_text);
    if (str_eq(format, glue_DataFormat_JSON))
        return json_schema_read(a, definition, ret_json, ret_text);
    *ret_text = S("PROTOBUF is not supported by this server.");
    return fail(ERR_INVALID, "a format that is not known");
}

static bool is_bad(Err e)
{
    return e.kind == ERR_INVALID || e.kind == ERR_LIMIT;
}

Err schema_check(struct call *c, Str format, Str definition)
{
    const struct avro *avro;
    const JsonValue *json;
    Str text = S("");
    if (definition.p == NULL && !str_eq(format, glue_DataFormat_PROTOBUF))
        return OK;
    Err e = read_definition(c->arena, format, definition, &avro, &json, &text);
    if (!is_bad(e))
        return e;
    return call_fail(c, &glue_InvalidInputException,
                     "Schema definition of %.*s data format is invalid: %.*s", FMT(format),
                     FMT(text));
}

Err glue_CheckSchemaVersionValidity(struct call *c,
                                    const struct glue_CheckSchemaVersionValidity_in *in,
                                    struct glue_CheckSchemaVersionValidity_out *out)
{
    const struct avro *avro;
    const JsonValue *json;
    Str text = S("");
    Err e = read_definition(c->arena, in->data_format, in->schema_definition, &avro, &json, &text);
    if (!is_bad(e) && e.kind != ERR_NONE)
        return e;
    out->has_valid = true;
    out->valid = e.kind == ERR_NONE;
    if (!out->valid)
        out->error = text;
    return OK;
}

// Whether data of `writer` are read with `reader`: both were valid when they were registered.
static Err definition_reads(struct arena *a, Str format, Str reader, Str writer, bool *ret)
{
    const struct avro *avro[2];
    const JsonValue *json[2];
    const Str both[2] = { reader, writer };
    Str text;
    for (size_t i = 0; i < 2; i++)
        TRY(read_definition(a, format, both[i], &avro[i], &json[i], &text));
    *ret = str_eq(format, glue_DataFormat_AVRO) ? avro_reads(avro[0], avro[1])
                                                : json_schema_reads(json[0], json[1]);
    return OK;
}

// ---- Rows

static Str number_key(struct arena *a, uint64_t id, int64_t number)
{
    return str_fmt(a, "%016llx%016llx", (unsigned long long)id, (unsigned long long)number);
}

static Str hash_key(struct arena *a, uint64_t id, Str canonical)
{
    unsigned char digest[SHA256_BYTES];
    sha256(canonical.p, canonical.n, digest);
    return glue_id_key(a, id, hex_str(a, digest, sizeof digest));
}

static Str uuid_key(struct call *c, Str uuid)
{
    return str_cat(c->arena, schema_prefix(c, (Str){ 0 }), uuid);
}

static Str count_key(struct call *c)
{
    return glue_count_key(c->arena, 's', schema_prefix(c, (Str){ 0 }));
}

// ERR_NOT_FOUND.
static Err get_version(struct call *c, struct kv_txn *tx, uint64_t id, int64_t number,
                       struct glue_GetSchemaVersion_out *ret)
{
    struct glue *s = c->state;
    return glue_get_row(tx, s->schema_versions, c->arena, number_key(c->arena, id, number),
                        s->schema_version_shape, ret);
}

static Err no_version(struct call *c)
{
    return call_fail(c, &glue_EntityNotFoundException, "Schema version is not found.");
}

// The number of the version with that definition; 0: there is none.
static Err find_definition(struct call *c, struct kv_txn *tx, uint64_t id, Str definition,
                           Str *ret_key, int64_t *ret)
{
    struct glue *s = c->state;
    Str canonical, value;
    *ret = 0;
    Err e = schema_canonical(c->arena, definition, &canonical);
    if (e.kind == ERR_INVALID || e.kind == ERR_LIMIT)
        return glue_invalid(c, "The schema definition is not valid.");
    TRY(e);
    *ret_key = hash_key(c->arena, id, canonical);
    kv_on(tx, s->schema_ids);
    e = kv_get(tx, c->arena, *ret_key, &value);
    if (e.kind == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    return str_i64(value, ret);
}

// ---- Compatibility (developer guide, "Schema versioning and compatibility")

typedef struct Rule {
    Str mode;
    bool backward, forward, all;
} Rule;

static const Rule rules[] = {
    { S_INIT("BACKWARD"), true, false, false }, { S_INIT("BACKWARD_ALL"), true, false, true },
    { S_INIT("FORWARD"), false, true, false },  { S_INIT("FORWARD_ALL"), false, true, true },
    { S_INIT("FULL"), true, true, false },      { S_INIT("FULL_ALL"), true, true, true },
};

static Err goes_with(struct call *c, const SchemaRow *row, const Rule *rule, Str now, Str before,
                     bool *ret)
{
    bool good = true;
    AUTO(arena) tmp = arena_open();
    if (rule->backward)
        TRY(definition_reads(tmp, row->d.data_format, now, before, &good));
    if (good && rule->forward)
        TRY(definition_reads(tmp, row->d.data_format, before, now, &good));
    (void)c;
    *ret = good;
    return OK;
}

// The version before counts, or all from the checkpoint on. Versions that failed do not.
static Err is_compatible(struct call *c, struct kv_txn *tx, const SchemaRow *row, Str definition,
                         bool *ret)
{
    const Rule *rule = NULL;
    *ret = true;
    for (size_t i = 0; i < COUNT_OF(rules); i++)
        if (str_eq(row->d.compatibility, rules[i].mode))
            rule = &rules[i];
    if (rule == NULL)
        return OK;
    int64_t first = rule->all ? row->d.schema_checkpoint : 1;
    for (int64_t n = row->d.latest_schema_version; n >= first && *ret; n--) {
        struct glue_GetSchemaVersion_out before = { 0 };
        Err e = get_version(c, tx, row->id, n, &before);
        if (e.kind == ERR_NOT_FOUND)
            continue;
        TRY(e);
        if (!str_eq(before.status, glue_SchemaVersionStatus_AVAILABLE))
            continue;
        TRY(goes_with(c, row, rule, definition, before.schema_definition, ret));
        if (!rule->all)
            break;
    }
    return OK;
}

// ---- Adding and removing

static Str new_uuid(struct call *c)
{
    const struct glue *s = c->state;
    unsigned char b[UUID_BYTES];
    s->env.io->random(s->env.io, b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); // version 4, RFC 9562
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    Str hex = hex_str(c->arena, b, sizeof b);
    return str_fmt(c->arena, "%.8s-%.4s-%.4s-%.4s-%.12s", hex.p, hex.p + 8, hex.p + 12, hex.p + 16,
                   hex.p + 20);
}

static Err put_version(struct call *c, struct kv_txn *tx, const SchemaRow *row, Str by_definition,
                       const struct glue_GetSchemaVersion_out *v)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Str key = number_key(a, row->id, v->version_number);
    TRY(glue_put_row(tx, s->schema_versions, key, s->schema_version_shape, v));
    kv_on(tx, s->schema_ids);
    TRY(kv_put(tx, by_definition, str_fmt(a, "%lld", (long long)v->version_number)));
    return kv_put(tx, uuid_key(c, v->schema_version_id), key);
}

Err schema_add_version(struct call *c, struct kv_txn *tx, SchemaRow *row, Str definition,
                       struct glue_GetSchemaVersion_out *ret)
{
    struct glue *s = c->state;
    int64_t number;
    Str by_definition;
    bool good;
    TRY(find_definition(c, tx, row->id, definition, &by_definition, &number));
    if (number > 0)
        return get_version(c, tx, row->id, number, ret);
    TRY(glue_room(c, tx, count_key(c), SCHEMA_VERSIONS_MAX, "SCHEMA_VERSION"));
    TRY(is_compatible(c, tx, row, definition, &good));
    *ret = (struct glue_GetSchemaVersion_out){
        .schema_version_id = new_uuid(c),
        .schema_definition = definition,
        .data_format = row->d.data_format,
        .schema_arn = row->d.schema_arn,
        .version_number = row->d.next_schema_version,
        .has_version_number = true,
        .status = good ? glue_SchemaVersionStatus_AVAILABLE : glue_SchemaVersionStatus_FAILURE,
        .created_time = time_iso_ms(c->arena, c->now_ns),
    };
    if (good)
        row->d.latest_schema_version = ret->version_number;
    row->d.next_schema_version++;
    TRY(glue_count_add(s, tx, c->arena, count_key(c), 1));
    return put_version(c, tx, row, by_definition, ret);
}

static Err drop_version(struct call *c, struct kv_txn *tx, uint64_t id,
                        const struct glue_GetSchemaVersion_out *v)
{
    struct glue *s = c->state;
    int64_t number;
    Str by_definition;
    TRY(find_definition(c, tx, id, v->schema_definition, &by_definition, &number));
    kv_on(tx, s->schema_ids);
    TRY(kv_del(tx, by_definition));
    TRY(kv_del(tx, uuid_key(c, v->schema_version_id)));
    kv_on(tx, s->schema_versions);
    TRY(kv_del(tx, number_key(c->arena, id, v->version_number)));
    return glue_count_add(s, tx, c->arena, count_key(c), -1);
}

Err schema_drop_versions(struct call *c, struct kv_txn *tx, const SchemaRow *row)
{
    for (int64_t n = 1; n < row->d.next_schema_version; n++) {
        struct glue_GetSchemaVersion_out v = { 0 };
        Err e = get_version(c, tx, row->id, n, &v);
        if (e.kind == ERR_NOT_FOUND)
            continue;
        TRY(e);
        TRY(drop_version(c, tx, row->id, &v));
    }
    return OK;
}

// ---- Operations

Err glue_RegisterSchemaVersion(struct call *c, const struct glue_RegisterSchemaVersion_in *in,
                               struct glue_RegisterSchemaVersion_out *out)
{
    struct glue *s = c->state;
    struct glue_GetSchemaVersion_out v = { 0 };
    SchemaRow row;
    Str registry, schema;
    TRY(schema_named(c, in->schema_id, &registry, &schema));
    AUTO(kv_txn) tx = kv_write(s->schemas);
    TRY(schema_get(c, tx, registry, schema, &row));
    TRY(schema_check(c, row.d.data_format, in->schema_definition));
    bool is_first = row.d.next_schema_version == 1;
    if (!is_first && str_eq(row.d.compatibility, glue_Compatibility_DISABLED))
        return glue_invalid(c, "Compatibility DISABLED does not allow versioning.");
    TRY(schema_add_version(c, tx, &row, in->schema_definition, &v));
    TRY(schema_put(c, tx, &row));
    TRY(kv_commit(tx));
    *out = (struct glue_RegisterSchemaVersion_out){ .schema_version_id = v.schema_version_id,
                                                    .status = v.status,
                                                    .version_number = v.version_number,
                                                    .has_version_number = true };
    return OK;
}

// By the version's own id; it is one of the call's account and region.
static Err get_by_uuid(struct call *c, struct kv_txn *tx, Str uuid,
                       struct glue_GetSchemaVersion_out *ret)
{
    struct glue *s = c->state;
    Str key;
    kv_on(tx, s->schema_ids);
    Err e = kv_get(tx, c->arena, uuid_key(c, uuid), &key);
    if (e.kind == ERR_NOT_FOUND)
        return no_version(c);
    TRY(e);
    return glue_get_row(tx, s->schema_versions, c->arena, key, s->schema_version_shape, ret);
}

Err glue_GetSchemaVersion(struct call *c, const struct glue_GetSchemaVersion_in *in,
                          struct glue_GetSchemaVersion_out *out)
{
    struct glue *s = c->state;
    SchemaRow row;
    Str registry, schema;
    AUTO(kv_txn) tx = kv_read(s->schemas);
    if (in->schema_version_id.p != NULL && in->schema_id == NULL)
        return get_by_uuid(c, tx, in->schema_version_id, out);
    if (in->schema_version_id.p != NULL)
        return glue_invalid(c, "SchemaVersionId and SchemaId can't both be given.");
    TRY(schema_named(c, in->schema_id, &registry, &schema));
    TRY(schema_get(c, tx, registry, schema, &row));
    const glue_SchemaVersionNumber *number = in->schema_version_number;
    if (number == NULL || number->latest_version == number->has_version_number)
        return glue_invalid(c, "One of LatestVersion and VersionNumber must be given.");
    Err e = get_version(
        c, tx, row.id,
        number->latest_version ? row.d.latest_schema_version : number->version_number, out);
    return e.kind == ERR_NOT_FOUND ? no_version(c) : e;
}

Err glue_GetSchemaByDefinition(struct call *c, const struct glue_GetSchemaByDefinition_in *in,
                               struct glue_GetSchemaByDefinition_out *out)
{
    struct glue *s = c->state;
    struct glue_GetSchemaVersion_out v = { 0 };
    SchemaRow row;
    Str registry, schema, key;
    int64_t number;
    TRY(schema_named(c, in->schema_id, &registry, &schema));
    AUTO(kv_txn) tx = kv_read(s->schemas);
    TRY(schema_get(c, tx, registry, schema, &row));
    TRY(find_definition(c, tx, row.id, in->schema_definition, &key, &number));
    if (number == 0)
        return no_version(c);
    TRY(get_version(c, tx, row.id, number, &v));
    *out = (struct glue_GetSchemaByDefinition_out){ .schema_version_id = v.schema_version_id,
                                                    .schema_arn = v.schema_arn,
                                                    .data_format = v.data_format,
                                                    .status = v.status,
                                                    .created_time = v.created_time };
    return OK;
}

Err glue_ListSchemaVersions(struct call *c, const struct glue_ListSchemaVersions_in *in,
                            struct glue_ListSchemaVersions_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    SchemaRow row;
    Str registry, schema, after, last = { 0 };
    TRY(schema_named(c, in->schema_id, &registry, &schema));
    TRY(glue_token_read(c, in->next_token, &after));
    out->schemas = (glue_SchemaVersionList){
        .set = true, .at = arena_new(a, glue_SchemaVersionListItem, (size_t)in->max_results)
    };
    AUTO(kv_txn) tx = kv_read(s->schemas);
    TRY(schema_get(c, tx, registry, schema, &row));
    kv_on(tx, s->schema_versions);
    struct kv_scan scan = glue_scan(tx, a, glue_id_key(a, row.id, S("")), after);
    Err e = OK;
    while (e.kind == ERR_NONE && kv_scan_next(&scan)) {
        struct glue_GetSchemaVersion_out v = { 0 };
        if (out->schemas.n == (size_t)in->max_results) {
            out->next_token = glue_token(a, last);
            break;
        }
        e = glue_read_row(a, s->schema_version_shape, str_dup(a, scan.value), &v);
        last = str_dup(a, scan.rest);
        out->schemas.at[out->schemas.n++] =
            (glue_SchemaVersionListItem){ .schema_arn = v.schema_arn,
                                          .schema_version_id = v.schema_version_id,
                                          .version_number = v.version_number,
                                          .has_version_number = true,
                                          .status = v.status,
                                          .created_time = v.created_time };
    }
    if (e.kind == ERR_NONE)
        e = scan.err;
    kv_scan_end(&scan);
    return e;
}

// ---- DeleteSchemaVersions

static void add_error(struct call *c, glue_SchemaVersionErrorList *errors, int64_t number,
                      const struct api_error *error, Str text)
{
    glue_SchemaErrorDetails *d = arena_new(c->arena, glue_SchemaErrorDetails, 1);
    *d = (glue_SchemaErrorDetails){ .error_code = error->name, .error_message = text };
    errors->at[errors->n++] = (glue_SchemaVersionErrorItem){ .version_number = number,
                                                             .has_version_number = true,
                                                             .error_details = d };
}

static Err remove_one(struct call *c, struct kv_txn *tx, const SchemaRow *row, int64_t number,
                      glue_SchemaVersionErrorList *errors)
{
    struct glue_GetSchemaVersion_out v = { 0 };
    Err e = get_version(c, tx, row->id, number, &v);
    if (e.kind == ERR_NOT_FOUND) {
        add_error(c, errors, number, &glue_EntityNotFoundException,
                  S("Schema version is not found."));
        return OK;
    }
    TRY(e);
    if (number == 1) {
        add_error(c, errors, number, &glue_InvalidInputException,
                  S("The first schema version can only be deleted with its schema."));
        return OK;
    }
    return drop_version(c, tx, row->id, &v);
}

// The newest version that is left and counts.
static Err find_latest(struct call *c, struct kv_txn *tx, SchemaRow *row)
{
    for (int64_t n = row->d.latest_schema_version; n > 1; n--) {
        struct glue_GetSchemaVersion_out v = { 0 };
        Err e = get_version(c, tx, row->id, n, &v);
        if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
            return e;
        if (e.kind == ERR_NONE && str_eq(v.status, glue_SchemaVersionStatus_AVAILABLE)) {
            row->d.latest_schema_version = n;
            return OK;
        }
    }
    row->d.latest_schema_version = 1;
    return OK;
}

// "3" or "2-5", within the versions that there have been.
static Err read_range(struct call *c, Str text, const SchemaRow *row, int64_t *ret_first,
                      int64_t *ret_last)
{
    Str first, last;
    bool is_range = str_cut(text, '-', &first, &last);
    if (str_i64(first, ret_first).kind != ERR_NONE ||
        str_i64(is_range ? last : first, ret_last).kind != ERR_NONE || *ret_first > *ret_last)
        return glue_invalid(c, "Versions is not a version number or a range of them.");
    if (*ret_last >= row->d.next_schema_version)
        return no_version(c);
    return OK;
}

Err glue_DeleteSchemaVersions(struct call *c, const struct glue_DeleteSchemaVersions_in *in,
                              struct glue_DeleteSchemaVersions_out *out)
{
    struct glue *s = c->state;
    SchemaRow row;
    Str registry, schema;
    int64_t first, last;
    TRY(schema_named(c, in->schema_id, &registry, &schema));
    AUTO(kv_txn) tx = kv_write(s->schemas);
    TRY(schema_get(c, tx, registry, schema, &row));
    TRY(read_range(c, in->versions, &row, &first, &last));
    int64_t checkpoint = row.d.schema_checkpoint;
    if (checkpoint > 1 && checkpoint >= first && checkpoint <= last)
        return call_fail(c, &glue_ConcurrentModificationException,
                         "The checkpoint version %lld can't be deleted.", (long long)checkpoint);
    out->schema_version_errors =
        (glue_SchemaVersionErrorList){ .set = true,
                                       .at = arena_new(c->arena, glue_SchemaVersionErrorItem,
                                                       (size_t)(last - first + 1)) };
    for (int64_t n = first; n <= last; n++)
        TRY(remove_one(c, tx, &row, n, &out->schema_version_errors));
    TRY(find_latest(c, tx, &row));
    TRY(schema_put(c, tx, &row));
    return kv_commit(tx);
}

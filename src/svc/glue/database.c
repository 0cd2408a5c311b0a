// SPDX-License-Identifier: Apache-2.0
// Databases.
#include "svc/glue/glue.h"

// What a new database grants when nothing is said: as an account that never used Lake Formation's
// permissions has it (GetDatabases of the AWS CLI's examples).
static glue_PrincipalPermissionsList everybody(struct arena *a)
{
    glue_DataLakePrincipal *principal = arena_new(a, glue_DataLakePrincipal, 1);
    glue_PrincipalPermissions *p = arena_new(a, glue_PrincipalPermissions, 1);
    Str *all = arena_new(a, Str, 1);
    principal->data_lake_principal_identifier = S("IAM_ALLOWED_PRINCIPALS");
    *all = glue_Permission_ALL;
    p->principal = principal;
    p->permissions = (glue_PermissionList){ .at = all, .n = 1, .set = true };
    return (glue_PrincipalPermissionsList){ .at = p, .n = 1, .set = true };
}

static Err row_of_input(struct call *c, const Place *p, const glue_DatabaseInput *in,
                        int64_t created, glue_Database *ret)
{
    if (in->federated_database != NULL)
        return glue_invalid(c, "Federated databases are not supported.");
    *ret = (glue_Database){ .name = p->database,
                            .description = in->description,
                            .location_uri = in->location_uri,
                            .parameters = in->parameters,
                            .create_time = created,
                            .has_create_time = true,
                            .create_table_default_permissions =
                                in->create_table_default_permissions.set
                                    ? in->create_table_default_permissions
                                    : everybody(c->arena),
                            .target_database = in->target_database };
    return OK;
}

Err glue_CreateDatabase(struct call *c, const struct glue_CreateDatabase_in *in,
                        struct glue_CreateDatabase_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Place p;
    glue_Database row, there;
    (void)out; // has no members
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_input->name, (Str){ 0 }, &p));
    TRY(row_of_input(c, &p, in->database_input, glue_now(c), &row));
    AUTO(kv_txn) tx = kv_write(s->databases);
    Err e = glue_get_database(s, tx, a, &p, &there);
    if (e.kind == ERR_NONE)
        return call_fail(c, &glue_AlreadyExistsException, "Database already exists.");
    if (e.kind != ERR_NOT_FOUND)
        return e;
    Str count = glue_count_key(a, 'd', glue_database_prefix(a, &p));
    TRY(glue_room(c, tx, count, DATABASES_MAX, "DATABASE"));
    TRY(glue_count_add(s, tx, a, count, 1));
    if (in->tags.n > 0)
        TRY(glue_put_tags(s, tx, glue_arn(a, &p), in->tags));
    TRY(glue_put_row(tx, s->databases, glue_database_key(a, &p), s->database_shape, &row));
    return kv_commit(tx);
}

Err glue_GetDatabase(struct call *c, const struct glue_GetDatabase_in *in,
                     struct glue_GetDatabase_out *out)
{
    struct glue *s = c->state;
    Place p;
    TRY(glue_begin(c, in->catalog_id, in->name, (Str){ 0 }, &p));
    glue_Database *d = arena_new(c->arena, glue_Database, 1);
    AUTO(kv_txn) tx = kv_read(s->databases);
    Err e = glue_get_database(s, tx, c->arena, &p, d);
    if (e.kind == ERR_NOT_FOUND)
        return glue_no_database(c, in->name);
    TRY(e);
    out->database = d;
    return OK;
}

static bool wants(glue_DatabaseAttributesList list, Str what)
{
    for (size_t i = 0; i < list.n; i++)
        if (str_eq(list.at[i], what))
            return true;
    return list.n == 0;
}

static void keep_attributes(glue_Database *d, glue_DatabaseAttributesList list)
{
    if (list.n == 0)
        return;
    glue_Database all = *d;
    *d = (glue_Database){ .name = all.name, .catalog_id = all.catalog_id };
    if (wants(list, glue_DatabaseAttributes_TARGET_DATABASE))
        d->target_database = all.target_database;
}

Err glue_GetDatabases(struct call *c, const struct glue_GetDatabases_in *in,
                      struct glue_GetDatabases_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Place p;
    Str after;
    TRY(glue_begin(c, in->catalog_id, (Str){ 0 }, (Str){ 0 }, &p));
    TRY(glue_token_read(c, in->next_token, &after));
    glue_DatabaseList *list = &out->database_list;
    *list = (glue_DatabaseList){ .set = true };
    if (in->resource_share_type.p != NULL &&
        !str_eq(in->resource_share_type, glue_ResourceShareType_ALL))
        return OK; // nothing is shared with anybody
    list->at = arena_new(a, glue_Database, (size_t)in->max_results);
    AUTO(kv_txn) tx = kv_read(s->databases);
    struct kv_scan scan = glue_scan(tx, a, glue_database_prefix(a, &p), after);
    Str last = { 0 };
    Err e = OK;
    size_t bytes = 0;
    while (e.kind == ERR_NONE && kv_scan_next(&scan)) {
        if (list->n == (size_t)in->max_results || bytes > REPLY_BYTES_MAX) {
            out->next_token = glue_token(a, last);
            break;
        }
        glue_Database *d = &list->at[list->n++];
        bytes += scan.value.n;
        last = str_dup(a, scan.rest);
        e = glue_read_row(a, s->database_shape, str_dup(a, scan.value), d);
        glue_place_database(&p, d);
        keep_attributes(d, in->attributes_to_get);
    }
    if (e.kind == ERR_NONE)
        e = scan.err;
    kv_scan_end(&scan);
    return e;
}

Err glue_UpdateDatabase(struct call *c, const struct glue_UpdateDatabase_in *in,
                        struct glue_UpdateDatabase_out *out)
{
    struct glue *s = c->state;
    Place p;
    glue_Database row, there;
    (void)out; // has no members
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->name, (Str){ 0 }, &p));
    if (!str_eq(p.database, str_lower(c->arena, in->database_input->name)))
        return glue_invalid(c, "A database cannot be renamed.");
    AUTO(kv_txn) tx = kv_write(s->databases);
    Err e = glue_get_database(s, tx, c->arena, &p, &there);
    if (e.kind == ERR_NOT_FOUND)
        return glue_no_database(c, in->name);
    TRY(e);
    TRY(row_of_input(c, &p, in->database_input, there.create_time, &row));
    if (!in->database_input->create_table_default_permissions.set)
        row.create_table_default_permissions = there.create_table_default_permissions;
    TRY(glue_put_row(tx, s->databases, glue_database_key(c->arena, &p), s->database_shape, &row));
    return kv_commit(tx);
}

// ---- Dropping one, with its tables

static Err drop_tables(struct glue *s, struct kv_txn *tx, struct arena *a, Place p)
{
    typedef struct Found {
        struct Found *next;
        Str name;
        uint64_t id;
    } Found;
    Found *first = NULL;
    kv_on(tx, s->tables);
    struct kv_scan scan = kv_scan_start(tx, glue_table_prefix(a, &p), S(""));
    Err e = OK;
    while (e.kind == ERR_NONE && kv_scan_next(&scan)) {
        AUTO(arena) tmp = arena_open();
        TableRow row;
        Found *found = arena_new(a, Found, 1);
        e = glue_read_table(s, tmp, scan.value, &row);
        *found = (Found){ .next = first, .name = str_dup(a, scan.rest), .id = row.id };
        first = found;
    }
    if (e.kind == ERR_NONE)
        e = scan.err;
    kv_scan_end(&scan);
    TRY(e);
    for (const Found *found = first; found != NULL; found = found->next) {
        p.table = found->name;
        TRY(glue_drop_table(s, tx, a, &p, found->id));
    }
    return OK;
}

Err glue_DeleteDatabase(struct call *c, const struct glue_DeleteDatabase_in *in,
                        struct glue_DeleteDatabase_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Place p;
    (void)out; // has no members
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->name, (Str){ 0 }, &p));
    AUTO(kv_txn) tx = kv_write(s->databases);
    TRY(glue_need_database(c, tx, &p, in->name));
    TRY(drop_tables(s, tx, a, p));
    TRY(glue_drop_functions(s, tx, a, &p));
    kv_on(tx, s->databases);
    TRY(kv_del(tx, glue_database_key(a, &p)));
    kv_on(tx, s->tags);
    TRY(kv_del(tx, glue_arn(a, &p)));
    kv_on(tx, s->counts);
    TRY(kv_del(tx, glue_count_key(a, 't', glue_database_key(a, &p))));
    TRY(glue_count_add(s, tx, a, glue_count_key(a, 'd', glue_database_prefix(a, &p)), -1));
    return kv_commit(tx);
}

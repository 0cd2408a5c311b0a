// SPDX-License-Identifier: Apache-2.0
// Tables. An update makes a new version; the one before is kept unless SkipArchive.
#include "aws/pattern.h"
#include "svc/glue/glue.h"

static Err check_input(struct call *c, Str name, const glue_TableInput *in, Str transaction)
{
    TRY(glue_no_transactions(c, transaction));
    if (in == NULL)
        return glue_invalid(c, "TableInput must be provided.");
    if (name.p != NULL && !str_eq_nocase(name, in->name))
        return glue_invalid(c, "Name and TableInput.Name are not the same.");
    if (in->federated_table != NULL)
        return glue_invalid(c, "Federated tables are not supported.");
    if (in->view_definition != NULL)
        return glue_invalid(c, "View definitions of several dialects are not supported.");
    return OK;
}

static glue_Table table_of_input(struct call *c, const glue_TableInput *in)
{
    glue_ColumnList none = { .set = true };
    return (glue_Table){
        .description = in->description,
        .owner = in->owner,
        .last_access_time = in->last_access_time,
        .has_last_access_time = in->has_last_access_time,
        .last_analyzed_time = in->last_analyzed_time,
        .has_last_analyzed_time = in->has_last_analyzed_time,
        .retention = in->retention,
        .has_retention = true,
        .storage_descriptor = in->storage_descriptor,
        .partition_keys = in->partition_keys.set ? in->partition_keys : none,
        .view_original_text = in->view_original_text,
        .view_expanded_text = in->view_expanded_text,
        .table_type = in->table_type,
        .parameters = in->parameters,
        .target_table = in->target_table,
        .created_by = c->principal,
        .create_time = glue_now(c),
        .has_create_time = true,
        .update_time = glue_now(c),
        .has_update_time = true,
        .has_is_registered_with_lake_formation = true,
        .version_id = S("0"),
    };
}

Err glue_CreateTable(struct call *c, const struct glue_CreateTable_in *in,
                     struct glue_CreateTable_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    const glue_TableInput *input = in->table_input;
    Place p;
    TableRow there, row = { 0 };
    (void)out; // has no members
    TRY(glue_sweep(s));
    if (in->open_table_format_input != NULL)
        return glue_invalid(c, "Open table formats are made by their engines, not by the catalog.");
    TRY(check_input(c, in->name, input, in->transaction_id));
    TRY(glue_begin(c, in->catalog_id, in->database_name, input->name, &p));
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_database(c, tx, &p, in->database_name));
    Err e = glue_get_table(s, tx, a, &p, &there);
    if (e.kind == ERR_NONE)
        return call_fail(c, &glue_AlreadyExistsException, "Table already exists.");
    if (e.kind != ERR_NOT_FOUND)
        return e;
    Str count = glue_count_key(a, 't', glue_database_key(a, &p));
    TRY(glue_room(c, tx, count, TABLES_MAX, "TABLE"));
    TRY(glue_count_add(s, tx, a, count, 1));
    TRY(kv_next_id(tx, &row.id));
    row.table = table_of_input(c, input);
    TRY(glue_put_table(s, tx, a, &p, &row));
    for (size_t i = 0; i < in->partition_indexes.n; i++)
        TRY(glue_add_index(c, tx, &row, &in->partition_indexes.at[i]));
    return kv_commit(tx);
}

// ---- Looking

static void keep_attributes(glue_Table *t, glue_TableAttributesList list)
{
    bool type = false;
    for (size_t i = 0; i < list.n; i++) {
        if (!str_eq(list.at[i], glue_TableAttributes_NAME) &&
            !str_eq(list.at[i], glue_TableAttributes_TABLE_TYPE))
            return; // everything
        type = type || str_eq(list.at[i], glue_TableAttributes_TABLE_TYPE);
    }
    if (list.n == 0)
        return;
    glue_Table all = *t;
    *t = (glue_Table){ .name = all.name,
                       .database_name = all.database_name,
                       .catalog_id = all.catalog_id,
                       .table_type = type ? all.table_type : (Str){ 0 } };
}

Err glue_GetTable(struct call *c, const struct glue_GetTable_in *in, struct glue_GetTable_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow *row = arena_new(c->arena, TableRow, 1);
    TRY(glue_no_transactions(c, in->transaction_id));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->name, &p));
    AUTO(kv_txn) tx = kv_read(s->tables);
    Err e = glue_get_table(s, tx, c->arena, &p, row);
    if (e.kind == ERR_NOT_FOUND) {
        TRY(glue_need_database(c, tx, &p, in->database_name));
        return call_fail(c, &glue_EntityNotFoundException, "Entity Not Found");
    }
    TRY(e);
    keep_attributes(&row->table, in->attributes_to_get);
    out->table = &row->table;
    return OK;
}

// The names of tables that a page is about: those that match the whole pattern.
static Err open_filter(struct call *c, Str expression, struct pattern **ret)
{
    if (expression.n == 0)
        return OK;
    if (pattern_open(expression, ret).kind != ERR_NONE)
        return glue_invalid(c, "Invalid regular expression provided");
    return OK;
}

static Err page_of_tables(struct call *c, const struct glue_GetTables_in *in, const Place *p,
                          const struct pattern *only, struct kv_scan *scan, Str *ret_token,
                          glue_TableList *list)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Str last = { 0 };
    size_t bytes = 0;
    while (kv_scan_next(scan)) {
        if (only != NULL && !pattern_matches(only, scan->rest))
            continue;
        if (list->n == (size_t)in->max_results || bytes > REPLY_BYTES_MAX) {
            *ret_token = glue_token(a, last);
            return OK;
        }
        TableRow row;
        bytes += scan->value.n;
        last = str_dup(a, scan->rest);
        TRY(glue_read_table(s, a, str_dup(a, scan->value), &row));
        glue_place_table(p, last, &row.table);
        keep_attributes(&row.table, in->attributes_to_get);
        list->at[list->n++] = row.table;
    }
    return scan->err;
}

Err glue_GetTables(struct call *c, const struct glue_GetTables_in *in,
                   struct glue_GetTables_out *out)
{
    struct glue *s = c->state;
    Place p;
    Str after;
    AUTO(pattern) only = NULL;
    TRY(glue_no_transactions(c, in->transaction_id));
    TRY(glue_begin(c, in->catalog_id, in->database_name, (Str){ 0 }, &p));
    TRY(glue_token_read(c, in->next_token, &after));
    TRY(open_filter(c, in->expression, &only));
    out->table_list =
        (glue_TableList){ .set = true,
                          .at = arena_new(c->arena, glue_Table, (size_t)in->max_results) };
    AUTO(kv_txn) tx = kv_read(s->tables);
    TRY(glue_need_database(c, tx, &p, in->database_name));
    kv_on(tx, s->tables);
    struct kv_scan scan = glue_scan(tx, c->arena, glue_table_prefix(c->arena, &p), after);
    Err e = page_of_tables(c, in, &p, only, &scan, &out->next_token, &out->table_list);
    kv_scan_end(&scan);
    return e;
}

// ---- Changing

static Err archive(struct call *c, struct kv_txn *tx, const TableRow *old, uint64_t version)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Str count = glue_count_key(a, 'v', glue_id_key(a, old->id, S("")));
    TRY(glue_room(c, tx, count, VERSIONS_MAX, "TABLE_VERSION"));
    TRY(glue_count_add(s, tx, a, count, 1));
    return glue_put_row(tx, s->versions, glue_version_key(a, old->id, version), s->table_shape,
                        &old->table);
}

Err glue_UpdateTable(struct call *c, const struct glue_UpdateTable_in *in,
                     struct glue_UpdateTable_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Place p;
    TableRow old;
    uint64_t version;
    (void)out; // has no members
    TRY(glue_sweep(s));
    TRY(check_input(c, in->name, in->table_input, in->transaction_id));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_input->name, &p));
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_input->name, &old));
    if (in->version_id.p != NULL && !str_eq(in->version_id, old.table.version_id))
        return call_fail(c, &glue_ConcurrentModificationException,
                         "Update table failed due to concurrent modifications.");
    if (str_u64(old.table.version_id, &version).kind != ERR_NONE)
        return fail(ERR_CORRUPT, "a table's version is no number");
    if (!in->skip_archive)
        TRY(archive(c, tx, &old, version));
    TableRow row = { .id = old.id, .table = table_of_input(c, in->table_input) };
    row.table.create_time = old.table.create_time;
    row.table.created_by = old.table.created_by;
    row.table.version_id = str_fmt(a, "%llu", (unsigned long long)version + 1);
    TRY(glue_put_table(s, tx, a, &p, &row));
    return kv_commit(tx);
}

// ERR_NOT_FOUND.
static Err drop(struct call *c, struct kv_txn *tx, const Place *p)
{
    struct glue *s = c->state;
    TableRow row;
    TRY(glue_get_table(s, tx, c->arena, p, &row));
    TRY(glue_drop_table(s, tx, c->arena, p, row.id));
    Str count = glue_count_key(c->arena, 't', glue_database_key(c->arena, p));
    return glue_count_add(s, tx, c->arena, count, -1);
}

Err glue_DeleteTable(struct call *c, const struct glue_DeleteTable_in *in,
                     struct glue_DeleteTable_out *out)
{
    struct glue *s = c->state;
    Place p;
    (void)out; // has no members
    TRY(glue_sweep(s));
    TRY(glue_no_transactions(c, in->transaction_id));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->name, &p));
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_database(c, tx, &p, in->database_name));
    Err e = drop(c, tx, &p);
    if (e.kind == ERR_NOT_FOUND)
        return glue_no_table(c, in->name);
    TRY(e);
    return kv_commit(tx);
}

static void add_error(struct call *c, glue_TableErrors *errors, Str name)
{
    glue_ErrorDetail *detail = arena_new(c->arena, glue_ErrorDetail, 1);
    detail->error_code = glue_EntityNotFoundException.name;
    detail->error_message = str_fmt(c->arena, "Table %.*s not found.", FMT(name));
    errors->at[errors->n++] = (glue_TableError){ .table_name = name, .error_detail = detail };
}

Err glue_BatchDeleteTable(struct call *c, const struct glue_BatchDeleteTable_in *in,
                          struct glue_BatchDeleteTable_out *out)
{
    struct glue *s = c->state;
    Place p;
    TRY(glue_sweep(s));
    TRY(glue_no_transactions(c, in->transaction_id));
    TRY(glue_begin(c, in->catalog_id, in->database_name, (Str){ 0 }, &p));
    out->errors =
        (glue_TableErrors){ .set = true,
                            .at = arena_new(c->arena, glue_TableError, in->tables_to_delete.n) };
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_database(c, tx, &p, in->database_name));
    for (size_t i = 0; i < in->tables_to_delete.n; i++) {
        Str name = in->tables_to_delete.at[i];
        p.table = str_lower(c->arena, name);
        TRY(glue_require(c, &p));
        Err e = drop(c, tx, &p);
        if (e.kind == ERR_NOT_FOUND)
            add_error(c, &out->errors, name);
        else
            TRY(e);
    }
    return kv_commit(tx);
}

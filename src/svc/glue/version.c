// SPDX-License-Identifier: Apache-2.0
// Versions of tables: the newest is the table's own row, those before it are kept.
#include "svc/glue/glue.h"

// ERR_NOT_FOUND: it is no version at all.
static Err number_of(Str version, uint64_t *ret)
{
    return str_u64(version, ret).kind == ERR_NONE ? OK : fail(ERR_NOT_FOUND, "no such version");
}

Err glue_get_version(struct glue *s, struct kv_txn *tx, struct arena *a, const TableRow *now,
                     Str version, glue_Table *ret)
{
    uint64_t number;
    if (str_eq(version, now->table.version_id)) {
        *ret = now->table;
        return OK;
    }
    TRY(number_of(version, &number));
    return glue_get_row(tx, s->versions, a, glue_version_key(a, now->id, number), s->table_shape,
                        ret);
}

static Err no_version(struct call *c, Str version)
{
    return call_fail(c, &glue_EntityNotFoundException, "Version %.*s not found.", FMT(version));
}

static glue_TableVersion version_of(glue_Table *t)
{
    return (glue_TableVersion){ .table = t, .version_id = t->version_id };
}

Err glue_GetTableVersion(struct call *c, const struct glue_GetTableVersion_in *in,
                         struct glue_GetTableVersion_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow now;
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    glue_TableVersion *version = arena_new(c->arena, glue_TableVersion, 1);
    glue_Table *t = arena_new(c->arena, glue_Table, 1);
    AUTO(kv_txn) tx = kv_read(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &now));
    Str wanted = in->version_id.p != NULL ? in->version_id : now.table.version_id;
    Err e = glue_get_version(s, tx, c->arena, &now, wanted, t);
    if (e.kind == ERR_NOT_FOUND)
        return no_version(c, wanted);
    TRY(e);
    glue_place_table(&p, p.table, t);
    *version = version_of(t);
    out->table_version = version;
    return OK;
}

static void add(struct call *c, const Place *p, const glue_Table *t, glue_GetTableVersionsList *to)
{
    glue_Table *copy = arena_new(c->arena, glue_Table, 1);
    *copy = *t;
    glue_place_table(p, p->table, copy);
    to->at[to->n++] = version_of(copy);
}

// The newest first; it is no row of its own here, so the token behind it is before all of them.
Err glue_GetTableVersions(struct call *c, const struct glue_GetTableVersions_in *in,
                          struct glue_GetTableVersions_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Place p;
    TableRow now;
    Str after, last = S("");
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    TRY(glue_token_read(c, in->next_token, &after));
    glue_GetTableVersionsList *list = &out->table_versions;
    *list = (glue_GetTableVersionsList){
        .set = true, .at = arena_new(a, glue_TableVersion, (size_t)in->max_results)
    };
    AUTO(kv_txn) tx = kv_read(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &now));
    if (in->next_token.n == 0) {
        add(c, &p, &now.table, list);
        last = S("0"); // before every version's digits
    }
    kv_on(tx, s->versions);
    struct kv_scan scan = glue_scan(tx, a, glue_id_key(a, now.id, S("")), after);
    Err e = OK;
    size_t bytes = 0;
    while (e.kind == ERR_NONE && kv_scan_next(&scan)) {
        if (list->n == (size_t)in->max_results || bytes > REPLY_BYTES_MAX) {
            out->next_token = glue_token(a, last);
            break;
        }
        glue_Table t = { 0 };
        bytes += scan.value.n;
        last = str_dup(a, scan.rest);
        e = glue_read_row(a, s->table_shape, str_dup(a, scan.value), &t);
        if (e.kind == ERR_NONE)
            add(c, &p, &t, list);
    }
    if (e.kind == ERR_NONE)
        e = scan.err;
    kv_scan_end(&scan);
    return e;
}

// ERR_NOT_FOUND.
static Err remove_version(struct call *c, struct kv_txn *tx, const TableRow *now, Str version)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    uint64_t number;
    Str value;
    TRY(number_of(version, &number));
    Str key = glue_version_key(a, now->id, number);
    kv_on(tx, s->versions);
    TRY(kv_get(tx, a, key, &value));
    TRY(kv_del(tx, key));
    return glue_count_add(s, tx, a, glue_count_key(a, 'v', glue_id_key(a, now->id, S(""))), -1);
}

Err glue_DeleteTableVersion(struct call *c, const struct glue_DeleteTableVersion_in *in,
                            struct glue_DeleteTableVersion_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow now;
    (void)out; // has no members
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &now));
    if (str_eq(in->version_id, now.table.version_id))
        return glue_invalid(c, "The newest version of a table cannot be deleted.");
    Err e = remove_version(c, tx, &now, in->version_id);
    if (e.kind == ERR_NOT_FOUND)
        return no_version(c, in->version_id);
    TRY(e);
    return kv_commit(tx);
}

static void add_error(struct call *c, glue_TableVersionErrors *errors, Str table, Str version,
                      const struct api_error *error, Str text)
{
    glue_ErrorDetail *detail = arena_new(c->arena, glue_ErrorDetail, 1);
    *detail = (glue_ErrorDetail){ .error_code = error->name, .error_message = text };
    errors->at[errors->n++] = (glue_TableVersionError){ .table_name = table,
                                                        .version_id = version,
                                                        .error_detail = detail };
}

Err glue_BatchDeleteTableVersion(struct call *c, const struct glue_BatchDeleteTableVersion_in *in,
                                 struct glue_BatchDeleteTableVersion_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Place p;
    TableRow now;
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    out->errors =
        (glue_TableVersionErrors){ .set = true,
                                   .at = arena_new(a, glue_TableVersionError, in->version_ids.n) };
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &now));
    for (size_t i = 0; i < in->version_ids.n; i++) {
        Str version = in->version_ids.at[i];
        if (str_eq(version, now.table.version_id)) {
            add_error(c, &out->errors, p.table, version, &glue_InvalidInputException,
                      S("The newest version of a table cannot be deleted."));
            continue;
        }
        Err e = remove_version(c, tx, &now, version);
        if (e.kind == ERR_NOT_FOUND)
            add_error(c, &out->errors, p.table, version, &glue_EntityNotFoundException,
                      str_fmt(a, "Version %.*s not found.", FMT(version)));
        else
            TRY(e);
    }
    return kv_commit(tx);
}

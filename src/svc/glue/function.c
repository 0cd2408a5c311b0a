// SPDX-License-Identifier: Apache-2.0
// User-defined functions: what Hive and Spark have registered in a database.
#include "aws/pattern.h"
#include "svc/glue/glue.h"

static Str function_prefix(struct arena *a, const Place *p)
{
    return glue_table_prefix(a, p); // of the database
}

static Str function_key(struct arena *a, const Place *p, Str name)
{
    return str_cat(a, function_prefix(a, p), str_lower(a, name));
}

static Err no_function(struct call *c, Str name)
{
    return call_fail(c, &glue_EntityNotFoundException, "Function %.*s not found.", FMT(name));
}

// The front has asked about the function, glue_begin about the catalog.
static Err begin(struct call *c, Str catalog, Str database, Place *ret)
{
    TRY(glue_begin(c, catalog, database, (Str){ 0 }, ret));
    return glue_require(c, ret);
}

static Err get(struct call *c, struct kv_txn *tx, const Place *p, Str name,
               glue_UserDefinedFunction *ret)
{
    struct glue *s = c->state;
    Err e = glue_get_row(tx, s->functions, c->arena, function_key(c->arena, p, name),
                         s->function_shape, ret);
    if (e.kind == ERR_NOT_FOUND)
        return no_function(c, name);
    TRY(e);
    ret->catalog_id = p->account;
    ret->database_name = p->database;
    return OK;
}

static glue_UserDefinedFunction
row_of_input(struct arena *a, const glue_UserDefinedFunctionInput *in, Str name, int64_t created)
{
    return (glue_UserDefinedFunction){ .function_name = str_lower(a, name),
                                       .class_name = in->class_name,
                                       .owner_name = in->owner_name,
                                       .owner_type = in->owner_type,
                                       .function_type = in->function_type,
                                       .resource_uris = in->resource_uris,
                                       .create_time = created,
                                       .has_create_time = true };
}

Err glue_CreateUserDefinedFunction(struct call *c,
                                   const struct glue_CreateUserDefinedFunction_in *in,
                                   struct glue_CreateUserDefinedFunction_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Place p;
    Str value, name = in->function_input->function_name;
    size_t n;
    (void)out; // has no members
    if (name.p == NULL)
        return glue_invalid(c, "FunctionName must be specified.");
    TRY(begin(c, in->catalog_id, in->database_name, &p));
    AUTO(kv_txn) tx = kv_write(s->functions);
    TRY(glue_need_database(c, tx, &p, in->database_name));
    kv_on(tx, s->functions);
    Err e = kv_get(tx, a, function_key(a, &p, name), &value);
    if (e.kind == ERR_NONE)
        return call_fail(c, &glue_AlreadyExistsException, "Function %.*s already exists.",
                         FMT(name));
    if (e.kind != ERR_NOT_FOUND)
        return e;
    TRY(kv_count(tx, function_prefix(a, &p), &n));
    if (n >= FUNCTIONS_MAX)
        return call_fail(c, &glue_ResourceNumberLimitExceededException,
                         "Number of FUNCTION resources exceeds the account limit %d",
                         FUNCTIONS_MAX);
    glue_UserDefinedFunction row = row_of_input(a, in->function_input, name, glue_now(c));
    TRY(glue_put_row(tx, s->functions, function_key(a, &p, name), s->function_shape, &row));
    return kv_commit(tx);
}

Err glue_GetUserDefinedFunction(struct call *c, const struct glue_GetUserDefinedFunction_in *in,
                                struct glue_GetUserDefinedFunction_out *out)
{
    struct glue *s = c->state;
    Place p;
    glue_UserDefinedFunction *row = arena_new(c->arena, glue_UserDefinedFunction, 1);
    TRY(begin(c, in->catalog_id, in->database_name, &p));
    AUTO(kv_txn) tx = kv_read(s->functions);
    TRY(glue_need_database(c, tx, &p, in->database_name));
    TRY(get(c, tx, &p, in->function_name, row));
    out->user_defined_function = row;
    return OK;
}

Err glue_UpdateUserDefinedFunction(struct call *c,
                                   const struct glue_UpdateUserDefinedFunction_in *in,
                                   struct glue_UpdateUserDefinedFunction_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Place p;
    Str name = in->function_input->function_name;
    glue_UserDefinedFunction old = { 0 };
    (void)out; // has no members
    if (name.p != NULL && !str_eq_nocase(name, in->function_name))
        return glue_invalid(c, "Function name cannot be changed.");
    TRY(begin(c, in->catalog_id, in->database_name, &p));
    AUTO(kv_txn) tx = kv_write(s->functions);
    TRY(glue_need_database(c, tx, &p, in->database_name));
    TRY(get(c, tx, &p, in->function_name, &old));
    glue_UserDefinedFunction row =
        row_of_input(a, in->function_input, in->function_name, old.create_time);
    TRY(glue_put_row(tx, s->functions, function_key(a, &p, in->function_name), s->function_shape,
                     &row));
    return kv_commit(tx);
}

Err glue_DeleteUserDefinedFunction(struct call *c,
                                   const struct glue_DeleteUserDefinedFunction_in *in,
                                   struct glue_DeleteUserDefinedFunction_out *out)
{
    struct glue *s = c->state;
    Place p;
    glue_UserDefinedFunction old = { 0 };
    (void)out; // has no members
    TRY(begin(c, in->catalog_id, in->database_name, &p));
    AUTO(kv_txn) tx = kv_write(s->functions);
    TRY(glue_need_database(c, tx, &p, in->database_name));
    TRY(get(c, tx, &p, in->function_name, &old));
    kv_on(tx, s->functions);
    TRY(kv_del(tx, function_key(c->arena, &p, in->function_name)));
    return kv_commit(tx);
}

Err glue_drop_functions(struct glue *s, struct kv_txn *tx, struct arena *a, const Place *p)
{
    for (;;) { // nothing is changed under a scan
        kv_on(tx, s->functions);
        struct kv_scan scan = kv_scan_start(tx, function_prefix(a, p), S(""));
        Str rest = kv_scan_next(&scan) ? str_dup(a, scan.rest) : (Str){ 0 };
        Err e = scan.err;
        kv_scan_end(&scan);
        TRY(e);
        if (rest.p == NULL)
            return OK;
        TRY(kv_del(tx, str_cat(a, function_prefix(a, p), rest)));
    }
}

// ---- Lists

// Hive writes "*" for anything where a regular expression has ".*"; both are understood.
static Err open_pattern(struct call *c, Str given, struct pattern **ret)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < given.n; i++) {
        bool repeats = i > 0 && str_find(S(".)]}"), given.p[i - 1]) < 4;
        if (given.p[i] == '*' && !repeats)
            buf_add_byte(&b, '.');
        buf_add_byte(&b, given.p[i]);
    }
    TRY(buf_err(&b));
    if (pattern_open(str_lower(c->arena, buf_str(&b)), ret).kind != ERR_NONE)
        return glue_invalid(c, "Invalid regular expression provided");
    return OK;
}

static Err list_page(struct call *c, const struct glue_GetUserDefinedFunctions_in *in,
                     const Place *p, const struct pattern *only, struct kv_scan *scan,
                     struct glue_GetUserDefinedFunctions_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    glue_UserDefinedFunctionList *list = &out->user_defined_functions;
    Str last = { 0 };
    while (kv_scan_next(scan)) {
        Str name = scan->rest, database = p->database;
        if (database.p == NULL)
            CHECK(str_cut(scan->rest, '\1', &database, &name));
        if (!pattern_matches(only, name))
            continue;
        if (list->n == (size_t)in->max_results) {
            out->next_token = glue_token(a, last);
            return OK;
        }
        glue_UserDefinedFunction *row = &list->at[list->n];
        *row = (glue_UserDefinedFunction){ 0 };
        TRY(glue_read_row(a, s->function_shape, str_dup(a, scan->value), row));
        if (in->function_type.p != NULL && !str_eq(row->function_type, in->function_type))
            continue;
        row->catalog_id = p->account;
        row->database_name = str_dup(a, database);
        last = str_dup(a, scan->rest);
        list->n++;
    }
    return scan->err;
}

Err glue_GetUserDefinedFunctions(struct call *c, const struct glue_GetUserDefinedFunctions_in *in,
                                 struct glue_GetUserDefinedFunctions_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Place p;
    Str after;
    AUTO(pattern) only = NULL;
    TRY(glue_begin(c, in->catalog_id, in->database_name, (Str){ 0 }, &p));
    TRY(glue_token_read(c, in->next_token, &after));
    TRY(open_pattern(c, in->pattern, &only));
    out->user_defined_functions = (glue_UserDefinedFunctionList){
        .set = true, .at = arena_new(a, glue_UserDefinedFunction, (size_t)in->max_results + 1)
    };
    AUTO(kv_txn) tx = kv_read(s->functions);
    if (p.database.p != NULL)
        TRY(glue_need_database(c, tx, &p, in->database_name));
    kv_on(tx, s->functions);
    Str prefix = p.database.p != NULL ? function_prefix(a, &p) : glue_database_prefix(a, &p);
    struct kv_scan scan = glue_scan(tx, a, prefix, after);
    Err e = list_page(c, in, &p, only, &scan, out);
    kv_scan_end(&scan);
    return e;
}

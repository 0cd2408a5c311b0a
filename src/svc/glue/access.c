// SPDX-License-Identifier: Apache-2.0
// What calls are about: the place they name, whether it may be used, the words of what is missing.
#include "svc/glue/registry.h"

enum { ACCOUNT_CHARS = 12 };

// ---- Errors

Err glue_invalid(struct call *c, const char *text)
{
    return call_fail(c, &glue_InvalidInputException, "%s", text);
}

Err glue_no_database(struct call *c, Str name)
{
    return call_fail(c, &glue_EntityNotFoundException, "Database %.*s not found.", FMT(name));
}

Err glue_no_table(struct call *c, Str name)
{
    return call_fail(c, &glue_EntityNotFoundException, "Table %.*s not found.", FMT(name));
}

Err glue_no_partition(struct call *c)
{
    return call_fail(c, &glue_EntityNotFoundException, "Cannot find partition.");
}

// Governed tables ended in 2024: nobody can begin a transaction any more.
Err glue_no_transactions(struct call *c, Str id)
{
    return id.p == NULL ? OK : glue_invalid(c, "Transactions are not supported.");
}

// ---- Resources

// Ancestors are the same with the table, then the database, absent.
Str glue_arn(struct arena *a, const Place *p)
{
    const char *kind = p->table.p != NULL ? "table/" : p->database.p != NULL ? "database/" : "";
    return str_fmt(a, "arn:aws:glue:%.*s:%.*s:%s%.*s%s%.*s", FMT(p->region), FMT(p->account),
                   p->database.p != NULL ? kind : "catalog", FMT(p->database),
                   p->table.p != NULL ? "/" : "", FMT(p->table));
}

Err glue_require(struct call *c, const Place *p)
{
    const struct glue *s = c->state;
    const struct access_guard *guard = s->env.hub != NULL ? s->env.hub->access : NULL;
    if (guard == NULL || s->env.dev)
        return OK;
    Str text = S("");
    AUTO(policy) policy = glue_policy(c->state, c->arena, p->account, p->region);
    AccessTarget t = { .action = str_cat(c->arena, S("glue:"), c->op->name),
                       .resource = glue_arn(c->arena, p),
                       .account = p->account,
                       .policy = policy };
    if (guard->may(guard->self, c, &t, &text))
        return OK;
    return call_fail(c, &glue_AccessDeniedException, "%.*s", FMT(text));
}

Err glue_begin(struct call *c, Str catalog, Str database, Str table, Place *ret)
{
    if (catalog.p != NULL && !str_eq(catalog, c->account))
        return call_fail(c, &glue_EntityNotFoundException, "Catalog %.*s not found.", FMT(catalog));
    *ret = (Place){ .account = c->account, .region = c->region };
    if (database.p != NULL) {
        TRY(glue_require(c, ret));
        ret->database = str_lower(c->arena, database);
    }
    if (table.p != NULL) {
        TRY(glue_require(c, ret));
        ret->table = str_lower(c->arena, table);
    }
    return OK;
}

// ---- For the front

static const void *member_at(const struct shape *shape, const void *in, Str name,
                             const struct shape **ret)
{
    for (size_t i = 0; i < shape->member_count; i++)
        if (str_eq(shape->members[i].name, name)) {
            *ret = shape->members[i].shape;
            return (const char *)in + shape->members[i].offset;
        }
    return NULL;
}

static Str text_at(const struct shape *shape, const void *in, Str name)
{
    const struct shape *of = NULL;
    const void *at = in != NULL ? member_at(shape, in, name, &of) : NULL;
    return at != NULL && of->kind == SHAPE_STRING ? *(const Str *)at : (Str){ 0 };
}

// Of a struct that the input holds.
static Str member_inside(const struct shape *shape, const void *in, Str member, Str inner)
{
    const struct shape *of = NULL;
    const void *at = member_at(shape, in, member, &of);
    return at != NULL ? text_at(of, *(const void *const *)at, inner) : (Str){ 0 };
}

static Str name_inside(const struct shape *shape, const void *in, Str member)
{
    return member_inside(shape, in, member, S("Name"));
}

static Str account_of_call(struct call *c, const void *in)
{
    Str catalog = text_at(c->op->input, in, S("CatalogId"));
    bool is_account = catalog.n == ACCOUNT_CHARS;
    for (size_t i = 0; i < catalog.n; i++)
        is_account = is_account && catalog.p[i] >= '0' && catalog.p[i] <= '9';
    return is_account ? catalog : c->account;
}

// Of the schema registry: a schema or a registry as its ARN, or by its names.
static Str schema_target(struct call *c, const void *in)
{
    const struct shape *shape = c->op->input;
    const Place p = { .account = c->account, .region = c->region };
    Str arn = member_inside(shape, in, S("SchemaId"), S("SchemaArn")),
        schema = member_inside(shape, in, S("SchemaId"), S("SchemaName")),
        registry = member_inside(shape, in, S("SchemaId"), S("RegistryName"));
    if (schema.p == NULL)
        schema = text_at(shape, in, S("SchemaName"));
    if (registry.p == NULL)
        registry = member_inside(shape, in, S("RegistryId"), S("RegistryName"));
    if (registry.p == NULL)
        registry = text_at(shape, in, S("RegistryName"));
    if (arn.p != NULL)
        return arn;
    if (schema.p != NULL)
        return schema_arn(c->arena, &p, registry.p != NULL ? registry : S("default-registry"),
                          schema);
    arn = member_inside(shape, in, S("RegistryId"), S("RegistryArn"));
    if (arn.p != NULL || registry.p == NULL)
        return arn;
    return registry_arn(c->arena, &p, registry);
}

// The narrowest resource that is named; what it lies in is asked for in glue_begin.
static void target_of_call(struct call *c, const void *in, AccessTarget *ret)
{
    const struct shape *shape = c->op->input;
    Str arn = text_at(shape, in, S("ResourceArn"));
    ret->policy = glue_policy(c->state, c->arena, ret->account, c->region);
    if (arn.p != NULL) {
        ret->resource = arn;
        return;
    }
    Place p = { .account = ret->account, .region = c->region };
    Str database = text_at(shape, in, S("DatabaseName"));
    Str table = text_at(shape, in, S("TableName"));
    Str name = text_at(shape, in, S("Name"));
    if (name.p == NULL)
        name = name_inside(shape, in, S("TableInput"));
    if (database.p == NULL)
        database = name.p != NULL ? name : name_inside(shape, in, S("DatabaseInput"));
    else if (table.p == NULL)
        table = name;
    p.database = database.p != NULL ? str_lower(c->arena, database) : database;
    p.table = table.p != NULL ? str_lower(c->arena, table) : table;
    ret->resource = glue_arn(c->arena, &p);
    Str schema = schema_target(c, in);
    if (schema.p != NULL)
        ret->resource = schema;
    Str function = text_at(shape, in, S("FunctionName"));
    if (function.p == NULL)
        function = member_inside(shape, in, S("FunctionInput"), S("FunctionName"));
    if (function.p != NULL && database.p != NULL)
        ret->resource =
            str_fmt(c->arena, "arn:aws:glue:%.*s:%.*s:userDefinedFunction/%.*s/%.*s", FMT(p.region),
                    FMT(p.account), FMT(p.database), FMT(str_lower(c->arena, function)));
}

const struct call_targets glue_targets = { .account = account_of_call, .target = target_of_call };

// SPDX-License-Identifier: Apache-2.0
// Column statistics of tables and partitions: what who analyzed them has said, for planners of
// queries (Athena, Spark, Trino). They mean nothing here.
#include "svc/glue/partition.h"

// Whose statistics: the beginning of their keys.
static Str of_table(struct arena *a, const TableRow *t)
{
    return glue_id_key(a, t->id, S("t"));
}

Str glue_statistics_of_partition(struct arena *a, uint64_t id, Str partition_key)
{
    return str_cat(a, glue_id_key(a, id, S("p")), str_skip(partition_key, TABLE_ID_CHARS));
}

static Str key_of(struct arena *a, Str whose, Str column)
{
    return str_cat(a, whose, str_lower(a, column));
}

// ---- Checks

static bool has_column(glue_ColumnList columns, Str name)
{
    for (size_t i = 0; i < columns.n; i++)
        if (str_eq_nocase(columns.at[i].name, name))
            return true;
    return false;
}

static bool is_column(const TableRow *t, Str name)
{
    const glue_StorageDescriptor *d = t->table.storage_descriptor;
    return (d != NULL && has_column(d->columns, name)) || has_column(t->table.partition_keys, name);
}

// Whether the data are of the type that they say, and of no other.
static bool is_whole(const glue_ColumnStatisticsData *d)
{
    const struct {
        Str type;
        const void *data;
    } kinds[] = {
        { glue_ColumnStatisticsType_BOOLEAN, d->boolean_column_statistics_data },
        { glue_ColumnStatisticsType_DATE, d->date_column_statistics_data },
        { glue_ColumnStatisticsType_DECIMAL, d->decimal_column_statistics_data },
        { glue_ColumnStatisticsType_DOUBLE, d->double_column_statistics_data },
        { glue_ColumnStatisticsType_LONG, d->long_column_statistics_data },
        { glue_ColumnStatisticsType_STRING, d->string_column_statistics_data },
        { glue_ColumnStatisticsType_BINARY, d->binary_column_statistics_data },
    };
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (str_eq(d->type, kinds[i].type) != (kinds[i].data != NULL))
            return false;
    return true;
}

static glue_ErrorDetail *detail(struct arena *a, const struct api_error *error, Str text)
{
    glue_ErrorDetail *d = arena_new(a, glue_ErrorDetail, 1);
    *d = (glue_ErrorDetail){ .error_code = error->name, .error_message = text };
    return d;
}

// What is wrong with a column's statistics; NULL: nothing.
static glue_ErrorDetail *problem(struct arena *a, const TableRow *t, const glue_ColumnStatistics *x)
{
    if (!is_column(t, x->column_name))
        return detail(a, &glue_EntityNotFoundException,
                      str_fmt(a, "Column %.*s not found.", FMT(x->column_name)));
    if (!is_whole(x->statistics_data))
        return detail(a, &glue_InvalidInputException,
                      S("StatisticsData must have the data of its Type and no others."));
    return NULL;
}

// ---- Of either

static Err put_all(struct call *c, struct kv_txn *tx, const TableRow *t, Str whose,
                   const glue_UpdateColumnStatisticsList *in, glue_ColumnStatisticsErrors *errors)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    *errors =
        (glue_ColumnStatisticsErrors){ .set = true,
                                       .at = arena_new(a, glue_ColumnStatisticsError, in->n) };
    for (size_t i = 0; i < in->n; i++) {
        const glue_ColumnStatistics *x = &in->at[i];
        glue_ErrorDetail *why = problem(a, t, x);
        if (why != NULL) {
            errors->at[errors->n++] =
                (glue_ColumnStatisticsError){ .column_statistics = x, .error = why };
            continue;
        }
        glue_ColumnStatistics row = *x;
        row.column_name = str_lower(a, x->column_name);
        TRY(glue_put_row(tx, s->statistics, key_of(a, whose, x->column_name), s->statistics_shape,
                         &row));
    }
    return OK;
}

static Err get_all(struct call *c, struct kv_txn *tx, Str whose, const glue_GetColumnNamesList *in,
                   glue_ColumnStatisticsList *ret, glue_ColumnErrors *errors)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    *ret = (glue_ColumnStatisticsList){ .set = true,
                                        .at = arena_new(a, glue_ColumnStatistics, in->n) };
    *errors = (glue_ColumnErrors){ .set = true, .at = arena_new(a, glue_ColumnError, in->n) };
    for (size_t i = 0; i < in->n; i++) {
        Err e = glue_get_row(tx, s->statistics, a, key_of(a, whose, in->at[i]), s->statistics_shape,
                             &ret->at[ret->n]);
        if (e.kind == ERR_NOT_FOUND) {
            errors->at[errors->n++] = (glue_ColumnError){
                .column_name = in->at[i],
                .error = detail(a, &glue_EntityNotFoundException,
                                str_fmt(a, "Column statistics of %.*s not found.", FMT(in->at[i])))
            };
            continue;
        }
        TRY(e);
        ret->n++;
    }
    return OK;
}

static Err drop_one(struct call *c, struct kv_txn *tx, Str whose, Str column)
{
    struct glue *s = c->state;
    Str key = key_of(c->arena, whose, column), value;
    kv_on(tx, s->statistics);
    Err e = kv_get(tx, c->arena, key, &value);
    if (e.kind == ERR_NOT_FOUND)
        return call_fail(c, &glue_EntityNotFoundException, "Column statistics of %.*s not found.",
                         FMT(column));
    TRY(e);
    return kv_del(tx, key);
}

Err glue_drop_statistics(struct glue *s, struct kv_txn *tx, Str whose)
{
    AUTO(arena) tmp = arena_open();
    for (;;) { // nothing is changed under a scan
        kv_on(tx, s->statistics);
        struct kv_scan scan = kv_scan_start(tx, whose, S(""));
        Str rest = kv_scan_next(&scan) ? str_dup(tmp, scan.rest) : (Str){ 0 };
        Err e = scan.err;
        kv_scan_end(&scan);
        TRY(e);
        if (rest.p == NULL)
            return OK;
        TRY(kv_del(tx, str_cat(tmp, whose, rest)));
    }
}

// The partition must be there.
static Err find_partition(struct call *c, struct kv_txn *tx, const Place *p, const TableRow *t,
                          glue_ValueStringList values, Str *ret_whose)
{
    glue_Partition row = { 0 };
    TRY(partition_fail(c, partition_get(c, tx, p, t, values, &row)));
    *ret_whose = glue_statistics_of_partition(
        c->arena, t->id, glue_partition_key(c->arena, t->id, values.at, values.n));
    return OK;
}

// ---- Of tables

Err glue_UpdateColumnStatisticsForTable(struct call *c,
                                        const struct glue_UpdateColumnStatisticsForTable_in *in,
                                        struct glue_UpdateColumnStatisticsForTable_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    TRY(put_all(c, tx, &t, of_table(c->arena, &t), &in->column_statistics_list, &out->errors));
    return kv_commit(tx);
}

Err glue_GetColumnStatisticsForTable(struct call *c,
                                     const struct glue_GetColumnStatisticsForTable_in *in,
                                     struct glue_GetColumnStatisticsForTable_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    AUTO(kv_txn) tx = kv_read(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    return get_all(c, tx, of_table(c->arena, &t), &in->column_names, &out->column_statistics_list,
                   &out->errors);
}

Err glue_DeleteColumnStatisticsForTable(struct call *c,
                                        const struct glue_DeleteColumnStatisticsForTable_in *in,
                                        struct glue_DeleteColumnStatisticsForTable_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    (void)out; // has no members
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    TRY(drop_one(c, tx, of_table(c->arena, &t), in->column_name));
    return kv_commit(tx);
}

// ---- Of partitions

Err glue_UpdateColumnStatisticsForPartition(
    struct call *c, const struct glue_UpdateColumnStatisticsForPartition_in *in,
    struct glue_UpdateColumnStatisticsForPartition_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    Str whose;
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    TRY(find_partition(c, tx, &p, &t, in->partition_values, &whose));
    TRY(put_all(c, tx, &t, whose, &in->column_statistics_list, &out->errors));
    return kv_commit(tx);
}

Err glue_GetColumnStatisticsForPartition(struct call *c,
                                         const struct glue_GetColumnStatisticsForPartition_in *in,
                                         struct glue_GetColumnStatisticsForPartition_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    Str whose;
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    AUTO(kv_txn) tx = kv_read(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    TRY(find_partition(c, tx, &p, &t, in->partition_values, &whose));
    return get_all(c, tx, whose, &in->column_names, &out->column_statistics_list, &out->errors);
}

Err glue_DeleteColumnStatisticsForPartition(
    struct call *c, const struct glue_DeleteColumnStatisticsForPartition_in *in,
    struct glue_DeleteColumnStatisticsForPartition_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    Str whose;
    (void)out; // has no members
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    TRY(find_partition(c, tx, &p, &t, in->partition_values, &whose));
    TRY(drop_one(c, tx, whose, in->column_name));
    return kv_commit(tx);
}

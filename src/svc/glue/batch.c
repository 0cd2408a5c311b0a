// SPDX-License-Identifier: Apache-2.0
// Operations on many partitions of a table. All of one call is one transaction; what is wrong with
// an entry is listed in the reply and does not keep the others from being done.
#include "svc/glue/partition.h"

// Lists an entry's error; ERR_NONE as well if it was one that is listed.
static Err add_error(struct call *c, glue_PartitionErrors *errors, glue_ValueStringList values,
                     Err e)
{
    glue_ErrorDetail *detail = arena_new(c->arena, glue_ErrorDetail, 1);
    if (!partition_detail(e, detail))
        return e;
    errors->at[errors->n++] =
        (glue_PartitionError){ .partition_values = values, .error_detail = detail };
    return OK;
}

static glue_PartitionErrors errors_of(struct arena *a, size_t n)
{
    return (glue_PartitionErrors){ .set = true, .at = arena_new(a, glue_PartitionError, n) };
}

Err glue_BatchCreatePartition(struct call *c, const struct glue_BatchCreatePartition_in *in,
                              struct glue_BatchCreatePartition_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    out->errors = errors_of(c->arena, in->partition_input_list.n);
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    for (size_t i = 0; i < in->partition_input_list.n; i++) {
        const glue_PartitionInput *input = &in->partition_input_list.at[i];
        Err e = partition_create(c, tx, &t, input);
        if (e.kind != ERR_NONE)
            TRY(add_error(c, &out->errors, input->values, e));
    }
    return kv_commit(tx);
}

Err glue_BatchDeletePartition(struct call *c, const struct glue_BatchDeletePartition_in *in,
                              struct glue_BatchDeletePartition_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    out->errors = errors_of(c->arena, in->partitions_to_delete.n);
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    for (size_t i = 0; i < in->partitions_to_delete.n; i++) {
        glue_ValueStringList values = in->partitions_to_delete.at[i].values;
        Err e = partition_delete(c, tx, &t, values);
        if (e.kind != ERR_NONE)
            TRY(add_error(c, &out->errors, values, e));
    }
    return kv_commit(tx);
}

Err glue_BatchUpdatePartition(struct call *c, const struct glue_BatchUpdatePartition_in *in,
                              struct glue_BatchUpdatePartition_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    glue_BatchUpdatePartitionFailureList *errors = &out->errors;
    *errors = (glue_BatchUpdatePartitionFailureList){
        .set = true, .at = arena_new(c->arena, glue_BatchUpdatePartitionFailureEntry, in->entries.n)
    };
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    for (size_t i = 0; i < in->entries.n; i++) {
        const glue_BatchUpdatePartitionRequestEntry *entry = &in->entries.at[i];
        Err e =
            partition_update(c, tx, &p, &t, entry->partition_value_list, entry->partition_input);
        if (e.kind == ERR_NONE)
            continue;
        glue_ErrorDetail *detail = arena_new(c->arena, glue_ErrorDetail, 1);
        if (!partition_detail(e, detail))
            return e;
        errors->at[errors->n++] = (glue_BatchUpdatePartitionFailureEntry){
            .partition_value_list = entry->partition_value_list, .error_detail = detail
        };
    }
    return kv_commit(tx);
}

// Partitions that there are not are left out of the reply, as AWS does.
Err glue_BatchGetPartition(struct call *c, const struct glue_BatchGetPartition_in *in,
                           struct glue_BatchGetPartition_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    glue_BatchGetPartitionValueList wanted = in->partitions_to_get;
    Place p;
    TableRow t;
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    glue_PartitionList *list = &out->partitions;
    *list = (glue_PartitionList){ .set = true, .at = arena_new(a, glue_Partition, wanted.n) };
    out->unprocessed_keys = (glue_BatchGetPartitionValueList){ .set = true };
    AUTO(kv_txn) tx = kv_read(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    size_t before = arena_bytes(a);
    for (size_t i = 0; i < wanted.n; i++) {
        if (arena_bytes(a) - before > 4 * (size_t)REPLY_BYTES_MAX) { // decoded rows are larger
            out->unprocessed_keys.at = &wanted.at[i];
            out->unprocessed_keys.n = wanted.n - i;
            break;
        }
        glue_Partition row = { 0 };
        Err e = partition_get(c, tx, &p, &t, wanted.at[i].values, &row);
        if (e.kind == ERR_NOT_FOUND)
            continue;
        TRY(partition_fail(c, e));
        list->at[list->n++] = row;
    }
    return OK;
}

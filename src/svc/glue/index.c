// SPDX-License-Identifier: Apache-2.0
// Partition indexes. AWS builds them to answer GetPartitions faster; here partitions are found in
// their order anyway, so an index is what its owner said of it, and active at once.
#include "svc/glue/glue.h"

static const glue_Column *partition_key(const TableRow *t, Str name)
{
    for (size_t i = 0; i < t->table.partition_keys.n; i++)
        if (str_eq_nocase(t->table.partition_keys.at[i].name, name))
            return &t->table.partition_keys.at[i];
    return NULL;
}

static Err describe(struct call *c, const TableRow *t, const glue_PartitionIndex *index,
                    glue_PartitionIndexDescriptor *ret)
{
    glue_KeySchemaElement *keys = arena_new(c->arena, glue_KeySchemaElement, index->keys.n);
    for (size_t i = 0; i < index->keys.n; i++) {
        const glue_Column *column = partition_key(t, index->keys.at[i]);
        if (column == NULL)
            return call_fail(c, &glue_InvalidInputException,
                             "%.*s is not a partition key of the table.", FMT(index->keys.at[i]));
        keys[i] = (glue_KeySchemaElement){ .name = column->name, .type = column->type };
    }
    *ret = (glue_PartitionIndexDescriptor){
        .index_name = index->index_name,
        .index_status = glue_PartitionIndexStatus_ACTIVE,
        .keys = { .at = keys, .n = index->keys.n, .set = true },
    };
    return OK;
}

Err glue_add_index(struct call *c, struct kv_txn *tx, const TableRow *t,
                   const glue_PartitionIndex *index)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    glue_PartitionIndexDescriptor row;
    Str value;
    size_t count;
    TRY(describe(c, t, index, &row));
    Str key = glue_id_key(a, t->id, str_lower(a, index->index_name));
    kv_on(tx, s->indexes);
    Err e = kv_get(tx, a, key, &value);
    if (e.kind == ERR_NONE)
        return call_fail(c, &glue_AlreadyExistsException, "Index with name %.*s already exists.",
                         FMT(index->index_name));
    if (e.kind != ERR_NOT_FOUND)
        return e;
    TRY(kv_count(tx, glue_id_key(a, t->id, S("")), &count));
    if (count >= INDEXES_MAX)
        return call_fail(c, &glue_ResourceNumberLimitExceededException,
                         "Number of PARTITION_INDEX resources exceeds the account limit %d",
                         INDEXES_MAX);
    return glue_put_row(tx, s->indexes, key, s->index_shape, &row);
}

Err glue_CreatePartitionIndex(struct call *c, const struct glue_CreatePartitionIndex_in *in,
                              struct glue_CreatePartitionIndex_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    (void)out; // has no members
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    TRY(glue_add_index(c, tx, &t, in->partition_index));
    return kv_commit(tx);
}

Err glue_GetPartitionIndexes(struct call *c, const struct glue_GetPartitionIndexes_in *in,
                             struct glue_GetPartitionIndexes_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Place p;
    TableRow t;
    Str after;
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    TRY(glue_token_read(c, in->next_token, &after));
    glue_PartitionIndexDescriptorList *list = &out->partition_index_descriptor_list;
    *list = (glue_PartitionIndexDescriptorList){
        .set = true, .at = arena_new(a, glue_PartitionIndexDescriptor, INDEXES_MAX)
    };
    AUTO(kv_txn) tx = kv_read(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    kv_on(tx, s->indexes);
    struct kv_scan scan = glue_scan(tx, a, glue_id_key(a, t.id, S("")), after);
    Err e = OK;
    while (e.kind == ERR_NONE && list->n < INDEXES_MAX && kv_scan_next(&scan))
        e = glue_read_row(a, s->index_shape, str_dup(a, scan.value), &list->at[list->n++]);
    if (e.kind == ERR_NONE)
        e = scan.err;
    kv_scan_end(&scan);
    return e;
}

Err glue_DeletePartitionIndex(struct call *c, const struct glue_DeletePartitionIndex_in *in,
                              struct glue_DeletePartitionIndex_out *out)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Place p;
    TableRow t;
    Str value;
    (void)out; // has no members
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    Str key = glue_id_key(a, t.id, str_lower(a, in->index_name));
    kv_on(tx, s->indexes);
    Err e = kv_get(tx, a, key, &value);
    if (e.kind == ERR_NOT_FOUND)
        return call_fail(c, &glue_EntityNotFoundException,
                         "Index with the given indexName : %.*s "
                         "does not exist",
                         FMT(in->index_name));
    TRY(e);
    TRY(kv_del(tx, key));
    return kv_commit(tx);
}

// SPDX-License-Identifier: Apache-2.0
#include "svc/glue/glue.h"
#include "aws/bind.h"

#include <stdlib.h>

// ---- The shapes of rows: those of replies, as the contract has them.

static const struct shape *member_shape(const struct shape *in, Str name)
{
    for (size_t i = 0; i < in->member_count; i++)
        if (str_eq(in->members[i].name, name))
            return in->members[i].shape;
    CHECK(false);
}

static const struct api_op *op_named(Str name)
{
    for (size_t i = 0; i < glue_api.op_count; i++)
        if (str_eq(glue_api.ops[i].name, name))
            return &glue_api.ops[i];
    CHECK(false);
}

static const struct shape *reply_shape(Str op, Str member)
{
    return member_shape(op_named(op)->output, member);
}

static void find_shapes(struct glue *s)
{
    s->database_shape = reply_shape(S("GetDatabase"), S("Database"));
    s->table_shape = reply_shape(S("GetTable"), S("Table"));
    s->partition_shape = reply_shape(S("GetPartition"), S("Partition"));
    s->index_shape =
        reply_shape(S("GetPartitionIndexes"), S("PartitionIndexDescriptorList"))->member;
    s->tags_shape = op_named(S("GetTags"))->output;
    s->statistics_shape =
        reply_shape(S("GetColumnStatisticsForTable"), S("ColumnStatisticsList"))->member;
    s->function_shape = reply_shape(S("GetUserDefinedFunction"), S("UserDefinedFunction"));
    s->policy_shape = op_named(S("GetResourcePolicy"))->output;
    s->registry_shape = op_named(S("GetRegistry"))->output;
    s->schema_shape = op_named(S("GetSchema"))->output;
    s->schema_version_shape = op_named(S("GetSchemaVersion"))->output;
}

// ---- Opening

static Err open_tables(struct glue *s)
{
    struct kv *kv = s->env.kv;
    TRY(kv_table_open(kv, S("glue.databases"), &s->databases));
    TRY(kv_table_open(kv, S("glue.tables"), &s->tables));
    TRY(kv_table_open(kv, S("glue.versions"), &s->versions));
    TRY(kv_table_open(kv, S("glue.partitions"), &s->partitions));
    TRY(kv_table_open(kv, S("glue.indexes"), &s->indexes));
    TRY(kv_table_open(kv, S("glue.tags"), &s->tags));
    TRY(kv_table_open(kv, S("glue.counts"), &s->counts));
    TRY(kv_table_open(kv, S("glue.statistics"), &s->statistics));
    TRY(kv_table_open(kv, S("glue.functions"), &s->functions));
    TRY(kv_table_open(kv, S("glue.policies"), &s->policy_rows));
    TRY(kv_table_open(kv, S("glue.registries"), &s->registries));
    TRY(kv_table_open(kv, S("glue.schemas"), &s->schemas));
    TRY(kv_table_open(kv, S("glue.schemaversions"), &s->schema_versions));
    TRY(kv_table_open(kv, S("glue.schemaids"), &s->schema_ids));
    return kv_table_open(kv, S("glue.dropped"), &s->dropped);
}

static void glue_close(void *state)
{
    struct glue *s = state;
    if (s == NULL)
        return;
    glue_policies_close(s);
    pthread_rwlock_destroy(&s->policy_lock);
    pthread_mutex_destroy(&s->policy_changing);
    free(s);
}

static Err glue_open(const struct service_env *env, void **ret_state)
{
    struct glue *s = xalloc(sizeof *s);
    s->env = *env;
    s->policies = map_open();
    pthread_rwlock_init(&s->policy_lock, NULL);
    pthread_mutex_init(&s->policy_changing, NULL);
    find_shapes(s);
    Err e = open_tables(s);
    if (e.kind == ERR_NONE)
        e = glue_load_policies(s);
    if (e.kind != ERR_NONE) {
        glue_close(s);
        return e;
    }
    atomic_store(&s->has_dropped, true); // the first change looks
    glue_offer_init(s);
    if (env->hub != NULL)
        env->hub->catalog = &s->offer;
    *ret_state = s;
    return OK;
}

extern const struct service glue_service;
const struct service glue_service = {
    .api = &glue_api, .targets = &glue_targets, .open = glue_open, .close = glue_close
};

// SPDX-License-Identifier: Apache-2.0
#include "svc/glue/partition.h"
#include "codec/crc.h"
#include "svc/glue/filter.h"

enum {
    SCAN_ROWS_MAX = 10000,             // of one page; what is left is behind its token, as in AWS
    SCAN_STEPS_MAX = 20 * 1000 * 1000, // of the expression
};

// ---- One partition

static Err check_values(const TableRow *t, size_t n)
{
    return n == t->table.partition_keys.n ? OK : fail(ERR_INVALID, "the number of values is wrong");
}

void partition_place(const Place *p, glue_Partition *row)
{
    row->catalog_id = p->account;
    row->database_name = p->database;
    row->table_name = p->table;
}

Err partition_get(struct call *c, struct kv_txn *tx, const Place *p, const TableRow *t,
                  glue_ValueStringList values, glue_Partition *ret)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    TRY(check_values(t, values.n));
    TRY(glue_get_row(tx, s->partitions, a, glue_partition_key(a, t->id, values.at, values.n),
                     s->partition_shape, ret));
    partition_place(p, ret);
    return OK;
}

static glue_Partition row_of_input(const glue_PartitionInput *in, glue_ValueStringList values,
                                   int64_t created)
{
    return (glue_Partition){ .values = values,
                             .creation_time = created,
                             .has_creation_time = true,
                             .last_access_time = in->last_access_time,
                             .has_last_access_time = in->has_last_access_time,
                             .last_analyzed_time = in->last_analyzed_time,
                             .has_last_analyzed_time = in->has_last_analyzed_time,
                             .storage_descriptor = in->storage_descriptor,
                             .parameters = in->parameters };
}

static Str count_key(struct arena *a, const TableRow *t)
{
    return glue_count_key(a, 'p', glue_id_key(a, t->id, S("")));
}

static Err must_be_new(struct call *c, struct kv_txn *tx, Str key)
{
    struct glue *s = c->state;
    Str value;
    kv_on(tx, s->partitions);
    Err e = kv_get(tx, c->arena, key, &value);
    if (e.kind == ERR_NONE)
        return fail(ERR_EXISTS, "there is such a partition");
    return e.kind == ERR_NOT_FOUND ? OK : e;
}

Err partition_create(struct call *c, struct kv_txn *tx, const TableRow *t,
                     const glue_PartitionInput *in)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    TRY(check_values(t, in->values.n));
    Str key = glue_partition_key(a, t->id, in->values.at, in->values.n);
    TRY(must_be_new(c, tx, key));
    TRY(glue_room(c, tx, count_key(a, t), PARTITIONS_MAX, "PARTITION"));
    TRY(glue_count_add(s, tx, a, count_key(a, t), 1));
    glue_Partition row = row_of_input(in, in->values, glue_now(c));
    return glue_put_row(tx, s->partitions, key, s->partition_shape, &row);
}

Err partition_update(struct call *c, struct kv_txn *tx, const Place *p, const TableRow *t,
                     glue_BoundedPartitionValueList values, const glue_PartitionInput *in)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    glue_ValueStringList old = { .at = values.at, .n = values.n, .set = true };
    glue_ValueStringList now = in->values.set ? in->values : old;
    glue_Partition there = { 0 };
    TRY(partition_get(c, tx, p, t, old, &there));
    TRY(check_values(t, now.n));
    Str old_key = glue_partition_key(a, t->id, old.at, old.n);
    Str key = glue_partition_key(a, t->id, now.at, now.n);
    if (!str_eq(key, old_key)) {
        TRY(must_be_new(c, tx, key));
        TRY(glue_drop_statistics(s, tx, glue_statistics_of_partition(a, t->id, old_key)));
        kv_on(tx, s->partitions);
        TRY(kv_del(tx, old_key));
    }
    glue_Partition row = row_of_input(in, now, there.creation_time);
    return glue_put_row(tx, s->partitions, key, s->partition_shape, &row);
}

Err partition_delete(struct call *c, struct kv_txn *tx, const TableRow *t,
                     glue_ValueStringList values)
{
    struct glue *s = c->state;
    struct arena *a = c->arena;
    Str value;
    TRY(check_values(t, values.n));
    Str key = glue_partition_key(a, t->id, values.at, values.n);
    kv_on(tx, s->partitions);
    TRY(kv_get(tx, a, key, &value));
    TRY(kv_del(tx, key));
    TRY(glue_drop_statistics(s, tx, glue_statistics_of_partition(a, t->id, key)));
    return glue_count_add(s, tx, a, count_key(a, t), -1);
}

Err partition_fail(struct call *c, Err e)
{
    if (e.kind == ERR_NOT_FOUND)
        return glue_no_partition(c);
    if (e.kind == ERR_EXISTS)
        return call_fail(c, &glue_AlreadyExistsException, "Partition already exists.");
    return e.kind == ERR_INVALID ? glue_invalid(c, PARTITION_VALUES_TEXT) : e;
}

bool partition_detail(Err e, glue_ErrorDetail *ret)
{
    if (e.kind == ERR_NOT_FOUND)
        *ret = (glue_ErrorDetail){ .error_code = glue_EntityNotFoundException.name,
                                   .error_message = S("Partition not found.") };
    else if (e.kind == ERR_EXISTS)
        *ret = (glue_ErrorDetail){ .error_code = glue_AlreadyExistsException.name,
                                   .error_message = S("Partition already exists.") };
    else if (e.kind == ERR_INVALID)
        *ret = (glue_ErrorDetail){ .error_code = glue_InvalidInputException.name,
                                   .error_message = S(PARTITION_VALUES_TEXT) };
    else
        return false;
    return true;
}

// ---- Operations on one

Err glue_CreatePartition(struct call *c, const struct glue_CreatePartition_in *in,
                         struct glue_CreatePartition_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    (void)out; // has no members
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    TRY(partition_fail(c, partition_create(c, tx, &t, in->partition_input)));
    return kv_commit(tx);
}

Err glue_GetPartition(struct call *c, const struct glue_GetPartition_in *in,
                      struct glue_GetPartition_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    glue_Partition *row = arena_new(c->arena, glue_Partition, 1);
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    AUTO(kv_txn) tx = kv_read(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    TRY(partition_fail(c, partition_get(c, tx, &p, &t, in->partition_values, row)));
    out->partition = row;
    return OK;
}

Err glue_UpdatePartition(struct call *c, const struct glue_UpdatePartition_in *in,
                         struct glue_UpdatePartition_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    (void)out; // has no members
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    TRY(partition_fail(
        c, partition_update(c, tx, &p, &t, in->partition_value_list, in->partition_input)));
    return kv_commit(tx);
}

Err glue_DeletePartition(struct call *c, const struct glue_DeletePartition_in *in,
                         struct glue_DeletePartition_out *out)
{
    struct glue *s = c->state;
    Place p;
    TableRow t;
    (void)out; // has no members
    TRY(glue_sweep(s));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &p));
    AUTO(kv_txn) tx = kv_write(s->tables);
    TRY(glue_need_table(c, tx, &p, in->database_name, in->table_name, &t));
    TRY(partition_fail(c, partition_delete(c, tx, &t, in->partition_values)));
    return kv_commit(tx);
}

// ---- Those that an expression means

typedef struct Page {
    const struct glue_GetPartitions_in *in;
    const struct filter *only;
    Place place;
    TableRow table;
    glue_PartitionList list;
    Str last; // key of the last row that was looked at
    size_t rows, bytes;
    uint64_t steps;
} Page;

static Err open_page(struct call *c, struct kv_txn *tx, const struct glue_GetPartitions_in *in,
                     Page *page)
{
    struct filter *only = NULL;
    Str text = { 0 };
    page->in = in;
    TRY(glue_need_table(c, tx, &page->place, in->database_name, in->table_name, &page->table));
    page->list =
        (glue_PartitionList){ .set = true,
                              .at = arena_new(c->arena, glue_Partition, (size_t)in->max_results) };
    if (str_trim(in->expression).n == 0)
        return OK;
    glue_ColumnList columns = page->table.table.partition_keys;
    FilterKey *keys = arena_new(c->arena, FilterKey, columns.n);
    for (size_t i = 0; i < columns.n; i++)
        keys[i] = (FilterKey){ columns.at[i].name, columns.at[i].type };
    Err e = filter_parse(c->arena, in->expression, keys, columns.n, &only, &text);
    page->only = only;
    return e.kind == ERR_INVALID ? call_fail(c, &glue_InvalidInputException, "%.*s", FMT(text)) : e;
}

// Whether a row is in the segment that was asked for: rows are dealt by their keys.
static bool in_segment(const glue_Segment *segment, Str key)
{
    return segment == NULL || crc32c(0, key.p, key.n) % (uint32_t)segment->total_segments ==
                                  (uint32_t)segment->segment_number;
}

static Err add_row(struct call *c, Page *page, Str value)
{
    struct glue *s = c->state;
    AUTO(arena) tmp = arena_open();
    glue_Partition row = { 0 };
    Str text = { 0 };
    bool means = true;
    TRY(glue_read_row(tmp, s->partition_shape, value, &row));
    if (page->only != NULL && row.values.n == page->table.table.partition_keys.n) {
        Err e = filter_matches(page->only, tmp, row.values.at, &means, &page->steps, &text);
        if (e.kind == ERR_INVALID)
            return call_fail(c, &glue_InvalidStateException, "%.*s", FMT(text));
        TRY(e);
    }
    if (!means)
        return OK;
    glue_Partition *kept = &page->list.at[page->list.n++];
    page->bytes += value.n;
    TRY(glue_read_row(c->arena, s->partition_shape, str_dup(c->arena, value), kept));
    partition_place(&page->place, kept);
    if (page->in->exclude_column_schema && kept->storage_descriptor != NULL) {
        glue_StorageDescriptor *d = arena_new(c->arena, glue_StorageDescriptor, 1);
        *d = *kept->storage_descriptor;
        d->columns = (glue_ColumnList){ 0 };
        kept->storage_descriptor = d;
    }
    return OK;
}

static bool is_full(const Page *page)
{
    return page->list.n == (size_t)page->in->max_results || page->bytes > REPLY_BYTES_MAX ||
           page->rows == SCAN_ROWS_MAX || page->steps > SCAN_STEPS_MAX;
}

static Err fill_page(struct call *c, Page *page, struct kv_scan *scan, Str *ret_token)
{
    while (kv_scan_next(scan)) {
        if (is_full(page)) {
            *ret_token = glue_token(c->arena, page->last);
            return OK;
        }
        page->rows++;
        if (in_segment(page->in->segment, scan->rest))
            TRY(add_row(c, page, scan->value));
        if (is_full(page))
            page->last = str_dup(c->arena, scan->rest);
    }
    return scan->err;
}

Err glue_GetPartitions(struct call *c, const struct glue_GetPartitions_in *in,
                       struct glue_GetPartitions_out *out)
{
    struct glue *s = c->state;
    Page page = { 0 };
    Str after;
    TRY(glue_no_transactions(c, in->transaction_id));
    TRY(glue_begin(c, in->catalog_id, in->database_name, in->table_name, &page.place));
    TRY(glue_token_read(c, in->next_token, &after));
    if (in->segment != NULL && in->segment->segment_number >= in->segment->total_segments)
        return glue_invalid(c, "SegmentNumber must be less than TotalSegments.");
    AUTO(kv_txn) tx = kv_read(s->tables);
    TRY(open_page(c, tx, in, &page));
    kv_on(tx, s->partitions);
    struct kv_scan scan =
        glue_scan(tx, c->arena, glue_id_key(c->arena, page.table.id, S("")), after);
    Err e = fill_page(c, &page, &scan, &out->next_token);
    kv_scan_end(&scan);
    out->partitions = page.list;
    return e;
}

// SPDX-License-Identifier: Apache-2.0
// The Data Catalog. Everything is in kv and read from there: no call answers from memory, so what a
// call has said is what the next one sees, also after a crash. A change is one transaction, from
// its checks to its commit; transactions that write take turns, so they need no lock of ours.
//
//     table            key                                    value
//     glue.databases   account \1 region \1 name              '1' + Database as JSON
//     glue.tables      account \1 region \1 database \1 name  '1' + id, 16 hex digits + Table
//     glue.versions    id + version, 16 hex digits each       '1' + Table: those before the newest
//     glue.partitions  id + values                            '1' + Partition
//     glue.indexes     id + name                              '1' + PartitionIndexDescriptor
//     glue.statistics  id + 't' + column, or          '1' + ColumnStatistics
//                      id + 'p' + values + column
//     glue.functions   account \1 region \1 database \1 name  '1' + UserDefinedFunction
//     glue.policies    account \1 region                      '1' + GetResourcePolicy's reply
//     glue.tags        ARN                                    '1' + {"Tags":map}
//     glue.counts      letter + whose                         decimal: how many there are of it
//     glue.dropped     id                                     empty
//
// Names are in lower case and hold no control characters, so \1 divides them. JSON is that of the
// replies, without what the key says. A version's number is subtracted from the largest one, so
// that the newest comes first. The id of a table is never given again: dropping a table is one row
// more and one less, and what it had is removed later, a batch with each change (glue_sweep).
#pragma once
#include "access/policy.h"
#include "base/map.h"
#include "gen/glue_api.h"
#include "hub/hub.h"
#include "hub/service.h"
#include "store/kv.h"

#include <pthread.h>
#include <stdatomic.h>

// Quotas of AWS Glue ("AWS Glue endpoints and quotas"), which are of an account in a region.
enum {
    DATABASES_MAX = 10000,
    TABLES_MAX = 200000,       // of a database
    PARTITIONS_MAX = 10000000, // of a table
    VERSIONS_MAX = 100000,     // of a table
    INDEXES_MAX = 3,           // of a table
    TAGS_MAX = 50,             // of a resource
    FUNCTIONS_MAX = 100,       // of a database
    POLICY_DOCUMENT_BYTES_MAX = 10240,
    TABLE_ID_CHARS = 16,            // in keys and rows
    SWEEP_ROWS = 1000,              // removed at once, of dropped tables
    REPLY_BYTES_MAX = 4 << 20,      // of rows in one page; then the page ends
    PARTITION_KEY_BYTES_MAX = 2000, // of a key's values; longer ones end in their digest
};

struct glue {
    struct service_env env;
    struct kv_table *databases, *tables, *versions, *partitions, *indexes, *tags, *counts, *dropped,
        *statistics, *functions, *policy_rows, *registries, *schemas, *schema_versions, *schema_ids;
    const struct shape *database_shape, *table_shape, *partition_shape, *index_shape, *tags_shape,
        *statistics_shape, *function_shape, *policy_shape, *registry_shape, *schema_shape,
        *schema_version_shape;
    pthread_mutex_t policy_changing; // from a policy's transaction until memory has followed
    pthread_rwlock_t policy_lock;    // a leaf
    struct map *policies;            // account \1 region -> struct policy, a reference each
    atomic_bool has_dropped;
    struct hub_catalog offer;
};

extern const struct call_targets glue_targets;

// Where a call looks: names folded to lower case; those that it has not are absent.
typedef struct Place {
    Str account, region, database, table;
} Place;

typedef struct TableRow {
    uint64_t id;
    glue_Table table; // without what the place says
} TableRow;

// ---- Of every operation

// Checks the catalog, folds the names, and asks whether the caller may use what the resource lies
// in: Glue wants a permission for the catalog and the database, too.
Err glue_begin(struct call *c, Str catalog, Str database, Str table, Place *ret);
// AccessDeniedException unless the caller may do the call's action there: for resources that the
// front has not asked about.
Err glue_require(struct call *c, const Place *p);
Err glue_invalid(struct call *c, const char *text); // InvalidInputException
Err glue_no_database(struct call *c, Str name);
Err glue_no_table(struct call *c, Str name);
Err glue_no_partition(struct call *c);
Err glue_no_transactions(struct call *c, Str id); // of one that names one

// Whole seconds, as Glue keeps times.
static inline int64_t glue_now(const struct call *c)
{
    return c->now_ns / 1000000000 * 1000000000;
}

// ---- Rows. The transaction may have been begun with any table.

void glue_write_row(struct buf *b, const struct shape *shape, const void *row);
Err glue_put_row(struct kv_txn *tx, struct kv_table *t, Str key, const struct shape *shape,
                 const void *row);
Err glue_read_row(struct arena *a, const struct shape *shape, Str value, void *into);
// Rows that have an id before them, as tables have.
Err glue_put_id_row(struct kv_txn *tx, struct kv_table *t, Str key, const struct shape *shape,
                    uint64_t id, const void *row);
Err glue_read_id_row(struct arena *a, const struct shape *shape, Str value, uint64_t *ret_id,
                     void *into);
// ERR_NOT_FOUND.
Err glue_get_row(struct kv_txn *tx, struct kv_table *t, struct arena *a, Str key,
                 const struct shape *shape, void *into);

Str glue_database_key(struct arena *a, const Place *p);
Str glue_database_prefix(struct arena *a, const Place *p);
Str glue_table_key(struct arena *a, const Place *p);
Str glue_table_prefix(struct arena *a, const Place *p);
Str glue_id_key(struct arena *a, uint64_t id, Str rest);
Str glue_version_key(struct arena *a, uint64_t id, uint64_t version);
Str glue_partition_key(struct arena *a, uint64_t id, const Str *values, size_t n);

// ERR_FAULT: the database is missing; `text` names the one that is shown.
Err glue_need_database(struct call *c, struct kv_txn *tx, const Place *p, Str shown);
Err glue_get_database(struct glue *s, struct kv_txn *tx, struct arena *a, const Place *p,
                      glue_Database *ret);
void glue_place_database(const Place *p, glue_Database *d); // what the key says
// ERR_NOT_FOUND.
Err glue_get_table(struct glue *s, struct kv_txn *tx, struct arena *a, const Place *p,
                   TableRow *ret);
Err glue_read_table(struct glue *s, struct arena *a, Str value, TableRow *ret);
Err glue_put_table(struct glue *s, struct kv_txn *tx, struct arena *a, const Place *p,
                   const TableRow *row);
void glue_place_table(const Place *p, Str name, glue_Table *t); // what the key says
// The table of a call; EntityNotFoundException for its database or for itself.
Err glue_need_table(struct call *c, struct kv_txn *tx, const Place *p, Str shown_database,
                    Str shown_table, TableRow *ret);

// ---- Counts

Str glue_count_key(struct arena *a, char what, Str whose); // 'd', 't', 'p', 'v'
Err glue_count(struct glue *s, struct kv_txn *tx, struct arena *a, Str key, uint64_t *ret);
Err glue_count_add(struct glue *s, struct kv_txn *tx, struct arena *a, Str key, int64_t more);
// ResourceNumberLimitExceededException if there are `max` of them already.
Err glue_room(struct call *c, struct kv_txn *tx, Str key, uint64_t max, const char *what);

// ---- Dropping

// Takes the table's row away, and its tags; what else it has goes later.
Err glue_drop_table(struct glue *s, struct kv_txn *tx, struct arena *a, const Place *p,
                    uint64_t id);
// Removes a batch of what dropped tables have left. Called with no transaction open.
Err glue_sweep(struct glue *s);

// ---- Pages. A token is opaque to clients; it holds the last key of the page before,
// without the prefix.

Str glue_token(struct arena *a, Str last);
Err glue_token_read(struct call *c, Str token, Str *ret_after); // absent: from the first
// The rows behind a token's.
struct kv_scan glue_scan(struct kv_txn *tx, struct arena *a, Str prefix, Str after);

// ---- Indexes and versions

Err glue_add_index(struct call *c, struct kv_txn *tx, const TableRow *t,
                   const glue_PartitionIndex *index);
// A version before the newest, or the newest itself. ERR_NOT_FOUND.
Err glue_get_version(struct glue *s, struct kv_txn *tx, struct arena *a, const TableRow *now,
                     Str version, glue_Table *ret);

// ---- Column statistics

// The beginning of the keys of a partition's, which its own key in the table of partitions names.
Str glue_statistics_of_partition(struct arena *a, uint64_t id, Str partition_key);
Err glue_drop_statistics(struct glue *s, struct kv_txn *tx, Str whose);

// ---- Functions: with their database

Err glue_drop_functions(struct glue *s, struct kv_txn *tx, struct arena *a, const Place *p);

// ---- The catalog's policy

struct policy *glue_policy(struct glue *s, struct arena *tmp, Str account, Str region);
Err glue_load_policies(struct glue *s);
void glue_policies_close(struct glue *s);

// ---- Tags

Str glue_arn(struct arena *a, const Place *p); // of the table, the database or the catalog
Err glue_put_tags(struct glue *s, struct kv_txn *tx, Str arn, glue_TagsMap tags);

void glue_offer_init(struct glue *s);

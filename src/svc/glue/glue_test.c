// SPDX-License-Identifier: Apache-2.0
// The service on a store in memory, asked as clients do: in JSON.
#include "aws/bind.h"
#include "base/test.h"
#include "base/time.h"
#include "os/io_mem.h"
#include "svc/glue/glue.h"

#include <pthread.h>
#include <string.h>

extern const struct service glue_service;

struct world {
    struct io_mem *disk;
    struct kv *kv;
    struct hub hub;
    void *glue;
    Str account;
};

static void start(struct world *w)
{
    struct io *io = io_mem_io(w->disk);
    struct service_env env = { .io = io, .kv = w->kv, .hub = &w->hub, .data_dir = S("") };
    EXPECT_OK(api_prepare(&glue_api));
    EXPECT_OK(glue_service.open(&env, &w->glue));
}

static void world_open(struct world *w)
{
    *w = (struct world){ .disk = io_mem_open(1), .account = S("000000000000") };
    EXPECT_OK(kv_open(io_mem_io(w->disk), S("/kv"), &w->kv));
    start(w);
}

static void world_close(struct world *w)
{
    glue_service.close(w->glue);
    kv_close(w->kv);
    io_mem_close(w->disk);
}

// A kill: nothing is closed in order, and what was not synced is gone.
static void crash(struct world *w)
{
    glue_service.close(w->glue);
    kv_close(w->kv);
    EXPECT_OK(kv_open(io_mem_io(w->disk), S("/kv"), &w->kv));
    start(w);
}

static const struct api_op *op_of(const char *name)
{
    for (size_t i = 0; i < glue_api.op_count; i++)
        if (str_eq(glue_api.ops[i].name, str_of(name)))
            return &glue_api.ops[i];
    CHECK(false);
}

// The reply's document, or "Error: text".
static Str ask(struct world *w, struct arena *a, const char *op, const char *json)
{
    struct call c = { .state = w->glue,
                      .arena = a,
                      .op = op_of(op),
                      .account = w->account,
                      .caller = w->account,
                      .region = S("us-east-1"),
                      .principal = S("arn:aws:iam::000000000000:root"),
                      .now_ns = 1700000000 * NS_PER_S + 1 };
    struct protocol_reader r;
    Str fault = { 0 };
    void *in = arena_alloc(a, c.op->input->struct_bytes, 16);
    void *out = arena_alloc(a, MAX(c.op->output->struct_bytes, (size_t)1), 16);
    protocol_json_1_1.reader_init(&r, a, str_of(json));
    EXPECT_OK(bind_decode(&r, c.op->input, a, in, &fault));
    EXPECT(fault.p == NULL);
    Str invalid = bind_validate(c.op->input, in, a);
    if (invalid.p != NULL)
        return str_cat(a, S("ValidationException: "), invalid);
    Err e = c.op->run(&c, in, out);
    if (e.kind == ERR_FAULT)
        return str_fmt(a, "%.*s: %.*s", FMT(c.error->name), FMT(c.error_text));
    EXPECT_OK(e);
    AUTO_BUF(b);
    bind_write(&protocol_json_1_1, c.op->output, out, &b);
    return str_dup(a, buf_str(&b));
}

static void expect(struct world *w, struct arena *a, const char *op, const char *json,
                   const char *want)
{
    EXPECT_STR(str_of(want), ask(w, a, op, json));
}

static void has(struct world *w, struct arena *a, const char *op, const char *json,
                const char *part)
{
    Str got = ask(w, a, op, json);
    if (str_search(got, str_of(part)) == got.n)
        test_fail(__FILE__, __LINE__, "%s: %.*s", op, FMT(got));
}

static void with_table(struct world *w, struct arena *a)
{
    world_open(w);
    expect(w, a, "CreateDatabase", "{\"DatabaseInput\":{\"Name\":\"Shop\"}}", "{}");
    expect(w, a, "CreateTable",
           "{\"DatabaseName\":\"SHOP\",\"TableInput\":{\"Name\":\"Sales\",\"StorageDescriptor\":"
           "{\"Columns\":[{\"Name\":\"Id\",\"Type\":\"bigint\"}],\"Location\":\"s3://b/s/\"},"
           "\"PartitionKeys\":[{\"Name\":\"day\",\"Type\":\"date\"},"
           "{\"Name\":\"shop\",\"Type\":\"int\"}]}}",
           "{}");
}

#define SALES "\"DatabaseName\":\"shop\",\"TableName\":\"sales\""

TEST(names_are_folded_and_what_was_acknowledged_survives)
{
    struct world w;
    with_table(&w, a);
    crash(&w);
    expect(&w, a, "GetTable", "{\"DatabaseName\":\"sHop\",\"Name\":\"sAles\"}",
           "{\"Table\":{\"CatalogId\":\"000000000000\",\"CreateTime\":1700000000,\"CreatedBy\":"
           "\"arn:aws:iam::000000000000:root\",\"DatabaseName\":\"shop\","
           "\"IsRegisteredWithLakeFormation\":false,\"Name\":\"sales\",\"PartitionKeys\":"
           "[{\"Name\":\"day\",\"Type\":\"date\"},{\"Name\":\"shop\",\"Type\":\"int\"}],"
           "\"Retention\":0,\"StorageDescriptor\":{\"Columns\":[{\"Name\":\"Id\",\"Type\":"
           "\"bigint\"}],\"Compressed\":false,\"Location\":\"s3://b/s/\",\"NumberOfBuckets\":0,"
           "\"StoredAsSubDirectories\":false},\"UpdateTime\":1700000000,\"VersionId\":\"0\"}}");
    expect(&w, a, "CreateDatabase", "{\"DatabaseInput\":{\"Name\":\"sHOP\"}}",
           "AlreadyExistsException: Database already exists.");
    expect(&w, a, "CreateTable", "{\"DatabaseName\":\"shop\",\"TableInput\":{\"Name\":\"SALES\"}}",
           "AlreadyExistsException: Table already exists.");
    world_close(&w);
}

TEST(accounts_and_catalogs_are_apart)
{
    struct world w;
    with_table(&w, a);
    w.account = S("111122223333");
    expect(&w, a, "GetDatabase", "{\"Name\":\"shop\"}",
           "EntityNotFoundException: Database shop not found.");
    expect(&w, a, "GetDatabase", "{\"CatalogId\":\"000000000000\",\"Name\":\"shop\"}",
           "EntityNotFoundException: Catalog 000000000000 not found.");
    w.account = S("000000000000");
    has(&w, a, "GetDatabase", "{\"CatalogId\":\"000000000000\",\"Name\":\"shop\"}",
        "\"Name\":\"shop\"");
    world_close(&w);
}

TEST(versions_are_kept_newest_first_and_stale_updates_refused)
{
    struct world w;
    with_table(&w, a);
    const char *update = "{\"DatabaseName\":\"shop\",\"TableInput\":{\"Name\":\"sales\","
                         "\"Owner\":\"o\"},\"VersionId\":\"0\"}";
    expect(&w, a, "UpdateTable", update, "{}");
    expect(&w, a, "UpdateTable", update,
           "ConcurrentModificationException: Update table failed due to concurrent modifications.");
    expect(&w, a, "UpdateTable",
           "{\"DatabaseName\":\"shop\",\"TableInput\":{\"Name\":\"sales\"},\"SkipArchive\":true}",
           "{}");
    for (int i = 0; i < 9; i++) // past 9: numbers are ordered as numbers
        expect(&w, a, "UpdateTable",
               "{\"DatabaseName\":\"shop\",\"TableInput\":{\"Name\":\"sales\"}}", "{}");
    has(&w, a, "GetTableVersions", "{" SALES ",\"MaxResults\":1}", "\"VersionId\":\"11\"}]");
    has(&w, a, "GetTableVersions", "{" SALES ",\"MaxResults\":1}", "\"NextToken\"");
    has(&w, a, "GetTableVersions", "{" SALES ",\"MaxResults\":1,\"NextToken\":\"MA==\"}",
        "\"VersionId\":\"10\"");
    expect(&w, a, "GetTableVersion", "{" SALES ",\"VersionId\":\"1\"}",
           "EntityNotFoundException: Version 1 not found."); // skipped
    has(&w, a, "GetTableVersion", "{" SALES ",\"VersionId\":\"0\"}", "s3://b/s/");
    expect(&w, a, "DeleteTableVersion", "{" SALES ",\"VersionId\":\"0\"}", "{}");
    expect(&w, a, "DeleteTableVersion", "{" SALES ",\"VersionId\":\"0\"}",
           "EntityNotFoundException: Version 0 not found.");
    has(&w, a, "BatchDeleteTableVersion", "{" SALES ",\"VersionIds\":[\"2\",\"3\",\"77\",\"11\"]}",
        "Version 77 not found.");
    world_close(&w);
}

TEST(partitions_are_made_found_moved_and_removed)
{
    struct world w;
    with_table(&w, a);
    expect(&w, a, "CreatePartition",
           "{" SALES ",\"PartitionInput\":{\"Values\":[\"2024-01-01\",\"7\"]}}", "{}");
    expect(&w, a, "CreatePartition",
           "{" SALES ",\"PartitionInput\":{\"Values\":[\"2024-01-01\",\"7\"]}}",
           "AlreadyExistsException: Partition already exists.");
    expect(&w, a, "CreatePartition", "{" SALES ",\"PartitionInput\":{\"Values\":[\"2024-01-01\"]}}",
           "InvalidInputException: The number of partition keys do not match the number of "
           "partition values");
    crash(&w);
    expect(&w, a, "UpdatePartition",
           "{" SALES ",\"PartitionValueList\":[\"2024-01-01\",\"7\"],\"PartitionInput\":"
           "{\"Values\":[\"2024-01-02\",\"7\"],\"Parameters\":{\"k\":\"v\"}}}",
           "{}");
    expect(&w, a, "GetPartition", "{" SALES ",\"PartitionValues\":[\"2024-01-01\",\"7\"]}",
           "EntityNotFoundException: Cannot find partition.");
    expect(&w, a, "GetPartition", "{" SALES ",\"PartitionValues\":[\"2024-01-02\",\"7\"]}",
           "{\"Partition\":{\"CatalogId\":\"000000000000\",\"CreationTime\":1700000000,"
           "\"DatabaseName\":\"shop\",\"Parameters\":{\"k\":\"v\"},\"TableName\":\"sales\","
           "\"Values\":[\"2024-01-02\",\"7\"]}}");
    expect(&w, a, "DeletePartition", "{" SALES ",\"PartitionValues\":[\"2024-01-02\",\"7\"]}",
           "{}");
    expect(&w, a, "DeletePartition", "{" SALES ",\"PartitionValues\":[\"2024-01-02\",\"7\"]}",
           "EntityNotFoundException: Cannot find partition.");
    world_close(&w);
}

TEST(values_that_look_alike_are_different_partitions)
{
    struct world w;
    with_table(&w, a);
    AUTO_BUF(b);
    for (size_t i = 0; i < 1000; i++)
        buf_add(&b, S("\xc3\xa4"));
    static const char *const pairs[][2] = {
        { "a\\u0001", "b" }, { "a", "\\u0001b" }, { "a\\u0002", "b" }, { "a\\u0002\\u0001", "b" }
    };
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        expect(&w, a, "CreatePartition",
               str_c(a, str_fmt(a, "{" SALES ",\"PartitionInput\":{\"Values\":[\"%s\",\"%s\"]}}",
                                pairs[i][0], pairs[i][1])),
               "{}");
    for (int i = 0; i < 2; i++) // longer than a key holds
        expect(&w, a, "CreatePartition",
               str_c(a, str_fmt(a, "{" SALES ",\"PartitionInput\":{\"Values\":[\"%.*s\",\"%d\"]}}",
                                FMT(buf_str(&b)), i)),
               "{}");
    has(&w, a, "GetPartition", "{" SALES ",\"PartitionValues\":[\"a\",\"\\u0001b\"]}",
        "[\"a\",\"\\u0001b\"]");
    world_close(&w);
}

static void many_partitions(struct world *w, struct arena *a, int n)
{
    for (int i = 0; i < n; i++)
        expect(w, a, "CreatePartition",
               str_c(a, str_fmt(a,
                                "{" SALES ",\"PartitionInput\":{\"Values\":"
                                "[\"2024-01-%02d\",\"%d\"],\"StorageDescriptor\":{\"Columns\":"
                                "[{\"Name\":\"x\"}]}}}",
                                1 + i % 28, i)),
               "{}");
}

static size_t count_of(Str text, Str part)
{
    size_t n = 0;
    while (str_search(text, part) < text.n) {
        text = str_skip(text, str_search(text, part) + part.n);
        n++;
    }
    return n;
}

// All pages of a request, as one text.
static Str all_pages(struct world *w, struct arena *a, const char *op, const char *request,
                     size_t *ret_pages)
{
    AUTO_BUF(b);
    Str token = S("");
    *ret_pages = 0;
    do {
        Str page =
            ask(w, a, op, str_c(a, str_fmt(a, "{%s,\"NextToken\":\"%.*s\"}", request, FMT(token))));
        buf_add(&b, page);
        ++*ret_pages;
        size_t at = str_search(page, S("\"NextToken\":\""));
        Str rest = str_skip(page, at);
        token = S("");
        if (at < page.n)
            token = str_head(str_skip(rest, 13), str_find(str_skip(rest, 13), '"'));
    } while (token.n > 0);
    return str_dup(a, buf_str(&b));
}

TEST(pages_and_segments_together_give_each_partition_once)
{
    struct world w;
    size_t pages, sum = 0;
    with_table(&w, a);
    many_partitions(&w, a, 30);
    Str all = all_pages(&w, a, "GetPartitions", SALES ",\"MaxResults\":7", &pages);
    EXPECT_INT(30, count_of(all, S("\"Values\"")));
    EXPECT_INT(5, pages);
    for (int i = 0; i < 3; i++) {
        Str part = all_pages(&w, a, "GetPartitions",
                             str_c(a, str_fmt(a,
                                              SALES ",\"Segment\":{\"SegmentNumber\":%d,"
                                                    "\"TotalSegments\":3}",
                                              i)),
                             &pages);
        sum += count_of(part, S("\"Values\""));
    }
    EXPECT_INT(30, sum);
    Str some = all_pages(&w, a, "GetPartitions",
                         SALES ",\"Expression\":\"day <= '2024-01-02' and shop > 3\","
                               "\"ExcludeColumnSchema\":true,\"MaxResults\":1",
                         &pages);
    EXPECT_INT(2, count_of(some, S("\"Values\""))); // 28 and 29
    EXPECT_INT(0, count_of(some, S("\"x\"")));
    expect(&w, a, "GetPartitions", "{" SALES ",\"Expression\":\"id = 1\"}",
           "InvalidInputException: Invalid partition expression!");
    expect(&w, a, "GetPartitions", "{" SALES ",\"NextToken\":\"?\"}",
           "InvalidInputException: Invalid token provided");
    all = all_pages(&w, a, "GetDatabases", "\"MaxResults\":1", &pages);
    EXPECT_INT(1, count_of(all, S("\"Name\"")));
    for (int i = 0; i < 3; i++)
        expect(&w, a, "CreateTable",
               str_c(a, str_fmt(a,
                                "{\"DatabaseName\":\"shop\",\"TableInput\":{\"Name\":"
                                "\"t%d\"}}",
                                i)),
               "{}");
    all = all_pages(&w, a, "GetTables",
                    "\"DatabaseName\":\"shop\",\"MaxResults\":1,\"Expression\":\"t.*\","
                    "\"AttributesToGet\":[\"NAME\"]",
                    &pages);
    EXPECT_INT(3, pages);
    EXPECT_INT(3, count_of(all, S("\"Name\":\"t")));
    world_close(&w);
}

TEST(batches_list_what_is_wrong_and_do_the_rest)
{
    struct world w;
    with_table(&w, a);
    expect(&w, a, "BatchCreatePartition",
           "{" SALES ",\"PartitionInputList\":[{\"Values\":[\"2024-01-01\",\"1\"]},"
           "{\"Values\":[\"2024-01-01\",\"1\"]},{\"Values\":[]},"
           "{\"Values\":[\"2024-01-01\",\"2\"]}]}",
           "{\"Errors\":[{\"ErrorDetail\":{\"ErrorCode\":\"AlreadyExistsException\","
           "\"ErrorMessage\":\"Partition already exists.\"},\"PartitionValues\":[\"2024-01-01\","
           "\"1\"]},{\"ErrorDetail\":{\"ErrorCode\":\"InvalidInputException\",\"ErrorMessage\":"
           "\"The number of partition keys do not match the number of partition values\"},"
           "\"PartitionValues\":[]}]}");
    expect(&w, a, "BatchUpdatePartition",
           "{" SALES ",\"Entries\":[{\"PartitionValueList\":[\"2024-01-01\",\"1\"],"
           "\"PartitionInput\":{\"Parameters\":{\"a\":\"b\"}}},{\"PartitionValueList\":"
           "[\"2024-01-01\",\"9\"],\"PartitionInput\":{}}]}",
           "{\"Errors\":[{\"PartitionValueList\":[\"2024-01-01\",\"9\"],\"ErrorDetail\":"
           "{\"ErrorCode\":\"EntityNotFoundException\",\"ErrorMessage\":\"Partition not found."
           "\"}}]}");
    has(&w, a, "BatchGetPartition",
        "{" SALES ",\"PartitionsToGet\":[{\"Values\":[\"2024-01-01\",\"9\"]},"
        "{\"Values\":[\"2024-01-01\",\"1\"]}]}",
        "\"Parameters\":{\"a\":\"b\"},\"TableName\":\"sales\",\"Values\":[\"2024-01-01\",\"1\"]}],"
        "\"UnprocessedKeys\":[]}");
    has(&w, a, "BatchDeletePartition",
        "{" SALES ",\"PartitionsToDelete\":[{\"Values\":[\"2024-01-01\",\"1\"]},"
        "{\"Values\":[\"2024-01-01\",\"1\"]}]}",
        "Partition not found.");
    world_close(&w);
}

static size_t rows_of(struct glue *s, struct kv_table *t)
{
    size_t n;
    AUTO(kv_txn) tx = kv_read(s->tables);
    kv_on(tx, t);
    EXPECT_OK(kv_count(tx, S(""), &n));
    return n;
}

TEST(what_a_dropped_table_had_is_gone_at_once_and_removed_later)
{
    struct world w;
    with_table(&w, a);
    many_partitions(&w, a, 5);
    expect(&w, a, "CreatePartitionIndex",
           "{" SALES ",\"PartitionIndex\":{\"IndexName\":\"i\",\"Keys\":[\"day\"]}}", "{}");
    expect(&w, a, "UpdateTable",
           "{\"DatabaseName\":\"shop\",\"TableInput\":{\"Name\":\"sales\",\"PartitionKeys\":"
           "[{\"Name\":\"day\",\"Type\":\"date\"},{\"Name\":\"shop\",\"Type\":\"int\"}]}}",
           "{}");
    expect(&w, a, "DeleteTable", "{\"DatabaseName\":\"shop\",\"Name\":\"sales\"}", "{}");
    expect(&w, a, "DeleteTable", "{\"DatabaseName\":\"shop\",\"Name\":\"sales\"}",
           "EntityNotFoundException: Table sales not found.");
    crash(&w);
    expect(&w, a, "CreateTable",
           "{\"DatabaseName\":\"shop\",\"TableInput\":{\"Name\":\"sales\",\"PartitionKeys\":"
           "[{\"Name\":\"day\",\"Type\":\"date\"},{\"Name\":\"shop\",\"Type\":\"int\"}]}}",
           "{}");
    expect(&w, a, "GetPartitions", "{" SALES "}", "{\"Partitions\":[]}");
    struct glue *s = w.glue;
    EXPECT_INT(0, rows_of(s, s->partitions));
    EXPECT_INT(0, rows_of(s, s->versions));
    EXPECT_INT(0, rows_of(s, s->indexes));
    EXPECT_INT(0, rows_of(s, s->dropped));
    expect(&w, a, "DeleteDatabase", "{\"Name\":\"shop\"}", "{}");
    expect(&w, a, "GetTables", "{\"DatabaseName\":\"shop\"}",
           "EntityNotFoundException: Database shop not found.");
    EXPECT_INT(0, rows_of(s, s->tables));
    EXPECT_OK(glue_sweep(s));
    EXPECT_INT(0, rows_of(s, s->counts));
    world_close(&w);
}

TEST(more_than_a_batch_is_swept_in_several)
{
    struct world w;
    with_table(&w, a);
    struct glue *s = w.glue;
    enum { ROWS = SWEEP_ROWS + 5 };
    {
        AUTO(kv_txn) tx = kv_write(s->partitions);
        for (int i = 0; i < ROWS; i++)
            EXPECT_OK(kv_put(tx, glue_id_key(a, 77, str_fmt(a, "%d", i)), S("1{}")));
        kv_on(tx, s->dropped);
        EXPECT_OK(kv_put(tx, glue_id_key(a, 77, S("")), S("")));
        EXPECT_OK(kv_commit(tx));
    }
    atomic_store(&s->has_dropped, true);
    EXPECT_OK(glue_sweep(s));
    EXPECT_INT(5, rows_of(s, s->partitions));
    EXPECT_OK(glue_sweep(s));
    EXPECT_INT(0, rows_of(s, s->partitions));
    EXPECT_OK(glue_sweep(s));
    EXPECT(!atomic_load(&s->has_dropped));
    world_close(&w);
}

TEST(limits_hold)
{
    struct world w;
    with_table(&w, a);
    struct glue *s = w.glue;
    Place p = { .account = w.account, .region = S("us-east-1"), .database = S("shop") };
    const Str keys[] = { glue_count_key(a, 'd', glue_database_prefix(a, &p)),
                         glue_count_key(a, 't', glue_database_key(a, &p)) };
    const char *const most[] = { "10000", "200000" };
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        AUTO(kv_txn) tx = kv_write(s->counts);
        EXPECT_OK(kv_put(tx, keys[i], str_of(most[i])));
        EXPECT_OK(kv_commit(tx));
    }
    expect(&w, a, "CreateDatabase", "{\"DatabaseInput\":{\"Name\":\"x\"}}",
           "ResourceNumberLimitExceededException: Number of DATABASE resources exceeds the account "
           "limit 10000");
    expect(&w, a, "CreateTable", "{\"DatabaseName\":\"shop\",\"TableInput\":{\"Name\":\"x\"}}",
           "ResourceNumberLimitExceededException: Number of TABLE resources exceeds the account "
           "limit 200000");
    world_close(&w);
}

static HubCatalogFault look(struct world *w, struct arena *a, const char *database,
                            const char *table, const char *version, HubTable *ret)
{
    HubActor as = { .account = S("000000000000"), .region = S("us-east-1") };
    HubTableName name = { .database = str_of(database),
                          .table = str_of(table),
                          .version = str_of(version) };
    HubCatalogAnswer answer;
    EXPECT_OK(w->hub.catalog->table(w->hub.catalog->self, a, &as, &name, ret, &answer));
    return answer.fault;
}

TEST(other_services_get_columns_of_a_version)
{
    struct world w;
    HubTable t;
    with_table(&w, a);
    expect(&w, a, "UpdateTable", "{\"DatabaseName\":\"shop\",\"TableInput\":{\"Name\":\"sales\"}}",
           "{}");
    EXPECT_INT(HUB_CATALOG_GOOD, look(&w, a, "Shop", "SALES", "LATEST", &t));
    EXPECT_STR(S("1"), t.version);
    EXPECT_INT(0, t.column_count);
    EXPECT_INT(HUB_CATALOG_GOOD, look(&w, a, "shop", "sales", "0", &t));
    EXPECT_INT(1, t.column_count);
    EXPECT_STR(S("Id"), t.columns[0].name);
    EXPECT_STR(S("bigint"), t.columns[0].type);
    EXPECT_INT(2, t.partition_key_count);
    EXPECT_STR(S("s3://b/s/"), t.location);
    EXPECT_STR(S("sales"), t.name);
    EXPECT_INT(HUB_CATALOG_NO_VERSION, look(&w, a, "shop", "sales", "9", &t));
    EXPECT_INT(HUB_CATALOG_NO_TABLE, look(&w, a, "shop", "none", "", &t));
    EXPECT_INT(HUB_CATALOG_NO_DATABASE, look(&w, a, "none", "none", "", &t));
    world_close(&w);
}

// ---- Several at once

enum { WRITERS = 4, UPDATES = 15 };

static void *update_often(void *self)
{
    struct world *w = self;
    for (size_t done = 0; done < UPDATES;) {
        AUTO(arena) a = arena_open();
        Str table = ask(w, a, "GetTable", "{\"DatabaseName\":\"shop\",\"Name\":\"sales\"}");
        Str version = str_skip(table, str_search(table, S("\"VersionId\":")));
        version = str_head(version, str_find(version, '}'));
        Str update =
            str_fmt(a, "{\"DatabaseName\":\"shop\",\"TableInput\":{\"Name\":\"sales\"},%.*s}",
                    FMT(version));
        Str said = ask(w, a, "UpdateTable", str_c(a, update));
        if (str_eq(said, S("{}")))
            done++;
        else
            EXPECT(str_starts(said, S("ConcurrentModificationException: ")));
    }
    return NULL;
}

TEST(of_updates_of_one_version_one_wins)
{
    struct world w;
    pthread_t threads[WRITERS];
    with_table(&w, a);
    for (size_t i = 0; i < WRITERS; i++)
        EXPECT(pthread_create(&threads[i], NULL, update_often, &w) == 0);
    for (size_t i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    has(&w, a, "GetTable", "{\"DatabaseName\":\"shop\",\"Name\":\"sales\"}",
        "\"VersionId\":\"60\"");
    EXPECT_INT(WRITERS * UPDATES, rows_of(w.glue, ((struct glue *)w.glue)->versions));
    world_close(&w);
}

TEST(a_row_that_cannot_be_read_is_told)
{
    struct world w;
    with_table(&w, a);
    struct glue *s = w.glue;
    static const char *const bad[] = { "",
                                       "1",
                                       "10000000000000001",
                                       "1000000000000000x{}",
                                       "2000000000000001{}",
                                       "10000000000000001[]" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        TableRow row;
        ErrKind want = bad[i][0] == '2' ? ERR_FORMAT : ERR_CORRUPT;
        EXPECT_ERR(want, glue_read_table(s, a, str_of(bad[i]), &row));
    }
    world_close(&w);
}

// ---- Statistics, functions, policy

#define IDS                                                                                   \
    "{\"ColumnName\":\"id\",\"ColumnType\":\"bigint\",\"AnalyzedTime\":1,\"StatisticsData\":" \
    "{\"Type\":\"LONG\",\"LongColumnStatisticsData\":{\"NumberOfNulls\":1,"                   \
    "\"NumberOfDistinctValues\":2}}}"

TEST(column_statistics_survive_and_leave_nothing_when_their_partition_or_table_goes)
{
    struct world w;
    with_table(&w, a);
    expect(&w, a, "CreatePartition",
           "{" SALES ",\"PartitionInput\":{\"Values\":[\"2024-01-01\",\"1\"]}}", "{}");
    expect(&w, a, "UpdateColumnStatisticsForTable",
           "{" SALES ",\"ColumnStatisticsList\":[" IDS "]}", "{\"Errors\":[]}");
    expect(&w, a, "UpdateColumnStatisticsForPartition",
           "{" SALES ",\"PartitionValues\":[\"2024-01-01\",\"1\"],\"ColumnStatisticsList\":[" IDS
           "]}",
           "{\"Errors\":[]}");
    crash(&w);
    has(&w, a, "GetColumnStatisticsForTable", "{" SALES ",\"ColumnNames\":[\"ID\"]}",
        "\"NumberOfDistinctValues\":2");
    EXPECT_INT(2, rows_of(w.glue, ((struct glue *)w.glue)->statistics));
    expect(&w, a, "UpdatePartition",
           "{" SALES ",\"PartitionValueList\":[\"2024-01-01\",\"1\"],\"PartitionInput\":"
           "{\"Values\":[\"2024-01-02\",\"1\"]}}",
           "{}");
    EXPECT_INT(1,
               rows_of(w.glue, ((struct glue *)w.glue)->statistics)); // it is another partition now
    expect(&w, a, "DeleteTable", "{\"DatabaseName\":\"shop\",\"Name\":\"sales\"}", "{}");
    expect(&w, a, "CreateDatabase", "{\"DatabaseInput\":{\"Name\":\"x\"}}", "{}"); // sweeps
    EXPECT_INT(0, rows_of(w.glue, ((struct glue *)w.glue)->statistics));
    world_close(&w);
}

TEST(a_database_has_so_many_functions_and_takes_them_with_it)
{
    struct world w;
    with_table(&w, a);
    for (int i = 0; i < FUNCTIONS_MAX; i++) {
        Str json = str_fmt(
            a, "{\"DatabaseName\":\"shop\",\"FunctionInput\":{\"FunctionName\":\"f%d\"}}", i);
        expect(&w, a, "CreateUserDefinedFunction", str_c(a, json), "{}");
    }
    has(&w, a, "CreateUserDefinedFunction",
        "{\"DatabaseName\":\"shop\",\"FunctionInput\":{\"FunctionName\":\"g\"}}",
        "ResourceNumberLimitExceededException");
    expect(&w, a, "DeleteDatabase", "{\"Name\":\"shop\"}", "{}");
    EXPECT_INT(0, rows_of(w.glue, ((struct glue *)w.glue)->functions));
    world_close(&w);
}

static bool has_policy(struct glue *s, struct arena *a, Str account)
{
    struct policy *found = glue_policy(s, a, account, S("us-east-1"));
    policy_unref(found);
    return found != NULL;
}

TEST(a_policy_is_understood_after_a_restart_and_too_large_a_one_is_refused)
{
    struct world w;
    with_table(&w, a);
    const char *put = "{\"PolicyInJson\":\"{\\\"Version\\\":\\\"2012-10-17\\\","
                      "\\\"Statement\\\":{\\\"Effect\\\":\\\"Allow\\\",\\\"Principal\\\":"
                      "\\\"*\\\",\\\"Action\\\":\\\"glue:*\\\",\\\"Resource\\\":\\\"*"
                      "\\\"}}\"}";
    has(&w, a, "PutResourcePolicy", put, "PolicyHash");
    crash(&w);
    EXPECT(has_policy(w.glue, a, w.account));
    char *spaces = arena_alloc(a, POLICY_DOCUMENT_BYTES_MAX + 1, 1);
    memset(spaces, ' ', POLICY_DOCUMENT_BYTES_MAX);
    has(&w, a, "PutResourcePolicy", str_c(a, str_fmt(a, "{\"PolicyInJson\":\"{}%s\"}", spaces)),
        "larger than 10 KB");
    world_close(&w);
}

struct policy_writer {
    struct world *w;
    pthread_barrier_t *all;
    const char *document;
    pthread_t thread;
};

static void *put_policy(void *self)
{
    struct policy_writer *p = self;
    AUTO(arena) a = arena_open();
    pthread_barrier_wait(p->all);
    has(p->w, a, "PutResourcePolicy", p->document, "PolicyHash");
    return NULL;
}

// Their commits end together, which says nothing of who goes on first.
TEST(of_policies_that_are_put_at_once_the_stored_one_is_in_force)
{
#define POLICY_OF(effect)                                                                          \
    "{\"PolicyInJson\":\"{\\\"Version\\\":\\\"2012-10-17\\\",\\\"Statement\\\":{"                  \
    "\\\"Effect\\\":\\\"" effect "\\\",\\\"Principal\\\":\\\"*\\\",\\\"Action\\\":\\\"glue:*\\\"," \
    "\\\"Resource\\\":\\\"*\\\"}}\"}"
    static const char *const documents[] = { POLICY_OF("Allow"), POLICY_OF("Deny") };
    enum { ROUNDS = 40, PUTTERS = 4 };
    struct world w;
    world_open(&w);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_t barrier;
        struct policy_writer writers[PUTTERS];
        pthread_barrier_init(&barrier, NULL, PUTTERS);
        for (size_t i = 0; i < PUTTERS; i++) {
            writers[i] = (struct policy_writer){ &w, &barrier, documents[i % 2], 0 };
            EXPECT(pthread_create(&writers[i].thread, NULL, put_policy, &writers[i]) == 0);
        }
        for (size_t i = 0; i < PUTTERS; i++)
            pthread_join(writers[i].thread, NULL);
        pthread_barrier_destroy(&barrier);
        Str shown = ask(&w, a, "GetResourcePolicy", "{}");
        AUTO(policy) in_force = glue_policy(w.glue, a, w.account, S("us-east-1"));
        bool shows_allow = str_search(shown, S("Allow")) < shown.n;
        Str document = policy_document(in_force);
        EXPECT(shows_allow == (str_search(document, S("Allow")) < document.n));
    }
    world_close(&w);
}

TEST(there_are_so_many_registries_and_what_one_has_goes_with_it)
{
    struct world w;
    struct glue *s;
    world_open(&w);
    s = w.glue;
    for (int i = 0; i < 100; i++)
        has(&w, a, "CreateRegistry", str_c(a, str_fmt(a, "{\"RegistryName\":\"r%d\"}", i)),
            "RegistryArn");
    has(&w, a, "CreateRegistry", "{\"RegistryName\":\"more\"}",
        "ResourceNumberLimitExceededException");
    for (int i = 0; i < 3; i++)
        has(&w, a, "CreateSchema",
            str_c(a, str_fmt(a,
                             "{\"RegistryId\":{\"RegistryName\":\"r1\"},\"SchemaName\":\"s%d\","
                             "\"DataFormat\":\"AVRO\",\"SchemaDefinition\":\"\\\"int\\\"\"}",
                             i)),
            "\"SchemaVersionStatus\":\"AVAILABLE\"");
    crash(&w);
    s = w.glue;
    EXPECT_INT(3, rows_of(s, s->schema_versions));
    has(&w, a, "DeleteRegistry", "{\"RegistryId\":{\"RegistryName\":\"r1\"}}", "DELETING");
    EXPECT_INT(0, rows_of(s, s->schemas));
    EXPECT_INT(0, rows_of(s, s->schema_versions));
    EXPECT_INT(0, rows_of(s, s->schema_ids));
    EXPECT_INT(99, rows_of(s, s->registries));
    world_close(&w);
}

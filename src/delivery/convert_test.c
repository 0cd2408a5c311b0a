// SPDX-License-Identifier: Apache-2.0
// Conversion to columnar files, with a catalog of the test's own.
#include "base/test.h"
#include "codec/json.h"
#include "columnar/columnar.h"
#include "delivery/test_world.h"
#include "hub/catalog.h"

static struct test_world world;

static struct play_catalog {
    struct hub_catalog offer;
    HubCatalogFault fault;
    const char *type, *version;
    size_t asked;
} catalog;

static Err play_table(void *self, struct arena *a, const HubActor *as, const HubTableName *name,
                      HubTable *ret, HubCatalogAnswer *ret_answer)
{
    struct play_catalog *c = self;
    (void)as;
    c->asked++;
    *ret_answer = (HubCatalogAnswer){ .fault = c->fault, .text = S("no such table") };
    if (c->fault != HUB_CATALOG_GOOD)
        return OK;
    HubColumn *columns = arena_new(a, HubColumn, 2);
    columns[0] = (HubColumn){ S_INIT("id"), S_INIT("bigint") };
    columns[1] = (HubColumn){ S_INIT("v"), str_of(c->type) };
    *ret = (HubTable){ .database = name->database,
                       .name = name->table,
                       .version = str_of(c->version),
                       .columns = columns,
                       .column_count = 2 };
    return OK;
}

static struct delivery *begin(struct test_world *w, bool orc)
{
    catalog = (struct play_catalog){ .type = "string", .version = "0" };
    catalog.offer = (struct hub_catalog){ .self = &catalog, .table = play_table };
    world_open(w);
    w->hub.catalog = &catalog.offer;
    DeliveryConfig c = world_config(w, 7);
    c.conversion = (DeliveryConversion){
        .enabled = true, .database = S("db"), .table = S("t"), .case_insensitive = true, .orc = orc
    };
    return world_add(w, &c);
}

static void end(struct test_world *w, struct delivery *v)
{
    delivery_remove(v);
    world_close(w);
}

static uint64_t rows_of(struct test_world *w, size_t object)
{
    uint64_t rows = 0;
    size_t tail;
    EXPECT_OK(columnar_parquet_rows(buf_str(&w->objects[object].bytes), &rows, &tail));
    return rows;
}

TEST(records_become_rows_of_a_parquet_file)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, false);
    world_put_one(w, v, S("{\"id\":1,\"v\":\"one\"}{\"id\":2}"));
    world_put_one(w, v, S("{\"id\":3,\"v\":\"three\"}\n"));
    world_advance(w, 60000);
    EXPECT_INT(1, w->object_n);
    EXPECT(str_ends(str_of(w->objects[0].key), S(".parquet")));
    EXPECT_INT(3, rows_of(w, 0));
    EXPECT_INT(1, catalog.asked);
    end(w, v);
}

TEST(records_become_rows_of_an_orc_file)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, true);
    world_put_one(w, v, S("{\"id\":1,\"v\":\"one\"}"));
    world_advance(w, 60000);
    EXPECT(str_ends(str_of(w->objects[0].key), S(".orc")));
    EXPECT(str_starts(buf_str(&w->objects[0].bytes), S("ORC")));
    end(w, v);
}

static JsonValue *failed_line(struct test_world *w, struct arena *a, size_t n)
{
    Str all = world_content(w, a, S("format-conversion-failed/2018/08/27/10/")), line = { 0 };
    JsonValue *v;
    for (size_t i = 0; i <= n; i++)
        EXPECT(str_cut(all, '\n', &line, &all));
    EXPECT_OK(json_parse(a, line, &v));
    return v;
}

TEST(what_is_no_row_goes_to_the_error_prefix)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, false);
    world_put(w, v, (Str[]){ S("{\"id\":1}"), S("no json"), S("{\"id\":\"x\"}"), S("{\"id\":4}") },
              4);
    world_advance(w, 60000);
    EXPECT_INT(2, w->object_n);
    size_t parquet = str_ends(str_of(w->objects[0].key), S(".parquet")) ? 0 : 1;
    EXPECT_INT(2, rows_of(w, parquet));
    JsonValue *first = failed_line(w, a, 0), *second = failed_line(w, a, 1);
    EXPECT_STR(S("DataFormatConversion.MalformedData"), json_text(first, S("lastErrorCode")));
    EXPECT(json_text(first, S("lastErrorMessage")).n > 0);
    EXPECT_STR(S("bm8ganNvbg=="), json_text(first, S("rawData")));
    EXPECT_INT(0, json_find(first, S("subSequenceNumber"))->integer);
    const JsonValue *table = json_find(first, S("dataCatalogTable"));
    EXPECT_STR(S("db"), json_text(table, S("databaseName")));
    EXPECT_STR(S("t"), json_text(table, S("tableName")));
    EXPECT_STR(S("LATEST"), json_text(table, S("versionId")));
    EXPECT_STR(S("000000000000"), json_text(table, S("catalogId")));
    EXPECT_STR(S("DataFormatConversion.ParseError"), json_text(second, S("lastErrorCode")));
    end(w, v);
}

TEST(a_batch_without_a_row_makes_no_file)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, false);
    world_put_one(w, v, S("nothing"));
    world_advance(w, 60000);
    EXPECT_INT(1, w->object_n);
    EXPECT_INT(1, world_count(w, S("format-conversion-failed/")));
    EXPECT(!str_ends(str_of(w->objects[0].key), S(".parquet")));
    end(w, v);
}

TEST(a_newer_table_counts_from_the_next_batch_on)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, false);
    world_put_one(w, v, S("{\"id\":1,\"v\":{\"a\":1}}"));
    world_advance(w, 60000);
    catalog.type = "struct<a:int>";
    catalog.version = "1";
    world_put_one(w, v, S("{\"id\":1,\"v\":{\"a\":\"x\"}}")); // a string before, now no int
    world_advance(w, 60000);
    EXPECT_INT(2, w->object_n);
    EXPECT_INT(1, world_count(w, S("format-conversion-failed/")));
    end(w, v);
}

TEST(a_table_that_cannot_be_written_fails_records_and_a_missing_one_is_waited_for)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, false);
    catalog.type = "uniontype<int,string>";
    world_put_one(w, v, S("{\"id\":1}"));
    world_advance(w, 60000);
    EXPECT_STR(S("DataFormatConversion.InvalidSchema"),
               json_text(failed_line(w, a, 0), S("lastErrorCode")));
    EXPECT_INT(1, w->object_n);
    catalog.fault = HUB_CATALOG_NO_TABLE;
    world_put_one(w, v, S("{\"id\":2}"));
    world_advance(w, 60000);
    EXPECT_INT(1, w->object_n);
    DeliveryState state;
    delivery_state(v, a, &state);
    EXPECT_STR(S("DataFormatConversion.EntityNotFoundException"), state.last_code);
    EXPECT_STR(S("no such table"), state.last_error);
    catalog.fault = HUB_CATALOG_GOOD;
    catalog.type = "string";
    catalog.version = "1";
    world_advance(w, 2000);
    EXPECT_INT(2, w->object_n);
    EXPECT_INT(1, rows_of(w, 1));
    end(w, v);
}

TEST(options_that_cannot_be_used_are_refused)
{
    struct test_world *w = &world;
    struct delivery *v = begin(w, false);
    DeliveryConfig c = world_config(w, 8);
    Str text, format = S("yyyy-'open");
    c.conversion = (DeliveryConversion){ .enabled = true, .hive = true };
    EXPECT_OK(delivery_check(w->deliveries, &c, a, &text));
    c.conversion.time_formats = &format;
    c.conversion.time_format_count = 1;
    EXPECT_ERR(ERR_INVALID, delivery_check(w->deliveries, &c, a, &text));
    EXPECT(text.n > 0);
    arena_close(c.arena);
    end(w, v);
}

// Partitions' files stay open from one reading to the next.
TEST(a_newer_table_leaves_files_that_are_open_as_they_are)
{
    static const DeliveryStep query = { .kind = STEP_METADATA, .query = S_INIT("{k:.id}") };
    struct test_world *w = &world;
    delivery_remove(begin(w, false));
    DeliveryConfig c = world_config(w, 7);
    c.conversion = (DeliveryConversion){
        .enabled = true, .database = S("db"), .table = S("t"), .case_insensitive = true
    };
    c.partitioned = true;
    c.steps = &query;
    c.step_count = 1;
    c.s3.prefix = S("k=!{partitionKeyFromQuery:k}/!{timestamp:yyyy}/");
    c.s3.error_prefix = S("errors/!{firehose:error-output-type}/");
    struct delivery *v = world_add(w, &c);
    world_put_one(w, v, S("{\"id\":1,\"v\":\"one\"}"));
    world_advance(w, 30000); // it is read, and its file is open
    catalog.type = "int";
    catalog.version = "1";
    world_put_one(w, v, S("{\"id\":2,\"v\":2}"));
    world_put_one(w, v, S("{\"id\":1,\"v\":\"another\"}")); // into the file of texts
    world_advance(w, 30000);
    world_advance(w, 60000);
    EXPECT_INT(1, world_count(w, S("k=1/")));
    EXPECT_INT(1, world_count(w, S("k=2/")));
    EXPECT_INT(2, w->object_n);
    end(w, v);
}

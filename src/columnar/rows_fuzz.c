// SPDX-License-Identifier: Apache-2.0
// Records into a table of every type. The first byte chooses the deserializer. A record that is
// refused leaves every column as it was; one that is taken is taken again, with as many rows.
#include "columnar/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ColumnarColumn columns[] = {
    { S_INIT("b"), S_INIT("boolean") },
    { S_INIT("y"), S_INIT("tinyint") },
    { S_INIT("i"), S_INIT("int") },
    { S_INIT("l"), S_INIT("bigint") },
    { S_INIT("f"), S_INIT("float") },
    { S_INIT("d"), S_INIT("double") },
    { S_INIT("n"), S_INIT("decimal(38,9)") },
    { S_INIT("s"), S_INIT("string") },
    { S_INIT("v"), S_INIT("varchar(3)") },
    { S_INIT("c"), S_INIT("char(2)") },
    { S_INIT("t"), S_INIT("timestamp") },
    { S_INIT("e"), S_INIT("date") },
    { S_INIT("a"), S_INIT("array<int>") },
    { S_INIT("m"), S_INIT("map<string,array<string>>") },
    { S_INIT("k"), S_INIT("map<int,int>") },
    { S_INIT("o"), S_INIT("struct<x:int,y:struct<z:array<struct<q:string>>>>") },
};

// Counts of every column, as one number.
static uint64_t sum(const struct column *c)
{
    CHECK(c->dense <= c->n);
    uint64_t all = c->n + 3 * c->dense + 7 * c->bytes_n + 11 * c->elements;
    for (size_t i = 0; i < c->type->child_count; i++) {
        const struct column *child = &c->children[i];
        CHECK(child->n == (c->type->kind == TYPE_STRUCT ? c->dense : c->elements));
        all = all * 31 + sum(child);
    }
    return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const Str formats[] = { S_INIT("yyyyMMdd'T'HHmmss.SSS Z"), S_INIT("millis"),
                                   S_INIT("E, d MMM yyyy hh:mm:ss a") };
    if (size == 0)
        return 0;
    ColumnarDeserializer from = { .serde = data[0] & 1 ? COLUMNAR_HIVE : COLUMNAR_OPENX,
                                  .case_sensitive = data[0] & 2,
                                  .dots_to_underscores = data[0] & 4,
                                  .timestamp_formats = formats,
                                  .timestamp_format_count = data[0] & 8 ? COUNT_OF(formats) : 0 };
    AUTO(columnar_schema) s = NULL;
    struct rows r;
    ColumnarProblem problem;
    CHECK(columnar_schema_parse(columns, COUNT_OF(columns), &problem, &s).kind == ERR_NONE);
    CHECK(rows_init(&r, s, &from, &problem).kind == ERR_NONE);
    uint64_t rows = 0, again = 0;
    Str record = str_from(data + 1, size - 1);
    CHECK(rows_read(&r, S("{\"i\":1,\"s\":\"x\"}"), &rows, &problem).kind == ERR_NONE && rows == 1);
    uint64_t before = sum(&r.root);
    Err e = rows_read(&r, record, &rows, &problem);
    if (e.kind != ERR_NONE) {
        CHECK(sum(&r.root) == before);
    } else {
        sum(&r.root);
        CHECK(rows_read(&r, record, &again, &problem).kind == ERR_NONE && again == rows);
        CHECK(r.root.n == 1 + 2 * rows);
        column_truncate(&r.root, 1);
        CHECK(sum(&r.root) == before);
    }
    rows_done(&r);
    return 0;
}

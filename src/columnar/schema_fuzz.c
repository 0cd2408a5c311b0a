// SPDX-License-Identifier: Apache-2.0
// Lines of "name type": what is accepted can be written as both formats.
#include "columnar/columnar.h"

enum { COLUMNS_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Err count(void *bytes, Str more)
{
    *(size_t *)bytes += more.n;
    return OK;
}

static void write_one(ColumnarFormat format, const struct columnar_schema *s)
{
    AUTO(columnar_writer) w = NULL;
    ColumnarProblem problem;
    ColumnarOptions o = columnar_defaults(format);
    size_t bytes = 0;
    if (columnar_writer_open(&o, s, (ColumnarSink){ count, &bytes }, &problem, &w).kind != ERR_NONE)
        return; // names that differ in case alone
    CHECK(columnar_writer_json(w, S("{}{}"), NULL, &problem).kind == ERR_NONE);
    CHECK(columnar_writer_finish(w).kind == ERR_NONE);
    CHECK(bytes > 0 && bytes == columnar_writer_written(w));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(columnar_schema) s = NULL;
    ColumnarColumn columns[COLUMNS_MAX];
    ColumnarProblem problem;
    size_t n = 0;
    Str rest = str_from(data, size), line;
    while (rest.n > 0 && n < COLUMNS_MAX) {
        str_cut(rest, '\n', &line, &rest);
        str_cut(line, ' ', &columns[n].name, &columns[n].type);
        n++;
    }
    if (columnar_schema_parse(columns, n, &problem, &s).kind != ERR_NONE)
        return 0;
    write_one(COLUMNAR_PARQUET, s);
    write_one(COLUMNAR_ORC, s);
    return 0;
}

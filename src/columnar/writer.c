// SPDX-License-Identifier: Apache-2.0
#include "columnar/orc.h"
#include "columnar/parquet.h"
#include "columnar/rows.h"

#include <math.h>
#include <stdlib.h>

enum {
    // JSON that becomes one batch: what it makes stays in the processor's second cache, while it is
    // encoded column by column.
    BATCH_BYTES_MAX = 128 << 10,
    BATCH_BYTES_MIN = 16 << 10,
    BATCH_CELLS_MAX = 1 << 20, // nulls of members that are not there
    ZEROS_BYTES = 4096,
    PAGE_BYTES_MIN = 1024,
    PAGE_BYTES_MAX = 256 << 20,
    DEFAULT_STRIDE = 10000,
};

struct columnar_writer {
    struct rows rows;
    struct out out;
    struct parquet *parquet; // one of the two
    struct orc *orc;
    size_t batch_bytes, batch_bytes_max; // of JSON
    uint64_t batch_cells, row_count;
    bool finished;
    Err err; // that ended the file
};

Err out_zeros(struct out *o, uint64_t n)
{
    static const char zeros[ZEROS_BYTES];
    while (n > 0) {
        size_t piece = (size_t)MIN(n, (uint64_t)sizeof zeros);
        TRY(out_add(o, str_from(zeros, piece)));
        n -= piece;
    }
    return OK;
}

ColumnarOptions columnar_defaults(ColumnarFormat format)
{
    return (ColumnarOptions){
        .format = format,
        .parquet = { .compression = COLUMNAR_SNAPPY,
                     .block_bytes = UINT64_C(256) << 20,
                     .page_bytes = UINT64_C(1) << 20 },
        .orc = { .compression = COLUMNAR_SNAPPY,
                 .stripe_bytes = UINT64_C(64) << 20,
                 .block_bytes = UINT64_C(256) << 20,
                 .row_index_stride = DEFAULT_STRIDE,
                 .padding_tolerance = 0.05,
                 .bloom_fpp = 0.05 },
    };
}

static bool is_share(double x)
{
    return x >= 0 && x <= 1;
}

static Err check_options(const ColumnarOptions *o, ColumnarProblem *problem)
{
    bool parquet = o->format == COLUMNAR_PARQUET;
    if (parquet && (o->parquet.block_bytes == 0 || o->parquet.page_bytes == 0))
        return problem_set(problem, COLUMNAR_OPTION, "a block or page has no size");
    if (!parquet && (o->orc.stripe_bytes == 0 || o->orc.block_bytes == 0))
        return problem_set(problem, COLUMNAR_OPTION, "a stripe or block has no size");
    if (!parquet && o->orc.row_index_stride == 0)
        return problem_set(problem, COLUMNAR_OPTION, "the row index has no stride");
    if (!parquet && (!is_share(o->orc.padding_tolerance) || !is_share(o->orc.dictionary_threshold)))
        return problem_set(problem, COLUMNAR_OPTION,
                           "a tolerance or threshold is not between 0 and 1");
    if (!parquet && o->orc.bloom_column_count > 0 &&
        !(o->orc.bloom_fpp > 0 && o->orc.bloom_fpp < 1))
        return problem_set(problem, COLUMNAR_OPTION,
                           "the false positive probability is not between 0 and 1");
    return OK;
}

static bool has_column(const struct columnar_schema *s, Str name)
{
    for (size_t i = 0; i < s->root.child_count; i++)
        if (str_eq_nocase(s->root.children[i].name, name))
            return true;
    return false;
}

static Err check_deserializer(const ColumnarDeserializer *d, const struct columnar_schema *s,
                              ColumnarProblem *problem)
{
    for (size_t i = 0; d->serde == COLUMNAR_HIVE && i < s->root.child_count; i++) {
        Str name = s->root.children[i].name;
        if (str_find(name, '.') < name.n)
            return problem_set(
                problem, COLUMNAR_SCHEMA,
                "the column '%.*s' has a dot, which the Hive JSON SerDe does not take",
                FMT(str_head(name, 100)));
    }
    for (size_t i = 0; d->serde == COLUMNAR_OPENX && i < d->mapping_count; i++)
        if (!has_column(s, d->mappings[i].column))
            return problem_set(problem, COLUMNAR_OPTION,
                               "there is no column '%.*s' that a JSON key is mapped to",
                               FMT(str_head(d->mappings[i].column, 100)));
    return OK;
}

static Err open_file(struct columnar_writer *w, const ColumnarOptions *o,
                     const struct columnar_schema *s, ColumnarProblem *problem)
{
    if (o->format == COLUMNAR_ORC) {
        ColumnarOrc orc = o->orc;
        orc.stripe_bytes = MIN(orc.stripe_bytes, COLUMNAR_BLOCK_BYTES_MAX);
        w->batch_bytes_max = BATCH_BYTES_MAX;
        return orc_open(&orc, s, &w->out, problem, &w->orc);
    }
    ColumnarParquet parquet = o->parquet;
    parquet.block_bytes = MIN(parquet.block_bytes, COLUMNAR_BLOCK_BYTES_MAX);
    parquet.page_bytes =
        MIN(MAX(parquet.page_bytes, (uint64_t)PAGE_BYTES_MIN), (uint64_t)PAGE_BYTES_MAX);
    w->batch_bytes_max = (size_t)MIN(MAX(parquet.page_bytes / 4, (uint64_t)BATCH_BYTES_MIN),
                                     (uint64_t)BATCH_BYTES_MAX);
    return parquet_open(&parquet, s, &w->out, &w->parquet);
}

Err columnar_writer_open(const ColumnarOptions *o, const struct columnar_schema *s,
                         ColumnarSink sink, ColumnarProblem *problem, struct columnar_writer **ret)
{
    TRY(check_options(o, problem));
    TRY(check_deserializer(&o->from, s, problem));
    AUTO(columnar_writer) w = xalloc(sizeof *w);
    w->out.sink = sink;
    TRY(rows_init(&w->rows, s, &o->from, problem));
    TRY(open_file(w, o, s, problem));
    *ret = w;
    w = NULL;
    return OK;
}

void columnar_writer_close(struct columnar_writer *w)
{
    if (w == NULL)
        return;
    rows_done(&w->rows);
    parquet_close(w->parquet);
    orc_close(w->orc);
    free(w);
}

static Err end_batch(struct columnar_writer *w)
{
    if (w->rows.root.n > 0)
        TRY(w->orc != NULL ? orc_add(w->orc, &w->rows.root)
                           : parquet_add(w->parquet, &w->rows.root));
    rows_clear(&w->rows);
    w->batch_bytes = 0;
    w->batch_cells = 0;
    return OK;
}

Err columnar_writer_json(struct columnar_writer *w, Str record, uint64_t *ret_rows,
                         ColumnarProblem *problem)
{
    CHECK(!w->finished);
    TRY(w->err);
    uint64_t rows;
    Err e = rows_read(&w->rows, record, &rows, problem);
    if (e.kind == ERR_INVALID)
        return e;
    if (e.kind == ERR_NONE) {
        w->row_count += rows;
        w->batch_bytes += record.n;
        w->batch_cells += w->rows.cells;
        if (w->batch_bytes >= w->batch_bytes_max || w->batch_cells >= BATCH_CELLS_MAX)
            e = end_batch(w);
    }
    w->err = e;
    if (e.kind == ERR_NONE && ret_rows != NULL)
        *ret_rows = rows;
    return e;
}

Err columnar_writer_finish(struct columnar_writer *w)
{
    CHECK(!w->finished);
    TRY(w->err);
    w->finished = true;
    w->err = end_batch(w);
    TRY(w->err);
    w->err = w->orc != NULL ? orc_finish(w->orc) : parquet_finish(w->parquet);
    return w->err;
}

uint64_t columnar_writer_rows(const struct columnar_writer *w)
{
    return w->row_count;
}

uint64_t columnar_writer_written(const struct columnar_writer *w)
{
    return w->out.written;
}

size_t columnar_writer_bytes(const struct columnar_writer *w)
{
    return sizeof *w + rows_bytes(&w->rows) +
           (w->orc != NULL ? orc_bytes(w->orc) : parquet_bytes(w->parquet));
}

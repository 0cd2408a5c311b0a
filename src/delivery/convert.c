// SPDX-License-Identifier: Apache-2.0
// Rows in JSON to Parquet or ORC, by a table of the Data Catalog (Firehose developer guide, "Record
// format conversion"). The table is looked for once in a batch; what is known of its newest version
// is kept as long as there is no newer one.
#include "columnar/columnar.h"
#include "delivery/delivery_priv.h"
#include "hub/catalog.h"

#include <stdlib.h>

// Held by its lane and by outputs whose writers were made with it: the table may change while they
// are open. Of the run.
struct schema {
    size_t refs;
    struct arena *arena;
    Str version;
    struct columnar_schema *is;           // NULL: the table's columns cannot be written
    char problem[COLUMNAR_PROBLEM_BYTES]; // then
};

void convert_close(struct lane *l)
{
    convert_schema_unref(l->schema);
    l->schema = NULL;
    l->is_schema_fresh = false;
}

void convert_schema_unref(struct schema *s)
{
    if (s == NULL || --s->refs > 0)
        return;
    columnar_schema_close(s->is);
    arena_close(s->arena);
    free(s);
}

// ---- Options

static ColumnarCompression codec_of(Str word)
{
    if (str_eq(word, S("GZIP")) || str_eq(word, S("ZLIB")))
        return COLUMNAR_GZIP;
    return str_eq(word, S("SNAPPY")) || word.n == 0 ? COLUMNAR_SNAPPY : COLUMNAR_UNCOMPRESSED;
}

static void set_reader(struct arena *a, const DeliveryConversion *c, ColumnarDeserializer *to)
{
    ColumnarMapping *mappings = arena_new(a, ColumnarMapping, c->column_count + 1);
    for (size_t i = 0; i < c->column_count; i++)
        mappings[i] = (ColumnarMapping){ c->columns[i].name, c->columns[i].value };
    to->serde = c->hive ? COLUMNAR_HIVE : COLUMNAR_OPENX;
    to->case_sensitive = !c->hive && !c->case_insensitive;
    to->dots_to_underscores = c->dots_to_underscores;
    to->mappings = mappings;
    to->mapping_count = c->column_count;
    to->timestamp_formats = c->time_formats;
    to->timestamp_format_count = c->time_format_count;
}

static void set_parquet(const DeliveryConversion *c, ColumnarParquet *to)
{
    to->compression = codec_of(c->codec);
    to->dictionary = c->dictionary;
    to->v2 = c->v2;
    if (c->block_bytes > 0)
        to->block_bytes = (uint64_t)c->block_bytes;
    if (c->page_bytes > 0)
        to->page_bytes = (uint64_t)c->page_bytes;
    if (c->padding_max > 0)
        to->padding_bytes_max = (uint64_t)c->padding_max;
}

static void set_orc(const DeliveryConversion *c, ColumnarOrc *to)
{
    to->compression = codec_of(c->codec);
    to->padding = c->padding;
    to->v0_11 = c->v0_11;
    to->bloom_columns = c->bloom_columns;
    to->bloom_column_count = c->bloom_count;
    to->dictionary_threshold = c->dictionary_threshold;
    if (c->padding_tolerance > 0)
        to->padding_tolerance = c->padding_tolerance;
    if (c->bloom_rate > 0)
        to->bloom_fpp = c->bloom_rate;
    if (c->stripe_bytes > 0)
        to->stripe_bytes = (uint64_t)c->stripe_bytes;
    if (c->block_bytes > 0)
        to->block_bytes = (uint64_t)c->block_bytes;
    if (c->row_stride > 0)
        to->row_index_stride = (uint32_t)c->row_stride;
}

static ColumnarOptions options_of(struct arena *a, const DeliveryConversion *c)
{
    ColumnarOptions o = columnar_defaults(c->orc ? COLUMNAR_ORC : COLUMNAR_PARQUET);
    set_reader(a, c, &o.from);
    set_parquet(c, &o.parquet);
    set_orc(c, &o.orc);
    return o;
}

static Err take_nothing(void *self, Str bytes)
{
    (void)self;
    (void)bytes;
    return OK;
}

// Formats of timestamps alone: columns that options name are the table's.
Err convert_check(const DeliveryConfig *c, struct arena *a, Str *ret_text)
{
    const ColumnarColumn any = { S_INIT("a"), S_INIT("string") };
    AUTO(columnar_schema) schema = NULL;
    AUTO(columnar_writer) w = NULL;
    ColumnarProblem problem;
    ColumnarOptions o = options_of(a, &c->conversion);
    o.from.mapping_count = o.orc.bloom_column_count = 0;
    TRY(columnar_schema_parse(&any, 1, &problem, &schema));
    Err e = columnar_writer_open(&o, schema, (ColumnarSink){ take_nothing, NULL }, &problem, &w);
    if (e.kind == ERR_INVALID)
        *ret_text = str_dup(a, str_of(problem.text));
    return e;
}

Str convert_extension(const DeliveryConfig *c)
{
    return c->conversion.orc ? S(".orc") : S(".parquet");
}

// ---- The table

static Err refused(struct lane *l, const HubCatalogAnswer *answer)
{
    lane_failed(l, S("DataFormatConversion.EntityNotFoundException"), answer->text);
    return fail(ERR_FAULT, "the table of a conversion cannot be read");
}

static void take_table(struct lane *l, const HubTable *t)
{
    AUTO(arena) tmp = arena_open();
    struct schema *s = xalloc(sizeof *s);
    ColumnarProblem problem;
    ColumnarColumn *columns = arena_new(tmp, ColumnarColumn, t->column_count + 1);
    for (size_t i = 0; i < t->column_count; i++) {
        Str type = t->columns[i].type;
        columns[i] = (ColumnarColumn){ t->columns[i].name, type.p != NULL ? type : S("string") };
    }
    s->refs = 1;
    s->arena = arena_open();
    s->version = str_dup(s->arena, t->version);
    if (columnar_schema_parse(columns, t->column_count, &problem, &s->is).kind != ERR_NONE)
        memcpy(s->problem, problem.text, sizeof s->problem);
    convert_close(l);
    l->schema = s;
}

Err convert_refresh(struct lane *l)
{
    AUTO(arena) a = arena_open();
    const struct hub *hub = l->v->d->env.hub;
    const struct hub_catalog *catalog = hub != NULL ? hub->catalog : NULL;
    const DeliveryConversion *c = &l->plan->config->is.conversion;
    HubCatalogAnswer answer = { .fault = HUB_CATALOG_NO_DATABASE,
                                .text = S("There is no service with tables.") };
    HubTableName name = { .catalog = c->catalog_id,
                          .region = c->region,
                          .database = c->database,
                          .table = c->table,
                          .version = c->version };
    HubActor as = lane_actor(l, c->role_arn);
    HubTable table = { 0 };
    if (l->is_schema_fresh)
        return OK;
    if (catalog != NULL)
        TRY(catalog->table(catalog->self, a, &as, &name, &table, &answer));
    if (answer.fault != HUB_CATALOG_GOOD)
        return refused(l, &answer);
    if (l->schema == NULL || !str_eq(l->schema->version, table.version))
        take_table(l, &table);
    l->is_schema_fresh = true;
    return OK;
}

// ---- Rows

// A table that cannot be written makes every record fail, with a writer of none.
Err convert_open(struct lane *l, Err (*write)(void *self, Str bytes), void *self,
                 struct columnar_writer **ret, struct schema **ret_schema)
{
    AUTO(arena) tmp = arena_open();
    ColumnarProblem problem;
    TRY(convert_refresh(l));
    l->schema->refs++;
    *ret_schema = l->schema;
    if (l->schema->is == NULL)
        return OK;
    ColumnarOptions o = options_of(tmp, &l->plan->config->is.conversion);
    Err e = columnar_writer_open(&o, l->schema->is, (ColumnarSink){ write, self }, &problem, ret);
    if (e.kind != ERR_INVALID)
        return e;
    columnar_schema_close(l->schema->is); // an option names a column that the table has not
    l->schema->is = NULL;
    memcpy(l->schema->problem, problem.text, sizeof problem.text);
    return OK;
}

static void set_fault(struct lane *l, DeliveryRecord *r, Str code, Str message)
{
    r->fault = (DeliveryFault){ .type = "format-conversion-failed",
                                .code = code,
                                .message = message,
                                .attempts = 1,
                                .ended_ms = delivery_now_ms(l->v->d) };
    meter_add(&l->v->meters.unconverted_records, 1);
    meter_add(&l->v->meters.unconverted_bytes, (int64_t)r->data.n);
}

Err convert_add(struct lane *l, struct columnar_writer *w, DeliveryRecord *r)
{
    static _Thread_local ColumnarProblem problem; // its text is used before the next record
    Err e = OK;
    if (w == NULL) {
        set_fault(l, r, S("DataFormatConversion.InvalidSchema"), str_of(l->schema->problem));
        return fail(ERR_INVALID, "the table has a column that cannot be written");
    }
    e = columnar_writer_json(w, r->data, NULL, &problem);
    if (e.kind == ERR_INVALID) {
        bool malformed = problem.kind == COLUMNAR_MALFORMED;
        set_fault(l, r,
                  malformed ? S("DataFormatConversion.MalformedData")
                            : S("DataFormatConversion.ParseError"),
                  str_of(problem.text));
    } else if (e.kind == ERR_NONE) {
        meter_add(&l->v->meters.converted_records, 1);
        meter_add(&l->v->meters.converted_bytes, (int64_t)r->data.n);
    }
    return e;
}

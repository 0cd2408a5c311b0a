// SPDX-License-Identifier: Apache-2.0
// What the readers of other houses cannot show: errors, faults, and what is left after them. The
// rows themselves are read back by tests/columnar.
#include "base/memory.h"
#include "base/test.h"
#include "codec/crc.h"
#include "columnar/columnar.h"
#include "columnar/moment.h"
#include "columnar/orc_priv.h"
#include "columnar/rows.h"

static struct columnar_schema *schema_of(Str type)
{
    struct columnar_schema *s = NULL;
    ColumnarColumn column = { S("c"), type };
    EXPECT_OK(columnar_schema_parse(&column, 1, NULL, &s));
    return s;
}

static void expect_refused(Str type, const char *part)
{
    ColumnarColumn column = { S("c"), type };
    ColumnarProblem problem = { 0 };
    struct columnar_schema *s = NULL;
    EXPECT_ERR(ERR_INVALID, columnar_schema_parse(&column, 1, &problem, &s));
    EXPECT(problem.kind == COLUMNAR_SCHEMA && s == NULL);
    if (strstr(problem.text, part) == NULL)
        test_fail(__FILE__, __LINE__, "'%s' does not say '%s'", problem.text, part);
}

TEST(types_that_cannot_be_written_are_refused_in_hives_words)
{
    expect_refused(S("uniontype<int,string>"),
                   "type expected at the position 0 of 'uniontype<int,string>' but 'uniontype'");
    expect_refused(S("SET<STRING>"), "type expected at the position 0 of 'SET<STRING>' but 'SET'");
    expect_refused(S("array<STRING>"), "at the position 6");
    expect_refused(S(""), "type expected");
    expect_refused(S("int "), "the end expected");
    expect_refused(S("array<int"), "'>' expected");
    expect_refused(S("map<int>"), "',' expected");
    expect_refused(S("map<array<int>,int>"), "primitive");
    expect_refused(S("struct<a:int,A:int>"), "comes twice");
    expect_refused(S("struct<>"), "name expected");
    expect_refused(S("struct<a:int,>"), "name expected");
    expect_refused(S("decimal(39,1)"), "number in its limits");
    expect_refused(S("decimal(5,6)"), "number in its limits");
    expect_refused(S("varchar"), "'(' expected");
    expect_refused(S("char(256)"), "number in its limits");
}

TEST(types_are_nested_to_a_depth)
{
    AUTO_BUF(b);
    for (int i = 0; i < COLUMNAR_DEPTH_MAX; i++)
        buf_add(&b, S("array<"));
    buf_add(&b, S("int"));
    for (int i = 0; i < COLUMNAR_DEPTH_MAX; i++)
        buf_add(&b, S(">"));
    columnar_schema_close(schema_of(buf_str(&b)));
    expect_refused(str_cat3(a, S("array<"), buf_str(&b), S(">")), "less deeply");
}

// ---- Faults

struct target {
    size_t bytes, max;
};

static Err take(void *context, Str bytes)
{
    struct target *t = context;
    if (bytes.n > t->max - t->bytes)
        return fail(ERR_FULL, "the target is full");
    t->bytes += bytes.n;
    return OK;
}

static const ColumnarColumn every_type[] = {
    { S_INIT("i"), S_INIT("int") },
    { S_INIT("s"), S_INIT("string") },
    { S_INIT("t"), S_INIT("timestamp") },
    { S_INIT("d"), S_INIT("decimal(20,2)") },
    { S_INIT("x"), S_INIT("double") },
    { S_INIT("a"), S_INIT("array<struct<p:int,q:map<string,int>>>") },
};

static struct columnar_schema *every_schema(void)
{
    struct columnar_schema *s = NULL;
    EXPECT_OK(columnar_schema_parse(every_type, COUNT_OF(every_type), NULL, &s));
    return s;
}

static ColumnarOptions small(ColumnarFormat format)
{
    ColumnarOptions o = columnar_defaults(format);
    o.parquet.page_bytes = 1024;
    o.parquet.block_bytes = 20000;
    o.parquet.dictionary = true;
    o.orc.stripe_bytes = 20000;
    o.orc.row_index_stride = 100;
    o.orc.dictionary_threshold = 0.9;
    return o;
}

// Writes rows until something fails, or all are written.
static Err write_rows(const ColumnarOptions *o, const struct columnar_schema *s, struct target *t,
                      int rows)
{
    AUTO(columnar_writer) w = NULL;
    AUTO_BUF(b);
    TRY(columnar_writer_open(o, s, (ColumnarSink){ take, t }, NULL, &w));
    for (int i = 0; i < rows; i++) {
        buf_clear(&b);
        buf_addf(&b,
                 "{\"i\":%d,\"s\":\"row %d\",\"t\":\"2020-01-01T00:00:%02dZ\",\"d\":\"%d.25\","
                 "\"x\":%d.5,\"a\":[{\"p\":%d,\"q\":{\"k%d\":1}}]}",
                 i, i, i % 60, i, i, i, i);
        Err e = columnar_writer_json(w, buf_str(&b), NULL, NULL);
        if (e.kind != ERR_NONE) {
            // The file is lost, and the writer keeps to that.
            EXPECT_ERR(e.kind, columnar_writer_json(w, S("{}"), NULL, NULL));
            EXPECT_ERR(e.kind, columnar_writer_finish(w));
            return e;
        }
    }
    return columnar_writer_finish(w);
}

TEST(a_target_that_fails_ends_the_file_with_its_error)
{
    AUTO(columnar_schema) s = every_schema();
    for (int format = COLUMNAR_PARQUET; format <= COLUMNAR_ORC; format++) {
        ColumnarOptions o = small((ColumnarFormat)format);
        struct target all = { .max = SIZE_MAX };
        EXPECT_OK(write_rows(&o, s, &all, 1000));
        for (size_t max = 0; max < all.bytes; max += 1 + all.bytes / 50) {
            struct target full = { .max = max };
            EXPECT_ERR(ERR_FULL, write_rows(&o, s, &full, 1000));
        }
    }
}

TEST(missing_memory_ends_the_file_and_nothing_else)
{
    AUTO(columnar_schema) s = every_schema();
    for (int format = COLUMNAR_PARQUET; format <= COLUMNAR_ORC; format++) {
        ColumnarOptions o = small((ColumnarFormat)format);
        o.parquet.compression = o.orc.compression = COLUMNAR_GZIP;
        memory_fault_set(MEMORY_REQUEST, UINT64_MAX, 0);
        struct target all = { .max = SIZE_MAX };
        EXPECT_OK(write_rows(&o, s, &all, 400));
        uint64_t tries = memory_fault_seen(MEMORY_REQUEST);
        EXPECT(tries > 20);
        for (uint64_t after = 0; after < tries; after += 1 + tries / 100) {
            struct target t = { .max = SIZE_MAX };
            memory_fault_set(MEMORY_REQUEST, after, 1);
            EXPECT_ERR(ERR_MEMORY, write_rows(&o, s, &t, 400));
        }
        memory_fault_set(MEMORY_REQUEST, UINT64_MAX, 0);
    }
}

// ---- Records

static void expect_problem(const ColumnarDeserializer *from, const struct columnar_schema *s,
                           Str record, ColumnarProblemKind kind, const char *part)
{
    struct rows r;
    uint64_t rows = 77;
    ColumnarProblem problem;
    EXPECT_OK(rows_init(&r, s, from, &problem));
    EXPECT_OK(rows_read(&r, S("{\"i\":1}"), &rows, &problem));
    EXPECT_ERR(ERR_INVALID, rows_read(&r, record, &rows, &problem));
    EXPECT(rows == 1 && r.root.n == 1 && r.root.children[0].n == 1);
    EXPECT(problem.kind == kind);
    if (strstr(problem.text, part) == NULL)
        test_fail(__FILE__, __LINE__, "'%s' does not say '%s'", problem.text, part);
    rows_done(&r);
}

TEST(a_record_that_is_refused_says_why_and_leaves_nothing)
{
    AUTO(columnar_schema) s = every_schema();
    ColumnarDeserializer from = { 0 };
    expect_problem(&from, s, S("{\"i\":2}{\"i\":\"x\"}"), COLUMNAR_MISMATCH, "'i' cannot be a int");
    expect_problem(&from, s, S("{\"a\":[{\"p\":1},{\"p\":{}}]}"), COLUMNAR_MISMATCH,
                   "'a.element.p'");
    expect_problem(&from, s, S("{\"i\":2"), COLUMNAR_MALFORMED, "ends inside");
    expect_problem(&from, s, S("{\"i\":2}]"), COLUMNAR_MALFORMED, "at byte 7");
    expect_problem(&from, s, S("{\"s\":\"\xff\"}"), COLUMNAR_MALFORMED, "UTF-8");
    expect_problem(&from, s, S("{\"s\":\"\\udc00\"}"), COLUMNAR_MALFORMED, "escape");
    expect_problem(&from, s, S(" \n"), COLUMNAR_MALFORMED, "no JSON object");
    expect_problem(&from, s, S("{\"u\":[[[1,]]]}"), COLUMNAR_MALFORMED, "a value is expected");
    expect_problem(&from, s, S("{\"i\":1}\0{}"), COLUMNAR_MALFORMED, "an object is expected");
}

TEST(what_no_column_wants_may_not_be_nested_without_end)
{
    AUTO(columnar_schema) s = every_schema();
    ColumnarDeserializer from = { 0 };
    AUTO_BUF(b);
    buf_add(&b, S("{\"u\":"));
    for (int i = 0; i < 100000; i++)
        buf_add(&b, S("["));
    expect_problem(&from, s, buf_str(&b), COLUMNAR_MALFORMED, "too deeply");
}

TEST(a_record_of_empty_objects_cannot_take_all_memory)
{
    AUTO_BUF(type);
    AUTO_BUF(record);
    buf_add(&type, S("array<struct<f0:int"));
    for (int i = 1; i < 4000; i++)
        buf_addf(&type, ",f%d:int", i);
    buf_add(&type, S(">>"));
    buf_add(&record, S("{\"c\":[{}"));
    for (int i = 0; i < 10000; i++)
        buf_add(&record, S(",{}"));
    buf_add(&record, S("]}"));
    AUTO(columnar_schema) s = schema_of(buf_str(&type));
    ColumnarDeserializer from = { 0 };
    struct rows r;
    uint64_t rows;
    ColumnarProblem problem;
    EXPECT_OK(rows_init(&r, s, &from, &problem));
    EXPECT_ERR(ERR_INVALID, rows_read(&r, buf_str(&record), &rows, &problem));
    EXPECT(r.root.n == 0 && r.root.children[0].children[0].n == 0);
    rows_done(&r);
}

// ---- Options

static void expect_option(ColumnarOptions o, const char *part)
{
    AUTO(columnar_schema) s = every_schema();
    AUTO(columnar_writer) w = NULL;
    struct target t = { .max = SIZE_MAX };
    ColumnarProblem problem;
    EXPECT_ERR(ERR_INVALID, columnar_writer_open(&o, s, (ColumnarSink){ take, &t }, &problem, &w));
    EXPECT(problem.kind == COLUMNAR_OPTION && w == NULL);
    if (strstr(problem.text, part) == NULL)
        test_fail(__FILE__, __LINE__, "'%s' does not say '%s'", problem.text, part);
}

TEST(options_that_cannot_be_are_refused_when_a_writer_is_opened)
{
    static const Str formats[] = { S_INIT("yyyy-MM-dd xx") }, open[] = { S_INIT("yyyy'T") };
    static const ColumnarMapping nowhere[] = { { S_INIT("zz"), S_INIT("k") } };
    static const ColumnarMapping same[] = { { S_INIT("i"), S_INIT("s") } };
    ColumnarOptions o = columnar_defaults(COLUMNAR_PARQUET);
    o.from.mappings = nowhere;
    o.from.mapping_count = 1;
    expect_option(o, "no column 'zz'");
    o.from.mappings = same;
    expect_option(o, "two columns want the JSON key 's'");
    o = columnar_defaults(COLUMNAR_PARQUET);
    o.from.serde = COLUMNAR_HIVE;
    o.from.timestamp_format_count = 1;
    o.from.timestamp_formats = formats;
    expect_option(o, "the letter 'x'");
    o.from.timestamp_formats = open;
    expect_option(o, "quote");
    o = columnar_defaults(COLUMNAR_PARQUET);
    o.parquet.page_bytes = 0;
    expect_option(o, "no size");
    o = columnar_defaults(COLUMNAR_ORC);
    o.orc.row_index_stride = 0;
    expect_option(o, "no stride");
}

// ---- Numbers and times

static bool whole(const char *text, int64_t want)
{
    struct number x;
    int64_t got;
    const char *end = number_scan(text, &x);
    return end == text + strlen(text) && number_whole(&x, &got) && got == want;
}

TEST(whole_numbers_are_taken_in_every_form_if_they_are_whole)
{
    EXPECT(whole("-9223372036854775808", INT64_MIN) && whole("9223372036854775807.000", INT64_MAX));
    EXPECT(whole("1e18", 1000000000000000000) && whole("1200e-2", 12) && whole("-0", 0));
    EXPECT(whole("0.0000000000000000000000000000e99", 0));
    EXPECT(!whole("9223372036854775808", 0) && !whole("1.5", 1) && !whole("1e19", 0));
    EXPECT(!whole("1.00000000000000000000000001", 1) && !whole("1e999999999999", 0));
    EXPECT(!whole("01", 1) && !whole("1.", 1) && !whole(".5", 0) && !whole("-", 0) &&
           !whole("+1", 1));
}

static bool decimal(const char *text, unsigned precision, unsigned scale, int64_t want)
{
    struct number x;
    Decimal got;
    number_scan(text, &x);
    return number_decimal(&x, precision, scale, &got) && got == want;
}

TEST(decimals_round_half_up_to_their_scale_and_never_overflow)
{
    EXPECT(decimal("1.005", 10, 2, 101) && decimal("-1.005", 10, 2, -101));
    EXPECT(decimal("0.004", 10, 2, 0) && decimal("123e-1", 10, 2, 1230));
    EXPECT(decimal("99.994", 4, 2, 9999) && !decimal("99.995", 4, 2, 0) &&
           !decimal("1e2", 4, 2, 0));
    EXPECT(decimal("1e-999999999", 4, 2, 0) && !decimal("1e999999999", 38, 0, 0));
    EXPECT(decimal("0e999999999", 38, 10, 0) && decimal("0.5", 1, 0, 1) &&
           decimal("0.05", 1, 0, 0));
}

TEST(times_outside_of_the_calendar_are_no_times)
{
    Moment m;
    EXPECT(moment_plain(S("0001-01-01 00:00:00"), &m) && m.seconds == -62135596800);
    EXPECT(moment_plain(S("9999-12-31 23:59:59.999999999"), &m) && m.ns == 999999999);
    EXPECT(moment_plain(S("2000-02-29 1:2:3"), &m) && m.seconds == 951786123);
    EXPECT(!moment_plain(S("1900-02-29 00:00:00"), &m) &&
           !moment_plain(S("2000-13-01 00:00:00"), &m));
    EXPECT(!moment_plain(S("2000-01-01 24:00:00"), &m) &&
           !moment_plain(S("2000-01-01 00:60:00"), &m));
    EXPECT(!moment_plain(S("2000-01-01 00:00:00.1234567890"), &m));
    EXPECT(moment_plain(S("2000-02-28 23:59:59"), &m) && m.seconds == 951782399 && m.ns == 0);
    EXPECT(moment_plain(S("2000-02-29 00:00:00.5"), &m) && m.seconds == 951782400);
    EXPECT(moment_openx(S("1999-12-31T23:59:59.000000001Z"), &m) && m.ns == 1);
    EXPECT(!moment_openx(S("1999-12-28T23:59:59.Z"), &m) &&
           !moment_openx(S("1999-12-28T23:59:59"), &m));
    EXPECT(!moment_openx(S("1999-12-28T23:59:5:Z"), &m) &&
           !moment_openx(S("0000-12-28T23:59:59Z"), &m));
    EXPECT(!moment_plain(S("1999-12-28 23:59:59x"), &m) &&
           !moment_plain(S("1999-00-28 23:59:59"), &m));
    EXPECT(!moment_openx(S("99999999999999999"), &m) && !moment_openx(S("1e5 "), &m));
}

// ---- Reading back

static Err keep(void *context, Str bytes)
{
    buf_add(context, bytes);
    return buf_err(context);
}

TEST(rows_of_a_parquet_file_are_told_from_its_end_alone)
{
    AUTO(columnar_schema) s = every_schema();
    ColumnarOptions o = small(COLUMNAR_PARQUET);
    AUTO_BUF(file);
    AUTO(columnar_writer) w = NULL;
    EXPECT_OK(columnar_writer_open(&o, s, (ColumnarSink){ keep, &file }, NULL, &w));
    for (int i = 0; i < 3000; i++)
        EXPECT_OK(columnar_writer_json(w, S("{\"s\":\"some text\",\"x\":1.25}{}"), NULL, NULL));
    EXPECT_OK(columnar_writer_finish(w));

    uint64_t rows = 0;
    size_t needed = 0, more;
    Str all = buf_str(&file);
    EXPECT_OK(columnar_parquet_rows(all, &rows, &needed));
    EXPECT(rows == 6000);
    EXPECT_ERR(ERR_LIMIT, columnar_parquet_rows(str_skip(all, all.n - 3), &rows, &needed));
    EXPECT_ERR(ERR_LIMIT, columnar_parquet_rows(str_skip(all, all.n - needed), &rows, &more));
    EXPECT(more > needed && more < all.n);
    EXPECT_OK(columnar_parquet_rows(str_skip(all, all.n - more), &rows, &needed));
    EXPECT_ERR(ERR_INVALID, columnar_parquet_rows(str_head(all, all.n - 1), &rows, &needed));
    EXPECT_ERR(ERR_INVALID, columnar_parquet_rows(S("PAR1\0\0\0\0PAR1"), &rows, &needed));
    file.p[all.n - more] ^= 0x40; // the number of the first field
    EXPECT_ERR(ERR_INVALID, columnar_parquet_rows(all, &rows, &needed));
}

// ---- Bloom filters. What must come out was computed by org.apache.orc.util.BloomFilterUtf8 of ORC
// 1.9.4, from the same values.

static void expect_bloom(struct column *c, double fpp, uint64_t values, size_t words,
                         unsigned hashes, uint32_t crc)
{
    struct orc_bloom *f = NULL;
    EXPECT_OK(orc_bloom_open(values, fpp, &f));
    orc_bloom_add(f, c);
    EXPECT_INT(words, f->words);
    EXPECT_INT(hashes, f->hashes);
    EXPECT_INT(crc, crc32_zlib(0, f->bits, f->words * sizeof *f->bits));
    orc_bloom_close(f);
}

TEST(bloom_filters_have_the_bits_that_javas_have)
{
    enum { N = 41 };
    AUTO_BUF(text);
    uint32_t lengths[N];
    int64_t ints[N];
    double reals[N];
    for (unsigned i = 0; i < N - 1; i++) {
        for (unsigned k = 0; k < i; k++)
            buf_add_byte(&text, (char)('a' + k % 26));
        lengths[i] = i;
        ints[i] = (int64_t)i * i * i * (i % 2 == 0 ? -1234567890123 : 77);
        reals[i] = i * -0.37;
    }
    buf_add(&text, S("\u00e9\u65e5\U0001f600"));
    lengths[N - 1] = 9;
    ints[N - 1] = INT64_MIN;
    const struct type types[] = { { .kind = TYPE_STRING },
                                  { .kind = TYPE_BIGINT },
                                  { .kind = TYPE_DOUBLE } };
    struct column c = { .type = &types[0], .dense = N, .lengths = lengths, .bytes = text.p };
    expect_bloom(&c, 0.05, 100, 10, 4, 0xe72850ce);
    c = (struct column){ .type = &types[1], .dense = N, .ints = ints };
    expect_bloom(&c, 0.01, 100, 15, 7, 0x822b2c3a);
    c = (struct column){ .type = &types[2], .dense = N - 1, .reals = reals };
    expect_bloom(&c, 0.5, 1000, 23, 1, 0xceea4531);
}

// ---- Memory

TEST(one_large_record_does_not_stay_in_memory)
{
    AUTO(columnar_schema) s = every_schema();
    ColumnarOptions o = columnar_defaults(COLUMNAR_PARQUET);
    struct target t = { .max = SIZE_MAX };
    AUTO(columnar_writer) w = NULL;
    AUTO_BUF(b);
    EXPECT_OK(columnar_writer_open(&o, s, (ColumnarSink){ take, &t }, NULL, &w));
    buf_add(&b, S("{\"s\":\""));
    for (int i = 0; i < 8 << 20; i++)
        buf_add_byte(&b, 'x');
    buf_add(&b, S("\"}"));
    EXPECT_OK(columnar_writer_json(w, buf_str(&b), NULL, NULL));
    for (int i = 0; i < 40000; i++)
        EXPECT_OK(columnar_writer_json(w, S("{\"s\":\"short\"}"), NULL, NULL));
    size_t held = columnar_writer_bytes(w);
    if (held > 4 << 20)
        test_fail(__FILE__, __LINE__, "it holds %zu bytes", held);
    EXPECT_OK(columnar_writer_finish(w));
}

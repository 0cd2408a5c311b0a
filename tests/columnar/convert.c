// SPDX-License-Identifier: Apache-2.0
// Converts lines of JSON to a columnar file, for the suite `columnar` and the benchmark.
//
//     headrace-columnar OUT format=parquet column=NAME:TYPE... [option=value...] <LINES
//
// Each line is a record. Prints a line for each that was refused: its number from 0, the kind of
// its problem, the text; at last "rows N, bytes N, held N, seconds S", where held is the most
// memory that the writer had, and the seconds are those of the conversion.
#include "columnar/columnar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { COLUMNS_MAX = 4096, NAMES_MAX = 64 };

static struct {
    ColumnarOptions o;
    ColumnarColumn columns[COLUMNS_MAX];
    size_t column_count;
    ColumnarMapping mappings[NAMES_MAX];
    Str formats[NAMES_MAX], blooms[NAMES_MAX];
} ask;

_Noreturn static void leave(const char *what)
{
    fprintf(stderr, "headrace-columnar: %s\n", what);
    exit(2);
}

static Err append(void *file, Str bytes)
{
    return fwrite(bytes.p, 1, bytes.n, file) == bytes.n ? OK : fail(ERR_IO, "cannot write");
}

static uint64_t number(Str value)
{
    uint64_t n;
    if (str_u64(value, &n).kind != ERR_NONE)
        leave("a number is expected");
    return n;
}

static double share(Str value)
{
    double x;
    if (str_double(value, &x).kind != ERR_NONE)
        leave("a number is expected");
    return x;
}

static ColumnarCompression compression(Str value)
{
    if (str_eq(value, S("SNAPPY")))
        return COLUMNAR_SNAPPY;
    return str_eq(value, S("GZIP")) || str_eq(value, S("ZLIB")) ? COLUMNAR_GZIP
                                                                : COLUMNAR_UNCOMPRESSED;
}

static bool set_deserializer(Str name, Str value)
{
    ColumnarDeserializer *d = &ask.o.from;
    if (str_eq(name, S("serde")))
        d->serde = str_eq(value, S("hive")) ? COLUMNAR_HIVE : COLUMNAR_OPENX;
    else if (str_eq(name, S("case_sensitive")))
        d->case_sensitive = number(value) != 0;
    else if (str_eq(name, S("dots")))
        d->dots_to_underscores = number(value) != 0;
    else if (str_eq(name, S("timestamps")) && d->timestamp_format_count < NAMES_MAX)
        ask.formats[d->timestamp_format_count++] = value;
    else if (str_eq(name, S("map")) && d->mapping_count < NAMES_MAX) {
        ColumnarMapping *m = &ask.mappings[d->mapping_count++];
        str_cut(value, ':', &m->column, &m->key);
    } else
        return false;
    return true;
}

static bool set_format(Str name, Str value)
{
    ColumnarParquet *p = &ask.o.parquet;
    ColumnarOrc *o = &ask.o.orc;
    if (str_eq(name, S("format")))
        ask.o.format = str_eq(value, S("orc")) ? COLUMNAR_ORC : COLUMNAR_PARQUET;
    else if (str_eq(name, S("compression")))
        p->compression = o->compression = compression(value);
    else if (str_eq(name, S("block")))
        p->block_bytes = o->block_bytes = number(value);
    else if (str_eq(name, S("page")))
        p->page_bytes = number(value);
    else if (str_eq(name, S("dictionary"))) {
        p->dictionary = share(value) > 0;
        o->dictionary_threshold = share(value);
    } else if (str_eq(name, S("padding"))) {
        p->padding_bytes_max = number(value);
        o->padding = number(value) > 0;
    } else if (str_eq(name, S("tolerance")))
        o->padding_tolerance = share(value);
    else if (str_eq(name, S("v2")))
        p->v2 = number(value) != 0;
    else if (str_eq(name, S("v0_11")))
        o->v0_11 = number(value) != 0;
    else if (str_eq(name, S("stripe")))
        o->stripe_bytes = number(value);
    else if (str_eq(name, S("stride")))
        o->row_index_stride = (uint32_t)number(value);
    else if (str_eq(name, S("bloom")) && o->bloom_column_count < NAMES_MAX)
        ask.blooms[o->bloom_column_count++] = value;
    else
        return false;
    return true;
}

static void read_words(int argc, char **argv)
{
    ask.o = columnar_defaults(COLUMNAR_PARQUET);
    ask.o.from.mappings = ask.mappings;
    ask.o.from.timestamp_formats = ask.formats;
    ask.o.orc.bloom_columns = ask.blooms;
    for (int i = 2; i < argc; i++) {
        Str name, value;
        if (!str_cut(str_of(argv[i]), '=', &name, &value))
            leave("name=value is expected");
        if (str_eq(name, S("column")) && ask.column_count < COLUMNS_MAX) {
            ColumnarColumn *c = &ask.columns[ask.column_count++];
            str_cut(value, ':', &c->name, &c->type);
        } else if (!set_deserializer(name, value) && !set_format(name, value))
            leave("there is no such option");
    }
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void record(struct columnar_writer *w, Str line, uint64_t number_of_line, size_t *held)
{
    static const char *const kinds[] = { "schema", "option", "malformed", "mismatch" };
    ColumnarProblem problem;
    Err e = columnar_writer_json(w, line, NULL, &problem);
    if (e.kind == ERR_INVALID)
        printf("%llu %s %s\n", (unsigned long long)number_of_line, kinds[problem.kind],
               problem.text);
    else if (e.kind != ERR_NONE)
        leave(e.text);
    if (number_of_line % 256 == 0)
        *held = MAX(*held, columnar_writer_bytes(w));
}

static void convert(struct columnar_writer *w, Str all)
{
    double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    size_t held = 0;
    uint64_t lines = 0;
    while (all.n > 0) {
        const char *end = memchr(all.p, '\n', all.n);
        size_t n = end != NULL ? (size_t)(end - all.p) : all.n;
        record(w, str_head(all, n), lines++, &held);
        all = str_skip(all, MIN(n + 1, all.n));
    }
    Err e = columnar_writer_finish(w);
    if (e.kind != ERR_NONE)
        leave(e.text);
    printf("rows %llu, bytes %llu, held %zu, seconds %.4f, processor %.4f\n",
           (unsigned long long)columnar_writer_rows(w),
           (unsigned long long)columnar_writer_written(w), held, seconds(CLOCK_MONOTONIC) - start,
           seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
}

// A file is mapped: what it costs to copy it is not what is measured.
static Str lines_of(int file)
{
    struct stat st;
    if (fstat(file, &st) != 0 || !S_ISREG(st.st_mode))
        leave("the lines are expected from a file");
    if (st.st_size == 0)
        return S("");
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (p == MAP_FAILED)
        leave("cannot read the lines");
    return str_from(p, (size_t)st.st_size); // until the program ends
}

int main(int argc, char **argv)
{
    ColumnarProblem problem;
    if (argc < 3)
        leave("OUT column=NAME:TYPE... [option=value...] <LINES");
    read_words(argc, argv);
    FILE *file = fopen(argv[1], "wb");
    if (file == NULL)
        leave("cannot open the file");
    AUTO(columnar_schema) schema = NULL;
    AUTO(columnar_writer) w = NULL;
    if (columnar_schema_parse(ask.columns, ask.column_count, &problem, &schema).kind != ERR_NONE ||
        columnar_writer_open(&ask.o, schema, (ColumnarSink){ append, file }, &problem, &w).kind !=
            ERR_NONE)
        leave(problem.text);
    convert(w, lines_of(STDIN_FILENO));
    return fclose(file) == 0 ? 0 : 2;
}

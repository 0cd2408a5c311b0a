// SPDX-License-Identifier: Apache-2.0
#include "base/map.h"
#include "columnar/type.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { DECIMAL_PRECISION = 10, NAME_BYTES_SHOWN = 100 };

Err problem_set(ColumnarProblem *problem, ColumnarProblemKind kind, const char *format, ...)
{
    static const char *const texts[] = {
        [COLUMNAR_SCHEMA] = "the schema cannot be used",
        [COLUMNAR_OPTION] = "an option of the conversion cannot be used",
        [COLUMNAR_MALFORMED] = "a record is not JSON objects",
        [COLUMNAR_MISMATCH] = "a value does not fit its column",
    };
    if (problem != NULL) {
        problem->kind = kind;
        va_list args;
        va_start(args, format);
        vsnprintf(problem->text, sizeof problem->text, format, args); // cut when it is longer
        va_end(args);
    }
    return fail(ERR_INVALID, texts[kind]);
}

Str type_path(struct arena *a, const struct type *t)
{
    if (t->parent == NULL)
        return S("");
    Str name = str_head(t->name, NAME_BYTES_SHOWN);
    return t->parent->parent == NULL ? str_dup(a, name)
                                     : str_cat3(a, type_path(a, t->parent), S("."), name);
}

// ---- Types

struct parse {
    struct columnar_schema *s;
    Str column, text; // of the type that is read
    size_t at;
    unsigned depth;
    ColumnarProblem *problem;
};

static const struct {
    Str name;
    TypeKind kind;
} words[] = {
    { S_INIT("boolean"), TYPE_BOOLEAN },     { S_INIT("tinyint"), TYPE_TINYINT },
    { S_INIT("smallint"), TYPE_SMALLINT },   { S_INIT("int"), TYPE_INT },
    { S_INIT("bigint"), TYPE_BIGINT },       { S_INIT("float"), TYPE_FLOAT },
    { S_INIT("double"), TYPE_DOUBLE },       { S_INIT("decimal"), TYPE_DECIMAL },
    { S_INIT("string"), TYPE_STRING },       { S_INIT("varchar"), TYPE_VARCHAR },
    { S_INIT("char"), TYPE_CHAR },           { S_INIT("binary"), TYPE_BINARY },
    { S_INIT("timestamp"), TYPE_TIMESTAMP }, { S_INIT("date"), TYPE_DATE },
    { S_INIT("array"), TYPE_LIST },          { S_INIT("map"), TYPE_MAP },
    { S_INIT("struct"), TYPE_STRUCT },
};

static Err refuse(struct parse *p, const char *what)
{
    return problem_set(p->problem, COLUMNAR_SCHEMA,
                       "The schema is invalid. Error parsing the schema: "
                       "Error: %s at the position %zu of '%.*s' (%.*s)",
                       what, p->at, FMT(str_head(p->text, 2 * NAME_BYTES_SHOWN)),
                       FMT(str_head(p->column, NAME_BYTES_SHOWN)));
}

static bool take(struct parse *p, char c)
{
    if (p->at == p->text.n || p->text.p[p->at] != c)
        return false;
    p->at++;
    return true;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static Str word(struct parse *p)
{
    size_t start = p->at;
    while (p->at < p->text.n && is_word(p->text.p[p->at]))
        p->at++;
    return str_from(p->text.p + start, p->at - start);
}

static Err number(struct parse *p, unsigned min, unsigned max, unsigned *ret)
{
    size_t start = p->at;
    uint64_t value;
    Str digits = word(p);
    if (str_u64(digits, &value).kind != ERR_NONE || value < min || value > max) {
        p->at = start;
        return refuse(p, "a number in its limits expected");
    }
    *ret = (unsigned)value;
    return OK;
}

static Err sign(struct parse *p, char c)
{
    char what[] = "'?' expected";
    what[1] = c;
    return take(p, c) ? OK : refuse(p, what);
}

static Err parse_type(struct parse *p, struct type *t);

static Err parse_sizes(struct parse *p, struct type *t)
{
    if (t->kind == TYPE_DECIMAL) {
        t->precision = DECIMAL_PRECISION;
        if (!take(p, '('))
            return OK;
        TRY(number(p, 1, COLUMNAR_DECIMAL_DIGITS_MAX, &t->precision));
        if (take(p, ','))
            TRY(number(p, 0, t->precision, &t->scale));
        return sign(p, ')');
    }
    if (t->kind == TYPE_VARCHAR || t->kind == TYPE_CHAR) {
        unsigned max = t->kind == TYPE_CHAR ? COLUMNAR_CHAR_CHARS_MAX : COLUMNAR_VARCHAR_CHARS_MAX;
        TRY(sign(p, '('));
        TRY(number(p, 1, max, &t->chars_max));
        return sign(p, ')');
    }
    return OK;
}

static Err parse_name(struct parse *p, Str *ret)
{
    size_t start = p->at;
    while (p->at < p->text.n && memchr(":<>,", p->text.p[p->at], 4) == NULL)
        p->at++;
    if (p->at == start)
        return refuse(p, "name expected");
    *ret = str_from(p->text.p + start, p->at - start);
    return OK;
}

static Err check_name(struct parse *p, struct map *seen, struct arena *tmp, Str name)
{
    if (name.n == 0)
        return refuse(p, "name expected");
    if (str_utf8_count(name) == SIZE_MAX)
        return refuse(p, "a name in UTF-8 expected");
    if (map_put(seen, str_lower(tmp, name), p) != NULL)
        return problem_set(p->problem, COLUMNAR_SCHEMA, "the name '%.*s' comes twice (%.*s)",
                           FMT(str_head(name, NAME_BYTES_SHOWN)),
                           FMT(str_head(p->column, NAME_BYTES_SHOWN)));
    return OK;
}

// How many fields a struct has whose first is at p->at.
static size_t field_count(const struct parse *p)
{
    size_t n = 1, open = 0;
    for (size_t i = p->at; i < p->text.n; i++) {
        char c = p->text.p[i];
        if (c == '<' || c == '(')
            open++;
        else if (c == ')' || (c == '>' && open > 0))
            open--;
        else if (c == '>')
            break;
        else if (c == ',' && open == 0)
            n++;
    }
    return n;
}

static Err parse_fields(struct parse *p, struct type *t)
{
    AUTO(map) seen = map_open();
    AUTO(arena) tmp = arena_open();
    size_t max = field_count(p);
    if (max > COLUMNAR_COLUMNS_MAX)
        return refuse(p, "fewer fields expected");
    t->children = arena_new(p->s->arena, struct type, max);
    do {
        struct type *field = &t->children[t->child_count++];
        CHECK(t->child_count <= max);
        field->parent = t;
        TRY(parse_name(p, &field->name));
        TRY(check_name(p, seen, tmp, field->name));
        field->name = str_dup(p->s->arena, field->name);
        TRY(sign(p, ':'));
        TRY(parse_type(p, field));
    } while (t->child_count < max && take(p, ','));
    return OK;
}

static Err parse_inner(struct parse *p, struct type *t)
{
    if (t->kind == TYPE_STRUCT)
        return parse_fields(p, t);
    t->child_count = t->kind == TYPE_MAP ? 2 : 1;
    t->children = arena_new(p->s->arena, struct type, t->child_count);
    for (size_t i = 0; i < t->child_count; i++) {
        t->children[i].parent = t;
        t->children[i].name = t->kind == TYPE_LIST ? S("element") : i == 0 ? S("key") : S("value");
        if (i > 0)
            TRY(sign(p, ','));
        TRY(parse_type(p, &t->children[i]));
    }
    if (t->kind == TYPE_MAP && type_is_nested(t->children[0].kind))
        return refuse(p, "a map with keys of a primitive type expected");
    return OK;
}

static Err parse_type(struct parse *p, struct type *t)
{
    size_t start = p->at;
    Str name = word(p);
    size_t i = 0;
    while (i < COUNT_OF(words) && !str_eq(words[i].name, name))
        i++;
    if (i == COUNT_OF(words)) {
        p->at = start;
        return problem_set(
            p->problem, COLUMNAR_SCHEMA,
            "The schema is invalid. Error parsing the schema: "
            "Error: type expected at the position %zu of '%.*s' but '%.*s' is found.",
            start, FMT(str_head(p->text, 2 * NAME_BYTES_SHOWN)),
            FMT(str_head(name, NAME_BYTES_SHOWN)));
    }
    t->kind = words[i].kind;
    if (p->s->type_count > COLUMNAR_COLUMNS_MAX)
        return refuse(p, "fewer columns and fields expected");
    t->number = p->s->type_count++;
    if (!type_is_nested(t->kind))
        return parse_sizes(p, t);
    if (++p->depth > COLUMNAR_DEPTH_MAX)
        return refuse(p, "types that are nested less deeply expected");
    TRY(sign(p, '<'));
    TRY(parse_inner(p, t));
    p->depth--;
    return sign(p, '>');
}

// ---- The schema

static Err parse_columns(struct columnar_schema *s, const ColumnarColumn *columns, size_t n,
                         ColumnarProblem *problem)
{
    AUTO(map) seen = map_open();
    s->root = (struct type){ .kind = TYPE_STRUCT, .name = S("schema"), .child_count = n };
    s->root.children = arena_new(s->arena, struct type, n);
    s->type_count = 1;
    for (size_t i = 0; i < n; i++) {
        struct parse p = {
            .s = s, .column = columns[i].name, .text = columns[i].type, .problem = problem
        };
        struct type *t = &s->root.children[i];
        TRY(check_name(&p, seen, s->arena, columns[i].name));
        if (p.text.n > COLUMNAR_TYPE_BYTES_MAX)
            return refuse(&p, "a shorter type expected");
        t->name = str_dup(s->arena, columns[i].name);
        t->parent = &s->root;
        TRY(parse_type(&p, t));
        if (p.at != p.text.n)
            return refuse(&p, "the end expected");
    }
    return OK;
}

Err columnar_schema_parse(const ColumnarColumn *columns, size_t n, ColumnarProblem *problem,
                          struct columnar_schema **ret)
{
    if (n == 0)
        return problem_set(problem, COLUMNAR_SCHEMA, "there are no columns");
    if (n > COLUMNAR_COLUMNS_MAX)
        return problem_set(problem, COLUMNAR_SCHEMA, "there are more than %d columns",
                           COLUMNAR_COLUMNS_MAX);
    AUTO(columnar_schema) s = xalloc(sizeof *s);
    s->arena = arena_open();
    TRY(parse_columns(s, columns, n, problem));
    *ret = s;
    s = NULL;
    return OK;
}

void columnar_schema_close(struct columnar_schema *s)
{
    if (s == NULL)
        return;
    arena_close(s->arena);
    free(s);
}

size_t columnar_schema_count(const struct columnar_schema *s)
{
    return s->root.child_count;
}

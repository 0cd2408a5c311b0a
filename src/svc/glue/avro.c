// SPDX-License-Identifier: Apache-2.0
#include "svc/glue/avro.h"

typedef enum AvroKind {
    AVRO_NULL,
    AVRO_BOOLEAN,
    AVRO_INT,
    AVRO_LONG,
    AVRO_FLOAT,
    AVRO_DOUBLE,
    AVRO_BYTES,
    AVRO_STRING,
    AVRO_RECORD,
    AVRO_ENUM,
    AVRO_ARRAY,
    AVRO_MAP,
    AVRO_UNION,
    AVRO_FIXED,
} AvroKind;

typedef struct AvroField {
    Str name;
    const JsonValue *aliases; // a list of texts, or NULL
    const struct avro *type;
    bool has_default;
} AvroField;

struct avro {
    AvroKind kind;
    Str name;                  // of named types: the last part
    Str full_name;             // with its namespace
    const JsonValue *aliases;  // a list of texts, or NULL
    const struct avro **types; // of a union; of an array or map the one of what it holds
    size_t type_count;
    AvroField *fields;
    size_t field_count;
    const JsonValue *symbols; // of an enum
    Str fallback;             // of an enum: its default; absent: none
    int64_t bytes;            // of a fixed
    struct avro *next;        // named before it
};

// ---- Reading

typedef struct AvroReader {
    struct arena *a;
    struct avro *named; // the last one first
    Str text;
} AvroReader;

static Err wrong(AvroReader *r, Str text)
{
    r->text = text;
    return fail(ERR_INVALID, "not an Avro schema");
}

static const Str primitives[] = { S_INIT("null"),  S_INIT("boolean"), S_INIT("int"),
                                  S_INIT("long"),  S_INIT("float"),   S_INIT("double"),
                                  S_INIT("bytes"), S_INIT("string") };

static bool is_name(Str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char k = s.p[i];
        bool letter = (k >= 'a' && k <= 'z') || (k >= 'A' && k <= 'Z') || k == '_';
        if (!letter && (i == 0 || k < '0' || k > '9'))
            return false;
    }
    return s.n > 0;
}

static Str last_part(Str full_name)
{
    Str part = full_name, rest = full_name;
    while (str_cut(rest, '.', &part, &rest))
        part = rest;
    return part;
}

static bool is_full_name(Str s)
{
    Str part, rest = s;
    for (bool more = true; more;) {
        more = str_cut(rest, '.', &part, &rest);
        if (!is_name(part))
            return false;
    }
    return true;
}

static Str space_of(Str full_name)
{
    Str name = last_part(full_name);
    return name.n < full_name.n ? str_head(full_name, full_name.n - name.n - 1) : S("");
}

static Str qualified(AvroReader *r, Str name, Str space)
{
    bool whole = str_find(name, '.') < name.n || space.n == 0;
    return whole ? name : str_cat3(r->a, space, S("."), name);
}

static Err read_type(AvroReader *r, const JsonValue *v, Str space, const struct avro **ret);

static Err read_reference(AvroReader *r, Str name, Str space, const struct avro **ret)
{
    for (size_t i = 0; i < COUNT_OF(primitives); i++)
        if (str_eq(name, primitives[i])) {
            struct avro *t = arena_new(r->a, struct avro, 1);
            t->kind = (AvroKind)i;
            *ret = t;
            return OK;
        }
    Str full = qualified(r, name, space);
    for (const struct avro *t = r->named; t != NULL; t = t->next)
        if (str_eq(t->full_name, full)) {
            *ret = t;
            return OK;
        }
    return wrong(r, str_fmt(r->a, "Undefined name: %.*s", FMT(name)));
}

static Err read_union(AvroReader *r, const JsonValue *v, Str space, const struct avro **ret)
{
    struct avro *t = arena_new(r->a, struct avro, 1);
    t->kind = AVRO_UNION;
    t->types = arena_new(r->a, const struct avro *, v->n);
    for (size_t i = 0; i < v->n; i++) {
        const struct avro *one;
        TRY(read_type(r, &v->items[i], space, &one));
        if (one->kind == AVRO_UNION)
            return wrong(r, S("A union may not hold another union."));
        for (size_t k = 0; k < t->type_count; k++)
            if (t->types[k]->kind == one->kind && str_eq(t->types[k]->full_name, one->full_name))
                return wrong(r, S("A union may hold each type once."));
        t->types[t->type_count++] = one;
    }
    *ret = t;
    return OK;
}

static Err read_aliases(AvroReader *r, const JsonValue *v, const JsonValue **ret)
{
    *ret = json_find(v, S("aliases"));
    for (size_t i = 0; *ret != NULL && i < (*ret)->n; i++)
        if ((*ret)->items[i].kind != JSON_STRING)
            return wrong(r, S("Aliases must be a list of names."));
    return OK;
}

static Err begin_named(AvroReader *r, const JsonValue *v, Str space, AvroKind kind,
                       struct avro **ret)
{
    Str name = json_text(v, S("name")), own = json_text(v, S("namespace"));
    if (name.p == NULL || !is_full_name(name))
        return wrong(r, str_fmt(r->a, "Illegal or missing name: %.*s", FMT(name)));
    if (own.n > 0 && !is_full_name(own))
        return wrong(r, str_fmt(r->a, "Illegal namespace: %.*s", FMT(own)));
    struct avro *t = arena_new(r->a, struct avro, 1);
    t->kind = kind;
    t->full_name = qualified(r, name, own.p != NULL ? own : space);
    t->name = last_part(t->full_name);
    TRY(read_aliases(r, v, &t->aliases));
    for (const struct avro *k = r->named; k != NULL; k = k->next)
        if (str_eq(k->full_name, t->full_name))
            return wrong(r, str_fmt(r->a, "Can't redefine: %.*s", FMT(t->full_name)));
    t->next = r->named;
    r->named = t; // before its fields, which may name it
    *ret = t;
    return OK;
}

static Err read_record(AvroReader *r, const JsonValue *v, Str space, const struct avro **ret)
{
    const JsonValue *fields = json_find(v, S("fields"));
    struct avro *t;
    TRY(begin_named(r, v, space, AVRO_RECORD, &t));
    if (fields == NULL || fields->kind != JSON_LIST)
        return wrong(r, S("Record has no fields."));
    t->fields = arena_new(r->a, AvroField, fields->n);
    for (size_t i = 0; i < fields->n; i++) {
        const JsonValue *f = &fields->items[i], *type = json_find(f, S("type"));
        AvroField *to = &t->fields[i];
        to->name = json_text(f, S("name"));
        to->has_default = json_find(f, S("default")) != NULL;
        if (to->name.p == NULL || !is_name(to->name))
            return wrong(
                r, str_fmt(r->a, "Illegal or missing name of a field of %.*s.", FMT(t->full_name)));
        for (size_t k = 0; k < i; k++)
            if (str_eq(t->fields[k].name, to->name))
                return wrong(r, str_fmt(r->a, "Duplicate field %.*s in record %.*s", FMT(to->name),
                                        FMT(t->full_name)));
        if (type == NULL)
            return wrong(r, str_fmt(r->a, "No type of field %.*s", FMT(to->name)));
        TRY(read_aliases(r, f, &to->aliases));
        TRY(read_type(r, type, space_of(t->full_name), &to->type));
        t->field_count++;
    }
    *ret = t;
    return OK;
}

static Err read_enum(AvroReader *r, const JsonValue *v, Str space, const struct avro **ret)
{
    const JsonValue *symbols = json_find(v, S("symbols"));
    struct avro *t;
    TRY(begin_named(r, v, space, AVRO_ENUM, &t));
    if (symbols == NULL || symbols->kind != JSON_LIST)
        return wrong(r, S("Enum has no symbols."));
    for (size_t i = 0; i < symbols->n; i++) {
        Str symbol = symbols->items[i].kind == JSON_STRING ? symbols->items[i].text : S("");
        if (!is_name(symbol))
            return wrong(r, str_fmt(r->a, "Illegal symbol of %.*s.", FMT(t->full_name)));
        for (size_t k = 0; k < i; k++)
            if (str_eq(symbols->items[k].text, symbol))
                return wrong(r, str_fmt(r->a, "Duplicate enum symbol: %.*s", FMT(symbol)));
    }
    t->symbols = symbols;
    t->fallback = json_text(v, S("default"));
    *ret = t;
    return OK;
}

static Err read_fixed(AvroReader *r, const JsonValue *v, Str space, const struct avro **ret)
{
    const JsonValue *size = json_find(v, S("size"));
    struct avro *t;
    TRY(begin_named(r, v, space, AVRO_FIXED, &t));
    if (size == NULL || size->kind != JSON_NUMBER || size->integer < 0)
        return wrong(r, S("Invalid or no size."));
    t->bytes = size->integer;
    *ret = t;
    return OK;
}

static Err read_holder(AvroReader *r, const JsonValue *v, Str space, AvroKind kind,
                       const struct avro **ret)
{
    const JsonValue *inner = json_find(v, kind == AVRO_ARRAY ? S("items") : S("values"));
    struct avro *t = arena_new(r->a, struct avro, 1);
    if (inner == NULL)
        return wrong(r, kind == AVRO_ARRAY ? S("Array has no items type.")
                                           : S("Map has no values type."));
    t->kind = kind;
    t->types = arena_new(r->a, const struct avro *, 1);
    t->type_count = 1;
    TRY(read_type(r, inner, space, &t->types[0]));
    *ret = t;
    return OK;
}

// Recursion ends at the depth of JSON documents.
static Err read_type(AvroReader *r, const JsonValue *v, Str space, const struct avro **ret)
{
    if (v->kind == JSON_STRING)
        return read_reference(r, v->text, space, ret);
    if (v->kind == JSON_LIST)
        return read_union(r, v, space, ret);
    if (v->kind != JSON_MAP)
        return wrong(r, S("A schema must be a name, an object or a list."));
    const JsonValue *type = json_find(v, S("type"));
    if (type == NULL)
        return wrong(r, S("No type."));
    if (type->kind != JSON_STRING)
        return read_type(r, type, space, ret);
    if (str_eq(type->text, S("record")) || str_eq(type->text, S("error")))
        return read_record(r, v, space, ret);
    if (str_eq(type->text, S("enum")))
        return read_enum(r, v, space, ret);
    if (str_eq(type->text, S("fixed")))
        return read_fixed(r, v, space, ret);
    if (str_eq(type->text, S("array")))
        return read_holder(r, v, space, AVRO_ARRAY, ret);
    if (str_eq(type->text, S("map")))
        return read_holder(r, v, space, AVRO_MAP, ret);
    return read_reference(r, type->text, space, ret);
}

Err avro_read(struct arena *a, Str definition, const struct avro **ret, Str *ret_text)
{
    AvroReader r = { .a = a, .text = S("The schema definition is not valid JSON.") };
    JsonValue *v;
    Err e = json_parse(a, definition, &v);
    if (e.kind == ERR_NONE)
        e = read_type(&r, v, S(""), ret);
    *ret_text = r.text;
    return e;
}

// ---- Resolution

typedef struct Pair {
    const struct avro *reader, *writer;
    const struct Pair *before; // records that are being asked about: they may name themselves
    size_t depth;
} Pair;

static bool reads(const struct avro *r, const struct avro *w, const Pair *before, size_t *steps);

static bool promotes(AvroKind writer, AvroKind reader)
{
    if (writer == reader)
        return true;
    if (writer >= AVRO_INT && writer <= AVRO_DOUBLE)
        return reader > writer && reader <= AVRO_DOUBLE;
    return (writer == AVRO_STRING && reader == AVRO_BYTES) ||
           (writer == AVRO_BYTES && reader == AVRO_STRING);
}

static bool has_text(const JsonValue *list, Str text)
{
    for (size_t i = 0; list != NULL && i < list->n; i++)
        if (str_eq(list->items[i].text, text))
            return true;
    return false;
}

static bool is_alias(const JsonValue *list, Str name)
{
    for (size_t i = 0; list != NULL && i < list->n; i++)
        if (str_eq(last_part(list->items[i].text), name))
            return true;
    return false;
}

static bool same_name(const struct avro *r, const struct avro *w)
{
    return str_eq(r->name, w->name) || is_alias(r->aliases, w->name);
}

static const AvroField *written_field(const AvroField *f, const struct avro *w)
{
    for (size_t i = 0; i < w->field_count; i++)
        if (str_eq(w->fields[i].name, f->name) || has_text(f->aliases, w->fields[i].name))
            return &w->fields[i];
    return NULL;
}

static bool reads_record(const struct avro *r, const struct avro *w, const Pair *before,
                         size_t *steps)
{
    const Pair now = { r, w, before, before != NULL ? before->depth + 1 : 1 };
    if (now.depth > SCHEMA_DEPTH_MAX)
        return false;
    for (const Pair *p = before; p != NULL; p = p->before)
        if (p->reader == r && p->writer == w)
            return true; // as far as the question above it says so
    for (size_t i = 0; i < r->field_count; i++) {
        const AvroField *from = written_field(&r->fields[i], w);
        if (from == NULL && !r->fields[i].has_default)
            return false;
        if (from != NULL && !reads(r->fields[i].type, from->type, &now, steps))
            return false;
    }
    return true;
}

static bool reads_enum(const struct avro *r, const struct avro *w)
{
    for (size_t i = 0; r->fallback.p == NULL && i < w->symbols->n; i++)
        if (!has_text(r->symbols, w->symbols->items[i].text))
            return false;
    return true;
}

static bool reads(const struct avro *r, const struct avro *w, const Pair *before, size_t *steps)
{
    if (++*steps > SCHEMA_STEPS_MAX)
        return false;
    if (w->kind == AVRO_UNION) { // whatever was written
        for (size_t i = 0; i < w->type_count; i++)
            if (!reads(r, w->types[i], before, steps))
                return false;
        return true;
    }
    if (r->kind == AVRO_UNION) {
        for (size_t i = 0; i < r->type_count; i++)
            if (reads(r->types[i], w, before, steps))
                return true;
        return false;
    }
    if (w->kind < AVRO_RECORD || r->kind < AVRO_RECORD)
        return w->kind < AVRO_RECORD && r->kind < AVRO_RECORD && promotes(w->kind, r->kind);
    if (w->kind != r->kind)
        return false;
    if (r->kind == AVRO_ARRAY || r->kind == AVRO_MAP)
        return reads(r->types[0], w->types[0], before, steps);
    if (!same_name(r, w))
        return false;
    if (r->kind == AVRO_RECORD)
        return reads_record(r, w, before, steps);
    return r->kind == AVRO_ENUM ? reads_enum(r, w) : r->bytes == w->bytes;
}

bool avro_reads(const struct avro *reader, const struct avro *writer)
{
    size_t steps = 0;
    return reads(reader, writer, NULL, &steps);
}

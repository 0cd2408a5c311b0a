// SPDX-License-Identifier: Apache-2.0
// Requests into structs. A wrong type is remembered and reading goes on, because a document that
// turns out malformed further on is a different error, which AWS reports first.
#include "aws/bind_priv.h"
#include "codec/base64.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct decoder {
    struct protocol_reader *r;
    struct arena *a;
    Str fault; // the first wrong type
};

static Err decode_value(struct decoder *d, const struct shape *shape, const Event *e, void *place);

// ---- Wrong types

static Err skip_rest(struct protocol_reader *r, const Event *first)
{
    size_t depth = first->kind == EVENT_MAP || first->kind == EVENT_LIST;
    while (depth > 0) {
        Event e = { 0 };
        TRY(r->next(r, NULL, &e));
        if (e.kind == EVENT_MAP || e.kind == EVENT_LIST)
            depth++;
        else if (e.kind == EVENT_MAP_END || e.kind == EVENT_LIST_END)
            depth--;
    }
    return OK;
}

static void fault_set(struct decoder *d, Str text)
{
    if (d->fault.p == NULL)
        d->fault = text;
}

// Java's names, because AWS prints them.
static const char *class_name(const Event *e)
{
    switch (e->kind) {
    case EVENT_BOOL:
        return "java.lang.Boolean";
    case EVENT_TEXT:
        return "java.lang.String";
    case EVENT_BYTES:
        return "java.nio.HeapByteBuffer";
    default:
        return "com.amazon.coral.value.json.numbers.TruncatingBigNumber";
    }
}

static const char *target_name(ShapeKind kind)
{
    switch (kind) {
    case SHAPE_BLOB:
        return "a Blob";
    case SHAPE_BOOL:
        return "an Boolean";
    case SHAPE_INT:
        return "an Integer";
    case SHAPE_LONG:
        return "an Long";
    case SHAPE_DOUBLE:
        return "an Double";
    case SHAPE_TIME:
        return "milliseconds since epoch";
    default:
        return "an String";
    }
}

// Notes that `e` is not what the shape wants, and reads past it.
static Err wrong_type(struct decoder *d, const struct shape *shape, const Event *e)
{
    if (e->kind == EVENT_LIST)
        fault_set(d, S("Start of list found where not expected"));
    else if (e->kind == EVENT_MAP)
        fault_set(d, S("Start of structure or map found where not expected."));
    else if (shape->kind == SHAPE_LIST)
        fault_set(d, S("Expected list or null"));
    else if (shape->kind == SHAPE_MAP)
        fault_set(d, S("Expected map or null"));
    else if (shape->kind == SHAPE_STRUCT)
        fault_set(d, S("Expected null"));
    else
        fault_set(d, str_fmt(d->a, "class %s can not be converted to %s", class_name(e),
                             target_name(shape->kind)));
    return skip_rest(d->r, e);
}

// ---- Scalars

static int64_t floor_to_long(const Event *e)
{
    if (e->kind != EVENT_DOUBLE)
        return e->number;
    double whole = floor(e->real);
    if (!(whole < 9223372036854775807.0)) // also what is not a number
        return INT64_MAX;
    return whole <= -9223372036854775808.0 ? INT64_MIN : (int64_t)whole;
}

// Numbers are seconds, with milliseconds as decimals; CBOR's tagged ones are milliseconds.
static int64_t to_time_ns(const Event *e)
{
    int64_t ms = e->number, ns = 0;
    if (e->kind == EVENT_DOUBLE) {
        Event in_ms = { .kind = EVENT_DOUBLE, .real = round(e->real * 1000.0) };
        ms = floor_to_long(&in_ms);
    } else if (e->kind == EVENT_INT && __builtin_mul_overflow(e->number, 1000, &ms)) {
        return e->number < 0 ? INT64_MIN : INT64_MAX;
    }
    if (__builtin_mul_overflow(ms, INT64_C(1000000), &ns))
        return ms < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

// The whole character whose first byte is at `at`: it may have several.
static Str character_at(Str text, size_t at)
{
    size_t end = at + 1;
    while (end < text.n && ((unsigned char)text.p[end] & 0xc0) == 0x80)
        end++;
    return str_from(text.p + at, end - at);
}

static Err no_memory(void)
{
    return fail(ERR_MEMORY, "no memory for the values of a request");
}

static Err decode_base64(struct decoder *d, Str text, Str *ret)
{
    char *out = arena_try_raw(d->a, base64_decoded_max(text.n), 1);
    if (out == NULL)
        return no_memory();
    Base64Result r = base64_decode(out, text.p, text.n);
    Str shown = str_head(text, BIND_VALUE_SHOWN_MAX);
    switch (r.fault) {
    case BASE64_GOOD:
        *ret = str_from(out, r.n);
        break;
    case BASE64_LENGTH:
        fault_set(d, str_fmt(d->a,
                             "'%.*s' can not be converted to a Blob: Base64 encoded length is "
                             "expected a multiple of 4 bytes but found: %zu",
                             FMT(shown), text.n));
        break;
    case BASE64_CHARACTER:
        fault_set(d, str_fmt(d->a,
                             "'%.*s' can not be converted to a Blob: Invalid Base64 character: "
                             "'%.*s'",
                             FMT(shown), FMT(character_at(text, r.fault_at))));
        break;
    case BASE64_LAST:
        fault_set(d, str_fmt(d->a,
                             "'%.*s' can not be converted to a Blob: Invalid last non-pad Base64 "
                             "character dectected",
                             FMT(shown)));
        break;
    }
    return OK;
}

static bool is_number(const Event *e)
{
    return e->kind == EVENT_INT || e->kind == EVENT_DOUBLE || e->kind == EVENT_TIME;
}

static bool type_fits(const struct shape *shape, const Event *e)
{
    switch (shape->kind) {
    case SHAPE_STRING:
    case SHAPE_ENUM:
        return e->kind == EVENT_TEXT;
    case SHAPE_BLOB:
        return e->kind == EVENT_TEXT || e->kind == EVENT_BYTES;
    case SHAPE_BOOL:
        return e->kind == EVENT_BOOL;
    case SHAPE_LIST:
        return e->kind == EVENT_LIST;
    case SHAPE_MAP:
    case SHAPE_STRUCT:
        return e->kind == EVENT_MAP;
    default:
        return is_number(e);
    }
}

static Err decode_scalar(struct decoder *d, const struct shape *shape, const Event *e, void *place)
{
    switch (shape->kind) {
    case SHAPE_STRING:
    case SHAPE_ENUM:
        *(Str *)place = e->text.p != NULL ? e->text : S("");
        break;
    case SHAPE_BLOB:
        if (e->kind == EVENT_TEXT)
            return decode_base64(d, e->text, place);
        else
            *(Str *)place = e->text.p != NULL ? e->text : S("");
        break;
    case SHAPE_BOOL:
        *(bool *)place = e->number != 0;
        break;
    case SHAPE_INT: // what does not fit is cut, and then fails the shape's range
        *(int32_t *)place = (int32_t)MAX(INT32_MIN, MIN(INT32_MAX, floor_to_long(e)));
        break;
    case SHAPE_LONG:
        *(int64_t *)place = floor_to_long(e);
        break;
    case SHAPE_DOUBLE:
        *(double *)place = e->kind == EVENT_DOUBLE ? e->real : (double)e->number;
        break;
    default:
        *(int64_t *)place = to_time_ns(e);
        break;
    }
    return OK;
}

// ---- Lists, maps and structs

// Elements past this many are read but not kept; one more than the maximum, so that validation sees
// that there are too many.
static size_t kept_max(const struct shape *shape)
{
    return shape->has_max && shape->max < BIND_LIST_MAX ? (size_t)shape->max + 1 : BIND_LIST_MAX;
}

void *bind_growth_next(struct arena *a, struct growth *g, const struct shape *shape)
{
    enum { FIRST_ROOM = 8, ELEMENT_ALIGN = _Alignof(max_align_t) };
    if (g->n == g->cap) {
        size_t cap = g->cap == 0 ? FIRST_ROOM : g->cap * 2;
        char *at = arena_try(a, mul_checked(cap, shape->element_bytes), ELEMENT_ALIGN);
        if (at == NULL)
            return NULL;
        if (g->n > 0)
            memcpy(at, g->at, g->n * shape->element_bytes);
        g->at = at;
        g->cap = cap;
    }
    return g->at + g->n * shape->element_bytes;
}

static Err decode_element(struct decoder *d, const struct shape *shape, void *place)
{
    Event e = { 0 };
    TRY(d->r->next(d->r, shape, &e));
    return decode_value(d, shape, &e, place);
}

static Err decode_list(struct decoder *d, const struct shape *shape, struct any_list *into)
{
    struct growth g = { 0 };
    for (;;) {
        Event e = { 0 };
        TRY(d->r->next(d->r, shape->member, &e));
        if (e.kind == EVENT_LIST_END)
            break;
        if (g.n == kept_max(shape)) {
            TRY(skip_rest(d->r, &e));
            if (!shape->has_max)
                return fail(ERR_LIMIT, "the list has too many elements");
            continue;
        }
        void *element = bind_growth_next(d->a, &g, shape);
        if (element == NULL)
            return no_memory();
        TRY(decode_value(d, shape->member, &e, element));
        g.n++;
    }
    *into = (struct any_list){ .at = g.at, .n = g.n, .set = true };
    return OK;
}

// Where the entry for a key is, if there is one: a repeated key replaces. Maps in requests are
// small (tags, attributes), so a scan does.
static void *entry_find(const struct growth *g, const struct shape *shape, Str key)
{
    for (size_t i = 0; i < g->n; i++) {
        char *entry = g->at + i * shape->element_bytes;
        if (str_eq(*(Str *)entry, key))
            return entry;
    }
    return NULL;
}

static Err decode_map(struct decoder *d, const struct shape *shape, struct any_list *into)
{
    enum { REPEATS_SOUGHT_MAX = 250 }; // in larger maps a repeated key is kept twice
    struct growth g = { 0 };
    for (;;) {
        Event e = { 0 };
        TRY(d->r->next(d->r, shape->key, &e));
        if (e.kind == EVENT_MAP_END)
            break;
        Str key = e.text.p != NULL ? e.text : S("");
        if (g.n == kept_max(shape)) {
            TRY(d->r->next(d->r, NULL, &e));
            TRY(skip_rest(d->r, &e));
            if (!shape->has_max)
                return fail(ERR_LIMIT, "the map has too many entries");
            continue;
        }
        char *entry = g.n <= REPEATS_SOUGHT_MAX ? entry_find(&g, shape, key) : NULL;
        if (entry == NULL) {
            entry = bind_growth_next(d->a, &g, shape);
            if (entry == NULL)
                return no_memory();
            g.n++;
        }
        *(Str *)entry = key;
        TRY(decode_element(d, shape->member, entry + shape->value_offset));
    }
    *into = (struct any_list){ .at = g.at, .n = g.n, .set = true };
    return OK;
}

// Members come mostly in the same order, so the search begins after the last one found.
static const struct member *member_find(const struct shape *shape, Str name, size_t *from)
{
    for (size_t i = 0; i < shape->member_count; i++) {
        size_t at = (*from + i) % shape->member_count;
        if (str_eq(shape->members[at].name, name)) {
            *from = at + 1;
            return &shape->members[at];
        }
    }
    return NULL;
}

void bind_fill_default(void *base, const struct member *m)
{
    void *place = bind_place(base, m);
    switch (m->shape->kind) {
    case SHAPE_STRING:
    case SHAPE_ENUM:
        *(Str *)place = m->default_text;
        return;
    case SHAPE_BOOL:
        *(bool *)place = m->default_number != 0;
        break;
    case SHAPE_INT:
        *(int32_t *)place = (int32_t)m->default_number;
        break;
    default:
        *(int64_t *)place = m->default_number;
        break;
    }
    *((bool *)base + m->has_offset) = true;
}

static Err decode_member(struct decoder *d, const struct member *m, void *base)
{
    Event e = { 0 };
    TRY(d->r->next(d->r, m->shape, &e));
    if (e.kind == EVENT_NULL)
        return OK;
    void *place = bind_place(base, m);
    if (m->shape->kind == SHAPE_STRUCT) {
        void *inner = arena_try(d->a, m->shape->struct_bytes, _Alignof(max_align_t));
        if (inner == NULL)
            return no_memory();
        *(const void **)place = inner;
        place = inner;
    }
    TRY(decode_value(d, m->shape, &e, place));
    if (m->has_offset != SIZE_MAX)
        *((bool *)base + m->has_offset) = true;
    return OK;
}

static Err decode_struct(struct decoder *d, const struct shape *shape, void *base)
{
    size_t from = 0;
    for (;;) {
        Event e = { 0 };
        TRY(d->r->next(d->r, NULL, &e));
        if (e.kind == EVENT_MAP_END)
            break;
        const struct member *m = member_find(shape, e.text, &from);
        if (m != NULL) {
            TRY(decode_member(d, m, base));
        } else {
            TRY(d->r->next(d->r, NULL, &e));
            TRY(skip_rest(d->r, &e));
        }
    }
    for (size_t i = 0; i < shape->member_count; i++)
        if (shape->members[i].has_default && !bind_given(base, &shape->members[i]))
            bind_fill_default(base, &shape->members[i]);
    return OK;
}

static Err decode_value(struct decoder *d, const struct shape *shape, const Event *e, void *place)
{
    if (e->kind == EVENT_NULL) // in a list or map: an element with nothing in it
        return OK;
    if (!type_fits(shape, e))
        return wrong_type(d, shape, e);
    switch (shape->kind) {
    case SHAPE_LIST:
        return decode_list(d, shape, place);
    case SHAPE_MAP:
        return decode_map(d, shape, place);
    case SHAPE_STRUCT:
        return decode_struct(d, shape, place);
    default:
        return decode_scalar(d, shape, e, place);
    }
}

bool bind_given(const void *base, const struct member *m)
{
    const void *value = bind_value(base, m);
    switch (m->shape->kind) {
    case SHAPE_STRING:
    case SHAPE_ENUM:
    case SHAPE_BLOB:
        return ((const Str *)value)->p != NULL;
    case SHAPE_LIST:
    case SHAPE_MAP:
        return ((const struct any_list *)value)->set;
    case SHAPE_STRUCT:
        return *(const void *const *)value != NULL;
    default:
        return *((const bool *)base + m->has_offset);
    }
}

static Err expect_end(struct protocol_reader *r)
{
    Event e = { 0 };
    TRY(r->next(r, NULL, &e));
    return e.kind == EVENT_END ? OK : fail(ERR_INVALID, "something follows the document");
}

Err bind_decode(struct protocol_reader *r, const struct shape *shape, struct arena *a, void *into,
                Str *ret_fault)
{
    struct decoder d = { .r = r, .a = a };
    Event e = { 0 };
    TRY(r->next(r, shape, &e));
    if (e.kind != EVENT_MAP)
        return fail(ERR_INVALID, "a request is a map");
    TRY(decode_struct(&d, shape, into));
    TRY(expect_end(r));
    *ret_fault = d.fault;
    return OK;
}

Err bind_skip(struct protocol_reader *r)
{
    Event e = { 0 };
    TRY(r->next(r, NULL, &e));
    if (e.kind != EVENT_MAP)
        return fail(ERR_INVALID, "a request is a map");
    TRY(skip_rest(r, &e));
    return expect_end(r);
}

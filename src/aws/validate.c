// SPDX-License-Identifier: Apache-2.0
// Constraints, and the sentences in which AWS says that they were broken.
#include "aws/bind_priv.h"
#include "aws/pattern.h"

#include <inttypes.h>

// Where a value is: `records.1.member.partitionKey`, from the inside out.
struct path {
    const struct path *up;
    Str name;     // of a member or a map's key; absent: an element of a list
    size_t index; // of an element, from 1
};

struct validator {
    struct buf text; // what was broken, joined by "; "
    size_t count;
};

static void check_value(struct validator *v, const struct shape *shape, const void *value,
                        const struct path *path);

// ---- Words

static void add_path(struct buf *b, const struct path *path)
{
    if (path->up != NULL) {
        add_path(b, path->up);
        buf_add_byte(b, '.');
    }
    if (path->name.p == NULL) {
        buf_addf(b, "%zu.member", path->index);
        return;
    }
    if (path->name.n == 0)
        return;
    char first = path->name.p[0];
    buf_add_byte(b, (char)(first >= 'A' && first <= 'Z' ? first | 0x20 : first));
    buf_add(b, str_skip(path->name, 1));
}

static void add_value(struct buf *b, const struct shape *shape, const void *value)
{
    const struct any_list *list = value;
    switch (shape->kind) {
    case SHAPE_STRING:
    case SHAPE_ENUM:
        buf_add(b, str_head(*(const Str *)value, BIND_VALUE_SHOWN_MAX));
        break;
    case SHAPE_BOOL:
        buf_add(b, *(const bool *)value ? S("true") : S("false"));
        break;
    case SHAPE_INT:
        buf_addf(b, "%" PRId32, *(const int32_t *)value);
        break;
    case SHAPE_LONG:
    case SHAPE_TIME:
        buf_addf(b, "%" PRId64, *(const int64_t *)value);
        break;
    case SHAPE_DOUBLE:
        buf_addf(b, "%.17g", *(const double *)value);
        break;
    case SHAPE_LIST:
    case SHAPE_MAP:
        buf_add_byte(b, shape->kind == SHAPE_LIST ? '[' : '{');
        size_t end = b->n + BIND_VALUE_SHOWN_MAX;
        for (size_t i = 0; i < list->n && b->n < end; i++) {
            const char *element = bind_element(list, shape, i);
            buf_add(b, i > 0 ? S(", ") : S(""));
            if (shape->kind == SHAPE_MAP) {
                buf_add(b, str_head(*(const Str *)element, BIND_VALUE_SHOWN_MAX));
                buf_add_byte(b, '=');
                element += shape->value_offset;
            }
            add_value(b, shape->member, element);
        }
        buf_add_byte(b, shape->kind == SHAPE_LIST ? ']' : '}');
        break;
    case SHAPE_BLOB:
    case SHAPE_STRUCT:
        break;
    }
}

// AWS prints Java object names for structs; the form without a value says as much. An empty list
// shows nothing of them. Of blobs it printed such names, and since 2025 nothing.
static bool can_show(const struct shape *shape, const void *value)
{
    if (shape->kind == SHAPE_LIST && ((const struct any_list *)value)->n == 0)
        return true;
    while (shape->kind == SHAPE_LIST || shape->kind == SHAPE_MAP)
        shape = shape->member;
    return shape->kind != SHAPE_STRUCT && shape->kind != SHAPE_BLOB;
}

// Begins the next sentence; false: enough are listed, and this one is only counted.
static bool begin(struct validator *v, const struct shape *shape, const void *value,
                  const struct path *path)
{
    struct buf *b = &v->text;
    if (v->count++ >= BIND_ERRORS_LISTED_MAX)
        return false;
    buf_add(b, v->count > 1 ? S("; ") : S(""));
    if (value == NULL) {
        buf_add(b, S("Value null at '"));
    } else if (can_show(shape, value)) {
        buf_add(b, S("Value '"));
        add_value(b, shape, value);
        buf_add(b, S("' at '"));
    } else {
        buf_add(b, S("Value at '"));
    }
    add_path(b, path);
    buf_add(b, S("' failed to satisfy constraint: "));
    return true;
}

static bool counts_length(const struct shape *shape)
{
    return shape->kind == SHAPE_STRING || shape->kind == SHAPE_BLOB || shape->kind == SHAPE_LIST ||
           shape->kind == SHAPE_MAP;
}

static void add_most(struct buf *b, const struct shape *shape)
{
    buf_addf(b, "Member must have %s less than or equal to %" PRId64,
             counts_length(shape) ? "length" : "value", shape->max);
}

static void add_least(struct buf *b, const struct shape *shape)
{
    buf_addf(b, "Member must have %s greater than or equal to %" PRId64,
             counts_length(shape) ? "length" : "value", shape->min);
}

static void add_pattern(struct buf *b, const struct shape *shape)
{
    buf_add(b, S("Member must satisfy regular expression pattern: "));
    buf_add(b, shape->pattern);
}

static void add_values(struct buf *b, const struct shape *shape)
{
    buf_add(b, S("Member must satisfy enum value set: ["));
    for (size_t i = 0; i < shape->value_count; i++) {
        buf_add(b, i > 0 ? S(", ") : S(""));
        buf_add(b, shape->values[i]);
    }
    buf_add_byte(b, ']');
}

// All constraints of a scalar in brackets, as the one sentence about a list's elements has it.
static void add_all(struct buf *b, const struct shape *shape)
{
    size_t start = b->n + 1;
    buf_add_byte(b, '[');
    if (shape->has_max)
        add_most(b, shape);
    if (shape->has_min) {
        buf_add(b, b->n > start ? S(", ") : S(""));
        add_least(b, shape);
    }
    if (shape->pattern.p != NULL) {
        buf_add(b, b->n > start ? S(", ") : S(""));
        add_pattern(b, shape);
    }
    if (shape->value_count > 0)
        add_values(b, shape);
    if (b->n == start)
        buf_add(b, S("Member must not be null"));
    buf_add_byte(b, ']');
}

// ---- Constraints

typedef struct Broken {
    bool pattern, most, least, value;
} Broken;

static int64_t length_of(const struct shape *shape, const void *value)
{
    if (shape->kind == SHAPE_LIST || shape->kind == SHAPE_MAP)
        return (int64_t)((const struct any_list *)value)->n;
    Str s = *(const Str *)value;
    // No text has more code points than bytes, nor none in some bytes: often that is enough to
    // know.
    bool fits = (!shape->has_max || (int64_t)s.n <= shape->max) &&
                (!shape->has_min || shape->min <= (s.n > 0));
    if (shape->kind == SHAPE_BLOB || fits)
        return (int64_t)s.n;
    size_t n = str_utf8_count(s);
    return n == SIZE_MAX ? INT64_MAX : (int64_t)n;
}

static bool in_values(const struct shape *shape, Str value)
{
    for (size_t i = 0; i < shape->value_count; i++)
        if (str_eq(shape->values[i], value))
            return true;
    return shape->value_count == 0;
}

static Broken broken_by(const struct shape *shape, const void *value)
{
    Broken broken = { 0 };
    int64_t size = 0;
    if (shape->kind == SHAPE_ENUM) {
        broken.value = !in_values(shape, *(const Str *)value);
        return broken;
    }
    if (shape->kind == SHAPE_DOUBLE) {
        double real = *(const double *)value;
        broken.most = shape->has_max && !(real <= (double)shape->max);
        broken.least = shape->has_min && !(real >= (double)shape->min);
        return broken;
    }
    if (counts_length(shape) && (shape->has_min || shape->has_max))
        size = length_of(shape, value);
    else if (shape->kind == SHAPE_INT)
        size = *(const int32_t *)value;
    else if (shape->kind == SHAPE_LONG)
        size = *(const int64_t *)value;
    if (shape->pattern_slot != NULL && shape->pattern_slot->program != NULL)
        broken.pattern = !pattern_matches(shape->pattern_slot->program, *(const Str *)value);
    broken.most = shape->has_max && size > shape->max;
    broken.least = shape->has_min && size < shape->min;
    return broken;
}

static void check_own(struct validator *v, const struct shape *shape, const void *value,
                      const struct path *path)
{
    Broken broken = broken_by(shape, value);
    if (broken.pattern && begin(v, shape, value, path))
        add_pattern(&v->text, shape);
    if (broken.most && begin(v, shape, value, path))
        add_most(&v->text, shape);
    if (broken.least && begin(v, shape, value, path))
        add_least(&v->text, shape);
    if (broken.value && begin(v, shape, value, path))
        add_values(&v->text, shape);
}

static bool is_scalar(const struct shape *shape)
{
    return shape->kind != SHAPE_LIST && shape->kind != SHAPE_MAP && shape->kind != SHAPE_STRUCT;
}

static bool is_text(const struct shape *shape)
{
    return shape->kind == SHAPE_STRING || shape->kind == SHAPE_ENUM || shape->kind == SHAPE_BLOB;
}

bool bind_is_within(const struct shape *shape, const void *value)
{
    if (is_text(shape) && ((const Str *)value)->p == NULL)
        return false; // null in a list
    Broken b = broken_by(shape, value);
    return !(b.pattern || b.most || b.least || b.value);
}

// Keys, or scalar elements, all together: one sentence, whichever and however many are wrong.
static void check_scalars(struct validator *v, const struct shape *whole, const void *value,
                          const struct path *path, bool keys)
{
    const struct any_list *list = value;
    const struct shape *each = keys ? whole->key : whole->member;
    bool broken = false;
    for (size_t i = 0; i < list->n && !broken; i++) {
        const char *element = bind_element(list, whole, i);
        broken = !bind_is_within(each, element + (keys ? 0 : whole->value_offset));
    }
    if (!broken || !begin(v, whole, value, path))
        return;
    buf_add(&v->text, keys                       ? S("Map keys must satisfy constraint: ")
                      : whole->kind == SHAPE_MAP ? S("Map value must satisfy constraint: ")
                                                 : S("Member must satisfy constraint: "));
    add_all(&v->text, each);
}

static void check_elements(struct validator *v, const struct shape *shape, const void *value,
                           const struct path *path)
{
    const struct any_list *list = value;
    if (shape->kind == SHAPE_MAP)
        check_scalars(v, shape, value, path, true);
    if (is_scalar(shape->member)) {
        check_scalars(v, shape, value, path, false);
        return;
    }
    for (size_t i = 0; i < list->n; i++) {
        const char *element = bind_element(list, shape, i);
        struct path here = { .up = path, .index = i + 1 };
        if (shape->kind == SHAPE_MAP) {
            here.name = *(const Str *)element;
            element += shape->value_offset;
        }
        check_value(v, shape->member, element, &here);
    }
}

static void check_struct(struct validator *v, const struct shape *shape, const void *base,
                         const struct path *up)
{
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        struct path path = { .up = up, .name = m->name };
        const void *value = bind_value(base, m);
        if (!bind_given(base, m)) {
            if (m->required && begin(v, m->shape, NULL, &path))
                buf_add(&v->text, S("Member must not be null"));
            continue;
        }
        if (m->shape->kind == SHAPE_STRUCT)
            value = *(const void *const *)value;
        check_value(v, m->shape, value, &path);
    }
}

static void check_value(struct validator *v, const struct shape *shape, const void *value,
                        const struct path *path)
{
    if (shape->kind == SHAPE_STRUCT) {
        check_struct(v, shape, value, path);
        return;
    }
    check_own(v, shape, value, path);
    if (shape->kind == SHAPE_LIST || shape->kind == SHAPE_MAP)
        check_elements(v, shape, value, path);
}

Str bind_validate(const struct shape *shape, const void *in, struct arena *a)
{
    struct validator v = { 0 };
    check_struct(&v, shape, in, NULL);
    Str text = { 0 };
    if (v.count > 0) // joined, not formatted: values may hold zero bytes
        text = str_cat(
            a, str_fmt(a, "%zu validation error%s detected: ", v.count, v.count == 1 ? "" : "s"),
            buf_str(&v.text));
    buf_done(&v.text);
    return text;
}

Err api_prepare(const struct api_service *api)
{
    for (size_t i = 0; i < api->patterned_count; i++) {
        const struct shape *shape = api->patterned[i];
        if (shape->pattern_slot->program == NULL)
            TRY(pattern_open(shape->pattern, &shape->pattern_slot->program));
    }
    return OK;
}

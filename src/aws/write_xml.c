// SPDX-License-Identifier: Apache-2.0
#include "aws/write_xml.h"
#include "aws/bind_priv.h"
#include "base/time.h"
#include "codec/base64.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { REAL_CHARACTERS_MAX = 32 };

// ---- Elements

void xml_open_element(struct buf *b, Str name)
{
    buf_add_byte(b, '<');
    buf_add(b, name);
    buf_add_byte(b, '>');
}

void xml_close_element(struct buf *b, Str name)
{
    buf_add(b, S("</"));
    buf_add(b, name);
    buf_add_byte(b, '>');
}

// XML 1.0 has no control characters but tab and line ends, not even escaped.
void xml_add_text(struct buf *b, Str text)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '&')
            buf_add(b, S("&amp;"));
        else if (c == '<')
            buf_add(b, S("&lt;"));
        else if (c == '>')
            buf_add(b, S("&gt;"));
        else if (c == '"')
            buf_add(b, S("&quot;"));
        else if (c == '\r')
            buf_add(b, S("&#xD;"));
        else if ((unsigned char)c < 0x20 && c != '\t' && c != '\n')
            buf_add_byte(b, '?');
        else
            buf_add_byte(b, c);
    }
}

void xml_add_element(struct buf *b, Str name, Str text)
{
    xml_open_element(b, name);
    xml_add_text(b, text);
    xml_close_element(b, name);
}

// ---- Values

// The shortest decimal that is read back as the same number.
static void add_real(struct buf *b, double value)
{
    char text[REAL_CHARACTERS_MAX];
    if (!isfinite(value)) {
        buf_add(b, isnan(value) ? S("NaN") : value > 0 ? S("Infinity") : S("-Infinity"));
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_add(b, str_of(text));
    if (text[strcspn(text, ".e")] == 0)
        buf_add(b, S(".0"));
}

void xml_add_time(struct buf *b, int64_t ns, bool with_ms)
{
    Civil c = time_civil(ns);
    buf_addf(b, "%04" PRId64 "-%02u-%02uT%02u:%02u:%02u", c.year, c.month, c.day, c.hour, c.minute,
             c.second);
    if (c.ms != 0 || with_ms)
        buf_addf(b, ".%03u", c.ms);
    buf_add_byte(b, 'Z');
}

static void add_blob(struct buf *b, Str bytes)
{
    size_t n = base64_encoded_bytes(bytes.n);
    if (!buf_reserve(b, n))
        return;
    base64_encode(b->p + b->n, bytes.p, bytes.n);
    b->n += n;
}

static void write_value(struct buf *b, Str name, const struct shape *shape, const void *value);

static Str name_or(Str given, Str usual)
{
    return given.p != NULL ? given : usual;
}

void xml_write_members(struct buf *b, const struct shape *shape, const void *base)
{
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        if (m->place != PLACE_DOCUMENT)
            continue;
        const void *value = bind_value(base, m);
        // As bind_encode: a required struct that is not there has nothing that could be written.
        bool always = (m->required || m->has_default) && m->shape->kind != SHAPE_STRUCT;
        if (!always && !bind_given(base, m))
            continue;
        if (m->shape->kind == SHAPE_STRUCT)
            value = *(const void *const *)value;
        write_value(b, name_or(m->called, m->name), m->shape, value);
    }
}

// A flat list's elements have its own name, or the one that it gives them.
static void write_list(struct buf *b, Str name, const struct shape *shape,
                       const struct any_list *list)
{
    Str each = name_or(shape->each_name, shape->flat ? name : S("member"));
    if (!shape->flat)
        xml_open_element(b, name);
    for (size_t i = 0; i < list->n; i++)
        write_value(b, each, shape->member, bind_element(list, shape, i));
    if (!shape->flat)
        xml_close_element(b, name);
}

static void write_map(struct buf *b, Str name, const struct shape *shape,
                      const struct any_list *map)
{
    Str entry = shape->flat ? name : S("entry");
    if (!shape->flat)
        xml_open_element(b, name);
    for (size_t i = 0; i < map->n; i++) {
        const char *at = bind_element(map, shape, i);
        xml_open_element(b, entry);
        xml_add_element(b, name_or(shape->key_name, S("key")), *(const Str *)at);
        write_value(b, name_or(shape->value_name, S("value")), shape->member,
                    at + shape->value_offset);
        xml_close_element(b, entry);
    }
    if (!shape->flat)
        xml_close_element(b, name);
}

static void write_scalar(struct buf *b, const struct shape *shape, const void *value)
{
    switch (shape->kind) {
    case SHAPE_BLOB:
        add_blob(b, *(const Str *)value);
        break;
    case SHAPE_BOOL:
        buf_add(b, *(const bool *)value ? S("true") : S("false"));
        break;
    case SHAPE_INT:
        buf_addf(b, "%" PRId32, *(const int32_t *)value);
        break;
    case SHAPE_LONG:
        buf_addf(b, "%" PRId64, *(const int64_t *)value);
        break;
    case SHAPE_DOUBLE:
        add_real(b, *(const double *)value);
        break;
    case SHAPE_TIME:
        xml_add_time(b, *(const int64_t *)value, shape->iso);
        break;
    default:
        xml_add_text(b, *(const Str *)value);
        break;
    }
}

// With its attributes; the only one that there is says what kind of thing an element is.
static void open_struct(struct buf *b, Str name, const struct shape *shape, const void *base)
{
    buf_add_byte(b, '<');
    buf_add(b, name);
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        if (m->place != PLACE_ATTRIBUTE || !bind_given(base, m))
            continue;
        buf_addf(b, " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:%.*s=\"",
                 FMT(m->called));
        xml_add_text(b, *(const Str *)bind_value(base, m));
        buf_add_byte(b, '"');
    }
    buf_add_byte(b, '>');
}

static void write_value(struct buf *b, Str name, const struct shape *shape, const void *value)
{
    if (shape->kind == SHAPE_LIST) {
        write_list(b, name, shape, value);
        return;
    }
    if (shape->kind == SHAPE_MAP) {
        write_map(b, name, shape, value);
        return;
    }
    if (shape->kind == SHAPE_STRUCT)
        open_struct(b, name, shape, value);
    else
        xml_open_element(b, name);
    if (shape->kind == SHAPE_STRUCT)
        xml_write_members(b, shape, value);
    else
        write_scalar(b, shape, value);
    xml_close_element(b, name);
}

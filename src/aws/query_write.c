// SPDX-License-Identifier: Apache-2.0
// Replies of the Query protocol: XML whose elements are named by members and shapes.
#include "aws/bind_priv.h"
#include "aws/query.h"
#include "base/time.h"
#include "codec/base64.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { REAL_CHARACTERS_MAX = 32 };

// ---- Elements

static void open_element(struct buf *b, Str name)
{
    buf_add_byte(b, '<');
    buf_add(b, name);
    buf_add_byte(b, '>');
}

static void close_element(struct buf *b, Str name)
{
    buf_add(b, S("</"));
    buf_add(b, name);
    buf_add_byte(b, '>');
}

// XML 1.0 has no control characters but tab and line ends, not even escaped.
static void add_text(struct buf *b, Str text)
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

static void add_element(struct buf *b, Str name, Str text)
{
    open_element(b, name);
    add_text(b, text);
    close_element(b, name);
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

static void add_time(struct buf *b, int64_t ns)
{
    Civil c = time_civil(ns);
    buf_addf(b, "%04" PRId64 "-%02u-%02uT%02u:%02u:%02u", c.year, c.month, c.day, c.hour, c.minute,
             c.second);
    if (c.ms != 0)
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

static void write_members(struct buf *b, const struct shape *shape, const void *base)
{
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        const void *value = bind_value(base, m);
        // As bind_encode: a required struct that is not there has nothing that could be written.
        bool always = (m->required || m->has_default) && m->shape->kind != SHAPE_STRUCT;
        if (!always && !bind_given(base, m))
            continue;
        if (m->shape->kind == SHAPE_STRUCT)
            value = *(const void *const *)value;
        write_value(b, m->name, m->shape, value);
    }
}

static Str name_or(Str given, Str usual)
{
    return given.p != NULL ? given : usual;
}

// A flat list's elements have its own name, or the one that it gives them.
static void write_list(struct buf *b, Str name, const struct shape *shape,
                       const struct any_list *list)
{
    Str each = name_or(shape->each_name, shape->flat ? name : S("member"));
    if (!shape->flat)
        open_element(b, name);
    for (size_t i = 0; i < list->n; i++)
        write_value(b, each, shape->member, bind_element(list, shape, i));
    if (!shape->flat)
        close_element(b, name);
}

static void write_map(struct buf *b, Str name, const struct shape *shape,
                      const struct any_list *map)
{
    Str entry = shape->flat ? name : S("entry");
    if (!shape->flat)
        open_element(b, name);
    for (size_t i = 0; i < map->n; i++) {
        const char *at = bind_element(map, shape, i);
        open_element(b, entry);
        add_element(b, name_or(shape->key_name, S("key")), *(const Str *)at);
        write_value(b, name_or(shape->value_name, S("value")), shape->member,
                    at + shape->value_offset);
        close_element(b, entry);
    }
    if (!shape->flat)
        close_element(b, name);
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
        add_time(b, *(const int64_t *)value);
        break;
    default:
        add_text(b, *(const Str *)value);
        break;
    }
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
    open_element(b, name);
    if (shape->kind == SHAPE_STRUCT)
        write_members(b, shape, value);
    else
        write_scalar(b, shape, value);
    close_element(b, name);
}

// ---- Replies

void query_write_reply(const ReplyFrame *f, const void *out, struct buf *body)
{
    Str op = f->op->name;
    buf_addf(body, "<%.*sResponse xmlns=\"%.*s\">", FMT(op), FMT(f->api->xml_namespace));
    if (f->op->output != NULL) {
        buf_addf(body, "<%.*sResult>", FMT(op));
        write_members(body, f->op->output, out);
        buf_addf(body, "</%.*sResult>", FMT(op));
    }
    buf_add(body, S("<ResponseMetadata>"));
    add_element(body, S("RequestId"), f->request_id);
    buf_addf(body, "</ResponseMetadata></%.*sResponse>", FMT(op));
}

void query_write_error(const ErrorReply *e, struct buf *body)
{
    buf_add(body, S("<ErrorResponse"));
    if (e->xml_namespace.p != NULL)
        buf_addf(body, " xmlns=\"%.*s\"", FMT(e->xml_namespace));
    buf_add(body, S("><Error>"));
    add_element(body, S("Type"), e->ours ? S("Receiver") : S("Sender"));
    add_element(body, S("Code"), e->code);
    if (e->message.p != NULL)
        add_element(body, S("Message"), e->message);
    buf_add(body, S("</Error>"));
    add_element(body, S("RequestId"), e->request_id);
    buf_add(body, S("</ErrorResponse>"));
}

// ---- Errors that every service has

const struct api_error *query_common_error(Str type)
{
    static const struct api_error known[] = {
        { S_INIT("AccessDeniedException"), 403, S_INIT("AccessDenied") },
        { S_INIT("ExpiredTokenException"), 403, S_INIT("ExpiredToken") },
        { S_INIT("IncompleteSignatureException"), 400, S_INIT("IncompleteSignature") },
        { S_INIT("InternalFailure"), 500, S_INIT("InternalFailure") },
        { S_INIT("InvalidSignatureException"), 403, S_INIT("SignatureDoesNotMatch") },
        { S_INIT("MissingAuthenticationTokenException"), 403,
          S_INIT("MissingAuthenticationToken") },
        { S_INIT("SerializationException"), 400, S_INIT("MalformedInput") },
        { S_INIT("ServiceUnavailable"), 503, S_INIT("ServiceUnavailable") },
        { S_INIT("ThrottlingException"), 400, S_INIT("Throttling") },
        { S_INIT("UnknownOperationException"), 400, S_INIT("InvalidAction") },
        { S_INIT("UnrecognizedClientException"), 403, S_INIT("InvalidClientTokenId") },
        { S_INIT("ValidationException"), 400, S_INIT("ValidationError") },
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq(known[i].name, type))
            return &known[i];
    return NULL;
}

// SPDX-License-Identifier: Apache-2.0
// The members of a REST request as events. They are made at once, not as they are asked for: a body
// in XML is a tree by then, whose elements of one name need not stand together.
#include "aws/bind.h"
#include "aws/rest_priv.h"
#include "base/time.h"
#include "codec/xml.h"

#include <stdlib.h>

struct reader {
    RestRequest *r;
    struct arena *a;
    Event *at;
    size_t n, cap, next;
    Err err;
    MemberPlace place; // of the member that is read
    Str name;          // and its name there
};

// ---- Events

static Err add(struct reader *d, Event e)
{
    if (d->n == d->cap) {
        size_t cap = MAX(d->cap * 2, (size_t)64);
        Event *at = arena_try_raw_new(d->a, Event, cap);
        if (at == NULL)
            return fail(ERR_MEMORY, "no memory for the values of a request");
        if (d->n > 0)
            memcpy(at, d->at, d->n * sizeof *at);
        d->at = at;
        d->cap = cap;
    }
    d->at[d->n++] = e;
    return OK;
}

static Err add_kind(struct reader *d, EventKind kind)
{
    return add(d, (Event){ .kind = kind });
}

static Err add_key(struct reader *d, Str name)
{
    return add(d, (Event){ .kind = EVENT_KEY, .text = name });
}

// ---- Values

static void note_fault(struct reader *d, Str value)
{
    RestRequest *r = d->r;
    if (r->fault)
        return;
    r->fault = true;
    r->fault_place = d->place;
    r->fault_name = d->name;
    r->fault_value = value;
}

static bool is_value(const struct shape *shape, Str text)
{
    for (size_t i = 0; i < shape->value_count; i++)
        if (str_eq(shape->values[i], text))
            return true;
    return false;
}

static bool to_time(Str text, Event *e)
{
    int64_t ns;
    if (time_parse_iso(text, &ns).kind != ERR_NONE && time_parse_http(text, &ns).kind != ERR_NONE)
        return false;
    *e = (Event){ .kind = EVENT_TIME, .number = ns / NS_PER_MS - (ns % NS_PER_MS < 0) };
    return true;
}

static bool to_number(Str text, bool whole, Event *e)
{
    int64_t number;
    double real;
    if (str_i64(text, &number).kind == ERR_NONE) {
        *e = (Event){ .kind = EVENT_INT, .number = number };
        return true;
    }
    if (whole || str_double(text, &real).kind != ERR_NONE)
        return false;
    *e = (Event){ .kind = EVENT_DOUBLE, .real = real };
    return true;
}

static bool to_bool(Str text, Event *e)
{
    bool yes = str_eq_nocase(text, S("true"));
    *e = (Event){ .kind = EVENT_BOOL, .number = yes };
    return yes || str_eq_nocase(text, S("false"));
}

// A text as what it stands for.
static Err add_scalar(struct reader *d, const struct shape *want, Str text)
{
    Event e = { .kind = EVENT_TEXT, .text = text };
    Str trimmed = str_trim(text);
    bool good = true;
    switch (want->kind) {
    case SHAPE_BOOL:
        good = to_bool(trimmed, &e);
        break;
    case SHAPE_INT:
    case SHAPE_LONG:
        good = to_number(trimmed, true, &e);
        break;
    case SHAPE_DOUBLE:
        good = to_number(trimmed, false, &e);
        break;
    case SHAPE_TIME:
        good = to_time(trimmed, &e);
        break;
    case SHAPE_ENUM:
        good = is_value(want, text);
        break;
    default:
        break;
    }
    if (good)
        return add(d, e);
    note_fault(d, text);
    return add_kind(d, EVENT_NULL);
}

// The elements of a list in one header: between commas, without the blanks around them.
static Err add_listed(struct reader *d, const struct shape *list, Str text)
{
    TRY(add_kind(d, EVENT_LIST));
    for (Str rest = text, one; rest.n > 0;) {
        str_cut(rest, ',', &one, &rest);
        one = str_trim(one);
        if (one.n > 0)
            TRY(add_scalar(d, list->member, one));
    }
    return add_kind(d, EVENT_LIST_END);
}

static Err add_text_value(struct reader *d, const struct shape *want, Str text)
{
    return want->kind == SHAPE_LIST ? add_listed(d, want, text) : add_scalar(d, want, text);
}

// ---- Path, query and headers

static Err add_query(struct reader *d, const struct member *m)
{
    bool list = m->shape->kind == SHAPE_LIST, found = false;
    for (size_t i = 0; i < d->r->query_count; i++) {
        const RestPair *p = &d->r->query[i];
        if (!str_eq(p->name, m->called) || (found && !list))
            continue;
        if (!found) {
            TRY(add_key(d, m->name));
            if (list)
                TRY(add_kind(d, EVENT_LIST));
        }
        found = true;
        Str value = p->value.p != NULL ? p->value : S("");
        bool nothing = value.n == 0 && m->shape->kind != SHAPE_STRING && !list;
        if (nothing) // "max-keys=" says nothing
            TRY(add_kind(d, EVENT_NULL));
        else
            TRY(add_scalar(d, list ? m->shape->member : m->shape, value));
    }
    return found && list ? add_kind(d, EVENT_LIST_END) : OK;
}

static Err add_header(struct reader *d, const struct member *m)
{
    for (size_t i = 0; i < d->r->header_count; i++) {
        const HttpHeader *h = &d->r->headers[i];
        if (!str_eq_nocase(h->name, m->called))
            continue;
        TRY(add_key(d, m->name));
        return add_text_value(d, m->shape, h->value);
    }
    return OK;
}

// Text of headers is not always UTF-8: what is not is taken as ISO 8859-1 (RFC 9110 5.5).
static Str header_text(struct arena *a, Str value)
{
    if (str_utf8_count(value) != SIZE_MAX)
        return value;
    char *out = arena_alloc(a, 2 * value.n, 1);
    size_t n = 0;
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if (c >= 0x80)
            out[n++] = (char)(0xc0 | c >> 6);
        out[n++] = (char)(c < 0x80 ? c : 0x80 | (c & 0x3f));
    }
    return str_from(out, n);
}

static Err add_headers(struct reader *d, const struct member *m)
{
    bool found = false;
    for (size_t i = 0; i < d->r->header_count; i++) {
        const HttpHeader *h = &d->r->headers[i];
        if (!str_starts(h->name, m->called) || h->name.n == m->called.n)
            continue;
        if (!found) {
            TRY(add_key(d, m->name));
            TRY(add_kind(d, EVENT_MAP));
        }
        found = true;
        TRY(add_key(d, str_skip(h->name, m->called.n)));
        TRY(add(d, (Event){ .kind = EVENT_TEXT, .text = header_text(d->a, h->value) }));
    }
    return found ? add_kind(d, EVENT_MAP_END) : OK;
}

// ---- XML

static Err add_node(struct reader *d, const struct shape *want, const struct xml_node *n);

static Str element_of(const struct member *m)
{
    const struct shape *s = m->shape;
    if (m->place == PLACE_DOCUMENT && m->called.p != NULL)
        return m->called;
    return s->kind == SHAPE_LIST && s->flat && s->each_name.p != NULL ? s->each_name : m->name;
}

static const struct member *member_of(const struct shape *shape, Str element)
{
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        if (m->place == PLACE_DOCUMENT && str_eq(element_of(m), element))
            return m;
    }
    return NULL;
}

// All elements of that name, wherever they stand among their neighbours.
static Err add_flat(struct reader *d, const struct shape *list, const struct xml_node *first)
{
    TRY(add_kind(d, EVENT_LIST));
    for (const struct xml_node *n = first; n != NULL; n = n->next)
        if (str_eq(n->name, first->name))
            TRY(add_node(d, list->member, n));
    return add_kind(d, EVENT_LIST_END);
}

static Err add_attributes(struct reader *d, const struct shape *shape, const struct xml_node *n)
{
    for (size_t i = 0; i < shape->member_count; i++) {
        const struct member *m = &shape->members[i];
        Str value = m->place == PLACE_ATTRIBUTE ? xml_attribute(n, m->called) : (Str){ 0 };
        if (value.p == NULL)
            continue;
        TRY(add_key(d, m->name));
        TRY(add_scalar(d, m->shape, value));
    }
    return OK;
}

static Err add_members(struct reader *d, const struct shape *shape, const struct xml_node *n)
{
    bool *seen = arena_new(d->a, bool, shape->member_count + 1);
    const struct xml_node *before = NULL; // of a run of the same name only the first is looked at
    for (const struct xml_node *child = n->first; child != NULL; child = child->next) {
        bool run = before != NULL && str_eq(before->name, child->name);
        before = child;
        const struct member *m = run ? NULL : member_of(shape, child->name);
        if (m == NULL || seen[m - shape->members])
            continue;
        seen[m - shape->members] = true;
        TRY(add_key(d, m->name));
        if (m->shape->kind == SHAPE_LIST && m->shape->flat)
            TRY(add_flat(d, m->shape, child));
        else
            TRY(add_node(d, m->shape, child));
    }
    return OK;
}

static Err add_node(struct reader *d, const struct shape *want, const struct xml_node *n)
{
    if (want->kind == SHAPE_STRUCT) {
        TRY(add_kind(d, EVENT_MAP));
        TRY(add_attributes(d, want, n));
        TRY(add_members(d, want, n));
        return add_kind(d, EVENT_MAP_END);
    }
    if (want->kind == SHAPE_LIST) {
        TRY(add_kind(d, EVENT_LIST));
        for (const struct xml_node *child = n->first; child != NULL; child = child->next)
            TRY(add_node(d, want->member, child));
        return add_kind(d, EVENT_LIST_END);
    }
    if (want->kind == SHAPE_MAP)
        return fail(ERR_INVALID, "maps are not served in XML");
    d->place = PLACE_DOCUMENT;
    d->name = n->name;
    return add_scalar(d, want, n->text);
}

static Err add_payload(struct reader *d, const struct member *m)
{
    struct xml_node *root = NULL;
    ShapeKind kind = m->shape->kind;
    Str body = d->r->body;
    if (d->r->op->streams || (body.n == 0 && kind != SHAPE_BLOB))
        return OK;
    TRY(add_key(d, m->name));
    if (kind == SHAPE_BLOB)
        return add(d, (Event){ .kind = EVENT_BYTES, .text = body });
    if (kind != SHAPE_STRUCT)
        return str_utf8_count(body) != SIZE_MAX
                   ? add(d, (Event){ .kind = EVENT_TEXT, .text = body })
                   : fail(ERR_INVALID, "a text is not UTF-8");
    TRY(xml_parse(d->a, body, &root));
    Str name = m->called.p != NULL ? m->called : m->name;
    if (!str_eq(root->name, name) && !str_eq(root->name, m->shape->name))
        return fail(ERR_INVALID, "the root of an XML document has another name");
    return add_node(d, m->shape, root);
}

static Err add_document(struct reader *d)
{
    const struct shape *shape = d->r->op->input;
    struct xml_node *root = NULL;
    bool wanted = false;
    for (size_t i = 0; i < shape->member_count; i++)
        wanted = wanted || shape->members[i].place == PLACE_DOCUMENT;
    if (!wanted || d->r->body.n == 0)
        return OK;
    TRY(xml_parse(d->a, d->r->body, &root));
    return add_members(d, shape, root);
}

// ---- The request

static Err add_member(struct reader *d, const struct member *m)
{
    Str label;
    d->place = m->place;
    d->name = m->called.p != NULL ? m->called : m->name;
    switch (m->place) {
    case PLACE_PATH:
        TRY(rest_label(d->r, m->name, &label));
        TRY(add_key(d, m->name));
        return add_scalar(d, m->shape, label);
    case PLACE_QUERY:
        return add_query(d, m);
    case PLACE_HEADER:
        return add_header(d, m);
    case PLACE_HEADERS:
        return add_headers(d, m);
    case PLACE_PAYLOAD:
        return add_payload(d, m);
    default:
        return OK;
    }
}

static Err make_events(struct reader *d)
{
    const struct shape *shape = d->r->op->input;
    TRY(add_kind(d, EVENT_MAP));
    for (size_t i = 0; i < shape->member_count; i++)
        TRY(add_member(d, &shape->members[i]));
    TRY(add_document(d));
    TRY(add_kind(d, EVENT_MAP_END));
    return add_kind(d, EVENT_END);
}

static Err rest_next(struct protocol_reader *p, const struct shape *want, Event *ret)
{
    struct reader *d = p->own;
    (void)want;
    if (d->err.kind != ERR_NONE)
        return d->err;
    if (d->next == d->n)
        return fail(ERR_CLOSED, "the request has ended");
    *ret = d->at[d->next++];
    return OK;
}

Err rest_read_document(struct arena *a, const struct shape *shape, Str xml, void *into)
{
    RestRequest r = { .a = a };
    struct reader *d = arena_new(a, struct reader, 1);
    struct protocol_reader reader = { .next = rest_next, .own = d };
    struct xml_node *root = NULL;
    Str fault = { 0 };
    *d = (struct reader){ .r = &r, .a = a };
    TRY(xml_parse(a, xml, &root));
    TRY(add_node(d, shape, root));
    TRY(add_kind(d, EVENT_END));
    TRY(bind_decode(&reader, shape, a, into, &fault));
    return fault.p == NULL && !r.fault ? OK : fail(ERR_INVALID, "an XML document is another");
}

void rest_reader(struct protocol_reader *p, RestRequest *r)
{
    struct reader *d = arena_new(r->a, struct reader, 1);
    *d = (struct reader){ .r = r, .a = r->a };
    d->err = make_events(d);
    *p = (struct protocol_reader){ .next = rest_next, .own = d };
}

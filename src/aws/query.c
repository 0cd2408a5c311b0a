// SPDX-License-Identifier: Apache-2.0
#include "aws/query.h"
#include "base/time.h"

#include <stdlib.h>
#include <string.h>

// One name with its value, decoded.
typedef struct Pair {
    Str path, value;
    size_t order; // in the form; of the same name twice the last one counts
} Pair;

// A value: the pairs whose paths begin with the same `bytes`. Its own text, if it has one, is the
// pair whose path ends there; those behind it are its children's.
struct node {
    size_t from, to;
    size_t bytes;
};

enum { FRAME_STRUCT, FRAME_LIST, FRAME_MAP };

// What is open while the form is walked.
struct frame {
    int kind;
    const struct shape *shape; // what it is read for; NULL: it will be skipped
    struct node rest;          // what is to come of it
    struct node value;         // of the key that was just told
    bool value_due;
};

struct query {
    struct arena *a;
    Str form;
    Pair *pairs;
    size_t n;
    bool begun, ended;
    struct frame frames[EVENT_DEPTH_MAX];
    size_t depth;
};

static Err no_memory(void)
{
    return fail(ERR_MEMORY, "no memory for the pairs of a form");
}

// ---- Pairs

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char low = (char)(c | 0x20);
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

// Percent-decodes into `plain`, which has room for all of it.
static Err decode_into(char *plain, Str raw, size_t *ret_bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i] == '+' ? ' ' : raw.p[i];
        if (c == '%') {
            int high = raw.n - i > 2 ? hex_value(raw.p[i + 1]) : -1;
            int low = raw.n - i > 2 ? hex_value(raw.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return fail(ERR_INVALID, "a percent sign without two hexadecimal digits");
            c = (char)(high << 4 | low);
            i += 2;
        }
        plain[n++] = c;
    }
    *ret_bytes = n;
    return OK;
}

// What needs no decoding is borrowed.
static Err decode(struct arena *a, Str raw, Str *ret)
{
    *ret = raw;
    if (str_find(raw, '%') < raw.n || str_find(raw, '+') < raw.n) {
        size_t n;
        char *plain = arena_try_raw(a, raw.n, 1);
        if (plain == NULL)
            return no_memory();
        TRY(decode_into(plain, raw, &n));
        *ret = str_from(plain, n);
    }
    return str_utf8_count(*ret) != SIZE_MAX ? OK : fail(ERR_INVALID, "a form is not UTF-8");
}

Str query_field(struct arena *a, Str form, Str name)
{
    for (Str rest = form, pair, key, value; rest.n > 0;) {
        str_cut(rest, '&', &pair, &rest);
        str_cut(pair, '=', &key, &value);
        if (str_eq(key, name))
            return decode(a, value, &value).kind == ERR_NONE ? value : (Str){ 0 };
    }
    return (Str){ 0 };
}

// The part of a path that begins at `at`, up to the next dot.
static Str part_at(Str path, size_t at)
{
    Str rest = str_skip(path, at);
    return str_head(rest, str_find(rest, '.'));
}

static bool is_number(Str part)
{
    for (size_t i = 0; i < part.n; i++)
        if (part.p[i] < '0' || part.p[i] > '9')
            return false;
    return part.n > 0;
}

// Numbers by their value and before names; parts that are not the same text are never equal.
static int compare_parts(Str x, Str y)
{
    bool number = is_number(x);
    if (number != is_number(y))
        return number ? -1 : 1;
    if (number) {
        Str p = x, q = y;
        while (p.n > 1 && p.p[0] == '0')
            p = str_skip(p, 1);
        while (q.n > 1 && q.p[0] == '0')
            q = str_skip(q, 1);
        int order = p.n != q.n ? (p.n < q.n ? -1 : 1) : str_cmp(p, q);
        if (order != 0)
            return order;
    }
    return str_cmp(x, y);
}

static int compare_pairs(const void *left, const void *right)
{
    const Pair *x = left, *y = right;
    size_t at = 0; // both paths are the same up to here
    while (at <= x->path.n && at <= y->path.n) {
        Str p = part_at(x->path, at), q = part_at(y->path, at);
        int order = compare_parts(p, q);
        if (order != 0)
            return order;
        at += p.n + 1;
    }
    if (x->path.n != y->path.n)
        return x->path.n < y->path.n ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static size_t pairs_in(Str form)
{
    size_t n = 1;
    for (Str rest = form, pair; str_cut(rest, '&', &pair, &rest);)
        n++;
    return n;
}

static Err read_pairs(struct query *q)
{
    size_t max = pairs_in(q->form);
    if (max > QUERY_PAIRS_MAX)
        return fail(ERR_LIMIT, "a form has too many names");
    q->pairs = arena_try_raw_new(q->a, Pair, max);
    if (q->pairs == NULL)
        return no_memory();
    for (Str rest = q->form, text, name, value; rest.n > 0;) {
        str_cut(rest, '&', &text, &rest);
        str_cut(text, '=', &name, &value);
        Pair *p = &q->pairs[q->n];
        *p = (Pair){ .order = q->n };
        TRY(decode(q->a, name, &p->path));
        TRY(decode(q->a, value, &p->value));
        q->n += p->path.n > 0 && p->path.p[0] != '.'; // else it names nothing
    }
    if (q->n > 0)
        qsort(q->pairs, q->n, sizeof *q->pairs, compare_pairs);
    return OK;
}

// ---- Values

// A value's own text; absent: it has none.
static Str own_text(const struct query *q, const struct node *n)
{
    Str text = { 0 };
    for (size_t i = n->from; i < n->to && q->pairs[i].path.n == n->bytes; i++)
        text = q->pairs[i].value;
    return text;
}

// The same value without its own text: its children, which begin after a dot.
static struct node children_of(const struct query *q, const struct node *n)
{
    struct node c = *n;
    while (c.from < c.to && q->pairs[c.from].path.n == c.bytes)
        c.from++;
    return c;
}

static bool is_empty(const struct node *n)
{
    return n->from == n->to;
}

// Takes the first child off; its name is part of the path.
static Str take_child(const struct query *q, struct node *rest, struct node *ret)
{
    size_t start = rest->bytes == 0 ? 0 : rest->bytes + 1;
    Str name = part_at(q->pairs[rest->from].path, start);
    struct node child = { .from = rest->from, .to = rest->from, .bytes = start + name.n };
    while (child.to < rest->to && str_eq(part_at(q->pairs[child.to].path, start), name))
        child.to++;
    rest->from = child.to;
    *ret = child;
    return name;
}

// The elements of a list or entries of a map: children that have numbers, or those of the one that
// stands around them, whatever it is called. False: it is something else.
static bool elements_of(const struct query *q, const struct node *n, struct node *ret)
{
    struct node rest = children_of(q, n), first;
    Str name = take_child(q, &rest, &first);
    if (is_number(name)) {
        *ret = children_of(q, n);
        return true;
    }
    *ret = children_of(q, &first);
    return is_empty(&rest);
}

static Err push(struct query *q, int kind, const struct shape *shape, struct node rest, Event *ret)
{
    if (q->depth == EVENT_DEPTH_MAX) {
        q->ended = true;
        return fail(ERR_LIMIT, "the names of a form are too deep");
    }
    q->frames[q->depth++] = (struct frame){ .kind = kind, .shape = shape, .rest = rest };
    *ret = (Event){ .kind = kind == FRAME_LIST ? EVENT_LIST : EVENT_MAP };
    return OK;
}

// A text as what it stands for, if it does.
static Event scalar(const struct shape *want, Str text)
{
    Event e = { .kind = EVENT_TEXT, .text = text };
    int64_t number, ns;
    double real;
    switch (want->kind) {
    case SHAPE_BOOL:
        if (str_eq_nocase(text, S("true")) || str_eq_nocase(text, S("false")))
            e = (Event){ .kind = EVENT_BOOL, .number = text.n == 4 };
        break;
    case SHAPE_INT:
    case SHAPE_LONG:
    case SHAPE_DOUBLE:
        if (str_i64(text, &number).kind == ERR_NONE)
            e = (Event){ .kind = EVENT_INT, .number = number };
        else if (str_double(text, &real).kind == ERR_NONE)
            e = (Event){ .kind = EVENT_DOUBLE, .real = real };
        break;
    case SHAPE_TIME:
        if (time_parse_iso(text, &ns).kind == ERR_NONE)
            e = (Event){ .kind = EVENT_TIME, .number = ns / NS_PER_MS - (ns % NS_PER_MS < 0) };
        break;
    default:
        break;
    }
    return e;
}

static Err value_event(struct query *q, const struct node *n, const struct shape *want, Event *ret)
{
    struct node children = children_of(q, n), elements;
    Str text = own_text(q, n);
    if (want == NULL) {
        *ret = (Event){ .kind = EVENT_NULL };
        return OK;
    }
    bool list = want->kind == SHAPE_LIST, map = want->kind == SHAPE_MAP;
    bool empty = is_empty(&children) && text.n == 0; // `Tags=` is a list without elements
    if (list || map || want->kind == SHAPE_STRUCT) {
        int kind = list ? FRAME_LIST : map ? FRAME_MAP : FRAME_STRUCT;
        if (empty)
            return push(q, kind, want, children, ret);
        if (kind == FRAME_STRUCT ? !is_empty(&children)
                                 : !is_empty(&children) && elements_of(q, n, &elements))
            return push(q, kind, want, kind == FRAME_STRUCT ? children : elements, ret);
    } else if (text.p != NULL) {
        *ret = scalar(want, text);
        return OK;
    }
    if (!is_empty(&children)) // not what is wanted: the binder says so
        return push(q, FRAME_STRUCT, NULL, children, ret);
    *ret = (Event){ .kind = EVENT_TEXT, .text = text };
    return OK;
}

// The member that a name of a struct's child means: a flat list may go by the name of its elements.
static Str member_name(const struct shape *shape, Str name)
{
    for (size_t i = 0; shape != NULL && i < shape->member_count; i++) {
        const struct shape *s = shape->members[i].shape;
        if (s->flat && s->each_name.p != NULL && str_eq(s->each_name, name))
            return shape->members[i].name;
    }
    return name;
}

static bool is_called(Str name, Str own, Str usual)
{
    return (own.p != NULL && str_eq(name, own)) || str_eq(name, usual);
}

// An entry of a map: its children `key` and `value`, or what the map calls them.
static Err entry_event(struct query *q, struct frame *f, Event *ret)
{
    struct node entry, child;
    take_child(q, &f->rest, &entry);
    struct node rest = children_of(q, &entry);
    *ret = (Event){ .kind = EVENT_KEY, .text = S("") };
    f->value = (struct node){ .from = entry.to, .to = entry.to };
    while (!is_empty(&rest)) {
        Str name = take_child(q, &rest, &child);
        if (is_called(name, f->shape->value_name, S("value")))
            f->value = child;
        else if (is_called(name, f->shape->key_name, S("key")))
            ret->text = own_text(q, &child);
    }
    f->value_due = true;
    return OK;
}

static Err frame_event(struct query *q, const struct shape *want, Event *ret)
{
    struct frame *f = &q->frames[q->depth - 1];
    struct node child;
    if (f->value_due) {
        f->value_due = false;
        child = f->value;
        return value_event(q, &child, want, ret);
    }
    if (is_empty(&f->rest)) {
        q->depth--;
        *ret = (Event){ .kind = f->kind == FRAME_LIST ? EVENT_LIST_END : EVENT_MAP_END };
        return OK;
    }
    if (f->kind == FRAME_MAP)
        return entry_event(q, f, ret);
    Str name = take_child(q, &f->rest, &child);
    if (f->kind == FRAME_LIST)
        return value_event(q, &child, want, ret);
    f->value = child;
    f->value_due = true;
    *ret = (Event){ .kind = EVENT_KEY, .text = member_name(f->shape, name) };
    return OK;
}

static Err query_next(struct protocol_reader *r, const struct shape *want, Event *ret)
{
    struct query *q = r->own;
    if (q->ended)
        return fail(ERR_CLOSED, "the form has ended");
    if (!q->begun) {
        q->begun = true;
        Err e = read_pairs(q);
        q->ended = e.kind != ERR_NONE;
        return q->ended ? e : push(q, FRAME_STRUCT, want, (struct node){ .to = q->n }, ret);
    }
    if (q->depth > 0)
        return frame_event(q, want, ret);
    q->ended = true;
    *ret = (Event){ .kind = EVENT_END };
    return OK;
}

void query_reader(struct protocol_reader *r, struct arena *a, Str form)
{
    struct query *q = arena_new(a, struct query, 1);
    q->a = a;
    q->form = form;
    *r = (struct protocol_reader){ .next = query_next, .own = q };
}

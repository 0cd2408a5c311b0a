// SPDX-License-Identifier: Apache-2.0
// Constraints are checked where a value is read, by the function that bind_validate uses, so the
// two cannot differ. scan_fuzz.c holds the whole against the binder.
#include "aws/scan.h"
#include "aws/bind_priv.h"
#include "codec/base64.h"
#include "codec/cbor_wire.h"
#include "codec/text.h"

#include <string.h>

enum {
    SCAN_DEPTH_MAX = 8,    // of structs in structs; below the readers' own limit
    SCAN_MEMBERS_MAX = 64, // of one struct: the bits of members.seen
};

struct scan {
    const char *at, *end;
    struct arena *a;
    char *blob; // where the next decoded blob goes; NULL: there was none yet
    unsigned depth;
};

static size_t left_of(const struct scan *s)
{
    return (size_t)(s->end - s->at);
}

// ---- Members

// Those of one struct that were read. Clients write them mostly in one order, so the search for the
// next begins after the last.
struct members {
    const struct shape *shape;
    size_t next;
    uint64_t seen;
};

static bool members_begin(struct scan *s, const struct shape *shape, struct members *ret)
{
    *ret = (struct members){ .shape = shape };
    return shape->member_count <= SCAN_MEMBERS_MAX && s->depth++ < SCAN_DEPTH_MAX;
}

// NULL: unknown or repeated.
static const struct member *member_take(struct members *ms, Str name)
{
    size_t count = ms->shape->member_count, at = ms->next;
    for (size_t i = 0; i < count; i++, at++) {
        at = at >= count ? 0 : at;
        const struct member *m = &ms->shape->members[at];
        if (m->name.n != name.n || memcmp(m->name.p, name.p, name.n) != 0)
            continue;
        uint64_t bit = UINT64_C(1) << at;
        if ((ms->seen & bit) != 0)
            return NULL;
        ms->seen |= bit;
        ms->next = at + 1;
        return m;
    }
    return NULL;
}

// Whether all is there that must be; fills in defaults.
static bool members_end(struct scan *s, const struct members *ms, void *base)
{
    s->depth--;
    for (size_t i = 0; i < ms->shape->member_count; i++) {
        const struct member *m = &ms->shape->members[i];
        if ((ms->seen >> i & 1) != 0)
            continue;
        if (m->required)
            return false;
        if (m->has_default)
            bind_fill_default(base, m);
    }
    return true;
}

// Where a member's value goes; NULL: no memory.
static void *member_place(struct scan *s, const struct member *m, void *base)
{
    void *place = bind_place(base, m);
    if (m->shape->kind != SHAPE_STRUCT)
        return place;
    void *inner = arena_try(s->a, m->shape->struct_bytes, _Alignof(max_align_t));
    *(const void **)place = inner;
    return inner;
}

// Room for one more element of a list; NULL: none, or there are too many.
static void *element_place(struct scan *s, const struct shape *shape, struct growth *g)
{
    if (g->n == (shape->has_max ? (size_t)shape->max : (size_t)BIND_LIST_MAX))
        return NULL;
    return bind_growth_next(s->a, g, shape);
}

static bool list_end(const struct shape *shape, const struct growth *g, void *place)
{
    *(struct any_list *)place = (struct any_list){ .at = g->at, .n = g->n, .set = true };
    return bind_is_within(shape, place);
}

// ---- JSON

static bool json_struct(struct scan *s, const struct shape *shape, void *base);
static bool json_list(struct scan *s, const struct shape *shape, void *place);

static void skip_blanks(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
        s->at++;
}

// Takes `c`, if it is what comes after blanks.
static bool take(struct scan *s, char c)
{
    skip_blanks(s);
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

// A member's name and its colon. No name has a byte that would need an escape.
static bool json_name(struct scan *s, Str *ret)
{
    if (!take(s, '"'))
        return false;
    const char *quote = memchr(s->at, '"', left_of(s));
    if (quote == NULL)
        return false;
    *ret = str_from(s->at, (size_t)(quote - s->at));
    s->at = quote + 1;
    return take(s, ':');
}

static bool json_text(struct scan *s, Str *ret)
{
    if (!take(s, '"') || !text_quoted(str_from(s->at, left_of(s)), ret))
        return false;
    s->at = ret->p + ret->n + 1;
    return true;
}

// Who wants it decodes it himself, to where he wants it.
static bool json_base64(struct scan *s, Blob *ret)
{
    size_t bytes, characters;
    if (!take(s, '"') || !base64_check_quoted(s->at, left_of(s), &bytes, &characters))
        return false;
    *ret = (Blob){ .p = s->at, .n = bytes, .is_base64 = true };
    s->at += characters + 1;
    return true;
}

// All blobs of a document are decoded one behind the other, in one allocation: what is left of the
// document bounds what they need together.
static bool json_blob(struct scan *s, Str *ret)
{
    if (!take(s, '"'))
        return false;
    if (s->blob == NULL)
        s->blob = arena_try_raw(s->a, base64_quoted_max(left_of(s)), 1);
    size_t bytes, characters;
    if (s->blob == NULL || !base64_decode_quoted(s->blob, s->at, left_of(s), &bytes, &characters))
        return false;
    *ret = str_from(s->blob, bytes);
    s->blob += bytes;
    s->at += characters + 1;
    return true;
}

static bool json_value(struct scan *s, const struct shape *shape, void *place)
{
    switch (shape->kind) {
    case SHAPE_STRING:
    case SHAPE_ENUM:
        return json_text(s, place) && bind_is_within(shape, place);
    case SHAPE_BLOB:
        return (shape->base64 ? json_base64(s, place) : json_blob(s, place)) &&
               bind_is_within(shape, place);
    case SHAPE_LIST:
        return json_list(s, shape, place);
    case SHAPE_STRUCT:
        return json_struct(s, shape, place);
    default:
        return false;
    }
}

static bool json_list(struct scan *s, const struct shape *shape, void *place)
{
    struct growth g = { 0 };
    if (!take(s, '['))
        return false;
    if (take(s, ']'))
        return list_end(shape, &g, place);
    do {
        void *element = element_place(s, shape, &g);
        if (element == NULL || !json_value(s, shape->member, element))
            return false;
        g.n++;
    } while (take(s, ','));
    return take(s, ']') && list_end(shape, &g, place);
}

static bool json_struct(struct scan *s, const struct shape *shape, void *base)
{
    struct members ms;
    if (!members_begin(s, shape, &ms) || !take(s, '{'))
        return false;
    if (take(s, '}'))
        return members_end(s, &ms, base);
    do {
        Str name;
        const struct member *m = json_name(s, &name) ? member_take(&ms, name) : NULL;
        void *place = m != NULL ? member_place(s, m, base) : NULL;
        if (place == NULL || !json_value(s, m->shape, place))
            return false;
    } while (take(s, ','));
    return take(s, '}') && members_end(s, &ms, base);
}

bool scan_json(const struct shape *shape, struct arena *a, Str body, void *into)
{
    struct scan s = { .at = body.p, .end = body.p + body.n, .a = a };
    if (!json_struct(&s, shape, into))
        return false;
    skip_blanks(&s); // nothing else may follow
    return s.at == s.end;
}

// ---- CBOR: definite texts and bytes, maps and lists of either kind, no tags.

static bool cbor_struct(struct scan *s, const struct shape *shape, void *base);
static bool cbor_list(struct scan *s, const struct shape *shape, void *place);

// The length of an item that must have this major type. What it counts takes a byte each at least.
static bool cbor_length(struct scan *s, unsigned major, size_t *ret)
{
    if (s->at == s->end)
        return false;
    unsigned char first = (unsigned char)*s->at++;
    unsigned information = first & 31;
    uint64_t length = information;
    if (first >> 5 != major || information > CBOR_IN_8_BYTES)
        return false;
    if (information >= CBOR_IN_1_BYTE) {
        size_t bytes = (size_t)1 << (information - CBOR_IN_1_BYTE);
        if (left_of(s) < bytes)
            return false;
        length = 0;
        for (size_t i = 0; i < bytes; i++)
            length = length << 8 | (unsigned char)*s->at++;
    }
    if (length > left_of(s))
        return false;
    *ret = (size_t)length;
    return true;
}

static bool cbor_string(struct scan *s, unsigned major, Str *ret)
{
    size_t n;
    if (!cbor_length(s, major, &n))
        return false;
    *ret = str_from(s->at, n);
    s->at += n;
    return true;
}

// How much is still to come of a map or list.
struct cbor_items {
    bool indefinite;
    size_t left;
};

static bool cbor_begin(struct scan *s, unsigned major, struct cbor_items *ret)
{
    *ret = (struct cbor_items){ 0 };
    ret->indefinite = s->at < s->end && (unsigned char)*s->at == CBOR_BYTE(major, CBOR_INDEFINITE);
    if (!ret->indefinite)
        return cbor_length(s, major, &ret->left);
    s->at++;
    return true;
}

static bool cbor_more(struct scan *s, struct cbor_items *items)
{
    if (!items->indefinite)
        return items->left-- > 0;
    bool ended = s->at < s->end && (unsigned char)*s->at == CBOR_BREAK;
    s->at += ended;
    return !ended;
}

static bool cbor_value(struct scan *s, const struct shape *shape, void *place)
{
    Str *text = place;
    switch (shape->kind) {
    case SHAPE_STRING:
    case SHAPE_ENUM:
        return cbor_string(s, CBOR_TEXT, text) && text_is_utf8(*text) &&
               bind_is_within(shape, place);
    case SHAPE_BLOB:
        return cbor_string(s, CBOR_BYTES, text) && bind_is_within(shape, place);
    case SHAPE_LIST:
        return cbor_list(s, shape, place);
    case SHAPE_STRUCT:
        return cbor_struct(s, shape, place);
    default:
        return false;
    }
}

static bool cbor_list(struct scan *s, const struct shape *shape, void *place)
{
    struct growth g = { 0 };
    struct cbor_items items;
    if (!cbor_begin(s, CBOR_LIST, &items))
        return false;
    while (cbor_more(s, &items)) {
        void *element = element_place(s, shape, &g);
        if (element == NULL || !cbor_value(s, shape->member, element))
            return false;
        g.n++;
    }
    return list_end(shape, &g, place);
}

static bool cbor_struct(struct scan *s, const struct shape *shape, void *base)
{
    struct members ms;
    struct cbor_items items;
    if (!members_begin(s, shape, &ms) || !cbor_begin(s, CBOR_MAP, &items))
        return false;
    while (cbor_more(s, &items)) {
        Str name;
        const struct member *m = cbor_string(s, CBOR_TEXT, &name) ? member_take(&ms, name) : NULL;
        void *place = m != NULL ? member_place(s, m, base) : NULL;
        if (place == NULL || !cbor_value(s, m->shape, place))
            return false;
    }
    return members_end(s, &ms, base);
}

bool scan_cbor(const struct shape *shape, struct arena *a, Str body, void *into)
{
    struct scan s = { .at = body.p, .end = body.p + body.n, .a = a };
    return cbor_struct(&s, shape, into) && s.at == s.end;
}

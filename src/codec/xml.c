// SPDX-License-Identifier: Apache-2.0
#include "codec/xml.h"

#include <string.h>

// Character data under construction: borrowed as long as it is one piece.
struct text {
    char *made; // NULL: `plain` is all of it
    size_t n, cap;
    Str plain;
};

// An element that is open.
struct open {
    struct xml_node *node;
    Str whole_name; // with its prefix, as its end must have it
    struct xml_node **next;
    struct text text;
};

struct parser {
    struct arena *a;
    Str in;
    size_t at;
    size_t nodes;
    struct xml_node *root;
    struct open open[XML_DEPTH_MAX];
    size_t depth;
};

static Err malformed(const char *why)
{
    return fail(ERR_INVALID, why);
}

static Err no_memory(void)
{
    return fail(ERR_MEMORY, "no memory for an XML document");
}

// ---- Characters

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool begins_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
           (unsigned char)c >= 0x80;
}

static bool is_in_name(char c)
{
    return begins_name(c) || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

static char peek(const struct parser *p)
{
    return p->at < p->in.n ? p->in.p[p->at] : '\0'; // which is in no document
}

static bool skip_space(struct parser *p)
{
    size_t from = p->at;
    while (is_space(peek(p)))
        p->at++;
    return p->at > from;
}

static bool accept(struct parser *p, Str word)
{
    if (!str_starts(str_skip(p->in, p->at), word))
        return false;
    p->at += word.n;
    return true;
}

static Err take_name(struct parser *p, Str *ret)
{
    size_t from = p->at;
    if (!begins_name(peek(p)))
        return malformed("an XML name is missing");
    while (is_in_name(peek(p)))
        p->at++;
    *ret = str_from(p->in.p + from, p->at - from);
    return OK;
}

// What is between here and `end`, which is skipped.
static Err take_until(struct parser *p, Str end, Str *ret)
{
    Str rest = str_skip(p->in, p->at);
    size_t n = str_search(rest, end);
    if (n == rest.n)
        return malformed("XML markup does not end");
    *ret = str_head(rest, n);
    p->at += n + end.n;
    return OK;
}

static Str without_prefix(Str name)
{
    size_t colon = str_find(name, ':');
    return colon < name.n ? str_skip(name, colon + 1) : name;
}

// ---- Text

static Err text_room(struct parser *p, struct text *t, size_t more)
{
    if (t->made != NULL && t->cap - t->n >= more)
        return OK;
    size_t cap = MAX((t->n + more) * 2, (size_t)64);
    char *made = arena_try_raw(p->a, cap, 1);
    if (made == NULL)
        return no_memory();
    Str old = t->made != NULL ? str_from(t->made, t->n) : t->plain;
    if (old.n > 0)
        memcpy(made, old.p, old.n);
    *t = (struct text){ .made = made, .n = old.n, .cap = cap };
    return OK;
}

static Err text_add(struct parser *p, struct text *t, Str piece)
{
    if (piece.n == 0)
        return OK;
    if (t->made == NULL && t->plain.n == 0) {
        t->plain = piece;
        t->n = piece.n;
        return OK;
    }
    TRY(text_room(p, t, piece.n));
    memcpy(t->made + t->n, piece.p, piece.n);
    t->n += piece.n;
    return OK;
}

static Str text_all(const struct text *t)
{
    Str all = t->made != NULL ? str_from(t->made, t->n) : t->plain;
    return all.p != NULL ? all : S("");
}

static Str encode_point(struct arena *a, uint32_t c)
{
    char *out = arena_alloc(a, 4, 1);
    if (c < 0x80) {
        out[0] = (char)c;
        return str_from(out, 1);
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    out[0] = (char)(lead[n] | c);
    return str_from(out, n);
}

// "#x41" or "#65", between '&' and ';'.
static Err numbered(struct parser *p, Str digits, Str *ret)
{
    bool hex = str_starts(digits, S("x"));
    uint32_t c = 0;
    digits = str_skip(digits, hex ? 1 : 0);
    if (digits.n == 0 || digits.n > 8)
        return malformed("an XML character reference has no number");
    for (size_t i = 0; i < digits.n; i++) {
        char d = digits.p[i];
        uint32_t low = (uint32_t)(d | 0x20) - 'a';
        uint32_t value = d >= '0' && d <= '9' ? (uint32_t)(d - '0')
                         : hex && low < 6     ? low + 10
                                              : UINT32_MAX;
        if (value == UINT32_MAX || c > 0x10ffff)
            return malformed("an XML character reference is no number");
        c = c * (hex ? 16 : 10) + value;
    }
    bool good = c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c < 0xd800) ||
                (c > 0xdfff && c <= 0x10ffff && c != 0xfffe && c != 0xffff);
    if (!good)
        return malformed("an XML character reference names no character");
    *ret = encode_point(p->a, c);
    return OK;
}

static Err take_reference(struct parser *p, Str *ret)
{
    static const struct {
        Str name, means;
    } known[] = { { S_INIT("lt"), S_INIT("<") },
                  { S_INIT("gt"), S_INIT(">") },
                  { S_INIT("amp"), S_INIT("&") },
                  { S_INIT("quot"), S_INIT("\"") },
                  { S_INIT("apos"), S_INIT("'") } };
    Str name;
    p->at++;
    TRY(take_until(p, S(";"), &name));
    if (str_starts(name, S("#")))
        return numbered(p, str_skip(name, 1), ret);
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq(known[i].name, name)) {
            *ret = known[i].means;
            return OK;
        }
    return malformed("an XML entity is not known");
}

// Plain characters up to one of `stops`, with line ends as XML has them (2.11).
static Err take_plain(struct parser *p, const char *stops, struct text *t)
{
    while (p->at < p->in.n && strchr(stops, peek(p)) == NULL) {
        size_t from = p->at;
        while (p->at < p->in.n && peek(p) != '\r' && strchr(stops, peek(p)) == NULL)
            p->at++;
        TRY(text_add(p, t, str_from(p->in.p + from, p->at - from)));
        if (peek(p) == '\r') {
            p->at += str_starts(str_skip(p->in, p->at), S("\r\n")) ? 2 : 1;
            TRY(text_add(p, t, S("\n")));
        }
    }
    return OK;
}

// ---- Elements

static Err take_attribute(struct parser *p, struct xml_node *n)
{
    struct text value = { 0 };
    Str name, piece;
    TRY(take_name(p, &name));
    skip_space(p);
    if (!accept(p, S("=")))
        return malformed("an XML attribute has no value");
    skip_space(p);
    char quote = peek(p);
    if (quote != '"' && quote != '\'')
        return malformed("an XML attribute's value is not quoted");
    const char stops[] = { quote, '&', '<', '\0' };
    p->at++;
    for (;;) {
        TRY(take_plain(p, stops, &value));
        if (peek(p) == quote)
            break;
        if (peek(p) != '&')
            return malformed("an XML attribute's value does not end");
        TRY(take_reference(p, &piece));
        TRY(text_add(p, &value, piece));
    }
    p->at++;
    for (const struct xml_attribute *other = n->attributes; other != NULL; other = other->next)
        if (str_eq(other->name, name))
            return malformed("an XML attribute is repeated");
    struct xml_attribute *made = arena_try_new(p->a, struct xml_attribute, 1);
    if (made == NULL)
        return no_memory();
    *made =
        (struct xml_attribute){ .name = name, .value = text_all(&value), .next = n->attributes };
    n->attributes = made;
    return OK;
}

static Err open_element(struct parser *p)
{
    enum { ATTRIBUTES_MAX = 32 };
    Str name;
    TRY(take_name(p, &name));
    if (p->depth == XML_DEPTH_MAX || p->nodes++ == XML_NODES_MAX)
        return fail(ERR_LIMIT, "an XML document has too many elements");
    struct xml_node *n = arena_try_new(p->a, struct xml_node, 1);
    if (n == NULL)
        return no_memory();
    n->name = without_prefix(name);
    n->text = S("");
    if (p->depth == 0)
        p->root = n;
    else
        *p->open[p->depth - 1].next = n;
    bool spaced = skip_space(p);
    for (size_t i = 0; spaced && begins_name(peek(p)); i++) {
        if (i == ATTRIBUTES_MAX)
            return fail(ERR_LIMIT, "an XML element has too many attributes");
        TRY(take_attribute(p, n));
        spaced = skip_space(p);
    }
    for (struct xml_attribute *at = n->attributes; at != NULL; at = at->next)
        at->name = without_prefix(at->name);
    if (p->depth > 0)
        p->open[p->depth - 1].next = &n->next;
    if (accept(p, S("/>")))
        return OK;
    if (!accept(p, S(">")))
        return malformed("an XML element's tag does not end");
    p->open[p->depth++] =
        (struct open){ .node = n, .whole_name = name, .next = &n->first, .text = { 0 } };
    return OK;
}

static Err close_element(struct parser *p)
{
    struct open *o = &p->open[p->depth - 1];
    Str name;
    TRY(take_name(p, &name));
    skip_space(p);
    if (!str_eq(name, o->whole_name) || !accept(p, S(">")))
        return malformed("an XML element does not end as it began");
    o->node->text = text_all(&o->text);
    p->depth--;
    return OK;
}

static Err take_comment(struct parser *p)
{
    Str text;
    TRY(take_until(p, S("--"), &text));
    return accept(p, S(">")) ? OK : malformed("an XML comment holds two dashes");
}

static Err take_instruction(struct parser *p)
{
    Str target, rest;
    TRY(take_name(p, &target));
    if (str_eq_nocase(target, S("xml")))
        return malformed("an XML declaration is not at the beginning");
    return take_until(p, S("?>"), &rest);
}

static Err take_cdata(struct parser *p)
{
    Str data;
    TRY(take_until(p, S("]]>"), &data));
    struct parser inside = { .a = p->a, .in = data }; // for its line ends
    return take_plain(&inside, "", &p->open[p->depth - 1].text);
}

// What begins with '<'.
static Err take_markup(struct parser *p)
{
    p->at++;
    if (accept(p, S("!--")))
        return take_comment(p);
    if (accept(p, S("?")))
        return take_instruction(p);
    if (p->depth > 0 && accept(p, S("![CDATA[")))
        return take_cdata(p);
    if (p->depth > 0 && accept(p, S("/")))
        return close_element(p);
    if (p->depth == 0 && p->root != NULL)
        return malformed("an XML document has a second root");
    return open_element(p);
}

static Err take_content(struct parser *p)
{
    Str piece;
    if (peek(p) == '<')
        return take_markup(p);
    if (p->depth == 0)
        return skip_space(p) ? OK : malformed("text outside of the root of an XML document");
    struct text *t = &p->open[p->depth - 1].text;
    if (peek(p) == '&') {
        TRY(take_reference(p, &piece));
        return text_add(p, t, piece);
    }
    size_t from = p->at;
    TRY(take_plain(p, "<&", t));
    Str plain = str_from(p->in.p + from, p->at - from);
    return str_search(plain, S("]]>")) == plain.n ? OK : malformed("']]>' in XML text");
}

// ---- The document

static bool has_controls(Str in)
{
    for (size_t i = 0; i < in.n; i++)
        if ((unsigned char)in.p[i] < 0x20 && !is_space(in.p[i]))
            return true;
    return false;
}

// <?xml version="1.0" encoding="UTF-8" standalone="yes"?>
static Err take_declaration(struct parser *p)
{
    struct xml_node holder = { 0 };
    if (!accept(p, S("<?xml")))
        return OK;
    while (skip_space(p) && begins_name(peek(p)))
        TRY(take_attribute(p, &holder));
    if (!accept(p, S("?>")))
        return malformed("an XML declaration does not end");
    Str version = xml_attribute(&holder, S("version"));
    Str encoding = xml_attribute(&holder, S("encoding"));
    bool known = encoding.p == NULL || str_eq_nocase(encoding, S("utf-8")) ||
                 str_eq_nocase(encoding, S("us-ascii"));
    return str_starts(version, S("1.")) && known ? OK : malformed("not XML 1.0 in UTF-8");
}

Str xml_attribute(const struct xml_node *n, Str name)
{
    for (const struct xml_attribute *at = n->attributes; at != NULL; at = at->next)
        if (str_eq(at->name, name))
            return at->value;
    return (Str){ 0 };
}

Err xml_parse(struct arena *a, Str input, struct xml_node **ret)
{
    struct parser *p = arena_try_new(a, struct parser, 1);
    if (p == NULL)
        return no_memory();
    p->a = a;
    p->in = str_starts(input, S("\xef\xbb\xbf")) ? str_skip(input, 3) : input;
    if (str_utf8_count(p->in) == SIZE_MAX || has_controls(p->in))
        return malformed("an XML document holds what is no character");
    TRY(take_declaration(p));
    while (p->at < p->in.n)
        TRY(take_content(p));
    if (p->root == NULL || p->depth > 0)
        return malformed("an XML document is not complete");
    *ret = p->root;
    return OK;
}

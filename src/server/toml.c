// SPDX-License-Identifier: Apache-2.0
#include "server/toml.h"
#include "base/buf.h"

#include <math.h>
#include <string.h>

enum { TOML_TABLES_MAX = 200, TOML_NAME_BYTES_MAX = 200, TOML_STRING_BYTES_MAX = 64 << 10 };

struct parser {
    struct arena *a;
    Str input;
    size_t at;
    unsigned line;
    Str table; // "" or the name of the open table
    Str tables[TOML_TABLES_MAX];
    size_t table_count;
    TomlValue *values;
    size_t value_count;
    TomlFault *fault;
};

static Err refuse(struct parser *p, ErrKind kind, Str reason)
{
    *p->fault = (TomlFault){ .line = p->line, .reason = reason };
    return fail(kind, "configuration file refused");
}

static Err wrong(struct parser *p, Str reason)
{
    return refuse(p, ERR_INVALID, reason);
}

// The next byte, or 0 at the end of the file; a zero byte itself is refused before parsing.
static char peek(const struct parser *p)
{
    return p->at < p->input.n ? p->input.p[p->at] : '\0';
}

static bool looking_at(const struct parser *p, Str s)
{
    return str_starts(str_skip(p->input, p->at), s);
}

static void skip_blanks(struct parser *p)
{
    while (peek(p) == ' ' || peek(p) == '\t')
        p->at++;
}

// A comment, if one begins here, up to its line end.
static Err skip_comment(struct parser *p)
{
    if (peek(p) != '#')
        return OK;
    for (; p->at < p->input.n && peek(p) != '\n'; p->at++) {
        unsigned char c = (unsigned char)peek(p);
        bool ends_line = c == '\r' && looking_at(p, S("\r\n"));
        if ((c < 0x20 && c != '\t' && !ends_line) || c == 0x7f)
            return wrong(p, S("a comment holds a control byte"));
    }
    return OK;
}

static bool skip_line_end(struct parser *p)
{
    if (looking_at(p, S("\r\n")))
        p->at++;
    if (peek(p) != '\n')
        return false;
    p->at++;
    p->line++;
    return true;
}

// Blanks, comments and line ends between the items of a list.
static Err skip_lines(struct parser *p)
{
    do {
        skip_blanks(p);
        TRY(skip_comment(p));
    } while (skip_line_end(p));
    return OK;
}

static void add_utf8(struct buf *b, uint32_t point)
{
    if (point < 0x80) {
        buf_add_byte(b, (char)point);
    } else if (point < 0x800) {
        buf_add_byte(b, (char)(0xc0 | point >> 6));
        buf_add_byte(b, (char)(0x80 | (point & 0x3f)));
    } else if (point < 0x10000) {
        buf_add_byte(b, (char)(0xe0 | point >> 12));
        buf_add_byte(b, (char)(0x80 | (point >> 6 & 0x3f)));
        buf_add_byte(b, (char)(0x80 | (point & 0x3f)));
    } else {
        buf_add_byte(b, (char)(0xf0 | point >> 18));
        buf_add_byte(b, (char)(0x80 | (point >> 12 & 0x3f)));
        buf_add_byte(b, (char)(0x80 | (point >> 6 & 0x3f)));
        buf_add_byte(b, (char)(0x80 | (point & 0x3f)));
    }
}

// \uXXXX and \UXXXXXXXX, after the letter.
static Err parse_code_point(struct parser *p, unsigned digits, struct buf *out)
{
    uint32_t point = 0;
    for (unsigned i = 0; i < digits; i++, p->at++) {
        char c = peek(p);
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : 16;
        if (digit == 16)
            return wrong(p, S("a \\u or \\U escape has too few hexadecimal digits"));
        point = point << 4 | digit;
    }
    if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return wrong(p, S("an escape names a code point that does not exist"));
    add_utf8(out, point);
    return OK;
}

static Err parse_escape(struct parser *p, struct buf *out)
{
    static const char names[] = "btnfr\"\\", bytes[] = "\b\t\n\f\r\"\\";
    char c = peek(p);
    p->at++;
    if (c == 'u')
        return parse_code_point(p, 4, out);
    if (c == 'U')
        return parse_code_point(p, 8, out);
    const char *found = c != '\0' ? strchr(names, c) : NULL;
    if (found == NULL)
        return wrong(p, S("unknown escape in a string; a lone backslash is written \\\\"));
    buf_add_byte(out, bytes[found - names]);
    return OK;
}

// A basic ("...") or literal ('...') string.
static Err parse_string(struct parser *p, Str *ret)
{
    char quote = peek(p);
    if (looking_at(p, S("\"\"\"")) || looking_at(p, S("'''")))
        return wrong(p, S("strings over several lines are not used here"));
    p->at++;
    AUTO_BUF(out);
    buf_init(&out, TOML_STRING_BYTES_MAX);
    for (;;) {
        unsigned char c = (unsigned char)peek(p);
        if (p->at == p->input.n || c == '\n' || c == '\r')
            return wrong(p, S("a string is not closed on its line"));
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return wrong(p, S("a string holds a control byte"));
        p->at++;
        if (c == (unsigned char)quote)
            break;
        if (c == '\\' && quote == '"')
            TRY(parse_escape(p, &out));
        else
            buf_add_byte(&out, (char)c);
    }
    if (out.overflown)
        return refuse(p, ERR_LIMIT, S("a string is too long"));
    *ret = str_dup(p->a, buf_str(&out));
    return OK;
}

static bool is_bare(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static Err parse_key_part(struct parser *p, Str *ret)
{
    if (peek(p) == '"' || peek(p) == '\'')
        return parse_string(p, ret);
    size_t from = p->at;
    while (is_bare(peek(p)))
        p->at++;
    if (p->at == from)
        return wrong(p, S("expected a key or a [table]"));
    *ret = str_from(p->input.p + from, p->at - from);
    return OK;
}

// One or more parts with dots between them, joined by dots.
static Err parse_key(struct parser *p, Str *ret)
{
    Str key = S("");
    for (bool first = true;; first = false) {
        Str part;
        TRY(parse_key_part(p, &part));
        key = first ? part : str_cat3(p->a, key, S("."), part);
        if (key.n > TOML_NAME_BYTES_MAX)
            return refuse(p, ERR_LIMIT, S("a key is too long"));
        skip_blanks(p);
        if (peek(p) != '.')
            break;
        p->at++;
        skip_blanks(p);
    }
    *ret = key;
    return OK;
}

static bool name_taken(const struct parser *p, Str name)
{
    for (size_t i = 0; i < p->value_count; i++)
        if (str_eq(p->values[i].key, name))
            return true;
    return false;
}

static Err parse_table(struct parser *p)
{
    p->at++;
    if (peek(p) == '[')
        return wrong(p, S("arrays of tables are not used here"));
    skip_blanks(p);
    Str name;
    TRY(parse_key(p, &name));
    if (peek(p) != ']')
        return wrong(p, S("expected ] after the name of a table"));
    p->at++;
    for (size_t i = 0; i < p->table_count; i++)
        if (str_eq(p->tables[i], name))
            return wrong(p, str_fmt(p->a, "table [%.*s] is given twice", FMT(name)));
    if (name_taken(p, name))
        return wrong(p, str_fmt(p->a, "'%.*s' is a key and a table", FMT(name)));
    if (p->table_count == TOML_TABLES_MAX)
        return refuse(p, ERR_LIMIT, S("too many tables"));
    p->tables[p->table_count++] = name;
    p->table = name;
    return OK;
}

static Err parse_list(struct parser *p, TomlValue *v)
{
    p->at++;
    v->kind = TOML_LIST;
    v->items = arena_new(p->a, Str, TOML_LIST_MAX);
    TRY(skip_lines(p));
    while (peek(p) != ']') {
        if (p->at == p->input.n)
            return wrong(p, S("a list is not closed"));
        if (peek(p) != '"' && peek(p) != '\'')
            return wrong(p, S("lists hold strings only"));
        if (v->item_count == TOML_LIST_MAX)
            return refuse(p, ERR_LIMIT, S("too many items in a list"));
        TRY(parse_string(p, &v->items[v->item_count++]));
        TRY(skip_lines(p));
        if (peek(p) == ',') {
            p->at++;
            TRY(skip_lines(p));
        } else if (peek(p) != ']') {
            return wrong(p, S("expected , or ] in a list"));
        }
    }
    p->at++;
    return OK;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// Digits with single '_' between them, appended to `out` without those.
static bool take_digits(Str *s, struct buf *out)
{
    size_t taken = 0;
    while (s->n > 0) {
        if (is_digit(s->p[0]))
            buf_add_byte(out, s->p[0]);
        else if (s->p[0] != '_' || taken == 0 || s->n < 2 || !is_digit(s->p[1]))
            break;
        taken++;
        *s = str_skip(*s, 1);
    }
    return taken > 0;
}

static void take_sign(Str *s, struct buf *out)
{
    if (s->n > 0 && (s->p[0] == '+' || s->p[0] == '-')) {
        if (s->p[0] == '-')
            buf_add_byte(out, '-');
        *s = str_skip(*s, 1);
    }
}

// [+-]digits[.digits][e[+-]digits]; false: not a number of TOML.
static bool scan_number(Str word, struct buf *out, bool *ret_real)
{
    bool real = false;
    take_sign(&word, out);
    if (word.n > 1 && word.p[0] == '0' && (is_digit(word.p[1]) || word.p[1] == '_'))
        return false; // a leading zero
    if (!take_digits(&word, out))
        return false;
    if (word.n > 0 && word.p[0] == '.') {
        real = true;
        buf_add_byte(out, '.');
        word = str_skip(word, 1);
        if (!take_digits(&word, out))
            return false;
    }
    if (word.n > 0 && (word.p[0] == 'e' || word.p[0] == 'E')) {
        real = true;
        buf_add_byte(out, 'e');
        word = str_skip(word, 1);
        take_sign(&word, out);
        if (!take_digits(&word, out))
            return false;
    }
    *ret_real = real;
    return word.n == 0;
}

static Err parse_word(struct parser *p, TomlValue *v)
{
    size_t from = p->at;
    while (p->at < p->input.n && memchr(" \t\r\n#,]}", peek(p), 8) == NULL)
        p->at++;
    Str word = str_from(p->input.p + from, p->at - from);
    if (str_eq(word, S("true")) || str_eq(word, S("false"))) {
        v->kind = TOML_BOOL;
        v->text = word;
        v->integer = word.n == 4;
        return OK;
    }
    AUTO_BUF(digits);
    bool real = false;
    if (word.n == 0)
        return wrong(p, S("a value is missing after ="));
    if (!scan_number(word, &digits, &real))
        return wrong(p, str_fmt(p->a,
                                "'%.*s' is neither a number nor true or false; text needs "
                                "quotes",
                                FMT(str_head(word, 40))));
    v->text = str_dup(p->a, buf_str(&digits));
    v->kind = real ? TOML_REAL : TOML_INTEGER;
    Err e = real ? str_double(v->text, &v->real) : str_i64(v->text, &v->integer);
    if (e.kind != ERR_NONE || (real && !isfinite(v->real)))
        return wrong(p, S("a number is out of range"));
    return OK;
}

static Err parse_value(struct parser *p, TomlValue *v)
{
    switch (peek(p)) {
    case '"':
    case '\'':
        v->kind = TOML_TEXT;
        return parse_string(p, &v->text);
    case '[':
        return parse_list(p, v);
    case '{':
        return wrong(p, S("inline tables are not used here; write a [table]"));
    default:
        return parse_word(p, v);
    }
}

static Err parse_pair(struct parser *p)
{
    Str key;
    TRY(parse_key(p, &key));
    if (p->table.n > 0)
        key = str_cat3(p->a, p->table, S("."), key);
    if (peek(p) != '=')
        return wrong(p, S("expected = after a key"));
    if (name_taken(p, key))
        return wrong(p, str_fmt(p->a, "key '%.*s' is given twice", FMT(key)));
    if (p->value_count == TOML_KEYS_MAX)
        return refuse(p, ERR_LIMIT, S("too many keys"));
    p->at++;
    skip_blanks(p);
    TomlValue v = { .key = key, .line = p->line };
    TRY(parse_value(p, &v));
    p->values[p->value_count++] = v;
    return OK;
}

static Err parse_line(struct parser *p)
{
    skip_blanks(p);
    char c = peek(p);
    if (c == '[')
        TRY(parse_table(p));
    else if (p->at < p->input.n && c != '#' && c != '\n' && c != '\r')
        TRY(parse_pair(p));
    skip_blanks(p);
    TRY(skip_comment(p));
    if (!skip_line_end(p) && p->at < p->input.n)
        return wrong(p, S("unexpected text after the value; one key stands on each line"));
    return OK;
}

Err toml_parse(struct arena *a, Str input, TomlDoc *ret, TomlFault *ret_fault)
{
    struct parser *p = arena_new(a, struct parser, 1);
    *p = (struct parser){ .a = a, .input = input, .line = 1, .table = S(""), .fault = ret_fault };
    if (input.n > TOML_BYTES_MAX)
        return refuse(p, ERR_LIMIT, S("the file is larger than 1 MiB"));
    if (str_utf8_count(input) == SIZE_MAX)
        return wrong(p, S("the file is not UTF-8"));
    if (str_find(input, '\0') < input.n)
        return wrong(p, S("the file holds a zero byte"));
    if (str_starts(input, S("\xef\xbb\xbf")))
        p->at = 3; // a byte order mark, as some editors leave it
    p->values = arena_new(a, TomlValue, TOML_KEYS_MAX);
    while (p->at < input.n)
        TRY(parse_line(p));
    *ret = (TomlDoc){ .at = p->values, .n = p->value_count };
    return OK;
}

// SPDX-License-Identifier: Apache-2.0
#include "codec/json.h"
#include "codec/text.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// What may come next; held in event_reader.state.
enum {
    WANT_VALUE,
    WANT_ITEM_OR_END,
    WANT_KEY_OR_END,
    WANT_SEPARATOR, // a comma or the end; outside everything only the end
};

// What is open; held in event_reader.stack.
enum { OPEN_MAP, OPEN_LIST };

enum { AT_END = -1, NUMBER_ON_STACK_BYTES = 64 };

static Err broken(struct event_reader *r, size_t at, const char *text)
{
    r->at = at;
    r->ended = true;
    return fail(ERR_INVALID, text);
}

static Err starved(struct event_reader *r)
{
    r->ended = true;
    return fail(ERR_MEMORY, "no memory for the text of a document");
}

static int byte_at(const struct event_reader *r, size_t at)
{
    return at < r->input.n ? (unsigned char)r->input.p[at] : AT_END;
}

static void skip_blanks(struct event_reader *r)
{
    int c = byte_at(r, r->at);
    while (c == ' ' || c == '\n' || c == '\r' || c == '\t')
        c = byte_at(r, ++r->at);
}

static Err unexpected(struct event_reader *r, const char *text)
{
    return broken(r, r->at, r->at == r->input.n ? "the document ends too early" : text);
}

// ---- Strings.

// Four hexadecimal digits; -1 if they are not.
static int32_t hex4(const char *p, size_t left)
{
    int32_t value = 0;
    if (left < 4)
        return -1;
    for (size_t i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

// Writes a code point as UTF-8, which is never longer than its escape.
static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

// The escape \uXXXX, or a pair of them, whose first digit is raw.p[*at].
static bool unicode_escape(Str raw, size_t *at, char *out, size_t *written)
{
    int32_t unit = hex4(raw.p + *at, raw.n - *at);
    if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff))
        return false;
    *at += 4;
    if (unit >= 0xd800 && unit <= 0xdbff) {
        if (raw.n - *at < 6 || raw.p[*at] != '\\' || raw.p[*at + 1] != 'u')
            return false;
        int32_t low = hex4(raw.p + *at + 2, 4);
        if (low < 0xdc00 || low > 0xdfff)
            return false;
        *at += 6;
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    }
    *written += put_utf8(out + *written, (uint32_t)unit);
    return true;
}

// The one-letter escapes; 0 for any other letter.
static char short_escape(char c)
{
    switch (c) {
    case '"':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

// The escape whose backslash is raw.p[*at]. A backslash is never the last byte of raw.
static bool escape_at(Str raw, size_t *at, char *out, size_t *written)
{
    char letter = raw.p[*at + 1];
    *at += 2;
    if (letter == 'u')
        return unicode_escape(raw, at, out, written);
    out[*written] = short_escape(letter);
    return out[(*written)++] != 0;
}

// The text of a string whose bytes between the quotes are `raw`, with escapes.
static Err unescape(struct event_reader *r, Str raw, Str *ret)
{
    char *out = arena_try(r->arena, raw.n, 1); // no escape is shorter than what it stands for
    if (out == NULL)
        return starved(r);
    size_t at = 0, written = 0;
    while (at < raw.n) {
        size_t run = str_find(str_skip(raw, at), '\\');
        memcpy(out + written, raw.p + at, run);
        written += run;
        at += run;
        size_t start = at;
        if (at < raw.n && !escape_at(raw, &at, out, &written))
            return broken(r, (size_t)(raw.p - r->input.p) + start, "bad escape in a string");
    }
    *ret = str_from(out, written);
    return OK;
}

// The string whose opening quote is at r->at.
static Err string_at(struct event_reader *r, Str *ret)
{
    size_t start = r->at + 1, end = start;
    bool has_escapes = false;
    for (;;) {
        end += text_plain(str_skip(r->input, end));
        int c = byte_at(r, end);
        if (c == '"')
            break;
        if (c == AT_END || (c == '\\' && end + 1 == r->input.n))
            return broken(r, r->input.n, "the document ends inside a string");
        if (c != '\\')
            return broken(r, end, "a control character in a string");
        has_escapes = true;
        end += 2; // whatever is escaped, a quote included
    }
    Str raw = str_from(r->input.p + start, end - start);
    if (!text_is_utf8(raw))
        return broken(r, r->at, "a string is not well-formed UTF-8");
    if (has_escapes)
        TRY(unescape(r, raw, &raw));
    r->at = end + 1;
    *ret = raw;
    return OK;
}

// ---- Numbers.

static size_t digits_at(const struct event_reader *r, size_t at)
{
    size_t n = 0;
    while (byte_at(r, at + n) >= '0' && byte_at(r, at + n) <= '9')
        n++;
    return n;
}

// The value of digits that have the form of a JSON number.
static Err real_value(struct event_reader *r, Str digits, double *ret)
{
    char small[NUMBER_ON_STACK_BYTES];
    char *text = digits.n < sizeof small ? small : arena_try(r->arena, digits.n + 1, 1);
    if (text == NULL)
        return starved(r);
    memcpy(text, digits.p, digits.n);
    text[digits.n] = 0;
    double value = strtod(text, NULL); // the program stays in the C locale
    *ret = isinf(value) ? copysign(DBL_MAX, value) : value;
    return OK;
}

static Err number_at(struct event_reader *r, Event *ret)
{
    size_t at = r->at;
    if (byte_at(r, at) == '-')
        at++;
    size_t whole = digits_at(r, at);
    if (whole == 0 || (whole > 1 && byte_at(r, at) == '0'))
        return broken(r, at, "a number has no digits or leading zeros");
    at += whole;

    bool integer = true;
    if (byte_at(r, at) == '.') {
        integer = false;
        size_t fraction = digits_at(r, ++at);
        if (fraction == 0)
            return broken(r, at, "a number has no digits after its point");
        at += fraction;
    }
    if (byte_at(r, at) == 'e' || byte_at(r, at) == 'E') {
        integer = false;
        at++;
        if (byte_at(r, at) == '+' || byte_at(r, at) == '-')
            at++;
        size_t exponent = digits_at(r, at);
        if (exponent == 0)
            return broken(r, at, "a number has no digits in its exponent");
        at += exponent;
    }
    Event e = { .text = str_from(r->input.p + r->at, at - r->at) };
    r->at = at;
    if (integer && str_i64(e.text, &e.number).kind == ERR_NONE) {
        e.kind = EVENT_INT;
    } else {
        e.kind = EVENT_DOUBLE;
        TRY(real_value(r, e.text, &e.real));
    }
    *ret = e;
    return OK;
}

// ---- Structure.

static Err open_at(struct event_reader *r, unsigned char open, Event *ret)
{
    if (r->depth == EVENT_DEPTH_MAX) {
        r->ended = true;
        return fail(ERR_LIMIT, "the document is nested too deeply");
    }
    r->stack[r->depth++] = open;
    r->at++;
    r->state = open == OPEN_MAP ? WANT_KEY_OR_END : WANT_ITEM_OR_END;
    *ret = (Event){ .kind = open == OPEN_MAP ? EVENT_MAP : EVENT_LIST };
    return OK;
}

static Err close_at(struct event_reader *r, Event *ret)
{
    bool map = r->stack[--r->depth] == OPEN_MAP;
    r->at++;
    r->state = WANT_SEPARATOR;
    *ret = (Event){ .kind = map ? EVENT_MAP_END : EVENT_LIST_END };
    return OK;
}

static Err key_at(struct event_reader *r, Event *ret)
{
    Event e = { .kind = EVENT_KEY };
    if (byte_at(r, r->at) != '"')
        return unexpected(r, "a key is expected here");
    TRY(string_at(r, &e.text));
    skip_blanks(r);
    if (byte_at(r, r->at) != ':')
        return unexpected(r, "a colon is expected here");
    r->at++;
    r->state = WANT_VALUE;
    *ret = e;
    return OK;
}

static Err word_at(struct event_reader *r, Str word, Event value, Event *ret)
{
    if (!str_starts(str_skip(r->input, r->at), word))
        return broken(r, r->at, "a value is expected here");
    r->at += word.n;
    *ret = value;
    return OK;
}

static Err scalar_at(struct event_reader *r, Event *ret)
{
    int c = byte_at(r, r->at);
    switch (c) {
    case '"':
        *ret = (Event){ .kind = EVENT_TEXT };
        return string_at(r, &ret->text);
    case 't':
        return word_at(r, S("true"), (Event){ .kind = EVENT_BOOL, .number = 1 }, ret);
    case 'f':
        return word_at(r, S("false"), (Event){ .kind = EVENT_BOOL }, ret);
    case 'n':
        return word_at(r, S("null"), (Event){ .kind = EVENT_NULL }, ret);
    default:
        if (c == '-' || (c >= '0' && c <= '9'))
            return number_at(r, ret);
        return unexpected(r, "a value is expected here");
    }
}

static Err value_at(struct event_reader *r, Event *ret)
{
    int c = byte_at(r, r->at);
    if (c == '{')
        return open_at(r, OPEN_MAP, ret);
    if (c == '[')
        return open_at(r, OPEN_LIST, ret);
    Event e;
    TRY(scalar_at(r, &e));
    r->state = WANT_SEPARATOR;
    *ret = e;
    return OK;
}

static Err after_value(struct event_reader *r, Event *ret)
{
    int c = byte_at(r, r->at);
    if (r->depth == 0) {
        if (c != AT_END)
            return broken(r, r->at, "something follows the document");
        r->ended = true;
        *ret = (Event){ .kind = EVENT_END };
        return OK;
    }
    bool map = r->stack[r->depth - 1] == OPEN_MAP;
    if (c == (map ? '}' : ']'))
        return close_at(r, ret);
    if (c != ',')
        return unexpected(r, "a comma or the end of the map or list is expected here");
    r->at++;
    skip_blanks(r);
    return map ? key_at(r, ret) : value_at(r, ret);
}

static Err json_next(struct event_reader *r, Event *ret)
{
    if (r->ended)
        return fail(ERR_CLOSED, "the document has ended");
    skip_blanks(r);
    int c = byte_at(r, r->at);
    switch (r->state) {
    case WANT_ITEM_OR_END:
        return c == ']' ? close_at(r, ret) : value_at(r, ret);
    case WANT_KEY_OR_END:
        return c == '}' ? close_at(r, ret) : key_at(r, ret);
    case WANT_SEPARATOR:
        return after_value(r, ret);
    default:
        return value_at(r, ret);
    }
}

void json_reader_init(struct event_reader *r, struct arena *a, Str input)
{
    *r =
        (struct event_reader){ .next = json_next, .input = input, .arena = a, .state = WANT_VALUE };
}

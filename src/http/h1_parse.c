// SPDX-License-Identifier: Apache-2.0
#include "http/h1_parse.h"

#include <string.h>

// ---- Bytes.

enum { TOKEN = 1, VALUE = 2, TARGET = 4 };

// tchar of RFC 9110 5.6.2.
static bool is_token_mark(unsigned c)
{
    return c != 0 && strchr("!#$%&'*+-.^_`|~", (int)c) != NULL;
}

static bool is_alnum(unsigned c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static uint8_t classes[256];

__attribute__((constructor)) static void classes_fill(void)
{
    for (unsigned c = 0; c < 256; c++) {
        bool visible = c > 0x20 && c != 0x7f; // with the upper half, which older clients send raw
        unsigned of = (is_alnum(c) || is_token_mark(c) ? (unsigned)TOKEN : 0) |
                      (visible || c == ' ' || c == '\t' ? (unsigned)VALUE : 0) |
                      (visible && c != '#' ? (unsigned)TARGET : 0);
        classes[c] = (uint8_t)of;
    }
}

// How many bytes from the start belong to a class.
static size_t span(Str s, unsigned class)
{
    size_t i = 0;
    while (i < s.n && (classes[(uint8_t)s.p[i]] & class) != 0)
        i++;
    return i;
}

// Whether one of sixteen bytes, or more than that, can be in no value.
typedef uint8_t Lanes __attribute__((vector_size(16)));
static bool has_foreign(const char *p)
{
    Lanes x;
    memcpy(&x, p, sizeof x);
    Lanes foreign = ((Lanes)(x < 0x20) & (Lanes)(x != '\t')) | (Lanes)(x == 0x7f);
    uint64_t halves[2];
    memcpy(halves, &foreign, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}

// Whether all bytes may be in a value. Values are most of a head.
static bool is_value(Str s)
{
    size_t i = 0;
    for (; s.n - i >= sizeof(Lanes); i += sizeof(Lanes))
        if (has_foreign(s.p + i))
            return false;
    return span(str_skip(s, i), VALUE) == s.n - i;
}

static Str trim_blanks(Str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = str_skip(s, 1);
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static H1Result bad(H1Head *h, unsigned status)
{
    h->status = status;
    return H1_BAD;
}

// The line at the start of `in`, without its CR LF. H1_BAD: it ends in a bare LF.
static H1Result line_of(Str in, Str *ret)
{
    size_t lf = str_find(in, '\n');
    if (lf == in.n)
        return H1_MORE;
    if (lf == 0 || in.p[lf - 1] != '\r')
        return H1_BAD;
    *ret = str_head(in, lf - 1);
    return H1_DONE;
}

// ---- Headers.

// Calls for each element of a comma-separated list: is `word` one of them?
static bool list_has(Str list, Str word)
{
    Str item, rest = list;
    for (bool more = true; more;) {
        more = str_cut(rest, ',', &item, &rest);
        if (str_eq_nocase(trim_blanks(item), word))
            return true;
    }
    return false;
}

static H1Result take_length(H1Head *h, Str value)
{
    uint64_t length = 0;
    if (value.n == 0 || value.n > 18) // below 2^63, so that sums cannot overflow
        return bad(h, 400);
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return bad(h, 400);
        length = length * 10 + (uint64_t)(value.p[i] - '0');
    }
    if (h->has_length && h->length != length)
        return bad(h, 400);
    h->has_length = true;
    h->length = length;
    return H1_DONE;
}

// What the framing of the message depends on.
static H1Result take_header(H1Head *h, Str name, Str value)
{
    if (str_eq_nocase(name, S("content-length")))
        return take_length(h, value);
    if (str_eq_nocase(name, S("transfer-encoding"))) {
        if (h->chunked || h->version == 10 || !str_eq_nocase(value, S("chunked")))
            return bad(h, 400);
        h->chunked = true;
    } else if (str_eq_nocase(name, S("connection"))) {
        if (list_has(value, S("close")))
            h->keep_alive = false;
        else if (h->version == 10 && list_has(value, S("keep-alive")))
            h->keep_alive = true;
    } else if (str_eq_nocase(name, S("expect"))) {
        h->expects_continue = h->version == 11 && str_eq_nocase(value, S("100-continue"));
    } else if (str_eq_nocase(name, S("host"))) {
        h->hosts++;
    }
    return H1_DONE;
}

static H1Result parse_header(Str line, const H1Limits *limits, H1Head *h)
{
    Str name = str_head(line, span(line, TOKEN));
    if (name.n == 0 || name.n == line.n || line.p[name.n] != ':')
        return bad(h, 400); // also a folded line, which starts with a blank
    Str value = str_skip(line, name.n + 1);
    if (!is_value(value))
        return bad(h, 400);
    if (h->header_count == limits->header_count_max)
        return bad(h, 431);
    value = trim_blanks(value);
    h->headers[h->header_count++] = (HttpHeader){ .name = name, .value = value };
    return take_header(h, name, value);
}

// All headers and the empty line after them; *at is where they start and, when done, end.
static H1Result parse_headers(Str in, size_t *at, const H1Limits *limits, H1Head *h)
{
    for (;;) {
        Str line = { 0 };
        H1Result r = line_of(str_skip(in, *at), &line);
        if (r != H1_DONE)
            return r == H1_MORE ? H1_MORE : bad(h, 400);
        *at += line.n + 2;
        if (line.n == 0)
            break;
        r = parse_header(line, limits, h);
        if (r != H1_DONE)
            return r;
    }
    if (h->chunked && h->has_length)
        return bad(h, 400);
    h->bytes = *at;
    return H1_DONE;
}

// ---- The request line.

// Splits "/path?query", "http://authority/path?query" or "*".
static H1Result parse_target(Str target, H1Head *h)
{
    Str rest = target;
    bool http = target.n >= 7 && str_eq_nocase(str_head(target, 7), S("http://"));
    bool https = target.n >= 8 && str_eq_nocase(str_head(target, 8), S("https://"));
    if (http || https) {
        rest = str_skip(target, http ? 7 : 8);
        size_t n = 0;
        while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
            n++;
        h->authority = str_head(rest, n);
        if (n == 0 || str_find(h->authority, '@') != n)
            return bad(h, 400);
        rest = str_skip(rest, n);
    } else if (str_eq(target, S("*"))) {
        h->path = target;
        return str_eq(h->method, S("OPTIONS")) ? H1_DONE : bad(h, 400);
    } else if (!str_starts(target, S("/"))) {
        return bad(h, 400);
    }
    Str path = rest, query = { 0 };
    h->query = (Str){ 0 };
    if (str_cut(rest, '?', &path, &query))
        h->query = query;
    h->path = path.n > 0 ? path : S("/");
    return H1_DONE;
}

static H1Result parse_version(Str s, H1Head *h)
{
    if (!str_eq(s, S("HTTP/1.1")) && !str_eq(s, S("HTTP/1.0")))
        return bad(h, 400);
    h->version = str_eq(s, S("HTTP/1.1")) ? 11 : 10;
    h->keep_alive = h->version == 11;
    return H1_DONE;
}

// The method and the target are looked at before the line is complete, so that bytes that were
// never HTTP are refused at once and an endless target needs no endless buffer.
static H1Result parse_request_line(Str in, size_t *at, H1Head *h)
{
    size_t n = span(str_head(in, H1_METHOD_BYTES_MAX + 1), TOKEN);
    if (n > H1_METHOD_BYTES_MAX)
        return bad(h, 400);
    if (n == in.n)
        return H1_MORE;
    if (n == 0 || in.p[n] != ' ')
        return bad(h, 400);
    h->method = str_head(in, n);
    Str rest = str_skip(in, n + 1);
    size_t target_n = span(str_head(rest, H1_TARGET_BYTES_MAX + 1), TARGET);
    if (target_n > H1_TARGET_BYTES_MAX)
        return bad(h, 414);
    if (target_n == rest.n)
        return H1_MORE;
    if (target_n == 0 || rest.p[target_n] != ' ')
        return bad(h, 400);
    if (parse_target(str_head(rest, target_n), h) != H1_DONE)
        return H1_BAD;
    rest = str_skip(rest, target_n + 1);
    Str want = S("HTTP/1.x\r\n"); // so much at least is needed
    for (size_t i = 0; i < MIN(rest.n, want.n); i++)
        if (rest.p[i] != want.p[i] && i != 7)
            return bad(h, 400);
    if (rest.n < want.n)
        return H1_MORE;
    *at = (size_t)(rest.p - in.p) + want.n;
    return parse_version(str_head(rest, 8), h);
}

// A head that is longer than allowed is refused when its first byte too many has arrived.
static H1Result within_limit(H1Result r, Str in, const H1Limits *limits, H1Head *ret)
{
    bool over = r == H1_MORE ? in.n > limits->header_bytes_max
                             : r == H1_DONE && ret->bytes > limits->header_bytes_max;
    return over ? bad(ret, ret->version == 0 ? 414 : 431) : r; // 0: still in the request line
}

H1Result h1_parse_head(Str in, const H1Limits *limits, HttpHeader *headers, H1Head *ret)
{
    CHECK(limits->header_count_max <= H1_HEADERS_MAX);
    *ret = (H1Head){ .headers = headers };
    in = str_head(in, limits->header_bytes_max + 1);
    size_t start = 0;
    if (in.n > 0 && in.p[0] == '\r') {
        if (in.n == 1)
            return H1_MORE;
        if (in.p[1] != '\n')
            return bad(ret, 400);
        start = 2;
    }
    size_t at = 0;
    H1Result r = parse_request_line(str_skip(in, start), &at, ret);
    at += start;
    if (r == H1_DONE)
        r = parse_headers(in, &at, limits, ret);
    r = within_limit(r, in, limits, ret);
    bool host_fits = ret->hosts == 1 || (ret->hosts == 0 && ret->version == 10);
    return r == H1_DONE && !host_fits ? bad(ret, 400) : r;
}

// ---- Chunks.

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

H1Result h1_parse_chunk(Str in, size_t *ret_used, uint64_t *ret_bytes, size_t *ret_extension_bytes)
{
    enum { DIGITS_MAX = 15 }; // below 2^60, so that sums cannot overflow
    in = str_head(in, H1_CHUNK_LINE_BYTES_MAX + 1);
    uint64_t bytes = 0;
    size_t n = 0;
    for (; n < in.n && hex_digit(in.p[n]) >= 0; n++) {
        if (n == DIGITS_MAX)
            return H1_BAD;
        bytes = bytes * 16 + (uint64_t)hex_digit(in.p[n]);
    }
    if (n == in.n)
        return H1_MORE;
    if (n == 0 || (in.p[n] != '\r' && in.p[n] != ';' && in.p[n] != ' ' && in.p[n] != '\t'))
        return H1_BAD;
    Str line = { 0 };
    H1Result r = line_of(in, &line);
    if (r == H1_MORE && in.n > H1_CHUNK_LINE_BYTES_MAX)
        return H1_BAD;
    if (r != H1_DONE)
        return r;
    Str extension = str_skip(line, n);
    Str after_blanks = trim_blanks(extension);
    if (span(extension, VALUE) != extension.n || (after_blanks.n > 0 && after_blanks.p[0] != ';'))
        return H1_BAD;
    *ret_used = line.n + 2;
    *ret_bytes = bytes;
    *ret_extension_bytes = extension.n;
    return H1_DONE;
}

H1Result h1_parse_trailer(Str in, size_t *ret_used, bool *ret_last)
{
    in = str_head(in, H1_TRAILER_BYTES_MAX + 1);
    Str line = { 0 };
    H1Result r = line_of(in, &line);
    if (r == H1_MORE && in.n > H1_TRAILER_BYTES_MAX)
        return H1_BAD;
    if (r != H1_DONE)
        return r;
    size_t name = span(line, TOKEN);
    bool is_header = name > 0 && name < line.n && line.p[name] == ':';
    if (line.n > 0 && (!is_header || span(str_skip(line, name), VALUE) != line.n - name))
        return H1_BAD;
    *ret_used = line.n + 2;
    *ret_last = line.n == 0;
    return H1_DONE;
}

// ---- Replies, for the client.

H1Result h1_parse_reply_head(Str in, const H1Limits *limits, HttpHeader *headers, H1Head *ret)
{
    *ret = (H1Head){ .headers = headers };
    in = str_head(in, limits->header_bytes_max + 1);
    Str line = { 0 };
    H1Result r = line_of(in, &line);
    if (r != H1_DONE)
        return within_limit(r, in, limits, ret);
    unsigned status = 0;
    if (line.n < 12 || line.p[8] != ' ' || (line.n > 12 && line.p[12] != ' ') ||
        parse_version(str_head(line, 8), ret) != H1_DONE)
        return bad(ret, 400);
    for (size_t i = 9; i < 12; i++) {
        if (line.p[i] < '0' || line.p[i] > '9')
            return bad(ret, 400);
        status = status * 10 + (unsigned)(line.p[i] - '0');
    }
    size_t at = line.n + 2;
    r = within_limit(parse_headers(in, &at, limits, ret), in, limits, ret);
    if (r == H1_DONE)
        ret->status = status;
    return r;
}

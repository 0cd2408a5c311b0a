// SPDX-License-Identifier: Apache-2.0
#include "delivery/sink_copy.h"
#include "base/time.h"
#include "codec/json.h"

#include <stdlib.h>
#include <zlib.h>

enum {
    WINDOW_BITS_GZIP = 15 + 16, // zlib's way to say: gzip's header and checksum
    INFLATE_BYTES = 64 << 10,
    SHOWN_BYTES = 200, // of a row that cannot be loaded
};

struct copy_rows {
    const CopyOptions *o;
    const CopyColumn *columns;
    size_t n;
    struct arena *row;   // of the row that is being read
    struct arena *texts; // of what went wrong
    struct buf in;       // what is not read yet
    uint64_t headers;    // lines to pass over
    uint64_t rows;
    Str *values; // of the row; absent: NULL
    z_stream z;
    bool unzips, member; // within a member of the gzip
};

void copy_rows_open(const CopyOptions *o, const CopyColumn *columns, size_t n,
                    struct copy_rows **ret)
{
    struct copy_rows *c = xalloc(sizeof *c);
    *c = (struct copy_rows){ .o = o, .columns = columns, .n = n, .headers = o->header_lines };
    c->row = arena_open();
    c->texts = arena_open();
    c->values = xalloc(mul_checked(sizeof *c->values, n + 1));
    buf_init(&c->in, 2 * COPY_ROW_BYTES_MAX);
    if (o->gzip) {
        CHECK(inflateInit2(&c->z, WINDOW_BITS_GZIP) == Z_OK);
        c->unzips = true;
    }
    *ret = c;
}

void copy_rows_close(struct copy_rows *c)
{
    if (c == NULL)
        return;
    if (c->unzips)
        (void)inflateEnd(&c->z);
    buf_done(&c->in);
    arena_close(c->row);
    arena_close(c->texts);
    free(c->values);
    free(c);
}

static Err bad_row(struct copy_rows *c, const char *why, Str row, Str *ret_text)
{
    *ret_text = str_fmt(c->texts, "Row %llu of a file cannot be loaded: %s: %.*s",
                        (unsigned long long)c->rows + 1, why, FMT(str_head(row, SHOWN_BYTES)));
    return fail(ERR_INVALID, "a row that cannot be loaded");
}

// ---- Values into PostgreSQL's text format

static void add_escaped(struct buf *out, Str s)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        const char *escaped = s.p[i] == '\\'   ? "\\\\"
                              : s.p[i] == '\n' ? "\\n"
                              : s.p[i] == '\r' ? "\\r"
                              : s.p[i] == '\t' ? "\\t"
                                               : NULL;
        if (escaped == NULL)
            continue;
        buf_add(out, str_head(str_skip(s, from), i - from));
        buf_add(out, str_of(escaped));
        from = i + 1;
    }
    buf_add(out, str_skip(s, from));
}

static bool is_blank(Str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != ' ' && s.p[i] != '\t')
            return false;
    return true;
}

static Str trim_right(Str s)
{
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static Str as_time(struct copy_rows *c, Str s)
{
    int64_t number;
    int64_t unit = c->o->time == COPY_TIME_SECONDS ? NS_PER_S : NS_PER_MS;
    if (str_i64(str_trim(s), &number).kind != ERR_NONE || number > INT64_MAX / unit ||
        number < INT64_MIN / unit)
        return s; // PostgreSQL says what it thinks of it
    return time_iso_ms(c->row, number * unit);
}

static void write_row(struct copy_rows *c, struct buf *out)
{
    for (size_t i = 0; i < c->n; i++) {
        Str s = c->values[i];
        const CopyColumn *column = &c->columns[i];
        if (i > 0)
            buf_add_byte(out, '\t');
        if (s.p != NULL && c->o->trim_blanks)
            s = trim_right(s);
        bool none = s.p == NULL || (s.n == 0 && (c->o->empty_as_null || !column->is_text)) ||
                    (s.n > 0 && is_blank(s) && (c->o->blanks_as_null || !column->is_text));
        if (none)
            buf_add(out, S("\\N"));
        else
            add_escaped(out, column->is_time && c->o->time != COPY_TIME_TEXT ? as_time(c, s) : s);
    }
    buf_add_byte(out, '\n');
    c->rows++;
}

// ---- Rows of text. A row is read field by field; when its end has not come yet, it is read anew
// with what follows.

typedef struct Field {
    Str text;
    bool null, last, complete; // the last of its row; all of it is there
    size_t end;                // where the next one begins
} Field;

static bool ends_field(const struct copy_rows *c, char x)
{
    return x == c->o->delimiter || x == '\n';
}

static Str without_cr(Str s, bool last)
{
    if (last && s.n > 0 && s.p[s.n - 1] == '\r')
        s.n--;
    return s;
}

static Field plain_field(struct copy_rows *c, Str in, size_t at, bool end)
{
    size_t i = at;
    while (i < in.n && !ends_field(c, in.p[i]))
        i++;
    Field f = { .complete = i < in.n || end, .last = i == in.n || in.p[i] == '\n', .end = i + 1 };
    f.text = without_cr(str_from(in.p + at, i - at), f.last);
    f.null = str_eq(f.text, c->o->null_as);
    return f;
}

// A backslash makes what follows it a part of the field.
static Field escaped_field(struct copy_rows *c, Str in, size_t at, bool end)
{
    char *out = arena_alloc(c->row, in.n - at + 1, 1);
    size_t n = 0, i = at;
    for (; i < in.n && !ends_field(c, in.p[i]); i++) {
        if (in.p[i] == '\\' && i + 1 < in.n)
            i++;
        out[n++] = in.p[i];
    }
    i = MIN(i, in.n);
    Field f = { .complete = i < in.n || end, .last = i == in.n || in.p[i] == '\n', .end = i + 1 };
    f.null = str_eq(without_cr(str_from(in.p + at, i - at), f.last), c->o->null_as);
    f.text = without_cr(str_from(out, n), f.last);
    return f;
}

// In quotes; a doubled quote is one. What follows the closing quote is taken as it is.
static Field quoted_field(struct copy_rows *c, Str in, size_t at, bool end, char quote)
{
    char *out = arena_alloc(c->row, in.n - at + 1, 1);
    size_t n = 0, i = at + 1;
    bool inside = true;
    for (; i < in.n && (inside || !ends_field(c, in.p[i])); i++) {
        if (in.p[i] != quote || !inside) {
            out[n++] = in.p[i];
        } else if (c->o->format == COPY_CSV && i + 1 < in.n && in.p[i + 1] == quote) {
            out[n++] = in.p[++i];
        } else {
            inside = false;
        }
    }
    Field f = { .complete = i < in.n || end, .last = i == in.n || in.p[i] == '\n', .end = i + 1 };
    f.text = without_cr(str_from(out, n), f.last);
    return f;
}

static Field read_field(struct copy_rows *c, Str in, size_t at, bool end)
{
    char first = at < in.n ? in.p[at] : 0;
    if (c->o->format == COPY_CSV && first == c->o->quote)
        return quoted_field(c, in, at, end, first);
    if (c->o->remove_quotes && (first == '"' || first == '\''))
        return quoted_field(c, in, at, end, first);
    return c->o->escape ? escaped_field(c, in, at, end) : plain_field(c, in, at, end);
}

// One row from `in`; *ret_used == 0: it is not complete.
static Err text_row(struct copy_rows *c, Str in, bool end, struct buf *out, size_t *ret_used,
                    Str *ret_text)
{
    size_t at = 0, n = 0;
    Field f;
    *ret_used = 0;
    do {
        f = read_field(c, in, at, end);
        if (!f.complete)
            return OK;
        if (n < c->n)
            c->values[n] = f.null ? (Str){ 0 } : f.text;
        n++;
        at = f.end;
    } while (!f.last);
    Str row = str_head(in, at);
    *ret_used = MIN(at, in.n);
    if (c->headers > 0) {
        c->headers--;
        return OK;
    }
    if (c->o->ignore_blank_lines && str_trim(row).n == 0)
        return OK;
    if (n > c->n)
        return bad_row(c, "it has more fields than the table has columns", row, ret_text);
    if (n < c->n && !c->o->fill_record)
        return bad_row(c, "it has fewer fields than the table has columns", row, ret_text);
    for (; n < c->n; n++)
        c->values[n] = (Str){ 0 };
    write_row(c, out);
    return OK;
}

// ---- Rows of JSON: objects, one after another.

// The bytes of the first value in braces; 0: it is not complete. SIZE_MAX: something else is there.
static size_t object_bytes(Str in)
{
    size_t depth = 0;
    bool text = false;
    if (in.p[0] != '{')
        return SIZE_MAX;
    for (size_t i = 0; i < in.n; i++) {
        char x = in.p[i];
        if (text && x == '\\')
            i++;
        else if (x == '"')
            text = !text;
        else if (!text && (x == '{' || x == '['))
            depth++;
        else if (!text && (x == '}' || x == ']') && --depth == 0)
            return i + 1;
    }
    return 0;
}

static size_t column_of(const struct copy_rows *c, Str key)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->o->ignore_case ? str_eq_nocase(c->columns[i].name, key)
                              : str_eq(c->columns[i].name, key))
            return i;
    return SIZE_MAX;
}

static Err read_value(struct event_reader *r, Str object, Str *ret)
{
    Event e;
    size_t from = r->at;
    TRY(r->next(r, &e));
    TRY(event_skip_rest(r, &e));
    switch (e.kind) {
    case EVENT_NULL:
        *ret = (Str){ 0 };
        return OK;
    case EVENT_BOOL:
        *ret = e.number != 0 ? S("true") : S("false");
        return OK;
    case EVENT_MAP:
    case EVENT_LIST:
        *ret = str_head(str_skip(object, from), r->at - from);
        while (ret->p[0] != '{' && ret->p[0] != '[')
            *ret = str_skip(*ret, 1); // the colon and spaces
        return OK;
    default:
        *ret = e.text.p != NULL ? e.text : S("");
        return OK;
    }
}

static Err read_object(struct copy_rows *c, Str object)
{
    struct event_reader r;
    Event e;
    json_reader_init(&r, c->row, object);
    TRY(r.next(&r, &e));
    for (size_t i = 0; i < c->n; i++)
        c->values[i] = (Str){ 0 };
    for (;;) {
        Str value;
        TRY(r.next(&r, &e));
        if (e.kind != EVENT_KEY)
            return OK;
        size_t at = column_of(c, e.text);
        TRY(read_value(&r, object, &value));
        if (at != SIZE_MAX)
            c->values[at] = value;
    }
}

static Err json_row(struct copy_rows *c, Str in, bool end, struct buf *out, size_t *ret_used,
                    Str *ret_text)
{
    Str rest = in;
    while (rest.n > 0 &&
           (rest.p[0] == ' ' || rest.p[0] == '\n' || rest.p[0] == '\r' || rest.p[0] == '\t'))
        rest = str_skip(rest, 1);
    *ret_used = in.n - rest.n;
    if (rest.n == 0)
        return OK;
    size_t n = object_bytes(rest);
    if (n == SIZE_MAX)
        return bad_row(c, "it is no JSON object", rest, ret_text);
    if (n == 0 && end)
        return bad_row(c, "it has no end", rest, ret_text);
    if (n == 0)
        return OK;
    Str object = str_head(rest, n);
    if (read_object(c, object).kind != ERR_NONE)
        return bad_row(c, "it is no JSON object", object, ret_text);
    write_row(c, out);
    *ret_used += n;
    return OK;
}

// ---- Files

static Err take_rows(struct copy_rows *c, bool end, struct buf *out, Str *ret_text)
{
    size_t at = 0;
    for (;;) {
        Str in = str_skip(buf_str(&c->in), at);
        size_t used = 0;
        if (in.n == 0)
            break;
        Err e = c->o->format == COPY_JSON ? json_row(c, in, end, out, &used, ret_text)
                                          : text_row(c, in, end, out, &used, ret_text);
        arena_reset(c->row);
        TRY(e);
        if (used == 0)
            break;
        at += used;
    }
    buf_drop(&c->in, at);
    if (c->in.n > COPY_ROW_BYTES_MAX)
        return bad_row(c, "it is longer than 16 MiB", buf_str(&c->in), ret_text);
    TRY(buf_err(&c->in));
    return buf_err(out);
}

static Err damaged(struct copy_rows *c, Str *ret_text)
{
    *ret_text = S("A file is not in the GZIP format, or damaged.");
    (void)c;
    return fail(ERR_INVALID, "a damaged file");
}

static Err unzip(struct copy_rows *c, Str bytes, bool end, struct buf *out, Str *ret_text)
{
    c->z.next_in = (Bytef *)(uintptr_t)bytes.p;
    c->z.avail_in = (unsigned)bytes.n;
    for (;;) {
        if (!buf_reserve(&c->in, INFLATE_BYTES))
            return buf_err(&c->in);
        c->z.next_out = (Bytef *)c->in.p + c->in.n;
        c->z.avail_out = INFLATE_BYTES;
        if (c->z.avail_in > 0)
            c->member = true;
        int e = c->member ? inflate(&c->z, Z_NO_FLUSH) : Z_BUF_ERROR;
        size_t n = INFLATE_BYTES - c->z.avail_out;
        c->in.n += n;
        if (e == Z_STREAM_END) {
            c->member = false;
            e = inflateReset(&c->z); // another member may follow
        }
        if (e != Z_OK && e != Z_BUF_ERROR)
            return damaged(c, ret_text);
        TRY(take_rows(c, false, out, ret_text));
        if (c->z.avail_in == 0 && n < INFLATE_BYTES)
            break;
    }
    if (end && c->member)
        return damaged(c, ret_text);
    return end ? take_rows(c, true, out, ret_text) : OK;
}

Err copy_rows_feed(struct copy_rows *c, Str bytes, bool end, struct buf *out, Str *ret_text)
{
    CHECK(bytes.n <= UINT32_MAX);
    if (c->o->gzip)
        return unzip(c, bytes, end, out, ret_text);
    buf_add(&c->in, bytes);
    return take_rows(c, end, out, ret_text);
}

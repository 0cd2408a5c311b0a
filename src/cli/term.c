// SPDX-License-Identifier: Apache-2.0
#include "cli/term.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { COLUMNS_DEFAULT = 80, TABLE_ROWS_FIRST = 64, ANSWER_BYTES_MAX = 2048 };

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

bool term_is_terminal(int fd)
{
    const char *kind = getenv("TERM");
    return isatty(fd) && (kind == NULL || strcmp(kind, "dumb") != 0);
}

bool term_colour(int fd)
{
    if (is_set("NO_COLOR"))
        return false;
    return term_is_terminal(fd) || is_set("CLICOLOR_FORCE");
}

unsigned term_columns(int fd)
{
    uint64_t wanted = 0;
    if (is_set("COLUMNS") && str_u64(str_of(getenv("COLUMNS")), &wanted).kind == ERR_NONE &&
        wanted > 0 && wanted < 10000)
        return (unsigned)wanted;
    struct winsize size = { 0 };
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return COLUMNS_DEFAULT;
}

Str term_paint(struct arena *a, bool colour, const char *code, Str text)
{
    return colour ? str_fmt(a, "\033[%sm%.*s\033[0m", code, FMT(text)) : text;
}

Str term_bytes(struct arena *a, uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < COUNT_OF(units); unit++)
        value /= 1024;
    return str_fmt(a, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

Str term_count(struct arena *a, uint64_t count)
{
    Str digits = str_fmt(a, "%llu", (unsigned long long)count);
    AUTO_BUF(b);
    for (size_t i = 0; i < digits.n; i++) {
        if (i > 0 && (digits.n - i) % 3 == 0)
            buf_add_byte(&b, ',');
        buf_add_byte(&b, digits.p[i]);
    }
    return str_dup(a, buf_str(&b));
}

void add_json_text(struct buf *b, Str s)
{
    bool utf8 = str_utf8_count(s) != SIZE_MAX;
    buf_add_byte(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == 0x7f)
            buf_addf(b, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            buf_addf(b, "\\%c", c);
        else if (c >= 0x80 && !utf8)
            buf_add(b, S("\\ufffd"));
        else
            buf_add_byte(b, (char)c);
    }
    buf_add_byte(b, '"');
}

TableStyle table_style(bool json)
{
    if (json)
        return TABLE_JSON;
    return term_is_terminal(STDOUT_FILENO) ? TABLE_HUMAN : TABLE_TABS;
}

struct table table_begin(struct arena *a, TableStyle style, const Column *columns, size_t n)
{
    CHECK(n > 0 && n <= TABLE_COLUMNS_MAX);
    return (struct table){ .a = a, .columns = columns, .column_count = n, .style = style };
}

static void write_out(const struct buf *b)
{
    fwrite(b->p, 1, b->n, stdout);
}

static void print_json(const struct table *t, const Str *cells)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < t->column_count; i++) {
        buf_add(&b, i == 0 ? S("{") : S(","));
        add_json_text(&b, t->columns[i].name);
        buf_add(&b, S(":"));
        if (t->columns[i].number && cells[i].n > 0)
            buf_add(&b, cells[i]);
        else if (t->columns[i].number)
            buf_add(&b, S("null"));
        else
            add_json_text(&b, cells[i]);
    }
    buf_add(&b, S("}\n"));
    write_out(&b);
}

// A cell may not hold what separates cells and rows, nor what steers a terminal.
static void add_plain(struct buf *b, Str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        buf_add_byte(b, c < 0x20 || c == 0x7f ? ' ' : (char)c);
    }
}

static void print_tabs(const struct table *t, const Str *cells)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < t->column_count; i++) {
        if (i > 0)
            buf_add_byte(&b, '\t');
        add_plain(&b, cells[i]);
    }
    buf_add_byte(&b, '\n');
    write_out(&b);
}

void table_row(struct table *t, const Str *cells)
{
    if (t->style == TABLE_JSON) {
        print_json(t, cells);
        return;
    }
    if (t->style == TABLE_TABS) {
        print_tabs(t, cells);
        return;
    }
    if (t->cell_count + t->column_count > t->cell_max) {
        size_t max = MAX(t->cell_max * 2, TABLE_ROWS_FIRST * t->column_count);
        Str *more = arena_new(t->a, Str, max);
        if (t->cell_count > 0)
            memcpy(more, t->cells, t->cell_count * sizeof *more);
        t->cells = more;
        t->cell_max = max;
    }
    memcpy(t->cells + t->cell_count, cells, t->column_count * sizeof *cells);
    t->cell_count += t->column_count;
}

static size_t width(Str s)
{
    size_t points = str_utf8_count(s);
    return points == SIZE_MAX ? s.n : points;
}

static void add_cell(struct buf *b, Str s, size_t column_width, bool right, bool last)
{
    size_t fill = column_width - MIN(width(s), column_width);
    for (size_t i = 0; right && i < fill; i++)
        buf_add_byte(b, ' ');
    add_plain(b, s);
    for (size_t i = 0; !right && !last && i < fill; i++)
        buf_add_byte(b, ' ');
    buf_add(b, last ? S("\n") : S("  "));
}

static char upper(char c)
{
    return c == '_' ? ' ' : c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

void table_end(struct table *t)
{
    if (t->style != TABLE_HUMAN)
        return;
    size_t n = t->column_count, widths[TABLE_COLUMNS_MAX] = { 0 };
    for (size_t k = 0; k < n; k++)
        widths[k] = t->columns[k].name.n;
    for (size_t i = 0; i < t->cell_count; i++)
        widths[i % n] = MAX(widths[i % n], width(t->cells[i]));
    AUTO_BUF(b);
    for (size_t k = 0; k < n; k++) {
        AUTO_BUF(heading);
        for (size_t i = 0; i < t->columns[k].name.n; i++)
            buf_add_byte(&heading, upper(t->columns[k].name.p[i]));
        add_cell(&b, buf_str(&heading), widths[k], t->columns[k].number, k + 1 == n);
    }
    for (size_t i = 0; i < t->cell_count; i++)
        add_cell(&b, t->cells[i], widths[i % n], t->columns[i % n].number, i % n + 1 == n);
    write_out(&b);
}

bool term_confirms(Str name, const char *with, bool sure)
{
    char answer[ANSWER_BYTES_MAX];
    if (sure || !isatty(STDIN_FILENO))
        return true;
    fprintf(stderr, "Removes %.*s %s. Type it again to go on: ", FMT(name), with);
    return fgets(answer, sizeof answer, stdin) != NULL && str_eq(str_trim(str_of(answer)), name);
}

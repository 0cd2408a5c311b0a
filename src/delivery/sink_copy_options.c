// SPDX-License-Identifier: Apache-2.0
// "COPY" and "Data format parameters", "Data conversion parameters", "Data load operations" of the
// Amazon Redshift developer guide.
#include "delivery/sink_copy.h"

typedef enum Argument {
    NO_ARGUMENT,
    A_TEXT,   // [AS] 'text'
    A_NUMBER, // [AS] n
    A_WORD,   // ON, OFF, a preset: passed over if it is there
} Argument;

typedef enum Option {
    PASSED_OVER,
    REFUSED,
    OPTION_DELIMITER,
    OPTION_CSV,
    OPTION_QUOTE,
    OPTION_NULL,
    OPTION_JSON,
    OPTION_FORMAT,
    OPTION_HEADER,
    OPTION_ESCAPE,
    OPTION_REMOVE_QUOTES,
    OPTION_GZIP,
    OPTION_EMPTY,
    OPTION_BLANKS,
    OPTION_TRIM,
    OPTION_FILL,
    OPTION_BLANK_LINES,
    OPTION_TIME,
} Option;

static const struct {
    Str word;
    Option option;
    Argument argument;
} options[] = {
    { S_INIT("DELIMITER"), OPTION_DELIMITER, A_TEXT },
    { S_INIT("CSV"), OPTION_CSV, NO_ARGUMENT },
    { S_INIT("QUOTE"), OPTION_QUOTE, A_TEXT },
    { S_INIT("NULL"), OPTION_NULL, A_TEXT },
    { S_INIT("JSON"), OPTION_JSON, A_TEXT },
    { S_INIT("FORMAT"), OPTION_FORMAT, NO_ARGUMENT },
    { S_INIT("IGNOREHEADER"), OPTION_HEADER, A_NUMBER },
    { S_INIT("ESCAPE"), OPTION_ESCAPE, NO_ARGUMENT },
    { S_INIT("REMOVEQUOTES"), OPTION_REMOVE_QUOTES, NO_ARGUMENT },
    { S_INIT("GZIP"), OPTION_GZIP, NO_ARGUMENT },
    { S_INIT("EMPTYASNULL"), OPTION_EMPTY, NO_ARGUMENT },
    { S_INIT("BLANKSASNULL"), OPTION_BLANKS, NO_ARGUMENT },
    { S_INIT("TRIMBLANKS"), OPTION_TRIM, NO_ARGUMENT },
    { S_INIT("FILLRECORD"), OPTION_FILL, NO_ARGUMENT },
    { S_INIT("IGNOREBLANKLINES"), OPTION_BLANK_LINES, NO_ARGUMENT },
    { S_INIT("TIMEFORMAT"), OPTION_TIME, A_TEXT },
    { S_INIT("DATEFORMAT"), PASSED_OVER, A_TEXT },
    { S_INIT("COMPUPDATE"), PASSED_OVER, A_WORD },
    { S_INIT("STATUPDATE"), PASSED_OVER, A_WORD },
    { S_INIT("COMPROWS"), PASSED_OVER, A_NUMBER },
    { S_INIT("MAXERROR"), PASSED_OVER, A_NUMBER },
    { S_INIT("REGION"), PASSED_OVER, A_TEXT },
    { S_INIT("ACCEPTINVCHARS"), PASSED_OVER, A_TEXT },
    { S_INIT("ACCEPTANYDATE"), PASSED_OVER, NO_ARGUMENT },
    { S_INIT("TRUNCATECOLUMNS"), PASSED_OVER, NO_ARGUMENT },
    { S_INIT("ROUNDEC"), PASSED_OVER, NO_ARGUMENT },
    { S_INIT("EXPLICIT_IDS"), PASSED_OVER, NO_ARGUMENT },
    { S_INIT("MANIFEST"), PASSED_OVER, NO_ARGUMENT },
    { S_INIT("NOLOAD"), REFUSED, NO_ARGUMENT },
    { S_INIT("BZIP2"), REFUSED, NO_ARGUMENT },
    { S_INIT("LZOP"), REFUSED, NO_ARGUMENT },
    { S_INIT("ZSTD"), REFUSED, NO_ARGUMENT },
    { S_INIT("AVRO"), REFUSED, NO_ARGUMENT },
    { S_INIT("ORC"), REFUSED, NO_ARGUMENT },
    { S_INIT("PARQUET"), REFUSED, NO_ARGUMENT },
    { S_INIT("SHAPEFILE"), REFUSED, NO_ARGUMENT },
    { S_INIT("FIXEDWIDTH"), REFUSED, NO_ARGUMENT },
    { S_INIT("ENCODING"), REFUSED, NO_ARGUMENT },
};

typedef struct Reader {
    struct arena *a;
    Str left;
    Str *text; // of what is wrong
} Reader;

static Err wrong(Reader *r, const char *what, Str which)
{
    *r->text = str_fmt(r->a, "%s in the COPY options: %.*s", what, FMT(which));
    return fail(ERR_INVALID, "COPY options that cannot be followed");
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static Str next_word(Reader *r)
{
    size_t n = 0;
    r->left = str_trim(r->left);
    while (n < r->left.n && is_word(r->left.p[n]))
        n++;
    Str word = str_head(r->left, n);
    r->left = str_skip(r->left, n);
    return word;
}

static void skip_as(Reader *r)
{
    Reader before = *r;
    if (!str_eq_nocase(next_word(r), S("AS")))
        *r = before;
}

static bool octal(Str s, char *ret)
{
    unsigned v = 0;
    for (size_t i = 0; i < 3; i++) {
        if (i >= s.n || s.p[i] < '0' || s.p[i] > '7')
            return false;
        v = v * 8 + (unsigned)(s.p[i] - '0');
    }
    *ret = (char)v;
    return v < 256;
}

// 'it''s' ; escapes of what cannot be written else: \t \n \\ and \001 are replaced if asked for.
static Err next_text(Reader *r, bool escapes, Str *ret)
{
    skip_as(r);
    r->left = str_trim(r->left);
    if (!str_starts(r->left, S("'")))
        return wrong(r, "A text in quotes is missing", r->left);
    char *out = arena_alloc(r->a, r->left.n + 1, 1);
    size_t n = 0, i = 1;
    for (;; i++) {
        if (i >= r->left.n)
            return wrong(r, "A text has no end", r->left);
        char c = r->left.p[i];
        if (c == '\'') {
            if (i + 1 >= r->left.n || r->left.p[i + 1] != '\'')
                break;
            i++;
        } else if (c == '\\' && escapes && i + 1 < r->left.n) {
            char next = r->left.p[i + 1];
            size_t skipped = 1;
            if (octal(str_skip(r->left, i + 1), &c))
                skipped = 3;
            else if (next == 't')
                c = '\t';
            else if (next == 'n')
                c = '\n';
            else if (next == '\\')
                c = '\\';
            else
                skipped = 0;
            i += skipped;
        }
        out[n++] = c;
    }
    r->left = str_skip(r->left, i + 1);
    *ret = str_from(out, n);
    return OK;
}

static Err one_character(Reader *r, Str which, char *ret)
{
    Str text;
    TRY(next_text(r, true, &text));
    if (text.n != 1)
        return wrong(r, "Not a single character", which);
    *ret = text.p[0];
    return OK;
}

static Err read_json(Reader *r, CopyOptions *o)
{
    Str how;
    TRY(next_text(r, false, &how));
    o->format = COPY_JSON;
    o->ignore_case = str_eq_nocase(how, S("auto ignorecase"));
    if (!o->ignore_case && !str_eq_nocase(how, S("auto")))
        return wrong(r, "Only JSON 'auto' and 'auto ignorecase' can be loaded into PostgreSQL",
                     how);
    return OK;
}

static Err read_time(Reader *r, CopyOptions *o)
{
    Str how;
    TRY(next_text(r, false, &how));
    o->time = str_eq_nocase(how, S("epochsecs"))        ? COPY_TIME_SECONDS
              : str_eq_nocase(how, S("epochmillisecs")) ? COPY_TIME_MS
                                                        : COPY_TIME_TEXT;
    return OK;
}

static Err pass_over(Reader *r, Argument argument)
{
    Str text;
    Reader before;
    switch (argument) {
    case NO_ARGUMENT:
        return OK;
    case A_TEXT: // some texts may be left out
        before = *r;
        skip_as(r);
        r->left = str_trim(r->left);
        if (str_starts(r->left, S("'")))
            return next_text(r, false, &text);
        *r = before;
        return OK;
    case A_NUMBER:
        skip_as(r);
        (void)next_word(r);
        return OK;
    default:
        before = *r;
        text = next_word(r);
        if (!str_eq_nocase(text, S("ON")) && !str_eq_nocase(text, S("OFF")) &&
            !str_eq_nocase(text, S("TRUE")) && !str_eq_nocase(text, S("FALSE")) &&
            !str_eq_nocase(text, S("PRESET")))
            *r = before;
        return OK;
    }
}

static Err follow(Reader *r, Str word, Option option, Argument argument, CopyOptions *o)
{
    switch (option) {
    case REFUSED:
        return wrong(r, "What cannot be loaded into PostgreSQL", word);
    case OPTION_DELIMITER:
        return one_character(r, word, &o->delimiter);
    case OPTION_CSV:
        o->format = COPY_CSV;
        return OK;
    case OPTION_QUOTE:
        return one_character(r, word, &o->quote);
    case OPTION_NULL:
        return next_text(r, true, &o->null_as);
    case OPTION_JSON:
        return read_json(r, o);
    case OPTION_FORMAT: // FORMAT AS CSV, FORMAT JSON 'auto': the word that follows says it all
        skip_as(r);
        return OK;
    case OPTION_HEADER:
        skip_as(r);
        return str_u64(next_word(r), &o->header_lines).kind == ERR_NONE
                   ? OK
                   : wrong(r, "No number of lines", word);
    case OPTION_ESCAPE:
        o->escape = true;
        return OK;
    case OPTION_REMOVE_QUOTES:
        o->remove_quotes = true;
        return OK;
    case OPTION_GZIP:
        o->gzip = true;
        return OK;
    case OPTION_EMPTY:
        o->empty_as_null = true;
        return OK;
    case OPTION_BLANKS:
        o->blanks_as_null = true;
        return OK;
    case OPTION_TRIM:
        o->trim_blanks = true;
        return OK;
    case OPTION_FILL:
        o->fill_record = true;
        return OK;
    case OPTION_BLANK_LINES:
        o->ignore_blank_lines = true;
        return OK;
    case OPTION_TIME:
        return read_time(r, o);
    default:
        return pass_over(r, argument);
    }
}

Err copy_options_parse(struct arena *a, Str text, CopyOptions *ret, Str *ret_text)
{
    Reader r = { .a = a, .left = text, .text = ret_text };
    CopyOptions o = { .quote = '"', .null_as = S("\\N") };
    for (;;) {
        Str word = next_word(&r);
        size_t i = 0;
        if (word.n == 0 && str_trim(r.left).n > 0 && str_eq(str_trim(r.left), S(";")))
            break;
        if (word.n == 0 && r.left.n > 0)
            return wrong(&r, "Something unexpected", r.left);
        if (word.n == 0)
            break;
        while (i < COUNT_OF(options) && !str_eq_nocase(options[i].word, word))
            i++;
        if (i == COUNT_OF(options))
            return wrong(&r, "Something unknown", word);
        TRY(follow(&r, word, options[i].option, options[i].argument, &o));
    }
    if (o.delimiter == 0)
        o.delimiter = o.format == COPY_CSV ? ',' : '|';
    if (o.format == COPY_CSV && (o.escape || o.remove_quotes))
        return wrong(&r, "What does not go together with CSV", S("ESCAPE, REMOVEQUOTES"));
    *ret = o;
    return OK;
}

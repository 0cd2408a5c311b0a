// SPDX-License-Identifier: Apache-2.0
// A prefix is read once, into parts, and evaluated for each object.
//
// Timestamps are patterns of Java's DateTimeFormatter, in English as an American machine writes
// them: weeks begin on Sunday, and the first week of a year is the one with January the 1st.
#include "delivery/prefix.h"
#include "base/time.h"
#include "codec/hash.h"
#include "delivery/zone.h"
#include "os/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PREFIX_BYTES_MAX = 1024,   // as configured (model of the API)
    EVALUATED_CHARS_MAX = 512, // developer guide
    RANDOM_CHARS = 11,
    LETTERS_MAX = 32, // of one field of a pattern; Java's is 19 at most
};
#define DEFAULT_TIME S("yyyy/MM/dd/HH/")

typedef enum PartKind {
    PART_TEXT,
    PART_TIME, // text: the pattern
    PART_RANDOM,
    PART_ERROR_TYPE,
    PART_QUERY_KEY, // text: the key's name
    PART_LAMBDA_KEY,
} PartKind;

typedef struct Part {
    PartKind kind;
    Str text;
} Part;

struct prefix {
    struct arena *arena;
    PrefixPlace place;
    struct zone *zone;
    Part *parts;
    size_t n, cap;
};

static Err refuse(Str *ret_text, Str text)
{
    *ret_text = text;
    return fail(ERR_INVALID, "a prefix that cannot be used");
}

static void add_part(struct prefix *p, PartKind kind, Str text)
{
    if (p->n == p->cap) {
        size_t cap = MAX(2 * p->cap, (size_t)8);
        Part *more = arena_new(p->arena, Part, cap);
        for (size_t i = 0; i < p->n; i++)
            more[i] = p->parts[i];
        p->parts = more;
        p->cap = cap;
    }
    p->parts[p->n++] = (Part){ kind, str_dup(p->arena, text) };
}

// ---- Patterns of DateTimeFormatter

typedef struct Field {
    char letter; // 0: literal text
    size_t count;
    Str text;
} Field;

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// How often a letter may stand; 0: it is none that is known.
static size_t letters_max(char c)
{
    static const struct {
        const char *letters;
        size_t max;
    } known[] = { { "yuY", 15 }, { "M", 5 },  { "dHhkKmswe", 2 }, { "D", 3 }, { "S", 9 },
                  { "aW", 1 },   { "EQ", 5 }, { "V", 2 },         { "z", 4 }, { "xX", 5 } };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strchr(known[i].letters, c) != NULL)
            return known[i].max;
    return 0;
}

// 'text', where '' is one quote; or '' alone, which is a quote.
static bool next_quoted(Str *pattern, Field *ret)
{
    Str rest = str_skip(*pattern, 1);
    size_t n = 0;
    while (n < rest.n && (rest.p[n] != '\'' || (n + 1 < rest.n && rest.p[n + 1] == '\'' && n > 0)))
        n += rest.p[n] == '\'' ? 2 : 1;
    if (n >= rest.n)
        return false;
    *ret = (Field){ .text = n == 0 ? str_from(rest.p, 1) : str_head(rest, n) };
    *pattern = str_skip(rest, n + 1);
    return true;
}

// The next field of a pattern. False: it is none that is supported.
static bool next_field(Str *pattern, Field *ret)
{
    char c = pattern->p[0];
    size_t n = 1;
    if (c == '\'')
        return next_quoted(pattern, ret);
    if (c == '{' || c == '}' || c == '[' || c == ']' || c == '#')
        return false; // reserved in Java
    if (!is_letter(c)) {
        *ret = (Field){ .text = str_head(*pattern, 1) };
        *pattern = str_skip(*pattern, 1);
        return true;
    }
    while (n < pattern->n && pattern->p[n] == c)
        n++;
    *ret = (Field){ .letter = c, .count = n };
    *pattern = str_skip(*pattern, n);
    return n <= letters_max(c) && (c != 'V' || n == 2);
}

static bool pattern_is_good(Str pattern)
{
    Field f;
    if (pattern.n == 0)
        return false;
    while (pattern.n > 0)
        if (!next_field(&pattern, &f))
            return false;
    return true;
}

// An instant as a zone's clocks and calendars have it.
typedef struct Instant {
    Civil c;
    int64_t ms, offset_s;
    int64_t year_day;      // 1..366
    int64_t first_weekday; // of January the 1st; 0: Sunday
    Str zone, zone_short;
} Instant;

static Instant instant_of(const struct zone *z, int64_t at_ms)
{
    Instant i = { .zone = zone_name(z) };
    int64_t at_s = at_ms / 1000;
    i.offset_s = zone_offset_s(z, at_s, &i.zone_short);
    i.c = time_civil((at_ms + i.offset_s * 1000) * NS_PER_MS);
    i.ms = i.c.ms;
    int64_t first = time_from_civil((Civil){ .year = i.c.year, .month = 1, .day = 1 });
    int64_t day = time_from_civil((Civil){ .year = i.c.year, .month = i.c.month, .day = i.c.day });
    i.year_day = (day - first) / (86400 * NS_PER_S) + 1;
    i.first_weekday = time_civil(first).weekday;
    return i;
}

// Weeks that begin on Sunday; the first one has January the 1st, so the last days of a year may
// belong to the next one.
static int64_t week_of_year(const Instant *i, int64_t *ret_year)
{
    int64_t week = (i->year_day - 1 + i->first_weekday) / 7 + 1;
    bool leap = (i->c.year % 4 == 0 && i->c.year % 100 != 0) || i->c.year % 400 == 0;
    int64_t next_first = (i->first_weekday + 365 + leap) % 7; // weekday of the next January the 1st
    *ret_year = i->c.year;
    if (i->year_day + next_first > 365 + leap) {
        *ret_year = i->c.year + 1;
        return 1;
    }
    return week;
}

static void add_number(struct buf *b, int64_t value, size_t digits)
{
    buf_addf(b, "%0*lld", (int)digits, (long long)value);
}

static void add_year(struct buf *b, int64_t year, size_t count)
{
    add_number(b, count == 2 ? year % 100 : year, count);
}

static void add_name(struct buf *b, const char *name, size_t count)
{
    Str s = str_of(name);
    buf_add(b, count == 4 ? s : str_head(s, count == 5 ? 1 : 3));
}

static void add_month(struct buf *b, const Instant *i, size_t count)
{
    static const char *const names[] = { "January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December" };
    if (count <= 2)
        add_number(b, i->c.month, count);
    else
        add_name(b, names[i->c.month - 1], count);
}

static void add_quarter(struct buf *b, const Instant *i, size_t count)
{
    static const char *const names[] = { "1st", "2nd", "3rd", "4th" };
    unsigned quarter = (i->c.month - 1) / 3;
    if (count <= 2)
        add_number(b, quarter + 1, count);
    else if (count == 3)
        buf_addf(b, "Q%u", quarter + 1);
    else if (count == 4)
        buf_addf(b, "%s quarter", names[quarter]);
    else
        buf_addf(b, "%u", quarter + 1);
}

static void add_weekday(struct buf *b, const Instant *i, size_t count)
{
    static const char *const names[] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
                                         "Thursday", "Friday", "Saturday" };
    add_name(b, names[i->c.weekday], count < 4 ? 3 : count);
}

// As much of a second as has so many digits.
static void add_fraction(struct buf *b, const Instant *i, size_t count)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%03lld000000", (long long)i->ms);
    CHECK(n > 0);
    buf_add(b, str_from(text, count));
}

// "+01", "+0100", "+01:00"; X says Z for none.
static void add_offset(struct buf *b, const Instant *i, char letter, size_t count)
{
    int64_t s = i->offset_s < 0 ? -i->offset_s : i->offset_s;
    if (letter == 'X' && s == 0) {
        buf_add_byte(b, 'Z');
        return;
    }
    buf_addf(b, "%c%02lld", i->offset_s < 0 ? '-' : '+', (long long)(s / 3600));
    if (count == 1 && s % 3600 / 60 == 0)
        return;
    buf_addf(b, "%s%02lld", count == 3 || count == 5 ? ":" : "", (long long)(s % 3600 / 60));
    if (count >= 4 && s % 60 != 0)
        buf_addf(b, "%s%02lld", count == 5 ? ":" : "", (long long)(s % 60));
}

static void add_field(struct buf *b, const Field *f, const Instant *i)
{
    int64_t week_year, week = week_of_year(i, &week_year);
    int64_t hour = i->c.hour;
    switch (f->letter) {
    case 'y':
    case 'u':
        add_year(b, i->c.year, f->count);
        break;
    case 'Y':
        add_year(b, week_year, f->count);
        break;
    case 'M':
        add_month(b, i, f->count);
        break;
    case 'd':
        add_number(b, i->c.day, f->count);
        break;
    case 'D':
        add_number(b, i->year_day, f->count);
        break;
    case 'H':
        add_number(b, hour, f->count);
        break;
    case 'K':
        add_number(b, hour % 12, f->count);
        break;
    case 'h':
        add_number(b, (hour + 11) % 12 + 1, f->count);
        break;
    case 'k':
        add_number(b, (hour + 23) % 24 + 1, f->count);
        break;
    case 'm':
        add_number(b, i->c.minute, f->count);
        break;
    case 's':
        add_number(b, i->c.second, f->count);
        break;
    case 'S':
        add_fraction(b, i, f->count);
        break;
    case 'a':
        buf_add(b, hour < 12 ? S("AM") : S("PM"));
        break;
    case 'E':
        add_weekday(b, i, f->count);
        break;
    case 'e':
        add_number(b, i->c.weekday + 1, f->count);
        break;
    case 'w':
        add_number(b, week, f->count);
        break;
    case 'W': // the days before the month's first Sunday are its first week
        add_number(b, (i->c.day - 1 + (i->c.weekday + 35 - (i->c.day - 1)) % 7) / 7 + 1, 1);
        break;
    case 'Q':
        add_quarter(b, i, f->count);
        break;
    case 'V':
        buf_add(b, i->zone);
        break;
    case 'z':
        buf_add(b, i->zone_short);
        break;
    default: // x, X
        add_offset(b, i, f->letter, f->count);
        break;
    }
}

// Of text in quotes, where '' is one.
static void add_text(struct buf *b, Str text)
{
    for (size_t i = 0; i < text.n; i++) {
        buf_add_byte(b, text.p[i]);
        if (text.p[i] == '\'' && i + 1 < text.n && text.p[i + 1] == '\'')
            i++;
    }
}

static void add_time(struct buf *b, Str pattern, const Instant *i)
{
    Field f;
    while (pattern.n > 0 && next_field(&pattern, &f)) {
        if (f.letter == 0)
            add_text(b, f.text);
        else
            add_field(b, &f, i);
    }
}

// ---- Reading

// One expression, without its brackets.
static Err take_expression(struct prefix *p, Str inside, struct arena *a, Str *ret_text)
{
    Str space, value;
    if (!str_cut(inside, ':', &space, &value))
        return refuse(ret_text,
                      str_fmt(a, "The expression !{%.*s} has no namespace.", FMT(inside)));
    if (str_eq(space, S("timestamp"))) {
        if (!pattern_is_good(value))
            return refuse(ret_text,
                          str_fmt(a, "%.*s is not a supported timestamp pattern.", FMT(value)));
        add_part(p, PART_TIME, value);
    } else if (str_eq(space, S("firehose")) && str_eq(value, S("random-string"))) {
        add_part(p, PART_RANDOM, value);
    } else if (str_eq(space, S("firehose")) && str_eq(value, S("error-output-type"))) {
        if (p->place != PREFIX_ERRORS)
            return refuse(ret_text, S("Prefix cannot contain the expression "
                                      "!{firehose:error-output-type}."));
        add_part(p, PART_ERROR_TYPE, value);
    } else if (str_eq(space, S("partitionKeyFromQuery")) ||
               str_eq(space, S("partitionKeyFromLambda"))) {
        if (p->place == PREFIX_ERRORS)
            return refuse(ret_text, S("ErrorOutputPrefix cannot contain expressions with the "
                                      "namespaces partitionKeyFromQuery and "
                                      "partitionKeyFromLambda."));
        if (value.n == 0)
            return refuse(ret_text, S("A partition key must have a name."));
        add_part(p, str_ends(space, S("Query")) ? PART_QUERY_KEY : PART_LAMBDA_KEY, value);
    } else {
        return refuse(ret_text,
                      str_fmt(a, "The expression !{%.*s} is not supported.", FMT(inside)));
    }
    return OK;
}

static Err take_text(struct prefix *p, Str text, struct arena *a, Str *ret_text)
{
    while (text.n > 0) {
        size_t at = str_search(text, S("!{"));
        if (at > 0)
            add_part(p, PART_TEXT, str_head(text, at));
        text = str_skip(text, at);
        if (text.n == 0)
            break;
        text = str_skip(text, 2);
        size_t end = str_find(text, '}');
        if (end == text.n)
            return refuse(ret_text, S("An expression that begins with !{ must end with }."));
        TRY(take_expression(p, str_head(text, end), a, ret_text));
        text = str_skip(text, end + 1);
    }
    return OK;
}

static bool has_part(const struct prefix *p, PartKind kind)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->parts[i].kind == kind)
            return true;
    return false;
}

bool prefix_has_expressions(Str text)
{
    return str_search(text, S("!{")) < text.n;
}

// Without expressions the folder of the kind of error and the hour follow what was given: the error
// prefix, or that of the data.
static Err take_error_prefix(struct prefix *p, Str text, Str base, struct arena *a, Str *ret_text)
{
    if (text.p == NULL && prefix_has_expressions(base))
        return refuse(ret_text, S("ErrorOutputPrefix cannot be null or empty when Prefix contains "
                                  "expressions."));
    Str given = text.p != NULL ? text : base;
    TRY(take_text(p, given, a, ret_text));
    if (prefix_has_expressions(given)) {
        if (has_part(p, PART_ERROR_TYPE))
            return OK;
        return refuse(ret_text, S("ErrorOutputPrefix must contain at least one instance of "
                                  "!{firehose:error-output-type} when it contains expressions."));
    }
    add_part(p, PART_ERROR_TYPE, S(""));
    add_part(p, PART_TEXT, S("/"));
    add_part(p, PART_TIME, DEFAULT_TIME);
    return OK;
}

static Err read_prefix(struct prefix *p, Str text, Str base, Str time_zone, struct arena *a,
                       Str *ret_text)
{
    Err e = zone_open(time_zone.n > 0 ? time_zone : S("UTC"), &p->zone);
    if (e.kind != ERR_NONE)
        return refuse(ret_text, str_fmt(a, "%.*s is not a supported time zone.", FMT(time_zone)));
    if (str_utf8_count(text) == SIZE_MAX)
        return refuse(ret_text, S("A prefix must be UTF-8."));
    if (text.n > PREFIX_BYTES_MAX)
        return refuse(ret_text, S("A prefix cannot be longer than 1024 characters."));
    if (text.n == 0)
        text = (Str){ 0 };
    if (p->place == PREFIX_ERRORS)
        return take_error_prefix(p, text, base, a, ret_text);
    TRY(take_text(p, text, a, ret_text));
    if (!has_part(p, PART_TIME))
        add_part(p, PART_TIME, DEFAULT_TIME);
    return OK;
}

static Err evaluate(const struct prefix *p, struct buf *b, const PrefixValues *v,
                    const Instant *instant);

// As long as it is at least, whatever keys and kinds of errors there will be.
static Err check_length(const struct prefix *p, struct arena *a, Str *ret_text)
{
    AUTO_BUF(b);
    const PrefixValues v = { .error_type = "", .io = io_real() };
    Instant instant = instant_of(p->zone, 0);
    bool few = evaluate(p, &b, &v, &instant).kind != ERR_LIMIT;
    if (few && b.n + PREFIX_NAME_BYTES_MAX > PREFIX_KEY_BYTES_MAX)
        return refuse(ret_text, str_fmt(a, "An evaluated prefix cannot be longer than %d bytes.",
                                        PREFIX_KEY_BYTES_MAX - PREFIX_NAME_BYTES_MAX));
    if (few)
        return OK;
    return refuse(ret_text, str_fmt(a, "An evaluated prefix cannot be longer than %d characters.",
                                    EVALUATED_CHARS_MAX));
}

Err prefix_open(PrefixPlace place, Str text, Str base, Str time_zone, struct prefix **ret,
                struct arena *a, Str *ret_text)
{
    AUTO(prefix) p = xalloc(sizeof *p);
    p->arena = arena_open();
    p->place = place;
    TRY(read_prefix(p, text, base, time_zone, a, ret_text));
    TRY(check_length(p, a, ret_text));
    *ret = p;
    p = NULL;
    return OK;
}

void prefix_close(struct prefix *p)
{
    if (p == NULL)
        return;
    zone_close(p->zone);
    arena_close(p->arena);
    free(p);
}

// Each name counts once, however often it stands there.
static size_t count_keys(const struct prefix *p, PartKind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        bool first = p->parts[i].kind == kind;
        for (size_t k = 0; k < i && first; k++)
            first = p->parts[k].kind != kind || !str_eq(p->parts[k].text, p->parts[i].text);
        n += first;
    }
    return n;
}

void prefix_keys(const struct prefix *p, size_t *ret_query, size_t *ret_lambda)
{
    *ret_query = count_keys(p, PART_QUERY_KEY);
    *ret_lambda = count_keys(p, PART_LAMBDA_KEY);
}

// ---- Evaluating

static void add_random(struct buf *b, struct io *io)
{
    unsigned char bytes[(RANDOM_CHARS + 1) / 2];
    char text[2 * sizeof bytes];
    io->random(io, bytes, sizeof bytes);
    hex_lower(text, bytes, sizeof bytes);
    buf_add(b, str_from(text, RANDOM_CHARS));
}

static Str find_key(const DeliveryPair *at, size_t n, Str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(at[i].name, name))
            return at[i].value;
    return (Str){ 0 };
}

static Str key_of(const Part *part, const DeliveryRecord *r)
{
    if (r != NULL && part->kind == PART_QUERY_KEY)
        return find_key(r->query_keys, r->query_key_count, part->text);
    return r != NULL ? find_key(r->lambda_keys, r->lambda_key_count, part->text) : (Str){ 0 };
}

static Err add_key(struct buf *b, const Part *part, const DeliveryRecord *r)
{
    Str value = key_of(part, r);
    if (value.n == 0)
        return fail(ERR_INVALID, "a record lacks a partition key");
    buf_add(b, value);
    return OK;
}

static Err evaluate(const struct prefix *p, struct buf *b, const PrefixValues *v,
                    const Instant *instant)
{
    for (size_t i = 0; i < p->n; i++) {
        const Part *part = &p->parts[i];
        switch (part->kind) {
        case PART_TEXT:
            buf_add(b, part->text);
            break;
        case PART_TIME:
            add_time(b, part->text, instant);
            break;
        case PART_RANDOM:
            add_random(b, v->io);
            break;
        case PART_ERROR_TYPE:
            buf_add(b, str_of(v->error_type));
            break;
        case PART_QUERY_KEY:
        case PART_LAMBDA_KEY:
            TRY(add_key(b, part, v->record));
            break;
        }
    }
    if (str_utf8_count(buf_str(b)) > EVALUATED_CHARS_MAX)
        return fail(ERR_LIMIT, "an evaluated prefix is too long");
    return OK;
}

Err prefix_partition(const struct prefix *p, struct arena *a, const DeliveryRecord *r, Str *ret,
                     Str *ret_missing)
{
    AUTO_BUF(b);
    for (size_t i = 0; i < p->n; i++) {
        const Part *part = &p->parts[i];
        if (part->kind != PART_QUERY_KEY && part->kind != PART_LAMBDA_KEY)
            continue;
        *ret_missing = part->text;
        buf_addf(&b, "%zu:", key_of(part, r).n); // so a value may have any byte
        TRY(add_key(&b, part, r));
    }
    *ret = str_dup(a, buf_str(&b));
    return OK;
}

Err prefix_evaluate(const struct prefix *p, struct arena *a, const PrefixValues *v, Str *ret)
{
    AUTO_BUF(b);
    Instant instant = instant_of(p->zone, v->oldest_ms);
    TRY(evaluate(p, &b, v, &instant));
    *ret = str_dup(a, buf_str(&b));
    return OK;
}

// RFC 9562, version 4.
Str delivery_uuid(struct arena *a, struct io *io)
{
    unsigned char u[16];
    io->random(io, u, sizeof u);
    u[6] = (unsigned char)((u[6] & 0x0f) | 0x40);
    u[8] = (unsigned char)((u[8] & 0x3f) | 0x80);
    Str h = hex_str(a, u, sizeof u);
    return str_fmt(a, "%.8s-%.4s-%.4s-%.4s-%.12s", h.p, h.p + 8, h.p + 12, h.p + 16, h.p + 20);
}

Err prefix_object_key(const struct prefix *p, struct arena *a, const PrefixValues *v,
                      const DeliveryConfig *config, Str extension, Str *ret)
{
    AUTO_BUF(b);
    Instant instant = instant_of(p->zone, v->oldest_ms);
    TRY(evaluate(p, &b, v, &instant));
    buf_addf(&b, "%.*s-%llu-", FMT(config->name), (unsigned long long)config->version);
    add_time(&b, S("yyyy-MM-dd-HH-mm-ss-"), &instant);
    buf_add(&b, delivery_uuid(a, v->io));
    buf_add(&b, extension);
    *ret = str_dup(a, buf_str(&b));
    return OK;
}

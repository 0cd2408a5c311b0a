// SPDX-License-Identifier: Apache-2.0
#include "svc/glue/filter.h"

typedef enum FilterType { TYPE_TEXT, TYPE_WHOLE, TYPE_DECIMAL, TYPE_DATE, TYPE_TIME } FilterType;

typedef enum NodeKind {
    NODE_OR,
    NODE_AND,
    NODE_NOT,
    NODE_COMPARE, // values[0]
    NODE_IN,      // values[..]
    NODE_BETWEEN, // values[0], values[1]
    NODE_LIKE,    // values[0]
    NODE_NULL,    // partition values are never null
} NodeKind;

// What a comparison may come to for the operator to hold.
enum { LESS = 1, EQUAL = 2, GREATER = 4 };

struct filter {
    NodeKind kind;
    unsigned holds;             // of NODE_COMPARE
    size_t key;                 // its place
    FilterType type;            // of the key
    Str *values;                // in the form that compare() takes
    size_t value_count;         // of NODE_IN
    const struct filter *x, *y; // of NODE_OR, NODE_AND, NODE_NOT
};

// ---- Values

static bool all_digits(Str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

// A number as sign, digits and digits behind the point, without zeros that say nothing.
typedef struct Decimal {
    bool negative;
    Str whole, part;
} Decimal;

static bool decimal_of(Str s, Decimal *ret)
{
    ret->negative = s.n > 0 && s.p[0] == '-';
    if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+'))
        s = str_skip(s, 1);
    bool has_point = str_cut(s, '.', &ret->whole, &ret->part);
    bool good = all_digits(ret->whole) && (!has_point || all_digits(ret->part));
    while (ret->whole.n > 0 && ret->whole.p[0] == '0')
        ret->whole = str_skip(ret->whole, 1);
    while (ret->part.n > 0 && ret->part.p[ret->part.n - 1] == '0')
        ret->part.n--;
    ret->negative = ret->negative && (ret->whole.n > 0 || ret->part.n > 0);
    return good;
}

static int compare_decimals(Str x, Str y)
{
    Decimal a = { 0 }, b = { 0 };
    CHECK(decimal_of(x, &a) && decimal_of(y, &b));
    if (a.negative != b.negative)
        return a.negative ? -1 : 1;
    int order =
        a.whole.n != b.whole.n ? (a.whole.n < b.whole.n ? -1 : 1) : str_cmp(a.whole, b.whole);
    if (order == 0)
        order = str_cmp(a.part, b.part);
    return a.negative ? -order : order;
}

static int compare(FilterType type, Str x, Str y)
{
    return type == TYPE_WHOLE || type == TYPE_DECIMAL ? compare_decimals(x, y) : str_cmp(x, y);
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int number_at(Str s, size_t at, size_t n)
{
    int value = 0;
    for (size_t i = at; i < at + n; i++)
        value = value * 10 + (s.p[i] - '0');
    return value;
}

// yyyy-mm-dd, whose bytes are in the order of time.
static bool is_date(Str s)
{
    static const unsigned char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    if (s.n != 10 || s.p[4] != '-' || s.p[7] != '-' || !all_digits(str_head(s, 4)) ||
        !all_digits(str_from(s.p + 5, 2)) || !all_digits(str_from(s.p + 8, 2)))
        return false;
    int year = number_at(s, 0, 4), month = number_at(s, 5, 2), day = number_at(s, 8, 2);
    if (month < 1 || month > 12 || day < 1)
        return false;
    return day <= days[month - 1] + (month == 2 && is_leap(year) ? 1 : 0);
}

// yyyy-mm-dd hh:mm:ss[.fffffffff]; in ret without zeros at the end, so that bytes are in order.
static bool is_time(Str s, Str *ret)
{
    enum { SECONDS_CHARS = 19, FRACTION_MAX = 9 };
    if (s.n < SECONDS_CHARS || !is_date(str_head(s, 10)) || s.p[10] != ' ' || s.p[13] != ':' ||
        s.p[16] != ':')
        return false;
    for (size_t at = 11; at < SECONDS_CHARS; at += 3)
        if (!all_digits(str_from(s.p + at, 2)))
            return false;
    if (number_at(s, 11, 2) > 23 || number_at(s, 14, 2) > 59 || number_at(s, 17, 2) > 59)
        return false;
    *ret = s;
    if (s.n == SECONDS_CHARS)
        return true;
    Str fraction = str_skip(s, SECONDS_CHARS + 1);
    if (s.p[SECONDS_CHARS] != '.' || fraction.n > FRACTION_MAX || !all_digits(fraction))
        return false;
    while (ret->p[ret->n - 1] == '0')
        ret->n--;
    if (ret->p[ret->n - 1] == '.')
        ret->n--;
    return true;
}

// A value in the form that compare() takes; false: it is none of that type, and the text says so.
static bool value_of(struct arena *a, FilterType type, Str s, Str *ret, Str *ret_text)
{
    Decimal d = { 0 };
    *ret = s;
    switch (type) {
    case TYPE_TEXT:
        return true;
    case TYPE_WHOLE:
        if (decimal_of(s, &d) && str_find(s, '.') == s.n)
            return true;
        *ret_text = str_fmt(a, "For input string: \"%.*s\" is not an integer.", FMT(s));
        return false;
    case TYPE_DECIMAL:
        if (decimal_of(s, &d))
            return true;
        *ret_text = str_fmt(a, "%.*s is not a decimal.", FMT(s));
        return false;
    case TYPE_DATE:
        if (is_date(s))
            return true;
        *ret_text = str_fmt(a, "%.*s is not a date.", FMT(s));
        return false;
    case TYPE_TIME:
        if (is_time(s, ret))
            return true;
        *ret_text = str_fmt(a,
                            "Timestamp format must be yyyy-mm-dd hh:mm:ss[.fffffffff] "
                            "%.*s is not a timestamp.",
                            FMT(s));
        return false;
    }
    return false;
}

static bool type_of(Str name, FilterType *ret)
{
    static const struct {
        Str name;
        FilterType type;
    } types[] = {
        { S_INIT("string"), TYPE_TEXT },   { S_INIT("char"), TYPE_TEXT },
        { S_INIT("varchar"), TYPE_TEXT },  { S_INIT("int"), TYPE_WHOLE },
        { S_INIT("integer"), TYPE_WHOLE }, { S_INIT("bigint"), TYPE_WHOLE },
        { S_INIT("long"), TYPE_WHOLE },    { S_INIT("smallint"), TYPE_WHOLE },
        { S_INIT("tinyint"), TYPE_WHOLE }, { S_INIT("decimal"), TYPE_DECIMAL },
        { S_INIT("date"), TYPE_DATE },     { S_INIT("timestamp"), TYPE_TIME },
    };
    name = str_trim(str_head(name, str_find(name, '('))); // of decimal(10,2) the first word
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (str_eq_nocase(name, types[i].name)) {
            *ret = types[i].type;
            return true;
        }
    return false;
}

// ---- Words

typedef enum WordKind { WORD_END, WORD_NAME, WORD_TEXT, WORD_NUMBER, WORD_SIGN, WORD_BAD } WordKind;

typedef struct Word {
    WordKind kind;
    Str text; // of WORD_TEXT without its quotes
} Word;

typedef struct Parser {
    struct arena *a;
    Str all, rest;
    Word word; // the next one
    const FilterKey *keys;
    size_t key_count;
    unsigned depth;
    Str text; // what is wrong
} Parser;

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || (unsigned char)c >= 0x80;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Behind the opening quote; a doubled one stands for itself.
static Word quoted(Parser *p, char quote)
{
    char *text = arena_alloc(p->a, p->rest.n + 1, 1);
    size_t n = 0;
    for (size_t i = 1; i < p->rest.n; i++) {
        if (p->rest.p[i] == quote) {
            if (i + 1 == p->rest.n || p->rest.p[i + 1] != quote) {
                p->rest = str_skip(p->rest, i + 1);
                return (Word){ quote == '`' ? WORD_NAME : WORD_TEXT, str_from(text, n) };
            }
            i++;
        }
        text[n++] = p->rest.p[i];
    }
    return (Word){ .kind = WORD_BAD };
}

static Word plain(Parser *p)
{
    size_t n = 0;
    bool number = p->rest.p[0] == '-' || p->rest.p[0] == '+';
    n += number ? 1 : 0;
    while (n < p->rest.n && is_name_byte(p->rest.p[n]))
        n++;
    Str text = str_head(p->rest, n);
    Decimal d = { 0 };
    p->rest = str_skip(p->rest, n);
    if (decimal_of(text, &d))
        return (Word){ WORD_NUMBER, text };
    return (Word){ number ? WORD_BAD : WORD_NAME, text };
}

static void next_word(Parser *p)
{
    static const Str signs[] = { S_INIT("<>"), S_INIT("!="), S_INIT("<="), S_INIT(">="),
                                 S_INIT("="),  S_INIT("<"),  S_INIT(">"),  S_INIT("("),
                                 S_INIT(")"),  S_INIT(",") };
    while (p->rest.n > 0 && is_space(p->rest.p[0]))
        p->rest = str_skip(p->rest, 1);
    if (p->rest.n == 0) {
        p->word = (Word){ .kind = WORD_END };
        return;
    }
    char c = p->rest.p[0];
    for (size_t i = 0; i < COUNT_OF(signs); i++)
        if (str_starts(p->rest, signs[i])) {
            p->word = (Word){ WORD_SIGN, signs[i] };
            p->rest = str_skip(p->rest, signs[i].n);
            return;
        }
    if (c == '\'' || c == '"' || c == '`')
        p->word = quoted(p, c);
    else if (is_name_byte(c) || c == '-' || c == '+')
        p->word = plain(p);
    else
        p->word = (Word){ .kind = WORD_BAD };
}

static bool at_sign(const Parser *p, const char *sign)
{
    return p->word.kind == WORD_SIGN && str_eq(p->word.text, str_of(sign));
}

static bool accept_sign(Parser *p, const char *sign)
{
    bool there = at_sign(p, sign);
    if (there)
        next_word(p);
    return there;
}

static bool accept_name(Parser *p, const char *name)
{
    bool there = p->word.kind == WORD_NAME && str_eq_nocase(p->word.text, str_of(name));
    if (there)
        next_word(p);
    return there;
}

// ---- Expressions

static Err unsupported(Parser *p)
{
    if (p->text.p == NULL)
        p->text = str_fmt(p->a, "Unsupported expression '%.*s'", FMT(p->all));
    return fail(ERR_INVALID, "not an expression of partitions");
}

static Err parse_any(Parser *p, struct filter **ret);

static struct filter *node(Parser *p, NodeKind kind, const struct filter *x, const struct filter *y)
{
    struct filter *f = arena_new(p->a, struct filter, 1);
    *f = (struct filter){ .kind = kind, .x = x, .y = y };
    return f;
}

// A text or a number as it is written.
static Err parse_literal(Parser *p, Str *ret)
{
    size_t open = 0;
    while (accept_sign(p, "("))
        open++;
    if (p->word.kind != WORD_TEXT && p->word.kind != WORD_NUMBER)
        return unsupported(p);
    *ret = p->word.text;
    next_word(p);
    for (; open > 0; open--)
        if (!accept_sign(p, ")"))
            return unsupported(p);
    return OK;
}

static Err take_value(Parser *p, const struct filter *f, Str literal, Str *ret)
{
    if (value_of(p->a, f->type, literal, ret, &p->text))
        return OK;
    return fail(ERR_INVALID, "a literal is not of its key's type");
}

static Err parse_value(Parser *p, const struct filter *f, Str *ret)
{
    Str literal;
    TRY(parse_literal(p, &literal));
    return take_value(p, f, literal, ret);
}

// The key that a name means, as the beginning of a condition.
static Err parse_key(Parser *p, struct filter *f)
{
    if (p->word.kind != WORD_NAME)
        return unsupported(p);
    for (f->key = 0; f->key < p->key_count; f->key++)
        if (str_eq_nocase(p->word.text, p->keys[f->key].name))
            break;
    if (f->key == p->key_count) {
        p->text = S("Invalid partition expression!");
        return fail(ERR_INVALID, "not a partition key");
    }
    if (!type_of(p->keys[f->key].type, &f->type)) {
        p->text = str_fmt(p->a, "Unknown type : '%.*s'", FMT(p->keys[f->key].type));
        return fail(ERR_INVALID, "partition keys of this type cannot be compared");
    }
    next_word(p);
    return OK;
}

static bool accept_operator(Parser *p, unsigned *ret)
{
    static const struct {
        const char *sign;
        unsigned holds;
    } operators[] = { { "=", EQUAL },           { "<>", LESS | GREATER },
                      { "!=", LESS | GREATER }, { "<", LESS },
                      { "<=", LESS | EQUAL },   { ">", GREATER },
                      { ">=", GREATER | EQUAL } };
    for (size_t i = 0; i < COUNT_OF(operators); i++)
        if (accept_sign(p, operators[i].sign)) {
            *ret = operators[i].holds;
            return true;
        }
    return false;
}

static Err parse_in(Parser *p, struct filter *f)
{
    f->kind = NODE_IN;
    if (!accept_sign(p, "("))
        return unsupported(p);
    f->values = arena_new(p->a, Str, p->all.n / 2 + 1); // of a value and a comma at least
    do {
        TRY(parse_value(p, f, &f->values[f->value_count]));
        f->value_count++;
    } while (accept_sign(p, ","));
    return accept_sign(p, ")") ? OK : unsupported(p);
}

static Err parse_like(Parser *p, struct filter *f)
{
    static const char *const names[] = {
        [TYPE_TEXT] = "",     [TYPE_WHOLE] = "Integral", [TYPE_DECIMAL] = "Decimal",
        [TYPE_DATE] = "Date", [TYPE_TIME] = "Timestamp",
    };
    f->kind = NODE_LIKE;
    if (f->type != TYPE_TEXT) {
        p->text = str_fmt(p->a, "%s data type doesn't support operation 'LIKE'", names[f->type]);
        return fail(ERR_INVALID, "LIKE is for texts");
    }
    if (p->word.kind == WORD_NUMBER)
        return unsupported(p);
    return parse_value(p, f, &f->values[0]);
}

static Err parse_between(Parser *p, struct filter *f)
{
    f->kind = NODE_BETWEEN;
    TRY(parse_value(p, f, &f->values[0]));
    if (!accept_name(p, "and"))
        return unsupported(p);
    return parse_value(p, f, &f->values[1]);
}

static Err parse_test(Parser *p, struct filter **ret)
{
    struct filter *f = node(p, NODE_COMPARE, NULL, NULL);
    TRY(parse_key(p, f));
    f->values = arena_new(p->a, Str, 2);
    *ret = f;
    if (accept_operator(p, &f->holds))
        return parse_value(p, f, &f->values[0]);
    if (accept_name(p, "is")) {
        f->kind = NODE_NULL;
        if (accept_name(p, "not"))
            *ret = node(p, NODE_NOT, f, NULL);
        return accept_name(p, "null") ? OK : unsupported(p);
    }
    if (accept_name(p, "not"))
        *ret = node(p, NODE_NOT, f, NULL);
    if (accept_name(p, "in"))
        return parse_in(p, f);
    if (accept_name(p, "like"))
        return parse_like(p, f);
    return accept_name(p, "between") ? parse_between(p, f) : unsupported(p);
}

// literal operator key, as Spark writes some: the same as the other way round.
static Err parse_reversed(Parser *p, struct filter **ret)
{
    struct filter *f = node(p, NODE_COMPARE, NULL, NULL);
    Str literal;
    unsigned holds;
    TRY(parse_literal(p, &literal));
    if (!accept_operator(p, &holds))
        return unsupported(p);
    f->holds = (holds & EQUAL) | (holds & LESS ? GREATER : 0) | (holds & GREATER ? LESS : 0);
    TRY(parse_key(p, f));
    f->values = arena_new(p->a, Str, 1);
    *ret = f;
    return take_value(p, f, literal, &f->values[0]);
}

static Err parse_one(Parser *p, struct filter **ret)
{
    Err e;
    if (p->depth == FILTER_DEPTH_MAX)
        return unsupported(p);
    p->depth++;
    if (accept_name(p, "not")) {
        struct filter *x = NULL;
        e = parse_one(p, &x);
        *ret = node(p, NODE_NOT, x, NULL);
    } else if (accept_sign(p, "(")) {
        e = parse_any(p, ret);
        if (e.kind == ERR_NONE && !accept_sign(p, ")"))
            e = unsupported(p);
    } else if (p->word.kind == WORD_TEXT || p->word.kind == WORD_NUMBER) {
        e = parse_reversed(p, ret);
    } else {
        e = parse_test(p, ret);
    }
    p->depth--;
    return e;
}

static Err parse_all(Parser *p, struct filter **ret)
{
    TRY(parse_one(p, ret));
    while (accept_name(p, "and")) {
        struct filter *y = NULL;
        TRY(parse_one(p, &y));
        *ret = node(p, NODE_AND, *ret, y);
    }
    return OK;
}

static Err parse_any(Parser *p, struct filter **ret)
{
    TRY(parse_all(p, ret));
    while (accept_name(p, "or")) {
        struct filter *y = NULL;
        TRY(parse_all(p, &y));
        *ret = node(p, NODE_OR, *ret, y);
    }
    return OK;
}

Err filter_parse(struct arena *a, Str expression, const FilterKey *keys, size_t key_count,
                 struct filter **ret, Str *ret_text)
{
    Parser p = {
        .a = a, .all = expression, .rest = expression, .keys = keys, .key_count = key_count
    };
    next_word(&p);
    Err e = parse_any(&p, ret);
    if (e.kind == ERR_NONE && p.word.kind != WORD_END)
        e = unsupported(&p);
    *ret_text = p.text;
    return e;
}

// ---- Matching

static size_t character_bytes(Str s, size_t at)
{
    size_t n = 1;
    while (at + n < s.n && ((unsigned char)s.p[at + n] & 0xc0) == 0x80)
        n++;
    return n;
}

// % is any text, _ any one character; after a mismatch only the last % takes one character more.
static bool like(Str pattern, Str s, uint64_t *steps)
{
    size_t at = 0, in = 0, star = SIZE_MAX, mark = 0;
    while (in < s.n) {
        ++*steps;
        if (at < pattern.n && pattern.p[at] == '%') {
            star = at++;
            mark = in;
        } else if (at < pattern.n && pattern.p[at] == '_') {
            at++;
            in += character_bytes(s, in);
        } else if (at < pattern.n && pattern.p[at] == s.p[in]) {
            at++;
            in++;
        } else if (star != SIZE_MAX) {
            at = star + 1;
            mark += character_bytes(s, mark);
            in = mark;
        } else {
            return false;
        }
    }
    while (at < pattern.n && pattern.p[at] == '%')
        at++;
    return at == pattern.n;
}

static bool holds(const struct filter *f, Str value, uint64_t *steps)
{
    int order;
    switch (f->kind) {
    case NODE_COMPARE:
        order = compare(f->type, value, f->values[0]);
        return (f->holds & (order < 0 ? LESS : order > 0 ? GREATER : EQUAL)) != 0;
    case NODE_IN:
        for (size_t i = 0; i < f->value_count; i++, *steps += 1 + value.n / 8)
            if (compare(f->type, value, f->values[i]) == 0)
                return true;
        return false;
    case NODE_BETWEEN:
        return compare(f->type, value, f->values[0]) >= 0 &&
               compare(f->type, value, f->values[1]) <= 0;
    case NODE_LIKE:
        return like(f->values[0], value, steps);
    default:
        return false; // NODE_NULL
    }
}

// Both sides are looked at whatever the first says, so that a bad value is always told.
Err filter_matches(const struct filter *f, struct arena *tmp, const Str *values, bool *ret,
                   uint64_t *steps, Str *ret_text)
{
    bool x = false, y = false;
    Str value;
    ++*steps;
    switch (f->kind) {
    case NODE_OR:
    case NODE_AND:
        TRY(filter_matches(f->x, tmp, values, &x, steps, ret_text));
        TRY(filter_matches(f->y, tmp, values, &y, steps, ret_text));
        *ret = f->kind == NODE_OR ? x || y : x && y;
        return OK;
    case NODE_NOT:
        TRY(filter_matches(f->x, tmp, values, &x, steps, ret_text));
        *ret = !x;
        return OK;
    default:
        *steps += 1 + values[f->key].n / 8;
        if (f->kind != NODE_NULL && !value_of(tmp, f->type, values[f->key], &value, ret_text))
            return fail(ERR_INVALID, "a partition's value is not of its key's type");
        *ret = f->kind != NODE_NULL && holds(f, value, steps);
        return OK;
    }
}

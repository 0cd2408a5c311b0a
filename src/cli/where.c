// SPDX-License-Identifier: Apache-2.0
#include "cli/where.h"
#include "base/time.h"
#include "codec/json.h"

typedef enum ValueKind { VALUE_NONE, VALUE_NULL, VALUE_BOOL, VALUE_NUMBER, VALUE_TEXT } ValueKind;

typedef struct Value {
    ValueKind kind;
    Str text;    // also the digits of a number
    double real; // of a number; 0 or 1
} Value;

typedef enum OperandKind {
    OPERAND_LITERAL,
    OPERAND_FIELD,
    OPERAND_KEY,
    OPERAND_SHARD,
    OPERAND_SIZE,
    OPERAND_ARRIVAL,
    OPERAND_DATA,
} OperandKind;

// A step into a document: a name, or a place in a list.
struct step {
    Str name; // absent: a place
    uint64_t place;
    struct step *next;
};

typedef struct Operand {
    OperandKind kind;
    Value literal;
    struct step *path;
    size_t at; // in the text
} Operand;

typedef enum Comparison {
    IS_EQUAL,
    IS_DIFFERENT,
    IS_LESS,
    IS_AT_MOST,
    IS_GREATER,
    IS_AT_LEAST
} Comparison;

typedef enum WhereKind {
    WHERE_OR,
    WHERE_AND,
    WHERE_NOT,
    WHERE_COMPARE, // operands[0] and [1]
    WHERE_IN,      // operands[0] among the others
    WHERE_LIKE,    // operands[0], and the pattern [1]
    WHERE_NULL,
    WHERE_TRUE,
} WhereKind;

struct where {
    WhereKind kind;
    Comparison comparison;
    const struct where *left, *right;
    Operand *operands;
    size_t n;
};

// ---- Words

typedef enum WordKind {
    WORD_END,
    WORD_NAME,
    WORD_META,
    WORD_TEXT,
    WORD_NUMBER,
    WORD_SIGN
} WordKind;

typedef struct Word {
    WordKind kind;
    Str text; // of texts and quoted names without what escapes
    bool is_quoted;
    size_t at;
} Word;

struct parser {
    struct arena *a;
    Str text;
    size_t at;
    Word word; // the next one
    unsigned depth;
    WhereFault *fault;
};

static Err refuse(struct parser *p, size_t at, Str reason)
{
    *p->fault = (WhereFault){ at, reason };
    return fail(ERR_INVALID, "no condition");
}

static char peek(const struct parser *p, size_t ahead)
{
    return p->at + ahead < p->text.n ? p->text.p[p->at + ahead] : 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool begins_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_in_name(char c)
{
    return begins_name(c) || is_digit(c) || c == '-' || c == '$';
}

// Up to the same quote again, which stands for itself when it is written twice.
static Err read_quoted(struct parser *p, Str *ret)
{
    char quote = p->text.p[p->at];
    size_t begin = p->at++, n = 0;
    char *out = arena_new(p->a, char, p->text.n - begin);
    for (; p->at < p->text.n && (peek(p, 0) != quote || peek(p, 1) == quote); p->at++) {
        p->at += peek(p, 0) == quote; // it is written twice
        out[n++] = p->text.p[p->at];
    }
    if (p->at >= p->text.n)
        return refuse(p, begin, S("a text that does not end"));
    p->at++;
    *ret = str_from(out, n);
    return OK;
}

static void read_while(struct parser *p, bool (*belongs)(char c))
{
    while (p->at < p->text.n && belongs(p->text.p[p->at]))
        p->at++;
}

static Err read_number(struct parser *p)
{
    size_t begin = p->at;
    double real;
    p->at += peek(p, 0) == '-';
    while (is_digit(peek(p, 0)) || peek(p, 0) == '.' || peek(p, 0) == 'e' || peek(p, 0) == 'E' ||
           ((peek(p, 0) == '+' || peek(p, 0) == '-') && (p->text.p[p->at - 1] | 0x20) == 'e'))
        p->at++;
    p->word.text = str_head(str_skip(p->text, begin), p->at - begin);
    if (str_double(p->word.text, &real).kind != ERR_NONE)
        return refuse(p, begin, S("no number"));
    return OK;
}

static Err read_sign(struct parser *p)
{
    static const Str signs[] = { S_INIT("=="), S_INIT("!="), S_INIT("<>"), S_INIT("<="),
                                 S_INIT(">="), S_INIT("="),  S_INIT("<"),  S_INIT(">"),
                                 S_INIT("("),  S_INIT(")"),  S_INIT(","),  S_INIT("."),
                                 S_INIT("["),  S_INIT("]") };
    Str rest = str_skip(p->text, p->at);
    for (size_t i = 0; i < COUNT_OF(signs); i++)
        if (str_starts(rest, signs[i])) {
            p->word.text = signs[i];
            p->at += signs[i].n;
            return OK;
        }
    return refuse(p, p->at, S("a character that belongs to nothing"));
}

static Err next_word(struct parser *p)
{
    while (p->at < p->text.n && (unsigned char)p->text.p[p->at] <= ' ')
        p->at++;
    size_t begin = p->at;
    char c = peek(p, 0);
    p->word = (Word){ .at = begin };
    if (begin == p->text.n)
        return OK;
    if (c == '\'' || c == '"' || c == '`') {
        p->word.kind = c == '`' ? WORD_NAME : WORD_TEXT;
        p->word.is_quoted = true;
        return read_quoted(p, &p->word.text);
    }
    if (is_digit(c) || (c == '-' && is_digit(peek(p, 1)))) {
        p->word.kind = WORD_NUMBER;
        return read_number(p);
    }
    if (begins_name(c) || c == '@') {
        p->word.kind = c == '@' ? WORD_META : WORD_NAME;
        p->at++;
        read_while(p, is_in_name);
        p->word.text = str_head(str_skip(p->text, begin), p->at - begin);
        return OK;
    }
    p->word.kind = WORD_SIGN;
    return read_sign(p);
}

static bool is_sign(const struct parser *p, Str sign)
{
    return p->word.kind == WORD_SIGN && str_eq(p->word.text, sign);
}

static bool is_keyword(const struct parser *p, Str keyword)
{
    return p->word.kind == WORD_NAME && !p->word.is_quoted && str_eq_nocase(p->word.text, keyword);
}

// Takes the word if it is the next one.
static Err accept_keyword(struct parser *p, Str keyword, bool *ret)
{
    *ret = is_keyword(p, keyword);
    return *ret ? next_word(p) : OK;
}

static Err expect_sign(struct parser *p, Str sign, Str otherwise)
{
    if (!is_sign(p, sign))
        return refuse(p, p->word.at, otherwise);
    return next_word(p);
}

// ---- Values

static Err parse_step(struct parser *p, struct step **at)
{
    struct step *s = arena_new(p->a, struct step, 1);
    *at = s;
    if (is_sign(p, S("["))) {
        TRY(next_word(p));
        if (p->word.kind != WORD_NUMBER || str_u64(p->word.text, &s->place).kind != ERR_NONE)
            return refuse(p, p->word.at, S("between [ and ] stands a place, from 0"));
        TRY(next_word(p));
        return expect_sign(p, S("]"), S("the ] of a place is missing"));
    }
    TRY(next_word(p)); // the dot
    if (p->word.kind != WORD_NAME)
        return refuse(p, p->word.at, S("a name must follow the dot"));
    s->name = p->word.text;
    return next_word(p);
}

static Err parse_path(struct parser *p, Operand *o)
{
    o->kind = OPERAND_FIELD;
    o->path = arena_new(p->a, struct step, 1);
    o->path->name = p->word.text;
    TRY(next_word(p));
    struct step **end = &o->path->next;
    while (is_sign(p, S(".")) || is_sign(p, S("["))) {
        TRY(parse_step(p, end));
        end = &(*end)->next;
    }
    return OK;
}

static Err parse_meta(struct parser *p, Operand *o)
{
    static const struct {
        Str name;
        OperandKind kind;
    } all[] = { { S_INIT("@key"), OPERAND_KEY },
                { S_INIT("@shard"), OPERAND_SHARD },
                { S_INIT("@size"), OPERAND_SIZE },
                { S_INIT("@arrival"), OPERAND_ARRIVAL },
                { S_INIT("@data"), OPERAND_DATA } };
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (str_eq_nocase(all[i].name, p->word.text)) {
            o->kind = all[i].kind;
            return next_word(p);
        }
    return refuse(p, p->word.at, S("there are @key, @shard, @size, @arrival and @data"));
}

static Value number_of(Str digits)
{
    Value v = { .kind = VALUE_NUMBER, .text = digits };
    err_ignore(str_double(digits, &v.real)); // they are a number
    return v;
}

static Err parse_operand(struct parser *p, Operand *ret)
{
    Operand o = { .kind = OPERAND_LITERAL, .at = p->word.at };
    Str text = p->word.text;
    if (is_keyword(p, S("null")))
        return refuse(p, o.at, S("nothing is equal to null; write: is null, is not null"));
    if (is_keyword(p, S("true")) || is_keyword(p, S("false"))) {
        o.literal = (Value){ .kind = VALUE_BOOL, .real = is_keyword(p, S("true")) };
        TRY(next_word(p));
    } else if (p->word.kind == WORD_TEXT || p->word.kind == WORD_NUMBER) {
        o.literal = p->word.kind == WORD_NUMBER ? number_of(text)
                                                : (Value){ .kind = VALUE_TEXT, .text = text };
        TRY(next_word(p));
    } else if (p->word.kind == WORD_META) {
        TRY(parse_meta(p, &o));
    } else if (p->word.kind == WORD_NAME) {
        TRY(parse_path(p, &o));
    } else {
        return refuse(p, o.at, S("a value is missing here"));
    }
    *ret = o;
    return OK;
}

// Literals become what @arrival and @shard are: numbers.
static Err adapt(struct parser *p, const Operand *meta, Operand *other)
{
    bool is_text = other->kind == OPERAND_LITERAL && other->literal.kind == VALUE_TEXT;
    if (meta->kind == OPERAND_ARRIVAL) {
        int64_t ns;
        if (!is_text || time_parse_iso(other->literal.text, &ns).kind != ERR_NONE)
            return refuse(p, other->at,
                          S("@arrival is compared with a time such as "
                            "'2026-01-31T12:00:00Z'"));
        other->literal = number_of(str_fmt(p->a, "%lld", (long long)ns));
    } else if (meta->kind == OPERAND_SHARD && is_text) {
        uint64_t n;
        Str text = other->literal.text;
        Str digits = str_starts(text, S("shardId-")) ? str_skip(text, 8) : text;
        if (str_u64(digits, &n).kind != ERR_NONE)
            return refuse(p, other->at, S("a shard is a number or shardId-..."));
        other->literal = number_of(str_fmt(p->a, "%llu", (unsigned long long)n));
    }
    return OK;
}

static Err adapt_all(struct parser *p, struct where *w)
{
    for (size_t i = 1; i < w->n; i++) {
        TRY(adapt(p, &w->operands[0], &w->operands[i]));
        TRY(adapt(p, &w->operands[i], &w->operands[0]));
    }
    return OK;
}

// ---- Conditions

static struct where *new_where(struct parser *p, WhereKind kind)
{
    struct where *w = arena_new(p->a, struct where, 1);
    w->kind = kind;
    return w;
}

static struct where *with_operands(struct parser *p, WhereKind kind, Operand x, Operand y)
{
    struct where *w = new_where(p, kind);
    w->operands = arena_new(p->a, Operand, 2);
    w->operands[0] = x;
    w->operands[1] = y;
    w->n = 2;
    return w;
}

static struct where *joined(struct parser *p, WhereKind kind, const struct where *left,
                            const struct where *right)
{
    struct where *w = new_where(p, kind);
    w->left = left;
    w->right = right;
    return w;
}

static bool takes_comparison(const struct parser *p, Comparison *ret)
{
    static const struct {
        Str sign;
        Comparison comparison;
    } all[] = { { S_INIT("="), IS_EQUAL },      { S_INIT("=="), IS_EQUAL },
                { S_INIT("!="), IS_DIFFERENT }, { S_INIT("<>"), IS_DIFFERENT },
                { S_INIT("<"), IS_LESS },       { S_INIT("<="), IS_AT_MOST },
                { S_INIT(">"), IS_GREATER },    { S_INIT(">="), IS_AT_LEAST } };
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (is_sign(p, all[i].sign)) {
            *ret = all[i].comparison;
            return true;
        }
    return false;
}

static Err parse_in(struct parser *p, Operand x, struct where **ret)
{
    size_t room = p->text.n - p->at + 1; // each value takes a character at least
    struct where *w = new_where(p, WHERE_IN);
    w->operands = arena_new(p->a, Operand, room + 1);
    w->operands[w->n++] = x;
    TRY(next_word(p)); // in
    TRY(expect_sign(p, S("("), S("a list in ( and ) must follow")));
    for (bool more = true; more;) {
        CHECK(w->n <= room);
        TRY(parse_operand(p, &w->operands[w->n]));
        w->n++;
        more = is_sign(p, S(","));
        if (more)
            TRY(next_word(p));
    }
    *ret = w;
    return expect_sign(p, S(")"), S("the ) of a list is missing"));
}

static Err parse_between(struct parser *p, Operand x, struct where **ret)
{
    Operand low, high;
    bool has_and;
    TRY(next_word(p)); // between
    TRY(parse_operand(p, &low));
    TRY(accept_keyword(p, S("and"), &has_and));
    if (!has_and)
        return refuse(p, p->word.at, S("between two values stands: and"));
    TRY(parse_operand(p, &high));
    struct where *from = with_operands(p, WHERE_COMPARE, x, low);
    struct where *to = with_operands(p, WHERE_COMPARE, x, high);
    from->comparison = IS_AT_LEAST;
    to->comparison = IS_AT_MOST;
    TRY(adapt_all(p, from));
    TRY(adapt_all(p, to));
    *ret = joined(p, WHERE_AND, from, to);
    return OK;
}

static Err parse_like(struct parser *p, Operand x, struct where **ret)
{
    Operand pattern;
    TRY(next_word(p)); // like
    if (p->word.kind != WORD_TEXT)
        return refuse(p, p->word.at, S("a pattern in quotes must follow"));
    TRY(parse_operand(p, &pattern));
    *ret = with_operands(p, WHERE_LIKE, x, pattern);
    return OK;
}

static Err parse_null(struct parser *p, Operand x, struct where **ret)
{
    bool is_not, is_null;
    TRY(next_word(p)); // is
    TRY(accept_keyword(p, S("not"), &is_not));
    TRY(accept_keyword(p, S("null"), &is_null));
    if (!is_null)
        return refuse(p, p->word.at, S("after is stands: null, or not null"));
    struct where *w = with_operands(p, WHERE_NULL, x, x);
    *ret = is_not ? joined(p, WHERE_NOT, w, NULL) : w;
    return OK;
}

// What follows the first value of a test.
static Err parse_rest(struct parser *p, Operand x, struct where **ret)
{
    Comparison comparison;
    bool is_not;
    struct where *w = NULL;
    if (takes_comparison(p, &comparison)) {
        Operand y;
        TRY(next_word(p));
        TRY(parse_operand(p, &y));
        w = with_operands(p, WHERE_COMPARE, x, y);
        w->comparison = comparison;
        *ret = w;
        return adapt_all(p, w);
    }
    if (is_keyword(p, S("is")))
        return parse_null(p, x, ret);
    TRY(accept_keyword(p, S("not"), &is_not));
    if (is_keyword(p, S("in")))
        TRY(parse_in(p, x, &w));
    else if (is_keyword(p, S("like")))
        TRY(parse_like(p, x, &w));
    else if (is_keyword(p, S("between")))
        TRY(parse_between(p, x, &w));
    else if (is_not)
        return refuse(p, p->word.at, S("after not stands: in, like or between"));
    else
        w = with_operands(p, WHERE_TRUE, x, x);
    if (w->kind == WHERE_IN)
        TRY(adapt_all(p, w));
    *ret = is_not ? joined(p, WHERE_NOT, w, NULL) : w;
    return OK;
}

static Err parse_or(struct parser *p, struct where **ret);

static Err parse_test(struct parser *p, struct where **ret)
{
    bool is_not;
    if (++p->depth > WHERE_DEPTH_MAX) {
        *p->fault = (WhereFault){ p->word.at, S("too many conditions inside of each other") };
        return fail(ERR_LIMIT, "too deep");
    }
    TRY(accept_keyword(p, S("not"), &is_not));
    if (is_not) {
        struct where *inner;
        TRY(parse_test(p, &inner));
        *ret = joined(p, WHERE_NOT, inner, NULL);
    } else if (is_sign(p, S("("))) {
        TRY(next_word(p));
        TRY(parse_or(p, ret));
        TRY(expect_sign(p, S(")"), S("a ) is missing")));
    } else {
        Operand x;
        TRY(parse_operand(p, &x));
        TRY(parse_rest(p, x, ret));
    }
    p->depth--;
    return OK;
}

static Err parse_and(struct parser *p, struct where **ret)
{
    struct where *left, *right;
    TRY(parse_test(p, &left));
    while (is_keyword(p, S("and"))) {
        TRY(next_word(p));
        TRY(parse_test(p, &right));
        left = joined(p, WHERE_AND, left, right);
    }
    *ret = left;
    return OK;
}

static Err parse_or(struct parser *p, struct where **ret)
{
    struct where *left, *right;
    TRY(parse_and(p, &left));
    while (is_keyword(p, S("or"))) {
        TRY(next_word(p));
        TRY(parse_and(p, &right));
        left = joined(p, WHERE_OR, left, right);
    }
    *ret = left;
    return OK;
}

Err where_parse(struct arena *a, Str text, struct where **ret, WhereFault *ret_fault)
{
    struct parser p = { .a = a, .text = text, .fault = ret_fault };
    struct where *w;
    if (text.n > WHERE_BYTES_MAX) {
        *ret_fault = (WhereFault){ WHERE_BYTES_MAX, S("the condition is too long") };
        return fail(ERR_LIMIT, "too long");
    }
    TRY(next_word(&p));
    TRY(parse_or(&p, &w));
    if (p.word.kind != WORD_END)
        return refuse(&p, p.word.at, S("and, or, or the end was expected here"));
    *ret = w;
    return OK;
}

// ---- Deciding

struct deciding {
    struct arena *tmp;
    const WhereRecord *r;
    bool is_parsed;
    JsonValue *document; // NULL: the data is none
};

static Value value_of_json(const JsonValue *v)
{
    switch (v->kind) {
    case JSON_NULL:
        return (Value){ .kind = VALUE_NULL };
    case JSON_BOOL:
        return (Value){ .kind = VALUE_BOOL, .real = v->integer != 0 };
    case JSON_NUMBER:
        return (Value){ .kind = VALUE_NUMBER, .text = v->text, .real = v->real };
    case JSON_STRING:
        return (Value){ .kind = VALUE_TEXT, .text = v->text };
    case JSON_LIST:
    case JSON_MAP:
        break;
    }
    return (Value){ .kind = VALUE_NONE }; // it is there, but nothing to compare
}

static const JsonValue *find_field(struct deciding *d, const struct step *path)
{
    if (!d->is_parsed && json_parse(d->tmp, d->r->data, &d->document).kind != ERR_NONE)
        d->document = NULL;
    d->is_parsed = true;
    const JsonValue *v = d->document;
    for (; path != NULL && v != NULL; path = path->next) {
        if (path->name.p != NULL)
            v = json_find(v, path->name);
        else
            v = v->kind == JSON_LIST && path->place < v->n ? &v->items[path->place] : NULL;
    }
    return v;
}

static Value number_value(struct deciding *d, int64_t n)
{
    return (Value){ .kind = VALUE_NUMBER,
                    .text = str_fmt(d->tmp, "%lld", (long long)n),
                    .real = (double)n };
}

static Value value_of(struct deciding *d, const Operand *o)
{
    const JsonValue *v;
    switch (o->kind) {
    case OPERAND_LITERAL:
        return o->literal;
    case OPERAND_FIELD:
        v = find_field(d, o->path);
        return v != NULL ? value_of_json(v) : (Value){ .kind = VALUE_NULL };
    case OPERAND_KEY:
        return (Value){ .kind = VALUE_TEXT, .text = d->r->key };
    case OPERAND_DATA:
        return (Value){ .kind = VALUE_TEXT, .text = d->r->data };
    case OPERAND_SHARD:
        return number_value(d, d->r->shard);
    case OPERAND_SIZE:
        return number_value(d, (int64_t)d->r->data.n);
    case OPERAND_ARRIVAL:
        return number_value(d, d->r->arrival_ns);
    }
    return (Value){ .kind = VALUE_NULL };
}

// -1, 0 or 1. Whole numbers are compared exactly, others as doubles.
static int order_numbers(Value x, Value y)
{
    int64_t a, b;
    if (str_i64(x.text, &a).kind == ERR_NONE && str_i64(y.text, &b).kind == ERR_NONE)
        return a < b ? -1 : a > b;
    return x.real < y.real ? -1 : x.real > y.real;
}

static bool compare(Comparison c, Value x, Value y)
{
    bool is_missing = x.kind <= VALUE_NULL || y.kind <= VALUE_NULL;
    if (is_missing || x.kind != y.kind)
        return !is_missing && c == IS_DIFFERENT;
    int order = x.kind == VALUE_TEXT     ? str_cmp(x.text, y.text)
                : x.kind == VALUE_NUMBER ? order_numbers(x, y)
                                         : (x.real < y.real ? -1 : x.real > y.real);
    switch (c) {
    case IS_EQUAL:
        return order == 0;
    case IS_DIFFERENT:
        return order != 0;
    case IS_LESS:
        return order < 0;
    case IS_AT_MOST:
        return order <= 0;
    case IS_GREATER:
        return order > 0;
    case IS_AT_LEAST:
        return order >= 0;
    }
    return false;
}

// Behind the character at `at`.
static size_t next_character(Str s, size_t at)
{
    at++;
    while (at < s.n && ((unsigned char)s.p[at] & 0xc0) == 0x80)
        at++;
    return at;
}

// The pattern's next sign matches one character of the text. `p` and `t` move on.
static bool matches_one(Str pattern, size_t *p, Str text, size_t *t)
{
    if (*p >= pattern.n)
        return false;
    if (pattern.p[*p] == '_') {
        *t = next_character(text, *t);
        ++*p;
        return true;
    }
    size_t at = *p + (pattern.p[*p] == '\\' && *p + 1 < pattern.n);
    if (pattern.p[at] != text.p[*t])
        return false;
    *p = at + 1;
    ++*t;
    return true;
}

// Only the last % needs to be tried again.
static bool is_like(Str text, Str pattern)
{
    size_t t = 0, p = 0, star = SIZE_MAX, star_text = 0;
    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '%') {
            star = ++p;
            star_text = t;
        } else if (!matches_one(pattern, &p, text, &t)) {
            if (star == SIZE_MAX)
                return false;
            p = star;
            t = ++star_text;
        }
    }
    while (p < pattern.n && pattern.p[p] == '%')
        p++;
    return p == pattern.n;
}

static bool is_among(struct deciding *d, const struct where *w)
{
    Value x = value_of(d, &w->operands[0]);
    for (size_t i = 1; i < w->n; i++)
        if (compare(IS_EQUAL, x, value_of(d, &w->operands[i])))
            return true;
    return false;
}

static bool decide_leaf(struct deciding *d, const struct where *w)
{
    if (w->kind == WHERE_IN)
        return is_among(d, w);
    Value x = value_of(d, &w->operands[0]);
    switch (w->kind) {
    case WHERE_COMPARE:
        return compare(w->comparison, x, value_of(d, &w->operands[1]));
    case WHERE_LIKE:
        return x.kind == VALUE_TEXT && is_like(x.text, w->operands[1].literal.text);
    case WHERE_NULL:
        return x.kind == VALUE_NULL;
    default:
        return x.kind == VALUE_BOOL && x.real != 0;
    }
}

// As deep as what is inside of each other: a row of `and` and `or` is walked along its left side.
static bool decide(struct deciding *d, const struct where *w)
{
    switch (w->kind) {
    case WHERE_OR:
        return decide(d, w->left) || decide(d, w->right);
    case WHERE_AND:
        return decide(d, w->left) && decide(d, w->right);
    case WHERE_NOT:
        return !decide(d, w->left);
    default:
        return decide_leaf(d, w);
    }
}

bool where_matches(const struct where *w, struct arena *tmp, const WhereRecord *r)
{
    struct deciding d = { .tmp = tmp, .r = r };
    return decide(&d, w);
}

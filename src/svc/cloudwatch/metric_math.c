// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/metric_math_priv.h"

#include <math.h>
#include <string.h>

struct parser {
    MathEnv *env;
    Str rest;
    unsigned depth;
};

static Err parse_or(struct parser *p, MathValue *ret);

Err math_wrong(MathEnv *env, Str problem)
{
    if (env->problem.p == NULL)
        env->problem = problem;
    return fail(ERR_INVALID, "an expression is wrong");
}

// ---- Words

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void skip_blanks(struct parser *p)
{
    while (p->rest.n > 0 && strchr(" \t\r\n", p->rest.p[0]) != NULL)
        p->rest = str_skip(p->rest, 1);
}

static bool accept(struct parser *p, Str mark)
{
    skip_blanks(p);
    if (!str_starts(p->rest, mark))
        return false;
    p->rest = str_skip(p->rest, mark.n);
    return true;
}

// Letters, digits and underscores; empty: something else comes.
static Str word_at(Str s)
{
    size_t n = 0;
    while (n < s.n && (is_letter(s.p[n]) || (n > 0 && is_digit(s.p[n]))))
        n++;
    return str_head(s, n);
}

static bool accept_word(struct parser *p, Str word)
{
    skip_blanks(p);
    if (!str_eq(word_at(p->rest), word))
        return false;
    p->rest = str_skip(p->rest, word.n);
    return true;
}

static size_t number_bytes(Str s)
{
    size_t n = 0;
    while (n < s.n && (is_digit(s.p[n]) || s.p[n] == '.'))
        n++;
    size_t e = n;
    if (n > 0 && e < s.n && (s.p[e] == 'e' || s.p[e] == 'E')) {
        e++;
        e += e < s.n && (s.p[e] == '+' || s.p[e] == '-');
        if (e < s.n && is_digit(s.p[e])) {
            while (e < s.n && is_digit(s.p[e]))
                e++;
            n = e;
        }
    }
    return n;
}

// ---- Operators

static double apply(char op, double x, double y)
{
    switch (op) {
    case '+':
        return x + y;
    case '-':
        return x - y;
    case '*':
        return x * y;
    case '/':
        return x / y; // by zero: no point, as AWS has it
    case '^':
        return pow(x, y);
    case '<':
        return x < y;
    case '>':
        return x > y;
    case 'l':
        return x <= y;
    case 'g':
        return x >= y;
    case '=':
        return x == y;
    case '!':
        return x != y;
    case '&':
        return x != 0 && y != 0;
    default:
        return x != 0 || y != 0;
    }
}

Err math_series_new(MathEnv *env, size_t n, const MathSeries *like, MathSeries *ret)
{
    env->points += n;
    if (env->points > MATH_POINTS_MAX)
        return fail(ERR_LIMIT, "an expression makes too many points");
    MathSeries s = { .label = like->label, .period_s = like->period_s };
    s.at_s = arena_new(env->a, int64_t, MAX(n, (size_t)1));
    s.value = arena_new(env->a, double, MAX(n, (size_t)1));
    *ret = s;
    return OK;
}

// A value that is no number is no point.
void math_add(MathSeries *s, int64_t at_s, double value)
{
    if (!isfinite(value))
        return;
    s->at_s[s->n] = at_s;
    s->value[s->n++] = value;
}

static Err between_series(MathEnv *env, char op, const MathSeries *x, const MathSeries *y,
                          MathSeries *ret)
{
    TRY(math_series_new(env, MIN(x->n, y->n), x, ret));
    ret->period_s = MAX(x->period_s, y->period_s);
    for (size_t i = 0, j = 0; i < x->n && j < y->n;) {
        if (x->at_s[i] == y->at_s[j]) {
            math_add(ret, x->at_s[i], apply(op, x->value[i], y->value[j]));
            i++;
            j++;
        } else if (x->at_s[i] < y->at_s[j]) {
            i++;
        } else {
            j++;
        }
    }
    return OK;
}

static Err with_number(MathEnv *env, char op, const MathSeries *s, double number, bool on_left,
                       MathSeries *ret)
{
    TRY(math_series_new(env, s->n, s, ret));
    for (size_t i = 0; i < s->n; i++)
        math_add(ret, s->at_s[i],
                 on_left ? apply(op, number, s->value[i]) : apply(op, s->value[i], number));
    return OK;
}

static bool is_series(const MathValue *v)
{
    return v->kind == MATH_SERIES || v->kind == MATH_LIST;
}

static Err binary(MathEnv *env, char op, const MathValue *x, const MathValue *y, MathValue *ret)
{
    if (x->kind == MATH_TEXT || y->kind == MATH_TEXT)
        return math_wrong(env, S("a text cannot be reckoned with"));
    if (x->kind == MATH_NUMBER && y->kind == MATH_NUMBER) {
        *ret = (MathValue){ .kind = MATH_NUMBER, .number = apply(op, x->number, y->number) };
        return OK;
    }
    if (x->kind == MATH_LIST && y->kind == MATH_LIST && x->n != y->n)
        return math_wrong(env, S("the lists have different lengths"));
    bool list = x->kind == MATH_LIST || y->kind == MATH_LIST;
    size_t n = x->kind == MATH_LIST ? x->n : y->kind == MATH_LIST ? y->n : 1;
    MathValue v = { .kind = list ? MATH_LIST : MATH_SERIES, .n = n };
    v.series = arena_new(env->a, MathSeries, MAX(n, (size_t)1));
    for (size_t i = 0; i < n; i++) {
        const MathSeries *left = is_series(x) ? &x->series[x->kind == MATH_LIST ? i : 0] : NULL;
        const MathSeries *right = is_series(y) ? &y->series[y->kind == MATH_LIST ? i : 0] : NULL;
        if (left != NULL && right != NULL)
            TRY(between_series(env, op, left, right, &v.series[i]));
        else if (left != NULL)
            TRY(with_number(env, op, left, y->number, false, &v.series[i]));
        else
            TRY(with_number(env, op, right, x->number, true, &v.series[i]));
    }
    *ret = v;
    return OK;
}

// ---- The grammar

static Err deeper(struct parser *p)
{
    return p->depth++ < MATH_DEPTH_MAX ? OK : math_wrong(p->env, S("it is nested too deeply"));
}

// The values up to a closing mark, which is taken.
static Err parse_list(struct parser *p, Str close, MathValue *values, size_t max, size_t *ret_n)
{
    size_t n = 0;
    if (accept(p, close)) {
        *ret_n = 0;
        return OK;
    }
    do {
        if (n == max)
            return math_wrong(p->env, S("there are too many arguments"));
        TRY(parse_or(p, &values[n++]));
    } while (accept(p, S(",")));
    *ret_n = n;
    return accept(p, close) ? OK : math_wrong(p->env, S("a closing bracket is missing"));
}

// [m1, m2]: the series of all, in one list.
static Err parse_array(struct parser *p, MathValue *ret)
{
    MathValue *values = arena_new(p->env->a, MathValue, MATH_ARGUMENTS_MAX), list;
    size_t n, at = 0;
    TRY(parse_list(p, S("]"), values, MATH_ARGUMENTS_MAX, &n));
    list = (MathValue){ .kind = MATH_LIST };
    for (size_t i = 0; i < n; i++) {
        if (!is_series(&values[i]))
            return math_wrong(p->env, S("a list holds time series"));
        list.n += values[i].n;
    }
    list.series = arena_new(p->env->a, MathSeries, MAX(list.n, (size_t)1));
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < values[i].n; j++)
            list.series[at++] = values[i].series[j];
    *ret = list;
    return OK;
}

static Err parse_text(struct parser *p, char quote, MathValue *ret)
{
    size_t end = str_find(p->rest, quote);
    if (end == p->rest.n)
        return math_wrong(p->env, S("a text does not end"));
    *ret = (MathValue){ .kind = MATH_TEXT, .text = str_head(p->rest, end) };
    p->rest = str_skip(p->rest, end + 1);
    return OK;
}

static Err parse_name(struct parser *p, Str word, MathValue *ret)
{
    p->rest = str_skip(p->rest, word.n);
    if (accept(p, S("("))) {
        MathValue *arguments = arena_new(p->env->a, MathValue, MATH_ARGUMENTS_MAX);
        size_t n;
        TRY(parse_list(p, S(")"), arguments, MATH_ARGUMENTS_MAX, &n));
        return math_call(p->env, word, arguments, n, ret);
    }
    if (str_eq(word, S("REPEAT")) || str_eq(word, S("LINEAR")) || str_eq(word, S("DESC")) ||
        str_eq(word, S("ASC")) || math_is_function(word)) {
        *ret = (MathValue){ .kind = MATH_TEXT, .text = word }; // an argument that is a word
        return OK;
    }
    Err e = p->env->metric(p->env->self, word, ret);
    if (e.kind == ERR_NOT_FOUND)
        return math_wrong(p->env, str_fmt(p->env->a, "there is no metric '%.*s'", FMT(word)));
    return e;
}

static Err parse_primary(struct parser *p, MathValue *ret)
{
    if (accept(p, S("("))) {
        TRY(parse_or(p, ret));
        return accept(p, S(")")) ? OK : math_wrong(p->env, S("a closing bracket is missing"));
    }
    if (accept(p, S("[")))
        return parse_array(p, ret);
    if (accept(p, S("\"")))
        return parse_text(p, '"', ret);
    if (accept(p, S("'")))
        return parse_text(p, '\'', ret);
    size_t digits = number_bytes(p->rest);
    if (digits > 0) {
        *ret = (MathValue){ .kind = MATH_NUMBER };
        if (str_double(str_head(p->rest, digits), &ret->number).kind != ERR_NONE)
            return math_wrong(p->env, S("a number is malformed"));
        p->rest = str_skip(p->rest, digits);
        return OK;
    }
    Str word = word_at(p->rest);
    if (word.n > 0)
        return parse_name(p, word, ret);
    return math_wrong(p->env, p->rest.n == 0 ? S("it ends too early") : S("a value is missing"));
}

static Err parse_sign(struct parser *p, MathValue *ret)
{
    MathValue right, minus_one = { .kind = MATH_NUMBER, .number = -1 };
    TRY(deeper(p));
    if (accept(p, S("-"))) {
        TRY(parse_sign(p, &right));
        TRY(binary(p->env, '*', &right, &minus_one, ret));
    } else {
        TRY(parse_primary(p, ret));
        if (accept(p, S("^"))) {
            MathValue left = *ret;
            TRY(parse_sign(p, &right));
            TRY(binary(p->env, '^', &left, &right, ret));
        }
    }
    p->depth--;
    return OK;
}

// One level of operators that are read from the left.
typedef struct Level {
    struct {
        const char *mark;
        char op;
    } ops[6];
} Level;

static char operator_at(struct parser *p, const Level *level)
{
    for (size_t i = 0; i < COUNT_OF(level->ops) && level->ops[i].mark != NULL; i++) {
        Str mark = str_of(level->ops[i].mark);
        if (is_letter(mark.p[0]) ? accept_word(p, mark) : accept(p, mark))
            return level->ops[i].op;
    }
    return 0;
}

static Err parse_level(struct parser *p, size_t level, MathValue *ret)
{
    static const Level levels[] = {
        { { { "OR", '|' }, { "||", '|' } } },
        { { { "AND", '&' }, { "&&", '&' } } },
        { { { "<=", 'l' },
            { ">=", 'g' },
            { "==", '=' },
            { "!=", '!' },
            { "<", '<' },
            { ">", '>' } } },
        { { { "+", '+' }, { "-", '-' } } },
        { { { "*", '*' }, { "/", '/' } } },
    };
    if (level == COUNT_OF(levels))
        return parse_sign(p, ret);
    TRY(parse_level(p, level + 1, ret));
    for (char op; (op = operator_at(p, &levels[level])) != 0;) {
        MathValue left = *ret, right;
        TRY(parse_level(p, level + 1, &right));
        TRY(binary(p->env, op, &left, &right, ret));
    }
    return OK;
}

static Err parse_or(struct parser *p, MathValue *ret)
{
    TRY(deeper(p));
    TRY(parse_level(p, 0, ret));
    p->depth--;
    return OK;
}

Err math_evaluate(MathEnv *env, Str expression, MathValue *ret)
{
    struct parser p = { .env = env, .rest = expression };
    MathValue v;
    env->problem = (Str){ 0 };
    TRY(parse_or(&p, &v));
    skip_blanks(&p);
    if (p.rest.n > 0)
        return math_wrong(env,
                          str_fmt(env->a, "'%.*s' is not expected", FMT(str_head(p.rest, 50))));
    *ret = v;
    return OK;
}

bool math_ids(Str expression, void (*each)(void *self, Str id), void *self)
{
    for (Str rest = expression; rest.n > 0;) {
        char c = rest.p[0];
        Str word = word_at(rest);
        if (c == '"' || c == '\'') {
            size_t end = str_find(str_skip(rest, 1), c);
            if (end + 1 >= rest.n)
                return false;
            rest = str_skip(rest, end + 2);
        } else if (word.n > 0) {
            if (c >= 'a' && c <= 'z')
                each(self, word);
            rest = str_skip(rest, word.n);
        } else {
            rest = str_skip(rest, MAX(number_bytes(rest), (size_t)1));
        }
    }
    return true;
}

// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/insights.h"
#include "base/buf.h"

#include <string.h>

struct parser {
    struct arena *a;
    Str rest;
};

// ---- Tokens

static void skip_blanks(struct parser *p)
{
    while (p->rest.n > 0 && p->rest.p[0] != '\0' && strchr(" \t\r\n", p->rest.p[0]) != NULL)
        p->rest = str_skip(p->rest, 1);
}

static bool take_mark(struct parser *p, const char *mark)
{
    skip_blanks(p);
    if (!str_starts(p->rest, str_of(mark)))
        return false;
    p->rest = str_skip(p->rest, strlen(mark));
    return true;
}

static bool is_name_byte(char c)
{
    char low = (char)(c | 0x20);
    return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

static size_t word_length(Str s)
{
    size_t n = 0;
    while (n < s.n && is_name_byte(s.p[n]))
        n++;
    return n;
}

static bool take_word(struct parser *p, Str word)
{
    skip_blanks(p);
    if (word_length(p->rest) != word.n || !str_eq_nocase(str_head(p->rest, word.n), word))
        return false;
    p->rest = str_skip(p->rest, word.n);
    return true;
}

// What is in quotes of one kind, doubled ones being one.
static Err take_quoted(struct parser *p, char quote, Str *ret)
{
    AUTO_BUF(b);
    p->rest = str_skip(p->rest, 1);
    for (;;) {
        size_t end = str_find(p->rest, quote);
        if (end == p->rest.n)
            return fail(ERR_INVALID, "a quoted text has no end");
        buf_add(&b, str_head(p->rest, end));
        p->rest = str_skip(p->rest, end + 1);
        if (p->rest.n == 0 || p->rest.p[0] != quote)
            break;
        buf_add_byte(&b, quote);
        p->rest = str_skip(p->rest, 1);
    }
    TRY(buf_err(&b));
    *ret = str_dup(p->a, buf_str(&b));
    return OK;
}

static Err take_name(struct parser *p, Str *ret)
{
    skip_blanks(p);
    if (p->rest.n > 0 && p->rest.p[0] == '"') {
        TRY(take_quoted(p, '"', ret));
    } else {
        size_t n = word_length(p->rest);
        *ret = str_head(p->rest, n);
        p->rest = str_skip(p->rest, n);
    }
    return ret->n > 0 ? OK : fail(ERR_INVALID, "a name is missing");
}

static Err expect_mark(struct parser *p, const char *mark)
{
    return take_mark(p, mark) ? OK : fail(ERR_INVALID, "a bracket is missing");
}

static Err take_function(struct parser *p, Stat *ret)
{
    static const struct {
        Str name;
        StatKind kind;
    } functions[] = { { S_INIT("AVG"), STAT_AVERAGE },
                      { S_INIT("COUNT"), STAT_COUNT },
                      { S_INIT("MAX"), STAT_MAX },
                      { S_INIT("MIN"), STAT_MIN },
                      { S_INIT("SUM"), STAT_SUM } };
    for (size_t i = 0; i < COUNT_OF(functions); i++)
        if (take_word(p, functions[i].name)) {
            *ret = (Stat){ .kind = functions[i].kind, .high = 100 };
            return expect_mark(p, "(");
        }
    return fail(ERR_INVALID, "a function is AVG, COUNT, MAX, MIN or SUM");
}

// ---- Clauses

static Err take_names(struct parser *p, Str *names, size_t *n)
{
    do {
        if (*n == SERIES_DIMENSIONS_MAX)
            return fail(ERR_INVALID, "there are too many dimensions");
        TRY(take_name(p, &names[(*n)++]));
    } while (take_mark(p, ","));
    return OK;
}

static Err take_from(struct parser *p, Insights *q)
{
    if (!take_word(p, S("FROM")))
        return fail(ERR_INVALID, "FROM is missing");
    q->has_schema = take_word(p, S("SCHEMA"));
    if (!q->has_schema)
        return take_name(p, &q->name_space);
    TRY(expect_mark(p, "("));
    TRY(take_name(p, &q->name_space));
    if (take_mark(p, ","))
        TRY(take_names(p, q->schema, &q->schema_count));
    return expect_mark(p, ")");
}

static Err take_condition(struct parser *p, Insights *q)
{
    InsightsCondition c = { 0 };
    TRY(take_name(p, &c.dimension));
    c.differs = take_mark(p, "!=");
    if (!c.differs && !take_mark(p, "="))
        return fail(ERR_INVALID, "a condition compares with = or !=");
    skip_blanks(p);
    if (p->rest.n == 0 || p->rest.p[0] != '\'')
        return fail(ERR_INVALID, "a value is in single quotes");
    TRY(take_quoted(p, '\'', &c.value));
    if (q->condition_count == INSIGHTS_CONDITIONS_MAX)
        return fail(ERR_INVALID, "there are too many conditions");
    q->conditions[q->condition_count++] = c;
    return OK;
}

static Err take_order(struct parser *p, Insights *q)
{
    if (!take_word(p, S("BY")))
        return fail(ERR_INVALID, "BY is missing");
    q->is_ordered = true;
    TRY(take_function(p, &q->order));
    TRY(expect_mark(p, ")"));
    q->descends = take_word(p, S("DESC"));
    if (!q->descends)
        (void)take_word(p, S("ASC"));
    return OK;
}

static Err take_limit(struct parser *p, Insights *q)
{
    uint64_t limit;
    skip_blanks(p);
    size_t n = word_length(p->rest);
    if (str_u64(str_head(p->rest, n), &limit).kind != ERR_NONE || limit < 1 ||
        limit > INSIGHTS_SERIES_MAX)
        return fail(ERR_INVALID, "LIMIT is a number from 1 to 500");
    p->rest = str_skip(p->rest, n);
    q->limit = (size_t)limit;
    return OK;
}

static Err take_clauses(struct parser *p, Insights *q)
{
    if (take_word(p, S("WHERE")))
        do
            TRY(take_condition(p, q));
        while (take_word(p, S("AND")));
    if (take_word(p, S("GROUP"))) {
        if (!take_word(p, S("BY")))
            return fail(ERR_INVALID, "BY is missing");
        TRY(take_names(p, q->groups, &q->group_count));
    }
    if (take_word(p, S("ORDER")))
        TRY(take_order(p, q));
    if (take_word(p, S("LIMIT")))
        TRY(take_limit(p, q));
    skip_blanks(p);
    return p->rest.n == 0 ? OK : fail(ERR_INVALID, "a clause is not understood");
}

bool insights_is_query(Str text)
{
    struct parser p = { .rest = text };
    return take_word(&p, S("SELECT"));
}

Err insights_parse(struct arena *a, Str text, Insights *ret)
{
    struct parser p = { .a = a, .rest = text };
    Insights q = { .limit = INSIGHTS_SERIES_MAX };
    if (!take_word(&p, S("SELECT")))
        return fail(ERR_INVALID, "SELECT is missing");
    TRY(take_function(&p, &q.function));
    TRY(take_name(&p, &q.metric));
    TRY(expect_mark(&p, ")"));
    TRY(take_from(&p, &q));
    TRY(take_clauses(&p, &q));
    *ret = q;
    return OK;
}

// ---- Matching

Str insights_dimension(const SeriesName *name, Str dimension)
{
    for (size_t i = 0; i < name->dim_count; i++)
        if (str_eq(name->dims[i].name, dimension))
            return name->dims[i].value;
    return (Str){ 0 };
}

bool insights_matches(const Insights *q, const SeriesName *name)
{
    if (!str_eq(q->metric, name->name) || !str_eq(q->name_space, name->name_space) ||
        (q->has_schema && q->schema_count != name->dim_count))
        return false;
    for (size_t i = 0; i < q->schema_count; i++)
        if (insights_dimension(name, q->schema[i]).p == NULL)
            return false;
    for (size_t i = 0; i < q->group_count; i++)
        if (insights_dimension(name, q->groups[i]).p == NULL)
            return false;
    for (size_t i = 0; i < q->condition_count; i++) {
        const InsightsCondition *c = &q->conditions[i];
        Str value = insights_dimension(name, c->dimension);
        if (value.p == NULL || str_eq(value, c->value) == c->differs)
            return false;
    }
    return true;
}

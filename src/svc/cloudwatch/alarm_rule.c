// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/alarm_rule.h"
#include "base/buf.h"

#include <string.h>

struct parser {
    struct arena *a;
    Str rest;
    AlarmRule *rule;
    size_t elements, depth;
};

// ---- Tokens

static void skip_space(struct parser *p)
{
    while (p->rest.n > 0 && strchr(" \t\r\n", p->rest.p[0]) != NULL)
        p->rest = str_skip(p->rest, 1);
}

static bool take_byte(struct parser *p, char c)
{
    skip_space(p);
    if (p->rest.n == 0 || p->rest.p[0] != c)
        return false;
    p->rest = str_skip(p->rest, 1);
    return true;
}

static bool is_word_byte(char c)
{
    char low = (char)(c | 0x20);
    return (low >= 'a' && low <= 'z') || c == '_';
}

// A word, which is not the beginning of a longer one.
static bool take_word(struct parser *p, Str word)
{
    skip_space(p);
    if (!str_starts(p->rest, word) || (p->rest.n > word.n && is_word_byte(p->rest.p[word.n])))
        return false;
    p->rest = str_skip(p->rest, word.n);
    return true;
}

static Err take_quoted(struct parser *p, Str *ret)
{
    AUTO_BUF(b);
    while (p->rest.n > 0 && p->rest.p[0] != '"') {
        bool escapes =
            p->rest.n > 1 && p->rest.p[0] == '\\' && (p->rest.p[1] == '"' || p->rest.p[1] == '\\');
        p->rest = str_skip(p->rest, escapes);
        buf_add_byte(&b, p->rest.p[0]);
        p->rest = str_skip(p->rest, 1);
    }
    if (!take_byte(p, '"'))
        return fail(ERR_INVALID, "a quoted name has no end");
    TRY(buf_err(&b));
    *ret = str_dup(p->a, buf_str(&b));
    return OK;
}

static Err take_name(struct parser *p, Str *ret)
{
    size_t n = 0;
    if (!take_byte(p, '('))
        return fail(ERR_INVALID, "a state is followed by the name of an alarm in brackets");
    if (take_byte(p, '"')) {
        TRY(take_quoted(p, ret));
    } else {
        while (n < p->rest.n && p->rest.p[n] != '\0' && strchr(" \t\r\n()\"", p->rest.p[n]) == NULL)
            n++;
        *ret = str_head(p->rest, n);
        p->rest = str_skip(p->rest, n);
    }
    if (ret->n == 0)
        return fail(ERR_INVALID, "an alarm has no name");
    return take_byte(p, ')')
               ? OK
               : fail(ERR_INVALID, "a bracket behind the name of an alarm is missing");
}

// ---- Nodes

static size_t add_node(struct parser *p, RuleNode node)
{
    AlarmRule *r = p->rule;
    p->rule->nodes[r->n] = node;
    return r->n++;
}

static Err alarm_number(struct parser *p, Str name, size_t *ret)
{
    AlarmRule *r = p->rule;
    for (*ret = 0; *ret < r->alarm_count; (*ret)++)
        if (str_eq(r->alarms[*ret], name))
            return OK;
    if (r->alarm_count == RULE_ALARMS_MAX)
        return fail(ERR_LIMIT, "the rule names more than 100 alarms");
    r->alarms[r->alarm_count++] = name;
    return OK;
}

static Err parse_or(struct parser *p, size_t *ret);

static Err parse_element(struct parser *p, size_t *ret)
{
    static const Str states[] = { S_INIT("ALARM"), S_INIT("OK"), S_INIT("INSUFFICIENT_DATA") };
    RuleNode node = { 0 };
    Str name;
    if (++p->elements > RULE_ELEMENTS_MAX)
        return fail(ERR_LIMIT, "the rule has more than 500 elements");
    if (take_word(p, S("TRUE")) || take_word(p, S("FALSE"))) {
        node.kind = p->rest.p[-2] == 'U' ? RULE_TRUE : RULE_FALSE;
        *ret = add_node(p, node);
        return OK;
    }
    for (size_t i = 0; i < COUNT_OF(states); i++) {
        if (!take_word(p, states[i]))
            continue;
        TRY(take_name(p, &name));
        node.kind = RULE_STATE;
        node.state = states[i];
        TRY(alarm_number(p, name, &node.alarm));
        *ret = add_node(p, node);
        return OK;
    }
    return fail(ERR_INVALID, "a state, TRUE, FALSE, NOT or a bracket is missing");
}

static Err parse_factor(struct parser *p, size_t *ret)
{
    size_t inner;
    bool inverts = take_word(p, S("NOT")), opens = !inverts && take_byte(p, '(');
    if (!inverts && !opens)
        return parse_element(p, ret);
    if (++p->depth > RULE_DEPTH_MAX)
        return fail(ERR_LIMIT, "the rule is nested too deeply");
    TRY(inverts ? parse_factor(p, &inner) : parse_or(p, &inner));
    p->depth--;
    if (opens && !take_byte(p, ')'))
        return fail(ERR_INVALID, "a closing bracket is missing");
    *ret = inverts ? add_node(p, (RuleNode){ .kind = RULE_NOT, .left = inner }) : inner;
    return OK;
}

static Err parse_and(struct parser *p, size_t *ret)
{
    size_t left, right;
    TRY(parse_factor(p, &left));
    while (take_word(p, S("AND"))) {
        TRY(parse_factor(p, &right));
        left = add_node(p, (RuleNode){ .kind = RULE_AND, .left = left, .right = right });
    }
    *ret = left;
    return OK;
}

static Err parse_or(struct parser *p, size_t *ret)
{
    size_t left, right;
    TRY(parse_and(p, &left));
    while (take_word(p, S("OR"))) {
        TRY(parse_and(p, &right));
        left = add_node(p, (RuleNode){ .kind = RULE_OR, .left = left, .right = right });
    }
    *ret = left;
    return OK;
}

Err rule_parse(struct arena *a, Str text, AlarmRule *ret)
{
    // Each node has a word or a bracket of its own; an element has two letters at least.
    size_t nodes_max = text.n / 2 + 1;
    AlarmRule r = { .nodes = arena_new(a, RuleNode, nodes_max),
                    .alarms = arena_new(a, Str, RULE_ALARMS_MAX) };
    struct parser p = { .a = a, .rest = text, .rule = &r };
    if (text.n > RULE_BYTES_MAX)
        return fail(ERR_LIMIT, "the rule is longer than 10240 characters");
    TRY(parse_or(&p, &r.root));
    skip_space(&p);
    if (p.rest.n > 0)
        return fail(ERR_INVALID, "AND, OR or the end is missing");
    CHECK(r.n <= nodes_max);
    *ret = r;
    return OK;
}

// ---- Holding

static bool node_holds(const AlarmRule *rule, size_t at, const Str *states)
{
    const RuleNode *node = &rule->nodes[at];
    switch (node->kind) {
    case RULE_FALSE:
        return false;
    case RULE_TRUE:
        return true;
    case RULE_STATE:
        return str_eq(states[node->alarm], node->state);
    case RULE_NOT:
        return !node_holds(rule, node->left, states);
    case RULE_AND:
        return node_holds(rule, node->left, states) && node_holds(rule, node->right, states);
    case RULE_OR:
        return node_holds(rule, node->left, states) || node_holds(rule, node->right, states);
    }
    return false;
}

bool rule_holds(const AlarmRule *rule, const Str *states)
{
    return node_holds(rule, rule->root, states);
}

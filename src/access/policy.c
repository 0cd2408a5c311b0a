// SPDX-License-Identifier: Apache-2.0
// Reading documents.
#include "access/policy_priv.h"
#include "codec/json.h"

#include <stdlib.h>

#define VERSION_NEW S("2012-10-17")
#define VERSION_OLD S("2008-10-17")

static Err malformed(const char *why)
{
    return fail(ERR_INVALID, why);
}

// A text or a list of texts, as patterns.
static Err read_texts(struct policy *p, const JsonValue *v, bool wildcards, bool variables,
                      Texts *ret)
{
    size_t n = v->kind == JSON_LIST ? v->n : 1;
    Texts texts = { .at = arena_new(p->arena, Str, n), .n = n };
    for (size_t i = 0; i < n; i++) {
        const JsonValue *one = v->kind == JSON_LIST ? &v->items[i] : v;
        Str text = one->text;
        if (one->kind == JSON_BOOL)
            text = one->integer ? S("true") : S("false");
        else if (one->kind != JSON_STRING && one->kind != JSON_NUMBER)
            return malformed("a value of a policy is neither a text nor a list of texts");
        TRY(pattern_make(p->arena, text, wildcards, variables && p->has_variables, &texts.at[i]));
    }
    *ret = texts;
    return OK;
}

// ---- Principals

// "123456789012", "arn:aws:iam::123456789012:user/x" or, in a list, "*".
static bool is_principal(Str s)
{
    bool digits = s.n == 12;
    for (size_t i = 0; i < s.n && digits; i++)
        digits = s.p[i] >= '0' && s.p[i] <= '9';
    return digits || str_eq(s, S("*")) ||
           (str_starts(s, S("arn:")) && str_find(s, '*') == s.n && str_find(s, '?') == s.n);
}

static Err read_principals_of(struct policy *p, struct statement *s, const JsonValue *v)
{
    Texts texts;
    TRY(read_texts(p, v, false, false, &texts));
    if (str_eq(v->key, S("Service"))) {
        s->services = texts;
        return OK;
    }
    if (str_eq(v->key, S("Federated")) || str_eq(v->key, S("CanonicalUser")))
        return OK; // nobody signs here as one of these
    if (!str_eq(v->key, S("AWS")))
        return malformed("a Principal is of no known kind");
    for (size_t i = 0; i < texts.n; i++) {
        if (!is_principal(texts.at[i]))
            return malformed("Invalid principal in policy.");
        s->anyone |= str_eq(texts.at[i], S("*"));
    }
    s->aws = texts;
    return OK;
}

static Err read_principal(struct policy *p, struct statement *s, const JsonValue *v)
{
    s->has_principal = true;
    if (v->kind == JSON_STRING && str_eq(v->text, S("*"))) {
        s->anyone = true;
        return OK;
    }
    if (v->kind != JSON_MAP || v->n == 0)
        return malformed("Invalid principal in policy.");
    for (size_t i = 0; i < v->n; i++)
        TRY(read_principals_of(p, s, &v->items[i]));
    return OK;
}

// ---- Actions and resources

// "*" or "service:Verb", with wildcards. Spelled with the marks of patterns.
static bool is_action(Str s)
{
    static const char any[] = { MARK_ANY, '\0' };
    Str service, verb;
    if (str_eq(s, str_of(any)))
        return true;
    if (!str_cut(s, ':', &service, &verb) || service.n == 0 || verb.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i], low = (char)(c | 0x20);
        bool word = (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '-';
        if (!word && c != ':' && c != MARK_ANY && c != MARK_ONE)
            return false;
    }
    return true;
}

static Err read_actions(struct policy *p, struct statement *s, const JsonValue *v)
{
    TRY(read_texts(p, v, true, false, &s->actions));
    for (size_t i = 0; i < s->actions.n; i++)
        if (!is_action(s->actions.at[i]))
            return malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, "
                             "ec2, etc.");
    return s->actions.n > 0 ? OK : malformed("Policy statement must contain actions.");
}

static Err read_resources(struct policy *p, struct statement *s, const JsonValue *v)
{
    s->has_resource = true;
    TRY(read_texts(p, v, true, true, &s->resources));
    for (size_t i = 0; i < s->resources.n; i++) {
        Str one = s->resources.at[i];
        bool starred = one.n == 1 && one.p[0] == MARK_ANY;
        if (!starred && !str_starts(one, S("arn:")))
            return malformed("A Resource must be in ARN format or \"*\".");
    }
    return s->resources.n > 0 ? OK : malformed("Policy statement must contain resources.");
}

// ---- Conditions

static Err read_condition(struct policy *p, Str op, const JsonValue *v, struct condition *ret)
{
    if (!condition_parse(op, ret))
        return malformed("a Condition has an operator that does not exist");
    ret->key = v->key;
    if (v->key.n == 0 || pattern_has(v->key, MARK_VARIABLE))
        return malformed("a Condition has no key");
    bool wildcards = ret->op->type == CONDITION_LIKE || ret->op->type == CONDITION_ARN;
    TRY(read_texts(p, v, wildcards, true, &ret->values));
    for (size_t i = 0; i < ret->values.n; i++)
        if (!condition_value_is_good(ret->op, ret->values.at[i]))
            return malformed("a Condition has a value that its operator cannot compare with");
    return OK;
}

static Err read_conditions(struct policy *p, struct statement *s, const JsonValue *v)
{
    size_t n = 0;
    if (v->kind != JSON_MAP)
        return malformed("a Condition is no object");
    for (size_t i = 0; i < v->n; i++) {
        if (v->items[i].kind != JSON_MAP)
            return malformed("the operator of a Condition has no object");
        n += v->items[i].n;
    }
    s->conditions = arena_new(p->arena, struct condition, n);
    for (size_t i = 0; i < v->n; i++)
        for (size_t k = 0; k < v->items[i].n; k++)
            TRY(read_condition(p, v->items[i].key, &v->items[i].items[k],
                               &s->conditions[s->condition_count++]));
    return OK;
}

// ---- Statements

static Err read_sid(const struct policy *p, struct statement *s, const JsonValue *v)
{
    if (v->kind != JSON_STRING)
        return malformed("a Sid is no text");
    for (size_t i = 0; i < v->text.n && p->kind == POLICY_IDENTITY; i++) {
        char c = v->text.p[i], low = (char)(c | 0x20);
        if (!((low >= 'a' && low <= 'z') || (c >= '0' && c <= '9')))
            return malformed("Statement IDs (SID) must be alpha-numeric. Check that your input "
                             "satisfies the regular expression [0-9A-Za-z]*");
    }
    s->sid = v->text;
    return OK;
}

static Err read_effect(struct statement *s, const JsonValue *v)
{
    s->allows = v->kind == JSON_STRING && str_eq(v->text, S("Allow"));
    if (!s->allows && !(v->kind == JSON_STRING && str_eq(v->text, S("Deny"))))
        return malformed("an Effect is neither Allow nor Deny");
    return OK;
}

// One element; `seen` has a bit for each that was there, the two forms of one sharing theirs.
enum { SEEN_EFFECT = 1, SEEN_PRINCIPAL = 2, SEEN_ACTION = 4, SEEN_RESOURCE = 8, SEEN_OTHER = 16 };

static Err read_element(struct policy *p, struct statement *s, const JsonValue *v, unsigned *seen)
{
    unsigned bit;
    Err e;
    if (str_eq(v->key, S("Effect"))) {
        bit = SEEN_EFFECT;
        e = read_effect(s, v);
    } else if (str_eq(v->key, S("Principal")) || str_eq(v->key, S("NotPrincipal"))) {
        bit = SEEN_PRINCIPAL;
        s->not_principal = str_starts(v->key, S("Not"));
        e = read_principal(p, s, v);
    } else if (str_eq(v->key, S("Action")) || str_eq(v->key, S("NotAction"))) {
        bit = SEEN_ACTION;
        s->not_action = str_starts(v->key, S("Not"));
        e = read_actions(p, s, v);
    } else if (str_eq(v->key, S("Resource")) || str_eq(v->key, S("NotResource"))) {
        bit = SEEN_RESOURCE;
        s->not_resource = str_starts(v->key, S("Not"));
        e = read_resources(p, s, v);
    } else if (str_eq(v->key, S("Sid"))) {
        bit = SEEN_OTHER;
        e = read_sid(p, s, v);
    } else if (str_eq(v->key, S("Condition"))) {
        bit = SEEN_OTHER << 1;
        e = read_conditions(p, s, v);
    } else {
        return malformed("Syntax errors in policy.");
    }
    TRY(e);
    if (*seen & bit)
        return malformed("a statement has an element twice");
    *seen |= bit;
    return OK;
}

static Err read_statement(struct policy *p, struct statement *s, const JsonValue *v)
{
    unsigned seen = 0;
    if (v->kind != JSON_MAP)
        return malformed("Syntax errors in policy.");
    for (size_t i = 0; i < v->n; i++)
        TRY(read_element(p, s, &v->items[i], &seen));
    if (!(seen & SEEN_EFFECT))
        return malformed("a statement has no Effect");
    if (!(seen & SEEN_ACTION))
        return malformed("Policy statement must contain actions.");
    if (p->kind == POLICY_IDENTITY && s->has_principal)
        return malformed("Policy document should not specify a principal.");
    if (p->kind != POLICY_IDENTITY && !s->has_principal)
        return malformed("a statement has no Principal");
    if (p->kind == POLICY_TRUST && s->has_resource)
        return malformed("Has prohibited field Resource");
    if (p->kind != POLICY_TRUST && !s->has_resource)
        return malformed("Policy statement must contain resources.");
    return OK;
}

static Err read_document(struct policy *p, const JsonValue *v)
{
    const JsonValue *statements = json_find(v, S("Statement"));
    Str version = json_text(v, S("Version"));
    if (v->kind != JSON_MAP || statements == NULL)
        return malformed("Syntax errors in policy.");
    for (size_t i = 0; i < v->n; i++)
        if (!str_eq(v->items[i].key, S("Statement")) && !str_eq(v->items[i].key, S("Version")) &&
            !str_eq(v->items[i].key, S("Id")))
            return malformed("Syntax errors in policy.");
    p->has_variables = str_eq(version, VERSION_NEW);
    if (json_find(v, S("Version")) != NULL && !p->has_variables && !str_eq(version, VERSION_OLD))
        return malformed("The policy must contain a valid version string");
    bool many = statements->kind == JSON_LIST;
    size_t n = many ? statements->n : 1;
    if (n == 0)
        return malformed("Syntax errors in policy.");
    p->statements = arena_new(p->arena, struct statement, n);
    for (; p->statement_count < n; p->statement_count++)
        TRY(read_statement(p, &p->statements[p->statement_count],
                           many ? &statements->items[p->statement_count] : statements));
    return OK;
}

Err policy_open(PolicyKind kind, Str name, Str document, struct policy **ret)
{
    if (document.n > POLICY_BYTES_MAX || name.n > POLICY_NAME_BYTES_MAX)
        return fail(ERR_LIMIT, "a policy is too large");
    AUTO(policy) p = xalloc(sizeof *p);
    static uint64_t serials;
    JsonValue *root;
    p->refs = 1;
    p->serial = __atomic_add_fetch(&serials, 1, __ATOMIC_RELAXED);
    p->kind = kind;
    p->arena = arena_open();
    p->name = str_dup(p->arena, name);
    p->document = str_dup(p->arena, document); // what is read borrows from it
    Err e = json_parse(p->arena, p->document, &root);
    if (e.kind == ERR_INVALID)
        return malformed("Syntax errors in policy.");
    TRY(e);
    TRY(read_document(p, root));
    *ret = p;
    p = NULL; // handed over
    return OK;
}

struct policy *policy_ref(struct policy *p)
{
    __atomic_fetch_add(&p->refs, 1, __ATOMIC_RELAXED);
    return p;
}

void policy_unref(struct policy *p)
{
    if (p == NULL || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    arena_close(p->arena);
    free(p);
}

Str policy_name(const struct policy *p)
{
    return p->name;
}

uint64_t policy_serial(const struct policy *p)
{
    return p->serial;
}

Str policy_document(const struct policy *p)
{
    return p->document;
}

size_t policy_statement_count(const struct policy *p)
{
    return p->statement_count;
}

Str policy_sid(const struct policy *p, size_t statement)
{
    CHECK(statement < p->statement_count);
    return p->statements[statement].sid;
}

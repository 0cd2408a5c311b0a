// SPDX-License-Identifier: Apache-2.0
// A document as it is kept. Patterns are texts in which four bytes, that no document may hold, mean
// something; so what a variable brings can never be one of them.
#pragma once
#include "access/policy.h"

enum {
    MARK_ANY = 1,      // '*'
    MARK_ONE = 2,      // '?'
    MARK_VARIABLE = 3, // up to MARK_END: its key, then, after MARK_ELSE, what it is otherwise
    MARK_ELSE = 4,
    MARK_END = 5,
    MARK_LAST = MARK_END,
    ARN_PARTS = 6,
};

typedef struct Texts {
    Str *at;
    size_t n;
} Texts;

typedef enum ConditionType {
    CONDITION_STRING,
    CONDITION_STRING_NOCASE,
    CONDITION_LIKE,
    CONDITION_NUMBER,
    CONDITION_DATE,
    CONDITION_BOOL,
    CONDITION_IP,
    CONDITION_ARN,
    CONDITION_NULL,
} ConditionType;

typedef enum Comparison {
    COMPARE_EQUAL,
    COMPARE_LESS,
    COMPARE_LESS_EQUAL,
    COMPARE_GREATER,
    COMPARE_GREATER_EQUAL,
} Comparison;

typedef enum Quantifier { QUANTIFIER_NONE, QUANTIFIER_ALL, QUANTIFIER_ANY } Quantifier;

struct condition_op {
    Str name;
    ConditionType type;
    Comparison comparison;
    bool negated;
};

struct condition {
    const struct condition_op *op;
    Quantifier quantifier;
    bool if_exists;
    Str key;
    Texts values; // patterns
};

struct statement {
    Str sid;
    bool allows;
    bool not_principal, not_action, not_resource;
    bool has_principal;
    bool anyone;    // Principal "*"
    Texts aws;      // ARNs and account ids
    Texts services; // "kinesis.amazonaws.com"
    Texts actions, resources;
    bool has_resource; // trust policies have none
    struct condition *conditions;
    size_t condition_count;
};

struct policy {
    unsigned refs; // atomic
    uint64_t serial;
    PolicyKind kind;
    struct arena *arena;
    Str name, document;
    bool has_variables; // its version has
    struct statement *statements;
    size_t statement_count;
};

// An operator by its name, "ForAllValues:StringLikeIfExists" taken apart. False: there is no such.
bool condition_parse(Str name, struct condition *ret);
// Whether a value of a document is one that the operator can compare with.
bool condition_value_is_good(const struct condition_op *op, Str value);
bool condition_holds(struct arena *tmp, const struct condition *c, const AccessRequest *r);

// The text of a document's value as a pattern; ERR_INVALID: it holds bytes that it may not, or a
// variable that does not end.
Err pattern_make(struct arena *a, Str text, bool wildcards, bool variables, Str *ret);
// With the values of the request in the place of its variables. False: one of them has none.
bool pattern_expand(struct arena *tmp, Str pattern, const AccessRequest *r, Str *ret);
bool pattern_has(Str pattern, char mark);
bool pattern_fits(Str pattern, Str text, bool nocase); // expanded
bool pattern_fits_arn(Str pattern, Str arn);           // the parts of ARNs each for itself

const AccessValue *access_value(const AccessRequest *r, Str key); // NULL: the request has none

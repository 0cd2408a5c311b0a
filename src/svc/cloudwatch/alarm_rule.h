// SPDX-License-Identifier: Apache-2.0
// The rule of a composite alarm: what the states of other alarms must be.
//
//     rule   =  term {OR term}              term  =  factor {AND factor}
//     factor =  NOT factor | "(" rule ")" | TRUE | FALSE | state "(" name ")"
//     state  =  ALARM | OK | INSUFFICIENT_DATA
//     name   =  an alarm's name or ARN, in double quotes (in which \" and \\ stand for themselves),
//     or
//               without if it has neither space nor bracket nor quote
//
// Source: API reference, PutCompositeAlarm, AlarmRule. Pure: no clock, no store.
#pragma once
#include "base/str.h"

enum {
    RULE_BYTES_MAX = 10240,
    RULE_ALARMS_MAX = 100,   // different ones (CloudWatch quotas)
    RULE_ELEMENTS_MAX = 500, // states, TRUE and FALSE
    RULE_DEPTH_MAX = 100,    // brackets and NOTs in each other
};

typedef enum RuleKind {
    RULE_FALSE,
    RULE_TRUE,
    RULE_STATE, // the alarm `alarm` is in `state`
    RULE_NOT,   // of `left`
    RULE_AND,
    RULE_OR,
} RuleKind;

typedef struct RuleNode {
    RuleKind kind;
    size_t left, right; // other nodes
    Str state;
    size_t alarm; // of the rule's alarms
} RuleNode;

typedef struct AlarmRule {
    RuleNode *nodes; // in an arena
    size_t n, root;
    Str *alarms; // each once, as they were written first
    size_t alarm_count;
} AlarmRule;

// ERR_INVALID: it is none, with what is wrong; ERR_LIMIT: it has too many of something, with what.
Err rule_parse(struct arena *a, Str text, AlarmRule *ret);

// `states`: of rule->alarms, in their order.
bool rule_holds(const AlarmRule *rule, const Str *states);

// SPDX-License-Identifier: Apache-2.0
#include "rules.h"

#include <string.h>

static const struct {
    const char *name;
    unsigned ops;
} names[] = {
    // The single kinds, in the order of their bits.
    { "open", OP_OPEN },
    { "create", OP_CREATE },
    { "read", OP_READ },
    { "write", OP_WRITE },
    { "dsync", OP_DSYNC },
    { "fsync", OP_FSYNC },
    { "fsyncdir", OP_FSYNCDIR },
    { "truncate", OP_TRUNCATE },
    { "allocate", OP_ALLOCATE },
    { "rename", OP_RENAME },
    { "remove", OP_REMOVE },
    { "mkdir", OP_MKDIR },
    // Groups.
    { "sync", OP_SYNC },
    { "change", OP_CHANGE },
    { "any", OP_ANY },
};

unsigned op_of_name(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].ops;
    return 0;
}

const char *op_name(unsigned kind)
{
    CHECK(kind < OP_KINDS);
    return names[kind].name;
}

bool rules_add(struct rules *r, const Rule *rule)
{
    if (r->n == RULES_MAX)
        return false;
    r->at[r->n++] = *rule;
    return true;
}

void rules_clear(struct rules *r)
{
    r->n = 0;
}

static bool strikes(Rule *rule, unsigned op, const char *path)
{
    if ((rule->ops & op) == 0 || rule->struck >= rule->times)
        return false;
    if (strstr(path, rule->path) == NULL || rule->seen++ < rule->after)
        return false;
    rule->struck++;
    return true;
}

static void add_to(Verdict *v, const Rule *rule)
{
    switch (rule->kind) {
    case RULE_FAIL:
        v->error = rule->error;
        v->forgets |= rule->forgets;
        v->tears |= rule->tears;
        break;
    case RULE_DELAY:
        v->delay_ns += rule->delay_ns;
        break;
    case RULE_LIE:
        v->lies = true;
        break;
    case RULE_CUT:
        v->cuts = true;
        v->cut = rule->cut;
        break;
    }
}

Verdict rules_meet(struct rules *r, unsigned op, const char *path)
{
    Verdict v = { 0 };
    r->counts[__builtin_ctz(op)]++;
    for (size_t i = 0; i < r->n; i++)
        if (strikes(&r->at[i], op, path))
            add_to(&v, &r->at[i]);
    r->failed += v.error != 0;
    r->lied += v.lies;
    r->delayed_ns += (uint64_t)v.delay_ns;
    return v;
}

// SPDX-License-Identifier: Apache-2.0
// Policies made up at random from a small world, written as documents and asked; and the same asked
// of a model that is as plain as the rules are written in the manual.
#include "access/policy.h"
#include "base/test.h"

enum { ROUNDS = 20000, STATEMENTS_MAX = 3, SOURCES = 4, NOBODY = -1 };

static const char *const actions[] = { "kinesis:PutRecord", "kinesis:GetRecords", "s3:GetObject" };
static const char *const resources[] = { "arn:aws:kinesis:r:111122223333:stream/a",
                                         "arn:aws:kinesis:r:111122223333:stream/b" };
// Who asks, and the account of each.
static const char *const principals[] = { "arn:aws:iam::111122223333:user/a",
                                          "arn:aws:iam::111122223333:root",
                                          "arn:aws:iam::444455556666:user/a",
                                          "arn:aws:iam::444455556666:root" };
static const char *const accounts[] = { "111122223333", "111122223333", "444455556666",
                                        "444455556666" };
static const char *const colors[] = { "red", "green" };

typedef struct Rule {
    bool allows, not_action, any_action, any_resource;
    unsigned action, resource;
    int principal; // NOBODY: everybody ("*")
    int color;     // a condition on it; NOBODY: none
} Rule;

typedef struct Rules {
    Rule at[STATEMENTS_MAX];
    size_t n;
} Rules;

static uint64_t state = 88172645463325252u;

static unsigned chance(unsigned n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state % n);
}

static Rules random_rules(void)
{
    Rules rules = { .n = 1 + chance(STATEMENTS_MAX) };
    for (size_t i = 0; i < rules.n; i++)
        rules.at[i] =
            (Rule){ .allows = chance(4) > 0,
                    .not_action = chance(5) == 0,
                    .any_action = chance(4) == 0,
                    .any_resource = chance(2) == 0,
                    .action = chance(COUNT_OF(actions)),
                    .resource = chance(COUNT_OF(resources)),
                    .principal = (int)chance(COUNT_OF(principals) + 1) - 1,
                    .color = (int)chance(6) < 2 ? (int)chance(COUNT_OF(colors)) : NOBODY };
    return rules;
}

static struct policy *written(struct arena *a, PolicyKind kind, const Rules *rules)
{
    AUTO_BUF(b);
    struct policy *p = NULL;
    buf_add(&b, S("{\"Version\":\"2012-10-17\",\"Statement\":["));
    for (size_t i = 0; i < rules->n; i++) {
        const Rule *r = &rules->at[i];
        buf_addf(&b, "%s{\"Effect\":\"%s\",\"%s\":\"%s\",\"Resource\":\"%s\"", i > 0 ? "," : "",
                 r->allows ? "Allow" : "Deny", r->not_action ? "NotAction" : "Action",
                 r->any_action ? "kinesis:*" : actions[r->action],
                 r->any_resource ? "arn:aws:kinesis:*:*:stream/*" : resources[r->resource]);
        if (kind == POLICY_RESOURCE)
            buf_addf(&b, ",\"Principal\":{\"AWS\":\"%s\"}",
                     r->principal == NOBODY ? "*" : principals[r->principal]);
        if (r->color != NOBODY)
            buf_addf(&b, ",\"Condition\":{\"StringEquals\":{\"color\":\"%s\"}}", colors[r->color]);
        buf_add_byte(&b, '}');
    }
    buf_add(&b, S("]}"));
    EXPECT_OK(policy_open(kind, S("p"), str_dup(a, buf_str(&b)), &p));
    return p;
}

// ---- The model

typedef struct Question {
    unsigned principal, action, resource, color;
} Question;

// How a rule of a resource names the caller: 0 not, 1 his account, 2 as anyone, 3 himself.
static int names(const Rule *r, const Question *q)
{
    if (r->principal == NOBODY)
        return 2;
    if (r->principal == (int)q->principal)
        return 3;
    bool is_root = r->principal == 1 || r->principal == 3;
    return is_root && strcmp(accounts[r->principal], accounts[q->principal]) == 0;
}

static bool applies(const Rule *r, const Question *q)
{
    bool action = r->any_action ? q->action < 2 : r->action == q->action;
    bool resource = r->any_resource || r->resource == q->resource;
    return action != r->not_action && resource && (r->color == NOBODY || r->color == (int)q->color);
}

static bool model(const Question *q, const Rules *identity, const Rules *resource,
                  const Rules *boundary, const Rules *session)
{
    const Rules *const all[SOURCES] = { identity, resource, boundary, session };
    int allows[SOURCES] = { 0 };
    bool mine = strcmp(accounts[q->principal], accounts[0]) == 0;
    bool is_root = q->principal == 1 || q->principal == 3;
    if (is_root && mine)
        return true;
    for (int s = 0; s < SOURCES; s++)
        for (size_t i = 0; all[s] != NULL && i < all[s]->n; i++) {
            const Rule *r = &all[s]->at[i];
            int named = s == 1 ? names(r, q) : 3;
            if (named == 0 || !applies(r, q))
                continue;
            if (!r->allows)
                return false;
            allows[s] = MAX(allows[s], named);
        }
    if (mine && allows[1] == 3)
        return true;
    bool by_identity = is_root || allows[0] || (mine && allows[1] == 2);
    return by_identity && (mine || allows[1]) && (boundary == NULL || allows[2]) &&
           (session == NULL || allows[3]);
}

TEST(decisions_are_those_of_a_plain_model)
{
    unsigned allowed = 0;
    for (int round = 0; round < ROUNDS; round++) {
        AUTO(arena) tmp = arena_open();
        Rules rules[SOURCES];
        const Rules *given[SOURCES] = { NULL };
        AUTO(policy) identity = NULL;
        AUTO(policy) resource = NULL;
        AUTO(policy) boundary = NULL;
        AUTO(policy) session = NULL;
        struct policy **const made[SOURCES] = { &identity, &resource, &boundary, &session };
        for (int s = 0; s < SOURCES; s++) {
            rules[s] = random_rules();
            if (chance(s < 2 ? 4 : 3) == 0)
                continue;
            given[s] = &rules[s];
            *made[s] = written(tmp, s == 1 ? POLICY_RESOURCE : POLICY_IDENTITY, &rules[s]);
        }
        Question q = { chance(COUNT_OF(principals)), chance(COUNT_OF(actions)),
                       chance(COUNT_OF(resources)), chance(COUNT_OF(colors)) };
        Str color = str_of(colors[q.color]);
        AccessValue context = { S("color"), &color, 1 };
        AccessRequest r = { .action = str_of(actions[q.action]),
                            .resource = str_of(resources[q.resource]),
                            .principal = str_of(principals[q.principal]),
                            .principal_account = str_of(accounts[q.principal]),
                            .resource_account = str_of(accounts[0]),
                            .context = &context,
                            .context_count = 1 };
        AccessPolicies policies = { .identity = &identity,
                                    .identity_count = identity != NULL,
                                    .boundary = boundary,
                                    .session = &session,
                                    .session_count = session != NULL,
                                    .resource = resource };
        AccessDecision d;
        access_decide(&r, &policies, &d);
        bool want = model(&q, given[0], given[1], given[2], given[3]);
        if (want != (d.reason == ACCESS_ALLOWED))
            test_fail(__FILE__, __LINE__, "round %d: the model says %d", round, want);
        allowed += want;
    }
    EXPECT(allowed > ROUNDS / 20 && allowed < ROUNDS - ROUNDS / 20);
}

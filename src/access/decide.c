// SPDX-License-Identifier: Apache-2.0
// How policies decide (IAM user guide, "Policy evaluation logic").
#include "access/policy_priv.h"

// As whom a statement names the one who asks. The stronger the later.
typedef enum Named {
    NAMED_NOT,
    NAMED_ACCOUNT, // the account as a whole: it decides for itself what its own may do
    NAMED_ANYONE,
    NAMED_ROLE,  // the role whose session it is
    NAMED_ITSELF // the very user, session or root
} Named;

static bool is_root(const AccessRequest *r)
{
    return str_ends(r->principal, S(":root"));
}

// "123456789012" or "arn:aws:iam::123456789012:root", of the account of the one who asks.
static bool is_own_account(const AccessRequest *r, Str principal)
{
    Str rest = principal, part = { 0 };
    if (str_eq(principal, r->principal_account))
        return true;
    if (!str_starts(principal, S("arn:")) || !str_ends(principal, S(":root")))
        return false;
    for (size_t i = 0; i < ARN_PARTS - 1; i++)
        if (!str_cut(rest, ':', &part, &rest))
            return false;
    return str_eq(part, r->principal_account);
}

static Named named_as(const struct statement *s, const AccessRequest *r)
{
    Named named = s->anyone ? NAMED_ANYONE : NAMED_NOT;
    if (r->service.p != NULL) {
        for (size_t i = 0; i < s->services.n; i++)
            if (str_eq(s->services.at[i], r->service))
                return NAMED_ITSELF;
        return named;
    }
    for (size_t i = 0; i < s->aws.n; i++) {
        Str one = s->aws.at[i];
        Named as = NAMED_NOT;
        if (str_eq(one, r->principal))
            as = NAMED_ITSELF;
        else if (r->role.p != NULL && str_eq(one, r->role))
            as = NAMED_ROLE;
        else if (is_own_account(r, one))
            as = is_root(r) ? NAMED_ITSELF : NAMED_ACCOUNT;
        named = MAX(named, as);
    }
    return named;
}

// Whether a statement of a policy without principals, or of a resource's, is about the one who
// asks.
static Named about(const struct statement *s, const AccessRequest *r)
{
    if (!s->has_principal)
        return NAMED_ITSELF;
    Named named = named_as(s, r);
    if (!s->not_principal)
        return named;
    return named == NAMED_NOT ? NAMED_ANYONE : NAMED_NOT;
}

static bool has_action(const struct statement *s, Str action)
{
    bool found = false;
    for (size_t i = 0; i < s->actions.n && !found; i++)
        found = pattern_fits(s->actions.at[i], action, true);
    return found != s->not_action;
}

static bool has_resource(struct arena *tmp, const struct statement *s, const AccessRequest *r)
{
    bool found = false;
    if (!s->has_resource)
        return true;
    for (size_t i = 0; i < s->resources.n && !found; i++) {
        Str pattern;
        if (pattern_expand(tmp, s->resources.at[i], r, &pattern))
            found = pattern_fits_arn(pattern, r->resource);
    }
    return found != s->not_resource;
}

// What one policy says.
typedef struct Verdict {
    bool denies;
    size_t denied_by;
    Named allows; // NAMED_NOT: nothing does
    size_t allowed_by;
    bool conditional;
} Verdict;

static bool uses_variables(const struct statement *s)
{
    for (size_t i = 0; i < s->resources.n; i++)
        if (pattern_has(s->resources.at[i], MARK_VARIABLE))
            return true;
    return false;
}

static Verdict ask(struct arena *tmp, const struct policy *p, const AccessRequest *r)
{
    Verdict v = { 0 };
    for (size_t i = 0; i < p->statement_count; i++) {
        const struct statement *s = &p->statements[i];
        Named named = about(s, r);
        if (named == NAMED_NOT || !has_action(s, r->action))
            continue;
        v.conditional |= uses_variables(s) || s->condition_count > 0;
        if (!has_resource(tmp, s, r))
            continue;
        bool holds = true;
        for (size_t k = 0; k < s->condition_count && holds; k++)
            holds = condition_holds(tmp, &s->conditions[k], r);
        if (!holds)
            continue;
        if (!s->allows && !v.denies) {
            v.denies = true;
            v.denied_by = i;
        }
        if (s->allows && named > v.allows) {
            v.allows = named;
            v.allowed_by = i;
        }
    }
    return v;
}

// ---- All policies together

// The verdicts of one kind of policy: the first that denies, and the first that allows.
typedef struct Kind {
    bool denies, allows;
    Named named; // of a resource's policy
    struct policy *denied_in, *allowed_in;
    size_t denied_by, allowed_by;
} Kind;

static Kind ask_all(struct arena *tmp, struct policy *const *policies, size_t n,
                    const AccessRequest *r, bool *conditional)
{
    Kind k = { 0 };
    for (size_t i = 0; i < n; i++) {
        Verdict v = ask(tmp, policies[i], r);
        *conditional |= v.conditional;
        if (v.denies && !k.denies) {
            k.denies = true;
            k.denied_in = policies[i];
            k.denied_by = v.denied_by;
        }
        if (v.allows > k.named) {
            k.allows = true;
            k.named = v.allows;
            k.allowed_in = policies[i];
            k.allowed_by = v.allowed_by;
        }
    }
    return k;
}

static void allow(AccessDecision *d, AccessSource source, const Kind *k)
{
    d->reason = ACCESS_ALLOWED;
    d->source = source;
    d->policy = k->allowed_in;
    d->statement = k->allowed_by;
}

static void lack(AccessDecision *d, AccessSource source)
{
    d->reason = ACCESS_NOT_ALLOWED;
    d->source = source;
    d->policy = NULL;
}

// Without a deny: what each kind of policy must allow.
static void weigh(const AccessRequest *r, const AccessPolicies *p, const Kind kinds[4],
                  AccessDecision *d)
{
    const Kind *identity = &kinds[ACCESS_BY_IDENTITY], *resource = &kinds[ACCESS_BY_RESOURCE];
    bool same = str_eq(r->principal_account, r->resource_account);
    bool bounded = p->boundary != NULL && !kinds[ACCESS_BY_BOUNDARY].allows;
    bool narrowed = p->session_count > 0 && !kinds[ACCESS_BY_SESSION].allows;
    bool is_service = r->service.p != NULL;
    // In its own account a resource's policy is enough, and one that names the very caller goes
    // past boundary and session.
    bool direct = resource->allows && (same || is_service);
    if (direct && (resource->named == NAMED_ITSELF || is_service)) {
        allow(d, ACCESS_BY_RESOURCE, resource);
        return;
    }
    if (p->resource_decides && !resource->allows)
        lack(d, ACCESS_BY_RESOURCE);
    else if (!same && !resource->allows)
        lack(d, ACCESS_BY_RESOURCE);
    else if (!identity->allows && !(direct && resource->named > NAMED_ACCOUNT))
        lack(d, ACCESS_BY_IDENTITY);
    else if (bounded)
        lack(d, ACCESS_BY_BOUNDARY);
    else if (narrowed)
        lack(d, ACCESS_BY_SESSION);
    else if (identity->allows)
        allow(d, ACCESS_BY_IDENTITY, identity);
    else
        allow(d, ACCESS_BY_RESOURCE, resource);
}

// An account's root in its own account may everything, but what a resource's policy denies that
// counts for it.
static void decide_root(struct arena *tmp, const AccessRequest *r, const AccessPolicies *p,
                        AccessDecision *ret)
{
    bool conditional = false;
    Kind k = ask_all(tmp, &p->resource, p->resource != NULL && p->resource_binds_root ? 1 : 0, r,
                     &conditional);
    *ret = (AccessDecision){ .source = ACCESS_BY_ROOT, .conditional = conditional };
    if (k.denies)
        *ret = (AccessDecision){ .reason = ACCESS_DENIED_BY_STATEMENT,
                                 .source = ACCESS_BY_RESOURCE,
                                 .policy = k.denied_in,
                                 .statement = k.denied_by };
}

void access_decide(const AccessRequest *r, const AccessPolicies *p, AccessDecision *ret)
{
    AccessDecision d = { 0 };
    AUTO(arena) tmp = arena_open();
    bool all = false;
    if (is_root(r) && r->service.p == NULL && str_eq(r->principal_account, r->resource_account)) {
        decide_root(tmp, r, p, ret);
        return;
    }
    Kind kinds[] = {
        [ACCESS_BY_IDENTITY] = ask_all(tmp, p->identity, p->identity_count, r, &all),
        [ACCESS_BY_RESOURCE] = ask_all(tmp, &p->resource, p->resource != NULL, r, &all),
        [ACCESS_BY_BOUNDARY] = ask_all(tmp, &p->boundary, p->boundary != NULL, r, &all),
        [ACCESS_BY_SESSION] = ask_all(tmp, p->session, p->session_count, r, &all),
    };
    if (is_root(r)) { // of another account: what that account is allowed
        kinds[ACCESS_BY_IDENTITY].allows = true;
        kinds[ACCESS_BY_IDENTITY].allowed_in = NULL;
    }
    d.conditional = all;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (kinds[i].denies) {
            d.reason = ACCESS_DENIED_BY_STATEMENT;
            d.source = (AccessSource)i;
            d.policy = kinds[i].denied_in;
            d.statement = kinds[i].denied_by;
            *ret = d;
            return;
        }
    if (p->granted)
        d.source = ACCESS_BY_RESOURCE;
    else
        weigh(r, p, kinds, &d);
    *ret = d;
}

// ---- Words

Str access_denied_text(struct arena *a, const AccessRequest *r, const AccessDecision *d)
{
    static const char *const kinds[] = { "identity-based policy", "resource-based policy",
                                         "permissions boundary", "session policy",
                                         "identity-based policy" };
    const char *kind = kinds[d->source];
    Str head = str_fmt(a, "User: %.*s is not authorized to perform: %.*s on resource: %.*s",
                       FMT(r->principal), FMT(r->action), FMT(r->resource));
    if (d->reason == ACCESS_DENIED_BY_STATEMENT)
        return str_fmt(a, "%.*s with an explicit deny in %s %s", FMT(head),
                       d->source == ACCESS_BY_IDENTITY ? "an" : "a", kind);
    return str_fmt(a, "%.*s because no %s allows the %.*s action", FMT(head), kind, FMT(r->action));
}

Str access_statement_text(struct arena *a, const AccessDecision *d)
{
    if (d->policy == NULL)
        return S("no statement");
    Str sid = policy_sid(d->policy, d->statement);
    return str_fmt(a, "statement %zu%s%.*s%s of %.*s", d->statement + 1, sid.n > 0 ? " (" : "",
                   FMT(sid), sid.n > 0 ? ")" : "", FMT(d->policy->name));
}

// SPDX-License-Identifier: Apache-2.0
// The operators of conditions (IAM user guide, "IAM JSON policy elements: Condition operators").
#include "access/policy_priv.h"
#include "base/time.h"

#include <arpa/inet.h>

#define FOR_ALL S("ForAllValues:")
#define FOR_ANY S("ForAnyValue:")
#define IF_EXISTS S("IfExists")

static const struct condition_op ops[] = {
    { S_INIT("StringEquals"), CONDITION_STRING, COMPARE_EQUAL, false },
    { S_INIT("StringNotEquals"), CONDITION_STRING, COMPARE_EQUAL, true },
    { S_INIT("StringEqualsIgnoreCase"), CONDITION_STRING_NOCASE, COMPARE_EQUAL, false },
    { S_INIT("StringNotEqualsIgnoreCase"), CONDITION_STRING_NOCASE, COMPARE_EQUAL, true },
    { S_INIT("StringLike"), CONDITION_LIKE, COMPARE_EQUAL, false },
    { S_INIT("StringNotLike"), CONDITION_LIKE, COMPARE_EQUAL, true },
    { S_INIT("NumericEquals"), CONDITION_NUMBER, COMPARE_EQUAL, false },
    { S_INIT("NumericNotEquals"), CONDITION_NUMBER, COMPARE_EQUAL, true },
    { S_INIT("NumericLessThan"), CONDITION_NUMBER, COMPARE_LESS, false },
    { S_INIT("NumericLessThanEquals"), CONDITION_NUMBER, COMPARE_LESS_EQUAL, false },
    { S_INIT("NumericGreaterThan"), CONDITION_NUMBER, COMPARE_GREATER, false },
    { S_INIT("NumericGreaterThanEquals"), CONDITION_NUMBER, COMPARE_GREATER_EQUAL, false },
    { S_INIT("DateEquals"), CONDITION_DATE, COMPARE_EQUAL, false },
    { S_INIT("DateNotEquals"), CONDITION_DATE, COMPARE_EQUAL, true },
    { S_INIT("DateLessThan"), CONDITION_DATE, COMPARE_LESS, false },
    { S_INIT("DateLessThanEquals"), CONDITION_DATE, COMPARE_LESS_EQUAL, false },
    { S_INIT("DateGreaterThan"), CONDITION_DATE, COMPARE_GREATER, false },
    { S_INIT("DateGreaterThanEquals"), CONDITION_DATE, COMPARE_GREATER_EQUAL, false },
    { S_INIT("Bool"), CONDITION_BOOL, COMPARE_EQUAL, false },
    { S_INIT("BinaryEquals"), CONDITION_STRING, COMPARE_EQUAL, false },
    { S_INIT("IpAddress"), CONDITION_IP, COMPARE_EQUAL, false },
    { S_INIT("NotIpAddress"), CONDITION_IP, COMPARE_EQUAL, true },
    { S_INIT("ArnEquals"), CONDITION_ARN, COMPARE_EQUAL, false },
    { S_INIT("ArnNotEquals"), CONDITION_ARN, COMPARE_EQUAL, true },
    { S_INIT("ArnLike"), CONDITION_ARN, COMPARE_EQUAL, false },
    { S_INIT("ArnNotLike"), CONDITION_ARN, COMPARE_EQUAL, true },
    { S_INIT("Null"), CONDITION_NULL, COMPARE_EQUAL, false },
};

bool condition_parse(Str name, struct condition *ret)
{
    struct condition c = { 0 };
    if (str_starts(name, FOR_ALL)) {
        c.quantifier = QUANTIFIER_ALL;
        name = str_skip(name, FOR_ALL.n);
    } else if (str_starts(name, FOR_ANY)) {
        c.quantifier = QUANTIFIER_ANY;
        name = str_skip(name, FOR_ANY.n);
    }
    if (str_ends(name, IF_EXISTS)) {
        c.if_exists = true;
        name = str_head(name, name.n - IF_EXISTS.n);
    }
    for (size_t i = 0; i < COUNT_OF(ops); i++)
        if (str_eq(ops[i].name, name))
            c.op = &ops[i];
    if (c.op == NULL || (c.if_exists && c.op->type == CONDITION_NULL))
        return false;
    *ret = c;
    return true;
}

// ---- Values

static bool parse_date(Str s, int64_t *ret_ns)
{
    int64_t seconds;
    if (str_i64(s, &seconds).kind == ERR_NONE && seconds >= 0 && seconds < INT64_MAX / NS_PER_S) {
        *ret_ns = seconds * NS_PER_S;
        return true;
    }
    if (s.n == sizeof "2015-08-30" - 1) { // a day alone
        char text[sizeof "2015-08-30T00:00:00Z"];
        memcpy(text, s.p, s.n);
        memcpy(text + s.n, "T00:00:00Z", sizeof "T00:00:00Z");
        return time_parse_iso(str_of(text), ret_ns).kind == ERR_NONE;
    }
    return time_parse_iso(s, ret_ns).kind == ERR_NONE;
}

typedef struct Address {
    unsigned char bytes[16];
    unsigned bits; // of the address, 32 or 128
    unsigned prefix;
} Address;

// "203.0.113.0/24", "2001:db8::/32", or one address.
static bool parse_address(Str s, Address *ret)
{
    Str host, prefix;
    char text[INET6_ADDRSTRLEN];
    uint64_t bits;
    Address a = { 0 };
    bool has_prefix = str_cut(s, '/', &host, &prefix);
    if (host.n == 0 || host.n >= sizeof text)
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    if (inet_pton(AF_INET, text, a.bytes) == 1)
        a.bits = 32;
    else if (inet_pton(AF_INET6, text, a.bytes) == 1)
        a.bits = 128;
    else
        return false;
    a.prefix = a.bits;
    if (has_prefix) {
        if (str_u64(prefix, &bits).kind != ERR_NONE || bits > a.bits)
            return false;
        a.prefix = (unsigned)bits;
    }
    *ret = a;
    return true;
}

static bool address_in(const Address *one, const Address *range)
{
    if (one->bits != range->bits)
        return false;
    for (unsigned bit = 0; bit < range->prefix; bit++) {
        unsigned mask = 0x80u >> bit % 8;
        if ((one->bytes[bit / 8] & mask) != (range->bytes[bit / 8] & mask))
            return false;
    }
    return true;
}

static bool is_truth(Str s)
{
    return str_eq_nocase(s, S("true")) || str_eq_nocase(s, S("false"));
}

bool condition_value_is_good(const struct condition_op *op, Str value)
{
    double number;
    int64_t ns;
    Address address;
    if (pattern_has(value, MARK_VARIABLE))
        return true; // seen when it is asked
    switch (op->type) {
    case CONDITION_NUMBER:
        return str_double(value, &number).kind == ERR_NONE;
    case CONDITION_DATE:
        return parse_date(value, &ns);
    case CONDITION_IP:
        return parse_address(value, &address);
    case CONDITION_BOOL:
    case CONDITION_NULL:
        return is_truth(value);
    case CONDITION_STRING:
    case CONDITION_STRING_NOCASE:
    case CONDITION_LIKE:
    case CONDITION_ARN:
        break;
    }
    return true;
}

// ---- Comparing

static bool ordered(Comparison comparison, int order)
{
    switch (comparison) {
    case COMPARE_EQUAL:
        return order == 0;
    case COMPARE_LESS:
        return order < 0;
    case COMPARE_LESS_EQUAL:
        return order <= 0;
    case COMPARE_GREATER:
        return order > 0;
    case COMPARE_GREATER_EQUAL:
        return order >= 0;
    }
    return false;
}

static bool compare_numbers(Comparison comparison, Str want, Str have)
{
    double x, y;
    if (str_double(have, &x).kind != ERR_NONE || str_double(want, &y).kind != ERR_NONE)
        return false;
    return ordered(comparison, x < y ? -1 : x > y);
}

static bool compare_dates(Comparison comparison, Str want, Str have)
{
    int64_t x, y;
    if (!parse_date(have, &x) || !parse_date(want, &y))
        return false;
    return ordered(comparison, x < y ? -1 : x > y);
}

// Whether one value of the request fits one value of the document, before any negation.
static bool fits(const struct condition_op *op, Str want, Str have)
{
    Address one, range;
    switch (op->type) {
    case CONDITION_STRING:
        return str_eq(want, have);
    case CONDITION_STRING_NOCASE:
    case CONDITION_BOOL:
        return str_eq_nocase(want, have);
    case CONDITION_LIKE:
        return pattern_fits(want, have, false);
    case CONDITION_ARN:
        return pattern_fits_arn(want, have);
    case CONDITION_NUMBER:
        return compare_numbers(op->comparison, want, have);
    case CONDITION_DATE:
        return compare_dates(op->comparison, want, have);
    case CONDITION_IP:
        return parse_address(have, &one) && parse_address(want, &range) && address_in(&one, &range);
    case CONDITION_NULL:
        break;
    }
    return false;
}

// One value of the request against all of the document's: any of them, or, negated, none.
static bool value_holds(struct arena *tmp, const struct condition *c, const AccessRequest *r,
                        Str have)
{
    bool found = false;
    for (size_t i = 0; i < c->values.n && !found; i++) {
        Str want;
        if (pattern_expand(tmp, c->values.at[i], r, &want))
            found = fits(c->op, want, have);
    }
    return found != c->op->negated;
}

bool condition_holds(struct arena *tmp, const struct condition *c, const AccessRequest *r)
{
    const AccessValue *v = access_value(r, c->key);
    bool there = v != NULL && v->n > 0;
    if (c->op->type == CONDITION_NULL) {
        for (size_t i = 0; i < c->values.n; i++)
            if (str_eq_nocase(c->values.at[i], S("true")) == !there)
                return true;
        return false;
    }
    if (!there && c->quantifier == QUANTIFIER_ALL)
        return true; // of no value all are right
    if (!there && c->quantifier == QUANTIFIER_ANY)
        return c->if_exists;
    if (!there)
        return c->if_exists || c->op->negated;
    // Without a quantifier one of several values is enough, and none of them may be what is
    // negated.
    bool all =
        c->quantifier == QUANTIFIER_ALL || (c->quantifier == QUANTIFIER_NONE && c->op->negated);
    for (size_t i = 0; i < v->n; i++)
        if (value_holds(tmp, c, r, v->values[i]) != all)
            return !all;
    return all;
}

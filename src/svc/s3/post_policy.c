// SPDX-License-Identifier: Apache-2.0
// The policy of a form: when it ends, and conditions that every field must meet; a field that no
// condition is about is refused (Amazon S3 API Reference, "POST policy").
#include "base/time.h"
#include "codec/json.h"
#include "svc/s3/s3.h"

static Err denied(struct call *c, const char *why, Str what)
{
    return call_fail(c, &s3_AccessDenied, "Invalid according to Policy: %s%.*s", why, FMT(what));
}

static Err malformed(struct call *c)
{
    return call_fail(c, &s3_InvalidPolicyDocument,
                     "The content of the form does not meet the conditions specified in the policy "
                     "document.");
}

static Str field(BlobPairs fields, Str name)
{
    for (size_t i = 0; i < fields.n; i++)
        if (str_eq_nocase(fields.at[i].name, name))
            return fields.at[i].value;
    return (Str){ 0 };
}

// One condition: a field, how it is compared, with what.
typedef struct Condition {
    Str name, value;
    bool starts;
} Condition;

static Err check(struct call *c, const Condition *k, BlobPairs fields)
{
    Str given = str_eq_nocase(k->name, S("bucket")) && field(fields, k->name).p == NULL
                    ? k->value // the bucket is the path's, and was put among the fields
                    : field(fields, k->name);
    if (given.p == NULL)
        given = S("");
    bool met = k->starts ? str_starts(given, k->value) : str_eq(given, k->value);
    if (met)
        return OK;
    return denied(c, "Policy Condition failed: ",
                  str_fmt(c->arena, "[\"%s\", \"$%.*s\", \"%.*s\"]",
                          k->starts ? "starts-with" : "eq", FMT(k->name), FMT(k->value)));
}

static Err take_sizes(struct call *c, const JsonValue *v, uint64_t *ret_min, uint64_t *ret_max)
{
    if (v->n != 3 || v->items[1].kind != JSON_NUMBER || v->items[2].kind != JSON_NUMBER ||
        v->items[1].integer < 0 || v->items[2].integer < v->items[1].integer)
        return malformed(c);
    *ret_min = (uint64_t)v->items[1].integer;
    *ret_max = (uint64_t)v->items[2].integer;
    return OK;
}

// {"acl":"private"}, ["eq","$key","x"], ["starts-with","$key","u/"], ["content-length-range",1,9].
static Err take_condition(struct call *c, const JsonValue *v, Condition *ret, bool *ret_is,
                          uint64_t *ret_min, uint64_t *ret_max)
{
    *ret_is = true;
    if (v->kind == JSON_MAP && v->n == 1 && v->items[0].kind == JSON_STRING) {
        *ret = (Condition){ .name = v->items[0].key, .value = v->items[0].text };
        return OK;
    }
    if (v->kind != JSON_LIST || v->n != 3 || v->items[0].kind != JSON_STRING)
        return malformed(c);
    Str how = v->items[0].text, name = v->items[1].text;
    if (str_eq_nocase(how, S("content-length-range"))) {
        *ret_is = false;
        return take_sizes(c, v, ret_min, ret_max);
    }
    bool starts = str_eq_nocase(how, S("starts-with"));
    if ((!starts && !str_eq_nocase(how, S("eq"))) || !str_starts(name, S("$")) ||
        v->items[2].kind != JSON_STRING)
        return malformed(c);
    *ret = (Condition){ .name = str_skip(name, 1), .value = v->items[2].text, .starts = starts };
    return OK;
}

// Fields that need no condition.
static bool is_free(Str name)
{
    static const Str known[] = { S_INIT("policy"),    S_INIT("x-amz-signature"),
                                 S_INIT("signature"), S_INIT("AWSAccessKeyId"),
                                 S_INIT("file"),      S_INIT("bucket") };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq_nocase(known[i], name))
            return true;
    return str_starts(name, S("x-ignore-"));
}

static Err check_fields(struct call *c, BlobPairs fields, const Condition *all, size_t n)
{
    for (size_t i = 0; i < fields.n; i++) {
        bool met = is_free(fields.at[i].name);
        for (size_t j = 0; j < n && !met; j++)
            met = str_eq_nocase(all[j].name, fields.at[i].name);
        if (!met)
            return denied(c, "Extra input fields: ", fields.at[i].name);
    }
    return OK;
}

Err s3_check_policy(struct call *c, Str policy, BlobPairs fields, uint64_t *ret_min,
                    uint64_t *ret_max)
{
    JsonValue *root = NULL;
    int64_t ends_ns;
    if (json_parse(c->arena, policy, &root).kind != ERR_NONE)
        return malformed(c);
    const JsonValue *conditions = json_find(root, S("conditions"));
    if (time_parse_iso(json_text(root, S("expiration")), &ends_ns).kind != ERR_NONE ||
        conditions == NULL || conditions->kind != JSON_LIST)
        return malformed(c);
    if (ends_ns <= c->now_ns)
        return denied(c, "Policy expired.", S(""));
    Condition *all = arena_new(c->arena, Condition, conditions->n + 1);
    size_t n = 0;
    *ret_min = 0;
    *ret_max = S3_PUT_BYTES_MAX;
    for (size_t i = 0; i < conditions->n; i++) {
        bool is;
        TRY(take_condition(c, &conditions->items[i], &all[n], &is, ret_min, ret_max));
        if (is)
            TRY(check(c, &all[n++], fields));
    }
    return check_fields(c, fields, all, n);
}

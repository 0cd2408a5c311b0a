// SPDX-License-Identifier: Apache-2.0
// Resource policies: who else may use a secret.
#include "codec/json.h"
#include "svc/secretsmanager/secretsmanager.h"

static Err unnamed(struct call *c, Str policy_name)
{
    if (policy_name.p == NULL)
        return OK;
    return call_fail(c, &secretsmanager_InvalidParameterException,
                     "PolicyName is not supported by this server.");
}

// ---- What is too open: everybody, without a condition

static bool is_everybody(const JsonValue *principal)
{
    if (principal == NULL)
        return false;
    if (principal->kind == JSON_STRING)
        return str_eq(principal->text, S("*"));
    for (size_t i = 0; i < principal->n; i++) // {"AWS": ...}, and its list
        if (is_everybody(&principal->items[i]))
            return true;
    return false;
}

static bool is_open(const JsonValue *statement)
{
    const JsonValue *condition = json_find(statement, S("Condition"));
    return str_eq(json_text(statement, S("Effect")), S("Allow")) &&
           (is_everybody(json_find(statement, S("Principal"))) ||
            json_find(statement, S("NotPrincipal")) != NULL) &&
           (condition == NULL || condition->n == 0);
}

static bool is_public(struct arena *tmp, Str document)
{
    JsonValue *v;
    if (json_parse(tmp, document, &v).kind != ERR_NONE)
        return false;
    const JsonValue *statement = json_find(v, S("Statement"));
    if (statement != NULL && statement->kind == JSON_MAP)
        return is_open(statement);
    for (size_t i = 0; statement != NULL && i < statement->n; i++)
        if (is_open(&statement->items[i]))
            return true;
    return false;
}

// ---- Operations

// A reference, or MalformedPolicyDocumentException.
static Err read_policy(struct call *c, Str arn, Str document, struct policy **ret)
{
    Err e = policy_open(POLICY_RESOURCE, arn, document, ret);
    if (e.kind != ERR_INVALID && e.kind != ERR_LIMIT)
        return e;
    return call_fail(c, &secretsmanager_MalformedPolicyDocumentException, "%s", e.text);
}

static Err edit_policy(struct call *c, SecretChange *x, const void *arg)
{
    struct policy *const *p = arg;
    TRY(secrets_require_kept(c, x->copy));
    policy_unref(x->copy->policy);
    x->copy->policy = *p != NULL ? policy_ref(*p) : NULL;
    return OK;
}

Err secretsmanager_PutResourcePolicy(struct call *c,
                                     const struct secretsmanager_PutResourcePolicy_in *in,
                                     struct secretsmanager_PutResourcePolicy_out *out)
{
    AUTO(secret) x = NULL;
    AUTO(policy) p = NULL;
    SecretChange change = { 0 };
    TRY(unnamed(c, in->policy_name));
    TRY(secrets_find_kept(c, in->secret_id, &x));
    TRY(read_policy(c, x->d.arn, in->resource_policy, &p));
    if (in->block_public_policy && is_public(c->arena, in->resource_policy))
        return call_fail(c, &secretsmanager_PublicPolicyException,
                         "You can't attach a policy that grants broad access to the secret while "
                         "BlockPublicPolicy is true.");
    TRY(secrets_change(c, x, &change, edit_policy, &p, NULL));
    out->arn = str_dup(c->arena, x->d.arn);
    out->name = str_dup(c->arena, x->d.name);
    return OK;
}

Err secretsmanager_GetResourcePolicy(struct call *c,
                                     const struct secretsmanager_GetResourcePolicy_in *in,
                                     struct secretsmanager_GetResourcePolicy_out *out)
{
    AUTO(secret) x = NULL;
    TRY(unnamed(c, in->policy_name));
    TRY(secrets_find_kept(c, in->secret_id, &x));
    out->arn = str_dup(c->arena, x->d.arn);
    out->name = str_dup(c->arena, x->d.name);
    if (x->policy != NULL)
        out->resource_policy = str_dup(c->arena, policy_document(x->policy));
    return OK;
}

Err secretsmanager_DeleteResourcePolicy(struct call *c,
                                        const struct secretsmanager_DeleteResourcePolicy_in *in,
                                        struct secretsmanager_DeleteResourcePolicy_out *out)
{
    AUTO(secret) x = NULL;
    SecretChange change = { 0 };
    struct policy *none = NULL;
    TRY(unnamed(c, in->policy_name));
    TRY(secrets_find_kept(c, in->secret_id, &x));
    TRY(secrets_change(c, x, &change, edit_policy, &none, NULL));
    out->arn = str_dup(c->arena, x->d.arn);
    out->name = str_dup(c->arena, x->d.name);
    return OK;
}

static void add_problem(struct call *c, struct secretsmanager_ValidateResourcePolicy_out *out,
                        Str check, Str text)
{
    out->validation_errors.at = arena_new(c->arena, secretsmanager_ValidationErrorsEntry, 1);
    out->validation_errors.at[0] =
        (secretsmanager_ValidationErrorsEntry){ .check_name = check, .error_message = text };
    out->validation_errors.n = 1;
}

Err secretsmanager_ValidateResourcePolicy(struct call *c,
                                          const struct secretsmanager_ValidateResourcePolicy_in *in,
                                          struct secretsmanager_ValidateResourcePolicy_out *out)
{
    AUTO(secret) x = NULL;
    AUTO(policy) p = NULL;
    if (in->secret_id.p != NULL)
        TRY(secrets_find_kept(c, in->secret_id, &x));
    TRY(read_policy(c, S("the policy"), in->resource_policy, &p));
    bool open = is_public(c->arena, in->resource_policy);
    out->has_policy_validation_passed = true;
    out->policy_validation_passed = !open;
    out->validation_errors.set = true;
    if (open)
        add_problem(c, out, S("PUBLIC_POLICY"), S("The policy grants broad access to the secret."));
    return OK;
}

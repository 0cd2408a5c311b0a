// SPDX-License-Identifier: Apache-2.0
// Policies of identities: managed ones with their versions, what they are attached to, and inline
// ones.
#include "base/time.h"
#include "svc/iam/iam.h"

static int64_t ns(int64_t ms)
{
    return ms / 1000 * NS_PER_S;
}

// ---- Managed policies

// How many identities have it attached, or, as_boundary, are bounded by it.
static int32_t uses(struct call *c, const struct entity *policy, bool as_boundary)
{
    static const EntityKind holders[] = { ENTITY_USER, ENTITY_GROUP, ENTITY_ROLE };
    int32_t n = 0;
    for (size_t h = 0; h < COUNT_OF(holders); h++) {
        EntityList l = iam_list(c->state, c->arena, holders[h], c->account, S("/"));
        for (size_t i = 0; i < l.n; i++)
            n += as_boundary ? l.at[i]->boundary.p != NULL && str_eq(l.at[i]->boundary, policy->arn)
                             : list_has(&l.at[i]->attached, policy->arn);
        iam_list_done(&l);
    }
    return n;
}

static iam_Policy show_policy(struct call *c, const struct entity *e, bool whole)
{
    struct arena *a = c->arena;
    iam_Policy p = { .policy_name = str_dup(a, e->name),
                     .policy_id = str_dup(a, e->id),
                     .arn = str_dup(a, e->arn),
                     .path = str_dup(a, e->path),
                     .default_version_id = str_dup(a, e->version_default),
                     .attachment_count = uses(c, e, false),
                     .has_attachment_count = true,
                     .permissions_boundary_usage_count = uses(c, e, true),
                     .has_permissions_boundary_usage_count = true,
                     .is_attachable = true,
                     .has_is_attachable = true,
                     .create_date = ns(e->created_ms),
                     .has_create_date = true,
                     .update_date = ns(e->updated_ms),
                     .has_update_date = true };
    if (whole && e->description.n > 0)
        p.description = str_dup(a, e->description);
    if (whole) {
        p.tags = (iam_tagListType){ .set = true, .at = arena_new(a, iam_Tag, e->tag_count) };
        for (; p.tags.n < e->tag_count; p.tags.n++)
            p.tags.at[p.tags.n] =
                (iam_Tag){ str_dup(a, e->tags[p.tags.n].key), str_dup(a, e->tags[p.tags.n].value) };
    }
    return p;
}

static Err create_locked(struct call *c, struct entity *e)
{
    AUTO(entity) there = iam_look(c->state, ENTITY_POLICY, e->account, e->name);
    if (there != NULL)
        return call_fail(c, &iam_EntityAlreadyExists,
                         "A policy called %.*s already exists. Duplicate names are not allowed.",
                         FMT(e->name));
    return iam_put(c->state, entity_ref(e));
}

Err iam_CreatePolicy(struct call *c, const struct iam_CreatePolicy_in *in,
                     struct iam_CreatePolicy_out *out)
{
    struct iam *s = c->state;
    TRY(iam_check_tags(c, in->tags));
    AUTO(entity)
    e = entity_new(s->env.io, ENTITY_POLICY, c->account, in->path, in->policy_name, iam_now_ms(c));
    struct policy *p;
    TRY(iam_read_policy(c, POLICY_IDENTITY, e->arn, in->policy_document, MANAGED_BYTES_MAX, &p));
    entity_put_policy(e, S("v1"), p, e->created_ms);
    e->version_last = 1;
    e->version_default = S("v1");
    if (in->description.p != NULL)
        e->description = str_dup(e->arena, in->description);
    for (size_t i = 0; i < in->tags.n; i++)
        entity_set_tag(e, in->tags.at[i].key, in->tags.at[i].value);
    iam_begin(s);
    Err fault = create_locked(c, e);
    iam_end(s);
    TRY(fault);
    iam_Policy *shown = arena_new(c->arena, iam_Policy, 1);
    *shown = show_policy(c, e, true);
    out->policy = shown;
    return OK;
}

Err iam_GetPolicy(struct call *c, const struct iam_GetPolicy_in *in, struct iam_GetPolicy_out *out)
{
    AUTO(entity) e = NULL;
    TRY(iam_find_policy(c, in->policy_arn, &e));
    iam_Policy *shown = arena_new(c->arena, iam_Policy, 1);
    *shown = show_policy(c, e, true);
    out->policy = shown;
    return OK;
}

static bool is_wanted(struct call *c, const struct iam_ListPolicies_in *in, const struct entity *e)
{
    bool for_boundary = in->policy_usage_filter.p != NULL &&
                        str_eq(in->policy_usage_filter, iam_PolicyUsageType_PermissionsBoundary);
    return !(in->has_only_attached && in->only_attached) || uses(c, e, for_boundary) > 0;
}

Err iam_ListPolicies(struct call *c, const struct iam_ListPolicies_in *in,
                     struct iam_ListPolicies_out *out)
{
    struct iam *s = c->state;
    bool own = !str_eq(in->scope, iam_policyScopeType_AWS);
    bool aws = !str_eq(in->scope, iam_policyScopeType_Local);
    EntityList mine = iam_list(s, c->arena, ENTITY_POLICY, c->account, in->path_prefix);
    EntityList theirs = iam_list(s, c->arena, ENTITY_POLICY, S("aws"), in->path_prefix);
    iam_policyListType list = { .set = true };
    list.at = arena_new(c->arena, iam_Policy, mine.n + theirs.n);
    Str *keys = arena_new(c->arena, Str, mine.n + theirs.n);
    for (size_t i = 0; i < mine.n + theirs.n; i++) { // the account's own first
        const struct entity *e = i < mine.n ? mine.at[i] : theirs.at[i - mine.n];
        if (!(i < mine.n ? own : aws) || !is_wanted(c, in, e))
            continue;
        keys[list.n] = str_fmt(c->arena, "%d%.*s", i >= mine.n, FMT(e->name));
        list.at[list.n++] = show_policy(c, e, false);
    }
    iam_list_done(&mine);
    iam_list_done(&theirs);
    Page p = iam_page(keys, list.n, in->marker, in->max_items);
    out->policies = (iam_policyListType){ .set = true, .at = list.at + p.from, .n = p.n };
    out->is_truncated = p.more;
    if (p.more)
        out->marker = keys[p.from + p.n - 1];
    return OK;
}

static Err delete_locked(struct call *c, Str arn)
{
    AUTO(entity) e = NULL;
    TRY(iam_find_policy(c, arn, &e));
    if (!str_eq(e->account, c->account))
        return call_fail(c, &iam_NoSuchEntity, "Policy %.*s was not found.", FMT(arn));
    if (uses(c, e, false) + uses(c, e, true) > 0)
        return call_fail(c, &iam_DeleteConflict, "Cannot delete a policy attached to entities.");
    if (e->policy_count > 1)
        return call_fail(c, &iam_DeleteConflict,
                         "This policy has more than one version. Before you delete a policy, you "
                         "must delete the policy's versions. The default version is deleted with "
                         "the policy.");
    return iam_drop(c->state, e);
}

Err iam_DeletePolicy(struct call *c, const struct iam_DeletePolicy_in *in)
{
    iam_begin(c->state);
    Err fault = delete_locked(c, in->policy_arn);
    iam_end(c->state);
    return fault;
}

// ---- Versions

static iam_PolicyVersion show_version(struct arena *a, const struct entity *e, const NamedPolicy *v,
                                      bool whole)
{
    iam_PolicyVersion shown = { .version_id = str_dup(a, v->name),
                                .is_default_version = str_eq(v->name, e->version_default),
                                .has_is_default_version = true,
                                .create_date = ns(v->created_ms),
                                .has_create_date = true };
    if (whole)
        shown.document = iam_url_encode(a, policy_document(v->policy));
    return shown;
}

struct new_version {
    const struct iam_CreatePolicyVersion_in *in;
    struct iam_CreatePolicyVersion_out *out;
};

static Err edit_add_version(struct call *c, struct entity *copy, const void *arg)
{
    const struct new_version *n = arg;
    struct policy *p;
    if (copy->policy_count >= ENTITY_VERSIONS_MAX)
        return call_fail(c, &iam_LimitExceeded,
                         "A managed policy can have up to %d versions. Before you create a new "
                         "version, you must delete an existing version.",
                         ENTITY_VERSIONS_MAX);
    TRY(iam_read_policy(c, POLICY_IDENTITY, copy->arn, n->in->policy_document, MANAGED_BYTES_MAX,
                        &p));
    copy->version_last++;
    copy->updated_ms = iam_now_ms(c);
    Str id = str_fmt(copy->arena, "v%lld", (long long)copy->version_last);
    entity_put_policy(copy, id, p, iam_now_ms(c));
    if (n->in->has_set_as_default && n->in->set_as_default)
        copy->version_default = id;
    iam_PolicyVersion *shown = arena_new(c->arena, iam_PolicyVersion, 1);
    *shown = show_version(c->arena, copy, entity_policy(copy, id), false);
    n->out->policy_version = shown;
    return OK;
}

Err iam_CreatePolicyVersion(struct call *c, const struct iam_CreatePolicyVersion_in *in,
                            struct iam_CreatePolicyVersion_out *out)
{
    struct new_version n = { in, out };
    return iam_edit_policy(c, in->policy_arn, edit_add_version, &n);
}

static Err version_missing(struct call *c, const struct entity *e, Str version)
{
    return call_fail(c, &iam_NoSuchEntity,
                     "Policy %.*s version %.*s does not exist or is not attachable.", FMT(e->arn),
                     FMT(version));
}

Err iam_GetPolicyVersion(struct call *c, const struct iam_GetPolicyVersion_in *in,
                         struct iam_GetPolicyVersion_out *out)
{
    AUTO(entity) e = NULL;
    TRY(iam_find_policy(c, in->policy_arn, &e));
    const NamedPolicy *v = entity_policy(e, in->version_id);
    if (v == NULL)
        return version_missing(c, e, in->version_id);
    iam_PolicyVersion *shown = arena_new(c->arena, iam_PolicyVersion, 1);
    *shown = show_version(c->arena, e, v, true);
    out->policy_version = shown;
    return OK;
}

Err iam_ListPolicyVersions(struct call *c, const struct iam_ListPolicyVersions_in *in,
                           struct iam_ListPolicyVersions_out *out)
{
    AUTO(entity) e = NULL;
    TRY(iam_find_policy(c, in->policy_arn, &e)); // five at most: never more than a page
    out->versions = (iam_policyDocumentVersionListType){
        .set = true, .at = arena_new(c->arena, iam_PolicyVersion, e->policy_count)
    };
    for (size_t i = e->policy_count; i > 0; i--) // the newest first
        out->versions.at[out->versions.n++] = show_version(c->arena, e, &e->policies[i - 1], false);
    return OK;
}

static Err edit_default(struct call *c, struct entity *copy, const void *arg)
{
    const NamedPolicy *v = entity_policy(copy, *(const Str *)arg);
    if (v == NULL)
        return version_missing(c, copy, *(const Str *)arg);
    copy->version_default = v->name;
    copy->updated_ms = iam_now_ms(c);
    return OK;
}

Err iam_SetDefaultPolicyVersion(struct call *c, const struct iam_SetDefaultPolicyVersion_in *in)
{
    return iam_edit_policy(c, in->policy_arn, edit_default, &in->version_id);
}

static Err edit_drop_version(struct call *c, struct entity *copy, const void *arg)
{
    const Str *version = arg;
    if (entity_policy(copy, *version) == NULL)
        return version_missing(c, copy, *version);
    if (str_eq(*version, copy->version_default))
        return call_fail(c, &iam_DeleteConflict, "Cannot delete the default version of a policy.");
    entity_drop_policy(copy, *version);
    return OK;
}

Err iam_DeletePolicyVersion(struct call *c, const struct iam_DeletePolicyVersion_in *in)
{
    return iam_edit_policy(c, in->policy_arn, edit_drop_version, &in->version_id);
}

// ---- Attaching

static Err edit_attach(struct call *c, struct entity *copy, const void *arg)
{
    const Str *arn = arg;
    AUTO(entity) policy = NULL;
    Err e = iam_find_policy(c, *arn, &policy);
    if (e.kind == ERR_FAULT) {
        c->error = NULL; // said in these operations' own words
        return call_fail(c, &iam_NoSuchEntity, "Policy %.*s does not exist or is not attachable.",
                         FMT(*arn));
    }
    TRY(e);
    if (list_has(&copy->attached, policy->arn))
        return OK;
    if (copy->attached.n >= ENTITY_ATTACHED_MAX)
        return call_fail(c, &iam_LimitExceeded, "Cannot exceed quota for PoliciesPer%s: %d",
                         copy->kind == ENTITY_USER    ? "User"
                         : copy->kind == ENTITY_GROUP ? "Group"
                                                      : "Role",
                         ENTITY_ATTACHED_MAX);
    list_add(copy->arena, &copy->attached, policy->arn);
    return OK;
}

static Err edit_detach(struct call *c, struct entity *copy, const void *arg)
{
    const Str *arn = arg;
    if (!list_has(&copy->attached, *arn))
        return call_fail(c, &iam_NoSuchEntity, "Policy %.*s was not found.", FMT(*arn));
    list_drop(&copy->attached, *arn);
    return OK;
}

Err iam_AttachUserPolicy(struct call *c, const struct iam_AttachUserPolicy_in *in)
{
    return iam_edit(c, ENTITY_USER, in->user_name, edit_attach, &in->policy_arn);
}

Err iam_AttachGroupPolicy(struct call *c, const struct iam_AttachGroupPolicy_in *in)
{
    return iam_edit(c, ENTITY_GROUP, in->group_name, edit_attach, &in->policy_arn);
}

Err iam_AttachRolePolicy(struct call *c, const struct iam_AttachRolePolicy_in *in)
{
    return iam_edit(c, ENTITY_ROLE, in->role_name, edit_attach, &in->policy_arn);
}

Err iam_DetachUserPolicy(struct call *c, const struct iam_DetachUserPolicy_in *in)
{
    return iam_edit(c, ENTITY_USER, in->user_name, edit_detach, &in->policy_arn);
}

Err iam_DetachGroupPolicy(struct call *c, const struct iam_DetachGroupPolicy_in *in)
{
    return iam_edit(c, ENTITY_GROUP, in->group_name, edit_detach, &in->policy_arn);
}

Err iam_DetachRolePolicy(struct call *c, const struct iam_DetachRolePolicy_in *in)
{
    return iam_edit(c, ENTITY_ROLE, in->role_name, edit_detach, &in->policy_arn);
}

// Ten at most: never more than a page, whatever is asked for.
static Err list_attached(struct call *c, EntityKind kind, Str name, Str prefix,
                         iam_attachedPoliciesListType *ret)
{
    AUTO(entity) e = NULL;
    TRY(iam_find(c, kind, name, &e));
    iam_attachedPoliciesListType list = { .set = true };
    list.at = arena_new(c->arena, iam_AttachedPolicy, e->attached.n);
    for (size_t i = 0; i < e->attached.n; i++) {
        AUTO(entity) policy = iam_look_arn(c->state, ENTITY_POLICY, e->attached.at[i]);
        if (policy == NULL || !str_starts(policy->path, prefix))
            continue;
        list.at[list.n++] = (iam_AttachedPolicy){ .policy_name = str_dup(c->arena, policy->name),
                                                  .policy_arn = str_dup(c->arena, policy->arn) };
    }
    *ret = list;
    return OK;
}

Err iam_ListAttachedUserPolicies(struct call *c, const struct iam_ListAttachedUserPolicies_in *in,
                                 struct iam_ListAttachedUserPolicies_out *out)
{
    return list_attached(c, ENTITY_USER, in->user_name, in->path_prefix, &out->attached_policies);
}

Err iam_ListAttachedGroupPolicies(struct call *c, const struct iam_ListAttachedGroupPolicies_in *in,
                                  struct iam_ListAttachedGroupPolicies_out *out)
{
    return list_attached(c, ENTITY_GROUP, in->group_name, in->path_prefix, &out->attached_policies);
}

Err iam_ListAttachedRolePolicies(struct call *c, const struct iam_ListAttachedRolePolicies_in *in,
                                 struct iam_ListAttachedRolePolicies_out *out)
{
    return list_attached(c, ENTITY_ROLE, in->role_name, in->path_prefix, &out->attached_policies);
}

// ---- Inline policies

struct inline_policy {
    Str name, document;
};

static size_t inline_bytes_max(EntityKind kind)
{
    return kind == ENTITY_USER    ? INLINE_BYTES_MAX_USER
           : kind == ENTITY_GROUP ? INLINE_BYTES_MAX_GROUP
                                  : INLINE_BYTES_MAX_ROLE;
}

static Err edit_put_inline(struct call *c, struct entity *copy, const void *arg)
{
    const struct inline_policy *n = arg;
    size_t max = inline_bytes_max(copy->kind), bytes = n->document.n;
    struct policy *p;
    for (size_t i = 0; i < copy->policy_count; i++)
        if (!str_eq(copy->policies[i].name, n->name))
            bytes += policy_document(copy->policies[i].policy).n;
    if (bytes > max)
        return call_fail(c, &iam_LimitExceeded,
                         "Maximum policy size of %zu bytes exceeded for %s %.*s", max,
                         entity_word(copy->kind), FMT(copy->name));
    Str name = str_fmt(c->arena, "%.*s's policy %.*s", FMT(copy->arn), FMT(n->name));
    TRY(iam_read_policy(c, POLICY_IDENTITY, name, n->document, max, &p));
    entity_put_policy(copy, n->name, p, iam_now_ms(c));
    return OK;
}

static Err inline_missing(struct call *c, const struct entity *e, Str name)
{
    return call_fail(c, &iam_NoSuchEntity, "The %s policy with name %.*s cannot be found.",
                     entity_word(e->kind), FMT(name));
}

static Err edit_drop_inline(struct call *c, struct entity *copy, const void *arg)
{
    const Str *name = arg;
    if (entity_policy(copy, *name) == NULL)
        return inline_missing(c, copy, *name);
    entity_drop_policy(copy, *name);
    return OK;
}

static Err get_inline(struct call *c, EntityKind kind, Str name, Str policy, Str *ret_name,
                      Str *ret_policy, Str *ret_document)
{
    AUTO(entity) e = NULL;
    TRY(iam_find(c, kind, name, &e));
    const NamedPolicy *p = entity_policy(e, policy);
    if (p == NULL)
        return inline_missing(c, e, policy);
    *ret_name = str_dup(c->arena, e->name);
    *ret_policy = str_dup(c->arena, p->name);
    *ret_document = iam_url_encode(c->arena, policy_document(p->policy));
    return OK;
}

static Err list_inline(struct call *c, EntityKind kind, Str name, Str marker, int32_t max,
                       iam_policyNameListType *ret, bool *ret_more, Str *ret_marker)
{
    AUTO(entity) e = NULL;
    TRY(iam_find(c, kind, name, &e));
    Str *names = arena_new(c->arena, Str, e->policy_count);
    for (size_t i = 0; i < e->policy_count; i++)
        names[i] = str_dup(c->arena, e->policies[i].name);
    Page p = iam_page(names, e->policy_count, marker, max);
    *ret = (iam_policyNameListType){ .set = true, .at = names + p.from, .n = p.n };
    *ret_more = p.more;
    if (p.more)
        *ret_marker = names[p.from + p.n - 1];
    return OK;
}

Err iam_PutUserPolicy(struct call *c, const struct iam_PutUserPolicy_in *in)
{
    struct inline_policy n = { in->policy_name, in->policy_document };
    return iam_edit(c, ENTITY_USER, in->user_name, edit_put_inline, &n);
}

Err iam_PutGroupPolicy(struct call *c, const struct iam_PutGroupPolicy_in *in)
{
    struct inline_policy n = { in->policy_name, in->policy_document };
    return iam_edit(c, ENTITY_GROUP, in->group_name, edit_put_inline, &n);
}

Err iam_PutRolePolicy(struct call *c, const struct iam_PutRolePolicy_in *in)
{
    struct inline_policy n = { in->policy_name, in->policy_document };
    return iam_edit(c, ENTITY_ROLE, in->role_name, edit_put_inline, &n);
}

Err iam_DeleteUserPolicy(struct call *c, const struct iam_DeleteUserPolicy_in *in)
{
    return iam_edit(c, ENTITY_USER, in->user_name, edit_drop_inline, &in->policy_name);
}

Err iam_DeleteGroupPolicy(struct call *c, const struct iam_DeleteGroupPolicy_in *in)
{
    return iam_edit(c, ENTITY_GROUP, in->group_name, edit_drop_inline, &in->policy_name);
}

Err iam_DeleteRolePolicy(struct call *c, const struct iam_DeleteRolePolicy_in *in)
{
    return iam_edit(c, ENTITY_ROLE, in->role_name, edit_drop_inline, &in->policy_name);
}

Err iam_GetUserPolicy(struct call *c, const struct iam_GetUserPolicy_in *in,
                      struct iam_GetUserPolicy_out *out)
{
    return get_inline(c, ENTITY_USER, in->user_name, in->policy_name, &out->user_name,
                      &out->policy_name, &out->policy_document);
}

Err iam_GetGroupPolicy(struct call *c, const struct iam_GetGroupPolicy_in *in,
                       struct iam_GetGroupPolicy_out *out)
{
    return get_inline(c, ENTITY_GROUP, in->group_name, in->policy_name, &out->group_name,
                      &out->policy_name, &out->policy_document);
}

Err iam_GetRolePolicy(struct call *c, const struct iam_GetRolePolicy_in *in,
                      struct iam_GetRolePolicy_out *out)
{
    return get_inline(c, ENTITY_ROLE, in->role_name, in->policy_name, &out->role_name,
                      &out->policy_name, &out->policy_document);
}

Err iam_ListUserPolicies(struct call *c, const struct iam_ListUserPolicies_in *in,
                         struct iam_ListUserPolicies_out *out)
{
    return list_inline(c, ENTITY_USER, in->user_name, in->marker, in->max_items, &out->policy_names,
                       &out->is_truncated, &out->marker);
}

Err iam_ListGroupPolicies(struct call *c, const struct iam_ListGroupPolicies_in *in,
                          struct iam_ListGroupPolicies_out *out)
{
    return list_inline(c, ENTITY_GROUP, in->group_name, in->marker, in->max_items,
                       &out->policy_names, &out->is_truncated, &out->marker);
}

Err iam_ListRolePolicies(struct call *c, const struct iam_ListRolePolicies_in *in,
                         struct iam_ListRolePolicies_out *out)
{
    return list_inline(c, ENTITY_ROLE, in->role_name, in->marker, in->max_items, &out->policy_names,
                       &out->is_truncated, &out->marker);
}

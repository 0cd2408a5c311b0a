// SPDX-License-Identifier: Apache-2.0
// Users, groups and roles as a whole: made, shown, listed, deleted; tags and boundaries.
#include "base/time.h"
#include "svc/iam/mfa.h"
#include "svc/iam/used.h"

static int64_t ns(int64_t ms)
{
    return ms / 1000 * NS_PER_S; // IAM shows whole seconds
}

static const iam_AttachedPermissionsBoundary *boundary_of(struct arena *a, const struct entity *e)
{
    if (e->boundary.p == NULL)
        return NULL;
    iam_AttachedPermissionsBoundary *b = arena_new(a, iam_AttachedPermissionsBoundary, 1);
    b->permissions_boundary_type = iam_PermissionsBoundaryAttachmentType_PermissionsBoundaryPolicy;
    b->permissions_boundary_arn = str_dup(a, e->boundary);
    return b;
}

static iam_tagListType tags_of(struct arena *a, const struct entity *e)
{
    iam_tagListType list = { .set = true, .n = e->tag_count };
    list.at = arena_new(a, iam_Tag, e->tag_count);
    for (size_t i = 0; i < e->tag_count; i++)
        list.at[i] =
            (iam_Tag){ .key = str_dup(a, e->tags[i].key), .value = str_dup(a, e->tags[i].value) };
    return list;
}

// Tags are shown by Create* and Get*, not in lists, as AWS does it.
static iam_User show_user(struct arena *a, const struct entity *e, bool whole)
{
    iam_User u = { .path = str_dup(a, e->path),
                   .user_name = str_dup(a, e->name),
                   .user_id = str_dup(a, e->id),
                   .arn = str_dup(a, e->arn),
                   .create_date = ns(e->created_ms) };
    if (whole && e->tag_count > 0)
        u.tags = tags_of(a, e);
    if (whole)
        u.permissions_boundary = boundary_of(a, e);
    return u;
}

static iam_Group show_group(struct arena *a, const struct entity *e)
{
    return (iam_Group){ .path = str_dup(a, e->path),
                        .group_name = str_dup(a, e->name),
                        .group_id = str_dup(a, e->id),
                        .arn = str_dup(a, e->arn),
                        .create_date = ns(e->created_ms) };
}

static iam_Role show_role(struct arena *a, const struct entity *e, bool whole)
{
    iam_Role r = { .path = str_dup(a, e->path),
                   .role_name = str_dup(a, e->name),
                   .role_id = str_dup(a, e->id),
                   .arn = str_dup(a, e->arn),
                   .create_date = ns(e->created_ms),
                   .assume_role_policy_document = iam_url_encode(a, policy_document(e->trust)),
                   .max_session_duration = (int32_t)e->session_s_max,
                   .has_max_session_duration = true };
    if (e->description.n > 0)
        r.description = str_dup(a, e->description);
    if (e->signin_s_max > 0) {
        r.max_signin_session_duration = (int32_t)e->signin_s_max;
        r.has_max_signin_session_duration = true;
    }
    if (whole && e->tag_count > 0)
        r.tags = tags_of(a, e);
    if (whole)
        r.permissions_boundary = boundary_of(a, e);
    return r;
}

// GetRole alone tells it, without members if it never was.
static const iam_RoleLastUsed *show_use(struct call *c, const struct entity *e)
{
    struct iam *s = c->state;
    Used use = used_find(s->used, c->arena, e->id);
    iam_RoleLastUsed *last = arena_new(c->arena, iam_RoleLastUsed, 1);
    if (use.at_ms != 0)
        *last = (iam_RoleLastUsed){ .last_used_date = use.at_ms / 1000 * NS_PER_S,
                                    .has_last_used_date = true,
                                    .region = use.region };
    return last;
}

// ---- Creating

Err iam_check_tags(struct call *c, iam_tagListType tags)
{
    for (size_t i = 0; i < tags.n; i++)
        for (size_t k = i + 1; k < tags.n; k++)
            if (str_eq_nocase(tags.at[i].key, tags.at[k].key))
                return call_fail(c, &iam_InvalidInput,
                                 "Duplicate tag keys found. Please note that Tag keys are case "
                                 "insensitive.");
    return OK;
}

static Err check_boundary(struct call *c, Str arn)
{
    AUTO(entity) policy = NULL;
    return arn.p != NULL ? iam_find_policy(c, arn, &policy) : OK;
}

static const char *capital(EntityKind kind)
{
    static const char *const words[] = { "User", "Group", "Role", "Policy" };
    return words[kind];
}

// Commits a new entity unless its name is taken. `changing` is held.
static Err create_locked(struct call *c, struct entity *e)
{
    AUTO(entity) there = iam_look(c->state, e->kind, e->account, e->name);
    if (there != NULL)
        return call_fail(c, &iam_EntityAlreadyExists, "%s with name %.*s already exists.",
                         capital(e->kind), FMT(e->name));
    TRY(check_boundary(c, e->boundary));
    return iam_put(c->state, entity_ref(e));
}

static Err create(struct call *c, struct entity *e, Str boundary, iam_tagListType tags)
{
    TRY(iam_check_tags(c, tags));
    if (boundary.p != NULL)
        e->boundary = str_dup(e->arena, boundary);
    for (size_t i = 0; i < tags.n; i++)
        entity_set_tag(e, tags.at[i].key, tags.at[i].value);
    iam_begin(c->state);
    Err fault = create_locked(c, e);
    iam_end(c->state);
    return fault;
}

static struct entity *new_of(struct call *c, EntityKind kind, Str path, Str name)
{
    struct iam *s = c->state;
    return entity_new(s->env.io, kind, c->account, path, name, iam_now_ms(c));
}

Err iam_CreateUser(struct call *c, const struct iam_CreateUser_in *in,
                   struct iam_CreateUser_out *out)
{
    AUTO(entity) e = new_of(c, ENTITY_USER, in->path, in->user_name);
    TRY(create(c, e, in->permissions_boundary, in->tags));
    iam_User *user = arena_new(c->arena, iam_User, 1);
    *user = show_user(c->arena, e, true);
    out->user = user;
    return OK;
}

Err iam_CreateGroup(struct call *c, const struct iam_CreateGroup_in *in,
                    struct iam_CreateGroup_out *out)
{
    AUTO(entity) e = new_of(c, ENTITY_GROUP, in->path, in->group_name);
    TRY(create(c, e, (Str){ 0 }, (iam_tagListType){ 0 }));
    iam_Group *group = arena_new(c->arena, iam_Group, 1);
    *group = show_group(c->arena, e);
    out->group = group;
    return OK;
}

Err iam_CreateRole(struct call *c, const struct iam_CreateRole_in *in,
                   struct iam_CreateRole_out *out)
{
    AUTO(entity) e = new_of(c, ENTITY_ROLE, in->path, in->role_name);
    struct policy *trust;
    TRY(iam_read_policy(c, POLICY_TRUST, e->arn, in->assume_role_policy_document, TRUST_BYTES_MAX,
                        &trust));
    entity_set_trust(e, trust);
    e->session_s_max = in->max_session_duration;
    if (in->has_max_signin_session_duration)
        e->signin_s_max = in->max_signin_session_duration;
    if (in->description.p != NULL)
        e->description = str_dup(e->arena, in->description);
    TRY(create(c, e, in->permissions_boundary, in->tags));
    iam_Role *role = arena_new(c->arena, iam_Role, 1);
    *role = show_role(c->arena, e, true);
    out->role = role;
    return OK;
}

// ---- Showing

Err iam_GetUser(struct call *c, const struct iam_GetUser_in *in, struct iam_GetUser_out *out)
{
    iam_User *user = arena_new(c->arena, iam_User, 1);
    if (in->user_name.p == NULL && str_ends(c->principal, S(":root"))) {
        *user = (iam_User){
            .path = S("/"), .user_name = S("root"), .user_id = c->account, .arn = c->principal
        };
        out->user = user;
        return OK;
    }
    AUTO(entity) e = NULL;
    Str name;
    TRY(iam_own_name(c, in->user_name, &name));
    TRY(iam_find(c, ENTITY_USER, name, &e));
    *user = show_user(c->arena, e, true);
    out->user = user;
    return OK;
}

Err iam_GetRole(struct call *c, const struct iam_GetRole_in *in, struct iam_GetRole_out *out)
{
    AUTO(entity) e = NULL;
    TRY(iam_find(c, ENTITY_ROLE, in->role_name, &e));
    iam_Role *role = arena_new(c->arena, iam_Role, 1);
    *role = show_role(c->arena, e, true);
    role->role_last_used = show_use(c, e);
    out->role = role;
    return OK;
}

static Page page_of(struct arena *a, const EntityList *l, Str marker, int32_t max, Str *ret_marker)
{
    Str *names = arena_new(a, Str, l->n);
    for (size_t i = 0; i < l->n; i++)
        names[i] = l->at[i]->name;
    Page p = iam_page(names, l->n, marker, max);
    if (p.more)
        *ret_marker = str_dup(a, names[p.from + p.n - 1]);
    return p;
}

Err iam_ListUsers(struct call *c, const struct iam_ListUsers_in *in, struct iam_ListUsers_out *out)
{
    EntityList l = iam_list(c->state, c->arena, ENTITY_USER, c->account, in->path_prefix);
    Page p = page_of(c->arena, &l, in->marker, in->max_items, &out->marker);
    out->users = (iam_userListType){ .set = true, .at = arena_new(c->arena, iam_User, p.n) };
    for (; out->users.n < p.n; out->users.n++)
        out->users.at[out->users.n] = show_user(c->arena, l.at[p.from + out->users.n], false);
    out->is_truncated = p.more;
    iam_list_done(&l);
    return OK;
}

static iam_groupListType show_groups(struct arena *a, struct entity **at, size_t n)
{
    iam_groupListType list = { .set = true, .n = n, .at = arena_new(a, iam_Group, n) };
    for (size_t i = 0; i < n; i++)
        list.at[i] = show_group(a, at[i]);
    return list;
}

Err iam_ListGroups(struct call *c, const struct iam_ListGroups_in *in,
                   struct iam_ListGroups_out *out)
{
    EntityList l = iam_list(c->state, c->arena, ENTITY_GROUP, c->account, in->path_prefix);
    Page p = page_of(c->arena, &l, in->marker, in->max_items, &out->marker);
    out->groups = show_groups(c->arena, l.at + p.from, p.n);
    out->is_truncated = p.more;
    iam_list_done(&l);
    return OK;
}

Err iam_ListRoles(struct call *c, const struct iam_ListRoles_in *in, struct iam_ListRoles_out *out)
{
    EntityList l = iam_list(c->state, c->arena, ENTITY_ROLE, c->account, in->path_prefix);
    Page p = page_of(c->arena, &l, in->marker, in->max_items, &out->marker);
    out->roles = (iam_roleListType){ .set = true, .at = arena_new(c->arena, iam_Role, p.n) };
    for (; out->roles.n < p.n; out->roles.n++)
        out->roles.at[out->roles.n] = show_role(c->arena, l.at[p.from + out->roles.n], false);
    out->is_truncated = p.more;
    iam_list_done(&l);
    return OK;
}

// ---- Groups and their users

// The users of a group, by name.
static EntityList users_of(struct call *c, Str group)
{
    EntityList all = iam_list(c->state, c->arena, ENTITY_USER, c->account, S("/"));
    EntityList in = { .at = arena_new(c->arena, struct entity *, all.n) };
    for (size_t i = 0; i < all.n; i++)
        if (list_has(&all.at[i]->groups, group))
            in.at[in.n++] = entity_ref(all.at[i]);
    iam_list_done(&all);
    return in;
}

Err iam_GetGroup(struct call *c, const struct iam_GetGroup_in *in, struct iam_GetGroup_out *out)
{
    AUTO(entity) e = NULL;
    TRY(iam_find(c, ENTITY_GROUP, in->group_name, &e));
    iam_Group *group = arena_new(c->arena, iam_Group, 1);
    *group = show_group(c->arena, e);
    out->group = group;
    EntityList l = users_of(c, e->name);
    Page p = page_of(c->arena, &l, in->marker, in->max_items, &out->marker);
    out->users = (iam_userListType){ .set = true, .at = arena_new(c->arena, iam_User, p.n) };
    for (; out->users.n < p.n; out->users.n++)
        out->users.at[out->users.n] = show_user(c->arena, l.at[p.from + out->users.n], false);
    out->is_truncated = p.more;
    iam_list_done(&l);
    return OK;
}

Err iam_ListGroupsForUser(struct call *c, const struct iam_ListGroupsForUser_in *in,
                          struct iam_ListGroupsForUser_out *out)
{
    AUTO(entity) user = NULL;
    TRY(iam_find(c, ENTITY_USER, in->user_name, &user));
    EntityList l = { .at = arena_new(c->arena, struct entity *, user->groups.n) };
    for (size_t i = 0; i < user->groups.n; i++) {
        struct entity *group = iam_look(c->state, ENTITY_GROUP, c->account, user->groups.at[i]);
        if (group != NULL)
            l.at[l.n++] = group;
    }
    Page p = page_of(c->arena, &l, in->marker, in->max_items, &out->marker);
    out->groups = show_groups(c->arena, l.at + p.from, p.n);
    out->is_truncated = p.more;
    iam_list_done(&l);
    return OK;
}

static Err edit_join(struct call *c, struct entity *copy, const void *arg)
{
    const Str *name = arg;
    AUTO(entity) group = NULL;
    TRY(iam_find(c, ENTITY_GROUP, *name, &group));
    if (list_has(&copy->groups, group->name))
        return OK;
    if (copy->groups.n >= ENTITY_GROUPS_MAX)
        return call_fail(c, &iam_LimitExceeded, "Cannot exceed quota for GroupsPerUser: %d",
                         ENTITY_GROUPS_MAX);
    list_add(copy->arena, &copy->groups, group->name);
    return OK;
}

Err iam_AddUserToGroup(struct call *c, const struct iam_AddUserToGroup_in *in)
{
    return iam_edit(c, ENTITY_USER, in->user_name, edit_join, &in->group_name);
}

static Err edit_leave(struct call *c, struct entity *copy, const void *arg)
{
    const Str *name = arg;
    AUTO(entity) group = NULL;
    TRY(iam_find(c, ENTITY_GROUP, *name, &group));
    if (!list_has(&copy->groups, group->name))
        return call_fail(c, &iam_NoSuchEntity, "User %.*s is not in group %.*s.", FMT(copy->name),
                         FMT(group->name));
    list_drop(&copy->groups, group->name);
    return OK;
}

Err iam_RemoveUserFromGroup(struct call *c, const struct iam_RemoveUserFromGroup_in *in)
{
    return iam_edit(c, ENTITY_USER, in->user_name, edit_leave, &in->group_name);
}

// ---- Deleting

static bool has_keys(struct iam *s, const struct entity *user)
{
    bool found = false;
    Str key;
    void *value;
    pthread_rwlock_rdlock(&s->lock);
    for (size_t at = 0; !found && map_next(s->signers, &at, &key, &value);) {
        const struct signer *k = value;
        found =
            k->token.p == NULL && str_eq(k->account, user->account) && str_eq(k->name, user->name);
    }
    pthread_rwlock_unlock(&s->lock);
    return found;
}

static Err check_free(struct call *c, const struct entity *e)
{
    const char *first = NULL;
    if (e->kind == ENTITY_GROUP) {
        EntityList users = users_of(c, e->name);
        first = users.n > 0 ? "remove users from group" : NULL;
        iam_list_done(&users);
    } else if (e->kind == ENTITY_USER && e->groups.n > 0) {
        first = "remove users from group";
    } else if (e->kind == ENTITY_USER && has_keys(c->state, e)) {
        first = "delete access keys";
    } else if (e->kind == ENTITY_USER && iam_has_mfa(c->state, e)) {
        first = "deactivate MFA devices";
    }
    if (e->policy_count > 0)
        first = "delete policies";
    if (e->attached.n > 0)
        first = "detach all policies";
    if (first == NULL)
        return OK;
    return call_fail(c, &iam_DeleteConflict, "Cannot delete entity, must %s first.", first);
}

static Err drop(struct call *c, EntityKind kind, Str name)
{
    struct iam *s = c->state;
    AUTO(entity) e = NULL;
    iam_begin(s);
    Err fault = iam_find(c, kind, name, &e);
    if (fault.kind == ERR_NONE)
        fault = check_free(c, e);
    if (fault.kind == ERR_NONE)
        fault = iam_drop(s, e);
    iam_end(s);
    return fault;
}

Err iam_DeleteUser(struct call *c, const struct iam_DeleteUser_in *in)
{
    return drop(c, ENTITY_USER, in->user_name);
}

Err iam_DeleteGroup(struct call *c, const struct iam_DeleteGroup_in *in)
{
    return drop(c, ENTITY_GROUP, in->group_name);
}

Err iam_DeleteRole(struct call *c, const struct iam_DeleteRole_in *in)
{
    return drop(c, ENTITY_ROLE, in->role_name);
}

// ---- Roles

static Err edit_trust(struct call *c, struct entity *copy, const void *arg)
{
    struct policy *trust;
    TRY(iam_read_policy(c, POLICY_TRUST, copy->arn, *(const Str *)arg, TRUST_BYTES_MAX, &trust));
    entity_set_trust(copy, trust);
    return OK;
}

Err iam_UpdateAssumeRolePolicy(struct call *c, const struct iam_UpdateAssumeRolePolicy_in *in)
{
    return iam_edit(c, ENTITY_ROLE, in->role_name, edit_trust, &in->policy_document);
}

static Err edit_role(struct call *c, struct entity *copy, const void *arg)
{
    const struct iam_UpdateRole_in *in = arg;
    bool resets =
        in->has_reset_max_signin_session_duration && in->reset_max_signin_session_duration;
    if (resets && in->has_max_signin_session_duration)
        return call_fail(c, &iam_InvalidInput,
                         "MaxSigninSessionDuration cannot be set and reset in the same request.");
    if (resets)
        copy->signin_s_max = 0;
    if (in->has_max_signin_session_duration)
        copy->signin_s_max = in->max_signin_session_duration;
    if (in->description.p != NULL)
        copy->description = str_dup(copy->arena, in->description);
    if (in->has_max_session_duration)
        copy->session_s_max = in->max_session_duration;
    return OK;
}

Err iam_UpdateRole(struct call *c, const struct iam_UpdateRole_in *in,
                   struct iam_UpdateRole_out *out)
{
    (void)out;
    return iam_edit(c, ENTITY_ROLE, in->role_name, edit_role, in);
}

// ---- Boundaries

static Err edit_boundary(struct call *c, struct entity *copy, const void *arg)
{
    const Str *arn = arg;
    AUTO(entity) policy = NULL;
    TRY(iam_find_policy(c, *arn, &policy));
    copy->boundary = str_dup(copy->arena, policy->arn);
    return OK;
}

static Err edit_no_boundary(struct call *c, struct entity *copy, const void *arg)
{
    (void)arg;
    if (copy->boundary.p == NULL)
        return call_fail(c, &iam_NoSuchEntity, "%s %.*s has no permissions boundary.",
                         capital(copy->kind), FMT(copy->name));
    copy->boundary = (Str){ 0 };
    return OK;
}

Err iam_PutUserPermissionsBoundary(struct call *c,
                                   const struct iam_PutUserPermissionsBoundary_in *in)
{
    return iam_edit(c, ENTITY_USER, in->user_name, edit_boundary, &in->permissions_boundary);
}

Err iam_PutRolePermissionsBoundary(struct call *c,
                                   const struct iam_PutRolePermissionsBoundary_in *in)
{
    return iam_edit(c, ENTITY_ROLE, in->role_name, edit_boundary, &in->permissions_boundary);
}

Err iam_DeleteUserPermissionsBoundary(struct call *c,
                                      const struct iam_DeleteUserPermissionsBoundary_in *in)
{
    return iam_edit(c, ENTITY_USER, in->user_name, edit_no_boundary, NULL);
}

Err iam_DeleteRolePermissionsBoundary(struct call *c,
                                      const struct iam_DeleteRolePermissionsBoundary_in *in)
{
    return iam_edit(c, ENTITY_ROLE, in->role_name, edit_no_boundary, NULL);
}

// ---- Tags

static Err edit_tags(struct call *c, struct entity *copy, const void *arg)
{
    const iam_tagListType *tags = arg;
    for (size_t i = 0; i < tags->n; i++)
        entity_set_tag(copy, tags->at[i].key, tags->at[i].value);
    if (copy->tag_count > ENTITY_TAGS_MAX)
        return call_fail(c, &iam_LimitExceeded,
                         "The number of tags has reached the maximum limit.");
    return OK;
}

static Err edit_untag(struct call *c, struct entity *copy, const void *arg)
{
    const iam_tagKeyListType *keys = arg;
    (void)c;
    for (size_t i = 0; i < keys->n; i++)
        entity_drop_tag(copy, keys->at[i]);
    return OK;
}

Err iam_TagUser(struct call *c, const struct iam_TagUser_in *in)
{
    TRY(iam_check_tags(c, in->tags));
    return iam_edit(c, ENTITY_USER, in->user_name, edit_tags, &in->tags);
}

Err iam_TagRole(struct call *c, const struct iam_TagRole_in *in)
{
    TRY(iam_check_tags(c, in->tags));
    return iam_edit(c, ENTITY_ROLE, in->role_name, edit_tags, &in->tags);
}

Err iam_UntagUser(struct call *c, const struct iam_UntagUser_in *in)
{
    return iam_edit(c, ENTITY_USER, in->user_name, edit_untag, &in->tag_keys);
}

Err iam_UntagRole(struct call *c, const struct iam_UntagRole_in *in)
{
    return iam_edit(c, ENTITY_ROLE, in->role_name, edit_untag, &in->tag_keys);
}

static Err list_tags(struct call *c, EntityKind kind, Str name, Str marker, int32_t max,
                     iam_tagListType *ret, bool *ret_more, Str *ret_marker)
{
    AUTO(entity) e = NULL;
    TRY(iam_find(c, kind, name, &e));
    iam_tagListType all = tags_of(c->arena, e);
    Str *keys = arena_new(c->arena, Str, all.n);
    for (size_t i = 0; i < all.n; i++)
        keys[i] = all.at[i].key;
    Page p = iam_page(keys, all.n, marker, max);
    *ret = (iam_tagListType){ .set = true, .at = all.at + p.from, .n = p.n };
    *ret_more = p.more;
    if (p.more)
        *ret_marker = keys[p.from + p.n - 1];
    return OK;
}

Err iam_ListUserTags(struct call *c, const struct iam_ListUserTags_in *in,
                     struct iam_ListUserTags_out *out)
{
    return list_tags(c, ENTITY_USER, in->user_name, in->marker, in->max_items, &out->tags,
                     &out->is_truncated, &out->marker);
}

Err iam_ListRoleTags(struct call *c, const struct iam_ListRoleTags_in *in,
                     struct iam_ListRoleTags_out *out)
{
    return list_tags(c, ENTITY_ROLE, in->role_name, in->marker, in->max_items, &out->tags,
                     &out->is_truncated, &out->marker);
}

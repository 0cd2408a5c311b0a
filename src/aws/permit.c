// SPDX-License-Identifier: Apache-2.0
// Whether a call is permitted. The root of an account may do everything in it, which is seen here
// without asking anybody, unless the resource has a policy that binds it; whoever else is asked
// about with the operation and its resource.
#include "aws/front_priv.h"

static bool is_root(Str principal)
{
    return str_ends(principal, S(":root"));
}

static bool refuse(struct front_call *f, Str text)
{
    reply_error(f, aws_AccessDeniedException.status, aws_AccessDeniedException.name, text);
    return false;
}

static bool ask(struct front_call *f, Str account)
{
    const struct call_targets *targets = f->service->targets;
    struct call *c = &f->call;
    AccessTarget target = { .resource = S("*"), .account = account };
    target.action = str_fmt(c->arena, "%.*s:%.*s", FMT(f->service->api->signing), FMT(c->op->name));
    c->account = account; // the resource is looked for there
    if (targets != NULL && targets->target != NULL)
        targets->target(c, f->in, &target);
    if (!target.for_everybody)
        call_add_tags(c, f->in, &target);
    Str text = S("");
    bool may =
        target.for_everybody || f->front->guard->may(f->front->guard->self, c, &target, &text);
    policy_unref(target.policy);
    return may || refuse(f, text);
}

bool front_permits(struct front_call *f)
{
    const struct call_targets *targets = f->service->targets;
    if (f->front->guard == NULL)
        return true;
    Str account = targets != NULL ? targets->account(&f->call, f->in) : f->call.account;
    if (is_root(f->call.principal) && str_eq(account, f->call.account) &&
        (targets == NULL || targets->binds_root == NULL || !targets->binds_root(&f->call, f->in)))
        return true;
    return ask(f, account);
}

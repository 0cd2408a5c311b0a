// SPDX-License-Identifier: Apache-2.0
#include "hub/source.h"

Str hub_actor_principal(struct arena *a, const HubActor *as)
{
    if (as->role_arn.p == NULL)
        return str_fmt(a, "arn:aws:iam::%.*s:root", FMT(as->account));
    Str rest = as->role_arn, name = { 0 };
    while (str_cut(rest, '/', &name, &rest))
        continue;
    return str_fmt(a, "arn:aws:sts::%.*s:assumed-role/%.*s/%.*s", FMT(as->account), FMT(name),
                   FMT(as->service));
}

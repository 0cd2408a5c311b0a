// SPDX-License-Identifier: Apache-2.0
// CloudWatch: what the files of the room share. State is in kv alone, but for what the clock's
// thread (ticker.c) remembers of its last round.
#pragma once
#include "gen/cloudwatch_api.h"
#include "hub/service.h"
#include "svc/cloudwatch/series.h"

#include <stdatomic.h>

struct ticker;
struct sender;

struct cloudwatch {
    struct service_env env;
    struct series_store store;
    struct kv_table *alarms, *composites, *tags, *history, *actions;
    struct ticker *ticker;
    struct sender *sender;      // NULL in tests that need none
    atomic_bool has_composites; // else the ticker need not look for them
};

// Opens its tables in env.kv.
Err cloudwatch_load(struct cloudwatch *cw);

// The dimensions of a request, sorted. InvalidParameterValue: a name comes twice, or holds what it
// may not. `what` begins the name of the parameter in the error text: "MetricData.member.1.".
Err cloudwatch_dimensions(struct call *c, const cloudwatch_Dimensions *in, Str what,
                          const Dimension **ret, size_t *ret_n);

// Whether the caller may do this to all the alarms that it names: the front has asked about the
// first alone.
Err cloudwatch_permit_alarms(struct call *c, const cloudwatch_AlarmNames *names);

// Without control characters: what separates the parts of keys is in no name.
bool cloudwatch_is_plain(Str s);

// The other way round, in the arena.
cloudwatch_Dimensions cloudwatch_dimensions_out(struct arena *a, const SeriesName *n);

// The metric of the call's account and region.
SeriesName cloudwatch_name(const struct call *c, Str name_space, Str name, const Dimension *dims,
                           size_t dim_count);

// Page tokens: a text that only means something to us. InvalidNextToken.
Str cloudwatch_token(struct arena *a, Str place);
Err cloudwatch_token_open(struct call *c, Str token, Str *ret_place);

static inline int64_t cloudwatch_now_s(const struct cloudwatch *cw)
{
    return cw->env.io->wall_ns(cw->env.io) / 1000000000;
}

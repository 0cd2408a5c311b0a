// SPDX-License-Identifier: Apache-2.0
// Mistakes of the mirror, planted as those of the log are (sim_plant.c).
#include "store/sim/sim_disk.h"
#include "store/zones/zones_priv.h"

bool __real_op_is_due_locked(struct op *op, int64_t now, int64_t *until);
bool __wrap_op_is_due_locked(struct op *op, int64_t now, int64_t *until);
bool __real_op_decide_locked(struct op *op, Err *ret);
bool __wrap_op_decide_locked(struct op *op, Err *ret);
Err __real_record_read(struct zone *z, struct arena *a, ZoneRecord *ret);
Err __wrap_record_read(struct zone *z, struct arena *a, ZoneRecord *ret);
bool __real_zones_fence_locked(struct zones *s, unsigned mask, const Err causes[ZONES_MAX]);
bool __wrap_zones_fence_locked(struct zones *s, unsigned mask, const Err causes[ZONES_MAX]);

// Whether one zone has done it.
static bool is_begun(const struct op *op)
{
    for (unsigned i = 0; i < op->s->count; i++)
        if (op->parts[i].wanted && op->parts[i].done && op->parts[i].err.kind == ERR_NONE)
            return true;
    return false;
}

bool __wrap_op_is_due_locked(struct op *op, int64_t now, int64_t *until)
{
    return (sim_plant == PLANT_ZONE_EARLY && is_begun(op)) ||
           __real_op_is_due_locked(op, now, until);
}

bool __wrap_op_decide_locked(struct op *op, Err *ret)
{
    if (sim_plant != PLANT_ZONE_EARLY || !is_begun(op))
        return __real_op_decide_locked(op, ret);
    *ret = OK;
    return true;
}

Err __wrap_record_read(struct zone *z, struct arena *a, ZoneRecord *ret)
{
    TRY(__real_record_read(z, a, ret));
    if (sim_plant == PLANT_ZONE_STALE)
        ret->generation = 1;
    return OK;
}

bool __wrap_zones_fence_locked(struct zones *s, unsigned mask, const Err causes[ZONES_MAX])
{
    unsigned left = s->members & ~mask;
    if (sim_plant != PLANT_ZONE_FORGET || count_bits(left) < s->least)
        return __real_zones_fence_locked(s, mask, causes);
    for (unsigned i = 0; i < s->count; i++)
        if ((s->members & mask & bit(i)) != 0)
            zone_set_state_locked(&s->zones[i], ZONE_FENCED, causes[i]);
    s->members = left;
    return true;
}

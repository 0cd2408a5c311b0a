// SPDX-License-Identifier: Apache-2.0
// Mistakes of the mirror, planted as those of the log are (sim_plant.c); and who is a member.
#include "store/sim/sim_priv.h"
#include "store/zones/zones_priv.h"

bool __real_op_is_due_locked(struct op *op, int64_t now, int64_t *until);
bool __wrap_op_is_due_locked(struct op *op, int64_t now, int64_t *until);
bool __real_op_decide_locked(struct op *op, Err *ret);
bool __wrap_op_decide_locked(struct op *op, Err *ret);
Err __real_record_read(struct zone *z, struct arena *a, ZoneRecord *ret);
Err __wrap_record_read(struct zone *z, struct arena *a, ZoneRecord *ret);
bool __real_zones_fence_locked(struct zones *s, unsigned mask, const Err causes[ZONES_MAX]);
bool __wrap_zones_fence_locked(struct zones *s, unsigned mask, const Err causes[ZONES_MAX]);
void __real_zone_set_state_locked(struct zone *z, unsigned state, Err cause);
void __wrap_zone_set_state_locked(struct zone *z, unsigned state, Err cause);

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

static bool fence(struct zones *s, unsigned mask, const Err causes[ZONES_MAX])
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

// Who leaves is noted, whatever the reason.
bool __wrap_zones_fence_locked(struct zones *s, unsigned mask, const Err causes[ZONES_MAX])
{
    unsigned before = s->members;
    bool done = fence(s, mask, causes);
    sim_zones_left |= before & ~s->members;
    return done;
}

// One that becomes a member in memory when the power has gone is none on its disk.
void __wrap_zone_set_state_locked(struct zone *z, unsigned state, Err cause)
{
    if (state == ZONE_MEMBER && sim_disk_is_off(z->io))
        sim_zones_late |= bit(z->i);
    __real_zone_set_state_locked(z, state, cause);
}

// SPDX-License-Identifier: Apache-2.0
// Any text as a rule: it is refused with a reason, or holds the same each time, and NOT of it does
// not.
#include "svc/cloudwatch/alarm_rule.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const Str states[] = { S_INIT("ALARM"), S_INIT("OK"), S_INIT("INSUFFICIENT_DATA") };
    AUTO(arena) a = arena_open();
    Str text = str_from(data, size);
    AlarmRule r, inverted;
    Err e = rule_parse(a, text, &r);
    CHECK(e.kind == ERR_NONE || e.kind == ERR_INVALID || e.kind == ERR_LIMIT);
    if (e.kind != ERR_NONE)
        return 0;
    CHECK(r.alarm_count <= RULE_ALARMS_MAX && r.root < r.n);
    Str *of = arena_new(a, Str, r.alarm_count + 1);
    for (size_t i = 0; i < r.alarm_count; i++)
        of[i] = states[r.alarms[i].n % COUNT_OF(states)];
    bool holds = rule_holds(&r, of);
    CHECK(holds == rule_holds(&r, of));
    if (rule_parse(a, str_cat3(a, S("NOT ("), text, S(")")), &inverted).kind == ERR_NONE)
        CHECK(rule_holds(&inverted, of) != holds);
    return 0;
}

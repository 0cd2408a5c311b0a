// SPDX-License-Identifier: Apache-2.0
// When a secret is rotated (user guide, "Rotation schedules"): every so many days or hours, or as a
// cron expression says, in UTC. Times are milliseconds since 1970.
#pragma once
#include "gen/secretsmanager_api.h"

// What is wrong with rules that are given now; absent: nothing.
Str schedule_objection(const struct secretsmanager_RotationRulesType *r, int64_t now_ms);
// The first rotation after that moment; 0: there is none (without rules, too: NULL).
int64_t schedule_next_ms(const struct secretsmanager_RotationRulesType *r, int64_t after_ms);

// SPDX-License-Identifier: Apache-2.0
// The service without a thread, on a clock that the test moves, for the tests of this room.
#pragma once
#include "hub/alarms.h"
#include "hub/metrics.h"
#include "os/io.h"
#include "svc/cloudwatch/cloudwatch.h"

enum { START_S = 1700000040 }; // a whole minute

extern int64_t world_clock_s;

struct world {
    struct io io;
    struct kv *kv;
    struct metric_hub hub;
    struct metric_source source;
    struct meter meter;     // told as Things of AWS/Own
    struct wide_meter wide; // told as Latency of AWS/Own
    struct alarm_target target, *targets;
    Str acted;        // what the last action was
    unsigned actions; // so many were
    struct cloudwatch cw;
    struct call call;
    struct arena *a;
};

void world_open(struct world *w, struct arena *a);
void world_close(struct world *w);
struct call *call_of(struct world *w); // of account 1 in region r, now
void advance(struct world *w, int64_t seconds);
void put_value(struct world *w, const char *name, double value); // in namespace N
// The sum of one metric from the start on, over so many minutes.
double sum_of(struct world *w, const char *name_space, const char *name, int64_t minutes);

struct cloudwatch_PutMetricAlarm_in alarm_in(void); // "high": N m, maximum of a minute over 10
Str state_of(struct world *w, const char *name);
size_t history_of(struct world *w); // how many changes of state of metric alarms there were

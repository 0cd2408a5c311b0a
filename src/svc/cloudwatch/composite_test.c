// SPDX-License-Identifier: Apache-2.0
// Composite alarms: how they follow the alarms of their rules, and what keeps their actions back.
#include "svc/cloudwatch/composite.h"
#include "base/test.h"
#include "base/time.h"
#include "svc/cloudwatch/test_world.h"

#include <stdlib.h>
#include <string.h>

#define ARN(name) "arn:aws:cloudwatch:r:1:alarm:" name

static void put_alarm(struct world *w, const char *name)
{
    struct cloudwatch_PutMetricAlarm_in in = alarm_in();
    in.alarm_name = str_of(name);
    in.alarm_actions = (cloudwatch_ResourceList){ 0 };
    in.treat_missing_data = S("ignore");
    EXPECT_OK(cloudwatch_PutMetricAlarm(call_of(w), &in));
}

static struct cloudwatch_PutCompositeAlarm_in composite_in(const char *name, Str rule)
{
    static Str alarm[] = { S_INIT("arn:aws:sns:r:1:alarm") },
               ok[] = { S_INIT("arn:aws:sns:r:1:ok") };
    return (struct cloudwatch_PutCompositeAlarm_in){ .alarm_name = str_of(name),
                                                     .alarm_rule = rule,
                                                     .actions_enabled = true,
                                                     .alarm_actions = { alarm, 1, true },
                                                     .ok_actions = { ok, 1, true } };
}

static void put_composite(struct world *w, const char *name, const char *rule)
{
    struct cloudwatch_PutCompositeAlarm_in in = composite_in(name, str_of(rule));
    EXPECT_OK(cloudwatch_PutCompositeAlarm(call_of(w), &in));
}

static Str put_error(struct world *w, struct cloudwatch_PutCompositeAlarm_in in)
{
    struct call *c = call_of(w);
    EXPECT_ERR(ERR_FAULT, cloudwatch_PutCompositeAlarm(c, &in));
    return str_fmt(w->a, "%.*s: %.*s", FMT(c->error->name), FMT(c->error_text));
}

static void set_state(struct world *w, const char *name, Str state)
{
    struct cloudwatch_SetAlarmState_in in = { .alarm_name = str_of(name),
                                              .state_value = state,
                                              .state_reason = S("test") };
    EXPECT_OK(cloudwatch_SetAlarmState(call_of(w), &in));
}

static Composite composite_of(struct world *w, const char *name)
{
    Composite c;
    AUTO(kv_txn) tx = kv_read(w->cw.composites);
    EXPECT_OK(composite_get(&w->cw, tx, w->a, (Realm){ S("1"), S("r") }, str_of(name), &c));
    return c;
}

#define IN_ALARM cloudwatch_StateValue_ALARM
#define IS_OK cloudwatch_StateValue_OK

TEST(a_composite_alarm_follows_the_alarms_of_its_rule)
{
    struct world w;
    world_open(&w, a);
    put_alarm(&w, "x");
    put_alarm(&w, "y");
    put_composite(&w, "both", "ALARM(x) AND NOT OK(" ARN("y") ")");
    EXPECT_STR(S("INSUFFICIENT_DATA"), state_of(&w, "both"));
    advance(&w, 1);
    EXPECT_STR(IS_OK, state_of(&w, "both"));
    EXPECT_STR(S(ARN("both") " was created and its alarm rule evaluates to OK"),
               composite_of(&w, "both").state_reason);
    EXPECT_STR(S("arn:aws:sns:r:1:ok | OK: \"both\" in r"), w.acted);
    set_state(&w, "x", IN_ALARM); // y has no data
    advance(&w, 1);
    EXPECT_STR(IN_ALARM, state_of(&w, "both"));
    EXPECT_STR(S("arn:aws:sns:r:1:alarm | ALARM: \"both\" in r"), w.acted);
    EXPECT_STR(S(ARN("x") " transitioned to ALARM at Tuesday 14 November, 2023 22:14:01 UTC"),
               composite_of(&w, "both").state_reason);
    EXPECT_STR(S("{\"triggeringAlarms\":[{\"arn\":\"" ARN(
                   "x") "\",\"state\":{\"value\":\"ALARM\",\"timestamp\":\"2023-11-14T22:14:01.000+"
                        "0000\"}}]}"),
               composite_of(&w, "both").state_reason_data);
    unsigned before = w.actions;
    advance(&w, 1);
    EXPECT_INT(before, w.actions);
    set_state(&w, "y", IS_OK);
    advance(&w, 1);
    EXPECT_STR(IS_OK, state_of(&w, "both"));
    world_close(&w);
}

TEST(composites_on_composites_change_in_the_same_round)
{
    struct world w;
    world_open(&w, a);
    put_alarm(&w, "x");
    put_composite(&w, "z1", "ALARM(x)");
    put_composite(&w, "m2", "ALARM(z1)");
    put_composite(&w, "a3", "ALARM(m2) OR FALSE");
    set_state(&w, "x", IN_ALARM);
    advance(&w, 1);
    EXPECT_STR(IN_ALARM, state_of(&w, "a3"));
    world_close(&w);
}

TEST(those_that_watch_each_other_do_not_hold_up_a_round)
{
    struct world w;
    world_open(&w, a);
    put_composite(&w, "p", "TRUE");
    put_composite(&w, "q", "NOT ALARM(p)");
    put_composite(&w, "p", "ALARM(q)"); // each the opposite of the other
    for (int i = 0; i < 5; i++)
        advance(&w, 1);
    EXPECT(state_of(&w, "p").n > 0);
    struct cloudwatch_DeleteAlarms_in drop = { .alarm_names = { (Str[]){ S("p") }, 1, true } };
    EXPECT_ERR(ERR_FAULT, cloudwatch_DeleteAlarms(call_of(&w), &drop));
    put_composite(&w, "q", "FALSE"); // so a cycle is broken
    EXPECT_OK(cloudwatch_DeleteAlarms(call_of(&w), &drop));
    world_close(&w);
}

TEST(a_state_that_is_set_stays_until_an_alarm_of_the_rule_changes)
{
    struct world w;
    world_open(&w, a);
    put_alarm(&w, "x");
    put_composite(&w, "c", "ALARM(x)");
    advance(&w, 1);
    world_clock_s++;
    set_state(&w, "c", IN_ALARM);
    advance(&w, 1);
    EXPECT_STR(IN_ALARM, state_of(&w, "c"));
    set_state(&w, "x", IS_OK);
    advance(&w, 1);
    EXPECT_STR(IS_OK, state_of(&w, "c"));
    world_close(&w);
}

static struct cloudwatch_PutCompositeAlarm_in suppressed_in(void)
{
    struct cloudwatch_PutCompositeAlarm_in in = composite_in("c", S("ALARM(x)"));
    in.actions_suppressor = S("s");
    in.has_actions_suppressor_wait_period = in.has_actions_suppressor_extension_period = true;
    in.actions_suppressor_wait_period = 10;
    in.actions_suppressor_extension_period = 20;
    return in;
}

TEST(a_suppressor_in_alarm_keeps_actions_back_and_some_time_longer)
{
    struct world w;
    world_open(&w, a);
    put_alarm(&w, "x");
    put_alarm(&w, "s");
    struct cloudwatch_PutCompositeAlarm_in in = suppressed_in();
    EXPECT_OK(cloudwatch_PutCompositeAlarm(call_of(&w), &in));
    advance(&w, 1);
    EXPECT_INT(1, w.actions); // of OK
    set_state(&w, "s", IN_ALARM);
    set_state(&w, "x", IN_ALARM);
    advance(&w, 1);
    EXPECT_STR(IN_ALARM, state_of(&w, "c"));
    EXPECT_STR(S("Alarm"), composite_of(&w, "c").actions_suppressed_by);
    EXPECT_INT(1, w.actions);
    advance(&w, 100);
    set_state(&w, "s", IS_OK);
    advance(&w, 19);
    EXPECT_STR(S("ExtensionPeriod"), composite_of(&w, "c").actions_suppressed_by);
    EXPECT_INT(1, w.actions);
    advance(&w, 1);
    EXPECT(composite_of(&w, "c").actions_suppressed_by.p == NULL);
    EXPECT_INT(2, w.actions);
    EXPECT_STR(S("arn:aws:sns:r:1:alarm | ALARM: \"c\" in r"), w.acted);
    advance(&w, 60);
    EXPECT_INT(2, w.actions); // once
    world_close(&w);
}

TEST(an_alarm_waits_for_its_suppressor)
{
    struct world w;
    world_open(&w, a);
    put_alarm(&w, "x");
    put_alarm(&w, "s");
    struct cloudwatch_PutCompositeAlarm_in in = suppressed_in();
    EXPECT_OK(cloudwatch_PutCompositeAlarm(call_of(&w), &in));
    advance(&w, 1);
    set_state(&w, "x", IN_ALARM);
    advance(&w, 1);
    EXPECT_STR(S("WaitPeriod"), composite_of(&w, "c").actions_suppressed_by);
    advance(&w, 9);
    EXPECT_INT(1, w.actions);
    advance(&w, 1);
    EXPECT_INT(2, w.actions); // it did not come
    set_state(&w, "x", IS_OK);
    advance(&w, 1);
    EXPECT_INT(3, w.actions);
    set_state(&w, "x", IN_ALARM);
    advance(&w, 1);
    set_state(&w, "s", IN_ALARM); // it comes
    advance(&w, 5);
    EXPECT_STR(S("Alarm"), composite_of(&w, "c").actions_suppressed_by);
    set_state(&w, "x", IS_OK);
    advance(&w, 1);
    set_state(&w, "s", IS_OK);
    advance(&w, 30);
    EXPECT(composite_of(&w, "c").actions_suppressed_by.p == NULL);
    EXPECT_INT(3, w.actions); // what is over is not told afterwards
    world_close(&w);
}

TEST(what_may_not_be_a_composite_alarm)
{
    struct world w;
    world_open(&w, a);
    put_alarm(&w, "x");
    EXPECT_STR(S("ValidationException: Could not save the composite alarm as alarms [y, " ARN(
                   "z") "] in the alarm rule do not exist"),
               put_error(&w, composite_in("c", S("ALARM(x) OR OK(y) OR OK(" ARN("z") ")"))));
    EXPECT_STR(
        S("ValidationException: AlarmRule must not contain leading or trailing whitespace or "
          "be null"),
        put_error(&w, composite_in("c", S("ALARM(x) "))));
    EXPECT_STR(S("ValidationException: AlarmRule is not valid: AND, OR or the end is missing."),
               put_error(&w, composite_in("c", S("ALARM(x) OK(x)"))));
    EXPECT_STR(S("ValidationException: The alarm x is a metric alarm."),
               put_error(&w, composite_in("x", S("TRUE"))));
    struct cloudwatch_PutCompositeAlarm_in in = suppressed_in();
    EXPECT_STR(S("ValidationException: The actions suppressor s does not exist."),
               put_error(&w, in));
    in.has_actions_suppressor_wait_period = false;
    EXPECT(str_ends(put_error(&w, in), S("must be specified together.")));
    put_composite(&w, "c", "ALARM(x)");
    struct cloudwatch_PutMetricAlarm_in metric = alarm_in();
    metric.alarm_name = S("c");
    EXPECT_ERR(ERR_FAULT, cloudwatch_PutMetricAlarm(call_of(&w), &metric));
    world_close(&w);
}

TEST(an_alarm_that_is_watched_is_not_deleted)
{
    struct world w;
    world_open(&w, a);
    put_alarm(&w, "x");
    put_alarm(&w, "y");
    put_composite(&w, "c", "ALARM(x)");
    put_composite(&w, "d", "ALARM(x) AND OK(y)");
    Str both[] = { S("x"), S("y"), S("none") }, composites[] = { S("c"), S("d") };
    struct cloudwatch_DeleteAlarms_in drop = { .alarm_names = { both, 3, true } };
    struct call *c = call_of(&w);
    EXPECT_ERR(ERR_FAULT, cloudwatch_DeleteAlarms(c, &drop));
    EXPECT_STR(S("Cannot delete x,y as there are composite alarm(s) depending on them."),
               c->error_text);
    drop.alarm_names = (cloudwatch_AlarmNames){ composites, 2, true };
    EXPECT_ERR(ERR_FAULT, cloudwatch_DeleteAlarms(call_of(&w), &drop));
    for (size_t i = 0; i < 2; i++) {
        drop.alarm_names = (cloudwatch_AlarmNames){ &composites[i], 1, true };
        EXPECT_OK(cloudwatch_DeleteAlarms(call_of(&w), &drop));
    }
    drop.alarm_names = (cloudwatch_AlarmNames){ both, 3, true };
    EXPECT_OK(cloudwatch_DeleteAlarms(call_of(&w), &drop));
    advance(&w, 1);
    world_close(&w);
}

static Str described(struct world *w, struct cloudwatch_DescribeAlarms_in in)
{
    Str seen = S("");
    do {
        struct cloudwatch_DescribeAlarms_out out = { 0 };
        EXPECT_OK(cloudwatch_DescribeAlarms(call_of(w), &in, &out));
        for (size_t i = 0; i < out.metric_alarms.n; i++)
            seen = str_fmt(w->a, "%.*s %.*s", FMT(seen), FMT(out.metric_alarms.at[i].alarm_name));
        for (size_t i = 0; i < out.composite_alarms.n; i++)
            seen =
                str_fmt(w->a, "%.*s +%.*s", FMT(seen), FMT(out.composite_alarms.at[i].alarm_name));
        seen = str_cat(w->a, seen, S("|"));
        in.next_token = out.next_token;
    } while (in.next_token.p != NULL);
    return seen;
}

TEST(alarms_of_both_kinds_are_told_in_one_order_by_pages)
{
    struct world w;
    world_open(&w, a);
    put_alarm(&w, "a1");
    put_alarm(&w, "a3");
    put_alarm(&w, "a4");
    put_composite(&w, "a2", "ALARM(a1) OR OK(" ARN("a1") ") OR OK(a3)");
    put_composite(&w, "a5", "ALARM(a2) OR ALARM(a1)");
    Str types[] = { cloudwatch_AlarmType_CompositeAlarm, cloudwatch_AlarmType_MetricAlarm };
    EXPECT_STR(S(" a1 a3 a4|"), described(&w, (struct cloudwatch_DescribeAlarms_in){ 0 }));
    EXPECT_STR(S(" +a2 +a5|"), described(&w, (struct cloudwatch_DescribeAlarms_in){
                                                 .alarm_types = { types, 1, true } }));
    EXPECT_STR(S(" a1 +a2| a3 a4| +a5|"), described(&w, (struct cloudwatch_DescribeAlarms_in){
                                                            .alarm_types = { types, 2, true },
                                                            .has_max_records = true,
                                                            .max_records = 2 }));
    EXPECT_STR(S(" a1 a3|"), described(&w, (struct cloudwatch_DescribeAlarms_in){
                                               .children_of_alarm_name = S("a2") }));
    EXPECT_STR(S(" a1| +a2|"), described(&w, (struct cloudwatch_DescribeAlarms_in){
                                                 .children_of_alarm_name = S("a5"),
                                                 .has_max_records = true,
                                                 .max_records = 1 }));
    EXPECT_STR(S(" +a2| +a5|"), described(&w, (struct cloudwatch_DescribeAlarms_in){
                                                  .parents_of_alarm_name = S("a1"),
                                                  .has_max_records = true,
                                                  .max_records = 1 }));
    EXPECT_STR(S("|"), described(&w, (struct cloudwatch_DescribeAlarms_in){ .parents_of_alarm_name =
                                                                                S("none") }));
    world_close(&w);
}

TEST(a_composite_alarm_is_there_after_a_restart)
{
    struct world w;
    world_open(&w, a);
    put_alarm(&w, "x");
    put_composite(&w, "c", "ALARM(x)");
    advance(&w, 1);
    struct cloudwatch again = { .env = w.cw.env };
    EXPECT_OK(cloudwatch_load(&again));
    EXPECT(atomic_load(&again.has_composites));
    Composite c = composite_of(&w, "c");
    EXPECT_STR(S("ALARM(x)"), c.alarm_rule);
    EXPECT_STR(IS_OK, c.state_value);
    bool any = false;
    EXPECT_OK(composites_round(&again, world_clock_s * NS_PER_S, &any));
    EXPECT(any);
    world_close(&w);
}

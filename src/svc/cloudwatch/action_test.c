// SPDX-License-Identifier: Apache-2.0
// What alarms want of functions: the event, and that it is called until it is done, with the
// history. The one who calls functions is played by a few lines here.
#include "base/test.h"
#include "base/time.h"
#include "codec/json.h"
#include "hub/hub.h"
#include "svc/cloudwatch/action.h"
#include "svc/cloudwatch/composite.h"
#include "svc/cloudwatch/sender.h"
#include "svc/cloudwatch/test_world.h"

#define FUNCTION S("arn:aws:lambda:r:1:function:notify")

// Who calls functions.
struct caller {
    struct hub_invoke offer;
    struct hub hub;
    HubInvokeFault fault;
    size_t calls;
    Str arn, payload;
    struct arena *a;
};

static Err play_call(void *self, struct arena *a, const HubActor *as, Str arn, Str payload,
                     int64_t timeout_ns, HubInvokeAnswer *ret)
{
    struct caller *c = self;
    (void)a;
    EXPECT_STR(S("1"), as->account);
    EXPECT_STR(S("lambda.alarms.cloudwatch.amazonaws.com"), as->service);
    EXPECT(timeout_ns > 0);
    c->calls++;
    c->arn = str_dup(c->a, arn);
    c->payload = str_dup(c->a, payload);
    *ret = (HubInvokeAnswer){ .fault = c->fault,
                              .reply = S(""),
                              .text = c->fault != HUB_INVOKE_GOOD ? S("so it is") : S("") };
    return OK;
}

static void caller_open(struct caller *c, struct world *w, struct arena *a)
{
    *c = (struct caller){ .offer = { .self = c, .call = play_call }, .a = a };
    c->hub.invoke = &c->offer;
    w->cw.env.hub = &c->hub;
    sender_open(&w->cw, &w->cw.sender);
}

static void put_alarm(struct world *w, Str action)
{
    Str *list = arena_new(w->a, Str, 1);
    *list = action;
    struct cloudwatch_PutMetricAlarm_in in = alarm_in();
    in.alarm_description = S("it is high");
    in.alarm_actions = (cloudwatch_ResourceList){ list, 1, true };
    EXPECT_OK(cloudwatch_PutMetricAlarm(call_of(w), &in));
}

static void set_state(struct world *w, const char *name, Str state)
{
    struct cloudwatch_SetAlarmState_in in = { .alarm_name = str_of(name),
                                              .state_value = state,
                                              .state_reason = S("testing"),
                                              .state_reason_data = S("{\"k\":1}") };
    EXPECT_OK(cloudwatch_SetAlarmState(call_of(w), &in));
}

static bool step(struct world *w, int64_t seconds)
{
    world_clock_s += seconds;
    return sender_do_one(w->cw.sender, world_clock_s * NS_PER_S);
}

// The summaries of the actions' history, newest first.
static cloudwatch_AlarmHistoryItems actions_of(struct world *w, Str type)
{
    Str types[] = { type };
    struct cloudwatch_DescribeAlarmHistory_in in = { .history_item_type =
                                                         cloudwatch_HistoryItemType_Action,
                                                     .alarm_types = { types, 1, true },
                                                     .scan_by =
                                                         cloudwatch_ScanBy_TimestampDescending };
    struct cloudwatch_DescribeAlarmHistory_out out = { 0 };
    EXPECT_OK(cloudwatch_DescribeAlarmHistory(call_of(w), &in, &out));
    return out.alarm_history_items;
}

TEST(a_function_is_told_of_a_new_state_once_it_is_stored)
{
    struct world w;
    struct caller c;
    world_open(&w, a);
    caller_open(&c, &w, a);
    put_alarm(&w, FUNCTION);
    EXPECT(!step(&w, 0));
    set_state(&w, "high", cloudwatch_StateValue_ALARM);
    EXPECT_INT(0, w.actions); // nobody else is asked
    EXPECT(step(&w, 0));
    EXPECT_INT(1, c.calls);
    EXPECT_STR(FUNCTION, c.arn);
    EXPECT(!step(&w, 3600)); // once
    EXPECT_STR(
        S("{\"source\":\"aws.cloudwatch\",\"alarmArn\":\"arn:aws:cloudwatch:r:1:alarm:high\","
          "\"accountId\":\"1\",\"time\":\"2023-11-14T22:14:00.000+0000\",\"region\":\"r\","
          "\"alarmData\":{\"alarmName\":\"high\",\"state\":{\"value\":\"ALARM\",\"reason\":"
          "\"testing\",\"reasonData\":\"{\\\"k\\\":1}\",\"timestamp\":"
          "\"2023-11-14T22:14:00.000+0000\"},\"previousState\":{\"value\":\"INSUFFICIENT_DATA\","
          "\"reason\":\"Unchecked: Initial alarm creation\",\"timestamp\":"
          "\"2023-11-14T22:14:00.000+0000\"},\"configuration\":{\"description\":\"it is high\","
          "\"metrics\":[{\"id\":\"000d4ca1-e0a5-b045-3e7e-cf64e221b19b\",\"metricStat\":{"
          "\"metric\":"
          "{\"namespace\":\"N\",\"name\":\"m\",\"dimensions\":{}},\"period\":60,\"stat\":"
          "\"Maximum\"},\"returnData\":true}]}}}"),
        c.payload);
    cloudwatch_AlarmHistoryItems items = actions_of(&w, cloudwatch_AlarmType_MetricAlarm);
    EXPECT_INT(1, items.n);
    EXPECT_STR(S("Successfully executed action arn:aws:lambda:r:1:function:notify"),
               items.at[0].history_summary);
    EXPECT(str_starts(items.at[0].history_data,
                      S("{\"actionState\":\"Succeeded\",\"stateUpdateTimestamp\":1700000040000,"
                        "\"notificationResource\":\"arn:aws:lambda:r:1:function:notify\","
                        "\"publishedMessage\":\"{")));
    sender_close(w.cw.sender);
    world_close(&w);
}

TEST(what_a_state_wants_is_done_for_that_state_alone_and_only_if_it_is_enabled)
{
    struct world w;
    struct caller c;
    world_open(&w, a);
    caller_open(&c, &w, a);
    put_alarm(&w, FUNCTION);
    set_state(&w, "high", cloudwatch_StateValue_OK); // that has no actions
    EXPECT(!step(&w, 0));
    Str names[] = { S("high") };
    struct cloudwatch_DisableAlarmActions_in off = { .alarm_names = { names, 1, true } };
    EXPECT_OK(cloudwatch_DisableAlarmActions(call_of(&w), &off));
    set_state(&w, "high", cloudwatch_StateValue_ALARM);
    EXPECT(!step(&w, 0));
    struct cloudwatch_EnableAlarmActions_in on = { .alarm_names = { names, 1, true } };
    EXPECT_OK(cloudwatch_EnableAlarmActions(call_of(&w), &on));
    set_state(&w, "high", cloudwatch_StateValue_ALARM); // no change
    EXPECT(!step(&w, 0));
    set_state(&w, "high", cloudwatch_StateValue_OK);
    set_state(&w, "high", cloudwatch_StateValue_ALARM);
    EXPECT(step(&w, 0));
    EXPECT_INT(1, c.calls);
    sender_close(w.cw.sender);
    world_close(&w);
}

TEST(a_function_that_cannot_be_reached_is_called_again_for_six_hours)
{
    struct world w;
    struct caller c;
    world_open(&w, a);
    caller_open(&c, &w, a);
    put_alarm(&w, FUNCTION);
    c.fault = HUB_INVOKE_UNREACHABLE;
    set_state(&w, "high", cloudwatch_StateValue_ALARM);
    EXPECT(step(&w, 0));
    EXPECT(!step(&w, 0)); // a second later
    EXPECT(step(&w, 1));
    EXPECT(!step(&w, 1)); // two
    EXPECT(step(&w, 1));
    EXPECT_INT(0, actions_of(&w, cloudwatch_AlarmType_MetricAlarm).n);
    for (int i = 0; i < 6 * 12 - 3; i++)
        step(&w, 300);
    EXPECT_INT(0, actions_of(&w, cloudwatch_AlarmType_MetricAlarm).n);
    size_t calls = c.calls;
    EXPECT(calls > 60);
    for (int i = 0; i < 6; i++)
        step(&w, 300);
    cloudwatch_AlarmHistoryItems items = actions_of(&w, cloudwatch_AlarmType_MetricAlarm);
    EXPECT_INT(1, items.n);
    EXPECT_STR(S("Failed to execute action arn:aws:lambda:r:1:function:notify. Received error: "
                 "\"so it is\""),
               items.at[0].history_summary);
    calls = c.calls;
    EXPECT(!step(&w, 3600));
    EXPECT_INT(calls, c.calls);
    sender_close(w.cw.sender);
    world_close(&w);
}

TEST(a_function_that_fails_is_called_three_times_and_one_that_is_none_once)
{
    struct world w;
    struct caller c;
    world_open(&w, a);
    caller_open(&c, &w, a);
    put_alarm(&w, FUNCTION);
    c.fault = HUB_INVOKE_FAILED;
    set_state(&w, "high", cloudwatch_StateValue_ALARM);
    EXPECT(step(&w, 0));
    EXPECT(!step(&w, 59));
    EXPECT(step(&w, 1));
    EXPECT(!step(&w, 119));
    EXPECT(step(&w, 1));
    EXPECT_INT(3, c.calls);
    EXPECT_INT(1, actions_of(&w, cloudwatch_AlarmType_MetricAlarm).n);
    c.fault = HUB_INVOKE_NOT_FOUND;
    set_state(&w, "high", cloudwatch_StateValue_OK);
    set_state(&w, "high", cloudwatch_StateValue_ALARM);
    EXPECT(step(&w, 0));
    EXPECT_INT(4, c.calls);
    EXPECT_INT(2, actions_of(&w, cloudwatch_AlarmType_MetricAlarm).n);
    EXPECT(!step(&w, 3600));
    sender_close(w.cw.sender);
    world_close(&w);
}

TEST(actions_that_nobody_does_are_history)
{
    struct world w;
    world_open(&w, a);
    w.cw.env.targets = NULL;
    put_alarm(&w, S("arn:aws:sns:r:1:topic"));
    set_state(&w, "high", cloudwatch_StateValue_ALARM);
    cloudwatch_AlarmHistoryItems items = actions_of(&w, cloudwatch_AlarmType_MetricAlarm);
    EXPECT_INT(1, items.n);
    EXPECT_STR(S("Failed to execute action arn:aws:sns:r:1:topic. Received error: \"This server "
                 "does no actions of the service sns.\""),
               items.at[0].history_summary);
    world_close(&w);
}

TEST(a_composite_alarms_function_is_told_its_rule_and_what_kept_it_back)
{
    struct world w;
    struct caller c;
    world_open(&w, a);
    caller_open(&c, &w, a);
    put_alarm(&w, S("arn:aws:sns:r:1:topic"));
    struct cloudwatch_PutMetricAlarm_in quiet = alarm_in();
    quiet.alarm_name = S("quiet");
    EXPECT_OK(cloudwatch_PutMetricAlarm(call_of(&w), &quiet));
    Str list[] = { FUNCTION };
    struct cloudwatch_PutCompositeAlarm_in in = { .alarm_name = S("both"),
                                                  .alarm_rule = S("ALARM(high)"),
                                                  .actions_enabled = true,
                                                  .alarm_actions = { list, 1, true },
                                                  .actions_suppressor = S("quiet"),
                                                  .actions_suppressor_wait_period = 10,
                                                  .has_actions_suppressor_wait_period = true,
                                                  .actions_suppressor_extension_period = 20,
                                                  .has_actions_suppressor_extension_period = true };
    EXPECT_OK(cloudwatch_PutCompositeAlarm(call_of(&w), &in));
    advance(&w, 1);
    while (step(&w, 0)) // of its first state nothing is wanted
        continue;
    set_state(&w, "quiet", cloudwatch_StateValue_ALARM);
    set_state(&w, "high", cloudwatch_StateValue_ALARM);
    advance(&w, 1);
    EXPECT_STR(cloudwatch_StateValue_ALARM, state_of(&w, "both"));
    EXPECT(!step(&w, 0)); // kept back
    set_state(&w, "quiet", cloudwatch_StateValue_OK);
    advance(&w, 30); // the extension is over
    EXPECT(step(&w, 0));
    EXPECT_INT(1, c.calls);
    JsonValue *v;
    EXPECT_OK(json_parse(a, c.payload, &v));
    const JsonValue *data = json_find(v, S("alarmData")),
                    *config = json_find(data, S("configuration")),
                    *before = json_find(data, S("previousState"));
    EXPECT_STR(S("both"), json_text(data, S("alarmName")));
    EXPECT_STR(S("ALARM(high)"), json_text(config, S("alarmRule")));
    EXPECT_STR(S("quiet"), json_text(config, S("actionsSuppressor")));
    EXPECT_INT(10, json_find(config, S("actionsSuppressorWaitPeriod"))->integer);
    EXPECT_INT(20, json_find(config, S("actionsSuppressorExtensionPeriod"))->integer);
    EXPECT_STR(S("ALARM"), json_text(before, S("value")));
    EXPECT(json_text(before, S("actionsSuppressedBy")).n > 0);
    EXPECT(json_text(json_find(data, S("state")), S("actionsSuppressedBy")).p == NULL);
    EXPECT_INT(1, actions_of(&w, cloudwatch_AlarmType_CompositeAlarm).n);
    sender_close(w.cw.sender);
    world_close(&w);
}

TEST(threads_call_functions_and_end)
{
    struct world w;
    struct caller c;
    AUTO(arena) own = arena_open(); // the thread's, while the test goes on in its own
    world_open(&w, a);
    caller_open(&c, &w, own);
    put_alarm(&w, FUNCTION);
    set_state(&w, "high", cloudwatch_StateValue_ALARM);
    sender_start(w.cw.sender);
    while (actions_of(&w, cloudwatch_AlarmType_MetricAlarm).n == 0)
        sender_wake(w.cw.sender);
    sender_close(w.cw.sender);
    EXPECT_INT(1, c.calls);
    world_close(&w);
}

TEST(functions_are_told_apart_from_other_actions)
{
    EXPECT(action_is_function(S("arn:aws:lambda:us-east-1:1:function:f")));
    EXPECT(action_is_function(S("arn:aws-cn:lambda:us-east-1:1:function:f:live")));
    EXPECT(!action_is_function(S("arn:aws:sns:us-east-1:1:topic")));
    EXPECT(!action_is_function(S("arn:aws:automate:us-east-1:ec2:stop")));
    EXPECT(!action_is_function(S("arn:aws:lambda:us-east-1:1:layer:f")));
    EXPECT(!action_is_function(S("arn:aws:lambda")));
    EXPECT(!action_is_function(S("")));
}

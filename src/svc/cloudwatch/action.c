// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/action.h"
#include "base/time.h"
#include "codec/json.h"

enum { ROW_VERSION = 1 };

// The part of an ARN after so many colons.
static Str arn_part(Str arn, size_t at)
{
    Str part = { 0 };
    for (size_t i = 0; i <= at; i++)
        if (!str_cut(arn, ':', &part, &arn))
            return i == at ? part : S("");
    return part;
}

bool action_is_function(Str arn)
{
    return str_starts(arn, S("arn:")) && str_eq(arn_part(arn, 2), S("lambda")) &&
           str_eq(arn_part(arn, 5), S("function"));
}

// ---- Rows

static void add_text(struct event_writer *w, Str key, Str text)
{
    w->ops->key(w, key);
    w->ops->text(w, text);
}

static void add_number(struct event_writer *w, Str key, int64_t number)
{
    w->ops->key(w, key);
    w->ops->integer(w, number);
}

static void write_action(struct buf *b, const Action *action)
{
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    add_number(&w, S("version"), ROW_VERSION);
    add_text(&w, S("account"), action->realm.account);
    add_text(&w, S("region"), action->realm.region);
    add_text(&w, S("alarm"), action->alarm);
    add_text(&w, S("type"), action->type);
    add_text(&w, S("action"), action->action);
    add_text(&w, S("payload"), action->payload);
    add_number(&w, S("changed_ms"), action->changed_ms);
    add_number(&w, S("tries"), action->tries);
    add_number(&w, S("failures"), action->failures);
    w.ops->map_end(&w);
}

static int64_t number_in(const JsonValue *v, Str name)
{
    const JsonValue *found = json_find(v, name);
    return found != NULL ? found->integer : 0;
}

Err action_read(struct arena *a, Str row, Action *ret)
{
    JsonValue *v;
    Err e = json_parse(a, row, &v);
    if (e.kind == ERR_MEMORY)
        return e;
    if (e.kind != ERR_NONE)
        return fail(ERR_CORRUPT, "an action's row is not JSON");
    if (number_in(v, S("version")) > ROW_VERSION)
        return fail(ERR_FORMAT, "an action's row was written by a newer program");
    *ret = (Action){ .realm = { json_text(v, S("account")), json_text(v, S("region")) },
                     .alarm = json_text(v, S("alarm")),
                     .type = json_text(v, S("type")),
                     .action = json_text(v, S("action")),
                     .payload = json_text(v, S("payload")),
                     .changed_ms = number_in(v, S("changed_ms")),
                     .tries = number_in(v, S("tries")),
                     .failures = number_in(v, S("failures")) };
    if (ret->realm.account.n == 0 || ret->alarm.n == 0 || ret->action.n == 0)
        return fail(ERR_CORRUPT, "an action's row is not complete");
    return OK;
}

static void put_big_endian(unsigned char *p, uint64_t value)
{
    for (size_t i = sizeof value; i > 0; i--, value >>= 8)
        p[i - 1] = (unsigned char)value;
}

Err action_put(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, const Action *action,
               int64_t due_ms)
{
    AUTO_BUF(row);
    uint64_t id;
    unsigned char *key = arena_alloc(a, ACTION_KEY_BYTES, 1);
    write_action(&row, action);
    TRY(buf_err(&row));
    TRY(kv_next_id(tx, &id));
    put_big_endian(key, (uint64_t)due_ms);
    put_big_endian(key + 8, id);
    kv_on(tx, cw->actions);
    return kv_put(tx, str_from(key, ACTION_KEY_BYTES), buf_str(&row));
}

// ---- History

static Str history_data(struct arena *a, const Action *action, Str error, bool with_message)
{
    AUTO_BUF(b);
    struct event_writer w;
    json_writer_init(&w, &b);
    w.ops->map(&w);
    add_text(&w, S("actionState"), error.p != NULL ? S("Failed") : S("Succeeded"));
    add_number(&w, S("stateUpdateTimestamp"), action->changed_ms);
    add_text(&w, S("notificationResource"), action->action);
    if (with_message && action->payload.p != NULL)
        add_text(&w, S("publishedMessage"), action->payload);
    if (error.p != NULL)
        add_text(&w, S("error"), error);
    w.ops->map_end(&w);
    return str_dup(a, buf_str(&b));
}

Err action_note(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, const Action *action,
                Str error, int64_t now_ns)
{
    enum { ERROR_SHOWN_MAX = 512 };
    if (error.p != NULL)
        error = str_head(error, ERROR_SHOWN_MAX);
    Str data = history_data(a, action, error, true);
    if (data.n > ALARM_HISTORY_DATA_BYTES_MAX)
        data = history_data(a, action, error, false);
    const cloudwatch_AlarmHistoryItem item = {
        .alarm_name = action->alarm,
        .alarm_type = action->type,
        .has_timestamp = true,
        .timestamp = now_ns,
        .history_item_type = cloudwatch_HistoryItemType_Action,
        .history_summary =
            error.p == NULL ? str_fmt(a, "Successfully executed action %.*s", FMT(action->action))
                            : str_fmt(a, "Failed to execute action %.*s. Received error: \"%.*s\"",
                                      FMT(action->action), FMT(error)),
        .history_data = data,
    };
    return history_add(cw, tx, a, action->realm, &item);
}

// ---- With a change of state

static bool is_done_here(const struct cloudwatch *cw)
{
    return cw->env.targets != NULL && *cw->env.targets != NULL;
}

static Err queue_list(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a,
                      const cloudwatch_ResourceList *list, const Action *of_alarm, Str event,
                      int64_t now_ns)
{
    for (size_t i = 0; i < list->n; i++) {
        Action action = *of_alarm;
        action.action = list->at[i];
        if (action_is_function(action.action)) {
            action.payload = event;
            TRY(action_put(cw, tx, a, &action, now_ns / NS_PER_MS));
        } else if (!is_done_here(cw)) {
            Str error = str_fmt(a, "This server does no actions of the service %.*s.",
                                FMT(arn_part(action.action, 2)));
            TRY(action_note(cw, tx, a, &action, error, now_ns));
        }
    }
    return OK;
}

static const cloudwatch_ResourceList *list_of(Str state, const cloudwatch_ResourceList *ok,
                                              const cloudwatch_ResourceList *alarm,
                                              const cloudwatch_ResourceList *no_data)
{
    return str_eq(state, cloudwatch_StateValue_OK)      ? ok
           : str_eq(state, cloudwatch_StateValue_ALARM) ? alarm
                                                        : no_data;
}

Err alarm_queue_actions(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                        const Alarm *alarm, const Alarm *before)
{
    const cloudwatch_ResourceList *list =
        list_of(alarm->state_value, &alarm->ok_actions, &alarm->alarm_actions,
                &alarm->insufficient_data_actions);
    if (!alarm->actions_enabled || list->n == 0 || str_eq(alarm->state_value, before->state_value))
        return OK;
    int64_t now_ns = alarm->state_updated_timestamp;
    const Action of_alarm = { .realm = r,
                              .alarm = alarm->alarm_name,
                              .type = cloudwatch_AlarmType_MetricAlarm,
                              .changed_ms = now_ns / NS_PER_MS };
    return queue_list(cw, tx, a, list, &of_alarm, alarm_event(a, r, alarm, before), now_ns);
}

Err composite_queue_actions(struct cloudwatch *cw, struct kv_txn *tx, struct arena *a, Realm r,
                            const Composite *alarm, const Composite *before, int64_t now_ns)
{
    const cloudwatch_ResourceList *list =
        list_of(alarm->state_value, &alarm->ok_actions, &alarm->alarm_actions,
                &alarm->insufficient_data_actions);
    if (!alarm->actions_enabled || list->n == 0)
        return OK;
    const Action of_alarm = { .realm = r,
                              .alarm = alarm->alarm_name,
                              .type = cloudwatch_AlarmType_CompositeAlarm,
                              .changed_ms = now_ns / NS_PER_MS };
    return queue_list(cw, tx, a, list, &of_alarm, composite_event(a, r, alarm, before, now_ns),
                      now_ns);
}

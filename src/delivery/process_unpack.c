// SPDX-License-Identifier: Apache-2.0
// Records in JSON: those that CloudWatch Logs sends, gzip of an envelope, and those that must be.
//
//     {"messageType":"DATA_MESSAGE","owner":..,"logGroup":..,"logStream":..,
//      "subscriptionFilters":[..],"logEvents":[{"id":..,"timestamp":..,"message":".."},..]}
#include "codec/gzip.h"
#include "codec/json.h"
#include "delivery/process_priv.h"

bool json_is_whole(struct arena *tmp, Str text, Str *ret_problem)
{
    struct event_reader r;
    Event event;
    json_reader_init(&r, tmp, text);
    do {
        Err e = r.next(&r, &event);
        if (e.kind != ERR_NONE) {
            *ret_problem = str_fmt(tmp, "%s at byte %zu", e.text, r.at);
            return false;
        }
    } while (event.kind != EVENT_END);
    return true;
}

// Channels of streams take only documents.
Err process_json(struct processing *p, DeliveryBatch *b)
{
    Before before = process_begin(b);
    for (size_t i = 0; i < before.n; i++) {
        AUTO(arena) tmp = arena_open();
        const DeliveryRecord *r = &before.at[i];
        Str problem;
        if (json_is_whole(tmp, r->data, &problem))
            batch_add(b, r);
        else
            batch_fail(b, r, "processing-failed", S("Record.InvalidJson"),
                       str_dup(b->arena, problem), 1, process_now_ms(p));
    }
    return OK;
}

Err cloudwatch_messages(struct arena *a, Str envelope, Str *ret)
{
    AUTO(arena) tmp = arena_open();
    AUTO_BUF(b);
    JsonValue *v = NULL;
    if (json_parse(tmp, envelope, &v).kind != ERR_NONE)
        return fail(ERR_INVALID, "an envelope of logs is not JSON");
    Str type = json_text(v, S("messageType"));
    if (str_eq(type, S("CONTROL_MESSAGE"))) {
        *ret = S("");
        return OK;
    }
    const JsonValue *events = json_find(v, S("logEvents"));
    if (!str_eq(type, S("DATA_MESSAGE")) || events == NULL || events->kind != JSON_LIST)
        return fail(ERR_INVALID, "not an envelope of logs");
    for (size_t i = 0; i < events->n; i++) {
        Str message = json_text(&events->items[i], S("message"));
        if (message.p == NULL)
            return fail(ERR_INVALID, "an event of an envelope has no message");
        buf_add(&b, message);
        buf_add_byte(&b, '\n');
    }
    TRY(buf_err(&b));
    return str_dup_try(a, buf_str(&b), ret);
}

static Err unpack(const struct processing *p, struct arena *a, Str packed, Str *ret)
{
    AUTO(arena) tmp = arena_open();
    Str text, problem;
    bool extract = p->steps[STEP_CLOUDWATCH] != NULL;
    TRY(gzip_unpack(extract ? tmp : a, packed, PROCESS_UNPACKED_BYTES_MAX, &text));
    if (extract)
        return cloudwatch_messages(a, text, ret);
    *ret = text;
    return json_is_whole(tmp, text, &problem) ? OK : fail(ERR_INVALID, "an envelope is not JSON");
}

// The record stays one, whatever it holds. What fails goes as it came.
Err process_unpack(struct processing *p, DeliveryBatch *b)
{
    Before before = process_begin(b);
    for (size_t i = 0; i < before.n; i++) {
        DeliveryRecord r = before.at[i];
        Err e = unpack(p, b->arena, r.data, &r.data);
        if (e.kind == ERR_MEMORY)
            return e;
        if (e.kind == ERR_NONE)
            batch_add(b, &r);
        else
            batch_fail(b, &before.at[i], "decompression-failed", S("Decompression failed."),
                       str_of(e.text), 1, process_now_ms(p));
    }
    return OK;
}

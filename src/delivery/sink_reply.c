// SPDX-License-Identifier: Apache-2.0
#include "delivery/sink_reply.h"
#include "codec/json.h"

static Err unexpected(void)
{
    return fail(ERR_INVALID, "the reply is not what the protocol says");
}

// The first event of a value, which must be a map.
static Err begin_map(struct event_reader *r)
{
    Event e;
    TRY(r->next(r, &e));
    return e.kind == EVENT_MAP ? OK : unexpected();
}

// The next key of the map that is open; false: the map has ended.
static Err next_key(struct event_reader *r, Str *ret, bool *ret_any)
{
    Event e;
    TRY(r->next(r, &e));
    *ret_any = e.kind == EVENT_KEY;
    *ret = e.text;
    return e.kind == EVENT_KEY || e.kind == EVENT_MAP_END ? OK : unexpected();
}

static Err end_document(struct event_reader *r)
{
    Event e;
    TRY(r->next(r, &e));
    return e.kind == EVENT_END ? OK : unexpected();
}

// A value of which only its own kind is of interest.
static Err take(struct event_reader *r, Event *ret)
{
    TRY(r->next(r, ret));
    return event_skip_rest(r, ret);
}

static bool is_digits(Str s)
{
    uint64_t number;
    return str_u64(s, &number).kind == ERR_NONE;
}

Err endpoint_reply_read(struct arena *a, Str body, EndpointReply *ret)
{
    struct event_reader r;
    EndpointReply reply = { 0 };
    bool any;
    Str key;
    json_reader_init(&r, a, body);
    TRY(begin_map(&r));
    for (;;) {
        Event e;
        TRY(next_key(&r, &key, &any));
        if (!any)
            break;
        TRY(take(&r, &e));
        if (str_eq(key, S("requestId")))
            reply.request_id = e.kind == EVENT_TEXT ? e.text : (Str){ 0 };
        else if (str_eq(key, S("timestamp")))
            reply.timestamp = e.kind == EVENT_INT || e.kind == EVENT_DOUBLE ||
                              (e.kind == EVENT_TEXT && is_digits(e.text));
        else if (str_eq(key, S("errorMessage")) && e.kind == EVENT_TEXT)
            reply.error_message = e.text;
    }
    TRY(end_document(&r));
    *ret = reply;
    return OK;
}

Err hec_reply_read(struct arena *a, Str body, HecReply *ret)
{
    struct event_reader r;
    HecReply reply = { .code = -1, .ack_id = -1, .event = -1 };
    bool any;
    Str key;
    json_reader_init(&r, a, body);
    TRY(begin_map(&r));
    for (;;) {
        Event e;
        TRY(next_key(&r, &key, &any));
        if (!any)
            break;
        TRY(take(&r, &e));
        bool number = e.kind == EVENT_INT && e.number >= 0;
        if (str_eq(key, S("text")) && e.kind == EVENT_TEXT)
            reply.text = e.text;
        else if (str_eq(key, S("code")) && number)
            reply.code = e.number;
        else if (str_eq(key, S("ackId")) && number)
            reply.ack_id = e.number;
        else if (str_eq(key, S("invalid-event-number")) && number)
            reply.event = e.number;
    }
    TRY(end_document(&r));
    *ret = reply;
    return OK;
}

Err hec_ack_read(struct arena *a, Str body, int64_t ack_id, bool *ret_indexed)
{
    struct event_reader r;
    bool any, inner, found = false, indexed = false;
    Str key, wanted = str_fmt(a, "%lld", (long long)ack_id);
    json_reader_init(&r, a, body);
    TRY(begin_map(&r));
    for (;;) {
        TRY(next_key(&r, &key, &any));
        if (!any)
            break;
        if (!str_eq(key, S("acks"))) {
            TRY(event_skip(&r));
            continue;
        }
        TRY(begin_map(&r));
        found = true;
        for (;;) {
            Event e;
            TRY(next_key(&r, &key, &inner));
            if (!inner)
                break;
            TRY(take(&r, &e));
            if (str_eq(key, wanted))
                indexed = e.kind == EVENT_BOOL && e.number != 0;
        }
    }
    TRY(end_document(&r));
    if (!found)
        return unexpected();
    *ret_indexed = indexed;
    return OK;
}

// ---- Bulk. {"took":30,"errors":true,"items":[{"index":{"_id":"1","status":400,"error":{...}}}]}

static Err read_outcome(struct event_reader *r, Str body, BulkItem *item)
{
    bool any;
    Str key;
    TRY(begin_map(r));
    for (;;) {
        Event e;
        TRY(next_key(r, &key, &any));
        if (!any)
            return item->status != 0 ? OK : unexpected();
        size_t from = r->at;
        TRY(take(r, &e));
        if (str_eq(key, S("status")) && e.kind == EVENT_INT && e.number > 0 && e.number < 1000)
            item->status = (unsigned)e.number;
        else if (str_eq(key, S("error")) && e.kind == EVENT_TEXT)
            item->error = e.text;
        else if (str_eq(key, S("error")) && e.kind == EVENT_MAP) {
            Str raw = str_head(str_skip(body, from), r->at - from);
            size_t brace = str_find(raw, '{'); // after the colon and spaces
            item->error = str_skip(raw, brace);
        }
    }
}

// {"index":{...}}: the action has one key.
static Err read_item(struct event_reader *r, Str body, BulkItem *item)
{
    bool any;
    Str key;
    TRY(next_key(r, &key, &any));
    if (!any)
        return unexpected();
    TRY(read_outcome(r, body, item));
    TRY(next_key(r, &key, &any));
    return any ? unexpected() : OK;
}

static Err read_items(struct event_reader *r, Str body, BulkItem *items, size_t n)
{
    Event e;
    TRY(r->next(r, &e));
    if (e.kind != EVENT_LIST)
        return unexpected();
    for (size_t i = 0;; i++) {
        TRY(r->next(r, &e));
        if (e.kind == EVENT_LIST_END)
            return i == n ? OK : unexpected();
        if (e.kind != EVENT_MAP || i == n)
            return unexpected();
        items[i] = (BulkItem){ 0 };
        TRY(read_item(r, body, &items[i]));
    }
}

Err bulk_reply_read(struct arena *a, Str body, BulkItem *items, size_t n)
{
    struct event_reader r;
    bool any, found = false;
    Str key;
    json_reader_init(&r, a, body);
    TRY(begin_map(&r));
    for (;;) {
        TRY(next_key(&r, &key, &any));
        if (!any)
            break;
        if (!str_eq(key, S("items"))) {
            TRY(event_skip(&r));
            continue;
        }
        if (found)
            return unexpected();
        TRY(read_items(&r, body, items, n));
        found = true;
    }
    TRY(end_document(&r));
    return found ? OK : unexpected();
}

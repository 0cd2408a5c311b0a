// SPDX-License-Identifier: Apache-2.0
// What destinations answer, read without a tree. Nothing here trusts what it reads; text lives in
// the arena or borrows from the body.
#pragma once
#include "base/str.h"

// ---- The HTTP endpoint protocol: {"requestId":"...","timestamp":1578090903599}

typedef struct EndpointReply {
    Str request_id;    // absent: none, or no text
    bool timestamp;    // a number is there, or a text of digits
    Str error_message; // absent: none
} EndpointReply;
Err endpoint_reply_read(struct arena *a, Str body, EndpointReply *ret); // ERR_INVALID

// ---- Splunk's HTTP Event Collector: {"text":"Success","code":0,"ackId":7}

typedef struct HecReply {
    Str text;       // absent: none
    int64_t code;   // -1: none
    int64_t ack_id; // -1: none
    int64_t event;  // "invalid-event-number"; -1: none
} HecReply;
Err hec_reply_read(struct arena *a, Str body, HecReply *ret); // ERR_INVALID

// {"acks":{"7":true}}: whether it says so of this one. ERR_INVALID.
Err hec_ack_read(struct arena *a, Str body, int64_t ack_id, bool *ret_indexed);

// ---- _bulk of search engines

typedef struct BulkItem {
    unsigned status;
    Str error; // its JSON, or its text; absent: none
} BulkItem;
// The items in order: exactly n, else ERR_INVALID.
Err bulk_reply_read(struct arena *a, Str body, BulkItem *items, size_t n);

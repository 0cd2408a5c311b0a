// SPDX-License-Identifier: Apache-2.0
// What a delivery stream takes by PutRecord and PutRecordBatch, and how often an account may call
// the other operations (developer guide, "Amazon Data Firehose Quota"):
//
//     us-east-1, us-west-2, eu-west-1   500,000 records/s, 2,000 requests/s, 5 MiB/s
//     elsewhere                         100,000 records/s, 1,000 requests/s, 1 MiB/s
//     all other operations              5 calls/s each, for an account in a region
//
// A second's worth may come at once. Buckets are kept as the time at which they will be full again,
// in whole nanoseconds, so that an idle stream needs no timer. A scale of 2 doubles every rate, 0
// lifts the limits.
#pragma once
#include "base/str.h"

struct call;

typedef struct HoseLimits {
    int64_t records_full_ns, bytes_full_ns, requests_full_ns;
} HoseLimits;

typedef struct HoseRates {
    int64_t records, requests, bytes; // a second
} HoseRates;

const HoseRates *hose_limit_rates(Str region);

// Takes what one request, or one of its records, costs, or nothing: false. The caller holds the
// stream's limit_lock.
bool hose_limit_request(HoseLimits *l, const HoseRates *r, double scale, int64_t now_ns);
bool hose_limit_record(HoseLimits *l, const HoseRates *r, double scale, int64_t now_ns,
                       size_t bytes);

// ThrottlingException: the account calls the operation too often. Calls without an operation
// (tests) pass.
Err hose_limit_call(struct call *c);

struct call_rates; // of all accounts
struct call_rates *call_rates_open(void);
void call_rates_close(struct call_rates *r);

// SPDX-License-Identifier: Apache-2.0
// The steps that process.c puts one after the other.
#pragma once
#include "delivery/delivery.h"
#include "delivery/env.h"
#include "delivery/jq_query.h"
#include "delivery/process.h"

enum {
    PROCESS_UNPACKED_BYTES_MAX = 64 << 20, // of one compressed record
    PROCESS_PARTS_MAX =
        500, // a record of more parts is not split (Processor, "RecordDeAggregation")
};

struct processing {
    struct delivery_env *env;
    const DeliveryConfig *config;
    const DeliveryStep *steps[STEP_JSON + 1]; // by kind; NULL: it is not done
    struct jq_query *query;                   // of STEP_METADATA
    struct delivery_meters *meters;           // NULL: nobody counts
};

// Where the records were that a step replaces; those of the batch are empty after it.
typedef struct Before {
    const DeliveryRecord *at;
    size_t n;
} Before;
Before process_begin(DeliveryBatch *b);

int64_t process_now_ms(const struct processing *p);

// Each takes what `process_begin` gives, and adds to the batch.
Err process_kpl(struct processing *p, DeliveryBatch *b);
Err process_unpack(struct processing *p, DeliveryBatch *b);   // gzip, and messages if so wanted
Err process_split(struct processing *p, DeliveryBatch *b);    // STEP_DEAGGREGATE
Err process_json(struct processing *p, DeliveryBatch *b);     // STEP_JSON
Err process_lambda(struct processing *p, DeliveryBatch *b);   // STEP_LAMBDA
Err process_metadata(struct processing *p, DeliveryBatch *b); // STEP_METADATA
Err process_delimit(struct processing *p, DeliveryBatch *b);

// ---- Parsers: of any bytes

// Whether they are an aggregate of the Kinesis Producer Library that is whole: its magic, its
// digest and every field. Then its records, in the arena; data and keys are borrowed.
typedef struct KplRecord {
    Str key, data;
} KplRecord;
bool kpl_parse(struct arena *a, Str bytes, KplRecord **ret, size_t *ret_n);

// The messages of an envelope of CloudWatch Logs, a newline behind each, in the arena; of a control
// message nothing. ERR_INVALID: it is no such envelope. ERR_MEMORY.
Err cloudwatch_messages(struct arena *a, Str envelope, Str *ret);
// Whether it is one document; if not, why.
bool json_is_whole(struct arena *tmp, Str text, Str *ret_problem);

// The JSON objects that follow each other in a text, with white space between them or without:
// false if it holds anything else, or more than `max`.
bool split_objects(Str text, Str *ret, size_t max, size_t *ret_n);

// What a function said of each record of a call.
typedef enum LambdaResult { LAMBDA_OK, LAMBDA_DROPPED, LAMBDA_FAILED } LambdaResult;
typedef struct LambdaVerdict {
    LambdaResult result;
    Str data; // decoded
    const DeliveryPair *keys;
    uint32_t key_count;
    Str code, message; // of LAMBDA_FAILED
} LambdaVerdict;
// `ids` are those that were sent. Verdicts are in the arena, in the order of ids.
LambdaVerdict *lambda_verdicts(struct arena *a, Str reply, const Str *ids, size_t n);

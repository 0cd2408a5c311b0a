// SPDX-License-Identifier: Apache-2.0
// The process that runs queries (jq_query.h): this program, started with one argument. What it is
// told and what it answers are messages:
//
//     to it    u32 length, bytes             the query, then records
//     from it  u8 fault, u32 length, bytes   of the query: JQ_GOOD, or JQ_ERROR and why
//
// Numbers are little-endian. It ends with one of the codes below.
#pragma once
#include "delivery/jq_query.h"

enum {
    JQ_HEAD_BYTES = 4,
    JQ_ANSWER_HEAD_BYTES = 5,
    JQ_EXIT_IDLE = 0,
    JQ_EXIT_BROKEN = 3, // what it was told is no message
    JQ_EXIT_TIME = 4,
    JQ_EXIT_MEMORY = 5,
};

const char *jq_worker_argument(void);

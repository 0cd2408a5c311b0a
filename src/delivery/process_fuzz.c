// SPDX-License-Identifier: Apache-2.0
// Any text as an envelope of CloudWatch Logs, as a function's reply, as records to be split.
#include "delivery/process_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const Str ids[] = { S_INIT("1"), S_INIT("2") };
    AUTO(arena) a = arena_open();
    Str text = str_from(data, size), messages = { 0 }, parts[PROCESS_PARTS_MAX];
    size_t n = 0, bytes = 0;
    Err e = cloudwatch_messages(a, text, &messages);
    CHECK(e.kind == ERR_NONE || e.kind == ERR_INVALID);
    Str problem;
    CHECK(e.kind != ERR_NONE || json_is_whole(a, text, &problem));
    LambdaVerdict *verdicts = lambda_verdicts(a, text, ids, COUNT_OF(ids));
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        CHECK(verdicts[i].result != LAMBDA_FAILED || verdicts[i].code.n > 0);
    if (split_objects(text, parts, COUNT_OF(parts), &n))
        for (size_t i = 0; i < n; i++)
            bytes += parts[i].n;
    CHECK(bytes <= size);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// The body of a put, of the operation that the first byte names: what the scan takes, the binder
// takes with the same values. The corpus has what SDKs send.
#include "aws/scan_check.h"
#include "gen/firehose_api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct protocol *p = (data[0] & 2) != 0 ? &protocol_cbor_1_1 : &protocol_json_1_1;
    Str op = (data[0] & 1) != 0 ? S("PutRecord") : S("PutRecordBatch");
    scan_check(p, scan_check_shape(&firehose_api, op), str_from(data + 1, size - 1));
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Any body, as JSON or CBOR by the first byte: what the scan takes, the binder takes with the same
// values.
#include "aws/probe_api.h"
#include "aws/scan_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct protocol *p = data[0] == 'c' ? &protocol_cbor_1_1 : &protocol_json_1_1;
    scan_check(p, scan_check_shape(&probe_api, S("Batch")), str_from(data + 1, size - 1));
    return 0;
}

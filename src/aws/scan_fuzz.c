// SPDX-License-Identifier: Apache-2.0
// Any body, as JSON or CBOR by the first byte, through the scan and through the binder. What the
// scan takes, the binder takes with the same values, and validation finds nothing.
#include "aws/bind.h"
#include "aws/probe_api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct shape *batch_shape(void)
{
    for (size_t i = 0; i < probe_api.op_count; i++)
        if (str_eq(probe_api.ops[i].name, S("Batch")))
            return probe_api.ops[i].input;
    CHECK(false);
    return NULL;
}

// All of a struct's values in bytes, so that two can be compared.
static void write_out(const struct shape *shape, const void *in, struct buf *out)
{
    struct protocol_writer w;
    protocol_cbor_1_1.writer_init(&w, out);
    bind_encode(&w, shape, in);
    CHECK(buf_err(out).kind == ERR_NONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct protocol *p = data[0] == 'c' ? &protocol_cbor_1_1 : &protocol_json_1_1;
    const struct shape *shape = batch_shape();
    AUTO(arena) a = arena_open();
    Str body = str_from(data + 1, size - 1), fault = { 0 };
    void *fast = arena_alloc(a, shape->struct_bytes, _Alignof(max_align_t));
    void *full = arena_alloc(a, shape->struct_bytes, _Alignof(max_align_t));
    struct protocol_reader r;

    CHECK(api_prepare(&probe_api).kind == ERR_NONE);
    if (!p->scan(shape, a, body, fast))
        return 0;
    p->reader_init(&r, a, body);
    CHECK(bind_decode(&r, shape, a, full, &fault).kind == ERR_NONE && fault.p == NULL);
    CHECK(bind_validate(shape, full, a).p == NULL);
    CHECK(bind_validate(shape, fast, a).p == NULL);

    AUTO_BUF(of_scan);
    AUTO_BUF(of_binder);
    write_out(shape, fast, &of_scan);
    write_out(shape, full, &of_binder);
    CHECK(str_eq(buf_str(&of_scan), buf_str(&of_binder)));
    return 0;
}

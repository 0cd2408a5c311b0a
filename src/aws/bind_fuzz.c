// SPDX-License-Identifier: Apache-2.0
// Any body, as JSON or CBOR by the first byte, against a shape with every kind. What was decoded
// and written must decode to the same again.
#include "aws/bind.h"
#include "aws/probe_api.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct shape *shape_of(Str op)
{
    for (size_t i = 0; i < probe_api.op_count; i++)
        if (str_eq(probe_api.ops[i].name, op))
            return probe_api.ops[i].input;
    CHECK(false);
    return NULL;
}

static bool decode(const struct protocol *p, struct arena *a, Str body, const struct shape *shape,
                   void **ret)
{
    struct protocol_reader r;
    Str fault = { 0 };
    *ret = arena_alloc(a, shape->struct_bytes, _Alignof(max_align_t));
    p->reader_init(&r, a, body);
    return bind_decode(&r, shape, a, *ret, &fault).kind == ERR_NONE && fault.p == NULL;
}

static void encode(const struct protocol *p, const struct shape *shape, const void *in,
                   struct buf *out)
{
    struct protocol_writer w;
    p->writer_init(&w, out);
    bind_encode(&w, shape, in);
    CHECK(buf_err(out).kind == ERR_NONE);

    AUTO_BUF(by_short_way);
    bind_write(p, shape, in, &by_short_way);
    CHECK(buf_err(&by_short_way).kind == ERR_NONE && str_eq(buf_str(&by_short_way), buf_str(out)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct protocol *p = data[0] == 'c' ? &protocol_cbor_1_1 : &protocol_json_1_1;
    const struct shape *shape = shape_of(S("Put"));
    AUTO(arena) a = arena_open();
    struct protocol_reader r;
    void *in, *again;
    Str body = str_from(data + 1, size - 1);

    CHECK(api_prepare(&probe_api).kind == ERR_NONE);
    p->reader_init(&r, a, body);
    bool well_formed = bind_skip(&r).kind == ERR_NONE;
    if (!decode(p, a, body, shape, &in))
        return 0;
    CHECK(well_formed);
    Str broken = bind_validate(shape, in, a);
    CHECK(broken.p == NULL || str_search(broken, S(" detected: ")) < broken.n);

    AUTO_BUF(first);
    AUTO_BUF(second);
    encode(p, shape, in, &first);
    CHECK(decode(p, a, buf_str(&first), shape, &again));
    encode(p, shape, again, &second);
    CHECK(str_eq(buf_str(&first), buf_str(&second)));
    return 0;
}

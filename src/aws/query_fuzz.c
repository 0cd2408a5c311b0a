// SPDX-License-Identifier: Apache-2.0
// Any form against a shape with every kind: what is well-formed is read the same by the binder and
// by who skips it, and what was read can be written.
#include "aws/bind.h"
#include "aws/probe_api.h"
#include "aws/query.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) a = arena_open();
    AUTO_BUF(xml);
    struct protocol_reader r;
    struct probe_Put_in in = { 0 };
    Str form = str_from(data, size), fault = { 0 };
    const struct api_op *op = probe_api.ops;
    while (!str_eq(op->name, S("Put")))
        op++;

    query_reader(&r, a, form);
    bool well_formed = bind_skip(&r).kind == ERR_NONE;
    query_reader(&r, a, form);
    if (bind_decode(&r, op->input, a, &in, &fault).kind != ERR_NONE)
        return 0;
    CHECK(well_formed);
    CHECK(api_prepare(&probe_api).kind == ERR_NONE);
    Str broken = bind_validate(op->input, &in, a);
    CHECK(broken.p == NULL || str_search(broken, S(" detected: ")) < broken.n);
    Str action = query_field(a, form, S("Action"));
    CHECK(str_utf8_count(action) != SIZE_MAX);

    struct probe_Put_out out = { .name = in.name,
                                 .free = in.free,
                                 .names = in.names,
                                 .grid = in.grid,
                                 .items = in.items,
                                 .tags = in.tags };
    ReplyFrame f = { .api = &probe_api, .op = op, .request_id = S("r") };
    query_write_reply(&f, &out, &xml);
    CHECK(buf_err(&xml).kind == ERR_NONE);
    for (size_t i = 0; i < xml.n; i++)
        CHECK((unsigned char)xml.p[i] >= 0x20 || xml.p[i] == '\n' || xml.p[i] == '\t');
    return 0;
}

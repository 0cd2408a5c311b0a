// SPDX-License-Identifier: Apache-2.0
// Any text as a schema: it is refused with a reason, or it reads what it has written itself, at a
// cost that is bounded.
#include "svc/glue/avro.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) a = arena_open();
    const struct avro *t = NULL;
    const JsonValue *v = NULL;
    Str text = { 0 }, canonical;
    Str definition = str_from(data, size);
    Err e = avro_read(a, definition, &t, &text);
    CHECK(e.kind == ERR_NONE || text.n > 0);
    if (e.kind == ERR_NONE)
        (void)avro_reads(t, t);
    e = json_schema_read(a, definition, &v, &text);
    CHECK(e.kind == ERR_NONE || text.n > 0);
    if (e.kind == ERR_NONE) {
        (void)json_schema_reads(v, v);
        CHECK(schema_canonical(a, definition, &canonical).kind == ERR_NONE);
    }
    return 0;
}

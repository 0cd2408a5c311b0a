// SPDX-License-Identifier: Apache-2.0
#include "server/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) a = arena_open();
    TomlDoc doc = { 0 };
    TomlFault fault = { 0 };
    Err e = toml_parse(a, str_from(data, size), &doc, &fault);
    if (e.kind != ERR_NONE) {
        CHECK(fault.line >= 1 && fault.reason.n > 0);
        return 0;
    }
    for (size_t i = 0; i < doc.n; i++) {
        const TomlValue *v = &doc.at[i];
        CHECK(v->line >= 1 && str_utf8_count(v->key) != SIZE_MAX);
        CHECK(v->kind == TOML_LIST || v->text.p != NULL);
    }
    return 0;
}

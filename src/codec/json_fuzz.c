// SPDX-License-Identifier: Apache-2.0
// Whatever the JSON reader accepts gives the same events again after it was written as JSON and as
// CBOR, and the tree accepts the same documents.
#include "codec/cbor.h"
#include "codec/events_fuzz.h"
#include "codec/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) a = arena_open();
    AUTO_BUF(json);
    AUTO_BUF(cbor);
    Str input = str_from(data, MIN(size, (size_t)FUZZ_INPUT_BYTES_MAX));
    struct event_reader r, again;
    struct event_writer w;
    JsonValue *root = NULL;

    json_reader_init(&r, a, input);
    json_writer_init(&w, &json);
    Err e = event_copy(&r, &w);
    CHECK(r.at <= input.n);
    CHECK(json_parse(a, input, &root).kind == e.kind);
    if (e.kind != ERR_NONE)
        return 0;

    json_reader_init(&r, a, input);
    cbor_writer_init(&w, &cbor);
    CHECK(event_copy(&r, &w).kind == ERR_NONE);

    json_reader_init(&r, a, input);
    json_reader_init(&again, a, buf_str(&json));
    fuzz_same_events(&r, &again);
    json_reader_init(&r, a, input);
    cbor_reader_init(&again, a, buf_str(&cbor));
    fuzz_same_events(&r, &again);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Whatever the CBOR reader accepts gives the same events again after it was written, and is valid
// JSON when it is written as that.
#include "codec/cbor.h"
#include "codec/events_fuzz.h"
#include "codec/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) a = arena_open();
    AUTO_BUF(cbor);
    AUTO_BUF(json);
    Str input = str_from(data, MIN(size, (size_t)FUZZ_INPUT_BYTES_MAX));
    struct event_reader r, again;
    struct event_writer w;

    cbor_reader_init(&r, a, input);
    cbor_writer_init(&w, &cbor);
    Err e = event_copy(&r, &w);
    CHECK(r.at <= input.n);
    if (e.kind != ERR_NONE)
        return 0;
    cbor_reader_init(&r, a, input);
    cbor_reader_init(&again, a, buf_str(&cbor));
    fuzz_same_events(&r, &again);

    cbor_reader_init(&r, a, input);
    json_writer_init(&w, &json);
    CHECK(event_copy(&r, &w).kind == ERR_NONE);
    json_reader_init(&r, a, buf_str(&json));
    CHECK(event_skip(&r).kind == ERR_NONE);
    Event end;
    CHECK(r.next(&r, &end).kind == ERR_NONE && end.kind == EVENT_END);
    return 0;
}

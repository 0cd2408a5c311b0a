// SPDX-License-Identifier: Apache-2.0
// CBOR (RFC 8949) as AWS speaks it: blobs are byte strings, timestamps tag 1 with milliseconds (an
// integer; a float is read as milliseconds too), maps with text keys. Reads definite and indefinite
// items and chunked strings, half, single and double floats, skips unknown tags; writes indefinite
// maps and lists.
#pragma once
#include "codec/event.h"

void cbor_reader_init(struct event_reader *r, struct arena *a, Str input);
void cbor_writer_init(struct event_writer *w, struct buf *out);

// The same with times in seconds, as RFC 8949 has them and Smithy's protocols: integers, or floats
// with milliseconds as decimals.
void cbor_reader_init_seconds(struct event_reader *r, struct arena *a, Str input);
void cbor_writer_init_seconds(struct event_writer *w, struct buf *out);

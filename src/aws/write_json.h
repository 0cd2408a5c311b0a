// SPDX-License-Identifier: Apache-2.0
// JSON replies straight into the buffer: what bind_encode makes of a value with JSON's writer, byte
// for byte, without an event and a check of room for every comma. bind_fuzz.c holds it to that.
#pragma once
#include "aws/shape.h"

// Adds `out` to the body; what did not fit shows in buf_err.
void write_json(const struct shape *shape, const void *out, struct buf *body);

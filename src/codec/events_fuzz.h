// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets of the readers share.
#pragma once
#include "codec/event.h"

enum { FUZZ_INPUT_BYTES_MAX = 1 << 16 };

// Ends the program unless both readers give the same events to the end of their documents.
void fuzz_same_events(struct event_reader *x, struct event_reader *y);

// SPDX-License-Identifier: Apache-2.0
#include "codec/events_fuzz.h"

#include <string.h>

// Digits of numbers are not compared: they may be written in another form.
static bool has_text(EventKind k)
{
    return k == EVENT_TEXT || k == EVENT_BYTES || k == EVENT_KEY;
}

void fuzz_same_events(struct event_reader *x, struct event_reader *y)
{
    Event of_x, of_y;
    do {
        CHECK(x->next(x, &of_x).kind == ERR_NONE);
        CHECK(y->next(y, &of_y).kind == ERR_NONE);
        CHECK(of_x.kind == of_y.kind);
        CHECK(of_x.number == of_y.number);
        CHECK(memcmp(&of_x.real, &of_y.real, sizeof of_x.real) == 0); // NaN included
        CHECK(!has_text(of_x.kind) || str_eq(of_x.text, of_y.text));
        CHECK(x->depth == y->depth);
    } while (of_x.kind != EVENT_END);
}

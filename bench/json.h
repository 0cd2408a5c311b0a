// SPDX-License-Identifier: Apache-2.0
// JSON as a server writes it, read strictly, one value after the other.
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct text {
    const char *p;
    size_t n;
};

struct json {
    const char *p, *end;
    bool bad; // it was not what was read for; stays
};

bool json_open(struct json *j, char bracket);
bool json_member(struct json *j, struct text *ret_key); // false: the object has ended
bool json_item(struct json *j);                         // false: the list has ended
struct text json_scalar(struct json *j); // a string without its quotes, a number, true, null
bool text_is(struct text t, const char *s);

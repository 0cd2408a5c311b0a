// SPDX-License-Identifier: Apache-2.0
// What the parts of the REST protocol share.
#pragma once
#include "aws/rest.h"

// A label of the path, decoded.
Err rest_label(const RestRequest *r, Str name, Str *ret);

// How a value is written in a header or a query; of a list: between commas.
Str rest_value(struct arena *a, const struct shape *shape, const void *value);

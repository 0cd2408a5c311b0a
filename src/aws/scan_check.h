// SPDX-License-Identifier: Apache-2.0
// For tests: the scan held against the binder.
#pragma once
#include "aws/bind.h"

// The service's input shape of an operation that is marked `scan`; the program ends if it has none.
const struct shape *scan_check_shape(const struct api_service *api, Str op);

// Whether the scan takes the body. If so the binder must take it too, with the same values, and
// validation must find nothing, or the program ends.
bool scan_check(const struct protocol *p, const struct shape *shape, Str body);

// The same with the body cut at every place, and with every byte of it removed and replaced by each
// of some telling ones.
void scan_check_changed(const struct protocol *p, const struct shape *shape, Str body);

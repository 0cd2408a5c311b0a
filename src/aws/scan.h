// SPDX-License-Identifier: Apache-2.0
// The binder's short way: one pass over a document as SDKs write it, without events and without
// memory for each value. It takes texts without escapes, blobs, lists and structs, in any order and
// with any blanks; whatever else comes is left to the binder, errors included.
//
// True: `into` holds exactly what bind_decode would put there, without a fault, and bind_validate
// would find nothing. False: nothing is known of the document, `into` is to be zeroed again and
// what was taken from the arena given back.
#pragma once
#include "aws/shape.h"

bool scan_json(const struct shape *shape, struct arena *a, Str body, void *into);
bool scan_cbor(const struct shape *shape, struct arena *a, Str body, void *into);

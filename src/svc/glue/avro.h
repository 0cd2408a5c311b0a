// SPDX-License-Identifier: Apache-2.0
// Avro schemas (specification 1.11): read, and asked whether what was written with one can be read
// with another ("Schema Resolution"). And JSON schemas, of which less is compared: see
// json_schema_reads.
#pragma once
#include "codec/json.h"

// Questions are cut off here: nested types that name each other multiply, and records lead to
// others, one in the other, as often as a definition has them.
enum { SCHEMA_STEPS_MAX = 5000000, SCHEMA_DEPTH_MAX = 500 };

struct avro; // lives in the arena that it was read into

// ERR_INVALID: `text` says what is wrong. ERR_LIMIT: it is nested too deeply.
Err avro_read(struct arena *a, Str definition, const struct avro **ret, Str *ret_text);
// Whether `reader` reads what `writer` wrote. A question that takes too many steps: no.
bool avro_reads(const struct avro *reader, const struct avro *writer);

// ERR_INVALID: the definition is no JSON schema: an object or a truth value whose keywords have
// the types that they must have.
Err json_schema_read(struct arena *a, Str definition, const JsonValue **ret, Str *ret_text);
// Whether a document that meets `writer` meets `reader`, as far as it can be told by these
// keywords: type, enum, properties, required, additionalProperties (true or false), items.
// What others say is not looked at.
bool json_schema_reads(const JsonValue *reader, const JsonValue *writer);

// The same bytes for definitions that differ in white space alone; ERR_INVALID: no JSON.
Err schema_canonical(struct arena *a, Str definition, Str *ret);

// SPDX-License-Identifier: Apache-2.0
// Prefixes with expressions, "logs/!{timestamp:yyyy/MM}/!{firehose:random-string}/" (Firehose
// developer guide, "Custom prefixes for Amazon S3 objects"), and names of objects.
#pragma once
#include "delivery/batch.h"

struct prefix;

enum {
    PREFIX_KEY_BYTES_MAX = 1024, // of an object's key: S3's
    PREFIX_NAME_BYTES_MAX = 320, // of what stands behind the prefix: name, time, UUID, extension
};

typedef enum PrefixPlace {
    PREFIX_DATA,   // no error-output-type
    PREFIX_ERRORS, // no partition keys
} PrefixPlace;

// ERR_INVALID: the text says what is wrong with it. Absent text: the default of the place, for
// which `base` is the data prefix.
Err prefix_open(PrefixPlace place, Str text, Str base, Str time_zone, struct prefix **ret,
                struct arena *a, Str *ret_text);
void prefix_close(struct prefix *p); // NULL is fine
AUTO_CLOSE(prefix)
bool prefix_has_expressions(Str text);
// The partition keys that it names: how many of the query's, how many of the function's.
void prefix_keys(const struct prefix *p, size_t *ret_query, size_t *ret_lambda);

typedef struct PrefixValues {
    int64_t oldest_ms;            // arrival of the oldest record in the object
    const char *error_type;       // PREFIX_ERRORS
    const DeliveryRecord *record; // whose partition keys count; NULL: none do
    struct io *io;                // randomness
} PrefixValues;
// ERR_INVALID: a partition key is missing; ERR_LIMIT: longer than 512 characters.
Err prefix_evaluate(const struct prefix *p, struct arena *a, const PrefixValues *v, Str *ret);
// What tells a record's partition from others: the values of the keys that the prefix names.
// ERR_INVALID: the record lacks one, which ret_missing names.
Err prefix_partition(const struct prefix *p, struct arena *a, const DeliveryRecord *r, Str *ret,
                     Str *ret_missing);
// The key of an object: the evaluated prefix, then
// <stream>-<version>-<yyyy>-<MM>-<dd>-<HH>-<mm>-<ss>-<uuid><extension>.
Err prefix_object_key(const struct prefix *p, struct arena *a, const PrefixValues *v,
                      const DeliveryConfig *config, Str extension, Str *ret);
// A random UUID, as requests and objects are named.
Str delivery_uuid(struct arena *a, struct io *io);

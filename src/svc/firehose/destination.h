// SPDX-License-Identifier: Apache-2.0
// Destinations as documents. One is kept in the form in which it is described: JSON of one member
// of the API's DestinationDescription, complete with its defaults, with its secrets in a document
// of their own. What a request gives (a ...Configuration or a ...Update) is brought into that form,
// laid over what there was, and checked as a whole.
#pragma once
#include "svc/firehose/firehose.h"
#include "svc/firehose/tree.h"

typedef enum DestinationKind {
    DESTINATION_S3, // plain and extended: one kind
    DESTINATION_REDSHIFT,
    DESTINATION_ELASTICSEARCH,
    DESTINATION_OPENSEARCH,
    DESTINATION_SERVERLESS,
    DESTINATION_SPLUNK,
    DESTINATION_HTTP,
    DESTINATION_SNOWFLAKE,
    DESTINATION_ICEBERG,
    DESTINATION_KINDS,
} DestinationKind;

typedef struct Destination {
    DestinationKind kind;
    JsonValue *map;     // what stands in the description
    JsonValue *secrets; // a map of texts
} Destination;

// "ExtendedS3DestinationDescription"
Str destination_member(DestinationKind kind);
// "S3": in names of metrics.
// What is told of streams to that destination.
HoseTold hose_told_of(DestinationKind kind);
const char *destination_metric(DestinationKind kind);

// The only destination that the input of c->op names, in members that end with `suffix`
// ("Configuration", "Update"). InvalidArgumentException: none, several, or one that is not served
// here.
Err destination_of_input(struct call *c, const void *in, Str suffix, Destination *ret);

// What is kept: two JSON texts.
Err destination_read(struct arena *a, Str description, Str secrets, Destination *ret);
Err destination_write(struct arena *a, const Destination *d, Str *ret_description,
                      Str *ret_secrets);

// What is given replaces, what is not stays (API reference, UpdateDestination). Of one kind.
void destination_merge(struct arena *a, Destination *old, const Destination *update);

// Whether format conversion, dynamic partitioning, processors are on; of a destination's map.
// Conversion is on unless it says that it is not.
bool destination_converts(const JsonValue *map);
bool destination_partitions(const JsonValue *map);
bool destination_processes(const JsonValue *map);
// Whether its credentials are kept in a secret.
bool destination_has_secret(const JsonValue *map);
// Where the configuration says that a search domain is; empty: it does not.
struct service_env;
Str destination_domain(const struct service_env *env, Str arn);
// ERR_INVALID: one that is no "NAME=http...".
Err destination_check_domains(const struct service_env *env);

// What is neither given nor was there.
void destination_fill(struct arena *a, Destination *d);

// InvalidArgumentException unless it is complete and its parts go together (check.c). `before` is
// what an update changes, NULL when a stream is made.
Err destination_check(struct call *c, const Destination *d, const Destination *before);
// The parts of the request as it stands, before they are laid over others.
Err destination_check_given(struct call *c, const Destination *d);

// SPDX-License-Identifier: Apache-2.0
// The other side of REST-XML: a request written from an operation's input, a reply read into its
// output, an error taken apart. What a service needs that asks another of its kind.
#pragma once
#include "aws/rest.h"

struct xml_node;

typedef struct RestOut {
    Str method;
    Str path;  // encoded, with the labels in their places: "/bucket/a%20b"
    Str query; // encoded; absent: none
    HttpHeader *headers;
    size_t header_count;
    Str body; // a document; absent: none, or the payload is no document
} RestOut;

// Members of the input that are absent are not sent. ERR_MEMORY, ERR_LIMIT.
Err rest_out_request(const struct api_service *api, const struct api_op *op, const void *in,
                     struct arena *a, RestOut *ret);

// Fills the output, which is zeroed. A value that is not of its type is as if it were not there.
// ERR_INVALID: the body is not what the operation answers. A payload that is no document is left
// alone.
Err rest_out_reply(const struct api_op *op, const HttpHeader *headers, size_t n, Str body,
                   struct arena *a, void *out);

typedef struct RestOutError {
    Str code, message;          // code: "" if the body says none
    const struct xml_node *all; // its elements; NULL: none
} RestOutError;
// Whether a body is an error document; never fails: what is none has an empty code.
bool rest_out_error(Str body, struct arena *a, RestOutError *ret);

// All but unreserved characters become %XX; in a path the slashes stay.
Str rest_out_encoded(struct arena *a, Str text, bool path);

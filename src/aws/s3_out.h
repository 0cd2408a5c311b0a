// SPDX-License-Identifier: Apache-2.0
// Requests to an S3 of any maker: this server's, AWS's, another's. One signed request, its reply,
// and what an error says. Path style. Bodies are in memory: large objects go in parts.
#pragma once
#include "http/client.h"

typedef struct S3Out {
    struct http_client *http;
    Str region;
    Str access_key, secret_key;
    Str session_token; // absent: none
    struct io *io;     // tells the time
} S3Out;

enum { S3_OUT_HEADERS_MAX = 16 };

typedef struct S3OutCall {
    Str method, bucket;        // absent bucket: of the service
    Str key;                   // absent: of the bucket; bytes as they are
    Str query;                 // encoded, as "list-type=2&prefix=a%2Fb"; absent: none
    const HttpHeader *headers; // beside those of the signature; at most S3_OUT_HEADERS_MAX
    size_t header_count;
    Str body;
} S3OutCall;

typedef struct S3OutReply {
    unsigned status;
    HttpReply http;
    Str code, message; // of an error: "NoSuchKey"; absent: it is none
} S3OutReply;

// OK: there is a reply, maybe an error. Else as http_client_call.
Err s3_out_call(const S3Out *s, struct arena *a, const S3OutCall *call, S3OutReply *ret);
Str s3_out_header(const S3OutReply *reply, Str name); // in lower case; absent if there is none
// A value of a query: all but unreserved characters become %XX.
Str s3_out_encoded(struct arena *a, Str value);

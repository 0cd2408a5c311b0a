// SPDX-License-Identifier: Apache-2.0
// The REST-XML protocol: an operation is a method and a path with labels, its input lies in path,
// query, headers and body, its output in headers and body. As S3 speaks it.
//
//     PUT /bucket/a/key?partNumber=3&uploadId=U HTTP/1.1     UploadPart{Bucket, Key, PartNumber...}
//
// Which operation: of those whose method and path fit, the one of whose query names, literal ones
// and those of required members, and required headers most are there; all of them must be. A query
// name that the .api file lists as `unserved` stands for an operation that there is not; and so
// does one without a value that only other operations have: `DELETE /bucket?website` is no
// DeleteBucket.
//
// A bucket is the first part of the path, or of the host: `bucket.s3.anything` and
// `bucket.localhost` (virtual-host style).
//
// Source: Smithy 2.0, "AWS restXml protocol" and "HTTP bindings"; the errors: Amazon S3 API
// Reference, "Error responses".
#pragma once
#include "aws/protocol.h"
#include "http/server.h"

enum { REST_PAIRS_MAX = 256, REST_PATH_BYTES_MAX = 8192, REST_LABELS_MAX = 4 };

typedef struct RestPair {
    Str name, value; // decoded; value absent: there was no '='
} RestPair;

// A request, taken apart once.
typedef struct RestRequest {
    struct arena *a;
    Str method;
    Str path; // with the bucket of the host in front; percent-encoded
    RestPair *query;
    size_t query_count;
    const HttpHeader *headers;
    size_t header_count;
    Str body; // the document
    const struct api_op *op;
    bool unserved; // a query names what is not served
    // What a value was that is not of its type: for the error.
    bool fault;
    MemberPlace fault_place;
    Str fault_name, fault_value;
} RestRequest;

// ERR_INVALID: path or query are no UTF-8 or have broken escapes. ERR_LIMIT: too many pairs.
Err rest_request(struct arena *a, const struct http_exchange *x, RestRequest *ret);
// Percent-decodes what stands in a path, where a plus sign is one. ERR_INVALID.
Err rest_decode_path(struct arena *a, Str raw, Str *ret);
// Finds the operation, by the head alone; NULL in r->op: none.
void rest_match(const struct api_service *api, RestRequest *r);
bool rest_query_has(const RestRequest *r, Str name);
// The bucket that the host names; absent: it names none.
Str rest_host_bucket(Str host);
// Whether the host says that a request is for S3: `s3.*` or one with a bucket.
bool rest_host_is_s3(Str host);

// The request's members as events, in the order of path, query, headers, body. After reading,
// r->fault says whether a value was not of its type.
void rest_reader(struct protocol_reader *p, RestRequest *r);

// Fills a struct, which is zeroed, from a document that a service has kept. ERR_INVALID: it is
// none of that shape.
Err rest_read_document(struct arena *a, const struct shape *shape, Str xml, void *into);

// ---- Replies

typedef struct RestReply {
    HttpHeader *headers; // room for rest_header_max() of the operation
    size_t header_count;
    Str content_type; // absent: none
} RestReply;
size_t rest_header_max(const struct api_op *op, const void *out);
void rest_write_reply(const struct api_service *api, const struct api_op *op, const void *out,
                      struct arena *a, RestReply *ret, struct buf *body);
void rest_write_error(const ErrorReply *e, struct buf *body);

// What S3 calls an error that every service has, and its status there. NULL: it is not one.
const struct api_error *rest_common_error(Str type);

#define REST_MISMATCH_TEXT                                                                       \
    "The request signature we calculated does not match the signature you provided. Check your " \
    "key and signing method."

#define REST_MALFORMED_TEXT                                                               \
    "The XML you provided was not well-formed or did not validate against our published " \
    "schema"

extern const struct api_error rest_AccessDenied, rest_AuthorizationHeaderMalformed,
    rest_AuthorizationQueryParametersError, rest_BadDigest, rest_EntityTooLarge, rest_ExpiredToken,
    rest_IncompleteBody, rest_InternalError, rest_InvalidAccessKeyId, rest_InvalidArgument,
    rest_InvalidDigest, rest_InvalidRequest, rest_InvalidToken, rest_InvalidURI, rest_MalformedXML,
    rest_MalformedTrailerError, rest_MethodNotAllowed, rest_MissingContentLength,
    rest_MissingRequestBodyError, rest_NotImplemented, rest_RequestTimeTooSkewed,
    rest_RequestTimeout, rest_SignatureDoesNotMatch, rest_SlowDown, rest_ServiceUnavailable,
    rest_XAmzContentSHA256Mismatch, rest_XAmzContentSHA256Missing;

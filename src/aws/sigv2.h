// SPDX-License-Identifier: Apache-2.0
// AWS Signature Version 2 as S3 has it: what clients of before 2014 sign with, and what boto3 still
// makes presigned links with unless it is told otherwise. The account's region is not in it.
//
//     signature  =  base64(hmac-sha1(secret, method \n content-md5 \n content-type \n date or
//                   expires \n x-amz- headers, sorted, each "name:value\n" resource))
//
// Source: Amazon S3 API Reference, "Signing and authenticating REST requests (AWS signature version
// 2)".
#pragma once
#include "aws/sigv4.h"

// Whether a request is signed so, in its header or its query.
bool sigv2_is(const struct http_exchange *x);

// HMAC-SHA-1, twenty bytes: of no use but for such signatures.
void hmac_sha1(Str key, Str message, unsigned char *out);

// `bucket` is the one that the host names; absent: none. ERR_DENIED with the fault, as
// sigv4_verify.
Err sigv2_verify(struct keyring *keys, const struct http_exchange *x, Str bucket, int64_t now_ns,
                 Caller *ret, AuthFault *ret_fault);

// SPDX-License-Identifier: Apache-2.0
// AWS Signature Version 4: who sent a request, and whether it arrived as it was signed. In the
// Authorization header or, presigned, in the query string.
//
//     canonical request  =  method \n path \n query \n headers \n\n signed names \n payload hash
//     string to sign     =  AWS4-HMAC-SHA256 \n time \n scope \n sha256(canonical request)
//     scope              =  date/region/service/aws4_request
//     signing key        =  hmac(hmac(hmac(hmac("AWS4" secret, date), region), service),
//                                "aws4_request")
//
// Signing keys are cached by secret and scope. The payload is hashed once per request.
#pragma once
#include "aws/keyring.h"
#include "http/server.h"

struct sigv4;
struct io;

#define SIGV4_SKEW_NS (300 * INT64_C(1000000000)) // between the signer's clock and ours
enum {
    SIGV4_EXPIRES_S_MAX = 604800, // of presigned requests: seven days
    SIGV4_KEYS_CACHED = 256,
    SIGV4_HEADERS_SIGNED_MAX = 100,
    SIGV4_PARAMETERS_MAX = 1000,
};

void sigv4_open(struct keyring *keys, struct sigv4 **ret); // borrows the keyring
void sigv4_close(struct sigv4 *v);                         // NULL is fine
AUTO_CLOSE(sigv4)

// What the request must be for.
typedef struct Sigv4Want {
    Str service;           // of the scope; absent: any
    int64_t now_ns;        // since 1970
    bool unsigned_payload; // UNSIGNED-PAYLOAD is permitted, and the path is encoded once (s3)
} Sigv4Want;

typedef struct Caller {
    Str access_key;
    Str account;
    Str principal;
    Str region;  // of the scope
    Str service; // of the scope
} Caller;

// Why a request was not believed: AWS's error name and sentence.
typedef struct AuthFault {
    Str type;
    Str message;
} AuthFault;

// ERR_MEMORY, or ERR_DENIED with the fault set; strings live in the exchange's arena or are static.
Err sigv4_verify(struct sigv4 *v, const struct http_exchange *x, const Sigv4Want *want, Caller *ret,
                 AuthFault *ret_fault);

// Whether a verification will need the payload's hash, as far as the headers tell: they name a key
// of ours. Then x->body_sha256 is used, if it is there.
bool sigv4_hashes_payload(struct sigv4 *v, const struct http_exchange *x);

// The service that the credential scope names, before anything is verified: what a request without
// a target is for. Absent if there is no complete scope.
Str sigv4_scope_service(const struct http_exchange *x);

// ---- For clients

typedef struct Sigv4Sign {
    Str access_key, secret, session_token; // token absent: none
    Str region, service;
    Str method, path, query;   // the path as it will be sent, encoded; query absent: none
    const HttpHeader *headers; // host, content-type, x-amz-target...: all of them are signed
    size_t header_count;
    Str body;
    int64_t now_ns;
} Sigv4Sign;

typedef struct Sigv4Headers {
    HttpHeader at[3]; // x-amz-date, authorization and, with a token, x-amz-security-token
    size_t n;
} Sigv4Headers;

// The headers to add to the request.
Err sigv4_sign(const Sigv4Sign *s, struct arena *a, Sigv4Headers *ret);

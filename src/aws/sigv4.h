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
#include "codec/hash.h"
#include "http/server.h"

struct sigv4;
struct io;

#define SIGV4_SKEW_NS (300 * INT64_C(1000000000))    // between the signer's clock and ours
#define SIGV4_SKEW_S3_NS (900 * INT64_C(1000000000)) // the same for S3
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
    // The rules of S3, whose bodies are long: what x-amz-content-sha256 says is signed and not yet
    // believed. Caller.payload tells how the body is to be checked when it is read.
    bool declared;
} Sigv4Want;

// What the signer has said about the body.
typedef enum PayloadKind {
    PAYLOAD_UNSIGNED,
    PAYLOAD_HASH,                    // SHA-256 of all of it
    PAYLOAD_CHUNKS_SIGNED,           // aws-chunked, each chunk signed
    PAYLOAD_CHUNKS_SIGNED_TRAILER,   // and trailers, signed too
    PAYLOAD_CHUNKS_UNSIGNED_TRAILER, // aws-chunked with trailers
} PayloadKind;

enum { SIGV4_SIGNATURE_HEX = 64, SIGV4_TIME_CHARS = 16 };

typedef struct Sigv4Payload {
    PayloadKind kind;
    bool verified;            // signatures of chunks are to be checked: the key is one that is held
    unsigned char sha256[32]; // of PAYLOAD_HASH
    HmacKey key;              // what chunks are signed with
    Str scope;                // "20130524/us-east-1/s3/aws4_request"
    char time[SIGV4_TIME_CHARS];
    char signature[SIGV4_SIGNATURE_HEX]; // of the head: what the first chunk follows
} Sigv4Payload;

typedef struct Caller {
    Str access_key;
    Str account;
    Str principal;
    Str region;           // of the scope
    Str service;          // of the scope
    Sigv4Payload payload; // if the request wanted it declared
} Caller;

// What was wrong, for services that have names of their own for it.
typedef enum AuthWhy {
    AUTH_MALFORMED, // parts are missing or make no sense
    AUTH_MISSING,   // there is no signature
    AUTH_KEY,       // the key is not known
    AUTH_TOKEN,     // the session token is not its key's
    AUTH_TOKEN_OLD,
    AUTH_SKEW,       // made too long ago, or in the future
    AUTH_EXPIRED,    // a presigned request's time is over
    AUTH_NOT_SIGNED, // headers that should be are not signed
    AUTH_NO_HASH,    // x-amz-content-sha256 is not there
    AUTH_BAD_HASH,   // or says what nobody knows
    AUTH_MISMATCH,   // the signature
} AuthWhy;

// Why a request was not believed: AWS's error name and sentence.
typedef struct AuthFault {
    Str type;
    Str message;
    AuthWhy why;
    Str access_key;                // as it was given; absent: it was not
    Str string_to_sign, canonical; // of AUTH_MISMATCH, where the rules are S3's
    Str provided;                  // the signature that came
    int64_t expired_ns;            // of AUTH_EXPIRED: when
    Str headers;                   // of AUTH_NOT_SIGNED: their names
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

// What a value of x-amz-content-sha256 says; false: nothing that is known.
bool sigv4_payload_named(Str given, Sigv4Payload *ret);

// ---- For clients

typedef struct Sigv4Sign {
    Str access_key, secret, session_token; // token absent: none
    Str region, service;
    Str method, path, query;   // the path as it will be sent, encoded; query absent: none
    const HttpHeader *headers; // host, content-type, x-amz-target...: all of them are signed
    size_t header_count;
    Str body;
    Str payload; // in place of the body's hash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"; or absent
    int64_t now_ns;
} Sigv4Sign;

typedef struct Sigv4Headers {
    HttpHeader at[3]; // x-amz-date, authorization and, with a token, x-amz-security-token
    size_t n;
    Sigv4Payload payload; // what chunks that follow are signed with (aws/chunked_out.h)
} Sigv4Headers;

// The headers to add to the request.
Err sigv4_sign(const Sigv4Sign *s, struct arena *a, Sigv4Headers *ret);

// SPDX-License-Identifier: Apache-2.0
// Signatures of forms that browsers send to S3: what is signed is the policy, in base64, that says
// what the form may hold. By version 4 (x-amz-credential, x-amz-date, x-amz-signature) or version 2
// (AWSAccessKeyId, signature).
//
// Source: Amazon S3 API Reference, "Browser-based uploads using POST".
#pragma once
#include "aws/sigv4.h"

typedef struct FormSignature {
    Str policy;                // in base64, as it came
    Str credential, signature; // of version 4; absent: version 2
    Str access_key, signature_2;
    Str token; // absent: none
} FormSignature;

// ERR_DENIED with the fault, as sigv4_verify. The policy's own end is not looked at.
Err form_verify(struct keyring *keys, struct arena *a, const FormSignature *s, int64_t now_ns,
                Caller *ret, AuthFault *ret_fault);

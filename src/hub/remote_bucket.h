// SPDX-License-Identifier: Apache-2.0
// A bucket whose objects lie at another S3 endpoint, as the configuration places it.
#pragma once
#include "base/str.h"

typedef struct RemoteBucket {
    Str name, account;             // here
    Str endpoint, region;          // "https://s3.eu-central-1.amazonaws.com"
    Str bucket, prefix;            // there; the prefix stands before every key, "" for none
    Str credentials_file, section; // as AWS's shared credentials file; or, if absent
    Str access_key, secret_key, session_token; // token absent: none
    bool host_style;                           // the bucket in the host's name, not in the path
    bool verify, public_only;                  // as HttpClientConfig has them
    Str ca_file;                               // absent: the system's
    int64_t timeout_ns;                        // between two bytes
    unsigned connections;                      // at most
} RemoteBucket;

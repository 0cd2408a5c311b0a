// SPDX-License-Identifier: Apache-2.0
// Buckets at other S3 endpoints, as the settings place them.
#pragma once
#include "hub/remote_bucket.h"
#include "server/settings.h"

// Keys of sections that name no file come from the environment. What they point to lives in `a`.
RemoteBucket *remotes_of(struct arena *a, const Settings *settings, size_t *ret_n);

// SPDX-License-Identifier: Apache-2.0
// The service on a store in memory, for the tests of this room.
#pragma once
#include "svc/iam/iam.h"

struct io_mem;

struct iam_world {
    struct io_mem *disk;
    struct kv *kv;
    struct keyring *keys;
    struct hub hub;
    void *iam;
    int64_t now_ns;
};

void iam_world_open(struct iam_world *w);
void iam_world_reopen(struct iam_world *w); // with a new keyring, as a new process has
void iam_world_close(struct iam_world *w);
struct call *iam_world_call(struct iam_world *w, struct arena *a, const char *op); // the root's
Err iam_world_run(struct iam_world *w, struct arena *a, const char *op, const void *in, void *out,
                  const struct api_error **ret_error);

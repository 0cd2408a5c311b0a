// SPDX-License-Identifier: Apache-2.0
#include "svc/iam/iam_test_world.h"
#include "base/test.h"
#include "base/time.h"
#include "os/io_mem.h"

extern const struct service iam_service;

static void start(struct iam_world *w)
{
    struct service_env env = { .io = io_mem_io(w->disk), .kv = w->kv, .hub = &w->hub };
    keyring_open(false, &w->keys);
    env.keys = w->keys;
    EXPECT_OK(iam_service.open(&env, &w->iam));
}

static void stop(struct iam_world *w)
{
    iam_service.close(w->iam);
    keyring_close(w->keys);
}

void iam_world_open(struct iam_world *w)
{
    *w = (struct iam_world){ .disk = io_mem_open(1), .now_ns = 1000 * NS_PER_S };
    EXPECT_OK(kv_open(io_mem_io(w->disk), S("/kv"), &w->kv));
    start(w);
}

void iam_world_reopen(struct iam_world *w)
{
    stop(w);
    start(w);
}

void iam_world_close(struct iam_world *w)
{
    stop(w);
    kv_close(w->kv);
    io_mem_close(w->disk);
}

static const struct api_op *op_of(const char *name)
{
    for (size_t i = 0; i < iam_api.op_count; i++)
        if (str_eq(iam_api.ops[i].name, str_of(name)))
            return &iam_api.ops[i];
    CHECK(false);
}

struct call *iam_world_call(struct iam_world *w, struct arena *a, const char *op)
{
    struct call *c = arena_new(a, struct call, 1);
    *c = (struct call){ .state = w->iam,
                        .arena = a,
                        .op = op_of(op),
                        .account = S("000000000000"),
                        .caller = S("000000000000"),
                        .region = S("us-east-1"),
                        .principal = S("arn:aws:iam::000000000000:root"),
                        .access_key = S("ROOT"),
                        .request_id = S("id"),
                        .now_ns = w->now_ns };
    return c;
}

Err iam_world_run(struct iam_world *w, struct arena *a, const char *op, const void *in, void *out,
                  const struct api_error **ret_error)
{
    struct call *c = iam_world_call(w, a, op);
    Err e = c->op->run(c, in, out);
    if (ret_error != NULL)
        *ret_error = c->error;
    return e;
}

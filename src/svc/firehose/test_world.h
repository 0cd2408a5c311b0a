// SPDX-License-Identifier: Apache-2.0
// For tests: the service on the real store, on a disk in memory, without HTTP and without a pool:
// nothing is delivered, and what is deleted goes when it is told to. Operations are called with
// JSON; what waits is finished on the caller's own loop.
#pragma once
#include "os/io_fault.h"
#include "os/io_mem.h"
#include "store/kv.h"
#include "store/log.h"
#include "svc/firehose/firehose.h"

struct test_world {
    struct io_mem *disk;
    struct io_fault *faults;
    struct kv *kv;
    struct log *log;
    struct service_env env;
    struct firehose *firehose;
};

void test_world_open(struct test_world *w);
void test_world_close(struct test_world *w);
// The program ends as it stands, and begins anew on what the disk holds then.
Err test_world_crash(struct test_world *w, int keep);

// A caller, with a loop of its own: one thread each.
struct test_caller {
    struct test_world *w;
    struct loop *loop;
};
void test_caller_open(struct test_world *w, struct test_caller *ret);
void test_caller_close(struct test_caller *c);

// One call; its output is in the arena. ERR_FAULT: ret_error has the error's name and its text.
typedef struct TestAnswer {
    const void *out;
    Str error, text;
} TestAnswer;
Err test_call(struct test_caller *c, struct arena *a, const char *op, const char *json,
              TestAnswer *ret);

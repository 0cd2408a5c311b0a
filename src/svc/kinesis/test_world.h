// SPDX-License-Identifier: Apache-2.0
// For tests: the service on the real store, on a disk in memory, without HTTP and without a pool.
// Operations are called directly; what waits is finished on the world's own loop.
#pragma once
#include "os/io_fault.h"
#include "os/io_mem.h"
#include "store/kv.h"
#include "store/log.h"
#include "svc/kinesis/kinesis.h"

struct test_world {
    struct io_mem *disk;
    struct io_fault *faults;
    struct kv *kv;
    struct log *log;
    struct loop *loop;
    struct service_env env;
    void *kinesis;
};

void test_world_open(struct test_world *w);
void test_world_open_at(struct test_world *w, int64_t now_ns); // on a clock that stands still
void test_world_close(struct test_world *w);
// The program ends as it stands, and begins anew on what the disk holds then. What has changed in
// `env` stays. `keep`: of IoMemCrash.
Err test_world_crash(struct test_world *w, int keep);

// What the front does for a call, without its bytes.
struct test_call {
    struct call call; // first: `done` gets it
    struct test_world *w;
    bool is_done;
    Err result;
};
struct test_call *test_call_new(struct test_world *w, struct arena *r);
// Brings what an operation returned to its end. With a pool's work it is done here.
Err test_finish(struct test_call *o, Err e);

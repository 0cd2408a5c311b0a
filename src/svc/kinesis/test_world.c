// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/test_world.h"
#include "base/test.h"

extern const struct service kinesis_service;

static void note_fatal(void *self, Err e)
{
    (void)self;
    CHECK(e.kind != ERR_NONE); // a power cut is one
}

static Err begin(struct test_world *w)
{
    struct io *io = io_fault_io(w->faults);
    w->kv = NULL;
    w->log = NULL;
    w->kinesis = NULL;
    TRY(kv_open(io, S("/kv"), &w->kv));
    TRY(log_open(&(LogConfig){ .io = io,
                               .dir = S("/journal"),
                               .file_bytes = 16 << 20,
                               .reserve_bytes = 256 << 10,
                               .tail_cache_bytes = 1 << 20,
                               .fatal = note_fatal },
                 &w->log));
    TRY(loop_open_with(io, &w->loop));
    w->env.io = io;
    w->env.kv = w->kv;
    w->env.log = w->log;
    w->env.loops = &w->loop;
    w->env.loop_count = 1;
    TRY(kinesis_service.open(&w->env, &w->kinesis));
    return log_ready(w->log);
}

static void end(struct test_world *w)
{
    if (w->kinesis != NULL)
        kinesis_service.stop(w->kinesis);
    log_close(w->log);
    kinesis_service.close(w->kinesis);
    kv_close(w->kv);
    loop_close(w->loop);
    w->loop = NULL;
}

void test_world_open(struct test_world *w)
{
    *w = (struct test_world){ .disk = io_mem_open(1) };
    w->faults = io_fault_open(io_mem_io(w->disk), 1);
    EXPECT_OK(begin(w));
}

void test_world_open_at(struct test_world *w, int64_t now_ns)
{
    *w = (struct test_world){ .disk = io_mem_open(1) };
    io_mem_set_clock(w->disk, now_ns,
                     now_ns); // before the log looks at it: its time never goes back
    w->faults = io_fault_open(io_mem_io(w->disk), 1);
    EXPECT_OK(begin(w));
}

void test_world_close(struct test_world *w)
{
    end(w);
    io_fault_close(w->faults);
    io_mem_close(w->disk);
}

Err test_world_crash(struct test_world *w, int keep)
{
    io_fault_power_off(w->faults);
    int64_t wall_ns = w->env.io->wall_ns(w->env.io), mono_ns = w->env.io->mono_ns(w->env.io);
    end(w);
    io_fault_close(w->faults);
    struct io_mem *later = io_mem_crash(w->disk, (IoMemCrash){ .seed = 1, .keep = keep });
    io_mem_close(w->disk);
    w->disk = later;
    io_mem_set_clock(w->disk, wall_ns, mono_ns);
    w->faults = io_fault_open(io_mem_io(w->disk), 1);
    return begin(w);
}

static void call_over(struct call *c, Err e)
{
    struct test_call *o = (struct test_call *)c;
    o->result = e;
    o->is_done = true;
    loop_stop(o->w->loop);
}

Err test_finish(struct test_call *o, Err e)
{
    if (e.kind == ERR_WAIT && o->call.work != NULL)
        return o->call.work(&o->call, o->call.work_self);
    if (e.kind != ERR_WAIT)
        return e;
    while (!o->is_done) // the loop also ends for other calls
        loop_run(o->w->loop);
    return o->result;
}

struct test_call *test_call_new(struct test_world *w, struct arena *r)
{
    struct test_call *o = arena_new(r, struct test_call, 1);
    o->w = w;
    o->call = (struct call){ .state = w->kinesis,
                             .arena = r,
                             .loop = w->loop,
                             .account = S("000000000000"),
                             .region = S("us-east-1"),
                             .request_id = S("id"),
                             .now_ns = w->env.io->wall_ns(w->env.io),
                             .done = call_over };
    return o;
}

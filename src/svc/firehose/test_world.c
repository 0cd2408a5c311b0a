// SPDX-License-Identifier: Apache-2.0
#include "svc/firehose/test_world.h"
#include "aws/bind.h"
#include "base/test.h"

extern const struct service firehose_service;

static void note_fatal(void *self, Err e)
{
    (void)self;
    CHECK(e.kind != ERR_NONE); // a power cut is one
}

static Err begin(struct test_world *w)
{
    struct io *io = io_fault_io(w->faults);
    void *state;
    w->kv = NULL;
    w->log = NULL;
    w->firehose = NULL;
    TRY(kv_open(io, S("/kv"), &w->kv));
    TRY(log_open(&(LogConfig){ .io = io,
                               .dir = S("/journal"),
                               .file_bytes = 16 << 20,
                               .reserve_bytes = 256 << 10,
                               .tail_cache_bytes = 1 << 20,
                               .fatal = note_fatal },
                 &w->log));
    w->env.io = io;
    w->env.kv = w->kv;
    w->env.log = w->log;
    w->env.data_dir = S("/");
    TRY(firehose_service.open(&w->env, &state));
    w->firehose = state;
    return log_ready(w->log);
}

static void end(struct test_world *w)
{
    if (w->firehose != NULL)
        firehose_service.stop(w->firehose);
    log_close(w->log);
    firehose_service.close(w->firehose);
    kv_close(w->kv);
}

void test_world_open(struct test_world *w)
{
    *w = (struct test_world){ .disk = io_mem_open(1) };
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

// ---- Calls

struct waiting {
    struct call call; // first: `done` gets it
    struct loop *loop;
    bool is_done;
    Err result;
};

void test_caller_open(struct test_world *w, struct test_caller *ret)
{
    ret->w = w;
    EXPECT_OK(loop_open(&ret->loop));
}

void test_caller_close(struct test_caller *c)
{
    loop_close(c->loop);
}

static void call_over(struct call *c, Err e)
{
    struct waiting *o = (struct waiting *)c;
    o->result = e;
    o->is_done = true;
    loop_stop(o->loop);
}

static const struct api_op *find_op(const char *name)
{
    for (size_t i = 0; i < firehose_api.op_count; i++)
        if (str_eq(firehose_api.ops[i].name, str_of(name)))
            return &firehose_api.ops[i];
    EXPECT(!"there is such an operation");
    return NULL;
}

static Err finish(struct waiting *o, Err e)
{
    if (e.kind == ERR_WAIT && o->call.work != NULL)
        return o->call.work(&o->call, o->call.work_self);
    if (e.kind != ERR_WAIT)
        return e;
    while (!o->is_done)
        loop_run(o->loop);
    return o->result;
}

Err test_call(struct test_caller *c, struct arena *a, const char *name, const char *json,
              TestAnswer *ret)
{
    const struct api_op *op = find_op(name);
    struct waiting *o = arena_new(a, struct waiting, 1);
    struct protocol_reader r;
    Str fault = { 0 };
    void *in = arena_alloc(a, op->input->struct_bytes, 16);
    void *out = op->output != NULL ? arena_alloc(a, op->output->struct_bytes, 16) : NULL;
    protocol_json_1_1.reader_init(&r, a, str_dup(a, str_of(json)));
    EXPECT_OK(bind_decode(&r, op->input, a, in, &fault));
    EXPECT(fault.p == NULL);
    o->loop = c->loop;
    o->call = (struct call){ .state = c->w->firehose,
                             .arena = a,
                             .loop = c->loop,
                             .op = op,
                             .account = S("000000000000"),
                             .region = S("us-east-1"),
                             .principal = S("arn:aws:iam::000000000000:root"),
                             .request_id = S("id"),
                             .now_ns = c->w->env.io->wall_ns(c->w->env.io),
                             .done = call_over };
    Err e = finish(o, op->run(&o->call, in, out));
    *ret = (TestAnswer){ .out = out };
    if (e.kind == ERR_FAULT)
        *ret = (TestAnswer){ .error = o->call.error->name, .text = o->call.error_text };
    return e;
}

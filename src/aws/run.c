// SPDX-License-Identifier: Apache-2.0
// Runs operations: here on the reactor, or on the pool, and to the end of those that wait.
#include "aws/front_priv.h"
#include "base/logline.h"

// Of the service itself. IAM calls it ServiceFailure, the others have Internal in its name.
static bool is_internal(const struct api_error *e)
{
    return e->status == aws_InternalFailure.status &&
           (str_search(e->name, S("Internal")) < e->name.n || str_eq(e->name, S("ServiceFailure")));
}

// An operation whose model names an error of the service itself has that one: what clients'
// generated code catches.
const struct api_error *front_failure(const struct api_op *op)
{
    for (size_t i = 0; op != NULL && i < op->error_count; i++)
        if (is_internal(op->errors[i]))
            return op->errors[i];
    return NULL;
}

void front_failed(struct front_call *f)
{
    const struct api_error *own = front_failure(f->call.op);
    if (own != NULL)
        reply_fault(f, own, (Str){ 0 });
    else
        reply_error(f, aws_InternalFailure.status, aws_InternalFailure.name, (Str){ 0 });
}

static void finish(struct front_call *f)
{
    Err e = f->result;
    bool is_told = e.kind == ERR_NONE || e.kind == ERR_MEMORY ||
                   (e.kind == ERR_FAULT && f->call.error != NULL);
    if (!is_told)
        LOG(LOG_ERROR, "operation failed", F_STR("op", f->call.op->name), F_ERR(e),
            F_STR("request_id", f->call.request_id));
    if (f->streams) {
        stream_finish(f, e);
    } else if (e.kind == ERR_NONE) {
        reply_output(f);
    } else if (e.kind == ERR_MEMORY) {
        reply_no_memory(f);
    } else if (e.kind == ERR_FAULT && f->call.error != NULL) {
        reply_fault(f, f->call.error, f->call.error_text);
    } else {
        front_failed(f);
    }
}

static struct front_call *of_task(struct task *t)
{
    return (struct front_call *)((char *)t - offsetof(struct front_call, task));
}

static void finish_on_loop(struct task *t)
{
    finish(of_task(t));
}

// Called once by the operation's return and once by call_done; the later one finishes, on the
// exchange's loop: at once if this is it, else by a post, so that whoever completes many calls (a
// commit) only posts. The reply itself is queued by http, so no request begins inside of another.
static void part_done(struct front_call *f)
{
    if (atomic_fetch_sub(&f->parts, 1) != 1)
        return;
    if (loop_is_current(f->x->loop)) {
        finish(f);
        return;
    }
    f->task = (struct task){ .run = finish_on_loop };
    loop_post(f->x->loop, &f->task);
}

static void done_later(struct call *c, Err e)
{
    struct front_call *f = (struct front_call *)c;
    f->result = e;
    part_done(f);
}

static bool is_gone(const struct call *c)
{
    const struct front_call *f = (const struct front_call *)c;
    return http_wait_is_over(f->x);
}

static void returned(struct front_call *f, Err e)
{
    if (e.kind == ERR_WAIT) {
        part_done(f);
        return;
    }
    f->result = e;
    finish(f);
}

// Work for a client that has gone while its call was queued would only delay others, and the end of
// the server. And what runs here may answer with much: it waits until clients have taken theirs.
static void run_on_pool(struct task *t)
{
    struct front_call *f = of_task(t);
    if (!http_stream_gone(f->x) && !http_replies_full(f->x)) {
        struct call *c = &f->call;
        Err e = c->work != NULL        ? c->work(c, c->work_self)
                : f->elsewhere != NULL ? f->elsewhere->run(c, f->in, f->out)
                                       : c->op->run(c, f->in, f->out);
        returned(f, e.kind == ERR_WAIT && c->sink != NULL ? rest_take_body(f) : e);
        return;
    }
    reply_error(f, aws_ThrottlingException.status, aws_ThrottlingException.name,
                S("Rate exceeded"));
}

struct pool *front_pool(const struct front_call *f)
{
    bool own = f->elsewhere != NULL && f->elsewhere->pool != NULL;
    return own ? f->elsewhere->pool : f->service->pool;
}

static void run_later(struct front_call *f)
{
    f->task = (struct task){ .run = run_on_pool };
    Err e = pool_submit(front_pool(f), &f->task);
    if (e.kind != ERR_NONE)
        reply_error(f, aws_ThrottlingException.status, aws_ThrottlingException.name,
                    S("Rate exceeded"));
}

static bool is_quick(struct front_call *f)
{
    return f->service->is_quick != NULL && !http_replies_full(f->x) &&
           f->service->is_quick(&f->call, f->in);
}

void front_run(struct front_call *f)
{
    const struct api_op *op = f->call.op;
    size_t out_bytes = op->output != NULL ? op->output->struct_bytes : 1;
    f->before_run = arena_mark(f->x->arena);
    f->out = arena_alloc(f->x->arena, out_bytes, _Alignof(max_align_t));
    f->call.done = done_later;
    f->call.gone = is_gone;
    f->call.protocol = f->protocol;
    f->call.stream = &front_stream;
    atomic_init(&f->parts, 2);
    if (op->blocking && f->service->elsewhere != NULL)
        f->elsewhere = f->service->elsewhere(&f->call, f->in);
    if (op->blocking && (f->elsewhere != NULL || !is_quick(f))) {
        run_later(f);
        return;
    }
    Err e = op->run(&f->call, f->in, f->out);
    if (e.kind == ERR_WAIT && f->call.work != NULL)
        run_later(f);
    else
        returned(f, e);
}

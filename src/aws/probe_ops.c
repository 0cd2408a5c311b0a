// SPDX-License-Identifier: Apache-2.0
// The operations of the service that exists only in tests.
#include "aws/probe_ops.h"
#include "aws/probe_api.h"

struct probe_seen probe_seen;

static void see(struct call *c)
{
    probe_seen.account = c->account;
    probe_seen.region = c->region;
    probe_seen.principal = c->principal;
    probe_seen.state = c->state;
}

Err probe_Put(struct call *c, const struct probe_Put_in *in, struct probe_Put_out *out)
{
    see(c);
    out->name = in->name;
    out->free = in->free;
    out->data = in->data;
    return OK;
}

Err probe_Batch(struct call *c, const struct probe_Batch_in *in, struct probe_Batch_out *out)
{
    see(c);
    probe_Stored stored = { arena_new(c->arena, probe_StoredEntry, in->entries.n), 0, true };
    for (; stored.n < in->entries.n; stored.n++) {
        const probe_Entry *e = &in->entries.at[stored.n];
        stored.at[stored.n] = (probe_StoredEntry){
            .name = e->name,
            .hash = e->hash,
            .data = blob_bytes(c->arena, e->data),
            .early = e->early,
        };
    }
    out->entries = stored;
    out->name = in->name;
    out->mode = in->mode;
    return OK;
}

Err probe_Echo(struct call *c, const struct probe_Echo_in *in, struct probe_Echo_out *out)
{
    (void)c;
    out->flat = in->flat;
    out->called = in->called;
    out->each = in->each;
    out->marks = in->marks;
    out->flat_marks = in->flat_marks;
    out->has_moment = in->has_moment;
    out->moment = in->moment;
    return OK;
}

Err probe_Drop(struct call *c, const struct probe_Drop_in *in)
{
    (void)c;
    (void)in;
    return OK;
}

Err probe_Nothing(struct call *c, const struct probe_Nothing_in *in, struct probe_Nothing_out *out)
{
    (void)c;
    (void)in;
    (void)out;
    return OK;
}

Err probe_Fail(struct call *c, const struct probe_Fail_in *in)
{
    if (!str_eq(in->how, S("taken")))
        return fail(ERR_IO, "the probe's own fault");
    Err first = call_fail(c, &probe_Taken, "%s is taken", "it");
    err_ignore(call_fail(c, &aws_AccessDeniedException, "too late")); // the first one wins
    return first;
}

Err probe_Later(struct call *c, const struct probe_Later_in *in, struct probe_Later_out *out)
{
    out->name = in->name;
    probe_seen.waiting = c;
    if (probe_seen.early)
        call_done(c, OK);
    return call_wait(c);
}

Err probe_Slow(struct call *c, const struct probe_Slow_in *in, struct probe_Slow_out *out)
{
    (void)c;
    out->name = in->name;
    return OK;
}

static void note(void *self)
{
    atomic_fetch_add((atomic_int *)self, 1);
}

static void send_tick(struct call *c, int32_t number)
{
    probe_Tick tick = { .number = number };
    struct event_frame *f;
    Err e = event_frame_open(c, &(struct probe_Watch_events){ .tick = &tick }, 0, &f);
    CHECK(e.kind == ERR_NONE);
    c->stream->send(c, f);
    event_frame_unref(f);
}

Err probe_Watch(struct call *c, const struct probe_Watch_in *in)
{
    if (str_eq(in->how, S("refuse")))
        return call_fail(c, &probe_Taken, "refused");
    c->stream->start(c, note, &probe_seen.told);
    for (int32_t i = 1; i <= in->ticks; i++)
        send_tick(c, i);
    if (str_eq(in->how, S("wait")))
        probe_seen.waiting = c;
    else if (str_eq(in->how, S("taken")))
        call_done(c, call_fail(c, &probe_Taken, "it is taken"));
    else if (str_eq(in->how, S("denied")))
        call_done(c, call_fail(c, &aws_AccessDeniedException, "no"));
    else if (str_eq(in->how, S("fault")))
        call_done(c, fail(ERR_IO, "the probe's own fault"));
    else
        call_done(c, OK);
    return call_wait(c);
}

static Err hand_back(struct call *c, void *self)
{
    struct probe_Handed_out *out = self;
    out->name = str_from(loop_is_current(c->loop) ? "loop" : "pool", 4);
    return OK;
}

Err probe_Handed(struct call *c, const struct probe_Handed_in *in, struct probe_Handed_out *out)
{
    (void)in;
    return call_on_pool(c, hand_back, out);
}

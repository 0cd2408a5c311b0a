// SPDX-License-Identifier: Apache-2.0
#include "hub/commits.h"
#include "base/test.h"
#include "base/time.h"
#include "os/io_mem.h"
#include "store/log.h"

#include <stddef.h>

enum { PUTS = 5, SHARD = 7 };

struct put {
    struct log_append append;
    LogRecord record;
    LogPlace place;
    struct task task;
    struct rig *rig;
    bool is_done; // the log has said so
};

// A loop that makes some puts in its first task and stops when the last one is answered.
struct rig {
    struct log *log;
    struct loop *loop;
    struct commits *commits;
    struct task begin;
    struct put puts[PUTS];
    Str data;
    int held, answered;
    bool is_early; // a put was answered within `done`
};

static void answered(struct task *t)
{
    struct put *p = (struct put *)((char *)t - offsetof(struct put, task));
    struct rig *r = p->rig;
    EXPECT(p->is_done && loop_is_current(r->loop));
    if (++r->answered == PUTS)
        loop_stop(r->loop);
}

static void done(struct log_append *a, Err e)
{
    struct put *p = (struct put *)a;
    struct rig *r = p->rig;
    EXPECT_OK(e);
    p->is_done = true;
    bool is_current = loop_is_current(r->loop); // else what it counts is another thread's
    int before = is_current ? r->answered : 0;
    commits_then(r->commits, r->loop, &p->task);
    if (is_current)
        r->is_early |= r->answered != before;
}

static void begin(struct task *t)
{
    struct rig *r = (struct rig *)((char *)t - offsetof(struct rig, begin));
    for (int i = 0; i < PUTS; i++) {
        struct put *p = &r->puts[i];
        p->rig = r;
        p->task.run = answered;
        p->record = (LogRecord){ .shard = SHARD, .key = S("key"), .data = blob_of(r->data) };
        p->append = (struct log_append){
            .records = &p->record, .n = 1, .places = &p->place, .done = done, .user = p
        };
        p->append.held = commits_soon(r->commits, r->loop, &p->append);
        r->held += p->append.held;
        EXPECT_OK(log_append(r->log, &p->append));
        EXPECT(!p->append.held || !p->is_done);
    }
}

static void run(struct rig *r, struct io *io)
{
    LogConfig config = { .io = io, .dir = S("/log") };
    EXPECT_OK(log_open(&config, &r->log));
    EXPECT_OK(log_shard_add(r->log, SHARD, INT64_C(86400) * 1000000000));
    EXPECT_OK(log_ready(r->log));
    EXPECT_OK(loop_open(&r->loop));
    commits_open(r->log, &r->loop, 1, &r->commits);
    struct log_append none = { 0 };
    EXPECT(!commits_soon(r->commits, r->loop, &none)); // this is not its thread
    r->begin.run = begin;
    loop_post(r->loop, &r->begin);
    loop_run(r->loop);
    EXPECT_INT(PUTS, r->answered);
    EXPECT(!r->is_early);
    LogStats stats;
    log_stats(r->log, &stats);
    EXPECT_INT(PUTS, stats.records);
    commits_close(r->commits);
    loop_close(r->loop);
    log_close(r->log);
}

TEST(puts_of_a_turn_are_one_block)
{
    (void)a;
    AUTO(io_mem) disk = io_mem_open(1);
    struct rig r = { .data = S("data") };
    run(&r, io_mem_io(disk));
    EXPECT_INT(PUTS, r.held);
    for (int i = 1; i < PUTS; i++)
        EXPECT_INT(r.puts[0].place.position + (uint64_t)i, r.puts[i].place.position);
}

TEST(large_puts_do_not_wait_for_the_turns_end)
{
    AUTO(io_mem) disk = io_mem_open(1);
    size_t n = 65537;
    struct rig r = { .data = str_from(arena_alloc(a, n, 1), n) };
    run(&r, io_mem_io(disk));
    EXPECT_INT(0, r.held);
}

// ---- Waiting for clients that come back.

enum { ROUNDS = 60, CLIENTS = 2, FIRST_TURN = 2, APART_TURNS = 5, TURN_NS = 100000 };
#define DISK_NS INT64_C(1000000)
enum round_kind { TOGETHER, APART, ALONE, ROUND_KINDS };

// In each round clients put and are answered: both in one turn, then some turns apart, then one of
// them alone. The log's threads may take a commit, too, when they are awake for another reason, so
// not all rounds tell of waiting.
struct returning {
    struct rig rig;
    struct io_mem *clock; // the loop's: stands still but for what is said here
    struct task step;
    int round, turns, answered;
    int joined;     // puts that were apart, in one block
    int waits_most; // turns that a client who was alone has waited for its answer
    struct put puts[CLIENTS];
};

static void returning_answered(struct task *t)
{
    struct put *p = (struct put *)((char *)t - offsetof(struct put, task));
    ((struct returning *)p->rig)->answered++;
}

// The disk takes its time.
static void returning_done(struct log_append *a, Err e)
{
    struct put *p = (struct put *)a;
    struct returning *r = (struct returning *)p->rig;
    EXPECT_OK(e);
    io_mem_advance(r->clock, DISK_NS);
    commits_then(r->rig.commits, r->rig.loop, &p->task);
}

static void put_one(struct returning *r, struct put *p)
{
    p->rig = &r->rig;
    p->task.run = returning_answered;
    p->record = (LogRecord){ .shard = SHARD, .key = S("key"), .data = blob_of(S("data")) };
    p->append = (struct log_append){
        .records = &p->record, .n = 1, .places = &p->place, .done = returning_done
    };
    p->append.held = commits_soon(r->rig.commits, r->rig.loop, &p->append);
    EXPECT(p->append.held);
    EXPECT_OK(log_append(r->rig.log, &p->append));
}

static void end_round(struct returning *r, enum round_kind kind)
{
    if (kind == APART)
        r->joined += r->puts[1].place.position == r->puts[0].place.position + 1;
    if (kind == ALONE)
        r->waits_most = MAX(r->waits_most, r->turns - FIRST_TURN);
    r->round++;
    r->turns = r->answered = 0;
}

static void step(struct task *t)
{
    struct returning *r = (struct returning *)((char *)t - offsetof(struct returning, step));
    enum round_kind kind = (enum round_kind)(r->round % ROUND_KINDS);
    if (r->turns == FIRST_TURN)
        put_one(r, &r->puts[0]);
    if (kind != ALONE && r->turns == FIRST_TURN + (kind == APART ? APART_TURNS : 0))
        put_one(r, &r->puts[1]);
    if (kind == ALONE)
        io_mem_advance(r->clock, TURN_NS);
    r->turns++;
    if (r->answered == (kind == ALONE ? 1 : CLIENTS))
        end_round(r, kind);
    if (r->round == ROUNDS)
        loop_stop(r->rig.loop);
    else
        loop_post(r->rig.loop, t);
}

TEST(a_commit_waits_for_clients_that_come_back_and_not_for_ever)
{
    (void)a;
    AUTO(io_mem) disk = io_mem_open(1);
    AUTO(io_mem) clock = io_mem_open(2);
    io_mem_set_clock(clock, NS_PER_S, NS_PER_S);
    io_mem_set_clock(disk, NS_PER_S, NS_PER_S); // to the log each write is quick
    struct returning r = { .clock = clock, .step.run = step };
    LogConfig config = { .io = io_mem_io(disk), .dir = S("/log") };
    EXPECT_OK(log_open(&config, &r.rig.log));
    EXPECT_OK(log_shard_add(r.rig.log, SHARD, INT64_C(86400) * NS_PER_S));
    EXPECT_OK(log_ready(r.rig.log));
    EXPECT_OK(loop_open_with(io_mem_io(clock), &r.rig.loop));
    commits_open(r.rig.log, &r.rig.loop, 1, &r.rig.commits);
    loop_post(r.rig.loop, &r.step);
    loop_run(r.rig.loop);
    EXPECT(r.joined > 0);
    EXPECT(r.waits_most >= DISK_NS / TURN_NS);
    commits_close(r.rig.commits);
    loop_close(r.rig.loop);
    log_close(r.rig.log);
}

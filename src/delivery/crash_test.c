// SPDX-License-Identifier: Apache-2.0
// The disk fails, or the power does, at every operation of a delivery: nothing that was stored is
// lost, and what comes twice was delivered when its position could not be noted.
#include "base/test.h"
#include "delivery/test_world.h"

static struct test_world world;
enum { FAULTS_MAX = 400, ROUNDS = 3 };

static size_t times_in(Str all, Str part)
{
    size_t n = 0;
    for (size_t at; (at = str_search(all, part)) < all.n; n++)
        all = str_skip(all, at + part.n);
    return n;
}

static struct delivery *add(struct test_world *w)
{
    DeliveryConfig c = world_config(w, 7);
    return world_add(w, &c);
}

static void put_round(struct test_world *w, struct delivery *v, struct arena *a, int round)
{
    for (int i = 0; i < 3; i++)
        world_put_one(w, v, str_fmt(a, "<%d-%d>", round, i));
}

static void expect_all(struct test_world *w, struct arena *a, int rounds, size_t most)
{
    Str all = world_content(w, a, S(""));
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < 3; i++) {
            size_t n = times_in(all, str_fmt(a, "<%d-%d>", round, i));
            EXPECT(n >= 1 && n <= most);
        }
}

// `most`: how often a record may be there then.
static void cut_everywhere(struct arena *a, bool joins, size_t most)
{
    struct test_world *w = &world;
    size_t n = 0;
    bool hit = true;
    for (; hit && n < FAULTS_MAX; n++) {
        world_open(w);
        w->joins = joins;
        struct delivery *v = add(w);
        for (int round = 0; round < ROUNDS; round++) {
            put_round(w, v, a, round);
            if (round == ROUNDS - 1)
                io_fault_add(w->faults,
                             (IoFault){ .ops = IO_OP_CHANGE, .skip = n, .power_off = true });
            world_advance(w, 60000);
        }
        hit = io_fault_hits(w->faults) > 0;
        delivery_remove(v);
        world_restart(w);
        v = add(w);
        world_run(w);
        world_advance(w, 60000);
        expect_all(w, a, ROUNDS, hit ? most : 1);
        delivery_remove(v);
        world_close(w);
    }
    EXPECT(n > 1 && n < FAULTS_MAX);
}

TEST(a_power_cut_at_any_operation_of_a_delivery_loses_nothing)
{
    cut_everywhere(a, false, 2);
}

TEST(nothing_comes_twice_where_positions_are_committed_with_the_object)
{
    cut_everywhere(a, true, 1);
}

// The device says no for a while, and then takes everything again.
TEST(a_full_disk_for_positions_repeats_objects_and_loses_nothing)
{
    struct test_world *w = &world;
    for (uint64_t skip = 0; skip < 3; skip++) {
        world_open(w);
        struct delivery *v = add(w);
        world_run(w);
        put_round(w, v, a, 0);
        io_fault_add(w->faults, (IoFault){ .ops = IO_OP_WRITE | IO_OP_SYNC,
                                           .path_part = S("/kv"),
                                           .skip = skip,
                                           .times = 2,
                                           .err = fail(ERR_FULL, "injected") });
        world_advance(w, 60000);
        put_round(w, v, a, 1);
        world_advance(w, 600000);
        world_advance(w, 600000);
        expect_all(w, a, 2, 4);
        DeliveryState state;
        delivery_state(v, a, &state);
        EXPECT_INT(0, state.backlog_records);
        EXPECT_INT(0, state.attempts);
        delivery_remove(v);
        world_close(w);
    }
}

// Reading fails: of the log beneath a delivery.
TEST(a_log_that_cannot_be_read_is_waited_for)
{
    struct test_world *w = &world;
    world_open(w);
    struct delivery *v = add(w);
    world_run(w);
    put_round(w, v, a, 0);
    delivery_remove(v);
    world_restart(w); // nothing is in memory any more
    v = add(w);
    io_fault_add(w->faults, (IoFault){ .ops = IO_OP_READ, .path_part = S("/journal"), .times = 3 });
    world_run(w);
    for (int i = 0; i < 4; i++)
        world_advance(w, 60000);
    expect_all(w, a, 1, 1);
    delivery_remove(v);
    world_close(w);
}

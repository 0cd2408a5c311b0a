// SPDX-License-Identifier: Apache-2.0
// Who watches a shard is told of what changes it, and of nothing else.
#include "store/log/log_test_help.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { FIRST = 1, SECOND = 2 };
#define HOUR_NS (INT64_C(3600) * NS_PER_S)

struct watcher {
    struct log_watch watch; // first
    atomic_int told;
    bool is_on;
};

static void told(struct log_watch *w)
{
    struct watcher *x = (struct watcher *)w;
    EXPECT(x->is_on);
    atomic_fetch_add(&x->told, 1);
}

static struct log *open_two(const LogConfig *config)
{
    struct log *l = NULL;
    EXPECT_OK(log_open(config, &l));
    EXPECT_OK(log_shard_add(l, FIRST, HOUR_NS));
    EXPECT_OK(log_shard_add(l, SECOND, HOUR_NS));
    EXPECT_OK(log_ready(l));
    return l;
}

static void watch(struct log *l, struct watcher *x, uint64_t shard)
{
    *x = (struct watcher){ .watch = { .shard = shard, .changed = told }, .is_on = true };
    EXPECT_OK(log_watch(l, &x->watch));
}

static void put(struct log *l, uint64_t shard)
{
    LogPlace place;
    EXPECT_OK(test_put(l, shard, S("data"), &place));
}

// It may be told a moment after the append was.
static void wait_told(struct watcher *x, int times)
{
    while (atomic_load(&x->told) < times)
        nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
}

TEST(all_who_watch_a_shard_are_told_of_its_records)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    AUTO(log) l = open_two(&config);
    struct watcher one, two;
    watch(l, &one, FIRST);
    watch(l, &two, FIRST);
    for (int i = 1; i <= 10; i++) {
        put(l, FIRST);
        wait_told(&one, i);
        wait_told(&two, i);
    }
    log_unwatch(l, &one.watch);
    log_unwatch(l, &two.watch);
}

TEST(nobody_is_told_of_other_shards_or_after_he_left)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    AUTO(log) l = open_two(&config);
    struct watcher one, two;
    watch(l, &one, FIRST);
    watch(l, &two, FIRST);
    log_unwatch(l, &one.watch);
    one.is_on = false; // told() would end the test
    put(l, SECOND);
    test_wait_for_quiet(l);
    EXPECT_INT(0, atomic_load(&two.told));
    put(l, FIRST);
    wait_told(&two, 1);
    test_wait_for_quiet(l);
    EXPECT_INT(1, atomic_load(&two.told));
    log_unwatch(l, &two.watch);
}

TEST(the_end_of_a_shard_and_its_removal_are_told)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    AUTO(log) l = open_two(&config);
    struct watcher one, two;
    LogPlace end;
    watch(l, &one, FIRST);
    watch(l, &two, SECOND);
    EXPECT_OK(log_shards_end(l, (uint64_t[]){ FIRST }, 1, &end));
    wait_told(&one, 1);
    EXPECT_OK(log_shards_drop(l, (uint64_t[]){ FIRST, SECOND }, 2));
    wait_told(&one, 2);
    wait_told(&two, 1);
    EXPECT_ERR(ERR_NOT_FOUND, log_watch(l, &one.watch));
    log_unwatch(l, &one.watch); // fine, though the shard is gone
    log_unwatch(l, &two.watch);
}

struct putting {
    struct log *l;
    atomic_bool stop;
};

static void *put_on(void *self)
{
    struct putting *p = self;
    while (!atomic_load(&p->stop))
        put(p->l, FIRST);
    return NULL;
}

TEST(who_comes_and_goes_while_records_are_stored_is_told_in_between_only)
{
    enum { ROUNDS = 200 };
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    AUTO(log) l = open_two(&config);
    struct putting p = { .l = l };
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, put_on, &p) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        struct watcher *x = xalloc(sizeof *x), *y = xalloc(sizeof *y);
        watch(l, x, FIRST);
        watch(l, y, FIRST);
        wait_told(x, 1);
        log_unwatch(l, &x->watch);
        free(x); // the sanitizers see who touches it
        log_unwatch(l, &y->watch);
        free(y);
    }
    atomic_store(&p.stop, true);
    EXPECT(pthread_join(thread, NULL) == 0);
}

// SPDX-License-Identifier: Apache-2.0
#include "store/log_test_help.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SHARD = 7, OTHER = 8, LONG_NS_DAYS = 1 };
#define DAY_NS (86400 * NS_PER_S)

static struct log *open_with(const LogConfig *config, uint64_t shards)
{
    struct log *l = NULL;
    EXPECT_OK(log_open(config, &l));
    for (uint64_t i = 0; i < shards; i++)
        EXPECT_OK(log_shard_add(l, SHARD + i, DAY_NS));
    EXPECT_OK(log_ready(l));
    return l;
}

TEST(a_record_is_read_back_as_it_was_put)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    AUTO(log) l = open_with(&config, 1);
    LogPlace place;
    EXPECT_OK(test_put(l, SHARD, S("hello"), &place));
    EXPECT(place.position >= 1 << LOG_ORDINAL_BITS && place.arrival_ms > 0);
    LogBatch all = test_read_all(l, a, SHARD, 0);
    EXPECT_INT(1, all.n);
    EXPECT_INT(place.position, all.at[0].position);
    EXPECT_INT(place.arrival_ms, all.at[0].arrival_ms);
    EXPECT_STR(S("hello"), all.at[0].data);
    EXPECT_STR(S("key"), all.at[0].key);
    EXPECT_STR(S(""), all.at[0].hash_key);
}

TEST(records_are_there_after_a_restart)
{
    AUTO(io_mem) disk = io_mem_open(1);
    LogConfig config = test_config(io_mem_io(disk), S("/log"));
    LogPlace first, second;
    struct log *l = open_with(&config, 1);
    EXPECT_OK(test_put(l, SHARD, S("one"), &first));
    EXPECT_OK(test_put(l, SHARD, S("two"), &second));
    log_close(l);
    l = open_with(&config, 1);
    test_expect_data(l, a, SHARD, (Str[]){ S("one"), S("two") }, 2);
    LogPlace third;
    EXPECT_OK(test_put(l, SHARD, S("three"), &third));
    EXPECT(first.position < second.position && second.position < third.position);
    test_expect_data(l, a, SHARD, (Str[]){ S("one"), S("two"), S("three") }, 3);
    log_close(l);
}

TEST(a_real_directory_holds_the_log)
{
    for (int uring = 0; uring < 2; uring++) {
        io_allow_uring(uring != 0);
        LogConfig config =
            test_config(io_real(), str_cat(a, test_dir(a), uring ? S("/u") : S("/t")));
        LogPlace place;
        struct log *l = open_with(&config, 1);
        LogStats stats;
        log_stats(l, &stats);
        EXPECT(uring || str_eq(str_of(stats.queue_kind), S("pwritev2")));
        for (int i = 0; i < 100; i++)
            EXPECT_OK(test_put(l, SHARD, str_fmt(a, "%d", i), &place));
        log_close(l);
        l = open_with(&config, 1);
        LogBatch all = test_read_all(l, a, SHARD, 0);
        EXPECT_INT(100, all.n);
        for (size_t i = 0; i < all.n; i++)
            EXPECT_STR(str_fmt(a, "%zu", i), all.at[i].data);
        log_close(l);
    }
    io_allow_uring(true);
}

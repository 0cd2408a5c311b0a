// SPDX-License-Identifier: Apache-2.0
// What the tests of the log share: a log with small files on a disk in memory, and appends that are
// waited for.
#pragma once
#include "base/test.h"
#include "base/time.h"
#include "os/io_fault.h"
#include "os/io_mem.h"
#include "store/log/journal_priv.h"

#include <stdatomic.h>

enum { TEST_FILE_BYTES = 1 << 20 };

// An append and its records, on the heap until it is collected.
struct test_append {
    struct log_append append; // first
    LogRecord records[LOG_APPEND_RECORDS_MAX];
    LogPlace places[LOG_APPEND_RECORDS_MAX];
    _Atomic int finished;
    Err err;
    struct arena *texts; // of those that come as base64
};

// Journal files of 1 MiB; the reserve is 256 KiB.
LogConfig test_config(struct io *io, Str dir);

// One record after another into the same append; begin with n = 0. Of several, every other one
// comes as base64: both are the same to all.
struct test_append *test_append_new(void);
void test_append_free(struct test_append *t);
void test_append_add(struct test_append *t, uint64_t shard, Str key, Str data);
Err test_append_start(struct log *l, struct test_append *t);
Err test_append_wait(struct test_append *t); // and nothing else of it is waited for
// Adds one record and waits. Returns its place.
Err test_put(struct log *l, uint64_t shard, Str data, LogPlace *ret);

// Ends the test unless the shard holds exactly these data, in order, in ascending positions.
void test_expect_data(struct log *l, struct arena *a, uint64_t shard, const Str *data, size_t n);
// All records of a shard from `from` on, in batches.
LogBatch test_read_all(struct log *l, struct arena *a, uint64_t shard, uint64_t from);

void test_wait_for_spare(struct log *l); // until the next journal file is ready
void test_wait_for_quiet(struct log *l); // until its threads have nothing to do
// Keeps the expiry thread, which looks around once a second, and log_expire from beginning
// anything, until it is let go.
void test_hold_expiry(struct log *l);
void test_release_expiry(struct log *l);
// Time passes while nobody tidies up: what is under way goes by the time at which it began, and
// when it fails then nothing is tried again for a while.
void test_advance(struct log *l, struct io_mem *disk, int64_t ns);
size_t test_files_in_use(struct log *l);
uint64_t test_file_number(struct log *l, size_t i); // of those in use, oldest first

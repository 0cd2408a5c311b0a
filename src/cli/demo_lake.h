// SPDX-License-Identifier: Apache-2.0
// The lake of the demo: a delivery stream reads what is put into `clicks` and writes it to the
// bucket `lake` as Parquet, partitioned by hour; a table of the Data Catalog says its columns.
#pragma once
#include "cli/blob.h"

struct demo_lake;

// Makes role, bucket, table and delivery stream; when it returns, what is put is delivered. Borrows
// both.
ExitCode demo_lake_open(const struct invocation *in, struct client *c, Str stream_arn,
                        struct demo_lake **ret);
void demo_lake_close(struct demo_lake *l); // NULL is fine
AUTO_CLOSE(demo_lake)

typedef struct DemoLake {
    uint64_t objects, rows, bytes; // rows as the footers of the objects say
    Str newest;                    // its key; the lake's
} DemoLake;

// Looks for objects that have come since.
ExitCode demo_lake_look(struct demo_lake *l, DemoLake *ret);
// Has delivered what waits, until so many rows are in objects, or nothing has come for a while.
ExitCode demo_lake_drain(struct demo_lake *l, uint64_t records, DemoLake *ret);

// SPDX-License-Identifier: Apache-2.0
// The pages of the server itself: health for people, probes and tools that know LocalStack, and
// metrics.
//
//     /_headrace/live        200 while the process works
//     /_headrace/ready       200 when records can be stored, else 503
//     /_headrace/health      what it is and how it is, as JSON
//     /health, /_localstack/health    {"services":{"kinesis":"running"},...}
//     /_localstack/init      which stages of the start are complete
//     /metrics               Prometheus text
#pragma once
#include "aws/front.h"
#include "store/log.h"
#include "store/zones/zones.h"

struct pages;

typedef struct PagesConfig {
    struct io *io;
    struct log *log;
    struct pool *pool;   // NULL: none
    struct pool *prompt; // likewise
    struct zones *zones; // NULL: none
    Str version, profile;
    const Str *services; // names
    size_t service_count;
} PagesConfig;

// Registers the pages; everything is borrowed and outlives them. The front may be NULL in tests.
Err pages_open(const PagesConfig *config, struct front *front, struct pages **ret);
void pages_close(struct pages *p); // NULL is fine
AUTO_CLOSE(pages)

// Ready from now on, or no longer. From any thread.
void pages_set_ready(struct pages *p, bool ready);

// The body of a page into `b`, and its status; 404 for a path that is none. For tests.
unsigned pages_render(struct pages *p, Str path, struct buf *b);

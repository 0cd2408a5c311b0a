// SPDX-License-Identifier: Apache-2.0
// Any text as a query of Metrics Insights: it is refused with a reason, or within its limits, and
// means metrics or not.
#include "svc/cloudwatch/insights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const Dimension dims[] = { { S_INIT("Host"), S_INIT("h") },
                                      { S_INIT("Zone"), S_INIT("z") } };
    static const SeriesName name = { S_INIT("1"), S_INIT("r"), S_INIT("N"), S_INIT("m"), dims, 2 };
    AUTO(arena) a = arena_open();
    Insights q;
    Str text = str_from(data, size);
    Err e = insights_parse(a, text, &q);
    CHECK(e.kind == ERR_NONE || e.kind == ERR_INVALID);
    if (e.kind != ERR_NONE)
        return 0;
    CHECK(insights_is_query(text));
    CHECK(q.limit >= 1 && q.limit <= INSIGHTS_SERIES_MAX && q.metric.n > 0 && q.name_space.n > 0);
    CHECK(q.schema_count <= SERIES_DIMENSIONS_MAX && q.group_count <= SERIES_DIMENSIONS_MAX);
    (void)insights_matches(&q, &name);
    return 0;
}

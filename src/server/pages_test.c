// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "base/test.h"
#include "codec/json.h"
#include "os/io.h"
#include "server/pages.h"

#include <stdlib.h>

static const Str names[] = { S_INIT("kinesis") };

static struct pages *opened(struct arena *a, struct log **ret_log)
{
    LogConfig log = { .io = io_real(),
                      .dir = str_cat(a, test_dir(a), S("/journal")),
                      .file_bytes = 8 << 20,
                      .reserve_bytes = 1 << 20 };
    EXPECT_OK(log_open(&log, ret_log));
    PagesConfig config = { .io = io_real(),
                           .log = *ret_log,
                           .version = S("1.2.3"),
                           .profile = S("production"),
                           .services = names,
                           .service_count = 1 };
    struct pages *p = NULL;
    EXPECT_OK(pages_open(&config, NULL, &p));
    return p;
}

static JsonValue *json_page(struct arena *a, struct pages *p, Str path, unsigned status)
{
    AUTO_BUF(b);
    EXPECT_INT(status, pages_render(p, path, &b));
    JsonValue *v = NULL;
    EXPECT_OK(json_parse(a, str_dup(a, buf_str(&b)), &v));
    return v;
}

TEST(a_server_is_alive_before_it_is_ready)
{
    AUTO(log) l = NULL;
    AUTO(pages) p = opened(a, &l);
    EXPECT_STR(S("live"), json_text(json_page(a, p, S("/_headrace/live"), 200), S("status")));
    EXPECT_STR(S("not ready"), json_text(json_page(a, p, S("/_headrace/ready"), 503), S("status")));
    pages_set_ready(p, true);
    EXPECT_STR(S("ready"), json_text(json_page(a, p, S("/_headrace/ready"), 200), S("status")));
    pages_set_ready(p, false);
    EXPECT_STR(S("not ready"), json_text(json_page(a, p, S("/_headrace/ready"), 503), S("status")));
}

TEST(health_names_the_services_to_tools_that_know_localstack)
{
    AUTO(log) l = NULL;
    AUTO(pages) p = opened(a, &l);
    pages_set_ready(p, true);
    static const Str paths[] = { S_INIT("/health"), S_INIT("/_localstack/health") };
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        JsonValue *v = json_page(a, p, paths[i], 200);
        EXPECT_STR(S("running"), json_text(json_find(v, S("services")), S("kinesis")));
        EXPECT_STR(S("headrace"), json_text(v, S("edition")));
        EXPECT_STR(S("1.2.3"), json_text(v, S("version")));
    }
    JsonValue *init = json_page(a, p, S("/_localstack/init"), 200);
    const JsonValue *completed = json_find(init, S("completed"));
    EXPECT_INT(1, json_find(completed, S("READY"))->integer);
    JsonValue *own = json_page(a, p, S("/_headrace/health"), 200);
    EXPECT_STR(S("running"), json_text(own, S("status")));
    EXPECT(json_find(json_find(own, S("journal")), S("disk_bytes"))->integer > 0);
}

TEST(without_the_reserve_of_memory_it_is_not_ready)
{
    AUTO(log) l = NULL;
    AUTO(pages) p = opened(a, &l);
    pages_set_ready(p, true);
    EXPECT_OK(memory_setup(MEMORY_REQUESTS_BYTES_MIN, MEMORY_RESERVE_BYTES));
    memory_fault_set(MEMORY_RESERVE, 0, UINT64_MAX); // it cannot be taken again
    memory_fault_set(MEMORY_BOOKKEEPING, 0, 1);
    free(xalloc(100));
    memory_fault_set(MEMORY_BOOKKEEPING, 0, 0);
    EXPECT_STR(S("no memory"), json_text(json_page(a, p, S("/_headrace/ready"), 503), S("status")));
    const JsonValue *health = json_page(a, p, S("/_headrace/health"), 200);
    EXPECT_INT(1, json_find(json_find(health, S("memory")), S("reserve_released"))->integer);
    memory_fault_set(MEMORY_RESERVE, 0, 0);
    EXPECT_STR(S("ready"), json_text(json_page(a, p, S("/_headrace/ready"), 200), S("status")));
    EXPECT_OK(memory_setup(0, 0));
}

TEST(metrics_tell_the_version_and_the_journal)
{
    AUTO(log) l = NULL;
    AUTO(pages) p = opened(a, &l);
    AUTO_BUF(b);
    EXPECT_INT(200, pages_render(p, S("/metrics"), &b));
    Str text = buf_str(&b);
    EXPECT(str_search(text, S("headrace_build_info{version=\"1.2.3\"} 1\n")) < text.n);
    EXPECT(str_search(text, S("\nheadrace_journal_disk_bytes ")) < text.n);
    EXPECT(str_search(text, S("\nprocess_resident_memory_bytes ")) < text.n);
    EXPECT(str_search(text, S("\nheadrace_memory_reserve_released 0\n")) < text.n);
    EXPECT_INT(404, pages_render(p, S("/other"), &b));
}

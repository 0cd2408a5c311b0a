// SPDX-License-Identifier: Apache-2.0
#include "server/pages.h"
#include "base/memory.h"
#include "base/metric.h"
#include "base/time.h"
#include "codec/json.h"
#include "os/io.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pages {
    PagesConfig config;
    int64_t started_wall_ns, started_mono_ns;
    atomic_bool ready;
};

static void add_services(struct pages *p, struct event_writer *w)
{
    w->ops->key(w, S("services"));
    w->ops->map(w);
    for (size_t i = 0; i < p->config.service_count; i++) {
        w->ops->key(w, p->config.services[i]);
        w->ops->text(w, S("running"));
    }
    w->ops->map_end(w);
}

static void add_text(struct event_writer *w, Str key, Str text)
{
    w->ops->key(w, key);
    w->ops->text(w, text);
}

static void add_integer(struct event_writer *w, Str key, uint64_t number)
{
    w->ops->key(w, key);
    w->ops->integer(w, (int64_t)number);
}

static bool is_ready(struct pages *p, const LogStats *stats)
{
    bool enough = p->config.zones == NULL || zones_enough(p->config.zones);
    return atomic_load(&p->ready) && !stats->full && !stats->failed && enough && !memory_is_short();
}

static unsigned render_live(struct pages *p, struct buf *b)
{
    (void)p;
    buf_add(b, S("{\"status\":\"live\"}"));
    return 200;
}

static unsigned render_ready(struct pages *p, struct buf *b)
{
    LogStats stats = { 0 };
    log_stats(p->config.log, &stats);
    bool ready = is_ready(p, &stats);
    buf_add(b, ready               ? S("{\"status\":\"ready\"}")
               : stats.failed      ? S("{\"status\":\"disk failed\"}")
               : stats.full        ? S("{\"status\":\"disk full\"}")
               : memory_is_short() ? S("{\"status\":\"no memory\"}")
                                   : S("{\"status\":\"not ready\"}"));
    return ready ? 200 : 503;
}

static void add_journal(struct event_writer *w, const LogStats *stats)
{
    w->ops->key(w, S("journal"));
    w->ops->map(w);
    add_integer(w, S("disk_bytes"), stats->disk_bytes);
    add_integer(w, S("live_bytes"), stats->live_bytes);
    add_integer(w, S("cache_bytes"), stats->cache_bytes);
    add_integer(w, S("files"), stats->files);
    add_integer(w, S("containers"), stats->containers);
    add_integer(w, S("container_bytes"), stats->container_bytes);
    add_integer(w, S("sealed_records"), stats->sealed_records);
    add_integer(w, S("records"), stats->records);
    w->ops->key(w, S("full"));
    w->ops->boolean(w, stats->full);
    w->ops->key(w, S("failed"));
    w->ops->boolean(w, stats->failed);
    w->ops->key(w, S("direct"));
    w->ops->boolean(w, stats->direct);
    add_text(w, S("queue"), str_of(stats->queue_kind != NULL ? stats->queue_kind : ""));
    w->ops->map_end(w);
}

static void add_zones(struct pages *p, struct event_writer *w)
{
    ZoneStatus zones[ZONES_MAX];
    size_t n = p->config.zones != NULL ? zones_status(p->config.zones, zones) : 0;
    if (n == 0)
        return;
    AUTO(arena) tmp = arena_open();
    w->ops->key(w, S("zones"));
    w->ops->list(w);
    for (size_t i = 0; i < n; i++) {
        const ZoneStatus *z = &zones[i];
        w->ops->map(w);
        add_text(w, S("dir"), z->dir);
        add_text(w, S("state"), str_of(zone_state_name(z->state)));
        if (z->cause.kind != ERR_NONE)
            add_text(w, S("reason"),
                     str_fmt(tmp, "%s: %s%s%s", err_kind_name(z->cause.kind), z->cause.text,
                             z->cause.os != 0 ? ": " : "",
                             z->cause.os != 0 ? strerrordesc_np(z->cause.os) : ""));
        add_text(w, S("since"), time_iso_ms(tmp, z->since_ns));
        add_integer(w, S("copied_bytes"), z->copied_bytes);
        w->ops->map_end(w);
    }
    w->ops->list_end(w);
}

static void add_memory(struct event_writer *w)
{
    MemoryStats stats;
    memory_stats(&stats);
    w->ops->key(w, S("memory"));
    w->ops->map(w);
    add_integer(w, S("requests_bytes"), stats.requests_bytes);
    add_integer(w, S("requests_bytes_max"), MIN(stats.requests_bytes_max, (size_t)INT64_MAX));
    w->ops->key(w, S("refusing"));
    w->ops->boolean(w, stats.refusing);
    w->ops->key(w, S("reserve_released"));
    w->ops->boolean(w, stats.reserve_released);
    w->ops->map_end(w);
}

static unsigned render_health(struct pages *p, struct buf *b)
{
    LogStats stats = { 0 };
    log_stats(p->config.log, &stats);
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    add_text(&w, S("status"), is_ready(p, &stats) ? S("running") : S("not ready"));
    add_text(&w, S("version"), p->config.version);
    add_text(&w, S("profile"), p->config.profile);
    add_integer(&w, S("uptime_seconds"),
                (uint64_t)((p->config.io->mono_ns(p->config.io) - p->started_mono_ns) / NS_PER_S));
    add_services(p, &w);
    add_journal(&w, &stats);
    add_zones(p, &w);
    add_memory(&w);
    w.ops->map_end(&w);
    return 200;
}

static unsigned render_localstack(struct pages *p, struct buf *b)
{
    struct event_writer w;
    json_writer_init(&w, b);
    w.ops->map(&w);
    add_services(p, &w);
    add_text(&w, S("edition"), S("headrace"));
    add_text(&w, S("version"), p->config.version);
    w.ops->map_end(&w);
    return 200;
}

static unsigned render_init(struct pages *p, struct buf *b)
{
    buf_addf(b,
             "{\"completed\":{\"BOOT\":true,\"START\":true,\"READY\":%s,\"SHUTDOWN\":false},"
             "\"scripts\":[]}",
             atomic_load(&p->ready) ? "true" : "false");
    return 200;
}

static uint64_t resident_bytes(struct io *io)
{
    enum { STATM_BYTES_MAX = 256 };
    AUTO(arena) tmp = arena_open();
    Str text = S(""), size, rest, pages;
    uint64_t n = 0;
    // Not worth failing for: the gauge then says 0.
    err_ignore(io_read_file(io, tmp, S("/proc/self/statm"), STATM_BYTES_MAX, &text));
    bool told = str_cut(text, ' ', &size, &rest) && str_cut(rest, ' ', &pages, &rest);
    if (!told || str_u64(pages, &n).kind != ERR_NONE)
        n = 0;
    return n * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void set_gauge(Str name, Str help, uint64_t value)
{
    metric_set(metric_get(METRIC_GAUGE, name, help, S("")), (int64_t)value);
}

static void set_memory_gauges(void)
{
    MemoryStats stats;
    memory_stats(&stats);
    set_gauge(S("headrace_memory_requests_bytes"), S("Memory that requests under way hold."),
              stats.requests_bytes);
    set_gauge(S("headrace_memory_requests_bytes_max"), S("Above it requests are refused with 503."),
              MIN(stats.requests_bytes_max, (size_t)INT64_MAX));
    set_gauge(S("headrace_memory_reserve_released"),
              S("1 while the reserve of memory is given up and no request is let in."),
              stats.reserve_released);
}

static unsigned render_metrics(struct pages *p, struct buf *b)
{
    LogStats stats = { 0 };
    log_stats(p->config.log, &stats);
    set_gauge(S("headrace_journal_disk_bytes"), S("Bytes of journal files, spare ones included."),
              stats.disk_bytes);
    set_gauge(S("headrace_journal_live_bytes"), S("Bytes of blocks that hold readable records."),
              stats.live_bytes);
    set_gauge(S("headrace_journal_cache_bytes"), S("Memory that holds recent records."),
              stats.cache_bytes);
    set_gauge(S("headrace_containers"), S("Containers of sealed records."), stats.containers);
    set_gauge(S("headrace_container_bytes"), S("Bytes of containers on disk."),
              stats.container_bytes);
    set_gauge(S("headrace_container_raw_bytes"), S("Bytes of their records before compression."),
              stats.container_raw_bytes);
    set_gauge(S("headrace_sealed_records"), S("Records in containers."), stats.sealed_records);
    set_gauge(S("headrace_read_cache_bytes"), S("Memory that holds unpacked containers."),
              stats.read_cache_bytes);
    set_gauge(S("headrace_index_bytes"), S("Memory of the index of the journal."),
              stats.index_bytes);
    set_gauge(S("headrace_shards"), S("Shards that the log knows."), stats.shards);
    set_gauge(S("headrace_journal_behind"), S("1 while writes wait for sealing to catch up."),
              stats.behind);
    set_gauge(S("headrace_journal_full"), S("1 while writes are refused for want of space."),
              stats.full);
    set_gauge(S("headrace_journal_failed"), S("1 since the journal could not be written."),
              stats.failed);
    set_memory_gauges();
    if (p->config.pool != NULL)
        set_gauge(S("headrace_workers_queued"), S("Calls that wait for a worker thread."),
                  pool_queued(p->config.pool) +
                      (p->config.prompt != NULL ? pool_queued(p->config.prompt) : 0));
    set_gauge(S("process_resident_memory_bytes"), S("Resident memory of the process."),
              resident_bytes(p->config.io));
    set_gauge(S("process_start_time_seconds"), S("Start of the process since 1970."),
              (uint64_t)(p->started_wall_ns / NS_PER_S));
    metric_render(b);
    return 200;
}

static const struct page {
    Str path;
    unsigned (*render)(struct pages *p, struct buf *b);
    Str type;
} page_table[] = {
    { S_INIT("/_headrace/live"), render_live, S_INIT("application/json") },
    { S_INIT("/_headrace/ready"), render_ready, S_INIT("application/json") },
    { S_INIT("/_headrace/health"), render_health, S_INIT("application/json") },
    { S_INIT("/health"), render_localstack, S_INIT("application/json") },
    { S_INIT("/_localstack/health"), render_localstack, S_INIT("application/json") },
    { S_INIT("/_localstack/init"), render_init, S_INIT("application/json") },
    { S_INIT("/metrics"), render_metrics, S_INIT("text/plain; version=0.0.4; charset=utf-8") },
};

static const struct page *find_page(Str path)
{
    for (size_t i = 0; i < COUNT_OF(page_table); i++)
        if (str_eq(page_table[i].path, path))
            return &page_table[i];
    return NULL;
}

unsigned pages_render(struct pages *p, Str path, struct buf *b)
{
    const struct page *page = find_page(path);
    return page != NULL ? page->render(p, b) : 404;
}

static void serve_page(void *self, struct http_exchange *x)
{
    const struct page *page = find_page(x->path);
    CHECK(page != NULL); // only these were registered
    AUTO_BUF(body);
    memory_tell(); // also when no request comes
    unsigned status = page->render(self, &body);
    if (buf_err(&body).kind != ERR_NONE) {
        http_reply(x, 503, NULL, 0, S("")); // half a page would mislead
        return;
    }
    const HttpHeader headers[] = { { S("content-type"), page->type },
                                   { S("cache-control"), S("no-store") } };
    http_reply(x, status, headers, COUNT_OF(headers), buf_str(&body));
}

Err pages_open(const PagesConfig *config, struct front *front, struct pages **ret)
{
    struct pages *p = xalloc(sizeof *p);
    p->config = *config;
    p->started_wall_ns = config->io->wall_ns(config->io);
    p->started_mono_ns = config->io->mono_ns(config->io);
    AUTO(arena) a = arena_open();
    Str labels = str_fmt(a, "version=\"%.*s\"", FMT(config->version));
    metric_set(
        metric_get(METRIC_GAUGE, S("headrace_build_info"), S("1, with the version."), labels), 1);
    Err e = OK;
    for (size_t i = 0; front != NULL && i < COUNT_OF(page_table) && e.kind == ERR_NONE; i++)
        e = front_add_page(front, page_table[i].path, serve_page, p);
    if (e.kind != ERR_NONE) {
        pages_close(p);
        return e;
    }
    *ret = p;
    return OK;
}

void pages_close(struct pages *p)
{
    free(p);
}

void pages_set_ready(struct pages *p, bool ready)
{
    atomic_store(&p->ready, ready);
}

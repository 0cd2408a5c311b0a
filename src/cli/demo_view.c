// SPDX-License-Identifier: Apache-2.0
#include "cli/demo_view.h"
#include "base/time.h"
#include "cli/term.h"

enum {
    SHARD_RECORDS_PER_S = 1000,      // AWS: of a shard
    SHARD_BYTES_PER_S = 1024 * 1024, // AWS: of a shard
    BAR_MIN = 10,
    BAR_MAX = 50,
    BAR_MARGIN = 32, // what stands beside a bar
    SHARDS_SHOWN_MAX = 16,
    LAKE_MARGIN = 44, // what stands before the newest key
};

static double seconds_between(const DemoMoment *before, const DemoMoment *now)
{
    double s = (double)(now->elapsed_ns - before->elapsed_ns) / (double)NS_PER_S;
    return s > 0.001 ? s : 0.001;
}

static double rate(uint64_t before, uint64_t now, double seconds)
{
    return now > before ? (double)(now - before) / seconds : 0;
}

// The larger of the shares of both limits.
static double share_of_limit(const DemoView *v, double records_per_s)
{
    double by_records = records_per_s / SHARD_RECORDS_PER_S;
    double by_bytes = records_per_s * (double)v->record_bytes / SHARD_BYTES_PER_S;
    return MAX(by_records, by_bytes);
}

static double ms(int64_t ns)
{
    return (double)ns / (double)NS_PER_MS;
}

void demo_view_plain(struct buf *b, const DemoView *v, const DemoMoment *before,
                     const DemoMoment *now)
{
    double s = seconds_between(before, now);
    buf_addf(b, "t=%.0f in=%.0f out=%.0f throttled=%llu p50_ms=%.1f p99_ms=%.1f disk_bytes=%llu",
             (double)now->elapsed_ns / (double)NS_PER_S,
             rate(before->totals.put, now->totals.put, s),
             rate(before->totals.got, now->totals.got, s),
             (unsigned long long)(now->totals.throttled - before->totals.throttled),
             ms(now->p50_ns), ms(now->p99_ns), (unsigned long long)now->disk_bytes);
    for (size_t i = 0; i < v->shard_count; i++)
        buf_addf(b, " shard%zu=%.0f%%", i,
                 100 * share_of_limit(v, rate(before->shard_put[i], now->shard_put[i], s)));
    if (v->lake)
        buf_addf(b, " objects=%llu rows=%llu", (unsigned long long)now->objects,
                 (unsigned long long)now->rows);
    buf_add(b, S("\n"));
}

static void add_bar(struct buf *b, struct arena *tmp, const DemoView *v, double share)
{
    unsigned room = v->columns > BAR_MARGIN + BAR_MIN ? v->columns - BAR_MARGIN : BAR_MIN;
    room = MIN(room, BAR_MAX);
    unsigned full = (unsigned)(MIN(share, 1.0) * room + 0.5);
    AUTO_BUF(bar);
    for (unsigned i = 0; i < full; i++)
        buf_add(&bar, S("\u2588"));
    const char *colour = share > 1.0 ? "31" : share > 0.9 ? "33" : "32";
    Str painted = term_paint(tmp, v->colour, colour, buf_str(&bar));
    buf_add(b, painted);
    for (unsigned i = full; i < room; i++)
        buf_add(b, S("\u00b7"));
}

static unsigned add_shards(struct buf *b, struct arena *tmp, const DemoView *v,
                           const DemoMoment *before, const DemoMoment *now, double s)
{
    unsigned lines = 0;
    for (size_t i = 0; i < v->shard_count && i < SHARDS_SHOWN_MAX; i++, lines++) {
        double records = rate(before->shard_put[i], now->shard_put[i], s);
        double share = share_of_limit(v, records);
        buf_addf(b, "\033[K  shard %-3zu", i);
        add_bar(b, tmp, v, share);
        buf_addf(b, " %4.0f %%  %5.0f/s\n", 100 * share, records);
    }
    if (v->shard_count > SHARDS_SHOWN_MAX) {
        buf_addf(b, "\033[K  and %zu more\n", v->shard_count - SHARDS_SHOWN_MAX);
        lines++;
    }
    return lines;
}

unsigned demo_view_screen(struct buf *b, struct arena *tmp, const DemoView *v,
                          const DemoMoment *before, const DemoMoment *now)
{
    double s = seconds_between(before, now);
    double in = rate(before->totals.put, now->totals.put, s);
    double out = rate(before->totals.got, now->totals.got, s);
    uint64_t throttled = now->totals.throttled - before->totals.throttled;
    unsigned long long elapsed = (unsigned long long)(now->elapsed_ns / NS_PER_S);
    Str disk = term_bytes(tmp, now->disk_bytes), put = term_count(tmp, now->totals.put);
    Str got = term_count(tmp, now->totals.got);
    Str refused = str_fmt(tmp, "%llu/s", (unsigned long long)throttled);
    refused = term_paint(tmp, v->colour && throttled > 0, "31", refused);
    buf_addf(b, "\033[K  %.*s   %02llu:%02llu   Ctrl-C ends\n\033[K\n", FMT(v->title), elapsed / 60,
             elapsed % 60);
    buf_addf(b, "\033[K  in    %7.0f records/s   %6.2f MiB/s   %.*s so far\n", in,
             in * (double)v->record_bytes / SHARD_BYTES_PER_S, FMT(put));
    buf_addf(b, "\033[K  out   %7.0f records/s   %6.2f MiB/s   %.*s so far\n", out,
             out * (double)v->record_bytes / SHARD_BYTES_PER_S, FMT(got));
    buf_addf(b, "\033[K  throttled %.*s   put to get p50 %.0f ms, p99 %.0f ms   on disk %.*s\n",
             FMT(refused), ms(now->p50_ns), ms(now->p99_ns), FMT(disk));
    unsigned lines = 6;
    if (v->lake) {
        Str rows = term_count(tmp, now->rows);
        Str newest = now->newest.n > 0 ? now->newest : S("nothing yet");
        size_t room = v->columns > LAKE_MARGIN ? v->columns - LAKE_MARGIN : 0;
        if (newest.n > room) // its end tells more
            newest = str_skip(newest, newest.n - room);
        buf_addf(b, "\033[K  lake  %7llu objects     %.*s rows   %.*s\n",
                 (unsigned long long)now->objects, FMT(rows), FMT(newest));
        lines++;
    }
    buf_add(b, S("\033[K\n"));
    return lines + add_shards(b, tmp, v, before, now, s);
}

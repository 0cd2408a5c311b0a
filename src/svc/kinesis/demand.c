// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/demand.h"
#include "svc/kinesis/stream_priv.h"

#include <stdlib.h>
#include <string.h>

enum { DAY_MS = 86400000 };

// ---- Measuring

static struct shard_demand *demand_of(const struct shard *sh)
{
    const struct shard_use *use = __atomic_load_n(&sh->use, __ATOMIC_ACQUIRE);
    return use != NULL ? __atomic_load_n(&use->demand, __ATOMIC_ACQUIRE) : NULL;
}

void demand_note(struct shard *sh, size_t bytes)
{
    struct shard_demand *d = demand_of(sh), *none = NULL;
    if (d == NULL) {
        struct shard_use *use = shard_use_of(sh);
        d = xalloc(sizeof *d);
        if (!__atomic_compare_exchange_n(&use->demand, &none, d, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE)) {
            free(d); // another call was faster
            d = none;
        }
    }
    __atomic_fetch_add(&d->bytes, bytes, __ATOMIC_RELAXED);
    __atomic_fetch_add(&d->records, 1, __ATOMIC_RELAXED);
}

static DemandPeak *peak_of(struct stream *s, int64_t now_ms)
{
    uint32_t day = (uint32_t)(now_ms / DAY_MS);
    DemandPeak *p = &s->peaks[day % DEMAND_DAYS];
    if (p->day != day)
        *p = (DemandPeak){ .day = day };
    return p;
}

void demand_keep(struct stream *s, int64_t now_ms, size_t shards)
{
    DemandPeak *p = peak_of(s, now_ms);
    p->kib_per_s = MAX(p->kib_per_s, (uint32_t)shards * 1024 / 2);
    p->records_per_s = MAX(p->records_per_s, (uint32_t)shards * SHARD_WRITE_RECORDS_PER_S / 2);
}

void demand_begin(struct stream *s, int64_t now_ms)
{
    memset(s->peaks, 0, sizeof s->peaks);
    demand_keep(s, now_ms, s->open_count);
    s->measured_ms = now_ms;
}

// What a shard took since the last time, a second.
static void measure(struct shard *sh, int64_t elapsed_ms, uint64_t *ret_bytes,
                    uint64_t *ret_records)
{
    struct shard_demand *d = demand_of(sh);
    if (d == NULL)
        return;
    uint64_t bytes = __atomic_exchange_n(&d->bytes, 0, __ATOMIC_RELAXED) * 1000 / elapsed_ms;
    uint64_t records = __atomic_exchange_n(&d->records, 0, __ATOMIC_RELAXED) * 1000 / elapsed_ms;
    memmove(d->bytes_per_s + 1, d->bytes_per_s, sizeof d->bytes_per_s - sizeof d->bytes_per_s[0]);
    d->bytes_per_s[0] = (uint32_t)MIN(bytes, (uint64_t)UINT32_MAX);
    *ret_bytes += bytes;
    *ret_records += records;
}

bool demand_measure(struct stream *s, int64_t now_ms)
{
    int64_t elapsed_ms = MAX(now_ms - s->measured_ms, (int64_t)1);
    uint64_t bytes = 0, records = 0;
    s->measured_ms = now_ms;
    for (size_t i = 0; i < s->open_count; i++)
        measure(s->open[i], elapsed_ms, &bytes, &records);
    DemandPeak *p = peak_of(s, now_ms);
    uint32_t kib = (uint32_t)MIN(bytes / 1024, (uint64_t)UINT32_MAX);
    uint32_t count = (uint32_t)MIN(records, (uint64_t)UINT32_MAX);
    bool has_risen =
        kib > p->kib_per_s + p->kib_per_s / 16 || count > p->records_per_s + p->records_per_s / 16;
    p->kib_per_s = MAX(p->kib_per_s, kib);
    p->records_per_s = MAX(p->records_per_s, count);
    return has_risen;
}

// ---- Deciding

uint32_t demand_shards(const struct stream *s, int64_t now_ms)
{
    int64_t today = now_ms / DAY_MS;
    uint64_t kib = 0, records = 0;
    for (size_t i = 0; i < DEMAND_DAYS; i++) {
        if (s->peaks[i].day + DEMAND_DAYS <= today)
            continue;
        kib = MAX(kib, (uint64_t)s->peaks[i].kib_per_s);
        records = MAX(records, (uint64_t)s->peaks[i].records_per_s);
    }
    uint64_t by_bytes = (2 * kib + 1023) / 1024;
    uint64_t by_count = (2 * records + SHARD_WRITE_RECORDS_PER_S - 1) / SHARD_WRITE_RECORDS_PER_S;
    uint64_t n =
        MAX(MAX(by_bytes, by_count), (uint64_t)MAX(s->warm_mibps, STREAM_ON_DEMAND_SHARDS));
    return (uint32_t)MIN(n, (uint64_t)DEMAND_SHARDS_MAX);
}

// Over the last 15 minutes; a shard that has not been there for so long has taken nothing before.
static uint64_t mean_of(const struct shard *sh)
{
    const struct shard_demand *d = demand_of(sh);
    uint64_t sum = 0;
    for (size_t i = 0; d != NULL && i < DEMAND_MINUTES; i++)
        sum += d->bytes_per_s[i];
    return sum / DEMAND_MINUTES;
}

// The one with the most traffic, of those the widest; narrow ones do not count.
static const struct shard *hottest(const struct stream *s)
{
    const struct shard *best = NULL;
    HashKey narrow = HASH_KEY_MAX / s->open_count / DEMAND_NARROW;
    for (size_t i = 0; i < s->open_count; i++) {
        const struct shard *sh = s->open[i];
        bool is_hotter =
            best == NULL || mean_of(sh) > mean_of(best) ||
            (mean_of(sh) == mean_of(best) && sh->end - sh->start > best->end - best->start);
        if (sh->end - sh->start > narrow && is_hotter)
            best = sh;
    }
    return best;
}

static bool find_merge(const struct stream *s, StreamChange *ret)
{
    uint64_t least = DEMAND_COLD_BYTES_PER_S;
    for (size_t i = 0; i + 1 < s->open_count; i++) {
        uint64_t both = mean_of(s->open[i]) + mean_of(s->open[i + 1]);
        if (both >= least)
            continue;
        least = both;
        *ret = (StreamChange){ .kind = CHANGE_MERGE,
                               .shard = s->open[i]->index,
                               .other = s->open[i + 1]->index };
    }
    return least < DEMAND_COLD_BYTES_PER_S;
}

bool demand_next(const struct stream *s, int64_t now_ms, StreamChange *ret)
{
    uint32_t wanted = demand_shards(s, now_ms);
    const struct shard *hot = hottest(s);
    bool has_room =
        s->open_count < DEMAND_SHARDS_MAX && s->shard_count + 2 <= STREAM_ROW_SHARDS_MAX;
    if (hot != NULL && has_room &&
        (mean_of(hot) > DEMAND_HOT_BYTES_PER_S || s->open_count < wanted)) {
        *ret = (StreamChange){ .kind = CHANGE_SPLIT,
                               .shard = hot->index,
                               .key = hot->start + (hot->end - hot->start) / 2 + 1 };
        return true;
    }
    return s->open_count > wanted && find_merge(s, ret);
}

// SPDX-License-Identifier: Apache-2.0
#include "svc/kinesis/stream_priv.h"
#include "base/memory.h"
#include "base/metric.h"
#include "base/prefetch.h"
#include "base/time.h"
#include "svc/kinesis/crypt.h"
#include "svc/kinesis/consumer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MINUTE_MS INT64_C(60000)
enum { COLD_SHARDS_LEAST = 256 }; // with so many they are not in the processor's cache any more

Str stream_own(Str s)
{
    char *p = xalloc(s.n + 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return str_from(p, s.n);
}

static void disown(Str s)
{
    free((void *)(uintptr_t)s.p);
}

static struct metric *counter(const struct stream *s, Str name, Str help)
{
    AUTO(arena) tmp = arena_open();
    Str labels = str_fmt(tmp, "account=\"%.*s\",region=\"%.*s\",stream=\"%.*s\"", FMT(s->account),
                         FMT(s->region), FMT(s->name));
    return metric_get(METRIC_COUNTER, name, help, labels);
}

static void find_metrics(struct stream *s)
{
    s->put_records = counter(s, S("headrace_kinesis_put_records_total"), S("Records stored."));
    s->put_bytes = counter(s, S("headrace_kinesis_put_bytes_total"),
                           S("Bytes of partition keys and data stored."));
    s->put_throttled = counter(s, S("headrace_kinesis_put_throttled_total"),
                               S("Records refused by a shard's write limit."));
    s->got_records = counter(s, S("headrace_kinesis_get_records_total"), S("Records read."));
    s->got_bytes = counter(s, S("headrace_kinesis_get_bytes_total"),
                           S("Bytes of partition keys and data read."));
    s->got_throttled = counter(s, S("headrace_kinesis_get_throttled_total"),
                               S("Reads refused by a shard's read limit."));
}

struct stream *stream_new(Str account, Str region, Str name)
{
    struct stream *s = xalloc(sizeof *s);
    s->refs = 1;
    s->account = stream_own(account);
    s->region = stream_own(region);
    s->name = stream_own(name);
    AUTO(arena) tmp = arena_open();
    s->arn = stream_own(str_fmt(tmp, "arn:aws:kinesis:%.*s:%.*s:stream/%.*s", FMT(region),
                                FMT(account), FMT(name)));
    s->retention_hours = STREAM_RETENTION_HOURS_MIN;
    s->record_kib_max = STREAM_RECORD_KIB_MIN;
    s->waiters_end = &s->waiters;
    s->data_keys = data_keys_open();
    find_metrics(s);
    return s;
}

enum { SHARD_LINE_BYTES = 64 };

// Shards that were made together. Each has a line of the processor's cache to itself.
struct shard_block {
    struct shard_block *next;
    size_t n;
    _Alignas(SHARD_LINE_BYTES) struct shard shards[];
};

static void use_free(struct shard *sh)
{
    if (sh->use != NULL) {
        pthread_mutex_destroy(&sh->use->lock);
        free(sh->use->demand);
        if (sh->use->meters != NULL)
            meters_shard_done(sh->use->meters);
        free(sh->use->meters);
    }
    free(sh->use);
    sh->use = NULL;
}

static void shards_free(struct stream *s)
{
    for (struct shard_block *b = s->blocks, *next; b != NULL; b = next) {
        next = b->next;
        for (size_t i = 0; i < b->n; i++)
            use_free(&b->shards[i]);
        free(b);
    }
    free(s->shards);
    free(s->open);
}

struct stream *stream_ref(struct stream *s)
{
    __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void stream_unref(struct stream *s)
{
    if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < s->consumer_count; i++)
        consumer_unref(s->consumers[i]);
    free(s->consumers);
    tag_set_done(&s->tags);
    shards_free(s);
    data_keys_close(s->data_keys);
    disown(s->key_given);
    disown(s->key_arn);
    meters_done(&s->meters);
    metric_release(s->put_records);
    metric_release(s->put_bytes);
    metric_release(s->put_throttled);
    metric_release(s->got_records);
    metric_release(s->got_bytes);
    metric_release(s->got_throttled);
    disown(s->account);
    disown(s->region);
    disown(s->name);
    disown(s->arn);
    disown(s->id);
    free(s);
}

static int by_hash_key(const void *x, const void *y)
{
    const struct shard *const *a = x, *const *b = y;
    return (*a)->start < (*b)->start ? -1 : (*a)->start > (*b)->start;
}

struct shard *stream_add_shards(struct stream *s, size_t n)
{
    size_t bytes = sizeof(struct shard_block) + mul_checked(n, sizeof(struct shard));
    struct shard_block *b = memory_get_aligned(SHARD_LINE_BYTES, bytes);
    memset(b, 0, bytes);
    *b = (struct shard_block){ .next = s->blocks, .n = n };
    s->blocks = b;
    s->shards = xrealloc(s->shards, mul_checked(s->shard_count + n, sizeof *s->shards));
    for (size_t i = 0; i < n; i++) {
        struct shard *sh = &b->shards[i];
        sh->index = s->shard_next++;
        sh->parent = sh->adjacent = -1;
        s->shards[s->shard_count++] = sh;
    }
    return b->shards;
}

void stream_sort_open(struct stream *s)
{
    s->open = xrealloc(s->open, mul_checked(MAX(s->shard_count, (size_t)1), sizeof *s->open));
    s->open_count = 0;
    for (size_t i = 0; i < s->shard_count; i++)
        if (!shard_is_closed(s->shards[i]))
            s->open[s->open_count++] = s->shards[i];
    if (s->open_count > 0)
        qsort(s->open, s->open_count, sizeof *s->open, by_hash_key);
}

void stream_split_evenly(struct stream *s, uint32_t n, int64_t created_s, const uint64_t *ids)
{
    struct shard *sh = stream_add_shards(s, n);
    for (uint32_t i = 0; i < n; i++, sh++) {
        sh->id = ids[i];
        sh->start = hash_key_start(i, n);
        sh->end = hash_key_end(i, n);
        sh->created_s = (uint32_t)created_s;
    }
    stream_sort_open(s);
}

// Where the key would be if all shards were equally wide.
static size_t likely_place(const struct stream *s, HashKey h)
{
    return (size_t)(((h >> 64) * s->open_count) >> 64);
}

// The search begins at the likely place, and its steps double: in a stream that was never resharded
// it ends at once, however many shards there are, and looks at one alone.
struct shard *stream_route(const struct stream *s, HashKey h)
{
    size_t n = s->open_count, step = 1;
    CHECK(n > 0);
    size_t low = likely_place(s, h), high = n;
    if (s->open[low]->start <= h) {
        if (h <= s->open[low]->end)
            return s->open[low]; // nothing but its own line was looked at
        for (; low + step < n && s->open[low + step]->start <= h; step *= 2)
            low += step;
        high = MIN(low + step, n);
    } else {
        for (high = low; high > step && s->open[high - step]->start > h; step *= 2)
            high -= step;
        low = high > step ? high - step : 0;
    }
    while (high - low > 1) { // open[low].start <= h, open[high].start > h
        size_t middle = low + (high - low) / 2;
        if (s->open[middle]->start <= h)
            low = middle;
        else
            high = middle;
    }
    return s->open[low];
}

// What the searches will look at is asked for first, so that it is waited for together.
static void route_ahead(const struct stream *s, const HashKey *hashes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        prefetch(&s->open[likely_place(s, hashes[i])]);
    for (size_t i = 0; i < n; i++)
        prefetch(s->open[likely_place(s, hashes[i])]);
}

void stream_route_all(const struct stream *s, const HashKey *hashes, size_t n, struct shard **ret)
{
    if (s->open_count >= COLD_SHARDS_LEAST)
        route_ahead(s, hashes, n);
    for (size_t i = 0; i < n; i++)
        ret[i] = stream_route(s, hashes[i]);
}

Err shard_parse_id(Str shard_id, uint32_t *ret_index)
{
    Str head, digits;
    uint64_t index;
    if (!str_cut(shard_id, '-', &head, &digits))
        digits = shard_id;
    TRY(str_u64(digits, &index));
    if (index > INT32_MAX)
        return fail(ERR_INVALID, "shard index out of range");
    *ret_index = (uint32_t)index;
    return OK;
}

Err stream_find_shard(const struct stream *s, Str shard_id, struct shard **ret)
{
    uint32_t index;
    TRY(shard_parse_id(shard_id, &index));
    *ret = stream_shard(s, index);
    return OK;
}

struct shard *stream_shard(const struct stream *s, int64_t index)
{
    size_t low = 0, high = s->shard_count;
    if (index >= 0 && index < (int64_t)high && s->shards[index]->index == index)
        return s->shards[index]; // none is over yet
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->shards[middle]->index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->shard_count && s->shards[low]->index == index ? s->shards[low] : NULL;
}

// By hand: it is written for every record that is put.
void shard_id_format(char out[SHARD_ID_CHARS], int64_t index)
{
    static const char zeros[] = "shardId-000000000000";
    _Static_assert(sizeof zeros == SHARD_ID_CHARS + 1, "the terminator is left out");
    memcpy(out, zeros, SHARD_ID_CHARS);
    for (size_t at = SHARD_ID_CHARS; index > 0 && out[at - 1] != '-'; index /= 10)
        out[--at] = (char)('0' + index % 10);
}

Str shard_id_str(struct arena *a, int64_t index)
{
    char *text = arena_alloc(a, SHARD_ID_CHARS, 1);
    shard_id_format(text, index);
    return str_from(text, SHARD_ID_CHARS);
}

// ---- Limits

struct shard_use *shard_use_of(struct shard *sh)
{
    struct shard_use *use = __atomic_load_n(&sh->use, __ATOMIC_ACQUIRE), *none = NULL;
    if (use != NULL)
        return use;
    use = xalloc(sizeof *use);
    pthread_mutex_init(&use->lock, NULL);
    if (__atomic_compare_exchange_n(&sh->use, &none, use, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return use;
    pthread_mutex_destroy(&use->lock); // another call was faster
    free(use);
    return none;
}

struct shard_meters *shard_meters_of(struct shard *sh)
{
    struct shard_use *use = shard_use_of(sh);
    struct shard_meters *m = __atomic_load_n(&use->meters, __ATOMIC_ACQUIRE), *none = NULL;
    if (m != NULL)
        return m;
    m = xalloc(sizeof *m);
    if (__atomic_compare_exchange_n(&use->meters, &none, m, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return m;
    free(m); // another call was faster
    return none;
}

bool shard_take_write(struct shard *sh, double scale, int64_t now_ns, size_t records, size_t bytes)
{
    if (scale <= 0)
        return true;
    struct shard_use *use = shard_use_of(sh);
    pthread_mutex_lock(&use->lock);
    bool fits = limit_write(&use->limits, scale, now_ns, records, bytes);
    pthread_mutex_unlock(&use->lock);
    return fits;
}

bool shard_take_read(struct shard *sh, double scale, int64_t now_ns)
{
    if (scale <= 0)
        return true;
    struct shard_use *use = shard_use_of(sh);
    pthread_mutex_lock(&use->lock);
    bool fits = limit_read(&use->limits, scale, now_ns);
    pthread_mutex_unlock(&use->lock);
    return fits;
}

void shard_read_done(struct shard *sh, double scale, int64_t now_ns, size_t bytes)
{
    if (scale <= 0)
        return;
    struct shard_use *use = shard_use_of(sh);
    pthread_mutex_lock(&use->lock);
    limit_read_done(&use->limits, scale, now_ns, bytes);
    pthread_mutex_unlock(&use->lock);
}

// Brings the minutes up to now.
static void turn_minutes(ShardReads *r, int64_t now_ms)
{
    int64_t minute = now_ms / MINUTE_MS;
    if (minute == r->minute)
        return;
    r->worst_ms[1] = minute == r->minute + 1 ? r->worst_ms[0] : 0;
    r->worst_ms[0] = 0;
    r->minute = minute;
}

void shard_note_read(struct shard *sh, int64_t now_ms, uint64_t next, int64_t behind_ms)
{
    struct shard_use *use = shard_use_of(sh);
    ShardReads *r = &use->reads;
    pthread_mutex_lock(&use->lock);
    turn_minutes(r, now_ms);
    r->at_ms = now_ms;
    r->next = next;
    r->worst_ms[0] = MAX(r->worst_ms[0], behind_ms);
    pthread_mutex_unlock(&use->lock);
}

bool shard_reads(struct shard *sh, int64_t now_ms, ShardReads *ret)
{
    struct shard_use *use = __atomic_load_n(&sh->use, __ATOMIC_ACQUIRE);
    if (use == NULL)
        return false;
    pthread_mutex_lock(&use->lock);
    turn_minutes(&use->reads, now_ms);
    *ret = use->reads;
    pthread_mutex_unlock(&use->lock);
    return ret->at_ms != 0;
}

bool shard_take_iterator(struct shard *sh, double scale, int64_t now_ns)
{
    if (scale <= 0)
        return true;
    struct shard_use *use = shard_use_of(sh);
    pthread_mutex_lock(&use->lock);
    bool fits = limit_iterator(&use->limits, scale, now_ns);
    pthread_mutex_unlock(&use->lock);
    return fits;
}

// ---- Ends and numbers

void shard_close(struct shard *sh, uint64_t end_position, int64_t closed_ms)
{
    struct shard_use *use = shard_use_of(sh);
    CHECK(closed_ms > 0);
    use->end_position = end_position;
    __atomic_store_n(&use->closed_ms, closed_ms, __ATOMIC_RELEASE);
}

// 0: it is open.
static int64_t closed_ms_of(const struct shard *sh)
{
    const struct shard_use *use = __atomic_load_n(&sh->use, __ATOMIC_ACQUIRE);
    return use != NULL ? __atomic_load_n(&use->closed_ms, __ATOMIC_ACQUIRE) : 0;
}

bool shard_is_closed(const struct shard *sh)
{
    return closed_ms_of(sh) != 0;
}

int64_t shard_closed_ms(const struct shard *sh)
{
    int64_t closed_ms = closed_ms_of(sh);
    return closed_ms != 0 ? closed_ms : INT64_MAX;
}

uint64_t shard_end_position(const struct shard *sh)
{
    CHECK(shard_is_closed(sh));
    return sh->use->end_position;
}

int64_t stream_opened_ms(const struct stream *s, const struct shard *sh)
{
    if (sh->parent < 0)
        return s->created_ms;
    const struct shard *parent = stream_shard(s, sh->parent);
    return parent != NULL ? shard_closed_ms(parent) : INT64_MIN;
}

// ---- Shards that are over

int64_t stream_horizon_ms(const struct stream *s, int64_t now_ms)
{
    return MAX(now_ms - (int64_t)s->retention_hours * 3600 * 1000, s->over_ms);
}

size_t stream_bury(struct stream *s, int64_t before_ms, uint64_t *ret_ids)
{
    size_t kept = 0, buried = 0;
    for (size_t i = 0; i < s->shard_count; i++) {
        struct shard *sh = s->shards[i];
        if (shard_closed_ms(sh) < before_ms)
            ret_ids[buried++] = sh->id;
        else
            s->shards[kept++] = sh;
    }
    s->shard_count = kept;
    s->has_buried |= buried > 0;
    return buried;
}

void stream_clear_buried(struct stream *s)
{
    for (struct shard_block **at = &s->blocks, *b; (b = *at) != NULL;) {
        size_t over = 0;
        for (size_t i = 0; i < b->n; i++) {
            if (stream_shard(s, b->shards[i].index) == &b->shards[i])
                continue;
            use_free(&b->shards[i]);
            over++;
        }
        if (over < b->n) {
            at = &b->next;
        } else {
            *at = b->next;
            free(b);
        }
    }
    s->has_buried = false; // what shares a block with others is small, and goes with them
}

// ---- From a copy

void stream_take_fields(struct stream *s, struct stream *copy)
{
    s->status = copy->status;
    s->on_demand = copy->on_demand;
    s->spread = copy->spread;
    s->retention_hours = copy->retention_hours;
    s->over_ms = copy->over_ms;
    s->record_kib_max = copy->record_kib_max;
    s->warm_mibps = copy->warm_mibps;
    __atomic_store_n(&s->shard_metrics, copy->shard_metrics, __ATOMIC_RELAXED);
    memcpy(s->peaks, copy->peaks, sizeof s->peaks);
    s->change = copy->change;
    memcpy(s->scaled_ms, copy->scaled_ms, sizeof s->scaled_ms);
    memcpy(s->switched_ms, copy->switched_ms, sizeof s->switched_ms);
    TagSet tags = s->tags;
    s->tags = copy->tags;
    copy->tags = tags; // the old ones go with the copy
    stream_set_key(s, copy->key_given, copy->key_arn);
    s->starts = copy->starts;
    s->stops = copy->stops;
}

void stream_take_shards(struct stream *s, const struct stream *copy)
{
    size_t before = s->shard_count, added = copy->shard_count - before;
    for (size_t i = 0; i < before; i++) {
        const struct shard *from = copy->shards[i];
        CHECK(from->index == s->shards[i]->index);
        if (shard_is_closed(from) && !shard_is_closed(s->shards[i]))
            shard_close(s->shards[i], shard_end_position(from), shard_closed_ms(from));
    }
    if (added > 0)
        stream_add_shards(s, added);
    for (size_t i = before; i < copy->shard_count; i++) {
        struct shard *to = s->shards[i];
        const struct shard *from = copy->shards[i];
        CHECK(from->index == to->index);
        *to = *from;
        to->use = NULL;
        if (shard_is_closed(from))
            shard_close(to, shard_end_position(from), shard_closed_ms(from));
    }
    stream_sort_open(s);
}

// ---- Waiting

static pthread_mutex_t waiting = PTHREAD_MUTEX_INITIALIZER; // a leaf; few ever wait

void stream_wait(struct stream *s, struct stream_waiter *w)
{
    w->next = NULL;
    pthread_mutex_lock(&waiting);
    *s->waiters_end = w;
    s->waiters_end = &w->next;
    pthread_mutex_unlock(&waiting);
}

void stream_wake(struct stream *s, bool failed)
{
    pthread_mutex_lock(&waiting);
    struct stream_waiter *w = s->waiters;
    s->waiters = NULL;
    s->waiters_end = &s->waiters;
    pthread_mutex_unlock(&waiting);
    while (w != NULL) {
        struct stream_waiter *next = w->next; // it may be gone once it is posted
        w->failed = failed;
        loop_post(w->loop, &w->task);
        w = next;
    }
}

Sequence shard_sequence(const struct shard *sh, uint64_t position, int64_t arrival_ms)
{
    return (Sequence){ .created_s = sh->created_s,
                       .time_s = arrival_ms / 1000,
                       .index = position,
                       .shard = sh->index };
}

Sequence shard_sequence_start(const struct shard *sh)
{
    return shard_sequence(sh, SEQUENCE_INDEX_START, (int64_t)sh->created_s * 1000);
}

Sequence shard_sequence_end(const struct shard *sh)
{
    return shard_sequence(sh, SEQUENCE_INDEX_END, shard_closed_ms(sh));
}

void stream_set_key(struct stream *s, Str given, Str arn)
{
    disown(s->key_given);
    disown(s->key_arn);
    s->key_given = given.p != NULL ? stream_own(given) : (Str){ 0 };
    s->key_arn = arn.p != NULL ? stream_own(arn) : (Str){ 0 };
    __atomic_store_n(&s->encrypts, arn.p != NULL, __ATOMIC_RELEASE);
}

bool stream_take_turn(Turns *t, int64_t now_ms)
{
    size_t over = 0;
    while (over < t->n && t->at_ms[over] <= now_ms - INT64_C(86400000))
        over++;
    t->n -= over;
    memmove(t->at_ms, t->at_ms + over, t->n * sizeof *t->at_ms);
    if (t->n == STREAM_TURNS_MAX)
        return false;
    t->at_ms[t->n++] = now_ms;
    return true;
}

bool stream_may_become(StreamStatus from, StreamStatus to)
{
    static const bool moves[STREAM_GONE + 1][STREAM_GONE + 1] = {
        [STREAM_CREATING] = { [STREAM_ACTIVE] = true, [STREAM_DELETING] = true },
        [STREAM_ACTIVE] = { [STREAM_UPDATING] = true, [STREAM_DELETING] = true },
        [STREAM_UPDATING] = { [STREAM_ACTIVE] = true, [STREAM_DELETING] = true },
        [STREAM_DELETING] = { [STREAM_GONE] = true },
    };
    return moves[from][to];
}

Str stream_status_name(StreamStatus status)
{
    static const char *const names[] = { "CREATING", "ACTIVE", "UPDATING", "DELETING", "GONE" };
    return str_of(names[status]);
}

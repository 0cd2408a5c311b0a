// SPDX-License-Identifier: Apache-2.0
// The model of the log: what was handed over, what was promised, and the comparison.
#include "store/sim/sim_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READ_ROOM = 1 << 10, BATCH_BYTES_MAX = 128 << 10 };

void model_init(struct sim_model *m)
{
    static struct sim_record records[SIM_RECORDS_MAX]; // one world runs at a time
    static size_t first_of[SIM_APPENDS_MAX];
    *m = (struct sim_model){ .records = records, .first_of = first_of };
    for (size_t i = 0; i < SIM_SHARDS; i++)
        CHECK(model_add_shard(m) != NULL);
}

// ---- Shards

struct sim_shard *model_add_shard(struct sim_model *m)
{
    if (m->shard_count == SIM_SHARDS_MAX)
        return NULL;
    struct sim_shard *s = &m->shards[m->shard_count++];
    *s = (struct sim_shard){
        .id = m->shard_count,
        .retention_ns = model_any_retention(),
        .gone_ms = INT64_MIN,
    };
    return s;
}

struct sim_shard *model_shard(struct sim_model *m, uint64_t id)
{
    CHECK(id >= 1 && id <= m->shard_count);
    return &m->shards[id - 1];
}

struct sim_shard *model_any_live(struct sim_model *m)
{
    size_t live = 0;
    for (size_t i = 0; i < m->shard_count; i++)
        live += m->shards[i].dropped == KNOWN_NO;
    CHECK(live > 0);
    uint64_t chosen = sched_below(live);
    for (size_t i = 0;; i++)
        if (m->shards[i].dropped == KNOWN_NO && chosen-- == 0)
            return &m->shards[i];
}

// ---- Contents. Everything about a record follows from its number, its part and its size.

enum { HEAD_BYTES = 32, KEY_BYTES = 256, NOISE_BYTES = 1 << 16, NOISE_STARTS = 52501 };

// What records hold is a piece of this, at a place that their number chooses. So some compress.
static const char *noise(const struct sim_record *r)
{
    static char bytes[NOISE_BYTES];
    static bool is_made;
    if (!is_made) {
        uint64_t state = 1;
        for (size_t i = 0; i < NOISE_BYTES; i++)
            bytes[i] = (char)sched_next(&state);
        is_made = true;
    }
    return bytes + (r->append * UINT64_C(7919) + r->part * UINT64_C(1009)) % NOISE_STARTS;
}

// Decimal, with leading zeros up to so many digits. snprintf would take a fifth of the time of all.
static size_t put_number(char *p, uint64_t number, size_t digits_min)
{
    char digits[20];
    size_t n = 0;
    do
        digits[n++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    size_t zeros = digits_min > n ? digits_min - n : 0;
    memset(p, '0', zeros);
    for (size_t i = 0; i < n; i++)
        p[zeros + i] = digits[n - 1 - i];
    return zeros + n;
}

// What the data begin with.
static Str put_head(char *p, const struct sim_record *r)
{
    size_t n = put_number(p, r->append, 1);
    p[n++] = ' ';
    n += put_number(p + n, r->part, 1);
    p[n++] = ' ';
    return str_from(p, n);
}

static Str put_key(char *p, const struct sim_record *r)
{
    memcpy(p, "key-", 4);
    return str_from(p, 4 + put_number(p + 4, r->append, 1 + r->append % 200));
}

static Str put_hash_key(char *p, const struct sim_record *r)
{
    if (r->part % 3 != 0)
        return S("");
    return str_from(p, put_number(p, (uint64_t)r->append * 997 + r->part, 1));
}

static bool data_are_right(const struct sim_record *r, Str data)
{
    char buffer[HEAD_BYTES];
    Str head = put_head(buffer, r);
    return data.n == head.n + r->bytes && memcmp(data.p, head.p, head.n) == 0 &&
           memcmp(data.p + head.n, noise(r), r->bytes) == 0;
}

static bool keys_are_right(const struct sim_record *r, const LogEntry *e)
{
    char key[KEY_BYTES], hash_key[HEAD_BYTES];
    return str_eq(e->key, put_key(key, r)) && str_eq(e->hash_key, put_hash_key(hash_key, r));
}

static uint32_t random_bytes(size_t most)
{
    switch (sched_below(8)) {
    case 0:
        return (uint32_t)sched_below(most);
    case 1:
        return (uint32_t)sched_below(5000);
    default:
        return (uint32_t)sched_below(300);
    }
}

// Lays the record's bytes out at *at, which is moved on.
static LogRecord lay_out(const struct sim_record *r, char **at)
{
    LogRecord made = { .shard = r->shard, .key = put_key(*at, r) };
    *at += made.key.n;
    made.hash_key = put_hash_key(*at, r);
    *at += made.hash_key.n;
    Str head = put_head(*at, r);
    memcpy(*at + head.n, noise(r), r->bytes);
    made.data = blob_of(str_from(*at, head.n + r->bytes));
    *at += made.data.n;
    if (r->part % 2 == 0)
        return made;
    base64_encode(*at, made.data.p, made.data.n); // as it comes in JSON
    made.data.p = *at;
    made.data.is_base64 = true;
    *at += base64_encoded_bytes(made.data.n);
    return made;
}

struct sim_append *model_append_new(struct sim_model *m, size_t record_bytes_max)
{
    size_t n = 1 + sched_below(SIM_APPEND_RECORDS), first = m->n, bytes = 0;
    if (m->n + n > SIM_RECORDS_MAX || m->appends == SIM_APPENDS_MAX)
        return NULL;
    m->first_of[m->appends] = m->n;
    for (uint32_t i = 0; i < n; i++) {
        struct sim_record *r = &m->records[m->n++];
        *r = (struct sim_record){
            .shard = model_any_live(m)->id,
            .handed_ms = sched_wall_ns() / NS_PER_MS,
            .append = m->appends,
            .part = i,
            .bytes = random_bytes(record_bytes_max),
        };
        bytes += KEY_BYTES + 2 * HEAD_BYTES + r->bytes;
        bytes += base64_encoded_bytes(HEAD_BYTES + r->bytes);
    }
    struct sim_append *p = malloc(sizeof *p + bytes);
    CHECK(p != NULL);
    char *at = p->bytes;
    *p = (struct sim_append){ .first = first, .number = m->appends++ };
    for (size_t i = 0; i < n; i++)
        p->records[i] = lay_out(&m->records[first + i], &at);
    p->append = (struct log_append){ .records = p->records, .n = n, .places = p->places };
    return p;
}

// Its number is not given again, so it must not be the last: its records stay, as refused.
void model_append_withdraw(struct sim_model *m, struct sim_append *take_p)
{
    for (size_t i = 0; i < take_p->append.n; i++)
        m->records[take_p->first + i].fate = FATE_REFUSED;
    free(take_p);
}

static void settle_acked(struct sim_model *m, struct sim_record *r, LogPlace place)
{
    if (place.position == 0) {
        if (r->was_read)
            sim_fail("append %u was read and then refused to an ended shard", r->append);
        if (model_shard(m, r->shard)->ended == KNOWN_NO)
            sim_fail("append %u was refused by shard %" PRIu64 ", which never ended", r->append,
                     r->shard);
        r->fate = FATE_REFUSED;
        return;
    }
    if (place.position <= m->highest_before && !m->is_lenient)
        sim_fail("append %u got position %" PRIu64 ", though %" PRIu64
                 " had been given in an earlier life",
                 r->append, place.position, m->highest_before);
    if (r->position != 0 && r->position != place.position)
        sim_fail("append %u was read at position %" PRIu64 " and acknowledged at %" PRIu64,
                 r->append, r->position, place.position);
    r->fate = FATE_ACKED;
    r->position = place.position;
    r->arrival_ms = place.arrival_ms;
    m->highest = MAX(m->highest, r->position);
    sim_counts.acked++;
}

void model_append_settle(struct sim_model *m, struct sim_append *take_p)
{
    for (size_t i = 0; i < take_p->append.n; i++) {
        struct sim_record *r = &m->records[take_p->first + i];
        if (take_p->err.kind == ERR_NONE) {
            settle_acked(m, r, take_p->places[i]);
            continue;
        }
        if (r->was_read)
            sim_fail("append %u was read and then answered with an error (%s)", r->append,
                     err_kind_name(take_p->err.kind));
        if (take_p->err.kind != ERR_FULL && take_p->err.kind != ERR_IO)
            sim_fail("append %u was answered with %s: %s", r->append,
                     err_kind_name(take_p->err.kind), take_p->err.text);
        r->fate = take_p->err.kind == ERR_FULL ? FATE_REFUSED : FATE_UNKNOWN;
    }
    free(take_p);
}

// ---- Reading

// The place of the record that these data name in the model; m->n: there is none.
static size_t find(const struct sim_model *m, Str data)
{
    Str rest, number, part;
    uint64_t append = 0, index = 0;
    if (!str_cut(data, ' ', &number, &rest) || !str_cut(rest, ' ', &part, &rest))
        return m->n;
    if (str_u64(number, &append).kind != ERR_NONE || str_u64(part, &index).kind != ERR_NONE)
        return m->n;
    if (append >= m->appends || index >= SIM_APPEND_RECORDS)
        return m->n;
    size_t at = m->first_of[append] + index;
    return at < m->n && m->records[at].append == append ? at : m->n;
}

const struct sim_record *model_verify(const struct sim_model *m, uint64_t shard, const LogEntry *e)
{
    size_t at = find(m, e->data);
    if (at == m->n)
        sim_fail("shard %" PRIu64 " holds bytes at %" PRIu64 " that nobody has written", shard,
                 e->position);
    const struct sim_record *r = &m->records[at];
    if (!data_are_right(r, e->data) || !keys_are_right(r, e))
        sim_fail("append %u part %u was read with other bytes than written", r->append, r->part);
    if (r->shard != shard)
        sim_fail("append %u of shard %" PRIu64 " was read from shard %" PRIu64, r->append, r->shard,
                 shard);
    if (r->fate == FATE_REFUSED && !m->is_lenient)
        sim_fail("append %u part %u was refused and is there", r->append, r->part);
    if (r->position != 0 && r->position != e->position)
        sim_fail("append %u part %u moved from %" PRIu64 " to %" PRIu64, r->append, r->part,
                 r->position, e->position);
    if (r->arrival_ms != 0 && r->arrival_ms != e->arrival_ms)
        sim_fail("append %u part %u has another arrival time than before", r->append, r->part);
    return r;
}

static void remember(struct sim_model *m, struct sim_record *r, const LogEntry *e)
{
    r->position = e->position;
    r->arrival_ms = e->arrival_ms;
    m->highest = MAX(m->highest, e->position);
}

void model_read(struct sim_model *m, uint64_t shard, const LogEntry *e)
{
    struct sim_record *r = &m->records[model_verify(m, shard, e) - m->records];
    if (r->fate == FATE_UNKNOWN)
        sim_fail("append %u was answered with an error and is visible", r->append);
    r->was_read = true;
    remember(m, r, e);
}

static void see(struct sim_model *m, uint64_t shard, const LogEntry *e)
{
    struct sim_record *r = &m->records[model_verify(m, shard, e) - m->records];
    if (r->is_seen)
        sim_fail("append %u part %u is there twice", r->append, r->part);
    r->is_seen = true;
    remember(m, r, e);
}

Err model_read_all(struct sim_model *m, struct log *l, uint64_t shard,
                   void (*each)(struct sim_model *m, uint64_t shard, const LogEntry *e))
{
    AUTO(arena) a = arena_open();
    LogBatch batch = { .more = true };
    uint64_t position = 0, order = 0;
    int64_t arrival_ms = 0;
    while (batch.more) {
        arena_reset(a);
        LogRead read = {
            .shard = shard,
            .from = batch.next,
            .max_records = 1 + sched_below(READ_ROOM),
            .max_bytes = 1 + sched_below(BATCH_BYTES_MAX),
        };
        TRY(log_read(l, a, &read, &batch));
        sim_counts.reads++;
        if (batch.n == 0 && batch.more)
            sim_fail("a read of shard %" PRIu64 " makes no progress", shard);
        for (size_t i = 0; i < batch.n; i++) {
            const LogEntry *e = &batch.at[i];
            const struct sim_record *r = model_verify(m, shard, e);
            uint64_t place = 1 + ((uint64_t)r->append << 8 | r->part);
            if (e->position <= position || e->arrival_ms < arrival_ms || place <= order)
                sim_fail("shard %" PRIu64 " is out of order at %" PRIu64 " (append %u)", shard,
                         e->position, r->append);
            position = e->position;
            arrival_ms = e->arrival_ms;
            order = place;
            if (each != NULL)
                each(m, shard, e);
        }
    }
    return OK;
}

// ---- The comparison

// All classes of retention, but most of all what ends within a world.
int64_t model_any_retention(void)
{
    static const int64_t hours[] = { 24, 25, 168, 170, 8760 };
    if (sched_chance(4))
        return hours[sched_below(COUNT_OF(hours))] * 3600 * NS_PER_S;
    return (int64_t)(1 + sched_below(3)) * 300 * NS_PER_S;
}

void model_tick(struct sim_model *m)
{
    m->latest_ms = MAX(m->latest_ms, sched_wall_ns() / NS_PER_MS);
    for (size_t i = 0; i < m->shard_count; i++) {
        struct sim_shard *s = &m->shards[i];
        s->gone_ms = MAX(s->gone_ms, m->latest_ms - s->retention_ns / NS_PER_MS);
    }
}

void model_change_retention(struct sim_model *m, struct sim_shard *s, int64_t retention_ns)
{
    model_tick(m);
    s->retention_ns = retention_ns;
    s->changes++;
    model_tick(m);
}

static bool may_be_expired(const struct sim_model *m, uint64_t shard, int64_t since_ms)
{
    return since_ms <= m->shards[shard - 1].gone_ms;
}

bool model_must_hold(const struct sim_model *m, const struct sim_record *r)
{
    return r->fate == FATE_ACKED && m->shards[r->shard - 1].dropped == KNOWN_NO &&
           !may_be_expired(m, r->shard, r->arrival_ms) && !m->is_lenient;
}

static bool append_is_seen(const struct sim_model *m, uint32_t append)
{
    for (size_t i = m->first_of[append]; i < m->n && m->records[i].append == append; i++)
        if (m->records[i].is_seen)
            return true;
    return false;
}

static void check_missing(struct sim_model *m, const struct sim_record *r)
{
    const struct sim_shard *s = model_shard(m, r->shard);
    if (r->is_seen || s->dropped != KNOWN_NO || m->is_lenient)
        return;
    if (model_must_hold(m, r))
        sim_fail("append %u part %u was acknowledged at %" PRIu64 " of shard %" PRIu64
                 " and is lost",
                 r->append, r->part, r->position, r->shard);
    bool is_required = r->fate == FATE_UNKNOWN && s->ended == KNOWN_NO &&
                       !may_be_expired(m, r->shard, r->handed_ms);
    if (is_required && append_is_seen(m, r->append))
        sim_fail("append %u is half there: part %u is missing", r->append, r->part);
}

static Err check_span(struct sim_model *m, struct log *l, struct sim_shard *s)
{
    LogSpan span;
    TRY(log_span(l, s->id, &span));
    if (m->is_lenient)
        return OK;
    if (s->ended == KNOWN_NO && span.ended)
        sim_fail("shard %" PRIu64 " has ended by itself", s->id);
    if (s->ended == KNOWN_YES && (!span.ended || span.end != s->end))
        sim_fail("the end of shard %" PRIu64 " at %" PRIu64 " is forgotten", s->id, s->end);
    s->ended = span.ended ? KNOWN_YES : KNOWN_NO;
    s->end = span.ended ? span.end : 0;
    m->highest = MAX(m->highest, s->end);
    return OK;
}

static int compare_positions(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return a < b ? -1 : a > b;
}

static void check_unique(const struct sim_model *m)
{
    uint64_t *at = xalloc(mul_checked(m->n + 1, sizeof *at));
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        if (m->records[i].position != 0 && m->records[i].fate != FATE_REFUSED)
            at[n++] = m->records[i].position;
    qsort(at, n, sizeof *at, compare_positions);
    for (size_t i = 1; i < n; i++)
        if (at[i] == at[i - 1])
            sim_fail("position %" PRIu64 " was given twice", at[i]);
    free(at);
}

// Whether a part of it that would be seen is not: then none of its parts may ever be.
static bool append_is_absent(const struct sim_model *m, uint32_t append)
{
    for (size_t i = m->first_of[append]; i < m->n && m->records[i].append == append; i++) {
        const struct sim_record *r = &m->records[i];
        const struct sim_shard *s = &m->shards[r->shard - 1];
        if (!r->is_seen && s->ended == KNOWN_NO && s->dropped == KNOWN_NO &&
            !may_be_expired(m, r->shard, r->handed_ms))
            return true;
    }
    return false;
}

// What was not known is known now, unless all that would tell is past its retention.
static void settle_unknown(const struct sim_model *m, struct sim_record *r)
{
    if ((r->fate == FATE_UNKNOWN || r->fate == FATE_HIDDEN) && r->is_seen)
        r->fate = FATE_ACKED;
    if (r->fate != FATE_UNKNOWN)
        return;
    bool is_hidden = may_be_expired(m, r->shard, r->handed_ms) && !append_is_absent(m, r->append);
    r->fate = is_hidden ? FATE_HIDDEN : FATE_REFUSED;
}

Err model_check(struct sim_model *m, struct log *l)
{
    for (size_t i = 0; i < m->n; i++)
        m->records[i].is_seen = m->records[i].was_read = false;
    for (size_t i = 0; i < m->shard_count; i++)
        if (m->shards[i].dropped == KNOWN_NO)
            TRY(model_read_all(m, l, m->shards[i].id, see));
    for (size_t i = 0; i < m->shard_count; i++)
        if (m->shards[i].dropped == KNOWN_NO)
            TRY(check_span(m, l, &m->shards[i]));
    model_tick(m);
    for (size_t i = 0; i < m->n; i++)
        check_missing(m, &m->records[i]);
    for (size_t i = 0; i < m->n; i++)
        settle_unknown(m, &m->records[i]);
    if (!m->is_lenient)
        check_unique(m);
    m->highest_before = m->highest;
    return OK;
}

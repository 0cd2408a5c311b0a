// SPDX-License-Identifier: Apache-2.0
// Event notifications on their way: a row of kv each, written before the call that caused it is
// answered, and removed when its destination has taken it. So a crash loses none that was promised,
// and may repeat one. A few threads send them; what cannot be sent is tried again as Lambda does it
// with asynchronous calls (Lambda Developer Guide, "How Lambda handles errors and retries with
// asynchronous invocation"): for six hours while the destination is away, two times more when it
// has failed.
//
//     row key   the event's number, big-endian
//     row value "TRIES FIRST_MS ACCOUNT REGION ARN\n" and the message
#include "base/logline.h"
#include "base/metric.h"
#include "base/time.h"
#include "hub/hub.h"
#include "hub/sink.h"
#include "os/io.h"
#include "store/kv.h"
#include "svc/s3/s3.h"

#include <endian.h>
#include <stdlib.h>
#include <time.h>

enum {
    SENDERS = 4,
    WAITING_MAX = 1000000, // 16 bytes of memory each
    LOOKS_PER_S = 5,       // the clock may be moved
    FAILED_TRIES_MAX = 3,
};
#define SEND_NS (60 * NS_PER_S)
#define AWAY_MS_MAX (INT64_C(6) * 3600 * 1000)
#define PAUSE_MS_MIN INT64_C(1000)
#define PAUSE_MS_MAX (INT64_C(300) * 1000)
#define FAILED_PAUSE_MS (INT64_C(60) * 1000) // before the second try; twice that before the third

typedef struct s3_waiting {
    int64_t due_ms;
    uint64_t id;
} Waiting;

struct s3_events {
    struct s3 *s;
    struct kv_table *rows;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    Waiting *at; // a heap, the one that is due first in front
    size_t n, cap;
    size_t held; // those and the ones that are being sent
    bool ending;
    pthread_t threads[SENDERS];
    size_t thread_count;
    struct metric *sent, *again, *dead, *waiting;
};

// ---- The heap, with the lock held

static void swap(Waiting *x, Waiting *y)
{
    Waiting z = *x;
    *x = *y;
    *y = z;
}

static void push(struct s3_events *e, Waiting w)
{
    if (e->n == e->cap) {
        e->cap = MAX(e->cap * 2, (size_t)64);
        e->at = xrealloc(e->at, mul_checked(sizeof *e->at, e->cap));
    }
    size_t i = e->n++;
    e->at[i] = w;
    for (; i > 0 && e->at[(i - 1) / 2].due_ms > e->at[i].due_ms; i = (i - 1) / 2)
        swap(&e->at[i], &e->at[(i - 1) / 2]);
}

static Waiting pop(struct s3_events *e)
{
    Waiting first = e->at[0];
    e->at[0] = e->at[--e->n];
    for (size_t i = 0;;) {
        size_t least = i, left = 2 * i + 1;
        for (size_t k = left; k < left + 2 && k < e->n; k++)
            if (e->at[k].due_ms < e->at[least].due_ms)
                least = k;
        if (least == i)
            return first;
        swap(&e->at[i], &e->at[least]);
        i = least;
    }
}

// ---- Rows

static Str key_of(struct arena *a, uint64_t id)
{
    uint64_t big = htobe64(id);
    return str_dup(a, str_from(&big, sizeof big));
}

typedef struct Notice {
    unsigned tries;
    int64_t first_ms;
    Str account, region, arn, message;
} Notice;

static Str row_of(struct arena *a, const Notice *e)
{
    return str_fmt(a, "%u %lld %.*s %.*s %.*s\n%.*s", e->tries, (long long)e->first_ms,
                   FMT(e->account), FMT(e->region), FMT(e->arn), FMT(e->message));
}

static Err read_row(Str row, Notice *ret)
{
    Str head, tries, first;
    uint64_t n = 0;
    bool good = str_cut(row, '\n', &head, &ret->message);
    good = good && str_cut(head, ' ', &tries, &head) && str_cut(head, ' ', &first, &head) &&
           str_cut(head, ' ', &ret->account, &head) && str_cut(head, ' ', &ret->region, &ret->arn);
    if (!good || str_u64(tries, &n).kind != ERR_NONE || n > UINT16_MAX ||
        str_i64(first, &ret->first_ms).kind != ERR_NONE)
        return fail(ERR_CORRUPT, "a row of an event is damaged");
    ret->tries = (unsigned)n;
    return OK;
}

static int64_t now_ms(const struct s3_events *e)
{
    return e->s->env.io->wall_ns(e->s->env.io) / NS_PER_MS;
}

static bool is_full(struct s3_events *e)
{
    pthread_mutex_lock(&e->lock);
    bool full = e->held >= WAITING_MAX;
    pthread_mutex_unlock(&e->lock);
    return full;
}

static void wait_for(struct s3_events *e, uint64_t id, int64_t due_ms, bool is_new)
{
    pthread_mutex_lock(&e->lock);
    push(e, (Waiting){ .id = id, .due_ms = due_ms });
    e->held += is_new;
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
    if (is_new)
        metric_add(e->waiting, 1);
}

static void noted_add(struct s3_noted *to, Waiting w)
{
    if (to->n == to->cap) {
        to->cap = MAX(to->cap * 2, (size_t)8);
        to->at = xrealloc(to->at, mul_checked(sizeof *to->at, to->cap));
    }
    to->at[to->n++] = w;
}

Err s3_events_note(struct s3 *s, struct kv_txn *tx, const S3Message *m, struct s3_noted *to)
{
    struct s3_events *e = s->events;
    AUTO(arena) tmp = arena_open();
    uint64_t id;
    Notice event = { .first_ms = m->at_ns != 0 ? m->at_ns / NS_PER_MS : now_ms(e),
                     .account = m->account,
                     .region = m->region,
                     .arn = m->arn,
                     .message = m->text };
    if (is_full(e)) {
        metric_add(e->dead, 1);
        return fail(ERR_LIMIT, "too many events wait for their destinations");
    }
    kv_on(tx, e->rows);
    TRY(kv_next_id(tx, &id));
    TRY(kv_put(tx, key_of(tmp, id), row_of(tmp, &event)));
    noted_add(to, (Waiting){ .id = id, .due_ms = event.first_ms });
    return OK;
}

void s3_events_send(struct s3 *s, struct s3_noted *noted)
{
    for (size_t i = 0; i < noted->n; i++)
        wait_for(s->events, noted->at[i].id, noted->at[i].due_ms, true);
    noted->n = 0;
}

void s3_noted_close(struct s3_noted *noted)
{
    free(noted->at);
    *noted = (struct s3_noted){ 0 };
}

Err s3_events_add(struct s3 *s, const S3Message *m)
{
    AUTO_NOTED(noted);
    AUTO(kv_txn) tx = kv_write(s->events->rows);
    TRY(s3_events_note(s, tx, m, &noted));
    TRY(kv_commit(tx));
    s3_events_send(s, &noted);
    return OK;
}

static Err remove_row(struct s3_events *e, uint64_t id)
{
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_write(e->rows);
    TRY(kv_del(tx, key_of(tmp, id)));
    return kv_commit(tx);
}

static Err write_row(struct s3_events *e, uint64_t id, const Notice *event)
{
    AUTO(arena) tmp = arena_open();
    AUTO(kv_txn) tx = kv_write(e->rows);
    TRY(kv_put(tx, key_of(tmp, id), row_of(tmp, event)));
    return kv_commit(tx);
}

static Err take_row(struct s3_events *e, struct arena *a, uint64_t id, Notice *ret)
{
    Str row;
    AUTO(kv_txn) tx = kv_read(e->rows);
    TRY(kv_get(tx, a, key_of(a, id), &row));
    return read_row(row, ret);
}

// ---- Sending

int64_t s3_event_pause_ms(unsigned tries, int64_t age_ms, bool away)
{
    if (!away)
        return tries >= FAILED_TRIES_MAX ? -1 : FAILED_PAUSE_MS << (tries - 1);
    if (age_ms >= AWAY_MS_MAX)
        return -1;
    return tries > 8 ? PAUSE_MS_MAX : MIN(PAUSE_MS_MIN << (tries - 1), PAUSE_MS_MAX);
}

// What became of it: 0: it is over; else when to try again.
static int64_t settle(struct s3_events *e, uint64_t id, Notice *event, const HubSinkAnswer *said)
{
    int64_t now = now_ms(e), pause = -1;
    event->tries++;
    if (said->fault == HUB_SINK_AWAY || said->fault == HUB_SINK_FAILED)
        pause =
            s3_event_pause_ms(event->tries, now - event->first_ms, said->fault == HUB_SINK_AWAY);
    if (pause >= 0) {
        metric_add(e->again, 1);
        Err kept = write_row(e, id, event); // or it has one try more after a crash
        (void)kept;
        return now + pause;
    }
    metric_add(said->fault == HUB_SINK_GOOD ? e->sent : e->dead, 1);
    if (said->fault != HUB_SINK_GOOD)
        LOG(LOG_WARN, "an event notification is given up", F_STR("destination", event->arn),
            F_INT("tries", event->tries), F_STR("text", said->text));
    Err gone = remove_row(e, id);
    return gone.kind == ERR_NONE || gone.kind == ERR_CORRUPT ? 0 : now + PAUSE_MS_MAX;
}

static int64_t send_one(struct s3_events *e, uint64_t id)
{
    AUTO(arena) a = arena_open();
    Notice event;
    HubSinkAnswer said = { .fault = HUB_SINK_NEVER, .text = S("no such destination is served") };
    Err err = take_row(e, a, id, &event);
    if (err.kind != ERR_NONE) {
        LOG(LOG_ERROR, "an event notification cannot be read", F_ERR(err));
        metric_add(e->dead, 1);
        return 0;
    }
    if (event.tries == 0 && event.first_ms > now_ms(e))
        return event.first_ms; // of what has not happened yet
    const struct hub_sink *sink = hub_sink_find(event.arn);
    HubActor as = { .account = event.account,
                    .region = event.region,
                    .service = S("s3.amazonaws.com") };
    if (sink != NULL)
        err = sink->send(e->s->env.hub, a, &as, event.arn, event.message, SEND_NS, &said);
    return err.kind == ERR_NONE ? settle(e, id, &event, &said) : now_ms(e) + PAUSE_MS_MIN;
}

static void wait_a_moment(struct s3_events *e)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 1000000000 / LOOKS_PER_S;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&e->changed, &e->lock, &until);
}

static void *run(void *self)
{
    struct s3_events *e = self;
    pthread_mutex_lock(&e->lock);
    while (!e->ending) {
        if (e->n == 0) {
            pthread_cond_wait(&e->changed, &e->lock);
            continue;
        }
        if (e->at[0].due_ms > now_ms(e)) {
            wait_a_moment(e);
            continue;
        }
        Waiting w = pop(e);
        pthread_mutex_unlock(&e->lock);
        int64_t due_ms = send_one(e, w.id);
        if (due_ms > 0)
            wait_for(e, w.id, due_ms, false);
        else
            metric_add(e->waiting, -1);
        pthread_mutex_lock(&e->lock);
        e->held -= due_ms == 0;
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

// ---- Opening

static Err load(struct s3_events *e)
{
    AUTO(kv_txn) tx = kv_read(e->rows);
    struct kv_scan s = kv_scan_start(tx, S(""), S(""));
    while (kv_scan_next(&s)) {
        uint64_t big;
        if (s.rest.n != sizeof big)
            continue;
        memcpy(&big, s.rest.p, sizeof big);
        wait_for(e, be64toh(big), 0, true);
    }
    return s.err;
}

Err s3_events_open(struct s3 *s)
{
    struct s3_events *e = xalloc(sizeof *e);
    Str name = S("headrace_s3_events_total"),
        help = S("Event notifications by what became of them");
    e->s = s;
    CHECK(pthread_mutex_init(&e->lock, NULL) == 0 && pthread_cond_init(&e->changed, NULL) == 0);
    s->events = e;
    e->sent = metric_get(METRIC_COUNTER, name, help, S("result=\"sent\""));
    e->again = metric_get(METRIC_COUNTER, name, help, S("result=\"again\""));
    e->dead = metric_get(METRIC_COUNTER, name, help, S("result=\"dead\""));
    e->waiting = metric_get(METRIC_GAUGE, S("headrace_s3_events_waiting"),
                            S("Event notifications that wait for their destinations"), S(""));
    TRY(kv_table_open(s->env.kv, S("s3.events"), &e->rows));
    TRY(load(e));
    if (s->env.hub == NULL)
        return OK; // a tool, which tells nobody
    for (; e->thread_count < SENDERS; e->thread_count++)
        if (pthread_create(&e->threads[e->thread_count], NULL, run, e) != 0)
            break;
    if (e->thread_count == 0)
        LOG(LOG_ERROR, "event notifications are not sent: no thread can be had");
    return OK;
}

void s3_events_stop(struct s3 *s)
{
    struct s3_events *e = s->events;
    if (e == NULL)
        return;
    pthread_mutex_lock(&e->lock);
    e->ending = true;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    for (size_t i = 0; i < e->thread_count; i++)
        pthread_join(e->threads[i], NULL);
    e->thread_count = 0;
}

void s3_events_close(struct s3 *s)
{
    struct s3_events *e = s->events;
    s3_events_stop(s);
    if (e == NULL)
        return;
    metric_add(e->waiting, -(int64_t)e->held);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    free(e->at);
    free(e);
    s->events = NULL;
}
